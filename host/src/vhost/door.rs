//! Who is let in: the sockets' one thread that accepts, and what it hands over to those who serve.
//!
//! # Rules
//!
//! * A socket is for one VM at a time. A second one is told so at once, by the end of its connection and a line in the log.
//! * A VM that comes while the requests of one that has gone still end waits for that, and is the only one that does.
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

use crate::descriptors::for_peer;
use crate::doorbell::{new_eventfd, signal, taken};
use crate::log_limit::LogLimit;
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
    inner: Mutex<Inner>,
    /// Signalled when somebody has come.
    came: OwnedFd,
}

#[derive(Debug)]
struct Inner {
    current: Option<UnixStream>,
    /// One that waits for the end of the one before it.
    next: Option<UnixStream>,
    log: LogLimit,
}

impl Door {
    pub fn new(label: &str) -> io::Result<Self> {
        Ok(Self {
            label: label.to_owned(),
            inner: Mutex::new(Inner {
                current: None,
                next: None,
                log: LogLimit::new(),
            }),
            came: new_eventfd()?,
        })
    }

    /// Readable when somebody has come.
    pub fn came(&self) -> BorrowedFd<'_> {
        self.came.as_fd()
    }

    /// Takes the next connection, which is the current one from now on: one descriptor for the messages, one to watch it by.
    pub fn take(&self) -> io::Result<Option<(UnixStream, UnixStream)>> {
        taken(self.came());
        let mut inner = self.inner.lock();
        let Some(stream) = inner.next.take() else {
            return Ok(None);
        };
        let (messages, watched) = (
            for_peer(stream.try_clone()?)?,
            for_peer(stream.try_clone()?)?,
        );
        inner.current = Some(stream);
        Ok(Some((messages, watched)))
    }

    pub fn leave(&self) {
        let mut inner = self.inner.lock();
        inner.current = None;
        if inner.next.is_some() {
            signal(&self.came);
        }
    }

    /// Has somebody who knocks wait, or sends them away.
    fn offer(&self, stream: UnixStream) {
        let mut inner = self.inner.lock();
        let there = |stream: &Option<UnixStream>| stream.as_ref().is_some_and(|it| !has_gone(it));
        if there(&inner.current) || there(&inner.next) {
            if let Some(more) = inner.log.line() {
                tracing::warn!(
                    disk = self.label,
                    "refused: a second VM has connected to this socket, which is for one at a time{more}"
                );
            }
            return;
        }
        if inner.current.is_some() {
            if let Some(more) = inner.log.line() {
                tracing::info!(
                    disk = self.label,
                    "a VM waits until the requests of the connection before it have ended{more}"
                );
            }
        }
        inner.next = Some(stream);
        signal(&self.came);
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
        match listener.accept() {
            Ok((stream, _)) => door.offer(for_peer(stream)?),
            Err(error) if is_nobody(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether an error of accept(2) says that there is nobody, or nobody any more.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}
