//! The wait: it ends when it should, and not before.
//!
//! That it takes no processor time meanwhile is for the host to see: one of the tests waits for
//! two seconds.

use super::{ensure, expect, test, Fixture, Outcome, Tally, Test};
use appliance::css::Hardware;
use appliance::css::{Platform, Wake};
use s390x::clock::Tod;
use s390x::control::Cr6;
use s390x::idle::{self, Sources};

/// More than any host takes to run a CPU again whose time has come, in microseconds.
const LATE: u64 = 2_000_000;

const TESTS: &[Test<Idle>] = &[
    test("a wait ends with its deadline, and not before", deadline),
    test("a deadline that has passed ends the wait at once", passed),
    test("each of a hundred waits has its deadline", hundred),
    test(
        "a wait for everything ends with its deadline when nothing comes",
        everything,
    ),
    test("two seconds are one wait", long),
];

struct Idle(Hardware);

impl Fixture for Idle {}

/// Tests the wait.
pub(super) fn run(tally: &mut Tally) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    tally.run("", &mut Idle(platform), TESTS);
}

/// It took so many microseconds, give or take the hypervisor.
#[inline(never)]
fn took(since: Tod, micros: u64) -> Outcome {
    let passed = Tod::now().micros_since(since);
    ensure("not before", passed >= micros)?;
    ensure("not much later", passed < micros + LATE)
}

fn deadline(_: &mut Idle) -> Outcome {
    let start = Tod::now();
    let wake = idle::wait(Sources::empty(), Some(start.plus_micros(20_000)));
    expect("wake", wake, idle::Wake::Deadline)?;
    took(start, 20_000)
}

fn passed(_: &mut Idle) -> Outcome {
    let start = Tod::now();
    let wake = idle::wait(Sources::empty(), Some(start));
    expect("wake", wake, idle::Wake::Deadline)?;
    took(start, 0)
}

fn hundred(fixture: &mut Idle) -> Outcome {
    let start = Tod::now();
    for number in 1..=100 {
        let wake = fixture.0.wait(Some(start.plus_micros(number * 1000)));
        expect("wake", wake, Wake::Deadline)?;
        ensure(
            "not before",
            Tod::now().micros_since(start) >= number * 1000,
        )?;
    }
    took(start, 100_000)
}

fn everything(fixture: &mut Idle) -> Outcome {
    let start = Tod::now();
    let wake = fixture.0.wait(Some(start.plus_micros(20_000)));
    expect("wake", wake, Wake::Deadline)?;
    took(start, 20_000)
}

fn long(fixture: &mut Idle) -> Outcome {
    let start = Tod::now();
    let wake = fixture.0.wait(Some(start.plus_micros(2_000_000)));
    expect("wake", wake, Wake::Deadline)?;
    took(start, 2_000_000)
}
