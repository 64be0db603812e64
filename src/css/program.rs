//! One channel program from START SUBCHANNEL to its final status, bounded in time.
//!
//! # Scope
//!
//! [`run_program`] starts any program and waits for its end. [`Channel`] is a subchannel with one page
//! of storage, for programs of a few commands whose data is small: control commands, sense, configuration, a record.
//! That is all a driver needs at bring-up.
//!
//! # Limits
//!
//! One program at a time, and the caller waits for it. Data of a [`Channel`] is at most
//! [`Channel::MAX_DATA`] bytes, in one page (emulated devices mishandle indirect lists).
//!
//! # The rule
//!
//! The storage of a program is in use until its final status has been taken. A program that does not
//! end is cleared; if even the clear function does not end, the [`Channel`] is stuck and its page is
//! never used again.

use core::fmt;

use channel::{
    Ccw1, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Irb, Orb, OrbFlags, Refusal,
    SenseId, SubchannelId, SubchannelStatus, Tested,
};
use s390x::clock::Tod;
use thiserror::Error;
use window::{ClientAddress, Window};
use zerocopy::{FromZeros, IntoBytes};

use crate::css::Platform;

/// How long a control command may take if nobody says otherwise, in microseconds.
const COMMAND_TIMEOUT: u64 = 5_000_000;
/// The same of a program of several commands.
const PROGRAM_TIMEOUT: u64 = 10_000_000;
/// How long a clear function may take, in microseconds.
const CLEAR_TIMEOUT: u64 = 1_000_000;
/// How often a start that finds the subchannel or the device busy is repeated.
const ATTEMPTS: u32 = 16;
/// Between two of them, in microseconds.
const RETRY_PAUSE: u64 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    bytes: [u8; Self::MAX],
    count: u8,
}

impl Sense {
    pub const MAX: usize = 32;
    const COMMAND_REJECT: u8 = 0x80;

    /// Sense bytes out of a longer or shorter list.
    pub fn new(from: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX];
        let count = from.len().min(Self::MAX);
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Self {
            bytes,
            count: count as u8,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.count)).unwrap_or(&[])
    }

    pub fn is_command_reject(&self) -> bool {
        self.bytes[0] & Self::COMMAND_REJECT != 0
    }
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sense(")?;
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// START SUBCHANNEL was refused, again and again if that can help.
    #[error("not started: {0}")]
    Refused(Refusal),
    /// Deferred condition code 3: no path to the device is operational.
    #[error("no path to the device is operational")]
    PathGone,
    /// The channel subsystem stopped the program: program check, protection check, ...
    #[error("stopped by the channel subsystem: {0:?}")]
    Channel(SubchannelStatus),
    #[error("unit check: {0:?}")]
    UnitCheck(Sense),
    /// The device ended the program with this status and without a unit check.
    #[error("ended by the device: {0:?}")]
    Device(DeviceStatus),
    #[error("not ended in time, cleared")]
    Timeout,
    /// The program did not end in time and cannot be cleared. The device may go on at any time.
    #[error("not ended in time, and not cleared either")]
    Stuck,
    #[error("more data than fits")]
    TooLong,
}

/// Runs a channel program and waits for its end, at most `timeout` microseconds, or as long as the platform's [`Patience`](crate::css::Patience) is.
///
/// Busy subchannels and devices, and starts that find another status pending, are tried again a
/// bounded number of times. A unit check without concurrent sense comes back with no sense bytes.
///
/// # Errors
///
/// [`ProgramError`]; the program has ended then, except after [`ProgramError::Stuck`].
///
/// # Safety
///
/// As for [`channel::ChannelSubsystem::start`]; after [`ProgramError::Stuck`] for good.
pub unsafe fn run_program(
    platform: &mut dyn Platform,
    id: SubchannelId,
    orb: &Orb,
    timeout: u64,
) -> Result<Irb, ProgramError> {
    // SAFETY: the caller's.
    unsafe { run_watched(platform, id, orb, timeout, &mut false) }
}

/// The same; `waited` becomes true if the program was still running when it was looked at first.
///
/// # Safety
///
/// As for [`run_program`].
unsafe fn run_watched(
    platform: &mut dyn Platform,
    id: SubchannelId,
    orb: &Orb,
    timeout: u64,
    waited: &mut bool,
) -> Result<Irb, ProgramError> {
    let patience = platform.patience();
    let deadline = platform.now().plus_micros(timeout.min(patience.each));
    let deadline = deadline.min(patience.until);
    let mut last = Refusal::Busy;
    for _ in 0..ATTEMPTS {
        // SAFETY: the caller's.
        match unsafe { run_once(platform, id, orb, deadline, waited) } {
            Ok(irb) => return Ok(irb),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::StatusPending) => last = Refusal::StatusPending,
            Err(Failure::Busy) => {
                last = Refusal::Busy;
                let soon = platform.now().plus_micros(RETRY_PAUSE);
                platform.pause(soon.min(deadline));
            }
        }
        if platform.now() >= deadline {
            break;
        }
    }
    Err(ProgramError::Refused(last))
}

