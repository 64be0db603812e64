//! What clients get.
//!
//! | module | what it is |
//! |---|---|
//! | [`block_service`] | the virtio block device behind a virtual subchannel: requests out of clients' queues into disks |
//! | [`client`] | one client: its area, its window, its virtual channel subsystem |
//! | [`ctx`] | what every call is given: the machine, the time, the trace |
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
pub mod ctx;
pub mod subchannel;
pub mod translate;

#[cfg(test)]
mod tests;

use liballoc::vec::Vec;

use channel::{Crw, DeviceNumber, IoInterruption, SubchannelId};
use s390x::clock::Tod;
use vcss::trace::{Record, Recorder};
use vcss::underway::{CutOff, Note, Served};

use crate::css::Device;
use crate::css::Platform;
use crate::driver::block::{BlockDevice, Done};
use crate::driver::disk::OwnedDisk;

use self::block_service::service::Requests;
use self::block_service::Unfit;
use self::client::Client;
use self::ctx::{serve, Ctx};
use self::subchannel::passthrough::{driver_state, PassThrough};
use crate::control::{PassedThrough, Slot};

/// Disks at most; the configuration allows half as many.
const MAX_DISKS: usize = 256;
/// While a program that may change runs, it is looked at so often at least, in microseconds.
const TEND_US: u64 = 1_000;

/// All clients, and their requests in flight.
pub struct Proxy {
    /// Those that are there, in no order. The place of one does not change.
    clients: Vec<Client>,
    /// The client whose requests are taken first in the next turn.
    first: usize,
    /// Devices may be held: requests that an earlier life had taken may still have to be done again, or a client's memory changes.
    holding: bool,
    requests: Requests,
    /// Completions whose flush found the disk full, with the disk's number. Never more than there are requests.
    postponed: Vec<(usize, Done)>,
    /// There are pass-through subchannels, which cost time.
    passes_through: bool,
    trace: Option<Recorder<'static>>,
    tending: Tending,
    /// Where it is noted what is being done.
    note: Option<&'static Note>,
    /// What an earlier life left unfinished, until its client is there.
    cut: Option<CutOff>,
}

/// Whose program is looked at next, of those that may change while they run, and when.
///
/// One look can take milliseconds, and a client can have many such programs. So there is one look a turn, and three times as long as it
/// took there is none: others get three quarters of the time.
#[derive(Debug)]
struct Tending {
    /// Place of the client, and virtual subchannel.
    next: (usize, u16),
    from: Tod,
}

impl Default for Tending {
    fn default() -> Self {
        Self {
            next: (0, 0),
            from: Tod::from_micros(0),
        }
    }
}

