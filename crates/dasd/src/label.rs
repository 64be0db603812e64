//! Volume labels: record 3 of track 0, behind the two IPL records.
//!
//! Text is in EBCDIC ([`s390x::ebcdic::Text`] shows it). On a CDL volume the record has a key, the label's name once more;
//! what is here is its data.

use s390x::ebcdic::CP037;
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct VolumeLabel {
    /// [`VOL1`] or [`LNX1`].
    pub name: [u8; 4],
    /// Volume serial.
    pub serial: [u8; 6],
    /// Security byte: blank.
    pub security: u8,
    /// Where the VTOC begins; blanks on an LDL volume.
    pub vtoc: RecordAddress,
    /// Blanks.
    pub reserved: [u8; 5],
    /// Blanks: of FBA disks only.
    pub ci_size: [u8; 4],
    /// Blanks: of FBA disks only.
    pub blocks_per_ci: [u8; 4],
    /// Blanks: of FBA disks only.
    pub labels_per_ci: [u8; 4],
    /// Blanks.
    pub reserved_2: [u8; 4],
    /// Owner.
    pub owner: [u8; 14],
    /// Blanks.
    pub reserved_3: [u8; 28],
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
    /// `2`.
    pub const VERSION_2: u8 = 0xF2;

    /// Nothing but a name and a serial.
    const fn blank(name: [u8; 4], serial: [u8; 6]) -> Self {
        Self {
            name,
            serial,
            security: BLANK,
            vtoc: RecordAddress {
                track: crate::TrackAddress {
                    cylinder: U16::from_bytes([BLANK; 2]),
                    head: U16::from_bytes([BLANK; 2]),
                },
                record: BLANK,
            },
            reserved: [BLANK; 5],
            ci_size: [BLANK; 4],
            blocks_per_ci: [BLANK; 4],
            labels_per_ci: [BLANK; 4],
            reserved_2: [BLANK; 4],
            owner: [BLANK; 14],
            reserved_3: [BLANK; 28],
            version: BLANK,
            formatted_blocks: U64::ZERO,
        }
    }

    /// The label of a CDL volume.
    pub const fn cdl(serial: [u8; 6]) -> Self {
        Self {
            vtoc: RecordAddress::new(0, 1, 1),
            ..Self::blank(VOL1, serial)
        }
    }

    /// The label of an LDL volume.
    pub const fn ldl(serial: [u8; 6], blocks: u64) -> Self {
        Self {
            version: Self::VERSION_2,
            formatted_blocks: U64::new(blocks),
            ..Self::blank(LNX1, serial)
        }
    }
}

/// `CMS1`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
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
    /// Bytes of an entry of the file status table.
    pub fst_size: U32,
    /// Entries of a block.
    pub fst_count: U32,
    /// When it was formatted, packed.
    pub formatted_at: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
    /// The block where the reserved file begins; zero if the disk has none.
    pub disk_offset: U32,
    /// Block of the allocation map with the next hole.
    pub map_block: U32,
    /// Its displacement.
    pub map_displacement: U32,
    /// Displacement in the user part of the map.
    pub user_displacement: U32,
    /// Zero.
    pub reserved_2: [u8; 4],
    /// Name of a shared segment.
    pub segment: [u8; 8],
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

/// A volume serial out of text: one to six letters, digits, or `$`, `#`, `@`, `-`; small letters become large ones. `None` if it is
/// something else.
pub fn serial(text: &str) -> Option<[u8; 6]> {
    let fits = (1..=6).contains(&text.len());
    let good = |c: char| c.is_ascii_alphanumeric() || "$#@-".contains(c);
    if !fits || !text.chars().all(good) {
        return None;
    }
    let mut serial = [BLANK; 6];
    for (to, c) in serial.iter_mut().zip(text.chars()) {
        *to = CP037.encode_char(c.to_ascii_uppercase());
    }
    Some(serial)
}
