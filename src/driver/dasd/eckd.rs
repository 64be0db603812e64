//! A count-key-data disk (3390 and its like) as a [`BlockDevice`](crate::driver::block::BlockDevice).
//!
//! | module | what it is |
//! |---|---|
//! | [`format`] | commands, parameters and sense data |
//! | [`group`] | the group that the paths to it are |
//! | [`record`] | which records are served, and reading one at bring-up |
//! | [`volume`] | what the volume is |
//! | [`partitions`] | the partitions that its VTOC names |
//! | [`program`] | the channel program of reads and writes |
//! | [`thin`] | the same for volumes with tracks that were never formatted, and what formats these |
//!
//! Queue, endings and recovery are those of all [`Disk`]s.
//!
//! # Scope
//!
//! Reads and writes of whole records of a formatted volume. A write is on stable storage, as far as the storage control has any,
//! when it has ended: there is no flush.
//!
//! # Limits
//!
//! Update writes only: nothing here formats but tracks of thin-provisioned volumes that were never formatted. No aliases, no reservations.

pub mod format;
pub mod group;
pub mod partitions;
pub mod program;
pub mod record;
#[cfg(test)]
pub(super) mod tests;
pub mod thin;
pub mod volume;

use core::fmt;

use channel::{Orb, SenseId, SubchannelId};
use s390x::ebcdic::Text;
use window::{OutOfWindow, Segment};

use super::chain::Chain;
use super::thin::Track;
use super::{BringUpError, Cursor, Disk, Medium, Thin};
use crate::css::{Channel, Platform};
use program::Program;
use volume::Volume;

pub type Eckd = Disk<Ckd>;

/// A volume, and the program that reads and writes it.
#[derive(Debug)]
pub struct Ckd {
    channel: Channel,
    volume: Volume,
    program: Program,
}

pub fn is_eckd(identity: &SenseId) -> bool {
    format::CONTROL_UNITS.contains(&identity.cu_type.get())
}

impl Eckd {
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        isc: u8,
    ) -> Result<Self, BringUpError> {
        Self::bring_up(platform, id, isc, |platform, path_mask| {
            let page = platform.storage(1)?;
            let mut channel = Channel::new(id, path_mask, page);
            let volume = Volume::identify(platform, &mut channel)?;
            group::group(platform, &mut channel, path_mask);
            let chain = Chain::in_storage(platform)?;
            log::info!(
                target: "disk",
                "{id}: {:04x}/{:02x}, {} cylinders, {} {}",
                volume.device.0,
                volume.device.1,
                volume.cylinders,
                volume.label,
                Text(&volume.serial),
            );
            Ok(Ckd {
                channel,
                program: Program::new(chain, volume.prefix),
                volume,
            })
        })
    }

    pub const fn volume(&self) -> &Volume {
        &self.medium().volume
    }
}

impl Medium for Ckd {
    fn block(&self) -> u32 {
        self.volume.layout.block.into()
    }

    fn blocks(&self) -> u64 {
        self.volume.layout.blocks
    }

    fn best(&self) -> u32 {
        self.volume.layout.records.into()
    }

    fn begin(&mut self) {
        self.program.begin();
    }

    #[inline]
    fn add(
        &mut self,
        write: bool,
        block: u64,
        left: u32,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<(u32, Cursor)>, OutOfWindow> {
        let layout = &self.volume.layout;
        if self.volume.thin {
            return self
                .program
                .add_run(layout, write, block, left, segments, at);
        }
        let end = self.program.add(layout, write, block, segments, at)?;
        Ok(end.map(|end| (1, end)))
    }

    fn finish(&mut self, parameter: u32, path_mask: u8) -> Result<Option<Orb>, OutOfWindow> {
        let layout = &self.volume.layout;
        self.program.finish(layout, parameter, path_mask)
    }

    fn ccws(&self) -> u32 {
        self.program.ccws()
    }

    fn block_at(&self, ccw: u32) -> u64 {
        let number = self.program.record_at(ccw);
        if self.volume.thin {
            return self.program.block_of(&self.volume.layout, number);
        }
        number
    }

    fn place(&self, block: u64) -> impl fmt::Display {
        self.volume.layout.place(block)
    }

    fn partition(&self, number: u8) -> Option<(u64, u64)> {
        let mut all = self.volume.partitions.iter();
        let found = all.find(|one| one.number == number)?;
        Some((found.block, found.blocks))
    }

    fn thin(&mut self) -> Option<&mut dyn Thin> {
        self.volume.thin.then_some(self as &mut dyn Thin)
    }

    fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    fn do_without(&mut self) -> bool {
        self.program.drop_prefix()
    }

    fn regroup(&mut self, platform: &mut dyn Platform, path_mask: u8) {
        group::group(platform, &mut self.channel, path_mask);
    }

    fn verify(&mut self, platform: &mut dyn Platform) -> Result<(), BringUpError> {
        if Volume::identify(platform, &mut self.channel)? != self.volume {
            return Err(BringUpError::Other("another volume than before"));
        }
        Ok(())
    }
}

impl Thin for Ckd {
    fn survey(&mut self, block: u64, parameter: u32, path_mask: u8) -> Option<Orb> {
        let layout = &self.volume.layout;
        let orb = self.program.survey(layout, block, parameter, path_mask);
        orb.ok()
    }

    fn surveyed(&self, block: u64, ccw: u32) -> Track {
        self.program.surveyed(&self.volume.layout, block, ccw)
    }

    fn format(&mut self, block: u64, there: u8, parameter: u32, path_mask: u8) -> Option<Orb> {
        let layout = &self.volume.layout;
        let orb = self
            .program
            .format(layout, block, there, parameter, path_mask);
        orb.ok()
    }
}
