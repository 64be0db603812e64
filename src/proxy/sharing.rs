//! How the devices of a disk share it.
//!
//! # What is shared
//!
//! Nothing, as long as one device alone wants something of its disk: it has all of it. While several do, the disk has a *depth*: so
//! many [units](super::block_service::lane) are at the disk at the same time, and each device may have its part of them by its weight.
//! What some leave, others may have. Who is ahead of another one that wants something by more than a round of the disk waits; so the
//! weights hold, however small the depth is.
//!
//! # The depth
//!
//! What is at a disk that works on few requests at a time waits there, and whoever comes next waits behind it. So the depth follows
//! the disk: now and then each device has one request there and no more, which shows how long the disk takes. The depth grows as long
//! as requests take hardly longer than that, and is halved when they do; where it was too great it does not come again before the next
//! such look. Each device may always have one request at the disk: one
//! that does not end holds up nobody else.
//!
//! # Rule
//!
//! A device counts as one that wants something until the others have taken a certain number of units without it. A client with one
//! request at a time would else find the disk filled up each time that it comes.

use liballoc::vec::Vec;

use s390x::clock::Tod;

use super::block_service::lane::{Blocked, Lane, SCALE};
use super::block_service::VirtioBlk;
use super::client::Client;
use crate::driver::block::Geometry;

/// After so many depths of the disk that others have taken, a device is one that wants nothing.
const GRACE: u64 = 4;
/// Measurements before it is measured again how long the disk takes.
const ROUNDS: u32 = 64;
/// Requests in a measurement at least.
const SAMPLE: u32 = 6;
/// By so many microseconds a request may take longer whatever the disk is.
const NOISE_US: u32 = 16;
/// The depth to begin with.
const FIRST_DEPTH: u32 = 8;

/// All disks, as far as they are shared, and all limits.
#[derive(Debug, Default)]
pub struct Sharing {
    disks: Vec<Shared>,
    /// There are devices whose requests are counted.
    counts: bool,
    limits: bool,
    /// A disk is wanted by several devices.
    contended: bool,
    /// When somebody may take something again whose limits do not allow it now.
    next: Option<Tod>,
}

/// A disk.
#[derive(Debug)]
struct Shared {
    /// The greatest depth.
    most: u32,
    depth: u32,
    phase: Phase,
    /// How many requests have to end before the next phase.
    left: u32,
    rounds: u32,
    /// How long the disk takes while each device has one request there, in microseconds.
    base: u32,
    /// How long requests took in this phase in all, and how many there were.
    sum: u64,
    count: u32,
    /// The depth was too great beyond this one, since [`Self::base`] was measured.
    good: u32,
    /// Units that all devices have taken.
    taken: u64,
    /// The greatest virtual time at which anybody has taken something.
    clock: u64,
    /// Virtual time in which the disk does as much as it can have at a time.
    round: u64,
    now: Now,
}

/// What a look at all devices of a disk has found.
#[derive(Debug)]
struct Now {
    /// Devices that want something now or did lately, how many of them have nothing at the disk, and the sum of their weights.
    active: u32,
    absent: u32,
    weight: u32,
    /// The weights of those that want something now, and the least of their virtual times.
    wanting: u32,
    least: u64,
    /// What is at the disk.
    requests: u32,
    units: u32,
    /// Requests that have ended since the last look, and how long the shortest of them took.
    ended: u32,
    took: u32,
}

impl Now {
    const NOTHING: Self = Self {
        active: 0,
        absent: 0,
        weight: 0,
        wanting: 0,
        least: u64::MAX,
        requests: 0,
        units: 0,
        ended: 0,
        took: u32::MAX,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At most one device wants something.
    Alone,
    /// Another one has come, and since then the disk has done nothing.
    Met,
    /// What is at the disk ends, but for one request of each device.
    Drain,
    /// One request of each device.
    Probe,
    /// What was taken with another depth ends.
    Settle,
    Measure,
}

impl Shared {
    const fn new() -> Self {
        Self {
            most: 1,
            depth: FIRST_DEPTH,
            phase: Phase::Alone,
            left: 0,
            rounds: 0,
            base: 0,
            sum: 0,
            count: 0,
            good: 1,
            taken: 0,
            clock: 0,
            round: 0,
            now: Now::NOTHING,
        }
    }

