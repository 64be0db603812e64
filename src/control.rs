//! The control area: what the daemon says of the pool, and what the appliance says of itself.
//!
//! # Rule
//!
//! The daemon is trusted to lay out the pool, and checked all the same: an extent that is not
//! where windows and areas may be is refused with its name, before anything is touched there.

use core::cell::OnceCell;
use core::fmt;
use core::mem::offset_of;

use liballoc::boxed::Box;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use channel::DeviceNumber;
use thiserror::Error;
use vcss::control::{self, Appliance, ExportKind, Life, Order};
use vcss::layout::{Extent, Header, Kind, Name, PAGE};
use vcss::trace::Recorder;
use vcss::underway::{CutOff, Note, Served};
use vcss::{Area, AreaError, Bell, Word};
use window::Window;
use zerocopy::{FromZeros, IntoBytes};

use crate::driver::disk::{Maintenance, OwnedDisk};

pub use self::conditions::{Conditions, Subject, SHARE};
pub use self::devices::{listed, PassedThrough};

use self::heartbeat::Pings;
use self::memory::MemoryWords;

mod conditions;
mod devices;
mod heartbeat;
mod memory;

#[derive(Debug)]
pub struct Control {
    area: Area<'static>,
    bell: Bell<'static>,
    order: Word<'static>,
    pings: Option<Pings>,
    life: Word<'static>,
    storage: Storage,
    /// What each client has to share, once somebody has asked: the entries do not change.
    shares: Vec<OnceCell<Share>>,
    memory: MemoryWords,
    /// A change to a client's memory waits until requests have ended.
    pub settling: bool,
    about: Appliance,
    /// Entries of the list of owned devices that are in use; at first, those that an earlier life may have left.
    listed: u32,
}

/// What a client has to share: its name, area, window and program window.
#[derive(Clone, Debug)]
pub struct Share {
    pub name: String,
    /// Its area, not looked at yet.
    pub area: &'static Window,
    pub window: &'static Window,
    pub program: &'static Window,
}

/// A virtual subchannel: which client's, and which of that client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub client: u16,
    pub index: u16,
}

impl From<Slot> for Served {
    fn from(slot: Slot) -> Self {
        Self::Subchannel(slot.client, slot.index)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {}, virtual subchannel {}",
            self.client, self.index
        )
    }
}

/// What a client is given: one of its virtual subchannels, and what that stands for.
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    pub slot: Slot,
    pub kind: ExportKind,
    pub entry: control::Export,
    pub quota: control::Quota,
}

/// Where areas and windows may be: absolute storage from `start` to `end`.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    start: u64,
    end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ControlError {
    #[error("{of}: {error}")]
    Area { of: String, error: AreaError },
    /// An extent that is not where it may be.
    #[error("{of}: {length:#x} bytes at {offset:#x} are not where they may be")]
    Extent {
        of: String,
        offset: u64,
        length: u64,
    },
    /// An index that leads nowhere.
    #[error("no {of} {index}")]
    Index { of: &'static str, index: u16 },
}

impl Exported {
    pub fn new(slot: Slot, entry: control::Export) -> Result<Self, ControlError> {
        let kind = entry.kind.get();
        let known = ExportKind::from_number(kind).ok_or(ControlError::Index {
            of: "kind of export",
            index: kind as u16,
        })?;
        Ok(Self {
            slot,
            kind: known,
            entry,
            quota: control::Quota::default(),
        })
    }

    /// The index of the disk, of which it is a part or for whose maintenance it is.
    pub fn disk(&self) -> usize {
        self.entry.disk.get().into()
    }

    /// Whether it is a part of this disk.
    pub fn is_part_of(&self, disk: usize) -> bool {
        self.kind == ExportKind::Block && self.disk() == disk
    }

    /// The owned device that is given by its number, if one is.
    pub fn given(&self) -> Option<DeviceNumber> {
        (self.kind == ExportKind::PassThrough).then(|| DeviceNumber {
            set: self.entry.owned_set,
            number: self.entry.owned_device.get(),
        })
    }

    /// The number by which the client sees an owned device.
    pub fn seen(&self, number: DeviceNumber) -> u16 {
        match self.kind {
            ExportKind::Block | ExportKind::PassThrough => self.entry.device.get(),
            ExportKind::Any | ExportKind::Lent => number.number,
        }
    }
}

impl Storage {
    /// The storage that is shared: from `start` to `end`.
    ///
    /// # Safety
    ///
    /// Nothing of this program is there, nor ever will be: no code, stack, heap or reference.
    pub const unsafe fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// Where an extent begins, and its length, if it lies where it may.
    fn check(&self, of: &str, extent: Extent) -> Result<(u64, u64), ControlError> {
        let (offset, length) = (extent.offset.get(), extent.length.get());
        let end = offset.checked_add(length);
        let inside = offset >= self.start && end.is_some_and(|end| end <= self.end);
        if !inside || length == 0 || offset % PAGE != 0 {
            return Err(ControlError::Extent {
                of: of.to_string(),
                offset,
                length,
            });
        }
        Ok((offset, length))
    }

    /// A window over an extent, for good.
    fn window(&self, of: &str, extent: Extent) -> Result<&'static Window, ControlError> {
        let (offset, length) = self.check(of, extent)?;
        let base = core::ptr::with_exposed_provenance_mut(offset as usize);
        // SAFETY: the extent lies in shared storage, where nothing of this program is (contract of
        // `Storage::new`).
        Ok(Box::leak(Box::new(unsafe {
            Window::new(base, length, offset)
        })))
    }
}

