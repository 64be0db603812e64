//! A fixed-block disk (3370, 9336 and their like) as a [`BlockDevice`](super::block::BlockDevice).
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
use window::{ClientAddress, OutOfWindow, Segment, Window};
use zerocopy::{FromZeros, IntoBytes};

use super::dasd::{Cursor, Disk, Medium};
use crate::css::{self, EnableError};
use crate::css::{run_program, Channel, OutOfStorage, Platform, ProgramError};
use dasd::label::{Label, VolumeLabel};
use format::{Characteristics, READ_CHARACTERISTICS};
use program::{Program, BLOCK};

/// A fixed-block disk.
pub type Fba = Disk<Fixed>;

/// The block with the label; what is served is behind it.
const LABEL: u32 = 1;
/// How long the program that reads it may take, in microseconds.
const TIMEOUT: u64 = 10_000_000;

/// Why a disk is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FbaError {
    /// The subchannel cannot be enabled.
    Enable(EnableError),
    /// No storage for channel programs.
    Storage(OutOfStorage),
    /// A command failed.
    Program(&'static str, ProgramError),
    /// The device's characteristics are not those of a disk with blocks of 512 bytes.
    Characteristics,
    /// The label says that data begins where there is nothing.
    Label(u32),
    /// It is not the disk that it was.
    Other,
}

impl fmt::Display for FbaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(error) => write!(f, "not enabled: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Program(what, error) => write!(f, "{what}: {error}"),
            Self::Characteristics => {
                f.write_str("READ DEVICE CHARACTERISTICS: no disk with blocks of 512 bytes")
            }
            Self::Label(block) => write!(f, "its label says that data begins with block {block}"),
            Self::Other => f.write_str("it is another disk now"),
        }
    }
}

impl core::error::Error for FbaError {}

impl From<OutOfWindow> for FbaError {
    /// The storage of channel programs is long enough for all of them.
    fn from(_: OutOfWindow) -> Self {
        Self::Program("channel program", ProgramError::TooLong)
    }
}

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Blocks that are there.
    pub all: u32,
    /// The first that is served.
    pub origin: u32,
    /// The label's name and the volume serial, in EBCDIC.
    pub label: [u8; 10],
}

/// A disk, and the program that reads and writes it.
#[derive(Debug)]
pub struct Fixed {
    id: SubchannelId,
    isc: u8,
    channel: Channel,
    /// Where the label is read to.
    page: Window,
    volume: Volume,
    program: Program,
}

/// Whether a device is such a disk.
pub fn is_fba(identity: &SenseId) -> bool {
    format::DEVICES.contains(&identity.dev_type.get())
}

impl Fba {
    /// Brings the disk on subchannel `id` up, with interruptions in subclass `isc`.
    ///
    /// # Errors
    ///
    /// [`FbaError`]: what of it cannot be served.
    pub fn open(platform: &mut dyn Platform, id: SubchannelId, isc: u8) -> Result<Self, FbaError> {
        let mut storage = |pages| platform.storage(pages).map_err(FbaError::Storage);
        let (page, label, pages) = (storage(1)?, storage(1)?, storage(program::PAGES)?);
        let midaws = platform.has_midaws();
        let program = Program::new(pages, midaws).ok_or(FbaError::Storage(OutOfStorage {
            pages: program::PAGES,
        }))?;
        let mut medium = Fixed {
            id,
            isc,
            channel: Channel::new(id, 0, page),
            page: label,
            volume: Volume {
                all: 0,
                origin: 0,
                label: [0; 10],
            },
            program,
        };
        let (path_mask, volume) = medium.bring_up(platform)?;
        medium.volume = volume;
        let (name, serial) = volume.label.split_at(4);
        log::info!(
            target: "disk",
            "{id}: {} blocks from {}, {} {}",
            volume.all,
            volume.origin,
            Text(name),
            Text(serial)
        );
        Ok(Self::new(platform, id, path_mask, medium))
    }

    /// What the disk is.
    pub const fn volume(&self) -> &Volume {
        &self.medium().volume
    }
}

impl Fixed {
    /// Enables the subchannel and finds out what the disk is.
    fn bring_up(&mut self, platform: &mut dyn Platform) -> Result<(u8, Volume), FbaError> {
        let schib = css::enable(platform, self.id, self.isc).map_err(FbaError::Enable)?;
        let path_mask = css::path_mask(&schib);
        self.channel.set_path_mask(path_mask);
        let mut about = Characteristics::new_zeroed();
        self.channel
            .read(platform, READ_CHARACTERISTICS, about.as_mut_bytes())
            .map_err(|error| FbaError::Program("READ DEVICE CHARACTERISTICS", error))?;
        let (class, block, all) = (about.class, about.block.get(), about.blocks.get());
        if class != Characteristics::FBA || u32::from(block) != BLOCK || all <= LABEL + 1 {
            return Err(FbaError::Characteristics);
        }
        let data = self.read_label(platform, path_mask)?;
        let mut label = [0; 10];
        label.copy_from_slice(&data[..10]);
        let origin = origin(&data);
        if origin >= all {
            return Err(FbaError::Label(origin));
        }
        Ok((path_mask, Volume { all, origin, label }))
    }

    /// The front of the label's block.
    fn read_label(
        &mut self,
        platform: &mut dyn Platform,
        path_mask: u8,
    ) -> Result<[u8; VolumeLabel::LDL], FbaError> {
        let too_long = FbaError::Program("label", ProgramError::TooLong);
        let place = ClientAddress::new(0);
        self.page.fill(place, BLOCK.into(), 0)?;
        let segment = self.page.translate(place, BLOCK)?;
        self.program.begin();
        let start = Cursor::default();
        let added = self.program.add(false, LABEL, 1, &[segment], start)?;
        let orb = self.program.finish(self.id.word(), path_mask)?;
        let orb = orb.filter(|_| added.is_some()).ok_or(too_long)?;
        // SAFETY: program and data lie in storage of this disk's own, which is never given back.
        match unsafe { run_program(platform, self.id, &orb, TIMEOUT) } {
            Ok(_) => {}
            // Without concurrent sense the bytes are still to be asked for.
            Err(ProgramError::UnitCheck(sense)) if sense.bytes().is_empty() => {
                let sense = self.channel.sense(platform);
                let sense = sense.map_err(|error| FbaError::Program("SENSE", error))?;
                return Err(FbaError::Program("label", ProgramError::UnitCheck(sense)));
            }
            Err(error) => return Err(FbaError::Program("label", error)),
        }
        let mut label = [0; VolumeLabel::LDL];
        self.page.read_bytes(place, &mut label)?;
        Ok(label)
    }
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
    type Error = FbaError;

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

    fn come_back(&mut self, platform: &mut dyn Platform) -> Result<u8, FbaError> {
        let (path_mask, volume) = self.bring_up(platform)?;
        if volume != self.volume {
            return Err(FbaError::Other);
        }
        Ok(path_mask)
    }
}

/// A block of the disk, for messages: where a transfer begins.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} or behind", self.0)
    }
}
