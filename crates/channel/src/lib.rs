//! Channel I/O as the z/Architecture *Principles of Operation* (SA22-7832, chapters 13 to 17) defines
//! it: the architected formats, each in one place with its size asserted, and the
//! [`ChannelSubsystem`] trait, which has one method per I/O instruction.
//!
//! # Scope
//!
//! Formats, the trait, and, with the feature `model`, a software channel subsystem for tests
//! (`model::Model`), whose interpreter of channel programs (`model::interpret`) also stands alone. Who
//! else carries the instructions out is elsewhere: the appliance's `css` module issues them, the `vcss`
//! crate carries them through shared memory. Drivers are written against the trait and never know
//! which it is.
//!
//! # Limits
//!
//! Command mode. A transport-mode ORB is known as one, and nothing builds or runs it.
//!
//! # Rule
//!
//! Nobody else spells an offset. All multi-byte fields are big-endian by type, so the formats are the
//! same bytes on the machine and on the developer's host.
#![no_std]
#![warn(missing_docs)]

#[cfg(feature = "model")]
extern crate alloc;

#[cfg(test)]
extern crate std;

// What the manual calls as it is called here needs no more words.
#[allow(missing_docs)]
mod ccw;
#[allow(missing_docs)]
mod crw;
#[allow(missing_docs)]
mod esw;
#[allow(missing_docs)]
mod idaw;
mod irb;
#[cfg(feature = "model")]
pub mod model;
#[allow(missing_docs)]
mod orb;
mod report;
#[allow(missing_docs)]
mod schib;
#[allow(missing_docs)]
mod scsw;
mod sense;
mod subsystem;

pub use ccw::{Ccw0, Ccw1, CcwFlags, Classify, CommandClass, CommandCode};
pub use crw::{Crw, CrwFlags, RecoveryCode, ReportingSource};
pub use esw::{Emw, Erw, ErwFlags, Esw};
pub use idaw::{Idaw1, Idaw2, Midaw, MidawFlags};
pub use irb::{Ecw, Irb};
pub use orb::{IdawFormat, OperandException, Orb, OrbFlags, OrbMode};
pub use report::{ChannelReport, Subject as ReportSubject};
pub use schib::{Pmcw, PmcwCharacteristics, PmcwFlags, Schib};
pub use scsw::{
    ActivityControl, DeviceStatus, FunctionControl, Scsw, ScswFlags, StatusControl,
    SubchannelStatus,
};
pub use sense::SenseId;
pub use subsystem::{
    ChannelSubsystem, DeviceNumber, IoInterruption, NotOperational, Refusal, SubchannelId, Tested,
};
