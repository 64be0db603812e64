//! Disks that are driven by channel programs of reads and writes: count-key-data and fixed-block ones alike.
//!
//! | module | what it is |
//! |---|---|
//! | `bring_up` | why a disk is not served |
//! | [`chain`] | a channel program in storage, and how it names data |
//! | [`eckd`] | a count-key-data disk (3390 and its like) |
//! | [`fba`] | a fixed-block disk (3370, 9336) |
//! | `ending` | what the subchannel says: endings of programs and requests, and time-outs |
//! | `queue` | the requests |
//! | `incident` | what is said of that to whoever looks |
//! | `medium` | what is behind the queue: blocks, and the programs that read and write them |
//! | [`paths`] | the channel paths that are used |
//! | `verify` | paths that are lost under a program, and those that are found again |
//! | [`classes`] | what commands do to the state of a chain |
//! | [`thin`] | tracks that were never formatted |
//! | [`recovery`] | what is done about a program that did not end as it should |
//!
//! # Scope
//!
//! A [`Disk`] has the queue: requests wait, as many as fit are one channel program, and one program is in flight. What a program
//! looks like is its [`Medium`]'s business: [`eckd`], [`fba`].
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
pub mod eckd;
mod ending;
pub mod fba;
#[cfg(test)]
pub(crate) mod fixture;
mod incident;
mod medium;
pub mod paths;
mod queue;
pub mod recovery;
pub mod thin;
mod verify;

use channel::{IoInterruption, Irb, Orb, PmcwFlags, SubchannelId};
use s390x::clock::Tod;
use window::Segment;

use super::block::{
    BlockDevice, Dasd, Done, Geometry, Operation, Range, Recoveries, SubmitError, Token, Volume,
    SECTOR,
};
use crate::css::{self, Platform};
pub use bring_up::BringUpError;
pub use chain::Cursor;
use incident::Incidents;
pub use medium::{Medium, Thin};
use paths::Paths;
use queue::Requests;
pub use queue::{QUEUE_SIZE, SEGMENTS};
use vcss::trace::Record;

/// How long the status of a running program is not asked for again, in microseconds: interruptions announce it.
const LOOK_US: u64 = 20;

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
    Halting(Tod),
    /// A clear function, and how many more are tried.
    Clearing(Tod, u32),
    /// Somebody else has the subchannel.
    Lent,
    /// Gone, or it cannot be stopped.
    GivenUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Requests,
    /// To find out which records a track has.
    Survey,
    /// To give it those that it lacks.
    Format,
}

bitflags::bitflags! {
    /// Why no program is started.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Hold: u8 {
        /// Somebody else is to have the subchannel.
        const LENDING = 1;
        /// Paths are to be verified first.
        const VERIFYING = 2;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub starts: u64,
    pub ccws: u64,
}

#[derive(Debug)]
pub struct Disk<M> {
    id: SubchannelId,
    isc: u8,
    /// The number of the device. Another one on the subchannel is not the disk.
    number: u16,
    paths: Paths,
    medium: M,
    geometry: Geometry,
    requests: Requests,
    state: State,
    purpose: Purpose,
    hold: Hold,
    /// Something happened to the subchannel while it was lent: the device may be another one with its number.
    doubtful: bool,
    status: (u8, u8),
    /// The status with the unit check whose sense bytes are being asked for.
    unit_check: Irb,
    looked: Tod,
    /// How often the first request was tried.
    attempts: u32,
    /// The missing-interruption time, in microseconds.
    expires: u64,
    counters: Counters,
    recoveries: Recoveries,
    incidents: Incidents,
}

