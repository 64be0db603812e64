//! Data addresses: what a CCW says about storage, said again in the appliance's addresses.
//!
//! A direct address stays direct where all of the data lies in the window and below 2 GiB. Else the CCW gets a
//! list of format-2 IDAWs, of the block size that the program has. The client's lists become lists of
//! the same length: IDAWs of either format format-2 IDAWs, MIDAWs MIDAWs. A word that names anything outside the
//! window becomes [`NOWHERE`], and the list ends with it: what lies before it is transferred, then the channel
//! finds an address that does not exist, as it would with the client's word.
//!
//! # Programs that may change
//!
//! The channel may have fetched the CCWs before one of which the client changes any, and then comes to the new one with what the old
//! ones said: it reads backward where it was to read forward, or writes. So of such a program every CCW is right for all of that:
//!
//! * A direct address stays direct only if the data lies in the window whichever cursor it goes.
//! * An address word names the part of one block that lies on one side of it, and a block lies in the window as a whole.
//! * How many words are used depends on the cursor. A list ends with a guard: one more [`NOWHERE`], which is never replaced.
//! * A list is stored where none was, before the CCW that leads to it, and belongs to that CCW. Its words are replaced only by those
//!   that the client stores at the same place, one by one; those of MIDAWs, which have two words each, not at all.

use channel::{Ccw1, CcwFlags, Idaw1, Idaw2};
use window::{ClientAddress, Window, WindowSlice};
use zerocopy::FromBytes;

use super::arena::{List, INVALID};
use super::program::{Shape, TranslatedProgram};
use super::ranges::{Slot, Transfer, RESERVE};
use super::MIDAW;

/// An address that no machine has, and that is no block's start. As the first half of a MIDAW it has
/// reserved bits.
pub(super) const NOWHERE: u64 = 0x7FFF_FFFF_FFFF_F801;
/// IDAWs that a CCW can have: 65,535 bytes from the last one of a block of 2 KiB on.
const MOST_WORDS: usize = 33;
/// The arena is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

/// The data of one CCW.
#[derive(Clone, Copy)]
pub(super) struct Area {
    /// The address of the CCW: of the data or of the list.
    pub(super) address: u64,
    /// Bytes, at least one.
    pub(super) count: u64,
    pub(super) transfer: Transfer,
    /// What is transferred goes nowhere.
    pub(super) skip: bool,
    /// The last bits of an address word that stands for a whole block: where in that the transfer begins.
    pub(super) start: u64,
}

impl Area {
    /// Words that a list needs when its first one is `first`.
    #[inline(always)]
    fn words(&self, first: u64, shape: &Shape) -> usize {
        let mask = shape.block_mask;
        let before = (first ^ self.start) & mask;
        ((before + self.count + mask) >> shape.block_shift) as usize
    }

    /// The part of the block of `word` that is transferred when `left` bytes are left, as client addresses.
    fn reach(&self, word: u64, mask: u64, left: u64) -> (u64, u64) {
        let (start, end) = self.transfer.span(word, left);
        (start.max(word & !mask), end.min((word | mask) + 1))
    }
}

