//! Commands and formats of count-key-data disks behind a 3990 storage control or what stands for one.
//!
//! Sources: *3990 Storage Control Reference* (GA32-0274), *System/390 Command Reference 2105* (SC26-7298) and *Internal Disk
//! Subsystem Reference Guide* (SA22-1025). Nobody else spells an offset.

use core::fmt;

use channel::CommandCode;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Control-unit types that take these commands: storage controls, and the one built into a 9343.
pub const CONTROL_UNITS: [u16; 5] = [0x3990, 0x9343, 0x2105, 0x2107, 0x1750];

/// DEFINE EXTENT.
pub const DEFINE_EXTENT: CommandCode = CommandCode(0x63);
/// LOCATE RECORD.
pub const LOCATE_RECORD: CommandCode = CommandCode(0x47);
/// READ DATA, multitrack.
pub const READ_DATA: CommandCode = CommandCode(0x86);
/// WRITE UPDATE DATA: write data, multitrack.
pub const WRITE_DATA: CommandCode = CommandCode(0x85);
/// READ COUNT.
pub const READ_COUNT: CommandCode = CommandCode(0x12);
/// READ COUNT, KEY AND DATA.
pub const READ_CKD: CommandCode = CommandCode(0x1E);
/// READ DEVICE CHARACTERISTICS.
pub const READ_CHARACTERISTICS: CommandCode = CommandCode(0x64);

/// PREFIX: the parameters of DEFINE EXTENT and of LOCATE RECORD EXTENDED in one command.
pub const PREFIX: CommandCode = CommandCode(0xE7);
/// SENSE PATH GROUP ID.
pub const SENSE_PATH_GROUP: CommandCode = CommandCode(0x34);
/// SET PATH GROUP ID.
pub const SET_PATH_GROUP: CommandCode = CommandCode(0xAF);

/// Where a track is. A cylinder number of more than 16 bits has its high 12 bits in front of the head.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TrackAddress {
    /// Low 16 bits of the cylinder.
    pub cylinder: U16,
    /// High 12 bits of the cylinder, four bits of head.
    pub head: U16,
}

impl TrackAddress {
    /// The address of a track.
    pub const fn new(cylinder: u32, head: u16) -> Self {
        let high = (cylinder >> 16) as u16;
        Self {
            cylinder: U16::new(cylinder as u16),
            head: U16::new(high << 4 | head & 0xF),
        }
    }
}

/// Parameters of DEFINE EXTENT.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
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
    /// Attributes: ECKD architecture, normal cache operation.
    pub const ECKD: u8 = 0xC0;
}

/// Parameters of LOCATE RECORD.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
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

/// Parameters of PREFIX, format 1, but for those of LOCATE RECORD EXTENDED behind them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PrefixExtent {
    /// [`Self::FORMAT`].
    pub format: u8,
    /// Which parts count: [`Self::EXTENT_VALID`].
    pub validity: u8,
    /// Zero: address and subsystem of a base device, when an alias is to verify them, and an auxiliary byte.
    pub base: [u8; 10],
    /// The parameters of DEFINE EXTENT.
    pub extent: DefineExtent,
    /// Zero.
    pub reserved: [u8; 16],
}

const _: () = assert!(size_of::<PrefixExtent>() == 44);

impl PrefixExtent {
    /// DEFINE EXTENT and LOCATE RECORD EXTENDED.
    pub const FORMAT: u8 = 1;
    /// The parameters of DEFINE EXTENT count.
    pub const EXTENT_VALID: u8 = 0x80;
}

/// Parameters of LOCATE RECORD EXTENDED, for operations that LOCATE RECORD has too.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LocateExtended {
    /// What LOCATE RECORD has.
    pub locate: LocateRecord,
    /// Zero: extended operation, length of its parameters.
    pub extended: [u8; 4],
}

const _: () = assert!(size_of::<PrefixExtent>() + size_of::<LocateExtended>() == 64);

