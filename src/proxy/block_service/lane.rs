//! What one device takes of its disk: its share while others want the disk as well, and its limits.
//!
//! # Measures
//!
//! A request counts one unit, one more for each 16 KiB that it moves, discards or zeroes, and one more if a flush follows it. One that is
//! answered without the disk, as it is wrong or there is nothing to do for the disk, counts one unit. Virtual time passes for a device
//! with each unit that it takes, the more slowly the greater its weight is: devices with the same virtual time have got what is theirs.
//!
//! A limit is a bucket of tokens. Of that only the time is kept at which it is full again, so nothing has to be filled.
//!
//! # Rule
//!
//! For a request there is a constant amount of work, and none for a device that has its disk alone and is not limited. Who may take
//! how much in a turn is decided once a turn, for all devices of a disk together: see `sharing`.

use s390x::clock::Tod;
use vcss::control::{HeldBack, HeldBackBy, Quota};

use crate::driver::block::{Range, SECTOR};

/// Virtual time of one unit for a device of weight 1.
pub const SCALE: u64 = 1 << 24;
/// Bytes for which a request counts one unit more.
const UNIT_BITS: u32 = 14;
/// What a request counts at most, as 1 GiB: who discards all of a disk at once would else have no more of it for minutes.
const MAX_UNITS: u32 = 1 << 16;
/// Binary places of the price of a token.
const FRACTION: u32 = 16;

/// What a request at the disk was counted as, and when it was taken. Nothing if it was not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charge {
    units: u32,
    /// Microseconds, of which only differences count.
    since: u32,
}

#[derive(Debug)]
pub struct Lane {
    pub weight: u32,
    /// Virtual time of one unit.
    price: u64,
    requests_a_second: Option<Bucket>,
    bytes_a_second: Option<Bucket>,
    /// Its requests are counted: others have parts of its disk, or it is limited.
    counted: bool,
    /// Units that it may still take in this turn.
    allowance: u32,
    /// It might take something when this turn began.
    pub granted: bool,
    /// When this turn began.
    now: Tod,
    /// The queue from which requests are taken first in this turn, and the one behind the last from which one was taken.
    first: u16,
    following: u16,
    /// What keeps it from taking requests that there are.
    pub blocked: Option<Blocked>,
    /// How long it was so, in the clock's units.
    share_time: u64,
    limits_time: u64,
    /// What it has at the disk.
    pub requests: u32,
    pub units: u32,
    /// Something has gone to the disk or come back since [`Self::take_moved`] was last called.
    moved: bool,
    /// When that was last seen, or when it last had nothing there that could.
    pub moved_at: Tod,
    pub virtual_time: u64,
    /// The same before the request that was taken last.
    pub start: u64,
    /// It counts as one that wants something until then.
    pub active_until: Tod,
    /// Requests that have ended since [`Self::take_ended`] was last called, and when the latest of them was taken.
    ended: u32,
    latest: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It has its share of the disk, and others have the rest.
    Share,
    /// It has to wait for its limits until then.
    Limits(Tod),
}

/// A bucket of tokens that fills as time goes by.
#[derive(Debug)]
struct Bucket {
    /// How long it takes to get a token, with [`FRACTION`] binary places.
    price: u64,
    /// How long it takes to be filled.
    room: u64,
    /// How long it takes to get what has to be there before anything may be taken.
    least: u64,
    /// When it is full again. Later than `room` from now: what was taken last was more than there was.
    full: u64,
}

impl Bucket {
    /// Of so many tokens a second, if that is limited.
    fn new(rate: u64, burst: u64, least: u64) -> Option<Self> {
        const SECOND: u64 = Tod::UNITS_PER_MICROSECOND * 1_000_000;
        let price = (SECOND << FRACTION)
            .checked_div(rate)
            .filter(|&it| it != 0)?;
        let burst = if burst == 0 { rate } else { burst };
        Some(Self {
            price,
            room: time(price, burst),
            least: time(price, least).max(1),
            full: 0,
        })
    }

    /// When something may be taken again.
    const fn opens(&self) -> u64 {
        let least = self.full.saturating_add(self.least);
        least.saturating_sub(self.room)
    }

    fn take(&mut self, tokens: u64, now: Tod) {
        let time = time(self.price, tokens);
        self.full = self.full.max(now.units()).saturating_add(time);
    }
}

