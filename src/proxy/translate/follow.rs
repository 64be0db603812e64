//! The chain: what the channel can reach, CCW after CCW.
//!
//! Chaining leads from a CCW to the next, and a transfer in channel to its target: that is one way, and [`Translator::follow`] goes it.
//! A status modifier leads from a CCW that chains commands past the next one. Within a segment that is ground
//! which is translated anyway; past its end it is a *detour*: taken at once when there is no other way to go,
//! else kept in a work list until the way is done. A detour is a possibility, so its limit does
//! not refuse the program: the CCW that is too much is invalid, and only met when a status modifier leads to it.

use channel::{Ccw1, CcwFlags, CommandCode};
use window::Window;

use super::arena::{self, is_transfer_in_channel, transfer_to, INVALID};
use super::ground::{Mark, Slot, Transfer, LINKS};
use super::{Limit, Translator, MAX_CCWS, MAX_DETOUR};

/// No CCW: a status modifier leads here, or START SUBCHANNEL.
const NOBODY: usize = usize::MAX;

/// How the channel comes to a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Client address.
    pub(super) at: u32,
    /// What is going on.
    pub(super) entry: Transfer,
    /// Reached by chaining alone.
    pub(super) sure: bool,
    /// Reached by a transfer in channel: another one may not follow.
    pub(super) transferred: bool,
    /// The slot whose command chaining leads here.
    leader: usize,
    /// The slot of the command that is going on, and the one whose command chaining leads to that.
    command: usize,
    before_command: usize,
}

impl Way {
    /// A place where a command begins.
    pub(super) const fn to(at: u32, entry: Transfer, sure: bool) -> Self {
        Self {
            at,
            entry,
            sure,
            transferred: false,
            leader: NOBODY,
            command: NOBODY,
            before_command: NOBODY,
        }
    }
}

/// How the two CCWs before lead to the one that is looked at.
#[derive(Clone, Copy, Debug)]
struct Chaining {
    /// The one before chains.
    on: bool,
    /// The one before chains commands.
    commands: bool,
    /// The one before that chains commands: a status modifier leads here.
    skips: bool,
}

impl Chaining {
    const START: Self = Self {
        on: true,
        commands: false,
        skips: false,
    };

    /// After a CCW that chains so.
    fn after(self, on: bool, commands: bool) -> Self {
        Self {
            on,
            commands,
            skips: self.commands,
        }
    }
}

impl Translator {
    /// Translates all that can be reached from a first CCW.
    pub(super) fn follow_all(&mut self, first: u32, window: &Window) -> Result<(), Limit> {
        self.follow(Way::to(first, self.began, true), window)?;
        self.follow_detours(window);
        Ok(())
    }

    /// Translates what waits in the work list. Each entry is a link slot, which is used up.
    pub(super) fn follow_detours(&mut self, window: &Window) {
        while let Some(link) = self.ground.pending.pop() {
            let link = link as usize;
            let Some(target) = self.ground.client_address(link) else {
                continue;
            };
            let to = match self.ground.find(target, Transfer::None, false) {
                Some(known) if self.is_true(known) => Some(known),
                // When the channel gets there, that may no longer be true.
                Some(_) => self.add_stop(target, Mark::Stop),
                None if self.may_open(target) => {
                    let first = self.ground.used();
                    // A detour is never refused.
                    let _ = self.follow(Way::to(target, Transfer::None, false), window);
                    Some(first)
                }
                None => None,
            };
            if let Some(to) = to {
                self.set_link(link, to, Transfer::None);
            }
        }
    }

    /// Whether what is known of a slot is so whenever the channel gets there: the device does not write it.
    pub(super) fn is_true(&self, known: usize) -> bool {
        !self.ground.slot(known).mark.is_translated() || !self.watch.overwritten()
    }

    /// Whether a segment can begin at an address.
    pub(super) fn may_open(&self, client: u32) -> bool {
        u64::from(client) < self.shape.limit
            && self.ground.has_segment()
            && self.ground.has_room(self.arena.room())
    }

