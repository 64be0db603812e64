//! Count-key-data disks (3390 and its like): what is on them, and the commands that read and write it.
//!
//! # Scope
//!
//! | module | what it is |
//! |---|---|
//! | [`track`] | addresses of tracks and records, count fields |
//! | [`characteristics`] | what READ DEVICE CHARACTERISTICS says, and how much a track holds |
//! | [`label`] | volume labels: `VOL1`, `LNX1`, `CMS1` |
//! | [`vtoc`] | the volume table of contents: data-set control blocks |
//! | [`command`] | commands and their parameters |
//!
//! Nothing here touches a device, and nothing allocates. What administrators do to volumes is the crate `dasd-tools`.
//!
//! # Limits
//!
//! Volumes as Linux makes them: compatible disk layout (CDL) and Linux disk layout (LDL). Of volumes of other systems labels and
//! VTOC are read. Up to 2^28 cylinders.
//!
//! # The rule
//!
//! What comes from a disk is data of any kind: every parser takes any bytes, and nothing panics on what it returns.
//!
//! Sources: *3990 Storage Control Reference* (GA32-0274), *System/390 Command Reference 2105* (SC26-7298), *DFSMSdfp Advanced
//! Services* (SC23-6861) for labels and DSCBs.

#![no_std]
#![warn(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod characteristics;
#[allow(
    missing_docs,
    reason = "commands and fields that the manual calls as they are called here need no more words"
)]
pub mod command;
pub mod label;
#[cfg(test)]
mod tests;
pub mod track;
pub mod vtoc;

pub use characteristics::Characteristics;
pub use label::Label;
pub use track::{CountField, Place, RecordAddress, TrackAddress};
pub use vtoc::{Dscb, Extent};
