//! That this program has died of itself, for its next life.
//!
//! A crash report stores a word in the control area, which outlives the program: somebody who kills the program stores nothing there. See
//! [`vcss::underway`].
//!
//! # Rule
//!
//! The report trusts nothing. The address is known twice, the second time inverted; if the two do not agree, nothing is stored.

use core::sync::atomic::{AtomicUsize, Ordering};

use vcss::Word;

/// Where the word is, and the same with all bits inverted. Both are 0 as long as there is none.
static PLACE: AtomicUsize = AtomicUsize::new(0);
static INVERTED: AtomicUsize = AtomicUsize::new(0);

/// A crash is told in this word from now on.
pub fn tell_in(word: &Word<'static>) {
    let place = word.address();
    PLACE.store(place, Ordering::Relaxed);
    INVERTED.store(!place, Ordering::Relaxed);
}

/// Tells of a crash, if it is known where.
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub(super) fn tell() {
    let (place, inverted) = (
        PLACE.load(Ordering::Relaxed),
        INVERTED.load(Ordering::Relaxed),
    );
    if let Some(place) = checked(place, inverted) {
        // SAFETY: it is the address of a word of shared storage, which is there for good, and to which there are no references.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u32>(place).write_volatile(1_u32.to_be());
        }
    }
}

/// The address, if both agree on it and it can be a word's.
fn checked(place: usize, inverted: usize) -> Option<usize> {
    let agree = place == !inverted;
    (agree && place != 0 && place.is_multiple_of(align_of::<u32>())).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn an_address_that_was_never_told_or_was_spoilt_is_not_used() {
        assert_eq!(checked(0x1000, !0x1000), Some(0x1000));
        for (place, inverted) in [(0, 0), (0, !0), (0x1000, 0x1000), (0x1001, !0x1001)] {
            assert_eq!(checked(place, inverted), None);
        }
        assert_eq!(checked(0x1004, !0x1000), None);
    }
}
