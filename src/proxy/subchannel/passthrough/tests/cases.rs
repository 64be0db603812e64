//! The defects that were fixed in Linux's vfio-ccw and QEMU, by the numbers of the project's list: each as a fixture here, or as what makes
//! it impossible. Those about channel-program translation stand with the translator.
//!
//! This file: the subchannel's driver (6 to 36). [`super::more_cases`]: what a client sees of the instructions.

use channel::model::{Instruction, PathState};
use channel::{ActivityControl, ChannelSubsystem, FunctionControl, PmcwFlags, StatusControl};

use super::fixture::{Fixture, PROGRAM};
use super::steps::Step;
use crate::proxy::subchannel::passthrough::state::{
    transition, Action, Event, State, CLEARS, HALTS,
};
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;

/// A channel report of path 0x41.
const PATH: channel::Crw = channel::Crw(0x0482_0041);

/// There is no offset to check: an area's parts are found by a checked list, and an entry by its index.
#[test]
fn case_06_an_index_outside_of_a_part_reaches_nothing() {
    use vcss::layout::Kind;
    let plan = vcss::plan::client_area(1);
    let mut bytes = vec![0; plan.length() as usize];
    let window = window::Window::borrowed(&mut bytes, 0);
    plan.write(&window).unwrap();
    let area = vcss::Area::open(&window, Kind::Client).unwrap();
    for index in [1, 2, u32::MAX] {
        assert!(area.read::<vcss::client::Command>(index).is_err());
        assert!(area.word::<vcss::client::Status>(index, 0).is_err());
    }
}

#[test]
fn case_07_an_end_that_comes_while_quiescing_is_the_end() {
    let mut fixture = Fixture::running();
    fixture.reset();
    assert!(matches!(fixture.state(), State::Quiescing(_)));
    assert!(fixture.subject.program.translator.is_live());
    fixture.step(Step::End);
    assert_eq!(fixture.state(), State::Idle);
    assert!(!fixture.subject.program.translator.is_live());
    assert!(
        !fixture.subject.is_pending(),
        "the status was the old client's"
    );
}

/// Freeing takes no lock and cannot fail: there is one CPU, run to completion, and the program lies in an arena that
/// stays.
#[test]
fn case_08_freeing_is_an_action_among_others() {
    let ended = transition(State::Busy, Event::Ended);
    assert_eq!(ended.next, State::Idle);
    assert!(ended.actions().eq([Action::Release]));
}

#[test]
fn case_09_completion_and_reset_free_the_program_once() {
    for first_the_end in [true, false] {
        let mut fixture = Fixture::running();
        if first_the_end {
            assert!(fixture.happens(Step::End));
            fixture.reset();
        } else {
            fixture.reset();
            assert!(fixture.happens(Step::End));
        }
        fixture.look();
        assert_eq!(fixture.state(), State::Idle);
        assert!(!fixture.subject.program.translator.is_live());
        // The arena is good for the next one.
        assert_eq!(fixture.enable(true), 0);
        assert_eq!(fixture.start(), 0);
    }
}

/// Reports wait in a ring with positions of one writer each; a full one counts what it loses.
#[test]
fn case_10_a_report_that_comes_while_reports_are_read_is_not_lost() {
    let mut fixture = Fixture::enabled();
    fixture.with(|subject, ctx| assert!(subject.path(PATH, false, ctx)));
    assert_eq!(fixture.subject.take_report(), Some(PATH));
    fixture.with(|subject, ctx| assert!(subject.path(PATH, false, ctx)));
    assert_eq!(fixture.subject.take_report(), Some(PATH));
    assert_eq!(fixture.subject.take_report(), None);
}

#[test]
fn case_11_an_interruption_of_a_halt_does_not_free_the_next_program() {
    let mut fixture = Fixture::running();
    assert_eq!(fixture.halt(), 0);
    assert!(fixture.happens(Step::Work));
    // The interruption has not been taken; the client was told by nobody and starts the next program.
    assert_eq!(fixture.start(), 1, "the halt's status comes first");
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
    // Now the old interruption is taken.
    fixture.with(|subject, ctx| subject.interruption(ctx));
    assert!(fixture.subject.program.translator.is_live());
    assert_eq!(fixture.state(), State::Busy);
}

#[test]
fn case_12_status_of_an_old_program_is_not_credited_to_the_new_one() {
    let mut fixture = Fixture::running();
    fixture.step(Step::ChannelEnd);
    assert_eq!(fixture.test().0, 0);
    // The device is still active; the next start waits for it.
    assert_eq!(fixture.start(), 0);
    let waits = ActivityControl::START_PENDING | ActivityControl::DEVICE_ACTIVE;
    assert!(fixture.hardware().scsw.activity().contains(waits));
    fixture.with(|subject, ctx| subject.interruption(ctx));
    assert_eq!(fixture.state(), State::Busy);
    assert!(fixture.subject.program.translator.is_live());
}

