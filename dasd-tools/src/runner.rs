//! What runs channel programs on a disk, and why one did not end well.

use alloc::boxed::Box;

use dasd::{CountField, Place};
use thiserror::Error;

use crate::format::FormatError;
use crate::program::Program;

pub const SENSE: usize = 32;
/// Byte and bit of some sense data, and what it is called.
const NAMES: [(usize, u8, &str); 4] = [
    (1, 0x02, "write inhibited"),
    (1, 0x04, "file protected"),
    (1, NO_RECORD_FOUND, "no record found"),
    (0, 0x80, "command reject"),
];
const NO_RECORD_FOUND: u8 = 0x08;

/// What runs channel programs on a disk.
pub trait Runner {
    /// Runs a program to its end. What was read is in its data then.
    ///
    /// # Errors
    ///
    /// [`Fault`]; the program has ended.
    fn run(&mut self, program: &mut Program) -> Result<(), Fault>;
}

/// Why a program did not end well.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("unit check, {}, sense {}", name(.0), hex::encode(.0))]
    UnitCheck([u8; SENSE]),
    /// The device is busy: another system has reserved it, if it stays so.
    #[error("busy: another system has reserved the disk")]
    Busy,
    #[error(transparent)]
    Other(Box<dyn core::error::Error + Send + Sync>),
}

impl Fault {
    /// There is no such record on the track.
    pub const fn is_no_record(&self) -> bool {
        matches!(self, Self::UnitCheck(sense) if sense[1] & NO_RECORD_FOUND != 0)
    }
}

fn name(sense: &[u8; SENSE]) -> &'static str {
    let mut names = NAMES.iter();
    let name = names.find(|(byte, bit, _)| sense[*byte] & bit != 0);
    name.map_or("", |(.., name)| name)
}

#[derive(Debug, Error)]
pub enum Failure {
    /// A program failed: what it was for.
    #[error("{0}: {1}")]
    Fault(&'static str, Fault),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("verify: no {0}")]
    Missing(Place),
    #[error("verify: {found} was read, and {wanted} written")]
    Differs {
        wanted: CountField,
        found: CountField,
    },
    #[error("verify: {0} is not what was written")]
    Content(Place),
}
