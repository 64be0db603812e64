//! The storage of a translated program: CCWs from the start upward, address lists from the end
//! downward.
//!
//! The channel fetches from it at any time, so every store is one of eight bytes and atomic, and no
//! reference to its content is ever handed out.

use alloc::boxed::Box;
use core::num::NonZeroU16;
use core::sync::atomic::{AtomicU64, Ordering};

use channel::{Ccw1, CcwFlags, CommandCode};
use window::WindowSlice;
use zerocopy::FromBytes;

/// Bytes of a word of the arena.
const WORD: usize = 8;

/// An invalid CCW: a transfer in channel with everything wrong that can be, so that it is a program
/// check for a command, in data chaining, and after another transfer.
pub(super) const INVALID: Ccw1 = Ccw1::new(CommandCode::TIC, CcwFlags::all(), u16::MAX, u32::MAX);

/// Whether the channel takes a CCW for a transfer in channel, valid or not.
pub(super) const fn is_transfer_in_channel(ccw: Ccw1) -> bool {
    ccw.command & 0x0F == CommandCode::TIC.0
}

/// Whether a CCW of the arena is a transfer in channel that the channel takes.
pub(super) const fn is_valid_transfer(ccw: Ccw1) -> bool {
    ccw.command == CommandCode::TIC.0 && ccw.flags == 0
}

/// An address list in the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) first: u32,
    pub(super) words: NonZeroU16,
}

impl List {
    pub(super) fn length(self) -> usize {
        usize::from(self.words.get())
    }
}

/// The arena of one subchannel.
#[derive(Debug)]
pub(super) struct Arena {
    words: Box<[AtomicU64]>,
    /// Where the channel finds it.
    base: u32,
    /// Words from here on are lists.
    lists: usize,
}

impl Arena {
    /// An arena that the channel finds where it is.
    pub(super) fn new(bytes: usize) -> Self {
        let mut arena = Self::at(bytes, 0);
        // What does not lie below 2 GiB is of no use: the arena is empty then, and every program too long.
        let end = arena.words.as_ptr_range().end.addr();
        if end <= 1 << 31 {
            arena.base = arena.words.as_ptr().addr() as u32;
        } else {
            arena.words = Box::default();
        }
        arena
    }

    /// An arena that the channel finds at `base`, a multiple of 16.
    pub(super) fn at(bytes: usize, base: u32) -> Self {
        let words: Box<[AtomicU64]> = (0..bytes / WORD).map(|_| AtomicU64::new(0)).collect();
        Self {
            lists: words.len(),
            words,
            base,
        }
    }

    pub(super) fn clear(&mut self) {
        self.lists = self.words.len();
    }

    /// Words that are CCWs or free.
    pub(super) const fn room(&self) -> usize {
        self.lists
    }

    /// Where the channel finds a word.
    pub(super) const fn address_of(&self, index: usize) -> u32 {
        self.base + (index * WORD) as u32
    }

    /// The word at an address, if there is one.
    pub(super) fn index_of(&self, address: u32) -> Option<usize> {
        let index = address.checked_sub(self.base)? as usize / WORD;
        (index < self.words.len()).then_some(index)
    }

    /// Takes `words` words for a list, above the first `ccws` words. `whole`: a list of MIDAWs, on a
    /// boundary of 16 bytes and on one page.
    pub(super) fn take(&mut self, words: usize, ccws: usize, whole: bool) -> Option<usize> {
        let mut first = self.lists.checked_sub(words)?;
        if whole {
            let page = |index: usize| self.address_of(index) & !0xFFF;
            if page(first) != page(first + words - 1) {
                let crossing = page(first + words - 1) - self.base;
                first = (crossing as usize / WORD).checked_sub(words)?;
            }
            if !self.address_of(first).is_multiple_of(16) {
                first = first.checked_sub(1)?;
            }
        }
        if first < ccws {
            return None;
        }
        self.lists = first;
        Some(first)
    }

    /// Of the list that was taken last, keeps the first `used` words, moved to its end.
    pub(super) fn give_back(&mut self, first: usize, words: usize, used: usize) -> usize {
        let place = first + words - used;
        for index in (0..used).rev() {
            self.set(place + index, self.get(first + index));
        }
        self.lists = place;
        place
    }

    /// Stores one word, at once. What was stored before can be seen before.
    #[inline]
    pub(super) fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(value.to_be(), Ordering::Release);
        }
    }

    /// Stores the first word of a list, and those that the client has behind it, as [`set`](Self::set) does, as long as `place`
    /// gives what to store. How many words of the list are there then.
    #[inline(always)]
    pub(super) fn copy<W: FromBytes>(
        &self,
        list: List,
        value: u64,
        words: &WindowSlice<'_>,
        place: impl Fn(W) -> Option<u64>,
    ) -> usize {
        let first = list.first as usize;
        let places = self.words.get(first..first + list.length());
        let Some((first, places)) = places.and_then(|places| places.split_first()) else {
            return 0;
        };
        first.store(value.to_be(), Ordering::Release);
        let copied = words.each_with(places, |word, target| {
            let value = place(word);
            if let Some(value) = value {
                target.store(value.to_be(), Ordering::Release);
            }
            value.is_some()
        });
        1 + copied
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> u64 {
        self.words
            .get(index)
            .map_or(0, |word| u64::from_be(word.load(Ordering::Relaxed)))
    }

    #[inline]
    pub(super) fn set_ccw(&self, index: usize, ccw: Ccw1) {
        self.set(index, u64::from_be_bytes(zerocopy::transmute!(ccw)));
    }

    pub(super) fn ccw(&self, index: usize) -> Ccw1 {
        zerocopy::transmute!(self.get(index).to_be_bytes())
    }

    pub(super) fn fetch(&self, address: u32, bytes: &mut [u8]) -> Option<()> {
        let start = address.checked_sub(self.base)? as usize;
        for (at, byte) in (start..).zip(bytes) {
            let word = self.words.get(at / WORD)?.load(Ordering::Relaxed);
            *byte = *word.to_ne_bytes().get(at % WORD)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_midaws_lies_on_one_page() {
        let mut arena = Arena::at(3 * 4096, 0x1000);
        arena.take(3, 0, false).unwrap();
        for _ in 0..40 {
            let Some(first) = arena.take(14, 0, true) else {
                break;
            };
            let start = arena.address_of(first);
            assert_eq!(start % 16, 0);
            assert_eq!(start & !0xFFF, (start + 14 * 8 - 1) & !0xFFF);
        }
    }

    #[test]
    fn lists_end_where_ccws_begin() {
        let mut arena = Arena::at(64, 0x1000);
        assert_eq!(arena.take(5, 3, false), Some(3));
        assert_eq!(arena.take(1, 3, false), None);
    }

    #[test]
    fn a_ccw_is_found_where_its_address_says() {
        let arena = Arena::at(64, 0x1000);
        arena.set_ccw(2, INVALID);
        let mut bytes = [0; 8];
        arena.fetch(arena.address_of(2), &mut bytes).unwrap();
        assert_eq!(bytes, [8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(arena.fetch(0x1040, &mut bytes).is_none());
    }
}
