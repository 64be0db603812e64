//! What the words of an arena have held: for the tests' channel, which may find any of it.
//!
//! The channel reads while the translator stores. So of a word that is replaced it may find what was there or what is there
//! now, whatever it has found of others. Of a new list it finds all that was stored before the first CCW that came after it, and
//! where nothing was stored, what happened to be there.

use core::cell::RefCell;
use core::ops::Range;
use liballoc::vec;
use liballoc::vec::Vec;

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

    /// These words hold what is there now.
    pub fn copied(&self, words: Range<usize>, now: impl Fn(usize) -> u64) {
        words.for_each(|index| self.stored(index, now(index)));
    }

    /// These words are taken for a list.
    pub fn taken(&self, words: Range<usize>, now: impl Fn(usize) -> u64) {
        self.forget(words.clone());
        self.copied(words.clone(), now);
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
