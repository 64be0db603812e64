//! One error type per operation; each says whose fault it is.

use crate::console::ConsoleMode;
use crate::spec::{EventMask, ResponseCode};
use core::error::Error;
use core::fmt;

/// SERVICE CALL did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceCallError {
    /// The SCLP is still busy with another call, after all retries.
    Busy,
    /// The machine has no SCLP.
    NotOperational,
    /// The SCCB page lies at or above 2 GiB, or in the prefix area: the caller's fault.
    BadPage,
}

impl fmt::Display for ServiceCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the SCLP is busy",
            Self::NotOperational => "the SCLP is not operational",
            Self::BadPage => "the SCCB page is not where the SCLP can reach it",
        })
    }
}

impl Error for ServiceCallError {}

/// The console could not be activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivateError {
    /// WRITE EVENT MASK did not start.
    ServiceCall(ServiceCallError),
    /// The SCLP refused WRITE EVENT MASK.
    Refused(ResponseCode),
    /// The machine has neither an ASCII nor a line-mode console; this is what it receives.
    NoConsole(EventMask),
    /// The machine has a console, but not of the kind that was asked for.
    NoSuchMode(ConsoleMode, EventMask),
}

impl fmt::Display for ActivateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceCall(_) => f.write_str("cannot set the event mask"),
            Self::Refused(code) => write!(f, "event mask refused: {code}"),
            Self::NoConsole(mask) => write!(f, "no console, receive mask {:08X}", mask.bits()),
            Self::NoSuchMode(mode, mask) => {
                write!(f, "no {mode} console, receive mask {:08X}", mask.bits())
            }
        }
    }
}

impl Error for ActivateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ServiceCall(error) => Some(error),
            Self::Refused(_) | Self::NoConsole(_) | Self::NoSuchMode(..) => None,
        }
    }
}

/// Text did not reach the console. The text is given up, so that the next write starts afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// WRITE EVENT DATA did not start.
    ServiceCall(ServiceCallError),
    /// The SCLP refused the text, if need be after all retries.
    Refused(ResponseCode),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceCall(_) => f.write_str("cannot write to the console"),
            Self::Refused(code) => write!(f, "console output refused: {code}"),
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ServiceCall(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

/// Events could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// READ EVENT DATA did not start.
    ServiceCall(ServiceCallError),
    /// The SCLP refused to give its events.
    Refused(ResponseCode),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceCall(_) => f.write_str("cannot read events"),
            Self::Refused(code) => write!(f, "reading events refused: {code}"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ServiceCall(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

/// The machine's description could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScpInfoError {
    /// READ SCP INFO did not start.
    ServiceCall(ServiceCallError),
    /// The SCLP refused both forms of READ SCP INFO.
    Refused(ResponseCode),
    /// The machine's description gives no memory size, or one beyond 64 bits.
    BadMemorySize {
        /// Number of increments as given.
        increments: u64,
        /// Size of an increment in MiB as given.
        increment_mib: u32,
    },
}

impl fmt::Display for ScpInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceCall(_) => f.write_str("cannot read SCP info"),
            Self::Refused(code) => write!(f, "READ SCP INFO refused: {code}"),
            Self::BadMemorySize {
                increments,
                increment_mib,
            } => {
                write!(
                    f,
                    "implausible memory size: {increments} × {increment_mib} MiB"
                )
            }
        }
    }
}

impl Error for ScpInfoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ServiceCall(error) => Some(error),
            Self::Refused(_) | Self::BadMemorySize { .. } => None,
        }
    }
}

/// The global console was not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallError {
    /// There is one already.
    Occupied,
    /// Somebody uses the cell now, or has taken it by force.
    InUse,
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupied => "there is a global console already",
            Self::InUse => "the global console is in use",
        })
    }
}

impl Error for InstallError {}
