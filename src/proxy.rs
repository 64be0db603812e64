//! What clients get.
//!
//! | module | what it is |
//! |---|---|
//! | [`block_service`] | the virtio block device behind a virtual subchannel: requests out of clients' queues into disks |
//! | [`client`] | one client: its area, its window, its virtual channel subsystem |
//! | [`clients`] | all of them, and what every call for one is given |
//! | [`ctx`] | what every call is given: the machine, the time, the trace |
//! | [`sharing`] | how the devices of a disk share it, by weights and with limits |
//! | [`subchannel`] | virtual subchannels: emulated ones, and those that stand for owned ones |
//! | [`translate`] | channel programs of a client made into programs that the hardware runs |
//!
//! # The rules
//!
//! * [`Proxy::turn`] is one turn of the event loop: completions, commands, rings, bells. It never
//!   waits, and each part of it is bounded.
//! * Whatever a client has written is copied once, checked, then used; what is wrong with it is that
//!   client's own trouble.

pub mod block_service;
pub mod client;
pub mod clients;
pub mod ctx;
pub mod sharing;
pub mod subchannel;
pub mod translate;

#[cfg(test)]
mod tests;

use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::trace::Recorder;

use crate::css::Platform;
use crate::driver::block::{BlockDevice, Done};
use crate::driver::disk::OwnedDisk;

use self::block_service::service::Requests;
use self::block_service::table::Request;
use self::block_service::{Unfit, VirtioBlk};
use self::client::Client;
use self::clients::Clients;
use self::ctx::serve;
use self::sharing::Sharing;
use self::subchannel::passthrough::PassThrough;
use crate::control::Slot;

/// Disks at most; the configuration allows half as many.
const MAX_DISKS: usize = 256;

/// All clients, and their requests in flight.
#[derive(Debug)]
pub struct Proxy {
    pub clients: Clients,
    /// The client whose requests are taken first in the next turn.
    first: usize,
    /// Devices may be held: requests that an earlier life had taken may still have to be done again, or a client's memory changes.
    holding: bool,
    requests: Requests,
    sharing: Sharing,
    /// Completions whose flush found the disk full, with the disk's number. Never more than there are requests.
    postponed: Vec<(usize, Done)>,
}

/// What a turn of the event loop did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Something was done.
    pub worked: bool,
    /// A client that sleeps was rung for: the host daemon needs the wake-up byte.
    pub wake: bool,
}

impl Proxy {
    /// Serves these clients from these disks. Each disk that is there has still to be [attached](Self::attach).
    pub fn new(
        clients: Vec<Client>,
        disks: &[OwnedDisk],
        trace: Option<Recorder<'static>>,
    ) -> Self {
        let mut this = Self {
            clients: Clients::new(clients, trace),
            first: 0,
            holding: false,
            requests: Requests::default(),
            sharing: Sharing::default(),
            postponed: Vec::new(),
        };
        this.make_room(disks);
        this
    }

    /// Room for as many requests as the disks can have in flight.
    fn make_room(&mut self, disks: &[OwnedDisk]) {
        let requests = disks.iter().map(|disk| {
            let geometry = disk.driver.geometry();
            usize::from(geometry.queues) * usize::from(geometry.queue_size)
        });
        let capacity = requests.sum();
        self.requests.table.grow(capacity);
        self.postponed
            .reserve_exact(capacity.saturating_sub(self.postponed.len()));
    }

    /// A disk is there, or is there again: clients are served from it. Tells of each export of it whether it fits.
    pub fn attach(
        &mut self,
        number: usize,
        disks: &mut [OwnedDisk],
        mut tell: impl FnMut(Slot, Result<(), Unfit>),
    ) {
        self.make_room(disks);
        let Some(disk) = disks.get_mut(number) else {
            return;
        };
        self.holding = true;
        let mut first_queue = 0;
        for client in &mut self.clients.all {
            client.attach(number, disk.driver.as_mut(), &mut first_queue, &mut tell);
        }
        let geometry = disk.driver.geometry();
        self.sharing.attach(number, geometry, &mut self.clients.all);
    }

    /// A client's memory changes: takes nothing from it until all that it has at the disks, which may be in memory that goes, has
    /// ended. Returns whether it has.
    pub fn settle(&mut self, number: u16) -> bool {
        let mut clients = self.clients.all.iter_mut();
        let Some(client) = clients.find(|client| client.number() == number) else {
            return true;
        };
        let at_disk = client.devices.iter().any(VirtioBlk::is_at_disk);
        client.settling = at_disk || client.is_leaving();
        self.holding = true;
        !at_disk
    }

    /// A client leaves. Nothing is taken from it any more, and when all that it has in flight has ended, it goes. Returns whether it has.
    pub fn leave(&mut self, number: u16, platform: &mut dyn Platform) -> bool {
        let clients = &mut self.clients;
        let mut all = clients.all.iter();
        let Some(place) = all.position(|client| client.number() == number) else {
            return !clients.is_parting_from(number);
        };
        let Some(client) = clients.all.get_mut(place) else {
            return true;
        };
        client.settling = true;
        self.holding = true;
        if !client.is_leaving() {
            clients.begin_leaving(place, platform);
        }
        let at_rest = clients.all.get(place).is_some_and(Client::is_at_rest);
        if !at_rest || clients.is_parting_from(number) {
            return false;
        }
        clients.dismiss(place);
        let last = clients.all.len() as u16;
        self.requests.table.move_client(last, place as u16);
        if self.first >= clients.all.len() {
            self.first = 0;
        }
        self.sharing.detach(&mut clients.all);
        true
    }

