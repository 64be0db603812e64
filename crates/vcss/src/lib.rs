//! The shared-memory area: a virtual channel subsystem between VMs.
//!
//! # Purpose
//!
//! A client drives virtual subchannels that the appliance keeps, and the two share nothing but
//! memory and a wake-up byte. This crate holds the layout of that memory ([`layout`], [`control`],
//! [`client`], [`events`], [`trace`]), the validated view of it that both sides use ([`Area`]), the way a
//! creator lays it out ([`plan`]), and the client's side, [`Remote`], which is a
//! [`ChannelSubsystem`](channel::ChannelSubsystem).
//!
//! `docs/protocol.md` is the specification; the types here are its tables.
//!
//! # Rules
//!
//! * Each field has one writer. Nothing needs compare-and-swap between VMs.
//! * One command per request; what is a command is never also a status.
//! * Whatever the other side wrote is an allegation: copied once, checked, then used.
//! * All multi-byte integers are big-endian by type (rings, which are the guest's, are virtio's
//!   little-endian).
//!
//! # Limits
//!
//! [`client::MAX_QUEUES`] queues a subchannel, [`client::MAX_QUEUE_SIZE`] descriptors a queue.
#![no_std]
#![warn(missing_docs)]

mod area;
pub mod client;
pub mod control;
pub mod events;
pub mod layout;
mod parts;
pub mod plan;
mod remote;
pub mod trace;
pub mod underway;

pub use area::{Area, AreaError, Bell, Word};
pub use remote::{Remote, RemoteError, Wake, MAX_TOLD};
