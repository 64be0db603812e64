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

use channel::{DeviceNumber, SubchannelId};
use vcss::control::{self, Appliance, DeviceLife, ExportKind, Life, Order};
use vcss::layout::{Extent, Header, Kind, Name, PAGE};
use vcss::trace::{DriverState, Recorder};
use vcss::underway::{CutOff, Note};
use vcss::{Area, AreaError, Bell, Word};
use window::Window;
use zerocopy::FromZeros;

use crate::css::Device;
use crate::driver::block::Recoveries;

pub use self::conditions::{Conditions, Subject};

mod conditions;

/// The control area, opened.
#[derive(Debug)]
pub struct Control {
    area: Area<'static>,
    bell: Bell<'static>,
    order: Word<'static>,
    life: Word<'static>,
    storage: Storage,
    /// What each client has to share, once somebody has asked: the entries do not change.
    shares: Vec<OnceCell<Share>>,
    about: Appliance,
    /// The owned devices in the order of their entries, with the state that is shown.
    shown: Vec<(SubchannelId, DeviceNumber, DriverState)>,
}

/// What a client has to share: its name, area, window and program window.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its name in the configuration.
    pub name: String,
    /// Its area, not looked at yet.
    pub area: &'static Window,
    /// Its window.
    pub window: &'static Window,
    /// Its program window.
    pub program: &'static Window,
}

/// What of which disk a client gets.
#[derive(Clone, Debug)]
pub struct Export {
    /// Index of the disk.
    pub disk: usize,
    /// First sector on the disk.
    pub start: u64,
    /// Sectors; 0 means to the end of the disk.
    pub sectors: u64,
    /// Not 0: a partition of the disk. `start` and `sectors` are 0 then.
    pub partition: u8,
    /// No writing.
    pub read_only: bool,
    /// Queues.
    pub queues: u16,
    /// What GET ID answers.
    pub serial: [u8; 20],
}

/// An owned subchannel that is passed through, as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct PassedThrough {
    /// Whose it is.
    pub client: u16,
    /// Which of that client's virtual subchannels stands for it.
    pub index: u16,
    /// The owned subchannel.
    pub id: SubchannelId,
    /// Its device.
    pub device: DeviceNumber,
    /// The state of its driver.
    pub state: DriverState,
}

/// What a virtual subchannel stands for.
#[derive(Clone, Debug)]
pub enum Exported {
    /// A disk, or a slice of one.
    Block(Export),
    /// The owned subchannel with this device number.
    PassThrough(DeviceNumber),
    /// Whatever owned subchannel nobody else was given.
    Any,
    /// The subchannel of the disk with this index, while it is lent.
    Lent(usize),
}

/// Where areas and windows may be: absolute storage from `start` to `end`.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    start: u64,
    end: u64,
}

/// What is wrong with the control area.
#[derive(Clone, Debug)]
pub enum ControlError {
    /// A part of an area.
    Area {
        /// Whose area.
        of: String,
        /// What is wrong.
        error: AreaError,
    },
    /// An extent that is not where it may be.
    Extent {
        /// Of what.
        of: String,
        /// The extent: offset and length.
        extent: (u64, u64),
    },
    /// An index that leads nowhere.
    Index {
        /// What it is an index of.
        of: &'static str,
        /// The index.
        index: u16,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Area { of, error } => write!(f, "{of}: {error}"),
            Self::Extent {
                of,
                extent: (offset, length),
            } => write!(
                f,
                "{of}: {length:#x} bytes at {offset:#x} are not where they may be"
            ),
            Self::Index { of, index } => write!(f, "no {of} {index}"),
        }
    }
}