impl TranslatedProgram {
    /// The hardware's CCW for one of the client's that is not a transfer in channel. Notes in `slot`
    /// what has to be known of it.
    #[inline(never)]
    pub(super) fn place(
        &mut self,
        ccw: Ccw1,
        slot: &mut Slot,
        window: &Window,
    ) -> Result<Ccw1, Full> {
        let transfer = slot.entry.by(ccw.command);
        let before = *slot;
        slot.client = ccw;
        slot.transfer = transfer;
        slot.list = None;
        let address = u64::from(ccw.address.get());
        let flags = ccw.flags();
        let empty = ccw.count.get() == 0;
        if transfer == Transfer::None || address >= super::END_31 || empty && !self.shape.format_1 {
            return Ok(INVALID);
        }
        let area = self.area(slot);
        let mut placed = ccw;
        let alone = || Transfer::of(ccw.command);
        if !self.shape.changeable
            && slot.entry != Transfer::None
            && (alone() == Transfer::Backward) != (transfer == Transfer::Backward)
        {
            // In data chaining the channel ignores the code. Should a status modifier lead here, it is
            // an invalid one, so that the data never goes another cursor than was checked.
            placed.command = 0;
        }
        if self.shape.modifiable {
            self.dirty.open_list();
        }
        let indirect = flags & (CcwFlags::IDA | CcwFlags::MIDA);
        let list = if indirect.is_empty() {
            self.note(&area, self.direct(&area));
            if self.may_be_direct(&area) {
                placed.address = ((self.shape.base + address) as u32).into();
                return Ok(placed);
            }
            placed.flags = (flags | CcwFlags::IDA).bits();
            let kept = self.kept(&before, slot, window);
            kept.or_else(|| self.guarded(|this| this.make_list(&area)))
        } else if indirect == CcwFlags::IDA && area.address.is_multiple_of(self.word_size()) {
            let kept = self.kept(&before, slot, window);
            let list = kept.or_else(|| self.guarded(|this| this.copy_idaws(&area, window)));
            let noted = self.shape.modifiable && address < self.shape.limit;
            if let (true, Some(list)) = (noted, list) {
                self.fetched(address, list.length() as u64 * self.word_size());
                self.note_idaws(&area, list);
            }
            list
        } else if indirect == CcwFlags::MIDA && self.shape.midaws && address.is_multiple_of(MIDAW) {
            let kept = self.kept(&before, slot, window);
            kept.or_else(|| self.copy_midaws(&area, window))
        } else if indirect == CcwFlags::IDA || indirect == CcwFlags::MIDA && self.shape.midaws {
            // A list that is not where a list may be, for one of the client's that is not.
            placed.address = (self.arena.address_of(0) | 1).into();
            return Ok(placed);
        } else {
            return Ok(INVALID);
        };
        let list = list.ok_or(Full)?;
        slot.list = Some(list);
        placed.address = self.list_address(list).into();
        Ok(placed)
    }

    /// Where data is that has a direct address, as far as that can name anything.
    fn direct(&self, area: &Area) -> (u64, u64) {
        let (start, end) = area.transfer.span(area.address, area.count);
        (start, end.min(self.shape.limit))
    }

    /// Whether data with a direct address lies in the window and below 2 GiB: if the program may change, whichever cursor it goes.
    fn may_be_direct(&self, area: &Area) -> bool {
        let Shape {
            base,
            limit,
            changeable,
            ..
        } = self.shape;
        let backward = area.transfer == Transfer::Backward;
        let end = if backward && !changeable {
            area.address + 1
        } else {
            area.address + area.count
        };
        let begins = area.address + 1 >= area.count || !backward && !changeable;
        begins && end <= limit && base + end <= super::END_31
    }

    /// The list that a CCW had before it changed, if it is the right one still, except for words that are to be replaced where they are.
    fn kept(&mut self, before: &Slot, slot: &Slot, window: &Window) -> Option<List> {
        let list = before.list?;
        let (old, new) = (before.client, slot.client);
        let kind = |ccw: Ccw1| ccw.flags() & (CcwFlags::IDA | CcwFlags::MIDA);
        let same_place =
            old.address == new.address && old.count == new.count && kind(old) == kind(new);
        let same_way =
            (before.transfer == Transfer::Backward) == (slot.transfer == Transfer::Backward);
        let slot = Slot {
            list: Some(list),
            ..*slot
        };
        (same_place && same_way && self.refill(&slot, window)).then_some(list)
    }

    /// Stores a list of IDAWs by `store`, which takes it from the arena at once. In a program that may change it gets a guard.
    fn guarded(&mut self, store: impl FnOnce(&mut Self) -> Option<List>) -> Option<List> {
        if self.shape.changeable {
            // Lists are taken from the end downward.
            let guard = self.take(1)?;
            self.end_list(guard, 0);
        }
        store(self)
    }

    /// Ends a list, of which so many words have been stored.
    fn end_list(&self, list: List, stored: usize) {
        let first = list.first as usize;
        for index in first + stored..first + list.length() {
            self.arena.set(index, NOWHERE);
        }
    }

    /// Where the data of a CCW is that writes a few bytes, piece after piece. `None` if MIDAWs say so, or an address leads nowhere.
    fn areas(&self, slot: &Slot) -> Option<heapless::Vec<(u64, u64), 2>> {
        let mut areas = heapless::Vec::new();
        let address = u64::from(slot.client.address.get());
        let mut left = u64::from(slot.client.count.get());
        let indirect = slot.client.flags() & (CcwFlags::IDA | CcwFlags::MIDA);
        if indirect.is_empty() {
            areas.push((address, address + left)).ok()?;
            return Some(areas);
        }
        let list = slot.list.filter(|_| indirect == CcwFlags::IDA)?;
        let first = list.first as usize;
        for index in first..first + list.length() {
            let word = self.arena.get(index).checked_sub(self.shape.base)?;
            let end = (word + left).min((word | self.shape.block_mask) + 1);
            left -= end - word;
            areas.push((word, end)).ok()?;
        }
        Some(areas)
    }

