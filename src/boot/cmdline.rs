//! The command line: `key=value` and plain words, separated by blanks.
//!
//! | key | value | default |
//! |---|---|---|
//! | `log=` | `off`, `error`, `warn`, `info`, `debug`, `trace` | `info` |
//! | `heap=` | size of the heap in bytes, or with K, M, G | what boot decides |
//! | `control=` | absolute address of the control area, hexadecimal with or without 0x | none |
//! | `linger_us=` | how long to poll before sleeping, nothing being in flight | what the event loop decides |
//! | `patience_us=` | how long to poll for requests in flight before sleeping | what the event loop decides |
//! | `monitor=` | what an operator may do at the console: `off`, `read`, or `change` | `read` |
//! | `noadapter` | | use no adapter interruptions |
//!
//! An image may know more keys than these: see [`Options::parse`].
//!
//! The rule this module lives by: no line stops the boot. What is not understood is named in a
//! [`Warning`] and otherwise ignored; of a key given twice, the last counts.

use core::fmt;
use log::LevelFilter;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which log records are shown.
    pub log: LevelFilter,
    /// The size of the heap in bytes.
    pub heap: Option<u64>,
    /// The absolute address of the control area; storage from there on is shared.
    pub control: Option<u64>,
    /// How long to poll before sleeping, nothing being in flight, in microseconds.
    pub linger_us: Option<u64>,
    /// How long to poll for requests in flight before sleeping, in microseconds.
    pub patience_us: Option<u64>,
    /// What an operator may do at the console.
    pub monitor: MonitorMode,
    /// Whether adapter interruptions may be used.
    pub adapter: bool,
}

/// What an operator may do at the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonitorMode {
    /// Nothing: what is typed is not looked at.
    Off,
    /// Look at everything, and change nothing.
    #[default]
    Read,
    /// All commands.
    Change,
}

impl MonitorMode {
    fn named(name: &str) -> Option<Self> {
        let all = [Self::Off, Self::Read, Self::Change];
        all.into_iter().find(|mode| mode.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Read => "read",
            Self::Change => "change",
        }
    }
}

impl Options {
    /// What holds without a command line.
    pub const DEFAULT: Self = Self {
        log: LevelFilter::Info,
        heap: None,
        control: None,
        linger_us: None,
        patience_us: None,
        monitor: MonitorMode::Read,
        adapter: true,
    };

    /// What `line` asks for. A word whose key is none of the table's is given to `also`, and `warn` is called for each that is not
    /// understood.
    pub fn parse<'a>(
        line: &'a str,
        mut also: impl FnMut(&'a str, Option<&'a str>) -> Result<(), WarningKind>,
        mut warn: impl FnMut(Warning<'a>),
    ) -> Self {
        let mut options = Self::DEFAULT;
        for word in line.split_ascii_whitespace() {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word, None),
            };
            let taken = match options.set(key, value) {
                Err(WarningKind::UnknownKey) => also(key, value),
                taken => taken,
            };
            if let Err(kind) = taken {
                warn(Warning {
                    kind,
                    key,
                    value: value.unwrap_or(""),
                });
            }
        }
        options
    }

    /// Take one word over.
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), WarningKind> {
        use WarningKind::{BadValue, UnexpectedValue, UnknownKey};
        let text = value.unwrap_or("");
        match key {
            "log" => self.log = text.parse().map_err(|_| BadValue)?,
            "heap" => self.heap = Some(size(text).ok_or(BadValue)?),
            "control" => self.control = Some(address(text).ok_or(BadValue)?),
            "linger_us" => self.linger_us = Some(text.parse().map_err(|_| BadValue)?),
            "patience_us" => self.patience_us = Some(text.parse().map_err(|_| BadValue)?),
            "monitor" => self.monitor = MonitorMode::named(text).ok_or(BadValue)?,
            "noadapter" if value.is_some() => return Err(UnexpectedValue),
            "noadapter" => self.adapter = false,
            _ => return Err(UnknownKey),
        }
        Ok(())
    }
}

/// A word of the command line that is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning<'a> {
    /// Why.
    pub kind: WarningKind,
    /// The word, up to the equals sign.
    pub key: &'a str,
    /// The rest.
    pub value: &'a str,
}

/// Why a word is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// There is no such key.
    UnknownKey,
    /// The key is known, the value is not of its kind.
    BadValue,
    /// The key takes no value.
    UnexpectedValue,
}

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value } = self;
        match kind {
            WarningKind::UnknownKey => write!(f, "unknown key {key:?} ignored"),
            WarningKind::BadValue => write!(f, "{key}={value}: not a value for {key}, ignored"),
            WarningKind::UnexpectedValue => write!(f, "{key} takes no value, ignored"),
        }
    }
}

/// The text at the front of an area that a loader may or may not have written: printable ASCII up
/// to a zero byte. Anything else is no command line.
#[must_use]
pub fn text_of(area: &[u8]) -> &str {
    let printable = |byte: &u8| (0x20..0x7F).contains(byte) || *byte == b'\t' || *byte == b'\n';
    area.iter()
        .position(|&byte| byte == 0)
        .map(|end| &area[..end])
        .filter(|text| text.iter().all(printable))
        .and_then(|text| core::str::from_utf8(text).ok())
        .unwrap_or("")
}

/// A size in bytes: a decimal number, with K, M or G for multiples.
fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// An address: hexadecimal, with or without 0x.
pub fn address(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Options, usize) {
        let mut warnings = 0;
        let options = Options::parse(line, |_, _| Err(WarningKind::UnknownKey), |_| warnings += 1);
        (options, warnings)
    }

    #[test]
    fn an_empty_line_is_the_defaults() {
        assert_eq!(parse(""), (Options::DEFAULT, 0));
        assert_eq!(parse("  \t "), (Options::DEFAULT, 0));
    }

    #[test]
    fn every_key_is_taken() {
        let (options, warnings) =
            parse("log=debug heap=4M control=0x1000000 linger_us=50 patience_us=9 monitor=change noadapter");
        assert_eq!(warnings, 0);
        assert_eq!(
            options,
            Options {
                log: LevelFilter::Debug,
                heap: Some(4 << 20),
                control: Some(0x100_0000),
                linger_us: Some(50),
                patience_us: Some(9),
                monitor: MonitorMode::Change,
                adapter: false,
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_named_and_stops_nothing() {
        let mut named = [""; 5];
        let mut count = 0;
        let also = |key: &str, _: Option<&str>| match key {
            "more" => Ok(()),
            _ => Err(WarningKind::UnknownKey),
        };
        let options = Options::parse(
            "bogus=1 heap= more=2 monitor=all noadapter=yes = log=warn",
            also,
            |warning| {
                named[count] = warning.key;
                count += 1;
            },
        );
        assert_eq!(named, ["bogus", "heap", "monitor", "noadapter", ""]);
        assert_eq!(
            options,
            Options {
                log: LevelFilter::Warn,
                ..Options::DEFAULT
            }
        );
    }

    #[test]
    fn a_size_that_overflows_is_no_size() {
        assert_eq!(size("17179869184G"), None);
        assert_eq!(size("16K"), Some(16384));
        assert_eq!(size("K"), None);
        assert_eq!(size("\u{e9}"), None);
    }

    #[test]
    fn only_terminated_printable_text_is_a_command_line() {
        assert_eq!(text_of(b"log=debug\0junk"), "log=debug");
        assert_eq!(text_of(b"\0\0\0"), "");
        assert_eq!(text_of(b"never ends"), "");
        assert_eq!(text_of(b"\x89\x01\0"), "");
        assert_eq!(text_of(b""), "");
    }
}
