//! What one device takes of its disk: its share while others want the disk as well, and its limits.
//!
//! # Measures
//!
//! A request counts one unit, and one more for each 16 KiB. Virtual time passes for a device with each unit that it takes, the more
//! slowly the greater its weight is: devices with the same virtual time have got what is theirs.
//!
//! A limit is a bucket of tokens. Of that only the time is kept at which it is full again, so nothing has to be filled.
//!
//! # Rule
//!
//! For a request there is a constant amount of work, and none for a device that has its disk alone and is not limited. Who may take
//! how much in a turn is decided once a turn, for all devices of a disk together: see `sharing`.

use s390x::clock::Tod;
use vcss::control::Quota;

/// Virtual time of one unit for a device of weight 1.
pub const SCALE: u64 = 1 << 24;
/// Bytes for which a request counts one unit more.
const UNIT_BITS: u32 = 14;
/// Binary places of the price of a token.
const FRACTION: u32 = 16;

/// What a request was counted as, and when. Nothing if it was not.
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
    /// When this turn began, in the clock's units.
    now: u64,
    /// The same in microseconds, of which only differences count.
    since: u32,
    /// The queue from which requests are taken first in this turn, and the one behind the last from which one was taken.
    first: u16,
    following: u16,
    /// What keeps it from taking requests that there are.
    pub blocked: Option<Blocked>,
    /// What it has at the disk.
    pub requests: u32,
    pub units: u32,
    /// Units taken since [`Self::take_new`] was last called.
    new: u32,
    pub virtual_time: u64,
    /// The same before the request that was taken last.
    pub start: u64,
    /// It counts as one that wants something until all devices of the disk have taken so much.
    pub active_until: u64,
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
    /// When it is full again. Later than `room` from now: what was taken last was more than there was.
    full: u64,
}

impl Bucket {
    /// Of so many tokens a second, if that is limited.
    fn new(rate: u64, burst: u64) -> Option<Self> {
        const SECOND: u64 = Tod::UNITS_PER_MICROSECOND * 1_000_000;
        let price = (SECOND << FRACTION)
            .checked_div(rate)
            .filter(|&it| it != 0)?;
        let burst = if burst == 0 { rate } else { burst };
        Some(Self {
            price,
            room: time(price, burst),
            full: 0,
        })
    }

    /// The last instant at which nothing may be taken.
    const fn closed(&self) -> u64 {
        self.full.saturating_sub(self.room)
    }

    fn take(&mut self, tokens: u64, now: u64) {
        let time = time(self.price, tokens);
        self.full = self.full.max(now).saturating_add(time);
    }
}

/// What so many tokens take at this price.
fn time(price: u64, tokens: u64) -> u64 {
    let time = (u128::from(price) * u128::from(tokens)) >> FRACTION;
    u64::try_from(time).unwrap_or(u64::MAX)
}

impl Lane {
    pub fn new(quota: &Quota) -> Self {
        let weight = match quota.weight.get() {
            0 => Quota::WEIGHT,
            weight => weight.min(Quota::MAX_WEIGHT),
        };
        let requests_a_second = Bucket::new(quota.iops.get().into(), quota.iops_burst.get().into());
        let bytes_a_second = Bucket::new(quota.bandwidth.get(), quota.bandwidth_burst.get());
        Self {
            weight,
            price: SCALE / u64::from(weight),
            counted: requests_a_second.is_some() || bytes_a_second.is_some(),
            requests_a_second,
            bytes_a_second,
            allowance: u32::MAX,
            now: 0,
            since: 0,
            first: 0,
            following: 0,
            blocked: None,
            requests: 0,
            units: 0,
            new: 0,
            virtual_time: 0,
            start: 0,
            active_until: 0,
            ended: 0,
            latest: 0,
        }
    }

    pub const fn is_limited(&self) -> bool {
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
    }

    /// A turn begins, for a device with so many queues: from when on its limits let it take something, if they do not now.
    pub fn begin(&mut self, now: Tod, queues: u16) -> Option<Tod> {
        self.now = now.units();
        self.since = now.as_micros() as u32;
        self.first = if self.following < queues {
            self.following
        } else {
            0
        };
        let buckets = [&self.requests_a_second, &self.bytes_a_second];
        let closed = buckets.into_iter().flatten().map(Bucket::closed).max()?;
        (closed >= self.now).then(|| Tod::from_units(closed.saturating_add(1)))
    }

    /// It may take so many units in this turn.
    pub fn grant(&mut self, units: u32) {
        self.allowance = units;
        if units != 0 && self.blocked == Some(Blocked::Share) {
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
            (bucket.as_ref()).is_some_and(|bucket| bucket.closed() >= self.now)
        };
        self.allowance == 0 || is_closed(&self.requests_a_second) || is_closed(&self.bytes_a_second)
    }

    /// What a request with so many bytes is counted as.
    #[inline]
    pub const fn charge_for(&self, bytes: u32) -> Charge {
        let units = if self.counted {
            1 + (bytes >> UNIT_BITS)
        } else {
            0
        };
        let since = self.since;
        Charge { units, since }
    }

    /// A request of a queue's was passed on to the disk.
    #[inline]
    pub fn take(&mut self, queue: u16, charge: &Charge, bytes: u32) {
        if charge.units != 0 {
            self.count(queue, charge.units, bytes);
        }
    }

    #[inline(never)]
    fn count(&mut self, queue: u16, units: u32, bytes: u32) {
        self.allowance = self.allowance.saturating_sub(units);
        self.following = queue + 1;
        self.requests += 1;
        self.units += units;
        self.new += units;
        self.start = self.virtual_time;
        self.virtual_time += u64::from(units) * self.price;
        if let Some(bucket) = &mut self.requests_a_second {
            bucket.take(1, self.now);
        }
        if let Some(bucket) = &mut self.bytes_a_second {
            bucket.take(bytes.into(), self.now);
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
        self.requests -= 1;
        self.units -= charge.units;
        let later = charge.since.wrapping_sub(self.latest) as i32 > 0;
        if self.ended == 0 || later {
            self.latest = charge.since;
        }
        self.ended += 1;
    }

    /// The queue from which requests are taken first in this turn.
    #[inline]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// Units taken since this was last asked.
    pub const fn take_new(&mut self) -> u32 {
        core::mem::replace(&mut self.new, 0)
    }

    /// How many requests have ended since this was last asked, and how long the shortest of them took, in microseconds.
    pub const fn take_ended(&mut self) -> (u32, u32) {
        let took = self.since.wrapping_sub(self.latest);
        (core::mem::replace(&mut self.ended, 0), took)
    }
}
