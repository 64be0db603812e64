//! A program that is suspended, or is still running: what each instruction answers then.
//!
//! Emulated devices, and a DASD of Hercules as it is by default, run the whole program within START
//! SUBCHANNEL. A program without an end would never return from it, so a long one is tried first.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::programs::{program_check, well};
use super::{Subchannel, SOON};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec;
use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, FunctionControl, Irb, OrbFlags, Refusal, Tested,
};
use s390x::ebcdic::Text;
use s390x::sysinfo::{Machine, SystemInformation};
use window::ClientAddress;
use zerocopy::IntoBytes;

/// CCWs of a program that takes a while.
const LONG: usize = Subchannel::DATA as usize / size_of::<Ccw1>() - 1;
/// How often it is tried: whoever runs it may be quick, and whoever looks slow.
const ATTEMPTS: u32 = 200;
/// How often a program is changed while the channel goes round and round in it, and how often that may fail where CCWs are
/// not fetched whole.
const ROUNDS: u32 = 16;
const TORN: u32 = ROUNDS / 2;

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
        "a program without prefetch that loops ends when the CPU takes its command chaining away",
        unchained,
    ),
    test(
        "a program without prefetch that loops goes on where the CPU makes its TIC lead",
        redirected,
    ),
    test(
        "a program without prefetch that loops goes on to the CCW that the CPU stores into it",
        replaced,
    ),
];

/// Starts a program of SENSE ID that is suspended before it.
#[inline(never)]
pub(super) fn start_suspended(fixture: &mut Subchannel) -> Result<(), Refusal> {
    let mut ccw = fixture.sense_id();
    ccw.flags |= CcwFlags::SUSPEND.bits();
    fixture.put(ccw.as_bytes());
    let mut orb = fixture.orb();
    let flags = orb.control.get() & !OrbFlags::PREFETCH.bits();
    // Not all tell of the suspension, so none is asked to.
    let wanted = OrbFlags::SUSPEND_CONTROL | OrbFlags::SUPPRESS_SUSPENDED;
    orb.control.set(flags | wanted.bits());
    fixture.start_orb(&orb)
}

/// The same, and waits until it is.
#[inline(never)]
fn suspend(fixture: &mut Subchannel) -> Outcome {
    start_suspended(fixture)?;
    until_suspended(fixture)
}

/// Waits until the program is suspended.
#[inline(never)]
pub(super) fn until_suspended(fixture: &mut Subchannel) -> Outcome {
    let deadline = fixture.platform.now().plus_micros(SOON);
    while !fixture
        .schib()?
        .scsw
        .activity()
        .contains(ActivityControl::SUSPENDED)
    {
        ensure("suspended", fixture.platform.now() < deadline)?;
    }
    // Some tell all the same.
    fixture.platform.take_status(fixture.id)?;
    Ok(())
}

fn suspended(fixture: &mut Subchannel) -> Outcome {
    fixture.skip_for_vfio("vfio-ccw resumes nothing")?;
    suspend(fixture)?;
    let ccw = fixture.sense_id();
    fixture.put(ccw.as_bytes());
    fixture.platform.resume(fixture.id)?;
    let irb = fixture.status()?;
    ensure("ended", irb.scsw.ended())?;
    expect("valid", fixture.identity()?.valid, 0xFF)
}

/// Whether a subchannel has something to do.
fn is_active(fixture: &mut Subchannel) -> Result<bool, Why> {
    let active = ActivityControl::START_PENDING | ActivityControl::SUBCHANNEL_ACTIVE;
    Ok(fixture.schib()?.scsw.activity().intersects(active))
}

/// Whether programs run on while the CPU does something else. A long one may have ended before anybody looks: once it
/// has been seen to run, that is known of the device.
fn runs_on_its_own(fixture: &mut Subchannel, long: &[Ccw1]) -> Result<bool, Why> {
    for _ in 0..ATTEMPTS {
        if fixture.asynchronous.is_some() {
            break;
        }
        fixture.start(long)?;
        if is_active(fixture)? {
            fixture.asynchronous = Some(true);
        }
        fixture.status()?;
    }
    Ok(*fixture.asynchronous.get_or_insert(false))
}

/// Starts a program without an end, which takes the device.
#[inline(never)]
pub(super) fn run(fixture: &mut Subchannel, endless: &[Ccw1], flags: OrbFlags) -> Outcome {
    let mut long = vec![fixture.nop(CcwFlags::CC); LONG];
    long.push(fixture.sense_id());
    if fixture.vfio {
        fixture.start(&long)?;
        super::programs::refused_by_vfio(&fixture.status()?)?;
        return Err(Why::Skip("vfio-ccw takes no program of so many CCWs"));
    }
    if !runs_on_its_own(fixture, &long)? {
        return Err(Why::Skip("programs run within SSCH"));
    }
    fixture.put(endless.as_bytes());
    let mut orb = fixture.orb();
    orb.set_flags(flags | OrbFlags::FORMAT_1);
    fixture.start_orb(&orb)?;
    let deadline = fixture.platform.now().plus_micros(SOON);
    while !fixture
        .schib()?
        .scsw
        .activity()
        .contains(ActivityControl::SUBCHANNEL_ACTIVE)
    {
        ensure("it runs", fixture.platform.now() < deadline)?;
    }
    Ok(())
}

