//! The operator's console: text out, text in.
//!
//! Rule: output is line-buffered. A line goes out when its `\n` has been written or on
//! [`Console::flush`]; text that the SCLP refuses is given up, so that a console that fails never
//! stops the program.
//!
//! Limits: in line mode a flushed part of a line becomes a line of its own, since the SCLP knows no
//! others. Input is not edited here: the ASCII console gives each key as the terminal sends it (Enter
//! is `\r`), line mode gives whole lines, each with a `\n` behind it.

use crate::calls::Sclp;
use crate::error::ConsoleError;
use crate::event::{EventBuffer, OperatorText};
use crate::spec::{ascii_session, event_type, EventMask, SCCB_SIZE};
use crate::transport::{Signal, Transport};
use core::fmt;
use heapless::{Deque, Vec};

/// How much output waits for its `\n` before it goes out without.
pub const OUTPUT_CAPACITY: usize = 1024;

/// Room for input that was read but not yet asked for: more than one SCCB can hold.
const INPUT_CAPACITY: usize = SCCB_SIZE;

/// The two kinds of console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// ASCII characters to and from a VT220 terminal (event type 1A).
    Ascii,
    /// Lines of EBCDIC to and from an operator (event types 01, 02, 09).
    LineMode {
        /// That of the messages that this SCLP takes.
        event_type: u8,
    },
}

impl ConsoleMode {
    /// The console of an SCLP that receives these events; the ASCII one if it has both.
    fn of(sclp_receives: EventMask) -> Option<Self> {
        if sclp_receives.contains(EventMask::ASCII) {
            return Some(Self::Ascii);
        }
        let lines = [
            (EventMask::MSG, event_type::MSG),
            (EventMask::PMSGCMD, event_type::PMSGCMD),
        ];
        let found = lines.iter().find(|(mask, _)| sclp_receives.contains(*mask));
        found.map(|&(_, event_type)| Self::LineMode { event_type })
    }

    fn events(self) -> EventMask {
        match self {
            Self::Ascii => EventMask::ASCII,
            Self::LineMode { .. } => EventMask::OPCMD | EventMask::MSG | EventMask::PMSGCMD,
        }
    }
}

/// The operator's console. Output is line-buffered, and text that the SCLP refuses is given up. In line mode a flushed part of a
/// line becomes a line of its own. Input is not edited: the ASCII console gives each key as the terminal sends it (Enter is
/// `\r`), line mode gives whole lines with a `\n` behind each.
pub struct Console<'a, T: Transport> {
    sclp: Sclp<'a, T>,
    mode: ConsoleMode,
    pending_output: Vec<u8, OUTPUT_CAPACITY>,
    input: Input,
}

/// What was read and not yet asked for.
#[derive(Default)]
struct Input {
    bytes: Deque<u8, INPUT_CAPACITY>,
    quiesce: bool,
}

impl<'a, T: Transport> Console<'a, T> {
    /// Activates the console that the machine has; the ASCII one if it has both.
    pub fn new(mut sclp: Sclp<'a, T>) -> Result<Self, ConsoleError> {
        // Once with nothing, to learn what the machine does; then with no more than that.
        let machine = sclp.write_event_mask(EventMask::empty(), EventMask::empty())?;
        let none = ConsoleError::NoConsole(machine.receive);
        let mode = ConsoleMode::of(machine.receive).ok_or(none)?;
        let takes = mode.events() | EventMask::SIGNAL_QUIESCE;
        sclp.write_event_mask(takes & machine.send, mode.events() & machine.receive)?;
        Ok(Self {
            sclp,
            mode,
            pending_output: Vec::new(),
            input: Input::default(),
        })
    }

    /// The kind of this console.
    pub fn mode(&self) -> ConsoleMode {
        self.mode
    }

