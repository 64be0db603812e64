//! Which records of a volume are its blocks, and reading one of any kind at bring-up.

use channel::CommandCode;
use zerocopy::{FromZeros, IntoBytes};

use super::super::recovery::is_no_record_found;
use super::super::BringUpError;
use super::format::{
    self, CountField, DefineExtent, LocateRecord, Place, DEFINE_EXTENT, LOCATE_RECORD, READ_COUNT,
};
use crate::css::{Channel, Platform, ProgramError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub heads: u16,
    pub records: u8,
    pub block: u16,
    /// Records before the first that is served.
    pub origin: u64,
    pub blocks: u64,
}

impl Layout {
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

pub(super) fn count_of(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    place: Place,
) -> Result<CountField, BringUpError> {
    let mut count = CountField::new_zeroed();
    read(platform, channel, READ_COUNT, place, count.as_mut_bytes())?;
    Ok(count)
}

/// Reads a record with its count field. The one before it is located: reading begins with the next count field.
pub(super) fn read(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    command: CommandCode,
    place: Place,
    data: &mut [u8],
) -> Result<(), BringUpError> {
    let locate = LocateRecord {
        operation: LocateRecord::READ,
        count: 1,
        ..format::locate(place.track(), place.record.saturating_sub(1))
    };
    let (mask, attributes) = (DefineExtent::MASK_READ, DefineExtent::ECKD);
    let extent = format::one_track(place.track(), mask, attributes);
    let before = [
        (DEFINE_EXTENT, extent.as_bytes()),
        (LOCATE_RECORD, locate.as_bytes()),
    ];
    match channel.read_behind(platform, &before, command, data) {
        Ok(_) => Ok(()),
        Err(ProgramError::UnitCheck(sense)) if is_no_record_found(sense.bytes()) => {
            Err(BringUpError::NoRecord(place))
        }
        Err(error) => Err(BringUpError::Program("read of a record", error)),
    }
}
