//! Disks for their administrators: `stellwerk reserve`, `release`, `steal`, `dasdfmt`, `dasdview`.
//!
//! | module | what it is |
//! |---|---|
//! | [`reserve`] | reservations: made, waited for, and given up when the daemon ends |
//! | [`format`] | formatting, in the daemon and as the command line shows it |
//! | [`view`] | what is on a disk: `dasdview` |
//! | [`dscb`] | entries of a VTOC, field by field |
//!
//! # Scope
//!
//! What is done to a disk is the crate [`dasd`]'s, and how its programs get there [`HostClient::borrow_disk`](crate::subchannel::HostClient::borrow_disk)'s. Here
//! is what the daemon and the command line make of it.
//!
//! # The rule
//!
//! An operation of an administrator has a disk for itself as long as it lasts, and is bounded. Clients of the disk wait meanwhile;
//! only a disk that no client is connected to is formatted.

mod dscb;
pub mod format;
pub mod reserve;
#[cfg(test)]
mod tests;
pub mod view;

pub use format::{FormatLine, FormatOrder};
pub use reserve::{release_all, Book, How};
pub use view::View;
