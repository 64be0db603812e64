//! The chain: what the channel can reach, CCW after CCW.
//!
//! Chaining leads from a CCW to the next, and a transfer in channel to its target: that is one cursor, and [`ClientChain::follow`] goes it.
//! A status modifier leads from a CCW that chains commands past the next one. Within a segment that is ground
//! which is translated anyway; past its end it is a *detour*: taken at once when there is no other cursor to go,
//! else kept in a work list until the cursor is done. A detour is a possibility, so its limit does
//! not refuse the program: the CCW that is too much is invalid, and only met when a status modifier leads to it.

use channel::{Ccw1, CcwFlags, Classify, CommandClass, CommandCode};
use window::Window;

use super::arena::{is_transfer_in_channel, Arena, INVALID};
use super::arguments::Arguments;
use super::program::{Shape, TranslatedProgram};
use super::ranges::{Slot, SlotKind, Transfer};

use super::{Limit, MAX_CCWS, MAX_DETOUR};

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
struct Before {
    /// The one before chains.
    on: bool,
    /// The one before chains commands.
    commands: bool,
    /// The one before that chains commands: a status modifier leads here.
    skips: bool,
}

impl Before {
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

/// The chain: a program, and how far it has been followed.
#[derive(Debug)]
pub(super) struct ClientChain {
    pub(super) program: TranslatedProgram,
    /// What is going on where the program, or the rest of it, begins.
    pub(super) began: Transfer,
    /// No CCW has changed since the program, or the rest of it, was translated.
    pub(super) steady: bool,
    pub(super) classify: Classify,
    /// The arguments as they were at the start.
    pub(super) arguments: Arguments,
}

impl ClientChain {
    pub(super) fn new(arena: Arena) -> Self {
        Self {
            program: TranslatedProgram::new(arena),
            began: Transfer::None,
            steady: false,
            classify: |_| None,
            arguments: Arguments::default(),
        }
    }

    /// Nothing is there. What comes has this shape, and is reached in the course of `entry`.
    pub(super) fn begin(&mut self, shape: Shape, entry: Transfer) {
        self.program.begin(shape);
        self.arguments.clear();
        self.began = entry;
        self.steady = true;
    }

    /// Translates all that can be reached from a first CCW.
    pub(super) fn follow_all(&mut self, first: u32, window: &Window) -> Result<(), Limit> {
        self.follow(Cursor::to(first, self.began, true), window)?;
        self.follow_detours(window);
        Ok(())
    }

    /// Translates what waits in the work list. Each entry is a link slot, which is used up.
    pub(super) fn follow_detours(&mut self, window: &Window) {
        while let Some(link) = self.program.ranges.pending.pop() {
            let link = link as usize;
            let Some(target) = self.program.ranges.client_address(link) else {
                continue;
            };
            let to = match self.program.ranges.find(target, Transfer::None, false) {
                Some(known) if self.program.is_true(known) => Some(known),
                // When the channel gets there, that may no longer be true.
                Some(_) => self.program.add_stop(target, SlotKind::Stop),
                None if self.program.may_open(target) => {
                    let first = self.program.ranges.used();
                    // A detour is never refused.
                    let _ = self.follow(Cursor::to(target, Transfer::None, false), window);
                    Some(first)
                }
                None => None,
            };
            if let Some(to) = to {
                self.program.set_link(link, to, Transfer::None);
            }
        }
    }

