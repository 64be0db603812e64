//! Code addresses to names and frames: the table in the image's `.symbols` section.
//!
//! The linker leaves the section empty; `cargo xtask image` fills it from the symbol table and the
//! call-frame information. This module is both sides' only description of its layout.
//!
//! ```text
//! 0    magic "STWKSYM1"
//! 8    u32   number of functions n
//! 12   u32   bytes of names
//! 16   n x { u32 address, u32 offset of the name, u16 frame, u16 prologue }   ascending
//!      names, one after the other; each ends where the next begins
//! ```
//!
//! All numbers are big-endian. *frame* is an eighth of how many bytes the function lowers r15 by,
//! with two flags ([`FRAME_BY_R11`], [`FRAME_SAVES_R11`]); *prologue* is how many bytes of it run
//! before that is done. Together with the ABI, which fixes where registers are saved, that is enough
//! to walk a call chain, and no back chain needs to be stored at run time.
//!
//! **Limits.** A function reaches up to the next one.

/// What a filled table begins with.
pub const MAGIC: [u8; 8] = *b"STWKSYM1";

/// The length of what comes before the entries.
pub const HEADER: usize = 16;

/// The length of an entry.
pub const ENTRY: usize = 12;

/// In *frame*: r11 is the frame pointer, so count from r11 and not from r15, which the function has
/// lowered further.
pub const FRAME_BY_R11: u16 = 0x8000;

/// In *frame*: the function saves r11.
pub const FRAME_SAVES_R11: u16 = 0x4000;

/// In *frame*: the eighth of the number of bytes.
pub const FRAME_MASK: u16 = 0x3FFF;

/// A table, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    entries: &'a [u8],
    names: &'a [u8],
}

/// A function, as found by an address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name, without hash.
    pub name: &'a str,
    /// How far into the function the address is.
    pub offset: u64,
    /// How many bytes the function lowers r15 by; 0 for a leaf.
    pub frame: u64,
    /// Before this offset r15 is still the caller's.
    pub prologue: u64,
    /// Whether the frame is counted from r11.
    pub by_r11: bool,
    /// Whether the function saves its caller's r11.
    pub saves_r11: bool,
}

impl<'a> Symbols<'a> {
    /// The table in `section`; `None` if there is none, or one that does not fit.
    #[must_use]
    pub fn parse(section: &'a [u8]) -> Option<Self> {
        if section.get(..8)? != MAGIC {
            return None;
        }
        let entries = (word(section, 8)? as usize).checked_mul(ENTRY)?;
        let names = word(section, 12)? as usize;
        let (entries, rest) = section.get(HEADER..)?.split_at_checked(entries)?;
        Some(Self {
            entries,
            names: rest.get(..names)?,
        })
    }

    /// How many functions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len() / ENTRY
    }

    /// The function that `address` lies in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Function<'a>> {
        let address = u32::try_from(address).ok()?;
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if word(self.entries, middle * ENTRY)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let entry = self.entries.get(low.checked_sub(1)? * ENTRY..)?;
        let next = self.entries.get(low * ENTRY..)?;
        let name = word(entry, 4)? as usize;
        let end = word(next, 4).map_or(self.names.len(), |next| next as usize);
        let frame = half(entry, 8)?;
        Some(Function {
            name: core::str::from_utf8(self.names.get(name..end)?).ok()?,
            offset: u64::from(address - word(entry, 0)?),
            frame: u64::from(frame & FRAME_MASK) * 8,
            prologue: u64::from(half(entry, 10)?),
            by_r11: frame & FRAME_BY_R11 != 0,
            saves_r11: frame & FRAME_SAVES_R11 != 0,
        })
    }
}

/// The 32-bit number at `offset`.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The 16-bit number at `offset`.
fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The table of this image.
#[cfg(target_os = "none")]
#[must_use]
pub fn of_this_image() -> Option<Symbols<'static>> {
    /// How many bytes the image keeps free for the table.
    const SECTION_SIZE: usize = if cfg!(feature = "selftest") { 80 } else { 48 } << 10;
    #[link_section = ".symbols"]
    #[used]
    static mut SECTION: [u8; SECTION_SIZE] = [0; SECTION_SIZE];
    // SAFETY: written when the image was made, never since. Read through an opaque pointer, so that
    // the compiler does not take the zeros above for what is there.
    let section = unsafe {
        core::slice::from_raw_parts(
            core::hint::black_box(&raw const SECTION).cast(),
            SECTION_SIZE,
        )
    };
    Symbols::parse(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(functions: &[(u32, &str)]) -> Vec<u8> {
        let names: String = functions.iter().map(|f| f.1).collect();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((functions.len() as u32).to_be_bytes());
        bytes.extend((names.len() as u32).to_be_bytes());
        let mut offset = 0u32;
        for (address, name) in functions {
            bytes.extend(address.to_be_bytes());
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0x40, 20, 0, 6]);
            offset += name.len() as u32;
        }
        bytes.extend(names.as_bytes());
        bytes.resize(bytes.len() + 64, 0);
        bytes
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let bytes = table(&[(0x100, "a"), (0x200, "bb"), (0x300, "c")]);
        let symbols = Symbols::parse(&bytes).unwrap();
        let find = |address| symbols.find(address).map(|f| (f.name, f.offset));
        assert_eq!(find(0xFF), None);
        assert_eq!(find(0x100), Some(("a", 0)));
        assert_eq!(find(0x2FF), Some(("bb", 0xFF)));
        assert_eq!(find(0x1234), Some(("c", 0xF34)));
        assert_eq!(find(u64::MAX), None);
        let function = symbols.find(0x100).unwrap();
        assert_eq!((function.frame, function.prologue), (160, 6));
        assert!(function.saves_r11 && !function.by_r11);
    }

    #[test]
    fn an_empty_section_is_no_table() {
        assert!(Symbols::parse(&[0; 64]).is_none());
        assert!(Symbols::parse(&[]).is_none());
        assert_eq!(Symbols::parse(&table(&[])).unwrap().find(5), None);
    }

    #[test]
    fn a_table_that_claims_too_much_is_refused() {
        let mut bytes = table(&[(1, "a")]);
        bytes[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Symbols::parse(&bytes).is_none());
    }
}
