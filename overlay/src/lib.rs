//! What is loaded into the appliance's QEMU: it lays what is shared, areas and clients' memory, over the VM's memory.
//!
//! # Purpose
//!
//! The appliance VM's memory is one file, of which the process that started QEMU, the daemon, has the descriptor. Behind what is
//! the appliance's own there is room for areas and for windows. A client's memory is a file of the client's; when it is mapped over a place in
//! that room, QEMU, its block devices and the VM's CPU reach the client's own pages there.
//!
//! The dynamic linker loads this object before QEMU (`LD_PRELOAD`), with [`VARIABLE`] in the environment. A thread of its own then
//! takes [`Order`]s from a socket. Without the variable nothing happens.
//!
//! # Rules
//!
//! * It maps a file over a place, or the VM's own file again. It does nothing else, and knows nothing of clients.
//! * When nobody is left who could give an order, it ends the process: QEMU outlives a daemon, but not everybody who could take it over.
//! * A place is inside the room, and everything is a multiple of a page, or nothing happens.
//! * What QEMU does is not touched: no function of anybody's is replaced, no signal reaches the thread.
//! * One answer for each order, in their order. Orders are for the process that has the VM's memory mapped: in a program that starts
//!   QEMU, as a script does, the object is loaded too, and leaves them alone.

#![warn(missing_docs)]

use std::ffi::c_int;
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{fstat, major, minor};
use rustix::io::Errno;
use rustix::mm::{madvise, mmap, munmap, Advice, MapFlags, ProtFlags};
use rustix::net::{
    recv, recvmsg, send, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags,
};
use rustix::process::{getpid, kill_process, Signal};

/// The variable in QEMU's environment: an [`Inherited`] as text.
pub const VARIABLE: &str = "STELLWERK_OVERLAY";

/// Places, lengths and offsets are multiples of this.
pub const PAGE: u64 = 4096;

/// How often, and after how long each time, it is looked whether QEMU has made its VM.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// What the process that starts QEMU leaves to this object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Descriptor of the socket, SOCK_SEQPACKET, that orders come from.
    pub socket: c_int,
    /// Descriptor of the file that is the VM's memory.
    pub memory: c_int,
    /// Where the room for what is laid begins in that file.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
}

impl std::fmt::Display for Inherited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            socket,
            memory,
            start,
            end,
        } = self;
        write!(f, "{socket},{memory},{start},{end}")
    }
}

impl FromStr for Inherited {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',');
        let mut next = || words.next().unwrap_or_default();
        Ok(Self {
            socket: next().parse()?,
            memory: next().parse()?,
            start: next().parse()?,
            end: next().parse()?,
        })
    }
}

/// Lays a file that comes with it over a place, or takes back what was laid there.
///
/// It is answered by an [`Answer`]. In both directions integers are in the machine's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where in the VM's memory.
    pub place: u64,
    /// Bytes.
    pub length: u64,
    /// Where they begin in the file.
    pub offset: u64,
    /// 1: a file is laid; 0: what was laid is taken back. A file can get lost on its way.
    pub lays: u64,
    /// By which its answer is known.
    pub number: u64,
}

impl Order {
    /// Bytes of an order.
    pub const SIZE: usize = 40;

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let Self {
            place,
            length,
            offset,
            lays,
            number,
        } = self;
        let words = [place, length, offset, lays, number];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let [place, length, offset, lays, number] = *words else {
            return None;
        };
        rest.is_empty().then_some(Self {
            place: u64::from_ne_bytes(place),
            length: u64::from_ne_bytes(length),
            offset: u64::from_ne_bytes(offset),
            lays: u64::from_ne_bytes(lays),
            number: u64::from_ne_bytes(number),
        })
    }

    /// Whether it is inside the room, and all of whole pages.
    fn is_good(&self, room: &Inherited) -> bool {
        let whole = (self.place | self.length | self.offset).is_multiple_of(PAGE);
        let end = self.place.checked_add(self.length);
        let inside = self.place >= room.start && end.is_some_and(|end| end <= room.end);
        whole && inside && self.length != 0 && self.offset.checked_add(self.length).is_some()
    }
}

/// What has come of an [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The order's; 0 if that could not be read.
    pub number: u64,
    /// 0, or an error number of the system's.
    pub error: i32,
}

impl Answer {
    /// Bytes of an answer.
    pub const SIZE: usize = 12;

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (number, error) = bytes.split_at_mut(size_of::<u64>());
        number.copy_from_slice(&self.number.to_ne_bytes());
        error.copy_from_slice(&self.error.to_ne_bytes());
        bytes
    }

    /// One as it was sent.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&number, error) = bytes.split_first_chunk()?;
        Some(Self {
            number: u64::from_ne_bytes(number),
            error: i32::from_ne_bytes(error.try_into().ok()?),
        })
    }
}

/// The VM's memory, and the room in it.
#[derive(Debug)]
struct Room {
    about: Inherited,
    memory: BorrowedFd<'static>,
    /// Where QEMU has the file's first byte in its address space, once it has been looked for.
    base: Option<usize>,
}

