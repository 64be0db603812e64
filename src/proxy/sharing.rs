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
//! such look.
//!
//! # Rules
//!
//! * Each device may always have one request at the disk. It counts as one that wants something for a while after it last did: a client
//!   with one request at a time would else find the disk filled up each time that it comes.
//! * Nobody waits for a device that hangs. That is one that has something at the disk, or might take something, and of which nothing
//!   has moved for some times what the disk takes (`PATIENCE`). It may have its part of the disk all the same.
//! * Whoever is held back is looked at again when something ends, or at the time that [`Sharing::next`] says.
//!
//! # Limits
//!
//! How long requests take is compared, whatever they are: a device whose requests become larger makes the depth smaller until the next
//! look, and one whose requests become smaller makes it larger.

use liballoc::vec;
use liballoc::vec::Vec;

use s390x::clock::Tod;

use super::block_service::lane::{Blocked, Lane, SCALE};
use super::block_service::VirtioBlk;
use super::client::Client;
use crate::driver::block::Geometry;

/// For so long a device counts as one that wants something.
const GRACE_US: u64 = 200_000;
/// Measurements before it is measured again how long the disk takes.
const ROUNDS: u32 = 64;
/// Requests in a measurement at least.
const SAMPLE: u32 = 6;
/// By so many microseconds a request may take longer whatever the disk is.
const NOISE_US: u32 = 16;
/// The depth to begin with.
const FIRST_DEPTH: u32 = 8;
/// A device hangs when nothing of it has moved for so many times what the disk takes, and at least and at most for so long.
const PATIENCE: u64 = 4;
const LEAST_PATIENCE_US: u64 = 1000;
/// What is at the disk may take so many times what the disk takes to end, and at least and at most so long, before its depth is
/// measured without a look at how long it takes; the first time, so long for each request.
const DRAIN: u64 = 16;
const LEAST_DRAIN_US: u64 = 2000;
const FIRST_DRAIN_US: u64 = 250_000;
const LONGEST_US: u64 = 1_000_000;
/// Virtual time begins anew, and later, when it has come so far.
const FAR: u64 = 1 << 62;

/// All disks, as far as they are shared, and all limits.
#[derive(Debug, Default)]
pub struct Sharing {
    disks: Vec<Disk>,
    /// There are devices whose requests are counted.
    counts: bool,
    /// When somebody may take something again who may not now.
    next: Option<Tod>,
}

#[derive(Debug)]
struct Disk {
    /// The greatest depth.
    most: u32,
    depth: u32,
    phase: Phase,
    /// How many requests have to end before the next phase.
    left: u32,
    rounds: u32,
    /// How long the disk takes while each device has one request there, in microseconds; 0 as long as that is not known.
    base: u32,
    took: Took,
    /// The depth was too great beyond this one, since [`Self::base`] was measured.
    good: u32,
    /// The greatest virtual time at which anybody has taken something.
    clock: u64,
    /// By how much virtual time begins later from this turn on.
    shift: u64,
    /// Virtual time in which the disk does as much as it can have at a time.
    round: u64,
    now: Now,
}

/// How long requests took in a phase: all in all, and the longest. How many there were.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    sum: u64,
    longest: u32,
    count: u32,
}

/// What a look at all devices of a disk has found.
#[derive(Debug)]
struct Now {
    time: Tod,
    /// Devices that want something now or did lately, how many of them have nothing at the disk, and the sum of their weights.
    active: u32,
    absent: u32,
    weight: u32,
    /// The weights of those that want something now and do not hang, and the least of their virtual times.
    wanting: u32,
    least: u64,
    /// What is at the disk: all requests, and the units of those that do not hang.
    requests: u32,
    units: u32,
    /// Requests that have ended since the last look, and how long the shortest of them took.
    ended: u32,
    took: u32,
    /// When the first of those that others may wait for hangs.
    hangs: Tod,
}

