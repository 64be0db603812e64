//! Pages that say themselves what they are.
//!
//! A page holds its address and the stamp of the write that made it, and every word of it follows from those two: a page that is
//! elsewhere, of another write, of two writes, or of none, is seen as such. One that was never written is zeros.

/// Bytes of a page.
pub const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();

/// Which write made a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The life of the program that wrote it, from 1 on; 0 if nobody has.
    pub life: u32,
    /// The number of the write, from 1 on.
    pub number: u32,
}

impl Stamp {
    /// That of a page that was never written.
    pub const NEVER: Self = Self { life: 0, number: 0 };
}

/// Makes `page` what the write `stamp` of the page at `address` writes.
pub fn fill(page: &mut [u8], address: u64, stamp: Stamp) {
    for (index, word) in page.chunks_exact_mut(WORD).enumerate() {
        word.copy_from_slice(&value(address, stamp, index).to_be_bytes());
    }
}

/// The stamp of the page at `address`; none, if it is not wholly one of that address.
pub fn stamp_of(page: &[u8], address: u64) -> Option<Stamp> {
    let second = word(page, 1);
    let stamp = Stamp {
        life: (second >> 32) as u32,
        number: second as u32,
    };
    let whole = (0..PAGE / WORD).all(|index| word(page, index) == value(address, stamp, index));
    whole.then_some(stamp)
}

fn word(page: &[u8], index: usize) -> u64 {
    page[index * WORD..][..WORD]
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn value(address: u64, stamp: Stamp, index: usize) -> u64 {
    let both = u64::from(stamp.life) << 32 | u64::from(stamp.number);
    match (stamp, index) {
        (Stamp::NEVER, _) => 0,
        (_, 0) => address,
        (_, 1) => both,
        _ => (address ^ both.rotate_left(20))
            .wrapping_add(index as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        life: 2,
        number: 77,
    };

    fn page(address: u64, stamp: Stamp) -> [u8; PAGE] {
        let mut page = [0xA5; PAGE];
        fill(&mut page, address, stamp);
        page
    }

    #[test]
    fn a_page_says_which_write_made_it() {
        assert_eq!(stamp_of(&page(5, STAMP), 5), Some(STAMP));
        assert_eq!(stamp_of(&[0; PAGE], 5), Some(Stamp::NEVER));
    }

    #[test]
    fn a_page_in_another_place_is_none() {
        assert_eq!(stamp_of(&page(5, STAMP), 6), None);
    }

    #[test]
    fn a_page_of_two_writes_is_none_wherever_they_meet() {
        let next = page(
            5,
            Stamp {
                number: 78,
                ..STAMP
            },
        );
        for cut in (512..PAGE).step_by(512) {
            let mut torn = page(5, STAMP);
            torn[cut..].copy_from_slice(&next[cut..]);
            assert_eq!(stamp_of(&torn, 5), None);
            torn[..cut].copy_from_slice(&next[..cut]);
            torn[cut..].fill(0);
            assert_eq!(stamp_of(&torn, 5), None);
        }
    }
}
