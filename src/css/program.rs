//! One channel program from START SUBCHANNEL to its final status, bounded in time.
//!
//! # Limits
//!
//! One program at a time, and the caller waits for it.
//!
//! # The rule
//!
//! The storage of a program is in use until its final status has been taken. A program that does not end is cleared.

use core::fmt;

use channel::{
    DeviceStatus, FunctionControl, Irb, Orb, Refusal, SubchannelId, SubchannelStatus, Tested,
};
use s390x::clock::Tod;
use thiserror::Error;

use crate::css::Platform;

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
pub(super) unsafe fn run_watched(
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
