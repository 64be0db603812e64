//! The partitions of a volume: the data sets of its VTOC that are one piece each and formatted as the rest of what is served.
//!
//! # Scope
//!
//! A CDL volume. The n-th DSCB of format 1 or 8 is partition n, as it is for Linux; a data set that cannot be served keeps its number.
//!
//! # Limits
//!
//! [`MOST`] partitions, out of the first 256 DSCBs: Linux makes three. Read at bring-up.

use dasd::vtoc::{Dscb, Format1, DSCB};
use dasd::RecordAddress;

use super::super::BringUpError;
use super::format::{CountField, Place, READ_CKD};
use super::record::{self, Layout};
use crate::css::{Channel, Platform};

pub const MOST: usize = 16;
const MOST_DSCBS: u32 = 256;
const COUNT: usize = size_of::<CountField>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u8,
    /// Its first block, among those that are served of the volume.
    pub block: u64,
    pub blocks: u64,
}

/// Partitions in the order of their numbers.
pub type Partitions = heapless::Vec<Partition, MOST>;

/// Reads the VTOC, which begins at `vtoc`.
pub(super) fn partitions(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    layout: &Layout,
    vtoc: RecordAddress,
    thin: bool,
) -> Partitions {
    let mut found = Partitions::new();
    let mut number = 0;
    let mut place = Place {
        cylinder: vtoc.track.cylinder(),
        head: vtoc.track.head(),
        record: vtoc.record,
    };
    let mut last = place.track();
    for _ in 0..MOST_DSCBS {
        let dscb = match dscb(platform, channel, place) {
            Ok(dscb) => dscb,
            // Behind the last record of a track is the next one.
            Err(BringUpError::NoRecord(_)) if place.record > 1 && place.track() != last => {
                let head = place.head + 1;
                place = Place {
                    cylinder: place.cylinder + u32::from(head / layout.heads.max(1)),
                    head: head % layout.heads.max(1),
                    record: 1,
                };
                continue;
            }
            Err(BringUpError::NoRecord(_)) => break,
            Err(error) => {
                log::warn!("no partitions: {place}: {error}");
                break;
            }
        };
        match dscb {
            Dscb::Format4(this) => last = this.extent.upper,
            Dscb::Format1(this) | Dscb::Format8(this) => {
                number += 1;
                let all = partition(platform, channel, (layout, thin), number, &this);
                if all.is_some_and(|one| found.push(one).is_err()) {
                    break;
                }
            }
            Dscb::Format3(_) | Dscb::Format5(_) | Dscb::Format7(_) | Dscb::Format9 => {}
            Dscb::Free | Dscb::Other(_) => break,
        }
        place.record = place.record.saturating_add(1);
    }
    found
}

fn dscb(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    place: Place,
) -> Result<Dscb, BringUpError> {
    let mut bytes = [0; COUNT + DSCB];
    record::read(platform, channel, READ_CKD, place, &mut bytes)?;
    let (_, dscb) = bytes.split_at(COUNT);
    Ok(dscb.try_into().map_or(Dscb::Free, Dscb::parse))
}

/// The partition that a data set is, if it can be one.
fn partition(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    (layout, thin): (&Layout, bool),
    number: u8,
    data_set: &Format1,
) -> Option<Partition> {
    let (first, last) = data_set.extent[0].tracks(layout.heads)?;
    let records = u64::from(layout.records);
    let block = (first * records).checked_sub(layout.origin)?;
    let blocks = (last - first + 1) * records;
    let inside = block + blocks <= layout.blocks;
    let one_piece = data_set.extents == 1;
    let formatted = |platform: &mut dyn Platform, channel: &mut Channel| {
        let count = |record| Place {
            record,
            ..layout.place(block)
        };
        [1, layout.records].into_iter().all(|record| {
            match record::count_of(platform, channel, count(record)) {
                Ok(found) => {
                    (found.data.get(), found.key, found.record) == (layout.block, 0, record)
                }
                Err(BringUpError::NoRecord(_)) => thin,
                Err(_) => false,
            }
        })
    };
    if !one_piece || !inside || !formatted(platform, channel) {
        log::info!("data set {number} of the volume is no partition");
        return None;
    }
    Some(Partition {
        number,
        block,
        blocks,
    })
}
