//! Commands of a 3990 storage control, or of what stands for one, and their parameters.
//!
//! Nobody else spells a command code or an offset. Those that only a driver has a use for are from the *Internal Disk Subsystem
//! Reference Guide* (SA22-1025).

use channel::CommandCode;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::track::TrackAddress;

/// Control-unit types that take these commands: storage controls, and the one built into a 9343.
pub const CONTROL_UNITS: [u16; 5] = [0x3990, 0x9343, 0x2105, 0x2107, 0x1750];
/// The type of those that have thin-provisioned volumes.
pub const THIN_CONTROL: u16 = 0x2107;

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

/// PREFIX: the parameters of DEFINE EXTENT and of LOCATE RECORD EXTENDED in one command.
pub const PREFIX: CommandCode = CommandCode(0xE7);
pub const PERFORM_SUBSYSTEM_FUNCTION: CommandCode = CommandCode(0x27);
/// READ SUBSYSTEM DATA: what a PERFORM SUBSYSTEM FUNCTION before it has prepared.
pub const READ_SUBSYSTEM_DATA: CommandCode = CommandCode(0x3E);
pub const SENSE_PATH_GROUP: CommandCode = CommandCode(0x34);
pub const SET_PATH_GROUP: CommandCode = CommandCode(0xAF);

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

/// Parameters of PREFIX, format 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Prefix {
    pub format: u8,
    /// Which parts count: [`Self::EXTENT_VALID`].
    pub validity: u8,
    /// Zero: address and subsystem of a base device, when an alias is to verify them, and an auxiliary byte.
    pub base: [u8; 10],
    pub extent: DefineExtent,
    /// Zero: the longer ones of DEFINE EXTENT.
    pub extent_rest: [u8; 16],
    /// The parameters of LOCATE RECORD EXTENDED, as far as LOCATE RECORD has them.
    pub locate: LocateRecord,
    /// Zero: the extended operation, and the length of its parameters.
    pub locate_rest: [u8; 4],
}

const _: () = assert!(size_of::<Prefix>() == 64);
const _: () = assert!(core::mem::offset_of!(Prefix, locate) == 44);

impl Prefix {
    /// DEFINE EXTENT and LOCATE RECORD EXTENDED.
    pub const FORMAT: u8 = 1;
    pub const EXTENT_VALID: u8 = 0x80;

    pub fn new(extent: DefineExtent, locate: LocateRecord) -> Self {
        Self {
            format: Self::FORMAT,
            validity: Self::EXTENT_VALID,
            extent,
            locate,
            ..Self::default()
        }
    }
}

/// What SENSE PATH GROUP ID gives and SET PATH GROUP ID takes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PathGroup {
    /// Sensed: state of the path. Set: one of the functions.
    pub control: u8,
    pub id: [u8; 11],
}

const _: () = assert!(size_of::<PathGroup>() == 12);

impl PathGroup {
    /// State, bits 0 and 1: the path belongs to a group.
    pub const GROUPED: u8 = 0xC0;
    /// Function: establish a group whose paths serve in place of each other.
    pub const MULTIPATH: u8 = 0x80;
    /// Function: establish a group, each operation staying on its path.
    pub const SINGLE_PATH: u8 = 0;
}

/// Parameters of PERFORM SUBSYSTEM FUNCTION, prepare for READ SUBSYSTEM DATA.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PrepareToRead {
    pub order: u8,
    /// Zero: flags, and what is reserved.
    pub reserved: [u8; 3],
    /// The device: logical subsystem, and unit in it.
    pub subsystem: u8,
    pub unit: u8,
    pub suborder: u8,
    pub rest: [u8; 5],
}

const _: () = assert!(size_of::<PrepareToRead>() == 12);

impl PrepareToRead {
    /// Prepare for READ SUBSYSTEM DATA.
    pub const ORDER: u8 = 0x18;
    pub const VOLUME_STORAGE: u8 = 0x52;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VolumeStorage {
    pub flags: u8,
    /// Not used here: extent pool, limits and amounts of storage.
    pub rest: [u8; 27],
}

impl VolumeStorage {
    pub const EXTENT_SPACE_EFFICIENT: u8 = 0x20;
}
