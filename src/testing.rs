//! A machine of software: [`Machine`] is a [`Platform`](crate::css::Platform) over [`channel::model`], with devices on it.
//!
//! | module | what it is |
//! |---|---|
//! | `machine` | storage, a clock, the channel subsystem |
//! | `port` | a subchannel: its device, what has been asked of it, and what goes wrong there |
//! | `unit` | what a device has to know |
//! | `virtio`, `queue` | a virtio-ccw control unit, with a [`Disk`] or a [`Console`] behind it |
//! | `eckd`, `fba` | a storage control with a count-key-data volume; a fixed-block disk |
//!
//! # Scope
//!
//! Drivers, the proxy and the event loop run on it in unit tests. A new kind of device is a [`Unit`]: commands with their data in,
//! data or sense bytes out. What the channel does with them is the model's.
//!
//! # Limits
//!
//! Programs run within START SUBCHANNEL, as those of emulated devices do, unless [`Machine::pace`] says otherwise. The machine
//! reports nothing by itself: a test says what is reported.

mod block;
mod console;
mod eckd;
mod fba;
mod machine;
mod port;
mod queue;
mod storage;
mod unit;
mod virtio;

pub use block::{Behaviour, Disk};
pub use console::Console;
pub use eckd::{Groups, Record, StorageControl};
pub use fba::FixedBlock;
pub use machine::{Machine, Pace};
pub use port::{Fault, Port};
pub use unit::Unit;
pub use virtio::{Model, Virtio};
