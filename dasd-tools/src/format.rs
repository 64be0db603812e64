//! Which records a formatted volume has, track by track: what dasdfmt of Linux makes.
//!
//! | | CDL | LDL |
//! |---|---|---|
//! | track 0 | IPL records of 4+24 and 4+144 bytes (key and data), label of 4+80, then blocks | blocks: IPL data in 1 and 2, label in 3 |
//! | track 1 | VTOC: as many records of 44+96 as blocks fit on a track | blocks |
//! | the others | blocks | blocks |
//!
//! A *block* is a record without key. As many as fit by the device's track-capacity formula are on a track. Everything that is
//! not named is zero. Home address and R0 stay as they are.

mod dscbs;

use alloc::vec::Vec;

use dasd::label::{self, VolumeLabel, BLANK, LNX1, VOL1};
use dasd::{vtoc, Characteristics, CountField, RecordAddress, TrackAddress};
use s390x::ebcdic::CP037;
use thiserror::Error;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The block sizes that Linux knows.
pub const BLOCK_SIZES: [u16; 4] = [512, 1024, 2048, 4096];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "std", derive(strum::EnumString, strum::VariantNames))]
#[cfg_attr(
    feature = "std",
    serde(rename_all = "lowercase"),
    strum(serialize_all = "lowercase")
)]
pub enum Layout {
    /// Compatible disk layout: other systems see a volume with a label and a VTOC.
    Cdl,
    /// Linux disk layout.
    Ldl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    #[error("READ DEVICE CHARACTERISTICS: no disk that is known")]
    Characteristics,
    #[error("blocks of {0} bytes: 512, 1024, 2048 or 4096")]
    BlockSize(u16),
    #[error("too small for a label and a VTOC")]
    TooSmall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    about: Characteristics,
    layout: Layout,
    block: u16,
    records: u8,
    serial: [u8; 6],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub count: CountField,
    /// Key and data; of a [`Format`] their front only, and the rest is zero.
    pub content: Vec<u8>,
}

/// The front of the first IPL record: an IPL PSW that waits disabled with code F, and a CCW that does nothing. The volume is
/// not for IPL.
const IPL_1: [u8; 16] = [0, 0x0A, 0, 0, 0, 0, 0, 0x0F, 3, 0, 0, 0, 0, 0, 0, 1];
const IPL_KEYS: [[u8; 4]; 2] = [[0xC9, 0xD7, 0xD3, 0xF1], [0xC9, 0xD7, 0xD3, 0xF2]];

impl Format {
    /// Such a volume of a device. `serial` is in EBCDIC: [`serial`] makes it.
    pub fn new(
        about: Characteristics,
        layout: Layout,
        block: u16,
        serial: [u8; 6],
    ) -> Result<Self, FormatError> {
        if !about.are_sound() {
            return Err(FormatError::Characteristics);
        }
        if !BLOCK_SIZES.contains(&block) {
            return Err(FormatError::BlockSize(block));
        }
        let records = about.records_of(block.into()).unwrap_or(0);
        let records = u8::try_from(records).unwrap_or(0);
        if records < label::RECORD + 1 {
            return Err(FormatError::Characteristics);
        }
        let format = Self {
            about,
            layout,
            block,
            records,
            serial,
        };
        if format.tracks() < 3 {
            return Err(FormatError::TooSmall);
        }
        Ok(format)
    }

    pub const fn about(&self) -> &Characteristics {
        &self.about
    }

    pub const fn layout(&self) -> Layout {
        self.layout
    }

    pub const fn block(&self) -> u16 {
        self.block
    }

    pub const fn records(&self) -> u8 {
        self.records
    }

    pub fn tracks(&self) -> u32 {
        let heads = u32::from(self.about.heads.get());
        // Fewer than 2^28 cylinders of at most 15: it fits.
        self.about.cylinders().saturating_mul(heads)
    }

    /// Blocks of the volume that are served: see the table of `docs/dasd.md`.
    pub fn blocks(&self) -> u64 {
        let records = u64::from(self.records);
        let hidden = match self.layout {
            Layout::Cdl => 2 * records,
            Layout::Ldl => label::RECORD.into(),
        };
        (u64::from(self.tracks()) * records).saturating_sub(hidden)
    }

