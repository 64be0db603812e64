//! The thread that serves an export's connections, one after the other.
//!
//! # Rule
//!
//! What the next daemon has to know is written down before anything comes of it: a message before it is gone from the socket, and what
//! has come of it before it is answered.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vhost::vhost_user::{BackendReqHandler, Error};

use super::answers::Answers;
use super::door::{Comer, Door};
use super::intake::{Closer, Incoming, Intake};
use super::readiness::{readiness, Readiness};
use super::session::{refusal, Session, ABSENT, FOREIGN};
use super::state::{set_up, Bytes, Connection, Message, VERSION};
use crate::descriptors::for_peer;
use crate::doorbell::taken;
use crate::log_limit::LogLimit;
use crate::store::{Key, Record, Store};
use crate::sys;

/// How long the rest of a message, or room for an answer, may take to come.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const MESSAGE_TICK: Duration = Duration::from_millis(10);
/// So many daemons may begin to handle a message: one that has died of it, or around it, and one more.
const MOST_BEGUN: u32 = 2;
/// Who dies of a message does so soon after it has begun to handle it; until the next one looks, it takes a little longer.
const SUSPICIOUS: Duration = Duration::from_secs(5);
type Handler = BackendReqHandler<Mutex<Session>>;

/// Why a peer is sent away that has sent such files.
const UNCLOSED: &str =
    "it has sent files that cannot be closed, because their file system does not answer";

/// Between a server and its thread.
#[derive(Debug)]
pub struct Shared {
    pub stop: OwnedFd,
    pub door: Arc<Door>,
    pub state: parking_lot::Mutex<State>,
}

#[derive(Debug, Default)]
pub struct State {
    pub connected: bool,
    pub refused: Option<(String, Instant)>,
}