impl Now {
    const fn at(time: Tod) -> Self {
        Self {
            time,
            active: 0,
            absent: 0,
            weight: 0,
            wanting: 0,
            least: u64::MAX,
            requests: 0,
            units: 0,
            ended: 0,
            took: u32::MAX,
            hangs: Tod::NEVER,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At most one device wants something.
    Alone,
    /// Another one has come, and since then the disk has done nothing.
    Met,
    /// What is at the disk ends, but for one request of each device. Until then at the latest; and so many there were.
    Drain {
        until: Tod,
        requests: u32,
    },
    /// One request of each device.
    Probe,
    /// What was taken with another depth ends.
    Settle,
    Measure,
}

impl Took {
    fn add(&mut self, took: u32) {
        self.sum += u64::from(took);
        self.longest = self.longest.max(took);
        self.count += 1;
    }

    /// How long one took, without the longest: that may be one that hung.
    fn mean(&self) -> u32 {
        let others = u64::from(self.count).saturating_sub(1).max(1);
        let sum = match self.count {
            0 | 1 => self.sum,
            _ => self.sum - u64::from(self.longest),
        };
        u32::try_from(sum / others).unwrap_or(u32::MAX)
    }
}

impl Disk {
    const fn new() -> Self {
        Self {
            most: 1,
            depth: FIRST_DEPTH,
            phase: Phase::Alone,
            left: 0,
            rounds: 0,
            base: 0,
            took: Took {
                sum: 0,
                longest: 0,
                count: 0,
            },
            good: 1,
            clock: 0,
            shift: 0,
            round: 0,
            now: Now::at(Tod::NEVER),
        }
    }

    fn begin(&mut self, now: Tod) {
        self.now = Now::at(now);
        self.shift = if self.clock > FAR {
            self.clock - FAR / 2
        } else {
            0
        };
        self.clock -= self.shift;
    }

    /// When a device hangs, if nothing of it moves until then.
    fn hangs_at(&self, lane: &Lane) -> Tod {
        let patience = u64::from(self.base) * PATIENCE;
        (lane.moved_at).plus_micros(patience.clamp(LEAST_PATIENCE_US, LONGEST_US))
    }

    /// Looks at a device, which wants something or does not.
    fn look(&mut self, lane: &mut Lane, wants: bool) {
        lane.rebase(self.shift);
        self.clock = self.clock.max(lane.start);
        // Who waits for nothing but its turn does not hang, however long that takes.
        let waits = lane.requests != 0 || (wants && lane.granted);
        let moved = lane.take_moved();
        if moved || !waits {
            lane.moved_at = self.now.time;
        }
        let hangs = self.hangs_at(lane);
        let now = &mut self.now;
        if wants || moved || lane.requests != 0 {
            lane.active_until = now.time.plus_micros(GRACE_US);
        }
        if now.time < lane.active_until {
            now.active += 1;
            now.weight += lane.weight;
        }
        if wants {
            // What it has not wanted for long is not owed to it.
            let earliest = self.clock.saturating_sub(self.round);
            lane.virtual_time = lane.virtual_time.max(earliest);
        }
        now.requests += lane.requests;
        if now.time < hangs {
            if wants {
                now.least = now.least.min(lane.virtual_time);
                now.wanting += lane.weight;
            }
            if wants || lane.requests != 0 {
                now.hangs = now.hangs.min(hangs);
            }
            now.absent += u32::from(lane.requests == 0 && now.time < lane.active_until);
            now.units = now.units.saturating_add(lane.units);
        }
        let (ended, took) = lane.take_ended();
        if ended != 0 {
            now.ended += ended;
            now.took = now.took.min(took);
        }
    }

    /// Goes on to the next phase when this one is over.
    fn advance(&mut self) {
        let Now {
            time,
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
            self.took.add(took);
        }
        self.phase = match self.phase {
            Phase::Alone => Phase::Met,
            Phase::Met if ended != 0 => self.drain(),
            Phase::Drain { .. } if requests <= active => self.enter(Phase::Probe, SAMPLE + active),
            // Nothing else says how long the disk takes: it has the time that it needs, as long as it goes on.
            Phase::Drain {
                requests: before, ..
            } if self.base == 0 && requests < before => self.drain(),
            Phase::Drain { until, .. } if time >= until && self.base == 0 => {
                self.enter(Phase::Probe, SAMPLE + active)
            }
            // Something hangs there, or the disk has become slow: the depth finds that out.
            Phase::Drain { until, .. } if time >= until => {
                self.rounds = ROUNDS;
                self.enter(Phase::Settle, requests)
            }
            Phase::Probe if self.left == 0 => {
                self.base = self.took.mean().max(1);
                self.good = self.most;
                self.rounds = ROUNDS;
                self.enter(Phase::Settle, requests)
            }
            Phase::Settle if self.left == 0 => self.enter(Phase::Measure, self.depth.max(SAMPLE)),
            Phase::Measure if self.left == 0 => {
                self.adapt();
                match self.rounds {
                    0 => self.drain(),
                    _ => self.enter(Phase::Settle, requests),
                }
            }
            phase => phase,
        };
    }

    /// Begins a phase that ends with so many requests.
    fn enter(&mut self, phase: Phase, requests: u32) -> Phase {
        self.left = requests;
        self.took = Took::default();
        phase
    }

    fn drain(&self) -> Phase {
        let longest = match self.base {
            0 => FIRST_DRAIN_US,
            base => (u64::from(base) * DRAIN).clamp(LEAST_DRAIN_US, LONGEST_US),
        };
        Phase::Drain {
            until: self.now.time.plus_micros(longest),
            requests: self.now.requests,
        }
    }

    /// A measurement has ended: the depth becomes what that says.
    fn adapt(&mut self) {
        let most = self.base.saturating_add(self.base / 4 + NOISE_US);
        if self.took.mean() > most {
            self.good = self.depth.saturating_sub(1).max(1);
            self.depth = (self.depth / 2).max(1);
        } else {
            self.depth = (self.depth + self.depth / 4 + 1).min(self.good);
        }
        self.rounds = self.rounds.saturating_sub(1);
    }

    /// Units that are to be at the disk at a time.
    fn current_depth(&self) -> u32 {
        match self.phase {
            Phase::Alone | Phase::Met => self.most,
            Phase::Drain { .. } | Phase::Probe => 1,
            Phase::Settle | Phase::Measure => self.depth.min(self.most),
        }
    }

    /// Virtual time of a round, for whom the depth is this.
    fn set_round(&mut self) {
        let depth = match self.phase {
            // Who comes to one that was alone is owed nothing.
            Phase::Alone => 1,
            _ => u64::from(self.current_depth()),
        };
        self.round = depth * SCALE / u64::from(self.now.weight.max(1));
    }

    /// What a device may take that wants something.
    fn allowance(&self, lane: &Lane) -> u32 {
        let now = &self.now;
        if self.phase == Phase::Alone {
            return u32::MAX;
        }
        if lane.virtual_time > now.least.saturating_add(self.round) {
            return 0;
        }
        let part = |of: u32, weight: u32| {
            (u64::from(of) * u64::from(lane.weight) / u64::from(weight.max(1))) as u32
        };
        let depth = self.current_depth();
        let own = part(depth, now.weight).max(1);
        // Who has nothing there is expected to come, but not all of them at once.
        let absent = now.absent.min((depth / 4).max(1));
        let free = depth.saturating_sub(now.units.saturating_add(absent));
        let hangs = now.time >= self.hangs_at(lane);
        let one_each = matches!(self.phase, Phase::Drain { .. } | Phase::Probe);
        let rest = match free {
            1.. if !hangs && !one_each => part(free, now.wanting).max(1),
            _ => 0,
        };
        own.saturating_sub(lane.units).max(rest)
    }

    /// When somebody who is held back by others is to be looked at again, whatever happens.
    fn next(&self) -> Tod {
        match self.phase {
            Phase::Drain { until, .. } => until.min(self.now.hangs),
            _ => self.now.hangs,
        }
    }
}

impl Sharing {
    /// A disk is there: who has parts of it.
    pub fn attach(&mut self, number: usize, geometry: &Geometry, clients: &mut [Client]) {
        while self.disks.len() <= number {
            self.disks.push(Disk::new());
        }
        if let Some(disk) = self.disks.get_mut(number) {
            disk.most = u32::from(geometry.queue_size.max(1));
        }
        let devices = || clients.iter().flat_map(Client::devices);
        let of_disk = devices().filter(|device| device.disk() == number);
        let shared = of_disk.count() > 1;
        self.counts = false;
        for device in clients.iter_mut().flat_map(|client| &mut client.devices) {
            if device.disk() == number {
                device.lane.has_company(shared);
            }
            self.counts |= device.lane.is_counted();
        }
    }

    /// Somebody has gone: who has company still.
    pub fn detach(&mut self, clients: &mut [Client]) {
        self.counts = false;
        self.next = None;
        let mut parts = vec![0_u32; self.disks.len()];
        for device in clients.iter().flat_map(Client::devices) {
            if let Some(count) = parts.get_mut(device.disk()) {
                *count += 1;
            }
        }
        for device in clients.iter_mut().flat_map(|client| &mut client.devices) {
            let count = parts.get(device.disk()).copied().unwrap_or(0);
            device.lane.has_company(count > 1);
            self.counts |= device.lane.is_counted();
        }
    }

    /// A disk has gone. Nobody has a part of it.
    pub fn forget(&mut self, number: usize) {
        if let Some(disk) = self.disks.get_mut(number) {
            *disk = Disk::new();
        }
    }

    /// Whether [`Self::share_out`] has anything to do.
    #[inline]
    pub const fn is_needed(&self) -> bool {
        self.counts
    }

    /// When somebody may take something again who may not now.
    pub const fn next(&self) -> Option<Tod> {
        self.next
    }

    /// Decides what each device may take in this turn.
    #[inline(never)]
    pub fn share_out(&mut self, clients: &mut [Client], now: Tod) {
        let mut next = Tod::NEVER;
        for disk in &mut self.disks {
            disk.begin(now);
        }
        for device in counted(clients) {
            let waits = device.wants();
            let queues = device.queue_count();
            let opens = device.lane.begin(now, queues);
            // Until it is decided what it may take.
            device.lane.blocked = match opens {
                Some(opens) if waits => {
                    next = next.min(opens);
                    Some(Blocked::Limits(opens))
                }
                _ => waits.then_some(Blocked::Share),
            };
            if let Some(disk) = self.disks.get_mut(device.disk()) {
                disk.look(&mut device.lane, waits && opens.is_none());
            }
        }
        for disk in &mut self.disks {
            disk.advance();
            disk.set_round();
        }
        for device in counted(clients) {
            let Some(disk) = self.disks.get(device.disk()) else {
                continue;
            };
            let units = match device.lane.blocked {
                Some(Blocked::Share) => disk.allowance(&device.lane),
                // Who comes after the look, beside others, is looked at in the next turn.
                None if disk.phase == Phase::Alone => u32::MAX,
                None | Some(Blocked::Limits(_)) => 0,
            };
            if device.lane.blocked == Some(Blocked::Share) && units == 0 {
                next = next.min(disk.next());
            }
            device.lane.grant(units);
        }
        self.next = (next != Tod::NEVER).then_some(next);
    }
}

/// The devices whose requests are counted.
fn counted(clients: &mut [Client]) -> impl Iterator<Item = &mut VirtioBlk> {
    let devices = clients.iter_mut().flat_map(|client| &mut client.devices);
    devices.filter(|device| device.lane.is_counted())
}

#[cfg(test)]
mod tests;
