//! Loops that nothing ends.
//!
//! A channel program may go round for ever: HALT and CLEAR SUBCHANNEL end it. But where the machine runs a program *within* START
//! SUBCHANNEL, as a hypervisor does with the devices that it emulates, nobody can issue these, and everybody waits. There, a loop is
//! a program check where it closes, unless something in it can end it.
//!
//! What can: a suspend flag that the ORB admits, because START ends there; a search, which ends by status modifier or, at the latest, with no
//! record found. What cannot: the client's CPU, which changes its own storage and not the translation; data that the program reads over
//! its own CCWs, since the chain is cut there, see `dirty`, or prefetched. A unit check ends a loop as well; it mostly comes in the
//! first round, which is executed.
//!
//! # Limits
//!
//! Of devices whose searches are not known ([`Classify`](channel::Classify)), no loop goes on.

use channel::{Ccw1, CcwFlags, Classify, CommandClass, CommandCode};

use super::arena::{is_transfer_in_channel, is_valid_transfer, INVALID};
use super::program::TranslatedProgram;
use super::ranges::Walk;

/// The search for loops in a program.
pub(super) struct Cycles<'a> {
    pub(super) program: &'a mut TranslatedProgram,
    pub(super) classify: Classify,
    /// The ORB admits suspend flags.
    pub(super) suspends: bool,
}

impl Cycles<'_> {
    /// Makes loops that nothing ends invalid where they close. Each slot is passed a fixed number of times.
    pub(super) fn end(&mut self) {
        for slot in 0..self.program.ranges.used() {
            self.set_walk(slot, Walk::Never);
        }
        self.end_cycle(0);
        // Past each search is a cursor of its own.
        for slot in 0..self.program.ranges.used() {
            let ccw = self.program.arena.ccw(slot);
            if self.searches(slot, ccw) && ccw.flags().contains(CcwFlags::CC) {
                self.end_cycle(slot + 2);
            }
        }
    }

    /// The same for the cursor that the channel goes from a slot on, as long as no status modifier leads it elsewhere, and as far as it is
    /// not known from before. That is one cursor: it goes round if it comes back to where it has been.
    fn end_cycle(&mut self, from: usize) {
        let mut at = Some(from);
        while let Some(slot) = at.filter(|&slot| self.walk(slot) == Walk::Never) {
            self.set_walk(slot, Walk::Now);
            at = self.after(slot);
        }
        let inside = at.filter(|&slot| self.walk(slot) == Walk::Now);
        at = Some(from);
        while let Some(slot) = at.filter(|&slot| self.walk(slot) == Walk::Now) {
            self.set_walk(slot, Walk::Before);
            at = self.after(slot);
        }
        if let Some(inside) = inside {
            self.close_cycle(inside);
        }
    }

    /// Unless something in a loop can end it, makes its last transfer in channel invalid, so that one round of it is executed. It begins with
    /// the slot `first`.
    fn close_cycle(&mut self, first: usize) {
        let mut last = None;
        let mut at = first;
        loop {
            if self.can_end(at) {
                return;
            }
            if is_valid_transfer(self.program.arena.ccw(at)) {
                last = Some(at);
            }
            match self.after(at) {
                Some(next) if next != first => at = next,
                Some(_) | None => break,
            }
        }
        if let Some(last) = last {
            self.program.arena.replace_ccw(last, INVALID);
        }
    }

    fn walk(&self, slot: usize) -> Walk {
        self.program.ranges.slot(slot).walk
    }

    fn set_walk(&mut self, slot: usize, walk: Walk) {
        if let Some(slot) = self.program.ranges.slot_mut(slot) {
            slot.walk = walk;
        }
    }

    /// The slot to which the channel goes from a slot, unless status leads it elsewhere.
    fn after(&self, slot: usize) -> Option<usize> {
        let ccw = self.program.arena.ccw(slot);
        let next = if is_valid_transfer(ccw) {
            self.program.arena.index_of(ccw.address.get())?
        } else if is_transfer_in_channel(ccw)
            || !ccw.flags().intersects(CcwFlags::CC | CcwFlags::CD)
        {
            return None;
        } else {
            slot + 1
        };
        (next < self.program.ranges.used()).then_some(next)
    }

    /// Whether the channel may not go on from a slot.
    fn can_end(&self, slot: usize) -> bool {
        let ccw = self.program.arena.ccw(slot);
        let suspends = self.suspends
            && !is_transfer_in_channel(ccw)
            && ccw.flags().contains(CcwFlags::SUSPEND);
        suspends || self.searches(slot, ccw)
    }

    fn searches(&self, slot: usize, ccw: Ccw1) -> bool {
        let is_command =
            !self.program.ranges.slot(slot).kind.is_link() && !is_transfer_in_channel(ccw);
        is_command && (self.classify)(CommandCode(ccw.command)) == Some(CommandClass::Searches)
    }
}
