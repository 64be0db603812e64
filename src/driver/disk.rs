//! Which driver a disk has.

use liballoc::boxed::Box;
use liballoc::string::{String, ToString};

use super::block::BlockDevice;
use super::dasd::classes;
use super::dasd::eckd::{self, Eckd};
use super::dasd::fba::{self, Fba};
use super::virtio_blk::VirtioBlk;
use super::virtio_ccw::Settings;
use crate::css::Device;
use crate::css::Platform;
use channel::Classify;

/// Queues of a virtio disk that are used.
const QUEUES: u16 = 4;

/// What a disk is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`VirtioBlk`].
    Virtio,
    /// [`Eckd`].
    Eckd,
    /// [`Fba`].
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

/// Brings a disk up.
///
/// # Errors
///
/// Why it cannot be.
pub fn open(
    platform: &mut dyn Platform,
    device: &Device,
    settings: Settings,
) -> Result<Box<dyn BlockDevice>, String> {
    match Kind::of(device) {
        Some(Kind::Virtio) => VirtioBlk::open(platform, device.id, settings, QUEUES)
            .map(|disk| Box::new(disk) as Box<dyn BlockDevice>)
            .map_err(|error| error.to_string()),
        Some(Kind::Eckd) => Eckd::open(platform, device.id, settings.isc)
            .map(|disk| Box::new(disk) as Box<dyn BlockDevice>)
            .map_err(|error| error.to_string()),
        Some(Kind::Fba) => Fba::open(platform, device.id, settings.isc)
            .map(|disk| Box::new(disk) as Box<dyn BlockDevice>)
            .map_err(|error| error.to_string()),
        None => Err("no driver for this control unit".to_string()),
    }
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
