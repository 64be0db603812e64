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

use channel::CommandCode;
use dasd::label::{self, Label, VolumeLabel};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::super::BringUpError;
use super::format::{
    Characteristics, CountField, Place, PrepareToRead, VolumeStorage, PERFORM_SUBSYSTEM_FUNCTION,
    READ_CHARACTERISTICS, READ_CKD, READ_SUBSYSTEM_DATA, THIN_CONTROL,
};
use super::partitions::{partitions, Partitions};
use super::record::{count_of, read, Layout};
use crate::css::{Channel, Platform, ProgramError};

const UNKNOWN: BringUpError = BringUpError::Characteristics("no disk that is known");

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Device type, 3390 for example, and model.
    pub device: (u16, u8),
    pub cylinders: u32,
    /// Which label it has, in words.
    pub label: &'static str,
    /// Volume serial, in EBCDIC; blanks where there is none.
    pub serial: [u8; 6],
    pub layout: Layout,
    pub partitions: Partitions,
    /// The device's own name out of READ CONFIGURATION DATA: manufacturer, plant, sequence number, in EBCDIC. Blanks where
    /// it has none.
    pub name: [u8; Self::NAME],
    pub prefix: bool,
    /// It is thin-provisioned: tracks that were never formatted are as good as tracks of zeroes.
    pub thin: bool,
}

impl Volume {
    pub const NAME: usize = 17;
    /// Tracks of a CDL volume that have their own formats.
    const CDL_TRACKS: u64 = 2;
    /// Block sizes that Linux formats with.
    const SIZES: [u16; 4] = [4096, 2048, 1024, 512];

    pub(super) fn identify(
        platform: &mut dyn Platform,
        channel: &mut Channel,
    ) -> Result<Self, BringUpError> {
        let mut about = Characteristics::new_zeroed();
        channel
            .read(platform, READ_CHARACTERISTICS, about.as_mut_bytes())
            .map_err(|error| BringUpError::Program("READ DEVICE CHARACTERISTICS", error))?;
        let (cylinders, heads) = (about.cylinders(), about.heads.get());
        if cylinders == 0 || cylinders >= 1 << 28 || !(1..=15).contains(&heads) {
            return Err(UNKNOWN);
        }
        let (name, address) = name(platform, channel);
        let thin = match address {
            Some(address) if about.control.get() == THIN_CONTROL => {
                is_thin(platform, channel, address)?
            }
            Some(_) | None => false,
        };
        let label = read_label(platform, channel)?;
        let (first, words) = match label {
            Label::Cdl(_) => (Self::CDL_TRACKS, "VOL1 (CDL)"),
            Label::Ldl(_) => (0, "LNX1 (LDL)"),
            Label::Cms(_) => (0, "CMS1"),
            Label::None => (0, "no label"),
        };
        let place = |record| Place {
            cylinder: (first / u64::from(heads)) as u32,
            head: (first % u64::from(heads)) as u16,
            record,
        };
        let mut sample = place(1);
        let mut one = count_of(platform, channel, sample);
        if thin && matches!(one, Err(BringUpError::NoRecord(_))) {
            // It is enough that label and VTOC are formatted. Behind the label are records as long as blocks.
            sample = Place {
                cylinder: 0,
                head: 0,
                record: label::RECORD + 1,
            };
            one = count_of(platform, channel, sample);
        }
        let one = one?;
        let block = one.data.get();
        if !Self::SIZES.contains(&block) || one.key != 0 || one.record != sample.record {
            return Err(BringUpError::Record(sample, one));
        }
        let records = about.records_of(block.into()).unwrap_or(0);
        let records = u8::try_from(records).unwrap_or(0);
        if records == 0 {
            return Err(UNKNOWN);
        }
        match count_of(platform, channel, place(records)) {
            Ok(last) if last.data == one.data && last.key == 0 && last.record == records => {}
            Ok(last) => return Err(BringUpError::Record(place(records), last)),
            Err(BringUpError::NoRecord(_)) if thin => {}
            Err(error) => return Err(error),
        }
        let all = u64::from(cylinders) * u64::from(heads) * u64::from(records);
        let origin = match label {
            Label::Cdl(_) => first * u64::from(records),
            Label::Cms(label) if label.disk_offset != 0 => label.disk_offset.get().into(),
            Label::Ldl(_) | Label::Cms(_) => label::RECORD.into(),
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
            Label::Cdl(label) => partitions(platform, channel, &layout, label.vtoc, thin),
            Label::Ldl(_) | Label::Cms(_) | Label::None => Partitions::new(),
        };
        Ok(Self {
            device: (about.device.get(), about.device_model),
            cylinders,
            label: words,
            serial: label.serial(),
            layout,
            partitions,
            name,
            prefix: about.has_prefix(),
            thin,
        })
    }
}

