//! The socket of one export.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use vhost::vhost_user::{BackendReqHandler, Error};

use super::session::{Session, ABSENT};
use crate::bell::{new_eventfd, signal, taken};

/// Serves one export over its socket, one connection at a time.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: OwnedFd,
    connected: AtomicBool,
    /// The connection, for [`Server::stop`] to cut a message that never ends.
    current: Mutex<Option<UnixStream>>,
}

impl Server {
    /// Opens the socket, for its owner only, and starts to serve.
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn start(path: &Path, session: Session, attention: OwnedFd) -> io::Result<Self> {
        let listener = listen(path)?;
        let shared = Arc::new(Shared {
            stop: new_eventfd()?,
            connected: AtomicBool::new(false),
            current: Mutex::new(None),
        });
        let worker = Worker {
            listener,
            session: Arc::new(Mutex::new(session)),
            attention,
            shared: Arc::clone(&shared),
            last_refusal: String::new(),
            not_begun: false,
            refusals: 0,
        };
        let thread = std::thread::Builder::new()
            .name("vhost-user".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            path: path.to_owned(),
            shared,
            thread: Some(thread),
        })
    }

    /// Whether somebody is connected.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Tells it to release its queues and end; [`Self::join`] waits for that.
    pub fn stop(&self) {
        signal(&self.shared.stop);
        let current = self
            .shared
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = &*current {
            let _ = stream.shutdown(std::net::Shutdown::Read);
        }
    }

    /// Waits until it has ended, and removes the socket.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                tracing::error!(socket = %self.path.display(), "its thread has panicked");
            }
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// A new listening socket for its owner only; one that a dead daemon left behind is replaced.
///
/// # Errors
///
/// The system refuses.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

struct Worker {
    listener: UnixListener,
    session: Arc<Mutex<Session>>,
    attention: OwnedFd,
    shared: Arc<Shared>,
    /// A peer that connects again and again is told each time, the log once.
    last_refusal: String,
    /// Whether that was because there is nothing to serve yet.
    not_begun: bool,
    /// Of the present connection.
    refusals: u32,
}

/// What woke the worker.
enum Event {
    Stop,
    Attention,
    Readable,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.wait(self.listener.as_fd()) {
                Event::Stop => return,
                Event::Attention => {}
                Event::Readable => match self.listener.accept() {
                    Ok((stream, _)) => self.connection(stream),
                    Err(error) => tracing::warn!(%error, "a connection was not accepted"),
                },
            }
        }
    }

    fn connection(&mut self, stream: UnixStream) {
        let label = self.session().label().to_owned();
        let (cut, watched) = match (stream.try_clone(), stream.try_clone()) {
            (Ok(cut), Ok(watched)) => (cut, watched),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(disk = label, %error, "a connection was not accepted");
                return;
            }
        };
        self.set_current(Some(cut));
        let begun = self.session().begin();
        match begun {
            Ok(()) => {
                self.shared.connected.store(true, Ordering::Relaxed);
                if self.not_begun {
                    self.last_refusal.clear();
                    self.not_begun = false;
                }
                // A peer that is refused comes again at once, for ever: that is said once.
                let again = !self.last_refusal.is_empty();
                self.refusals = 0;
                if !again {
                    tracing::info!(disk = label, "connected");
                }
                let why = self.messages(stream, &watched);
                self.session().end();
                if !again || self.refusals == 0 {
                    tracing::info!(disk = label, "disconnected{why}");
                }
                if self.refusals == 0 {
                    self.last_refusal.clear();
                }
                self.shared.connected.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.refused(&label, &error);
                self.not_begun = true;
            }
        }
        self.set_current(None);
    }

    /// Serves messages until the connection ends; says why it did.
    fn messages(&mut self, stream: UnixStream, watched: &UnixStream) -> String {
        let mut peer = BackendReqHandler::from_stream(stream, Arc::clone(&self.session));
        loop {
            match self.wait(watched.as_fd()) {
                Event::Stop => return ": shutting down".into(),
                Event::Attention => self.session().attention(),
                Event::Readable => match peer.handle_request() {
                    Ok(()) => {}
                    Err(Error::ReqHandlerError(error)) if error.kind() == ABSENT => {
                        return format!(": {error}");
                    }
                    Err(Error::ReqHandlerError(error)) => {
                        let label = self.session().label().to_owned();
                        self.refused(&label, &Error::ReqHandlerError(error));
                    }
                    Err(Error::Disconnected) => return String::new(),
                    Err(error) => return format!(": {error}"),
                },
            }
        }
    }

    fn refused(&mut self, label: &str, error: &Error) {
        let text = match error {
            Error::ReqHandlerError(error) => error.to_string(),
            other => other.to_string(),
        };
        self.refusals += 1;
        if text != self.last_refusal {
            tracing::warn!(disk = label, "refused: {text}");
            self.last_refusal = text;
        }
    }

    fn wait(&self, other: impl AsFd) -> Event {
        loop {
            let mut fds = [
                PollFd::new(&self.shared.stop, PollFlags::IN),
                PollFd::new(&self.attention, PollFlags::IN),
                PollFd::new(&other, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "poll");
                    return Event::Stop;
                }
            }
            let [stop, attention, readable] = fds.map(|fd| !fd.revents().is_empty());
            if stop {
                return Event::Stop;
            }
            if attention && taken(self.attention.as_fd()) {
                return Event::Attention;
            }
            if readable {
                return Event::Readable;
            }
        }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_current(&self, stream: Option<UnixStream>) {
        *self
            .shared
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = stream;
    }
}
