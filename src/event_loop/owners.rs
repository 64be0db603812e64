//! Which subchannel is whose at bring-up.

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use channel::{DeviceNumber, SubchannelId};

use super::{Spec, Tuning};
use crate::control::Exported;
use crate::css::Device;
use crate::css::Platform;
use crate::driver::virtio_serial::{VirtioSerial, LINK_PORT};

/// The device with a number. One that is not there can come later.
pub(super) fn find(devices: &[Device], number: DeviceNumber) -> Option<&Device> {
    let device = devices.iter().find(|device| device.number == number);
    if device.is_none() {
        log::warn!("no device {number} to pass through so far");
    }
    device
}

/// The owned devices that nobody was given by number, and that a client can have.
pub(super) struct Unassigned<'a> {
    devices: core::slice::Iter<'a, Device>,
    given: Vec<SubchannelId>,
}

impl<'a> Unassigned<'a> {
    /// `disks` are the numbers of the disks; `held` is what somebody has already.
    pub(super) fn new(
        devices: &'a [Device],
        disks: &[DeviceNumber],
        link: SubchannelId,
        exports: &[Spec],
        held: Vec<SubchannelId>,
    ) -> Self {
        let named = devices.iter().filter(|device| {
            let is_given = |export: &Spec| {
                matches!(&export.what, Exported::PassThrough(number) if *number == device.number)
            };
            disks.contains(&device.number)
                || exports.iter().any(is_given)
                || device.reason_to_withhold().is_some()
        });
        let mut given: Vec<_> = named.map(|device| device.id).collect();
        given.extend(held);
        given.push(link);
        Self {
            devices: devices.iter(),
            given,
        }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Option<&'a Device> {
        let given = &self.given;
        self.devices.find(|device| !given.contains(&device.id))
    }
}

/// The link to the host daemon.
pub(super) fn open_link(
    platform: &mut dyn Platform,
    devices: &[Device],
    tuning: Tuning,
) -> Result<VirtioSerial, String> {
    let device = devices
        .iter()
        .find(|device| device.virtio_id() == Some(virtio::console::DEVICE_ID))
        .ok_or("no virtio console device for the link to the host daemon")?;
    VirtioSerial::open(platform, device.id, tuning.settings, LINK_PORT)
        .map_err(|error| format!("link ({}): {error}", device.number))
}