fn read_label(platform: &mut dyn Platform, channel: &mut Channel) -> Result<Label, BringUpError> {
    const COUNT: usize = size_of::<CountField>();
    const KEY: usize = label::VOL1.len();
    let place = Place {
        cylinder: 0,
        head: 0,
        record: label::RECORD,
    };
    let mut bytes = [0; COUNT + KEY + VolumeLabel::LDL];
    match read(platform, channel, READ_CKD, place, &mut bytes) {
        Ok(()) => {}
        Err(BringUpError::NoRecord(_)) => return Ok(Label::None),
        Err(error) => return Err(error),
    }
    let record = CountField::read_from_prefix(&bytes).ok();
    let data = record.and_then(|(count, rest)| rest.get(usize::from(count.key)..));
    Ok(data.map_or(Label::None, Label::parse))
}

/// Whether a volume is thin-provisioned. What has none of them rejects the question.
fn is_thin(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    (subsystem, unit): (u8, u8),
) -> Result<bool, BringUpError> {
    let prepare = PrepareToRead {
        order: PrepareToRead::ORDER,
        subsystem,
        unit,
        suborder: PrepareToRead::VOLUME_STORAGE,
        ..PrepareToRead::default()
    };
    let mut storage = VolumeStorage::new_zeroed();
    let before = [(PERFORM_SUBSYSTEM_FUNCTION, prepare.as_bytes())];
    let data = storage.as_mut_bytes();
    match channel.read_behind(platform, &before, READ_SUBSYSTEM_DATA, data) {
        Ok(_) => Ok(storage.flags & VolumeStorage::EXTENT_SPACE_EFFICIENT != 0),
        Err(ProgramError::UnitCheck(_)) => Ok(false),
        Err(error) => Err(BringUpError::Program("READ SUBSYSTEM DATA", error)),
    }
}

/// The name of the device out of its configuration data, on which nothing depends, and its address: logical subsystem and unit.
fn name(
    platform: &mut dyn Platform,
    channel: &mut Channel,
) -> ([u8; Volume::NAME], Option<(u8, u8)>) {
    /// A node-element descriptor: 32 bytes that begin with two one bits.
    const DESCRIPTOR: usize = 32;
    const LEVEL_DEVICE: u8 = 0x01;
    let mut name = [label::BLANK; Volume::NAME];
    let Some(command) = configuration_command(platform, channel) else {
        return (name, None);
    };
    let mut data = [0; 256];
    if let Err(error) = channel.read(platform, command, &mut data) {
        log::debug!("READ CONFIGURATION DATA: {error}");
        return (name, None);
    }
    let device = data
        .chunks_exact(DESCRIPTOR)
        .find(|one| one[0] & 0xC0 == 0xC0 && one[1] == LEVEL_DEVICE);
    // Manufacturer, plant, sequence number.
    if let Some(text) = device.and_then(|device| device.get(13..30)) {
        name.copy_from_slice(text);
    }
    let address = device.and_then(|device| device.get(30).copied().zip(device.get(31).copied()));
    (name, address)
}

/// READ CONFIGURATION DATA, if the device says in its extended SENSE ID that it has it.
fn configuration_command(
    platform: &mut dyn Platform,
    channel: &mut Channel,
) -> Option<CommandCode> {
    let mut id = [0; 64];
    channel
        .read(platform, CommandCode::SENSE_ID, &mut id)
        .ok()?;
    let words = id.get(8..)?.chunks_exact(4);
    // Bits 0 and 1 are 01 in a command-information word; type 0 is this command.
    let mut words = words.take_while(|word| word[0] & 0xC0 == 0x40);
    words
        .find(|word| word[0] & 0x0F == 0)
        .map(|word| CommandCode(word[1]))
}