impl Control {
    /// Opens the control area at the start of the shared storage.
    pub fn open(storage: Storage) -> Result<Self, ControlError> {
        const OF: &str = "control area";
        let wrong = |error| ControlError::Area {
            of: OF.to_string(),
            error,
        };
        let head = Extent::new(storage.start, size_of::<Header>() as u64);
        let header: Header = storage
            .window(OF, head)?
            .read(window::ClientAddress::new(0))
            .map_err(|error| wrong(error.into()))?;
        let whole = Extent::new(storage.start, header.length.get());
        let window = storage.window(OF, whole)?;
        let area = Area::open(window, Kind::Control).map_err(wrong)?;
        let control = Self {
            bell: Bell::of_appliance(&area).map_err(wrong)?,
            order: area.word::<Order>(0, 0).map_err(wrong)?,
            pings: Pings::open(&area).ok(),
            life: area.word::<Appliance>(0, 0).map_err(wrong)?,
            about: Appliance {
                version: Name::new(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
                private_bytes: storage.start.into(),
                ..Appliance::default()
            },
            shares: (0..area.count::<control::Client>())
                .map(|_| OnceCell::new())
                .collect(),
            listed: area.count::<control::Device>(),
            memory: MemoryWords::new(&area).map_err(wrong)?,
            settling: false,
            storage,
            area,
        };
        control.life.store(Life::Starting as u32);
        control.answer_ping();
        Ok(control)
    }

    /// The disks that are to be driven. None of them has been opened.
    pub fn disks(&self) -> Result<Vec<OwnedDisk>, ControlError> {
        (0..self.area.count::<control::Disk>())
            .map(|index| {
                let disk: control::Disk = self.read("disk", index)?;
                let number = DeviceNumber {
                    set: disk.set,
                    number: disk.device.get(),
                };
                let word = |at| self.area.word::<control::Loan>(index, at).ok();
                let wanted = word(offset_of!(control::Loan, wanted));
                let words = wanted.zip(word(offset_of!(control::Loan, state)));
                let name = disk.name.as_str().to_string();
                Ok(OwnedDisk::new(name, number, Maintenance::new(words)))
            })
            .collect()
    }

    pub fn client_count(&self) -> u16 {
        self.area.count::<control::Client>() as u16
    }

    /// What a client has to share.
    pub fn share(&self, index: u16) -> Result<Share, ControlError> {
        let place = self.shares.get(usize::from(index));
        if let Some(share) = place.and_then(OnceCell::get) {
            return Ok(share.clone());
        }
        let entry: control::Client = self.read("client", u32::from(index))?;
        let name = entry.name.as_str().to_string();
        // Windows are for good: there are none before all can be.
        for extent in [entry.area, entry.window, entry.program] {
            self.storage.check(&name, extent)?;
        }
        let share = Share {
            area: self.storage.window(&name, entry.area)?,
            window: self.storage.window(&name, entry.window)?,
            program: self.storage.window(&name, entry.program)?,
            name,
        };
        if let Some(place) = place {
            let _ = place.set(share.clone());
        }
        self.begin_memory(index);
        Ok(share)
    }

    /// What clients are given. A client's virtual subchannels are in the order in which they stand.
    pub fn exports(&self) -> Result<Vec<Exported>, ControlError> {
        let mut all: Vec<Exported> = Vec::new();
        for index in 0..self.area.count::<control::Export>() {
            let entry: control::Export = self.read("export", index)?;
            let client = entry.client.get();
            let before = all.iter().filter(|it| it.slot.client == client);
            let slot = Slot {
                client,
                index: before.count() as u16,
            };
            all.push(Exported {
                // A daemon that knows no quotas limits nobody.
                quota: self.area.read(index).unwrap_or_default(),
                ..Exported::new(slot, entry)?
            });
        }
        Ok(all)
    }

    pub fn conditions(&self) -> Conditions {
        Conditions::new(self.area.clone())
    }

    /// Publishes the list of owned devices, as far as it has changed. Whoever reads meanwhile finds one that changes its place twice
    /// rather than not at all.
    pub fn show_devices(&mut self, devices: impl Iterator<Item = control::Device>) {
        let before = self.listed;
        self.listed = 0;
        for (index, device) in (0..).zip(devices) {
            let shown = self.area.read::<control::Device>(index);
            if shown.is_ok_and(|shown| shown.as_bytes() != device.as_bytes()) {
                let _ = self.area.write(index, &device);
            }
            self.listed = index + 1;
        }
        for index in self.listed..before {
            let _ = self.area.write(index, &control::Device::new_zeroed());
        }
    }

    /// Where requests are noted, and the one that an earlier life left unfinished.
    pub fn note(&self) -> Option<(&'static Note, Option<CutOff>)> {
        let (note, cut) = Note::open(&self.area).ok()?;
        // For good: there is one in a life.
        Some((Box::leak(Box::new(note)), cut))
    }

    pub fn recorder(&self) -> Option<Recorder<'static>> {
        Recorder::open(&self.area).ok()
    }

