//! What went wrong, and whose fault it was.

use core::fmt;

use crate::ClientAddress;

/// The other side named a range that is not all in its own memory. The blame is the other side's:
/// it gave the address or the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfWindow {
    /// The first address of the range.
    pub address: ClientAddress,
    /// Length of the range in bytes.
    pub length: u64,
    /// Length of the window in bytes.
    pub window_length: u64,
}

impl fmt::Display for OutOfWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client error: {} bytes at {} do not lie in its window of {:#x} bytes",
            self.length, self.address, self.window_length
        )
    }
}

impl core::error::Error for OutOfWindow {}
