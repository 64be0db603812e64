//! Why a disk is not served.

use core::fmt;

use dasd::{CountField, Place};

use crate::css::{EnableError, OutOfStorage, ProgramError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BringUpError {
    Enable(EnableError),
    Storage(OutOfStorage),
    /// A command, or what it is for, failed.
    Program(&'static str, ProgramError),
    /// The device's characteristics are not those of a disk of this kind, in words.
    Characteristics(&'static str),
    Label(u32),
    NoRecord(Place),
    Record(Place, CountField),
    /// It is another one than before, in words.
    Other(&'static str),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(error) => write!(f, "not enabled: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Program(what, error) => write!(f, "{what}: {error}"),
            Self::Characteristics(what) => write!(f, "READ DEVICE CHARACTERISTICS: {what}"),
            Self::Label(block) => write!(f, "its label says that data begins with block {block}"),
            Self::NoRecord(place) => write!(f, "not formatted: no {place}"),
            Self::Record(place, count) => write!(
                f,
                "not formatted for Linux: {place} is number {} with {} bytes of key and {} of data",
                count.record, count.key, count.data
            ),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for BringUpError {}
