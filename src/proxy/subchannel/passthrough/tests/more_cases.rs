//! The defects of QEMU's channel subsystem (29 to 43): what a client sees of the instructions.

use channel::model::Instruction;
use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, FunctionControl, Orb, OrbFlags,
    PmcwCharacteristics, PmcwFlags, Schib, StatusControl,
};

use vcss::client::Response;

use super::fixture::{Fixture, DEVICE, PROGRAM};
use super::steps::Step;
use crate::proxy::subchannel::passthrough::requests::HOLD_US;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;

const EXTENDED: PmcwCharacteristics = PmcwCharacteristics::EXTENDED_MEASUREMENT;

#[test]
fn case_29_a_refused_start_leaves_the_subchannel_as_it_was() {
    let mut fixture = Fixture::enabled();
    fixture.pmcw().pam = 0;
    let before = fixture.schib();
    assert_eq!(fixture.start(), 3, "no path");
    assert_eq!(fixture.schib(), before);
    fixture.pmcw().pam = 0xC0;
    assert_eq!(fixture.start(), 0);
}

#[test]
fn case_30_a_refused_halt_or_clear_says_so() {
    let mut fixture = Fixture::running();
    assert!(fixture.happens(Step::End));
    assert_eq!(fixture.halt(), 1);
    assert_eq!(fixture.test().0, 0);
    assert!(fixture.happens(Step::Unplug));
    assert_eq!(fixture.clear(), 3);
    assert_eq!(fixture.halt(), 3);
}

/// There is no code in between that could be lost: the hardware's is the client's.
#[test]
fn case_31_the_hardwares_condition_code_is_the_clients() {
    let mut fixture = Fixture::enabled();
    assert!(fixture.happens(Step::Attention));
    for (request, code) in [
        (Request::Start(Fixture::orb()), 1),
        (Request::Halt, 1),
        (Request::Cancel, 1),
        (Request::Resume, 1),
        (Request::Clear, 0),
    ] {
        assert_eq!(fixture.ask(request), code, "{request:?}");
    }
}

#[test]
fn case_32_cancel_distinguishes_pending_status_from_a_function_too_far_gone() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.ask(Request::Cancel), 2, "nothing to cancel");
    assert_eq!(fixture.start(), 0);
    assert_eq!(fixture.ask(Request::Cancel), 0, "not begun");
    assert_eq!(fixture.state(), State::Idle);
    assert!(!fixture.subject.program.translator.is_live());
    assert_eq!(fixture.test().0, 1, "no interruption for it");
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    assert_eq!(fixture.ask(Request::Cancel), 2, "begun");
    fixture.step(Step::End);
    assert_eq!(fixture.ask(Request::Cancel), 1, "status is pending");
    assert_eq!(fixture.accepted(Instruction::Cancel), 1);
}

#[test]
fn case_33_enabled_and_valid_are_both_needed() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.start(), 3, "valid, not enabled");
    assert_eq!(fixture.enable(true), 0);
    assert!(fixture.happens(Step::Unplug));
    assert_eq!(fixture.start(), 3, "enabled, not valid");
    assert_eq!(fixture.accepted(Instruction::Start), 0);
}

#[test]
fn case_34_clear_sets_the_clear_function_alone() {
    let mut fixture = Fixture::running();
    assert_eq!(fixture.clear(), 0);
    let scsw = fixture.schib().scsw;
    assert_eq!(scsw.function(), FunctionControl::CLEAR);
    assert_eq!(scsw.activity(), ActivityControl::CLEAR_PENDING);
    fixture.step(Step::Work);
    let (condition, irb) = fixture.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.function(), FunctionControl::CLEAR);
    assert_eq!(irb.scsw.status(), StatusControl::PENDING);
    assert_eq!(fixture.state(), State::Idle);
}

