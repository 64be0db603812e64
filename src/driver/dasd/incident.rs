//! What is said of recoveries: a trace record each, for `stellwerk trace`.
//!
//! # Limits
//!
//! [`MOST`] records between two times that somebody takes them. What does not fit is counted only.

use channel::{Irb, SubchannelId};
use s390x::clock::Tod;
use vcss::trace::{DriverState, Record, TraceEntry, TraceEvent};

use super::recovery::Action;
use crate::css::Sense;

const MOST: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    pub reason: &'static str,
    pub irb: &'a Irb,
    pub sense: Option<Sense>,
}

impl<'a> Cause<'a> {
    pub const fn new(reason: &'static str, irb: &'a Irb) -> Self {
        Self {
            reason,
            irb,
            sense: None,
        }
    }
}

/// Records of one subchannel that nobody has taken yet.
#[derive(Debug)]
pub struct Incidents {
    id: SubchannelId,
    records: heapless::Deque<Record, MOST>,
}

impl Incidents {
    pub fn new(id: SubchannelId) -> Self {
        Self {
            id,
            records: heapless::Deque::new(),
        }
    }

    pub fn take(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// What is done about a program: the action, which attempt it was, the path that was used and those that will be; device and
    /// subchannel status; twelve sense bytes.
    pub fn recovery(
        &mut self,
        now: Tod,
        (action, attempt): (Action, u32),
        paths: u8,
        cause: &Cause<'_>,
    ) {
        let used = cause.irb.esw.last_path_used();
        let first = u32::from_be_bytes([action as u8, attempt as u8, used, paths]);
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
        self.note(now, TraceEvent::Recovery, after, words);
    }

    pub fn note(&mut self, now: Tod, event: TraceEvent, after: DriverState, words: [u64; 3]) {
        let record = Record {
            subchannel: self.id.word(),
            tod: now.units(),
            event,
            before: DriverState::Busy,
            after,
            condition: TraceEntry::NO_CONDITION,
            client: TraceEntry::NO_CLIENT,
            words,
        };
        let _ = self.records.push_back(record);
    }
}
