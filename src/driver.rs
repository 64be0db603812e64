//! Drivers for what the appliance owns, and what they stand on.
//!
//! | module | what it is |
//! |---|---|
//! | [`virtio_ccw`] | the virtio transport over channel programs: revision, features, queues, indicators |
//! | [`virtio_blk`] | a virtio disk as a [`block::BlockDevice`] |
//! | [`dasd`] | disks driven by channel programs: count-key-data disks (3390), fixed-block disks (3370, 9336) |
//! | [`virtio_serial`] | the port over which the host daemon and the appliance wake each other |
//! | [`disk`] | which of them a disk has |
//! | [`block`] | the seam to the block service: what every disk driver offers |
//!
//! # Scope
//!
//! A driver sees a [`Platform`](crate::css::Platform). The machine itself implements it (`css::Hardware`), and so does the
//! machine of the unit tests, whose devices are software.
//!
//! # The rules
//!
//! * A driver keeps no lock and has no handler: it is called by the event loop, does what can be done
//!   now, and returns. Only bring-up and recovery wait, and each wait has a deadline.
//! * What a device writes is not trusted: it is copied out of a [`Window`](window::Window) and checked.
//! * Storage that a device has been told of is never given back, but to its own next driver. So a device that goes on writing
//!   after it was given up hits nothing but storage that was its own, or the client's whose request it is.

pub mod absent;
pub mod block;
pub mod dasd;
pub mod disk;
pub mod virtio_blk;
pub mod virtio_ccw;
pub mod virtio_serial;
