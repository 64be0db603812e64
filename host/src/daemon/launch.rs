//! How the appliance's QEMU is started.
//!
//! # Rules
//!
//! * It waits: its VM does not run, and has neither disks nor anybody's memory. Its memory is its own until areas and clients' memory are
//!   laid over it. So it can be started while another one serves.
//! * What is not adopted ends with the daemon, for nobody else has the way into it: see the object that is loaded.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Result;

use super::Shared;
use crate::vm::{self, Image, Inherited, Vm};
use crate::windows::Overlay;

/// A QEMU that has been started, and our ends of the ways to it.
#[derive(Debug)]
pub struct Launched {
    pub vm: Vm,
    /// The VM's memory.
    pub memory: File,
    pub overlay: OwnedFd,
    pub monitor: UnixStream,
    pub link: UnixStream,
}

/// Starts QEMU with an image, and with devices still to be given.
pub fn launch(shared: &Shared, image: &Image) -> Result<Launched> {
    let config = &shared.config;
    let memory = shared.pool.vm_memory()?;
    let (monitor, for_monitor) = UnixStream::pair()?;
    let (link, for_link) = UnixStream::pair()?;
    let (overlay, for_overlay) = Overlay::sockets()?;
    let open = [
        memory.as_fd(),
        image.as_fd(),
        for_monitor.as_fd(),
        for_link.as_fd(),
        for_overlay.as_fd(),
        shared.loaded.as_fd(),
    ];
    let inherited = Inherited {
        memory: memory.as_raw_fd(),
        image: image.as_fd().as_raw_fd(),
        monitor: for_monitor.as_raw_fd(),
        link: for_link.as_raw_fd(),
    };
    let layout = &shared.layout;
    let args = vm::args(config, layout, inherited)?;
    let (theirs, memory_fd) = (for_overlay.as_fd(), memory.as_fd());
    let environment = (shared.loaded).environment(theirs, memory_fd, layout.shared());
    let (program, rules) = (
        &config.appliance.qemu,
        shared.rules.as_ref().map(AsFd::as_fd),
    );
    let vm = Vm::start(program, &args, environment, &open, rules)?;
    Ok(Launched {
        vm,
        memory,
        overlay,
        monitor,
        link,
    })
}