    /// Follows the chain from unknown ground, in segments of its own, until it ends or comes to known ground.
    pub(super) fn follow(&mut self, mut cursor: Cursor, window: &Window) -> Result<(), Limit> {
        'segment: loop {
            self.program.ranges.open(cursor.at);
            let mut border = self.program.ranges.next_after(cursor.at);
            let mut chaining = Before::START;
            let mut looped = false;
            loop {
                if !chaining.on {
                    if !chaining.skips {
                        self.program.close();
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
                let slot = self.program.ranges.used();
                if cursor.at == border {
                    if let Some(known) = self.program.ranges.find(cursor.at, cursor.entry, false) {
                        return self.join(&cursor, chaining, known);
                    }
                    border = self.program.ranges.next_after(cursor.at);
                }
                if !self.count(&cursor) {
                    return self.stop_at_limit(&cursor);
                }
                if u64::from(cursor.at) >= self.program.shape.limit {
                    self.program.push_invalid(cursor.entry, SlotKind::Dead);
                    self.program.close();
                    return Ok(());
                }
                if self.program.shape.modifiable
                    && self
                        .program
                        .dirty
                        .hits(u64::from(cursor.at), u64::from(cursor.at) + 8)
                {
                    self.wait_for_device(&cursor);
                    return Ok(());
                }
                let Some(ccw) = fetched.or_else(|| self.program.read_ccw(cursor.at, window)) else {
                    return self.stop_at_limit(&cursor);
                };
                let mut new = Slot {
                    entry: cursor.entry,
                    ..Slot::default()
                };
                if is_transfer_in_channel(ccw) {
                    new.client = ccw;
                    new.transfer = cursor.entry;
                    let Some(target) = self.program.target(ccw) else {
                        self.program.arena.set_ccw(slot, INVALID);
                        self.program.ranges.push(new);
                        chaining = chaining.after(false, false);
                        cursor.at += 8;
                        continue;
                    };
                    if let Some(known) = self.program.ranges.find(target, cursor.entry, true) {
                        if self.program.dirty.overwritten() {
                            self.wait_for_device(&cursor);
                            return Ok(());
                        }
                        self.program
                            .arena
                            .set_ccw(slot, self.program.transfer_to(known));
                        self.program.ranges.push(new);
                        self.program.ranges.joined = true;
                        // A search that goes back until it finds has no other cursor on than its status modifier.
                        looped = slot.checked_sub(1).is_some_and(|before| {
                            self.program.arena.ccw(before).command != CommandCode::NOP.0
                        });
                        chaining = chaining.after(false, false);
                        cursor.at += 8;
                        continue;
                    }
                    if !self.program.may_open(target) {
                        return self.stop_at_limit(&cursor);
                    }
                    self.program.ranges.push(new);
                    let detour = chaining.commands;
                    self.program.close();
                    self.program
                        .arena
                        .set_ccw(slot, self.program.transfer_to(self.program.ranges.used()));
                    if detour {
                        self.program.postpone(slot + 1);
                    }
                    cursor.at = target;
                    cursor.transferred = true;
                    continue 'segment;
                }
                let Ok(placed) = self.program.place(ccw, &mut new, window) else {
                    return self.stop_at_limit(&cursor);
                };
                if self.program.dirty.list_is_awaited() {
                    self.wait_for_device(&cursor);
                    return Ok(());
                }
                self.program.arena.set_ccw(slot, placed);
                self.program.ranges.push(new);
                if self.program.shape.modifiable {
                    self.arguments
                        .note(&self.program, self.classify, slot, &new, window);
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
    fn chain(&self, before: Before, placed: Ccw1, slot: &Slot) -> (Before, Transfer) {
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

    /// Counts a CCW. `false`: it is one too many.
    #[inline]
    fn count(&mut self, cursor: &Cursor) -> bool {
        let (count, most) = if cursor.sure {
            (&mut self.program.ranges.chained, MAX_CCWS)
        } else {
            (&mut self.program.ranges.detours, MAX_DETOUR)
        };
        *count += 1;
        *count <= most && self.program.ranges.has_room(self.program.arena.room())
    }

    /// Ends the cursor: what is at its place cannot be translated.
    fn stop_at_limit(&mut self, cursor: &Cursor) -> Result<(), Limit> {
        self.program.push_invalid(cursor.entry, SlotKind::Dead);
        self.program.close();
        if cursor.sure {
            Err(Limit(cursor.at))
        } else {
            Ok(())
        }
    }

    /// Ends the cursor in known ground.
    fn join(&mut self, cursor: &Cursor, chaining: Before, known: usize) -> Result<(), Limit> {
        if self.program.dirty.overwritten() {
            self.wait_for_device(cursor);
            return Ok(());
        }
        let link = self.program.ranges.used();
        self.program.close();
        self.program.set_link(link, known, cursor.entry);
        if chaining.commands {
            self.program.postpone(link + 1);
        }
        Ok(())
    }

    /// Ends the cursor before something that the device may write: the chain is cut before the command that
    /// needs it, or if that is not possible, found invalid.
    fn wait_for_device(&mut self, cursor: &Cursor) {
        let slot = self.program.ranges.used();
        if self.can_cut_data(cursor) {
            self.program.push_invalid(cursor.entry, SlotKind::Dead);
            self.program.close();
            self.program.cut_data(cursor.leader);
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
        self.program.push_invalid(cursor.entry, kind);
        self.program.close();
        // The program's first command has nothing before it.
        if stop == 0 || stop == NOBODY {
            return;
        }
        if stop != slot {
            self.program.arena.set_ccw(stop, INVALID);
            if let Some(slot) = self.program.ranges.slot_mut(stop) {
                slot.kind = SlotKind::Stop;
            }
        }
        if leader != NOBODY {
            self.program.cut(leader);
        }
        self.program.dirty.set_split();
    }

    /// Whether the device can give once more what a command has read.
    pub(super) fn can_repeat(&self, slot: usize) -> bool {
        let command = CommandCode(self.program.ranges.slot(slot).client.command);
        (self.classify)(command) == Some(CommandClass::Reads)
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
}
