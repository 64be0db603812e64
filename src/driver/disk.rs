//! A disk that the appliance owns: what the configuration calls it, and which driver it has at present.
//!
//! # Rule
//!
//! Storage that a disk's device has been told of is its next driver's, and nobody else's.

use core::fmt;

use liballoc::boxed::Box;
use liballoc::string::String;

use channel::{Classify, DeviceNumber, SubchannelId};
use thiserror::Error;
use vcss::control::{Loan, LoanState};
use vcss::Word;

use super::absent::Absent;
use super::block::{BlockDevice, Recoveries, Volume};
use super::dasd::eckd::{self, Eckd};
use super::dasd::fba::{self, Fba};
use super::dasd::{classes, BringUpError};
use super::virtio_blk::VirtioBlk;
use super::virtio_ccw::{Settings, TransportError};
use crate::css::stock::Stock;
use crate::css::{has_room, Device, Platform};

const VIRTIO_QUEUES: u16 = 4;
/// Storage without which no disk is tried for the first time.
const TRY_BYTES: usize = 512 * 1024;
/// Storage that is left to everything else when a disk has been opened.
const SPARE_BYTES: usize = 128 * 1024;

pub struct OwnedDisk {
    pub name: String,
    pub number: DeviceNumber,
    /// Its subchannel: the driver's, or where its device was seen last.
    pub id: Option<SubchannelId>,
    pub driver: Box<dyn BlockDevice>,
    pub maintenance: Maintenance,
    /// Its size when it was opened last, or when it was [looked at](Self::has_resized) after that.
    sectors: Option<u64>,
    /// The storage of its drivers, one after the other.
    stock: Stock,
}