    /// Looks at a device, which wants something or does not.
    fn look(&mut self, lane: &mut Lane, wants: bool) {
        let now = &mut self.now;
        let new = lane.take_new();
        self.taken += u64::from(new);
        if new != 0 {
            self.clock = self.clock.max(lane.start);
        }
        if wants || lane.requests != 0 || new != 0 {
            lane.active_until = self.taken + GRACE * u64::from(self.most);
        }
        if self.taken < lane.active_until {
            now.active += 1;
            now.absent += u32::from(lane.requests == 0);
            now.weight += lane.weight;
        }
        if wants {
            // What it has not wanted for long is not owed to it.
            let earliest = self.clock.saturating_sub(self.round);
            lane.virtual_time = lane.virtual_time.max(earliest);
            now.least = now.least.min(lane.virtual_time);
            now.wanting += lane.weight;
        }
        now.requests += lane.requests;
        now.units += lane.units;
        let (ended, took) = lane.take_ended();
        if ended != 0 {
            now.ended += ended;
            now.took = now.took.min(took);
        }
    }

    /// Goes on to the next phase when this one is over.
    fn advance(&mut self) {
        let Now {
            active,
            requests,
            ended,
            took,
            ..
        } = self.now;
        if active < 2 {
            self.phase = Phase::Alone;
            return;
        }
        self.left = self.left.saturating_sub(ended);
        // The first ones of a look at how long the disk takes were there before it began.
        if ended != 0 && (self.phase != Phase::Probe || self.left < SAMPLE) {
            self.sum += u64::from(took);
            self.count += 1;
        }
        self.phase = match self.phase {
            Phase::Alone => Phase::Met,
            Phase::Met if ended != 0 => Phase::Drain,
            Phase::Drain if requests <= active => self.enter(Phase::Probe, SAMPLE + active),
            Phase::Probe if self.left == 0 => {
                self.base = self.mean();
                self.good = self.most;
                self.rounds = ROUNDS;
                self.enter(Phase::Settle, requests)
            }
            Phase::Settle if self.left == 0 => self.enter(Phase::Measure, self.depth.max(SAMPLE)),
            Phase::Measure if self.left == 0 => {
                let most = self.base.saturating_add(self.base / 4 + NOISE_US);
                if self.mean() > most {
                    self.good = self.depth.saturating_sub(1).max(1);
                    self.depth = (self.depth / 2).max(1);
                } else {
                    self.depth = (self.depth + self.depth / 4 + 1).min(self.good);
                }
                self.rounds = self.rounds.saturating_sub(1);
                match self.rounds {
                    0 => Phase::Drain,
                    _ => self.enter(Phase::Settle, requests),
                }
            }
            phase => phase,
        };
    }

    /// Begins a phase that ends with so many requests.
    const fn enter(&mut self, phase: Phase, requests: u32) -> Phase {
        self.left = requests;
        self.sum = 0;
        self.count = 0;
        phase
    }

    /// How long a request took in this phase.
    fn mean(&self) -> u32 {
        let mean = self.sum.checked_div(self.count.into());
        mean.map_or(0, |mean| u32::try_from(mean).unwrap_or(u32::MAX))
    }

    /// Units that are to be at the disk at a time.
    fn current_depth(&self) -> u32 {
        match self.phase {
            Phase::Alone | Phase::Met => self.most,
            Phase::Drain | Phase::Probe => 1,
            Phase::Settle | Phase::Measure => self.depth.min(self.most),
        }
    }

