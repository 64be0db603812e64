//! The socket of one export.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vhost::vhost_user::{BackendReqHandler, Error};

use super::door::{Acceptor, Door};
use super::intake::{Closer, Intake};
use super::readiness::{readiness, Readiness};
use super::session::{refusal, Session, ABSENT, FOREIGN};
use crate::doorbell::{new_eventfd, signal, taken};
use crate::log_limit::LogLimit;
use crate::sys;

/// How long the rest of a message, or room for an answer, may take to come.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const MESSAGE_TICK: Duration = Duration::from_millis(10);
/// How long a refusal is shown after the end of its connection.
const SHOWN: Duration = Duration::from_secs(5);

/// Why a peer is sent away that has sent such files.
const UNCLOSED: &str =
    "it has sent files that cannot be closed, because their file system does not answer";

/// Serves one export over its socket, one connection at a time.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Arc<Acceptor>,
    token: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Nobody,
    Connected,
    /// A VM that is not served, and why.
    Refused(String),
}

#[derive(Debug)]
struct Shared {
    stop: OwnedFd,
    door: Arc<Door>,
    state: parking_lot::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    refused: Option<(String, Instant)>,
}

impl Server {
    /// Opens the socket, for its owner only, and starts to serve.
    pub fn start(
        path: &Path,
        session: Session,
        attention: OwnedFd,
        acceptor: &Arc<Acceptor>,
    ) -> io::Result<Self> {
        let listener = sys::listen(path)?;
        let door = Arc::new(Door::new(session.label())?);
        let shared = Arc::new(Shared {
            stop: new_eventfd()?,
            door: Arc::clone(&door),
            state: parking_lot::Mutex::default(),
        });
        let worker = Worker {
            label: session.label().to_owned(),
            session: Arc::new(Mutex::new(session)),
            attention,
            shared: Arc::clone(&shared),
            last_refusal: String::new(),
            not_begun: false,
            refusals: 0,
            closer: Closer::default(),
            log: LogLimit::new(),
            refusal_log: LogLimit::new(),
        };
        let thread = std::thread::Builder::new()
            .name("vhost-user".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            path: path.to_owned(),
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

    /// Waits until it has ended, and removes the socket; at most until then. Whether it has ended.
    ///
    /// One that has not waits for requests in flight, and keeps its connection open, without an answer, for as long as
    /// these may still reach the VM's memory.
    pub fn join_until(&mut self, deadline: Instant) -> bool {
        let _ = fs::remove_file(&self.path);
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

struct Worker {
    /// For the log: client and disk.
    label: String,
    session: Arc<Mutex<Session>>,
    attention: OwnedFd,
    shared: Arc<Shared>,
    /// A peer that connects again and again is told each time, the log once.
    last_refusal: String,
    /// Whether that was because there is nothing to serve yet.
    not_begun: bool,
    /// Of the present connection.
    refusals: u32,
    closer: Closer,
    log: LogLimit,
    /// Apart from the other one, so that a peer that comes and goes leaves room for why it is refused.
    refusal_log: LogLimit,
}

enum Event {
    Stop,
    Attention,
    Readable,
    Tick,
    /// The peer does not let its message be handled.
    Stuck(&'static str),
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.wait(Some(self.shared.door.came()), None) {
                Event::Stop => return,
                Event::Readable => match self.shared.door.take() {
                    Ok(Some((messages, watched))) => {
                        self.connection(messages, &watched);
                        self.shared.door.leave();
                    }
                    Ok(None) => {}
                    Err(error) => self.say(&format!("a connection was not accepted: {error}")),
                },
                Event::Attention | Event::Tick | Event::Stuck(_) => {}
            }
        }
    }

    fn connection(&mut self, stream: UnixStream, watched: &UnixStream) {
        let begun = self.session().begin();
        match begun {
            Ok(()) => {
                *self.shared.state.lock() = State {
                    connected: true,
                    refused: None,
                };
                if self.not_begun {
                    self.last_refusal.clear();
                    self.not_begun = false;
                }
                // A peer that is refused comes again at once, for ever: that is said once.
                let again = !self.last_refusal.is_empty();
                self.refusals = 0;
                if !again {
                    self.say("connected");
                }
                let why = self.messages(stream, watched);
                self.session().end();
                if !again || self.refusals == 0 {
                    self.say(&format!("disconnected{why}"));
                }
                if self.refusals == 0 {
                    self.last_refusal.clear();
                }
                self.shared.state.lock().connected = false;
            }
            Err(error) => {
                self.refused(&error);
                self.not_begun = true;
            }
        }
    }

    /// Serves messages until the connection ends; says why it did.
    fn messages(&mut self, stream: UnixStream, watched: &UnixStream) -> String {
        let (intake, stream) = match Intake::new(stream) {
            Ok(made) => made,
            Err(error) => return format!(": {error}"),
        };
        let mut peer = BackendReqHandler::from_stream(stream, Arc::clone(&self.session));
        loop {
            if self.closer.is_full() {
                self.refused(&refusal(UNCLOSED));
                return String::new();
            }
            match self.wait_for_message(watched) {
                Event::Stop => return ": shutting down".into(),
                Event::Attention => self.session().attention(),
                Event::Stuck(why) => return format!(": {why}"),
                Event::Tick => {}
                Event::Readable => {
                    match intake.take(&mut self.closer) {
                        Ok(true) => {}
                        Ok(false) => return String::new(),
                        Err(error) => return format!(": {error}"),
                    }
                    let handled = peer.handle_request();
                    if let Err(error) = intake.give_back() {
                        return format!(": {error}");
                    }
                    match handled {
                        Ok(()) if self.session().is_served() => {
                            self.shared.state.lock().refused = None
                        }
                        Ok(()) => {}
                        Err(Error::ReqHandlerError(error)) if error.kind() == ABSENT => {
                            return format!(": {error}");
                        }
                        Err(error @ Error::ReqHandlerError(_)) => {
                            self.refused(&error);
                            let foreign = matches!(&error, Error::ReqHandlerError(error) if error.kind() == FOREIGN);
                            if foreign && !self.session().is_served() {
                                return String::new();
                            }
                        }
                        Err(Error::Disconnected) => return String::new(),
                        Err(error) => return format!(": {error}"),
                    }
                }
            }
        }
    }

    fn refused(&mut self, error: &Error) {
        let text = match error {
            Error::ReqHandlerError(error) => error.to_string(),
            other => other.to_string(),
        };
        self.refusals += 1;
        if !self.session().is_served() {
            self.shared.state.lock().refused = Some((text.clone(), Instant::now()));
        }
        if text != self.last_refusal {
            if let Some(more) = self.refusal_log.line() {
                tracing::warn!(disk = self.label, "refused: {text}{more}");
                // What had to be left out is said the next time.
                self.last_refusal = text;
            }
        }
    }

    fn say(&mut self, text: &str) {
        if let Some(more) = self.log.line() {
            tracing::info!(disk = self.label, "{text}{more}");
        }
    }

    /// Waits until a message can be handled without waiting for the peer: it is there from end to end, and there is room
    /// for the answer.
    fn wait_for_message(&self, stream: &UnixStream) -> Event {
        let mut since = None;
        loop {
            let event = match since {
                None => self.wait(Some(stream.as_fd()), None),
                // Something is readable all the time, so that this is nothing to wait for.
                Some(_) => self.wait(None, Some(MESSAGE_TICK)),
            };
            if matches!(event, Event::Stop | Event::Attention) {
                return event;
            }
            let Readiness::NotYet(why) = readiness(stream) else {
                return Event::Readable;
            };
            if since.get_or_insert_with(Instant::now).elapsed() > MESSAGE_LIMIT {
                return Event::Stuck(why);
            }
        }
    }

    fn wait(&self, other: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> Event {
        // One that is waited for twice is no other one.
        let other = other.unwrap_or(self.shared.stop.as_fd());
        loop {
            let mut fds = [
                PollFd::new(&self.shared.stop, PollFlags::IN),
                PollFd::new(&self.attention, PollFlags::IN),
                PollFd::new(&other, PollFlags::IN),
            ];
            if let Err(error) = sys::wait(&mut fds, limit) {
                tracing::error!(%error, "poll");
                return Event::Stop;
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
            if limit.is_some() {
                return Event::Tick;
            }
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
