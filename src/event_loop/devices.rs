//! The owned devices: channel reports of those that go, come, or come back, and those that have not said what they are.
//!
//! # Rules
//!
//! * The subchannel of the link, and that of a disk as long as its driver has it, is left alone, whatever is plugged in there.
//! * Whoever has a device that has gone hears of it first. Then the subchannel is looked at, and what is there now is given to whom it
//!   is for: by its number, wherever it is.
//! * Nobody is given a device that has not said what it is: it might be one whose data are addresses, see
//!   [`Device::reason_to_withhold`](crate::css::Device::reason_to_withhold). Whoever it is for reads so.
//! * One of these is asked again every few seconds, and at once when the daemon wants a try of whom it is for. Clients wait meanwhile, so
//!   the pause is many times as long as that takes.

use liballoc::vec::Vec;

use channel::{DeviceNumber, ReportSubject, SubchannelId};
use s390x::clock::Tod;
use s390x::machine_check::MachineCheckCode;
use vcss::trace::TraceEvent;

use super::reports::{self, Report, Task};
use super::{paths, Appliance};
use crate::control::{Exported, Subject};
use crate::css::{while_serving, Change, Device, Platform};

/// The pause between two tries, in microseconds, and how many times the time that a try took it is at least.
const PAUSE_US: u64 = 10_000_000;
const SHARE: u64 = 20;
/// Reports, and steps of a look at everything, in one turn at most, and how many microseconds they may take until the last one begins.
const TASKS: usize = 64;
const TURN_US: u64 = 1_000;
/// Events of the channel subsystem for one report.
const EVENTS: usize = 16;

/// What is known of those of which nothing is known.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Nobody is asked before, unless the daemon wants it.
    next: Tod,
    /// Who was asked last.
    last: Option<SubchannelId>,
    /// Some export is said to have failed because of one.
    told: bool,
}

impl Appliance {
    /// Reads channel reports, and takes some of them to those that they are about. To be called until there are no more.
    pub(super) fn reports(&mut self, platform: &mut dyn Platform) {
        self.reports.read(platform);
        if !self.reports.is_busy() {
            return;
        }
        self.plane.proxy.clients.serve_nobody();
        let began = platform.now();
        for _ in 0..TASKS {
            let Some(task) = self.reports.next(platform, &self.inventory) else {
                return;
            };
            match task {
                Task::Report(report) => self.report(platform, &report),
                Task::LookAt(id) => self.look_at(platform, id),
                Task::Passed => {}
            }
            if platform.now().micros_since(began) >= TURN_US {
                return;
            }
        }
    }

    /// Takes a report to those that it is about. One by which nothing known changes is logged, and that is all.
    fn report(&mut self, platform: &mut dyn Platform, report: &Report) {
        let now = platform.now();
        self.reports.log(report, now);
        self.plane.proxy.clients.record(&report.record(now));
        match report.said.subject() {
            ReportSubject::Subchannel(id) => self.look_at(platform, id),
            ReportSubject::ChannelPath(chpid) => {
                paths::look_at_path(self, platform, chpid);
                self.plane.proxy.clients.path(platform, report.said.first);
            }
            ReportSubject::EventInformation => self.events(platform),
            ReportSubject::ChannelSubsystem => self.reports.look_at_everything(),
            ReportSubject::Monitoring
            | ReportSubject::ConfigurationAlert
            | ReportSubject::Unknown => {}
        }
    }

    /// Gets what the channel subsystem has to say. If that is too much for one turn, the rest is made up for by a look at everything.
    fn events(&mut self, platform: &mut dyn Platform) {
        for _ in 0..EVENTS {
            let Some(event) = platform.event_information() else {
                return;
            };
            log::warn!("channel-subsystem event: {event}");
            if event.changes_something() {
                self.reports.look_at_everything();
            }
            if !event.has_more() {
                return;
            }
        }
        self.reports.look_at_everything();
    }