/// What so many tokens take at this price.
fn time(price: u64, tokens: u64) -> u64 {
    let time = (u128::from(price) * u128::from(tokens)) >> FRACTION;
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// What a request moves, and what it discards or zeroes.
fn volume(bytes: u32, ranges: &[Range]) -> u64 {
    let sectors = ranges.iter().map(|range| u64::from(range.sectors));
    u64::from(bytes) + sectors.sum::<u64>() * u64::from(SECTOR)
}

impl Lane {
    pub fn new(quota: &Quota) -> Self {
        let weight = match quota.weight.get() {
            0 => Quota::WEIGHT,
            weight => weight.min(Quota::MAX_WEIGHT),
        };
        let (iops, burst) = (quota.iops.get(), quota.iops_burst.get());
        let requests_a_second = Bucket::new(iops.into(), burst.into(), 1);
        // However large a request is: a burst need not have room for it.
        let bytes_a_second = Bucket::new(quota.bandwidth.get(), quota.bandwidth_burst.get(), 0);
        Self {
            weight,
            price: SCALE / u64::from(weight),
            counted: requests_a_second.is_some() || bytes_a_second.is_some(),
            requests_a_second,
            bytes_a_second,
            allowance: u32::MAX,
            granted: false,
            now: Tod::default(),
            first: 0,
            following: 0,
            blocked: None,
            share_time: 0,
            limits_time: 0,
            requests: 0,
            units: 0,
            moved: false,
            moved_at: Tod::default(),
            virtual_time: 0,
            start: 0,
            active_until: Tod::default(),
            ended: 0,
            latest: 0,
        }
    }

    const fn is_limited(&self) -> bool {
        self.requests_a_second.is_some() || self.bytes_a_second.is_some()
    }

    #[inline]
    pub const fn is_counted(&self) -> bool {
        self.counted
    }

    /// Others have parts of the same disk, or nobody has.
    pub const fn has_company(&mut self, shared: bool) {
        self.counted = shared || self.is_limited();
        self.allowance = u32::MAX;
        self.blocked = None;
    }

    /// A turn begins, for a device with so many queues: from when on its limits let it take something, if they do not now.
    pub fn begin(&mut self, now: Tod, queues: u16) -> Option<Tod> {
        let passed = now.units().saturating_sub(self.now.units());
        match self.blocked {
            Some(Blocked::Share) => self.share_time += passed,
            Some(Blocked::Limits(_)) => self.limits_time += passed,
            None => {}
        }
        self.now = now;
        self.first = if self.following < queues {
            self.following
        } else {
            0
        };
        let buckets = [&self.requests_a_second, &self.bytes_a_second];
        let opens = buckets.into_iter().flatten().map(Bucket::opens).max()?;
        // The first whole microsecond at which they do.
        let micros = opens.div_ceil(Tod::UNITS_PER_MICROSECOND);
        (opens > now.units()).then(|| Tod::from_micros(micros))
    }

    /// It may take so many units in this turn.
    pub fn grant(&mut self, units: u32) {
        self.allowance = units;
        self.granted = units != 0;
        if self.granted && self.blocked == Some(Blocked::Share) {
            self.blocked = None;
        }
    }

    /// Whether it may not take another request in this turn.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.counted && self.is_closed()
    }

    #[inline(never)]
    fn is_closed(&self) -> bool {
        let is_closed = |bucket: &Option<Bucket>| {
            (bucket.as_ref()).is_some_and(|bucket| bucket.opens() > self.now.units())
        };
        self.allowance == 0 || is_closed(&self.requests_a_second) || is_closed(&self.bytes_a_second)
    }

    /// A request of a queue's has gone to the disk; `flushes` if it is two there. What it is counted as.
    #[inline(never)]
    pub fn take(&mut self, queue: u16, bytes: u32, ranges: &[Range], flushes: bool) -> Charge {
        let volume = volume(bytes, ranges);
        let units = 1 + u64::from(flushes) + (volume >> UNIT_BITS);
        let units = units.min(MAX_UNITS.into()) as u32;
        self.requests += 1;
        self.units = self.units.saturating_add(units);
        self.moved = true;
        self.pay(queue, units, volume);
        Charge {
            units,
            since: self.micros(),
        }
    }

    /// A request of a queue's was answered without the disk. It costs as one that the disk has nearly nothing to do for.
    pub fn take_idle(&mut self, queue: u16) {
        if self.counted {
            self.pay(queue, 1, 0);
        }
    }

    fn pay(&mut self, queue: u16, units: u32, volume: u64) {
        self.allowance = self.allowance.saturating_sub(units);
        self.following = queue.saturating_add(1);
        self.start = self.virtual_time;
        self.virtual_time = (self.virtual_time).saturating_add(u64::from(units) * self.price);
        if let Some(bucket) = &mut self.requests_a_second {
            bucket.take(1, self.now);
        }
        if let Some(bucket) = &mut self.bytes_a_second {
            bucket.take(volume, self.now);
        }
    }

    /// A request has ended.
    #[inline]
    pub fn release(&mut self, charge: &Charge) {
        if charge.units != 0 {
            self.count_ended(charge);
        }
    }

    // Who is not counted is not to pay for registers either.
    #[inline(never)]
    fn count_ended(&mut self, charge: &Charge) {
        // What a client had that was put together anew was not counted here.
        self.requests = self.requests.saturating_sub(1);
        self.units = self.units.saturating_sub(charge.units);
        self.moved = true;
        let later = charge.since.wrapping_sub(self.latest) as i32 > 0;
        if self.ended == 0 || later {
            self.latest = charge.since;
        }
        self.ended += 1;
    }

    /// Virtual time begins so much later: it never wraps.
    pub const fn rebase(&mut self, by: u64) {
        self.virtual_time = self.virtual_time.saturating_sub(by);
        self.start = self.start.saturating_sub(by);
    }

    /// The queue from which requests are taken first in this turn.
    #[inline]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// Whether something has gone to the disk or come back since this was last asked.
    pub const fn take_moved(&mut self) -> bool {
        core::mem::replace(&mut self.moved, false)
    }

    /// How long the shortest of the requests took that have ended since this was last asked, in microseconds, and how many there were.
    pub fn take_ended(&mut self) -> (u32, u32) {
        let took = self.micros().wrapping_sub(self.latest);
        (core::mem::replace(&mut self.ended, 0), took)
    }

    /// When this turn began, in microseconds, of which only differences count.
    const fn micros(&self) -> u32 {
        self.now.as_micros() as u32
    }

    /// What the control area says of it.
    pub fn held_back(&self) -> HeldBack {
        let by = match self.blocked {
            None => HeldBackBy::Nothing,
            Some(Blocked::Share) => HeldBackBy::Share,
            Some(Blocked::Limits(_)) => HeldBackBy::Limits,
        };
        let micros = |time| Tod::from_units(time).as_micros().into();
        HeldBack {
            by: (by as u32).into(),
            share_us: micros(self.share_time),
            limits_us: micros(self.limits_time),
            ..HeldBack::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_counts_up_to_a_gibibyte_and_a_flush_that_follows() {
        let mut lane = Lane::new(&Quota::default());
        let range = |sectors| Range {
            sector: 0,
            sectors,
            unmap: false,
        };
        let mut units = |bytes, ranges: &[Range], flushes| {
            let charge = lane.take(0, bytes, ranges, flushes);
            charge.units
        };
        assert_eq!(units(0, &[], false), 1);
        assert_eq!(units(512, &[], true), 2);
        assert_eq!(units(1 << 14, &[], false), 2);
        assert_eq!(units(0, &[range(64), range(32)], false), 4);
        assert_eq!(units(0, &[range(u32::MAX); 16], false), MAX_UNITS);
    }

    #[test]
    fn tokens_of_any_number_neither_overflow_nor_open_a_bucket_early() {
        let now = Tod::from_micros(1);
        for (rate, burst) in [(1, 1), (1, u64::MAX), (u64::MAX >> 20, 1), (4096, 4096)] {
            let mut bucket = Bucket::new(rate, burst, 1);
            for tokens in [1, 1 << 45, u64::MAX, 1] {
                if let Some(bucket) = &mut bucket {
                    let before = bucket.opens();
                    bucket.take(tokens, now);
                    assert!(bucket.opens() >= before);
                }
            }
        }
        let second = |number: u64| Tod::from_micros(number * 1_000_000);
        // Two at once, then one a second.
        let mut requests = Bucket::new(1, 2, 1).unwrap();
        // Two at once; whatever is taken while anything is left.
        let mut bytes = Bucket::new(1, 2, 0).unwrap();
        for opens in [10, 11, 12] {
            requests.take(1, second(10));
            assert_eq!(requests.opens(), second(opens).units());
            bytes.take(1, second(10));
            assert_eq!(bytes.opens(), second(opens - 1).units() + 1);
        }
    }

    #[test]
    fn virtual_time_does_not_wrap() {
        let mut lane = Lane::new(&Quota {
            weight: 1.into(),
            ..Quota::default()
        });
        lane.virtual_time = u64::MAX - 1;
        lane.take(0, 0, &[], false);
        assert_eq!(lane.virtual_time, u64::MAX);
        lane.rebase(u64::MAX - 5);
        assert_eq!((lane.start, lane.virtual_time), (4, 5));
        lane.rebase(10);
        assert_eq!((lane.start, lane.virtual_time), (0, 0));
    }
}
