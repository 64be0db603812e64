//! The operator's console: commands by which somebody finds out what is wrong when nothing else works.
//!
//! # Purpose
//!
//! Whoever sits at the console of the appliance's machine types a command and gets an answer from the appliance itself: no daemon, no
//! link and no working disk is needed, only an event loop that comes round.
//!
//! | module | what it is |
//! |---|---|
//! | [`view`] | the state that a command sees, and what it can do |
//! | [`table`] | all commands: from it come `help`, the abbreviations, and the tables of `docs/commands.md` |
//! | `commands` | what each of them does |
//! | [`message`] | the messages with their identifiers |
//! | [`operands`] | what stands behind a command's name |
//! | [`out`] | one page of output, in lines of [`COLUMNS`] at most |
//! | [`sample`] | how far each queue has come, to be compared with how far it comes |
//! | [`editor`] | the line that is being typed at a VT220, and those before |
//! | [`session`] | from what is typed to a page that is written, a piece a turn |
//! | [`console`] | a session at the SCLP's console |
//!
//! # The rules
//!
//! * A command is a function over a [`View`], which it only reads. It never waits, touches no hardware but by [`View::schib`], and makes at
//!   most a page: what is more comes with the next empty line, for which it runs again. What changes something is another kind of
//!   function, over [`Acts`], and is there only if whoever started the appliance wants that.
//! * A turn of the session writes one piece, or takes a few keys, or runs one command. Nothing is done while nobody types.
//! * What is typed is anybody's. Nothing is allocated for it, and no line of it can do harm.
//!
//! # Limits
//!
//! The console is written to synchronously, as by the log: a service call that takes long holds up whoever is served. After one that
//! did, there is none for many times as long; a page that is not out by then is dropped, and counted. Where the machine has both kinds of console, the VT220 is used.

pub mod commands;
pub mod console;
pub mod editor;
pub mod message;
pub mod operands;
pub mod out;
pub mod sample;
pub mod session;
pub mod table;
pub mod view;

#[cfg(any(test, fuzzing))]
pub mod fake;
#[cfg(test)]
mod tests;

pub use crate::boot::cmdline::MonitorMode as Mode;
pub use console::{NoOperator, Operator, OperatorConsole};
pub use out::{Out, COLUMNS};
pub use session::Session;
pub use view::{Acts, View};
