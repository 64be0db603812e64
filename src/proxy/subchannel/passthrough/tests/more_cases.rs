//! The defects of QEMU's channel subsystem (29 to 43): what a client sees of the instructions.

use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, FunctionControl, Orb, OrbFlags,
    PmcwCharacteristics, PmcwFlags, Schib, StatusControl,
};

use window::ClientAddress;

use super::fake::{Step, CSCH, HSCH, SSCH, XSCH};
use super::scene::{Scene, DEVICE, PROGRAM};
use crate::proxy::subchannel::passthrough::actions::HOLD_US;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::{Request, OPERAND};

const EXTENDED: PmcwCharacteristics = PmcwCharacteristics::EXTENDED_MEASUREMENT;

#[test]
fn case_29_a_refused_start_leaves_the_subchannel_as_it_was() {
    let mut scene = Scene::enabled();
    scene.fake.schib.pmcw.pam = 0;
    let before = scene.schib();
    assert_eq!(scene.start(), 3, "no path");
    assert_eq!(scene.schib(), before);
    scene.fake.schib.pmcw.pam = 0xC0;
    assert_eq!(scene.start(), 0);
}

#[test]
fn case_30_a_refused_halt_or_clear_says_so() {
    let mut scene = Scene::running();
    assert!(scene.fake.step(Step::End));
    assert_eq!(scene.halt(), 1);
    assert_eq!(scene.test().0, 0);
    assert!(scene.fake.step(Step::Unplug));
    assert_eq!(scene.clear(), 3);
    assert_eq!(scene.halt(), 3);
}

/// There is no code in between that could be lost: the hardware's is the client's.
#[test]
fn case_31_the_hardwares_condition_code_is_the_clients() {
    let mut scene = Scene::enabled();
    assert!(scene.fake.step(Step::Attention));
    for (request, code) in [
        (Request::Start(&Scene::orb()), 1),
        (Request::Halt, 1),
        (Request::Cancel, 1),
        (Request::Resume, 1),
        (Request::Clear, 0),
    ] {
        assert_eq!(scene.ask(request), code, "{request:?}");
    }
}

#[test]
fn case_32_cancel_distinguishes_pending_status_from_a_function_too_far_gone() {
    let mut scene = Scene::enabled();
    assert_eq!(scene.ask(Request::Cancel), 2, "nothing to cancel");
    assert_eq!(scene.start(), 0);
    assert_eq!(scene.ask(Request::Cancel), 0, "not begun");
    assert_eq!(scene.state(), State::Idle);
    assert!(!scene.subject.translator.is_live());
    assert_eq!(scene.test().0, 1, "no interruption for it");
    assert_eq!(scene.start(), 0);
    scene.step(Step::Work);
    assert_eq!(scene.ask(Request::Cancel), 2, "begun");
    scene.step(Step::End);
    assert_eq!(scene.ask(Request::Cancel), 1, "status is pending");
    assert_eq!(scene.fake.accepted[XSCH], 1);
}

#[test]
fn case_33_enabled_and_valid_are_both_needed() {
    let mut scene = Scene::new();
    assert_eq!(scene.start(), 3, "valid, not enabled");
    assert_eq!(scene.enable(true), 0);
    assert!(scene.fake.step(Step::Unplug));
    assert_eq!(scene.start(), 3, "enabled, not valid");
    assert_eq!(scene.fake.accepted[SSCH], 0);
}

#[test]
fn case_34_clear_sets_the_clear_function_alone() {
    let mut scene = Scene::running();
    assert_eq!(scene.clear(), 0);
    let scsw = scene.schib().scsw;
    assert_eq!(scsw.function(), FunctionControl::CLEAR);
    assert_eq!(scsw.activity(), ActivityControl::CLEAR_PENDING);
    scene.step(Step::Work);
    let (condition, irb) = scene.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.function(), FunctionControl::CLEAR);
    assert_eq!(irb.scsw.status(), StatusControl::PENDING);
    assert_eq!(scene.state(), State::Idle);
}

