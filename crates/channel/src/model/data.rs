//! The data area of one CCW: direct, through IDAWs or through MIDAWs; forward or backward. It is
//! handed out in pieces that never cross a 2 KiB boundary.

use super::fetch::Fetcher;
use super::memory::Memory;
use crate::{Ccw1, CcwFlags, Idaw1, Idaw2, IdawFormat, Midaw, MidawFlags, SubchannelStatus};

/// Consecutive bytes that are transferred next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The lowest address; `None` when nothing is stored or fetched (SKIP).
    pub(super) address: Option<u64>,
    pub(super) length: usize,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Skip,
    Direct,
    Idaw { next: u64, first: bool },
    Midaw { next: u64, last: bool },
}

/// The rest of a CCW's data area.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataArea {
    source: Source,
    /// The next byte. Backward it is the highest one.
    address: u64,
    /// Bytes left in the area that the current address word names; `None` before the first.
    left: Option<usize>,
    skip: bool,
    /// The current MIDAW asks for an interruption.
    pub(super) interrupt: bool,
    backward: bool,
    highest: u64,
}

const PROGRAM_CHECK: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;
const PIECE: u64 = 0x800;
const PAGE: u64 = 0x1000;

impl DataArea {
    /// The area of a CCW, its address words not yet fetched. Fails when the address in the CCW is
    /// none for a list.
    pub(super) fn new(
        ccw: &Ccw1,
        idaw: IdawFormat,
        backward: bool,
        highest: u32,
    ) -> Result<Self, SubchannelStatus> {
        let address = u64::from(ccw.address.get());
        let flags = ccw.flags();
        let (source, aligned) = if flags.contains(CcwFlags::SKIP) {
            (Source::Skip, true)
        } else if flags.contains(CcwFlags::IDA) {
            let source = Source::Idaw {
                next: address,
                first: true,
            };
            (source, address.is_multiple_of(idaw.word().into()))
        } else if flags.contains(CcwFlags::MIDA) {
            let source = Source::Midaw {
                next: address,
                last: false,
            };
            (source, address.is_multiple_of(16))
        } else {
            (Source::Direct, true)
        };
        if !aligned {
            return Err(PROGRAM_CHECK);
        }
        Ok(Self {
            source,
            address,
            left: None,
            skip: false,
            interrupt: false,
            backward,
            highest: highest.into(),
        })
    }

    /// The next piece of at most `wanted` bytes (not 0).
    pub(super) fn piece(
        &mut self,
        fetcher: &mut Fetcher,
        memory: &dyn Memory,
        wanted: usize,
        residual: usize,
    ) -> Result<Piece, SubchannelStatus> {
        let left = match (self.source, self.left) {
            (Source::Skip, _) => {
                return Ok(Piece {
                    address: None,
                    length: wanted,
                })
            }
            (Source::Direct, _) => {
                if self.address > self.highest {
                    return Err(PROGRAM_CHECK);
                }
                wanted
            }
            (Source::Idaw { .. } | Source::Midaw { .. }, Some(left)) if left > 0 => left,
            (Source::Idaw { next, first }, _) => self.next_idaw(fetcher, memory, next, first)?,
            (Source::Midaw { last: true, .. }, _) => return Err(PROGRAM_CHECK),
            (Source::Midaw { next, .. }, _) => self.next_midaw(fetcher, memory, next, residual)?,
        };
        let within = self.address % PIECE;
        let to_boundary = if self.backward {
            within + 1
        } else {
            PIECE - within
        };
        let length = wanted.min(left).min(to_boundary as usize);
        let lowest = if self.backward {
            self.address + 1 - length as u64
        } else {
            self.address
        };
        Ok(Piece {
            address: (!self.skip).then_some(lowest),
            length,
        })
    }

    /// `length` bytes of the piece have been transferred. The last byte of the CCW wants the last
    /// MIDAW to be the last.
    pub(super) fn done(&mut self, length: usize, residual: usize) -> Result<(), SubchannelStatus> {
        self.left = self.left.map(|left| left - length.min(left));
        match self.source {
            Source::Skip => return Ok(()),
            Source::Midaw { last, .. } => {
                if residual == 0 && !(last && self.left == Some(0)) {
                    return Err(PROGRAM_CHECK);
                }
            }
            Source::Direct | Source::Idaw { .. } => {}
        }
        let length = length as u64;
        // Below address 0 is no storage either.
        self.address = if self.backward {
            self.address.checked_sub(length).unwrap_or(u64::MAX)
        } else {
            self.address.wrapping_add(length)
        };
        Ok(())
    }

    fn next_idaw(
        &mut self,
        fetcher: &mut Fetcher,
        memory: &dyn Memory,
        at: u64,
        first: bool,
    ) -> Result<usize, SubchannelStatus> {
        let address = match fetcher.idaw {
            IdawFormat::Format1 => {
                let word: Idaw1 = fetcher.value::<4, _>(memory, at)?;
                word.address().ok_or(PROGRAM_CHECK)?.into()
            }
            IdawFormat::Format2Of2K | IdawFormat::Format2Of4K => {
                let word: Idaw2 = fetcher.value::<8, _>(memory, at)?;
                word.address()
            }
        };
        let block = u64::from(fetcher.idaw.block());
        let within = address % block;
        let left = if self.backward {
            within + 1
        } else {
            block - within
        };
        if !first && left != block {
            return Err(PROGRAM_CHECK);
        }
        self.source = Source::Idaw {
            next: at + u64::from(fetcher.idaw.word()),
            first: false,
        };
        self.address = address;
        self.left = Some(left as usize);
        Ok(left as usize)
    }

    fn next_midaw(
        &mut self,
        fetcher: &mut Fetcher,
        memory: &dyn Memory,
        at: u64,
        residual: usize,
    ) -> Result<usize, SubchannelStatus> {
        let first = self.left.is_none();
        if !first && at.is_multiple_of(PAGE) {
            return Err(PROGRAM_CHECK);
        }
        let word: Midaw = fetcher.value::<16, _>(memory, at)?;
        let count = u64::from(word.count.get());
        let address = word.address.get();
        let within = address % PAGE;
        let fits = if self.backward {
            within + 1 >= count
        } else {
            within + count <= PAGE
        };
        let skip = word.flags().contains(MidawFlags::SKIP);
        if !word.is_well_formed() || !(fits || skip) || count > residual as u64 {
            return Err(PROGRAM_CHECK);
        }
        self.source = Source::Midaw {
            next: at + 16,
            last: word.flags().contains(MidawFlags::LAST),
        };
        self.skip = skip;
        self.interrupt = word.flags().contains(MidawFlags::DATA_TRANSFER_INTERRUPT);
        self.address = address;
        self.left = Some(count as usize);
        Ok(count as usize)
    }
}
