//! The service-call logical processor (SCLP) for bare-metal s390x: an operator's console that works
//! from the first instruction on, and the description of the machine.
//!
//! # Purpose
//!
//! The SCLP is what a serial port and a firmware table are elsewhere. A program hands it a
//! *service-call control block* (SCCB) with the SERVICE CALL instruction and learns by an external
//! interruption that the SCLP is done. This crate does that for an image that has nothing yet: no
//! heap, no threads, no interruption handlers of its own.
//!
//! # Scope
//!
//! * [`Console`]: text out and in, over the ASCII/VT220 console or the line-mode (EBCDIC) operator
//!   console, whichever WRITE EVENT MASK offers. Implements [`core::fmt::Write`].
//! * [`ScpInfo`]: memory size and CPU count by READ SCP INFO.
//! * Signal quiesce: the machine's wish for an orderly end, [`Console::take_quiesce`].
//! * [`CONSOLE`], [`print()`], [`Logger`]: one console for the whole image and a backend for the `log`
//!   crate, which never wait for each other and cannot deadlock; a panic path can take the console
//!   by force.
//! * [`spec`]: the architected layouts.
//! * `mock` (feature `mock`): an SCLP in software that checks each SCCB it is given.
//!
//! # Limitations
//!
//! * One service call at a time, synchronous: the CPU waits for its completion. A machine that
//!   never completes a call hangs the caller.
//! * SCCBs are one page at most; SCLP features beyond the above (hot-plug of CPUs and memory, PCI, dump,
//!   3270 system console) are not here.
//! * Line mode cannot print part of a line; text beyond ASCII becomes `?` there.
//! * Input is only found after the SCLP has signalled it, so the image must hand the service signals
//!   that it takes in its own waits to [`ConsoleCell::note_signal`].
//!
//! # Known machines
//!
//! | machine | SCLP receives | console |
//! |---|---|---|
//! | QEMU, default or `-device sclpconsole` | `00000040` | ASCII |
//! | QEMU `-device sclplmconsole` | `40800000` | line mode |
//! | Hercules | `42A00020` | line mode |
//!
//! * QEMU's line-mode input has its identifiers byte-swapped, lengths of zero, and its text in code
//!   page 037, while its output is in 500.
//! * Hercules rejects ASCII with `73F0`, takes one event buffer per SCCB, and gives one per READ
//!   EVENT DATA; `.text` at its panel is a command, `!text` a priority command. With `CODEPAGE
//!   819/500` in its configuration all signs are shown right.
//!
//! # Example
//!
//! On the developer's machine, with the SCLP in software:
//!
//! ```
//! use core::fmt::Write;
//! use sclp::mock::{Machine, ScriptedSclp};
//! use sclp::{Console, SccbPage, Sclp};
//!
//! let machine = ScriptedSclp::new(Machine::Hercules);
//! let mut page = SccbPage::new();
//! let mut console = Console::new(Sclp::new(machine.clone(), &mut page))?;
//! writeln!(console, "{} subchannels", 3)?;
//! assert_eq!(machine.output(), "3 subchannels\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In an image, `sclp::bring_up()` does the same with the hardware and fills [`CONSOLE`].

#![no_std]
#![warn(missing_docs)]

#[cfg(any(test, feature = "mock"))]
extern crate std;

mod calls;
mod console;
mod ebcdic;
mod encode;
pub mod error;
mod event;
pub mod global;
#[cfg(target_arch = "s390x")]
mod hardware;
mod logger;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod sccb;
mod scp_info;
#[allow(
    missing_docs,
    reason = "what is called as in its sources needs no more words"
)]
pub mod spec;
mod transport;

pub use calls::{Sclp, SclpMasks, BUSY_RETRIES, WRITE_RETRIES};
pub use console::{Console, ConsoleMode, OUTPUT_CAPACITY};
pub use encode::{LINE_COLUMNS, TAB_COLUMNS};
pub use error::{ConsoleError, ScpInfoError, ServiceCallError};
pub use event::EventBuffer;
pub use global::{print, ConsoleCell, GlobalConsole, CONSOLE};
#[cfg(target_arch = "s390x")]
pub use hardware::bring_up;
pub use logger::{paid, LogLine, Logger};
pub use sccb::SccbPage;
pub use scp_info::ScpInfo;
pub use transport::{EventPending, Signal, Transport};
