//! A configuration that changes while it is served by.
//!
//! # Rules
//!
//! * The daemon's entries are copied when the order names another generation, and compared with what is served by. Whoever is the same in
//!   both notices nothing.
//! * A client of which anything has changed leaves first: what it has in flight ends. Then it is put together as any other one that
//!   comes, from what its area says. So there is one way, whatever has changed.
//! * A disk that has changed is let go of when nobody has a part of it any more, and then the new one is there, to be tried as any other.
//! * Nobody waits for anybody whose places and devices it does not get. So what hangs somewhere keeps only those waiting.
//! * What was said of one that has gone, how it fared and what the appliance has died of, is not said of the next one in its place.
//! * What nobody has any more is offered to whoever gets what is left. What somebody is given who is still to come is nobody else's.
//! * When all of it is done, the daemon hears so.

use liballoc::string::ToString;
use liballoc::vec::Vec;

use channel::DeviceNumber;
use vcss::control::{Counters, ExportKind, LoanState};

use super::Appliance;
use crate::control::{Subject, Table};
use crate::css::stock::Stock;
use crate::css::{while_serving, Platform};
use crate::driver::disk::OwnedDisk;
use crate::proxy::block_service::VirtioBlk;
use crate::proxy::client::PathReports;

/// What is still to be done.
#[derive(Debug)]
pub(super) struct Change {
    generation: u32,
    /// What is to be served by.
    to: Table,
    /// Clients that are to leave.
    leaving: Vec<u16>,
    /// Clients that are to come.
    coming: Vec<u16>,
    /// Disks that are to be let go of.
    closing: Vec<usize>,
    /// Disks that are to be there.
    opening: Vec<usize>,
    /// What exports had counted whose clients have left and come again.
    counted: Vec<(usize, Counters)>,
}

/// Storage of disks that are there no longer. What a device may still use is kept for that.
#[derive(Debug, Default)]
pub(super) struct Stocks(Vec<(Option<DeviceNumber>, Stock)>);

impl Stocks {
    fn put(&mut self, number: DeviceNumber, (stock, is_free): (Stock, bool)) {
        if !stock.is_empty() {
            self.0.push(((!is_free).then_some(number), stock));
        }
    }

    fn take(&mut self, number: DeviceNumber) -> Stock {
        let mut all = self.0.iter();
        let own = all.position(|(of, _)| *of == Some(number));
        let place = own.or_else(|| self.0.iter().position(|(of, _)| of.is_none()));
        place.map_or(Stock::new(), |place| self.0.swap_remove(place).1)
    }
}

impl Change {
    fn is_done(&self) -> bool {
        self.leaving.is_empty()
            && self.coming.is_empty()
            && self.closing.is_empty()
            && self.opening.is_empty()
    }

    /// Whether a disk is on its way from or to its place.
    fn moves_disk(&self, index: usize) -> bool {
        self.closing.contains(&index) || self.opening.contains(&index)
    }
}

/// Goes on with a change of the configuration, or begins with one if the daemon wants that.
pub(super) fn change(this: &mut Appliance, platform: &mut dyn Platform) {
    let parting = this.plane.proxy.clients.parting();
    if parting != 0 {
        // Some of it may not be stopped when the change that it has left by is done.
        this.plane.proxy.clients.tend_parting(platform);
        if this.change.is_none() && this.plane.proxy.clients.parting() < parting {
            this.offer_unassigned(platform);
        }
    }
    let change = match this.change.take() {
        Some(change) => change,
        None => {
            let generation = this.control.wanted_configuration();
            if generation == this.control.about().configuration.get() {
                return;
            }
            let Ok(to) = this.control.table() else {
                return;
            };
            let given = to.exports().iter().filter_map(|it| it.given());
            this.awaited = given.chain(to.disks().map(|(_, it)| it.number)).collect();
            compare(this, generation, to)
        }
    };
    go_on_changing(this, platform, change);
}

#[cold]
fn compare(this: &Appliance, generation: u32, to: Table) -> Change {
    let from = &this.table;
    let disks = 0..from.disk_count().max(to.disk_count());
    let changed: Vec<usize> = disks.filter(|&it| from.disk(it) != to.disk(it)).collect();
    let there = changed.iter().copied();
    let closing = there.clone().filter(|&it| from.disk(it).is_some());
    let opening = there.filter(|&it| to.disk(it).is_some());
    let numbers = 0..this.control.client_count();
    let is_changed = |&number: &u16| {
        let has_part = |table: &Table| {
            let mut exports = table.exports_of(number);
            exports.any(|it| it.kind == ExportKind::Block && changed.contains(&it.disk()))
        };
        !from.has_same_client(&to, number) || has_part(&to) || has_anothers(this, number, &to)
    };
    let clients: Vec<u16> = numbers.filter(is_changed).collect();
    Change {
        generation,
        leaving: clients.clone(),
        coming: clients
            .into_iter()
            .filter(|&it| to.client(it).is_some())
            .collect(),
        closing: closing.collect(),
        opening: opening.collect(),
        counted: Vec::new(),
        to,
    }
}

