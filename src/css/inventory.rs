//! The devices of the machine: found at bring-up, taken in when they are plugged in, dropped when they have gone.
//!
//! # Limits
//!
//! At most [`Inventory::MAX`] devices; those beyond it are left alone, and the log names them. Asking a device what it is waits for
//! its answer: two seconds at bring-up, a moment once five seconds have gone by with that, and as long as the platform's patience is
//! when others are served meanwhile. Whoever takes longer then is passed through, and is not known for what it is.
//!
//! One that cannot even be cleared keeps the storage that it was asked with, for good: 256 bytes, of which there are as many as devices. So
//! its trouble is its own: everyone else is asked all the same.
//!
//! # The rule
//!
//! A subchannel that somebody uses is not touched.

use liballoc::vec::Vec;

use channel::{DeviceNumber, PmcwFlags, Schib, SubchannelId};
use s390x::clock::Tod;
use window::Window;

use super::{disable, enable, path_mask, Device, IdentityError, PathMasks};
use crate::css::{within, Channel, OutOfStorage, Patience, Platform};

/// Interruption subclass of a subchannel while it is asked what it is.
const DISCOVERY_ISC: u8 = 3;
/// How long a device may take to say what it is at bring-up, in microseconds.
const EACH: u64 = 2_000_000;
/// When all of them have taken so long, the others may take no longer than [`LATE`]: they are not to wait for those that are dead.
const ALL: u64 = 5_000_000;
const LATE: u64 = 100_000;

/// Programs that have to end before anybody looks, for a device that runs them within START SUBCHANNEL.
const PROBES: u32 = 64;

#[derive(Debug)]
pub struct Inventory {
    devices: Vec<Device>,
    /// Storage that devices are asked with.
    rooms: Vec<Window>,
    /// How many more pages may be taken for that.
    pages: u8,
    /// What devices that could not be cleared may still use. When such a subchannel is in order again, it is asked with that.
    kept: Vec<(SubchannelId, Window)>,
    /// The list has changed since somebody asked.
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// A device, which has this place in the list now.
    Came(usize),
    /// The device with this place in the list is gone. The last one of the list has its place now.
    Gone(usize),
}

/// Finds all subchannels with a device and asks each what it is. They are left disabled.
pub fn discover(platform: &mut dyn Platform) -> Result<Vec<Device>, OutOfStorage> {
    Ok(Inventory::discover(platform)?.devices)
}

pub fn each_subchannel(
    platform: &mut dyn Platform,
    mut act: impl FnMut(&mut dyn Platform, SubchannelId),
) {
    for set in 0..=platform.highest_set().min(SubchannelId::MAX_SET) {
        for id in SubchannelId::all_of_set(set) {
            if platform.store(id).is_err() {
                break;
            }
            act(platform, id);
        }
    }
}

impl Inventory {
    /// Devices at most: as many as the control area has room for.
    pub const MAX: usize = vcss::plan::MAX_DEVICES as usize;
    /// Bytes for a CCW and the data of SENSE ID.
    const ROOM: u64 = 256;
    /// Pages of them: as many as there can be devices.
    const PAGES: u8 = (Self::MAX as u64 * Self::ROOM / 4096) as u8;

    pub fn discover(platform: &mut dyn Platform) -> Result<Self, OutOfStorage> {
        let mut this = Self {
            devices: Vec::new(),
            rooms: Vec::new(),
            pages: Self::PAGES,
            kept: Vec::new(),
            changed: true,
        };
        this.make_rooms(platform)?;
        // What was reported before is about what is looked at now.
        while platform.channel_report().is_some() {}
        let began = platform.now();
        each_subchannel(platform, |platform, id| {
            let each = match platform.now().micros_since(began) < ALL {
                true => EACH,
                false => LATE,
            };
            let until = Tod::NEVER;
            within(platform, Patience { each, until }, |platform| {
                this.look(platform, id);
            });
        });
        Ok(this)
    }

    /// Logs the subchannels, in the columns of lscss.
    pub fn log(&self) {
        log::info!(target: "css", "Device   Subchan.  CU Type DevType PIM CHPIDs");
        for device in &self.devices {
            let (number, id, paths, [chpid, ..]) = (
                device.number,
                device.id,
                device.path_mask,
                device.paths.chpids,
            );
            match &device.identity {
                Ok(identity) => log::info!(
                    target: "css",
                    "{number} {id}  {:04x}/{:02x} {:04x}/{:02x} {paths:02x}  {chpid:02x}",
                    identity.cu_type,
                    identity.cu_model,
                    identity.dev_type,
                    identity.dev_model,
                ),
                Err(error) => log::warn!(target: "css", "{number} {id}  {error}"),
            }
        }
    }

    /// The devices. The place of one changes with [`Self::look`] alone.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Whether the list has changed since this was last asked.
    pub const fn take_changed(&mut self) -> bool {
        core::mem::replace(&mut self.changed, false)
    }

