//! Thin-provisioned volumes (ESE, *extent space efficient*): tracks that were never formatted, and have no storage either.
//!
//! # The rules
//!
//! * Such a track reads as zeroes. Before the first write to it, it is formatted; then it reads as zeroes, too, so whoever dies between
//!   formatting and writing has changed nothing.
//! * A medium adds blocks in runs, none of which goes over the end of a track, and has the last record of each looked for first. So a
//!   run ends with *no record found* before anything of it has been transferred, if its track lacks records that it needs.
//! * Only one run is then in the program that is tried again, so it is known which track it is. Which records that has is looked at
//!   before anything is done: formatting was interrupted on a track that has some of them, and these may have been written to. They
//!   stay as they are.
//!
//! # Limits
//!
//! Each such track costs three programs or four. A write for which the storage control has no more storage fails.

use channel::Irb;

use super::chain::Pieces;
use super::recovery;
use super::{Disk, Medium, Purpose};
use crate::css::Platform;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    pub record: u8,
    /// How many there are, from the first on without a gap.
    pub there: u8,
    pub all: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piecewise {
    /// The first request goes run by run, until it has ended.
    on: bool,
    /// The next run has so many blocks at most.
    limit: Option<u32>,
    /// How many runs the program has.
    runs: u32,
}

impl Piecewise {
    /// A program begins: whether it is to have but one run, and how long that may be.
    pub(super) fn begin(&mut self) -> (bool, Option<u32>) {
        self.runs = 0;
        let limit = self.limit.take();
        (self.on, limit.or(self.on.then_some(u32::MAX)))
    }

    pub(super) const fn count(&mut self) {
        self.runs += 1;
    }

    pub(super) const fn end(&mut self) {
        self.on = false;
        self.limit = None;
    }
}

impl<M: Medium> Disk<M> {
    /// The program has ended because there is no record where one should be. Returns whether something is done about it.
    #[cold]
    pub(super) fn lacks_record(&mut self, platform: &mut dyn Platform) -> bool {
        let Some(medium) = self.medium.thin() else {
            return false;
        };
        if self.requests.pieces.runs > 1 {
            self.requests.separate();
            self.requests.pieces.on = true;
            self.requests.withdraw();
            return true;
        }
        self.attempts += 1;
        if self.attempts >= recovery::ATTEMPTS {
            return false;
        }
        let Some(block) = self.requests.first().map(|first| first.block) else {
            return false;
        };
        let paths = self.paths.mask(platform);
        let orb = medium.survey(block, self.id.word(), paths);
        if let Some(orb) = &orb {
            self.run(platform, orb, Purpose::Survey);
        }
        orb.is_some()
    }

    /// It is known which records the track has that the program's one run is on.
    #[cold]
    pub(super) fn surveyed(&mut self, platform: &mut dyn Platform, irb: &Irb, is_whole: bool) {
        let first = self.requests.first().zip(self.requests.first_part());
        let Some(((request, part), medium)) = first.zip(self.medium.thin()) else {
            return;
        };
        let track = medium.surveyed(request.block, irb.scsw.program.get());
        if is_whole || track.there >= track.all {
            // Somebody else has formatted it meanwhile.
            self.requests.withdraw();
        } else if request.write {
            let (block, paths) = (request.block, self.paths.mask(platform));
            match medium.format(block, track.there, self.id.word(), paths) {
                Some(orb) => self.run(platform, &orb, Purpose::Format),
                None => {
                    self.fail("no program");
                    self.requests.withdraw();
                }
            }
        } else if track.record <= track.there {
            // What is there is read, the rest next time.
            self.requests.pieces.on = true;
            self.requests.pieces.limit = Some(u32::from(track.there - track.record) + 1);
            self.requests.withdraw();
        } else {
            let bytes = part.blocks * self.medium.block();
            let mut pieces = Pieces::new(&request.segments, request.at, bytes);
            // SAFETY: storage of a request that is in progress; the program that was to fill it has ended.
            if pieces.all(|(address, length)| unsafe { platform.zero(address, length) }) {
                self.complete();
            } else {
                self.fail("no record found");
                self.requests.withdraw();
            }
        }
    }

    /// The track has all its records now: what was to be done there is done.
    #[cold]
    pub(super) fn formatted(&mut self) {
        log::debug!("disk {}: a track was formatted", self.id);
        self.requests.withdraw();
    }
}
