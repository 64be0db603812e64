//! A program that changes while it runs.
//!
//! Without prefetch the channel fetches a CCW, and an address word, when it gets there. [`ClientChain::refresh`] looks at the
//! client's words again and stores what has changed, each CCW and each address word by one store of eight bytes: the channel sees
//! it as it would see a store of the client's that came a little later. A suspended program is the same case, whatever its ORB says
//! about prefetch: refresh it before it is resumed.
//!
//! Who changes a running program prepares what is ahead, and then stores the one CCW that leads there. So a changed CCW is not stored before
//! everything has been compared once more without a change: whatever the client stored earlier is there then. And of
//! several that changed, the one that leads to the others comes last.
//!
//! That is what makes a change *right*. No order and no moment of it makes a word *unsafe*: whatever the channel finds, old or new, lies in
//! the window or is invalid, see `data`.
//!
//! # Limits
//!
//! Changes use up the arena. When it is full, a changed CCW becomes an invalid one. Of more than 32 CCWs that changed together,
//! or of a program that changes faster than it can be compared, the channel may find some before those that they lead to.

use channel::{Ccw1, CcwFlags};
use window::Window;

use super::arena::{is_transfer_in_channel, is_valid_transfer, INVALID};
use super::follow::{ClientChain, Cursor};
use super::program::Chaining;
use super::ranges::{Segment, Slot, SlotKind, Transfer, LINKS};

/// How often a program is compared that keeps changing meanwhile, before what has been found is stored all the same.
const LOOKS: u32 = 4;

/// Who has changed a CCW: see [`ClientChain::doubt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The CPU.
    None,
    /// Perhaps the device, but not by this command or one after it that the channel comes to without a cut.
    Device,
    /// Perhaps the device by this command, as a READ IPL does that reads to its own place. Or it is in data chaining, where the chain
    /// cannot be stopped.
    Itself,
}

impl ClientChain {
    /// Compares the client's program with what was translated, and translates again what has changed: so many CCWs are new, or have
    /// another address list.
    pub(super) fn refresh(&mut self, window: &Window) -> u32 {
        let mut changed = 0;
        self.program.ranges.chained = 0;
        self.program.ranges.detours = 0;
        self.program.arena.hold(self.program.ranges.used());
        for _ in 0..LOOKS {
            let before = changed;
            self.look(window, &mut changed);
            if changed == before {
                break;
            }
        }
        self.program.arena.store_held();
        changed
    }

    /// Compares everything once.
    fn look(&mut self, window: &Window, changed: &mut u32) {
        // What is appended now is new.
        let known = self.program.ranges.segments().len();
        for number in 0..known {
            if let Some(&segment) = self.program.ranges.segments().get(number) {
                self.refresh_segment(segment, window, changed);
            }
        }
        // A link may lead to what changed in a later segment, and there may be new ones.
        let mut number = 0;
        while let Some(segment) = self.program.ranges.segments().get(number) {
            let end = segment.first + segment.length;
            self.refresh_links(end as usize, window);
            number += 1;
        }
    }

    fn refresh_segment(&mut self, segment: Segment, window: &Window, changed: &mut u32) {
        let first = segment.first as usize;
        let end = first + segment.length as usize;
        for slot in first..end {
            let known = self.program.ranges.slot(slot);
            if !matches!(known.kind, SlotKind::Plain | SlotKind::Cut) {
                continue;
            }
            let at = segment.client + 8 * (slot - first) as u32;
            let Some(ccw) = self.program.read_ccw(at, window) else {
                continue;
            };
            let same = bytes(ccw) == bytes(known.client);
            match self.doubt(&known, at) {
                Doubt::None => {}
                Doubt::Device if same => {}
                Doubt::Device => {
                    self.take_back(slot, at);
                    continue;
                }
                Doubt::Itself => {
                    if !same && known.kind == SlotKind::Cut {
                        self.take_back(slot, at);
                    }
                    continue;
                }
            }
            let entry = self.entry_now(slot);
            self.program.dirty.take_fresh();
            let words = self.program.words_of(&known);
            if !same || entry != known.entry || !self.program.refill(&known, window) {
                self.change(slot, Slot { entry, ..known }, ccw, end, window);
                *changed += 1;
            }
            self.steady &= self.program.words_of(&known) == words;
            if self.program.dirty.take_fresh() {
                self.cut_behind(slot);
            }
        }
    }

    /// When a CCW changes where the device stores, that was the device, after the channel had been there, or the CPU, before it.
    fn doubt(&self, known: &Slot, at: u32) -> Doubt {
        let chains = !is_transfer_in_channel(known.client);
        let in_data =
            known.entry != Transfer::None || chains && known.client.flags().contains(CcwFlags::CD);
        if !self.program.dirty.hits(at.into(), u64::from(at) + 8) {
            Doubt::None
        } else if known.kind == SlotKind::Cut || in_data {
            Doubt::Itself
        } else {
            Doubt::Device
        }
    }

    /// Lets a CCW, and the transfers in channel that lead to it, lead to a stop for the same place. If the channel has it already, the
    /// chain ends where it is cut, as if nothing had happened; if not, it ends at the stop, and goes on with what the CPU has stored.
    fn take_back(&mut self, slot: usize, at: u32) {
        if self.program.is_taken_back(slot) {
            return;
        }
        let leads_here = bytes(self.program.transfer_to(slot));
        let used = self.program.ranges.used();
        let Some(stop) = self.program.add_stop(at, SlotKind::Stop) else {
            return;
        };
        let after_transfer = self
            .program
            .add_stop(at, SlotKind::StopTransferred)
            .unwrap_or(stop);
        for leader in 0..used {
            let leads = matches!(
                self.program.ranges.slot(leader).kind,
                SlotKind::Plain | SlotKind::Link
            );
            if !leads || bytes(self.program.arena.ccw(leader)) != leads_here {
                continue;
            }
            // A link that continues a segment stands for this place itself, and not for a transfer of the client's.
            let chained = self.program.ranges.client_address(leader) == Some(at);
            let to = if chained { stop } else { after_transfer };
            self.program
                .arena
                .replace_ccw(leader, self.program.transfer_to(to));
        }
        self.program
            .arena
            .replace_ccw(slot, self.program.transfer_to(stop));
    }