    /// Says how the appliance fares, and rings the daemon. Returns whether that sleeps.
    pub fn set_life(&mut self, life: Life) -> bool {
        self.about.life = (life as u32).into();
        // The word goes last: whoever sees it sees the rest.
        let mut about = self.about;
        about.life = self.life.load().into();
        let _ = self.area.write(0, &about);
        self.life.store(life as u32);
        self.bell.ring()
    }

    /// What the appliance says of itself; visible with the next [`Self::show`].
    pub fn about(&mut self) -> &mut Appliance {
        &mut self.about
    }

    /// Publishes [`Self::about`] and the counters of all exports, in their order.
    pub fn show(&self, counters: impl Iterator<Item = control::Counters>) {
        let _ = self.area.write(0, &self.about);
        for (index, counters) in counters.enumerate() {
            let _ = self.area.write(index as u32, &counters);
        }
    }

    /// Publishes what holds back requests of the exports. Nobody misses it whose daemon does not know of it.
    pub fn show_held_back(&self, all: impl Iterator<Item = control::HeldBack>) {
        for (index, held_back) in all.enumerate() {
            let _ = self.area.write(index as u32, &held_back);
        }
    }

    /// Takes the daemon's ring. What it has ordered is looked at afterwards: a ring that comes later is another one.
    pub fn poll_requests(&mut self) {
        self.bell.heard();
    }

    /// Tells the daemon that the event loop still comes round.
    pub fn answer_ping(&self) {
        if let Some(pings) = &self.pings {
            pings.answer();
        }
    }

    /// After how many seconds the machine's watchdog is to end an appliance whose event loop does not come round. 0: not at all.
    pub fn watchdog_seconds(&self) -> u32 {
        self.pings.as_ref().map_or(0, Pings::watchdog_seconds)
    }

    pub fn is_to_stop(&self) -> bool {
        self.order.load() == Order::SHUT_DOWN
    }

    /// Before sleeping. Returns whether the daemon rang.
    pub fn arm_wakeup(&mut self) -> bool {
        self.bell.arm_wakeup();
        self.bell.rings()
    }

    pub fn disarm_wakeup(&mut self) {
        self.bell.disarm_wakeup();
    }

    fn read<T: vcss::layout::Entry>(&self, of: &str, index: u32) -> Result<T, ControlError> {
        self.area.read(index).map_err(|error| ControlError::Area {
            of: of.to_string(),
            error,
        })
    }
}

#[cfg(test)]
mod tests;
