//! The channel program of reads and writes.
//!
//! ```text
//! DEFINE EXTENT         all tracks of the program; writes permitted if there is one
//!   LOCATE RECORD       track and record, operation, number of records of the domain
//!     READ DATA         one record each, into the request's own storage
//!     …
//!   LOCATE RECORD       the next domain: another direction, not the next block, or more than 255 records
//!     WRITE DATA
//!     …
//! ```
//!
//! Where the storage control has PREFIX, that stands for DEFINE EXTENT and the first LOCATE RECORD.
//!
//! # Limits
//!
//! What fits: [`MOST_DOMAINS`] domains, [`MOST_CCWS`] CCWs, and 32 KiB of address lists. A record for which there is no room is left
//! for the next program.
//!
//! # Data addresses
//!
//! A record's storage that is made of whole pages but at its ends is named by format-2 IDAWs of 4 KiB, which is nearly always
//! so. If it is in smaller pieces, by MIDAWs where the channel has them, and otherwise by data chaining.

use channel::{Ccw1, CcwFlags, CommandCode, Idaw2, Midaw, MidawFlags, Orb, OrbFlags};
use window::{ClientAddress, OutOfWindow, Segment, Window};

use super::format::{
    DefineExtent, LocateExtended, LocateRecord, Place, PrefixExtent, DEFINE_EXTENT, LOCATE_RECORD,
    PREFIX, READ_DATA, WRITE_DATA,
};
use super::volume::Layout;

const PAGE: u64 = 4096;
/// Where things are in the storage: parameters of the first command, of LOCATE RECORD; CCWs, address lists.
const HEAD: u32 = 0;
const HEAD_LOCATE: u32 = HEAD + size_of::<PrefixExtent>() as u32;
const PARAMETERS: u32 = HEAD_LOCATE + size_of::<LocateExtended>() as u32;
const PARAMETER: u32 = 16;
const CCWS: u32 = 4096;
const CCW: u32 = 8;
const LISTS: u32 = CCWS + MOST_CCWS * CCW;
const END: u32 = LISTS + 32 * 1024;
const MIDAW: u32 = 16;
const IDAW: u32 = 8;

/// Pages of storage for a program.
pub const PAGES: usize = (END / 4096) as usize;
/// Most domains of a program.
pub const MOST_DOMAINS: u32 = (CCWS - PARAMETERS) / PARAMETER;
/// Most CCWs of a program.
pub const MOST_CCWS: u32 = 1024;

/// A place in a request's storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    segment: usize,
    offset: u32,
}

/// The storage of one record, piece by piece, none of which crosses a page.
#[derive(Clone, Debug)]
struct Pieces<'a> {
    segments: &'a [Segment],
    at: Cursor,
    left: u32,
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

/// Records one after the other, in one direction.
#[derive(Clone, Copy, Debug)]
struct Domain {
    first: Place,
    write: bool,
    /// The block that would go on with it.
    next: u64,
    count: u32,
}

/// A channel program, being written or running.
#[derive(Debug)]
pub struct Program {
    storage: Window,
    base: u32,
    midaws: bool,
    prefix: bool,
    ccws: u32,
    lists: u32,
    domains: u32,
    domain: Option<Domain>,
    /// The blocks of the extent.
    extent: Option<(u64, u64)>,
    writes: bool,
}

impl Program {
    /// An empty program in `storage` of [`PAGES`] pages below 2 GiB, with MIDAWs and PREFIX if they may be used. `None` if the
    /// storage is elsewhere.
    pub fn new(storage: Window, midaws: bool, prefix: bool) -> Option<Self> {
        let base = u32::try_from(storage.absolute_base()).ok()?;
        let end = base.checked_add(END)?;
        let fits = end <= 0x8000_0000 && storage.len() >= u64::from(END);
        fits.then_some(Self {
            storage,
            base,
            midaws,
            prefix,
            ccws: 0,
            lists: LISTS,
            domains: 0,
            domain: None,
            extent: None,
            writes: false,
        })
    }

    /// Begins anew.
    pub fn begin(&mut self) {
        self.ccws = 1;
        self.lists = LISTS;
        self.domains = 0;
        self.domain = None;
        self.extent = None;
        self.writes = false;
    }

    /// From now on without PREFIX. Says whether it was used until now.
    pub fn drop_prefix(&mut self) -> bool {
        core::mem::take(&mut self.prefix)
    }