/// Serves the connections of one export.
pub struct Worker {
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
    store: Arc<Store>,
    record: Record<Connection>,
    /// Of the present connection: where it is kept, and its answers.
    stream: Option<Key>,
    answers: Option<Key>,
    /// Whether the device has been put back to power-on for it.
    begun: bool,
    /// Whether it is about to end.
    ends: bool,
    /// All that is kept of it.
    keys: BTreeSet<Key>,
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
    pub fn new(
        session: Session,
        store: Arc<Store>,
        record: Record<Connection>,
        attention: OwnedFd,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            label: session.label().to_owned(),
            session: Arc::new(Mutex::new(session)),
            attention,
            shared,
            last_refusal: String::new(),
            not_begun: false,
            refusals: 0,
            closer: Closer::default(),
            store,
            record,
            stream: None,
            answers: None,
            begun: false,
            ends: false,
            keys: BTreeSet::new(),
            log: LogLimit::new(),
            refusal_log: LogLimit::new(),
        }
    }

    pub fn run(mut self, left: Option<Connection>) {
        if let Some((left, key)) = left.and_then(|left| left.stream.map(|key| (left, key))) {
            self.keys = left.keys().collect();
            match self.shared.door.take_over(key) {
                Ok(comer) if left.begun => self.go_on(comer, left),
                Ok(comer) => {
                    if let Err(error) = self.session().settle() {
                        tracing::debug!(disk = self.label, %error, "not settled");
                    }
                    self.connection(comer);
                }
                Err(error) => {
                    self.say(&format!("its connection was not kept: {error}"));
                    self.end();
                }
            }
            self.shared.door.leave();
        }
        loop {
            match self.wait(Some(self.shared.door.came()), None) {
                Event::Stop => return,
                Event::Readable => match self.shared.door.take() {
                    Ok(Some(comer)) => {
                        self.connection(comer);
                        self.shared.door.leave();
                    }
                    Ok(None) => {}
                    Err(error) => self.say(&format!("a connection was not accepted: {error}")),
                },
                Event::Attention | Event::Tick | Event::Stuck(_) => {}
            }
        }
    }

    fn connection(&mut self, comer: Comer) {
        let answers = Answers::new().and_then(|answers| self.store.keep(answers));
        self.stream = Some(comer.key);
        self.answers = answers.as_ref().ok().copied();
        self.begun = false;
        self.save(None);
        self.shared.door.noted(comer.key);
        let answers = answers.map_err(Error::ReqHandlerError);
        let begun = answers.and_then(|_| self.session().begin());
        match begun {
            Ok(()) => {
                if self.not_begun {
                    self.last_refusal.clear();
                    self.not_begun = false;
                }
                self.serve(comer, None);
            }
            Err(error) => {
                self.refused(&error);
                self.not_begun = true;
                (self.stream, self.answers) = (None, None);
                self.save(None);
            }
        }
    }

    /// Goes on with a connection of another daemon's.
    fn go_on(&mut self, comer: Comer, left: Connection) {
        (self.stream, self.answers) = (Some(comer.key), left.answers);
        self.begun = true;
        self.shared.state.lock().connected = true;
        let settled = self.session().settle();
        match settled {
            Ok(()) if left.ends => {
                if let Err(error) = self.answers().and_then(|it| it.send(&comer.messages)) {
                    tracing::debug!(disk = self.label, %error, "its last answer is not sent");
                }
                self.end();
            }
            Ok(()) => self.serve(comer, Some(left)),
            Err(error) => {
                self.refused(&error);
                self.end();
            }
        }
    }

    fn serve(&mut self, comer: Comer, left: Option<Connection>) {
        *self.shared.state.lock() = State {
            connected: true,
            refused: None,
        };
        // A peer that is refused comes again at once, for ever: that is said once.
        let again = !self.last_refusal.is_empty() || left.is_some();
        self.refusals = 0;
        if !again {
            self.say("connected");
        }
        if left.is_none() {
            self.begun = true;
            self.save(None);
        }
        let why = match self.messages(comer, left) {
            Ok(never) => match never {},
            Err(why) => why,
        };
        self.end();
        if !again || self.refusals == 0 {
            self.say(&format!("disconnected{why}"));
        }
        if self.refusals == 0 {
            self.last_refusal.clear();
        }
    }

    fn end(&mut self) {
        self.session().end();
        (self.stream, self.answers) = (None, None);
        self.ends = false;
        self.save(None);
        self.shared.state.lock().connected = false;
    }

    /// Serves messages until the connection ends, for this reason.
    fn messages(&mut self, comer: Comer, left: Option<Connection>) -> Result<Infallible, String> {
        let told = |error: io::Error| format!(": {error}");
        let watched = &comer.watched;
        let (intake, stream) =
            Intake::new(comer.messages, self.answers().map_err(told)?).map_err(told)?;
        let mut peer = BackendReqHandler::from_stream(stream, Arc::clone(&self.session));
        if let Some(left) = left {
            self.finish(&intake, &mut peer, left)?;
        }
        loop {
            if self.closer.is_full() {
                self.refused(&refusal(UNCLOSED));
                return Err(String::new());
            }
            match self.wait_for_message(watched) {
                Event::Stop => return Err(": shutting down".into()),
                Event::Attention => {
                    self.session().attention();
                    self.save(None);
                }
                Event::Stuck(why) => return Err(format!(": {why}")),
                Event::Tick => {}
                Event::Readable => {
                    let mut closer = std::mem::take(&mut self.closer);
                    let mut kept = None;
                    let taken = intake.take(&mut closer, |message| kept = self.keep(message));
                    self.closer = closer;
                    match (taken.map_err(told)?, kept) {
                        (Some(message), Some(kept)) => {
                            self.handle(&intake, &mut peer, &message, kept)?;
                        }
                        (Some(_), None) => return Err(": there is no room to keep it".into()),
                        (None, _) => return Err(String::new()),
                    }
                }
            }
        }
    }

    /// Keeps a message before it is handled.
    fn keep(&mut self, message: &Incoming) -> Option<Message> {
        let mut files = Vec::new();
        for file in &message.files {
            let key = file.as_ref().map(|file| self.store.keep_for_peer(file));
            let key = key.transpose().ok()?;
            self.keys.extend(key);
            files.push(key);
        }
        let message = Message {
            bytes: Bytes(message.bytes.clone()),
            files,
            begun: 1,
            since: sys::uptime(),
        };
        self.save(Some(&message));
        Some(message)
    }

    /// Handles a message that is kept, and answers it.
    fn handle(
        &mut self,
        intake: &Intake,
        peer: &mut Handler,
        message: &Incoming,
        kept: Message,
    ) -> Result<(), String> {
        let told = |error: io::Error| format!(": {error}");
        self.session().incoming = kept.files;
        intake.hand_on(message).map_err(told)?;
        let handled = peer.handle_request();
        intake.put_answer().map_err(told)?;
        let outcome = self.outcome(handled);
        // What follows can take as long as a disk takes, and a daemon that follows has to know of it.
        self.ends = outcome.is_err();
        self.save(None);
        intake.give_back().map_err(told)?;
        outcome
    }

    /// Whether the connection goes on, or why it ends.
    fn outcome(&mut self, handled: vhost::vhost_user::Result<()>) -> Result<(), String> {
        match handled {
            Ok(()) => {
                if self.session().is_served() {
                    self.shared.state.lock().refused = None;
                }
                Ok(())
            }
            Err(Error::ReqHandlerError(error)) if error.kind() == ABSENT => {
                Err(format!(": {error}"))
            }
            Err(error @ Error::ReqHandlerError(_)) => {
                self.refused(&error);
                let foreign =
                    matches!(&error, Error::ReqHandlerError(error) if error.kind() == FOREIGN);
                match foreign && !self.session().is_served() {
                    true => Err(String::new()),
                    false => Ok(()),
                }
            }
            Err(Error::Disconnected) => Err(String::new()),
            Err(error) => Err(format!(": {error}")),
        }
    }

    /// Brings the handler to where it was, and to an end what another daemon was at when it died.
    fn finish(
        &mut self,
        intake: &Intake,
        peer: &mut Handler,
        left: Connection,
    ) -> Result<(), String> {
        let told = |error: io::Error| format!(": {error}");
        for bytes in set_up(&left.session) {
            let files = Vec::new();
            intake.hand_on(&Incoming { bytes, files }).map_err(told)?;
            // What was refused then is refused now.
            let _ = peer.handle_request();
            intake.answer().map_err(told)?;
        }
        if let Some(mut kept) = left.message {
            // One that waits for a disk has nothing to do with a death that comes while it does.
            let handled = sys::uptime().saturating_sub(kept.since);
            kept.begun = if handled > SUSPICIOUS {
                1
            } else {
                kept.begun + 1
            };
            kept.since = sys::uptime();
            if kept.begun > MOST_BEGUN {
                return Err(": two daemons have died of its message".into());
            }
            self.save(Some(&kept));
            let bytes = kept.bytes.0.clone();
            intake.take_rest(&mut self.closer).map_err(told)?;
            let file = |key: Option<Key>| {
                let file = key.map(|key| self.store.get(key).and_then(for_peer));
                Ok(file.transpose()?.map(File::from))
            };
            let files: io::Result<_> = kept.files.iter().copied().map(file).collect();
            let files = files.map_err(told)?;
            return self.handle(intake, peer, &Incoming { bytes, files }, kept);
        }
        intake.leave().map_err(told)?;
        intake.give_back().map_err(told)
    }

    /// Keeps where the connection is, and forgets what is not needed for it any more.
    fn save(&mut self, message: Option<&Message>) {
        let connection = Connection {
            version: VERSION,
            stream: self.stream,
            begun: self.begun,
            ends: self.ends,
            session: self.session().state(),
            message: message.cloned(),
            answers: self.answers,
        };
        if let Err(error) = self.record.save(&connection) {
            if let Some(more) = self.log.line() {
                tracing::error!(disk = self.label, %error, "its connection cannot be kept for the next daemon{more}");
            }
            return;
        }
        let wanted: BTreeSet<Key> = connection.keys().collect();
        self.keys
            .difference(&wanted)
            .for_each(|&key| self.store.forget(key));
        self.keys = wanted;
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

    /// The present connection's.
    fn answers(&self) -> io::Result<Answers> {
        let key = self.answers.ok_or(io::ErrorKind::NotFound)?;
        self.store.get(key).and_then(for_peer).map(Answers::from)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
