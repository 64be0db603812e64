//! What a volume is: the device, its label, and which of its records are served as blocks.
//!
//! # What is served
//!
//! | label | layout | blocks begin with |
//! |---|---|---|
//! | `VOL1`, first two tracks in their own formats | CDL | track 2: what is before that are IPL records, label and VTOC |
//! | `LNX1` | LDL | record 4 of track 0, behind IPL records and label |
//! | `CMS1` | CMS | the block that the label names, or record 4 of track 0 |
//! | none | | record 1 of track 0 |
//!
//! # The rule
//!
//! A volume is served only if the first track of its blocks has as many records of one length, without keys, as the device's
//! track-capacity formula says. Anything else is refused here, with the place of the record that is wrong. Of a thin-provisioned volume
//! that track need not be formatted, nor wholly so.

use core::fmt;

use channel::CommandCode;
use dasd::RecordAddress;
use s390x::ebcdic::CP037;
use window::OutOfWindow;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::format::{
    Characteristics, CountField, LocateRecord, Place, PrepareToRead, VolumeStorage, READ_CKD,
    READ_COUNT,
};
use super::partitions::{partitions, Partitions};
use super::probe::Probe;
use crate::css::EnableError;
use crate::css::{OutOfStorage, Platform, ProgramError};

/// The control-unit type of storage controls that have thin-provisioned volumes.
const THIN_CONTROL: u16 = 0x2107;

/// Why a volume is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeError {
    /// The subchannel cannot be enabled.
    Enable(EnableError),
    /// No storage for channel programs.
    Storage(OutOfStorage),
    /// A command failed.
    Program(&'static str, ProgramError),
    /// The device's characteristics make no sense.
    Characteristics,
    /// A record that has to be there is not: the track is not formatted.
    NoRecord(Place),
    /// A record is not what blocks are made of.
    Record(Place, CountField),
    /// It is another one than before.
    Other,
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(error) => write!(f, "not enabled: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Program(what, error) => write!(f, "{what}: {error}"),
            Self::Characteristics => {
                f.write_str("READ DEVICE CHARACTERISTICS: no disk that is known")
            }
            Self::NoRecord(place) => write!(f, "not formatted: no {place}"),
            Self::Record(place, count) => write!(
                f,
                "not formatted for Linux: {place} is number {} with {} bytes of key and {} of data",
                count.record, count.key, count.data
            ),
            Self::Other => f.write_str("another volume than before"),
        }
    }
}

impl core::error::Error for VolumeError {}

impl From<OutOfWindow> for VolumeError {
    /// The storage of channel programs is long enough for all of them.
    fn from(_: OutOfWindow) -> Self {
        Self::Program("channel program", ProgramError::TooLong)
    }
}

/// What kind of label a volume has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `VOL1`: compatible disk layout.
    Cdl,
    /// `LNX1`: Linux disk layout.
    Ldl,
    /// `CMS1`, and the block where its reserved file begins, if it has one.
    Cms(u32),
    /// Nothing that is known.
    None,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cdl => "VOL1 (CDL)",
            Self::Ldl => "LNX1 (LDL)",
            Self::Cms(_) => "CMS1",
            Self::None => "no label",
        })
    }
}

/// Which records of a volume are its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Tracks of a cylinder.
    pub heads: u16,
    /// Records of a track.
    pub records: u8,
    /// Bytes of a record.
    pub block: u16,
    /// Records before the first that is served.
    pub origin: u64,
    /// Records that are served.
    pub blocks: u64,
}

impl Layout {
    /// Where a block is.
    #[inline]
    pub fn place(&self, block: u64) -> Place {
        let records = u64::from(self.records.max(1));
        let heads = u64::from(self.heads.max(1));
        let number = self.origin + block;
        let track = number / records;
        Place {
            cylinder: (track / heads) as u32,
            head: (track % heads) as u16,
            record: (number % records) as u8 + 1,
        }
    }
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Device type, 3390 for example, and model.
    pub device: (u16, u8),
    /// Cylinders.
    pub cylinders: u32,
    /// The label.
    pub label: Label,
    /// Volume serial, as characters of the machine's own code; blanks where there is none.
    pub serial: [u8; 6],
    /// What is served.
    pub layout: Layout,
    /// The partitions of it that the VTOC names.
    pub partitions: Partitions,
    /// The device's own name out of READ CONFIGURATION DATA: manufacturer, plant, sequence number. Blanks where it has none.
    pub name: [u8; Self::NAME],
    /// Whether the storage control says that it has PREFIX.
    pub prefix: bool,
    /// It is thin-provisioned: tracks that were never formatted are as good as tracks of zeroes.
    pub thin: bool,
}