    /// Adds a record. Gives the place behind its storage; `None` if the program has no room for it.
    ///
    /// # Errors
    ///
    /// [`OutOfWindow`]: the program's storage is shorter than it says. Does not happen.
    #[inline]
    pub fn add(
        &mut self,
        layout: &Layout,
        write: bool,
        block: u64,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<Cursor>, OutOfWindow> {
        let pieces = Pieces {
            segments,
            at,
            left: layout.block.into(),
        };
        // In the worst case a LOCATE RECORD, and each piece a CCW or a MIDAW of its own.
        let (count, whole) = survey(&pieces);
        let list = count * MIDAW + PAGE as u32;
        if self.domains >= MOST_DOMAINS
            || self.ccws + 1 + count > MOST_CCWS
            || self.lists + list > END
            || count == 0
        {
            return Ok(None);
        }
        self.locate(layout, write, block)?;
        let command = if write { WRITE_DATA } else { READ_DATA };
        let end = if whole || count == 1 {
            self.by_idaws(command, layout.block, pieces)?
        } else if self.midaws {
            self.by_midaws(command, layout.block, pieces, count)?
        } else {
            self.by_chaining(command, pieces, count)?
        };
        Ok(Some(end))
    }

    /// Opens a domain for the record, or goes on with the one that is open.
    #[inline]
    fn locate(&mut self, layout: &Layout, write: bool, block: u64) -> Result<(), OutOfWindow> {
        let (first, last) = self.extent.unwrap_or((block, block));
        self.extent = Some((first.min(block), last.max(block)));
        self.writes |= write;
        if let Some(domain) = &mut self.domain {
            if domain.next == block && domain.write == write && domain.count < LocateRecord::MOST {
                domain.next += 1;
                domain.count += 1;
                return Ok(());
            }
        }
        self.close(layout)?;
        self.domains += 1;
        self.domain = Some(Domain {
            first: layout.place(block),
            write,
            next: block + 1,
            count: 1,
        });
        if self.prefix && self.domains == 1 {
            return Ok(());
        }
        let parameter = self.base + self.parameters();
        let count = PARAMETER as u16;
        self.push(Ccw1::new(LOCATE_RECORD, CcwFlags::CC, count, parameter))
    }

    /// Where the parameters of the last domain are.
    #[inline]
    const fn parameters(&self) -> u32 {
        if self.prefix && self.domains == 1 {
            HEAD_LOCATE
        } else {
            PARAMETERS + self.domains.saturating_sub(1) * PARAMETER
        }
    }

    /// Writes the parameters of the open domain.
    #[inline]
    fn close(&mut self, layout: &Layout) -> Result<(), OutOfWindow> {
        let Some(domain) = self.domain.take() else {
            return Ok(());
        };
        let operation = if domain.write {
            LocateRecord::WRITE_DATA
        } else {
            LocateRecord::READ_DATA
        };
        let locate = LocateRecord {
            operation,
            auxiliary: LocateRecord::LENGTH_VALID,
            reserved: 0,
            count: domain.count as u8,
            seek: domain.first.track(),
            search: domain.first.track(),
            record: domain.first.record,
            sector: LocateRecord::ANY_SECTOR,
            transfer_length: layout.block.into(),
        };
        let place = ClientAddress::new(self.parameters().into());
        self.storage.write(place, &locate)
    }

    #[inline]
    fn push(&mut self, ccw: Ccw1) -> Result<(), OutOfWindow> {
        let place = CCWS + self.ccws * CCW;
        self.ccws += 1;
        self.storage.write(ClientAddress::new(place.into()), &ccw)
    }

    /// Format-2 IDAWs: one for each page.
    #[inline]
    fn by_idaws(
        &mut self,
        command: CommandCode,
        count: u16,
        mut pieces: Pieces<'_>,
    ) -> Result<Cursor, OutOfWindow> {
        let flags = CcwFlags::CC | CcwFlags::IDA;
        self.push(Ccw1::new(command, flags, count, self.base + self.lists))?;
        for (address, _) in &mut pieces {
            let place = ClientAddress::new(self.lists.into());
            self.storage.write(place, &Idaw2::new(address))?;
            self.lists += IDAW;
        }
        Ok(pieces.at)
    }

    /// MIDAWs: one for each piece. A list lies on a boundary of its words and in one page.
    #[cold]
    fn by_midaws(
        &mut self,
        command: CommandCode,
        count: u16,
        mut pieces: Pieces<'_>,
        number: u32,
    ) -> Result<Cursor, OutOfWindow> {
        self.lists = self.lists.next_multiple_of(MIDAW);
        let page = PAGE as u32;
        if self.lists / page != (self.lists + number * MIDAW - 1) / page {
            self.lists = self.lists.next_multiple_of(page);
        }
        let flags = CcwFlags::CC | CcwFlags::MIDA;
        self.push(Ccw1::new(command, flags, count, self.base + self.lists))?;
        let mut left = number;
        for (address, length) in &mut pieces {
            left = left.saturating_sub(1);
            let mut flags = MidawFlags::empty();
            flags.set(MidawFlags::LAST, left == 0);
            let place = ClientAddress::new(self.lists.into());
            let midaw = Midaw::new(flags, length as u16, address);
            self.storage.write(place, &midaw)?;
            self.lists += MIDAW;
        }
        Ok(pieces.at)
    }

    /// Data chaining: a CCW with one IDAW for each piece.
    #[cold]
    fn by_chaining(
        &mut self,
        command: CommandCode,
        mut pieces: Pieces<'_>,
        number: u32,
    ) -> Result<Cursor, OutOfWindow> {
        let mut left = number;
        for (address, length) in &mut pieces {
            left = left.saturating_sub(1);
            let mut flags = CcwFlags::IDA;
            flags.set(CcwFlags::CD, left > 0);
            flags.set(CcwFlags::CC, left == 0);
            let list = self.base + self.lists;
            self.push(Ccw1::new(command, flags, length as u16, list))?;
            let place = ClientAddress::new(self.lists.into());
            self.storage.write(place, &Idaw2::new(address))?;
            self.lists += IDAW;
        }
        Ok(pieces.at)
    }

    /// Writes what only the end knows. Gives the ORB; `None` if nothing was added.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn finish(
        &mut self,
        layout: &Layout,
        parameter: u32,
        path_mask: u8,
    ) -> Result<Option<Orb>, OutOfWindow> {
        self.close(layout)?;
        let Some((first, last)) = self.extent else {
            return Ok(None);
        };
        let extent = DefineExtent {
            mask: if self.writes {
                DefineExtent::MASK_UPDATE
            } else {
                DefineExtent::MASK_READ
            },
            attributes: DefineExtent::ECKD,
            block_size: layout.block.into(),
            first: layout.place(first).track(),
            last: layout.place(last).track(),
            ..DefineExtent::default()
        };
        let at = |place: u32| ClientAddress::new(place.into());
        let (command, count) = if self.prefix {
            let prefix = PrefixExtent {
                format: PrefixExtent::FORMAT,
                validity: PrefixExtent::EXTENT_VALID,
                extent,
                ..PrefixExtent::default()
            };
            self.storage.write(at(HEAD), &prefix)?;
            let extended = LocateExtended::default().extended;
            self.storage.write(at(HEAD_LOCATE + PARAMETER), &extended)?;
            (PREFIX, PARAMETERS - HEAD)
        } else {
            self.storage.write(at(HEAD), &extent)?;
            (DEFINE_EXTENT, PARAMETER)
        };
        let define = Ccw1::new(command, CcwFlags::CC, count as u16, self.base + HEAD);
        self.storage.write(at(CCWS), &define)?;
        let end = at(CCWS + (self.ccws - 1) * CCW);
        let mut last: Ccw1 = self.storage.read(end)?;
        last.flags &= !CcwFlags::CC.bits();
        self.storage.write(end, &last)?;
        let mut flags = OrbFlags::PREFETCH | OrbFlags::FORMAT_2_IDAW;
        flags.set(OrbFlags::MIDAW, self.midaws);
        Ok(Some(Orb::format_1(
            parameter,
            self.base + CCWS,
            flags,
            path_mask,
        )))
    }

    /// Which record of the program the channel was at, counted from 0, when it stopped with `ccw` as the address behind the
    /// last CCW that it used. For a program of one request, whose records follow each other.
    pub fn record_at(&self, ccw: u32) -> u64 {
        let used = ccw.wrapping_sub(self.base + CCWS) / CCW;
        let mut records = 0_u64;
        for index in 0..used.min(self.ccws) {
            let place = ClientAddress::new((CCWS + index * CCW).into());
            let Ok(one) = self.storage.read::<Ccw1>(place) else {
                break;
            };
            let transfers = one.command == READ_DATA.0 || one.command == WRITE_DATA.0;
            if transfers && !one.flags().contains(CcwFlags::CD) {
                records += 1;
            }
        }
        records.saturating_sub(1)
    }

    /// CCWs of the program.
    pub const fn ccws(&self) -> u32 {
        self.ccws
    }
}

/// How many pieces there are, and whether IDAWs can name them: each but the first begins a page, each but the last ends one.
/// None if there is less than a record.
#[inline]
fn survey(pieces: &Pieces<'_>) -> (u32, bool) {
    let mut pieces = pieces.clone();
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
