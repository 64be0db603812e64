//! What is tried until it works: disks that are opened, and clients that are put together from what the control area says.
//!
//! # Rules
//!
//! * One disk that cannot be opened is that disk's trouble: everyone else is served, and whoever looks reads why.
//! * One client whose area is spoilt is that client's trouble. It is tried again every few seconds.
//! * At bring-up one disk gets two seconds, and all of them together five; the rest is opened when the others are served.
//! * A failed disk is tried again every few seconds, at once when the daemon asks for it, and when its device is plugged in. A
//!   try has a second, and a quarter of that for each channel program. One that takes long makes the pause before the next one longer, because clients wait meanwhile.
//! * A count-key-data or fixed-block disk that somebody has in use comes back as the volume that it was, or not at all: see
//!   [`BlockDevice::recheck`](crate::driver::block::BlockDevice::recheck). A virtio disk is opened anew.

use core::fmt::Display;

use liballoc::string::ToString;
use liballoc::vec::Vec;

use channel::{DeviceNumber, SubchannelId};
use thiserror::Error;
use vcss::control::ExportKind;
use vcss::layout::Kind;
use vcss::underway::Served;
use vcss::{Area, AreaError};

use super::data_plane::DataPlane;
use super::suspects::Deaths;
use super::Appliance;
use crate::control::{ControlError, Exported, Subject, SHARE};
use crate::css::{while_serving, Change, Device, Platform};
use crate::driver::disk::{DiskError, OwnedDisk};
use crate::proxy::client::{Client, PathReports};

/// As long as the tries of one time took no longer than this, in microseconds, there is one more.
const QUICK_US: u64 = 1_000;

