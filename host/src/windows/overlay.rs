//! The daemon's end of what is loaded into the appliance's QEMU.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    recv, sendmsg, socketpair, AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{pidfd_send_signal, Signal};
use stellwerk_overlay::{Answer, Inherited, Order, VARIABLE};

use crate::layout::Span;

/// The object's file. It is beside this program, or where packages have it.
const FILE: &str = "libstellwerk_overlay.so";
const DIRECTORY: &str = "/usr/lib/stellwerk";
/// How long a QEMU may take for an answer. One that takes longer hangs, and is ended.
const LIMIT: Duration = Duration::from_secs(10);

/// The object that is loaded. It stays the same file as long as the daemon runs, whatever is installed meanwhile.
#[derive(Debug)]
pub struct Loaded(File);

impl Loaded {
    pub fn find() -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file")?;
        let beside = program.parent().unwrap_or(Path::new("/"));
        for directory in [beside, Path::new(DIRECTORY)] {
            if let Ok(file) = File::open(directory.join(FILE)) {
                return Ok(Self(file));
            }
        }
        bail!(
            "{FILE}, which is loaded into the appliance's QEMU, is neither in {} nor in {DIRECTORY}; scripts/build.sh host \
             makes it",
            beside.display()
        )
    }

    /// What QEMU has in its environment besides. The VM's memory is `memory` there, and `room` of it is for areas and windows.
    pub fn environment(
        &self,
        theirs: BorrowedFd<'_>,
        memory: BorrowedFd<'_>,
        room: Span,
    ) -> [(&'static str, String); 2] {
        let inherited = Inherited {
            socket: theirs.as_raw_fd(),
            memory: memory.as_raw_fd(),
            start: room.offset,
            end: room.end(),
        };
        // By its number: a path may have characters that divide a list.
        let object = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        [("LD_PRELOAD", object), (VARIABLE, inherited.to_string())]
    }
}

impl AsFd for Loaded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Why memory is not laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayError {
    /// By the system.
    #[error("{0}")]
    Refused(Errno),
    #[error("QEMU has ended")]
    Gone,
}

/// The way into a QEMU.
#[derive(Debug)]
pub struct Overlay {
    socket: OwnedFd,
    /// Its process, by a descriptor.
    process: OwnedFd,
    /// The number of the last order.
    number: AtomicU64,
}

impl Overlay {
    /// The two ends of the way into a QEMU that is to be started: ours, and the one that it inherits.
    pub fn sockets() -> Result<(OwnedFd, OwnedFd)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(LIMIT))?;
        Ok((ours, theirs))
    }

    pub const fn new(socket: OwnedFd, process: OwnedFd) -> Self {
        Self::go_on(socket, process, 0)
    }

    /// The way into a QEMU that another daemon has started; `daemons` is how many there were.
    pub const fn go_on(socket: OwnedFd, process: OwnedFd, daemons: u32) -> Self {
        Self {
            socket,
            process,
            number: AtomicU64::new((daemons as u64) << u32::BITS),
        }
    }

    /// Lays a file over a place.
    pub fn lay(
        &self,
        place: u64,
        length: u64,
        offset: u64,
        file: BorrowedFd<'_>,
    ) -> Result<(), LayError> {
        let order = Order {
            place,
            length,
            offset,
            lays: 1,
            number: self.next(),
        };
        self.order(order, Some(file))
    }

    /// Takes back what was laid over a place.
    pub fn take_back(&self, place: u64, length: u64) -> Result<(), LayError> {
        let order = Order {
            place,
            length,
            offset: 0,
            lays: 0,
            number: self.next(),
        };
        self.order(order, None)
    }

    fn order(&self, order: Order, file: Option<BorrowedFd<'_>>) -> Result<(), LayError> {
        match self.ask(&order, file) {
            Some(0) => Ok(()),
            Some(error) => Err(LayError::Refused(Errno::from_raw_os_error(error))),
            None => {
                // Without it, what the appliance writes would not come into the client's memory.
                let _ = pidfd_send_signal(&self.process, Signal::KILL);
                Err(LayError::Gone)
            }
        }
    }

    /// The answer to an order, if there is anybody to give one.
    fn ask(&self, order: &Order, file: Option<BorrowedFd<'_>>) -> Option<i32> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files: Vec<_> = file.into_iter().collect();
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return None;
        }
        let bytes = order.to_bytes();
        let message = [IoSlice::new(&bytes)];
        sendmsg(&self.socket, &message, &mut control, SendFlags::NOSIGNAL).ok()?;
        loop {
            let mut bytes = [0; Answer::SIZE];
            let got =
                rustix::io::retry_on_intr(|| recv(&self.socket, &mut bytes, RecvFlags::empty()));
            let answer = Answer::from_bytes(bytes.get(..got.ok()?.1)?)?;
            // Another one is for a daemon that has died since.
            if answer.number == order.number {
                return Some(answer.error);
            }
        }
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}
