//! Disks' subchannels in an administrator's hands, for reserving, looking, formatting.
//!
//! # The rules
//!
//! * Of a disk's driver and the proxy, one at most uses the subchannel. It changes hands only when the one that has it says that
//!   nothing of its own is in progress there.
//! * Nothing waits here: what takes time is looked at again in the next turn.

use vcss::control::LoanState;

use super::data_plane::DataPlane;
use crate::css::{while_serving, Device, Platform};
use crate::driver::block::Volume;
use crate::driver::disk::{Kind, OwnedDisk};
use crate::proxy::Proxy;

impl DataPlane {
    /// Looks what is wanted of a disk, and does what can be done. Returns whether the driver has the subchannel back. `devices` are those
    /// that are known.
    pub fn maintain(
        &mut self,
        index: usize,
        platform: &mut dyn Platform,
        devices: &[Device],
    ) -> bool {
        let Some(disk) = self.disks.get_mut(index) else {
            return false;
        };
        let proxy = &mut self.proxy;
        let is_wanted = disk.maintenance.is_wanted();
        let before = disk.maintenance.state();
        let next = match (before, is_wanted) {
            (LoanState::Own, false) | (LoanState::Lent | LoanState::Refused, true) => return false,
            (LoanState::Refused, false) => LoanState::Own,
            (LoanState::Own | LoanState::Changing, true) => {
                hand_over(index, disk, proxy, platform, devices)
            }
            (LoanState::Lent | LoanState::Changing, false) => take_back(disk, proxy, platform),
        };
        disk.maintenance.set_state(next);
        next == LoanState::Own && before != LoanState::Refused
    }
}

/// Gives a disk's subchannel to whom it can be given.
fn hand_over(
    index: usize,
    disk: &mut OwnedDisk,
    proxy: &mut Proxy,
    platform: &mut dyn Platform,
    devices: &[Device],
) -> LoanState {
    let mut devices = devices.iter();
    let device = devices.find(|device| disk.id == Some(device.id) && disk.number == device.number);
    match disk.driver.dasd() {
        Some(dasd) => {
            if !dasd.release() {
                return LoanState::Changing;
            }
        }
        // There is nobody to release it. A virtio device is for nobody else.
        None if device.is_some_and(|it| Kind::of(it) != Some(Kind::Virtio)) => {}
        None => return LoanState::Refused,
    }
    if device.is_some_and(|device| proxy.clients.begin_maintenance(platform, index, device)) {
        log::info!("disk {}: {} is in maintenance", disk.name, disk.number);
        return LoanState::Lent;
    }
    log::error!(
        "disk {}: no maintenance: {} is not there, or no client can have it",
        disk.name,
        disk.number
    );
    resume(disk, platform, Volume::Same);
    LoanState::Refused
}

fn take_back(disk: &mut OwnedDisk, proxy: &mut Proxy, platform: &mut dyn Platform) -> LoanState {
    if !proxy.clients.end_maintenance(platform, disk.number) {
        return LoanState::Changing;
    }
    let volume = disk.maintenance.take_volume();
    resume(disk, platform, volume);
    log::info!("disk {}: maintenance is over", disk.name);
    LoanState::Own
}

/// Gives a disk's driver its subchannel back. It may have to be brought up again.
fn resume(disk: &mut OwnedDisk, platform: &mut dyn Platform, volume: Volume) {
    if let Some(dasd) = disk.driver.dasd() {
        while_serving(platform, |platform| dasd.resume(platform, volume));
    }
}
