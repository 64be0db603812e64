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

fn absent(fixture: &mut Subchannel) -> Outcome {
    let (id, orb) = (fixture.absent, fixture.orb());
    let schib = fixture.schib()?;
    let css = &mut fixture.platform;
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

fn stored(fixture: &mut Subchannel) -> Outcome {
    let pmcw = fixture.schib()?.pmcw;
    expect("number", pmcw.device.get(), fixture.device.number.number)?;
    expect("type", pmcw.subchannel_type(), 0)?;
    ensure("a valid device number", pmcw.has_device())?;
    ensure("a path installed", pmcw.pim != 0)?;
    ensure("and available", pmcw.pim & pmcw.pam != 0)
}

fn modified(fixture: &mut Subchannel) -> Outcome {
    fixture.modify(&|schib| {
        schib.pmcw.parameter = PARAMETER.into();
        schib.pmcw.set_isc(5);
        schib.pmcw.set_concurrent_sense(false);
        // Of which MSCH takes none.
        schib.pmcw.device = 0xFFFF.into();
        schib.pmcw.pim = 0;
        schib.scsw.count = 0xFFFF.into();
    })?;
    let schib = fixture.schib()?;
    expect("parameter", schib.pmcw.parameter.get(), PARAMETER)?;
    expect("ISC", schib.pmcw.isc(), 5)?;
    expect("sense", schib.pmcw.characteristics.get() & 1, 0)?;
    expect(
        "number",
        schib.pmcw.device.get(),
        fixture.device.number.number,
    )?;
    ensure("path installed", schib.pmcw.pim != 0)?;
    ensure("count as it was", schib.scsw.count.get() != 0xFFFF)
}

fn disabled(fixture: &mut Subchannel) -> Outcome {
    fixture.modify(&|schib| schib.pmcw.set_flag(PmcwFlags::ENABLED, false))?;
    let (id, orb) = (fixture.id, fixture.orb());
    expect(
        "SSCH",
        fixture.start_orb(&orb),
        Err(Refusal::NotOperational),
    )?;
    let css = &mut fixture.platform;
    expect("TSCH", css.test(id).err(), Some(NotOperational))?;
    expect("HSCH", css.halt(id), Err(Refusal::NotOperational))?;
    expect("CSCH", css.clear(id), Err(NotOperational))?;
    expect("XSCH", css.cancel(id), Err(Refusal::NotOperational))?;
    expect("RSCH", css.resume(id), Err(Refusal::NotOperational))?;
    ensure("STSCH", css.store(id).is_ok())
}

fn modify_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let mut schib = fixture.schib()?;
    schib.pmcw.set_isc(7);
    let modified = fixture.platform.modify(fixture.id, &schib);
    expect("MSCH", modified, Err(Refusal::StatusPending))?;
    expect("ISC", fixture.schib()?.pmcw.isc(), ISC)
}

fn test_nothing(fixture: &mut Subchannel) -> Outcome {
    match fixture.platform.test(fixture.id)? {
        Tested::Nothing(irb) => expect("status", irb.scsw.status(), StatusControl::empty()),
        Tested::Status(irb) => expect("status", irb.scsw.status(), StatusControl::empty()),
    }
}

fn test_once(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let first = fixture.platform.test(fixture.id)?;
    ensure("first", matches!(first, Tested::Status(_)))?;
    let second = fixture.platform.test(fixture.id)?;
    ensure("second", matches!(second, Tested::Nothing(_)))
}

fn start_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let before = fixture.schib()?.scsw.control;
    let orb = fixture.orb();
    let refused = fixture.start_orb(&orb);
    expect("SSCH", refused, Err(Refusal::StatusPending))?;
    expect("SCSW", fixture.schib()?.scsw.control, before)
}

fn start_again(fixture: &mut Subchannel) -> Outcome {
    for _ in 0..3 {
        fixture.start(&[fixture.sense_id()])?;
        let irb = fixture.status()?;
        expect("function", irb.scsw.function(), FunctionControl::START)?;
    }
    Ok(())
}

/// Status of a halt or clear function: none but that it is pending.
#[inline(never)]
fn alone(fixture: &mut Subchannel, function: FunctionControl) -> Outcome {
    let scsw = fixture.status()?.scsw;
    expect("function", scsw.function(), function)?;
    expect("status", scsw.status(), StatusControl::PENDING)
}

