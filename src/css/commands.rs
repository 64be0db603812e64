//! A subchannel with one page of storage, for programs of a few commands whose data is small: control commands, sense,
//! configuration, a record. That is all a driver needs at bring-up.
//!
//! # Limits
//!
//! Data is at most [`Channel::MAX_DATA`] bytes, in one page (emulated devices mishandle indirect lists).
//!
//! # The rule
//!
//! The page is in use until the final status of its program has been taken. If not even a clear function ends that, the [`Channel`]
//! is stuck and its page is never used again.

use channel::{Ccw1, CcwFlags, CommandCode, Irb, Orb, OrbFlags, SenseId, SubchannelId};
use window::{ClientAddress, Window};
use zerocopy::{FromZeros, IntoBytes};

use super::program::{run_watched, ProgramError, Sense};
use super::Platform;

/// How long a control command may take if nobody says otherwise, in microseconds.
const COMMAND_TIMEOUT: u64 = 5_000_000;
/// The same of a program of several commands.
const PROGRAM_TIMEOUT: u64 = 10_000_000;

/// An enabled subchannel and storage to drive it with: a page, or a part of one.
#[derive(Debug)]
pub struct Channel {
    id: SubchannelId,
    path_mask: u8,
    page: Window,
    stuck: bool,
    waited: bool,
}

pub type Parameters<'a> = (CommandCode, &'a [u8]);

const _: () = assert!(
    (Channel::MAX_COMMANDS + 1) * size_of::<Ccw1>() <= Channel::DATA as usize
        && Channel::DATA as usize + Channel::MAX_DATA <= Channel::PARAMETERS as usize
        && Channel::PARAMETERS as usize + Channel::MAX_COMMANDS * Channel::MAX_PARAMETERS <= 4096
);

impl Channel {
    pub const MAX_DATA: usize = 2048;
    /// Most bytes of parameters of one command, and most commands with parameters.
    const MAX_PARAMETERS: usize = 32;
    const MAX_COMMANDS: usize = 7;
    /// Where things are in the page.
    const CCW: u32 = 0;
    const DATA: u32 = 64;
    const PARAMETERS: u32 = 3072;

    /// A channel to the enabled subchannel `id` over the paths in `path_mask`, by a page of
    /// [`Platform::storage`] or, for commands with little data, a part of one.
    pub const fn new(id: SubchannelId, path_mask: u8, page: Window) -> Self {
        Self {
            id,
            path_mask,
            page,
            stuck: false,
            waited: false,
        }
    }

    /// The storage, for the next channel.
    ///
    /// # Errors
    ///
    /// The device may still use it.
    pub fn into_page(self) -> Result<Window, Window> {
        if self.stuck {
            return Err(self.page);
        }
        Ok(self.page)
    }

    /// Whether a program was seen to run while the CPU went on.
    pub const fn has_waited(&self) -> bool {
        self.waited
    }

    pub const fn set_path_mask(&mut self, mask: u8) {
        self.path_mask = mask;
    }

    /// The subchannel has been enabled anew, over these paths. That is possible only while no function is in progress: whatever had not
    /// ended before has let go of the storage.
    pub const fn enabled(&mut self, path_mask: u8) {
        self.path_mask = path_mask;
        self.stuck = false;
    }

    pub const fn id(&self) -> SubchannelId {
        self.id
    }

    /// Runs a command that takes `data`, which may be none.
    pub fn write(
        &mut self,
        platform: &mut dyn Platform,
        command: CommandCode,
        data: &[u8],
    ) -> Result<(), ProgramError> {
        self.put(data)?;
        self.run(platform, &[], command, data.len()).map(drop)
    }

    /// Runs a command that fills `data`, or changes it; gives the number of bytes transferred.
    pub fn read(
        &mut self,
        platform: &mut dyn Platform,
        command: CommandCode,
        data: &mut [u8],
    ) -> Result<usize, ProgramError> {
        self.read_behind(platform, &[], command, data)
    }

