//! The looks at disks' files that are under way: one at a time for each disk.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::vm::look::{Found, Look, LookError, Order};
use crate::vm::Given;

#[derive(Debug, Default)]
pub struct Looks(Vec<UnderWay>);

#[derive(Debug)]
struct UnderWay {
    what: Given,
    look: Look,
    /// When its time is up; nothing, if that has been said.
    until: Option<Instant>,
}

impl Looks {
    /// Begins one, if there is none that can still come to something. The file system may take so long. One that still has no
    /// answer after its time is not joined by another one that waits.
    pub fn begin(&mut self, what: Given, order: &Order, limit: Duration) -> Result<(), LookError> {
        if let Some(there) = self.0.iter().find(|it| it.what == what) {
            return match there.until {
                Some(_) => Ok(()),
                None => Err(LookError::NoAnswer),
            };
        }
        let look = Look::start(order)?;
        self.0.push(UnderWay {
            what,
            look,
            until: Some(Instant::now() + limit),
        });
        Ok(())
    }

    /// Whether one is under way that can still come to something.
    pub fn is_waited_for(&self, what: Given) -> bool {
        let mut all = self.0.iter();
        all.any(|it| it.what == what && it.until.is_some())
    }

    /// What becomes readable when one of them has ended.
    pub fn ended(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|it| it.look.ended())
    }

    pub fn until(&self) -> Option<Instant> {
        self.0.iter().filter_map(|it| it.until).min()
    }

    /// What has come of them, or that nothing has in time. One that is stuck is left, and nobody hears of its end.
    pub fn take(&mut self, now: Instant) -> Vec<(Given, Result<Found, LookError>)> {
        let mut outcomes = Vec::new();
        self.0.retain_mut(|it| {
            if let Some(outcome) = it.look.outcome() {
                if it.until.is_some() {
                    outcomes.push((it.what, outcome));
                }
                return false;
            }
            if it.until.is_some_and(|until| now >= until) {
                it.until = None;
                it.look.give_up();
                outcomes.push((it.what, Err(LookError::NoAnswer)));
            }
            true
        });
        outcomes
    }
}
