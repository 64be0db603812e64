//! The disks: opened when they can be, tried again when they cannot.
//!
//! # Rules
//!
//! * One disk that cannot be opened is that disk's trouble: everyone else is served, and whoever looks reads why.
//! * At bring-up one disk gets two seconds, and all of them together five; the rest is opened when the others are served.
//! * A failed disk is tried again every few seconds, at once when the daemon asks for it, and when its device is plugged in. A
//!   try has a second, and a quarter of that for each channel program. One that takes long makes the pause before the next one longer, because clients wait meanwhile.
//! * A count-key-data or fixed-block disk that somebody has in use comes back as the volume that it was, or not at all: see
//!   [`BlockDevice::recheck`](crate::driver::block::BlockDevice::recheck). A virtio disk is opened anew.

use liballoc::boxed::Box;
use liballoc::format;
use liballoc::string::{String, ToString};

use channel::{DeviceNumber, SubchannelId};
use s390x::clock::Tod;
use vcss::underway::Served;

use super::{Appliance, SPARE_BYTES};
use crate::control::{Exported, Subject};
use crate::css::stock::Stock;
use crate::css::Change;
use crate::css::{has_room, while_serving, Platform};
use crate::driver::absent::Absent;
use crate::driver::block::Recoveries;
use crate::driver::disk::{self, Kind};

/// The pause between two tries, in microseconds.
const PAUSE_US: u64 = 3_000_000;
/// A try is followed by a pause of so many times the time that it took, if that is more.
const SHARE: u64 = 20;

/// As long as the tries of one time took no longer than this, in microseconds, there is one more.
const QUICK_US: u64 = 1_000;
/// Storage without which no disk is tried for the first time.
const TRY_BYTES: usize = 512 * 1024;

/// What the event loop knows of a disk, beside its driver.
#[derive(Debug)]
pub(super) struct OwnedDisk {
    pub(super) name: String,
    pub(super) number: DeviceNumber,
    /// Its subchannel: the driver's, or where its device was seen last.
    pub(super) id: Option<SubchannelId>,
    /// What it is driven by; `None` while it could not be opened.
    kind: Option<Kind>,
    /// The storage of its drivers, one after the other.
    stock: Stock,
    /// What was published of it.
    pub(super) recoveries: Recoveries,
    trial: Trial,
}

/// Something that is tried until it works.
#[derive(Debug)]
pub(super) struct Trial {
    /// Why it failed last; `None` while it works.
    reason: Option<String>,
    /// When it is tried again.
    next: Tod,
}

impl Trial {
    pub(super) const fn new() -> Self {
        Self {
            reason: None,
            next: Tod::NEVER,
        }
    }

    /// Whether it is to be tried now. `asked`: the daemon wants it to be.
    pub(super) fn is_due(&self, now: Tod, asked: bool) -> bool {
        self.reason.is_some() && (asked || now >= self.next)
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.reason.is_some()
    }

    /// The next try is due at once.
    pub(super) const fn soon(&mut self) {
        self.next = Tod::from_units(0);
    }

    /// It works. Returns whether it had not.
    pub(super) fn good(&mut self) -> bool {
        self.next = Tod::NEVER;
        self.reason.take().is_some()
    }

    /// It has failed, after a try that began at `began`. Returns whether that is news.
    pub(super) fn failed(&mut self, began: Tod, now: Tod, reason: String) -> bool {
        let pause = now.micros_since(began).saturating_mul(SHARE).max(PAUSE_US);
        self.next = now.plus_micros(pause);
        let news = self.reason.as_ref() != Some(&reason);
        self.reason = Some(reason);
        news
    }
}

impl OwnedDisk {
    pub(super) const fn new(name: String, number: DeviceNumber) -> Self {
        Self {
            name,
            number,
            id: None,
            kind: None,
            stock: Stock::new(),
            recoveries: Recoveries {
                retries: 0,
                other_paths: 0,
                waits: 0,
                timeouts: 0,
                failures: 0,
                broken: false,
            },
            trial: Trial::new(),
        }
    }
}

impl Appliance {
    /// Whether a subchannel is that of a disk's driver, which is not done with it.
    pub(super) fn is_driven(&self, id: SubchannelId) -> bool {
        self.owned.iter().zip(&self.disks).any(|(owned, disk)| {
            owned.id == Some(id)
                && match owned.kind {
                    Some(Kind::Virtio) => !disk.is_broken() || disk.in_flight() > 0,
                    // It may come back by itself.
                    Some(Kind::Eckd | Kind::Fba) => true,
                    None => false,
                }
        })
    }

