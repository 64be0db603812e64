//! Channel reports that come faster than anybody can deal with them.

use std::boxed::Box;
use std::collections::VecDeque;

use channel::Crw;

use super::Machine;

/// A report a microsecond, and as many that can wait as a channel subsystem has room for.
pub struct Storm {
    next: Box<dyn FnMut() -> Crw>,
    pending: VecDeque<Crw>,
    /// Until when they have come.
    until: u64,
    /// So many are still to come.
    left: u64,
}

impl Storm {
    const PENDING: usize = 16;
}

impl Machine {
    /// From now on a report comes each microsecond, so many in all.
    pub fn storm(&mut self, count: u64, next: impl FnMut() -> Crw + 'static) {
        self.storm = Some(Storm {
            next: Box::new(next),
            pending: VecDeque::new(),
            until: self.micros,
            left: count,
        });
    }

    /// Whether reports of the storm are still to come, or to be read.
    pub fn storms(&self) -> bool {
        let storm = self.storm.as_ref();
        storm.is_some_and(|storm| storm.left > 0 || !storm.pending.is_empty())
    }

    /// STORE CHANNEL REPORT WORD in a storm: it takes as long as the next report takes to come.
    pub(super) fn blow(&mut self) -> Option<Crw> {
        let storm = self.storm.as_mut()?;
        self.micros += 1;
        let passed = (self.micros - storm.until).min(storm.left);
        storm.until = self.micros;
        storm.left -= passed;
        for _ in 0..passed {
            let report = (storm.next)();
            if storm.pending.len() < Storm::PENDING {
                storm.pending.push_back(report);
            } else if let Some(last) = storm.pending.back_mut() {
                *last = last.with_overflow();
            }
        }
        storm.pending.pop_front()
    }
}
