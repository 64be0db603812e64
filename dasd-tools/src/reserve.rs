//! Reservations of disks: made, waited for, and given up when whoever made them ends.
//!
//! A reservation is the storage control's: no other system gets at the disk until it is released, or taken away by force. The
//! daemon remembers which disks it has reserved, so that its orderly end releases them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::admin::{self, Reservation};
use crate::lender::{Lender, Purpose};
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

/// Why a disk is not reserved, or not released.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// It is not lent.
    #[error(transparent)]
    NotLent(#[from] anyhow::Error),
    /// Another system has it.
    #[error("disk \"{name}\" is reserved by another system, for {} s now; `stellwerk steal` takes it away", .waited.as_secs())]
    Elsewhere {
        /// What it is called.
        name: String,
        /// How long that has been waited for.
        waited: Duration,
    },
    /// The disk fails.
    #[error("disk \"{0}\": {1}")]
    Failed(String, Failure),
}

/// The reservations that are known of, by what the disks are called.
#[derive(Debug, Default)]
pub struct Reservations(Mutex<BTreeMap<String, Holder>>);

impl Reservations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn entries(&self) -> BTreeMap<String, Holder> {
        self.lock().clone()
    }

    /// Borrows a disk, and reserves or releases it. One that another system has is waited for, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReserveError`].
    pub fn apply(
        &self,
        lender: &impl Lender,
        name: &str,
        how: Reservation,
        limit: Duration,
    ) -> Result<(), ReserveError> {
        let mut disk = lender.borrow_disk(name, Purpose::Look)?;
        self.apply_to(&mut disk, name, how, limit)
    }

    /// The same to a disk that is borrowed.
    pub(crate) fn apply_to(
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
            self.lock().insert(name.into(), Holder::Other);
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
        let what = match how {
            Reservation::Reserve => "reserved",
            Reservation::Release => "released",
            Reservation::Steal => "reserved by force",
        };
        match how {
            Reservation::Release => self.lock().remove(name),
            _ => self.lock().insert(name.into(), Holder::Us),
        };
        tracing::info!("disk \"{name}\" is {what}");
        Ok(())
    }

    /// Releases what was reserved here, each within a second or so.
    pub fn release_all(&self, lender: &impl Lender) {
        let ours = |(name, holder)| (holder == Holder::Us).then_some(name);
        for name in self.entries().into_iter().filter_map(ours) {
            let limit = Duration::from_secs(1);
            if let Err(error) = self.apply(lender, &name, Reservation::Release, limit) {
                let error = anyhow::Error::from(error);
                tracing::error!("disk \"{name}\" stays reserved: {error:#}");
            }
        }
    }
}