/// With a vfio-ccw QEMU leaves status standing until the clear function ends; on Hercules the activity can stand beside the
/// clear function's own end. So it is held back, but not for ever.
#[test]
fn case_34_status_beside_a_clear_function_is_held_back_for_100_ms() {
    let mut fixture = Fixture::running();
    assert_eq!(fixture.clear(), 0);
    let pending = ActivityControl::CLEAR_PENDING;
    fixture.present(|irb| {
        let (function, status) = (FunctionControl::CLEAR, StatusControl::PENDING);
        irb.scsw.set_controls(function, pending, status);
    });
    fixture.look();
    let began = fixture.now;
    for after in [0, HOLD_US - 1] {
        fixture.now = began.plus_micros(after);
        fixture.with(|subject, ctx| subject.tick(ctx));
        assert!(fixture.subject.wants_refresh() && !fixture.subject.is_pending());
        let (condition, irb) = fixture.test();
        assert_eq!(condition, 1);
        assert_eq!(irb.scsw.status(), StatusControl::empty());
    }
    fixture.now = began.plus_micros(HOLD_US);
    fixture.with(|subject, ctx| subject.tick(ctx));
    assert!(fixture.subject.is_pending());
    assert!(!fixture.subject.wants_refresh(), "the client has been told");
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.state(), State::Idle);
}

#[test]
fn case_34_clear_wipes_pending_status() {
    let mut fixture = Fixture::running();
    fixture.step(Step::End);
    assert!(fixture.subject.is_pending());
    assert_eq!(fixture.clear(), 0);
    assert!(!fixture.subject.is_pending());
    assert_eq!(fixture.test().0, 1);
    assert!(
        fixture.subject.program.translator.is_live(),
        "until the clear function ends"
    );
    fixture.step(Step::Work);
    assert_eq!(fixture.test().0, 0);
    assert!(!fixture.subject.program.translator.is_live());
}

/// The client's place for an IRB has room for a whole one, whether its last word is in use or not.
#[test]
fn case_35_an_irb_has_its_place() {
    assert_eq!(size_of::<channel::Irb>(), 96);
    assert_eq!(core::mem::offset_of!(vcss::client::Status, irb) + 96, 128);
}

#[test]
fn case_36_all_32_bytes_of_sense_arrive() {
    let mut fixture = Fixture::running();
    fixture.step(Step::UnitCheck);
    let (condition, irb) = fixture.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.concurrent_sense(), Some([0x5A; 32].as_slice()));
}

#[test]
fn case_38_the_next_start_shows_nothing_of_the_last_one() {
    let mut fixture = Fixture::running();
    fixture.step(Step::UnitCheck);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    let (_, irb) = fixture.test();
    assert_eq!(
        (irb.scsw.device_status, irb.scsw.subchannel_status),
        (0x0C, 0)
    );
    assert_eq!(irb.concurrent_sense(), None);
}

#[test]
fn case_39_a_disabled_subchannel_never_becomes_status_pending() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.enable(false), 0);
    assert!(
        !fixture.happens(Step::Attention),
        "disabled is disabled on the hardware"
    );
    fixture.look();
    assert!(!fixture.subject.is_pending());
    assert_eq!(fixture.test().0, 3);
}

#[test]
fn case_41_a_measurement_block_has_to_be_aligned() {
    let mut fixture = Fixture::enabled();
    let mut schib = fixture.schib();
    schib.pmcw.characteristics = (schib.pmcw.characteristics.get() | 4).into();
    schib.mba = 0x1020.into();
    assert_eq!(fixture.ask(Request::Modify(schib)), Response::OPERAND);
    schib.mba = 0x1040.into();
    assert_eq!(fixture.ask(Request::Modify(schib)), 0);
    assert_eq!(fixture.schib().mba.get(), 0x1040);
}