    pub const fn address(&self, track: u32) -> TrackAddress {
        TrackAddress::of_number(track, self.about.heads.get())
    }

    /// The records of a track, in the order of their numbers, from 1.
    pub fn track(&self, track: u32) -> impl Iterator<Item = Record> + '_ {
        let address = self.address(track);
        (1..=self.records).map(move |record| self.record(track, address, record))
    }

    fn record(&self, track: u32, address: TrackAddress, record: u8) -> Record {
        use Layout::{Cdl, Ldl};
        let data = self.block;
        let (key, data, content) = match (self.layout, track, record) {
            (Cdl, 0, 1) => (4, 24, [IPL_KEYS[0].as_slice(), &IPL_1].concat()),
            (Cdl, 0, 2) => (4, 144, IPL_KEYS[1].to_vec()),
            (Cdl, 0, label::RECORD) => {
                let vtoc = RecordAddress::new(0, 1, 1);
                let label = volume_label(VOL1, self.serial, vtoc);
                let front = &label.as_bytes()[..VolumeLabel::CDL];
                (4, VolumeLabel::CDL as u16, [&VOL1, front].concat())
            }
            (Cdl, 1, _) => (vtoc::KEY, vtoc::DATA, self.dscb(record)),
            (Ldl, 0, 1) => (0, data, IPL_1.to_vec()),
            (Ldl, 0, label::RECORD) => {
                let blocks = u64::from(self.tracks()) * u64::from(self.records);
                let label = VolumeLabel {
                    version: VERSION_2,
                    formatted_blocks: U64::new(blocks),
                    ..volume_label(LNX1, self.serial, zerocopy::transmute!([BLANK; 5]))
                };
                (0, data, label.as_bytes().to_vec())
            }
            _ => (0, data, Vec::new()),
        };
        let count = CountField {
            track: address,
            record,
            key,
            data: data.into(),
        };
        Record { count, content }
    }
}

/// The version of an LDL label that says how many blocks there are: `2`.
const VERSION_2: u8 = 0xF2;

/// Nothing but a name, a serial, and where the VTOC is.
const fn volume_label(name: [u8; 4], serial: [u8; 6], vtoc: RecordAddress) -> VolumeLabel {
    VolumeLabel {
        name,
        serial,
        vtoc,
        formatted_blocks: U64::ZERO,
        ..zerocopy::transmute!([BLANK; VolumeLabel::LDL])
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

/// What stands on track 0, as its only record, while a volume is being formatted: how far that has come. A volume with it has no
/// label, so nobody takes it for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Mark {
    /// [`Mark::NAME`].
    pub name: [u8; 4],
    /// Volume serial that it is to get.
    pub serial: [u8; 6],
    /// [`Layout`]: `C` or `L` in EBCDIC.
    pub layout: u8,
    pub reserved: u8,
    /// Bytes of a block.
    pub block: U16,
    /// The first track that is not known to be formatted.
    pub next: U32,
}

const _: () = assert!(size_of::<Mark>() == 18);

impl Mark {
    /// `FMT1` in EBCDIC.
    pub const NAME: [u8; 4] = [0xC6, 0xD4, 0xE3, 0xF1];

    /// The mark of a volume whose tracks are formatted from 1 up to `next`.
    pub fn new(format: &Format, next: u32) -> Self {
        Self {
            name: Self::NAME,
            serial: format.serial,
            layout: match format.layout {
                Layout::Cdl => 0xC3,
                Layout::Ldl => 0xD3,
            },
            reserved: 0,
            block: format.block.into(),
            next: next.into(),
        }
    }

    /// Reads the data of record 1 of track 0.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (mark, _) = Self::read_from_prefix(data).ok()?;
        (mark.name == Self::NAME).then_some(mark)
    }

    /// Where to go on, if the volume was being formatted like this.
    pub fn resumes(&self, format: &Format) -> Option<u32> {
        let next = self.next.get();
        let same = *self == Self::new(format, next);
        (same && (1..=format.tracks()).contains(&next)).then_some(next)
    }
}