    /// What a device may take that wants something.
    fn allowance(&self, lane: &Lane) -> u32 {
        let depth = self.current_depth();
        let now = &self.now;
        let part = |of: u32, weight: u32| {
            (u64::from(of) * u64::from(lane.weight) / u64::from(weight.max(1))) as u32
        };
        if lane.virtual_time > now.least.saturating_add(self.round) {
            return 0;
        }
        let own = part(depth, now.weight).max(1);
        // Who has nothing there is expected to come.
        let free = depth.saturating_sub(now.units + now.absent);
        let rest = match free {
            0 => 0,
            free => part(free, now.wanting).max(1),
        };
        own.saturating_sub(lane.units).max(rest)
    }
}

impl Sharing {
    /// A disk is there: who has parts of it.
    pub fn attach(&mut self, number: usize, geometry: &Geometry, clients: &mut [Client]) {
        while self.disks.len() <= number {
            self.disks.push(Shared::new());
        }
        if let Some(disk) = self.disks.get_mut(number) {
            disk.most = u32::from(geometry.queue_size.max(1));
        }
        let devices = || clients.iter().flat_map(Client::devices);
        let of_disk = devices().filter(|device| device.disk() == number);
        let shared = of_disk.count() > 1;
        self.counts = false;
        self.limits = false;
        for device in clients.iter_mut().flat_map(|client| &mut client.devices) {
            if device.disk() == number {
                device.lane.has_company(shared);
            }
            self.counts |= device.lane.is_counted();
            self.limits |= device.lane.is_limited();
        }
    }

    /// Whether [`Self::share_out`] has anything to do.
    #[inline]
    pub const fn is_needed(&self) -> bool {
        self.counts
    }

    /// Whether it needs the time.
    pub const fn needs_time(&self) -> bool {
        self.limits || self.contended
    }

    /// When somebody may take something again whose limits do not allow it now.
    pub const fn next(&self) -> Option<Tod> {
        self.next
    }

    /// Decides what each device may take in this turn.
    pub fn share_out(&mut self, clients: &mut [Client], now: Tod) {
        self.next = None;
        self.contended = false;
        for disk in &mut self.disks {
            disk.now = Now::NOTHING;
        }
        for device in counted(clients) {
            let waits = device.wants();
            let queues = device.queue_count();
            let opens = device.lane.begin(now, queues);
            let limited = opens.filter(|_| waits);
            // Until it is decided what it may take.
            device.lane.blocked = match limited {
                Some(opens) => Some(Blocked::Limits(opens)),
                None => waits.then_some(Blocked::Share),
            };
            if let Some(opens) = limited {
                self.next = Some(self.next.map_or(opens, |next| next.min(opens)));
            }
            if let Some(disk) = self.disks.get_mut(device.disk()) {
                disk.look(&mut device.lane, waits && opens.is_none());
            }
        }
        for disk in &mut self.disks {
            disk.advance();
            self.contended |= disk.phase != Phase::Alone;
            // Who comes to one that was alone is owed nothing.
            let depth = match disk.phase {
                Phase::Alone => 1,
                _ => u64::from(disk.current_depth()),
            };
            disk.round = depth * SCALE / u64::from(disk.now.weight.max(1));
        }
        for device in counted(clients) {
            let Some(disk) = self.disks.get_mut(device.disk()) else {
                continue;
            };
            // Who has come since the look is looked at in the next turn.
            let units = match disk.phase {
                Phase::Alone => u32::MAX,
                _ if device.lane.blocked == Some(Blocked::Share) => disk.allowance(&device.lane),
                _ => 0,
            };
            device.lane.grant(units);
        }
    }
}

/// The devices whose requests are counted.
fn counted(clients: &mut [Client]) -> impl Iterator<Item = &mut VirtioBlk> {
    let devices = clients.iter_mut().flat_map(|client| &mut client.devices);
    devices.filter(|device| device.lane.is_counted())
}
