//! What a driver can do wrong: to its queue, and to one request.

use core::fmt;

use window::OutOfWindow;

use super::Position;

/// The ring itself is bad. The device cannot go on with this queue until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// The driver's available index is further ahead than the queue has entries, or went back.
    AvailIndexJumped {
        /// The driver's index.
        avail_idx: u16,
        /// Where the device is.
        position: Position,
        /// Number of entries.
        size: u16,
    },
    /// An entry of the available ring names a descriptor that is not there.
    HeadOutOfRange {
        /// The descriptor's number.
        head: u16,
        /// Number of entries.
        size: u16,
    },
    /// The driver made a head available that it has not got back yet.
    HeadTwice {
        /// The head.
        head: u16,
    },
    /// The device completed a request that it does not have: its own error, not the driver's.
    NothingInFlight {
        /// What it was going to complete.
        head: u16,
    },
    /// The ring is not in the window: the queue is used with another window than it was made for.
    OutOfWindow(OutOfWindow),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AvailIndexJumped {
                avail_idx,
                position,
                size,
            } => write!(
                f,
                "driver error: available index {avail_idx} in a queue of {size} entries, of which \
                 the device has taken those up to {} and used those up to {}",
                position.last_avail, position.used_idx
            ),
            Self::HeadOutOfRange { head, size } => write!(
                f,
                "driver error: descriptor {head} made available in a queue of {size} entries"
            ),
            Self::HeadTwice { head } => write!(
                f,
                "driver error: head {head} made available again while the device has it"
            ),
            Self::NothingInFlight { head } => {
                write!(
                    f,
                    "device error: head {head} completed, but nothing is in flight"
                )
            }
            Self::OutOfWindow(error) => write!(f, "queue area: {error}"),
        }
    }
}

impl core::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfWindow(error) => Some(error),
            Self::AvailIndexJumped { .. }
            | Self::HeadOutOfRange { .. }
            | Self::HeadTwice { .. }
            | Self::NothingInFlight { .. } => None,
        }
    }
}

impl From<OutOfWindow> for QueueError {
    fn from(error: OutOfWindow) -> Self {
        Self::OutOfWindow(error)
    }
}

/// One request's chain is bad. The blame is the driver's; the other requests are not concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// The chain has more descriptors than its table: it runs in a circle.
    Loop,
    /// `next` is not in the table.
    NextOutOfRange {
        /// The descriptor's number.
        next: u16,
        /// Number of descriptors in the table.
        count: u32,
    },
    /// More buffers than the device takes.
    TooManyBuffers {
        /// How many it takes.
        capacity: usize,
    },
    /// More than 2³² bytes.
    TooManyBytes(u64),
    /// A buffer to be read comes after one to be written.
    ReadableAfterWritable,
    /// An indirect descriptor, but that feature was not negotiated.
    IndirectNotNegotiated,
    /// An indirect descriptor in an indirect table.
    NestedIndirect,
    /// An indirect descriptor that has a next one.
    IndirectWithNext,
    /// The length of an indirect table is zero or no multiple of a descriptor's.
    TableLength(u32),
    /// The indirect table is not all in the driver's memory.
    OutOfWindow(OutOfWindow),
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "driver error: ")?;
        match self {
            Self::Loop => write!(f, "descriptor chain runs in a circle"),
            Self::NextOutOfRange { next, count } => {
                write!(f, "next descriptor {next} in a table of {count}")
            }
            Self::TooManyBuffers { capacity } => {
                write!(f, "descriptor chain of more than {capacity} buffers")
            }
            Self::TooManyBytes(bytes) => write!(f, "descriptor chain of {bytes} bytes"),
            Self::ReadableAfterWritable => {
                write!(f, "descriptor to be read after one to be written")
            }
            Self::IndirectNotNegotiated => {
                write!(f, "indirect descriptor without having negotiated them")
            }
            Self::NestedIndirect => write!(f, "indirect descriptor in an indirect table"),
            Self::IndirectWithNext => write!(f, "indirect descriptor with a next one"),
            Self::TableLength(bytes) => write!(f, "indirect table of {bytes} bytes"),
            Self::OutOfWindow(error) => write!(f, "indirect table: {error}"),
        }
    }
}

impl core::error::Error for ChainError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfWindow(error) => Some(error),
            Self::Loop
            | Self::NextOutOfRange { .. }
            | Self::TooManyBuffers { .. }
            | Self::TooManyBytes(_)
            | Self::ReadableAfterWritable
            | Self::IndirectNotNegotiated
            | Self::NestedIndirect
            | Self::IndirectWithNext
            | Self::TableLength(_) => None,
        }
    }
}

impl From<OutOfWindow> for ChainError {
    fn from(error: OutOfWindow) -> Self {
        Self::OutOfWindow(error)
    }
}

/// Why no request could be popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// The queue is broken.
    Queue(QueueError),
    /// One request is bad; it is completed like any other.
    Request {
        /// The head by which it is completed.
        head: u16,
        /// What is wrong with it.
        error: ChainError,
    },
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(error) => write!(f, "queue broken: {error}"),
            Self::Request { head, error } => write!(f, "bad request with head {head}: {error}"),
        }
    }
}

impl core::error::Error for PopError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Queue(error) => Some(error),
            Self::Request { error, .. } => Some(error),
        }
    }
}

impl From<QueueError> for PopError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<OutOfWindow> for PopError {
    fn from(error: OutOfWindow) -> Self {
        Self::Queue(error.into())
    }
}