fn halt_idle(fixture: &mut Subchannel) -> Outcome {
    fixture.platform.halt(fixture.id)?;
    alone(fixture, FunctionControl::HALT)
}

fn halt_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let refused = fixture.platform.halt(fixture.id);
    expect("HSCH", refused, Err(Refusal::StatusPending))?;
    let function = fixture.status()?.scsw.function();
    expect("function", function, FunctionControl::START)
}

fn clear_idle(fixture: &mut Subchannel) -> Outcome {
    fixture.platform.clear(fixture.id)?;
    alone(fixture, FunctionControl::CLEAR)
}

fn clear_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    fixture.platform.clear(fixture.id)?;
    // Emulated subchannels keep some of the status-control bits.
    let scsw = fixture.status()?.scsw;
    expect("function", scsw.function(), FunctionControl::CLEAR)?;
    expect("device status", scsw.device_status, 0)
}

fn cancel_idle(fixture: &mut Subchannel) -> Outcome {
    let refused = fixture.platform.cancel(fixture.id);
    expect("XSCH", refused, Err(Refusal::Busy))
}

fn cancel_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let refused = fixture.platform.cancel(fixture.id);
    expect("XSCH", refused, Err(Refusal::StatusPending))
}

fn resume_idle(fixture: &mut Subchannel) -> Outcome {
    let refused = fixture.platform.resume(fixture.id);
    expect("RSCH", refused, Err(Refusal::Busy))
}

fn resume_pending(fixture: &mut Subchannel) -> Outcome {
    fixture.with_status_pending()?;
    let refused = fixture.platform.resume(fixture.id);
    expect("RSCH", refused, Err(Refusal::StatusPending))
}

fn no_report(fixture: &mut Subchannel) -> Outcome {
    ensure("none", fixture.platform.channel_report().is_none())
}

fn operand_exceptions(fixture: &mut Subchannel) -> Outcome {
    let mut orb = fixture.orb();
    orb.program.set(orb.program.get() | 1 << 31);
    expect("SSCH", fixture.start_orb(&orb), Err(Refusal::Operand))?;
    let mut schib = fixture.schib()?;
    // Reserved bits, and both limits, which cannot be.
    let wrong = PmcwFlags::from_bits_retain(0x0760);
    schib.pmcw.set_flag(wrong, true);
    let modified = fixture.platform.modify(fixture.id, &schib);
    expect("MSCH", modified, Err(Refusal::Operand))?;
    expect(
        "function",
        fixture.schib()?.scsw.function(),
        FunctionControl::empty(),
    )?;
    fixture.start(&[fixture.sense_id()])?;
    ensure("ended", fixture.status()?.scsw.ended())
}

/// Asks for the word, and for other things with it. Whether the machine has it.
fn asks_for_the_word(fixture: &mut Subchannel) -> Result<bool, Why> {
    let before = fixture.schib()?.pmcw;
    let mut wanted = fixture.schib()?;
    wanted.pmcw.set_characteristic(EXTENDED, true);
    wanted.pmcw.set_isc(6);
    wanted.pmcw.parameter = PARAMETER.into();
    let modified = fixture.platform.modify(fixture.id, &wanted);
    if modified == Err(Refusal::Operand) {
        ensure("as it was", fixture.schib()?.pmcw == before)?;
        return Ok(false);
    }
    modified?;
    let shown = fixture.schib()?.pmcw.has_extended_measurement();
    expect("shown", shown, true).map(|()| shown)
}

/// The extended-measurement word of a program.
fn word(fixture: &mut Subchannel) -> Result<Emw, Why> {
    fixture.start(&[fixture.sense_id()])?;
    let irb = fixture.status()?;
    ensure("ended", irb.scsw.ended())?;
    Ok(irb.emw)
}

fn no_extended_measurement(fixture: &mut Subchannel) -> Outcome {
    if asks_for_the_word(fixture)? {
        return Err(Why::Skip("this machine has the word"));
    }
    ensure("no word", word(fixture)? == Emw::default())
}

fn extended_measurement(fixture: &mut Subchannel) -> Outcome {
    if !asks_for_the_word(fixture)? {
        return Err(Why::Skip("this machine does not have it"));
    }
    ensure("a word", word(fixture)? != Emw::default())?;
    fixture.modify(&|schib| schib.pmcw.set_characteristic(EXTENDED, false))?;
    ensure("no word", word(fixture)? == Emw::default())
}