enum Failure {
    /// Another status was in the way; it is gone now.
    StatusPending,
    Busy,
    Final(ProgramError),
}

impl Failure {
    const GONE: Self = Self::Final(ProgramError::Refused(Refusal::NotOperational));
}

/// # Safety
///
/// As for [`run_program`].
unsafe fn run_once(
    platform: &mut dyn Platform,
    id: SubchannelId,
    orb: &Orb,
    deadline: Tod,
    waited: &mut bool,
) -> Result<Irb, Failure> {
    // SAFETY: the caller's.
    match unsafe { platform.start(id, orb) } {
        Ok(()) => {}
        Err(Refusal::StatusPending) => {
            platform.take_status(id).map_err(|_| Failure::GONE)?;
            return Err(Failure::StatusPending);
        }
        Err(Refusal::Busy) => return Err(Failure::Busy),
        Err(refusal @ (Refusal::NotOperational | Refusal::Operand)) => {
            return Err(Failure::Final(ProgramError::Refused(refusal)));
        }
    }
    classify(final_status(platform, id, deadline, waited)?)
}

/// Takes status until the start function has ended; gives all of it, put together.
fn final_status(
    platform: &mut dyn Platform,
    id: SubchannelId,
    deadline: Tod,
    waited: &mut bool,
) -> Result<Irb, Failure> {
    let mut device = 0;
    let mut subchannel = 0;
    loop {
        // The first thing after the start: so that a program that runs on its own is seen to.
        *waited |= !platform.forget_interruption(id);
        if let Tested::Status(mut irb) = platform.test(id).map_err(|_| Failure::GONE)? {
            if irb.scsw.function().contains(FunctionControl::START) {
                device |= irb.scsw.device_status;
                subchannel |= irb.scsw.subchannel_status;
                if irb.scsw.ended() {
                    irb.scsw.device_status = device;
                    irb.scsw.subchannel_status = subchannel;
                    return Ok(irb);
                }
            }
        }
        if platform.now() >= deadline {
            return Err(Failure::Final(clear(platform, id)));
        }
        *waited = true;
        platform.pause(deadline);
    }
}

fn clear(platform: &mut dyn Platform, id: SubchannelId) -> ProgramError {
    const GONE: ProgramError = ProgramError::Refused(Refusal::NotOperational);
    if platform.clear(id).is_err() {
        return GONE;
    }
    let timeout = CLEAR_TIMEOUT.min(platform.patience().each);
    let deadline = platform.now().plus_micros(timeout);
    loop {
        match platform.take_status(id) {
            Err(_) => return GONE,
            Ok(Tested::Status(irb)) if irb.scsw.function().contains(FunctionControl::CLEAR) => {
                return ProgramError::Timeout;
            }
            Ok(Tested::Status(_) | Tested::Nothing(_)) => {}
        }
        if platform.now() >= deadline {
            return ProgramError::Stuck;
        }
        platform.pause(deadline);
    }
}

fn classify(irb: Irb) -> Result<Irb, Failure> {
    const NOTES: SubchannelStatus = SubchannelStatus::PCI;
    match irb.scsw.deferred_cc() {
        0 => {}
        1 => return Err(Failure::StatusPending),
        _ => return Err(Failure::Final(ProgramError::PathGone)),
    }
    let device = irb.scsw.device();
    let subchannel = irb.scsw.subchannel().difference(NOTES);
    if device.contains(DeviceStatus::UNIT_CHECK) {
        let sense = Sense::new(irb.concurrent_sense().unwrap_or(&[]));
        return Err(Failure::Final(ProgramError::UnitCheck(sense)));
    }
    if !subchannel.is_empty() {
        return Err(Failure::Final(ProgramError::Channel(subchannel)));
    }
    if device.contains(DeviceStatus::BUSY) {
        return Err(Failure::Busy);
    }
    let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    if !device.contains(ended) || device.contains(DeviceStatus::UNIT_EXCEPTION) {
        return Err(Failure::Final(ProgramError::Device(device)));
    }
    Ok(irb)
}

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
