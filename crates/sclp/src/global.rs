//! The one console of an image, for everyone who has no reference to it.
//!
//! Rule: nobody ever waits for the console. Whoever finds it in use, such as another CPU or a print
//! within a print, loses its text; the loss is counted, and the next one to print says so. The
//! panic path takes the console by force, see [`ConsoleCell::steal`].

use crate::console::Console;
use crate::transport::{Signal, Transport};
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering};

/// The console in the global cell, over any transport.
pub type GlobalConsole = Console<'static, &'static mut (dyn Transport + Send)>;

/// The console of this image; empty until [`ConsoleCell::install`].
pub static CONSOLE: ConsoleCell = ConsoleCell::new();

/// Nobody uses the console.
const FREE: u8 = 0;
/// Somebody does.
const IN_USE: u8 = 1;
/// It was taken by force; final.
const STOLEN: u8 = 2;

/// Room for the console. The layout is fixed, so that an empty one is all zeros, which need no room in the image; as an
/// `Option`, "none" would be an impossible value somewhere within the console.
// There is one, and nowhere else for the console to be.
#[allow(clippy::large_enum_variant)]
#[repr(u8)]
enum Slot {
    Empty = 0,
    Holds(GlobalConsole) = 1,
}

impl Slot {
    fn console(&mut self) -> Option<&mut GlobalConsole> {
        match self {
            Self::Empty => None,
            Self::Holds(console) => Some(console),
        }
    }
}

/// Holds the console, and hands it to one user at a time without ever waiting.
pub struct ConsoleCell {
    state: AtomicU8,
    console: UnsafeCell<Slot>,
    lost_prints: AtomicU32,
    /// How often somebody has printed.
    prints: AtomicU32,
    event_pending: AtomicBool,
    /// The console has input that nobody has asked for, or knows of an event.
    has_input: AtomicBool,
}

// SAFETY: `console` is only reached by whoever has changed `state` from `FREE` to `IN_USE` (acquire),
// until it changes it back (release); `steal` makes its caller vouch for the same. `GlobalConsole`
// is `Send`, which the assertion below holds.
unsafe impl Sync for ConsoleCell {}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<GlobalConsole>();
};

impl ConsoleCell {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            console: UnsafeCell::new(Slot::Empty),
            lost_prints: AtomicU32::new(0),
            prints: AtomicU32::new(0),
            event_pending: AtomicBool::new(false),
            has_input: AtomicBool::new(false),
        }
    }

    /// Puts a console into the cell. Returns whether that was possible: it must have none, and nobody must use it.
    pub fn install(&self, console: GlobalConsole) -> bool {
        self.with_slot(|slot| {
            let is_empty = matches!(slot, Slot::Empty);
            if is_empty {
                *slot = Slot::Holds(console);
            }
            is_empty
        })
        .unwrap_or(false)
    }

    /// Runs `use_it` with the console. `None` if there is no console or it is in use.
    pub fn with<R>(&self, use_it: impl FnOnce(&mut GlobalConsole) -> R) -> Option<R> {
        self.with_slot(|slot| {
            let console = slot.console()?;
            if self.event_pending.swap(false, Ordering::Relaxed) {
                console.note_signal(Signal::EVENT);
            }
            let used = use_it(console);
            self.has_input
                .store(console.may_have_input(), Ordering::Relaxed);
            Some(used)
        })
        .flatten()
    }

    /// Prints to the console; the text is lost, and counted, if the console is in use.
    pub fn print(&self, arguments: fmt::Arguments<'_>) {
        self.prints.fetch_add(1, Ordering::Relaxed);
        let printed = self.with(|console| {
            // What the SCLP refuses, the console counts.
            let lost = self.lost_prints.swap(0, Ordering::Relaxed);
            if lost != 0 {
                let _ = writeln!(console, "[{lost} prints lost: console in use or absent]");
            }
            let _ = console.write_fmt(arguments);
        });
        if printed.is_none() {
            self.lost_prints.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether [`Console::poll_input`] may find something. Costs next to nothing, so that an event loop can ask each time.
    pub fn may_have_input(&self) -> bool {
        self.event_pending.load(Ordering::Relaxed) || self.has_input.load(Ordering::Relaxed)
    }

    /// How often somebody has printed; wraps. Whoever has written part of a line sees by it that the line is torn.
    pub fn prints(&self) -> u32 {
        self.prints.load(Ordering::Relaxed)
    }

    /// Remembers a service signal that was taken elsewhere, such as in the idle wait. Never fails,
    /// also while the console is in use.
    pub fn note_signal(&self, signal: Signal) {
        if signal.event_pending() {
            self.event_pending.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the console by force, for the panic path.
    ///
    /// From then on nobody else gets it. `None` if no console was installed. If it was in use, what
    /// its user last wrote may be missing or come twice.
    ///
    /// # Safety
    ///
    /// Whoever has the console in use now must never run again. This holds on a panic path that does
    /// not return, once other CPUs are stopped or kept from printing. It must be called once only.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn steal(&self) -> Option<&mut GlobalConsole> {
        self.state.store(STOLEN, Ordering::Relaxed);
        // SAFETY: the caller vouches that no other reference is used from now on, and the state,
        // which nobody changes after this, keeps new ones from being made.
        unsafe { (*self.console.get()).console() }
    }

    fn with_slot<R>(&self, use_it: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        /// Gives the cell back, also when its user unwinds (on the developer's machine).
        struct Release<'c>(&'c AtomicU8);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                // Not if it was stolen meanwhile: that is final.
                let _ = self
                    .0
                    .compare_exchange(IN_USE, FREE, Ordering::Release, Ordering::Relaxed);
            }
        }

        self.state
            .compare_exchange(FREE, IN_USE, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let _release = Release(&self.state);
        // SAFETY: the state was `FREE`, so no other reference exists, and none is made until it is
        // `FREE` again, which is after this one's last use.
        Some(use_it(unsafe { &mut *self.console.get() }))
    }
}

