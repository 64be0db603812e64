//! Channel reports: read from the channel subsystem until it has none, kept in their order, and given out a few at a time.
//!
//! # Rules
//!
//! * Reports can come faster than they are dealt with, so no turn reads or deals with more than so many. As long as there are others
//!   the event loop comes back, and does not sleep: the machine check that tells of them comes once.
//! * A report that says what one that waits has said about the same source already is the same report: what it is about is looked at
//!   after both.
//! * What was lost, here or in the channel subsystem, is made up for by a look at everything: at the known devices first, because
//!   what has gone may have come back elsewhere, and then at all other subchannels. A loss during that look leads to another one after
//!   it, so that a storm of losses does not keep it at its beginning.
//! * The log gets a few reports a second, and the number of the others. The trace has them all.

use liballoc::vec::Vec;

use channel::{ChannelReport, ReportSubject, SubchannelId};
use heapless::Deque;
use s390x::clock::Tod;
use vcss::trace::{DriverState, Record, TraceEntry, TraceEvent};

use crate::css::{self, Inventory, Platform};

/// Reports that can wait.
const WAITING: usize = 64;
/// Reports read in a turn.
const READ: usize = 64;
/// Subchannels passed by in one step of the look at everything.
const PASSED: usize = 64;
/// Reports that are logged in a second.
const LOGGED: u32 = 10;
const SECOND: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: Deque<Report, WAITING>,
    /// The channel subsystem has not said yet that it has no more.
    unread: bool,
    look: Option<Look>,
    /// Another look is to follow.
    again: bool,
    /// The next task is a step of the look, not a report.
    looks_next: bool,
    log: LogLimit,
}

/// One that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub said: ChannelReport,
    /// How often it was said.
    pub times: u32,
}

/// How far the look at everything is.
#[derive(Debug)]
enum Look {
    /// These of the devices that were known are to be looked at, the last one first.
    Known(Vec<SubchannelId>),
    /// The next of all subchannels.
    All(SubchannelId),
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Task {
    Report(Report),
    /// Look what is on this subchannel.
    LookAt(SubchannelId),
    /// Nothing came of this step; others follow.
    Passed,
}

impl Reports {
    /// The machine has said that there are reports.
    pub(super) const fn expect(&mut self) {
        self.unread = true;
    }

    /// Whether there is more to do.
    pub(super) fn is_busy(&self) -> bool {
        self.unread || self.look.is_some() || self.again || !self.waiting.is_empty()
    }

    pub(super) const fn look_at_everything(&mut self) {
        self.again = true;
    }

    /// Reads some of the reports that are pending.
    pub(super) fn read(&mut self, platform: &mut dyn Platform) {
        self.unread = true;
        for _ in 0..READ {
            let Some(said) = css::next_report(platform) else {
                self.unread = false;
                return;
            };
            self.again |= said.lost;
            self.keep(said);
        }
    }

    fn keep(&mut self, said: ChannelReport) {
        let subject = said.subject();
        let mut same = self.waiting.iter_mut().rev();
        if let Some(before) = same.find(|report| report.said.subject() == subject) {
            if subject != ReportSubject::Unknown && before.said.words() == said.words() {
                before.times = before.times.saturating_add(1);
                return;
            }
        }
        let report = Report { said, times: 1 };
        self.again |= self.waiting.push_back(report).is_err();
    }

    /// What is to be done next, if there is anything: reports in their order, and between two of them a step of the look at everything.
    pub(super) fn next(
        &mut self,
        platform: &mut dyn Platform,
        inventory: &Inventory,
    ) -> Option<Task> {
        let looks = self.looks_next || self.waiting.is_empty();
        self.looks_next = !looks;
        if looks {
            if let Some(task) = self.look(platform, inventory) {
                return Some(task);
            }
        }
        let report = self.waiting.pop_front()?;
        Some(Task::Report(report))
    }

    fn look(&mut self, platform: &mut dyn Platform, inventory: &Inventory) -> Option<Task> {
        if self.look.is_none() && core::mem::take(&mut self.again) {
            let known = inventory.devices().iter().rev();
            self.look = Some(Look::Known(known.map(|device| device.id).collect()));
        }
        let mut next = match self.look.as_mut()? {
            Look::Known(known) => match known.pop() {
                Some(id) => return Some(Task::LookAt(id)),
                None => SubchannelId::new(0, 0)?,
            },
            Look::All(next) => *next,
        };
        let last_set = platform.highest_set().min(SubchannelId::MAX_SET);
        for _ in 0..PASSED {
            let id = next;
            let is_there = platform.store(id).is_ok();
            let following = match id.number().checked_add(1).filter(|_| is_there) {
                Some(number) => SubchannelId::new(id.set(), number),
                None => SubchannelId::new(id.set() + 1, 0).filter(|id| id.set() <= last_set),
            };
            self.look = following.map(Look::All);
            let mut known = inventory.devices().iter();
            if is_there && !known.any(|device| device.id == id) {
                return Some(Task::LookAt(id));
            }
            next = following?;
        }
        Some(Task::Passed)
    }

    /// Logs a report, unless many others were logged just now.
    pub(super) fn log(&mut self, report: &Report, now: Tod) {
        if let Some(left_out) = self.log.take(now) {
            let (said, times) = (report.said, report.times);
            let [first, second] = said.words();
            log::warn!("channel report: {said} ({first:08x} {second:08x}, {times} times)");
            if left_out > 0 {
                log::warn!("{left_out} channel reports before it were not logged");
            }
        }
    }
}

impl Report {
    /// Its record in the trace.
    pub(super) fn record(&self, now: Tod) -> Record {
        let [first, second] = self.said.words();
        let subchannel = match self.said.subject() {
            ReportSubject::Subchannel(id) => id.word(),
            _ => 0,
        };
        let words = [
            u64::from(first) << 32 | u64::from(second),
            u64::from(self.times) << 32,
            0,
        ];
        event(TraceEvent::Report, subchannel, words, now)
    }
}

/// A record of what concerns the whole machine, or a subchannel whoever has it.
pub(super) fn event(event: TraceEvent, subchannel: u32, words: [u64; 3], now: Tod) -> Record {
    Record {
        subchannel,
        tod: now.units(),
        event,
        before: DriverState::NotOperational,
        after: DriverState::NotOperational,
        condition: TraceEntry::NO_CONDITION,
        client: TraceEntry::NO_CLIENT,
        words,
    }
}

/// So many a second.
#[derive(Debug, Default)]
struct LogLimit {
    /// When this second began.
    since: Tod,
    logged: u32,
    left_out: u64,
}

impl LogLimit {
    /// Whether one more may be logged, and how many before it were not.
    fn take(&mut self, now: Tod) -> Option<u64> {
        if now.micros_since(self.since) >= SECOND {
            self.since = now;
            self.logged = 0;
        }
        if self.logged >= LOGGED {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(core::mem::take(&mut self.left_out))
    }
}
