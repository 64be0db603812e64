//! Disks that are driven by channel programs of reads and writes: count-key-data and fixed-block ones alike.
//!
//! | module | what it is |
//! |---|---|
//! | `bring_up` | why a disk is not served |
//! | [`chain`] | a channel program in storage, and how it names data |
//! | `ending` | endings of programs and requests, and time-outs |
//! | `incident` | what is said of that to whoever looks |
//! | `lending` | the subchannel lent to somebody else, and back |
//! | `medium` | what is behind the queue: blocks, and the programs that read and write them |
//! | [`paths`] | the channel paths that are used |
//! | [`classes`] | what commands do to the state of a chain |
//! | `status` | what the subchannel says |
//! | [`thin`] | tracks that were never formatted |
//! | [`recovery`] | what is done about a program that did not end as it should |
//!
//! # Scope
//!
//! A [`Disk`] has the queue: requests wait, as many as fit are one channel program, and one program is in flight. What a program
//! looks like is its [`Medium`]'s business: [`eckd`](super::eckd), [`fba`](super::fba).
//!
//! # Limits
//!
//! * [`QUEUE_SIZE`] requests, [`SEGMENTS`] data segments each, one queue.
//! * A disk that is gone fails its requests. When it is back, its medium says whether it can be brought up again.
//!
//! # The rule
//!
//! Each request ends once. A program that fails is taken apart: its requests are tried one by one, so that only the one that
//! cannot be done fails, with its place in the log. Storage is given back when the program has ended, and not before.

mod bring_up;
pub mod chain;
pub mod classes;
mod ending;
#[cfg(test)]
pub(crate) mod fixture;
mod incident;
mod lending;
mod medium;
pub mod paths;
pub mod recovery;
mod status;
pub mod thin;

use liballoc::boxed::Box;
use liballoc::vec::Vec;

use channel::{IoInterruption, Irb, Orb, PmcwFlags, SubchannelId};
use s390x::clock::Tod;
use window::Segment;

use super::block::{
    BlockDevice, BlockStatus, Done, Geometry, Operation, Range, Recoveries, SubmitError, Token,
    SECTOR,
};
use crate::css::{self, Platform};
pub use bring_up::BringUpError;
pub use chain::Cursor;
use incident::Incidents;
pub use medium::Medium;
use paths::Paths;
use thin::Piecewise;
use vcss::trace::Record;

/// Requests that can be in flight.
pub const QUEUE_SIZE: usize = 64;
/// Data segments of a request.
pub const SEGMENTS: usize = 128;
/// How long the status of a running program is not asked for again, in microseconds: interruptions announce it.
const LOOK_US: u64 = 20;

/// A request.
#[derive(Debug, Default)]
struct Request {
    token: Option<Token>,
    write: bool,
    /// Its next block, and how many are left.
    block: u64,
    left: u32,
    /// Where in the segments that is.
    at: Cursor,
    segments: heapless::Vec<Segment, SEGMENTS>,
}

/// What of a request is in the running program.
#[derive(Clone, Copy, Debug)]
struct Part {
    blocks: u32,
    /// Where in the segments it ends.
    end: Cursor,
}

/// What the subchannel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing; the next start is not before this time.
    Idle(Tod),
    /// Nothing, until status says that something has changed, or until this time.
    Waiting(Tod),
    /// A program; it has to end before this time.
    Running(Tod),
    /// SENSE, after a unit check of the program before; it has to end before this time.
    Sensing(Tod),
    /// A halt function.
    Halting(Tod),
    /// A clear function, and how many more are tried.
    Clearing(Tod, u32),
    /// Somebody else has the subchannel.
    Lent,
    /// Gone, or it cannot be stopped.
    GivenUp,
}

/// What the program that runs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Requests.
    Requests,
    /// To find out which records a track has.
    Survey,
    /// To give it those that it lacks.
    Format,
}

