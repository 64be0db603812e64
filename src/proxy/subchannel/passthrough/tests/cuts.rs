//! A chain that is cut and goes on: what comes between its parts.

use channel::model::Instruction;
use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Irb, Orb,
    OrbFlags, ScswFlags, StatusControl, SubchannelStatus,
};

use super::fixture::{Fixture, ARENA_AT, PROGRAM, READ};
use super::steps::Step;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::Request;

const PENDING: StatusControl = StatusControl::PENDING;

/// A program that reads its second CCW, running.
fn reading() -> Fixture {
    reading_with(OrbFlags::empty())
}

fn reading_with(flags: OrbFlags) -> Fixture {
    let mut fixture = Fixture::enabled();
    let read = Ccw1::new(CommandCode(READ), CcwFlags::CC, 8, PROGRAM + 8);
    fixture.write(PROGRAM, &read);
    let orb = Orb::format_1(0xC0DE_0001, PROGRAM, flags, 0xFF);
    assert_eq!(fixture.ask(Request::Start(orb)), 0);
    assert!(fixture.happens(Step::Work));
    fixture
}

/// The same, after the cut: the second part is pending.
fn cut() -> Fixture {
    let mut fixture = reading();
    fixture.step(Step::End);
    assert_eq!(fixture.accepted(Instruction::Start), 2);
    assert_eq!(
        (fixture.state(), fixture.subject.is_pending()),
        (State::Busy, false)
    );
    fixture
}

#[test]
fn the_second_part_ends_the_program() {
    let mut fixture = cut();
    fixture.step(Step::Work);
    fixture.step(Step::End);
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.program.get()), (0, PROGRAM + 16));
    assert_eq!(fixture.state(), State::Idle);
}

#[test]
fn an_initial_status_interruption_that_was_not_taken_before_the_cut_is_still_there() {
    let mut fixture = reading_with(OrbFlags::INITIAL_STATUS);
    fixture.look();
    assert!(fixture.subject.is_pending());
    fixture.step(Step::End);
    let (condition, irb) = fixture.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.status(), StatusControl::INTERMEDIATE | PENDING);
    assert!(irb.scsw.flags().contains(ScswFlags::ZERO_CONDITION_CODE));
    assert_eq!(fixture.test().0, 1);
}

/// The channel meets the stop that stands for the second CCW, and has shown a program-controlled interruption before.
#[test]
fn a_program_controlled_interruption_is_all_that_a_stop_shows() {
    let mut fixture = reading();
    fixture.happens(Step::Pci);
    let status = StatusControl::INTERMEDIATE
        | StatusControl::PRIMARY
        | StatusControl::SECONDARY
        | StatusControl::ALERT;
    fixture.present(|irb| {
        let scsw = &mut irb.scsw;
        scsw.program = (ARENA_AT + 16).into();
        scsw.subchannel_status |= SubchannelStatus::PROGRAM_CHECK.bits();
        let none = ActivityControl::empty();
        scsw.set_controls(FunctionControl::START, none, status | PENDING);
    });
    fixture.look();
    assert_eq!(fixture.accepted(Instruction::Start), 2);
    let (condition, irb) = fixture.test();
    assert_eq!(condition, 0);
    assert_eq!(irb.scsw.status(), StatusControl::INTERMEDIATE | PENDING);
    assert_eq!(irb.scsw.subchannel(), SubchannelStatus::PCI);
}

#[test]
fn what_was_executed_in_part_cannot_be_cancelled() {
    let mut fixture = cut();
    assert_eq!(fixture.ask(Request::Cancel), 2);
    assert_eq!(fixture.accepted(Instruction::Cancel), 0);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
    assert_eq!(fixture.ask(Request::Cancel), 0, "another program");
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
        let mut fixture = cut();
        fixture.step(step);
        let shown = fixture.schib().scsw;
        let (condition, irb) = fixture.test();
        assert_eq!(condition, 0, "{step:?}");
        assert!(is_broken_off(&irb), "{step:?}");
        assert_eq!(shown, irb.scsw);
        assert_eq!(fixture.state(), State::Idle);
    }
}

#[test]
fn a_busy_device_gets_the_second_part_again_and_not_for_ever() {
    let mut fixture = cut();
    fixture.step(Step::Busy);
    assert_eq!(fixture.accepted(Instruction::Start), 3);
    let started = &fixture.port().started;
    assert_eq!(started[1], started[2]);
    for _ in 0..20 {
        if !fixture.happens(Step::Busy) {
            break;
        }
        fixture.look();
    }
    assert!(is_broken_off(&fixture.test().1));
}

#[test]
fn a_halt_and_a_clear_end_the_second_part() {
    let mut fixture = cut();
    assert_eq!(fixture.halt(), 0);
    fixture.step(Step::Work);
    assert_eq!((fixture.test().0, fixture.state()), (0, State::Idle));
    let mut fixture = cut();
    assert_eq!(fixture.clear(), 0);
    fixture.step(Step::Work);
    assert_eq!((fixture.test().0, fixture.state()), (0, State::Idle));
    assert_eq!(fixture.accepted(Instruction::Start), 2);
}

#[test]
fn a_device_that_goes_between_the_parts_is_reported_once() {
    let mut fixture = reading();
    fixture.happens(Step::End);
    let irb = fixture.port().last;
    assert!(fixture.happens(Step::Unplug));
    fixture.with(|subject, ctx| subject.report(ctx));
    assert_eq!(fixture.port().last, irb);
    assert_eq!(fixture.state(), State::NotOperational);
    assert!(fixture.subject.take_report().is_some());
    assert!(fixture.subject.take_report().is_none());
}

/// Channel end comes before device end.
#[test]
fn a_cut_waits_for_device_end() {
    let mut fixture = reading();
    fixture.step(Step::ChannelEnd);
    assert!(!fixture.subject.is_pending());
    assert_eq!(fixture.schib().scsw.status(), StatusControl::empty());
    assert_eq!((fixture.test().0, fixture.start()), (1, 2));
    fixture.step(Step::DeviceEnd);
    assert_eq!(fixture.accepted(Instruction::Start), 2);
    assert_eq!(
        fixture.port().last.scsw.device(),
        DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
    );
}
