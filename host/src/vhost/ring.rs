//! What a VM has said about one of its rings.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

use crate::descriptors::for_peer;

/// Where a ring's three parts are, as client addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
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
