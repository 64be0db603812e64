//! What the caller, and what the device can do wrong.

use core::fmt;

use window::OutOfWindow;

/// A chain could not be added. The blame is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The chain has no buffers.
    Empty,
    /// More descriptors than are free: try again when a request has come back.
    Full,
    /// A buffer to be read comes after one to be written.
    Order,
    /// An indirect table, but that feature was not negotiated.
    IndirectNotNegotiated,
    /// The ring is not in its memory. Does not happen once the queue is made.
    OutOfWindow(OutOfWindow),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a chain without buffers"),
            Self::Full => write!(f, "not enough free descriptors"),
            Self::Order => write!(f, "a buffer to be read after one to be written"),
            Self::IndirectNotNegotiated => {
                write!(f, "indirect table without having negotiated them")
            }
            Self::OutOfWindow(error) => write!(f, "ring memory: {error}"),
        }
    }
}

impl core::error::Error for AddError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfWindow(error) => Some(error),
            Self::Empty | Self::Full | Self::Order | Self::IndirectNotNegotiated => None,
        }
    }
}

impl From<OutOfWindow> for AddError {
    fn from(error: OutOfWindow) -> Self {
        Self::OutOfWindow(error)
    }
}

/// The device wrote something into the ring that cannot be. The blame is the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFault {
    /// Its used index is further ahead than requests are in flight, or went back.
    UsedIndexJumped {
        /// The device's index.
        used_idx: u16,
        /// Where the driver is.
        last_used: u16,
        /// Number of requests in flight.
        in_flight: u16,
    },
    /// It used a head that is not in flight.
    UnknownHead {
        /// What it wrote.
        id: u32,
    },
    /// It says that it wrote more than the request's buffers hold.
    LengthTooLong {
        /// The request's head. The request is over.
        head: u16,
        /// How many bytes it says it wrote.
        len: u32,
        /// How many it could have written.
        writable: u32,
    },
    /// The ring is not in its memory. Does not happen once the queue is made.
    OutOfWindow(OutOfWindow),
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device error: ")?;
        match self {
            Self::UsedIndexJumped {
                used_idx,
                last_used,
                in_flight,
            } => write!(
                f,
                "used index {used_idx} after {last_used} with {in_flight} requests in flight"
            ),
            Self::UnknownHead { id } => write!(f, "head {id} used, which is not in flight"),
            Self::LengthTooLong {
                head,
                len,
                writable,
            } => write!(
                f,
                "{len} bytes written to head {head}, which has room for {writable}"
            ),
            Self::OutOfWindow(error) => write!(f, "ring memory: {error}"),
        }
    }
}

impl core::error::Error for DeviceFault {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfWindow(error) => Some(error),
            Self::UsedIndexJumped { .. }
            | Self::UnknownHead { .. }
            | Self::LengthTooLong { .. } => None,
        }
    }
}

impl From<OutOfWindow> for DeviceFault {
    fn from(error: OutOfWindow) -> Self {
        Self::OutOfWindow(error)
    }
}
