//! EBCDIC: the code pages in which machines, volumes and consoles write.
//!
//! Two code pages with the same 256 Latin-1 characters in different places: [`CP037`] (host
//! data, DASD labels) and [`CP500`] (international; SCLP line mode and most system fields). Letters
//! and digits are the same in both. Each conversion is a bijection, so nothing is lost in either
//! direction.
//!
//! **Line ends.** NEW LINE (0x15) converts to U+0085 and LINE FEED (0x25) to `'\n'`, as the code
//! pages say. Who wants "end of line" for 0x15 handles it before converting.
//!
//! **Limits.** Latin-1 only: [`CodePage::encode`] puts SUBSTITUTE (0x3F) for any other character.
//!
//! Source: IBM CDRA code page identifiers 00037 and 00500.

/// A code page: a bijection between EBCDIC bytes and Latin-1 characters.
pub struct CodePage {
    name: &'static str,
    to_latin1: [u8; 256],
    from_latin1: [u8; 256],
}

/// Code page 037: United States, Canada.
pub static CP037: CodePage = CodePage::new("cp037", CP037_TO_LATIN1);

/// Code page 500: international.
pub static CP500: CodePage = CodePage::new("cp500", CP500_TO_LATIN1);

/// The EBCDIC SUBSTITUTE control, for what has no place in a code page.
const SUBSTITUTE: u8 = 0x3F;

impl CodePage {
    const fn new(name: &'static str, to_latin1: [u8; 256]) -> Self {
        let mut from_latin1 = [SUBSTITUTE; 256];
        let mut code = 0;
        while code < 256 {
            from_latin1[to_latin1[code] as usize] = code as u8;
            code += 1;
        }
        Self {
            name,
            to_latin1,
            from_latin1,
        }
    }

    /// The character of an EBCDIC byte.
    pub const fn decode_byte(&self, code: u8) -> char {
        self.to_latin1[code as usize] as char
    }

    /// The EBCDIC byte of a character.
    pub const fn encode_char(&self, character: char) -> u8 {
        let number = character as u32;
        if number < 256 {
            self.from_latin1[number as usize]
        } else {
            SUBSTITUTE
        }
    }

    /// The characters of EBCDIC bytes.
    pub fn decode<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = char> + Clone + 'a {
        bytes.iter().map(|&code| self.decode_byte(code))
    }

    /// Write `text` in EBCDIC to the front of `to`; gives how many bytes were written. What finds
    /// no room is left out.
    pub fn encode(&self, text: &str, to: &mut [u8]) -> usize {
        let mut count = 0;
        for (place, character) in to.iter_mut().zip(text.chars()) {
            *place = self.encode_char(character);
            count += 1;
        }
        count
    }
}

impl core::fmt::Debug for CodePage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// EBCDIC text of fixed length, padded with blanks or zeros: it displays without the padding, and
/// with a dot for anything that does not print.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl core::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        let end = self
            .0
            .iter()
            .rposition(|&code| code != 0x40 && code != 0)
            .map_or(0, |last| last + 1);
        for character in CP500.decode(&self.0[..end]) {
            f.write_char(if character.is_control() {
                '.'
            } else {
                character
            })?;
        }
        Ok(())
    }
}