#[test]
fn case_13_unsolicited_status_meets_a_start() {
    let mut fixture = Fixture::enabled();
    // It is there before the appliance has heard of it.
    assert!(fixture.happens(Step::Attention));
    assert_eq!(fixture.start(), 1);
    assert!(fixture.subject.is_pending(), "the client is told");
    assert!(
        !fixture.subject.program.translator.is_live(),
        "nothing is left over"
    );
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.device_status), (0, 0x80));
    assert_eq!(fixture.start(), 0);
}

#[test]
fn case_14_the_state_is_changed_by_the_machine_alone() {
    let mut fixture = Fixture::running();
    fixture.step(Step::Pci);
    assert_eq!(fixture.state(), State::Busy);
    assert_eq!(fixture.start(), 1);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 2, "the program is still there");
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
}

#[test]
fn case_15_quiescing_ends_though_nothing_else_does() {
    let mut fixture = Fixture::running();
    fixture.port().mishaps.stuck = true;
    fixture.reset();
    for _ in 0..HALTS + CLEARS {
        assert!(matches!(fixture.state(), State::Quiescing(_)));
        fixture.pass();
    }
    assert_eq!(fixture.state(), State::Disconnected);
    assert_eq!(fixture.start(), 3);
    assert!(fixture.schib().pmcw.device.get() != 0);
    assert!(!fixture.schib().pmcw.has_device());
    assert!(fixture.subject.take_report().is_some());
}

#[test]
fn case_16_a_program_whose_device_does_not_let_go_stays_where_it_is() {
    let mut fixture = Fixture::running();
    fixture.port().mishaps.stuck = true;
    fixture.reset();
    for _ in 0..HALTS + CLEARS {
        fixture.pass();
    }
    assert_eq!(fixture.state(), State::Disconnected);
    assert!(
        fixture.subject.program.translator.is_live(),
        "the device may still use it"
    );
    // In the end it lets go.
    fixture.port().mishaps.halt_stuck = true;
    fixture.port().mishaps.stuck = false;
    fixture.step(Step::Work);
    assert_eq!(fixture.state(), State::Idle);
    assert!(!fixture.subject.program.translator.is_live());
}

#[test]
fn case_22_a_subchannel_that_cannot_be_taken_into_use_is_not_operational() {
    let mut fixture = Fixture::closed();
    fixture.port().mishaps.gone = true;
    fixture.open(None);
    assert_eq!(fixture.state(), State::NotOperational);
    assert_eq!(fixture.start(), 3);
    // When a device comes, it is taken.
    fixture.port().mishaps.gone = false;
    fixture.report();
    assert_eq!(fixture.state(), State::Idle);
    assert_eq!(fixture.enable(true), 0);
    assert_eq!(fixture.start(), 0);
}

#[test]
fn case_23_a_report_is_an_event_like_others() {
    let mut fixture = Fixture::running();
    fixture.with(|subject, ctx| assert!(subject.path(PATH, false, ctx)));
    assert_eq!(fixture.state(), State::Busy);
    assert!(fixture.happens(Step::Unplug));
    fixture.report();
    assert_eq!(fixture.state(), State::NotOperational);
    assert!(!fixture.subject.program.translator.is_live());
}

#[test]
fn case_24_an_interruption_that_comes_too_late_finds_nothing_to_do() {
    let mut fixture = Fixture::running();
    fixture.with(|subject, ctx| subject.offline(ctx));
    fixture.step(Step::End);
    assert_eq!(fixture.state(), State::Standby);
    fixture.with(|subject, ctx| subject.interruption(ctx));
    assert_eq!(fixture.state(), State::Standby);
    assert!(!fixture.subject.is_pending());
}

#[test]
fn case_25_before_it_is_opened_a_subchannel_is_not_operational() {
    let mut fixture = Fixture::closed();
    assert_eq!(fixture.start(), 3);
    assert_eq!(fixture.clear(), 3);
    assert!(!fixture.schib().pmcw.has_device());
    assert!(fixture.port().asked.is_empty());
}

