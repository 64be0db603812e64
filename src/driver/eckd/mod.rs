//! A count-key-data disk (3390 and its like) as a [`BlockDevice`](super::block::BlockDevice).
//!
//! | module | what it is |
//! |---|---|
//! | [`format`] | commands, parameters and sense data |
//! | [`probe`] | channel programs of bring-up |
//! | [`volume`] | what the volume is, and which of its records are served |
//! | [`program`] | the channel program of reads and writes |
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
//! Update writes only: nothing here formats. DEFINE EXTENT and LOCATE RECORD, no PREFIX, no aliases, no path group, no reservations.

pub mod format;
pub mod probe;
pub mod program;
#[cfg(test)]
mod tests;
pub mod volume;

use alloc::string::{String, ToString};
use core::fmt;

use channel::{Orb, SenseId, SubchannelId};
use window::{OutOfWindow, Segment};

use super::dasd::{Cursor, Disk, Medium};
use super::{Channel, OutOfStorage, Platform};
use crate::css;
use probe::Probe;
use program::Program;
use volume::{Volume, VolumeError};

/// A count-key-data disk.
pub type Eckd = Disk<Ckd>;

/// A volume, and the program that reads and writes it.
#[derive(Debug)]
pub struct Ckd {
    probe: Probe,
    volume: Volume,
    program: Program,
}

/// Whether a control unit is one for these disks.
pub fn is_eckd(identity: &SenseId) -> bool {
    format::CONTROL_UNITS.contains(&identity.cu_type.get())
}

impl Eckd {
    /// Brings the disk on subchannel `id` up, with interruptions in subclass `isc`.
    ///
    /// # Errors
    ///
    /// [`VolumeError`]: what of it cannot be served.
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        isc: u8,
    ) -> Result<Self, VolumeError> {
        let schib = css::enable(platform, id, isc).map_err(VolumeError::Enable)?;
        let path_mask = css::path_mask(&schib);
        let mut probe = Probe::new(platform, id, path_mask)?;
        let volume = Volume::identify(platform, &mut probe)?;
        let pages = program::PAGES;
        let storage = platform
            .storage_as_is(pages)
            .map_err(VolumeError::Storage)?;
        let midaws = platform.has_midaws();
        let program =
            Program::new(storage, midaws).ok_or(VolumeError::Storage(OutOfStorage { pages }))?;
        let medium = Ckd {
            probe,
            volume,
            program,
        };
        Ok(Self::new(platform, id, path_mask, medium))
    }

    /// What the volume is.
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
        _: u32,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<(u32, Cursor)>, OutOfWindow> {
        let layout = &self.volume.layout;
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
        self.program.record_at(ccw)
    }

    fn place(&self, block: u64) -> impl fmt::Display {
        self.volume.layout.place(block)
    }

    fn channel(&mut self) -> &mut Channel {
        &mut self.probe.channel
    }

    fn is_same(&mut self, platform: &mut dyn Platform) -> Result<(), String> {
        let now = Volume::identify(platform, &mut self.probe).map_err(|error| error.to_string())?;
        let (new, old) = (&now.layout, &self.volume.layout);
        if new != old {
            return Err(alloc::format!(
                "{} blocks of {} bytes instead of {} of {}",
                new.blocks, new.block, old.blocks, old.block
            ));
        }
        self.volume = now;
        Ok(())
    }
}
