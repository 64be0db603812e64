//! The channel program of reads and writes.
//!
//! ```text
//! DEFINE EXTENT      from the first to the last block of the program; writes permitted if there is one
//!   LOCATE           operation, first block, number of blocks
//!     READ           all of them
//!   LOCATE           the next transfer: another direction, not the next block, or data that one list cannot name
//!     WRITE
//!   …
//! ```
//!
//! # Limits
//!
//! [`MOST_TRANSFERS`] transfers, [`MOST_BLOCKS`] blocks in one (a CCW counts to 65,535), and what a [`Chain`] takes. What there is no room
//! for is left for the next program.
//!
//! # Data addresses
//!
//! Of blocks that follow each other, also those of several requests, one IDAW list names the storage as long as only its ends are
//! within pages. A block whose storage is in pieces elsewhere goes alone, by MIDAWs. A channel without them cannot transfer it: a
//! block cannot be data-chained.

use channel::Orb;
use window::{OutOfWindow, Segment};

use super::super::chain::{Chain, Cursor, Pieces, MOST_PARAMETERS, PARAMETER};
use super::format::{DefineExtent, Locate, DEFINE_EXTENT, LOCATE, READ, WRITE};

const PAGE: u64 = 4096;
pub const BLOCK: u32 = 512;
pub const MOST_BLOCKS: u32 = u16::MAX as u32 / BLOCK;
pub const MOST_TRANSFERS: u32 = MOST_PARAMETERS - 1;
/// Most pieces of storage of a transfer by IDAWs.
const MOST_PIECES: u32 = MOST_BLOCKS * BLOCK / PAGE as u32 + 2;

/// LOCATE, and the CCW behind it.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    write: bool,
    first: u32,
    count: u32,
    ccw: u32,
    /// Where its storage ends, if more can be behind it.
    end: Option<u64>,
}

/// A channel program, being written or running. Blocks are counted from the disk's first.
#[derive(Debug)]
pub struct Program {
    chain: Chain,
    transfers: u32,
    transfer: Option<Transfer>,
    extent: Option<(u32, u32)>,
    writes: bool,
}

impl Program {
    pub fn new(chain: Chain) -> Self {
        Self {
            chain,
            transfers: 0,
            transfer: None,
            extent: None,
            writes: false,
        }
    }

    pub fn begin(&mut self) {
        self.chain.begin();
        self.transfers = 0;
        self.transfer = None;
        self.extent = None;
        self.writes = false;
    }

