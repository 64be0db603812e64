//! Known ground: which of the client's CCWs have been translated, and where they stand.
//!
//! A *slot* is a CCW of the arena. Slots never move. A *segment* is a run of adjacent client CCWs in adjacent slots,
//! followed by two *link* slots: there the chain goes on when what follows stands elsewhere, or when a status modifier leads past
//! the segment's end. So within a segment and its links, the client's address grows with the slot.

use liballoc::boxed::Box;
use liballoc::vec;
use liballoc::vec::Vec;

use channel::{Ccw1, CommandCode};

use super::arena::List;
use super::{MAX_CCWS, MAX_DETOUR, MAX_SEGMENTS};

/// Link slots at the end of a segment.
pub(super) const LINKS: usize = 2;
/// Slots that are kept free, so that whatever ends in the middle can be closed.
pub(super) const RESERVE: usize = 8;
const SLOTS: usize = MAX_CCWS + MAX_DETOUR + LINKS * MAX_SEGMENTS + RESERVE;

/// Which cursor the data of a CCW goes. It is the CCW's own command that says so, unless data chaining
/// leads to it: then it is that of the CCW before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Transfer {
    /// Nothing is going on: a new command. Of a CCW: the command code is invalid, or a transfer in channel.
    #[default]
    None,
    /// Into storage, downward.
    Backward,
    /// Out of storage: write, control.
    Output,
    /// Into storage: read, sense.
    Input,
}

impl Transfer {
    /// What a command code says: it is its last four bits that do.
    #[inline(always)]
    pub(super) fn of(command: u8) -> Self {
        const OF: [Transfer; 16] = {
            let mut all = [Transfer::Output; 16];
            let mut code = 0;
            while code < all.len() {
                if CommandCode(code as u8).reads() {
                    all[code] = Transfer::Input;
                }
                code += 1;
            }
            all[0x00] = Transfer::None;
            all[CommandCode::TIC.0 as usize] = Transfer::None;
            all[0x0C] = Transfer::Backward;
            all
        };
        OF[usize::from(command & 0x0F)]
    }

    /// Where so many bytes are that are transferred from an address on: the first one, and the one behind the last.
    #[inline(always)]
    pub(super) const fn span(self, address: u64, count: u64) -> (u64, u64) {
        match self {
            Self::Backward => {
                let end = address.saturating_add(1);
                (end.saturating_sub(count), end)
            }
            Self::None | Self::Output | Self::Input => (address, address.saturating_add(count)),
        }
    }

    /// What is transferred by a CCW with this command that is reached in the course of `self`.
    #[inline(always)]
    pub(super) fn by(self, command: u8) -> Self {
        match self {
            Self::None => Self::of(command),
            Self::Output | Self::Input | Self::Backward => self,
        }
    }
}

/// What is known of a slot besides its CCW.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// The client's CCW as it was read, in format 1.
    pub(super) client: Ccw1,
    pub(super) list: Option<List>,
    /// What was going on when it is reached.
    pub(super) entry: Transfer,
    /// What it does.
    pub(super) transfer: Transfer,
    pub(super) kind: SlotKind,
    /// Whether the search for loops has been there.
    pub(super) walk: Walk,
}

/// When the search for loops came to a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Walk {
    /// Not yet.
    #[default]
    Never,
    /// On its cursor from where it began last.
    Now,
    /// On another cursor, of which everything is known.
    Before,
}

/// What a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A translated CCW.
    #[default]
    Plain,
    /// A translated CCW without its chaining: the device may write what follows.
    Cut,
    /// The same within a command: without its data chaining.
    CutData,
    /// Not translated yet: the device may write it first.
    Stop,
    /// The same, where a transfer in channel leads.
    StopTransferred,
    /// Not fetched, and invalid whatever it holds.
    Dead,
    /// A link that leads nowhere.
    IdleLink,
    /// A link.
    Link,
}

impl SlotKind {
    /// A stop where a transfer in channel leads, or does not.
    pub(super) const fn stop(transferred: bool) -> Self {
        if transferred {
            Self::StopTransferred
        } else {
            Self::Stop
        }
    }

    pub(super) const fn is_translated(self) -> bool {
        matches!(self, Self::Plain | Self::Cut | Self::CutData)
    }

    pub(super) const fn is_link(self) -> bool {
        matches!(self, Self::IdleLink | Self::Link)
    }
}

/// A run of adjacent CCWs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Client address of the first one.
    pub(super) client: u32,
    /// Its slot.
    pub(super) first: u32,
    /// CCWs, links not counted.
    pub(super) length: u32,
}

impl Segment {
    /// The slot of a client address, whatever it holds.
    fn slot(&self, client: u32) -> Option<usize> {
        let index = client.wrapping_sub(self.client) / 8;
        (client.is_multiple_of(8) && index < self.length).then_some((self.first + index) as usize)
    }
}

