//! Commands of a 3990 storage control, or of what stands for one, and their parameters.
//!
//! Nobody else spells a command code or an offset.

use channel::CommandCode;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::track::TrackAddress;

/// Control-unit types that take these commands: storage controls, and the one built into a 9343.
pub const CONTROL_UNITS: [u16; 5] = [0x3990, 0x9343, 0x2105, 0x2107, 0x1750];

pub const DEFINE_EXTENT: CommandCode = CommandCode(0x63);
pub const LOCATE_RECORD: CommandCode = CommandCode(0x47);
pub const SEEK: CommandCode = CommandCode(0x07);
pub const SEARCH_ID_EQUAL: CommandCode = CommandCode(0x31);
/// READ DATA, of the record that was searched for or the next one.
pub const READ_DATA_HERE: CommandCode = CommandCode(0x06);
/// READ DATA, multitrack.
pub const READ_DATA: CommandCode = CommandCode(0x86);
/// WRITE UPDATE DATA: write data, multitrack.
pub const WRITE_DATA: CommandCode = CommandCode(0x85);
pub const READ_COUNT: CommandCode = CommandCode(0x12);
/// READ COUNT, KEY AND DATA.
pub const READ_CKD: CommandCode = CommandCode(0x1E);
/// WRITE COUNT, KEY AND DATA: makes a record, and ends the track behind it.
pub const WRITE_CKD: CommandCode = CommandCode(0x1D);
/// READ DEVICE CHARACTERISTICS.
pub const READ_CHARACTERISTICS: CommandCode = CommandCode(0x64);
/// DEVICE RESERVE. Gives sense bytes, as the two below.
pub const RESERVE: CommandCode = CommandCode(0xB4);
/// DEVICE RELEASE.
pub const RELEASE: CommandCode = CommandCode(0x94);
/// UNCONDITIONAL RESERVE: takes a reservation away from whoever has it.
pub const UNCONDITIONAL_RESERVE: CommandCode = CommandCode(0x14);

/// Parameters of DEFINE EXTENT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DefineExtent {
    /// File mask: one of the `MASK` constants.
    pub mask: u8,
    /// Global attributes: [`Self::ECKD`].
    pub attributes: u8,
    /// Extent block size; the longest transfer.
    pub block_size: U16,
    /// Cache fast write identifier.
    pub cache_fast_write: U16,
    /// Zero.
    pub reserved: u8,
    /// Global attributes, extended.
    pub extended: u8,
    /// First track of the extent.
    pub first: TrackAddress,
    /// Last track of the extent.
    pub last: TrackAddress,
}

const _: () = assert!(size_of::<DefineExtent>() == 16);

impl DefineExtent {
    /// Mask: no writes.
    pub const MASK_READ: u8 = 0x40;
    /// Mask: update writes only.
    pub const MASK_UPDATE: u8 = 0x80;
    /// Mask: all writes, but not of home address and R0.
    pub const MASK_FORMAT: u8 = 0xC0;
    /// Attributes: ECKD architecture, normal cache operation.
    pub const ECKD: u8 = 0xC0;
    /// Attributes: ECKD architecture, the cache is bypassed.
    pub const ECKD_BYPASS_CACHE: u8 = 0xC4;
}

/// Parameters of LOCATE RECORD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LocateRecord {
    /// Orientation (bits 0 and 1; zero: count) and operation: one of the constants.
    pub operation: u8,
    /// Auxiliary: [`Self::LENGTH_VALID`].
    pub auxiliary: u8,
    /// Zero.
    pub reserved: u8,
    /// How many records the domain has.
    pub count: u8,
    /// The track to seek.
    pub seek: TrackAddress,
    /// The track part of the search argument.
    pub search: TrackAddress,
    /// The record to search for.
    pub record: u8,
    /// The sector where it is; [`Self::ANY_SECTOR`].
    pub sector: u8,
    /// Transfer length factor.
    pub transfer_length: U16,
}

const _: () = assert!(size_of::<LocateRecord>() == 16);

impl LocateRecord {
    /// Operation: write data.
    pub const WRITE_DATA: u8 = 0x01;
    /// Operation: format write, behind the record that is searched for.
    pub const FORMAT_WRITE: u8 = 0x03;
    /// Operation: read data.
    pub const READ_DATA: u8 = 0x06;
    /// Operation: any read.
    pub const READ: u8 = 0x16;
    /// Auxiliary: the transfer length factor counts.
    pub const LENGTH_VALID: u8 = 0x80;
    /// The sector is not known.
    pub const ANY_SECTOR: u8 = 0xFF;
    /// The longest domain.
    pub const MOST: u32 = 255;
}