/// What is published of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskState {
    /// The device that it was opened on.
    pub id: Option<SubchannelId>,
    pub sectors: u64,
    pub is_broken: bool,
    pub recoveries: Recoveries,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// Its turn comes when the others are served.
    #[error("it is opened once the others are served")]
    PutOff,
    /// It was served, and is not any more.
    #[error("the device has gone or does not work any more; the log says more")]
    Broken,
    /// Requests to its driver of before have not ended yet.
    #[error("its requests are still being ended")]
    Ending,
    #[error("no storage is left for it: the appliance needs more memory")]
    NoStorage,
    #[error("there is no device {0}")]
    NoDevice(DeviceNumber),
    #[error("no driver for this control unit")]
    NoDriver,
    /// Somebody has it in use, and it is not what it was.
    #[error("it has not come back as the volume that it was")]
    NotAsBefore,
    #[error(transparent)]
    Virtio(#[from] TransportError),
    #[error(transparent)]
    Dasd(#[from] BringUpError),
}

impl OwnedDisk {
    pub fn new(name: String, number: DeviceNumber, maintenance: Maintenance) -> Self {
        Self {
            name,
            number,
            id: None,
            driver: Box::new(Absent::default()),
            maintenance,
            sectors: None,
            stock: Stock::new(),
        }
    }

    /// One that is open already, for tests and benchmarks.
    #[cfg(any(test, feature = "test-image"))]
    pub fn driven_by(driver: Box<dyn BlockDevice>, maintenance: Maintenance) -> Self {
        let number = DeviceNumber { set: 0, number: 0 };
        let mut this = Self::new(String::new(), number, maintenance);
        this.driver = driver;
        this
    }

    /// A place without a disk.
    pub fn vacant() -> Self {
        // There is no such subchannel set.
        let nowhere = DeviceNumber {
            set: u8::MAX,
            number: 0,
        };
        Self::new(String::new(), nowhere, Maintenance::NONE)
    }

    /// Whether there is no disk in its place.
    pub fn is_vacant(&self) -> bool {
        self.number.set == u8::MAX
    }

    /// The same with storage of one that there was before.
    #[must_use]
    pub fn with_stock(mut self, stock: Stock) -> Self {
        self.stock = stock;
        self
    }

    /// Lets go of its device for good. `None`: something is in flight there still. Its storage, and whether its device is sure to have
    /// nothing of it any more.
    pub fn close(&mut self, platform: &mut dyn Platform) -> Option<(Stock, bool)> {
        if self.driver.in_flight() > 0 {
            return None;
        }
        if self.driver.dasd().is_some_and(|dasd| !dasd.release()) {
            return None;
        }
        let is_free = self.driver.close(platform) || self.stock.is_empty();
        self.driver = Box::new(Absent::default());
        Some((core::mem::take(&mut self.stock), is_free))
    }

    /// Whether its driver has a subchannel, and is not done with it.
    pub fn drives(&mut self, id: SubchannelId) -> bool {
        let driver = &mut self.driver;
        // One of channel programs may come back by itself.
        self.id == Some(id)
            && (!driver.is_broken() || driver.in_flight() > 0 || driver.dasd().is_some())
    }

    /// Whether it can be opened anew: its driver is done, and there is storage for another one.
    pub fn check_idle(&self) -> Result<(), DiskError> {
        if self.driver.in_flight() > 0 {
            return Err(DiskError::Ending);
        }
        // What a try has got of the storage, the next one gets.
        let needed = if self.stock.is_empty() {
            TRY_BYTES
        } else {
            SPARE_BYTES
        };
        has_room(needed).then_some(()).ok_or(DiskError::NoStorage)
    }

    /// Opens it on its device. Its driver of before is put away, whatever comes of this.
    pub fn open(
        &mut self,
        platform: &mut dyn Platform,
        device: &Device,
        settings: Settings,
    ) -> Result<(), DiskError> {
        self.id = Some(device.id);
        let mut stock = core::mem::take(&mut self.stock);
        stock.renew();
        platform.use_stock(Some(stock));
        let opened = open(platform, device, settings);
        self.stock = platform.use_stock(None).unwrap_or_default();
        let opened = opened.and_then(|driver| {
            let there_is_room = has_room(SPARE_BYTES);
            there_is_room.then_some(driver).ok_or(DiskError::NoStorage)
        });
        self.driver = opened.inspect_err(|_| self.driver = Box::new(Absent::default()))?;
        self.sectors = Some(self.driver.geometry().sectors);
        Ok(())
    }

    /// Whether its driver says another size than before, which is its size from then on.
    pub fn has_resized(&mut self) -> bool {
        let now = self.driver.geometry().sectors;
        let before = self.sectors.as_mut();
        before.is_some_and(|before| core::mem::replace(before, now) != now)
    }

    pub fn state(&mut self) -> DiskState {
        DiskState {
            id: self.id.filter(|_| self.sectors.is_some()),
            sectors: self.sectors.unwrap_or(0),
            is_broken: self.driver.is_broken(),
            recoveries: self
                .driver
                .dasd()
                .map(|dasd| dasd.recoveries())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for OwnedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedDisk")
            .field("name", &self.name)
            .field("number", &self.number)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Whose a disk's subchannel is: its driver's, or for maintenance somebody else's.
#[derive(Debug)]
pub struct Maintenance {
    /// What the daemon wants, and what it is told. There are none where nobody can want anything.
    words: Option<(Word<'static>, Word<'static>)>,
    state: LoanState,
    volume: Volume,
}

impl Maintenance {
    /// Nobody can want the subchannel but the driver.
    pub const NONE: Self = Self {
        words: None,
        state: LoanState::Own,
        volume: Volume::Same,
    };

    /// The subchannel is the driver's.
    pub fn new(words: Option<(Word<'static>, Word<'static>)>) -> Self {
        let mut this = Self {
            words,
            ..Self::NONE
        };
        this.set_state(LoanState::Own);
        this
    }

    /// Whether the disk is its driver's.
    pub const fn is_own(&self) -> bool {
        matches!(self.state, LoanState::Own | LoanState::Refused)
    }

    pub const fn state(&self) -> LoanState {
        self.state
    }

    pub fn set_state(&mut self, state: LoanState) {
        self.state = state;
        if let Some((_, told)) = &self.words {
            told.store(state as u32);
        }
    }

    /// Whether the daemon wants the subchannel, and keeps in mind what it wants it for.
    pub fn is_wanted(&mut self) -> bool {
        let wanted = self
            .words
            .as_ref()
            .map_or(Loan::NONE, |(word, _)| word.load());
        if wanted == Loan::FORMAT {
            self.volume = Volume::Doubtful;
        }
        wanted != Loan::NONE
    }

    /// What the volume is now that maintenance is over.
    pub const fn take_volume(&mut self) -> Volume {
        core::mem::replace(&mut self.volume, Volume::Same)
    }
}

/// What a disk is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Virtio,
    Eckd,
    Fba,
}

impl Kind {
    /// What drives a device, if it is a disk.
    pub fn of(device: &Device) -> Option<Self> {
        match device.virtio_id() {
            Some(virtio::blk::DEVICE_ID) => Some(Self::Virtio),
            Some(_) => None,
            None => {
                let identity = device.identity.as_ref().ok()?;
                // A storage control can have both kinds of disks behind it.
                match (fba::is_fba(identity), eckd::is_eckd(identity)) {
                    (true, _) => Some(Self::Fba),
                    (false, true) => Some(Self::Eckd),
                    (false, false) => None,
                }
            }
        }
    }
}

/// The commands that can be said again to a device whose chain was cut.
pub fn classify(device: &Device) -> Classify {
    match Kind::of(device) {
        Some(Kind::Eckd) => classes::count_key_data,
        Some(Kind::Fba) => classes::fixed_block,
        Some(Kind::Virtio) | None => |_| None,
    }
}

/// Brings the driver of a device up.
pub fn open(
    platform: &mut dyn Platform,
    device: &Device,
    settings: Settings,
) -> Result<Box<dyn BlockDevice>, DiskError> {
    Ok(match Kind::of(device).ok_or(DiskError::NoDriver)? {
        Kind::Virtio => Box::new(VirtioBlk::open(
            platform,
            device.id,
            settings,
            VIRTIO_QUEUES,
        )?),
        Kind::Eckd => Box::new(Eckd::open(platform, device.id, settings.isc)?),
        Kind::Fba => Box::new(Fba::open(platform, device.id, settings.isc)?),
    })
}

/// Logs the disks, or why there is none where one should be.
pub fn log_all(platform: &mut dyn Platform, devices: &[Device], settings: Settings) {
    for device in devices.iter().filter(|device| Kind::of(device).is_some()) {
        let number = device.number;
        match open(platform, device, settings) {
            Ok(disk) => {
                let (blocks, size) = (disk.geometry().block_size, disk.geometry().sectors / 2);
                log::info!(target: "disk", "{number} {size} KiB in blocks of {blocks}");
            }
            Err(error) => log::warn!(target: "disk", "{number} {error}"),
        }
    }
}
