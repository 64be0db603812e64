//! A session at the SCLP's console, as the event loop has it.
//!
//! # Rule
//!
//! Nothing is done for it but in [`Operator::attend`], which the event loop calls when it would sleep, and now and then while it does not.
//! Until somebody has typed, asking whether that is due is a look at two flags.

use core::fmt;

use liballoc::boxed::Box;

use s390x::clock::Tod;

use super::session::{Session, Terminal};
use super::view::Acts;
use super::Mode;
use crate::boot::program::{NoProgram, Program};
use crate::css::Wake;

/// While the event loop does not sleep, it is looked so often whether somebody has typed, in microseconds.
const LISTEN_US: u64 = 100_000;

/// Who sits at the console.
pub trait Operator {
    /// A wait has ended with this, which may be the operator's. Nothing else is done before.
    fn woken(&mut self, wake: Wake);

    /// Nobody has slept for a while: looks whether something has come.
    fn listen(&mut self, now: Tod);

    /// When [`Self::attend`] has something to do: in the past, if that is now.
    fn due(&self) -> Tod;

    fn attend(&mut self, state: &mut dyn Acts);

    /// What the program knows of itself.
    fn program(&self) -> &'static dyn Program;
}

/// Nobody does: what ends a wait is given to a function, and nothing else happens.
#[derive(Debug)]
pub struct NoOperator<F>(pub F);

impl<F: FnMut(Wake)> Operator for NoOperator<F> {
    fn woken(&mut self, wake: Wake) {
        (self.0)(wake);
    }

    fn listen(&mut self, _: Tod) {}

    fn due(&self) -> Tod {
        Tod::NEVER
    }

    fn attend(&mut self, _: &mut dyn Acts) {}

    fn program(&self) -> &'static dyn Program {
        &NoProgram
    }
}

/// An operator at the SCLP's console.
pub struct OperatorConsole {
    /// Too large for a stack.
    session: Box<Session>,
    program: &'static dyn Program,
    woken: fn(Wake),
    listen: fn(),
    /// When it is listened next.
    next: Tod,
}

impl OperatorConsole {
    /// `woken` tells the console of what has ended a wait, `listen` of what has come while nobody waited.
    pub fn new(mode: Mode, program: &'static dyn Program, woken: fn(Wake), listen: fn()) -> Self {
        Self {
            session: Box::new(Session::new(mode)),
            program,
            woken,
            listen,
            next: Tod::from_units(0),
        }
    }
}

impl Operator for OperatorConsole {
    fn woken(&mut self, wake: Wake) {
        (self.woken)(wake);
    }

    fn listen(&mut self, now: Tod) {
        if now >= self.next {
            (self.listen)();
            self.next = now.plus_micros(LISTEN_US);
        }
    }

    fn due(&self) -> Tod {
        self.session.due(&Sclp)
    }

    fn attend(&mut self, state: &mut dyn Acts) {
        self.session.turn(state, &mut Sclp);
    }

    fn program(&self) -> &'static dyn Program {
        self.program
    }
}

impl fmt::Debug for OperatorConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorConsole")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The console that the log has as well.
struct Sclp;

impl Terminal for Sclp {
    fn is_raw(&self) -> bool {
        let mode = sclp::CONSOLE.with(|console| console.mode());
        mode == Some(sclp::ConsoleMode::Ascii)
    }

    fn may_have_input(&self) -> bool {
        sclp::CONSOLE.may_have_input()
    }

    fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        let read = sclp::CONSOLE.with(|console| console.poll_input(&mut byte));
        let [byte] = byte;
        // An SCLP that refuses has nothing for us.
        matches!(read, Some(Ok(1))).then_some(byte)
    }

    fn write(&mut self, text: &str) -> bool {
        let written = sclp::CONSOLE.with(|console| {
            let written = console.write(text);
            written.and_then(|()| console.flush())
        });
        matches!(written, Some(Ok(())))
    }

    fn prints(&self) -> u32 {
        sclp::CONSOLE.prints()
    }
}
