//! What a client has of a disk: where that lies, what it can do, and what becomes of a request there.
//!
//! Rule: what a request says is the client's. It is measured here, once, and what comes out is within the slice.

use thiserror::Error;
use vcss::control::Export;
use virtio::blk::{
    Config, Features as BlkFeatures, Range as WireRange, RangeFlags, RequestStatus, RequestType,
    SECTOR,
};
use virtio::ring::device::Buffer;
use virtio::Features;
use window::Window;
use zerocopy::IntoBytes;

use super::request::{copy_out, gather, ranges, Refused, Scratch, Shape, MAX_RANGES};
use crate::driver::block::{BlockDevice, Geometry, Operation, Range};

/// A slice of a disk; nothing as long as there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    /// First sector on the disk.
    start: u64,
    sectors: u64,
    block_size: u32,
    read_only: bool,
    pub(super) flush: bool,
    /// Most sectors in a range.
    discard: u32,
    write_zeroes: u32,
    serial: [u8; 20],
}

/// Why a client cannot have what it is given of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("the disk has no partition {0} that can be served")]
    Partition(u8),
    #[error("the slice ends beyond the disk's {0} sectors")]
    Beyond(u64),
    #[error("the slice does not begin and end on the disk's blocks of {0} bytes")]
    Blocks(u32),
}

/// A request that was checked.
pub(super) enum Prepared {
    /// It is the disk's: what it is to do, and with how many bytes.
    Disk(Operation, u32),
    /// It is done, and so many bytes were written into the client's buffers.
    Done(u32),
}

impl Slice {
    /// What an export gives of a disk.
    pub(super) fn new(export: &Export, disk: &mut dyn BlockDevice) -> Result<Self, Unfit> {
        let (start, sectors) = match export.partition {
            0 => (export.start.get(), export.sectors.get()),
            number => (disk.dasd())
                .and_then(|dasd| dasd.partition(number))
                .ok_or(Unfit::Partition(number))?,
        };
        let geometry = disk.geometry();
        let size = geometry.sectors;
        let sectors = match sectors {
            0 => size.saturating_sub(start),
            sectors => sectors,
        };
        let end = start.checked_add(sectors);
        let Some(end) = end.filter(|&end| sectors != 0 && end <= size) else {
            return Err(Unfit::Beyond(size));
        };
        let block = u64::from(geometry.block_size / SECTOR).max(1);
        if !start.is_multiple_of(block) || !end.is_multiple_of(block) {
            return Err(Unfit::Blocks(geometry.block_size));
        }
        Ok(Self {
            start,
            sectors,
            block_size: geometry.block_size,
            read_only: export.flags.get() & Export::READ_ONLY != 0 || geometry.read_only,
            flush: geometry.flush,
            discard: geometry.discard.map_or(0, |it| it.max_sectors),
            write_zeroes: geometry.write_zeroes.map_or(0, |it| it.max_sectors),
            serial: export.serial,
        })
    }

    /// What the export offers of what the disk can do.
    pub(super) fn offer(&self, queues: u16, disk: &Geometry) -> (Features, Config) {
        let mut features = BlkFeatures::SEG_MAX
            | BlkFeatures::SIZE_MAX
            | BlkFeatures::BLK_SIZE
            | BlkFeatures::TOPOLOGY
            | BlkFeatures::MQ;
        let mut config = Config {
            capacity: self.sectors.into(),
            size_max: disk.size_max.into(),
            seg_max: u32::from(disk.seg_max).into(),
            blk_size: disk.block_size.into(),
            num_queues: queues.into(),
            writeback: 1,
            ..Config::default()
        };
        config.topology.physical_block_exp = disk.physical_block_exp;
        config.topology.min_io_size = disk.min_io.into();
        config.topology.opt_io_size = disk.opt_io.into();
        if disk.flush {
            features |= BlkFeatures::FLUSH | BlkFeatures::CONFIG_WCE;
        }
        if self.read_only {
            features |= BlkFeatures::RO;
        } else {
            if let Some(limits) = &disk.discard {
                features |= BlkFeatures::DISCARD;
                config.max_discard_sectors = limits.max_sectors.into();
                config.max_discard_seg = ranges(limits.max_segments).into();
                config.discard_sector_alignment = limits.alignment.into();
            }
            if let Some(limits) = &disk.write_zeroes {
                features |= BlkFeatures::WRITE_ZEROES;
                config.max_write_zeroes_sectors = limits.max_sectors.into();
                config.max_write_zeroes_seg = ranges(limits.max_segments).into();
                config.write_zeroes_may_unmap = u8::from(limits.may_unmap);
            }
        }
        let ring = Features::VERSION_1 | Features::RING_INDIRECT_DESC | Features::RING_EVENT_IDX;
        (ring | features.into(), config)
    }