/// All slots and segments of a program.
#[derive(Debug)]
pub(super) struct TranslatedRanges {
    slots: Box<[Slot]>,
    segments: Vec<Segment>,
    /// Slots in use.
    used: usize,
    /// Links that wait for their target to be translated.
    pub(super) pending: Vec<u32>,
    /// CCWs that chaining reaches.
    pub(super) chained: usize,
    /// CCWs that only a status modifier reaches.
    pub(super) detours: usize,
    /// A transfer in channel, or a link, leads to ground that was known before: the program may go round.
    pub(super) joined: bool,
}

impl TranslatedRanges {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS].into_boxed_slice(),
            segments: Vec::with_capacity(MAX_SEGMENTS),
            used: 0,
            pending: Vec::with_capacity(LINKS * MAX_SEGMENTS),
            chained: 0,
            detours: 0,
            joined: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.pending.clear();
        self.used = 0;
        self.chained = 0;
        self.detours = 0;
        self.joined = false;
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether there is room for a few more slots in an arena with so many words for them.
    #[inline]
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.fits(words) && self.used + RESERVE <= self.slots.len()
    }

    /// Whether an arena with so many words for them has room for a few more slots.
    #[inline(always)]
    pub(super) fn fits(&self, words: usize) -> bool {
        self.used + RESERVE <= words
    }

    /// Slots that can still be taken.
    pub(super) fn room(&self) -> usize {
        self.slots.len().saturating_sub(self.used + RESERVE)
    }

    pub(super) fn has_segment(&self) -> bool {
        self.segments.len() < MAX_SEGMENTS
    }

    /// Begins a segment, for which there is room.
    pub(super) fn open(&mut self, client: u32) {
        if self.has_segment() {
            self.segments.push(Segment {
                client,
                first: self.used as u32,
                length: 0,
            });
        }
    }

    /// Appends a slot to the segment that is open.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot) {
        self.append(slot);
        if !slot.kind.is_link() {
            self.lengthen(1);
        }
    }

    /// Appends a slot that is not in the segment yet.
    #[inline(always)]
    pub(super) fn append(&mut self, slot: Slot) {
        if let Some(place) = self.slots.get_mut(self.used) {
            *place = slot;
            self.used += 1;
        }
    }

    /// Takes so many slots into the segment that is open.
    #[inline]
    pub(super) fn lengthen(&mut self, slots: u32) {
        if let Some(segment) = self.segments.last_mut() {
            segment.length += slots;
        }
    }

    pub(super) fn slot(&self, index: usize) -> Slot {
        self.slots.get(index).copied().unwrap_or_default()
    }

    pub(super) fn slot_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    /// The slot of a client's CCW that is reached in the course of `entry`; by a transfer in channel, or not.
    pub(super) fn find(&self, client: u32, entry: Transfer, transferred: bool) -> Option<usize> {
        let stop_for_others = SlotKind::stop(!transferred);
        self.find_where(client, |slot| {
            let others = entry == Transfer::None && slot.kind == stop_for_others;
            slot.is_for(entry) && !others
        })
    }

    /// The same, of those that are translated.
    pub(super) fn find_translated(&self, client: u32, entry: Transfer) -> Option<usize> {
        self.find_where(client, |slot| {
            slot.kind.is_translated() && slot.is_for(entry)
        })
    }

    /// The latest slot of a client's CCW that is right.
    fn find_where(&self, client: u32, is_right: impl Fn(&Slot) -> bool) -> Option<usize> {
        self.segments
            .iter()
            .rev()
            .filter_map(|segment| segment.slot(client))
            .find(|&index| is_right(&self.slot(index)))
    }

    /// Where the next segment begins beyond an address.
    pub(super) fn next_after(&self, client: u32) -> u32 {
        let beyond = |segment: &Segment| (segment.client > client).then_some(segment.client);
        self.segments
            .iter()
            .filter_map(beyond)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// The client's address of a slot, links included.
    pub(super) fn client_address(&self, slot: usize) -> Option<u32> {
        if slot >= self.used {
            return None;
        }
        let after = self
            .segments
            .partition_point(|segment| segment.first as usize <= slot);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        Some(
            segment
                .client
                .wrapping_add((slot as u32 - segment.first) * 8),
        )
    }
}

impl Slot {
    /// Whether the slot is right for a CCW that is reached in the course of `entry`.
    fn is_for(&self, entry: Transfer) -> bool {
        match self.kind {
            SlotKind::Stop | SlotKind::StopTransferred | SlotKind::Dead => true,
            SlotKind::IdleLink | SlotKind::Link => false,
            SlotKind::Plain | SlotKind::Cut | SlotKind::CutData
                if super::arena::is_transfer_in_channel(self.client) =>
            {
                self.entry == entry
            }
            SlotKind::Plain | SlotKind::Cut | SlotKind::CutData => {
                self.transfer == entry.by(self.client.command)
            }
        }
    }
}
