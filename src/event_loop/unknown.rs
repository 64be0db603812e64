//! Devices that have not said what they are.
//!
//! # Rules
//!
//! * Nobody is given one: it might be one whose data are addresses, see
//!   [`Device::reason_to_withhold`](crate::css::Device::reason_to_withhold). Whoever it is for reads so.
//! * One of them is asked again every few seconds, and at once when the daemon wants a try of whom it is for. Clients wait meanwhile, so the
//!   pause is many times as long as that takes.

use liballoc::vec::Vec;

use channel::{DeviceNumber, SubchannelId};
use s390x::clock::Tod;

use super::Appliance;
use crate::control::{ExportKind, Exported, Subject};
use crate::css::Platform;
use crate::css::{Change, Device};

/// The pause between two tries, in microseconds, and how many times the time that a try took it is at least.
const PAUSE_US: u64 = 10_000_000;
const SHARE: u64 = 20;

/// What is known of those of which nothing is known.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Nobody is asked before, unless the daemon wants it.
    next: Tod,
    /// Who was asked last.
    last: Option<SubchannelId>,
    /// Some export is said to have failed because of one.
    told: bool,
}

impl Unknown {
    pub(super) const fn new() -> Self {
        Self {
            next: Tod::from_units(0),
            last: None,
            told: false,
        }
    }
}

impl Appliance {
    /// Whether somebody may get a device once it says what it is. A disk's is tried as that.
    fn is_unknown(&self, device: &Device) -> bool {
        let mut disks = self.plane.disks.iter();
        device.identity.is_err()
            && !disks.any(|disk| disk.number == device.number)
            && !self.plane.proxy.holds(device.id)
    }

    /// The unknown device with a number.
    fn unknown(&self, number: DeviceNumber) -> Option<&Device> {
        let device = self.inventory.find(number)?;
        self.is_unknown(device).then_some(device)
    }

    /// Asks one that is due, and says who does not get what for that reason.
    pub(super) fn tend_unknown(&mut self, platform: &mut dyn Platform) {
        let mut devices = self.inventory.devices().iter();
        if !self.unknown.told && devices.all(|device| device.identity.is_ok()) {
            return;
        }
        self.unknown.told = false;
        let mut asked = None;
        for (index, number) in passed_through(&self.exports) {
            let of = Subject::Export(index);
            if self.suspects.withholds(of).is_some() {
                continue;
            }
            let unknown = self.unknown(number).map(|device| device.id);
            match (unknown, self.conditions.reason(of).is_some()) {
                (Some(_), false) => self.tell_unknown(of, number),
                (Some(id), true) if self.conditions.is_asked(of) => asked = Some(id),
                (None, true) => {
                    self.conditions.good(of);
                }
                _ => {}
            }
            self.unknown.told |= unknown.is_some();
        }
        let began = platform.now();
        if asked.is_none() && began < self.unknown.next {
            return;
        }
        let devices = self.inventory.devices().iter();
        let all = devices.filter(|device| self.is_unknown(device));
        // The next one after the last, and then from the first on.
        let next = || {
            all.map(|it| it.id)
                .min_by_key(|&id| (Some(id) <= self.unknown.last, id))
        };
        let Some(id) = asked.or_else(next) else {
            return;
        };
        self.unknown.last = Some(id);
        let change = self.inventory.look(platform, id);
        let took = platform.now().micros_since(began);
        let pause = took.saturating_mul(SHARE).max(PAUSE_US);
        self.unknown.next = platform.now().plus_micros(pause);
        if let Change::Came(place) = change {
            let device = self.inventory.devices().get(place);
            if device.is_some_and(|device| device.identity.is_ok()) {
                self.take_in(platform, place);
            }
        }
        // Of those that are still unknown, this was a try.
        for (index, number) in passed_through(&self.exports) {
            self.tell_unknown(Subject::Export(index), number);
        }
    }

    /// Says why an export is not served, if it is for that reason.
    fn tell_unknown(&mut self, of: Subject, number: DeviceNumber) {
        let error = self.unknown(number).and_then(|it| it.identity.err());
        let is_withheld = self.suspects.withholds(of).is_some();
        if let Some(error) = error.filter(|_| !is_withheld) {
            let reason = format_args!("{number} has not said what it is: {error}");
            self.conditions.failed(of, &reason);
        }
    }
}

/// The exports that are given a device by its number.
fn passed_through(exports: &[Exported]) -> Vec<(usize, DeviceNumber)> {
    let all = exports.iter().enumerate();
    all.filter_map(|(index, export)| match export.kind {
        ExportKind::PassThrough(number) => Some((index, number)),
        _ => None,
    })
    .collect()
}
