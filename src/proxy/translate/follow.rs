//! The chain: what the channel can reach, CCW after CCW.
//!
//! Chaining leads from a CCW to the next, and a transfer in channel to its target: that is one cursor, and [`Translator::follow`] goes it.
//! A status modifier leads from a CCW that chains commands past the next one. Within a segment that is ground
//! which is translated anyway; past its end it is a *detour*: taken at once when there is no other cursor to go,
//! else kept in a work list until the cursor is done. A detour is a possibility, so its limit does
//! not refuse the program: the CCW that is too much is invalid, and only met when a status modifier leads to it.

use channel::{Ccw1, CcwFlags, CommandCode};
use window::Window;

use super::arena::{self, is_transfer_in_channel, transfer_to, INVALID};
use super::ranges::{Slot, SlotKind, Transfer, LINKS};
use super::{Limit, Translator, MAX_CCWS, MAX_DETOUR};

/// No CCW: a status modifier leads here, or START SUBCHANNEL.
const NOBODY: usize = usize::MAX;

/// How the channel comes to a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
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

impl Cursor {
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
        self.follow(Cursor::to(first, self.began, true), window)?;
        self.follow_detours(window);
        Ok(())
    }

    /// Translates what waits in the work list. Each entry is a link slot, which is used up.
    pub(super) fn follow_detours(&mut self, window: &Window) {
        while let Some(link) = self.ranges.pending.pop() {
            let link = link as usize;
            let Some(target) = self.ranges.client_address(link) else {
                continue;
            };
            let to = match self.ranges.find(target, Transfer::None, false) {
                Some(known) if self.is_true(known) => Some(known),
                // When the channel gets there, that may no longer be true.
                Some(_) => self.add_stop(target, SlotKind::Stop),
                None if self.may_open(target) => {
                    let first = self.ranges.used();
                    // A detour is never refused.
                    let _ = self.follow(Cursor::to(target, Transfer::None, false), window);
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
        !self.ranges.slot(known).kind.is_translated() || !self.dirty.overwritten()
    }

    /// Whether a segment can begin at an address.
    pub(super) fn may_open(&self, client: u32) -> bool {
        u64::from(client) < self.shape.limit
            && self.ranges.has_segment()
            && self.ranges.has_room(self.arena.room())
    }

    /// Follows the chain from unknown ground, in segments of its own, until it ends or comes to known ground.
    pub(super) fn follow(&mut self, mut cursor: Cursor, window: &Window) -> Result<(), Limit> {
        'segment: loop {
            self.ranges.open(cursor.at);
            let mut border = self.ranges.next_after(cursor.at);
            let mut chaining = Chaining::START;
            let mut looped = false;
            loop {
                if !chaining.on {
                    if !chaining.skips {
                        self.close();
                        return Ok(());
                    }
                    cursor = Cursor::to(cursor.at, Transfer::None, cursor.sure && looped);
                }
                looped = false;
                let mut fetched = None;
                if cursor.entry == Transfer::None && cursor.sure {
                    let straight = self.fast_path(cursor.at, border, window);
                    fetched = straight.next;
                    if straight.done > 0 {
                        if straight.done > 1 {
                            chaining = chaining.after(true, true);
                        }
                        chaining = chaining.after(straight.chains, straight.chains);
                        cursor.at += 8 * straight.done;
                        if !straight.chains {
                            continue;
                        }
                    }
                }
                let slot = self.ranges.used();
                if cursor.at == border {
                    if let Some(known) = self.ranges.find(cursor.at, cursor.entry, false) {
                        return self.join(&cursor, chaining, known);
                    }
                    border = self.ranges.next_after(cursor.at);
                }
                if !self.count(&cursor) {
                    return self.stop_at_limit(&cursor);
                }
                if u64::from(cursor.at) >= self.shape.limit {
                    self.push_invalid(cursor.entry, SlotKind::Dead);
                    self.close();
                    return Ok(());
                }
                if self.shape.modifiable
                    && self
                        .dirty
                        .hits(u64::from(cursor.at), u64::from(cursor.at) + 8)
                {
                    self.wait_for_device(&cursor);
                    return Ok(());
                }
                let Some(ccw) = fetched.or_else(|| self.read_ccw(cursor.at, window)) else {
                    return self.stop_at_limit(&cursor);
                };
                let mut new = Slot {
                    entry: cursor.entry,
                    ..Slot::default()
                };
                if is_transfer_in_channel(ccw) {
                    new.client = ccw;
                    new.transfer = cursor.entry;
                    let Some(target) = self.target(ccw) else {
                        self.arena.set_ccw(slot, INVALID);
                        self.ranges.push(new);
                        chaining = chaining.after(false, false);
                        cursor.at += 8;
                        continue;
                    };
                    if let Some(known) = self.ranges.find(target, cursor.entry, true) {
                        if self.dirty.overwritten() {
                            self.wait_for_device(&cursor);
                            return Ok(());
                        }
                        self.arena.set_ccw(slot, self.transfer_to(known));
                        self.ranges.push(new);
                        self.ranges.joined = true;
                        // A search that goes back until it finds has no other cursor on than its status modifier.
                        looped = slot.checked_sub(1).is_some_and(|before| {
                            self.arena.ccw(before).command != CommandCode::NOP.0
                        });
                        chaining = chaining.after(false, false);
                        cursor.at += 8;
                        continue;
                    }
                    if !self.may_open(target) {
                        return self.stop_at_limit(&cursor);
                    }
                    self.ranges.push(new);
                    let detour = chaining.commands;
                    self.close();
                    self.arena
                        .set_ccw(slot, self.transfer_to(self.ranges.used()));
                    if detour {
                        self.postpone(slot + 1);
                    }
                    cursor.at = target;
                    cursor.transferred = true;
                    continue 'segment;
                }
                let Ok(placed) = self.place(ccw, &mut new, window) else {
                    return self.stop_at_limit(&cursor);
                };
                if self.dirty.list_is_awaited() {
                    self.wait_for_device(&cursor);
                    return Ok(());
                }
                self.arena.set_ccw(slot, placed);
                self.ranges.push(new);
                if self.shape.modifiable {
                    self.note_argument(slot, &new, window);
                }
                if cursor.entry == Transfer::None {
                    cursor.before_command = cursor.leader;
                    cursor.command = slot;
                }
                (chaining, cursor.entry) = self.chain(chaining, placed, &new);
                cursor.leader = slot;
                cursor.transferred = false;
                cursor.at += 8;
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
    fn count(&mut self, cursor: &Cursor) -> bool {
        let (count, most) = if cursor.sure {
            (&mut self.ranges.chained, MAX_CCWS)
        } else {
            (&mut self.ranges.detours, MAX_DETOUR)
        };
        *count += 1;
        *count <= most && self.ranges.has_room(self.arena.room())
    }

    /// Ends the cursor: what is at its place cannot be translated.
    fn stop_at_limit(&mut self, cursor: &Cursor) -> Result<(), Limit> {
        self.push_invalid(cursor.entry, SlotKind::Dead);
        self.close();
        if cursor.sure {
            Err(Limit(cursor.at))
        } else {
            Ok(())
        }
    }

    /// Ends the cursor in known ground.
    fn join(&mut self, cursor: &Cursor, chaining: Chaining, known: usize) -> Result<(), Limit> {
        if self.dirty.overwritten() {
            self.wait_for_device(cursor);
            return Ok(());
        }
        let link = self.ranges.used();
        self.close();
        self.set_link(link, known, cursor.entry);
        if chaining.commands {
            self.postpone(link + 1);
        }
        Ok(())
    }

    /// Ends the cursor before something that the device may write: the chain is cut before the command that
    /// needs it, or if that is not possible, found invalid.
    fn wait_for_device(&mut self, cursor: &Cursor) {
        let slot = self.ranges.used();
        if self.can_cut_data(cursor) {
            self.push_invalid(cursor.entry, SlotKind::Dead);
            self.close();
            self.cut_data(cursor.leader);
            return;
        }
        let (stop, leader) = match cursor.entry {
            Transfer::None => (slot, cursor.leader),
            Transfer::Output | Transfer::Input | Transfer::Backward => {
                (cursor.command, cursor.before_command)
            }
        };
        let kind = if stop == slot {
            SlotKind::stop(cursor.transferred)
        } else {
            SlotKind::Dead
        };
        self.push_invalid(cursor.entry, kind);
        self.close();
        // The program's first command has nothing before it.
        if stop == 0 || stop == NOBODY {
            return;
        }
        if stop != slot {
            self.arena.set_ccw(stop, INVALID);
            if let Some(slot) = self.ranges.slot_mut(stop) {
                slot.kind = SlotKind::Stop;
            }
        }
        if leader != NOBODY {
            self.cut(leader);
        }
        self.dirty.set_split();
    }

    /// Whether it is the program's first command that needs it, so that there is nothing to cut before it, and the device can give that
    /// command's data once more.
    fn can_cut_data(&self, cursor: &Cursor) -> bool {
        let reads = match cursor.command {
            NOBODY => self.began != Transfer::None && self.steady,
            0 => self.can_repeat(0),
            _ => false,
        };
        cursor.entry == Transfer::Input && cursor.leader != NOBODY && reads
    }

    /// Takes the data chaining from a CCW. What the device has beyond its count is no error.
    fn cut_data(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        let chaining = CcwFlags::CC | CcwFlags::CD;
        ccw.flags = ccw.flags & !chaining.bits() | CcwFlags::SLI.bits();
        self.arena.replace_ccw(slot, ccw);
        if let Some(slot) = self.ranges.slot_mut(slot) {
            slot.kind = SlotKind::CutData;
        }
        self.dirty.set_split();
    }

    /// Takes the command chaining from a CCW.
    pub(super) fn cut(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        ccw.flags &= !CcwFlags::CC.bits();
        self.arena.replace_ccw(slot, ccw);
        if let Some(slot) = self.ranges.slot_mut(slot) {
            slot.kind = SlotKind::Cut;
        }
        self.dirty.set_split();
    }

    /// Makes a segment of a place where the chain stops, and ends it.
    pub(super) fn push_stop(&mut self, kind: SlotKind) {
        self.push_invalid(Transfer::None, kind);
        self.close();
        self.dirty.set_split();
    }

    fn push_invalid(&mut self, entry: Transfer, kind: SlotKind) {
        self.arena.set_ccw(self.ranges.used(), INVALID);
        self.ranges.push(Slot {
            entry,
            kind,
            ..Slot::default()
        });
    }

    /// Ends a segment with links that lead nowhere yet.
    fn close(&mut self) {
        for _ in 0..LINKS {
            self.push_invalid(Transfer::None, SlotKind::IdleLink);
        }
    }

    /// Puts a link into the work list.
    pub(super) fn postpone(&mut self, link: usize) {
        if self.ranges.pending.len() < self.ranges.pending.capacity() {
            self.ranges.pending.push(link as u32);
        }
    }

    /// Makes a link lead to a slot. What stands there and is a transfer in channel itself has to stand in the
    /// link, because one may not lead to another. What is invalid is met where it is. `entry`: what is going on there.
    pub(super) fn set_link(&mut self, link: usize, known: usize, entry: Transfer) {
        self.ranges.joined = true;
        self.arena.replace_ccw(link, self.link_to(known));
        if let Some(slot) = self.ranges.slot_mut(link) {
            slot.kind = SlotKind::Link;
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
