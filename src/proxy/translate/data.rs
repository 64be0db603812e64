//! Data addresses: what a CCW says about storage, said again in the appliance's addresses.
//!
//! A direct address stays direct where all of the data lies in the window and below 2 GiB. Else the CCW gets a
//! list of format-2 IDAWs, of the block size that the program has. The client's lists become lists of
//! the same length: IDAWs of either format format-2 IDAWs, MIDAWs MIDAWs. A word that names anything outside the
//! window becomes [`NOWHERE`], and the list ends with it: what lies before it is transferred, then the channel
//! finds an address that does not exist, as it would with the client's word.

use channel::{Ccw1, CcwFlags, Idaw1, Idaw2, Midaw, MidawFlags};
use window::{ClientAddress, Window};
use zerocopy::transmute;

use super::arena::INVALID;
use super::ground::{Slot, Transfer, RESERVE};
use super::{Translator, PAGE};

/// An address that no machine has, and that is no block's start. As the first half of a MIDAW it has
/// reserved bits.
const NOWHERE: u64 = 0x7FFF_FFFF_FFFF_F801;
/// Bytes of a MIDAW.
const MIDAW: u64 = 16;
/// MIDAWs that fit on a page.
const MIDAWS: usize = 256;

/// The arena is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

/// The data of one CCW.
#[derive(Clone, Copy)]
struct Area {
    /// The address of the CCW: of the data or of the list.
    address: u64,
    /// Bytes, at least one.
    count: u64,
    transfer: Transfer,
    /// What is transferred goes nowhere.
    skip: bool,
}

impl Area {
    /// Words that a list needs when its first one is `first`.
    fn words(&self, first: u64, mask: u64) -> usize {
        let before = match self.transfer {
            Transfer::Backward => mask - (first & mask),
            Transfer::None | Transfer::Output | Transfer::Input => first & mask,
        };
        ((before + self.count + mask) / (mask + 1)) as usize
    }