    /// A disk is not there any more, of which nobody has a part.
    pub fn forget_disk(&mut self, platform: &mut dyn Platform, disk: usize) {
        self.clients.forget_disk(platform, disk);
        self.sharing.forget(disk);
    }

    /// A client's memory has changed: what has a ring that is not in it any more is served no longer.
    pub fn check_rings(&mut self, number: u16) {
        let clients = self.clients.all.iter_mut();
        for client in clients.filter(|client| client.number() == number) {
            client.devices.iter_mut().for_each(VirtioBlk::check_rings);
        }
    }

    /// The requests in flight at the disks.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.table.iter()
    }

    /// Requests in flight at the disks.
    pub fn at_disks(&self) -> usize {
        self.requests.table.in_flight()
    }

    /// The same, and programs that have to be looked after while they run.
    pub fn in_flight(&self) -> usize {
        self.requests.table.in_flight() + usize::from(self.clients.any(PassThrough::wants_refresh))
    }

    /// One turn. With `taking` false no new requests are taken.
    pub fn turn(
        &mut self,
        disks: &mut [OwnedDisk],
        platform: &mut dyn Platform,
        taking: bool,
    ) -> Turn {
        let mut turn = Turn::default();
        self.collect(disks, &mut turn);
        if self.clients.has_news() {
            turn.worked |= self.clients.poll_requests(platform);
        }
        if taking {
            if self.holding {
                self.hold();
            }
            if self.sharing.is_needed() {
                let now = platform.now();
                self.sharing.share_out(&mut self.clients.all, now);
            }
            self.requests.full = false;
            let count = self.clients.all.len();
            // From the one whose turn it is; those before it come last.
            let mut place = self.first;
            for _ in 0..count {
                let Some(client) = self.clients.all.get_mut(place) else {
                    break;
                };
                if !client.devices.is_empty() {
                    let requests = &mut self.requests;
                    turn.worked |= client.serve(disks, requests, self.clients.note);
                }
                place += 1;
                if place == count {
                    place = 0;
                }
            }
            if self.requests.full {
                // What becomes free is not always the same client's.
                let next = self.first + 1;
                self.first = if next < count { next } else { 0 };
            }
        }
        for disk in disks.iter_mut() {
            disk.driver.kick(platform);
        }
        for client in &mut self.clients.all {
            turn.wake |= client.publish(self.clients.note);
        }
        turn
    }

    /// When somebody may take a request that is there and is held back now.
    pub const fn next(&self) -> Option<Tod> {
        self.sharing.next()
    }

    /// Whether anybody's requests are counted, and can be held back.
    pub const fn is_shared(&self) -> bool {
        self.sharing.is_needed()
    }

    /// Holds the devices of clients whose memory changes, and of disks that are done again by what an earlier life had taken. That
    /// may be on the disk already, and another client may have read it there. If that client wrote the sectors anew and was told so before
    /// the first write was done again, its write would be lost.
    #[cold]
    fn hold(&mut self) {
        let mut held = [false; MAX_DISKS];
        for device in self.clients.all.iter().flat_map(Client::devices) {
            if let Some(held) = held.get_mut(device.disk()) {
                *held |= device.is_redoing();
            }
        }
        let mut holding = held.contains(&true);
        for client in &mut self.clients.all {
            holding |= client.settling;
            for device in &mut client.devices {
                let held = held.get(device.disk());
                device.hold(client.settling || held.is_some_and(|&held| held));
            }
        }
        self.holding = holding;
    }

    fn collect(&mut self, disks: &mut [OwnedDisk], turn: &mut Turn) {
        while let Some((number, done)) = self.postponed.pop() {
            let disk = disks.get_mut(number);
            if disk.is_none_or(|disk| !self.finish(disk.driver.as_mut(), done)) {
                self.postponed.push((number, done));
                break;
            }
            turn.worked = true;
        }
        let mut number = 0;
        while let Some(disk) = disks.get_mut(number) {
            let Some(done) = disk.driver.poll() else {
                number += 1;
                continue;
            };
            turn.worked = true;
            if !self.finish(disk.driver.as_mut(), done) {
                self.postponed.push((number, done));
            }
        }
    }

    /// Ends the request of a completion. `false`: it needs room on the disk first.
    fn finish(&mut self, disk: &mut dyn BlockDevice, done: Done) -> bool {
        let table = &mut self.requests.table;
        let Some(request) = table.remove(done.token) else {
            return ends_nothing(&done);
        };
        let origin = request.origin;
        let Some(client) = self.clients.all.get_mut(usize::from(origin.client)) else {
            return ends_nothing(&done);
        };
        let number = client.number();
        let Some(device) = client.devices.get_mut(usize::from(origin.subchannel)) else {
            return ends_nothing(&done);
        };
        serve(self.clients.note, number, device.index());
        device.complete(&request, done.status, disk, table)
    }

    /// Before sleeping: asks every client to ring. Returns whether there is work after all: requests that cannot be taken before
    /// another one ends are none.
    pub fn arm_wakeup(&mut self) -> bool {
        let full = self.requests.table.is_full();
        let note = self.clients.note;
        let waiting = self.clients.all.iter_mut().fold(false, |waiting, client| {
            client.arm_wakeup(full, note) | waiting
        });
        self.clients.serve_nobody();
        waiting
    }

    /// After sleeping: no client need ring.
    pub fn disarm_wakeup(&mut self) {
        for client in &mut self.clients.all {
            client.disarm_wakeup(self.clients.note);
        }
        self.clients.serve_nobody();
    }
}

/// A disk has ended what nobody has asked for.
#[cold]
fn ends_nothing(done: &Done) -> bool {
    log::error!("a disk has ended what is no client's request: {done:?}");
    true
}
