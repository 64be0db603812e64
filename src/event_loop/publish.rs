//! What the control area says of the owned devices, as far as it has changed.

use liballoc::vec::Vec;

use super::data_plane::DataPlane;
use crate::control::{listed, Control, PassedThrough};
use crate::css::Inventory;
use crate::driver::disk::DiskState;

#[derive(Debug, Default)]
pub(super) struct Published {
    disks: Vec<DiskState>,
    drivers: Vec<PassedThrough>,
}

impl Published {
    /// Publishes the list of owned devices, if anything of it has changed: whose they are, and what was done to get requests through.
    pub(super) fn show_devices(
        &mut self,
        control: &mut Control,
        inventory: &mut Inventory,
        plane: &mut DataPlane,
    ) {
        let Self { disks, drivers } = self;
        let mut changed = inventory.take_changed();
        disks.resize(plane.disks.len(), DiskState::default());
        for (disk, shown) in plane.disks.iter_mut().zip(&mut *disks) {
            let state = disk.state();
            if core::mem::replace(shown, state) == state {
                continue;
            }
            changed = true;
            while let Some(record) = disk.driver.dasd().and_then(|dasd| dasd.incident()) {
                plane.proxy.clients.record(&record);
            }
        }
        let proxy = &plane.proxy;
        if !proxy.clients.drivers().eq(drivers.iter().copied()) {
            changed = true;
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
