//! I/O interruptions: when they come, and what they bring.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::{Subchannel, ISC, PARAMETER, SOON};
use appliance::css::Wake;
use channel::{IoInterruption, StatusControl};
use s390x::clock::Tod;
use s390x::control::Cr6;

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test("TPI finds nothing when nothing is pending", nothing),
    test(
        "TPI takes the interruption once, with parameter and subclass",
        taken_once,
    ),
    test("an interruption ends the wait", ends_the_wait),
    test(
        "a subclass that is not enabled interrupts nobody, until it is",
        masked,
    ),
    test("an interruption has the subclass that MSCH gave", subclass),
    test("a halt and a clear interrupt too", halted_and_cleared),
    test("a lower subclass comes first", order),
];

fn of(fixture: &Subchannel, isc: u8) -> IoInterruption {
    IoInterruption::Subchannel {
        id: fixture.id,
        parameter: PARAMETER,
        isc,
    }
}

fn nothing(fixture: &mut Subchannel) -> Outcome {
    expect("TPI", fixture.platform.pending_interruption(), None)
}

fn taken_once(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    expect("TPI", fixture.interruption()?, of(fixture, ISC))?;
    expect("TPI again", fixture.platform.pending_interruption(), None)
}

fn ends_the_wait(fixture: &mut Subchannel) -> Outcome {
    fixture.start(&[fixture.sense_id()])?;
    let deadline = fixture.platform.now().plus_micros(SOON);
    let wake = fixture.platform.wait(Some(deadline));
    expect("wake", wake, Wake::Io)?;
    let taken = fixture.platform.pending_interruption();
    expect("interruption", taken, Some(of(fixture, ISC)))
}

/// With this subclass alone disabled.
fn without<T>(isc: u8, action: impl FnOnce() -> T) -> T {
    // SAFETY: interruptions are taken in the wait only.
    let before = unsafe { Cr6::update(|cr6| cr6 - Cr6::subclass(isc)) };
    let result = action();
    // SAFETY: as before.
    unsafe { before.write() };
    result
}

fn masked(fixture: &mut Subchannel) -> Outcome {
    if !fixture.own {
        return Err(Why::Skip("the subclasses are another machine's"));
    }
    fixture.with_status_pending()?;
    let platform = &mut fixture.platform;
    let wake = without(ISC, || {
        let taken = platform.pending_interruption();
        (taken, platform.wait(Some(Tod::now().plus_micros(10_000))))
    });
    expect("while disabled", wake, (None, Wake::Deadline))?;
    expect("when enabled", fixture.interruption()?, of(fixture, ISC))
}

fn subclass(fixture: &mut Subchannel) -> Outcome {
    for isc in [0, 7] {
        fixture.modify(&|schib| schib.pmcw.set_isc(isc))?;
        fixture.with_status_pending()?;
        expect("interruption", fixture.interruption()?, of(fixture, isc))?;
        fixture.status()?;
    }
    Ok(())
}

fn halted_and_cleared(fixture: &mut Subchannel) -> Outcome {
    fixture.modify(&|schib| schib.pmcw.parameter = PARAMETER.into())?;
    fixture.platform.halt(fixture.id)?;
    expect("halt", fixture.interruption()?, of(fixture, ISC))?;
    fixture.status()?;
    fixture.platform.clear(fixture.id)?;
    expect("clear", fixture.interruption()?, of(fixture, ISC))
}

fn order(fixture: &mut Subchannel) -> Outcome {
    let other = fixture.neighbour.ok_or(Why::Skip("one device only"))?;
    appliance::css::enable(fixture.platform.as_mut(), other, ISC - 1)?;
    fixture.with_status_pending()?;
    fixture.platform.clear(other)?;
    // Elsewhere than on the machine itself a clear function may take its time.
    let deadline = fixture.platform.now().plus_micros(SOON);
    let pending = StatusControl::PENDING;
    while !fixture
        .platform
        .store(other)?
        .scsw
        .status()
        .contains(pending)
    {
        ensure("cleared", fixture.platform.now() < deadline)?;
    }
    let first = fixture.interruption()?;
    let second = fixture.interruption()?;
    fixture.platform.test(other)?;
    appliance::css::disable(fixture.platform.as_mut(), other)?;
    let lower = matches!(first, IoInterruption::Subchannel { id, isc: 2, .. } if id == other);
    ensure("first", lower)?;
    expect("second", second, of(fixture, ISC))
}
