//! The storage of a translated program: CCWs from the start upward, address lists from the end
//! downward.
//!
//! The channel fetches from it at any time, so every store is one of eight bytes and atomic, and no
//! reference to its content is ever handed out. Several CCWs of a running program that change together are held back until all
//! of them are known ([`Arena::hold`]), and then stored in an order in which the channel finds new ground before what leads
//! there.

use core::num::NonZeroU16;
use core::sync::atomic::{AtomicU64, Ordering};
use liballoc::boxed::Box;

use channel::{Ccw1, CcwFlags, CommandCode};
use window::WindowSlice;
use zerocopy::FromBytes;

#[cfg(any(test, fuzzing))]
use super::tests::history::History;

/// Bytes of a word of the arena.
const WORD: usize = 8;
/// CCWs that are held back at most; with one more, those so far are stored.
const HELD: usize = 32;

/// An invalid CCW: a transfer in channel with everything wrong that can be, so that it is a program
/// check for a command, in data chaining, and after another transfer.
pub(super) const INVALID: Ccw1 = Ccw1::new(CommandCode::TIC, CcwFlags::all(), u16::MAX, u32::MAX);

/// A transfer in channel.
pub(super) const fn transfer_to(address: u32) -> Ccw1 {
    Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, address)
}

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
    pub(super) fn new(first: usize, words: usize) -> Option<Self> {
        Some(Self {
            first: first as u32,
            words: NonZeroU16::new(words as u16)?,
        })
    }

    pub(super) fn length(self) -> usize {
        usize::from(self.words.get())
    }
}

/// The arena of one subchannel.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) words: Box<[AtomicU64]>,
    /// Where the channel finds it.
    pub(super) base: u32,
    /// Words from here on are lists.
    lists: usize,
    /// Words below are CCWs that the channel may be at.
    running: usize,
    /// What is to be stored there.
    held: heapless::Vec<(usize, Ccw1), HELD>,
    /// What the words have held, for the tests' channel, which may find any of it.
    #[cfg(any(test, fuzzing))]
    pub(super) history: History,
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
            #[cfg(any(test, fuzzing))]
            history: History::new(words.len()),
            words,
            base,
            running: 0,
            held: heapless::Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.lists = self.words.len();
        #[cfg(any(test, fuzzing))]
        self.history.forget(0..self.lists);
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
        #[cfg(any(test, fuzzing))]
        self.history
            .taken(first..self.lists, |index| self.get(index));
        self.lists = first;
        Some(first)
    }

    /// Of the list that was taken last, keeps the first `used` words, moved to its end.
    pub(super) fn give_back(&mut self, first: usize, words: usize, used: usize) -> usize {
        let place = first + words - used;
        for index in (0..used).rev() {
            self.set(place + index, self.get(first + index));
        }
        #[cfg(any(test, fuzzing))]
        self.history.forget(first..place);
        self.lists = place;
        place
    }

    /// Stores one word, at once. What was stored before can be seen before.
    #[inline]
    pub(super) fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(value.to_be(), Ordering::Release);
            #[cfg(any(test, fuzzing))]
            self.history.stored(index, value);
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
        #[cfg(any(test, fuzzing))]
        for index in list.first as usize..list.first as usize + 1 + copied {
            self.history.stored(index, self.get(index));
        }
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
        #[cfg(any(test, fuzzing))]
        self.history.published();
        self.set(index, u64::from_be_bytes(zerocopy::transmute!(ccw)));
    }

    /// The CCW at a word, or what is held back for it.
    pub(super) fn ccw(&self, index: usize) -> Ccw1 {
        match self.held.iter().find(|held| held.0 == index) {
            Some(&(_, ccw)) => ccw,
            None => zerocopy::transmute!(self.get(index).to_be_bytes()),
        }
    }

    /// From now on, holds back what replaces one of the first `ccws` words.
    pub(super) fn hold(&mut self, ccws: usize) {
        self.running = ccws;
    }

    /// Stores a CCW over another one, now or with [`Self::store_held`].
    pub(super) fn replace_ccw(&mut self, index: usize, ccw: Ccw1) {
        if index >= self.running {
            self.set_ccw(index, ccw);
            return;
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.0 == index) {
            held.1 = ccw;
            return;
        }
        if self.held.is_full() {
            self.store_all();
        }
        // There is room.
        let _ = self.held.push((index, ccw));
    }

    /// Stores what was held back, and holds back no more.
    pub(super) fn store_held(&mut self) {
        self.store_all();
        self.running = 0;
    }

    fn store_all(&mut self) {
        for (index, ccw) in in_order(&self.held) {
            self.set_ccw(index, ccw);
        }
        self.held.clear();
    }
}

/// The order in which CCWs that replace others are stored. Programs mostly chain forward, and new ground comes before what leads
/// there: so what is ahead comes first, and transfers in channel last.
fn in_order(held: &[(usize, Ccw1)]) -> impl Iterator<Item = (usize, Ccw1)> + '_ {
    [false, true].into_iter().flat_map(move |transfers| {
        let wanted = move |held: &&(usize, Ccw1)| is_transfer_in_channel(held.1) == transfers;
        held.iter().rev().filter(wanted).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::history::fetch;
    use super::*;
    use std::vec::Vec;

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

    fn command(code: u8) -> Ccw1 {
        Ccw1::new(CommandCode(code), CcwFlags::SLI, 1, 0)
    }

    #[test]
    fn a_transfer_is_stored_after_the_ground_to_which_it_leads() {
        let tic = Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, 0x1000);
        let held = [(1, tic), (2, command(3)), (5, tic), (6, command(4))];
        let order: Vec<usize> = in_order(&held).map(|(index, _)| index).collect();
        assert_eq!(order, [6, 2, 5, 1]);
    }

    #[test]
    fn the_channel_sees_what_is_held_back_when_all_of_it_is_there() {
        let mut arena = Arena::at(64, 0x1000);
        (0..8).for_each(|index| arena.set_ccw(index, command(1)));
        arena.hold(4);
        arena.replace_ccw(1, command(2));
        arena.replace_ccw(1, command(3));
        arena.replace_ccw(5, command(3));
        let seen = |arena: &Arena, index| arena.get(index).to_be_bytes()[0];
        assert_eq!(seen(&arena, 1), 1);
        assert_eq!(arena.ccw(1).command, 3);
        // The channel cannot be there yet.
        assert_eq!(seen(&arena, 5), 3);
        arena.store_held();
        assert_eq!(seen(&arena, 1), 3);
        arena.replace_ccw(1, command(4));
        assert_eq!(seen(&arena, 1), 4);
    }

    #[test]
    fn more_than_can_be_held_back_is_stored() {
        let mut arena = Arena::at(8 * 64, 0x1000);
        arena.hold(64);
        (0..64).for_each(|index| arena.replace_ccw(index, command(7)));
        arena.store_held();
        assert!((0..64).all(|index| arena.ccw(index).command == 7));
        assert!(arena.held.is_empty());
    }

    #[test]
    fn a_ccw_is_found_where_its_address_says() {
        let arena = Arena::at(64, 0x1000);
        arena.set_ccw(2, INVALID);
        let mut bytes = [0; 8];
        fetch(&arena, arena.address_of(2), &mut bytes).unwrap();
        assert_eq!(bytes, [8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(fetch(&arena, 0x1040, &mut bytes).is_none());
    }
}