/// What was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Programs.
    pub starts: u64,
    /// CCWs in them.
    pub ccws: u64,
}

/// A disk.
#[derive(Debug)]
pub struct Disk<M> {
    id: SubchannelId,
    isc: u8,
    /// The number of the device. Another one on the subchannel is not the disk.
    number: u16,
    paths: Paths,
    medium: M,
    geometry: Geometry,
    requests: Box<[Request]>,
    free: heapless::Vec<u8, QUEUE_SIZE>,
    /// Requests in the order in which they came.
    queue: heapless::Deque<u8, QUEUE_SIZE>,
    done: heapless::Deque<Done, QUEUE_SIZE>,
    /// The running program's share of the first requests of the queue.
    parts: heapless::Vec<Part, QUEUE_SIZE>,
    state: State,
    purpose: Purpose,
    pieces: Piecewise,
    /// The subchannel is to be lent.
    lending: bool,
    /// Something happened to the subchannel while it was lent: the device may be another one with its number.
    doubtful: bool,
    /// Status of the running program so far.
    status: (u8, u8),
    /// The status with the unit check whose sense bytes are being asked for.
    unit_check: Irb,
    looked: Tod,
    /// How many requests go alone, since they were in a program that failed.
    alone: usize,
    /// How often the first request was tried.
    attempts: u32,
    /// The missing-interruption time, in microseconds.
    expires: u64,
    counters: Counters,
    recoveries: Recoveries,
    incidents: Incidents,
}

impl<M> Disk<M> {
    /// What is behind the queue.
    pub(super) const fn medium(&self) -> &M {
        &self.medium
    }
}

impl<M: Medium> Disk<M> {
    /// Enables the subchannel, and makes a disk of the medium that is found over its paths.
    pub(super) fn bring_up(
        platform: &mut dyn Platform,
        id: SubchannelId,
        isc: u8,
        find: impl FnOnce(&mut dyn Platform, u8) -> Result<M, BringUpError>,
    ) -> Result<Self, BringUpError> {
        let schib = css::enable(platform, id, isc).map_err(BringUpError::Enable)?;
        let path_mask = css::path_mask(&schib);
        let medium = find(platform, path_mask)?;
        let requests: Vec<Request> = (0..QUEUE_SIZE).map(|_| Request::default()).collect();
        Ok(Self {
            id,
            isc,
            number: schib.pmcw.device.get(),
            paths: Paths::new(path_mask),
            geometry: geometry(&medium),
            medium,
            requests: requests.into_boxed_slice(),
            free: (0..QUEUE_SIZE as u8).collect(),
            queue: heapless::Deque::new(),
            done: heapless::Deque::new(),
            parts: heapless::Vec::new(),
            state: State::Idle(platform.now()),
            purpose: Purpose::Requests,
            pieces: Piecewise::default(),
            lending: false,
            doubtful: false,
            status: (0, 0),
            unit_check: Irb::default(),
            looked: platform.now(),
            alone: 0,
            attempts: 0,
            expires: recovery::PROGRAM_TIMEOUT,
            counters: Counters::default(),
            recoveries: Recoveries::default(),
            incidents: Incidents::new(),
        })
    }

    /// From now on, programs that take longer than so many microseconds are missing their interruption.
    pub const fn set_expires(&mut self, micros: u64) {
        self.expires = micros;
    }