    /// What is going on at a slot, as the CCWs before it are now.
    fn entry_now(&self, slot: usize) -> Transfer {
        let (before, chaining) = self.program.chaining_to(slot, 1);
        match chaining {
            Chaining::Data => before.transfer,
            Chaining::Commands => Transfer::None,
            Chaining::Nothing if self.program.skips_to(slot) => Transfer::None,
            Chaining::Nothing => self.program.ranges.slot(slot).entry,
        }
    }

    /// Translates a changed CCW. What it leads to is there before the CCW is.
    fn change(&mut self, index: usize, mut slot: Slot, ccw: Ccw1, end: usize, window: &Window) {
        self.steady = false;
        let placed = if is_transfer_in_channel(ccw) {
            slot.client = ccw;
            slot.transfer = slot.entry;
            slot.list = None;
            let known = self
                .program
                .target(ccw)
                .and_then(|at| self.reach(at, slot.entry, true, window));
            known.map_or(INVALID, |known| self.program.transfer_to(known))
        } else {
            self.program
                .place(ccw, &mut slot, window)
                .unwrap_or(INVALID)
        };
        let cut = slot.kind == SlotKind::Cut;
        let placed = if cut && ccw.flags().contains(CcwFlags::CD) {
            // What follows is not translated, and no place for the chain to stop.
            INVALID
        } else {
            placed
        };
        slot.kind = SlotKind::Plain;
        if let Some(place) = self.program.ranges.slot_mut(index) {
            *place = slot;
        }
        if index + 2 >= end {
            self.refresh_links(end, window);
        }
        if is_valid_transfer(placed) {
            self.redirect_links(index, placed);
        }
        self.program.arena.replace_ccw(index, placed);
        if cut {
            self.cut_behind(index);
        }
    }

    /// Puts into the links that lead to a slot what the slot is going to be: a transfer in channel, to which none may lead.
    fn redirect_links(&mut self, index: usize, placed: Ccw1) {
        let leads_here = bytes(self.program.transfer_to(index));
        let mut number = 0;
        while let Some(segment) = self.program.ranges.segments().get(number) {
            let end = (segment.first + segment.length) as usize;
            for link in end..end + LINKS {
                let leads = self.program.ranges.slot(link).kind == SlotKind::Link;
                if leads && bytes(self.program.arena.ccw(link)) == leads_here {
                    self.program.arena.replace_ccw(link, placed);
                }
            }
            number += 1;
        }
    }

    /// The slot of a client's CCW, translated now if it is not yet. `transferred`: a transfer in channel leads there.
    fn reach(
        &mut self,
        at: u32,
        entry: Transfer,
        transferred: bool,
        window: &Window,
    ) -> Option<usize> {
        if let Some(known) = self.program.ranges.find(at, entry, transferred) {
            if entry != Transfer::None || self.program.is_true(known) {
                return Some(known);
            }
            return self.program.add_stop(at, SlotKind::stop(transferred));
        }
        if !self.program.may_open(at) {
            return None;
        }
        let first = self.program.ranges.used();
        // What is beyond a limit is an invalid CCW there.
        let mut cursor = Cursor::to(at, entry, true);
        cursor.transferred = transferred;
        let _ = self.follow(cursor, window);
        self.follow_detours(window);
        Some(first)
    }

    /// Makes the links of the segment that ends at `end` lead on, as far as its last CCWs do, or did: the channel may have
    /// fetched them before they changed.
    fn refresh_links(&mut self, end: usize, window: &Window) {
        for link in end..end + LINKS {
            let slot = self.program.ranges.slot(link);
            if slot.kind == SlotKind::Link {
                self.refresh_link(link, slot.entry, window);
            }
        }
        let (last, chaining) = self.program.chaining_to(end, 1);
        let entry = match chaining {
            Chaining::Data => Some(last.transfer),
            Chaining::Commands => Some(Transfer::None),
            Chaining::Nothing => self.program.skips_to(end).then_some(Transfer::None),
        };
        if let Some(entry) = entry {
            self.refresh_link(end, entry, window);
        }
        if chaining == Chaining::Commands {
            self.refresh_link(end + 1, Transfer::None, window);
        }
    }

    fn refresh_link(&mut self, link: usize, entry: Transfer, window: &Window) {
        let Some(target) = self.program.ranges.client_address(link) else {
            return;
        };
        let there = self.program.ranges.find(target, entry, false);
        let holds = bytes(self.program.arena.ccw(link));
        if there.is_some_and(|known| bytes(self.program.link_to(known)) == holds) {
            return;
        }
        if let Some(known) = self.reach(target, entry, false, window) {
            self.steady = false;
            self.program.set_link(link, known, entry);
        }
    }

    /// Ends the chain behind a CCW that now reads over the program. In data chaining it cannot be ended: what the
    /// device writes then is seen when it is looked for again.
    fn cut_behind(&mut self, slot: usize) {
        if self.program.chaining_to(slot + 1, 1).1 == Chaining::Commands {
            self.steady = false;
            self.program.cut(slot);
        }
    }
}

fn bytes(ccw: Ccw1) -> [u8; 8] {
    zerocopy::transmute!(ccw)
}
