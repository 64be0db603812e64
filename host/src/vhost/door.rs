//! Who is let in: the sockets' one thread that accepts, and what it hands over to those who serve.
//!
//! # Rules
//!
//! * A socket is for one VM at a time. A second one is told so at once, by the end of its connection and a line in the log.
//! * A VM that comes while the requests of one that has gone still end waits for that, and is the only one that does.
//! * What is accepted is kept at once, as what has just come to this socket; where it is kept for good is written down after that. A daemon
//!   that dies has lost it only if it does so between these two system calls: there is none that does both. Nothing has come of such a
//!   connection yet, and QEMU makes it anew.
//! * A system that has no descriptor left is asked again a little later, and that is said once.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::epoll;
use rustix::io::Errno;

use super::state::Waiting;
use crate::descriptors::for_peer;
use crate::doorbell::{new_eventfd, signal, taken};
use crate::log_limit::LogLimit;
use crate::pool::FileIdentity;
use crate::store::{Key, Record, Store};
use crate::sys::has_gone;

/// How long nobody is accepted after the system had nothing left for a connection.
const PAUSE: Duration = Duration::from_millis(200);
const BATCH: usize = 64;
const TOKEN_STOP: u64 = u64::MAX;

/// Between the thread that accepts and the one that serves.
#[derive(Debug)]
pub struct Door {
    /// For the log: client and disk.
    label: String,
    store: Arc<Store>,
    inner: Mutex<Inner>,
    /// Signalled when somebody has come.
    came: OwnedFd,
}

#[derive(Debug)]
struct Inner {
    current: Option<UnixStream>,
    /// One that waits for the end of the one before it, and where it is kept.
    next: Option<(UnixStream, Key)>,
    /// The latter, for the next daemon.
    record: Record<Waiting>,
    log: LogLimit,
}

/// A connection that is to be served.
#[derive(Debug)]
pub struct Comer {
    /// For its messages.
    pub messages: UnixStream,
    /// To watch it by.
    pub watched: UnixStream,
    pub key: Key,
}

impl Door {
    /// `waiting` has waited when another daemon died.
    pub fn new(
        label: &str,
        store: Arc<Store>,
        record: Record<Waiting>,
        waiting: Waiting,
    ) -> io::Result<Self> {
        let kept = |key| Some((UnixStream::from(store.get(key).ok()?), key));
        let inner = Mutex::new(Inner {
            current: None,
            next: waiting.and_then(kept),
            record,
            log: LogLimit::new(),
        });
        let label = label.to_owned();
        let this = Self {
            label,
            store,
            inner,
            came: new_eventfd()?,
        };
        this.find_arrival()?;
        Ok(this)
    }

    /// Takes in whom another daemon had just accepted when it died.
    fn find_arrival(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let arrival = inner.record.key().arrival();
        if let Ok(stream) = self.store.get(arrival).map(UnixStream::from) {
            let waits = inner.next.as_ref().map(|(stream, _)| stream);
            let waits = waits.map(FileIdentity::of).transpose()?;
            if waits != Some(FileIdentity::of(&stream)?) {
                // Whoever waited before had gone.
                self.let_in(&mut inner, stream)?;
            }
            self.store.forget(arrival);
        }
        if inner.next.is_some() {
            signal(&self.came);
        }
        Ok(())
    }

    /// Readable when somebody has come.
    pub fn came(&self) -> BorrowedFd<'_> {
        self.came.as_fd()
    }

    /// A connection that another daemon has served is the current one.
    pub fn take_over(&self, key: Key) -> io::Result<Comer> {
        let stream = UnixStream::from(self.store.get(key)?);
        let comer = Comer::new(&stream, key)?;
        self.inner.lock().current = Some(stream);
        Ok(comer)
    }

    /// Takes the next connection, which is the current one from now on. For the next daemon it waits until it is [`noted`](Self::noted).
    pub fn take(&self) -> io::Result<Option<Comer>> {
        taken(self.came());
        let mut inner = self.inner.lock();
        let Some((stream, key)) = inner.next.take() else {
            return Ok(None);
        };
        let comer = Comer::new(&stream, key);
        match comer {
            Ok(_) => inner.current = Some(stream),
            Err(_) => self.forget(&mut inner, key),
        }
        comer.map(Some)
    }

    /// It is written down elsewhere that a connection is there.
    pub fn noted(&self, key: Key) {
        let mut inner = self.inner.lock();
        if inner.next.as_ref().is_none_or(|(_, next)| *next == key) {
            self.note(&mut inner, None);
        }
    }

    fn forget(&self, inner: &mut Inner, key: Key) {
        self.note(inner, None);
        self.store.forget(key);
    }

    fn note(&self, inner: &mut Inner, waiting: Waiting) {
        if let Err(error) = inner.record.save(&waiting) {
            tracing::error!(disk = self.label, %error, "a connection cannot be kept for the next daemon");
        }
    }

    pub fn leave(&self) {
        let mut inner = self.inner.lock();
        if let Some(ended) = inner.current.take() {
            // A process that has died, and does not end, may have a copy.
            let _ = ended.shutdown(std::net::Shutdown::Both);
        }
        if inner.next.is_some() {
            signal(&self.came);
        }
    }

    /// Has somebody who knocks wait, or sends them away.
    fn accept(&self, listener: &UnixListener) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let next = inner.next.as_ref().map(|(stream, _)| stream);
        let mut all = inner.current.iter().chain(next);
        if all.any(|stream| !has_gone(stream)) {
            listener.accept()?;
            if let Some(more) = inner.log.line() {
                tracing::warn!(
                    disk = self.label,
                    "refused: a second VM has connected to this socket, which is for one at a time{more}"
                );
            }
            return Ok(());
        }
        let arrival = inner.record.key().arrival();
        let (stream, _) = listener.accept()?;
        self.store.keep_for_peer_as(arrival, &stream)?;
        let let_in = self.let_in(&mut inner, stream);
        self.store.forget(arrival);
        let_in?;
        if inner.current.is_some() {
            if let Some(more) = inner.log.line() {
                tracing::info!(
                    disk = self.label,
                    "a VM waits until the requests of the connection before it have ended{more}"
                );
            }
        }
        signal(&self.came);
        Ok(())
    }

    /// Somebody waits, in the place of whoever did before.
    fn let_in(&self, inner: &mut Inner, stream: UnixStream) -> io::Result<()> {
        let key = self.store.keep_for_peer(&stream)?;
        let before = inner.next.replace((stream, key));
        self.note(inner, Some(key));
        if let Some((_, gone)) = before {
            self.store.forget(gone);
        }
        Ok(())
    }
}

