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

/// The console could not be activated, written to or read. Text that could not be written is given up, so that the next write
/// starts afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConsoleError {
    /// The service call did not start.
    #[error("no service call: {0}")]
    ServiceCall(#[from] ServiceCallError),
    /// The SCLP refused, if need be after all retries.
    #[error("refused: {0}")]
    Refused(ResponseCode),
    /// The machine has neither an ASCII nor a line-mode console; this is what it receives.
    #[error("no console, receive mask {:08X}", .0.bits())]
    NoConsole(EventMask),
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