/// An area without the parts that came later is served as far as it goes.
#[test]
fn case_43_an_area_without_a_ring_of_reports_degrades() {
    use vcss::layout::Kind;
    use vcss::{events::EventSource, plan, Area};
    use window::ClientAddress;
    let plan = plan::client_area(1);
    let mut bytes = vec![0; plan.length() as usize];
    let window = window::Window::borrowed(&mut bytes, 0);
    plan.write(&window).unwrap();
    assert!(EventSource::open(&Area::open(&window, Kind::Client).unwrap()).is_ok());
    // Capabilities stand from offset 64 on; the ring's becomes one that nobody knows.
    for number in 0..16 {
        let place = ClientAddress::new(64 + 16 * number);
        if window.read::<[u8; 2]>(place) == Ok([0, 0x25]) {
            window.write(place, &[0u8, 0x7F]).unwrap();
        }
    }
    assert!(EventSource::open(&Area::open(&window, Kind::Client).unwrap()).is_err());
    // A subchannel whose trace is not there works without.
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.start(), 0);
}

#[test]
fn wrong_operands_are_operand_exceptions() {
    let mut fixture = Fixture::enabled();
    for (control, program) in [(0x00C0_FF02, PROGRAM), (0x00C0_FF00, 0x8000_1000)] {
        let mut orb = Fixture::orb();
        orb.control = control.into();
        orb.program = program.into();
        assert_eq!(fixture.ask(Request::Start(orb)), Response::OPERAND);
    }
    let transport = Orb::format_1(0, PROGRAM, OrbFlags::TRANSPORT | OrbFlags::EXTENSION, 0xFF);
    assert_eq!(fixture.ask(Request::Start(transport)), Response::OPERAND);
    let mut schib = fixture.schib();
    schib.pmcw.flags = (schib.pmcw.flags.get() | 0x4000).into();
    assert_eq!(fixture.ask(Request::Modify(schib)), Response::OPERAND);
    assert!(fixture.port().asked.is_empty());
}

#[test]
fn a_program_that_fails_at_once_ends_at_once() {
    let mut fixture = Fixture::enabled();
    let mut orb = Fixture::orb();
    orb.program = 0x7FFF_0000.into();
    assert_eq!(fixture.ask(Request::Start(orb)), 0);
    assert_eq!(fixture.issued(Instruction::Start), 0);
    assert!(fixture.subject.is_pending());
    assert_eq!(fixture.start(), 1);
    assert_eq!(fixture.halt(), 1);
    assert_eq!(fixture.ask(Request::Cancel), 1);
    assert_eq!(fixture.ask(Request::Resume), 1);
    assert_eq!(fixture.enable(true), 1);
    assert_eq!(fixture.issued(Instruction::Halt), 0);
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.subchannel_status), (0, 0x20));
    assert_eq!(irb.scsw.program.get(), 0x7FFF_0008);
    assert_eq!(fixture.test().0, 1);
    assert_eq!(fixture.start(), 0);
}

#[test]
fn clear_takes_back_the_status_of_a_program_that_failed_at_once() {
    let mut fixture = Fixture::enabled();
    let mut orb = Fixture::orb();
    orb.program = 0x7FFF_0000.into();
    assert_eq!(fixture.ask(Request::Start(orb)), 0);
    assert_eq!(fixture.clear(), 0);
    assert!(!fixture.subject.is_pending());
    fixture.step(Step::Work);
    assert_eq!(fixture.test().1.scsw.function(), FunctionControl::CLEAR);
    assert_eq!(fixture.accepted(Instruction::Clear), 1);
}

#[test]
fn a_suspended_program_lives_and_is_resumed() {
    let mut fixture = Fixture::running_with(Fixture::suspending());
    fixture.step(Step::Suspend);
    assert_eq!(fixture.ask(Request::Resume), 1, "status is pending");
    let (condition, irb) = fixture.test();
    assert_eq!(condition, 0);
    assert!(irb.scsw.activity().contains(ActivityControl::SUSPENDED));
    assert!(fixture.subject.program.translator.is_live());
    assert_eq!(fixture.state(), State::Busy);
    assert_eq!(fixture.ask(Request::Resume), 0);
    assert_eq!(fixture.ask(Request::Resume), 2, "resumed already");
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.state(), State::Idle);
}