impl Volume {
    /// Length of [`name`](Self::name).
    pub const NAME: usize = 17;
    /// The record of track 0 with the label.
    const LABEL: u8 = 3;
    /// Tracks of a CDL volume that have their own formats.
    const CDL_TRACKS: u64 = 2;
    /// Block sizes that Linux formats with.
    const SIZES: [u16; 4] = [4096, 2048, 1024, 512];

    /// Finds out what the volume is.
    pub(super) fn identify(
        platform: &mut dyn Platform,
        probe: &mut Probe,
    ) -> Result<Self, VolumeError> {
        let mut about = Characteristics::new_zeroed();
        probe
            .channel
            .read(
                platform,
                super::format::READ_CHARACTERISTICS,
                about.as_mut_bytes(),
            )
            .map_err(|error| VolumeError::Program("READ DEVICE CHARACTERISTICS", error))?;
        let (cylinders, heads) = (about.cylinders(), about.heads.get());
        if cylinders == 0 || cylinders >= 1 << 28 || !(1..=15).contains(&heads) {
            return Err(VolumeError::Characteristics);
        }
        let (name, address) = name(platform, probe);
        let thin = match address {
            Some(address) if about.control.get() == THIN_CONTROL => {
                is_thin(platform, probe, address)?
            }
            Some(_) | None => false,
        };
        let (label, serial, vtoc) = label(platform, probe)?;
        let first = match label {
            Label::Cdl => Self::CDL_TRACKS,
            Label::Ldl | Label::Cms(_) | Label::None => 0,
        };
        let place = |record| Place {
            cylinder: (first / u64::from(heads)) as u32,
            head: (first % u64::from(heads)) as u16,
            record,
        };
        let mut sample = place(1);
        let mut one = count_of(platform, probe, sample);
        if thin && matches!(one, Err(VolumeError::NoRecord(_))) {
            // It is enough that label and VTOC are formatted. Behind the label are records as long as blocks.
            sample = Place {
                cylinder: 0,
                head: 0,
                record: Self::LABEL + 1,
            };
            one = count_of(platform, probe, sample);
        }
        let one = one?;
        let block = one.data.get();
        if !Self::SIZES.contains(&block) || one.key != 0 || one.record != sample.record {
            return Err(VolumeError::Record(sample, one));
        }
        let records = about.records_of(block.into()).unwrap_or(0);
        let records = u8::try_from(records).unwrap_or(0);
        if records == 0 {
            return Err(VolumeError::Characteristics);
        }
        match count_of(platform, probe, place(records)) {
            Ok(last) if last.data == one.data && last.key == 0 && last.record == records => {}
            Ok(last) => return Err(VolumeError::Record(place(records), last)),
            Err(VolumeError::NoRecord(_)) if thin => {}
            Err(error) => return Err(error),
        }
        let all = u64::from(cylinders) * u64::from(heads) * u64::from(records);
        let origin = match label {
            Label::Cdl => first * u64::from(records),
            Label::Ldl | Label::Cms(0) => u64::from(Self::LABEL),
            Label::Cms(offset) => offset.into(),
            Label::None => 0,
        };
        let layout = Layout {
            heads,
            records,
            block,
            origin,
            blocks: all.saturating_sub(origin),
        };
        let partitions = match label {
            Label::Cdl => partitions(platform, probe, &layout, vtoc, thin),
            Label::Ldl | Label::Cms(_) | Label::None => Partitions::new(),
        };
        Ok(Self {
            device: (about.device.get(), about.device_model),
            cylinders,
            label,
            serial,
            layout,
            partitions,
            name,
            prefix: super::format::has_prefix(&about),
            thin,
        })
    }
}

/// The count field of a record.
pub(super) fn count_of(
    platform: &mut dyn Platform,
    probe: &mut Probe,
    place: Place,
) -> Result<CountField, VolumeError> {
    let mut count = CountField::new_zeroed();
    read(platform, probe, READ_COUNT, place, count.as_mut_bytes())?;
    Ok(count)
}

/// Reads a record with its count field. The one before it is located: reading begins with the next count field.
pub(super) fn read(
    platform: &mut dyn Platform,
    probe: &mut Probe,
    command: CommandCode,
    place: Place,
    data: &mut [u8],
) -> Result<(), VolumeError> {
    let locate = LocateRecord {
        operation: LocateRecord::READ,
        count: 1,
        seek: place.track(),
        search: place.track(),
        record: place.record.saturating_sub(1),
        sector: LocateRecord::ANY_SECTOR,
        ..LocateRecord::default()
    };
    match probe.read(platform, &locate, command, data) {
        Ok(()) => Ok(()),
        Err(VolumeError::Program(_, ProgramError::UnitCheck(sense)))
            if super::super::dasd::recovery::is_no_record_found(sense.bytes()) =>
        {
            Err(VolumeError::NoRecord(place))
        }
        Err(error) => Err(error),
    }
}

