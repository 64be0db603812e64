//! Descriptors, and what is to be known of them, that outlive the daemon.
//!
//! # Purpose
//!
//! A daemon that has died is followed by another one. Whoever starts it, systemd or the [`keeper`](crate::keeper), has kept copies of
//! the descriptors that were given to it, and hands them on: connections, memory, eventfds, the appliance's VM. What each of them is
//! stands in [`Record`]s, which are memory among them.
//!
//! # Protocol
//!
//! The store is told as systemd has it (sd_notify(3)): a datagram `FDSTORE=1`, `FDNAME=` and a [`Key`] with a descriptor has it kept,
//! `FDSTOREREMOVE=1` with the name has it closed. systemd takes these at `NOTIFY_SOCKET` and hands on by `LISTEN_FDS` and
//! `LISTEN_FDNAMES`; the keeper takes them at a socket that the daemon inherits, [`KEEPER`], and hands on by [`KEPT`].
//!
//! # Rule
//!
//! A descriptor is kept before a record names it, and forgotten after the last one does no more: at each instant the records are right.

mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::io::{fcntl_getfd, fcntl_setfd, FdFlags};
use rustix::net::{
    recvmsg, sendmsg, shutdown, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::descriptors::{self, for_peer};
use crate::sys::uptime;

pub use record::Record;

/// The variable that says which descriptor leads to the keeper.
pub const KEEPER: &str = "STELLWERK_KEEPER";
/// The variable that says which process the keeper is.
pub const PROCESS: &str = "STELLWERK_KEEPER_PROCESS";
/// The variable that says which descriptor is a list of those that the keeper hands on: lines of `KEY DESCRIPTOR`.
pub const KEPT: &str = "STELLWERK_KEPT";
/// systemd's, in the environment of a service with a descriptor store.
const SYSTEMD_STORE: &str = "FDSTORE";
const SYSTEMD_SOCKET: &str = "NOTIFY_SOCKET";
/// What is written into a socket with a descriptor.
const WRAPPED: &str = "fd";
/// The first of the descriptors that systemd hands on.
const SYSTEMD_FIRST: RawFd = 3;

/// How long whoever keeps descriptors may take to take one.
const PATIENCE: Duration = Duration::from_secs(1);

/// A descriptor in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub u64);

impl Key {
    /// The record that says what the others are.
    pub const FIRST: Self = Self(0);
    /// Of what is not kept.
    pub const NONE: Self = Self(u64::MAX);

    /// For a record: the key of what has just come, and is not in the record yet. Others never have the highest bit.
    pub const fn arrival(self) -> Self {
        Self(self.0 | 1 << 63)
    }
}

/// What is kept.
///
/// Whoever keeps it is told without the lock: one that does not take what it is told holds up who tells it, and nobody else.
#[derive(Debug)]
pub struct Store(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The way to whoever keeps it; nobody does in tests.
    keeper: Option<Arc<OwnedFd>>,
    /// Whether it is one of our own, and not systemd.
    is_own: bool,
    process: Option<Pid>,
    kept: BTreeMap<Key, Arc<OwnedFd>>,
    next: u64,
}

impl Store {
    /// One that nobody keeps.
    pub fn unkept() -> Self {
        Self(Mutex::new(Inner {
            // No key is used again, by whatever daemon: what is left of an earlier use would be taken for it.
            next: uptime().as_micros() as u64 + 1,
            ..Inner::default()
        }))
    }

    /// The store of whoever has started this process, with what an earlier one has left in it. `None` if nobody keeps anything.
    ///
    /// # Errors
    ///
    /// What the environment says is not so.
    pub fn open() -> Result<Option<Self>> {
        // What is given may be all that the limit allows, and more is made of it.
        descriptors::raise();
        let is_own = env::var(KEEPER).is_ok();
        let process = env::var(PROCESS)
            .ok()
            .and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let (keeper, inherited) = if let Ok(number) = env::var(KEEPER) {
            let keeper = number.parse().ok().and_then(inherit).context(KEEPER)?;
            let list = env::var(KEPT).ok().and_then(|number| number.parse().ok());
            let list = list.and_then(inherit).context(KEPT)?;
            (keeper, given_by_keeper(File::from(list)).context(KEPT)?)
        } else if env::var(SYSTEMD_STORE).is_ok() {
            let path = env::var_os(SYSTEMD_SOCKET).context(SYSTEMD_SOCKET)?;
            let socket = UnixDatagram::unbound()?;
            socket.connect(path).context(SYSTEMD_SOCKET)?;
            (socket.into(), given_by_systemd())
        } else {
            return Ok(None);
        };
        for name in [
            KEEPER,
            PROCESS,
            KEPT,
            SYSTEMD_STORE,
            SYSTEMD_SOCKET,
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_PID",
        ] {
            env::remove_var(name);
        }
        set_patience(&keeper)?;
        let store = Self::unkept();
        {
            let mut inner = store.0.lock();
            inner.keeper = Some(Arc::new(keeper));
            inner.is_own = is_own;
            inner.process = process;
            for (name, number) in inherited {
                let (Ok(key), Some(fd)) = (name.parse().map(Key), inherit(number)) else {
                    continue;
                };
                let fd = if is_own { Some(fd) } else { unwrapped(&fd) };
                inner.kept.extend(fd.map(|fd| (key, Arc::new(fd))));
            }
        }
        Ok(Some(store))
    }

    /// Keeps a copy of a descriptor.
    pub fn keep(&self, fd: impl AsFd) -> io::Result<Key> {
        let copy = fd.as_fd().try_clone_to_owned()?;
        let key = self.new_key();
        self.keep_as(key, copy);
        Ok(key)
    }

    /// A key that nothing has been kept by.
    fn new_key(&self) -> Key {
        let mut inner = self.0.lock();
        let key = Key(inner.next);
        inner.next += 1;
        key
    }

    fn keep_as(&self, key: Key, fd: OwnedFd) {
        let fd = Arc::new(fd);
        let (before, keeper) = {
            let mut inner = self.0.lock();
            let before = inner.kept.insert(key, Arc::clone(&fd));
            (before, inner.keeper.clone())
        };
        // systemd keeps several by one name.
        if before.is_some() && !self.has_own_keeper() {
            let _ = self.tell(keeper.clone(), &forgotten(key), None);
        }
        let _ = self.tell(keeper, &kept_by(key), Some(&fd));
    }

    /// Keeps a copy of what a peer has handed over, if there is room for it.
    pub fn keep_for_peer(&self, fd: impl AsFd) -> io::Result<Key> {
        let key = self.new_key();
        self.keep_for_peer_as(key, fd)?;
        Ok(key)
    }

    /// The same, by this key.
    pub fn keep_for_peer_as(&self, key: Key, fd: impl AsFd) -> io::Result<()> {
        let copy = for_peer(fd.as_fd().try_clone_to_owned()?)?;
        self.keep_as(key, copy);
        Ok(())
    }

    /// Keeps what says what the others are.
    fn keep_first(&self, fd: OwnedFd) {
        self.keep_as(Key::FIRST, fd);
    }

    /// A copy of what is kept.
    pub fn get(&self, key: Key) -> io::Result<OwnedFd> {
        let inner = self.0.lock();
        let fd = inner.kept.get(&key);
        let fd = fd.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        fd.try_clone()
    }

    pub fn forget(&self, key: Key) {
        let (before, keeper) = {
            let mut inner = self.0.lock();
            (inner.kept.remove(&key), inner.keeper.clone())
        };
        if before.is_some() {
            let _ = self.tell(keeper, &forgotten(key), None);
        }
    }

    /// Forgets all but these.
    pub fn retain(&self, wanted: impl Fn(Key) -> bool) {
        let all: Vec<Key> = self.0.lock().kept.keys().copied().collect();
        for key in all.into_iter().filter(|&key| !wanted(key)) {
            self.forget(key);
        }
    }

    /// Tells whoever has started this process how it is, in the words of sd_notify(3).
    pub fn say(&self, state: &str) {
        let keeper = self.0.lock().keeper.clone();
        let _ = self.tell(keeper, state, None);
    }

    /// Whether whoever keeps it is a keeper of our own, and not systemd.
    pub fn has_own_keeper(&self) -> bool {
        self.0.lock().is_own
    }

    /// The keeper that has started this process.
    pub fn keeper_process(&self) -> Option<Pid> {
        self.0.lock().process
    }

    /// Readable when the keeper has died; `None` if there is none.
    pub fn keeper(&self) -> Option<OwnedFd> {
        let inner = self.0.lock();
        inner.keeper.as_ref().and_then(|it| it.try_clone().ok())
    }

    /// Gives everything to another keeper.
    pub fn move_to(&self, keeper: OwnedFd) -> io::Result<()> {
        set_patience(&keeper)?;
        let keeper = Some(Arc::new(keeper));
        let kept = {
            let mut inner = self.0.lock();
            // What comes from here on it is told by who keeps that.
            inner.keeper.clone_from(&keeper);
            inner.kept.clone()
        };
        // Without all of it nobody could go on.
        let tell = |state: &str, fd| self.tell(keeper.clone(), state, fd);
        for (&key, fd) in &kept {
            tell(&kept_by(key), Some(fd))?;
        }
        // What was forgotten meanwhile has perhaps come to it after that.
        for &key in kept.keys() {
            if !self.0.lock().kept.contains_key(&key) {
                tell(&forgotten(key), None)?;
            }
        }
        tell("READY=1", None)
    }

    /// Whoever does not take it is told nothing more. A keeper that has died, or does nothing, is replaced.
    fn tell(
        &self,
        keeper: Option<Arc<OwnedFd>>,
        state: &str,
        fd: Option<&Arc<OwnedFd>>,
    ) -> io::Result<()> {
        let Some(keeper) = keeper else { return Ok(()) };
        let wraps = !self.has_own_keeper();
        // That there is no descriptor left for it is no fault of whoever keeps it.
        let socket = fd.filter(|_| wraps).map(|fd| wrapped(fd.as_fd()));
        let socket = socket.transpose()?;
        let fd = socket.as_ref().or(fd.map(|fd| &**fd));
        let told = send(&keeper, state, fd.map(AsFd::as_fd));
        if let Err(error) = &told {
            // Whoever waits for its end sees that, and who waits for it to take something does not any more.
            let _ = shutdown(&*keeper, Shutdown::Both);
            let mut inner = self.0.lock();
            let present = inner.keeper.as_ref();
            if present.is_some_and(|present| Arc::ptr_eq(present, &keeper)) {
                tracing::error!(%error, "what keeps descriptors for the next daemon does not take them");
                inner.keeper = None;
            }
        }
        told
    }
}

/// What is said with a descriptor that is to be kept.
fn kept_by(key: Key) -> String {
    // What is polled for its end would be dropped by systemd when it comes, and the next daemon has to see it.
    format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", key.0)
}

fn forgotten(key: Key) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={}", key.0)
}