    /// Adds blocks from `block` on, at most `left`. Gives how many, and the place behind their storage; `None` if the program has no room.
    ///
    /// # Errors
    ///
    /// [`OutOfWindow`]: the program's storage is shorter than it says. Does not happen.
    #[inline]
    pub fn add(
        &mut self,
        write: bool,
        block: u32,
        left: u32,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<(u32, Cursor)>, OutOfWindow> {
        if !self.chain.has_room(1 + MOST_PIECES) {
            return Ok(None);
        }
        let pieces = |blocks| Pieces::new(segments, at, blocks * BLOCK);
        // More of the transfer before, if it is that.
        if let Some(open) = self.transfer {
            let follows = open.write == write && open.first + open.count == block;
            let most = left.min(MOST_BLOCKS - open.count);
            let blocks = match open.end {
                Some(end) if follows => nameable(pieces(most), Some(end)),
                _ => 0,
            };
            if blocks > 0 {
                return self.extend(open, pieces(blocks), blocks).map(Some);
            }
        }
        self.close()?;
        if self.transfers >= MOST_TRANSFERS {
            return Ok(None);
        }
        let blocks = nameable(pieces(left.min(MOST_BLOCKS)), None);
        if blocks > 0 {
            let open = self.locate(write, block, Some(u64::MAX))?;
            // Rewritten by the end of the transfer, which knows its length.
            self.chain.push(self.chain.listed(command(write), 0))?;
            return self.extend(open, pieces(blocks), blocks).map(Some);
        }
        // A block in pieces.
        let mut pieces = pieces(1);
        let (count, _) = pieces.survey();
        if count == 0 || !self.chain.has_midaws() || !self.chain.has_room(1 + count) {
            return Ok(None);
        }
        let open = self.locate(write, block, None)?;
        self.take(open, 1);
        self.chain
            .by_midaws(command(write), BLOCK as u16, &mut pieces, count)?;
        Ok(Some((1, pieces.at())))
    }

    /// LOCATE; its parameters are written when the transfer is closed.
    fn locate(
        &mut self,
        write: bool,
        block: u32,
        end: Option<u64>,
    ) -> Result<Transfer, OutOfWindow> {
        self.transfers += 1;
        let count = size_of::<Locate>() as u16;
        let locate = self.chain.command(LOCATE, self.transfers, count);
        self.chain.push(locate)?;
        Ok(Transfer {
            write,
            first: block,
            count: 0,
            ccw: self.chain.ccws(),
            end,
        })
    }

    /// Puts storage into the list of the transfer.
    #[inline]
    fn extend(
        &mut self,
        mut open: Transfer,
        mut pieces: Pieces<'_>,
        blocks: u32,
    ) -> Result<(u32, Cursor), OutOfWindow> {
        for (address, length) in &mut pieces {
            if open.end != Some(address) || address.is_multiple_of(PAGE) {
                self.chain.idaw(address)?;
            }
            open.end = Some(address + u64::from(length));
        }
        self.take(open, blocks);
        Ok((blocks, pieces.at()))
    }

    fn take(&mut self, mut open: Transfer, blocks: u32) {
        let last = open.first + open.count + blocks - 1;
        let (low, high) = self.extent.unwrap_or((open.first, last));
        self.extent = Some((low.min(open.first), high.max(last)));
        self.writes |= open.write;
        open.count += blocks;
        self.transfer = Some(open);
    }

    /// Writes what only the end of a transfer knows.
    fn close(&mut self) -> Result<(), OutOfWindow> {
        let Some(done) = self.transfer.take() else {
            return Ok(());
        };
        let locate = Locate {
            operation: if done.write {
                Locate::WRITE
            } else {
                Locate::READ
            },
            replication: 0,
            count: (done.count as u16).into(),
            block: done.first.into(),
        };
        self.chain.parameter(self.transfers, &locate)?;
        let mut ccw = self.chain.get(done.ccw)?;
        ccw.count = ((done.count * BLOCK) as u16).into();
        self.chain.put(done.ccw, ccw)
    }

    /// Writes what only the end knows. Gives the ORB; `None` if nothing was added.
    pub fn finish(&mut self, parameter: u32, path_mask: u8) -> Result<Option<Orb>, OutOfWindow> {
        self.close()?;
        let Some((first, last)) = self.extent else {
            return Ok(None);
        };
        let mask = if self.writes {
            DefineExtent::MASK_WRITE
        } else {
            DefineExtent::MASK_READ
        };
        self.chain
            .parameter(0, &DefineExtent::of(first, last, mask))?;
        let define = self.chain.command(DEFINE_EXTENT, 0, PARAMETER as u16);
        self.chain.put(0, define)?;
        self.chain.finish(parameter, path_mask).map(Some)
    }

    /// With which block of the program the transfer began, counted from 0, at which the channel stopped with `ccw` as the address
    /// behind the last CCW that it used. For a program of one request, whose blocks follow each other.
    pub fn block_at(&self, ccw: u32) -> u64 {
        let (mut before, mut last) = (0, 0);
        for one in self.chain.used(ccw) {
            if one.command == LOCATE.0 {
                before += last;
                last = 0;
            } else if one.command == READ.0 || one.command == WRITE.0 {
                last = u64::from(u32::from(one.count.get()) / BLOCK);
            }
        }
        before
    }

    pub const fn ccws(&self) -> u32 {
        self.chain.ccws()
    }
}

const fn command(write: bool) -> channel::CommandCode {
    if write {
        WRITE
    } else {
        READ
    }
}

/// How many whole blocks from the front IDAWs can name, behind storage that ends at `end`.
#[inline]
fn nameable(mut pieces: Pieces<'_>, end: Option<u64>) -> u32 {
    let (mut before, mut bytes) = (end, 0);
    for (address, length) in &mut pieces {
        let follows = before.is_none_or(|before| {
            before == address || before.is_multiple_of(PAGE) && address.is_multiple_of(PAGE)
        });
        if !follows {
            break;
        }
        before = Some(address + u64::from(length));
        bytes += length;
    }
    bytes / BLOCK
}