/// The label, and in it the volume serial and, of CDL, the address of the VTOC.
fn label(
    platform: &mut dyn Platform,
    probe: &mut Probe,
) -> Result<(Label, [u8; 6], RecordAddress), VolumeError> {
    const BLANK: [u8; 6] = [b' '; 6];
    let none = (Label::None, BLANK, RecordAddress::default());
    let place = Place {
        cylinder: 0,
        head: 0,
        record: Volume::LABEL,
    };
    // Count field, key of at most four bytes, the front of the data.
    let mut bytes = [0; 36];
    match read(platform, probe, READ_CKD, place, &mut bytes) {
        Ok(()) => {}
        Err(VolumeError::NoRecord(_)) => return Ok(none),
        Err(error) => return Err(error),
    }
    let Ok((count, rest)) = CountField::read_from_prefix(&bytes) else {
        return Ok(none);
    };
    let Some(data) = rest.get(usize::from(count.key)..) else {
        return Ok(none);
    };
    let mut text = [0; 10];
    for (to, &from) in text.iter_mut().zip(data) {
        *to = latin(from);
    }
    let mut serial = BLANK;
    serial.copy_from_slice(&text[4..]);
    let label = match &text[..4] {
        b"VOL1" => Label::Cdl,
        b"LNX1" => Label::Ldl,
        // Words behind the serial: version, block size, origin.
        b"CMS1" => {
            let origin = data.get(16..20).and_then(|word| word.try_into().ok());
            Label::Cms(origin.map_or(0, u32::from_be_bytes))
        }
        _ => return Ok(none),
    };
    let vtoc = data.get(11..16).map(RecordAddress::read_from_bytes);
    let vtoc = vtoc.and_then(Result::ok).unwrap_or_default();
    Ok((label, serial, vtoc))
}

/// Whether a volume is thin-provisioned. What has none of them rejects the question.
fn is_thin(
    platform: &mut dyn Platform,
    probe: &mut Probe,
    (subsystem, unit): (u8, u8),
) -> Result<bool, VolumeError> {
    let prepare = PrepareToRead {
        order: PrepareToRead::ORDER,
        subsystem,
        unit,
        suborder: PrepareToRead::VOLUME_STORAGE,
        ..PrepareToRead::default()
    };
    let mut storage = VolumeStorage::new_zeroed();
    match probe.read_subsystem(platform, &prepare, storage.as_mut_bytes()) {
        Ok(()) => Ok(storage.flags & VolumeStorage::EXTENT_SPACE_EFFICIENT != 0),
        Err(VolumeError::Program(_, ProgramError::UnitCheck(_))) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of the device out of its configuration data, on which nothing depends, and its address: logical subsystem and unit.
fn name(platform: &mut dyn Platform, probe: &mut Probe) -> ([u8; Volume::NAME], Option<(u8, u8)>) {
    /// A node-element descriptor: 32 bytes that begin with two one bits.
    const DESCRIPTOR: usize = 32;
    const LEVEL_DEVICE: u8 = 0x01;
    let mut name = [b' '; Volume::NAME];
    let Some(command) = configuration_command(platform, probe) else {
        return (name, None);
    };
    let mut data = [0; 256];
    if let Err(error) = probe.channel.read(platform, command, &mut data) {
        log::debug!("READ CONFIGURATION DATA: {error}");
        return (name, None);
    }
    let device = data
        .chunks_exact(DESCRIPTOR)
        .find(|one| one[0] & 0xC0 == 0xC0 && one[1] == LEVEL_DEVICE);
    // Manufacturer, plant, sequence number.
    if let Some(text) = device.and_then(|device| device.get(13..30)) {
        for (to, &from) in name.iter_mut().zip(text) {
            *to = latin(from);
        }
    }
    let address = device.and_then(|device| device.get(30).copied().zip(device.get(31).copied()));
    (name, address)
}

/// READ CONFIGURATION DATA, if the device says in its extended SENSE ID that it has it.
fn configuration_command(platform: &mut dyn Platform, probe: &mut Probe) -> Option<CommandCode> {
    let mut id = [0; 64];
    probe
        .channel
        .read(platform, CommandCode::SENSE_ID, &mut id)
        .ok()?;
    let words = id.get(8..)?.chunks_exact(4);
    // Bits 0 and 1 are 01 in a command-information word; type 0 is this command.
    let mut words = words.take_while(|word| word[0] & 0xC0 == 0x40);
    words
        .find(|word| word[0] & 0x0F == 0)
        .map(|word| CommandCode(word[1]))
}

/// The printable character of a code, a question mark for what is none.
fn latin(code: u8) -> u8 {
    let character = CP037.decode_byte(code);
    if (' '..='~').contains(&character) {
        character as u8
    } else {
        b'?'
    }
}
