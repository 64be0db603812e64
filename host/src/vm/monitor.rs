//! QEMU's monitor: what the running VM is told, in QMP.
//!
//! # Scope
//!
//! [`Monitor`] speaks with one QEMU over a pair of sockets that nobody else has. [`Plug`] says how a device is plugged in, and
//! what is left of it to be taken away when that fails: see `devices`.
//!
//! # Rules
//!
//! * Every wait for an answer has an end, and a signal to the daemon ends it at once.
//! * Commands are numbered and sent several at a time; QEMU answers them in their order. An answer that comes after its wait was
//!   given up is recognised by its number, so the conversation goes on. Until it has come, nothing more is sent.
//! * What this daemon does not understand, such as an event of a newer QEMU, is passed over.

mod devices;
mod health;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qapi::qmp::{cont, qmp_capabilities, set_action, Event, ShutdownAction};
use qapi::{Any, Command, Execute};
use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use crate::sys;

pub use devices::{Node, Outcome, Plug};

/// How long QEMU may take to start.
const STARTING: Duration = Duration::from_secs(30);
/// How long it may then take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for each while a daemon takes it over: clients wait for a QEMU that does not answer any more.
const SUCCESSION: Duration = Duration::from_secs(1);
const LONGEST_LINE: usize = 1 << 20;
/// This byte is in no text: QEMU forgets what has come before it and was not a whole command.
const RESET: u8 = 0xFF;
/// So often the socket is read, at most, before something else is looked at.
const READS: usize = 64;

/// Why a conversation with QEMU came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    #[error("{0}")]
    Refused(String),
    #[error("QEMU's monitor does not answer")]
    Silent,
    /// It has ended, or says what is no QMP.
    #[error("QEMU's monitor: {0}")]
    Ended(#[from] io::Error),
    /// The daemon was told to stop while it waited.
    #[error("told to stop")]
    Told,
}

#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    /// Readable when a signal has come.
    signals: UnixStream,
    patience: Duration,
    /// What has come and is not a whole line yet.
    unread: Vec<u8>,
    events: Vec<Event>,
    /// The VM has said that it is about to end.
    ends: bool,
    /// Numbers of the last command, and of the last one that was answered.
    sent: u64,
    answered: u64,
}

/// What QEMU has said unasked and somebody has to do something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorEvent {
    /// The device with this id has been unplugged.
    Unplugged(String),
    /// The VM does not run any more.
    Stopped,
    /// The machine's watchdog has not been set again in time.
    WatchdogFired,
    /// What is behind a device has failed a request, for this reason.
    IoError {
        /// Its name as it was given to `blockdev-add`.
        node: String,
        reason: String,
    },
}

/// What QEMU has answered a command: what it returns, or its error, in words.
type Answer = Result<Value, String>;

/// What becomes of QEMU when its VM shuts itself down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutDown {
    Ends,
    /// It can still be told to take things away.
    Stays,
}

enum Line {
    /// The number of the command, and the answer.
    Answer(u64, Answer),
    Event(Box<Event>),
    /// The greeting, or what is not understood.
    Other,
}

/// Whether a signal to the daemon ends a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signals {
    Heeded,
    Ignored,
}

impl Monitor {
    /// Greets a QEMU that was given the other end. `signals` is readable when the daemon is told to stop; nothing is read from it.
    pub fn connect(stream: UnixStream, signals: UnixStream) -> Result<Self, MonitorError> {
        let mut this = Self::new(stream, signals, STARTING)?;
        // QEMU takes this before anybody has read its greeting, too.
        this.execute(qmp_capabilities { enable: None })?;
        this.patience = PATIENCE;
        Ok(this)
    }

    /// Goes on with a QEMU that another daemon has spoken with. `daemons` is how many there were: numbers of their commands are not
    /// used again.
    pub fn take_over(
        stream: UnixStream,
        signals: UnixStream,
        daemons: u32,
    ) -> Result<Self, MonitorError> {
        let mut this = Self::new(stream, signals, SUCCESSION)?;
        this.sent = u64::from(daemons) << u32::BITS;
        this.answered = this.sent;
        // A command that was cut off is none.
        this.stream.write_all(&[RESET])?;
        // It may have been about to be exchanged for another one. And it may have been stopped, and the daemon that has heard of it may
        // have died before it could have it go on.
        match this
            .when_it_shuts_down(ShutDown::Ends)
            .and_then(|()| this.go_on())
        {
            // That it does not answer is found out by whoever watches it.
            Ok(()) | Err(MonitorError::Silent) => Ok(this),
            Err(error) => Err(error),
        }
    }

    /// From now on QEMU may take its usual time for an answer.
    pub fn be_patient(&mut self) {
        self.patience = PATIENCE;
    }

