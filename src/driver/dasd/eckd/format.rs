//! Commands and formats of count-key-data disks: those of the crate `dasd`, by the names that the driver has for them, and those that
//! only a driver has a use for.
//!
//! Source of these: *Internal Disk Subsystem Reference Guide* (SA22-1025).

use channel::CommandCode;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use dasd::command::{
    DefineExtent, LocateRecord, CONTROL_UNITS, DEFINE_EXTENT, LOCATE_RECORD, READ_CHARACTERISTICS,
    READ_CKD, READ_COUNT, READ_DATA, WRITE_CKD, WRITE_DATA,
};
pub use dasd::{Characteristics, CountField, Place, TrackAddress};

/// PREFIX: the parameters of DEFINE EXTENT and of LOCATE RECORD EXTENDED in one command.
pub const PREFIX: CommandCode = CommandCode(0xE7);
pub const PERFORM_SUBSYSTEM_FUNCTION: CommandCode = CommandCode(0x27);
/// READ SUBSYSTEM DATA: what a PERFORM SUBSYSTEM FUNCTION before it has prepared.
pub const READ_SUBSYSTEM_DATA: CommandCode = CommandCode(0x3E);
pub const SENSE_PATH_GROUP: CommandCode = CommandCode(0x34);
pub const SET_PATH_GROUP: CommandCode = CommandCode(0xAF);

/// Whether the storage control has PREFIX: byte 6, bit 6 of the device's characteristics.
pub const fn has_prefix(about: &Characteristics) -> bool {
    about.facilities.get() & 0x0200_0000 != 0
}

/// LOCATE RECORD for a record of a track, without operation and count.
pub fn locate(track: TrackAddress, record: u8) -> LocateRecord {
    LocateRecord {
        seek: track,
        search: track,
        record,
        sector: LocateRecord::ANY_SECTOR,
        ..LocateRecord::default()
    }
}

pub fn one_track(track: TrackAddress, mask: u8, attributes: u8) -> DefineExtent {
    DefineExtent {
        mask,
        attributes,
        first: track,
        last: track,
        ..DefineExtent::default()
    }
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
