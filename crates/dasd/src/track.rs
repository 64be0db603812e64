//! Where things are on a disk.

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The address of a track (CCHH). A cylinder number of more than 16 bits has its high 12 bits in front of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct TrackAddress {
    /// Low 16 bits of the cylinder.
    pub cylinder: U16,
    /// High 12 bits of the cylinder, four bits of head.
    pub head: U16,
}

const _: () = assert!(size_of::<TrackAddress>() == 4);

impl TrackAddress {
    /// The address of a track.
    pub const fn new(cylinder: u32, head: u16) -> Self {
        let high = (cylinder >> 16) as u16;
        Self {
            cylinder: U16::new(cylinder as u16),
            head: U16::new(high << 4 | head & 0xF),
        }
    }

    /// The address of the track with this number, on a disk with so many tracks in a cylinder.
    pub const fn of_number(number: u32, heads: u16) -> Self {
        let heads = if heads == 0 { 1 } else { heads as u32 };
        Self::new(number / heads, (number % heads) as u16)
    }

    /// The cylinder.
    pub const fn cylinder(self) -> u32 {
        ((self.head.get() >> 4) as u32) << 16 | self.cylinder.get() as u32
    }

    /// The track of the cylinder.
    pub const fn head(self) -> u16 {
        self.head.get() & 0xF
    }

    /// Where a record of the track is.
    pub const fn place(self, record: u8) -> Place {
        Place {
            cylinder: self.cylinder(),
            head: self.head(),
            record,
        }
    }

    /// The track's number, on a disk with so many tracks in a cylinder.
    pub const fn number(self, heads: u16) -> u64 {
        self.cylinder() as u64 * heads as u64 + self.head() as u64
    }
}

/// The address of a record (CCHHR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct RecordAddress {
    /// Its track.
    pub track: TrackAddress,
    /// Its number.
    pub record: u8,
}

const _: () = assert!(size_of::<RecordAddress>() == 5);

impl RecordAddress {
    /// The address of a record.
    pub const fn new(cylinder: u32, head: u16, record: u8) -> Self {
        Self {
            track: TrackAddress::new(cylinder, head),
            record,
        }
    }
}

/// The count field of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
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

impl fmt::Display for CountField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.track.place(self.record);
        write!(f, "{place}, key {}, data {}", self.key, self.data)
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
