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
//! What fits: [`MOST_DOMAINS`] domains, and what a [`Chain`] takes. A record for which there is no room is left for the next program.

use channel::{Ccw1, CcwFlags, Orb};
use window::{OutOfWindow, Segment};

use super::super::chain::{Chain, Cursor, Pieces, MOST_PARAMETERS, PARAMETER};
use super::format::{
    self, DefineExtent, LocateRecord, Place, Prefix, DEFINE_EXTENT, LOCATE_RECORD, PREFIX,
    READ_DATA, WRITE_DATA,
};
use super::record::Layout;

/// Parameter blocks of the first command, DEFINE EXTENT or PREFIX.
const HEAD: u32 = size_of::<Prefix>() as u32 / PARAMETER;
pub const MOST_DOMAINS: u32 = MOST_PARAMETERS - HEAD;

/// Records one after the other, in one direction.
#[derive(Clone, Copy, Debug)]
struct Domain {
    first: Place,
    write: bool,
    /// The block that would go on with it.
    next: u64,
    count: u32,
}

#[derive(Debug)]
pub struct Program {
    pub(super) chain: Chain,
    /// Whether it begins with PREFIX, and the first domain, which is then part of that.
    prefix: bool,
    first: LocateRecord,
    domains: u32,
    domain: Option<Domain>,
    extent: Option<(u64, u64)>,
    writes: bool,
}

impl Program {
    /// An empty program, with PREFIX if that may be used.
    pub fn new(chain: Chain, prefix: bool) -> Self {
        Self {
            chain,
            prefix,
            first: LocateRecord::default(),
            domains: 0,
            domain: None,
            extent: None,
            writes: false,
        }
    }

    pub fn begin(&mut self) {
        self.chain.begin();
        self.domains = 0;
        self.domain = None;
        self.extent = None;
        self.writes = false;
    }

    /// From now on without PREFIX. Says whether it was used until now.
    pub const fn drop_prefix(&mut self) -> bool {
        core::mem::replace(&mut self.prefix, false)
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
        let mut pieces = Pieces::new(segments, at, layout.block.into());
        // In the worst case a LOCATE RECORD, and each piece a CCW or a MIDAW of its own.
        let (count, whole) = pieces.survey();
        if self.domains >= MOST_DOMAINS || !self.chain.has_room(count) || count == 0 {
            return Ok(None);
        }
        self.locate(layout, write, block)?;
        self.transfer(layout, write, &mut pieces, (count, whole))?;
        Ok(Some(pieces.at()))
    }

    /// The CCW of a record, whose storage has so many pieces, which IDAWs can name or cannot.
    #[inline(always)]
    pub(super) fn transfer(
        &mut self,
        layout: &Layout,
        write: bool,
        pieces: &mut Pieces<'_>,
        (count, whole): (u32, bool),
    ) -> Result<(), OutOfWindow> {
        let command = if write { WRITE_DATA } else { READ_DATA };
        let (chain, bytes) = (&mut self.chain, layout.block);
        if whole || count == 1 {
            chain.by_idaws(command, bytes, pieces)
        } else if chain.has_midaws() {
            chain.by_midaws(command, bytes, pieces, count)
        } else {
            chain.by_chaining(command, pieces, count)
        }
    }

    /// Whether there is room for so many domains more.
    pub(super) const fn has_domains(&self, more: u32) -> bool {
        self.domains + more <= MOST_DOMAINS
    }

    pub(super) const fn extent(&self) -> Option<(u64, u64)> {
        self.extent
    }

    /// Opens a domain for the record, or goes on with the one that is open.
    #[inline(always)]
    pub(super) fn locate(
        &mut self,
        layout: &Layout,
        write: bool,
        block: u64,
    ) -> Result<(), OutOfWindow> {
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
        let (place, count) = (self.parameters(), PARAMETER as u16);
        let ccw = self.chain.command(LOCATE_RECORD, place, count);
        self.chain.push(ccw)
    }

    const fn parameters(&self) -> u32 {
        HEAD + self.domains - 1
    }

    #[inline(always)]
    pub(super) fn close(&mut self, layout: &Layout) -> Result<(), OutOfWindow> {
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
            count: domain.count as u8,
            transfer_length: layout.block.into(),
            ..format::locate(domain.first.track(), domain.first.record)
        };
        if self.prefix && self.domains == 1 {
            self.first = locate;
            return Ok(());
        }
        self.chain.parameter(self.parameters(), &locate)
    }

    /// Writes what only the end knows. Gives the ORB; `None` if nothing was added.
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
        let (command, count) = if self.prefix {
            self.chain.parameter(0, &Prefix::new(extent, self.first))?;
            (PREFIX, HEAD * PARAMETER)
        } else {
            self.chain.parameter(0, &extent)?;
            (DEFINE_EXTENT, PARAMETER)
        };
        let first = self.chain.command(command, 0, count as u16);
        self.chain.put(0, first)?;
        self.chain.finish(parameter, path_mask).map(Some)
    }

    /// Which record of the program the channel was at, counted from 0, when it stopped with `ccw` as the address behind the
    /// last CCW that it used. For a program of one request, whose records follow each other.
    pub fn record_at(&self, ccw: u32) -> u64 {
        let is_record = |one: &Ccw1| {
            let transfers = one.command == READ_DATA.0 || one.command == WRITE_DATA.0;
            transfers && !one.flags().contains(CcwFlags::CD)
        };
        let records = self.chain.used(ccw).filter(is_record).count() as u64;
        records.saturating_sub(1)
    }

    pub const fn ccws(&self) -> u32 {
        self.chain.ccws()
    }
}
