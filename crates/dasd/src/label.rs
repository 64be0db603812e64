//! Volume labels: record 3 of track 0, behind the two IPL records.
//!
//! Text is in EBCDIC ([`s390x::ebcdic::Text`] shows it). On a CDL volume the record has a key, the label's name once more;
//! what is here is its data.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::track::RecordAddress;

/// The record of track 0 that is the label.
pub const RECORD: u8 = 3;
/// The name of a CDL label, in EBCDIC.
pub const VOL1: [u8; 4] = [0xE5, 0xD6, 0xD3, 0xF1];
/// The name of an LDL label.
pub const LNX1: [u8; 4] = [0xD3, 0xD5, 0xE7, 0xF1];
/// The name of a CMS label.
pub const CMS1: [u8; 4] = [0xC3, 0xD4, 0xE2, 0xF1];
/// The blank of EBCDIC.
pub const BLANK: u8 = 0x40;

/// `VOL1` and `LNX1`: one layout for both. A `VOL1` label ends before [`formatted_blocks`](Self::formatted_blocks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct VolumeLabel {
    /// [`VOL1`] or [`LNX1`].
    pub name: [u8; 4],
    /// Volume serial.
    pub serial: [u8; 6],
    /// Security byte: blank.
    pub security: u8,
    /// Where the VTOC begins; blanks on an LDL volume.
    pub vtoc: RecordAddress,
    /// Blanks: control intervals of FBA disks, and the owner.
    pub reserved: [u8; 63],
    /// Version of an LDL label: a blank or `2`.
    pub version: u8,
    /// Blocks of the volume, of an LDL label of version 2.
    pub formatted_blocks: U64,
}

const _: () = assert!(size_of::<VolumeLabel>() == VolumeLabel::LDL);

impl VolumeLabel {
    /// Bytes of a `VOL1` label.
    pub const CDL: usize = 80;
    /// Bytes of an `LNX1` label.
    pub const LDL: usize = 88;
}

/// `CMS1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CmsLabel {
    /// [`CMS1`].
    pub name: [u8; 4],
    /// Volume serial.
    pub serial: [u8; 6],
    /// Version.
    pub version: U16,
    /// Bytes of a block.
    pub block_size: U32,
    /// The block of the directory.
    pub origin: U32,
    /// Cylinders or blocks that can be used.
    pub usable: U32,
    /// Cylinders or blocks that are formatted.
    pub formatted: U32,
    /// Blocks of the disk.
    pub blocks: U32,
    /// Blocks in use.
    pub used: U32,
    /// The file status table, and when the disk was formatted.
    pub other: [u8; 16],
    /// The block where the reserved file begins; zero if the disk has none.
    pub disk_offset: U32,
    /// The allocation map, and the name of a shared segment.
    pub other_2: [u8; 24],
}

const _: () = assert!(size_of::<CmsLabel>() == 80);

/// The data of record 3 of track 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `VOL1`: compatible disk layout.
    Cdl(VolumeLabel),
    /// `LNX1`: Linux disk layout.
    Ldl(VolumeLabel),
    /// `CMS1`.
    Cms(CmsLabel),
    /// Nothing that is known.
    None,
}

impl Label {
    /// Reads a label out of the data (without key) of its record, of which the first [`VolumeLabel::LDL`] bytes will do. What
    /// is missing is zero.
    pub fn parse(data: &[u8]) -> Self {
        let mut bytes = [0; VolumeLabel::LDL];
        for (to, from) in bytes.iter_mut().zip(data) {
            *to = *from;
        }
        let Ok(label) = VolumeLabel::read_from_bytes(&bytes) else {
            return Self::None;
        };
        match label.name {
            VOL1 => Self::Cdl(label),
            LNX1 => Self::Ldl(label),
            CMS1 => CmsLabel::read_from_prefix(&bytes).map_or(Self::None, |(it, _)| Self::Cms(it)),
            _ => Self::None,
        }
    }

    /// The volume serial, in EBCDIC; blanks where there is none.
    pub const fn serial(&self) -> [u8; 6] {
        match self {
            Self::Cdl(label) | Self::Ldl(label) => label.serial,
            Self::Cms(label) => label.serial,
            Self::None => [BLANK; 6],
        }
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cdl(_) => "VOL1",
            Self::Ldl(_) => "LNX1",
            Self::Cms(_) => "CMS1",
            Self::None => "none",
        }
    }
}
