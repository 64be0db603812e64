//! Data addresses: what a CCW says about storage, said again in the appliance's addresses.
//!
//! A direct address stays direct where all of the data lies in the window and below 2 GiB. Else the CCW gets a
//! list of format-2 IDAWs, of the block size that the program has. The client's lists become lists of
//! the same length: IDAWs of either format format-2 IDAWs, MIDAWs MIDAWs. A word that names anything outside the
//! window becomes [`NOWHERE`], and the list ends with it: what lies before it is transferred, then the channel
//! finds an address that does not exist, as it would with the client's word.

use core::num::NonZeroU16;

use channel::{Ccw1, CcwFlags, Idaw1, Idaw2, Midaw, MidawFlags};
use window::{ClientAddress, Window, WindowSlice};
use zerocopy::{transmute, FromBytes};

use super::arena::{List, INVALID};
use super::ground::{Slot, Transfer, RESERVE};
use super::{Shape, Translator, PAGE};

/// An address that no machine has, and that is no block's start. As the first half of a MIDAW it has
/// reserved bits.
const NOWHERE: u64 = 0x7FFF_FFFF_FFFF_F801;
/// IDAWs that a CCW can have: 65,535 bytes from the last one of a block of 2 KiB on.
const MOST_WORDS: usize = 33;
/// Bytes of a MIDAW.
const MIDAW: u64 = 16;
/// MIDAWs that fit on a page.
const MIDAWS: usize = 256;

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
    /// The last bits of an address word that stands for a whole block: see [`Translator::block_start`].
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

    /// MIDAWs that can be needed: on the page where the list begins, and one to say that there are no more.
    fn midaws(&self) -> usize {
        let on_page = (PAGE - self.address % PAGE) / MIDAW;
        ((on_page + 1).min(self.count) as usize).min(MIDAWS)
    }

    /// The part of the block of `word` that is transferred when `left` bytes are left, as client addresses.
    fn reach(&self, word: u64, mask: u64, left: u64) -> (u64, u64) {
        match self.transfer {
            Transfer::Backward => ((word + 1).saturating_sub(left).max(word & !mask), word + 1),
            Transfer::None | Transfer::Output | Transfer::Input => {
                (word, (word + left).min((word | mask) + 1))
            }
        }
    }
}

