//! Administration of DASD (3390 and its like): formatting, reserving and showing volumes, and making them ready for IPL.
//!
//! # Scope
//!
//! | module | what it is |
//! |---|---|
//! | [`program`] | channel programs, without addresses |
//! | [`format`](mod@format) | which records a formatted volume has, track by track |
//! | [`runner`] | what runs channel programs on a disk, and why one did not end well |
//! | [`admin`] | reserving a disk, and looking at it, program by program |
//! | [`formatter`] | formatting it, step by step |
//! | `model` | a volume in memory, for tests (feature `model`) |
//! | `reserve` | reservations: made, waited for, and given up (this and all below: feature `std`) |
//! | `dasdfmt` | formatting, as it is asked for, carried out and shown |
//! | `dasdview` | what is on a disk |
//! | `mkipl` | the appliance's image on a volume in a file |
//!
//! Nothing here touches a device: channel programs are run by whoever can ([`runner::Runner`]), as the host daemon.
//!
//! # The rule
//!
//! An operation has a disk for itself as long as it lasts, and is bounded. What comes from a disk is data of any kind: nothing panics
//! on it.

#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admin;
#[cfg(feature = "std")]
pub mod dasdfmt;
#[cfg(feature = "std")]
pub mod dasdview;
pub mod format;
pub mod formatter;
#[cfg(feature = "std")]
pub mod mkipl;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod program;
#[cfg(feature = "std")]
pub mod reserve;
pub mod runner;
#[cfg(test)]
mod tests;