    /// A machine check has ended the sleep, one that the program survives.
    pub(super) fn machine_check(&mut self, platform: &mut dyn Platform, code: MachineCheckCode) {
        if !code.is_report_alone() {
            let now = platform.now();
            let words = [code.bits(), 0, 0];
            let record = reports::event(TraceEvent::MachineCheck, 0, words, now);
            self.plane.proxy.clients.record(&record);
        }
        self.reports.expect();
    }

    /// Something has happened to a subchannel. Clients wait meanwhile.
    fn look_at(&mut self, platform: &mut dyn Platform, id: SubchannelId) {
        // Each of many that do not answer may take a second.
        self.come_round(platform);
        while_serving(platform, |platform| self.look_while_serving(platform, id));
    }

    fn look_while_serving(&mut self, platform: &mut dyn Platform, id: SubchannelId) {
        paths::look_at_paths(self, platform, id);
        let mut is_driven = false;
        for disk in &mut self.plane.disks {
            if disk.id == Some(id) {
                disk.driver.recheck(platform);
            }
            is_driven |= disk.drives(id);
        }
        self.plane.proxy.clients.report(platform, id);
        if id == self.link.id() || is_driven {
            return self.still_ours(platform, id);
        }
        if self.plane.proxy.clients.holds(id) {
            return;
        }
        match self.inventory.look(platform, id) {
            Change::Nothing => {}
            Change::Gone(_) => log::info!("{id}: the device has gone"),
            Change::Came(place) => self.take_in(platform, place),
        }
    }

    /// Says so if somebody else's device is on the subchannel of a disk or of the link.
    fn still_ours(&self, platform: &mut dyn Platform, id: SubchannelId) {
        let mut devices = self.inventory.devices().iter();
        let ours = devices.find(|device| device.id == id);
        let there = platform.store(id).ok().map(|schib| schib.pmcw);
        let there = there.filter(|pmcw| pmcw.has_device());
        if let (Some(ours), Some(there)) = (ours, there) {
            if ours.number.number != there.device.get() {
                log::warn!(
                    "{id} has {:04x} now and is left alone for the time being: it is that of {}",
                    there.device.get(),
                    ours.number
                );
            }
        }
    }

    /// A device has been plugged in.
    pub(super) fn take_in(&mut self, platform: &mut dyn Platform, place: usize) {
        let Some(device) = self.inventory.devices().get(place) else {
            return;
        };
        let (number, id) = (device.number, device.id);
        match &device.identity {
            Ok(identity) => log::info!(
                "{number} on {id}: {:04x}/{:02x}",
                identity.cu_type,
                identity.cu_model
            ),
            Err(error) => log::warn!("{number} on {id}: {error}"),
        }
        let disk = self.plane.disks.iter().enumerate();
        let mut disk = disk.filter(|(_, disk)| disk.number == number);
        if let Some((index, disk)) = disk.next() {
            if disk.driver.is_broken() {
                self.try_disk_soon(index);
            } else {
                log::warn!("{number} is left alone: disk {} has that number", disk.name);
            }
        } else if !self.is_kept_for_somebody(number)
            && !self.plane.proxy.clients.plug(platform, device)
            && device.reason_to_withhold().is_none()
        {
            log::warn!("{number}: nobody is given it, and whoever gets what is left has no place for one more");
        }
    }

    /// Whether somebody may get a device once it says what it is. A disk's is tried as that.
    fn is_unknown(&self, device: &Device) -> bool {
        let mut disks = self.plane.disks.iter();
        device.identity.is_err()
            && !disks.any(|disk| disk.number == device.number)
            && !self.plane.proxy.clients.holds(device.id)
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
        for (index, number) in passed_through(self.table.exports()) {
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
        for (index, number) in passed_through(self.table.exports()) {
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
    let all = exports.iter();
    all.filter_map(|export| Some((export.index, export.given()?)))
        .collect()
}
