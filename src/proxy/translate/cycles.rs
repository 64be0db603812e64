//! Loops that nothing ends.
//!
//! A channel program may go round for ever: HALT and CLEAR SUBCHANNEL end it. But where the machine runs a program *within* START
//! SUBCHANNEL, as a hypervisor does with the devices that it emulates, nobody can issue these, and everybody waits. There, a loop is
//! a program check where it closes, unless something in it can end it.
//!
//! What can: a suspend flag that the ORB admits, because START ends there; a search, which ends by status modifier or, at the latest, with no
//! record found. What cannot: the client's CPU, which changes its own storage and not the translation; data that the program reads over
//! its own CCWs, since the chain is [cut](super::watch) there, or prefetched. A unit check ends a loop as well; it mostly comes in the
//! first round, which is executed.
//!
//! # Limits
//!
//! Of devices whose searches are not known ([`Roles`](super::Roles)), no loop goes on.

use channel::{Ccw1, CcwFlags, CommandCode, OrbFlags};

use super::arena::{is_transfer_in_channel, is_valid_transfer, INVALID};
use super::repeat::Role;
use super::Translator;

impl Translator {
    /// Where the machine runs programs within START and RESUME SUBCHANNEL, makes loops that nothing ends invalid where they close.
    /// To be called whenever the program has changed.
    pub fn end_cycles(&mut self) {
        if !self.within_start || !self.live {
            return;
        }
        self.end_cycle(0);
        // Past each search is a way of its own.
        for slot in 0..self.ground.used() {
            let ccw = self.arena.ccw(slot);
            if self.searches(slot, ccw) && ccw.flags().contains(CcwFlags::CC) {
                self.end_cycle(slot + 2);
            }
        }
    }

    /// The same for the way that the channel goes from a slot on, as long as no status modifier leads it elsewhere. That is one way,
    /// so when it is longer than there are slots it goes round.
    fn end_cycle(&mut self, from: usize) {
        let slots = self.ground.used();
        // Where the way goes on behind what can end it, and how far that is.
        let (mut from, mut steps) = (from, 0);
        let mut at = from;
        for _ in 0..=2 * slots {
            let Some(next) = self.after(at) else {
                return;
            };
            steps += 1;
            if self.can_end(at) {
                (from, steps) = (next, 0);
            }
            at = next;
            if steps > slots {
                return self.close_cycle(from, at);
            }
        }
    }

    /// Makes the last transfer in channel of a loop invalid, so that one round of it is executed. `from` leads into it, `inside` is one of its slots.
    fn close_cycle(&mut self, from: usize, inside: usize) {
        let mut length = 1;
        let mut at = inside;
        while let Some(next) = self.after(at).filter(|&next| next != inside) {
            at = next;
            length += 1;
        }
        // Two that are one round apart meet where the loop begins.
        let (mut first, mut second) = (from, from);
        for _ in 0..length {
            second = self.after(second).unwrap_or(second);
        }
        for _ in 0..self.ground.used() {
            if first == second {
                break;
            }
            first = self.after(first).unwrap_or(first);
            second = self.after(second).unwrap_or(second);
        }
        let mut last = None;
        let mut at = first;
        for _ in 0..length {
            if is_valid_transfer(self.arena.ccw(at)) {
                last = Some(at);
            }
            at = self.after(at).unwrap_or(at);
        }
        if let Some(last) = last {
            self.arena.replace_ccw(last, INVALID);
        }
    }

    /// The slot to which the channel goes from a slot, unless status leads it elsewhere.
    fn after(&self, slot: usize) -> Option<usize> {
        let ccw = self.arena.ccw(slot);
        let next = if is_valid_transfer(ccw) {
            self.arena.index_of(ccw.address.get())?
        } else if is_transfer_in_channel(ccw)
            || !ccw.flags().intersects(CcwFlags::CC | CcwFlags::CD)
        {
            return None;
        } else {
            slot + 1
        };
        (next < self.ground.used()).then_some(next)
    }

    /// Whether the channel may not go on from a slot.
    fn can_end(&self, slot: usize) -> bool {
        let ccw = self.arena.ccw(slot);
        let suspends = self.orb.flags().contains(OrbFlags::SUSPEND_CONTROL)
            && !is_transfer_in_channel(ccw)
            && ccw.flags().contains(CcwFlags::SUSPEND);
        suspends || self.searches(slot, ccw)
    }

    fn searches(&self, slot: usize, ccw: Ccw1) -> bool {
        let is_command = !self.ground.slot(slot).mark.is_link() && !is_transfer_in_channel(ccw);
        is_command && (self.roles)(CommandCode(ccw.command)) == Some(Role::Searches)
    }
}