    /// Whether a word that is not the first stands for a whole block.
    fn is_block(&self, word: u64, mask: u64) -> bool {
        word & mask
            == match self.transfer {
                Transfer::Backward => mask,
                Transfer::None | Transfer::Output | Transfer::Input => 0,
            }
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
    #[inline]
    pub(super) fn place(
        &mut self,
        ccw: Ccw1,
        slot: &mut Slot,
        window: &Window,
    ) -> Result<Ccw1, Full> {
        let transfer = slot.entry.by(ccw.command);
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
        };
        let mut placed = ccw;
        let alone = Transfer::of(ccw.command);
        if (alone == Transfer::Backward) != (transfer == Transfer::Backward) {
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
                slot.words = 0;
                return Ok(placed);
            }
            placed.flags = (flags | CcwFlags::IDA).bits();
            self.make_list(&area, slot)?
        } else if indirect == CcwFlags::IDA {
            self.copy_idaws(&area, slot, window)?
        } else if indirect == CcwFlags::MIDA && self.shape.midaws {
            self.copy_midaws(&area, slot, window)?
        } else {
            return Ok(INVALID);
        };
        placed.address = list.into();
        Ok(placed)
    }

    const fn word_size(&self) -> u64 {
        if self.shape.wide_words {
            8
        } else {
            4
        }
    }

    /// Notes what a CCW stores into, in a program that may change.
    #[inline]
    fn note(&mut self, area: &Area, range: (u64, u64)) {
        let stores = matches!(area.transfer, Transfer::Input | Transfer::Backward);
        if self.shape.modifiable && stores && !area.skip {
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
    fn make_list(&mut self, area: &Area, slot: &mut Slot) -> Result<u32, Full> {
        let mask = self.shape.block_mask;
        let words = area.words(area.address, mask);
        let first = self.take(words, slot, false)?;
        let (mut at, mut left) = (area.address, area.count);
        for index in first..first + words {
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
        Ok(self.arena.address_of(first))
    }

    /// The client's IDAWs. Their number depends on the first one, which is fetched with the others: once.
    fn copy_idaws(&mut self, area: &Area, slot: &mut Slot, window: &Window) -> Result<u32, Full> {
        let size = self.word_size();
        if !area.address.is_multiple_of(size) {
            return Ok(self.misaligned());
        }
        let there = area.address + size <= self.shape.limit;
        let word = there
            .then(|| self.read_idaw(area.address, window))
            .flatten();
        let words = word.map_or(1, |word| area.words(word, self.shape.block_mask));
        if there {
            self.fetched(area.address, words as u64 * size);
        }
        let first = self.take(words, slot, false)?;
        self.fill_idaws(area, word, first, words, window);
        Ok(self.arena.address_of(first))
    }

    /// Stores `words` IDAWs, the first of which has been fetched.
    fn fill_idaws(
        &mut self,
        area: &Area,
        mut word: Option<u64>,
        first: usize,
        words: usize,
        window: &Window,
    ) {
        let mask = self.shape.block_mask;
        let size = self.word_size();
        let (mut at, mut left) = (area.address, area.count);
        for index in first..first + words {
            let good = word.filter(|&word| {
                word < self.shape.wide_limit && (index == first || area.is_block(word, mask))
            });
            let Some(good) = good else {
                self.arena.set(index, NOWHERE);
                return;
            };
            let (start, end) = area.reach(good, mask, left);
            left -= end - start;
            self.note(area, (start, end));
            self.arena.set(index, self.shape.base + good);
            at += size;
            let more = index + 1 < first + words && at + size <= self.shape.limit;
            word = more.then(|| self.read_idaw(at, window)).flatten();
        }
    }

    /// One of the client's IDAWs, if it is there and well-formed.
    #[inline]
    pub(super) fn read_idaw(&self, at: u64, window: &Window) -> Option<u64> {
        let place = ClientAddress::new(at);
        if self.shape.wide_words {
            return Some(window.read::<Idaw2>(place).ok()?.address());
        }
        // One word of 32 bits, fetched at once.
        let word = window.slice(place, 4).ok()?.load_u32(0).ok()?;
        let word: Idaw1 = transmute!(word.to_le_bytes());
        word.address().map(u64::from)
    }

    /// The client's MIDAWs.
    fn copy_midaws(&mut self, area: &Area, slot: &mut Slot, window: &Window) -> Result<u32, Full> {
        if !area.address.is_multiple_of(MIDAW) {
            return Ok(self.misaligned());
        }
        // Room for as many as there can be; what was not needed is given back.
        let most = area.midaws();
        let first = self.take(2 * most, slot, true)?;
        let used = self.fill_midaws(area, first, most, window).unwrap_or(most);
        let first = self.arena.give_back(first, 2 * most, 2 * used);
        slot.list = first as u32;
        slot.words = 2 * used as u16;
        Ok(self.arena.address_of(first))
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
        };
        let (first, words) = (slot.list as usize, usize::from(slot.words));
        if words == 0 {
            return true;
        }
        if flags.contains(CcwFlags::IDA) {
            let there = area.address + self.word_size() <= self.shape.limit;
            let word = there
                .then(|| self.read_idaw(area.address, window))
                .flatten();
            let now = word.map_or(1, |word| area.words(word, self.shape.block_mask));
            if now == words {
                self.fill_idaws(&area, word, first, words, window);
            }
            now == words
        } else if flags.contains(CcwFlags::MIDA) {
            self.fill_midaws(&area, first, words / 2, window).is_some()
        } else {
            true
        }
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
        if skip && area.transfer != Transfer::Output {
            // The address is not used; it may not be seen either.
            placed.address = self.shape.base.into();
            return Some(placed);
        }
        if address >= self.shape.wide_limit || !on_page {
            return None;
        }
        self.note(area, range);
        placed.address = (self.shape.base + address).into();
        Some(placed)
    }

    fn set_midaw(&self, index: usize, midaw: &Midaw) {
        let [low, high]: [[u8; 8]; 2] = transmute!(*midaw);
        self.arena.set(index + 1, u64::from_be_bytes(high));
        self.arena.set(index, u64::from_be_bytes(low));
    }

    /// Takes room for a list. Of a CCW that had one, the old one serves when there is no other.
    fn take(&mut self, words: usize, slot: &mut Slot, whole: bool) -> Result<usize, Full> {
        let ccws = self.ground.used() + RESERVE;
        let first = match self.arena.take(words, ccws, whole) {
            Some(first) => first,
            None if !whole && words <= usize::from(slot.words) => slot.list as usize,
            None => return Err(Full),
        };
        slot.list = first as u32;
        slot.words = words as u16;
        Ok(first)
    }

    /// The address of a list that is not where a list may be.
    const fn misaligned(&self) -> u32 {
        self.arena.address_of(0) | 1
    }
}

/// A MIDAW that is a program check.
const NOWHERE_MIDAW: Midaw = Midaw {
    reserved: [0x7F, 0xFF, 0xFF, 0xFF, 0xFF],
    flags: MidawFlags::LAST.bits(),
    count: zerocopy::big_endian::U16::ZERO,
    address: zerocopy::big_endian::U64::MAX_VALUE,
};
