//! What went wrong, and whose fault it was.

use thiserror::Error;

use crate::ClientAddress;

/// The other side named a range that is not all in its own memory. The blame is the other side's:
/// it gave the address or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("client error: {length} bytes at {address} do not lie in its window of {window_length:#x} bytes")]
pub struct OutOfWindow {
    /// The first address of the range.
    pub address: ClientAddress,
    /// Length of the range in bytes.
    pub length: u64,
    /// Length of the window in bytes.
    pub window_length: u64,
}