impl fmt::Debug for ConsoleCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleCell")
            .field("state", &self.state)
            .field("lost_prints", &self.lost_prints)
            .finish_non_exhaustive()
    }
}

/// Prints to [`CONSOLE`]: `sclp::print(format_args!("ready\n"))`.
pub fn print(arguments: fmt::Arguments<'_>) {
    CONSOLE.print(arguments);
}

/// Prints formatted text to [`CONSOLE`].
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::print(::core::format_args!($($argument)*)) };
}

/// Prints formatted text and a line end to [`CONSOLE`].
#[macro_export]
macro_rules! println {
    () => { $crate::print(::core::format_args!("\n")) };
    ($($argument:tt)*) => {
        $crate::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{Machine, ScriptedSclp};
    use crate::{SccbPage, Sclp};
    use std::boxed::Box;

    #[test]
    fn input_is_known_of_until_all_of_it_was_asked_for() {
        static CELL: ConsoleCell = ConsoleCell::new();
        let machine = ScriptedSclp::new(Machine::QemuAscii);
        let transport: &'static mut (dyn Transport + Send) = Box::leak(Box::new(machine.clone()));
        let sclp = Sclp::new(transport, Box::leak(Box::new(SccbPage::new())));
        assert!(CELL.install(Console::new(sclp).expect("console")));
        let read = |expected: &str| {
            let mut byte = [0];
            let length = CELL.with(|console| console.poll_input(&mut byte).expect("input"));
            assert_eq!(
                byte.get(..length.expect("console")),
                Some(expected.as_bytes())
            );
        };
        assert!(!CELL.may_have_input());
        machine.type_in("ab");
        CELL.note_signal(Signal::EVENT);
        for byte in ["a", "b"] {
            assert!(CELL.may_have_input());
            read(byte);
        }
        assert!(!CELL.may_have_input());
        // An event that rides on the completion of a print is one as well.
        machine.type_in("c");
        CELL.print(format_args!("print\n"));
        assert!(CELL.may_have_input());
        read("c");
        assert_eq!(CELL.prints(), 1);
    }

    #[test]
    fn a_panic_takes_the_console_from_a_user_that_never_ends_and_keeps_it() {
        static CELL: ConsoleCell = ConsoleCell::new();
        let machine = ScriptedSclp::new(Machine::QemuAscii);
        let transport: &'static mut (dyn Transport + Send) = Box::leak(Box::new(machine.clone()));
        let sclp = Sclp::new(transport, Box::leak(Box::new(SccbPage::new())));
        assert!(CELL.install(Console::new(sclp).expect("console")));

        CELL.state.store(IN_USE, Ordering::Relaxed);
        CELL.print(format_args!("in use\n"));
        // SAFETY: the user that the state tells of does not exist.
        let stolen = unsafe { CELL.steal() }.expect("a console was installed");
        writeln!(stolen, "panicked").expect("write");
        CELL.print(format_args!("nobody gets it again\n"));
        assert_eq!(machine.output(), "panicked\r\n");
    }
}
