//! Eventfds that belong to somebody else as well.
//!
//! # Purpose
//!
//! A peer keeps its own descriptors of the eventfds that it hands over. It shares the open file description with the
//! daemon: it can switch `O_NONBLOCK` on and off at any moment, fill the counter, and empty it. A plain write(2) waits
//! while the counter is full, a plain read(2) while it is empty, and no check made before the call can prevent that.
//!
//! # Rules
//!
//! * Nobody writes to a peer's eventfd. The kernel signals it, as the notification that belongs to an asynchronous read
//!   of nothing. That adds 1, leaves a full counter as it is, and never waits, whatever the flags say.
//! * Nobody reads from a peer's eventfd but with `RWF_NOWAIT`, which is an argument of the call and not a flag of the file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use rustix::io::{preadv2, Errno, ReadWriteFlags};

/// Requests that are to be had at a time. Each has ended when its submission returns, but its entry stays until it is
/// collected, which is done when no other is left.
const REQUESTS: libc::c_long = 64;
/// `IOCB_CMD_PREAD` of `linux/aio_abi.h`.
const COMMAND_READ: u16 = 0;
/// `IOCB_FLAG_RESFD`: the request's end signals an eventfd.
const FLAG_SIGNAL: u32 = 1;

/// `struct io_event` of `linux/aio_abi.h`, in which nobody here reads.
type Ended = [u64; 4];

#[derive(Debug)]
pub struct Signaller {
    context: libc::c_ulong,
    /// A read of it ends at once, with nothing.
    nothing: File,
}

impl Signaller {
    /// Has the kernel prepared for it.
    pub fn new() -> Result<Self> {
        let nothing = File::open("/dev/null").context("/dev/null")?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: the call writes one word, to a place that is good for one.
        let done = unsafe { libc::syscall(libc::SYS_io_setup, REQUESTS, &raw mut context) };
        if done != 0 {
            return Err(io::Error::last_os_error()).context(
                "asynchronous I/O (io_setup), by which clients are notified, is not to be had; \
                 is fs.aio-nr at fs.aio-max-nr?",
            );
        }
        Ok(Self { context, nothing })
    }

    /// Signals an eventfd, without waiting. One that cannot count further is signalled already.
    pub fn signal(&self, eventfd: impl AsFd) -> io::Result<()> {
        let eventfd = eventfd.as_fd().as_raw_fd();
        match self.submit(eventfd) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                self.collect();
                self.submit(eventfd)
            }
            done => done,
        }
    }

    fn submit(&self, eventfd: i32) -> io::Result<()> {
        // SAFETY: it consists of numbers, and zero is one.
        let mut request: libc::iocb = unsafe { std::mem::zeroed() };
        request.aio_lio_opcode = COMMAND_READ;
        request.aio_fildes = self.nothing.as_raw_fd() as u32;
        request.aio_flags = FLAG_SIGNAL;
        request.aio_resfd = eventfd as u32;
        let list = [&raw mut request];
        let one: libc::c_long = 1;
        // SAFETY: the context is this one's. The list holds one pointer to a request, which the kernel reads, and whose
        // key it writes, before the call returns. The request asks for no bytes, so that nothing is ever written elsewhere.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, self.context, one, list.as_ptr()) };
        if taken == 1 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    fn collect(&self) {
        let mut ended = [Ended::default(); REQUESTS as usize];
        let (least, most): (libc::c_long, libc::c_long) = (0, REQUESTS);
        let no_time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the context is this one's; the array is good for as many entries as the kernel is told, and the time
        // is read only.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                least,
                most,
                ended.as_mut_ptr(),
                &raw const no_time,
            );
        }
    }
}

impl Drop for Signaller {
    fn drop(&mut self) {
        // SAFETY: the context is this one's, and nobody uses it any more.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

/// Empties a peer's eventfd, without waiting. Whether there may have been something in it.
pub fn emptied(eventfd: impl AsFd) -> bool {
    /// The place that the file itself keeps: an eventfd has no others.
    const HERE: u64 = u64::MAX;
    let mut count = [0; 8];
    let buffers = &mut [IoSliceMut::new(&mut count)];
    // An older kernel cannot do this for an eventfd. Nobody depends on its being empty, though.
    !matches!(
        preadv2(eventfd, buffers, HERE, ReadWriteFlags::NOWAIT),
        Err(Errno::AGAIN)
    )
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::event::{eventfd, EventfdFlags};

    use super::*;

    const FULL: u64 = u64::MAX - 1;

    fn blocking(count: u64) -> OwnedFd {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        if count != 0 {
            rustix::io::write(&fd, &count.to_ne_bytes()).unwrap();
        }
        fd
    }

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(fd, &mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn each_signal_counts_once() {
        let signaller = Signaller::new().unwrap();
        let fd = blocking(0);
        for _ in 0..10_000 {
            signaller.signal(&fd).unwrap();
        }
        assert_eq!(count(&fd), 10_000);
    }

    #[test]
    fn signals_of_several_threads_count_each() {
        let signaller = Signaller::new().unwrap();
        let fd = blocking(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| signaller.signal(&fd).unwrap()));
            }
        });
        assert_eq!(count(&fd), 4000);
    }

    #[test]
    fn a_full_eventfd_that_blocks_holds_nobody_up() {
        let signaller = Signaller::new().unwrap();
        let fd = blocking(FULL);
        for _ in 0..1000 {
            signaller.signal(&fd).unwrap();
        }
        assert!(count(&fd) >= FULL);
    }

    #[test]
    fn what_is_no_eventfd_is_told_so() {
        let signaller = Signaller::new().unwrap();
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(signaller.signal(&socket).is_err());
        signaller.signal(blocking(0)).unwrap();
    }

    #[test]
    fn an_empty_eventfd_that_blocks_holds_nobody_up() {
        let fd = blocking(0);
        assert!(!emptied(&fd));
        rustix::io::write(&fd, &7u64.to_ne_bytes()).unwrap();
        assert!(emptied(&fd));
        assert!(!emptied(&fd));
    }
}