    /// Copies the data of a CCW that writes.
    pub(super) fn gather(&self, slot: &Slot, bytes: &mut [u8], window: &Window) -> Option<()> {
        let mut rest = bytes;
        for (start, end) in self.areas(slot)? {
            let length = (end - start) as usize;
            let (part, after) = rest.split_at_mut_checked(length)?;
            window.read_bytes(ClientAddress::new(start), part).ok()?;
            rest = after;
        }
        rest.is_empty().then_some(())
    }

    /// Whether the channel finds nothing wrong with the data addresses of a CCW, however far it gets.
    pub(super) fn data_is_sound(&self, slot: &Slot) -> bool {
        let Some(list) = slot.list else { return true };
        let first = list.first as usize;
        let mut words = first..first + list.length();
        let midaws = slot.client.flags().contains(CcwFlags::MIDA);
        !midaws && words.all(|word| self.arena.get(word) != NOWHERE)
    }

    /// Where the channel finds a list.
    pub(super) const fn list_address(&self, list: List) -> u32 {
        self.arena.address_of(list.first as usize)
    }

    pub(super) const fn word_size(&self) -> u64 {
        if self.shape.wide_words {
            8
        } else {
            4
        }
    }

    /// Whether it matters what a CCW stores into: in a program that may change.
    #[inline]
    fn notes(&self, area: &Area) -> bool {
        let stores = matches!(area.transfer, Transfer::Input | Transfer::Backward);
        self.shape.modifiable && stores && !area.skip
    }

    /// The data of a CCW.
    fn area(&self, slot: &Slot) -> Area {
        Area {
            address: u64::from(slot.client.address.get()),
            count: u64::from(slot.client.count.get()).max(1),
            transfer: slot.transfer,
            skip: slot.client.flags().contains(CcwFlags::SKIP),
            start: match slot.transfer {
                Transfer::Backward => self.shape.block_mask,
                Transfer::None | Transfer::Output | Transfer::Input => 0,
            },
        }
    }

    /// Notes what a CCW stores into.
    #[inline]
    pub(super) fn note(&mut self, area: &Area, range: (u64, u64)) {
        if range.0 < range.1 && self.notes(area) {
            self.dirty
                .note(range, self.ranges.segments(), self.ranges.used());
        }
    }

    /// Notes where address words have been fetched, in a program that may change.
    #[inline]
    pub(super) fn fetched(&mut self, at: u64, bytes: u64) {
        if self.shape.modifiable {
            self.dirty.fetched(at, at + bytes);
        }
    }

    /// IDAWs for data that a direct address cannot name. Beyond the window they name nothing.
    #[inline(never)]
    fn make_list(&mut self, area: &Area) -> Option<List> {
        let mask = self.shape.block_mask;
        let words = area.words(area.address, &self.shape);
        let list = self.take(words)?;
        let mut at = area.address;
        for stored in 0..words {
            if at >= self.shape.limit {
                self.end_list(list, stored);
                break;
            }
            self.arena
                .set(list.first as usize + stored, self.shape.base + at);
            at = match area.transfer {
                // Below address 0 there is nothing.
                Transfer::Backward => (at & !mask).wrapping_sub(1),
                Transfer::None | Transfer::Output | Transfer::Input => (at | mask) + 1,
            };
        }
        Some(list)
    }

    /// The client's IDAWs, at a multiple of their size.
    #[inline(always)]
    pub(super) fn copy_idaws(&mut self, area: &Area, window: &Window) -> Option<List> {
        if self.shape.wide_words {
            self.copy_words::<Idaw2>(area, window)
        } else {
            self.copy_words::<Idaw1>(area, window)
        }
    }

    /// Their number depends on the first one, which is fetched with the others: once.
    #[inline(never)]
    fn copy_words<W: Word>(&mut self, area: &Area, window: &Window) -> Option<List> {
        if !area.address.is_multiple_of(size_of::<W>() as u64) {
            return None;
        }
        let Some((first, rest)) = self.first_word::<W>(area, window) else {
            return self.list_of_nothing();
        };
        let words = area.words(first, &self.shape);
        let list = self.take(words)?;
        self.fill_words::<W>(area, first, list, &rest);
        Some(list)
    }

