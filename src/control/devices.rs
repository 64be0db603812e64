//! The list of owned devices as the control area has it.

use channel::{DeviceNumber, SubchannelId};
use vcss::control::{self, DeviceLife};
use vcss::trace::DriverState;

use crate::css::Device;
use crate::driver::block::Recoveries;
use crate::driver::disk::DiskState;

/// An owned subchannel that is passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedThrough {
    /// Whose it is.
    pub client: u16,
    /// Which of that client's virtual subchannels stands for it.
    pub index: u16,
    pub id: SubchannelId,
    pub device: DeviceNumber,
    pub state: DriverState,
    /// How often a condition code, deferred or not, said that no path is operational; wraps.
    pub path_troubles: u16,
}

/// The entry of a device: which disk it is, and who drives it.
pub fn listed(
    device: &Device,
    disk: Option<(usize, &DiskState)>,
    driver: Option<&PassedThrough>,
) -> control::Device {
    let identity = device.identity.as_ref().copied().unwrap_or_default();
    let life = match (driver.map(|driver| driver.state), disk) {
        (Some(DriverState::NotOperational | DriverState::Disconnected), _) => DeviceLife::Failed,
        (Some(DriverState::Idle | DriverState::Busy | DriverState::Quiescing), _) => {
            DeviceLife::Online
        }
        (Some(DriverState::Standby), _) | (None, None) => DeviceLife::Standby,
        (None, Some((_, disk))) if disk.is_broken || disk.recoveries.broken => DeviceLife::Failed,
        (None, Some(_)) => DeviceLife::Online,
    };
    let (number, state) = disk.map_or_else(
        || (control::Device::NO_DISK, DiskState::default()),
        |(number, state)| (number as u16, *state),
    );
    let paths = device.paths;
    control::Device {
        subchannel: device.id.word().into(),
        device: device.number.number.into(),
        set: device.number.set,
        life: life as u8,
        cu_type: identity.cu_type,
        cu_model: identity.cu_model,
        dev_model: identity.dev_model,
        dev_type: identity.dev_type,
        disk: number.into(),
        sectors: state.sectors.into(),
        pim: paths.pim,
        pam: paths.pam,
        pom: paths.pom,
        state: driver.map_or(DriverState::Standby, |driver| driver.state) as u8,
        client: driver
            .map_or(control::Device::NO_CLIENT, |driver| driver.client)
            .into(),
        index: driver.map_or(0, |driver| driver.index).into(),
        chpids: paths.chpids,
        recoveries: state.recoveries.into(),
        lpm: paths.lpm,
        lpum: paths.lpum,
        pnom: paths.pnom,
        path_flags: match paths.pno {
            true => control::Device::PATH_NOT_OPERATIONAL,
            false => 0,
        },
    }
}

impl From<Recoveries> for control::Recoveries {
    fn from(done: Recoveries) -> Self {
        Self {
            retries: done.retries.into(),
            other_paths: done.other_paths.into(),
            waits: done.waits.into(),
            timeouts: done.timeouts.into(),
            failures: done.failures.into(),
        }
    }
}