impl Room {
    /// Where QEMU has the VM's memory. It may be about to make its VM.
    fn base(&mut self) -> Option<usize> {
        for _ in 0..TRIES {
            if self.base.is_none() {
                self.base = find(self.memory);
            }
            if self.base.is_some() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.base
    }

    fn carry_out(&self, base: usize, order: &Order, file: Option<&OwnedFd>) -> io::Result<()> {
        if !order.is_good(&self.about) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (file, offset) = match (order.lays, file) {
            (0, _) => (self.memory, order.place),
            (_, Some(file)) => (file.as_fd(), order.offset),
            (_, None) => return Err(Errno::BADF.into()),
        };
        let place = ptr::with_exposed_provenance_mut(base + order.place as usize);
        let length = order.length as usize;
        // SAFETY: the place is inside QEMU's mapping of the VM's memory, in the part of it that is kept for windows: neither
        // this object nor QEMU has anything of its own there, and what a VM has in its memory may change at any time.
        unsafe {
            // Elsewhere first: on some kernels a file that cannot be mapped leaves a hole.
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            let tried = mmap(ptr::null_mut(), length, protection, flags, file, offset)?;
            munmap(tried, length)?;
            mmap(
                place,
                length,
                protection,
                flags | MapFlags::FIXED,
                file,
                offset,
            )?;
            // As QEMU has it of the rest. A dump of QEMU's is not to have a client's memory in it.
            let _ = madvise(place, length, Advice::LinuxDontFork);
            let _ = madvise(place, length, Advice::LinuxDontDump);
        }
        Ok(())
    }
}

/// Where a file's first byte lies in this process's address space, if the file is mapped for sharing.
fn find(file: BorrowedFd<'_>) -> Option<usize> {
    let about = fstat(file).ok()?;
    let device = format!("{:02x}:{:02x}", major(about.st_dev), minor(about.st_dev));
    let inode = about.st_ino.to_string();
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, access, offset) = (words.next()?, words.next()?, words.next()?);
        let is_it = words.next()? == device && words.next()? == inode;
        let start = usize::from_str_radix(range.split('-').next()?, 16).ok()?;
        let offset = usize::from_str_radix(offset, 16).ok()?;
        (is_it && access == "rw-s").then(|| start.checked_sub(offset))?
    })
}

/// Takes the next order, and the file that comes with it; `None` when there is nobody any more who could give one.
fn next(socket: BorrowedFd<'_>) -> Option<(Option<Order>, Option<OwnedFd>)> {
    let mut bytes = [0; Order::SIZE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let length = got.ok()?.bytes;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let file = files.flatten().next();
    let order = Order::from_bytes(bytes.get(..length)?);
    (length != 0).then_some((order, file))
}

/// Carries out orders until the other end of the socket is closed.
fn serve(socket: BorrowedFd<'_>, mut room: Room) {
    loop {
        // Whether it is for this process is known when it is there.
        let mut first = [0; 1];
        let there = recv(socket, &mut first, RecvFlags::PEEK);
        if !there.is_ok_and(|(_, length)| length != 0) {
            return;
        }
        let Some(base) = room.base() else {
            return;
        };
        let Some((order, file)) = next(socket) else {
            return;
        };
        let invalid = || Err(io::ErrorKind::InvalidInput.into());
        let done = order.map_or_else(invalid, |it| room.carry_out(base, &it, file.as_ref()));
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        let answer = Answer {
            number: order.map_or(0, |it| it.number),
            error: done.map_or_else(number, |()| 0),
        };
        if send(socket, &answer.to_bytes(), SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

/// Starts the thread that carries out orders, and has `end` called when nobody is left who could give one.
///
/// # Safety
///
/// The descriptors that are inherited are open, and stay so as long as this process runs.
pub unsafe fn start(about: Inherited, end: fn()) -> io::Result<()> {
    // SAFETY: they stay open (contract of this function).
    let (socket, memory) = unsafe {
        (
            BorrowedFd::borrow_raw(about.socket),
            BorrowedFd::borrow_raw(about.memory),
        )
    };
    let room = Room {
        about,
        memory,
        base: None,
    };
    without_signals(|| {
        let builder = std::thread::Builder::new().name("overlay".into());
        let serving = move || {
            serve(socket, room);
            let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let gone = recv(socket, &mut [0; 1], peek);
            // Somebody may still be there, whose orders are for another process.
            if !matches!(gone, Ok((_, 1..)) | Err(Errno::AGAIN | Errno::INTR)) {
                end();
            }
        };
        builder.spawn(serving).map(drop)
    })
}

/// Runs what starts a thread, which inherits that all signals are blocked: QEMU takes its own by descriptors, and a thread that is
/// not its own must not be chosen for one.
fn without_signals<T>(run: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are this function's own; `sigfillset` makes the first one, the first `pthread_sigmask` the second.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let done = run();
    // SAFETY: `before` was written by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    done
}

/// Ends this process, whatever it is at.
fn end() {
    let _ = kill_process(getpid(), Signal::KILL);
}

/// Runs when this object is loaded, before QEMU's own `main`.
extern "C" fn loaded() {
    let Ok(text) = std::env::var(VARIABLE) else {
        return;
    };
    let about = text.parse().map_err(io::Error::other);
    // SAFETY: whoever has set the variable has left these descriptors to this object.
    let started = about.and_then(|about| unsafe { start(about, end) });
    if let Err(error) = started {
        eprintln!("stellwerk-overlay: {VARIABLE}={text}: {error}");
        std::process::exit(1);
    }
}

#[used]
#[cfg_attr(target_os = "linux", link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

#[cfg(test)]
mod tests;
