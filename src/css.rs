//! The channel subsystem of the machine: which subchannels there are, and how they are enabled.
//!
//! # Scope
//!
//! * [`discover`] lists the subchannels with a device, in all subchannel sets, with what its control
//!   unit says it is; an [`Inventory`] is that list, kept as devices come and go;
//! * [`enable`] and [`disable`] bring one into and out of use;
//! * a driver sees a [`Platform`]: the [`ChannelSubsystem`](channel::ChannelSubsystem) trait, a clock, a way to sleep, storage
//!   that a device may reach, and the notification hypercall;
//! * [`program`] runs one channel program from START SUBCHANNEL to its final status, bounded in time; a [`Channel`] has the storage
//!   for those of a few commands;
//! * a [`stock`] is the storage of a device that is opened again and again;
//! * [`next_report`] reads channel reports: devices that came, went or changed;
//! * `Hardware` (on s390x only) is the channel subsystem itself, and a [`Platform`]: each method of
//!   [`ChannelSubsystem`](channel::ChannelSubsystem) is the instruction of that name.
//!
//! # Limits
//!
//! I/O subchannels only, in command mode. Channel paths are used as the SCHIB has them, and its masks are kept ([`PathMasks`]): no
//! path verification, no path groups. Channel-subsystem image 0.
//!
//! # The rule
//!
//! Interruptions stay disabled but in the wait. What a wait or a search has taken and nobody has asked
//! for yet is kept, at most one interruption for each subchannel and subclass, as the hardware does.

use channel::{ChannelReport, DeviceNumber, PmcwFlags, Refusal, Schib, SenseId, SubchannelId};
use thiserror::Error;

#[cfg(target_arch = "s390x")]
mod chsc;
mod commands;
mod events;
#[cfg(target_arch = "s390x")]
mod hardware;
mod inventory;
mod paths;
#[cfg(any(target_arch = "s390x", test))]
mod pending;
mod platform;
pub mod program;
pub mod stock;

pub use commands::{Channel, Parameters};
pub use events::EventInformation;
#[cfg(target_arch = "s390x")]
pub use hardware::Hardware;
pub use inventory::{discover, each_subchannel, Change, Inventory};
pub use paths::{each_path, PathMasks};
pub use platform::{has_room, while_serving, within, OutOfStorage, Patience, Platform, Wake};
pub use program::{run_program, ProgramError, Sense};

/// How often a MODIFY SUBCHANNEL that finds the subchannel busy is repeated.
const ATTEMPTS: u32 = 16;
/// Between two of them, in microseconds.
const RETRY_PAUSE: u64 = 1_000;

/// A subchannel with a device.
#[derive(Clone, Debug)]
pub struct Device {
    pub id: SubchannelId,
    pub number: DeviceNumber,
    /// The paths that can be used.
    pub path_mask: u8,
    pub paths: PathMasks,
    pub is_queued: bool,
    pub identity: Result<SenseId, IdentityError>,
    /// Programs run within START SUBCHANNEL, as far as anybody knows: none has been seen to run while the CPU went on. So it is with
    /// the devices that a hypervisor emulates.
    pub runs_within_start: bool,
}

impl Device {
    /// The virtio device id, if this is a virtio-ccw device.
    pub fn virtio_id(&self) -> Option<u8> {
        match &self.identity {
            Ok(id) if id.cu_type.get() == virtio::ccw::CONTROL_UNIT_TYPE => Some(id.cu_model),
            Ok(_) | Err(_) => None,
        }
    }

    /// Why no client gets the device, if none does: the *data* of its commands name storage, which the device then reads and
    /// writes by itself. No translation touches data, so such a device would reach all of the appliance's storage. One that has not said what it
    /// is may be such a device.
    pub fn reason_to_withhold(&self) -> Option<&'static str> {
        let Ok(identity) = &self.identity else {
            return Some("it has not said what it is, and might take addresses as data");
        };
        let control_unit = identity.cu_type.get();
        if control_unit == virtio::ccw::CONTROL_UNIT_TYPE {
            Some("a virtio device takes the addresses of its queues as data")
        } else if self.is_queued || control_unit == QUEUED_DIRECT_IO {
            Some("a device for queued direct I/O takes the addresses of its queues as data")
        } else {
            None
        }
    }
}

