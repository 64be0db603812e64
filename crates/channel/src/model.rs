//! A software channel subsystem: [`Model`] implements [`ChannelSubsystem`](crate::ChannelSubsystem)
//! over a storage that the test gives, with devices that follow a script, so that drivers and the proxy
//! run on the developer's machine against what a machine may do.
//!
//! # Scope
//!
//! * Everything happens in explicit steps: [`Model::step`] does one bounded piece of work of one
//!   subchannel, so that the test, or a fuzzer, chooses the schedule and puts any call between any two
//!   pieces. [`Model::run`] and [`Model::run_seeded`] are ready-made schedules.
//! * Condition codes, the SCSW, and what TEST SUBCHANNEL clears are as the *Principles of Operation*
//!   (chapters 13 to 17) has them. Suspend and resume, PCI, busy, deferred condition codes, unsolicited
//!   status, path masks, unit check with concurrent sense, extended-measurement words, devices that go and
//!   come back, and a list of [faults](Fault).
//! * [`interpret`] runs one program at once and says what it touched: the reference that a translation
//!   is compared with.
//!
//! # Limits
//!
//! No timing: an extended-measurement word says what the test [says](Model::measure). No measurement blocks, no
//! transport mode (such a start ends with a program check). Where the manual leaves a value undefined the model gives
//! one value always: the count of a CCW that could not be fetched is 0, start pending is off with a deferred
//! condition code. Unsolicited status waits while a program runs or is suspended, as a device in a chain
//! makes it wait; [`Fault::Alert`] does not wait.
//!
//! # Rule
//!
//! Iterative and bounded: no step does more than one CCW with what is fetched ahead of it, or 2 KiB of
//! data, whatever the program.
//!
//! # Example
//!
//! ```
//! use channel::model::{Model, Reply, Script, Storage};
//! use channel::{
//!     Ccw1, CcwFlags, ChannelSubsystem, CommandCode, Orb, OrbFlags, PmcwFlags, SubchannelId, Tested,
//! };
//! use zerocopy::IntoBytes;
//!
//! let mut storage = Storage::new(0, 0x4000);
//! let ccw = Ccw1::new(CommandCode::SENSE_ID, CcwFlags::empty(), 3, 0x2000);
//! storage.put(0x1000, ccw.as_bytes());
//!
//! let id = SubchannelId::new(0, 1).unwrap();
//! let mut css = Model::new(storage);
//! css.attach(id, 0x0A80, Script::new().on(0xE4, Reply::sends(&[0xFF, 0x39, 0x90])));
//! let mut schib = css.store(id).unwrap();
//! schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
//! css.modify(id, &schib).unwrap();
//!
//! let orb = Orb::format_1(0, 0x1000, OrbFlags::empty(), 0x80);
//! // SAFETY: the model's storage is its own.
//! unsafe { css.start(id, &orb) }.unwrap();
//! assert!(css.pending_interruption().is_none(), "nothing happens by itself");
//! while css.step(id) {}
//! assert!(css.pending_interruption().is_some());
//! let Ok(Tested::Status(irb)) = css.test(id) else { panic!() };
//! assert!(irb.scsw.ended());
//! assert_eq!(irb.scsw.program.get(), 0x1008);
//! assert_eq!(css.memory().get(0x2000, 3), Some([0xFF, 0x39, 0x90].as_slice()));
//! ```

mod css;
mod data;
mod device;
mod fault;
mod fetch;
mod memory;
mod program;
mod run;
mod subchannel;
#[cfg(test)]
mod tests;
mod trace;
mod transfer;
mod work;

pub use css::Model;
pub use device::{Device, Reply, Script};
pub use fault::{Fault, Instruction};
pub use memory::{Memory, Storage, StorageError};
pub use program::{Ending, Event, Interpreter, Limits};
pub use run::{interpret, Outcome, Run};
pub use subchannel::PathState;
pub use trace::{Area, Trace};
