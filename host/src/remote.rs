//! Channel programs, run by the daemon in the areas whose client it is.
//!
//! | module | what it is |
//! |---|---|
//! | `program` | where a program lies in an area, how it gets there, and what it has read |
//! | `virtio` | an export as a virtio-ccw device, set up for a VM that has a vhost-user socket |
//! | `wait` | how long the appliance is waited for meanwhile |
//! | `host` | the daemon's own area: the programs and instructions of people |
//! | `maintenance` | a disk of the appliance's in maintenance: the programs of [`dasd_tools`] |
//!
//! # The rule
//!
//! The daemon is a client like any other here: it has virtual subchannels, for which the appliance checks and translates the
//! programs. A device that belongs to somebody else is out of its reach.

mod host;
mod maintenance;
mod program;
#[cfg(test)]
mod tests;
mod virtio;
mod wait;

pub use self::host::HostClient;
pub use self::maintenance::Purpose;
pub use self::virtio::{VirtioDevice, VirtioError, ROOM};
pub use self::wait::DeviceWait;