impl core::error::Error for ControlError {}

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
                extent: (offset, length),
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
    ///
    /// # Errors
    ///
    /// It is not one.
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
            life: area.word::<Appliance>(0, 0).map_err(wrong)?,
            about: Appliance {
                version: Name::new(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
                private_bytes: storage.start.into(),
                ..Appliance::default()
            },
            shown: Vec::new(),
            shares: (0..area.count::<control::Client>())
                .map(|_| OnceCell::new())
                .collect(),
            storage,
            area,
        };
        control.life.store(Life::Starting as u32);
        Ok(control)
    }

    /// The disks that are to be driven: name and device number.
    pub fn disks(&self) -> Result<Vec<(String, DeviceNumber)>, ControlError> {
        (0..self.area.count::<control::Disk>())
            .map(|index| {
                let disk: control::Disk = self.read("disk", index)?;
                let number = DeviceNumber {
                    set: disk.set,
                    number: disk.device.get(),
                };
                Ok((disk.name.as_str().to_string(), number))
            })
            .collect()
    }

    /// How many clients there are.
    pub fn client_count(&self) -> u16 {
        self.area.count::<control::Client>() as u16
    }

    /// What a client has to share.
    ///
    /// # Errors
    ///
    /// The entry cannot be read, or what it names lies where it may not.
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
        Ok(share)
    }

    /// The exports: index of the client, virtual device number, and what it gets.
    ///
    /// # Errors
    ///
    /// One that cannot be read, or of a kind that is not known.
    pub fn exports(&self) -> Result<Vec<(u16, u16, Exported)>, ControlError> {
        (0..self.area.count::<control::Export>())
            .map(|index| {
                let entry: control::Export = self.read("export", index)?;
                let kind = entry.kind.get();
                let kind = ExportKind::from_number(kind).ok_or(ControlError::Index {
                    of: "kind of export",
                    index: kind as u16,
                })?;
                let disk = usize::from(entry.disk.get());
                let exported = match kind {
                    ExportKind::Block => Exported::Block(Export {
                        disk,
                        start: entry.start.get(),
                        sectors: entry.sectors.get(),
                        partition: entry.partition,
                        read_only: entry.flags.get() & control::Export::READ_ONLY != 0,
                        queues: entry.queues.get().max(1),
                        serial: entry.serial,
                    }),
                    ExportKind::PassThrough => Exported::PassThrough(DeviceNumber {
                        set: entry.owned_set,
                        number: entry.owned_device.get(),
                    }),
                    ExportKind::Any => Exported::Any,
                    ExportKind::Lent => Exported::Lent(disk),
                };
                Ok((entry.client.get(), entry.device.get(), exported))
            })
            .collect()
    }

    /// The conditions of disks, clients and exports.
    pub fn conditions(&self) -> Conditions {
        Conditions::new(self.area.clone())
    }

    /// Shows an owned device in its place in the list: one more, or another one than before. `disk` says which disk it is, and its
    /// size.
    pub fn show_device(&mut self, index: usize, device: &Device, disk: Option<(u16, u64)>) {
        let shown = (device.id, device.number, DriverState::Standby);
        match self.shown.get_mut(index) {
            Some(place) => *place = shown,
            None => self.shown.push(shown),
        }
        let identity = device.identity.as_ref().copied().unwrap_or_default();
        let life = if disk.is_some() {
            DeviceLife::Online
        } else {
            DeviceLife::Standby
        };
        let entry = control::Device {
            subchannel: device.id.word().into(),
            device: device.number.number.into(),
            set: device.number.set,
            life: life as u8,
            cu_type: identity.cu_type,
            cu_model: identity.cu_model,
            dev_model: identity.dev_model,
            dev_type: identity.dev_type,
            disk: disk
                .map_or(control::Device::NO_DISK, |(disk, _)| disk)
                .into(),
            sectors: disk.map_or(0, |(_, sectors)| sectors).into(),
            pim: device.pim,
            pam: device.pam,
            pom: device.pom,
            state: DriverState::Standby as u8,
            client: control::Device::NO_CLIENT.into(),
            index: 0.into(),
            chpids: device.chpids,
            recoveries: control::Recoveries::default(),
            reserved: [0; 4],
        };
        let _ = self.area.write(index as u32, &entry);
    }

    /// The list ends here: what an earlier life of the appliance had listed behind it is gone.
    pub fn end_devices(&self) {
        for index in self.shown.len() as u32..self.area.count::<control::Device>() {
            let _ = self.area.write(index, &control::Device::new_zeroed());
        }
    }

    /// Takes a device that has gone off the list. The last one of the list gets its place.
    pub fn forget_device(&mut self, index: usize) {
        if index >= self.shown.len() {
            return;
        }
        self.shown.swap_remove(index);
        let last = self.shown.len() as u32;
        if let Ok(entry) = self.area.read::<control::Device>(last) {
            // Whoever reads meanwhile finds it twice rather than not at all.
            let _ = self.area.write(index as u32, &entry);
        }
        let _ = self.area.write(last, &control::Device::new_zeroed());
    }

    /// Shows what the driver of the disk on a subchannel has done to get requests through.
    pub fn show_disk(&self, id: SubchannelId, done: &Recoveries) {
        let Some(number) = self.shown.iter().position(|(shown, ..)| *shown == id) else {
            return;
        };
        let number = number as u32;
        let Ok(mut entry) = self.area.read::<control::Device>(number) else {
            return;
        };
        entry.recoveries = control::Recoveries {
            retries: done.retries.into(),
            other_paths: done.other_paths.into(),
            waits: done.waits.into(),
            timeouts: done.timeouts.into(),
            failures: done.failures.into(),
        };
        let life = if done.broken {
            DeviceLife::Failed
        } else {
            DeviceLife::Online
        };
        entry.life = life as u8;
        let _ = self.area.write(number, &entry);
    }

    /// Shows whose the owned subchannels are, and their drivers' states, as far as they have changed.
    pub fn show_passed_through(&mut self, all: impl Iterator<Item = PassedThrough>) {
        for it in all {
            let state = it.state;
            let mut entries = self.shown.iter_mut().zip(0..);
            let entry = entries.find(|((id, number, _), _)| (*id, *number) == (it.id, it.device));
            let Some(((.., shown), number)) = entry.filter(|((.., shown), _)| *shown != state)
            else {
                continue;
            };
            *shown = state;
            if let Ok(mut entry) = self.area.read::<control::Device>(number) {
                entry.state = state as u8;
                entry.client = it.client.into();
                entry.index = it.index.into();
                entry.life = match state {
                    DriverState::Standby => DeviceLife::Standby,
                    DriverState::Idle | DriverState::Busy | DriverState::Quiescing => {
                        DeviceLife::Online
                    }
                    DriverState::NotOperational | DriverState::Disconnected => DeviceLife::Failed,
                } as u8;
                let _ = self.area.write(number, &entry);
            }
        }
    }

    /// Where requests are noted, and the one that an earlier life left unfinished.
    pub fn note(&self) -> Option<(&'static Note, Option<CutOff>)> {
        let (note, cut) = Note::open(&self.area).ok()?;
        // For good: there is one in a life.
        Some((Box::leak(Box::new(note)), cut))
    }

    /// Where the trace is written.
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

    /// The words of the disks' loans: what is wanted, and what is done. None where the area has no such part.
    pub fn loans(&self) -> Vec<(Word<'static>, Word<'static>)> {
        let word = |index, at| self.area.word::<control::Loan>(index, at).ok();
        (0..self.area.count::<control::Loan>())
            .filter_map(|index| {
                let wanted = word(index, offset_of!(control::Loan, wanted))?;
                Some((wanted, word(index, offset_of!(control::Loan, state))?))
            })
            .collect()
    }

    /// Takes the daemon's ring. What it has ordered is looked at afterwards: a ring that comes later is another one.
    pub fn poll_requests(&mut self) {
        self.bell.heard();
    }

    /// Whether the daemon wants the appliance to stop.
    pub fn is_to_stop(&self) -> bool {
        self.order.load() == Order::SHUT_DOWN
    }

    /// Before sleeping. Returns whether the daemon rang.
    pub fn arm_wakeup(&mut self) -> bool {
        self.bell.arm_wakeup();
        self.bell.rings()
    }

    /// After sleeping.
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