    /// Checks a request and makes the disk's operation of it, unless it is done already.
    #[inline]
    pub(super) fn prepare(
        &self,
        window: &Window,
        shape: &Shape,
        scratch: &mut Scratch,
    ) -> Result<Prepared, Refused> {
        let Scratch {
            chain,
            segments,
            ranges,
        } = scratch;
        segments.clear();
        ranges.clear();
        let kind = RequestType::try_from(shape.header.kind.get())
            .map_err(|_| RequestStatus::Unsupported)?;
        let sector = shape.header.sector.get();
        match kind {
            RequestType::In => {
                let bytes = gather(window, chain.writable(), (0, 0), 1, segments)?;
                let sector = self.place(sector, bytes)?;
                Ok(transfer(Operation::Read { sector }, bytes))
            }
            RequestType::Out => {
                self.writable()?;
                let bytes = gather(window, chain.readable(), shape.skip, 0, segments)?;
                let sector = self.place(sector, bytes)?;
                Ok(transfer(Operation::Write { sector }, bytes))
            }
            RequestType::Flush if !self.flush => Ok(Prepared::Done(0)),
            RequestType::Flush => Ok(Prepared::Disk(Operation::Flush, 0)),
            RequestType::GetId => {
                let room = gather(window, chain.writable(), (0, 0), 1, segments)?;
                let written = self.get_id(window, chain.writable(), room)?;
                Ok(Prepared::Done(written))
            }
            RequestType::Discard | RequestType::WriteZeroes => {
                self.writable()?;
                let mut wire = [WireRange::default(); MAX_RANGES];
                let length = copy_out(window, chain.readable(), shape.skip, wire.as_mut_bytes())?;
                if length == 0 || length % size_of::<WireRange>() != 0 {
                    return Err(RequestStatus::IoError.into());
                }
                for range in wire.iter().take(length / size_of::<WireRange>()) {
                    let _ = ranges.push(self.range(kind, range)?);
                }
                let operation = match kind {
                    RequestType::Discard => Operation::Discard,
                    _ => Operation::WriteZeroes,
                };
                Ok(Prepared::Disk(operation, 0))
            }
            RequestType::GetLifetime | RequestType::SecureErase => {
                Err(RequestStatus::Unsupported.into())
            }
        }
    }

    fn writable(&self) -> Result<(), Refused> {
        let refused = RequestStatus::IoError.into();
        (!self.read_only).then_some(()).ok_or(refused)
    }

    /// Where on the disk a transfer begins, if it lies within the slice.
    #[inline]
    fn place(&self, sector: u64, bytes: u32) -> Result<u64, Refused> {
        const BAD: Refused = Refused::Status(RequestStatus::IoError);
        if self.block_size == 0 || !bytes.is_multiple_of(self.block_size) {
            return Err(BAD);
        }
        let block_sectors = u64::from(self.block_size / SECTOR).max(1);
        match sector.checked_add(u64::from(bytes / SECTOR)) {
            Some(end) if end <= self.sectors && sector.is_multiple_of(block_sectors) => {
                Ok(self.start + sector)
            }
            _ => Err(BAD),
        }
    }

    /// Writes as much of the serial as there is room for, and returns how many bytes that is.
    fn get_id(&self, window: &Window, writable: &[Buffer], room: u32) -> Result<u32, Refused> {
        let serial = self.serial.as_slice();
        let serial = serial.get(..room as usize).unwrap_or(serial);
        let mut rest = serial;
        for buffer in writable {
            let length = rest.len().min(buffer.len as usize);
            let (now, later) = rest.split_at(length);
            window
                .write_bytes(buffer.address, now)
                .map_err(|_| RequestStatus::IoError)?;
            rest = later;
        }
        Ok((serial.len() - rest.len()) as u32)
    }

    /// A range of a discard or write-zeroes request.
    fn range(&self, kind: RequestType, range: &WireRange) -> Result<Range, Refused> {
        let (most, known) = match kind {
            RequestType::Discard => (self.discard, RangeFlags::empty()),
            _ => (self.write_zeroes, RangeFlags::UNMAP),
        };
        // As the standard has it: unsupported, not an error.
        let flags = RangeFlags::from_bits(range.flags.get()).filter(|&it| known.contains(it));
        let flags = flags.ok_or(RequestStatus::Unsupported)?;
        let (sector, sectors) = (range.sector.get(), range.num_sectors.get());
        let end = sector.checked_add(u64::from(sectors));
        if sectors > most || end.is_none_or(|end| end > self.sectors) {
            return Err(RequestStatus::IoError.into());
        }
        Ok(Range {
            sector: self.start + sector,
            sectors,
            unmap: flags.contains(RangeFlags::UNMAP),
        })
    }
}

/// A transfer of nothing is done.
const fn transfer(operation: Operation, bytes: u32) -> Prepared {
    match bytes {
        0 => Prepared::Done(0),
        _ => Prepared::Disk(operation, bytes),
    }
}
