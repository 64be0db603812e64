//! A channel program in storage: parameters, CCWs and the lists of data addresses.
//!
//! # Limits
//!
//! What fits: [`MOST_PARAMETERS`] parameter blocks, [`MOST_CCWS`] CCWs, and 32 KiB of address lists. Whoever writes a program asks
//! [`Chain::has_room`] first.
//!
//! # Data addresses
//!
//! Storage that is made of whole pages but at its ends is named by format-2 IDAWs of 4 KiB, which is nearly always
//! so. If it is in smaller pieces, by MIDAWs where the channel has them, and otherwise by data chaining, if the device takes that.

use channel::{Ccw1, CcwFlags, CommandCode, Idaw2, Midaw, MidawFlags, Orb, OrbFlags};
use window::{ClientAddress, OutOfWindow, Segment, Window};
use zerocopy::{Immutable, IntoBytes};

use super::BringUpError;
use crate::css::{OutOfStorage, Platform};

const PAGE: u64 = 4096;
/// Where things are in the storage: parameters, CCWs, address lists.
const PARAMETERS: u32 = 0;
const CCWS: u32 = 4096;
const CCW: u32 = 8;
const LISTS: u32 = CCWS + MOST_CCWS * CCW;
const END: u32 = LISTS + 32 * 1024;
const MIDAW: u32 = 16;
const IDAW: u32 = 8;

const PAGES: usize = (END / 4096) as usize;
pub const PARAMETER: u32 = 16;
pub const MOST_PARAMETERS: u32 = (CCWS - PARAMETERS) / PARAMETER;
pub const MOST_CCWS: u32 = 1024;

/// A place in a request's storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    segment: usize,
    offset: u32,
}

/// A part of a request's storage, piece by piece, none of which crosses a page.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    segments: &'a [Segment],
    at: Cursor,
    left: u32,
}

impl<'a> Pieces<'a> {
    pub const fn new(segments: &'a [Segment], at: Cursor, length: u32) -> Self {
        Self {
            segments,
            at,
            left: length,
        }
    }

    pub const fn at(&self) -> Cursor {
        self.at
    }

    /// How many pieces there are, and whether IDAWs can name them: each but the first begins a page, each but the last ends one.
    /// None if there is less storage than that.
    #[inline]
    pub fn survey(&self) -> (u32, bool) {
        let mut pieces = self.clone();
        let (mut count, mut whole, mut before) = (0, true, None);
        for (address, length) in &mut pieces {
            if let Some(end) = before {
                whole &= address.is_multiple_of(PAGE) && u64::is_multiple_of(end, PAGE);
            }
            before = Some(address + u64::from(length));
            count += 1;
        }
        if pieces.left > 0 {
            return (0, false);
        }
        (count, whole)
    }
}

impl Iterator for Pieces<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        while self.left > 0 {
            let segment = self.segments.get(self.at.segment)?;
            let rest = segment.len.saturating_sub(self.at.offset);
            if rest == 0 {
                self.at.segment += 1;
                self.at.offset = 0;
                continue;
            }
            let address = segment.absolute + u64::from(self.at.offset);
            let to_page = (PAGE - address % PAGE) as u32;
            let length = rest.min(self.left).min(to_page);
            self.at.offset += length;
            self.left -= length;
            return Some((address, length));
        }
        None
    }
}

/// A channel program, being written or running. All of it is command-chained; the first CCW is for DEFINE EXTENT.
#[derive(Debug)]
pub struct Chain {
    storage: Window,
    base: u32,
    midaws: bool,
    ccws: u32,
    lists: u32,
}

impl Chain {
    pub fn in_storage(platform: &mut dyn Platform) -> Result<Self, BringUpError> {
        let pages = PAGES;
        let storage = platform.storage_as_is(pages)?;
        let chain = Self::new(storage, platform.has_midaws());
        chain.ok_or(BringUpError::Storage(OutOfStorage { pages }))
    }

    /// An empty program in `storage` of [`PAGES`] pages below 2 GiB. `None` if it is elsewhere.
    fn new(storage: Window, midaws: bool) -> Option<Self> {
        let base = u32::try_from(storage.absolute_base()).ok()?;
        let end = base.checked_add(END)?;
        let fits = end <= 0x8000_0000 && storage.len() >= u64::from(END);
        fits.then_some(Self {
            storage,
            base,
            midaws,
            ccws: 0,
            lists: LISTS,
        })
    }

    /// Begins anew, behind the first CCW.
    pub fn begin(&mut self) {
        self.ccws = 1;
        self.lists = LISTS;
    }

    pub const fn ccws(&self) -> u32 {
        self.ccws
    }

    pub const fn has_midaws(&self) -> bool {
        self.midaws
    }

    /// Whether there is room for a CCW and data in so many pieces, each with a CCW or a MIDAW of its own.
    #[inline]
    pub const fn has_room(&self, pieces: u32) -> bool {
        let list = pieces * MIDAW + PAGE as u32;
        self.ccws + 1 + pieces <= MOST_CCWS && self.lists + list <= END
    }

