//! I/O interruptions: when they come, and what they bring.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::{Subchannel, ISC, PARAMETER, SOON};
use appliance::css::Wake;
use channel::{IoInterruption, StatusControl};
use s390x::clock::Tod;
use s390x::control::{Cr6, InterruptionSubclass};

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

fn of(scene: &Subchannel, isc: u8) -> IoInterruption {
    IoInterruption::Subchannel {
        id: scene.id,
        parameter: PARAMETER,
        isc,
    }
}

fn nothing(scene: &mut Subchannel) -> Outcome {
    expect("TPI", scene.platform.pending_interruption(), None)
}

fn taken_once(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    expect("TPI", scene.interruption()?, of(scene, ISC))?;
    expect("TPI again", scene.platform.pending_interruption(), None)
}

fn ends_the_wait(scene: &mut Subchannel) -> Outcome {
    scene.start(&[scene.sense_id()])?;
    let deadline = scene.platform.now().plus_micros(SOON);
    let wake = scene.platform.wait(Some(deadline));
    expect("wake", wake, Wake::Io)?;
    let taken = scene.platform.pending_interruption();
    expect("interruption", taken, Some(of(scene, ISC)))
}

/// With this subclass alone disabled.
fn without<T>(isc: u8, action: impl FnOnce() -> T) -> Result<T, Why> {
    let subclass = InterruptionSubclass::new(isc).ok_or("no such subclass")?;
    // SAFETY: interruptions are taken in the wait only.
    let before = unsafe { Cr6::update(|cr6| cr6 - Cr6::subclass(subclass)) };
    let result = action();
    // SAFETY: as before.
    unsafe { before.write() };
    Ok(result)
}

fn masked(scene: &mut Subchannel) -> Outcome {
    if !scene.own {
        return Err(Why::Skip("the subclasses are another machine's"));
    }
    scene.with_status_pending()?;
    let platform = &mut scene.platform;
    let wake = without(ISC, || {
        let taken = platform.pending_interruption();
        (taken, platform.wait(Some(Tod::now().plus_micros(10_000))))
    })?;
    expect("while disabled", wake, (None, Wake::Deadline))?;
    expect("when enabled", scene.interruption()?, of(scene, ISC))
}

fn subclass(scene: &mut Subchannel) -> Outcome {
    for isc in [0, 7] {
        scene.modify(&|schib| schib.pmcw.set_isc(isc))?;
        scene.with_status_pending()?;
        expect("interruption", scene.interruption()?, of(scene, isc))?;
        scene.status()?;
    }
    Ok(())
}

fn halted_and_cleared(scene: &mut Subchannel) -> Outcome {
    scene.modify(&|schib| schib.pmcw.parameter = PARAMETER.into())?;
    scene.platform.halt(scene.id)?;
    expect("halt", scene.interruption()?, of(scene, ISC))?;
    scene.status()?;
    scene.platform.clear(scene.id)?;
    expect("clear", scene.interruption()?, of(scene, ISC))
}

fn order(scene: &mut Subchannel) -> Outcome {
    let other = scene.neighbour.ok_or(Why::Skip("one device only"))?;
    appliance::css::enable(scene.platform.as_mut(), other, ISC - 1)?;
    scene.with_status_pending()?;
    scene.platform.clear(other)?;
    // Elsewhere than on the machine itself a clear function may take its time.
    let deadline = scene.platform.now().plus_micros(SOON);
    let pending = StatusControl::PENDING;
    while !scene.platform.store(other)?.scsw.status().contains(pending) {
        ensure("cleared", scene.platform.now() < deadline)?;
    }
    let first = scene.interruption()?;
    let second = scene.interruption()?;
    scene.platform.test(other)?;
    appliance::css::disable(scene.platform.as_mut(), other)?;
    let lower = matches!(first, IoInterruption::Subchannel { id, isc: 2, .. } if id == other);
    ensure("first", lower)?;
    expect("second", second, of(scene, ISC))
}
