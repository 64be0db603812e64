//! Code addresses to names and frames: the table in the image's `.symbols` section.
//!
//! The linker leaves the section empty; `cargo xtask image` fills it from the symbol table and the
//! call-frame information. This module is both sides' only description of its layout.
//!
//! ```text
//! 0    magic "STWKSYM2"
//! 8    u16   number of groups g
//! 10   u16   number of frames f
//! 12   u16   number of pairs p
//! 14   u32   bytes of functions
//! 18   g x { u32 address, u32 where in the functions the group begins }   ascending
//!      f x { u16 frame, u16 prologue }
//!      p x { 12 bits token, 12 bits token }
//!      functions, ascending, GROUP of them in each group but the last:
//!           { number of halfwords between this function's address and the one's before it in the group, or 0,
//!             number of its frame, u8 length of the name in bytes, the name's tokens }
//! ```
//!
//! All numbers are big-endian. In a function they are made of seven bits a byte; bit 0 says that more follow.
//!
//! *frame* is an eighth of how many bytes the function lowers r15 by,
//! with two flags ([`FRAME_BY_R11`], [`FRAME_SAVES_R11`]); *prologue* is how many bytes of it run
//! before that is done. Together with the ABI, which fixes where registers are saved, that is enough
//! to walk a call chain, and no back chain needs to be stored at run time.
//!
//! A token below [`FIRST_PAIR`] is a character, another one a pair of tokens. In a name a token below [`TWO_BYTES`] is a
//! byte, another one two bytes, the first of which has [`TWO_BYTES`] and the upper four bits of the token.
//!
//! Whatever the table has in it, a look-up ends after a bounded number of steps: it is for the crash report, which is
//! made when anything may have been overwritten.
//!
//! **Limits.** A function reaches up to the next one.

/// What a filled table begins with.
pub const MAGIC: [u8; 8] = *b"STWKSYM2";

/// The length of what comes before the groups.
const HEADER: usize = 18;

/// How many functions there are in a group.
pub const GROUP: usize = 16;

/// The lengths of the parts' entries.
const GROUP_ENTRY: usize = 8;
const FRAME_ENTRY: usize = 4;
const PAIR_ENTRY: usize = 3;

/// In *frame*: r11 is the frame pointer, so count from r11 and not from r15, which the function has
/// lowered further.
pub const FRAME_BY_R11: u16 = 0x8000;

/// In *frame*: the function saves r11.
pub const FRAME_SAVES_R11: u16 = 0x4000;

/// In *frame*: the eighth of the number of bytes.
pub const FRAME_MASK: u16 = 0x3FFF;

/// The first token that is a pair.
pub const FIRST_PAIR: u16 = 0x80;

/// The first token that takes two bytes in a name, and what the first of them has.
pub const TWO_BYTES: u8 = 0xF0;

/// The longest name, in characters.
pub const NAME_LIMIT: usize = 96;

/// How deep pairs can be nested.
const DEPTH: usize = 24;

/// A table, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    groups: &'a [u8],
    frames: &'a [u8],
    pairs: &'a [u8],
    functions: &'a [u8],
}

/// A function, as found by an address in it.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Its name, without hash.
    pub name: Name<'a>,
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
        let (header, mut rest) = section.split_at_checked(HEADER)?;
        if header.get(..MAGIC.len())? != MAGIC {
            return None;
        }
        let mut part = |count: usize, size: usize| {
            let (part, behind) = rest.split_at_checked(count.checked_mul(size)?)?;
            rest = behind;
            Some(part)
        };
        Some(Self {
            groups: part(half(header, 8)?.into(), GROUP_ENTRY)?,
            frames: part(half(header, 10)?.into(), FRAME_ENTRY)?,
            pairs: part(half(header, 12)?.into(), PAIR_ENTRY)?,
            functions: part(word(header, 14)? as usize, 1)?,
        })
    }

    /// The function that `address` lies in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Function<'a>> {
        let address = u32::try_from(address).ok()?;
        let (mut low, mut high) = (0, self.groups.len() / GROUP_ENTRY);
        while low < high {
            let middle = low + (high - low) / 2;
            if word(self.groups, middle * GROUP_ENTRY)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let group = low.checked_sub(1)? * GROUP_ENTRY;
        let mut start = word(self.groups, group)?;
        let mut reader = Reader(
            self.functions
                .get(word(self.groups, group + 4)? as usize..)?,
        );
        let mut found = None;
        for _ in 0..GROUP {
            let Some((distance, frame, tokens)) = reader.function() else {
                break;
            };
            start = start.checked_add(distance.checked_mul(2)?)?;
            if start > address {
                break;
            }
            found = Some((start, frame, tokens));
        }
        let (start, frame, tokens) = found?;
        let frame = self.frames.get(frame as usize * FRAME_ENTRY..)?;
        let (frame, prologue) = (half(frame, 0)?, half(frame, 2)?);
        Some(Function {
            name: Name {
                tokens,
                pairs: self.pairs,
            },
            offset: u64::from(address - start),
            frame: u64::from(frame & FRAME_MASK) * 8,
            prologue: u64::from(prologue),
            by_r11: frame & FRAME_BY_R11 != 0,
            saves_r11: frame & FRAME_SAVES_R11 != 0,
        })
    }
}

