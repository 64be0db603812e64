//! The control area: what the daemon says of the pool, and what the appliance says of itself.
//!
//! # Rule
//!
//! The daemon is trusted to lay out the pool, and checked all the same: an extent that is not
//! where windows and areas may be is refused with its name, before anything is touched there.

use core::mem::offset_of;

use liballoc::boxed::Box;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use thiserror::Error;
use vcss::control::{self, Appliance, Life, Order};
use vcss::layout::{Extent, Header, Kind, Name, PAGE};
use vcss::trace::{self, Recorder, TraceEntry};
use vcss::underway::{CutOff, Note};
use vcss::{Area, AreaError, Bell, Word};
use window::Window;
use zerocopy::{FromZeros, IntoBytes};

use crate::driver::disk::Maintenance;

pub use self::conditions::{Conditions, Subject, SHARE};
pub use self::devices::{listed, PassedThrough};
pub use self::exported::{Exported, Slot};
pub use self::table::{DiskEntry, Table};

use self::heartbeat::Pings;
use self::memory::MemoryWords;

mod conditions;
mod devices;
mod exported;
mod heartbeat;
mod memory;
mod table;

#[derive(Debug)]
pub struct Control {
    area: Area<'static>,
    bell: Bell<'static>,
    order: Word<'static>,
    /// The generation of its entries.
    configuration: Word<'static>,
    pings: Option<Pings>,
    life: Word<'static>,
    storage: Storage,
    /// What each client has to share, once somebody has asked. The windows are for good: the next one in its place gets them.
    shares: Vec<Option<Share>>,
    memory: MemoryWords,
    /// A change to a client's memory, or to the configuration, waits until requests have ended.
    pub settling: bool,
    about: Appliance,
    /// Entries of the list of owned devices that are in use; at first, those that an earlier life may have left.
    listed: u32,
}

