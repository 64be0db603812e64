//! The channel paths of the owned devices: looked at when something is said of them, and told to the drivers of disks.
//!
//! # Rules
//!
//! * Looking takes STORE SUBCHANNEL, which whoever uses the subchannel does not notice.
//! * Nothing is looked for in the status of each program, which would cost each one. What only such status says, that one path of
//!   several is not operational, is found by a look at one device after the other, one in a second.
//! * Paths that are back are verified for one disk at a time: the others' clients wait meanwhile.

use liballoc::vec::Vec;

use channel::{Crw, CrwFlags, SubchannelId};
use s390x::clock::Tod;

use super::Appliance;
use crate::css::{PathMasks, Platform};

/// Between two looks at devices of which nothing is said, in microseconds.
const PAUSE_US: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct PathWatch {
    /// Some disk has paths that are to be verified.
    verifies: bool,
    /// The next look at a device of which nothing is said.
    next: Tod,
    /// Which one was looked at last.
    last: Option<SubchannelId>,
}

/// Something has happened to a channel path: each device that has it is looked at.
pub(super) fn look_at_path(appliance: &mut Appliance, platform: &mut dyn Platform, chpid: u8) {
    let devices = appliance.inventory.devices().iter();
    let have_it = devices.filter(|device| device.paths.of_chpid(chpid) != 0);
    let ids: Vec<_> = have_it.map(|device| device.id).collect();
    for id in ids {
        read_masks(appliance, platform, id);
    }
}

/// Reads the masks of a device's paths again. Clients that want to hear of paths get what a channel report would say of those that
/// are others.
pub(super) fn look_at_paths(
    appliance: &mut Appliance,
    platform: &mut dyn Platform,
    id: SubchannelId,
) {
    let Some((before, now)) = read_masks(appliance, platform, id) else {
        return;
    };
    for (chpid, recovery) in now.changes(&before) {
        let report = Crw::of_channel_path(chpid, CrwFlags::ANCILLARY, recovery);
        appliance.plane.proxy.clients.path(platform, report);
    }
}

/// Reads the masks of a device's paths again: what they were and are, if others can be used. If it is a disk, its driver hears of
/// it.
fn read_masks(
    appliance: &mut Appliance,
    platform: &mut dyn Platform,
    id: SubchannelId,
) -> Option<(PathMasks, PathMasks)> {
    let changed = appliance.inventory.look_at_paths(platform, id)?;
    for disk in &mut appliance.plane.disks {
        if disk.drives(id) {
            disk.driver.paths_changed(platform);
            appliance.path_watch.verifies |= disk.driver.has_unverified_paths();
        }
    }
    Some(changed)
}

/// Looks at the paths again of which status or recovery has said that they do not work, and verifies those that are back.
pub(super) fn tend(appliance: &mut Appliance, platform: &mut dyn Platform) {
    while let Some(id) = appliance.published.take_doubtful() {
        look_at_paths(appliance, platform, id);
    }
    let now = platform.now();
    if now >= appliance.path_watch.next {
        appliance.path_watch.next = now.plus_micros(PAUSE_US);
        let (last, devices) = (
            appliance.path_watch.last,
            appliance.inventory.devices().iter(),
        );
        // The next one after the last, and then from the first on.
        appliance.path_watch.last = devices
            .map(|device| device.id)
            .min_by_key(|&id| (Some(id) <= last, id));
        if let Some(id) = appliance.path_watch.last {
            look_at_paths(appliance, platform, id);
        }
    }
    if core::mem::take(&mut appliance.path_watch.verifies) {
        verify_paths(appliance, platform);
    }
}

fn verify_paths(appliance: &mut Appliance, platform: &mut dyn Platform) {
    let mut verified = false;
    for disk in &mut appliance.plane.disks {
        if !verified && disk.driver.has_unverified_paths() {
            disk.driver.verify_paths(platform);
            verified = !disk.driver.has_unverified_paths();
        }
        appliance.path_watch.verifies |= disk.driver.has_unverified_paths();
    }
}