/// The control-unit type of OSA-Express, HiperSockets and FCP channels.
const QUEUED_DIRECT_IO: u16 = 0x1731;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    #[error("not enabled: {0}")]
    Enable(#[from] EnableError),
    #[error("SENSE ID: {0}")]
    SenseId(ProgramError),
    #[error("SENSE ID: no valid answer")]
    Invalid,
    /// It was not asked: devices that never answered have the storage for that.
    #[error("not asked: no storage is left for that")]
    NotAsked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnableError {
    #[error("no device there")]
    NoDevice,
    #[error("MODIFY SUBCHANNEL: {0}")]
    Refused(Refusal),
    #[error("MODIFY SUBCHANNEL has no effect")]
    Ignored,
}

/// The logical-path mask to start programs with: the paths that are available.
pub fn path_mask(schib: &Schib) -> u8 {
    match (schib.pmcw.lpm & schib.pmcw.pam, schib.pmcw.lpm) {
        (0, 0) => 0xFF,
        (0, logical) => logical,
        (available, _) => available,
    }
}

/// Enables a subchannel: its interruptions in subclass `isc`, with its own identification as the
/// parameter, sense data with each unit check. One that is enabled already is disabled first, which
/// makes a virtio device forget what an earlier program agreed on with it.
pub fn enable(
    platform: &mut dyn Platform,
    id: SubchannelId,
    isc: u8,
) -> Result<Schib, EnableError> {
    let schib = platform.store(id).map_err(|_| EnableError::NoDevice)?;
    if schib.pmcw.flags().contains(PmcwFlags::ENABLED) {
        disable(platform, id)?;
    }
    modify(platform, id, PmcwFlags::ENABLED, |schib| {
        schib.pmcw.parameter = id.word().into();
        schib.pmcw.set_isc(isc);
        schib.pmcw.set_concurrent_sense(true);
    })
}

pub fn disable(platform: &mut dyn Platform, id: SubchannelId) -> Result<(), EnableError> {
    modify(platform, id, PmcwFlags::empty(), |_| {})?;
    platform.forget_interruption(id);
    Ok(())
}

/// Stores, changes and modifies until the subchannel is enabled, or is not, as wished.
fn modify(
    platform: &mut dyn Platform,
    id: SubchannelId,
    wished: PmcwFlags,
    change: impl Fn(&mut Schib),
) -> Result<Schib, EnableError> {
    let mut last = EnableError::Ignored;
    for _ in 0..ATTEMPTS {
        let mut schib = platform.store(id).map_err(|_| EnableError::NoDevice)?;
        if !schib.pmcw.has_device() {
            return Err(EnableError::NoDevice);
        }
        change(&mut schib);
        let enabled = wished.contains(PmcwFlags::ENABLED);
        schib.pmcw.set_flag(PmcwFlags::ENABLED, enabled);
        match platform.modify(id, &schib) {
            Ok(()) => {
                let schib = platform.store(id).map_err(|_| EnableError::NoDevice)?;
                if schib.pmcw.flags().contains(PmcwFlags::ENABLED) == enabled {
                    return Ok(schib);
                }
                last = EnableError::Ignored;
            }
            Err(refusal) => {
                last = EnableError::Refused(refusal);
                match refusal {
                    Refusal::NotOperational => return Err(EnableError::NoDevice),
                    Refusal::Operand => return Err(last),
                    Refusal::StatusPending => {
                        platform.test(id).map_err(|_| EnableError::NoDevice)?;
                    }
                    Refusal::Busy => {
                        let soon = platform.now().plus_micros(RETRY_PAUSE);
                        platform.pause(soon);
                    }
                }
            }
        }
    }
    Err(last)
}

/// Takes the next channel report, with all that is chained to it.
pub fn next_report(platform: &mut dyn Platform) -> Option<ChannelReport> {
    ChannelReport::take(|| platform.channel_report())
}

#[cfg(test)]
pub(crate) use events::tests::event;

#[cfg(test)]
mod tests;