#[derive(Debug, Error)]
enum ClientError {
    #[error("{0}")]
    Withheld(Deaths),
    #[error(transparent)]
    Share(#[from] ControlError),
    #[error("its area is spoilt: {0}")]
    Spoilt(#[from] AreaError),
    #[error("it is given a disk that is none")]
    NoDisk,
}

impl Appliance {
    /// Whether a subchannel is not the link's, nor passed through, nor another disk's than this one's.
    fn is_nobodys(&self, id: SubchannelId, index: usize) -> bool {
        let mut others = self.plane.disks.iter().enumerate();
        let is_anothers = others
            .any(|(other, disk)| other != index && disk.id == Some(id) && !disk.driver.is_broken());
        id != self.link.id() && !self.plane.proxy.clients.holds(id) && !is_anothers
    }

    /// Finds disks that have broken, or have come back by themselves, and tries those that are due. Clients wait while a disk is
    /// tried, so one that takes long is the last one for a while.
    pub(super) fn tend_disks(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        let mut may_try = now >= self.next_try;
        for index in 0..self.plane.disks.len() {
            let Some(disk) = self.plane.disks.get(index) else {
                return;
            };
            if disk.is_vacant() {
                continue;
            }
            let (is_broken, is_own) = (disk.driver.is_broken(), disk.maintenance.is_own());
            let of = Subject::Disk(index);
            // Of one that is withheld that is asked elsewhere.
            let is_withheld = self.suspects.withholds(of).is_some();
            let asked = !is_withheld && self.conditions.is_asked(of);
            match (is_broken, self.conditions.reason(of).is_some()) {
                (false, false) => self.notice_size(index),
                (false, true) => self.disk_works(index),
                (true, false) => {
                    self.disk_failed(index, &DiskError::Broken);
                    self.conditions.try_later(of, now, now);
                }
                (true, true) if asked => self.conditions.try_soon(of),
                (true, true) => {}
            }
            if may_try && is_own && !is_withheld && self.conditions.is_due(of, now) {
                while_serving(platform, |platform| self.try_disk(platform, index));
                let took = platform.now().micros_since(now);
                may_try = took < QUICK_US;
                self.next_try = platform.now().plus_micros(took.saturating_mul(SHARE));
            }
        }
    }

    /// Hands disks' subchannels over for maintenance, and takes them back.
    pub(super) fn maintain_disks(&mut self, platform: &mut dyn Platform) {
        for index in 0..self.plane.disks.len() {
            if self
                .plane
                .disks
                .get(index)
                .is_some_and(OwnedDisk::is_vacant)
            {
                continue;
            }
            let devices = self.inventory.devices();
            let is_back = self.plane.maintain(index, platform, devices);
            let disk = self.plane.disks.get(index);
            // An administrator may have mended it.
            if is_back && disk.is_some_and(|disk| disk.driver.is_broken()) {
                self.try_disk_soon(index);
            }
        }
    }

    /// Has a disk tried once the others are served.
    pub(super) fn put_disk_off(&mut self, index: usize) {
        self.disk_failed(index, &DiskError::PutOff);
        self.conditions.try_soon(Subject::Disk(index));
    }

    /// A disk is new: it is tried the next time that the house is kept.
    pub(super) fn try_new_disk(&mut self, index: usize) {
        let of = Subject::Disk(index);
        self.conditions.failed(of, &DiskError::PutOff);
        self.conditions.try_soon(of);
    }

    /// Has a disk that is broken tried the next time that the house is kept.
    pub(super) fn try_disk_soon(&mut self, index: usize) {
        let of = Subject::Disk(index);
        if self.conditions.reason(of).is_none() {
            self.disk_failed(index, &DiskError::Broken);
        }
        self.conditions.try_soon(of);
    }

    /// Tries to open a disk.
    pub(super) fn try_disk(&mut self, platform: &mut dyn Platform, index: usize) {
        if let Some(deaths) = self.suspects.withholds(Subject::Disk(index)) {
            return self.disk_failed(index, &deaths);
        }
        let began = platform.now();
        self.plane.proxy.clients.serve(Served::Disk(index as u16));
        let opened = self.open_disk(platform, index);
        self.plane.proxy.clients.serve_nobody();
        match opened {
            Ok(()) => self.disk_works(index),
            Err(error) => {
                self.disk_failed(index, &error);
                let of = Subject::Disk(index);
                self.conditions.try_later(of, began, platform.now());
            }
        }
    }

    fn open_disk(&mut self, platform: &mut dyn Platform, index: usize) -> Result<(), DiskError> {
        let Some(disk) = self.plane.disks.get_mut(index) else {
            return Ok(());
        };
        let (number, former) = (disk.number, disk.id);
        disk.check_idle()?;
        if disk.driver.dasd().is_some() {
            disk.driver.recheck(platform);
            if !disk.driver.is_broken() {
                return Ok(());
            }
            if self.plane.proxy.clients.is_in_use(index) {
                return Err(DiskError::NotAsBefore);
            }
        }
        // Somebody else's device may be there by now, or none.
        if let Some(id) = former.filter(|&id| self.is_nobodys(id, index)) {
            self.look_again(platform, id, number);
        }
        let Some(disk) = self.plane.disks.get_mut(index) else {
            return Ok(());
        };
        let Some(device) = self.inventory.find(number) else {
            disk.id = None;
            return Err(DiskError::NoDevice(number));
        };
        // Whoever was looked at meanwhile has been noted.
        self.plane.proxy.clients.serve(Served::Disk(index as u16));
        disk.open(platform, device, self.tuning.settings)?;
        let geometry = disk.driver.geometry();
        log::info!(
            "disk {}: {number} on {}, {} sectors, {} queues of {}",
            disk.name,
            device.id,
            geometry.sectors,
            geometry.queues,
            geometry.queue_size
        );
        self.attach(index);
        Ok(())
    }

    /// Looks what is on the subchannel where a disk's device was. What is not the disk's is somebody else's.
    fn look_again(&mut self, platform: &mut dyn Platform, id: SubchannelId, number: DeviceNumber) {
        if let Change::Came(place) = self.inventory.look(platform, id) {
            // A disk is only marked as to be tried there, so this does not come back here.
            let there = self.inventory.devices().get(place);
            if there.is_some_and(|device| device.number != number) {
                self.take_in(platform, place);
            }
        }
    }

    /// Serves clients from a disk that is there, as far as what they are given fits.
    pub(super) fn attach(&mut self, index: usize) {
        let (plane, conditions) = (&mut self.plane, &mut self.conditions);
        plane.proxy.attach(index, &mut plane.disks, |slot, fits| {
            let Some(export) = self.table.exports().iter().find(|it| it.slot == slot) else {
                return;
            };
            let export = export.index;
            match fits {
                Ok(()) => {
                    conditions.good(Subject::Export(export));
                }
                Err(unfit) => {
                    log::error!("export {export}, client {}: {unfit}", slot.client);
                    conditions.failed(Subject::Export(export), &unfit);
                }
            }
        });
        self.suspects.show(conditions);
    }

    /// Serves clients from a disk that has got another size as it is now: what fits by now is served, what does not any more is not, and
    /// who has it to its end is told.
    fn notice_size(&mut self, index: usize) {
        let Some(disk) = self.plane.disks.get_mut(index) else {
            return;
        };
        if disk.has_resized() {
            let sectors = disk.driver.geometry().sectors;
            log::info!("disk {}: it has {sectors} sectors by now", disk.name);
            self.attach(index);
        }
    }

    /// The same, also of a disk that is not there: then whoever looks reads why they are not served.
    pub(super) fn attach_if_there(&mut self, index: usize) {
        let disk = self.plane.disks.get(index);
        if disk.is_some_and(|disk| !disk.driver.is_broken()) {
            self.attach(index);
        } else if let Some(reason) = self.conditions.reason(Subject::Disk(index)) {
            let reason = reason.to_string();
            self.exports_failed(index, &reason);
        }
    }

    fn exports_failed(&mut self, index: usize, reason: &dyn Display) {
        for export in self.table.exports() {
            if export.is_part_of(index) {
                self.conditions
                    .failed(Subject::Export(export.index), reason);
            }
        }
    }

    fn disk_works(&mut self, index: usize) {
        if self.conditions.good(Subject::Disk(index)) {
            log::info!("disk {}: it is served again", self.name_of(index));
        }
    }

    fn disk_failed(&mut self, index: usize, error: &dyn Display) {
        if self.conditions.failed(Subject::Disk(index), error) {
            let name = self.name_of(index);
            log::error!("disk {name}: failed: {error}; it is tried again");
        }
        self.exports_failed(index, error);
    }

    pub(super) fn name_of(&self, index: usize) -> &str {
        self.plane.disks.get(index).map_or("", |disk| &disk.name)
    }

    /// Tries the clients that have failed, when they are due.
    pub(super) fn tend_clients(&mut self, platform: &mut dyn Platform) {
        let clients: Vec<u16> = self.table.clients().collect();
        for number in clients {
            let of = Subject::Client(number);
            // Of one that is withheld that is asked elsewhere.
            if self.suspects.withholds(of).is_some() {
                continue;
            }
            if self.conditions.is_asked(of) {
                self.conditions.try_soon(of);
            }
            if self.conditions.is_due(of, platform.now()) {
                self.try_client(platform, number);
            }
        }
    }

    /// Tries to put a client together, and to serve it.
    pub(super) fn try_client(&mut self, platform: &mut dyn Platform, number: u16) {
        let began = platform.now();
        let of = Subject::Client(number);
        let client = self.assemble(platform, number);
        self.plane.proxy.clients.serve_nobody();
        match client {
            Ok(client) => {
                self.plane.proxy.clients.admit(client);
                self.plane.proxy.clients.cut_off(number, platform);
                for index in 0..self.plane.disks.len() {
                    let disk = self.plane.disks.get(index);
                    if disk.is_some_and(|disk| !disk.driver.is_broken()) {
                        self.attach(index);
                    }
                }
                if self.conditions.good(of) {
                    log::info!("client {number}: it is served again");
                }
            }
            Err(error) => {
                if self.conditions.failed(of, &error) {
                    log::error!("client {number}: failed: {error}; it is tried again");
                }
                self.conditions.try_later(of, began, platform.now());
            }
        }
    }

    /// Puts a client together, without its disks.
    fn assemble(
        &mut self,
        platform: &mut dyn Platform,
        number: u16,
    ) -> Result<Client, ClientError> {
        if let Some(deaths) = self.suspects.withholds(Subject::Client(number)) {
            return Err(ClientError::Withheld(deaths));
        }
        self.plane.proxy.clients.serve(Served::Client(number));
        let entry = self.table.client(number).ok_or(ControlError::Index {
            of: "client",
            index: number,
        })?;
        let name = entry.name.as_str().to_string();
        let share = self.control.share(number, entry)?;
        let area = Area::open(share.area, Kind::Client)?;
        let isc = self.tuning.settings.isc;
        let (window, program) = (share.window, share.program);
        let path_reports = PathReports::of(entry);
        let mut client = Client::new(name, number, area, window, program, isc)?;
        client.hear_of_paths(path_reports);
        let mut unassigned = unassigned(
            self.inventory.devices(),
            &self.plane,
            (self.table.exports(), &self.awaited),
            self.link.id(),
        )
        .into_iter();
        let disks = self.control.disk_count();
        let taken: Vec<SubchannelId> = (self.inventory.devices().iter())
            .map(|device| device.id)
            .filter(|&id| self.plane.proxy.clients.holds(id))
            .collect();
        let mut ctx = self.plane.proxy.clients.ctx(platform);
        for export in self.table.exports_of(number) {
            export.check()?;
            ctx.serve(number, export.slot.index);
            client.claim(export.slot.index, self.table.identity(export));
            let of = Subject::Export(export.index);
            if self.suspects.withholds(of).is_some() {
                client.withhold(export.slot.index);
            }
            let device = match export.kind {
                ExportKind::Block => {
                    client.add(&export.entry, &export.quota)?;
                    continue;
                }
                ExportKind::PassThrough => export.given().and_then(|owned| {
                    let device = self.inventory.find(owned);
                    let device = device.filter(|device| !taken.contains(&device.id));
                    if device.is_none() {
                        log::warn!("no device {owned} to pass through so far");
                    }
                    device
                }),
                ExportKind::Any => unassigned.next(),
                ExportKind::Lent if export.disk() >= disks => return Err(ClientError::NoDisk),
                // It gets the device when that is in maintenance.
                ExportKind::Lent | ExportKind::Vacant => None,
            };
            client.add_pass_through(*export, device, &mut ctx)?;
        }
        client.clear_rest();
        Ok(client)
    }
}

impl Appliance {
    /// Gives devices that have become free to clients that are given them, or get what is left.
    pub(super) fn offer_unassigned(&mut self, platform: &mut dyn Platform) {
        let all = self.inventory.devices().iter();
        let free = all.filter(|device| {
            let mut disks = self.plane.disks.iter();
            !disks.any(|disk| disk.number == device.number)
                && device.reason_to_withhold().is_none()
                && device.id != self.link.id()
                && !self.plane.proxy.clients.holds(device.id)
                && !self.is_kept_for_somebody(device.number)
        });
        let free: Vec<SubchannelId> = free.map(|device| device.id).collect();
        for id in free {
            let mut devices = self.inventory.devices().iter();
            if let Some(device) = devices.find(|device| device.id == id) {
                self.plane.proxy.clients.plug(platform, device);
            }
        }
    }

    /// Whether somebody is given a device by its number who cannot have it at the moment: it is nobody else's.
    pub(super) fn is_kept_for_somebody(&self, number: DeviceNumber) -> bool {
        let mut given = self.table.exports().iter().filter_map(Exported::given);
        (given.any(|it| it == number) || self.awaited.contains(&number))
            && !self.plane.proxy.clients.want(number)
    }
}

/// The owned devices that nobody has or is given by number, and that a client can have.
fn unassigned<'a>(
    devices: &'a [Device],
    plane: &DataPlane,
    (exports, awaited): (&[Exported], &[DeviceNumber]),
    link: SubchannelId,
) -> Vec<&'a Device> {
    let is_given = |device: &Device| {
        let mut given = exports.iter().filter_map(Exported::given);
        (plane.disks.iter()).any(|disk| disk.number == device.number)
            || given.any(|number| number == device.number)
            || awaited.contains(&device.number)
    };
    devices
        .iter()
        .filter(|device| {
            !is_given(device)
                && device.reason_to_withhold().is_none()
                && device.id != link
                && !plane.proxy.clients.holds(device.id)
        })
        .collect()
}
