//! A translated program: what stands in the arena, and what is known of it.
//!
//! All parts of the translator build on this. Who follows the chain is `follow`; the data of CCWs is `data` and `midaws`.

use channel::{Ccw0, Ccw1, CcwFlags, CommandCode, IdawFormat, Orb, OrbFlags};
use window::{ClientAddress, Window};

use super::arena::{is_transfer_in_channel, is_valid_transfer, transfer_to, Arena, INVALID};
use super::dirty::DirtyRanges;
use super::ranges::{Slot, SlotKind, Transfer, TranslatedRanges, LINKS};
use super::{END_24, END_31, PAGE};

/// What of ORB and window is the same for all CCWs of a program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub(super) format_1: bool,
    /// Address words have 64 bits.
    pub(super) wide_words: bool,
    /// Block that an address word stands for, less one, and as a power of two.
    pub(super) block_mask: u64,
    pub(super) block_shift: u32,
    /// Modified indirect data addressing.
    pub(super) midaws: bool,
    /// No prefetch: the program may change while it runs.
    pub(super) modifiable: bool,
    /// The same, or it may be suspended, and changed before it goes on.
    pub(super) changeable: bool,
    /// Client addresses that a CCW can name end here, at a page's end.
    pub(super) limit: u64,
    /// Client addresses that a 64-bit address word can name end here.
    pub(super) wide_limit: u64,
    /// Absolute address of client address 0.
    pub(super) base: u64,
}

impl Shape {
    pub(super) fn new(orb: &Orb, window: &Window, midaws: bool) -> Self {
        let flags = orb.flags();
        let format = orb.idaw_format();
        let format_1 = flags.contains(OrbFlags::FORMAT_1);
        let base = window.absolute_base();
        // A window that does not lie on pages has none that could be used.
        let length = if base.is_multiple_of(PAGE) {
            window.len().min(base.wrapping_neg().wrapping_sub(PAGE)) & !(PAGE - 1)
        } else {
            0
        };
        let block_shift = match format {
            IdawFormat::Format2Of4K => 12,
            IdawFormat::Format1 | IdawFormat::Format2Of2K => 11,
        };
        Self {
            format_1,
            wide_words: format != IdawFormat::Format1,
            block_mask: (1 << block_shift) - 1,
            block_shift,
            midaws: midaws && flags.contains(OrbFlags::MIDAW),
            modifiable: !flags.contains(OrbFlags::PREFETCH),
            changeable: !flags.contains(OrbFlags::PREFETCH)
                || flags.contains(OrbFlags::SUSPEND_CONTROL),
            limit: length.min(if format_1 { END_31 } else { END_24 }),
            wide_limit: length,
            base,
        }
    }
}

/// How a CCW leads to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chaining {
    Data,
    Commands,
    Nothing,
}

/// A program in the arena.
#[derive(Debug)]
pub(super) struct TranslatedProgram {
    pub(super) arena: Arena,
    pub(super) ranges: TranslatedRanges,
    pub(super) dirty: DirtyRanges,
    pub(super) shape: Shape,
}

impl TranslatedProgram {
    pub(super) fn new(arena: Arena) -> Self {
        Self {
            arena,
            ranges: TranslatedRanges::new(),
            dirty: DirtyRanges::default(),
            shape: Shape::default(),
        }
    }