/// What SENSE PATH GROUP ID gives and SET PATH GROUP ID takes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PathGroup {
    /// Sensed: state of the path. Set: one of the functions.
    pub control: u8,
    /// The group's identifier.
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

/// The count field of a record.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CountField {
    /// The track it says it is on.
    pub track: TrackAddress,
    /// Record number.
    pub record: u8,
    /// Bytes of key.
    pub key: u8,
    /// Bytes of data.
    pub data: U16,
}

const _: () = assert!(size_of::<CountField>() == 8);

/// What READ DEVICE CHARACTERISTICS gives.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Characteristics {
    /// Storage-control type.
    pub control: U16,
    /// Storage-control model.
    pub control_model: u8,
    /// Device type.
    pub device: U16,
    /// Device model.
    pub device_model: u8,
    /// Facilities.
    pub facilities: U32,
    /// Device class code.
    pub class: u8,
    /// Device type code.
    pub code: u8,
    /// Primary cylinders; X'FFFE' if they do not fit.
    pub cylinders: U16,
    /// Tracks of a cylinder.
    pub heads: U16,
    /// Sectors of a track.
    pub sectors: u8,
    /// Total track length.
    pub track_length: [u8; 3],
    /// Length of home address and R0.
    pub home_length: U16,
    /// Track-capacity formula, 1 or 2.
    pub formula: u8,
    /// Factor 1.
    pub factor_1: u8,
    /// Factors 2 to 5 of formula 2, factors 2 and 3 (of two bytes each) of formula 1.
    pub factors: [u8; 4],
    /// Not used here: alternate, diagnostic and support cylinders, record identifiers.
    pub other: [u8; 20],
    /// Factor 6 of formula 2.
    pub factor_6: u8,
    /// Not used here.
    pub rest: [u8; 11],
    /// Primary cylinders, where they do not fit above.
    pub long_cylinders: U32,
}

const _: () = assert!(size_of::<Characteristics>() == 64);
const _: () = assert!(core::mem::offset_of!(Characteristics, formula) == 22);
const _: () = assert!(core::mem::offset_of!(Characteristics, factor_6) == 48);

impl Characteristics {
    /// Cylinders: see the long field.
    const LONG: u16 = 0xFFFE;

    /// How many cylinders there are.
    pub const fn cylinders(&self) -> u32 {
        match self.cylinders.get() {
            Self::LONG => self.long_cylinders.get(),
            cylinders => cylinders as u32,
        }
    }

    /// Whether the storage control has PREFIX (byte 6, bit 6).
    pub const fn has_prefix(&self) -> bool {
        self.facilities.get() & 0x0200_0000 != 0
    }

    /// How many records without key, of `data` bytes each, fit on a track (*Device characteristics*, "track capacity
    /// formulas"). `None` if the device says it by a formula that nobody knows.
    pub fn records_of(&self, data: u32) -> Option<u32> {
        let factor_1 = u32::from(self.factor_1);
        let [f2, f3, f4, f5] = self.factors.map(u32::from);
        let [high, middle, low] = self.track_length;
        let length = u32::from_be_bytes([0, high, middle, low]);
        if factor_1 == 0 || data > 0xFFFF {
            return None;
        }
        let bytes = match self.formula {
            1 => (f2 << 8 | f3).checked_add(data)?.next_multiple_of(factor_1),
            2 if f5 > 0 => {
                let f6 = u32::from(self.factor_6);
                let pieces = (data + f6).div_ceil(2 * f5);
                factor_1 * f2 + (data + f6 + f4 * pieces).next_multiple_of(factor_1)
            }
            _ => return None,
        };
        length.checked_div(bytes)
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Cylinder.
    pub cylinder: u32,
    /// Head: the track of the cylinder.
    pub head: u16,
    /// Record of the track.
    pub record: u8,
}

impl Place {
    /// Its track.
    pub const fn track(&self) -> TrackAddress {
        TrackAddress::new(self.cylinder, self.head)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cylinder,
            head,
            record,
        } = self;
        write!(f, "cylinder {cylinder} head {head} record {record}")
    }
}
