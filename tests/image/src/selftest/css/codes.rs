//! What each instruction answers in each state of the subchannel.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::{Subchannel, ISC, PARAMETER};
use channel::{
    Emw, FunctionControl, NotOperational, PmcwCharacteristics, PmcwFlags, Refusal, StatusControl,
    Tested,
};

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test(
        "what is not there is not operational, for every instruction",
        absent,
    ),
    test("STSCH tells device number, type and path", stored),
    test("MSCH sets what it may", modified),
    test(
        "what is disabled is not operational, but for STSCH and MSCH",
        disabled,
    ),
    test(
        "MSCH with status pending is refused, and changes nothing",
        modify_pending,
    ),
    test("TSCH with nothing pending says so", test_nothing),
    test("TSCH takes status once", test_once),
    test(
        "SSCH with status pending is refused, and the status stays",
        start_pending,
    ),
    test("SSCH after TSCH starts again", start_again),
    test("HSCH when idle ends in status alone", halt_idle),
    test("HSCH with status pending is refused", halt_pending),
    test("CSCH when idle ends in status alone", clear_idle),
    test("CSCH forgets the status of a start", clear_pending),
    test("XSCH with nothing to cancel has no effect", cancel_idle),
    test("XSCH with status pending is refused", cancel_pending),
    test("RSCH with nothing suspended has no effect", resume_idle),
    test("RSCH with status pending is refused", resume_pending),
    test("STCRW has nothing to report", no_report),
    test(
        "an operand exception of SSCH or MSCH is an answer, and nothing is done",
        operand_exceptions,
    ),
    test(
        "to ask for an extended-measurement word is an operand exception, and changes nothing",
        no_extended_measurement,
    ),
    test(
        "an extended-measurement word comes with the end of a program",
        extended_measurement,
    ),
];

const EXTENDED: PmcwCharacteristics = PmcwCharacteristics::EXTENDED_MEASUREMENT;

fn absent(scene: &mut Subchannel) -> Outcome {
    let (id, orb) = (scene.absent, scene.orb());
    let schib = scene.schib()?;
    let css = &mut scene.platform;
    expect("STSCH", css.store(id).err(), Some(NotOperational))?;
    expect("MSCH", css.modify(id, &schib), Err(Refusal::NotOperational))?;
    // SAFETY: nobody is there to run it.
    let started = unsafe { css.start(id, &orb) };
    expect("SSCH", started, Err(Refusal::NotOperational))?;
    expect("TSCH", css.test(id).err(), Some(NotOperational))?;
    expect("HSCH", css.halt(id), Err(Refusal::NotOperational))?;
    expect("CSCH", css.clear(id), Err(NotOperational))?;
    expect("XSCH", css.cancel(id), Err(Refusal::NotOperational))?;
    expect("RSCH", css.resume(id), Err(Refusal::NotOperational))
}

fn stored(scene: &mut Subchannel) -> Outcome {
    let pmcw = scene.schib()?.pmcw;
    expect("number", pmcw.device.get(), scene.device.number.number)?;
    expect("type", pmcw.subchannel_type(), 0)?;
    ensure("a valid device number", pmcw.has_device())?;
    ensure("a path installed", pmcw.pim != 0)?;
    ensure("and available", pmcw.pim & pmcw.pam != 0)
}

fn modified(scene: &mut Subchannel) -> Outcome {
    scene.modify(&|schib| {
        schib.pmcw.parameter = PARAMETER.into();
        schib.pmcw.set_isc(5);
        schib.pmcw.set_concurrent_sense(false);
        // Of which MSCH takes none.
        schib.pmcw.device = 0xFFFF.into();
        schib.pmcw.pim = 0;
        schib.scsw.count = 0xFFFF.into();
    })?;
    let schib = scene.schib()?;
    expect("parameter", schib.pmcw.parameter.get(), PARAMETER)?;
    expect("ISC", schib.pmcw.isc(), 5)?;
    expect("sense", schib.pmcw.characteristics.get() & 1, 0)?;
    expect(
        "number",
        schib.pmcw.device.get(),
        scene.device.number.number,
    )?;
    ensure("path installed", schib.pmcw.pim != 0)?;
    ensure("count as it was", schib.scsw.count.get() != 0xFFFF)
}

fn disabled(scene: &mut Subchannel) -> Outcome {
    scene.modify(&|schib| schib.pmcw.set_flag(PmcwFlags::ENABLED, false))?;
    let (id, orb) = (scene.id, scene.orb());
    expect("SSCH", scene.start_orb(&orb), Err(Refusal::NotOperational))?;
    let css = &mut scene.platform;
    expect("TSCH", css.test(id).err(), Some(NotOperational))?;
    expect("HSCH", css.halt(id), Err(Refusal::NotOperational))?;
    expect("CSCH", css.clear(id), Err(NotOperational))?;
    expect("XSCH", css.cancel(id), Err(Refusal::NotOperational))?;
    expect("RSCH", css.resume(id), Err(Refusal::NotOperational))?;
    ensure("STSCH", css.store(id).is_ok())
}

fn modify_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let mut schib = scene.schib()?;
    schib.pmcw.set_isc(7);
    let modified = scene.platform.modify(scene.id, &schib);
    expect("MSCH", modified, Err(Refusal::StatusPending))?;
    expect("ISC", scene.schib()?.pmcw.isc(), ISC)
}

fn test_nothing(scene: &mut Subchannel) -> Outcome {
    match scene.platform.test(scene.id)? {
        Tested::Nothing(irb) => expect("status", irb.scsw.status(), StatusControl::empty()),
        Tested::Status(irb) => expect("status", irb.scsw.status(), StatusControl::empty()),
    }
}

