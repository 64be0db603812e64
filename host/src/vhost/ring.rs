//! What a VM has said about one of its rings.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

use super::state::RingState;
use crate::descriptors::for_peer;

/// Where a ring's three parts are, as client addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
}

/// A ring. It is served while it has been kicked off (the arrival of its kick eventfd starts it), and enabled.
pub type Ring = RingState;

impl Ring {
    /// Whether everything is there that it takes to serve it.
    pub const fn is_ready(&self) -> bool {
        self.enabled && self.kick.is_some() && self.place.is_some() && self.size != 0
    }
}

/// Makes sure that a file is an eventfd, for which there is room.
pub fn check_eventfd(file: &File) -> io::Result<()> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if link.as_os_str() != "anon_inode:[eventfd]" {
        return Err(io::Error::other(format!(
            "{} is no eventfd",
            link.display()
        )));
    }
    for_peer(file).map(drop)
}