impl Comer {
    fn new(stream: &UnixStream, key: Key) -> io::Result<Self> {
        Ok(Self {
            messages: for_peer(stream.try_clone()?)?,
            watched: for_peer(stream.try_clone()?)?,
            key,
        })
    }
}

/// Accepts for all sockets. It ends with its last owner.
#[derive(Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    stop: AtomicBool,
    next: AtomicU64,
    doors: Mutex<HashMap<u64, (UnixListener, Arc<Door>)>>,
}

impl Acceptor {
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            wake: new_eventfd()?,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            doors: Mutex::default(),
        });
        shared.listen(&shared.wake, TOKEN_STOP)?;
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("accept".into())
            .spawn(move || accepting.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Accepts for one more socket; the number by which it is taken out again.
    pub fn add(&self, listener: UnixListener, door: Arc<Door>) -> io::Result<u64> {
        listener.set_nonblocking(true)?;
        let token = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.listen(&listener, token)?;
        self.shared.doors.lock().insert(token, (listener, door));
        Ok(token)
    }

    pub fn remove(&self, token: u64) {
        // It leaves the epoll set with its only descriptor.
        self.shared.doors.lock().remove(&token);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        signal(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn listen(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    fn run(&self) {
        let mut log = LogLimit::new();
        let mut events = Vec::with_capacity(BATCH);
        while !self.stop.load(Ordering::Acquire) {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, buffer, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "epoll: no VM can connect any more");
                    return;
                }
            }
            for event in &events {
                if let Err(error) = self.accept(event.data.u64()) {
                    if let Some(more) = log.line() {
                        tracing::error!("a connection cannot be accepted now: {error}{more}");
                    }
                    // It is still there, and epoll would say so at once.
                    std::thread::sleep(PAUSE);
                    break;
                }
            }
        }
    }

    fn accept(&self, token: u64) -> io::Result<()> {
        let doors = self.doors.lock();
        let Some((listener, door)) = doors.get(&token) else {
            return Ok(());
        };
        match door.accept(listener) {
            Err(error) if is_nobody(&error) => Ok(()),
            done => done,
        }
    }
}

/// Whether an error of accept(2) says that there is nobody, or nobody any more.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(store: &Arc<Store>, record: Record<Waiting>, waiting: Waiting) -> Door {
        Door::new("", Arc::clone(store), record, waiting).unwrap()
    }

    #[test]
    fn who_is_accepted_is_found_by_whoever_follows_at_whatever_instant_the_daemon_dies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = crate::sys::listen(&path).unwrap();
        let store = Arc::new(Store::unkept());
        let record = Record::new(&store).unwrap();
        let record_key = record.key();
        let arrival = record_key.arrival();
        let first = door(&store, record, None);
        let connect = || {
            let peer = UnixStream::connect(&path).unwrap();
            (peer, listener.accept().unwrap().0)
        };
        let (peer, ours) = connect();
        // Killed before anything was written down.
        let follow = |waiting| {
            let record = Record::open(&store, record_key).map(|(record, _): (_, Waiting)| record);
            let door = door(&store, record.unwrap(), waiting);
            assert!(store.get(arrival).is_err(), "it is kept for good");
            let comer = door.take().unwrap();
            let written = Record::<Waiting>::open(&store, record_key).unwrap().1;
            (comer, written)
        };
        first.note(&mut first.inner.lock(), None);
        store.keep_for_peer_as(arrival, &ours).unwrap();
        let (comer, written) = follow(None);
        let key = comer.unwrap().key;
        assert_eq!(written, Some(key));
        // Killed when it was written down, and kept by both keys yet; and after that.
        store.keep_for_peer_as(arrival, &ours).unwrap();
        for _ in 0..2 {
            let (comer, written) = follow(Some(key));
            assert_eq!((comer.unwrap().key, written), (key, Some(key)));
        }
        // Another one has come in its place.
        drop(peer);
        let (_peer, ours) = connect();
        store.keep_for_peer_as(arrival, &ours).unwrap();
        let (comer, written) = follow(Some(key));
        assert_ne!(written, Some(key));
        assert_eq!(written, comer.map(|comer| comer.key));
        assert!(store.get(key).is_err());
    }

    #[test]
    fn who_is_accepted_waits_and_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = crate::sys::listen(&path).unwrap();
        let store = Arc::new(Store::unkept());
        let record = Record::new(&store).unwrap();
        let key = record.key();
        let door = door(&store, record, None);
        let _peer = UnixStream::connect(&path).unwrap();
        door.accept(&listener).unwrap();
        assert!(store.get(key.arrival()).is_err());
        let written = Record::<Waiting>::open(&store, key).unwrap().1;
        let comer = door.take().unwrap().unwrap();
        assert_eq!(written, Some(comer.key));
        assert!(store.get(comer.key).is_ok());
    }
}