/// Whether a client that gets what is left has a device that is for somebody else.
fn has_anothers(this: &Appliance, number: u16, to: &Table) -> bool {
    let is_given = |device: DeviceNumber| {
        to.disks().any(|(_, disk)| disk.number == device)
            || to.exports().iter().any(|it| it.given() == Some(device))
    };
    let Some(client) = this.plane.proxy.clients.get(number) else {
        return false;
    };
    client.passed_through().any(|(index, subject)| {
        let mut exports = this.table.exports_of(number);
        let export = exports.find(|it| it.slot.index == index);
        export.is_some_and(|it| it.kind == ExportKind::Any) && is_given(subject.device())
    })
}

#[cold]
fn go_on_changing(this: &mut Appliance, platform: &mut dyn Platform, mut change: Change) {
    let mut leaving = core::mem::take(&mut change.leaving);
    leaving.retain(|&number| !part_with_client(this, platform, number, &mut change));
    change.leaving = leaving;
    let mut closing = core::mem::take(&mut change.closing);
    closing.retain(|&index| !part_with_disk(this, platform, index));
    change.closing = closing;
    let mut opening = core::mem::take(&mut change.opening);
    opening.retain(|&index| !take_in_disk(this, index, &change));
    change.opening = opening;
    let mut coming = core::mem::take(&mut change.coming);
    coming.retain(|&number| !take_in_client(this, platform, number, &change));
    change.coming = coming;
    if change.is_done() {
        take_flags(this, &change.to);
        finish_change(this, platform, change.generation);
    } else {
        this.change = Some(change);
        // What it waits for is the end of requests.
        this.control.settling = true;
    }
}

/// What clients want to be told of, those that have stayed among them.
fn take_flags(this: &mut Appliance, to: &Table) {
    let numbers: Vec<u16> = to.clients().collect();
    for number in numbers {
        let entry = to.client(number).copied();
        if let (Some(client), Some(entry)) = (this.plane.proxy.clients.get_mut(number), &entry) {
            client.hear_of_paths(PathReports::of(entry));
        }
        this.table.set_client(number, entry);
    }
}

fn finish_change(this: &mut Appliance, platform: &mut dyn Platform, generation: u32) {
    log::info!("the configuration is that of generation {generation}");
    let count = this.table.disk_count();
    this.plane.disks.truncate(count);
    this.awaited = Vec::new();
    this.offer_unassigned(platform);
    this.control.about().configuration.set(generation);
    this.show();
    if this.control.tell() {
        this.wake(platform);
    }
}

/// Has a client leave. Returns whether it has.
fn part_with_client(
    this: &mut Appliance,
    platform: &mut dyn Platform,
    number: u16,
    change: &mut Change,
) -> bool {
    let clients = &this.plane.proxy.clients;
    if let Some(client) = clients.get(number) {
        for export in this.table.exports_of(number) {
            let counters = client.device(export.slot.index).map(VirtioBlk::counters);
            let mut others = change.counted.iter_mut();
            match (others.find(|it| it.0 == export.index), counters) {
                (Some(counted), Some(counters)) => counted.1 = counters,
                (None, Some(counters)) => change.counted.push((export.index, counters)),
                (_, None) => {}
            }
        }
    }
    if !this.plane.proxy.leave(number, platform) {
        return false;
    }
    let lent: Vec<usize> = (this.table.exports_of(number))
        .filter(|export| export.kind == ExportKind::Lent)
        .map(super::Exported::disk)
        .collect();
    for index in lent {
        if let Some(disk) = this.plane.disks.get_mut(index) {
            // Whoever comes next gets it, if it is wanted still.
            if disk.maintenance.state() == LoanState::Lent {
                disk.maintenance.set_state(LoanState::Changing);
            }
        }
    }
    let is_the_same = this.table.has_client_of_the_name(&change.to, number);
    if !is_the_same {
        forget(this, Subject::Client(number));
    }
    let exports: Vec<_> = this.table.exports_of(number).copied().collect();
    for export in exports {
        let next = change.to.export(export.index);
        let stays = is_the_same
            && next.is_some_and(|next| {
                next.slot == export.slot && this.table.identity(&export) == change.to.identity(next)
            });
        if !stays {
            forget(this, Subject::Export(export.index));
            this.control.forget_export(export.index);
            change.counted.retain(|it| it.0 != export.index);
        }
    }
    this.table.remove_exports_of(number);
    this.table.set_client(number, None);
    true
}

/// What was said of something that has gone is not said of the next one.
fn forget(this: &mut Appliance, of: Subject) {
    this.suspects.forget(of);
    this.conditions.forget(of);
}