/// Client addresses, window pointers and absolute addresses are three types; what the hardware gets is in the arena, where the test
/// has put it, and what the client gets is in its own numbering.
#[test]
fn case_26_addresses_of_the_client_and_of_the_hardware_are_not_mixed() {
    let mut fixture = Fixture::running();
    let [orb] = fixture.port().started[..] else {
        panic!("one start");
    };
    assert_eq!(orb.program.get(), super::fixture::ARENA_AT);
    fixture.step(Step::End);
    assert_eq!(fixture.test().1.scsw.program.get(), PROGRAM + 8);
}

#[test]
fn case_27_a_start_turned_away_by_a_busy_device_is_repeated() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Busy);
    assert_eq!(fixture.accepted(Instruction::Start), 2);
    assert_eq!(fixture.state(), State::Busy);
    assert!(!fixture.subject.is_pending(), "the client does not notice");
    assert_eq!(fixture.test().0, 1);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
}

#[test]
fn case_27_with_status_of_the_clients_it_is_delivered() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Preempted);
    assert_eq!(fixture.accepted(Instruction::Start), 1);
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.deferred_cc()), (0, 1));
    assert_eq!(irb.scsw.device_status, 0x80);
    assert_eq!(fixture.start(), 0);
}

#[test]
fn case_27_and_the_repetitions_are_bounded() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.start(), 0);
    let mut repeated = 0;
    while !fixture.subject.is_pending() {
        fixture.step(Step::Busy);
        repeated += 1;
        assert!(repeated < 100);
    }
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.deferred_cc()), (0, 1));
    assert_eq!(fixture.state(), State::Idle);
}

#[test]
fn case_27_is_not_for_a_start_that_was_never_accepted() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.halt(), 0);
    assert_eq!(fixture.subject.program.run.map_or(0, |run| run.retries), 0);
    fixture.step(Step::Work);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.start(), 0);
    assert!(fixture.subject.program.run.map_or(0, |run| run.retries) > 0);
}

/// Nothing is allocated once a subchannel is there; what can be missing is missing at bring-up.
#[test]
fn case_28_without_an_arena_a_start_is_refused_and_nothing_else_happens() {
    use crate::proxy::translate::Translator;
    let mut fixture = Fixture::enabled();
    fixture
        .subject
        .set_translator(Translator::at(0, super::fixture::ARENA_AT));
    assert_eq!(fixture.start(), 0);
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.subchannel_status), (0, 0x20));
    assert_eq!(fixture.issued(Instruction::Start), 0);
    assert_eq!(fixture.state(), State::Idle);
}

#[test]
fn a_subchannel_in_use_is_quiesced_at_bring_up() {
    let mut fixture = Fixture::closed();
    fixture.pmcw().set_flag(PmcwFlags::ENABLED, true);
    let mut orb = Fixture::orb();
    orb.program = (fixture.window.absolute_base() as u32 + PROGRAM).into();
    // SAFETY: the subchannel is one of software, with storage of its own.
    unsafe { fixture.machine.start(fixture.id, &orb) }.unwrap();
    assert!(fixture.happens(Step::Work));
    let mut former = fixture.hardware();
    former.pmcw.device = super::fixture::DEVICE.into();
    fixture.open(Some((former, FunctionControl::START.bits())));
    assert!(matches!(fixture.state(), State::Quiescing(_)));
    assert_eq!(fixture.ask(Request::Test), 3);
    fixture.step(Step::Work);
    assert_eq!(fixture.state(), State::Idle);
    // Enabled before is enabled now, and the start has an ending.
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.subchannel_status), (0, 0x02));
    assert!(irb.scsw.status().contains(StatusControl::PRIMARY));
    assert!(fixture.subject.take_report().is_some());
    assert_eq!(fixture.start(), 0);
}

#[test]
fn each_sign_that_no_path_works_is_counted() {
    let mut fixture = Fixture::enabled();
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.subject.path_troubles(), 0);
    // Deferred condition code 3.
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::NoPath);
    assert_eq!(fixture.test().0, 0);
    assert_eq!(fixture.subject.path_troubles(), 1);
    // One path did not answer, and the other one did: the client's status says so, and nothing more is done for each program.
    let id = fixture.id;
    fixture.machine.css.set_path(id, 0, 0x40, PathState::Dead);
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    let (condition, irb) = fixture.test();
    assert_eq!((condition, irb.scsw.path_not_operational()), (0, true));
    assert_eq!(fixture.subject.path_troubles(), 1);
    // No path is available.
    for number in [0, 1] {
        let state = PathState::Unavailable;
        fixture
            .machine
            .css
            .set_path(id, number, 0x40 + number, state);
    }
    assert_eq!(fixture.start(), 3);
    assert_eq!(fixture.subject.path_troubles(), 2);
    assert_eq!(fixture.state(), State::Idle, "the device is there");
}