impl<M> Disk<M> {
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
        let schib = css::enable(platform, id, isc)?;
        let path_mask = css::path_mask(&schib);
        let medium = find(platform, path_mask)?;
        Ok(Self {
            id,
            isc,
            number: schib.pmcw.device.get(),
            paths: Paths::new(path_mask),
            geometry: geometry(&medium),
            medium,
            requests: Requests::new(),
            state: State::Idle(platform.now()),
            purpose: Purpose::Requests,
            hold: Hold::empty(),
            doubtful: false,
            status: (0, 0),
            unit_check: Irb::default(),
            looked: platform.now(),
            attempts: 0,
            expires: recovery::PROGRAM_TIMEOUT,
            counters: Counters::default(),
            recoveries: Recoveries::default(),
            incidents: Incidents::new(id),
        })
    }

    /// From now on, programs that take longer than so many microseconds are missing their interruption.
    pub const fn set_expires(&mut self, micros: u64) {
        self.expires = micros;
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

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
        self.requests.accept(write, first, left, segments, token)
    }

    /// Makes a program of what waits, and starts it.
    fn start(&mut self, platform: &mut dyn Platform) {
        self.requests.fill(&mut self.medium);
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
        if self.requests.waiting() + self.requests.ended() >= QUEUE_SIZE {
            return Err(SubmitError::Full);
        }
        let (write, sector) = match operation {
            Operation::Read { sector } => (false, sector),
            Operation::Write { sector } => (true, sector),
            Operation::Flush | Operation::Discard | Operation::WriteZeroes | Operation::GetId => {
                return Err(SubmitError::Unsupported)
            }
        };
        self.accept(write, sector, segments, token)
    }

    #[inline]
    fn kick(&mut self, platform: &mut dyn Platform) {
        match self.state {
            State::Lent | State::GivenUp => {}
            State::Idle(_) | State::Waiting(_)
                if self.requests.waiting() == 0 || !self.hold.is_empty() => {}
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
        self.requests.take_ended()
    }

    fn in_flight(&self) -> u32 {
        (self.requests.waiting() + self.requests.ended()) as u32
    }

    fn is_broken(&self) -> bool {
        self.state == State::GivenUp
    }

    fn arm(&mut self) -> bool {
        let idle = matches!(self.state, State::Idle(_)) && !self.hold.contains(Hold::LENDING);
        let startable = idle && self.requests.waiting() > 0;
        self.requests.ended() > 0 || startable
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

    fn close(&mut self, platform: &mut dyn Platform) -> bool {
        let there = self.stored(platform).is_some();
        let is_in_order = !self.recoveries.broken && css::disable(platform, self.id).is_ok();
        self.state = State::Lent;
        !there || is_in_order
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

    fn paths_changed(&mut self, platform: &mut dyn Platform) {
        verify::look_at_paths(self, platform);
    }

    fn has_unverified_paths(&self) -> bool {
        self.hold.contains(Hold::VERIFYING)
    }

    fn verify_paths(&mut self, platform: &mut dyn Platform) {
        verify::verify(self, platform);
    }

    fn dasd(&mut self) -> Option<&mut dyn Dasd> {
        Some(self)
    }
}

impl<M: Medium> Dasd for Disk<M> {
    fn partition(&self, number: u8) -> Option<(u64, u64)> {
        let (block, blocks) = self.medium.partition(number)?;
        let sectors = u64::from(self.medium.block() / SECTOR);
        Some((block * sectors, blocks * sectors))
    }

    fn recoveries(&self) -> Recoveries {
        self.recoveries
    }

    fn incident(&mut self) -> Option<Record> {
        self.incidents.take()
    }

    fn release(&mut self) -> bool {
        self.hold |= Hold::LENDING;
        match self.state {
            State::Idle(_) | State::Waiting(_) | State::GivenUp => {
                self.state = State::Lent;
                true
            }
            State::Lent => true,
            State::Running(_) | State::Sensing(_) | State::Halting(_) | State::Clearing(..) => {
                false
            }
        }
    }

    /// Goes on, if the disk is still there, and what it was. One that had been given up gets another try.
    fn resume(&mut self, platform: &mut dyn Platform, volume: Volume) {
        self.hold -= Hold::LENDING;
        if self.state != State::Lent {
            return;
        }
        self.state = State::GivenUp;
        let doubtful = core::mem::take(&mut self.doubtful) || volume == Volume::Doubtful;
        let there = self.stored(platform).is_some();
        if doubtful || self.recoveries.broken {
            self.come_back(platform);
        } else if there && css::enable(platform, self.id, self.isc).is_ok() {
            self.state = State::Idle(platform.now());
        }
        if self.state == State::GivenUp {
            self.give_up(platform, "it did not come back as it was");
        }
    }
}
