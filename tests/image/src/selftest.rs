//! What the image can test by itself (`selftest=` on the command line).
//!
//! | part | what it proves |
//! |---|---|
//! | [`crash`] | each kind of crash ends in its report and its disabled wait |
//! | [`css`] | condition codes, status and interruptions of the subchannels that are there |
//! | [`channel`] | the same of virtual subchannels: the image as a client of another appliance |
//! | [`proxy`] | the same through the proxy, the image being its own client; and what only a DASD can prove |
//! | [`disk`] | the virtio disk driver, against an image whose contents the host knows |
//! | [`dasd`] | the driver of count-key-data disks, on volumes that the host looks at afterwards |
//! | [`dasd_admin`] | such disks formatted, looked at and reserved; the host compares the volumes with others' |
//! | [`dasd_lending`] | a disk's subchannel lent to a client between the disk's own programs |
//! | [`link`] | wake-up bytes between the image and the host |
//! | [`idle`] | the wait: it ends when it should, and not before |
//! | [`echo`] | the console's input |
//! | [`monitor`] | the operator's console: commands are answered, on whichever kind the machine has |
//! | [`watchdog`] | the machine's own watchdog: it counts, and what it does not take is an answer |
//!
//! **How.** A table of names and functions, each of which proves the one thing that its name says.
//! Each gets a line, `PASS: name`, `SKIP: name: why` or `FAIL: name: why`; the last line is `N passed, N failed`. Then
//! the image shuts down, or ends in the disabled wait [`FAILED`].
//!
//! A new one in a file that is here is a function and its line in the file's table. A new file is a module, and its line in
//! [`SUITES`].
//!
//! **Limits.** The tests are told nothing about the machine but what they find; what the host has to
//! provide is in `tests/guest/run.sh`.
mod channel;
mod crash;
mod css;
mod dasd;
mod dasd_admin;
mod dasd_lending;
mod disk;
mod echo;
mod idle;
mod link;
mod monitor;
mod proxy;
mod remote;
mod watchdog;

use crate::options::Options;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Debug;
use s390x::cpu::{disabled_wait, WaitCode};

/// Where it ends when a test has failed.
pub const FAILED: WaitCode = WaitCode::new(0xE20);

/// One test.
struct Test<S> {
    /// What holds.
    name: &'static str,
    /// Proves it.
    run: fn(&mut S) -> Outcome,
}

/// A line of a table.
const fn test<S>(name: &'static str, run: fn(&mut S) -> Outcome) -> Test<S> {
    Test { name, run }
}

/// How a test ends.
type Outcome = Result<(), Why>;

/// Why a test did not pass.
enum Why {
    /// Something it needs is not there.
    Skip(&'static str),
    /// What its name says does not hold.
    Fail(String),
}

impl<T: ToString> From<T> for Why {
    #[cold]
    #[inline(never)]
    fn from(error: T) -> Self {
        Self::Fail(error.to_string())
    }
}

/// What tests of one table share.
trait Fixture {
    /// Puts it back to where each test begins.
    fn fresh(&mut self) -> Outcome {
        Ok(())
    }
}

/// The count.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Runs a table.
    fn run<S: Fixture>(&mut self, of: &str, fixture: &mut S, tests: &[Test<S>]) {
        for test in tests {
            let outcome = fixture.fresh().and_then(|()| (test.run)(fixture));
            self.note(of, test.name, outcome);
        }
    }

    /// Prints how one ended.
    #[inline(never)]
    fn note(&mut self, of: &str, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                sclp::println!("PASS: {of}{name}");
            }
            Err(Why::Skip(why)) => sclp::println!("SKIP: {of}{name}: {why}"),
            Err(Why::Fail(why)) => {
                self.failed += 1;
                sclp::println!("FAIL: {of}{name}: {why}");
            }
        }
    }

    fn end(&self) -> ! {
        sclp::println!("{} passed, {} failed", self.passed, self.failed);
        if self.passed > 0 && self.failed == 0 {
            appliance::boot::shut_down()
        }
        disabled_wait(FAILED)
    }
}

/// Runs a suite.
type Run = fn(&mut Tally, &Options);

/// What `selftest=` names.
#[derive(Clone, Copy, Debug)]
pub enum SelfTest {
    /// Tests.
    Suite(Run),
    /// A crash on purpose.
    Crash(fn()),
}

/// Each suite by its name on the command line.
#[rustfmt::skip]
pub const SUITES: &[(&str, Run)] = &[
    ("attention", |tally, options| channel::run_attention(tally, options.settings(), options.area)),
    ("channel", |tally, options| channel::run(tally, options.settings(), options.area)),
    ("css", |tally, options| css::run(tally, options.vfio)),
    ("dasd", |tally, _| dasd::run(tally, dasd::TESTS)),
    ("dasd-admin", |tally, _| dasd_admin::run(tally)),
    ("dasd-copy", |tally, _| dasd::run_copy(tally)),
    ("dasd-errors", |tally, _| dasd::run(tally, dasd::ERRORS)),
    ("dasd-lending", |tally, _| dasd_lending::run(tally)),
    ("dasd-served", |tally, options| dasd::run_served(tally, options.requests)),
    ("disk", |tally, options| disk::run(tally, options.settings())),
    ("echo", |tally, _| echo::run(tally)),
    ("exit", |_, _| { appliance::boot::shut_down(); }),
    ("idle", |tally, _| idle::run(tally)),
    ("laid", |tally, options| css::run_laid(tally, options.window)),
    ("link", |tally, options| link::run(tally, options.settings())),
    ("monitor", |tally, _| monitor::run(tally)),
    ("proxy", |tally, options| proxy::run(tally, options.vfio)),
    ("proxy-ipl", |tally, _| proxy::run_ipl(tally)),
    ("watchdog", |tally, _| watchdog::run(tally)),
    ("no-watchdog", |tally, _| watchdog::run_without(tally)),
];

pub use crash::CRASHES;

/// What has this name, and the name.
pub fn named(name: &str) -> Option<(&'static str, SelfTest)> {
    let suites = SUITES
        .iter()
        .map(|&(known, run)| (known, SelfTest::Suite(run)));
    let crashes = CRASHES
        .iter()
        .map(|&(known, crash)| (known, SelfTest::Crash(crash)));
    suites.chain(crashes).find(|(known, _)| *known == name)
}

/// Run one of them.
pub fn run((name, test): (&str, SelfTest), options: &Options) -> ! {
    log::info!(target: "selftest", "{name}");
    let mut tally = Tally::default();
    match test {
        SelfTest::Suite(run) => run(&mut tally, options),
        SelfTest::Crash(crash) => {
            crash();
            panic!("selftest {name} came back");
        }
    }
    tally.end()
}

/// `found` is `wanted`.
fn expect<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    differ(what, &found, &wanted)
}

#[cold]
fn differ(what: &str, found: &dyn Debug, wanted: &dyn Debug) -> Outcome {
    Err(Why::Fail(format!("{what}: {found:x?}, not {wanted:x?}")))
}

/// `holds` is true.
#[inline(never)]
fn ensure(what: &str, holds: bool) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(Why::Fail(what.to_string()))
}