    /// Whether a subchannel is not the link's, nor passed through, nor another disk's than this one's.
    fn is_nobodys(&self, id: SubchannelId, index: usize) -> bool {
        let mut others = self.owned.iter().enumerate();
        let is_anothers = others.any(|(other, owned)| {
            other != index
                && owned.id == Some(id)
                && self.disks.get(other).is_some_and(|disk| !disk.is_broken())
        });
        id != self.link.id() && !self.proxy.holds(id) && !is_anothers
    }

    /// Finds disks that have broken, or have come back by themselves, and tries those that are due. Clients wait while a disk is
    /// tried, so one that takes long is the last one for a while.
    pub(super) fn tend_disks(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        let mut may_try = now >= self.next_try;
        for index in 0..self.disks.len() {
            let asked = self.conditions.is_asked(Subject::Disk(index));
            let Some((owned, disk)) = self.owned.get(index).zip(self.disks.get(index)) else {
                continue;
            };
            match (disk.is_broken(), owned.trial.has_failed()) {
                (false, false) => {}
                (false, true) => self.disk_works(index),
                (true, false) => self.disk_broke(index, now),
                (true, true) if asked => self.try_disk_soon(index, now),
                (true, true) => {}
            }
            let owned = self.owned.get(index);
            let is_due = owned.is_some_and(|owned| owned.trial.is_due(now, false))
                && self.suspects.withholds(Subject::Disk(index)).is_none();
            if may_try && is_due && self.loans.is_own(index) {
                while_serving(platform, |platform| self.try_disk(platform, index));
                let took = platform.now().micros_since(now);
                may_try = took < QUICK_US;
                self.next_try = platform.now().plus_micros(took.saturating_mul(SHARE));
            }
        }
    }

    fn disk_broke(&mut self, index: usize, now: Tod) {
        let reason = "the device has gone or does not work any more; the log says more";
        self.disk_failed(index, now, now, reason.to_string());
    }

    /// Has a disk tried once the others are served.
    pub(super) fn disk_put_off(&mut self, index: usize, now: Tod) {
        let reason = "it is opened once the others are served";
        self.disk_failed(index, now, now, reason.to_string());
        self.try_disk_soon(index, now);
    }

    /// Has a disk that is broken tried the next time that the house is kept.
    pub(super) fn try_disk_soon(&mut self, index: usize, now: Tod) {
        let owned = self.owned.get(index);
        if owned.is_some_and(|owned| !owned.trial.has_failed()) {
            self.disk_broke(index, now);
        }
        if let Some(owned) = self.owned.get_mut(index) {
            owned.trial.soon();
        }
    }

    /// Tries to open a disk.
    pub(super) fn try_disk(&mut self, platform: &mut dyn Platform, index: usize) {
        let began = platform.now();
        let opened = match self.suspects.withholds(Subject::Disk(index)) {
            Some(reason) => Err(reason),
            None => {
                self.proxy.serve(Served::Disk(index as u16));
                let opened = self.open_disk(platform, index);
                self.proxy.serve_nobody();
                opened
            }
        };
        if let Err(reason) = opened {
            self.disk_failed(index, began, platform.now(), reason);
        }
    }

    fn open_disk(&mut self, platform: &mut dyn Platform, index: usize) -> Result<(), String> {
        let (Some(owned), Some(disk)) = (self.owned.get(index), self.disks.get_mut(index)) else {
            return Ok(());
        };
        let (number, former) = (owned.number, owned.id);
        if disk.in_flight() > 0 {
            return Err("its requests are still being ended".to_string());
        }
        // What a try has got of the storage, the next one gets.
        let needed = if owned.stock.is_empty() {
            TRY_BYTES
        } else {
            SPARE_BYTES
        };
        if !has_room(needed) {
            return Err("no storage is left for it: the appliance needs more memory".to_string());
        }
        if matches!(owned.kind, Some(Kind::Eckd | Kind::Fba)) {
            disk.recheck(platform);
            if !disk.is_broken() {
                self.disk_works(index);
                return Ok(());
            }
            if self.proxy.is_in_use(index) {
                return Err("it has not come back as the volume that it was".to_string());
            }
        }
        // Somebody else's device may be there by now, or none.
        if let Some(id) = former.filter(|&id| self.is_nobodys(id, index)) {
            self.look_again(platform, id, number);
        }
        let mut devices = self.inventory.devices().iter();
        let place = devices.position(|device| device.number == number);
        let device = place.and_then(|place| self.inventory.devices().get(place));
        let (Some(place), Some(device)) = (place, device) else {
            if let Some(owned) = self.owned.get_mut(index) {
                owned.id = None;
            }
            return Err(format!("there is no device {number}"));
        };
        let id = device.id;
        let Some(owned) = self.owned.get_mut(index) else {
            return Ok(());
        };
        owned.id = Some(id);
        // Its driver of before is put away, whatever comes of this.
        let mut stock = core::mem::take(&mut owned.stock);
        stock.renew();
        platform.use_stock(Some(stock));
        let opened = disk::open(platform, device, self.tuning.settings);
        owned.stock = platform.use_stock(None).unwrap_or_default();
        let kind = Kind::of(device);
        let disk = match opened {
            Ok(disk) if has_room(SPARE_BYTES) => disk,
            failed => {
                // Nothing of an earlier driver is worth keeping, but its volume's identity while that is in use.
                let lendable = kind != Some(Kind::Virtio);
                self.put_driver(index, None, Box::new(Absent::new(lendable)));
                let none = "no storage is left for it: the appliance needs more memory";
                return Err(failed.err().unwrap_or_else(|| none.to_string()));
            }
        };
        let geometry = disk.geometry();
        let sectors = geometry.sectors;
        log::info!(
            "disk {}: {number} on {id}, {sectors} sectors, {} queues of {}",
            self.name_of(index),
            geometry.queues,
            geometry.queue_size
        );
        self.control
            .show_device(place, device, Some((index as u16, sectors)));
        self.put_driver(index, kind, disk);
        self.attach(index);
        self.disk_works(index);
        Ok(())
    }

