//! Reservations of disks: made, waited for, and given up when the daemon ends.
//!
//! A reservation is the storage control's: no other system gets at the disk until it is released, or taken away by force. The
//! daemon remembers which disks it has reserved, so that its orderly end releases them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};

use crate::admin::{self, Failure, Fault, Reservation, Runner};
use crate::lender::Lender;
use crate::Program;

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
    pub fn apply(&self, host: &impl Lender, name: &str, how: How, limit: Duration) -> Result<()> {
        let mut disk = host.borrow_disk(name, false)?;
        self.apply_to(&mut disk, name, how, limit)
    }

    /// The same to a disk that is borrowed.
    pub fn apply_to<R: Runner>(
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

    /// Releases what the daemon has reserved, each within a second or so: it is going.
    pub fn release_all(&self, host: &impl Lender) {
        for (name, holder) in self.entries() {
            if holder == Holder::Us {
                if let Err(error) = self.apply(host, &name, How::Release, Duration::from_secs(1)) {
                    tracing::error!("disk \"{name}\" stays reserved: {error:#}");
                }
            }
        }
    }
}