/// With a vfio-ccw QEMU leaves status standing until the clear function ends; on Hercules the activity can stand beside the
/// clear function's own end. So it is held back, but not for ever.
#[test]
fn case_34_status_beside_a_clear_function_is_held_back_for_100_ms() {
    let mut scene = Scene::running();
    assert_eq!(scene.clear(), 0);
    let pending = ActivityControl::CLEAR_PENDING;
    let scsw = &mut scene.fake.schib.scsw;
    scsw.set_controls(FunctionControl::CLEAR, pending, StatusControl::PENDING);
    scene.fake.interruption = true;
    scene.look();
    let began = scene.now;
    for after in [0, HOLD_US - 1] {
        scene.now = began.plus_micros(after);
        scene.with(|subject, line| subject.tick(line));
        assert!(scene.subject.wants_tending() && !scene.subject.is_pending());
        let (condition, irb) = scene.test();
        assert_eq!(condition, 1);
        assert_eq!(irb.scsw.status(), StatusControl::empty());
    }
    scene.now = began.plus_micros(HOLD_US);
    scene.with(|subject, line| subject.tick(line));
    assert!(scene.subject.is_pending());
    assert!(!scene.subject.wants_tending(), "the client has been told");
    assert_eq!(scene.test().0, 0);
    assert_eq!(scene.state(), State::Idle);
}

#[test]
fn case_34_clear_wipes_pending_status() {
    let mut scene = Scene::running();
    scene.step(Step::End);
    assert!(scene.subject.is_pending());
    assert_eq!(scene.clear(), 0);
    assert!(!scene.subject.is_pending());
    assert_eq!(scene.test().0, 1);
    assert!(
        scene.subject.translator.is_live(),
        "until the clear function ends"
    );
    scene.step(Step::Work);
    assert_eq!(scene.test().0, 0);
    assert!(!scene.subject.translator.is_live());
}

/// The client's place for an IRB has room for a whole one, whether its last word is in use or not.
#[test]
fn case_35_an_irb_has_its_place() {
    assert_eq!(size_of::<channel::Irb>(), 96);
    assert_eq!(core::mem::offset_of!(vcss::client::Status, irb) + 96, 128);
}

#[test]
fn case_36_all_32_bytes_of_sense_arrive() {
    let mut scene = Scene::running();
    scene.step(Step::UnitCheck);
    let (condition, irb) = scene.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.concurrent_sense(), Some([0x5A; 32].as_slice()));
}

#[test]
fn case_38_the_next_start_shows_nothing_of_the_last_one() {
    let mut scene = Scene::running();
    scene.step(Step::UnitCheck);
    assert_eq!(scene.test().0, 0);
    assert_eq!(scene.start(), 0);
    scene.step(Step::Work);
    scene.step(Step::End);
    let (_, irb) = scene.test();
    assert_eq!(
        (irb.scsw.device_status, irb.scsw.subchannel_status),
        (0x0C, 0)
    );
    assert_eq!(irb.concurrent_sense(), None);
}

#[test]
fn case_39_a_disabled_subchannel_never_becomes_status_pending() {
    let mut scene = Scene::enabled();
    assert_eq!(scene.enable(false), 0);
    assert!(
        !scene.fake.step(Step::Attention),
        "disabled is disabled on the hardware"
    );
    scene.look();
    assert!(!scene.subject.is_pending());
    assert_eq!(scene.test().0, 3);
}

#[test]
fn case_41_a_measurement_block_has_to_be_aligned() {
    let mut scene = Scene::enabled();
    let mut schib = scene.schib();
    schib.pmcw.characteristics = (schib.pmcw.characteristics.get() | 4).into();
    schib.mba = 0x1020.into();
    assert_eq!(scene.ask(Request::Modify(&schib)), OPERAND);
    schib.mba = 0x1040.into();
    assert_eq!(scene.ask(Request::Modify(&schib)), 0);
    assert_eq!(scene.schib().mba.get(), 0x1040);
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
    let mut scene = Scene::enabled();
    assert_eq!(scene.start(), 0);
}

#[test]
fn wrong_operands_are_operand_exceptions() {
    let mut scene = Scene::enabled();
    for (control, program) in [(0x00C0_FF02, PROGRAM), (0x00C0_FF00, 0x8000_1000)] {
        let mut orb = Scene::orb();
        orb.control = control.into();
        orb.program = program.into();
        assert_eq!(scene.ask(Request::Start(&orb)), OPERAND);
    }
    let transport = Orb::format_1(0, PROGRAM, OrbFlags::TRANSPORT | OrbFlags::EXTENSION, 0xFF);
    assert_eq!(scene.ask(Request::Start(&transport)), OPERAND);
    let mut schib = scene.schib();
    schib.pmcw.flags = (schib.pmcw.flags.get() | 0x4000).into();
    assert_eq!(scene.ask(Request::Modify(&schib)), OPERAND);
    assert_eq!(scene.fake.issued, [0; 5]);
}