    /// Follows the chain from unknown ground, in segments of its own, until it ends or comes to known ground.
    pub(super) fn follow(&mut self, mut way: Way, window: &Window) -> Result<(), Limit> {
        'segment: loop {
            self.ground.open(way.at);
            let mut border = self.ground.next_after(way.at);
            let mut chaining = Chaining::START;
            let mut looped = false;
            loop {
                if !chaining.on {
                    if !chaining.skips {
                        self.close();
                        return Ok(());
                    }
                    way = Way::to(way.at, Transfer::None, way.sure && looped);
                }
                looped = false;
                let mut fetched = None;
                if way.entry == Transfer::None && way.sure {
                    let straight = self.go_straight(way.at, border, window);
                    fetched = straight.next;
                    if straight.done > 0 {
                        if straight.done > 1 {
                            chaining = chaining.after(true, true);
                        }
                        chaining = chaining.after(straight.chains, straight.chains);
                        way.at += 8 * straight.done;
                        if !straight.chains {
                            continue;
                        }
                    }
                }
                let slot = self.ground.used();
                if way.at == border {
                    if let Some(known) = self.ground.find(way.at, way.entry, false) {
                        return self.join(&way, chaining, known);
                    }
                    border = self.ground.next_after(way.at);
                }
                if !self.count(&way) {
                    return self.stop_at_limit(&way);
                }
                if u64::from(way.at) >= self.shape.limit {
                    self.push_invalid(way.entry, Mark::Dead);
                    self.close();
                    return Ok(());
                }
                if self.shape.modifiable
                    && self.watch.hits(u64::from(way.at), u64::from(way.at) + 8)
                {
                    self.wait_for_device(&way);
                    return Ok(());
                }
                let Some(ccw) = fetched.or_else(|| self.read_ccw(way.at, window)) else {
                    return self.stop_at_limit(&way);
                };
                let mut new = Slot {
                    entry: way.entry,
                    ..Slot::default()
                };
                if is_transfer_in_channel(ccw) {
                    new.client = ccw;
                    new.transfer = way.entry;
                    let Some(target) = self.target(ccw) else {
                        self.arena.set_ccw(slot, INVALID);
                        self.ground.push(new);
                        chaining = chaining.after(false, false);
                        way.at += 8;
                        continue;
                    };
                    if let Some(known) = self.ground.find(target, way.entry, true) {
                        if self.watch.overwritten() {
                            self.wait_for_device(&way);
                            return Ok(());
                        }
                        self.arena.set_ccw(slot, self.transfer_to(known));
                        self.ground.push(new);
                        self.ground.joined = true;
                        // A search that goes back until it finds has no other way on than its status modifier.
                        looped = slot.checked_sub(1).is_some_and(|before| {
                            self.arena.ccw(before).command != CommandCode::NOP.0
                        });
                        chaining = chaining.after(false, false);
                        way.at += 8;
                        continue;
                    }
                    if !self.may_open(target) {
                        return self.stop_at_limit(&way);
                    }
                    self.ground.push(new);
                    let detour = chaining.commands;
                    self.close();
                    self.arena
                        .set_ccw(slot, self.transfer_to(self.ground.used()));
                    if detour {
                        self.postpone(slot + 1);
                    }
                    way.at = target;
                    way.transferred = true;
                    continue 'segment;
                }
                let Ok(placed) = self.place(ccw, &mut new, window) else {
                    return self.stop_at_limit(&way);
                };
                if self.watch.list_is_awaited() {
                    self.wait_for_device(&way);
                    return Ok(());
                }
                self.arena.set_ccw(slot, placed);
                self.ground.push(new);
                if self.shape.modifiable {
                    self.note_argument(slot, &new, window);
                }
                if way.entry == Transfer::None {
                    way.before_command = way.leader;
                    way.command = slot;
                }
                (chaining, way.entry) = self.chain(chaining, placed, &new);
                way.leader = slot;
                way.transferred = false;
                way.at += 8;
            }
        }
    }

    /// How a translated CCW leads on, and what is going on then.
    fn chain(&self, before: Chaining, placed: Ccw1, slot: &Slot) -> (Chaining, Transfer) {
        let flags = slot.client.flags();
        if is_transfer_in_channel(placed) {
            (before.after(false, false), Transfer::None)
        } else if flags.contains(CcwFlags::CD) {
            (before.after(true, false), slot.transfer)
        } else {
            let commands = flags.contains(CcwFlags::CC);
            (before.after(commands, commands), Transfer::None)
        }
    }

    /// Where a transfer in channel leads, if the channel would take it.
    pub(super) fn target(&self, ccw: Ccw1) -> Option<u32> {
        let target = ccw.address.get();
        let good = ccw.command == CommandCode::TIC.0
            && ccw.flags == 0
            && ccw.count.get() == 0
            && target.is_multiple_of(8)
            && u64::from(target) < self.shape.limit;
        good.then_some(target)
    }

    /// Counts a CCW. `false`: it is one too many.
    #[inline]
    fn count(&mut self, way: &Way) -> bool {
        let (count, most) = if way.sure {
            (&mut self.ground.chained, MAX_CCWS)
        } else {
            (&mut self.ground.detours, MAX_DETOUR)
        };
        *count += 1;
        *count <= most && self.ground.has_room(self.arena.room())
    }

    /// Ends the way: what is at its place cannot be translated.
    fn stop_at_limit(&mut self, way: &Way) -> Result<(), Limit> {
        self.push_invalid(way.entry, Mark::Dead);
        self.close();
        if way.sure {
            Err(Limit(way.at))
        } else {
            Ok(())
        }
    }

    /// Ends the way in known ground.
    fn join(&mut self, way: &Way, chaining: Chaining, known: usize) -> Result<(), Limit> {
        if self.watch.overwritten() {
            self.wait_for_device(way);
            return Ok(());
        }
        let link = self.ground.used();
        self.close();
        self.set_link(link, known, way.entry);
        if chaining.commands {
            self.postpone(link + 1);
        }
        Ok(())
    }

    /// Ends the way before something that the device may write: the chain is cut before the command that
    /// needs it, or if that is not possible, found invalid.
    fn wait_for_device(&mut self, way: &Way) {
        let slot = self.ground.used();
        if self.can_cut_data(way) {
            self.push_invalid(way.entry, Mark::Dead);
            self.close();
            self.cut_data(way.leader);
            return;
        }
        let (stop, leader) = match way.entry {
            Transfer::None => (slot, way.leader),
            Transfer::Output | Transfer::Input | Transfer::Backward => {
                (way.command, way.before_command)
            }
        };
        let mark = if stop == slot {
            Mark::stop(way.transferred)
        } else {
            Mark::Dead
        };
        self.push_invalid(way.entry, mark);
        self.close();
        // The program's first command has nothing before it.
        if stop == 0 || stop == NOBODY {
            return;
        }
        if stop != slot {
            self.arena.set_ccw(stop, INVALID);
            if let Some(slot) = self.ground.slot_mut(stop) {
                slot.mark = Mark::Stop;
            }
        }
        if leader != NOBODY {
            self.cut(leader);
        }
        self.watch.set_split();
    }

    /// Whether it is the program's first command that needs it, so that there is nothing to cut before it, and the device can give that
    /// command's data once more.
    fn can_cut_data(&self, way: &Way) -> bool {
        let reads = match way.command {
            NOBODY => self.began != Transfer::None && self.steady,
            0 => self.can_repeat(0),
            _ => false,
        };
        way.entry == Transfer::Input && way.leader != NOBODY && reads
    }

    /// Takes the data chaining from a CCW. What the device has beyond its count is no error.
    fn cut_data(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        let chaining = CcwFlags::CC | CcwFlags::CD;
        ccw.flags = ccw.flags & !chaining.bits() | CcwFlags::SLI.bits();
        self.arena.replace_ccw(slot, ccw);
        if let Some(slot) = self.ground.slot_mut(slot) {
            slot.mark = Mark::CutData;
        }
        self.watch.set_split();
    }

    /// Takes the command chaining from a CCW.
    pub(super) fn cut(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        ccw.flags &= !CcwFlags::CC.bits();
        self.arena.replace_ccw(slot, ccw);
        if let Some(slot) = self.ground.slot_mut(slot) {
            slot.mark = Mark::Cut;
        }
        self.watch.set_split();
    }

    /// Makes a segment of a place where the chain stops, and ends it.
    pub(super) fn push_stop(&mut self, mark: Mark) {
        self.push_invalid(Transfer::None, mark);
        self.close();
        self.watch.set_split();
    }

    fn push_invalid(&mut self, entry: Transfer, mark: Mark) {
        self.arena.set_ccw(self.ground.used(), INVALID);
        self.ground.push(Slot {
            entry,
            mark,
            ..Slot::default()
        });
    }

    /// Ends a segment with links that lead nowhere yet.
    fn close(&mut self) {
        for _ in 0..LINKS {
            self.push_invalid(Transfer::None, Mark::IdleLink);
        }
    }

    /// Puts a link into the work list.
    pub(super) fn postpone(&mut self, link: usize) {
        if self.ground.pending.len() < self.ground.pending.capacity() {
            self.ground.pending.push(link as u32);
        }
    }

    /// Makes a link lead to a slot. What stands there and is a transfer in channel itself has to stand in the
    /// link, because one may not lead to another. What is invalid is met where it is. `entry`: what is going on there.
    pub(super) fn set_link(&mut self, link: usize, known: usize, entry: Transfer) {
        self.ground.joined = true;
        self.arena.replace_ccw(link, self.link_to(known));
        if let Some(slot) = self.ground.slot_mut(link) {
            slot.mark = Mark::Link;
            slot.entry = entry;
        }
    }

    /// What a link to a slot holds.
    pub(super) fn link_to(&self, known: usize) -> Ccw1 {
        let there = self.arena.ccw(known);
        if arena::is_valid_transfer(there) {
            there
        } else {
            self.transfer_to(known)
        }
    }

    /// A transfer in channel to a slot.
    pub(super) const fn transfer_to(&self, slot: usize) -> Ccw1 {
        transfer_to(self.arena.address_of(slot))
    }
}
