//! What looks wrong, in words.
//!
//! # Rule
//!
//! Each finding is something that an operator can do something about, or tell somebody of; what is only busy is none. What takes two looks
//! is compared with a [`Sample`] of a second before: with one that has nothing, nothing is said of it.

use s390x::clock::Tod;
use vcss::control::{Device, HeldBackBy};
use vcss::trace::DriverState;

use super::general::Seconds;
use crate::boot::program::Usage;
use crate::monitor::message::{self, Message};
use crate::monitor::operands::number_of;
use crate::monitor::sample::{each_queue, Place, Sample};
use crate::monitor::view::Driver;
use crate::monitor::{Out, View};

/// Of each hundred so many are left when something is nearly used up.
const LITTLE: u64 = 10;

pub fn diag(view: &dyn View, before: &Sample, out: &mut Out<'_>) {
    let mut findings = Findings { out, any: false };
    disks(view, &mut findings);
    clients(view, &mut findings);
    devices(view, &mut findings);
    queues(view, before, &mut findings);
    program(view, before, &mut findings);
    if !findings.any {
        let watched = Seconds(view.now().micros_since(before.at));
        let text = format_args!("nothing looks wrong (watched for {watched})");
        findings.out.say(message::WELL, text);
    }
}

struct Findings<'a, 'o> {
    out: &'a mut Out<'o>,
    any: bool,
}

impl Findings<'_, '_> {
    fn say(&mut self, message: Message, text: core::fmt::Arguments<'_>) {
        self.any = true;
        self.out.say(message, text);
    }
}

fn disks(view: &dyn View, findings: &mut Findings<'_, '_>) {
    for disk in (0..view.disk_count()).filter_map(|index| view.disk(index)) {
        let (name, number) = (disk.name, disk.number);
        match disk.reason {
            Some(reason) => {
                let text = format_args!("disk {name} ({number}) is not served: {reason}");
                findings.say(message::DISK_FAILED, text);
            }
            None if disk.is_broken => {
                let text = format_args!("the driver of disk {name} ({number}) has given it up");
                findings.say(message::DISK_FAILED, text);
            }
            None => {}
        }
        let done = &disk.recoveries;
        let (retries, failures) = (done.retries.get(), done.failures.get());
        let timeouts = done.timeouts.get();
        if retries | failures | timeouts != 0 {
            let text = format_args!("disk {name} ({number}): {retries} retries, {timeouts} time-outs, {failures} requests failed");
            findings.say(message::RETRIED, text);
        }
    }
}

fn clients(view: &dyn View, findings: &mut Findings<'_, '_>) {
    for client in (0..).map_while(|place| view.client(place)) {
        let (name, lost) = (client.name, client.reports.lost);
        if let Some(reason) = client.reason {
            let text = format_args!("client {name} is not served: {reason}");
            findings.say(message::CLIENT_FAILED, text);
        }
        if lost != 0 {
            let text = format_args!(
                "client {name} has lost {lost} channel reports: it does not take them"
            );
            findings.say(message::REPORTS_LOST, text);
        }
    }
    for export in (0..).map_while(|place| view.export(place)) {
        let (client, index) = (export.client, export.index);
        if let Some(reason) = export.reason {
            let text = format_args!("client {client}, subchannel {index} is not served: {reason}");
            findings.say(message::EXPORT_FAILED, text);
        }
        if export.driver == Driver::NeedsReset {
            let text = format_args!("client {client}, subchannel {index} waits for its driver to reset it: the log says why");
            findings.say(message::NEEDS_RESET, text);
        }
        let by = match HeldBackBy::from_number(export.held_back.by.get()) {
            Some(HeldBackBy::Share) => "others have the rest of the disk",
            Some(HeldBackBy::Limits) => "it has done what its limits allow",
            Some(HeldBackBy::Nothing) | None => continue,
        };
        let text = format_args!("client {client}, subchannel {index} is held back: {by}");
        findings.say(message::HELD_BACK, text);
    }
}

fn devices(view: &dyn View, findings: &mut Findings<'_, '_>) {
    for device in (0..).map_while(|place| view.device(place)) {
        let number = number_of(&device);
        let is_given = device.client.get() != Device::NO_CLIENT;
        let state = DriverState::from_number(device.state);
        match state.filter(|_| is_given) {
            Some(DriverState::Disconnected) => {
                let text =
                    format_args!("device {number} was given up: not even a clear function ended");
                findings.say(message::NO_ANSWER, text);
            }
            Some(DriverState::Quiescing) => {
                let text = format_args!("device {number} has not ended what its client left");
                findings.say(message::NO_ANSWER, text);
            }
            _ if device.cu_type.get() == 0 => {
                let text =
                    format_args!("device {number} has not said what it is, and is given to nobody");
                findings.say(message::NO_ANSWER, text);
            }
            _ => {}
        }
    }
}

fn queues(view: &dyn View, before: &Sample, findings: &mut Findings<'_, '_>) {
    each_queue(view, &mut |place| {
        let Some(was) = before.before(&place) else {
            return;
        };
        // All that can move, has not.
        let Place {
            queue: now, number, ..
        } = place;
        if *was != now {
            return;
        }
        let Some(export) = view.export(place.export) else {
            return;
        };
        let (client, index, in_flight) = (export.client, export.index, now.in_flight);
        if in_flight != 0 {
            let disk = export.disk.and_then(|disk| view.disk(disk));
            let disk = disk.map_or("-", |disk| disk.name);
            let text = format_args!("client {client}, subchannel {index}, queue {number} does not move: {in_flight} in flight at disk {disk}");
            findings.say(message::QUEUE_STANDS, text);
        } else if now.has_news && export.driver == Driver::Ready {
            let text = format_args!("client {client}, subchannel {index}, queue {number} has requests that nobody takes");
            findings.say(message::NOT_TAKEN, text);
        }
    });
}

fn program(view: &dyn View, before: &Sample, findings: &mut Findings<'_, '_>) {
    let healed = view.summary().about.healed.get();
    if healed != 0 {
        let lately = healed.saturating_sub(before.healed);
        let since = if before.at == Tod::default() {
            0
        } else {
            lately
        };
        let text = format_args!("{healed} wake-ups were lost since the start, {since} just now: work waited for the slow timer");
        findings.say(message::LATE, text);
    }
    let innards = view.innards();
    let nearly = |usage: Usage| {
        let left = usage.size.saturating_sub(usage.used);
        usage.size != 0 && left.saturating_mul(100) < usage.size.saturating_mul(LITTLE)
    };
    if nearly(innards.heap) {
        let (used, size) = (innards.heap.used >> 10, innards.heap.size >> 10);
        let text = format_args!(
            "memory is nearly used up: {used} of {size} KiB; the appliance needs more"
        );
        findings.say(message::LITTLE_MEMORY, text);
    }
    if nearly(innards.stack) {
        let (used, size) = (innards.stack.used, innards.stack.size);
        findings.say(
            message::LITTLE_STACK,
            format_args!("the stack was nearly used up: {used} of {size} bytes"),
        );
    }
}
