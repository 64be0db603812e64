//! Channel reports: devices that go, come, or come back.
//!
//! # Rules
//!
//! * The subchannel of the link, and that of a disk as long as its driver has it, is left alone, whatever is plugged in there.
//! * Whoever has a device that has gone hears of it first. Then the subchannel is looked at, and what is there now is given to whom it
//!   is for: by its number, wherever it is.

use channel::{ReportingSource, SubchannelId};

use super::Appliance;
use crate::css::{self, Change, Report};
use crate::css::{while_serving, Platform};

impl Appliance {
    /// Reads the channel reports, and takes them to those that they are about.
    pub(super) fn reports(&mut self, platform: &mut dyn Platform) {
        self.plane.proxy.serve_nobody();
        while let Some(report) = css::next_report(platform) {
            log::warn!("channel report: {report:?}");
            match report {
                Report::Subchannel(id) => {
                    while_serving(platform, |platform| self.look_at(platform, id));
                }
                Report::Overflow => {
                    // What has gone goes first: it may have come back elsewhere.
                    let devices = self.inventory.devices().iter();
                    let known: liballoc::vec::Vec<_> = devices.map(|device| device.id).collect();
                    for id in known {
                        while_serving(platform, |platform| self.look_at(platform, id));
                    }
                    css::each_subchannel(platform, |platform, id| {
                        let mut known = self.inventory.devices().iter();
                        if !known.any(|device| device.id == id) {
                            while_serving(platform, |platform| self.look_at(platform, id));
                        }
                    });
                }
                Report::Other(crw) if crw.source() == ReportingSource::ChannelPath => {
                    self.plane.proxy.path(platform, crw);
                }
                Report::Other(_) => {}
            }
        }
    }

    /// Something has happened to a subchannel.
    fn look_at(&mut self, platform: &mut dyn Platform, id: SubchannelId) {
        let mut is_driven = false;
        for disk in &mut self.plane.disks {
            if disk.id == Some(id) {
                disk.driver.recheck(platform);
            }
            is_driven |= disk.drives(id);
        }
        self.plane.proxy.report(platform, id);
        if id == self.link.id() || is_driven {
            return self.still_ours(platform, id);
        }
        if self.plane.proxy.holds(id) {
            return;
        }
        match self.inventory.look(platform, id) {
            Change::Nothing => {}
            Change::Gone(_) => log::info!("{id}: the device has gone"),
            Change::Came(place) => self.take_in(platform, place),
        }
    }

    /// Says so if somebody else's device is on the subchannel of a disk or of the link.
    fn still_ours(&self, platform: &mut dyn Platform, id: SubchannelId) {
        let mut devices = self.inventory.devices().iter();
        let ours = devices.find(|device| device.id == id);
        let there = platform.store(id).ok().map(|schib| schib.pmcw);
        let there = there.filter(|pmcw| pmcw.has_device());
        if let (Some(ours), Some(there)) = (ours, there) {
            if ours.number.number != there.device.get() {
                log::warn!(
                    "{id} has {:04x} now and is left alone for the time being: it is that of {}",
                    there.device.get(),
                    ours.number
                );
            }
        }
    }

    /// A device has been plugged in.
    pub(super) fn take_in(&mut self, platform: &mut dyn Platform, place: usize) {
        let Some(device) = self.inventory.devices().get(place) else {
            return;
        };
        let (number, id) = (device.number, device.id);
        match &device.identity {
            Ok(identity) => log::info!(
                "{number} on {id}: {:04x}/{:02x}",
                identity.cu_type,
                identity.cu_model
            ),
            Err(error) => log::warn!("{number} on {id}: {error}"),
        }
        let disk = self.plane.disks.iter().enumerate();
        let mut disk = disk.filter(|(_, disk)| disk.number == number);
        if let Some((index, disk)) = disk.next() {
            if disk.driver.is_broken() {
                self.try_disk_soon(index);
            } else {
                log::warn!("{number} is left alone: disk {} has that number", disk.name);
            }
        } else if !self
            .plane
            .proxy
            .plug(platform, device, self.tuning.settings.isc)
            && device.reason_to_withhold().is_none()
        {
            log::warn!("{number}: nobody is given it, and whoever gets what is left has no place for one more");
        }
    }
}
