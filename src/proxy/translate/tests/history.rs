//! What the words of an arena have held: for the tests' channel, which may find any of it.
//!
//! The channel reads while the translator stores. So of a word that is replaced it may find what was there or what is there
//! now, whatever it has found of others. Of a new list it finds all that was stored before the first CCW that came after it, and
//! where nothing was stored, what happened to be there.

use core::cell::RefCell;
use core::ops::Range;
use core::sync::atomic::Ordering;
use liballoc::vec;
use liballoc::vec::Vec;

use channel::Classify;

use super::translate::arena::Arena;
use super::translate::{replay, Translator};

/// The values of each word since the channel was last known to find none but the present one; none of a word that is free.
#[derive(Debug, Default)]
struct Words {
    held: Vec<Vec<u64>>,
    /// Those to which no CCW leads yet.
    fresh: Range<usize>,
}

#[derive(Debug)]
pub struct History(RefCell<Words>);

impl History {
    pub fn new(words: usize) -> Self {
        Self(RefCell::new(Words {
            held: vec![Vec::new(); words],
            fresh: 0..0,
        }))
    }

    /// A word holds a value.
    pub fn stored(&self, index: usize, value: u64) {
        if let Some(held) = self.0.borrow_mut().held.get_mut(index) {
            held.push(value);
        }
    }

    /// These words are taken for a list.
    pub fn taken(&self, words: Range<usize>, now: impl Fn(usize) -> u64) {
        self.forget(words.clone());
        words
            .clone()
            .for_each(|index| self.stored(index, now(index)));
        let fresh = &mut self.0.borrow_mut().fresh;
        let end = if fresh.start >= fresh.end {
            words.end
        } else {
            fresh.end
        };
        *fresh = words.start..end;
    }

    /// A CCW is stored, which may lead to what was taken.
    pub fn published(&self) {
        let fresh = core::mem::take(&mut self.0.borrow_mut().fresh);
        self.settle(fresh);
    }

    /// Nothing is in these words any more.
    pub fn forget(&self, words: Range<usize>) {
        let held = &mut self.0.borrow_mut().held;
        let held = held.get_mut(words);
        held.into_iter().flatten().for_each(Vec::clear);
    }

    /// Of these words, the channel finds nothing but what is there now.
    pub fn settle(&self, words: Range<usize>) {
        let held = &mut self.0.borrow_mut().held;
        for held in held.get_mut(words).into_iter().flatten() {
            let now = held.pop();
            held.clear();
            held.extend(now);
        }
    }

    /// One of the values that a word may be found to hold, the oldest being 0. `None`: it is free.
    pub fn any(&self, index: usize, choose: &mut dyn FnMut(usize) -> usize) -> Option<u64> {
        let words = self.0.borrow();
        let held = words.held.get(index)?;
        let last = held.len().checked_sub(1)?;
        let chosen = if last == 0 { 0 } else { choose(last + 1) };
        held.get(chosen.min(last)).copied()
    }
}

/// A translator as the tests' channel has it.
pub trait ChannelSide: Sized {
    /// One with storage that the channel finds at `base`: the arena, and 2 KiB behind it.
    fn at(arena_bytes: usize, base: u32) -> Self;

    /// For a device to which these commands can be said again.
    #[must_use]
    fn replaying(self, classify: Classify) -> Self;

    /// Copies `bytes.len()` bytes of the arena. `None` outside of it.
    fn fetch(&self, address: u32, bytes: &mut [u8]) -> Option<()>;

    /// Whether a program is there that has not been [released](Translator::release).
    fn is_live(&self) -> bool;

    /// The channel is started now, so it finds nothing that was there before.
    fn settle(&self);

    /// As [`fetch`](Self::fetch), but of each word any of the values that it has held since the start, of which `choose`
    /// takes one, given their number. `None` for what has never been stored, too.
    fn fetch_any(
        &self,
        address: u32,
        bytes: &mut [u8],
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> Option<()>;
}

impl ChannelSide for Translator {
    fn at(arena_bytes: usize, base: u32) -> Self {
        let behind = base + arena_bytes as u32;
        let repeat = Arena::at(replay::BYTES, behind);
        Self::with_arenas(Arena::at(arena_bytes, base), repeat)
    }

    fn replaying(mut self, classify: Classify) -> Self {
        self.set_classify(classify);
        self
    }

    fn fetch(&self, address: u32, bytes: &mut [u8]) -> Option<()> {
        let fetched = fetch(&self.chain.program.arena, address, bytes);
        fetched.or_else(|| fetch(&self.replay.arena, address, bytes))
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn settle(&self) {
        for arena in [&self.chain.program.arena, &self.replay.arena] {
            arena.history.settle(0..arena.words.len());
        }
    }

    fn fetch_any(
        &self,
        address: u32,
        bytes: &mut [u8],
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> Option<()> {
        let fetched = fetch_any(&self.chain.program.arena, address, bytes, choose);
        fetched.or_else(|| fetch_any(&self.replay.arena, address, bytes, choose))
    }
}

pub(in super::super) fn fetch(arena: &Arena, address: u32, bytes: &mut [u8]) -> Option<()> {
    let start = address.checked_sub(arena.base)? as usize;
    for (at, byte) in (start..).zip(bytes) {
        let word = arena.words.get(at / WORD)?.load(Ordering::Relaxed);
        *byte = *word.to_ne_bytes().get(at % WORD)?;
    }
    Some(())
}

fn fetch_any(
    arena: &Arena,
    address: u32,
    bytes: &mut [u8],
    choose: &mut dyn FnMut(usize) -> usize,
) -> Option<()> {
    let first = arena
        .index_of(address)
        .filter(|_| address.is_multiple_of(8))?;
    for (index, part) in (first..).zip(bytes.chunks_mut(WORD)) {
        let word = arena.history.any(index, choose)?.to_be_bytes();
        part.iter_mut().zip(word).for_each(|(to, from)| *to = from);
    }
    Some(())
}

/// Bytes of a word of an arena.
const WORD: usize = 8;