    /// What was started on it.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a request into a free place.
    fn accept(
        &mut self,
        write: bool,
        sector: u64,
        segments: &[Segment],
        token: Token,
    ) -> Result<(), SubmitError> {
        let block = u64::from(self.medium.block());
        let sectors = block / u64::from(SECTOR);
        let bytes: u64 = segments.iter().map(|one| u64::from(one.len)).sum();
        let blocks = bytes / block;
        let first = sector / sectors;
        let inside = first
            .checked_add(blocks)
            .is_some_and(|end| end <= self.medium.blocks());
        if !bytes.is_multiple_of(block) || !sector.is_multiple_of(sectors) || !inside {
            return Err(SubmitError::TooLarge);
        }
        let left = u32::try_from(blocks).map_err(|_| SubmitError::TooLarge)?;
        if left == 0 {
            return Err(SubmitError::Unsupported);
        }
        if segments.len() > SEGMENTS {
            return Err(SubmitError::TooLarge);
        }
        let number = self.free.pop().ok_or(SubmitError::Full)?;
        if let Some(request) = self.requests.get_mut(usize::from(number)) {
            // In its place: a whole request has room for many segments, all of which would be copied.
            request.token = Some(token);
            request.write = write;
            request.block = first;
            request.left = left;
            request.at = Cursor::default();
            request.segments.clear();
            // There is room.
            let _ = request.segments.extend_from_slice(segments);
        }
        // As long as there are free requests, there is room.
        let _ = self.queue.push_back(number);
        Ok(())
    }

    /// Makes a program of what waits, and starts it.
    fn start(&mut self, platform: &mut dyn Platform) {
        self.parts.clear();
        self.medium.begin();
        let pieces = &mut self.pieces;
        let (one, limit) = pieces.begin();
        let most = if self.alone > 0 || one { 1 } else { QUEUE_SIZE };
        for &number in self.queue.iter().take(most) {
            let Some(request) = self.requests.get(usize::from(number)) else {
                break;
            };
            let (part, full) = add(&mut self.medium, request, pieces, limit);
            let whole = part.blocks == request.left;
            if part.blocks > 0 {
                // There are no more parts than requests.
                let _ = self.parts.push(part);
            }
            if full || !whole {
                break;
            }
        }
        let paths = self.paths.mask(platform);
        let orb = self.medium.finish(self.id.word(), paths);
        let Ok(Some(orb)) = orb else {
            // A request whose storage makes no records: it was checked, so there is none.
            self.fail("no program");
            return;
        };
        self.run(platform, &orb, Purpose::Requests);
    }

    /// Starts the program that the medium has written.
    #[inline(always)]
    fn run(&mut self, platform: &mut dyn Platform, orb: &Orb, purpose: Purpose) {
        self.purpose = purpose;
        // SAFETY: the program lies in storage of its own, which stays as it is until its final status; its data is there, too, or in the
        // requests' segments, which are the device's until the requests have ended, and they end after that status.
        match unsafe { platform.start(self.id, orb) } {
            Ok(()) => {
                self.counters.starts += 1;
                self.counters.ccws += u64::from(self.medium.ccws());
                self.status = (0, 0);
                let now = platform.now();
                self.state = State::Running(now.plus_micros(self.expires));
                // What runs within START SUBCHANNEL has ended by now.
                self.look(platform);
            }
            Err(refusal) => self.refused(platform, refusal),
        }
    }
}

/// Adds as many blocks of a request as fit; says whether the program is full.
fn add<M: Medium>(
    medium: &mut M,
    request: &Request,
    pieces: &mut Piecewise,
    limit: Option<u32>,
) -> (Part, bool) {
    let mut part = Part {
        blocks: 0,
        end: request.at,
    };
    while part.blocks < request.left {
        let block = request.block + u64::from(part.blocks);
        let left = request.left - part.blocks;
        let left = limit.map_or(left, |limit| left.min(limit));
        match medium.add(request.write, block, left, &request.segments, part.end) {
            Ok(Some((blocks, end))) => {
                part.blocks += blocks;
                part.end = end;
                pieces.count();
                if limit.is_some() {
                    break;
                }
            }
            Ok(None) | Err(_) => return (part, true),
        }
    }
    (part, false)
}

fn geometry<M: Medium>(medium: &M) -> Geometry {
    Geometry {
        sectors: medium.blocks() * u64::from(medium.block() / SECTOR),
        block_size: medium.block(),
        physical_block_exp: 0,
        alignment_offset: 0,
        min_io: 1,
        opt_io: medium.best(),
        seg_max: SEGMENTS as u16,
        size_max: 1 << 20,
        read_only: false,
        flush: false,
        discard: None,
        write_zeroes: None,
        queues: 1,
        queue_size: QUEUE_SIZE as u16,
    }
}

