//! From what is typed to a page that is written, a piece a turn.
//!
//! # Rule
//!
//! A turn does one thing: it writes a piece of what waits, or takes keys up to the end of a line and runs that. So nobody waits for more
//! than one service call, or one page. As long as a page is not out, nothing more is read.

use core::fmt::Arguments;

use heapless::String;
use s390x::clock::Tod;

use super::editor::{Editor, Key, ERASE_LINE, LINE};
use super::message::{self, Message};
use super::operands::{split_word, Operands, Refused};
use super::out::{Out, ROOM};
use super::sample::Sample;
use super::table::{self, begins, Command, Found, Run, COMMANDS};
use super::view::Acts;
use super::Mode;

/// Before the line that is typed, where keys are echoed.
pub const PROMPT: &str = "stw> ";
/// Bytes that are written at once, at most.
const PIECE: usize = 512;
/// Keys that are taken at once.
const KEYS: usize = 64;
/// A service call that takes longer holds up others: there is none for so many times as long then, but for so long at most.
const SLOW_US: u64 = 5_000;
const SHARE: u64 = 20;
const LONGEST_PAUSE_US: u64 = 1_000_000;
/// A page that is not out by then is dropped.
const GIVE_UP_US: u64 = 10_000_000;
/// How long a command watches that compares.
const WATCH_US: u64 = 1_000_000;

/// Where what is typed comes from, and where pages go.
pub trait Terminal {
    /// It sends each key, and wants it to be shown. If not, it sends whole lines.
    fn is_raw(&self) -> bool;

    /// Whether there may be something to [read](Self::read).
    fn may_have_input(&self) -> bool;

    /// The next byte.
    fn read(&mut self) -> Option<u8>;

    /// Writes all of it: in line mode, whole lines. Returns whether it was taken.
    fn write(&mut self, text: &str) -> bool;

    /// How often others have printed; wraps.
    fn prints(&self) -> u32;
}

#[derive(Debug)]
pub struct Session {
    mode: Mode,
    editor: Editor,
    /// What waits to be written, of which so much is.
    out: String<ROOM>,
    written: usize,
    /// Since when it waits.
    waits_since: Tod,
    /// Nothing is written before.
    not_before: Tod,
    /// Lines that were dropped and not told of.
    dropped: u32,
    /// What an empty line stands for, and with which item that goes on.
    last: String<LINE>,
    next: Option<usize>,
    /// A command that compares: how it was, and with which item it begins.
    watch: Option<(Sample, Command, usize)>,
    prints: u32,
}