/// A socket in which a descriptor lies. systemd keeps each file once, under whatever names it is given to it; and each of these sockets is
/// another file.
fn wrapped(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (way, socket) = UnixDatagram::pair()?;
    send(&way.into(), WRAPPED, Some(fd))?;
    Ok(socket.into())
}

/// The descriptor in such a socket, in which it stays.
fn unwrapped(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; WRAPPED.len()];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut text = [IoSliceMut::new(&mut bytes)];
    recvmsg(socket, &mut text, &mut control, flags).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

fn send(keeper: &OwnedFd, state: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fd) = &fd {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)));
    }
    let text = [IoSlice::new(state.as_bytes())];
    sendmsg(keeper, &text, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A descriptor that this process was started with, as its own.
pub fn inherit(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: it is only asked whether there is such a descriptor.
    let there = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
    if number < SYSTEMD_FIRST || fcntl_getfd(there).is_err() {
        return None;
    }
    fcntl_setfd(there, FdFlags::CLOEXEC).ok()?;
    // SAFETY: whoever has started this process has left the descriptor to it, and nothing else of the process knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

fn given_by_keeper(mut list: File) -> io::Result<Vec<(String, RawFd)>> {
    let mut text = String::new();
    list.rewind()?;
    list.read_to_string(&mut text)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let pairs = pairs.filter_map(|(key, number)| Some((key.to_owned(), number.parse().ok()?)));
    Ok(pairs.collect())
}

fn given_by_systemd() -> Vec<(String, RawFd)> {
    let pid = env::var("LISTEN_PID").ok();
    if pid.is_none_or(|pid| pid != std::process::id().to_string()) {
        return Vec::new();
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned);
    names.zip(SYSTEMD_FIRST..).collect()
}

fn set_patience(keeper: &OwnedFd) -> io::Result<()> {
    use rustix::net::sockopt::{set_socket_timeout, Timeout};
    Ok(set_socket_timeout(keeper, Timeout::Send, Some(PATIENCE))?)
}
