//! What the control area says: counters, and the owned devices as far as they have changed.

use liballoc::vec::Vec;

use super::Appliance;
use crate::control::{listed, PassedThrough};
use crate::driver::disk::DiskState;
use crate::proxy::block_service::VirtioBlk;

#[derive(Debug, Default)]
pub(super) struct Published {
    disks: Vec<DiskState>,
    drivers: Vec<PassedThrough>,
}

impl Appliance {
    /// Publishes all that has changed.
    pub(super) fn show(&mut self) {
        self.control.about().turns.set(self.turns);
        let counters = self.exports.iter().map(|export| {
            let client = self.plane.proxy.client(export.slot.client);
            let device = client.and_then(|client| client.device(export.slot.index));
            device.map(VirtioBlk::counters).unwrap_or_default()
        });
        self.control.show(counters);
        self.show_devices();
    }

    /// Publishes the list of owned devices: whose they are, and what was done to get requests through.
    pub(super) fn show_devices(&mut self) {
        let Published { disks, drivers } = &mut self.published;
        let mut changed = self.inventory.take_changed();
        disks.resize(self.plane.disks.len(), DiskState::default());
        for (disk, shown) in self.plane.disks.iter_mut().zip(&mut *disks) {
            let state = disk.state();
            if core::mem::replace(shown, state) == state {
                continue;
            }
            changed = true;
            while let Some(record) = disk.driver.dasd().and_then(|dasd| dasd.incident()) {
                self.plane.proxy.record(&record);
            }
        }
        let proxy = &self.plane.proxy;
        if !proxy.drivers().eq(drivers.iter().copied()) {
            changed = true;
            drivers.clear();
            drivers.extend(proxy.drivers());
        }
        if !changed {
            return;
        }
        let devices = self.inventory.devices().iter().map(|device| {
            let mut disks = disks.iter().enumerate();
            let mut drivers = drivers.iter();
            listed(
                device,
                disks.find(|(_, disk)| disk.id == Some(device.id)),
                drivers.find(|driver| (driver.id, driver.device) == (device.id, device.number)),
            )
        });
        self.control.show_devices(devices);
    }
}