/// What is read from front to back: functions, and the tokens of a name.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = 0u32;
        loop {
            let byte = self.byte()?;
            number = number.checked_mul(0x80)? | u32::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    }

    /// Distance, number of the frame, and tokens of a function.
    fn function(&mut self) -> Option<(u32, u32, &'a [u8])> {
        let (distance, frame, length) = (self.number()?, self.number()?, self.byte()?);
        let (tokens, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some((distance, frame, tokens))
    }

    fn token(&mut self) -> Option<u16> {
        let byte = self.byte()?;
        match byte.checked_sub(TWO_BYTES) {
            None => Some(byte.into()),
            Some(upper) => Some(u16::from_be_bytes([upper, self.byte()?])),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    tokens: &'a [u8],
    pairs: &'a [u8],
}

impl<'a> Name<'a> {
    /// Its characters, at most [`NAME_LIMIT`].
    pub fn chars(self) -> impl Iterator<Item = char> + 'a {
        let (mut tokens, mut waiting, mut height) = (Reader(self.tokens), [0; DEPTH], 0usize);
        let characters = core::iter::from_fn(move || {
            let mut token = match height.checked_sub(1) {
                None => tokens.token()?,
                Some(top) => {
                    height = top;
                    *waiting.get(top)?
                }
            };
            // Each round takes a place of `waiting`.
            while let Some(pair) = token.checked_sub(FIRST_PAIR) {
                let pair = self.pairs.get(usize::from(pair) * PAIR_ENTRY..)?;
                let &[first, both, second] = pair.first_chunk()?;
                *waiting.get_mut(height)? = u16::from_be_bytes([both & 0xF, second]);
                height += 1;
                token = u16::from(first) << 4 | u16::from(both >> 4);
            }
            u8::try_from(token).ok().map(char::from)
        });
        characters.take(NAME_LIMIT)
    }
}

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        self.chars()
            .try_for_each(|character| f.write_char(character))
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
    /// How many bytes there are for the table. What it does not need is not in the image file.
    const SECTION_SIZE: usize = if cfg!(feature = "test-image") { 32 } else { 16 } << 10;
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

    /// A table of one frame and two pairs, "ab" and "abab"; names are tokens.
    fn table(functions: &[(u32, &[u8])]) -> Vec<u8> {
        let (mut groups, mut bytes) = (Vec::new(), Vec::new());
        for group in functions.chunks(GROUP) {
            groups.extend(group[0].0.to_be_bytes());
            groups.extend((bytes.len() as u32).to_be_bytes());
            let mut before = group[0].0;
            for (address, name) in group {
                let distance = (address - before) / 2;
                bytes.extend([
                    distance as u8 >> 7 | 0x80,
                    distance as u8 & 0x7F,
                    0,
                    name.len() as u8,
                ]);
                bytes.extend(*name);
                before = *address;
            }
        }
        let mut table = MAGIC.to_vec();
        table.extend([0, functions.len().div_ceil(GROUP) as u8, 0, 1, 0, 2]);
        table.extend((bytes.len() as u32).to_be_bytes());
        table.extend(groups);
        table.extend([0x40, 20, 0, 6]);
        table.extend([0x06, 0x10, 0x62, 0x08, 0x00, 0x80]);
        table.extend(bytes);
        table.resize(table.len() + 64, 0);
        table
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let bytes = table(&[(0x100, b"a"), (0x200, b"bb"), (0x300, b"c")]);
        let symbols = Symbols::parse(&bytes).unwrap();
        let find = |address| {
            let function = symbols.find(address)?;
            Some((function.name.to_string(), function.offset))
        };
        assert_eq!(find(0xFF), None);
        assert_eq!(find(0x100), Some(("a".into(), 0)));
        assert_eq!(find(0x2FF), Some(("bb".into(), 0xFF)));
        assert_eq!(find(0x1234), Some(("c".into(), 0xF34)));
        assert_eq!(find(u64::MAX), None);
        let function = symbols.find(0x100).unwrap();
        assert_eq!((function.frame, function.prologue), (160, 6));
        assert!(function.saves_r11 && !function.by_r11);
    }

    #[test]
    fn an_address_in_any_group_is_found() {
        let functions: Vec<(u32, &[u8])> =
            (0..100).map(|n| (0x1000 + n * 0x20, &b"f"[..])).collect();
        let bytes = table(&functions);
        let symbols = Symbols::parse(&bytes).unwrap();
        for (address, _) in functions {
            assert_eq!(
                symbols.find(u64::from(address) + 0x1F).unwrap().offset,
                0x1F
            );
        }
    }

    #[test]
    fn pairs_stand_for_what_they_are_made_of() {
        let bytes = table(&[(0x100, &[0x81, b'c', 0x80, 0xF0, 0x81])]);
        let function = Symbols::parse(&bytes).unwrap().find(0x100).unwrap();
        assert_eq!(function.name.to_string(), "ababcababab");
    }

    #[test]
    fn an_empty_section_is_no_table() {
        assert!(Symbols::parse(&[0; 64]).is_none());
        assert!(Symbols::parse(&[]).is_none());
        assert!(Symbols::parse(&table(&[])).unwrap().find(5).is_none());
    }

    #[test]
    fn a_table_that_claims_too_much_is_refused() {
        let mut bytes = table(&[(1, b"a")]);
        bytes[14..18].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Symbols::parse(&bytes).is_none());
    }

    #[test]
    fn a_table_that_was_overwritten_ends_a_look_up_all_the_same() {
        let whole = table(&[(0x100, &[0x81, 0xF0, 0x80]), (0x200, b"b")]);
        for place in MAGIC.len()..whole.len() {
            for value in 0..=0xFF {
                let mut bytes = whole.clone();
                bytes[place] = value;
                let Some(symbols) = Symbols::parse(&bytes) else {
                    continue;
                };
                for address in [0, 0x100, 0x150, 0x200, 0xFFFF_FFFF] {
                    if let Some(function) = symbols.find(address) {
                        assert!(function.name.chars().count() <= NAME_LIMIT);
                    }
                }
            }
        }
    }
}