    /// A list the first word of which names nothing.
    #[inline(never)]
    fn list_of_nothing(&mut self) -> Option<List> {
        let list = self.take(1)?;
        self.end_list(list, 0);
        Some(list)
    }

    /// The first of the client's IDAWs, if it names anything, and the others, as far as there are any.
    #[inline(always)]
    fn first_word<'w, W: Word>(
        &self,
        area: &Area,
        window: &'w Window,
    ) -> Option<(u64, WindowSlice<'w>)> {
        let there = self.shape.limit.checked_sub(area.address)?;
        let bytes = there.min((MOST_WORDS * size_of::<W>()) as u64);
        let words = window.slice(ClientAddress::new(area.address), bytes as u32);
        let (first, rest) = words.ok()?.split_first::<W>()?;
        let first = first.names();
        (first < self.shape.wide_limit).then_some((first, rest))
    }

    /// Stores the words of a list, the first of which has been fetched.
    #[inline(always)]
    fn fill_words<W: Word>(&self, area: &Area, first: u64, list: List, rest: &WindowSlice<'_>) {
        let Shape {
            base,
            wide_limit,
            block_mask,
            ..
        } = self.shape;
        let start = area.start;
        let stored = self.arena.copy(list, base + first, rest, |word: W| {
            let word = word.names();
            (word & block_mask == start && word < wide_limit).then(|| base + word)
        });
        self.end_list(list, stored);
    }

    /// Notes what the IDAWs of a list store into.
    #[inline(never)]
    fn note_idaws(&mut self, area: &Area, list: List) {
        if !self.notes(area) {
            return;
        }
        let mut left = area.count;
        let first = list.first as usize;
        for index in first..first + list.length() {
            let word = self.arena.get(index);
            if word == NOWHERE {
                break;
            }
            let (start, end) = area.reach(word - self.shape.base, self.shape.block_mask, left);
            left -= end - start;
            self.note(area, (start, end));
        }
    }

    /// Fetches the address list of a CCW again, and stores IDAWs that have changed where they are. `false`: it has to be another
    /// list now.
    pub(super) fn refill(&mut self, slot: &Slot, window: &Window) -> bool {
        let flags = slot.client.flags();
        let area = self.area(slot);
        let Some(list) = slot.list else {
            return true;
        };
        if flags.contains(CcwFlags::IDA) {
            if self.shape.wide_words {
                self.refill_words::<Idaw2>(&area, list, window)
            } else {
                self.refill_words::<Idaw1>(&area, list, window)
            }
        } else if flags.contains(CcwFlags::MIDA) {
            self.has_midaws(&area, list, window)
        } else {
            true
        }
    }

    /// The words of a list, summed up: another sum is another list.
    pub(super) fn words_of(&self, slot: &Slot) -> u64 {
        let Some(list) = slot.list else { return 0 };
        let first = list.first as usize;
        let words = (first..first + list.length()).map(|word| self.arena.get(word));
        words.fold(0, |sum: u64, word| sum.wrapping_mul(31).wrapping_add(word))
    }

    fn refill_words<W: Word>(&mut self, area: &Area, list: List, window: &Window) -> bool {
        match self.first_word::<W>(area, window) {
            Some((first, rest)) if area.words(first, &self.shape) == list.length() => {
                self.fill_words::<W>(area, first, list, &rest);
            }
            None if list.length() == 1 => self.end_list(list, 0),
            Some(_) | None => return false,
        }
        self.note_idaws(area, list);
        true
    }

    /// Takes room for a list of IDAWs.
    #[inline(always)]
    fn take(&mut self, words: usize) -> Option<List> {
        let ccws = self.ranges.used() + RESERVE;
        List::new(self.arena.take(words, ccws, false)?, words)
    }
}

/// An IDAW of the client's.
trait Word: FromBytes + Copy {
    /// The address, or one that is outside of every window.
    fn names(self) -> u64;
}

impl Word for Idaw1 {
    #[inline(always)]
    fn names(self) -> u64 {
        self.address().map_or(NOWHERE, u64::from)
    }
}

impl Word for Idaw2 {
    #[inline(always)]
    fn names(self) -> u64 {
        self.address()
    }
}
