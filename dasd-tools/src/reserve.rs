//! Reservations of disks: made, waited for, and given up when whoever made them ends.
//!
//! A reservation is the storage control's: no other system gets at the disk until it is released, or taken away by force. The
//! daemon remembers which disks it has reserved, so that its orderly end releases them.

use std::collections::BTreeMap;
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::admin::{self, Reservation};
use crate::runner::{Failure, Fault, Runner};

/// How often a disk that another system has is tried.
const TICK: Duration = Duration::from_millis(100);

/// Who has reserved a disk, as far as is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The daemon, for its clients.
    Us,
    /// Another system had it when that was last tried.
    Other,
}

#[derive(Debug, Error)]
pub enum ReserveError {
    #[error("disk \"{name}\" is reserved by another system, for {} s now; `stellwerk steal` takes it away", .waited.as_secs())]
    Elsewhere { name: String, waited: Duration },
    #[error("disk \"{0}\": {1}")]
    Failed(String, Failure),
}

/// The reservations that are known of, by what the disks are called.
#[derive(Debug, Default)]
pub struct Reservations(Mutex<BTreeMap<String, Holder>>);

impl Reservations {
    /// Those that this system is known to have.
    pub fn of_us(names: impl Iterator<Item = String>) -> Self {
        Self(Mutex::new(names.map(|name| (name, Holder::Us)).collect()))
    }

    pub fn entries(&self) -> BTreeMap<String, Holder> {
        self.0.lock().clone()
    }

    /// Reserves or releases a disk. One that another system has is waited for, at most `limit`.
    pub fn apply(
        &self,
        disk: &mut dyn Runner,
        name: &str,
        how: Reservation,
        limit: Duration,
    ) -> Result<(), ReserveError> {
        let began = Instant::now();
        let mut waits = false;
        loop {
            match admin::reserve(disk, how) {
                Ok(()) => break,
                Err(Failure::Fault(_, Fault::Busy)) => {}
                Err(failure) => return Err(ReserveError::Failed(name.into(), failure)),
            }
            self.0.lock().insert(name.into(), Holder::Other);
            let waited = began.elapsed();
            if waited >= limit {
                tracing::warn!("disk \"{name}\" is reserved by another system");
                let name = name.into();
                return Err(ReserveError::Elsewhere { name, waited });
            }
            if !waits {
                tracing::info!("disk \"{name}\" is reserved by another system: waiting");
            }
            waits = true;
            std::thread::sleep(TICK.min(limit));
        }
        let (what, holder) = match how {
            Reservation::Reserve => ("reserved", Some(Holder::Us)),
            Reservation::Release => ("released", None),
            Reservation::Steal => ("reserved by force", Some(Holder::Us)),
        };
        match holder {
            Some(holder) => self.0.lock().insert(name.into(), holder),
            None => self.0.lock().remove(name),
        };
        tracing::info!("disk \"{name}\" is {what}");
        Ok(())
    }

    /// The disks that were reserved here.
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
                "bad" => anyhow::bail!("unit check"),
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
