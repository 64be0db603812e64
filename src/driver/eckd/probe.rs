//! Channel programs of bring-up: one command, or one record read by DEFINE EXTENT, LOCATE RECORD and a read.

use channel::{Ccw1, CcwFlags, CommandCode, Orb, OrbFlags, SubchannelId};
use window::{ClientAddress, Window};
use zerocopy::IntoBytes;

use super::format::{
    DefineExtent, LocateRecord, PrepareToRead, DEFINE_EXTENT, LOCATE_RECORD,
    PERFORM_SUBSYSTEM_FUNCTION, READ_SUBSYSTEM_DATA,
};
use super::volume::VolumeError;
use crate::css::program::run_program;
use crate::css::{Channel, Platform, ProgramError};

/// How long a program may take, in microseconds.
const TIMEOUT: u64 = 10_000_000;
/// Where things are in the page.
const EXTENT: u32 = 64;
const LOCATE: u32 = 80;
const DATA: u32 = 128;
/// Most bytes that are read.
const MOST: usize = 1024;

/// The subchannel, as bring-up uses it.
#[derive(Debug)]
pub struct Probe {
    /// For programs of one command.
    pub channel: Channel,
    page: Window,
    id: SubchannelId,
    path_mask: u8,
}

impl Probe {
    /// Two pages for the enabled subchannel `id`.
    pub(super) fn new(
        platform: &mut dyn Platform,
        id: SubchannelId,
        path_mask: u8,
    ) -> Result<Self, VolumeError> {
        let mut page = || platform.storage(1).map_err(VolumeError::Storage);
        Ok(Self {
            channel: Channel::new(id, path_mask, page()?),
            page: page()?,
            id,
            path_mask,
        })
    }

    /// From now on over these paths.
    pub(super) fn set_path_mask(&mut self, mask: u8) {
        self.channel.set_path_mask(mask);
        self.path_mask = mask;
    }

    /// Locates a record and reads behind it, as many bytes as `data` has at most.
    pub(super) fn read(
        &mut self,
        platform: &mut dyn Platform,
        locate: &LocateRecord,
        command: CommandCode,
        data: &mut [u8],
    ) -> Result<(), VolumeError> {
        let too_long = VolumeError::Program("read", ProgramError::TooLong);
        let count = u16::try_from(data.len().min(MOST)).map_err(|_| too_long)?;
        let base = u32::try_from(self.page.absolute_base()).map_err(|_| too_long)?;
        let extent = DefineExtent {
            mask: DefineExtent::MASK_READ,
            attributes: DefineExtent::ECKD,
            first: locate.seek,
            last: locate.seek,
            ..DefineExtent::default()
        };
        let program = [
            Ccw1::new(DEFINE_EXTENT, CcwFlags::CC, 16, base + EXTENT),
            Ccw1::new(LOCATE_RECORD, CcwFlags::CC, 16, base + LOCATE),
            Ccw1::new(command, CcwFlags::SLI, count, base + DATA),
        ];
        let at = |place: u32| ClientAddress::new(place.into());
        self.page.write(at(EXTENT), &extent)?;
        self.page.write(at(LOCATE), locate)?;
        self.page.fill(at(DATA), count.into(), 0)?;
        self.page.write_bytes(at(0), program.as_bytes())?;
        self.run(platform, "read of a record", base)?;
        Ok(self.page.read_bytes(at(DATA), data)?)
    }

    /// Reads what the storage control says of a device.
    pub(super) fn read_subsystem(
        &mut self,
        platform: &mut dyn Platform,
        prepare: &PrepareToRead,
        data: &mut [u8],
    ) -> Result<(), VolumeError> {
        let too_long = VolumeError::Program("READ SUBSYSTEM DATA", ProgramError::TooLong);
        let count = u16::try_from(data.len().min(MOST)).map_err(|_| too_long)?;
        let base = u32::try_from(self.page.absolute_base()).map_err(|_| too_long)?;
        let prepared = size_of::<PrepareToRead>() as u16;
        let (first, second) = (PERFORM_SUBSYSTEM_FUNCTION, READ_SUBSYSTEM_DATA);
        let program = [
            Ccw1::new(first, CcwFlags::CC, prepared, base + EXTENT),
            Ccw1::new(second, CcwFlags::SLI, count, base + DATA),
        ];
        let at = |place: u32| ClientAddress::new(place.into());
        self.page.write(at(EXTENT), prepare)?;
        self.page.fill(at(DATA), count.into(), 0)?;
        self.page.write_bytes(at(0), program.as_bytes())?;
        self.run(platform, "READ SUBSYSTEM DATA", base)?;
        Ok(self.page.read_bytes(at(DATA), data)?)
    }

    /// Runs the program that is in the page.
    fn run(
        &mut self,
        platform: &mut dyn Platform,
        what: &'static str,
        base: u32,
    ) -> Result<(), VolumeError> {
        let orb = Orb::format_1(self.id.word(), base, OrbFlags::PREFETCH, self.path_mask);
        // SAFETY: program and data lie in the page, which nobody else uses and which is never given back.
        match unsafe { run_program(platform, self.id, &orb, TIMEOUT) } {
            Ok(_) => Ok(()),
            // Without concurrent sense the bytes are still to be asked for.
            Err(ProgramError::UnitCheck(sense)) if sense.bytes().is_empty() => {
                let sense = self.channel.sense(platform);
                let sense = sense.map_err(|error| VolumeError::Program("SENSE", error))?;
                let error = ProgramError::UnitCheck(sense);
                Err(VolumeError::Program(what, error))
            }
            Err(error) => Err(VolumeError::Program(what, error)),
        }
    }
}
