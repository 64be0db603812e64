//! A disk's subchannel: there for the client while it is lent, and only then.

use channel::model::Instruction;
use channel::PmcwFlags;

use super::fixture::Fixture;
use super::steps::Step;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::translate::tests::history::ChannelSide;

/// Not lent yet.
fn away() -> Fixture {
    let mut fixture = Fixture::closed();
    fixture.subject = fixture.subject.of_a_disk();
    fixture
}

fn lend(fixture: &mut Fixture) {
    let owned = fixture.owned();
    assert!(fixture.with(|subject, ctx| subject.begin_maintenance(owned, ctx)));
}

fn give_back(fixture: &mut Fixture) -> bool {
    fixture.with(|subject, ctx| subject.end_maintenance(ctx))
}

fn is_there(fixture: &mut Fixture) -> bool {
    let flags = fixture.schib().pmcw.flags();
    flags.contains(PmcwFlags::DEVICE_NUMBER_VALID)
}

#[test]
fn what_is_not_lent_is_not_touched_whatever_happens_to_it() {
    let mut fixture = away();
    assert!(!is_there(&mut fixture));
    fixture.enable(true);
    assert_eq!(
        (fixture.start(), fixture.clear(), fixture.halt()),
        (3, 3, 3)
    );
    fixture.with(|subject, ctx| subject.report(ctx));
    fixture.with(|subject, ctx| subject.interruption(ctx));
    fixture.reset();
    fixture.with(|subject, ctx| subject.offline(ctx));
    assert_eq!(fixture.state(), State::NotOperational);
    assert!(fixture
        .port()
        .asked
        .iter()
        .all(|(_, answer)| answer.is_err()));
}

#[test]
fn what_is_lent_is_there_and_runs_programs() {
    let mut fixture = away();
    lend(&mut fixture);
    assert!(is_there(&mut fixture));
    assert_eq!(fixture.enable(true), 0);
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
    assert!(give_back(&mut fixture));
    assert!(!is_there(&mut fixture));
    assert_eq!(fixture.start(), 3);
    assert_eq!(fixture.accepted(Instruction::Start), 1);
}

#[test]
fn what_the_client_left_running_is_ended_before_it_goes_back() {
    let mut fixture = away();
    lend(&mut fixture);
    fixture.enable(true);
    assert_eq!(fixture.start(), 0);
    fixture.step(Step::Work);
    assert!(!give_back(&mut fixture), "a program runs");
    for _ in 0..20 {
        fixture.happens(Step::End);
        fixture.look();
        fixture.pass();
    }
    assert!(give_back(&mut fixture));
    assert_eq!(fixture.state(), State::NotOperational);
    assert!(!fixture.hardware().pmcw.flags().contains(PmcwFlags::ENABLED));
    assert!(!fixture.subject.program.translator.is_live());
}

#[test]
fn a_disk_that_goes_while_it_is_lent_can_be_given_back() {
    let mut fixture = away();
    lend(&mut fixture);
    fixture.enable(true);
    assert!(fixture.happens(Step::Unplug));
    fixture.with(|subject, ctx| subject.report(ctx));
    assert!(give_back(&mut fixture));
    let before = fixture.accepted(Instruction::Clear);
    assert_eq!(fixture.clear(), 3);
    assert_eq!(fixture.accepted(Instruction::Clear), before);
}

#[test]
fn it_can_be_lent_again_and_begins_anew() {
    let mut fixture = away();
    for _ in 0..3 {
        lend(&mut fixture);
        assert_eq!(fixture.start(), 3, "not enabled");
        assert_eq!(fixture.enable(true), 0);
        assert_eq!(fixture.start(), 0);
        fixture.step(Step::Work);
        fixture.step(Step::End);
        assert_eq!(fixture.test().0, 0);
        assert!(give_back(&mut fixture));
    }
}

#[test]
fn what_is_not_there_is_not_lent() {
    let mut fixture = away();
    assert!(fixture.happens(Step::Unplug));
    let owned = fixture.owned();
    assert!(!fixture.with(|subject, ctx| subject.begin_maintenance(owned, ctx)));
    assert!(!is_there(&mut fixture));
    assert!(give_back(&mut fixture), "nothing is to be ended");
}