#[test]
fn only_a_program_that_resume_finds_suspended_is_looked_at_again() {
    let mut fixture = Fixture::running_with(Fixture::suspending());
    let orb = fixture.subject.program.run.unwrap().orb;
    let mut count = 1;
    // What the channel finds in the second CCW, after the client has changed its own and asked for RESUME.
    let mut resume = |fixture: &mut Fixture| {
        count += 1;
        let ccw = Ccw1::new(CommandCode::NOP, CcwFlags::SLI, count, 0);
        fixture.write(PROGRAM + 8, &ccw);
        let condition = fixture.ask(Request::Resume);
        let mut bytes = [0; 8];
        let at = orb.program.get() + 8;
        fixture
            .subject
            .program
            .translator
            .fetch(at, &mut bytes)
            .unwrap();
        (condition, u16::from_be_bytes([bytes[2], bytes[3]]) == count)
    };
    assert_eq!(resume(&mut fixture), (0, false), "it runs");
    fixture.step(Step::Suspend);
    assert_eq!(resume(&mut fixture), (1, false), "status is pending");
    assert_eq!(fixture.test().0, 0);
    assert_eq!(resume(&mut fixture), (0, true));
    assert_eq!(resume(&mut fixture), (2, false), "resumed already");
}

#[test]
fn intermediate_status_does_not_free_the_program() {
    let mut fixture = Fixture::running();
    fixture.step(Step::Pci);
    assert_eq!(
        fixture.halt(),
        0,
        "intermediate status does not keep a halt off"
    );
    assert_eq!(fixture.test().0, 0);
    assert!(fixture.subject.program.translator.is_live());
    fixture.step(Step::Work);
    let (_, irb) = fixture.test();
    assert_eq!(
        irb.scsw.function(),
        FunctionControl::START | FunctionControl::HALT
    );
    assert!(!fixture.subject.program.translator.is_live());
}

#[test]
fn store_shows_the_hardwares_paths_and_the_clients_own_fields() {
    let mut fixture = Fixture::enabled();
    fixture.pmcw().pnom = 0x40;
    fixture.pmcw().lpum = 0x80;
    fixture.pmcw().set_flag(PmcwFlags::TIMING, true);
    fixture.pmcw().set_characteristic(EXTENDED, true);
    let shown = fixture.schib();
    let pmcw = &shown.pmcw;
    assert_eq!((pmcw.pnom, pmcw.lpum, pmcw.pam), (0x40, 0x80, 0xC0));
    assert!(pmcw.flags().contains(PmcwFlags::TIMING));
    assert!(pmcw.has_extended_measurement());
    assert_eq!((pmcw.device.get(), pmcw.isc()), (DEVICE, 5));
    assert_eq!(pmcw.parameter.get(), 0xAAAA_0001);
    let hardware = &fixture.hardware().pmcw;
    assert_eq!((hardware.device.get(), hardware.isc()), (0xA80, 3));
    assert_eq!(hardware.parameter.get(), fixture.id.word());
}

#[test]
fn modify_passes_on_what_is_the_hardwares() {
    let mut fixture = Fixture::enabled();
    let mut schib = fixture.schib();
    schib.pmcw.lpm = 0x40;
    schib.pmcw.set_flag(PmcwFlags::MULTIPATH, true);
    schib.pmcw.set_flag(PmcwFlags::MEASUREMENT_BLOCK, true);
    schib.pmcw.set_characteristic(EXTENDED, true);
    fixture.machine.css.extended_measurement = true;
    assert_eq!(fixture.ask(Request::Modify(schib)), 0);
    let hardware = &fixture.hardware().pmcw;
    assert_eq!(hardware.lpm, 0x40);
    assert!(hardware.flags().contains(PmcwFlags::MULTIPATH));
    assert!(!hardware.flags().contains(PmcwFlags::MEASUREMENT_BLOCK));
    assert!(hardware.has_concurrent_sense());
    assert!(hardware.has_extended_measurement());
    let shown = fixture.schib();
    assert!(shown.pmcw.has_extended_measurement());
    assert!(shown.pmcw.flags().contains(PmcwFlags::MEASUREMENT_BLOCK));
    assert_eq!(fixture.start(), 0);
    assert_eq!(fixture.subject.take_measurement().unwrap().starts.get(), 1);
}