/// What a client has to share: its name, area, window and program window.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Its area, not looked at yet.
    pub area: &'static Window,
    pub window: &'static Window,
    pub program: &'static Window,
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

    /// The same, of a window that there is. Whoever had it is gone.
    fn rewindow(&self, of: &str, window: &Window, extent: Extent) -> Result<(), ControlError> {
        let (offset, length) = self.check(of, extent)?;
        let base = core::ptr::with_exposed_provenance_mut(offset as usize);
        // SAFETY: as above, also for what the window was over before; and there is one thread.
        unsafe { window.remake(base, length, offset) };
        Ok(())
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
            configuration: area
                .word::<Order>(0, offset_of!(Order, configuration))
                .map_err(wrong)?,
            pings: Pings::open(&area).ok(),
            life: area.word::<Appliance>(0, 0).map_err(wrong)?,
            about: Appliance {
                version: Name::new(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
                private_bytes: storage.start.into(),
                ..Appliance::default()
            },
            shares: (0..area.count::<control::Client>()).map(|_| None).collect(),
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

    /// What the daemon's entries say.
    pub fn table(&self) -> Result<Table, ControlError> {
        Table::read(&self.area)
    }

    /// What the daemon wants of a disk's subchannel, and what it is told.
    pub fn maintenance(&self, disk: usize) -> Maintenance {
        let word = |at| self.area.word::<control::Loan>(disk as u32, at).ok();
        let wanted = word(offset_of!(control::Loan, wanted));
        Maintenance::new(wanted.zip(word(offset_of!(control::Loan, state))))
    }

    pub fn client_count(&self) -> u16 {
        self.area.count::<control::Client>() as u16
    }

    pub fn disk_count(&self) -> usize {
        self.area.count::<control::Disk>() as usize
    }

    /// What a client has to share. Nobody uses what there was in its place before, if that was something else.
    pub fn share(&mut self, index: u16, entry: &control::Client) -> Result<Share, ControlError> {
        let name = entry.name.as_str();
        let Some(place) = self.shares.get_mut(usize::from(index)) else {
            return Err(ControlError::Index {
                of: "client",
                index,
            });
        };
        // Windows are for good: there are none before all can be.
        for extent in [entry.area, entry.window, entry.program] {
            self.storage.check(name, extent)?;
        }
        let (storage, share) = (&self.storage, *place);
        match share {
            Some(share) => {
                for (window, extent) in [
                    (share.area, entry.area),
                    (share.window, entry.window),
                    (share.program, entry.program),
                ] {
                    let is_there = window.absolute_base() == extent.offset.get();
                    if !is_there || window.room() != extent.length.get() {
                        storage.rewindow(name, window, extent)?;
                    }
                }
            }
            None => {
                *place = Some(Share {
                    area: storage.window(name, entry.area)?,
                    window: storage.window(name, entry.window)?,
                    program: storage.window(name, entry.program)?,
                });
            }
        }
        let share = share.or(*place).ok_or(ControlError::Index {
            of: "client",
            index,
        })?;
        self.begin_memory(index);
        Ok(share)
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

    /// The same, to be looked at.
    pub const fn published(&self) -> &Appliance {
        &self.about
    }

    /// How it fares, as the area says.
    pub fn life(&self) -> Option<Life> {
        Life::from_number(self.life.load())
    }

    /// A device of the list as it is published.
    pub fn listed_device(&self, place: u32) -> Option<control::Device> {
        let device = self.area.read::<control::Device>(place).ok()?;
        (device.subchannel.get() != 0).then_some(device)
    }

    /// The number of the newest record of the trace.
    pub fn newest_traced(&self) -> u32 {
        trace::newest(&self.area)
    }

    /// The record of the trace with this number.
    pub fn traced(&self, number: u32) -> Option<TraceEntry> {
        trace::numbered(&self.area, number)
    }

    /// The generation of the entries that the daemon wants to be served by.
    pub fn wanted_configuration(&self) -> u32 {
        self.configuration.load()
    }

    /// The one that an earlier life has served by.
    pub fn former_configuration(&self) -> u32 {
        let former = self.area.read::<Appliance>(0);
        former.map_or(0, |former| former.configuration.get())
    }

    /// This is what is served by: visible at once, whatever becomes of the bring-up. Nobody takes it for served before that is said, too.
    pub fn begin_by(&mut self, configuration: u32) {
        self.about.configuration.set(configuration);
        let at = offset_of!(Appliance, configuration);
        if let Ok(word) = self.area.word::<Appliance>(0, at) {
            word.store(configuration);
        }
    }

    /// Publishes [`Self::about`], and rings the daemon. Returns whether that sleeps.
    pub fn tell(&mut self) -> bool {
        let mut about = self.about;
        about.life = self.life.load().into();
        let _ = self.area.write(0, &about);
        self.bell.ring()
    }

    /// Publishes [`Self::about`] and the counters of exports, each with its index.
    pub fn show(&self, counters: impl Iterator<Item = (usize, control::Counters)>) {
        let _ = self.area.write(0, &self.about);
        for (index, counters) in counters {
            let _ = self.area.write(index as u32, &counters);
        }
    }

    /// Publishes what holds back requests of the exports. Nobody misses it whose daemon does not know of it.
    pub fn show_held_back(&self, all: impl Iterator<Item = (usize, control::HeldBack)>) {
        for (index, held_back) in all {
            let _ = self.area.write(index as u32, &held_back);
        }
    }

    /// An export is there no longer: nothing is counted of it.
    pub fn forget_export(&self, index: usize) {
        let nothing = control::Counters::default();
        self.show_held_back([(index, control::HeldBack::default())].into_iter());
        let _ = self.area.write(index as u32, &nothing);
    }

    /// Takes the daemon's ring. What it has ordered is looked at afterwards: a ring that comes later is another one.
    /// Returns whether it has rung.
    pub fn poll_requests(&mut self) -> bool {
        self.bell.heard()
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
}

#[cfg(test)]
mod tests;
