//! A storage control of software with one count-key-data volume: [`StorageControl`] says what each command does to extent, position
//! and records, what it sends, and the sense bytes that it ends with.
//!
//! # Scope
//!
//! The commands of the crate that drivers and administrators use. Where the records are is for whoever implements [`Records`]: [`Stored`] ones are in
//! memory; those of a benchmark can be computed. The channel is somebody else's: it takes programs apart, moves data, and says when a
//! program begins and when it is over before its end.
//!
//! # Limits
//!
//! One program at a time. No reservations, no aliases, no seek and search.
//!
//! # Panics
//!
//! This is for tests. A program that a storage control might take, but that no driver should give it (attributes that are not those
//! of the architecture, a format write that destroys records unless an [administrator](StorageControl::administered) does it, half a
//! domain), ends the test.
//!
//! # Example
//!
//! ```
//! use dasd::command::{DefineExtent, LocateRecord, DEFINE_EXTENT, LOCATE_RECORD, READ_DATA};
//! use dasd::model::{sense, StorageControl};
//! use zerocopy::IntoBytes;
//!
//! let mut control = StorageControl::new(2).format(0, 4096, 12);
//! let extent = DefineExtent {
//!     mask: DefineExtent::MASK_READ,
//!     attributes: DefineExtent::ECKD,
//!     ..DefineExtent::default()
//! };
//! let mut locate = LocateRecord {
//!     operation: LocateRecord::READ_DATA,
//!     record: 12,
//!     count: 1,
//!     ..LocateRecord::default()
//! };
//! let mut sent = Vec::new();
//! control.begin(0x80);
//! control.command(DEFINE_EXTENT, extent.as_bytes(), &mut sent).unwrap();
//! control.command(LOCATE_RECORD, locate.as_bytes(), &mut sent).unwrap();
//! control.command(READ_DATA, &[], &mut sent).unwrap();
//! assert_eq!(sent, [0; 4096]);
//!
//! locate.record = 13;
//! let located = control.command(LOCATE_RECORD, locate.as_bytes(), &mut sent);
//! assert_eq!(located, Err(sense::NO_RECORD));
//! ```

mod control;
mod records;
pub mod sense;
#[cfg(test)]
mod tests;
mod volume;

pub use control::{disk_3390, Groups, StorageControl};
pub use records::{Record, Records, Stored};