/// Of what a look takes, so many times as long there is none.
const TEND_PAUSE: u64 = 3;

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
            clients: Vec::new(),
            first: 0,
            holding: false,
            passes_through: false,
            trace,
            requests: Requests::default(),
            postponed: Vec::new(),
            tending: Tending::default(),
            note: None,
            cut: None,
        };
        this.make_room(disks);
        for client in clients {
            this.admit(client);
        }
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
        for client in &mut self.clients {
            let of = client.number();
            client.attach(
                number,
                disk.driver.as_mut(),
                &mut first_queue,
                |index, fits| {
                    tell(Slot { client: of, index }, fits);
                },
            );
        }
    }

    /// From now on, notes what is carried out, so that a next life does not do it again. `cut` is what an earlier life left unfinished:
    /// it ends. So for all clients that are there, and for each that comes.
    pub fn note_requests(
        &mut self,
        note: &'static Note,
        cut: Option<CutOff>,
        platform: &mut dyn Platform,
    ) {
        self.note = Some(note);
        self.cut = cut;
        for place in 0..self.clients.len() {
            self.cut_off(place, platform);
        }
        self.serve_nobody();
    }

    /// For what is done outside a turn.
    pub fn ctx<'a>(&'a mut self, platform: &'a mut dyn Platform) -> Ctx<'a> {
        Ctx {
            trace: self.trace.as_mut(),
            note: self.note,
            ..Ctx::new(platform)
        }
    }

    /// The client at a place has come: what an earlier life left unfinished for it ends.
    pub fn cut_off(&mut self, place: usize, platform: &mut dyn Platform) {
        let Some(client) = self.clients.get_mut(place) else {
            return;
        };
        let Some(cut) = self.cut.take_if(|cut| cut.client == client.number()) else {
            return;
        };
        let mut ctx = Ctx {
            trace: self.trace.as_mut(),
            note: self.note,
            ..Ctx::new(platform)
        };
        client.cut_off(&cut, &mut ctx);
    }

    pub fn admit(&mut self, mut client: Client) {
        self.passes_through |= client.passed_through().next().is_some();
        client.place = self.clients.len() as u16;
        self.clients.push(client);
    }

    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    pub fn client(&self, number: u16) -> Option<&Client> {
        self.clients.iter().find(|client| client.number() == number)
    }

    /// A client's memory changes: takes nothing from it until all that it has in flight, which may be in memory that goes, has
    /// ended. Returns whether it has.
    pub fn settle(&mut self, number: u16) -> bool {
        let mut clients = self.clients.iter_mut();
        let Some(client) = clients.find(|client| client.number() == number) else {
            return true;
        };
        client.settling = client.devices.iter().any(|device| device.in_flight() > 0);
        self.holding = true;
        !client.settling
    }

    /// Whether a client has a device over a disk in use.
    pub fn is_in_use(&self, disk: usize) -> bool {
        self.clients.iter().any(|client| {
            let mut devices = client.devices().iter();
            devices.any(|device| device.export().disk == disk && device.is_driven())
        })
    }

    /// Writes a record of what was not done for a client.
    pub fn record(&mut self, record: &Record) {
        if let Some(trace) = &mut self.trace {
            trace.record(record);
        }
    }

    /// Requests in flight at the disks, and programs that have to be looked after while they run.
    pub fn in_flight(&self) -> usize {
        self.requests.table.in_flight() + usize::from(self.any(PassThrough::wants_refresh))
    }

    /// Whether an interruption of a pass-through subchannel may come soon.
    pub fn is_expecting(&self) -> bool {
        self.any(PassThrough::is_expecting)
    }

    /// Whether what clients left is being ended.
    pub fn is_quiescing(&self) -> bool {
        self.any(PassThrough::is_quiescing)
    }

    fn any(&self, fact: impl Fn(&PassThrough) -> bool) -> bool {
        self.passes_through && self.passed_through().any(|(_, _, subject)| fact(subject))
    }

    /// The pass-through subchannels, with the numbers of client and virtual subchannel.
    pub fn passed_through(&self) -> impl Iterator<Item = (u16, u16, &PassThrough)> {
        self.clients.iter().flat_map(|client| {
            let all = client.passed_through();
            all.map(move |(index, subject)| (client.number(), index, subject))
        })
    }

    /// How those of them fare that are not lent disks'.
    pub fn drivers(&self) -> impl Iterator<Item = PassedThrough> + '_ {
        self.passed_through()
            .filter(|(_, _, subject)| !subject.is_of_a_disk())
            .map(|(client, index, subject)| PassedThrough {
                client,
                index,
                id: subject.id(),
                device: subject.device(),
                state: driver_state(subject.state()),
            })
    }

    /// When pass-through subchannels need another turn, at the latest.
    pub fn deadline(&self, now: Tod) -> Tod {
        if !self.passes_through {
            return Tod::NEVER;
        }
        self.passed_through()
            .map(|(_, _, subject)| {
                if subject.wants_refresh() {
                    now.plus_micros(TEND_US).max(self.tending.from)
                } else {
                    subject.deadline()
                }
            })
            .min()
            .unwrap_or(Tod::NEVER)
    }

    /// An interruption. Returns whether it was a pass-through subchannel's.
    pub fn interruption(
        &mut self,
        platform: &mut dyn Platform,
        interruption: &IoInterruption,
    ) -> bool {
        let mut taken = false;
        if self.passes_through {
            self.each(platform, |client, ctx| {
                taken |= client.interruption(interruption, ctx);
            });
        }
        taken
    }

    /// A channel report about a subchannel: whoever has it looks whether its device has gone.
    pub fn report(&mut self, platform: &mut dyn Platform, about: SubchannelId) {
        self.each_pass_through(platform, |subject, ctx| {
            if about == subject.id() {
                subject.report(ctx);
            }
        });
    }

    /// Whether a client has the device of a subchannel, or will have it.
    pub fn holds(&self, id: SubchannelId) -> bool {
        self.clients.iter().any(|client| client.holds(id))
    }

    /// Puts a client's virtual subchannel into service again.
    pub fn release(
        &mut self,
        platform: &mut dyn Platform,
        slot: Slot,
        devices: &[Device],
        isc: u8,
    ) {
        let find = |wanted: DeviceNumber| {
            let mut all = devices.iter();
            all.find(|device| device.number == wanted).cloned()
        };
        self.passes_through = true;
        self.one(platform, slot.client, |client, ctx| {
            client.release(slot.index, find, isc, ctx);
        });
    }

    /// A device that nobody has: the client to whom it is given gets it, or one that gets what is left. Returns whether there is one.
    pub fn plug(&mut self, platform: &mut dyn Platform, device: &Device, isc: u8) -> bool {
        if let Some(reason) = device.reason_to_withhold() {
            log::error!("{} is not passed through: {reason}", device.number);
            return false;
        }
        // Whoever had it elsewhere may not have heard yet that it has gone there.
        self.each_pass_through(platform, |subject, ctx| {
            if subject.device() == device.number {
                subject.report(ctx);
            }
        });
        let places = self.clients.iter().filter_map(|client| {
            let (fit, index) = client.place_for(device.number)?;
            Some((fit, client.number(), index))
        });
        let Some((_, chosen, index)) = places.min() else {
            return false;
        };
        self.passes_through = true;
        self.one(platform, chosen, |client, ctx| {
            client.plug(index, device, isc, ctx);
        });
        true
    }

    pub fn path(&mut self, platform: &mut dyn Platform, report: Crw) {
        self.each(platform, |client, ctx| client.path(report, ctx));
    }

    /// Gives a disk's subchannel to whom it can be given for maintenance. Returns whether anybody has it now.
    pub fn begin_maintenance(
        &mut self,
        platform: &mut dyn Platform,
        device: &Device,
        isc: u8,
    ) -> bool {
        self.passes_through = true;
        let mut given = false;
        self.each(platform, |client, ctx| {
            given = given || client.begin_maintenance(device, isc, ctx);
        });
        given
    }

    /// Takes a disk's subchannel from whoever has it for maintenance, and says whether that is done. To be called until it is.
    pub fn end_maintenance(&mut self, platform: &mut dyn Platform, number: DeviceNumber) -> bool {
        let mut done = true;
        self.each_pass_through(platform, |subject, ctx| {
            if subject.is_of_a_disk() && subject.device() == number {
                done &= subject.end_maintenance(ctx);
            }
        });
        done
    }

    /// Takes all owned subchannels from their clients.
    pub fn offline(&mut self, platform: &mut dyn Platform) {
        self.each_pass_through(platform, PassThrough::offline);
    }

    fn each(
        &mut self,
        platform: &mut dyn Platform,
        mut act: impl FnMut(&mut Client, &mut Ctx<'_>),
    ) {
        let mut ctx = Ctx {
            now: if self.passes_through {
                platform.now()
            } else {
                Tod::NEVER
            },
            platform,
            trace: self.trace.as_mut(),
            note: self.note,
        };
        for client in &mut self.clients {
            act(client, &mut ctx);
        }
        self.serve_nobody();
    }

    fn one(
        &mut self,
        platform: &mut dyn Platform,
        number: u16,
        mut act: impl FnMut(&mut Client, &mut Ctx<'_>),
    ) {
        self.each(platform, |client, ctx| {
            if client.number() == number {
                act(client, ctx);
            }
        });
    }

    fn each_pass_through(
        &mut self,
        platform: &mut dyn Platform,
        mut act: impl FnMut(&mut PassThrough, &mut Ctx<'_>),
    ) {
        self.each(platform, |client, ctx| {
            client.each_pass_through(ctx, &mut act);
        });
    }

    /// What is done from now on is done for this.
    pub fn serve(&self, what: Served) {
        if let Some(note) = self.note {
            note.serve(what);
        }
    }

    /// What is done from now on is done for nobody.
    pub fn serve_nobody(&self) {
        if let Some(note) = self.note {
            note.serve_nobody();
        }
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
        self.listen(platform, &mut turn);
        if taking {
            if self.holding {
                self.hold();
            }
            self.requests.full = false;
            let count = self.clients.len();
            // From the one whose turn it is; those before it come last.
            let mut place = self.first;
            for _ in 0..count {
                let Some(client) = self.clients.get_mut(place) else {
                    break;
                };
                if !client.devices.is_empty() {
                    let requests = &mut self.requests;
                    turn.worked |= client.serve(disks, requests, self.note);
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
        for client in &mut self.clients {
            turn.wake |= client.publish(self.note);
        }
        turn
    }

    /// Holds the devices of clients whose memory changes, and of disks that are done again by what an earlier life had taken. That
    /// may be on the disk already, and another client may have read it there. If that client wrote the sectors anew and was told so before
    /// the first write was done again, its write would be lost.
    #[cold]
    fn hold(&mut self) {
        let mut held = [false; MAX_DISKS];
        for device in self.clients.iter().flat_map(Client::devices) {
            if let Some(held) = held.get_mut(device.export().disk) {
                *held |= device.is_redoing();
            }
        }
        let mut holding = held.contains(&true);
        for client in &mut self.clients {
            holding |= client.settling;
            for device in &mut client.devices {
                let held = held.get(device.export().disk);
                device.hold(client.settling || held.is_some_and(|&held| held));
            }
        }
        self.holding = holding;
    }

    /// The clients' requests to their subchannels, and what is due there.
    fn listen(&mut self, platform: &mut dyn Platform, turn: &mut Turn) {
        if !self.passes_through && !self.clients.iter().any(Client::has_news) {
            return;
        }
        let passes_through = self.passes_through;
        let mut changing = false;
        self.each(platform, |client, ctx| {
            turn.worked |= client.poll_requests(ctx);
            if passes_through {
                changing |= client.tick(ctx);
            }
        });
        if changing {
            self.refresh(platform);
        }
    }

    /// Looks at one program that may change while it runs, if it is time for that.
    fn refresh(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        if now < self.tending.from {
            return;
        }
        let (first, index) = self.tending.next;
        let count = self.clients.len();
        // Once ctx, and the first one's others.
        for step in 0..=count {
            let place = (first + step) % count.max(1);
            let from = if step == 0 { index } else { 0 };
            let mut ctx = Ctx {
                platform: &mut *platform,
                now,
                trace: self.trace.as_mut(),
                note: self.note,
            };
            let client = self.clients.get_mut(place);
            if let Some(looked) = client.and_then(|client| client.refresh(from, &mut ctx)) {
                let end = platform.now();
                let pause = TEND_PAUSE * end.micros_since(now);
                self.tending.next = (place, looked + 1);
                self.tending.from = end.plus_micros(pause);
                return;
            }
        }
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
        let Some(client) = self.clients.get_mut(usize::from(origin.client)) else {
            return ends_nothing(&done);
        };
        let number = client.number();
        let Some(device) = client.devices.get_mut(usize::from(origin.subchannel)) else {
            return ends_nothing(&done);
        };
        serve(self.note, number, device.index());
        device.complete(&request, done.status, disk, table)
    }

    /// Before sleeping: asks every client to ring. Returns whether there is work after all: requests that cannot be taken before
    /// another one ends are none.
    pub fn arm_wakeup(&mut self) -> bool {
        let full = self.requests.table.is_full();
        let note = self.note;
        let waiting = self.clients.iter_mut().fold(false, |waiting, client| {
            client.arm_wakeup(full, note) | waiting
        });
        self.serve_nobody();
        waiting
    }

    /// After sleeping: no client need ring.
    pub fn disarm_wakeup(&mut self) {
        for client in &mut self.clients {
            client.disarm_wakeup(self.note);
        }
        self.serve_nobody();
    }
}

/// A disk has ended what nobody has asked for.
#[cold]
fn ends_nothing(done: &Done) -> bool {
    log::error!("a disk has ended what is no client's request: {done:?}");
    true
}

impl core::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Proxy")
            .field("clients", &self.clients.len())
            .field("in_flight", &self.requests.table.in_flight())
            .finish()
    }
}