#[test]
fn a_reset_gives_a_fresh_subchannel() {
    let mut fixture = Fixture::enabled();
    fixture.step(Step::Attention);
    fixture.reset();
    assert_eq!(fixture.state(), State::Idle);
    let schib: Schib = fixture.schib();
    assert!(!schib.pmcw.flags().contains(PmcwFlags::ENABLED));
    assert_eq!(schib.pmcw.parameter.get(), 0);
    assert_eq!(schib.pmcw.characteristics(), PmcwCharacteristics::empty());
    assert!(!fixture.subject.is_pending());
    assert_eq!(fixture.start(), 3);
}

/// A program without prefetch is running.
fn running_live() -> Fixture {
    let mut fixture = Fixture::enabled();
    let mut orb = Fixture::orb();
    orb.set_flags(OrbFlags::FORMAT_1 | OrbFlags::SUSPEND_CONTROL | OrbFlags::SUPPRESS_SUSPENDED);
    assert_eq!(fixture.ask(Request::Start(orb)), 0);
    assert!(fixture.happens(Step::Work));
    assert!(fixture.subject.is_changing());
    fixture
}

fn refresh(fixture: &mut Fixture) {
    fixture.with(|subject, ctx| subject.refresh(ctx));
}

#[test]
fn a_suspended_program_is_not_looked_at_before_it_is_resumed() {
    let mut fixture = running_live();
    refresh(&mut fixture);
    assert!(fixture.subject.is_changing());
    // Suspended without an interruption.
    let none = StatusControl::empty();
    let suspended = |fixture: &mut Fixture, status| {
        let (function, activity) = (FunctionControl::START, ActivityControl::SUSPENDED);
        fixture.present(|irb| irb.scsw.set_controls(function, activity, status));
    };
    suspended(&mut fixture, none);
    refresh(&mut fixture);
    assert!(!fixture.subject.is_changing());
    // Status that is not the program's changes nothing, on a subchannel where it does not end the program.
    suspended(&mut fixture, StatusControl::ALERT | StatusControl::PENDING);
    fixture.look();
    assert_eq!(fixture.test().0, 0);
    suspended(&mut fixture, none);
    assert!(!fixture.subject.is_changing());
    assert_eq!(fixture.ask(Request::Resume), 0);
    assert!(fixture.subject.is_changing());
    refresh(&mut fixture);
    assert!(fixture.subject.is_changing(), "resume pending");
}

#[test]
fn a_program_that_has_ended_is_not_looked_at_until_its_status_is_taken() {
    let mut fixture = running_live();
    fixture.step(Step::End);
    assert!(fixture.subject.is_pending());
    assert!(!fixture.subject.is_changing());
    assert!(!fixture.subject.wants_refresh());
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
}

#[test]
fn what_outlived_one_life_of_the_appliance_outlives_the_next_until_it_is_taken_up() {
    let mut fixture = Fixture::running();
    let part = (fixture.schib(), FunctionControl::START.bits());
    // The next life finds it busy, and ends it.
    let mut next = fixture;
    next.restart();
    next.port().mishaps.halt_stuck = true;
    next.open(Some(part));
    assert!(next.subject.is_quiescing());
    assert_eq!(next.subject.functions(), FunctionControl::START);
    assert_eq!(next.subject.former(), Some(&part.0));
    assert!(next.subject.is_or_was_enabled());
    // A client that begins anew does not want it.
    next.reset();
    assert_eq!(next.subject.functions(), FunctionControl::empty());
    assert!(next.subject.former().is_none());
}
