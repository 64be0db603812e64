//! The volume table of contents of a CDL volume: data-set control blocks (DSCBs), each a record with a key of 44 bytes and 96
//! bytes of data.
//!
//! | format | what it is |
//! |---|---|
//! | 1, 8 | a data set (of Linux: a partition) and its first three extents; 8 if it may lie above cylinder 65,520 |
//! | 3 | more extents of a data set |
//! | 4 | the VTOC itself, and the device |
//! | 5 | free space of a volume of at most 65,536 tracks |
//! | 7 | free space of a larger one |
//! | 9 | attributes of a format-8 data set |
//!
//! Field names are those of the manual without their `DSn` prefix, written out. Fields that nobody works with are not told apart: only
//! `dasdview` shows them, by their names in the manual.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::track::{RecordAddress, TrackAddress};

/// Bytes of a key.
pub const KEY: u8 = 44;
/// Bytes of data.
pub const DATA: u16 = 96;
/// Bytes of a DSCB: key and data.
pub const DSCB: usize = KEY as usize + DATA as usize;
/// A volume with more tracks has its free space in a format-7 DSCB.
pub const BIG: u32 = 0x1_0000;

/// Consecutive tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Extent {
    /// [`Extent::DATA`] or another type; zero: there is none.
    pub kind: u8,
    /// Its number among those of the data set.
    pub sequence: u8,
    /// First track.
    pub lower: TrackAddress,
    /// Last track.
    pub upper: TrackAddress,
}

const _: () = assert!(size_of::<Extent>() == 10);

impl Extent {
    /// There is no such extent.
    pub const NONE: u8 = 0x00;
    /// Tracks of data.
    pub const DATA: u8 = 0x01;
    /// Data on whole cylinders.
    pub const CYLINDERS: u8 = 0x81;

    /// Numbers of its first track and the last one, on a disk with so many tracks in a cylinder; `None` if there is no such extent,
    /// or it ends before it begins or has heads that the disk has not.
    pub fn tracks(&self, heads: u16) -> Option<(u64, u64)> {
        let (first, last) = (self.lower.number(heads), self.upper.number(heads));
        let sound = self.lower.head() < heads && self.upper.head() < heads;
        (self.kind != Self::NONE && sound && first <= last).then_some((first, last))
    }
}

/// A date: years since 1900 and the day of the year. A zero is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Date {
    /// Years since 1900.
    pub year: u8,
    /// Day of the year.
    pub day: U16,
}

const _: () = assert!(size_of::<Date>() == 3);

/// Format 1 and format 8: a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Format1 {
    /// Data-set name, in EBCDIC.
    pub name: [u8; 44],
    /// X'F1' or X'F8'.
    pub id: u8,
    /// Volume serial, in EBCDIC.
    pub serial: [u8; 6],
    /// Number of the volume among those of the data set.
    pub volume_sequence: U16,
    /// When it was made.
    pub created: Date,
    /// When it expires.
    pub expires: Date,
    /// Extents on this volume.
    pub extents: u8,
    /// Not used here, as all fields of this name.
    pub other: [u8; 2],
    /// The system that made it, in EBCDIC.
    pub system: [u8; 13],
    /// References, and what system-managed storage needs.
    pub other_2: [u8; 7],
    /// Organisation.
    pub organisation: U16,
    /// Record format.
    pub record_format: u8,
    /// Options.
    pub other_3: u8,
    /// Bytes of a block.
    pub block: U16,
    /// Bytes of a logical record.
    pub record: U16,
    /// The key, indicators, and secondary allocation.
    pub other_4: [u8; 8],
    /// Last used track and record: TTR.
    pub last: [u8; 3],
    /// Bytes left on that track.
    pub other_5: [u8; 4],
    /// The first extents.
    pub extent: [Extent; 3],
    /// The format-3 DSCB, or format 9 of a format 8.
    pub next: RecordAddress,
}

const _: () = assert!(size_of::<Format1>() == DSCB);

/// Format 3: more extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Format3 {
    /// Four times X'03'.
    pub key_id: [u8; 4],
    /// Extents 4 to 7.
    pub extent: [Extent; 4],
    /// X'F3'.
    pub id: u8,
    /// Extents 8 to 16.
    pub more: [Extent; 9],
    /// The next format-3 DSCB.
    pub next: RecordAddress,
}

const _: () = assert!(size_of::<Format3>() == DSCB);