    /// Nothing is there, and what comes has this shape.
    pub(super) fn begin(&mut self, shape: Shape) {
        self.shape = shape;
        self.arena.clear();
        self.ranges.clear();
        self.dirty.clear();
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

    /// Takes the data chaining from a CCW. What the device has beyond its count is no error.
    pub(super) fn cut_data(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        ccw.flags &= !(CcwFlags::CC | CcwFlags::CD).bits();
        ccw.flags |= CcwFlags::SLI.bits();
        self.cut_to(slot, ccw, SlotKind::CutData);
    }

    /// Takes the command chaining from a CCW.
    pub(super) fn cut(&mut self, slot: usize) {
        let mut ccw = self.arena.ccw(slot);
        ccw.flags &= !CcwFlags::CC.bits();
        self.cut_to(slot, ccw, SlotKind::Cut);
    }

    fn cut_to(&mut self, slot: usize, ccw: Ccw1, kind: SlotKind) {
        self.arena.replace_ccw(slot, ccw);
        if let Some(slot) = self.ranges.slot_mut(slot) {
            slot.kind = kind;
        }
        self.dirty.set_split();
    }

    /// Makes a segment of a place where the chain stops, and ends it.
    pub(super) fn push_stop(&mut self, kind: SlotKind) {
        self.push_invalid(Transfer::None, kind);
        self.close();
        self.dirty.set_split();
    }

    pub(super) fn push_invalid(&mut self, entry: Transfer, kind: SlotKind) {
        self.arena.set_ccw(self.ranges.used(), INVALID);
        self.ranges.push(Slot {
            entry,
            kind,
            ..Slot::default()
        });
    }

    /// Ends a segment with links that lead nowhere yet.
    pub(super) fn close(&mut self) {
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
        if is_valid_transfer(there) {
            there
        } else {
            self.transfer_to(known)
        }
    }

    /// A transfer in channel to a slot.
    pub(super) const fn transfer_to(&self, slot: usize) -> Ccw1 {
        transfer_to(self.arena.address_of(slot))
    }

    /// Whether a slot leads to a stop.
    pub(super) fn is_taken_back(&self, slot: usize) -> bool {
        let ccw = self.arena.ccw(slot);
        let to = self.arena.index_of(ccw.address.get());
        let stops = |to| self.ranges.slot(to).kind == SlotKind::Stop;
        is_valid_transfer(ccw) && to.is_some_and(stops)
    }

    /// A segment that is a place where the chain stops.
    pub(super) fn add_stop(&mut self, at: u32, kind: SlotKind) -> Option<usize> {
        self.may_open(at).then(|| {
            let stop = self.ranges.used();
            self.ranges.open(at);
            self.push_stop(kind);
            stop
        })
    }

    /// Whether a status modifier leads to a slot.
    pub(super) fn skips_to(&self, slot: usize) -> bool {
        self.chaining_to(slot, 2).1 == Chaining::Commands
    }

    /// Whether chaining leads to a slot, or a status modifier.
    pub(super) fn is_chained_to(&self, slot: usize) -> bool {
        self.chaining_to(slot, 1).1 != Chaining::Nothing || self.skips_to(slot)
    }

    /// How the CCW `distance` before a slot chains. Before a segment there are links, which do not.
    pub(super) fn chaining_to(&self, slot: usize, distance: usize) -> (Slot, Chaining) {
        let Some(before) = slot.checked_sub(distance) else {
            return (Slot::default(), Chaining::Nothing);
        };
        let known = self.ranges.slot(before);
        let flags = known.client.flags();
        let chaining = if known.kind != SlotKind::Plain || is_transfer_in_channel(known.client) {
            Chaining::Nothing
        } else if flags.contains(CcwFlags::CD) {
            Chaining::Data
        } else if flags.contains(CcwFlags::CC) {
            Chaining::Commands
        } else {
            Chaining::Nothing
        };
        (known, chaining)
    }

    /// Reads one CCW, which lies below the limit. `None`: the channel would not take it.
    #[inline(always)]
    pub(super) fn read_ccw(&self, at: u32, window: &Window) -> Option<Ccw1> {
        let place = ClientAddress::new(u64::from(at));
        if self.shape.format_1 {
            window.read::<Ccw1>(place).ok()
        } else {
            Some(Ccw1::from(window.read::<Ccw0>(place).ok()?))
        }
    }

    /// Where in the client's storage an absolute address is: data, or a CCW.
    pub(super) fn client_storage_address(&self, address: u64) -> Option<u64> {
        if let Some(client) = address.checked_sub(self.shape.base) {
            if client < self.shape.wide_limit {
                return Some(client);
            }
        }
        let slot = self.arena.index_of(u32::try_from(address).ok()?)?;
        self.ranges.client_address(slot).map(u64::from)
    }
}
