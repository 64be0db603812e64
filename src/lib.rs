//! The appliance. What needs no s390x instruction is tested on the developer's machine too.
//!
//! [`boot`] is the way in and the way out, and `alloc` the heap, which are there on s390x only;
//! [`css`] is the channel subsystem as the machine has it, [`driver`] drives what the appliance
//! owns, [`proxy`] is what clients get, [`control`] is what the host daemon says,
//! [`monitor`] is the operator's console, and [`event_loop`] holds them together.
#![cfg_attr(not(any(test, fuzzing)), no_std)]
// Nobody but the images uses this library: what a name says need not be said again.
#![allow(missing_docs)]

extern crate alloc as liballoc;

pub mod alloc;
pub mod boot;
pub mod control;
pub mod css;
pub mod driver;
pub mod event_loop;
pub mod monitor;
pub mod proxy;
#[cfg(test)]
pub(crate) mod testing;