    /// The same, behind commands with parameters, all in one program.
    pub fn read_behind(
        &mut self,
        platform: &mut dyn Platform,
        before: &[Parameters<'_>],
        command: CommandCode,
        data: &mut [u8],
    ) -> Result<usize, ProgramError> {
        self.put(data)?;
        let irb = self.run(platform, before, command, data.len())?;
        self.get(data)?;
        Ok(data.len().saturating_sub(irb.scsw.count.get().into()))
    }

    pub fn sense_id(&mut self, platform: &mut dyn Platform) -> Result<SenseId, ProgramError> {
        let mut id = SenseId::new_zeroed();
        self.read(platform, CommandCode::SENSE_ID, id.as_mut_bytes())?;
        Ok(id)
    }

    /// A program that asks for the sense bytes of the last unit check, over these paths, for whoever does not wait for it: starts it,
    /// keeps the page as it is until it has ended, and then has the bytes from [`sensed`](Self::sensed).
    ///
    /// # Errors
    ///
    /// [`ProgramError`]: a device may still use the page.
    pub fn sense_program(&self, path_mask: u8) -> Result<Orb, ProgramError> {
        self.put(&[0; Sense::MAX])?;
        self.program(&[], CommandCode::SENSE, Sense::MAX, path_mask)
    }

    /// What [`sense_program`](Self::sense_program) has brought.
    ///
    /// # Errors
    ///
    /// [`ProgramError::TooLong`]: the page is shorter than that. Does not happen.
    pub fn sensed(&self) -> Result<Sense, ProgramError> {
        let mut bytes = [0; Sense::MAX];
        self.get(&mut bytes)?;
        Ok(Sense::new(&bytes))
    }

    fn get(&self, data: &mut [u8]) -> Result<(), ProgramError> {
        self.page
            .read_bytes(ClientAddress::new(Self::DATA.into()), data)
            .map_err(|_| ProgramError::TooLong)
    }

    fn put(&self, data: &[u8]) -> Result<(), ProgramError> {
        if self.stuck {
            return Err(ProgramError::Stuck);
        }
        if data.len() > Self::MAX_DATA {
            return Err(ProgramError::TooLong);
        }
        self.write_page(Self::DATA, data)
    }

    fn write_page(&self, place: u32, bytes: &[u8]) -> Result<(), ProgramError> {
        self.page
            .write_bytes(ClientAddress::new(place.into()), bytes)
            .map_err(|_| ProgramError::TooLong)
    }

    /// Runs a program whose last command is for the data that is in the page; fetches the sense bytes of a unit check if
    /// they did not come by themselves.
    fn run(
        &mut self,
        platform: &mut dyn Platform,
        before: &[Parameters<'_>],
        command: CommandCode,
        count: usize,
    ) -> Result<Irb, ProgramError> {
        match self.run_once(platform, before, command, count) {
            Err(ProgramError::UnitCheck(sense)) if sense.bytes().is_empty() => {
                self.put(&[0; Sense::MAX])?;
                self.run_once(platform, &[], CommandCode::SENSE, Sense::MAX)?;
                Err(ProgramError::UnitCheck(self.sensed()?))
            }
            other => other,
        }
    }

    fn run_once(
        &mut self,
        platform: &mut dyn Platform,
        before: &[Parameters<'_>],
        command: CommandCode,
        count: usize,
    ) -> Result<Irb, ProgramError> {
        let timeout = match before {
            [] => COMMAND_TIMEOUT,
            _ => PROGRAM_TIMEOUT,
        };
        let orb = self.program(before, command, count, self.path_mask)?;
        // SAFETY: the program and its data lie in the page, which only this channel uses, by way of
        // a `Window`. It stays as it is until the program has ended; if that never happens, the page
        // is not used again.
        let result = unsafe { run_watched(platform, self.id, &orb, timeout, &mut self.waited) };
        self.stuck = matches!(result, Err(ProgramError::Stuck));
        result
    }

    /// Writes the CCWs of a program for the data that is in the page.
    fn program(
        &self,
        before: &[Parameters<'_>],
        command: CommandCode,
        count: usize,
        path_mask: u8,
    ) -> Result<Orb, ProgramError> {
        if self.stuck {
            return Err(ProgramError::Stuck);
        }
        let base = u32::try_from(self.page.absolute_base()).map_err(|_| ProgramError::TooLong)?;
        let long = |(_, bytes): &Parameters<'_>| bytes.len() > Self::MAX_PARAMETERS;
        if before.len() > Self::MAX_COMMANDS || before.iter().any(long) {
            return Err(ProgramError::TooLong);
        }
        let (mut at, mut place) = (Self::CCW, Self::PARAMETERS);
        for (command, bytes) in before {
            let ccw = Ccw1::new(*command, CcwFlags::CC, bytes.len() as u16, base + place);
            self.write_page(place, bytes)?;
            self.write_page(at, ccw.as_bytes())?;
            at += size_of::<Ccw1>() as u32;
            place += Self::MAX_PARAMETERS as u32;
        }
        let count = u16::try_from(count).map_err(|_| ProgramError::TooLong)?;
        let data = if count == 0 { 0 } else { base + Self::DATA };
        let ccw = Ccw1::new(command, CcwFlags::SLI, count, data);
        self.write_page(at, ccw.as_bytes())?;
        let program = base + Self::CCW;
        let flags = OrbFlags::PREFETCH;
        Ok(Orb::format_1(self.id.word(), program, flags, path_mask))
    }
}
