//! The socket of one export.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::door::{Acceptor, Door};
use super::session::Session;
use super::state::{Connection, Waiting};
use super::worker::{Shared, Worker};
use crate::doorbell::{new_eventfd, signal};
use crate::store::{Record, Store};

/// How long a refusal is shown after the end of its connection.
const SHOWN: Duration = Duration::from_secs(5);

/// Serves one export over its socket, one connection at a time.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Arc<Acceptor>,
    token: u64,
    thread: Option<JoinHandle<()>>,
}

/// Where VMs connect.
#[derive(Debug)]
pub struct Socket {
    pub path: PathBuf,
    pub listener: UnixListener,
}

/// What is kept of an export's connections.
#[derive(Debug)]
pub struct Kept {
    pub store: Arc<Store>,
    pub record: Record<Connection>,
    pub door: Record<Waiting>,
    /// What another daemon has left.
    pub connection: Option<Connection>,
    pub waiting: Waiting,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Nobody,
    Connected,
    /// A VM that is not served, and why.
    Refused(String),
}

impl Server {
    /// Starts to serve whoever connects to a socket, and first of all a connection that another daemon has left.
    pub fn start(
        socket: Socket,
        session: Session,
        kept: Kept,
        attention: OwnedFd,
        acceptor: &Arc<Acceptor>,
    ) -> io::Result<Self> {
        let Socket { path, listener } = socket;
        // It may have died between the two notes of the same one.
        let served = kept.connection.as_ref().and_then(|it| it.stream);
        let waiting = kept.waiting.filter(|&key| Some(key) != served);
        let store = Arc::clone(&kept.store);
        let door = Door::new(session.label(), store, kept.door, waiting)?;
        let door = Arc::new(door);
        let shared = Arc::new(Shared {
            stop: new_eventfd()?,
            door: Arc::clone(&door),
            state: parking_lot::Mutex::default(),
        });
        let worker = Worker::new(
            session,
            kept.store,
            kept.record,
            attention,
            Arc::clone(&shared),
        );
        let thread = std::thread::Builder::new()
            .name("vhost-user".into())
            .spawn(move || worker.run(kept.connection))?;
        Ok(Self {
            path,
            shared,
            token: acceptor.add(listener, door)?,
            acceptor: Arc::clone(acceptor),
            thread: Some(thread),
        })
    }

    pub fn peer(&self) -> Peer {
        let state = self.shared.state.lock();
        match &state.refused {
            Some((why, since)) if state.connected || since.elapsed() < SHOWN => {
                Peer::Refused(why.clone())
            }
            _ if state.connected => Peer::Connected,
            _ => Peer::Nobody,
        }
    }

    /// Tells it to let nobody in any more, to release its queues and to end; [`Self::join_until`] waits for that.
    pub fn stop(&self) {
        self.acceptor.remove(self.token);
        signal(&self.shared.stop);
    }

    /// Removes its socket.
    pub fn remove_socket(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Waits until it has ended, at most until then; whether it has.
    ///
    /// One that has not waits for requests in flight, and keeps its connection open, without an answer, for as long as
    /// these may still reach the VM's memory.
    pub fn join_until(&mut self, deadline: Instant) -> bool {
        let Some(thread) = &self.thread else {
            return true;
        };
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) {
            tracing::error!(socket = %self.path.display(), "its thread has panicked");
        }
        true
    }
}
