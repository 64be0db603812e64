//! The wake-up thread: carries kicks to the appliance and notifications from it.
//!
//! # Purpose
//!
//! A guest kicks an eventfd; the appliance sees doorbell words in shared memory, and a byte on its serial
//! port when it sleeps. The appliance counts notifications in shared memory; the guest's QEMU wants
//! an eventfd written. One thread translates both ways, and is the one writer of the daemon's half of every
//! doorbell. For clients that ring by themselves it carries bytes only (`relay`).
//!
//! # Rules
//!
//! * Between events and eventfds there is no lock and no allocation. Other threads' requests come over a
//!   queue that is looked at only when its eventfd says so.
//! * Nothing that a client does can hold the thread up, or keep it busy: its eventfds are checked to be eventfds before
//!   they get here, and are read and signalled in ways that never wait (`peer`). A kick is one write by the client,
//!   whatever its counter says afterwards: the thread listens for edges, so that a counter that stays above zero is
//!   no event.
//! * It sleeps only after it has said so in every area and looked once more. A wake-up that gets lost
//!   all the same is found by a slow timer, and counted.
//!
//! # Limits
//!
//! A notification is passed on at most once for each look: several that came together are one write.

mod handle;
mod links;
mod peer;
mod relay;
#[cfg(test)]
mod tests;
mod thread;

pub use handle::{new_eventfd, signal, taken, BellHandle, Link, Request};
pub use thread::{ClientLink, Export, LinkChange, Ringer, Setup, Thread};
