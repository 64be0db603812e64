//! A program that is suspended, or is still running: what each instruction answers then.
//!
//! Emulated devices, and a DASD of Hercules as it is by default, run the whole program within START
//! SUBCHANNEL. A program without an end would never return from it, so a long one is tried first.

use super::super::liballoc::vec;
use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::programs::well;
use super::{Subchannel, SOON};
use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, FunctionControl, Irb, OrbFlags, Refusal, Tested,
};
use window::ClientAddress;
use zerocopy::IntoBytes;

/// CCWs of a program that takes a while.
const LONG: usize = Subchannel::DATA as usize / size_of::<Ccw1>() - 1;
/// How often it is tried: whoever runs it may be quick.
const ATTEMPTS: u32 = 50;

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test(
        "a suspended program goes on with RSCH, from the CCW as it is then",
        suspended,
    ),
    test("SSCH and MSCH of a running subchannel are busy", busy),
    test(
        "XSCH and RSCH of a running program have no effect",
        not_cancelled,
    ),
    test("TSCH of a running program says that it runs", tested),
    test(
        "HSCH of a running program ends in the status of both",
        halted,
    ),
    test("CSCH ends a running program", cleared),
    test(
        "a program without prefetch that loops goes on to the CCW that the CPU stores into it",
        changed,
    ),
];

/// Starts a program of SENSE ID that is suspended before it.
#[inline(never)]
pub(super) fn start_suspended(scene: &mut Subchannel) -> Result<(), Refusal> {
    let mut ccw = scene.sense_id();
    ccw.flags |= CcwFlags::SUSPEND.bits();
    scene.put(ccw.as_bytes());
    let mut orb = scene.orb();
    let flags = orb.control.get() & !OrbFlags::PREFETCH.bits();
    // Not all tell of the suspension, so none is asked to.
    let wanted = OrbFlags::SUSPEND_CONTROL | OrbFlags::SUPPRESS_SUSPENDED;
    orb.control.set(flags | wanted.bits());
    scene.start_orb(&orb)
}

/// The same, and waits until it is.
#[inline(never)]
fn suspend(scene: &mut Subchannel) -> Outcome {
    start_suspended(scene)?;
    let deadline = scene.platform.now().plus_micros(SOON);
    while !scene
        .schib()?
        .scsw
        .activity()
        .contains(ActivityControl::SUSPENDED)
    {
        ensure("suspended", scene.platform.now() < deadline)?;
    }
    // Some tell all the same.
    scene.platform.test(scene.id)?;
    scene.platform.forget_interruption(scene.id);
    Ok(())
}

fn suspended(scene: &mut Subchannel) -> Outcome {
    suspend(scene)?;
    let ccw = scene.sense_id();
    scene.put(ccw.as_bytes());
    scene.platform.resume(scene.id)?;
    let irb = scene.status()?;
    ensure("ended", irb.scsw.ended())?;
    expect("valid", scene.identity()?.valid, 0xFF)
}

/// Whether a subchannel has something to do.
fn is_active(scene: &mut Subchannel) -> Result<bool, Why> {
    let active = ActivityControl::START_PENDING | ActivityControl::SUBCHANNEL_ACTIVE;
    Ok(scene.schib()?.scsw.activity().intersects(active))
}

/// Starts a program without an end, which takes the device.
#[inline(never)]
pub(super) fn run(scene: &mut Subchannel, endless: &[Ccw1], flags: OrbFlags) -> Outcome {
    let mut long = vec![scene.nop(CcwFlags::CC); LONG];
    long.push(scene.sense_id());
    let mut runs = false;
    for _ in 0..ATTEMPTS {
        scene.start(&long)?;
        runs = is_active(scene)?;
        scene.status()?;
        if runs {
            break;
        }
    }
    if !runs {
        return Err(Why::Skip("programs run within SSCH"));
    }
    scene.put(endless.as_bytes());
    let mut orb = scene.orb();
    orb.set_flags(flags | OrbFlags::FORMAT_1);
    scene.start_orb(&orb)?;
    let deadline = scene.platform.now().plus_micros(SOON);
    while !scene
        .schib()?
        .scsw
        .activity()
        .contains(ActivityControl::SUBCHANNEL_ACTIVE)
    {
        ensure("it runs", scene.platform.now() < deadline)?;
    }
    Ok(())
}

/// The same with one that does nothing.
#[inline(never)]
fn run_idly(scene: &mut Subchannel, flags: OrbFlags) -> Outcome {
    let back = Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, scene.base());
    run(scene, &[scene.nop(CcwFlags::CC), back], flags)
}

/// Ends it, and gives its last status.
#[inline(never)]
fn end(scene: &mut Subchannel) -> Result<Irb, Why> {
    ensure("it still runs", is_active(scene)?)?;
    scene.platform.clear(scene.id)?;
    scene.status()
}

fn busy(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::PREFETCH)?;
    let orb = scene.orb();
    expect("SSCH", scene.start_orb(&orb), Err(Refusal::Busy))?;
    let schib = scene.schib()?;
    let modified = scene.platform.modify(scene.id, &schib);
    expect("MSCH", modified, Err(Refusal::Busy))?;
    end(scene).map(drop)
}

fn not_cancelled(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::PREFETCH)?;
    let cancelled = scene.platform.cancel(scene.id);
    expect("XSCH", cancelled, Err(Refusal::Busy))?;
    let resumed = scene.platform.resume(scene.id);
    expect("RSCH", resumed, Err(Refusal::Busy))?;
    end(scene).map(drop)
}

fn tested(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::PREFETCH)?;
    match scene.platform.test(scene.id)? {
        Tested::Nothing(irb) => {
            expect("function", irb.scsw.function(), FunctionControl::START)?;
        }
        Tested::Status(_) => return Err("status of a program that runs".into()),
    }
    end(scene).map(drop)
}

fn halted(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::PREFETCH)?;
    scene.platform.halt(scene.id)?;
    let scsw = scene.status()?.scsw;
    let both = FunctionControl::START | FunctionControl::HALT;
    // Hercules leaves the activity as it was.
    expect("function", scsw.function(), both)
}

fn cleared(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::PREFETCH)?;
    let scsw = end(scene)?.scsw;
    expect("function", scsw.function(), FunctionControl::CLEAR)?;
    ensure("ended", !is_active(scene)?)
}

fn changed(scene: &mut Subchannel) -> Outcome {
    run_idly(scene, OrbFlags::empty())?;
    ensure("it still runs", is_active(scene)?)?;
    // Over the TIC, by one store.
    let ccw = scene.sense_id();
    scene.page.write(ClientAddress::new(8), &ccw)?;
    let irb = scene.status()?;
    well(&irb)?;
    expect("CCW address", irb.scsw.program.get(), scene.base() + 16)?;
    ensure("identity", scene.identity()?.is_valid())
}
