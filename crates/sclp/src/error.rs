//! One error type per operation; each says whose fault it is.

use crate::spec::{EventMask, ResponseCode};
use thiserror::Error;

/// SERVICE CALL did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServiceCallError {
    /// After all retries.
    #[error("the SCLP is busy")]
    Busy,
    /// The machine has no SCLP.
    #[error("the SCLP is not operational")]
    NotOperational,
    /// The SCCB page lies at or above 2 GiB, or in the prefix area: the caller's fault.
    #[error("the SCCB page is not where the SCLP can reach it")]
    BadPage,
}

/// The console could not be activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ActivateError {
    /// WRITE EVENT MASK did not start.
    #[error("cannot set the event mask")]
    ServiceCall(#[source] ServiceCallError),
    /// The SCLP refused WRITE EVENT MASK.
    #[error("event mask refused: {0}")]
    Refused(ResponseCode),
    /// The machine has neither an ASCII nor a line-mode console; this is what it receives.
    #[error("no console, receive mask {:08X}", .0.bits())]
    NoConsole(EventMask),
}

/// Text did not reach the console. The text is given up, so that the next write starts afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// WRITE EVENT DATA did not start.
    #[error("cannot write to the console")]
    ServiceCall(#[source] ServiceCallError),
    /// The SCLP refused the text, if need be after all retries.
    #[error("console output refused: {0}")]
    Refused(ResponseCode),
}

/// Events could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// READ EVENT DATA did not start.
    #[error("cannot read events")]
    ServiceCall(#[source] ServiceCallError),
    /// The SCLP refused to give its events.
    #[error("reading events refused: {0}")]
    Refused(ResponseCode),
}

/// The machine's description could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScpInfoError {
    /// READ SCP INFO did not start.
    #[error("cannot read SCP info")]
    ServiceCall(#[source] ServiceCallError),
    /// The SCLP refused both forms of READ SCP INFO.
    #[error("READ SCP INFO refused: {0}")]
    Refused(ResponseCode),
    /// The machine's description gives no memory size, or one beyond 64 bits.
    #[error("implausible memory size: {increments} × {increment_mib} MiB")]
    #[allow(missing_docs)]
    BadMemorySize { increments: u64, increment_mib: u32 },
}

/// The global console was not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InstallError {
    /// There is one already.
    #[error("there is a global console already")]
    Occupied,
    /// Somebody uses the cell now, or has taken it by force.
    #[error("the global console is in use")]
    InUse,
}