/// Lets go of a disk. Returns whether that is done.
fn part_with_disk(this: &mut Appliance, platform: &mut dyn Platform, index: usize) -> bool {
    let proxy = &mut this.plane.proxy;
    let Some(disk) = this.plane.disks.get_mut(index) else {
        return true;
    };
    if proxy.clients.have(index) {
        return false;
    }
    if !disk.maintenance.is_own() {
        if !proxy.clients.end_maintenance(platform, disk.number) {
            return false;
        }
        disk.maintenance.set_state(LoanState::Own);
    }
    let closed = while_serving(platform, |platform| disk.close(platform));
    let Some(closed) = closed else {
        return false;
    };
    log::info!("disk {}: it is let go of", disk.name);
    this.stocks.put(disk.number, closed);
    *disk = OwnedDisk::vacant();
    proxy.forget_disk(platform, index);
    this.table.set_disk(index, None);
    forget(this, Subject::Disk(index));
    true
}

/// Takes in a disk. Returns whether that is done.
fn take_in_disk(this: &mut Appliance, index: usize, change: &Change) -> bool {
    let Some(entry) = change.to.disk(index) else {
        return true;
    };
    // The place, or the device, may be still another one's that goes.
    let is_in_the_way = |&other: &usize| {
        let disk = this.table.disk(other);
        other == index || disk.is_some_and(|disk| disk.number == entry.number)
    };
    if change.closing.iter().any(is_in_the_way) {
        return false;
    }
    let disk = OwnedDisk::new(
        entry.name.clone(),
        entry.number,
        this.control.maintenance(index),
    );
    let disks = &mut this.plane.disks;
    while disks.len() <= index {
        disks.push(OwnedDisk::vacant());
    }
    if let Some(place) = disks.get_mut(index) {
        *place = disk.with_stock(this.stocks.take(entry.number));
    }
    this.table.set_disk(index, Some(entry.clone()));
    log::info!("disk {}: it is new", entry.name);
    this.try_new_disk(index);
    true
}

/// Puts a client together that is new, or has changed. Returns whether that is done, whatever came of it.
fn take_in_client(
    this: &mut Appliance,
    platform: &mut dyn Platform,
    number: u16,
    change: &Change,
) -> bool {
    let is_ready = |export: &super::Exported| {
        let is_its = export.kind == ExportKind::Block && change.moves_disk(export.disk());
        !is_its && this.table.export(export.index).is_none()
    };
    if change.leaving.contains(&number)
        || !change.to.exports_of(number).all(is_ready)
        || is_given_what_others_have(this, number, change)
        || is_given_what_others_use(this, number, change)
    {
        return false;
    }
    this.table
        .set_client(number, change.to.client(number).copied());
    let exports: Vec<_> = change.to.exports_of(number).copied().collect();
    for export in &exports {
        this.table.add_export(*export);
    }
    this.try_client(platform, number);
    for export in &exports {
        let counted = change.counted.iter().find(|it| it.0 == export.index);
        let client = this.plane.proxy.clients.get_mut(number);
        match (client, counted) {
            (Some(client), Some((_, counters))) => {
                client.go_on(export.slot.index, *counters, true);
            }
            (Some(client), None) => client.announce(export.slot.index),
            (None, _) => {}
        }
        let disk = this.plane.disks.get(export.disk());
        if export.kind == ExportKind::Block && disk.is_some_and(|it| it.driver.is_broken()) {
            if let Some(reason) = this.conditions.reason(Subject::Disk(export.disk())) {
                let reason = reason.to_string();
                this.conditions
                    .failed(Subject::Export(export.index), &reason);
            }
        }
    }
    true
}

/// Whether a client that is to go may still have something in flight at a disk of which this client is given a part.
fn is_given_what_others_use(this: &Appliance, number: u16, change: &Change) -> bool {
    let parts = |export: &&super::Exported| export.kind == ExportKind::Block;
    let mut given = change.to.exports_of(number).filter(parts);
    given.any(|own| {
        let others = change.leaving.iter().filter(|&&other| other != number);
        let mut theirs = others.flat_map(|&other| this.table.exports_of(other));
        theirs.any(|export| export.is_part_of(own.disk()))
    })
}

/// Whether a client or a disk that is to go has a device that this client is given.
fn is_given_what_others_have(this: &Appliance, number: u16, change: &Change) -> bool {
    let clients = &this.plane.proxy.clients;
    let mut given = change.to.exports_of(number).filter_map(|it| it.given());
    given.any(|device| {
        let mut closing = change.closing.iter();
        let mut leaving = change.leaving.iter();
        closing.any(|&it| (this.table.disk(it)).is_some_and(|disk| disk.number == device))
            || leaving.any(|&it| {
                let mut all = clients
                    .get(it)
                    .into_iter()
                    .flat_map(|it| it.passed_through());
                all.any(|(_, subject)| subject.device() == device)
                    || clients.is_parting_with(device)
            })
    })
}