/// The same with one that does nothing. Behind its two CCWs is a third one, to which only a status modifier would lead.
#[inline(never)]
fn run_idly(fixture: &mut Subchannel, flags: OrbFlags) -> Outcome {
    let back = Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, fixture.base());
    let behind = fixture.nop(CcwFlags::empty());
    run(fixture, &[fixture.nop(CcwFlags::CC), back, behind], flags)
}

/// Ends it, and gives its last status.
#[inline(never)]
fn end(fixture: &mut Subchannel) -> Result<Irb, Why> {
    ensure("it still runs", is_active(fixture)?)?;
    fixture.platform.clear(fixture.id)?;
    fixture.status()
}

fn busy(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::PREFETCH)?;
    let orb = fixture.orb();
    expect("SSCH", fixture.start_orb(&orb), Err(Refusal::Busy))?;
    let schib = fixture.schib()?;
    let modified = fixture.platform.modify(fixture.id, &schib);
    expect("MSCH", modified, Err(Refusal::Busy))?;
    end(fixture).map(drop)
}

fn not_cancelled(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::PREFETCH)?;
    let cancelled = fixture.platform.cancel(fixture.id);
    expect("XSCH", cancelled, Err(Refusal::Busy))?;
    let resumed = fixture.platform.resume(fixture.id);
    expect("RSCH", resumed, Err(Refusal::Busy))?;
    end(fixture).map(drop)
}

fn tested(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::PREFETCH)?;
    match fixture.platform.test(fixture.id)? {
        Tested::Nothing(irb) => {
            expect("function", irb.scsw.function(), FunctionControl::START)?;
        }
        Tested::Status(_) => return Err("status of a program that runs".into()),
    }
    end(fixture).map(drop)
}

fn halted(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::PREFETCH)?;
    fixture.platform.halt(fixture.id)?;
    let scsw = fixture.status()?.scsw;
    let both = FunctionControl::START | FunctionControl::HALT;
    // Hercules leaves the activity as it was.
    expect("function", scsw.function(), both)
}

fn cleared(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::PREFETCH)?;
    let scsw = end(fixture)?.scsw;
    expect("function", scsw.function(), FunctionControl::CLEAR)?;
    ensure("ended", !is_active(fixture)?)
}

/// Starts an endless program that may change while it runs.
#[inline(never)]
fn run_changeable(fixture: &mut Subchannel) -> Outcome {
    run_idly(fixture, OrbFlags::empty())?;
    ensure("it still runs", is_active(fixture)?)
}

/// It has ended well behind the CCW at `last`.
#[inline(never)]
fn ended_at(fixture: &mut Subchannel, last: u32) -> Outcome {
    let irb = fixture.status()?;
    well(&irb)?;
    let end = fixture.base() + last + 8;
    expect("CCW address", irb.scsw.program.get(), end)
}

/// One byte changes, so it does not matter how the channel fetches a CCW.
fn unchained(fixture: &mut Subchannel) -> Outcome {
    run_changeable(fixture)?;
    let ccw = fixture.nop(CcwFlags::empty());
    fixture.page.write(ClientAddress::new(0), &ccw)?;
    ended_at(fixture, 0)
}

/// First what is ahead is changed, then what leads there; the channel must not see the second one without the first. Of the
/// TIC only the address changes, which is fetched at once everywhere.
fn redirected(fixture: &mut Subchannel) -> Outcome {
    for _ in 0..ROUNDS {
        run_changeable(fixture)?;
        let ccw = fixture.sense_id();
        fixture.page.write(ClientAddress::new(16), &ccw)?;
        let on = Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, fixture.base() + 16);
        fixture.page.write(ClientAddress::new(8), &on)?;
        ended_at(fixture, 16)?;
        ensure("identity", fixture.identity()?.is_valid())?;
    }
    Ok(())
}

/// All of a CCW changes, by one store of eight bytes, as the architecture wants it to be fetched. Hercules' channel fetches
/// command, flags, count and address one after the other, so it now and then finds some of them old and some new. That shows
/// as a program check at this CCW, or where a TIC leads that has got the new CCW's address; anything else is a fault, and so is a
/// check that comes often, or elsewhere.
fn replaced(fixture: &mut Subchannel) -> Outcome {
    let mut torn = 0;
    for _ in 0..ROUNDS {
        run_changeable(fixture)?;
        let ccw = fixture.sense_id();
        fixture.page.write(ClientAddress::new(8), &ccw)?;
        let irb = fixture.status()?;
        if irb.scsw.device().is_empty() && fetches_ccws_in_parts() {
            program_check(&irb)?;
            // To a client, what is not in its program is address 0.
            let elsewhere = if fixture.own {
                ccw.address.get() + 8
            } else {
                0
            };
            let places = [fixture.base() + 16, elsewhere];
            let at = irb.scsw.program.get();
            ensure("it was that CCW", places.contains(&at))?;
            torn += 1;
            continue;
        }
        well(&irb)?;
        expect("CCW address", irb.scsw.program.get(), fixture.base() + 16)?;
        ensure("identity", fixture.identity()?.is_valid())?;
    }
    if torn > 0 {
        log::warn!("{torn} of {ROUNDS} times Hercules' channel fetched half of the old CCW and half of the new one");
    }
    ensure("it is rare", torn <= TORN)
}

/// Whether this machine is known to fetch a CCW in more than one piece: Hercules is.
fn fetches_ccws_in_parts() -> bool {
    let mut block = Box::new(SystemInformation::zeroed());
    let machine = Machine::read(&mut block);
    machine.is_some_and(|machine| Text(&machine.manufacturer).to_string() == "HRC")
}
