//! What is said of recoveries: a trace record each, for `stellwerk trace`.
//!
//! # Limits
//!
//! [`MOST`] records between two times that somebody takes them. What does not fit is counted only.

use channel::Irb;
use vcss::trace::{DriverState, Record, TraceEntry, TraceEvent};

use super::recovery::Action;
use super::Disk;
use crate::css::{Platform, Sense};

/// Records that are kept.
const MOST: usize = 8;

/// Records that nobody has taken yet.
pub type Incidents = heapless::Deque<Record, MOST>;

/// Why something is done.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    pub reason: &'static str,
    /// The status it follows from.
    pub irb: &'a Irb,
    /// The sense bytes, after a unit check.
    pub sense: Option<Sense>,
}

impl<M> Disk<M> {
    /// A record about the disk itself.
    pub(super) fn note(
        &mut self,
        platform: &mut dyn Platform,
        event: TraceEvent,
        after: DriverState,
    ) {
        self.record(platform, event, after, [0; 3]);
    }

    /// A record of what is done about a program: the action, which attempt it was, the path that was used and those that will be; device and
    /// subchannel status; twelve sense bytes.
    pub(super) fn note_recovery(
        &mut self,
        platform: &mut dyn Platform,
        action: Action,
        cause: &Cause<'_>,
    ) {
        let used = cause.irb.esw.last_path_used();
        let attempt = self.attempts as u8;
        let first = u32::from_be_bytes([action as u8, attempt, used, self.paths.current()]);
        let scsw = &cause.irb.scsw;
        let second = u32::from_be_bytes([scsw.device_status, scsw.subchannel_status, 0, 0]);
        let mut sense = [0; 12];
        if let Some(found) = cause.sense {
            for (to, from) in sense.iter_mut().zip(found.bytes()) {
                *to = *from;
            }
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = sense;
        let after = match action {
            Action::Fail => DriverState::Idle,
            _ => DriverState::Busy,
        };
        let words = [
            u64::from(first) << 32 | u64::from(second),
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, 0, 0, 0, 0]),
        ];
        self.record(platform, TraceEvent::Recovery, after, words);
    }

    fn record(
        &mut self,
        platform: &mut dyn Platform,
        event: TraceEvent,
        after: DriverState,
        words: [u64; 3],
    ) {
        let record = Record {
            subchannel: self.id.word(),
            tod: platform.now().units(),
            event,
            before: DriverState::Busy,
            after,
            condition: TraceEntry::NO_CONDITION,
            client: TraceEntry::NO_CLIENT,
            words,
        };
        let _ = self.incidents.push_back(record);
    }
}
