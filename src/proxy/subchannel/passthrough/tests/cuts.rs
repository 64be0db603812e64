//! A chain that is cut and goes on: what comes between its parts.

use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Irb, Orb,
    OrbFlags, ScswFlags, StatusControl, SubchannelStatus,
};
use window::ClientAddress;

use super::fake::{Step, ARENA_AT, SSCH, XSCH};
use super::scene::{Scene, PROGRAM};
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::Request;

const PENDING: StatusControl = StatusControl::PENDING;

fn orb() -> Orb {
    Orb::format_1(0xC0DE_0001, PROGRAM, OrbFlags::INITIAL_STATUS, 0xFF)
}

/// A program that reads its second CCW, running.
fn reading() -> Scene {
    let mut scene = Scene::enabled();
    let read = Ccw1::new(CommandCode(0x02), CcwFlags::CC, 8, PROGRAM + 8);
    let at = ClientAddress::new(PROGRAM.into());
    scene.window.write(at, &read).unwrap();
    assert_eq!(scene.ask(Request::Start(&orb())), 0);
    assert!(scene.fake.step(Step::Work));
    scene
}

/// The same, after the cut: the second part is pending.
fn cut() -> Scene {
    let mut scene = reading();
    scene.step(Step::End);
    assert_eq!(scene.fake.accepted[SSCH], 2);
    assert_eq!(
        (scene.state(), scene.subject.is_pending()),
        (State::Busy, false)
    );
    scene
}

#[test]
fn the_second_part_ends_the_program() {
    let mut scene = cut();
    scene.step(Step::Work);
    scene.step(Step::End);
    let (condition, irb) = scene.test();
    assert_eq!((condition, irb.scsw.program.get()), (0, PROGRAM + 16));
    assert_eq!(scene.state(), State::Idle);
}

#[test]
fn an_initial_status_interruption_that_was_not_taken_before_the_cut_is_still_there() {
    let mut scene = reading();
    let scsw = &mut scene.fake.schib.scsw;
    scsw.set_flag(ScswFlags::ZERO_CONDITION_CODE, true);
    let activity = scsw.activity();
    scsw.set_controls(
        FunctionControl::START,
        activity,
        StatusControl::INTERMEDIATE | PENDING,
    );
    scene.fake.interruption = true;
    scene.look();
    assert!(scene.subject.is_pending());
    scene.step(Step::End);
    let (condition, irb) = scene.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.status(), StatusControl::INTERMEDIATE | PENDING);
    assert!(irb.scsw.flags().contains(ScswFlags::ZERO_CONDITION_CODE));
    assert_eq!(scene.test().0, 1);
}

/// The channel meets the stop that stands for the second CCW, and has shown a program-controlled interruption before.
#[test]
fn a_program_controlled_interruption_is_all_that_a_stop_shows() {
    let mut scene = reading();
    scene.fake.step(Step::Pci);
    let scsw = &mut scene.fake.schib.scsw;
    scsw.program = (ARENA_AT + 16).into();
    scsw.subchannel_status |= SubchannelStatus::PROGRAM_CHECK.bits();
    let status = StatusControl::INTERMEDIATE
        | StatusControl::PRIMARY
        | StatusControl::SECONDARY
        | StatusControl::ALERT;
    scsw.set_controls(
        FunctionControl::START,
        ActivityControl::empty(),
        status | PENDING,
    );
    scene.fake.program = None;
    scene.look();
    assert_eq!(scene.fake.accepted[SSCH], 2);
    let (condition, irb) = scene.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.status(), StatusControl::INTERMEDIATE | PENDING);
    assert_eq!(irb.scsw.subchannel(), SubchannelStatus::PCI);
}

#[test]
fn what_was_executed_in_part_cannot_be_cancelled() {
    let mut scene = cut();
    assert_eq!(scene.ask(Request::Cancel), 2);
    assert_eq!(scene.fake.accepted[XSCH], 0);
    scene.step(Step::Work);
    scene.step(Step::End);
    assert_eq!(scene.test().0, 0);
    assert_eq!(scene.start(), 0);
    assert_eq!(scene.ask(Request::Cancel), 0, "another program");
}

fn is_broken_off(irb: &Irb) -> bool {
    let check = SubchannelStatus::INTERFACE_CONTROL_CHECK;
    irb.scsw.deferred_cc() == 0
        && irb.scsw.subchannel() == check
        && irb
            .scsw
            .status()
            .contains(StatusControl::PRIMARY | StatusControl::SECONDARY)
}

#[test]
fn a_second_part_that_is_turned_away_is_not_a_program_that_has_not_begun() {
    for step in [Step::Preempted, Step::NoPath] {
        let mut scene = cut();
        scene.step(step);
        let shown = scene.schib().scsw;
        let (condition, irb) = scene.test();
        assert_eq!(condition, 0, "{step:?}");
        assert!(is_broken_off(&irb), "{step:?}");
        assert_eq!(shown, irb.scsw);
        assert_eq!(scene.state(), State::Idle);
    }
}

#[test]
fn a_busy_device_gets_the_second_part_again_and_not_for_ever() {
    let mut scene = cut();
    scene.step(Step::Busy);
    assert_eq!(scene.fake.accepted[SSCH], 3);
    assert_eq!(scene.fake.started[1], scene.fake.started[2]);
    for _ in 0..20 {
        if !scene.fake.step(Step::Busy) {
            break;
        }
        scene.look();
    }
    assert!(is_broken_off(&scene.test().1));
}

#[test]
fn a_halt_and_a_clear_end_the_second_part() {
    let mut scene = cut();
    assert_eq!(scene.halt(), 0);
    scene.step(Step::Work);
    assert_eq!((scene.test().0, scene.state()), (0, State::Idle));
    let mut scene = cut();
    assert_eq!(scene.clear(), 0);
    scene.step(Step::Work);
    assert_eq!((scene.test().0, scene.state()), (0, State::Idle));
    assert_eq!(scene.fake.accepted[SSCH], 2);
}

#[test]
fn a_device_that_goes_between_the_parts_is_reported_once() {
    let mut scene = reading();
    scene.fake.step(Step::End);
    let irb = scene.fake.last;
    assert!(scene.fake.step(Step::Unplug));
    scene.with(|subject, line| subject.report(line));
    assert_eq!(scene.fake.last, irb);
    assert_eq!(scene.state(), State::NotOperational);
    assert!(scene.subject.take_report().is_some());
    assert!(scene.subject.take_report().is_none());
}

/// Channel end comes before device end.
#[test]
fn a_cut_waits_for_device_end() {
    let mut scene = reading();
    scene.step(Step::ChannelEnd);
    assert!(!scene.subject.is_pending());
    assert_eq!(scene.schib().scsw.status(), StatusControl::empty());
    assert_eq!((scene.test().0, scene.start()), (1, 2));
    scene.step(Step::DeviceEnd);
    assert_eq!(scene.fake.accepted[SSCH], 2);
    assert_eq!(
        scene.fake.last.scsw.device(),
        DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
    );
}
