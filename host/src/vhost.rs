//! One vhost-user socket for each export: what a stock VM's QEMU connects to.
//!
//! # Purpose
//!
//! [`Acceptor`] accepts for all sockets; [`Server`] serves one connection at a time; [`Session`] turns its messages into channel
//! programs for the export's [`VirtioDevice`](crate::remote::VirtioDevice); [`Memory`] is the
//! memory that the VM shares.
//!
//! # Rules
//!
//! * A client's memory is recognised by its file, not by what the message says about it. Each region is laid over the client's window,
//!   see [`Windows`](crate::windows::Windows), and stays there until nothing of the connection is in flight any more.
//! * No message, and no end of the connection, leaves a queue behind: what was set up is released, drained,
//!   before the next connection is served.
//! * Whatever a client sends, the answer is an error to that client, and a line in the log, if it was not many lately.
//! * Nobody is told that a queue is released while a request of it is in flight: the VM waits, as long as the disk takes.
//!   A daemon that is told to stop does not, but then there is no answer either.
//! * No thread waits for a peer in the middle of a message or of an answer, nor for the end of a file that a peer has sent.
//!
//! # Limits
//!
//! No migration log, no in-flight buffer (what is in flight outlives the appliance in the area), no polling
//! without a kick eventfd.

mod answers;
mod backchannel;
mod door;
mod handler;
mod intake;
mod memory;
mod message;
mod readiness;
mod ring;
mod server;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod worker;

pub use door::Acceptor;
pub use memory::Memory;
pub use server::{Kept, Peer, Server, Socket};
pub use session::{Identity, Session};
pub use state::Connection;