impl Translator {
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
        let old = slot.list.take();
        slot.client = ccw;
        slot.transfer = transfer;
        let address = u64::from(ccw.address.get());
        let flags = ccw.flags();
        let empty = ccw.count.get() == 0;
        if transfer == Transfer::None || address >= super::END_31 || empty && !self.shape.format_1 {
            return Ok(INVALID);
        }
        let area = Area {
            address,
            count: u64::from(ccw.count.get()).max(1),
            transfer,
            skip: flags.contains(CcwFlags::SKIP),
            start: self.block_start(transfer),
        };
        let mut placed = ccw;
        let alone = || Transfer::of(ccw.command);
        if slot.entry != Transfer::None
            && (alone() == Transfer::Backward) != (transfer == Transfer::Backward)
        {
            // In data chaining the channel ignores the code. Should a status modifier lead here, it is
            // an invalid one, so that the data never goes another way than was checked.
            placed.command = 0;
        }
        if self.shape.modifiable {
            self.watch.open_list();
        }
        let indirect = flags & (CcwFlags::IDA | CcwFlags::MIDA);
        let list = if indirect.is_empty() {
            let (start, end) = match transfer {
                Transfer::Backward => ((address + 1).wrapping_sub(area.count), address + 1),
                Transfer::None | Transfer::Output | Transfer::Input => {
                    (address, address + area.count)
                }
            };
            if start < end && end <= self.shape.limit && self.shape.base + end <= super::END_31 {
                self.note(&area, (start, end));
                placed.address = ((self.shape.base + address) as u32).into();
                return Ok(placed);
            }
            placed.flags = (flags | CcwFlags::IDA).bits();
            self.make_list(&area, old)
        } else if indirect == CcwFlags::IDA && area.address.is_multiple_of(self.word_size()) {
            let list = self.copy_idaws(&area, old, window);
            let noted = self.shape.modifiable && address < self.shape.limit;
            if let (true, Some(list)) = (noted, list) {
                self.fetched(address, list.length() as u64 * self.word_size());
                self.note_idaws(&area, list);
            }
            list
        } else if indirect == CcwFlags::MIDA && self.shape.midaws && address.is_multiple_of(MIDAW) {
            self.copy_midaws(&area, window)
        } else if indirect == CcwFlags::IDA || indirect == CcwFlags::MIDA && self.shape.midaws {
            // A list that is not where a list may be, for one of the client's that is not.
            placed.address = (self.arena.address_of(0) | 1).into();
            return Ok(placed);
        } else {
            return Ok(INVALID);
        };
        slot.list = list.or(old);
        placed.address = self.list_address(list.ok_or(Full)?).into();
        Ok(placed)
    }

    /// Where the data of a CCW is that writes a few bytes, piece after piece. `None` if MIDAWs say so, or an address leads nowhere.
    pub(super) fn areas(&self, slot: &Slot) -> Option<heapless::Vec<(u64, u64), 2>> {
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

    /// Where in a block the transfer begins.
    fn block_start(&self, transfer: Transfer) -> u64 {
        match transfer {
            Transfer::Backward => self.shape.block_mask,
            Transfer::None | Transfer::Output | Transfer::Input => 0,
        }
    }

    /// Notes what a CCW stores into.
    #[inline]
    fn note(&mut self, area: &Area, range: (u64, u64)) {
        if self.notes(area) {
            self.watch
                .note(range, self.ground.segments(), self.ground.used());
        }
    }

    /// Notes where address words have been fetched, in a program that may change.
    #[inline]
    fn fetched(&mut self, at: u64, bytes: u64) {
        if self.shape.modifiable {
            self.watch.fetched(at, at + bytes);
        }
    }

    /// IDAWs for data that a direct address cannot name. Beyond the window they name nothing.
    #[inline(never)]
    fn make_list(&mut self, area: &Area, old: Option<List>) -> Option<List> {
        let mask = self.shape.block_mask;
        let words = area.words(area.address, &self.shape);
        let list = self.take(words, old)?;
        let (mut at, mut left) = (area.address, area.count);
        for index in list.first as usize..list.first as usize + words {
            if at >= self.shape.limit {
                self.arena.set(index, NOWHERE);
                break;
            }
            let (start, end) = area.reach(at, mask, left);
            left -= end - start;
            self.note(area, (start, end));
            self.arena.set(index, self.shape.base + at);
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
    pub(super) fn copy_idaws(
        &mut self,
        area: &Area,
        old: Option<List>,
        window: &Window,
    ) -> Option<List> {
        if self.shape.wide_words {
            self.copy_words::<Idaw2>(area, old, window)
        } else {
            self.copy_words::<Idaw1>(area, old, window)
        }
    }

    /// Their number depends on the first one, which is fetched with the others: once.
    #[inline(never)]
    fn copy_words<W: Word>(
        &mut self,
        area: &Area,
        old: Option<List>,
        window: &Window,
    ) -> Option<List> {
        if !area.address.is_multiple_of(size_of::<W>() as u64) {
            return None;
        }
        let Some((first, rest)) = self.first_word::<W>(area, window) else {
            return self.list_of_nothing(old);
        };
        let words = area.words(first, &self.shape);
        let list = self.take(words, old)?;
        self.fill_words::<W>(area, first, list, &rest);
        Some(list)
    }

    /// A list the first word of which names nothing.
    #[inline(never)]
    fn list_of_nothing(&mut self, old: Option<List>) -> Option<List> {
        let list = self.take(1, old)?;
        self.arena.set(list.first as usize, NOWHERE);
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
        let at = list.first as usize;
        if stored < list.length() {
            self.arena.set(at + stored, NOWHERE);
        }
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

    /// The client's MIDAWs, at a multiple of their size.
    #[inline(never)]
    fn copy_midaws(&mut self, area: &Area, window: &Window) -> Option<List> {
        // Room for as many as there can be; what was not needed is given back.
        let most = area.midaws();
        let ccws = self.ground.used() + RESERVE;
        let first = self.arena.take(2 * most, ccws, true)?;
        let used = self.fill_midaws(area, first, most, window).unwrap_or(most);
        let first = self.arena.give_back(first, 2 * most, 2 * used);
        list(first, 2 * used)
    }

    /// Stores MIDAWs up to the last one, the one that completes the count, or the end of the page, and says how
    /// many. `None`: more than there is room for.
    fn fill_midaws(
        &mut self,
        area: &Area,
        first: usize,
        most: usize,
        window: &Window,
    ) -> Option<usize> {
        let mut left = area.count;
        for used in 0..most {
            let at = area.address + used as u64 * MIDAW;
            let midaw = if at + MIDAW <= self.shape.limit && (used == 0 || !at.is_multiple_of(PAGE))
            {
                self.fetched(at, MIDAW);
                let midaw = window.read::<Midaw>(ClientAddress::new(at)).ok();
                midaw.and_then(|midaw| self.midaw(area, &midaw))
            } else {
                None
            };
            let midaw = midaw.unwrap_or(NOWHERE_MIDAW);
            self.set_midaw(first + 2 * used, &midaw);
            left = left.saturating_sub(u64::from(midaw.count.get()));
            if left == 0 || midaw.flags().contains(MidawFlags::LAST) {
                return Some(used + 1);
            }
        }
        None
    }

    /// Fetches the address list of a CCW again, and stores what has changed where it is. `false`: the
    /// list has another length now.
    pub(super) fn refill(&mut self, slot: &Slot, window: &Window) -> bool {
        let flags = slot.client.flags();
        let area = Area {
            address: u64::from(slot.client.address.get()),
            count: u64::from(slot.client.count.get()).max(1),
            transfer: slot.transfer,
            skip: flags.contains(CcwFlags::SKIP),
            start: self.block_start(slot.transfer),
        };
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
            let first = list.first as usize;
            self.fill_midaws(&area, first, list.length() / 2, window)
                .is_some()
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
            None if list.length() == 1 => self.arena.set(list.first as usize, NOWHERE),
            Some(_) | None => return false,
        }
        self.note_idaws(area, list);
        true
    }

    /// A MIDAW in the appliance's addresses.
    fn midaw(&mut self, area: &Area, midaw: &Midaw) -> Option<Midaw> {
        let (count, address) = (u64::from(midaw.count.get()), midaw.address.get());
        let within = address % PAGE;
        let skip = midaw.flags().contains(MidawFlags::SKIP);
        let (on_page, range) = match area.transfer {
            Transfer::Backward => (
                count <= within + 1,
                (
                    address.wrapping_add(1).wrapping_sub(count),
                    address.wrapping_add(1),
                ),
            ),
            Transfer::None | Transfer::Output | Transfer::Input => (
                within + count <= PAGE,
                (address, address.wrapping_add(count)),
            ),
        };
        if !midaw.is_well_formed() {
            return None;
        }
        let mut placed = *midaw;
        let there = address < self.shape.wide_limit && on_page;
        let unused = skip && area.transfer != Transfer::Output;
        if !there && !unused {
            return None;
        }
        if !unused {
            self.note(area, range);
        }
        // One that is not used may not be seen either. But a status modifier may lead into a data chain, to a command that writes.
        let address = if there { address } else { 0 };
        placed.address = (self.shape.base + address).into();
        Some(placed)
    }

    fn set_midaw(&self, index: usize, midaw: &Midaw) {
        let [low, high]: [[u8; 8]; 2] = transmute!(*midaw);
        self.arena.set(index + 1, u64::from_be_bytes(high));
        self.arena.set(index, u64::from_be_bytes(low));
    }

    /// Takes room for a list of IDAWs. Of a CCW that had one, the old one serves when there is no other.
    #[inline(always)]
    fn take(&mut self, words: usize, old: Option<List>) -> Option<List> {
        let ccws = self.ground.used() + RESERVE;
        match self.arena.take(words, ccws, false) {
            Some(first) => list(first, words),
            None => {
                let old = old.filter(|old| words <= old.length())?;
                list(old.first as usize, words)
            }
        }
    }
}

fn list(first: usize, words: usize) -> Option<List> {
    Some(List {
        first: first as u32,
        words: NonZeroU16::new(words as u16)?,
    })
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

/// A MIDAW that is a program check.
const NOWHERE_MIDAW: Midaw = Midaw {
    reserved: [0x7F, 0xFF, 0xFF, 0xFF, 0xFF],
    flags: MidawFlags::LAST.bits(),
    count: zerocopy::big_endian::U16::ZERO,
    address: zerocopy::big_endian::U64::MAX_VALUE,
};