/// Format 4: the VTOC and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Format4 {
    /// 44 times X'04'.
    pub key: [u8; 44],
    /// X'F4'.
    pub id: u8,
    /// The last format-1 DSCB.
    pub highest: RecordAddress,
    /// Free DSCBs.
    pub free: U16,
    /// Alternate tracks.
    pub other: [u8; 6],
    /// [`Format4::INDICATORS_BIG`] or zero.
    pub indicators: u8,
    /// Extents of the VTOC: 1.
    pub extents: u8,
    /// System-managed storage, and alternate cylinders.
    pub other_2: [u8; 2],
    /// Cylinders of the device; X'FFFE' if there are more.
    pub cylinders: U16,
    /// Tracks of a cylinder.
    pub heads: U16,
    /// Bytes of a track.
    pub track_length: U16,
    /// Overheads of records.
    pub other_3: [u8; 3],
    /// X'30'.
    pub flags: u8,
    /// Tolerance.
    pub other_4: U16,
    /// DSCBs of a track.
    pub records: u8,
    /// Directory blocks, what VSAM needs, and the first format-6 DSCB.
    pub other_5: [u8; 30],
    /// Where the VTOC is.
    pub extent: Extent,
    /// Zero, as all fields of this name.
    pub reserved: [u8; 10],
    /// X'07' if free space is in format-7 DSCBs.
    pub free_space_level: u8,
    /// The first of them.
    pub free_space: RecordAddress,
    /// Zero.
    pub reserved_2: u8,
    /// Cylinders of the device.
    pub long_cylinders: U32,
    /// Zero.
    pub reserved_3: [u8; 2],
    /// X'40': there may be DSCBs of formats 8 and 9.
    pub device_flags: u8,
    /// Zero.
    pub reserved_4: u8,
}

const _: () = assert!(size_of::<Format4>() == DSCB);

impl Format4 {
    /// [`indicators`](Self::indicators): format-7 DSCBs, and the format-5 one says nothing.
    pub const INDICATORS_BIG: u8 = 0xA0;
}

/// Free space in a format-5 DSCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Free5 {
    /// Number of the first track.
    pub first: U16,
    /// Whole cylinders.
    pub cylinders: U16,
    /// Tracks beside them.
    pub tracks: u8,
}

const _: () = assert!(size_of::<Free5>() == 5);

/// Format 5: free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Format5 {
    /// Four times X'05'.
    pub key_id: [u8; 4],
    /// The first eight pieces.
    pub free: [Free5; 8],
    /// X'F5'.
    pub id: u8,
    /// Eighteen more.
    pub more: [Free5; 18],
    /// The next format-5 DSCB.
    pub next: RecordAddress,
}

const _: () = assert!(size_of::<Format5>() == DSCB);

/// Free space in a format-7 DSCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Free7 {
    /// Number of the first track.
    pub first: U32,
    /// Number of the track behind the last.
    pub end: U32,
}

const _: () = assert!(size_of::<Free7>() == 8);

/// Format 7: free space of a large volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Format7 {
    /// Four times X'07'.
    pub key_id: [u8; 4],
    /// The first five pieces.
    pub free: [Free7; 5],
    /// X'F7'.
    pub id: u8,
    /// Eleven more.
    pub more: [Free7; 11],
    /// Zero.
    pub reserved: [u8; 2],
    /// The next format-7 DSCB.
    pub next: RecordAddress,
}

const _: () = assert!(size_of::<Format7>() == DSCB);

/// A DSCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscb {
    /// Nothing: a free one.
    Free,
    /// A data set.
    Format1(Format1),
    /// More extents.
    Format3(Format3),
    /// The VTOC and the device.
    Format4(Format4),
    /// Free space.
    Format5(Format5),
    /// Free space of a large volume.
    Format7(Format7),
    /// A data set of a large volume.
    Format8(Format1),
    /// Attributes.
    Format9,
    /// Something else, with this identifier.
    Other(u8),
}

impl Dscb {
    /// Reads key and data of a record of the VTOC.
    pub fn parse(bytes: &[u8; DSCB]) -> Self {
        let id = bytes[usize::from(KEY)];
        let other = Self::Other(id);
        match id {
            0 => Self::Free,
            0xF1 => Format1::read_from_bytes(bytes).map_or(other, Self::Format1),
            0xF3 => Format3::read_from_bytes(bytes).map_or(other, Self::Format3),
            0xF4 => Format4::read_from_bytes(bytes).map_or(other, Self::Format4),
            0xF5 => Format5::read_from_bytes(bytes).map_or(other, Self::Format5),
            0xF7 => Format7::read_from_bytes(bytes).map_or(other, Self::Format7),
            0xF8 => Format1::read_from_bytes(bytes).map_or(other, Self::Format8),
            0xF9 => Self::Format9,
            _ => other,
        }
    }
}
