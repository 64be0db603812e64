//! The block device: features, configuration and requests (virtio 1.3, section 5.2).
//!
//! A request is a descriptor chain: a [`RequestHeader`] the device reads, the data, and one
//! [`RequestStatus`] byte the device writes. All fields are little-endian.
//!
//! Limits: geometry and zones are of no interest here, and requests of zoned devices are not named.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::features::device_features;
use crate::wire::wire_enum;

/// The virtio device id of a block device.
pub const DEVICE_ID: u8 = 2;

/// Bytes in a sector, whatever the block size: the unit of [`Config::capacity`] and of
/// [`RequestHeader::sector`].
pub const SECTOR: u32 = 512;

/// Length of the answer to [`RequestType::GetId`]: ASCII, zero-padded, no NUL if it is full.
pub const ID_LENGTH: usize = 20;

bitflags! {
    /// Feature bits of a block device (section 5.2.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// [`Config::size_max`] is valid.
        const SIZE_MAX = 1 << 1;
        /// [`Config::seg_max`] is valid.
        const SEG_MAX = 1 << 2;
        /// The device is read-only.
        const RO = 1 << 5;
        /// [`Config::blk_size`] is valid.
        const BLK_SIZE = 1 << 6;
        /// The flush request is there.
        const FLUSH = 1 << 9;
        /// [`Config::topology`] is valid.
        const TOPOLOGY = 1 << 10;
        /// [`Config::writeback`] can be read and written.
        const CONFIG_WCE = 1 << 11;
        /// [`Config::num_queues`] is valid.
        const MQ = 1 << 12;
        /// The discard request is there.
        const DISCARD = 1 << 13;
        /// The write-zeroes request is there.
        const WRITE_ZEROES = 1 << 14;
    }
}

device_features!(Features);

wire_enum! {
    /// What a request asks for (section 5.2.6).
    pub enum RequestType(u32, "block request type") {
        /// Read: data from the device.
        In = 0,
        /// Write: data to the device.
        Out = 1,
        /// Everything completed so far onto stable storage.
        Flush = 4,
        /// The device's name: [`ID_LENGTH`] bytes.
        GetId = 8,
        /// The device's wear.
        GetLifetime = 10,
        /// The sectors are no longer needed; data [`Range`]s.
        Discard = 11,
        /// The sectors are to read as zeroes; data [`Range`]s.
        WriteZeroes = 13,
        /// The sectors are to be erased for good; data [`Range`]s.
        SecureErase = 14,
    }
}

wire_enum! {
    /// How a request ended: its last byte.
    pub enum RequestStatus(u8, "block request status") {
        /// Done.
        Ok = 0,
        /// The device or the driver made an error.
        IoError = 1,
        /// The device does not know such requests.
        Unsupported = 2,
    }
}

/// The first 16 bytes of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct RequestHeader {
    /// A [`RequestType`].
    pub kind: U32,
    /// Zero. (Was a priority in legacy devices.)
    pub reserved: U32,
    /// First sector for [`RequestType::In`] and [`RequestType::Out`], otherwise zero.
    pub sector: U64,
}

impl RequestHeader {
    /// The header of a request that starts at `sector`.
    pub const fn new(kind: RequestType, sector: u64) -> Self {
        Self {
            kind: U32::new(kind as u32),
            reserved: U32::ZERO,
            sector: U64::new(sector),
        }
    }
}

/// A range of sectors to be discarded, zeroed or erased
/// (`virtio_blk_discard_write_zeroes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Range {
    /// First sector.
    pub sector: U64,
    /// Number of sectors.
    pub num_sectors: U32,
    /// [`RangeFlags`]; all other bits are zero.
    pub flags: U32,
}

bitflags! {
    /// Flags of a [`Range`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RangeFlags: u32 {
        /// Zeroed sectors may be given back to the storage. With write-zeroes only.
        const UNMAP = 1;
    }
}

/// Which sizes and alignments the device likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Topology {
    /// Logical blocks per physical block, as a power of two.
    pub physical_block_exp: u8,
    /// Logical blocks before the first aligned one.
    pub alignment_offset: u8,
    /// Smallest good transfer in logical blocks.
    pub min_io_size: U16,
    /// Best transfer in logical blocks; zero if the device does not care.
    pub opt_io_size: U32,
}

/// The configuration space (section 5.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Config {
    /// Size of the device in [`SECTOR`]s.
    pub capacity: U64,
    /// Most bytes in one data descriptor ([`Features::SIZE_MAX`]).
    pub size_max: U32,
    /// Most data descriptors in one request ([`Features::SEG_MAX`]).
    pub seg_max: U32,
    /// The geometry: of no interest.
    pub geometry: [u8; 4],
    /// Logical block size in bytes ([`Features::BLK_SIZE`]).
    pub blk_size: U32,
    /// The topology ([`Features::TOPOLOGY`]).
    pub topology: Topology,
    /// 0 write-through, 1 write-back ([`Features::CONFIG_WCE`]).
    pub writeback: u8,
    /// Zero.
    pub reserved0: u8,
    /// Number of request queues ([`Features::MQ`]).
    pub num_queues: U16,
    /// Most sectors in one discard range ([`Features::DISCARD`]).
    pub max_discard_sectors: U32,
    /// Most ranges in one discard request.
    pub max_discard_seg: U32,
    /// Discards do best at multiples of this many sectors.
    pub discard_sector_alignment: U32,
    /// Most sectors in one write-zeroes range ([`Features::WRITE_ZEROES`]).
    pub max_write_zeroes_sectors: U32,
    /// Most ranges in one write-zeroes request.
    pub max_write_zeroes_seg: U32,
    /// Whether write-zeroes with [`RangeFlags::UNMAP`] can unmap.
    pub write_zeroes_may_unmap: u8,
    /// Zero.
    pub reserved1: [u8; 3],
    /// Secure erase and zones: of no interest.
    pub rest: [U32; 9],
}

const _: () = assert!(size_of::<RequestHeader>() == 16);
const _: () = assert!(size_of::<Range>() == 16);
const _: () = assert!(size_of::<Config>() == 96);
const _: () = assert!(core::mem::offset_of!(Config, topology) == 24);
const _: () = assert!(core::mem::offset_of!(Config, writeback) == 32);
const _: () = assert!(core::mem::offset_of!(Config, num_queues) == 34);
const _: () = assert!(core::mem::offset_of!(Config, max_write_zeroes_sectors) == 48);
const _: () = assert!(core::mem::offset_of!(Config, rest) == 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_type_comes_back_from_its_number() {
        for &kind in RequestType::ALL {
            assert_eq!(RequestType::try_from(u32::from(kind)), Ok(kind));
        }
        assert!(RequestType::try_from(2).is_err());
    }

    #[test]
    fn a_status_byte_that_the_device_never_wrote_is_no_status() {
        assert_eq!(RequestStatus::try_from(1), Ok(RequestStatus::IoError));
        assert!(RequestStatus::try_from(0xff).is_err());
    }

    #[test]
    fn a_header_is_little_endian() {
        let header = RequestHeader::new(RequestType::Out, 0x0102);
        assert_eq!(
            header.as_bytes(),
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn common_features_do_not_leak_into_the_device_s() {
        let all = crate::Features::VERSION_1 | Features::FLUSH.into();
        assert_eq!(Features::from(all), Features::FLUSH);
    }
}