    fn put_driver(
        &mut self,
        index: usize,
        kind: Option<Kind>,
        driver: Box<dyn crate::driver::block::BlockDevice>,
    ) {
        if let (Some(owned), Some(disk)) = (self.owned.get_mut(index), self.disks.get_mut(index)) {
            owned.kind = kind;
            owned.recoveries = Recoveries::default();
            *disk = driver;
        }
    }

    /// Looks what is on the subchannel where a disk's device was. What is not the disk's is somebody else's.
    fn look_again(&mut self, platform: &mut dyn Platform, id: SubchannelId, number: DeviceNumber) {
        match self.inventory.look(platform, id) {
            Change::Nothing => {}
            Change::Gone(place) => self.control.forget_device(place),
            Change::Came(place) => {
                // A disk is only marked as to be tried there, so this does not come back here.
                let there = self.inventory.devices().get(place);
                if there.is_some_and(|device| device.number != number) {
                    self.take_in(platform, place);
                }
            }
        }
    }

    /// Serves clients from a disk that is there, as far as what they are given fits.
    pub(super) fn attach(&mut self, index: usize) {
        let Self {
            proxy,
            disks,
            exports,
            conditions,
            suspects,
            ..
        } = self;
        proxy.attach(index, disks, |client, place, fits| {
            let mut all = exports.iter().enumerate();
            let Some((export, _)) = all.find(|(_, it)| (it.client, it.place) == (client, place))
            else {
                return;
            };
            match fits {
                Ok(()) => conditions.good(Subject::Export(export)),
                Err(unfit) => {
                    log::error!("export {export}, client {client}: {unfit}");
                    conditions.failed(Subject::Export(export), &unfit.to_string());
                }
            }
        });
        suspects.show(conditions);
    }

    /// The same, also of a disk that is not there: then whoever looks reads why they are not served.
    pub(super) fn attach_if_there(&mut self, index: usize) {
        if self.disks.get(index).is_some_and(|disk| !disk.is_broken()) {
            self.attach(index);
        } else if let Some(reason) = self.owned.get(index).and_then(|it| it.trial.reason.clone()) {
            self.exports_failed(index, &reason);
        }
    }

    fn exports_failed(&mut self, index: usize, reason: &str) {
        for (export, of) in self.exports.iter().enumerate() {
            if matches!(&of.what, Exported::Block(block) if block.disk == index) {
                self.conditions.failed(Subject::Export(export), reason);
            }
        }
    }

    fn disk_works(&mut self, index: usize) {
        let Some(owned) = self.owned.get_mut(index) else {
            return;
        };
        if owned.trial.good() {
            log::info!("disk {}: it is served again", owned.name);
        }
        self.conditions.good(Subject::Disk(index));
    }

    fn disk_failed(&mut self, index: usize, began: Tod, now: Tod, reason: String) {
        self.conditions.failed(Subject::Disk(index), &reason);
        self.exports_failed(index, &reason);
        let Some(owned) = self.owned.get_mut(index) else {
            return;
        };
        let text = format!("disk {}: failed: {reason}", owned.name);
        if owned.trial.failed(began, now, reason) {
            log::error!("{text}; it is tried again");
        }
    }

    pub(super) fn name_of(&self, index: usize) -> &str {
        self.owned.get(index).map_or("", |owned| &owned.name)
    }
}
