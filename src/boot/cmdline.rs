//! The command line: `key=value` and plain words, separated by blanks.
//!
//! | key | value | default |
//! |---|---|---|
//! | `log=` | `off`, `error`, `warn`, `info`, `debug`, `trace` | `info` |
//! | `heap=` | size of the heap in bytes, or with K, M, G | what boot decides |
//! | `control=` | absolute address of the control area, hexadecimal with or without 0x | none |
//! | `area=` | absolute address of the area of which this machine is the client, hexadecimal | none |
//! | `linger_us=` | how long to poll before sleeping, nothing being in flight | what the event loop decides |
//! | `patience_us=` | how long to poll for requests in flight before sleeping | what the event loop decides |
//! | `noadapter` | | use no adapter interruptions |
//! | `selftest=` | one of [`SelfTest`]'s names: test the image, or crash on purpose | none |
//! | `requests=` | for tests that make requests at random: how many | what the test decides |
//! | `vfio` | | for tests of subchannels: they are those of a vfio-ccw, which cannot do everything | |
//! | `bench=` | one of [`Bench`]'s names: measure, and shut down | none |
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
    /// The absolute address of the area of which this machine is the client; storage from there on is shared.
    pub area: Option<u64>,
    /// How long to poll before sleeping, nothing being in flight, in microseconds.
    pub linger_us: Option<u64>,
    /// How long to poll for requests in flight before sleeping, in microseconds.
    pub patience_us: Option<u64>,
    /// Whether adapter interruptions may be used.
    pub adapter: bool,
    /// A test instead of the work.
    pub selftest: Option<SelfTest>,
    /// How many requests such a test makes.
    pub requests: Option<u32>,
    /// The subchannels that are tested are those of a vfio-ccw.
    pub vfio: bool,
    /// A measurement instead of the work.
    pub bench: Option<Bench>,
}

impl Options {
    /// What holds without a command line.
    pub const DEFAULT: Self = Self {
        log: LevelFilter::Info,
        heap: None,
        control: None,
        area: None,
        linger_us: None,
        patience_us: None,
        adapter: true,
        selftest: None,
        requests: None,
        vfio: false,
        bench: None,
    };

    /// What `line` asks for. `warn` is called for each word that is not understood.
    pub fn parse<'a>(line: &'a str, mut warn: impl FnMut(Warning<'a>)) -> Self {
        let mut options = Self::DEFAULT;
        for word in line.split_ascii_whitespace() {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word, None),
            };
            if let Err(kind) = options.set(key, value) {
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
            "area" => self.area = Some(address(text).ok_or(BadValue)?),
            "linger_us" => self.linger_us = Some(text.parse().map_err(|_| BadValue)?),
            "patience_us" => self.patience_us = Some(text.parse().map_err(|_| BadValue)?),
            "selftest" => self.selftest = Some(SelfTest::from_name(text).ok_or(BadValue)?),
            "requests" => self.requests = Some(text.parse().map_err(|_| BadValue)?),
            "bench" => self.bench = Some(Bench::from_name(text).ok_or(BadValue)?),
            "noadapter" | "vfio" if value.is_some() => return Err(UnexpectedValue),
            "noadapter" => self.adapter = false,
            "vfio" => self.vfio = true,
            _ => return Err(UnknownKey),
        }
        Ok(())
    }
}

