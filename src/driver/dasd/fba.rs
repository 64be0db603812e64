//! A fixed-block disk (3370, 9336 and their like) as a [`BlockDevice`](crate::driver::block::BlockDevice).
//!
//! | module | what it is |
//! |---|---|
//! | [`format`] | commands and parameters |
//! | [`program`] | the channel program of reads and writes |
//!
//! Queue, endings and recovery are those of all [`Disk`]s.
//!
//! # What is served
//!
//! | label (block 1) | blocks begin with |
//! |---|---|
//! | `CMS1` | the first block of the reserved file, or of the file system: both are counted in blocks of CMS |
//! | anything else | block 2, behind IPL record and label |
//!
//! So Linux sees its first partition there.
//!
//! # Limits
//!
//! Blocks of 512 bytes, which is what such disks have. Nothing here formats. A write is on the medium when it has ended, as far as
//! the device says: there is no flush.

pub mod format;
pub mod program;
#[cfg(test)]
mod tests;

use core::fmt;

use channel::{Orb, SenseId, SubchannelId};
use s390x::ebcdic::Text;
use window::{OutOfWindow, Segment};
use zerocopy::{FromZeros, IntoBytes};

use super::chain::Chain;
use super::{BringUpError, Cursor, Disk, Medium};
use crate::css::{Channel, Platform, ProgramError};
use dasd::label::Label;
use format::{
    Characteristics, DefineExtent, Locate, DEFINE_EXTENT, LOCATE, READ, READ_CHARACTERISTICS,
};
use program::{Program, BLOCK};

pub type Fba = Disk<Fixed>;

/// The block with the label; what is served is behind it.
const LABEL: u32 = 1;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    pub all: u32,
    pub origin: u32,
    /// The label's name and the volume serial, in EBCDIC.
    pub label: [u8; 10],
}

/// A disk, and the program that reads and writes it.
#[derive(Debug)]
pub struct Fixed {
    channel: Channel,
    volume: Volume,
    program: Program,
}

pub fn is_fba(identity: &SenseId) -> bool {
    format::DEVICES.contains(&identity.dev_type.get())
}

impl Fba {
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        isc: u8,
    ) -> Result<Self, BringUpError> {
        Self::bring_up(platform, id, isc, |platform, path_mask| {
            let page = platform.storage(1)?;
            let mut channel = Channel::new(id, path_mask, page);
            let chain = Chain::in_storage(platform)?;
            let volume = Volume::identify(platform, &mut channel)?;
            let (name, serial) = volume.label.split_at(4);
            log::info!(
                target: "disk",
                "{id}: {} blocks from {}, {} {}",
                volume.all,
                volume.origin,
                Text(name),
                Text(serial)
            );
            let program = Program::new(chain);
            Ok(Fixed {
                channel,
                volume,
                program,
            })
        })
    }

    pub const fn volume(&self) -> &Volume {
        &self.medium().volume
    }
}

impl Volume {
    fn identify(platform: &mut dyn Platform, channel: &mut Channel) -> Result<Self, BringUpError> {
        let mut about = Characteristics::new_zeroed();
        channel
            .read(platform, READ_CHARACTERISTICS, about.as_mut_bytes())
            .map_err(|error| BringUpError::Program("READ DEVICE CHARACTERISTICS", error))?;
        let (class, block, all) = (about.class, about.block.get(), about.blocks.get());
        if class != Characteristics::FBA || u32::from(block) != BLOCK || all <= LABEL + 1 {
            let what = "no disk with blocks of 512 bytes";
            return Err(BringUpError::Characteristics(what));
        }
        let data =
            read_label(platform, channel).map_err(|error| BringUpError::Program("label", error))?;
        let mut label = [0; 10];
        label.copy_from_slice(&data[..10]);
        let origin = origin(&data);
        if origin >= all {
            return Err(BringUpError::Label(origin));
        }
        Ok(Self { all, origin, label })
    }
}

fn read_label(
    platform: &mut dyn Platform,
    channel: &mut Channel,
) -> Result<[u8; BLOCK as usize], ProgramError> {
    let extent = DefineExtent::of(LABEL, LABEL, DefineExtent::MASK_READ);
    let locate = Locate {
        operation: Locate::READ,
        replication: 0,
        count: 1.into(),
        block: LABEL.into(),
    };
    let before = [
        (DEFINE_EXTENT, extent.as_bytes()),
        (LOCATE, locate.as_bytes()),
    ];
    let mut label = [0; BLOCK as usize];
    channel.read_behind(platform, &before, READ, &mut label)?;
    Ok(label)
}

/// The first block that is served: where Linux has its first partition.
fn origin(label: &[u8]) -> u32 {
    const BEHIND: u32 = LABEL + 1;
    match Label::parse(label) {
        // CMS has blocks of its own size.
        Label::Cms(label) => {
            let first = match label.disk_offset.get() {
                0 => BEHIND,
                offset => offset,
            };
            let size = (label.block_size.get() / BLOCK).max(1);
            first.saturating_mul(size).max(BEHIND)
        }
        Label::Cdl(_) | Label::Ldl(_) | Label::None => BEHIND,
    }
}

impl Medium for Fixed {
    fn block(&self) -> u32 {
        BLOCK
    }

    fn blocks(&self) -> u64 {
        u64::from(self.volume.all.saturating_sub(self.volume.origin))
    }

    fn best(&self) -> u32 {
        0
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
        // Requests end before the last block of the disk, whose number has 32 bits.
        let block = self.volume.origin.saturating_add(block as u32);
        self.program.add(write, block, left, segments, at)
    }

    fn finish(&mut self, parameter: u32, path_mask: u8) -> Result<Option<Orb>, OutOfWindow> {
        self.program.finish(parameter, path_mask)
    }

    fn ccws(&self) -> u32 {
        self.program.ccws()
    }

    fn block_at(&self, ccw: u32) -> u64 {
        self.program.block_at(ccw)
    }

    fn place(&self, block: u64) -> impl fmt::Display {
        Place(u64::from(self.volume.origin) + block)
    }

    fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    fn verify(&mut self, platform: &mut dyn Platform) -> Result<(), BringUpError> {
        if Volume::identify(platform, &mut self.channel)? != self.volume {
            return Err(BringUpError::Other("it is another disk now"));
        }
        Ok(())
    }
}

/// A block of the disk, for messages: where a transfer begins.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} or behind", self.0)
    }
}
