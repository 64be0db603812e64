//! What the caller, and what the device can do wrong.

use thiserror::Error;
use window::OutOfWindow;

/// A chain could not be added. The blame is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddError {
    /// The chain has no buffers.
    #[error("a chain without buffers")]
    Empty,
    /// More descriptors than are free: try again when a request has come back.
    #[error("not enough free descriptors")]
    Full,
    /// A buffer to be read comes after one to be written.
    #[error("a buffer to be read after one to be written")]
    Order,
    /// An indirect table, but that feature was not negotiated.
    #[error("indirect table without having negotiated them")]
    IndirectNotNegotiated,
    /// The ring is not in its memory. Does not happen once the queue is made.
    #[error("ring memory: {0}")]
    OutOfWindow(#[from] OutOfWindow),
}

/// The device wrote something into the ring that cannot be. The blame is the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the message says what the fields are
pub enum DeviceFault {
    /// Its used index is further ahead than requests are in flight, or went back.
    #[error(
        "device error: used index {used_idx} after {last_used} with {in_flight} requests in flight"
    )]
    UsedIndexJumped {
        used_idx: u16,
        last_used: u16,
        in_flight: u16,
    },
    /// It used a head that is not in flight.
    #[error("device error: head {id} used, which is not in flight")]
    UnknownHead { id: u32 },
    /// It says that it wrote more than the request's buffers hold. The request is over.
    #[error("device error: {len} bytes written to head {head}, which has room for {writable}")]
    LengthTooLong { head: u16, len: u32, writable: u32 },
    /// The ring is not in its memory. Does not happen once the queue is made.
    #[error("device error: ring memory: {0}")]
    OutOfWindow(#[from] OutOfWindow),
}
