//! What the control area says of the owned devices, as far as it has changed.

use liballoc::vec::Vec;

use super::data_plane::DataPlane;
use channel::SubchannelId;

use crate::control::{listed, Control, PassedThrough};
use crate::css::Inventory;
use crate::driver::block::Recoveries;
use crate::driver::disk::DiskState;

#[derive(Debug, Default)]
pub(super) struct Published {
    disks: Vec<DiskState>,
    drivers: Vec<PassedThrough>,
    /// Subchannels with a path that did not work, since somebody asked.
    doubtful: Vec<SubchannelId>,
}

impl Published {
    /// The next subchannel whose paths are to be looked at again.
    pub(super) fn take_doubtful(&mut self) -> Option<SubchannelId> {
        self.doubtful.pop()
    }

    /// What was done to get requests through at a disk, as it was published last.
    pub(super) fn recoveries(&self, disk: usize) -> Recoveries {
        let state = self.disks.get(disk);
        state.map(|state| state.recoveries).unwrap_or_default()
    }

    /// Publishes the list of owned devices, if anything of it has changed: whose they are, and what was done to get requests through.
    pub(super) fn show_devices(
        &mut self,
        control: &mut Control,
        inventory: &mut Inventory,
        plane: &mut DataPlane,
    ) {
        let Self {
            disks,
            drivers,
            doubtful,
        } = self;
        let mut changed = inventory.take_changed();
        disks.resize(plane.disks.len(), DiskState::default());
        for (disk, shown) in plane.disks.iter_mut().zip(&mut *disks) {
            let state = disk.state();
            let before = core::mem::replace(shown, state);
            if before == state {
                continue;
            }
            changed = true;
            if before.recoveries != state.recoveries {
                doubtful.extend(state.id);
            }
            while let Some(record) = disk.driver.dasd().and_then(|dasd| dasd.incident()) {
                plane.proxy.clients.record(&record);
            }
        }
        let proxy = &plane.proxy;
        if !proxy.clients.drivers().eq(drivers.iter().copied()) {
            changed = true;
            for (before, now) in drivers.iter().zip(proxy.clients.drivers()) {
                if before.id == now.id && before.path_troubles != now.path_troubles {
                    doubtful.push(now.id);
                }
            }
            drivers.clear();
            drivers.extend(proxy.clients.drivers());
        }
        if !changed {
            return;
        }
        let owned = &plane.disks;
        let devices = inventory.devices().iter().map(|device| {
            let mut disks = owned.iter().zip(&*disks).enumerate();
            let disk = disks.find(|(_, (disk, state))| {
                state.id == Some(device.id) && disk.number == device.number
            });
            let mut drivers = drivers.iter();
            listed(
                device,
                disk.map(|(index, (_, state))| (index, state)),
                drivers.find(|driver| (driver.id, driver.device) == (device.id, device.number)),
            )
        });
        control.show_devices(devices);
    }
}
