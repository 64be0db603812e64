//! What stands behind a command's name: words, with blanks or commas between them.

use channel::{DeviceNumber, SubchannelId};

use super::view::View;

/// Why a command was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An operand is missing, is not what it has to be, or is one too many.
    Usage,
    /// There is none such: a device, disk or client.
    NoSuch(&'static str),
}

/// The operands of a command, one after the other.
#[derive(Clone, Debug)]
pub struct Operands<'a> {
    rest: &'a str,
}

/// What is between two words. By bytes: what knows all of Unicode is large.
const fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

/// The first word of a text, which is empty if there is none, and what follows.
pub fn split_word(text: &str) -> (&str, &str) {
    let mut bytes = text.bytes();
    let begin = bytes.position(|byte| !is_between(byte));
    let rest = begin.map_or("", |at| text.get(at..).unwrap_or_default());
    let end = rest.bytes().position(is_between).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, ""))
}

impl<'a> Operands<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Whether there is none (any more).
    pub fn is_empty(&self) -> bool {
        split_word(self.rest).0.is_empty()
    }

    pub fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = split_word(self.rest);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// A number in hexadecimal, with or without 0x.
    pub fn hexadecimal(&mut self) -> Result<Option<u64>, Refused> {
        let number = self.word().map(hexadecimal);
        number
            .map(|number| number.ok_or(Refused::Usage))
            .transpose()
    }

    /// A device number: `0.0.0a80`, or `a80` in subchannel set 0.
    pub fn device(&mut self) -> Result<Option<DeviceNumber>, Refused> {
        let number = self.word().map(device_number);
        number
            .map(|number| number.ok_or(Refused::Usage))
            .transpose()
    }

    /// The subchannel of a device that has to be named, and is owned.
    pub fn owned(&mut self, view: &dyn View) -> Result<(DeviceNumber, SubchannelId), Refused> {
        let number = self.device()?.ok_or(Refused::Usage)?;
        let mut all = (0..).map_while(|place| view.device(place));
        let found = all.find(|device| number_of(device) == number);
        let id = found.and_then(|device| SubchannelId::from_word(device.subchannel.get()));
        Ok((number, id.ok_or(Refused::NoSuch("device"))?))
    }

    /// There must be no more of them.
    pub fn end(&self) -> Result<(), Refused> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Refused::Usage),
        }
    }
}

/// The number of a listed device.
pub fn number_of(device: &vcss::control::Device) -> DeviceNumber {
    DeviceNumber {
        set: device.set,
        number: device.device.get(),
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    // What the library takes besides digits is a sign.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_plain)
}

fn device_number(word: &str) -> Option<DeviceNumber> {
    let (set, number) = match word.strip_prefix("0.") {
        Some(rest) => {
            let (set, number) = rest.split_once('.')?;
            (set.parse().ok().filter(|set| *set <= 3)?, number)
        }
        None => (0, word),
    };
    let number = hexadecimal(number)?.try_into().ok()?;
    Some(DeviceNumber { set, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_blanks_and_commas_between_them() {
        let mut operands = Operands::new("  1000,,0x40 last ");
        assert_eq!(operands.hexadecimal(), Ok(Some(0x1000)));
        assert_eq!(operands.hexadecimal(), Ok(Some(0x40)));
        assert_eq!(operands.end(), Err(Refused::Usage));
        assert_eq!(operands.word(), Some("last"));
        assert_eq!((operands.word(), operands.end()), (None, Ok(())));
    }

    #[test]
    fn a_device_is_named_as_lscss_has_it_or_by_its_number() {
        let named = |text| Operands::new(text).device();
        let expected = |set, number| Ok(Some(DeviceNumber { set, number }));
        assert_eq!(named("0.0.0a80"), expected(0, 0xA80));
        assert_eq!(named("0.1.3270"), expected(1, 0x3270));
        assert_eq!(named("A80"), expected(0, 0xA80));
        for wrong in [
            "0.4.0100", "0.0", "10000", "+1", "0x", "x", "0.0.-1", "1.0.0100",
        ] {
            assert_eq!(named(wrong), Err(Refused::Usage), "{wrong}");
        }
    }
}
