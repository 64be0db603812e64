//! The looks at files that are under way: one at a time for each of those for whom they are.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::look::{Found, Look, LookError, Order};
use crate::sys;

#[derive(Debug)]
pub struct Looks<K>(Vec<UnderWay<K>>);

impl<K> Default for Looks<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[derive(Debug)]
struct UnderWay<K> {
    what: K,
    look: Look,
    /// When its time is up; nothing, if that has been said.
    until: Option<Instant>,
}

impl<K: Copy + PartialEq> Looks<K> {
    /// Begins one, if there is none that can still come to something. The file system may take so long. One that still has no
    /// answer after its time is not joined by another one that waits.
    pub fn begin(&mut self, what: K, order: &Order, limit: Duration) -> Result<(), LookError> {
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
    pub fn is_waited_for(&self, what: K) -> bool {
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
    pub fn take(&mut self, now: Instant) -> Vec<(K, Result<Found, LookError>)> {
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

/// Which of these files answer within a time, all of them being looked at together. What is found out is of no interest: who
/// asks looks for itself.
pub fn which_answer(paths: &[&Path], limit: Duration) -> Vec<bool> {
    let mut answers = vec![true; paths.len()];
    let mut looks = Looks::default();
    for (number, path) in paths.iter().enumerate() {
        let order = Order {
            path: path.to_path_buf(),
            write: false,
            direct: false,
        };
        // One that cannot be looked at is no reason not to try.
        let _ = looks.begin(number, &order, limit);
    }
    while let Some(until) = looks.until() {
        let ended = looks.ended();
        let mut fds: Vec<PollFd<'_>> = ended
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        if sys::wait(&mut fds, Some(left)).is_err() {
            break;
        }
        for (number, found) in looks.take(Instant::now()) {
            answers[number] = !matches!(found, Err(LookError::NoAnswer));
        }
    }
    answers
}
