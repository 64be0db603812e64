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
use crate::error::{ActivateError, ReadError, WriteError};
use crate::event::{EventBuffer, OperatorText};
use crate::spec::{ascii_session, event_type, EventMask, SCCB_SIZE};
use crate::transport::{Signal, Transport};
use core::fmt;

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

/// The operator's console.
///
/// Output is line-buffered: a line goes out when its `\n` has been written, or on
/// [`flush`](Self::flush). Text that the SCLP refuses is given up. In line mode a flushed
/// part of a line becomes a line of its own. Input is not edited: the ASCII console gives each key
/// as the terminal sends it (Enter is `\r`), line mode gives whole lines with a `\n` behind each.
pub struct Console<'a, T: Transport> {
    sclp: Sclp<'a, T>,
    mode: ConsoleMode,
    pending_output: [u8; OUTPUT_CAPACITY],
    pending_length: usize,
    input: Input,
}

/// What was read and not yet asked for.
struct Input {
    bytes: [u8; INPUT_CAPACITY],
    start: usize,
    end: usize,
    quiesce: bool,
}

impl<'a, T: Transport> Console<'a, T> {
    /// Activates the console that the machine has; the ASCII one if it has both.
    pub fn new(mut sclp: Sclp<'a, T>) -> Result<Self, ActivateError> {
        // Once with nothing, to learn what the machine does; then with no more than that.
        let machine = sclp.write_event_mask(EventMask::empty(), EventMask::empty())?;
        let none = ActivateError::NoConsole(machine.receive);
        let mode = ConsoleMode::of(machine.receive).ok_or(none)?;
        let takes = mode.events() | EventMask::SIGNAL_QUIESCE;
        sclp.write_event_mask(takes & machine.send, mode.events() & machine.receive)?;
        Ok(Self {
            sclp,
            mode,
            pending_output: [0; OUTPUT_CAPACITY],
            pending_length: 0,
            input: Input::new(),
        })
    }

    /// The kind of this console.
    pub fn mode(&self) -> ConsoleMode {
        self.mode
    }

    /// Writes text; whole lines go out at once, the rest waits.
    pub fn write(&mut self, text: &str) -> Result<(), WriteError> {
        let mut result = Ok(());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = self
                .pending_output
                .get_mut(self.pending_length..)
                .unwrap_or_default();
            let length = room.len().min(rest.len());
            let (now, later) = rest.split_at(length);
            room.iter_mut()
                .zip(now)
                .for_each(|(place, &byte)| *place = byte);
            self.pending_length += length;
            rest = later;
            if self.pending_length == OUTPUT_CAPACITY {
                let whole_lines = self.whole_lines();
                let length = if whole_lines == 0 {
                    OUTPUT_CAPACITY
                } else {
                    whole_lines
                };
                result = result.and(self.emit(length));
            }
        }
        let whole_lines = self.whole_lines();
        result.and(self.emit(whole_lines))
    }

    /// Sends out what waits for its `\n`.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.emit(self.pending_length)
    }

    /// Copies operator input into `buffer` and returns its length, 0 if there is none now.
    ///
    /// READ EVENT DATA is only executed when the SCLP has said that it holds an event, by a service
    /// signal taken in this crate or handed to [`note_signal`](Self::note_signal). So this is
    /// cheap enough for an event loop. Nothing is lost when `buffer` is small.
    pub fn poll_input(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        // Only an empty store is filled: one SCCB never holds more than it.
        if self.input.is_empty() && self.sclp.event_pending() {
            let mode = self.mode;
            let input = &mut self.input;
            input.clear();
            self.sclp
                .read_events(|event| input.take_event(mode, event))?;
        }
        Ok(self.input.give(buffer))
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
        let waiting = self
            .pending_output
            .get(..self.pending_length)
            .unwrap_or_default();
        waiting
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1)
    }

    /// Sends the first `length` bytes of the waiting output, and forgets them, however it went.
    fn emit(&mut self, length: usize) -> Result<(), WriteError> {
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
        self.pending_output
            .copy_within(length..self.pending_length, 0);
        self.pending_length -= length;
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
            .field("pending_output", &self.pending_length)
            .field("pending_input", &(self.input.end - self.input.start))
            .finish_non_exhaustive()
    }
}

impl Input {
    const fn new() -> Self {
        Self {
            bytes: [0; INPUT_CAPACITY],
            start: 0,
            end: 0,
            quiesce: false,
        }
    }

    const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.end) {
            *place = byte;
            self.end += 1;
        }
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

    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
        let length = waiting.len().min(buffer.len());
        buffer
            .iter_mut()
            .zip(waiting)
            .for_each(|(place, &byte)| *place = byte);
        self.start += length;
        length
    }
}
