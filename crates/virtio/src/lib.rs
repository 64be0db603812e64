//! virtio 1.3: split virtqueues for both sides, and the formats of virtio-ccw, block and console.
//!
//! # Purpose
//!
//! The appliance stands in the middle of virtio: towards its clients it is the *device*, towards
//! the devices it owns it is the *driver*. This crate has what both halves share: [`ring`] with
//! the split virtqueue seen from either side, and one module for each format.
//!
//! # Scope
//!
//! | module | virtio 1.3 section | |
//! |---|---|---|
//! | [`ring`] | 2.7 | split virtqueues: layouts, device side, driver side |
//! | [`ccw`] | 4.3 | channel commands of virtio-ccw and their payloads |
//! | [`blk`] | 5.2 | block device: features, configuration, requests |
//! | [`console`] | 5.3 | console device: multiport control messages |
//!
//! # Limits
//!
//! Packed virtqueues, legacy (pre-1.0) devices and in-order use are not here; a caller does not
//! negotiate them. Queues have at most [`ring::MAX_SIZE`] entries.
//!
//! # The rule
//!
//! What the other side writes has a wire type (little- or big-endian, never native) until it has
//! been checked, and a checked value has a type of its own. Nothing here panics, allocates, takes
//! a lock or loops without a bound on what the other side says. The crate has no unsafe code: all
//! memory is reached through a [`window::Window`].
#![no_std]
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod blk;
pub mod ccw;
pub mod console;
mod features;
pub mod ring;
mod status;
mod wire;

pub use features::Features;
pub use status::Status;
pub use wire::UnknownValue;