    fn new(stream: UnixStream, signals: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            signals,
            patience,
            unread: Vec::new(),
            events: Vec::new(),
            ends: false,
            sent: 0,
            answered: 0,
        })
    }

    pub fn readable(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// # Errors
    ///
    /// It is refused by one whose VM has shut itself down.
    pub fn go_on(&mut self) -> Result<(), MonitorError> {
        self.execute(cont {})
    }

    pub fn when_it_shuts_down(&mut self, shut_down: ShutDown) -> Result<(), MonitorError> {
        self.execute(set_action {
            shutdown: Some(match shut_down {
                ShutDown::Ends => ShutdownAction::poweroff,
                ShutDown::Stays => ShutdownAction::pause,
            }),
            reboot: None,
            panic: None,
            watchdog: None,
        })
    }

    /// Whether QEMU has said something unasked that nobody has been told: it came together with an answer.
    pub fn has_news(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether the VM has shut itself down, or crashed, as far as QEMU has said so.
    pub const fn has_shut_down(&self) -> bool {
        self.ends
    }

    /// What QEMU has said since this was last asked. Does not wait.
    pub fn news(&mut self) -> Result<Vec<MonitorEvent>, MonitorError> {
        for _ in 0..READS {
            if !self.is_readable_until(Instant::now(), Signals::Ignored)? {
                break;
            }
            self.read()?;
            self.take_answers();
        }
        let events = self.events.drain(..);
        Ok(events
            .filter_map(|event| match event {
                Event::DEVICE_DELETED { data, .. } => data.device.map(MonitorEvent::Unplugged),
                Event::GUEST_PANICKED { .. } | Event::SHUTDOWN { .. } => {
                    self.ends = true;
                    None
                }
                // A VM that ends stops too.
                Event::STOP { .. } => (!self.ends).then_some(MonitorEvent::Stopped),
                Event::WATCHDOG { .. } => Some(MonitorEvent::WatchdogFired),
                Event::BLOCK_IO_ERROR { data, .. } => Some(MonitorEvent::IoError {
                    node: data.node_name.unwrap_or_default(),
                    reason: data.reason,
                }),
                _ => None,
            })
            .collect())
    }

    fn execute<C: Command>(&mut self, command: C) -> Result<(), MonitorError> {
        self.returned(command).map(drop)
    }

    /// Executes a command; what it returns.
    fn returned<C: Command>(&mut self, command: C) -> Result<Value, MonitorError> {
        self.catch_up()?;
        let mut lines = Vec::new();
        self.put(&mut lines, command)?;
        let (answers, waited) = self.ask(&lines);
        waited?;
        let answer = answers.into_iter().next().unwrap_or(Ok(Value::Null));
        answer.map_err(MonitorError::Refused)
    }

    /// Adds a command to what is sent next.
    fn put<C: Command>(&mut self, lines: &mut Vec<u8>, command: C) -> Result<(), MonitorError> {
        self.sent += 1;
        let command = Execute::<C, u64>::with_id(command, self.sent);
        serde_json::to_writer(&mut *lines, &command).map_err(io::Error::from)?;
        lines.push(b'\n');
        Ok(())
    }

    /// Sends commands, and waits for the answers to all of them; those that have come, and why there are no more.
    fn ask(&mut self, lines: &[u8]) -> (Vec<Answer>, Result<(), MonitorError>) {
        let before = self.answered;
        let mut answers = Vec::new();
        match self.stream.write_all(lines) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return (answers, Err(MonitorError::Silent))
            }
            Err(error) => return (answers, Err(error.into())),
        }
        let waited = self.wait(|number, answer| {
            if number > before {
                answers.push(answer);
            }
        });
        (answers, waited)
    }

    /// Waits for what is still to come of commands that were given up.
    fn catch_up(&mut self) -> Result<(), MonitorError> {
        self.wait(|_, _| {})
    }

    fn wait(&mut self, mut take: impl FnMut(u64, Answer)) -> Result<(), MonitorError> {
        let mut until = Instant::now() + self.patience;
        loop {
            for (number, answer) in self.take_answers() {
                take(number, answer);
                until = Instant::now() + self.patience;
            }
            if self.answered >= self.sent {
                return Ok(());
            }
            if !self.is_readable_until(until, Signals::Heeded)? {
                return Err(MonitorError::Silent);
            }
            self.read()?;
        }
    }

    /// The answers that have come; events are kept.
    fn take_answers(&mut self) -> Vec<(u64, Answer)> {
        let Some(end) = self.unread.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.unread.split_off(end + 1);
        let lines = std::mem::replace(&mut self.unread, rest);
        let mut answers = Vec::new();
        for line in lines.split(|&byte| byte == b'\n') {
            match Line::read(line) {
                Line::Answer(number, answer) => {
                    self.answered = self.answered.max(number);
                    answers.push((number, answer));
                }
                Line::Event(event) => self.events.push(*event),
                Line::Other => {}
            }
        }
        answers
    }

    fn read(&mut self) -> Result<(), MonitorError> {
        let mut bytes = [0; 4096];
        let length = self.stream.read(&mut bytes)?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.unread.extend(&bytes[..length]);
        if self.unread.len() > LONGEST_LINE {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        Ok(())
    }

    /// Waits until QEMU has said something; `false` when the time has come first.
    fn is_readable_until(&self, until: Instant, signals: Signals) -> Result<bool, MonitorError> {
        let heed = signals == Signals::Heeded;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [
                PollFd::new(&self.stream, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            let watched = if heed { &mut fds[..] } else { &mut fds[..1] };
            sys::wait(watched, Some(left))?;
            let [readable, told] = fds.map(|fd| !fd.revents().is_empty());
            if told {
                return Err(MonitorError::Told);
            }
            // One that sends events without end, and no answer, runs out of time as well.
            if readable && !(heed && left.is_zero()) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

impl Line {
    fn read(line: &[u8]) -> Self {
        let Ok(Value::Object(mut line)) = serde_json::from_slice::<Value>(line) else {
            return Self::Other;
        };
        if line.contains_key("event") {
            let event = serde_json::from_value(Value::Object(line));
            return event.map_or(Self::Other, |event| Self::Event(Box::new(event)));
        }
        let Some(number) = line.get("id").and_then(Any::as_u64) else {
            return Self::Other;
        };
        let answer = match line.remove("error") {
            Some(error) => Err(match error.get("desc").and_then(Value::as_str) {
                Some(words) => words.to_owned(),
                None => error.to_string(),
            }),
            None => Ok(line.remove("return").unwrap_or_default()),
        };
        Self::Answer(number, answer)
    }
}
