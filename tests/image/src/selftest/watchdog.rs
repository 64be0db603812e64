//! The machine's watchdog: it counts when it is told to, and what it does not take is an answer.
//!
//! That it ends a program that hangs is for the host to see (`selftest=hang`): a test that shows it does not come back.

use super::{expect, test, Fixture, Outcome, Tally, Test, Why};
use appliance::css::{Hardware, Platform};
use s390x::control::Cr6;
use s390x::diagnose::{watchdog, WatchdogFunction, WatchdogRefusal, LEAST_WATCHDOG_SECONDS};

/// In the order in which they have to run: the watchdog keeps what one leaves.
const TESTS: &[Test<Watchdog>] = &[
    test(
        "before it was told to count, it takes neither a change nor an end",
        not_yet,
    ),
    test("less than the least time is refused", too_short),
    test("it counts, counts anew, and counts no longer", counts),
    test("the event loop's way sets it, and sets it again", armed),
];

const SECONDS: u64 = 60;

struct Watchdog(Hardware);

impl Fixture for Watchdog {
    fn fresh(&mut self) -> Outcome {
        let _ = ask(WatchdogFunction::Cancel, 0);
        Ok(())
    }
}

/// Tests the watchdog, if there is one.
pub(super) fn run(tally: &mut Tally) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    tally.run("", &mut Watchdog(platform), TESTS);
}

/// The same on a machine that has none.
pub(super) fn run_without(tally: &mut Tally) {
    // SAFETY: as above.
    let platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let refused = test("a machine without one refuses everything", refused);
    tally.run("", &mut Watchdog(platform), &[refused]);
}

fn ask(function: WatchdogFunction, seconds: u64) -> Result<(), WatchdogRefusal> {
    // SAFETY: the program-interruption handler is the appliance's.
    unsafe { watchdog(function, seconds) }
}

/// Has the watchdog count, or says that there is none.
fn begin() -> Outcome {
    let begun = ask(WatchdogFunction::Initialize, SECONDS);
    begun.map_err(|_| Why::Skip("the machine has no watchdog"))
}

fn not_yet(_: &mut Watchdog) -> Outcome {
    let change = ask(WatchdogFunction::Change, SECONDS);
    expect("change", change, Err(WatchdogRefusal))?;
    let cancel = ask(WatchdogFunction::Cancel, 0);
    expect("cancel", cancel, Err(WatchdogRefusal))
}

fn too_short(_: &mut Watchdog) -> Outcome {
    begin()?;
    let short = ask(WatchdogFunction::Change, LEAST_WATCHDOG_SECONDS - 1);
    expect("change", short, Err(WatchdogRefusal))?;
    let least = ask(WatchdogFunction::Change, LEAST_WATCHDOG_SECONDS);
    expect("the least", least, Ok(()))
}

fn counts(_: &mut Watchdog) -> Outcome {
    begin()?;
    expect("again", ask(WatchdogFunction::Change, SECONDS), Ok(()))?;
    expect("no longer", ask(WatchdogFunction::Cancel, 0), Ok(()))?;
    let change = ask(WatchdogFunction::Change, SECONDS);
    expect("change", change, Err(WatchdogRefusal))
}

fn armed(fixture: &mut Watchdog) -> Outcome {
    for _ in 0..2 {
        expect("armed", fixture.0.arm_watchdog(SECONDS as u32), true)?;
    }
    // It counts: or this would be refused.
    expect("counts", ask(WatchdogFunction::Change, SECONDS), Ok(()))
}

fn refused(fixture: &mut Watchdog) -> Outcome {
    let begun = ask(WatchdogFunction::Initialize, SECONDS);
    expect("begin", begun, Err(WatchdogRefusal))?;
    expect("armed", fixture.0.arm_watchdog(SECONDS as u32), false)
}
