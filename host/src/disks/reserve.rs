//! Reservations of disks: made, waited for, and given up when the daemon ends.
//!
//! A reservation is the storage control's: no other system gets at the disk until it is released, or taken away by force. The
//! daemon remembers which disks it has reserved, so that its orderly end releases them.

use std::collections::BTreeMap;
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use dasd::admin::{self, Failure, Fault, Reservation, Runner};
use dasd::Program;
use serde::{Deserialize, Serialize};

use crate::subchannel::HostClient;

/// How often a disk that another system has is tried.
const TICK: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// RESERVE.
    Reserve,
    /// RELEASE.
    Release,
    /// UNCONDITIONAL RESERVE.
    Steal,
}

impl How {
    const fn reservation(self) -> Reservation {
        match self {
            Self::Reserve => Reservation::Reserve,
            Self::Release => Reservation::Release,
            Self::Steal => Reservation::Steal,
        }
    }
}

/// Who has reserved a disk, as far as the daemon knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The daemon, for its clients.
    Us,
    /// Another system had it when that was last tried.
    Other,
}

/// The reservations that the daemon knows of, by what the disks are called.
#[derive(Debug, Default)]
pub struct Book(Mutex<BTreeMap<String, Holder>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn entries(&self) -> BTreeMap<String, Holder> {
        self.lock().clone()
    }

    fn note(&self, name: &str, holder: Option<Holder>) {
        match holder {
            Some(holder) => self.lock().insert(name.into(), holder),
            None => self.lock().remove(name),
        };
    }

    /// Reserves or releases a disk. One that another system has is waited for, at most `limit`.
    ///
    /// # Errors
    ///
    /// It still has it, or something is wrong with the disk.
    pub fn apply(&self, host: &HostClient, name: &str, how: How, limit: Duration) -> Result<()> {
        let mut disk = host.borrow_disk(name, false)?;
        self.apply_to(&mut disk, name, how, limit)
    }

    /// The same to a disk that is borrowed.
    pub(super) fn apply_to<R: Runner>(
        &self,
        disk: &mut R,
        name: &str,
        how: How,
        limit: Duration,
    ) -> Result<()>
    where
        R::Error: std::fmt::Display,
    {
        let mut program = Box::new(Program::new());
        let began = Instant::now();
        let mut waits = false;
        loop {
            match admin::reserve(disk, &mut program, how.reservation()) {
                Ok(()) => break,
                Err(Failure::Fault(_, Fault::Busy)) => {
                    self.note(name, Some(Holder::Other));
                    if began.elapsed() >= limit {
                        tracing::warn!("disk \"{name}\" is reserved by another system");
                        bail!(
                            "disk \"{name}\" is reserved by another system, for {} s now; `stellwerk steal` takes it away",
                            began.elapsed().as_secs()
                        );
                    }
                    if !waits {
                        tracing::info!("disk \"{name}\" is reserved by another system: waiting");
                    }
                    waits = true;
                    std::thread::sleep(TICK.min(limit));
                }
                Err(failure) => bail!("disk \"{name}\": {failure}"),
            }
        }
        let (holder, what) = match how {
            How::Reserve => (Some(Holder::Us), "reserved"),
            How::Release => (None, "released"),
            How::Steal => (Some(Holder::Us), "reserved by force"),
        };
        self.note(name, holder);
        tracing::info!("disk \"{name}\" is {what}");
        Ok(())
    }

    /// The disks that the daemon has reserved.
    pub fn ours(&self) -> Vec<String> {
        let entries = self.entries().into_iter();
        let ours = entries.filter(|(_, holder)| *holder == Holder::Us);
        ours.map(|(name, _)| name).collect()
    }
}

/// Releases disks, all of them at the same time: one that does not answer costs the others nothing. Those that are not released, or
/// not in time.
pub fn release_all(
    names: Vec<String>,
    limit: Duration,
    release: impl Fn(&str) -> Result<()> + Send + Sync + 'static,
) -> Vec<String> {
    let release = Arc::new(release);
    let (done, outcomes) = mpsc::channel();
    let (mut left, mut failed) = (names, Vec::new());
    for name in left.clone() {
        let (release, done) = (Arc::clone(&release), done.clone());
        let builder = std::thread::Builder::new().name("release".into());
        let begun = builder.spawn(move || {
            let outcome = release(&name);
            let _ = done.send((name, outcome));
        });
        if let Err(error) = begun {
            tracing::error!("reserved disks are not released: {error}");
        }
    }
    drop(done);
    let deadline = Instant::now() + limit;
    let still = || deadline.saturating_duration_since(Instant::now());
    while let Ok((name, outcome)) = outcomes.recv_timeout(still()) {
        match outcome {
            Ok(()) => left.retain(|it| *it != name),
            Err(error) => {
                tracing::error!("disk \"{name}\" stays reserved: {error:#}");
                failed.push(name);
            }
        }
    }
    for name in left.iter().filter(|name| !failed.contains(name)) {
        tracing::error!("disk \"{name}\" may stay reserved: it does not answer");
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_keeps_no_other_one_reserved() {
        let names = ["a", "stuck", "b", "bad", "c"].map(String::from).to_vec();
        let (released, heard) = mpsc::channel();
        let left = release_all(names, Duration::from_millis(500), move |name| {
            match name {
                "stuck" => std::thread::sleep(Duration::from_secs(1000)),
                "bad" => bail!("unit check"),
                _ => released.send(name.to_owned())?,
            }
            Ok(())
        });
        assert_eq!(left, ["stuck", "bad"]);
        let mut released: Vec<String> = heard.try_iter().collect();
        released.sort();
        assert_eq!(released, ["a", "b", "c"]);
    }

    #[test]
    fn when_all_are_released_nobody_is_waited_for() {
        let left = release_all(vec!["a".into()], Duration::from_secs(1000), |_| Ok(()));
        assert!(left.is_empty());
        assert!(release_all(Vec::new(), Duration::from_secs(1000), |_| Ok(())).is_empty());
    }
}