/// What the image can test by itself: most of them crash on purpose, to prove the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// `panic`: a Rust panic, while the console is in use.
    Panic,
    /// `nested`: a panic whose report panics.
    Nested,
    /// `pgm`: an invalid operation code.
    Program,
    /// `stack`: recursion with small frames.
    Stack,
    /// `stack-large`: recursion with large frames.
    StackLarge,
    /// `mcck`: a machine check outside the idle wait.
    MachineCheck,
    /// `damage`: a machine check in the idle wait that says that storage is damaged.
    Damage,
    /// `wild`: a store to a null pointer's neighbourhood.
    Wild,
    /// `jump`: a call of a function at a wild address.
    Jump,
    /// `oom`: an allocation beyond the heap.
    OutOfMemory,
    /// `clock`: no crash: wait for the clock comparator once, print how long it took, shut down.
    Clock,
    /// `exit`: no crash: shut down in order.
    Exit,
    /// `css`: condition codes, status and interruptions of real subchannels.
    Css,
    /// `channel`: the same of virtual subchannels, as the client of an area.
    Channel,
    /// `attention`: a terminal among them, at which keys are pressed all the time.
    Attention,
    /// `proxy`: the same of subchannels that the proxy passes through to the image itself. Writes to the first track of
    /// each DASD.
    Proxy,
    /// `proxy-ipl`: what the first disk has for IPL, run by a client in the image.
    ProxyIpl,
    /// `disk`: the virtio disk driver against an image that the host knows.
    Disk,
    /// `dasd`: the driver of count-key-data disks, on every one that is there.
    Dasd,
    /// `dasd-errors`: the same on volumes that the host has damaged.
    DasdErrors,
    /// `dasd-served`: a virtio disk over such a volume, which a client in the image reads and writes.
    DasdServed,
    /// `dasd-admin`: such disks formatted, looked at and reserved.
    DasdAdmin,
    /// `dasd-lending`: a disk lent to a client in the image.
    DasdLending,
    /// `dasd-copy`: the same, copying all of the second such volume to the first.
    DasdCopy,
    /// `link`: wake-up bytes in both directions.
    Link,
    /// `idle`: the wait ends when it should, and takes no processor time.
    Idle,
    /// `echo`: what is typed at the console comes back, up to the word `end`.
    Echo,
}

impl SelfTest {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "panic" => Self::Panic,
            "nested" => Self::Nested,
            "pgm" => Self::Program,
            "stack" => Self::Stack,
            "stack-large" => Self::StackLarge,
            "mcck" => Self::MachineCheck,
            "damage" => Self::Damage,
            "wild" => Self::Wild,
            "jump" => Self::Jump,
            "oom" => Self::OutOfMemory,
            "clock" => Self::Clock,
            "exit" => Self::Exit,
            "css" => Self::Css,
            "channel" => Self::Channel,
            "attention" => Self::Attention,
            "proxy" => Self::Proxy,
            "proxy-ipl" => Self::ProxyIpl,
            "disk" => Self::Disk,
            "dasd" => Self::Dasd,
            "dasd-errors" => Self::DasdErrors,
            "dasd-served" => Self::DasdServed,
            "dasd-admin" => Self::DasdAdmin,
            "dasd-lending" => Self::DasdLending,
            "dasd-copy" => Self::DasdCopy,
            "link" => Self::Link,
            "idle" => Self::Idle,
            "echo" => Self::Echo,
            _ => return None,
        })
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// `read4k`: instructions for each read of 4 KiB.
    Read4k,
    /// `proxy`: instructions for each channel program that is passed through.
    Proxy,
    /// `eckd`: instructions, starts and CCWs for reads of a count-key-data disk.
    Eckd,
}

impl Bench {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "read4k" => Some(Self::Read4k),
            "proxy" => Some(Self::Proxy),
            "eckd" => Some(Self::Eckd),
            _ => None,
        }
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
fn address(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Options, usize) {
        let mut warnings = 0;
        let options = Options::parse(line, |_| warnings += 1);
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
            parse("log=debug heap=4M control=0x1000000 area=3f0000 linger_us=50 patience_us=9 noadapter selftest=stack requests=7 vfio bench=read4k");
        assert_eq!(warnings, 0);
        assert_eq!(
            options,
            Options {
                log: LevelFilter::Debug,
                heap: Some(4 << 20),
                control: Some(0x100_0000),
                area: Some(0x3F_0000),
                linger_us: Some(50),
                patience_us: Some(9),
                adapter: false,
                selftest: Some(SelfTest::Stack),
                requests: Some(7),
                vfio: true,
                bench: Some(Bench::Read4k),
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_named_and_stops_nothing() {
        let mut named = [""; 4];
        let mut count = 0;
        let options = Options::parse("bogus=1 heap= noadapter=yes = log=warn", |warning| {
            named[count] = warning.key;
            count += 1;
        });
        assert_eq!(named, ["bogus", "heap", "noadapter", ""]);
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