impl<M: Medium> BlockDevice for Disk<M> {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    fn submit(
        &mut self,
        queue: u16,
        operation: Operation,
        segments: &[Segment],
        _: &[Range],
        token: Token,
    ) -> Result<(), SubmitError> {
        if self.state == State::GivenUp {
            return Err(SubmitError::Broken);
        }
        // Endings that were not taken have their places too.
        if queue != 0 {
            return Err(SubmitError::Unsupported);
        }
        if self.queue.len() + self.done.len() >= QUEUE_SIZE {
            return Err(SubmitError::Full);
        }
        match operation {
            Operation::Read { sector } => self.accept(false, sector, segments, token),
            Operation::Write { sector } => self.accept(true, sector, segments, token),
            Operation::Flush | Operation::Discard | Operation::WriteZeroes | Operation::GetId => {
                Err(SubmitError::Unsupported)
            }
        }
    }

    #[inline]
    fn kick(&mut self, platform: &mut dyn Platform) {
        match self.state {
            State::Lent | State::GivenUp => {}
            State::Idle(_) | State::Waiting(_) if self.queue.is_empty() || self.lending => {}
            State::Idle(from) | State::Waiting(from) => {
                if platform.now() >= from {
                    self.start(platform);
                }
            }
            State::Running(deadline)
            | State::Sensing(deadline)
            | State::Halting(deadline)
            | State::Clearing(deadline, _) => {
                let now = platform.now();
                if now >= deadline {
                    self.overdue(platform);
                } else if now.micros_since(self.looked) >= LOOK_US {
                    self.look(platform);
                }
            }
        }
    }

    #[inline]
    fn poll(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    fn in_flight(&self) -> u32 {
        (self.queue.len() + self.done.len()) as u32
    }

    fn is_broken(&self) -> bool {
        self.state == State::GivenUp
    }

    fn interrupts(&mut self, on: bool) -> bool {
        let idle = matches!(self.state, State::Idle(_)) && !self.lending;
        let startable = idle && !self.queue.is_empty();
        on && (!self.done.is_empty() || startable)
    }

    fn interruption(&mut self, platform: &mut dyn Platform, interruption: &IoInterruption) -> bool {
        match interruption {
            IoInterruption::Subchannel { id, .. }
                if *id == self.id && self.state != State::Lent =>
            {
                self.look(platform);
                true
            }
            IoInterruption::Subchannel { .. } | IoInterruption::Adapter { .. } => false,
        }
    }

    fn lend(&mut self) -> Option<bool> {
        Some(self.let_go())
    }

    fn take_back(&mut self, platform: &mut dyn Platform, isc: u8, changed: bool) {
        self.back(platform, isc, changed);
    }

    fn partition(&self, number: u8) -> Option<(u64, u64)> {
        let (block, blocks) = self.medium.partition(number)?;
        let sectors = u64::from(self.medium.block() / SECTOR);
        Some((block * sectors, blocks * sectors))
    }

    fn recoveries(&self) -> Recoveries {
        self.recoveries
    }

    fn incident(&mut self) -> Option<Record> {
        self.incidents.pop_front()
    }

    fn recheck(&mut self, platform: &mut dyn Platform) {
        if self.state == State::Lent {
            // It is looked at when it is back.
            self.doubtful = true;
            return;
        }
        let there = self.stored(platform);
        let enabled = there.is_some_and(|schib| schib.pmcw.flags().contains(PmcwFlags::ENABLED));
        match (there.is_some(), self.state == State::GivenUp) {
            (true, true) => self.come_back(platform),
            (true, false) if enabled => {}
            (_, false) => self.give_up(platform, "the device is gone"),
            (false, true) => {}
        }
    }
}