#[test]
fn a_program_that_fails_at_once_ends_at_once() {
    let mut scene = Scene::enabled();
    let mut orb = Scene::orb();
    orb.program = 0x7FFF_0000.into();
    assert_eq!(scene.ask(Request::Start(&orb)), 0);
    assert_eq!(scene.fake.issued[SSCH], 0);
    assert!(scene.subject.is_pending());
    assert_eq!(scene.start(), 1);
    assert_eq!(scene.halt(), 1);
    assert_eq!(scene.ask(Request::Cancel), 1);
    assert_eq!(scene.ask(Request::Resume), 1);
    assert_eq!(scene.enable(true), 1);
    assert_eq!(scene.fake.issued[HSCH], 0);
    let (condition, irb) = scene.test();
    assert_eq!((condition, irb.scsw.subchannel_status), (0, 0x20));
    assert_eq!(irb.scsw.program.get(), 0x7FFF_0008);
    assert_eq!(scene.test().0, 1);
    assert_eq!(scene.start(), 0);
}

#[test]
fn clear_takes_back_the_status_of_a_program_that_failed_at_once() {
    let mut scene = Scene::enabled();
    let mut orb = Scene::orb();
    orb.program = 0x7FFF_0000.into();
    assert_eq!(scene.ask(Request::Start(&orb)), 0);
    assert_eq!(scene.clear(), 0);
    assert!(!scene.subject.is_pending());
    scene.step(Step::Work);
    assert_eq!(scene.test().1.scsw.function(), FunctionControl::CLEAR);
    assert_eq!(scene.fake.accepted[CSCH], 1);
}

#[test]
fn a_suspended_program_lives_and_is_resumed() {
    let mut scene = Scene::running();
    scene.step(Step::Suspend);
    assert_eq!(scene.ask(Request::Resume), 1, "status is pending");
    let (condition, irb) = scene.test();
    assert_eq!(condition, 0);
    assert!(irb.scsw.activity().contains(ActivityControl::SUSPENDED));
    assert!(scene.subject.translator.is_live());
    assert_eq!(scene.state(), State::Busy);
    assert_eq!(scene.ask(Request::Resume), 0);
    assert_eq!(scene.ask(Request::Resume), 2, "resumed already");
    scene.step(Step::Work);
    scene.step(Step::End);
    assert_eq!(scene.test().0, 0);
    assert_eq!(scene.state(), State::Idle);
}

#[test]
fn only_a_program_that_resume_finds_suspended_is_looked_at_again() {
    let mut scene = Scene::enabled();
    let mut orb = Scene::orb();
    orb.set_flags(orb.flags() | OrbFlags::SUSPEND_CONTROL);
    assert_eq!(scene.ask(Request::Start(&orb)), 0);
    scene.step(Step::Work);
    let orb = scene.subject.orb;
    let mut count = 1;
    // What the channel finds in the second CCW, after the client has changed its own and asked for RESUME.
    let mut resume = |scene: &mut Scene| {
        count += 1;
        let ccw = Ccw1::new(CommandCode::NOP, CcwFlags::SLI, count, 0);
        let at = ClientAddress::new(u64::from(PROGRAM) + 8);
        scene.window.write(at, &ccw).unwrap();
        let condition = scene.ask(Request::Resume);
        let mut bytes = [0; 8];
        let at = orb.program.get() + 8;
        scene.subject.translator.fetch(at, &mut bytes).unwrap();
        (condition, u16::from_be_bytes([bytes[2], bytes[3]]) == count)
    };
    assert_eq!(resume(&mut scene), (2, false), "it runs");
    scene.step(Step::Suspend);
    assert_eq!(resume(&mut scene), (1, false), "status is pending");
    assert_eq!(scene.test().0, 0);
    assert_eq!(resume(&mut scene), (0, true));
    assert_eq!(resume(&mut scene), (2, false), "resumed already");
}

#[test]
fn intermediate_status_does_not_free_the_program() {
    let mut scene = Scene::running();
    scene.step(Step::Pci);
    assert_eq!(
        scene.halt(),
        0,
        "intermediate status does not keep a halt off"
    );
    assert_eq!(scene.test().0, 0);
    assert!(scene.subject.translator.is_live());
    scene.step(Step::Work);
    let (_, irb) = scene.test();
    assert_eq!(
        irb.scsw.function(),
        FunctionControl::START | FunctionControl::HALT
    );
    assert!(!scene.subject.translator.is_live());
}