impl core::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// CP037 to Latin-1, by code.
#[rustfmt::skip]
const CP037_TO_LATIN1: [u8; 256] = [
    0x00, 0x01, 0x02, 0x03, 0x9C, 0x09, 0x86, 0x7F, 0x97, 0x8D, 0x8E, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x9D, 0x85, 0x08, 0x87, 0x18, 0x19, 0x92, 0x8F, 0x1C, 0x1D, 0x1E, 0x1F,
    0x80, 0x81, 0x82, 0x83, 0x84, 0x0A, 0x17, 0x1B, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x05, 0x06, 0x07,
    0x90, 0x91, 0x16, 0x93, 0x94, 0x95, 0x96, 0x04, 0x98, 0x99, 0x9A, 0x9B, 0x14, 0x15, 0x9E, 0x1A,
    0x20, 0xA0, 0xE2, 0xE4, 0xE0, 0xE1, 0xE3, 0xE5, 0xE7, 0xF1, 0xA2, 0x2E, 0x3C, 0x28, 0x2B, 0x7C,
    0x26, 0xE9, 0xEA, 0xEB, 0xE8, 0xED, 0xEE, 0xEF, 0xEC, 0xDF, 0x21, 0x24, 0x2A, 0x29, 0x3B, 0xAC,
    0x2D, 0x2F, 0xC2, 0xC4, 0xC0, 0xC1, 0xC3, 0xC5, 0xC7, 0xD1, 0xA6, 0x2C, 0x25, 0x5F, 0x3E, 0x3F,
    0xF8, 0xC9, 0xCA, 0xCB, 0xC8, 0xCD, 0xCE, 0xCF, 0xCC, 0x60, 0x3A, 0x23, 0x40, 0x27, 0x3D, 0x22,
    0xD8, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0xAB, 0xBB, 0xF0, 0xFD, 0xFE, 0xB1,
    0xB0, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x6F, 0x70, 0x71, 0x72, 0xAA, 0xBA, 0xE6, 0xB8, 0xC6, 0xA4,
    0xB5, 0x7E, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0xA1, 0xBF, 0xD0, 0xDD, 0xDE, 0xAE,
    0x5E, 0xA3, 0xA5, 0xB7, 0xA9, 0xA7, 0xB6, 0xBC, 0xBD, 0xBE, 0x5B, 0x5D, 0xAF, 0xA8, 0xB4, 0xD7,
    0x7B, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0xAD, 0xF4, 0xF6, 0xF2, 0xF3, 0xF5,
    0x7D, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F, 0x50, 0x51, 0x52, 0xB9, 0xFB, 0xFC, 0xF9, 0xFA, 0xFF,
    0x5C, 0xF7, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0xB2, 0xD4, 0xD6, 0xD2, 0xD3, 0xD5,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0xB3, 0xDB, 0xDC, 0xD9, 0xDA, 0x9F,
];

/// CP500 to Latin-1, by code: CP037 but for some signs.
const CP500_TO_LATIN1: [u8; 256] = {
    let differ: [(usize, u8); 7] = [
        (0x4A, 0x5B),
        (0x4F, 0x21),
        (0x5A, 0x5D),
        (0x5F, 0x5E),
        (0xB0, 0xA2),
        (0xBA, 0xAC),
        (0xBB, 0x7C),
    ];
    let mut table = CP037_TO_LATIN1;
    let mut number = 0;
    while number < differ.len() {
        table[differ[number].0] = differ[number].1;
        number += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn every_byte_comes_back() {
        for page in [&CP037, &CP500] {
            for code in 0..=255u8 {
                assert_eq!(page.encode_char(page.decode_byte(code)), code, "{page:?}");
            }
        }
    }

    #[test]
    fn letters_are_where_they_always_were() {
        for page in [&CP037, &CP500] {
            let mut bytes = [0; 7];
            assert_eq!(page.encode("VOL1 aZ", &mut bytes), 7);
            assert_eq!(bytes, [0xE5, 0xD6, 0xD3, 0xF1, 0x40, 0x81, 0xE9]);
        }
    }

    #[test]
    fn brackets_tell_the_code_pages_apart() {
        assert_eq!(CP037.encode_char('['), 0xBA);
        assert_eq!(CP500.encode_char('['), 0x4A);
    }

    #[test]
    fn what_latin1_has_not_is_substituted() {
        assert_eq!(CP037.encode_char('\u{20AC}'), SUBSTITUTE);
    }

    #[test]
    fn padding_does_not_show() {
        let name = [0xC9, 0xC2, 0xD4, 0x40, 0x40, 0x00];
        assert_eq!(Text(&name).to_string(), "IBM");
        assert_eq!(Text(&[0x40; 4]).to_string(), String::new());
    }
}
