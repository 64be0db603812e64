//! What the control area says: counters, and the owned devices as far as they have changed.

use liballoc::vec::Vec;

use vcss::control::Counters;

use super::Appliance;
use crate::control::{listed, PassedThrough};
use crate::driver::disk::DiskState;
use crate::proxy::block_service::VirtioBlk;

/// What was published of the owned devices last.
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
            device.map_or_else(Counters::default, counters)
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

fn counters(device: &VirtioBlk) -> Counters {
    let counters = device.counters();
    Counters {
        reads: counters.reads.into(),
        writes: counters.writes.into(),
        flushes: counters.flushes.into(),
        discards: counters.discards.into(),
        bytes_read: counters.bytes_read.into(),
        bytes_written: counters.bytes_written.into(),
        errors: counters.errors.into(),
        in_flight: u64::from(device.in_flight()).into(),
    }
}