#[test]
fn store_shows_the_hardwares_paths_and_the_clients_own_fields() {
    let mut scene = Scene::enabled();
    scene.fake.schib.pmcw.pnom = 0x40;
    scene.fake.schib.pmcw.lpum = 0x80;
    scene.fake.schib.pmcw.set_flag(PmcwFlags::TIMING, true);
    scene.fake.schib.pmcw.set_characteristic(EXTENDED, true);
    let shown = scene.schib();
    let pmcw = &shown.pmcw;
    assert_eq!((pmcw.pnom, pmcw.lpum, pmcw.pam), (0x40, 0x80, 0xC0));
    assert!(pmcw.flags().contains(PmcwFlags::TIMING));
    assert!(pmcw.has_extended_measurement());
    assert_eq!((pmcw.device.get(), pmcw.isc()), (DEVICE, 5));
    assert_eq!(pmcw.parameter.get(), 0xAAAA_0001);
    let hardware = &scene.fake.schib.pmcw;
    assert_eq!((hardware.device.get(), hardware.isc()), (0xA80, 3));
    assert_eq!(hardware.parameter.get(), scene.fake.id.word());
}

#[test]
fn modify_passes_on_what_is_the_hardwares() {
    let mut scene = Scene::enabled();
    let mut schib = scene.schib();
    schib.pmcw.lpm = 0x40;
    schib.pmcw.set_flag(PmcwFlags::MULTIPATH, true);
    schib.pmcw.set_flag(PmcwFlags::MEASUREMENT_BLOCK, true);
    schib.pmcw.set_characteristic(EXTENDED, true);
    assert_eq!(scene.ask(Request::Modify(&schib)), 0);
    let hardware = &scene.fake.schib.pmcw;
    assert_eq!(hardware.lpm, 0x40);
    assert!(hardware.flags().contains(PmcwFlags::MULTIPATH));
    assert!(!hardware.flags().contains(PmcwFlags::MEASUREMENT_BLOCK));
    assert!(hardware.has_concurrent_sense());
    assert!(hardware.has_extended_measurement());
    let shown = scene.schib();
    assert!(shown.pmcw.has_extended_measurement());
    assert!(shown.pmcw.flags().contains(PmcwFlags::MEASUREMENT_BLOCK));
    assert_eq!(scene.start(), 0);
    assert_eq!(scene.subject.take_measurement().unwrap().starts.get(), 1);
}

#[test]
fn a_reset_gives_a_fresh_subchannel() {
    let mut scene = Scene::enabled();
    scene.step(Step::Attention);
    scene.reset();
    assert_eq!(scene.state(), State::Idle);
    let schib: Schib = scene.schib();
    assert!(!schib.pmcw.flags().contains(PmcwFlags::ENABLED));
    assert_eq!(schib.pmcw.parameter.get(), 0);
    assert_eq!(schib.pmcw.characteristics(), PmcwCharacteristics::empty());
    assert!(!scene.subject.is_pending());
    assert_eq!(scene.start(), 3);
}

/// A program without prefetch is running.
fn running_live() -> Scene {
    let mut scene = Scene::enabled();
    let mut orb = Scene::orb();
    orb.set_flags(OrbFlags::FORMAT_1 | OrbFlags::SUSPEND_CONTROL | OrbFlags::SUPPRESS_SUSPENDED);
    assert_eq!(scene.ask(Request::Start(&orb)), 0);
    assert!(scene.fake.step(Step::Work));
    assert!(scene.subject.is_changing());
    scene
}

fn tend(scene: &mut Scene) {
    scene.with(|subject, line| subject.tend(line));
}

#[test]
fn a_suspended_program_is_not_looked_at_before_it_is_resumed() {
    let mut scene = running_live();
    tend(&mut scene);
    assert!(scene.subject.is_changing());
    // Suspended without an interruption.
    let none = StatusControl::empty();
    let scsw = &mut scene.fake.schib.scsw;
    scsw.set_controls(FunctionControl::START, ActivityControl::SUSPENDED, none);
    tend(&mut scene);
    assert!(!scene.subject.is_changing());
    // Status that is not the program's changes nothing.
    scene.step(Step::Attention);
    assert_eq!(scene.test().0, 0);
    assert!(!scene.subject.is_changing());
    assert_eq!(scene.ask(Request::Resume), 0);
    assert!(scene.subject.is_changing());
    tend(&mut scene);
    assert!(scene.subject.is_changing(), "resume pending");
}

#[test]
fn a_program_that_has_ended_is_not_looked_at_until_its_status_is_taken() {
    let mut scene = running_live();
    scene.step(Step::End);
    assert!(scene.subject.is_pending());
    assert!(!scene.subject.is_changing());
    assert!(!scene.subject.wants_tending());
    assert_eq!(scene.test().0, 0);
    assert_eq!(scene.start(), 0);
}

#[test]
fn what_outlived_one_life_of_the_appliance_outlives_the_next_until_it_is_taken_up() {
    let mut scene = Scene::running();
    let part = (scene.schib(), FunctionControl::START.bits());
    // The next life finds it busy, and ends it.
    let mut next = Scene::closed();
    next.fake = scene.fake;
    next.fake.halt_stuck = true;
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
