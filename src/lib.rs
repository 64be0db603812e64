//! The appliance without its way in: everything that needs no image around it, so that it is tested
//! on the developer's machine too.
//!
//! [`css`] is the channel subsystem as the machine has it, [`driver`] drives what the appliance
//! owns, [`proxy`] is what clients get, [`control`] is what the host daemon says, and
//! [`event_loop`] holds them together.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod control;
pub mod css;
pub mod driver;
pub mod event_loop;
pub mod proxy;
