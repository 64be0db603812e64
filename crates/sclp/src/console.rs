//! The operator's console: text out, text in.
//!
//! Rule: output is line-buffered. A line goes out when its `\n` has been written or on
//! [`Console::flush`]; text that the SCLP refuses is given up and counted, so that a console that
//! fails never stops the program.
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
    LineMode,
}

impl fmt::Display for ConsoleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ascii => "ASCII",
            Self::LineMode => "line-mode",
        })
    }
}

/// How text goes out: the mode, and for line mode the event type that the SCLP takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Ascii,
    Lines { event_type: u8 },
}

impl Output {
    const ASCII_EVENTS: EventMask = EventMask::ASCII;
    const LINE_EVENTS: EventMask = EventMask::OPCMD
        .union(EventMask::MSG)
        .union(EventMask::PMSGCMD);

    fn ascii(sclp_receives: EventMask) -> Option<Self> {
        sclp_receives
            .contains(EventMask::ASCII)
            .then_some(Self::Ascii)
    }

    fn lines(sclp_receives: EventMask) -> Option<Self> {
        let event_type = if sclp_receives.contains(EventMask::MSG) {
            event_type::MSG
        } else if sclp_receives.contains(EventMask::PMSGCMD) {
            event_type::PMSGCMD
        } else {
            return None;
        };
        Some(Self::Lines { event_type })
    }

    fn events(self) -> EventMask {
        match self {
            Self::Ascii => Self::ASCII_EVENTS,
            Self::Lines { .. } => Self::LINE_EVENTS,
        }
    }

    fn mode(self) -> ConsoleMode {
        match self {
            Self::Ascii => ConsoleMode::Ascii,
            Self::Lines { .. } => ConsoleMode::LineMode,
        }
    }
}

/// The operator's console.
///
/// Output is line-buffered: a line goes out when its `\n` has been written, or on
/// [`flush`](Self::flush). Text that the SCLP refuses is given up and counted. In line mode a flushed
/// part of a line becomes a line of its own. Input is not edited: the ASCII console gives each key
/// as the terminal sends it (Enter is `\r`), line mode gives whole lines with a `\n` behind each.
pub struct Console<'a, T: Transport> {
    sclp: Sclp<'a, T>,
    output: Output,
    pending_output: [u8; OUTPUT_CAPACITY],
    pending_length: usize,
    input: Input,
    lost_output: u64,
}

/// What was read and not yet asked for.
struct Input {
    bytes: [u8; INPUT_CAPACITY],
    start: usize,
    end: usize,
    quiesce: bool,
    foreign_events: u64,
}

impl<'a, T: Transport> Console<'a, T> {
    /// Activates the console that the machine has; the ASCII one if it has both.
    pub fn new(sclp: Sclp<'a, T>) -> Result<Self, ActivateError> {
        Self::activate(sclp, |receives| {
            Output::ascii(receives)
                .or_else(|| Output::lines(receives))
                .ok_or(ActivateError::NoConsole(receives))
        })
    }

    /// Activates the console of this kind.
    pub fn with_mode(sclp: Sclp<'a, T>, mode: ConsoleMode) -> Result<Self, ActivateError> {
        Self::activate(sclp, |receives| {
            let output = match mode {
                ConsoleMode::Ascii => Output::ascii(receives),
                ConsoleMode::LineMode => Output::lines(receives),
            };
            output.ok_or(ActivateError::NoSuchMode(mode, receives))
        })
    }

    fn activate(
        mut sclp: Sclp<'a, T>,
        choose: impl FnOnce(EventMask) -> Result<Output, ActivateError>,
    ) -> Result<Self, ActivateError> {
        // Once with nothing, to learn what the machine does; then with no more than that.
        let machine = sclp.write_event_mask(EventMask::empty(), EventMask::empty())?;
        let output = choose(machine.receive)?;
        let takes = output.events() | EventMask::SIGNAL_QUIESCE;
        sclp.write_event_mask(takes & machine.send, output.events() & machine.receive)?;
        Ok(Self {
            sclp,
            output,
            pending_output: [0; OUTPUT_CAPACITY],
            pending_length: 0,
            input: Input::new(),
            lost_output: 0,
        })
    }

    /// The kind of this console.
    pub fn mode(&self) -> ConsoleMode {
        self.output.mode()
    }

    /// The SCLP behind this console, for other service calls.
    pub fn sclp_mut(&mut self) -> &mut Sclp<'a, T> {
        &mut self.sclp
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
            let mode = self.output.mode();
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

    /// Number of bytes of output that the SCLP refused.
    pub fn lost_output(&self) -> u64 {
        self.lost_output
    }

    /// Number of events that were of no known type, or without the text they should have had.
    pub fn foreign_events(&self) -> u64 {
        self.input.foreign_events
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
            let taken = match self.output {
                Output::Ascii => self.sclp.write_ascii(rest),
                Output::Lines { event_type } => self.sclp.write_lines(event_type, rest),
            };
            match taken {
                Ok(taken) => rest = rest.get(taken.max(1)..).unwrap_or_default(),
                Err(error) => {
                    self.lost_output += rest.len() as u64;
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
            .field("output", &self.output)
            .field("pending_output", &self.pending_length)
            .field("pending_input", &(self.input.end - self.input.start))
            .field("lost_output", &self.lost_output)
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
            foreign_events: 0,
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

    fn take_event(&mut self, mode: ConsoleMode, event: EventBuffer<'_>) {
        match (mode, event.event_type) {
            (_, event_type::SIGNAL_QUIESCE) => self.quiesce = true,
            (ConsoleMode::Ascii, event_type::ASCII) => match event.payload.split_first() {
                Some((&ascii_session::DATA, keys)) => keys.iter().for_each(|&key| self.push(key)),
                Some((&(ascii_session::STARTED | ascii_session::ENDED), _)) => {}
                Some(_) | None => self.foreign_events += 1,
            },
            (ConsoleMode::LineMode, event_type::OPCMD | event_type::PMSGCMD) => {
                match OperatorText::find(event.payload) {
                    Some(text) => {
                        text.ascii().for_each(|byte| self.push(byte));
                        self.push(b'\n');
                    }
                    None => self.foreign_events += 1,
                }
            }
            (ConsoleMode::Ascii | ConsoleMode::LineMode, _) => self.foreign_events += 1,
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
