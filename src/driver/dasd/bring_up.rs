//! Why a disk is not served.

use dasd::{CountField, Place};
use thiserror::Error;

use crate::css::{EnableError, OutOfStorage, ProgramError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BringUpError {
    #[error("not enabled: {0}")]
    Enable(#[from] EnableError),
    #[error(transparent)]
    Storage(#[from] OutOfStorage),
    /// A command, or what it is for, failed.
    #[error("{0}: {1}")]
    Program(&'static str, ProgramError),
    /// The device's characteristics are not those of a disk of this kind, in words.
    #[error("READ DEVICE CHARACTERISTICS: {0}")]
    Characteristics(&'static str),
    #[error("its label says that data begins with block {0}")]
    Label(u32),
    #[error("not formatted: no {0}")]
    NoRecord(Place),
    #[error(
        "not formatted for Linux: {} is number {} with {} bytes of key and {} of data",
        .0, .1.record, .1.key, .1.data
    )]
    Record(Place, CountField),
    /// It is another one than before, in words.
    #[error("{0}")]
    Other(&'static str),
}
