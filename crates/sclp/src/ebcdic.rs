//! The code pages of the operator's consoles, reduced to what a program says there: ASCII.
//!
//! Code page 500 is that of the SCLP of an LPAR, of QEMU's output and of Hercules with
//! `CODEPAGE 819/500`. QEMU's input is in code page 037. They differ in `! [ ] ^ |` only.

use s390x::ebcdic::{CodePage, CP500};

/// An ASCII character in the code page of line-mode output.
pub(crate) fn from_ascii(byte: u8) -> u8 {
    CP500.encode_char(char::from(byte))
}

/// An EBCDIC character in ASCII; `?` if it has no place there.
pub(crate) fn to_ascii(code_page: &CodePage, byte: u8) -> u8 {
    match u8::try_from(code_page.decode_byte(byte)) {
        Ok(ascii @ 0x00..=0x7F) => ascii,
        Ok(_) | Err(_) => b'?',
    }
}
