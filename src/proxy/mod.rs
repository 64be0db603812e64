//! What clients get.
//!
//! | module | what it is |
//! |---|---|
//! | [`client`] | one client: its area, its window, its virtual channel subsystem |
//! | [`subchannel`] | a virtual subchannel's architected state and condition codes |
//! | [`program`] | the channel of an emulated control unit |
//! | [`translate`] | channel programs of a client made into programs that the hardware runs |
//! | [`virtio_blk`] | the virtio block device behind a virtual subchannel, and the block service |
//!
//! # The rules
//!
//! * [`Proxy::turn`] is one turn of the event loop: completions, commands, rings, bells. It never
//!   waits, and each part of it is bounded.
//! * Whatever a client has written is copied once, checked, then used; what is wrong with it is that
//!   client's own trouble.

pub mod client;
pub mod program;
pub mod subchannel;
pub mod translate;
pub mod virtio_blk;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::driver::block::{BlockDevice, Done};
use crate::driver::Platform;

use self::client::Client;
use self::virtio_blk::service::{Context, Scratch, Table};

/// All clients, and their requests in flight.
pub struct Proxy {
    clients: Vec<Client>,
    table: Table,
    scratch: Scratch,
    /// Completions whose flush found the disk full. Never more than there are requests.
    postponed: Vec<Done>,
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
    /// Serves these clients from these disks.
    pub fn new(clients: Vec<Client>, disks: &[Box<dyn BlockDevice>]) -> Self {
        let capacity = disks
            .iter()
            .map(|disk| {
                usize::from(disk.geometry().queues) * usize::from(disk.geometry().queue_size)
            })
            .sum();
        Self {
            clients,
            table: Table::new(capacity),
            scratch: Scratch::default(),
            postponed: Vec::with_capacity(capacity),
        }
    }

    /// The clients.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.table.in_flight()
    }

    /// One turn. With `taking` false no new requests are taken.
    pub fn turn(
        &mut self,
        disks: &mut [Box<dyn BlockDevice>],
        platform: &mut dyn Platform,
        taking: bool,
    ) -> Turn {
        let mut turn = Turn::default();
        self.collect(disks, &mut turn);
        for client in &mut self.clients {
            turn.worked |= client.hear();
            if taking {
                turn.worked |= client.serve(disks, &mut self.table, &mut self.scratch);
            }
        }
        for disk in disks.iter_mut() {
            disk.kick(platform);
        }
        for client in &mut self.clients {
            turn.wake |= client.publish();
        }
        turn
    }

    /// Completions, of all disks.
    fn collect(&mut self, disks: &mut [Box<dyn BlockDevice>], turn: &mut Turn) {
        while let Some(done) = self.postponed.pop() {
            if !self.finish(disks, done) {
                self.postponed.push(done);
                break;
            }
            turn.worked = true;
        }
        for number in 0..disks.len() {
            while let Some(done) = disks.get_mut(number).and_then(|disk| disk.poll()) {
                turn.worked = true;
                if !self.finish(disks, done) {
                    self.postponed.push(done);
                }
            }
        }
    }

    /// Ends the request of a completion. `false`: it needs room on the disk first.
    fn finish(&mut self, disks: &mut [Box<dyn BlockDevice>], done: Done) -> bool {
        let Some(origin) = self.table.origin(done.token) else {
            return true;
        };
        let Some(client) = self.clients.get_mut(usize::from(origin.client)) else {
            return true;
        };
        let Some(device) = client.devices.get_mut(usize::from(origin.subchannel)) else {
            return true;
        };
        let Some(disk) = disks.get_mut(device.export().disk) else {
            return true;
        };
        let mut context = Context {
            area: &client.area,
            window: client.window,
            disk: disk.as_mut(),
            table: &mut self.table,
            scratch: &mut self.scratch,
        };
        device.complete(done, &mut context)
    }

    /// Before sleeping: asks every client to ring. Returns whether there is work after all.
    pub fn lie_down(&mut self) -> bool {
        self.clients
            .iter_mut()
            .fold(false, |waiting, client| client.lie_down() | waiting)
    }

    /// After sleeping: no client need ring.
    pub fn get_up(&mut self) {
        self.clients.iter_mut().for_each(Client::get_up);
    }
}

impl core::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Proxy")
            .field("clients", &self.clients.len())
            .field("in_flight", &self.table.in_flight())
            .finish()
    }
}