    /// Writes parameter block `number`.
    ///
    /// # Errors
    ///
    /// [`OutOfWindow`], here and below: the storage is shorter than it says. Does not happen.
    #[inline]
    pub fn parameter<T: IntoBytes + Immutable>(
        &self,
        number: u32,
        value: &T,
    ) -> Result<(), OutOfWindow> {
        let place = PARAMETERS + number * PARAMETER;
        self.storage.write(ClientAddress::new(place.into()), value)
    }

    /// A CCW for `count` bytes of parameter block `number`.
    pub const fn command(&self, command: CommandCode, number: u32, count: u16) -> Ccw1 {
        let parameter = self.base + PARAMETERS + number * PARAMETER;
        Ccw1::new(command, CcwFlags::CC, count, parameter)
    }

    #[inline]
    pub fn push(&mut self, ccw: Ccw1) -> Result<(), OutOfWindow> {
        let number = self.ccws;
        self.ccws += 1;
        self.put(number, ccw)
    }

    #[inline]
    pub fn put(&self, number: u32, ccw: Ccw1) -> Result<(), OutOfWindow> {
        let place = ClientAddress::new((CCWS + number * CCW).into());
        self.storage.write(place, &ccw)
    }

    pub fn get(&self, number: u32) -> Result<Ccw1, OutOfWindow> {
        let place = ClientAddress::new((CCWS + number * CCW).into());
        self.storage.read(place)
    }

    /// A CCW for `count` bytes that the IDAWs name that come next.
    #[inline]
    pub const fn listed(&self, command: CommandCode, count: u16) -> Ccw1 {
        let flags = CcwFlags::CC.union(CcwFlags::IDA);
        Ccw1::new(command, flags, count, self.base + self.lists)
    }

    #[inline]
    pub fn idaw(&mut self, address: u64) -> Result<(), OutOfWindow> {
        let place = ClientAddress::new(self.lists.into());
        self.lists += IDAW;
        self.storage.write(place, &Idaw2::new(address))
    }

    /// A CCW with format-2 IDAWs: one for each page.
    #[inline]
    pub fn by_idaws(
        &mut self,
        command: CommandCode,
        count: u16,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), OutOfWindow> {
        self.push(self.listed(command, count))?;
        pieces.try_for_each(|(address, _)| self.idaw(address))
    }

    /// A CCW with MIDAWs: one for each of `number` pieces. A list lies on a boundary of its words and in one page.
    #[cold]
    pub fn by_midaws(
        &mut self,
        command: CommandCode,
        count: u16,
        pieces: &mut Pieces<'_>,
        number: u32,
    ) -> Result<(), OutOfWindow> {
        self.lists = self.lists.next_multiple_of(MIDAW);
        let page = PAGE as u32;
        if self.lists / page != (self.lists + number * MIDAW - 1) / page {
            self.lists = self.lists.next_multiple_of(page);
        }
        let flags = CcwFlags::CC | CcwFlags::MIDA;
        self.push(Ccw1::new(command, flags, count, self.base + self.lists))?;
        let mut left = number;
        for (address, length) in pieces {
            left = left.saturating_sub(1);
            let mut flags = MidawFlags::empty();
            flags.set(MidawFlags::LAST, left == 0);
            let place = ClientAddress::new(self.lists.into());
            let midaw = Midaw::new(flags, length as u16, address);
            self.storage.write(place, &midaw)?;
            self.lists += MIDAW;
        }
        Ok(())
    }

    /// Data chaining: a CCW with one IDAW for each of `number` pieces.
    #[cold]
    pub fn by_chaining(
        &mut self,
        command: CommandCode,
        pieces: &mut Pieces<'_>,
        number: u32,
    ) -> Result<(), OutOfWindow> {
        let mut left = number;
        for (address, length) in pieces {
            left = left.saturating_sub(1);
            let mut ccw = self.listed(command, length as u16);
            if left > 0 {
                ccw.flags ^= (CcwFlags::CD | CcwFlags::CC).bits();
            }
            self.push(ccw)?;
            self.idaw(address)?;
        }
        Ok(())
    }

    /// The ORB of the program, whose last CCW then is the last.
    pub fn finish(&mut self, parameter: u32, path_mask: u8) -> Result<Orb, OutOfWindow> {
        let end = self.ccws.saturating_sub(1);
        let mut last = self.get(end)?;
        last.flags &= !CcwFlags::CC.bits();
        self.put(end, last)?;
        let mut flags = OrbFlags::PREFETCH | OrbFlags::FORMAT_2_IDAW;
        flags.set(OrbFlags::MIDAW, self.midaws);
        let program = self.base + CCWS;
        Ok(Orb::format_1(parameter, program, flags, path_mask))
    }

    /// The CCWs up to the one that the channel had used last when it stopped with `ccw` as the address in the SCSW.
    pub fn used(&self, ccw: u32) -> impl Iterator<Item = Ccw1> + '_ {
        let used = ccw.wrapping_sub(self.base + CCWS) / CCW;
        (0..used.min(self.ccws)).map_while(|number| self.get(number).ok())
    }
}