    pub fn find(&self, number: DeviceNumber) -> Option<&Device> {
        self.devices.iter().find(|device| device.number == number)
    }

    /// Reads the masks of the paths to a known device again, whoever uses it. Returns what they
    /// were and what they are, if other paths can be used now.
    pub fn look_at_paths(
        &mut self,
        platform: &mut dyn Platform,
        id: SubchannelId,
    ) -> Option<(PathMasks, PathMasks)> {
        let mut devices = self.devices.iter_mut();
        let device = devices.find(|device| device.id == id)?;
        let schib = platform.store(id).ok();
        let is_it = |schib: &Schib| {
            schib.pmcw.has_device() && schib.pmcw.device.get() == device.number.number
        };
        let paths = PathMasks::of(&schib.filter(is_it)?);
        if paths == device.paths {
            return None;
        }
        paths.log_changes(&device.paths, device.number);
        let before = core::mem::replace(&mut device.paths, paths);
        self.changed = true;
        (before.usable() != paths.usable()).then_some((before, paths))
    }

    /// Looks what is on a subchannel that nobody uses; a device there is asked what it is, and left disabled.
    pub fn look(&mut self, platform: &mut dyn Platform, id: SubchannelId) -> Change {
        let known = self.devices.iter().position(|device| device.id == id);
        let stored = platform.store(id).ok();
        self.changed = true;
        match (stored.filter(|schib| schib.pmcw.has_device()), known) {
            (None, None) => Change::Nothing,
            (None, Some(index)) => {
                self.devices.swap_remove(index);
                Change::Gone(index)
            }
            (Some(schib), None) if self.devices.len() >= Self::MAX => {
                let number = schib.pmcw.device.get();
                log::warn!(
                    "{number:04x} on {id} is left alone: there are {} devices, and no more can be known",
                    Self::MAX
                );
                Change::Nothing
            }
            (Some(schib), None) => {
                let device = self.describe(platform, id, &schib);
                self.devices.push(device);
                Change::Came(self.devices.len() - 1)
            }
            (Some(schib), Some(index)) => {
                let device = self.describe(platform, id, &schib);
                if let Some(place) = self.devices.get_mut(index) {
                    *place = device;
                }
                Change::Came(index)
            }
        }
    }

    fn describe(&mut self, platform: &mut dyn Platform, id: SubchannelId, schib: &Schib) -> Device {
        let mut device = Device {
            id,
            number: DeviceNumber {
                set: id.set(),
                number: schib.pmcw.device.get(),
            },
            path_mask: path_mask(schib),
            paths: PathMasks::of(schib),
            is_queued: schib.pmcw.flags().contains(PmcwFlags::QDIO),
            identity: Err(IdentityError::NotAsked),
            runs_within_start: true,
        };
        self.identify(platform, &mut device);
        device
    }

    fn identify(&mut self, platform: &mut dyn Platform, device: &mut Device) {
        let own = self.kept.iter().position(|(id, _)| *id == device.id);
        let own = own.map(|place| self.kept.swap_remove(place).1);
        let was_kept = own.is_some();
        if !was_kept && self.rooms.is_empty() && self.make_rooms(platform).is_err() {
            return;
        }
        let Some(room) = own.or_else(|| self.rooms.pop()) else {
            return;
        };
        let mut channel = Channel::new(device.id, device.path_mask, room);
        ask(platform, &mut channel, device);
        match channel.into_page() {
            Ok(room) if !was_kept => self.rooms.push(room),
            Ok(room) | Err(room) => self.kept.push((device.id, room)),
        }
    }

    /// Another page of storage to ask devices with.
    fn make_rooms(&mut self, platform: &mut dyn Platform) -> Result<(), OutOfStorage> {
        self.pages = self.pages.checked_sub(1).ok_or(OutOfStorage { pages: 1 })?;
        let mut page = platform.storage(1)?;
        while let Some((room, rest)) = page.split(Self::ROOM) {
            self.rooms.push(room);
            page = rest;
        }
        Ok(())
    }
}

/// Asks a device what it is, and one that a client can have also whether its programs run while the CPU goes on. A short one may have
/// ended before anybody looks, so that takes a few.
fn ask(platform: &mut dyn Platform, channel: &mut Channel, device: &mut Device) {
    if let Err(error) = enable(platform, channel.id(), DISCOVERY_ISC) {
        device.identity = Err(IdentityError::Enable(error));
        return;
    }
    device.identity = match channel.sense_id(platform) {
        Ok(id) if id.is_valid() => Ok(id),
        Ok(_) => Err(IdentityError::Invalid),
        Err(error) => Err(IdentityError::SenseId(error)),
    };
    if device.reason_to_withhold().is_none() {
        for _ in 0..PROBES {
            if channel.has_waited() || channel.sense_id(platform).is_err() {
                break;
            }
        }
    }
    device.runs_within_start = !channel.has_waited();
    // Not being able to disable it again harms nothing: whoever uses it enables it anew.
    let _ = disable(platform, channel.id());
}