fn test_once(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let first = scene.platform.test(scene.id)?;
    ensure("first", matches!(first, Tested::Status(_)))?;
    let second = scene.platform.test(scene.id)?;
    ensure("second", matches!(second, Tested::Nothing(_)))
}

fn start_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let before = scene.schib()?.scsw.control;
    let orb = scene.orb();
    let refused = scene.start_orb(&orb);
    expect("SSCH", refused, Err(Refusal::StatusPending))?;
    expect("SCSW", scene.schib()?.scsw.control, before)
}

fn start_again(scene: &mut Subchannel) -> Outcome {
    for _ in 0..3 {
        scene.start(&[scene.sense_id()])?;
        let irb = scene.status()?;
        expect("function", irb.scsw.function(), FunctionControl::START)?;
    }
    Ok(())
}

/// Status of a halt or clear function: none but that it is pending.
#[inline(never)]
fn alone(scene: &mut Subchannel, function: FunctionControl) -> Outcome {
    let scsw = scene.status()?.scsw;
    expect("function", scsw.function(), function)?;
    expect("status", scsw.status(), StatusControl::PENDING)
}

fn halt_idle(scene: &mut Subchannel) -> Outcome {
    scene.platform.halt(scene.id)?;
    alone(scene, FunctionControl::HALT)
}

fn halt_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let refused = scene.platform.halt(scene.id);
    expect("HSCH", refused, Err(Refusal::StatusPending))?;
    let function = scene.status()?.scsw.function();
    expect("function", function, FunctionControl::START)
}

fn clear_idle(scene: &mut Subchannel) -> Outcome {
    scene.platform.clear(scene.id)?;
    alone(scene, FunctionControl::CLEAR)
}

fn clear_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    scene.platform.clear(scene.id)?;
    // Emulated subchannels keep some of the status-control bits.
    let scsw = scene.status()?.scsw;
    expect("function", scsw.function(), FunctionControl::CLEAR)?;
    expect("device status", scsw.device_status, 0)
}

fn cancel_idle(scene: &mut Subchannel) -> Outcome {
    let refused = scene.platform.cancel(scene.id);
    expect("XSCH", refused, Err(Refusal::Busy))
}

fn cancel_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let refused = scene.platform.cancel(scene.id);
    expect("XSCH", refused, Err(Refusal::StatusPending))
}

fn resume_idle(scene: &mut Subchannel) -> Outcome {
    let refused = scene.platform.resume(scene.id);
    expect("RSCH", refused, Err(Refusal::Busy))
}

fn resume_pending(scene: &mut Subchannel) -> Outcome {
    scene.with_status_pending()?;
    let refused = scene.platform.resume(scene.id);
    expect("RSCH", refused, Err(Refusal::StatusPending))
}

fn no_report(scene: &mut Subchannel) -> Outcome {
    ensure("none", scene.platform.channel_report().is_none())
}

fn operand_exceptions(scene: &mut Subchannel) -> Outcome {
    let mut orb = scene.orb();
    orb.program.set(orb.program.get() | 1 << 31);
    expect("SSCH", scene.start_orb(&orb), Err(Refusal::Operand))?;
    let mut schib = scene.schib()?;
    // Reserved bits, and both limits, which cannot be.
    let wrong = PmcwFlags::from_bits_retain(0x0760);
    schib.pmcw.set_flag(wrong, true);
    let modified = scene.platform.modify(scene.id, &schib);
    expect("MSCH", modified, Err(Refusal::Operand))?;
    expect(
        "function",
        scene.schib()?.scsw.function(),
        FunctionControl::empty(),
    )?;
    scene.start(&[scene.sense_id()])?;
    ensure("ended", scene.status()?.scsw.ended())
}

/// Asks for the word, and for other things with it. Whether the machine has it.
fn asks_for_the_word(scene: &mut Subchannel) -> Result<bool, Why> {
    let before = scene.schib()?.pmcw;
    let mut wanted = scene.schib()?;
    wanted.pmcw.set_characteristic(EXTENDED, true);
    wanted.pmcw.set_isc(6);
    wanted.pmcw.parameter = PARAMETER.into();
    let modified = scene.platform.modify(scene.id, &wanted);
    if modified == Err(Refusal::Operand) {
        ensure("as it was", scene.schib()?.pmcw == before)?;
        return Ok(false);
    }
    modified?;
    let shown = scene.schib()?.pmcw.has_extended_measurement();
    expect("shown", shown, true).map(|()| shown)
}

/// The extended-measurement word of a program.
fn word(scene: &mut Subchannel) -> Result<Emw, Why> {
    scene.start(&[scene.sense_id()])?;
    let irb = scene.status()?;
    ensure("ended", irb.scsw.ended())?;
    Ok(irb.emw)
}

fn no_extended_measurement(scene: &mut Subchannel) -> Outcome {
    if asks_for_the_word(scene)? {
        return Err(Why::Skip("this machine has the word"));
    }
    ensure("no word", word(scene)? == Emw::default())
}

fn extended_measurement(scene: &mut Subchannel) -> Outcome {
    if !asks_for_the_word(scene)? {
        return Err(Why::Skip("this machine does not have it"));
    }
    ensure("a word", word(scene)? != Emw::default())?;
    scene.modify(&|schib| schib.pmcw.set_characteristic(EXTENDED, false))?;
    ensure("no word", word(scene)? == Emw::default())
}
