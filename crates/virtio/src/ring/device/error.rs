//! What a driver can do wrong: to its queue, and to one request.

use thiserror::Error;
use window::OutOfWindow;

use super::Position;

/// The ring itself is bad. The device cannot go on with this queue until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the message says what the fields are
pub enum QueueError {
    /// The driver's available index is further ahead than the queue has entries, or went back.
    #[error(
        "driver error: available index {avail_idx} in a queue of {size} entries, of which the device has taken those up \
         to {} and used those up to {}", position.last_avail, position.used_idx
    )]
    AvailIndexJumped {
        avail_idx: u16,
        /// Where the device is.
        position: Position,
        size: u16,
    },
    /// An entry of the available ring names a descriptor that is not there.
    #[error("driver error: descriptor {head} made available in a queue of {size} entries")]
    HeadOutOfRange { head: u16, size: u16 },
    /// The driver made a head available that it has not got back yet.
    #[error("driver error: head {head} made available again while the device has it")]
    HeadTwice { head: u16 },
    /// The device completed a request that it does not have: its own error, not the driver's.
    #[error("device error: head {head} completed, but nothing is in flight")]
    NothingInFlight { head: u16 },
    /// The ring is not in the window: the queue is used with another window than it was made for.
    #[error("queue area: {0}")]
    OutOfWindow(#[from] OutOfWindow),
}

/// One request's chain is bad. The blame is the driver's; the other requests are not concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the message says what the fields are
pub enum ChainError {
    /// The chain has more descriptors than its table.
    #[error("driver error: descriptor chain runs in a circle")]
    Loop,
    /// `next` is not in the table.
    #[error("driver error: next descriptor {next} in a table of {count}")]
    NextOutOfRange { next: u16, count: u32 },
    /// More buffers than the device takes.
    #[error("driver error: descriptor chain of more than {capacity} buffers")]
    TooManyBuffers { capacity: usize },
    /// More than 2³² bytes.
    #[error("driver error: descriptor chain of {0} bytes")]
    TooManyBytes(u64),
    /// A buffer to be read comes after one to be written.
    #[error("driver error: descriptor to be read after one to be written")]
    ReadableAfterWritable,
    /// An indirect descriptor, but that feature was not negotiated.
    #[error("driver error: indirect descriptor without having negotiated them")]
    IndirectNotNegotiated,
    /// An indirect descriptor in an indirect table.
    #[error("driver error: indirect descriptor in an indirect table")]
    NestedIndirect,
    /// An indirect descriptor that has a next one.
    #[error("driver error: indirect descriptor with a next one")]
    IndirectWithNext,
    /// The length of an indirect table is zero or no multiple of a descriptor's.
    #[error("driver error: indirect table of {0} bytes")]
    TableLength(u32),
    /// The indirect table is not all in the driver's memory.
    #[error("driver error: indirect table: {0}")]
    OutOfWindow(#[from] OutOfWindow),
}

/// Why no request could be popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PopError {
    /// The queue is broken.
    #[error("queue broken: {0}")]
    Queue(#[from] QueueError),
    /// One request is bad; it is completed like any other.
    #[error("bad request with head {head}: {error}")]
    Request {
        /// The head by which it is completed.
        head: u16,
        /// What is wrong with it.
        #[source]
        error: ChainError,
    },
}

impl From<OutOfWindow> for PopError {
    fn from(error: OutOfWindow) -> Self {
        Self::Queue(error.into())
    }
}