impl Session {
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            editor: Editor::new(),
            out: String::new(),
            written: 0,
            waits_since: Tod::from_units(0),
            not_before: Tod::from_units(0),
            dropped: 0,
            last: String::new(),
            next: None,
            watch: None,
            prints: 0,
        }
    }

    /// When it has something to do: in the past, if that is now; [`Tod::NEVER`], if somebody has to type first.
    pub fn due(&self, terminal: &dyn Terminal) -> Tod {
        if !self.out.is_empty() {
            self.not_before
        } else if let Some((sample, ..)) = &self.watch {
            sample.at.plus_micros(WATCH_US)
        } else if self.mode != Mode::Off && terminal.may_have_input() {
            Tod::from_units(0)
        } else {
            Tod::NEVER
        }
    }

    /// Does what is due.
    pub fn turn(&mut self, state: &mut dyn Acts, terminal: &mut dyn Terminal) {
        if self.due(terminal) > state.now() {
            return;
        }
        if !self.out.is_empty() {
            return self.write(state, terminal);
        }
        if let Some((sample, command, skip)) = self.watch.take() {
            let mut out = Out::new(&mut self.out, skip);
            if let Run::Compare(compare) = command.run {
                compare(state, &sample, &mut out);
            }
            self.next = out.next();
            return self.end(terminal);
        }
        for _ in 0..KEYS {
            let Some(byte) = terminal.read() else {
                break;
            };
            if self.key(byte, state, terminal) {
                break;
            }
        }
    }

    /// Writes a piece of what waits.
    fn write(&mut self, state: &mut dyn Acts, terminal: &mut dyn Terminal) {
        let began = state.now();
        if self.written == 0 {
            self.waits_since = began;
        }
        let rest = self.out.get(self.written..).unwrap_or_default();
        // Whole lines, if there are any: in line mode a part would become one.
        let piece = rest.get(..PIECE).map_or(rest, |piece| {
            let end = piece.bytes().rposition(|byte| byte == b'\n');
            let end = end.map_or(PIECE, |at| at + 1);
            piece.get(..end).unwrap_or(piece)
        });
        let (length, taken) = (piece.len(), terminal.write(piece));
        if taken {
            self.written += length;
        }
        let now = state.now();
        let took = now.micros_since(began);
        if took > SLOW_US {
            let pause = took.saturating_mul(SHARE).min(LONGEST_PAUSE_US);
            self.not_before = now.plus_micros(pause);
        }
        if !taken || now.micros_since(self.waits_since) > GIVE_UP_US {
            let left = self.out.get(self.written..).unwrap_or_default();
            let lines = left.bytes().filter(|&byte| byte == b'\n').count();
            self.dropped = self.dropped.saturating_add(lines as u32);
            self.written = self.out.len();
        }
        if self.written >= self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    /// Takes a key. Returns whether it has ended a line.
    fn key(&mut self, byte: u8, state: &mut dyn Acts, terminal: &mut dyn Terminal) -> bool {
        let is_raw = terminal.is_raw();
        if is_raw && self.is_torn(terminal) {
            self.show_line();
        }
        match self.editor.key(byte) {
            Key::Nothing => return false,
            Key::Echo(text) if is_raw => self.put(&text),
            Key::Redraw if is_raw => self.show_line(),
            Key::Echo(_) | Key::Redraw => {}
            Key::End => {
                if is_raw {
                    self.put("\n");
                }
                self.end_of_line(state);
                self.end(terminal);
                return true;
            }
        }
        false
    }

    /// Whether somebody has printed since this was last asked.
    fn is_torn(&mut self, terminal: &dyn Terminal) -> bool {
        let now = terminal.prints();
        core::mem::replace(&mut self.prints, now) != now
    }

    fn show_line(&mut self) {
        self.put(ERASE_LINE);
        self.put(PROMPT);
        // What has no room here is shown with the next key.
        let _ = self.out.push_str(self.editor.line());
    }

    fn put(&mut self, text: &str) {
        let _ = self.out.push_str(text);
    }

    fn say(&mut self, message: Message, text: Arguments<'_>) {
        Out::new(&mut self.out, 0).say(message, text);
    }

    /// The answer is complete.
    fn end(&mut self, terminal: &dyn Terminal) {
        if self.next.is_some() {
            self.say(message::MORE, format_args!("an empty line shows more"));
        }
        if terminal.is_raw() && self.watch.is_none() {
            self.put(PROMPT);
            self.prints = terminal.prints();
        }
    }

    fn end_of_line(&mut self, state: &mut dyn Acts) {
        let dropped = core::mem::take(&mut self.dropped);
        if dropped != 0 {
            self.say(
                message::DROPPED,
                format_args!("{dropped} lines were dropped"),
            );
        }
        let Some(line) = self.editor.take() else {
            let most = format_args!("a command has {LINE} characters at most");
            return self.say(message::TOO_LONG, most);
        };
        let text = line.trim_ascii();
        let skip = if text.is_empty() {
            self.next.take().unwrap_or(0)
        } else {
            self.editor.keep(text);
            // A line is no longer than a line.
            self.last = String::try_from(text).unwrap_or_default();
            self.next = None;
            0
        };
        let line = self.last.clone();
        if split_word(&line).0.is_empty() {
            let hint = format_args!("stellwerk: type help for the commands");
            return self.say(message::HINT, hint);
        }
        let (word, rest) = split_word(&line);
        match table::find(word) {
            Found::One(command) => self.run(command, Operands::new(rest), skip, state),
            Found::None => {
                self.last.clear();
                self.say(
                    message::UNKNOWN,
                    format_args!("no command {word}; type help"),
                );
            }
            Found::Several => {
                self.last.clear();
                let mut all = COMMANDS.iter().filter(|it| begins(it, word));
                let (one, other) = (all.next(), all.next());
                let (one, other) = (one.map_or("", |it| it.name), other.map_or("", |it| it.name));
                let text = format_args!("{word} can be {one}, or {other}; type more of it");
                self.say(message::AMBIGUOUS, text);
            }
        }
    }

    fn run(
        &mut self,
        command: &Command,
        operands: Operands<'_>,
        skip: usize,
        state: &mut dyn Acts,
    ) {
        let Command {
            name,
            operands: usage,
            run,
            ..
        } = *command;
        if run.changes(&operands) {
            // An empty line is not to do that again.
            self.last.clear();
            if self.mode != Mode::Change {
                let text = format_args!(
                    "{name} changes something: not with monitor={}",
                    self.mode.name()
                );
                return self.say(message::NOT_ALLOWED, text);
            }
        }
        let mut out = Out::new(&mut self.out, skip);
        let done = match run {
            Run::Look(look) => look(state, operands, &mut out),
            Run::LookOrAct(look, _) if operands.is_empty() => look(state, operands, &mut out),
            Run::LookOrAct(_, act) => act(state, operands, &mut out),
            Run::Compare(_) => operands.end(),
        };
        self.next = out.next();
        match (done, run) {
            (Ok(()), Run::Compare(_)) => {
                self.watch = Some((Sample::take(state), *command, skip));
                self.say(message::WATCHING, format_args!("looking for a second"));
            }
            (Ok(()), _) => {}
            (Err(Refused::Usage), _) => {
                self.say(message::USAGE, format_args!("usage: {name} {usage}"));
            }
            (Err(Refused::NoSuch(what)), _) => {
                self.say(message::NO_SUCH, format_args!("there is no such {what}"));
            }
        }
    }
}