    /// Writes text; whole lines go out at once, the rest waits.
    pub fn write(&mut self, text: &str) -> Result<(), ConsoleError> {
        let mut result = Ok(());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = OUTPUT_CAPACITY - self.pending_output.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            // There is room.
            let _ = self.pending_output.extend_from_slice(now);
            rest = later;
            if self.pending_output.is_full() {
                let length = match self.whole_lines() {
                    0 => OUTPUT_CAPACITY,
                    length => length,
                };
                result = result.and(self.emit(length));
            }
        }
        let whole_lines = self.whole_lines();
        result.and(self.emit(whole_lines))
    }

    /// Sends out what waits for its `\n`.
    pub fn flush(&mut self) -> Result<(), ConsoleError> {
        self.emit(self.pending_output.len())
    }

    /// Copies operator input into `buffer` and returns its length, 0 if there is none now.
    ///
    /// READ EVENT DATA is only executed when the SCLP has said that it holds an event, by a service
    /// signal taken in this crate or handed to [`note_signal`](Self::note_signal). So this is
    /// cheap enough for an event loop. Nothing is lost when `buffer` is small.
    pub fn poll_input(&mut self, buffer: &mut [u8]) -> Result<usize, ConsoleError> {
        // Only an empty store is filled: one SCCB never holds more than it.
        if self.input.bytes.is_empty() && self.sclp.event_pending() {
            let (mode, input) = (self.mode, &mut self.input);
            self.sclp
                .read_events(|event| input.take_event(mode, event))?;
        }
        let length = buffer.len().min(self.input.bytes.len());
        buffer
            .iter_mut()
            .zip(core::iter::from_fn(|| self.input.bytes.pop_front()))
            .for_each(|(place, byte)| *place = byte);
        Ok(length)
    }

    /// Whether [`poll_input`](Self::poll_input) may find something.
    pub fn may_have_input(&self) -> bool {
        !self.input.bytes.is_empty() || self.sclp.event_pending()
    }

    /// Remembers a service signal that was taken elsewhere, such as in the idle wait.
    pub fn note_signal(&mut self, signal: Signal) {
        self.sclp.note_signal(signal);
    }

    /// Whether the machine has asked for an orderly end (event "signal quiesce") since the last
    /// call. Known after [`poll_input`](Self::poll_input) has read it.
    pub fn take_quiesce(&mut self) -> bool {
        core::mem::take(&mut self.input.quiesce)
    }

    /// Length of the waiting output up to and including its last `\n`.
    fn whole_lines(&self) -> usize {
        let end = self.pending_output.iter().rposition(|&byte| byte == b'\n');
        end.map_or(0, |at| at + 1)
    }

    /// Sends the first `length` bytes of the waiting output, and forgets them, however it went.
    fn emit(&mut self, length: usize) -> Result<(), ConsoleError> {
        let mut rest = self.pending_output.get(..length).unwrap_or_default();
        let mut result = Ok(());
        while !rest.is_empty() {
            let taken = match self.mode {
                ConsoleMode::Ascii => self.sclp.write_ascii(rest),
                ConsoleMode::LineMode { event_type } => self.sclp.write_lines(event_type, rest),
            };
            match taken {
                Ok(taken) => rest = rest.get(taken.max(1)..).unwrap_or_default(),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.pending_output.drain(..length);
        result
    }
}

impl<T: Transport> fmt::Write for Console<'_, T> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text).map_err(|_| fmt::Error)
    }
}

impl<T: Transport> fmt::Debug for Console<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("mode", &self.mode)
            .field("pending_output", &self.pending_output.len())
            .field("pending_input", &self.input.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Input {
    /// One SCCB has no more than there is room for.
    fn push(&mut self, byte: u8) {
        let _ = self.bytes.push_back(byte);
    }

    /// Takes the text of an event. One of no known type, or without the text it should have, has none.
    fn take_event(&mut self, mode: ConsoleMode, event: EventBuffer<'_>) {
        match (mode, event.event_type) {
            (_, event_type::SIGNAL_QUIESCE) => self.quiesce = true,
            (ConsoleMode::Ascii, event_type::ASCII) => {
                if let Some((&ascii_session::DATA, keys)) = event.payload.split_first() {
                    keys.iter().for_each(|&key| self.push(key));
                }
            }
            (ConsoleMode::LineMode { .. }, event_type::OPCMD | event_type::PMSGCMD) => {
                if let Some(text) = OperatorText::find(event.payload) {
                    text.ascii().for_each(|byte| self.push(byte));
                    self.push(b'\n');
                }
            }
            (ConsoleMode::Ascii | ConsoleMode::LineMode { .. }, _) => {}
        }
    }
}
