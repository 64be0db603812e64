//! A disk's subchannel: there for the client while it is lent, and only then.

use channel::PmcwFlags;

use super::fake::{Step, CSCH, SSCH};
use super::scene::Scene;
use crate::proxy::subchannel::passthrough::state::State;

/// Not lent yet.
fn away() -> Scene {
    let mut scene = Scene::closed();
    scene.subject = scene.subject.away();
    scene
}

fn lend(scene: &mut Scene) {
    let owned = scene.fake.owned();
    assert!(scene.with(|subject, line| subject.lend(owned, line)));
}

fn give_back(scene: &mut Scene) -> bool {
    scene.with(|subject, line| subject.give_back(line))
}

fn is_there(scene: &mut Scene) -> bool {
    let flags = scene.schib().pmcw.flags();
    flags.contains(PmcwFlags::DEVICE_NUMBER_VALID)
}

#[test]
fn what_is_not_lent_is_not_touched_whatever_happens_to_it() {
    let mut scene = away();
    assert!(!is_there(&mut scene));
    scene.enable(true);
    assert_eq!((scene.start(), scene.clear(), scene.halt()), (3, 3, 3));
    scene.with(|subject, line| subject.report(line));
    scene.with(|subject, line| subject.interruption(line));
    scene.reset();
    scene.with(|subject, line| subject.offline(line));
    assert_eq!(scene.state(), State::NotOperational);
    assert_eq!(scene.fake.accepted, [0; 5]);
}

#[test]
fn what_is_lent_is_there_and_runs_programs() {
    let mut scene = away();
    lend(&mut scene);
    assert!(is_there(&mut scene));
    assert_eq!(scene.enable(true), 0);
    assert_eq!(scene.start(), 0);
    scene.step(Step::Work);
    scene.step(Step::End);
    assert_eq!(scene.test().0, 0);
    assert!(give_back(&mut scene));
    assert!(!is_there(&mut scene));
    assert_eq!(scene.start(), 3);
    assert_eq!(scene.fake.accepted[SSCH], 1);
}

#[test]
fn what_the_client_left_running_is_ended_before_it_goes_back() {
    let mut scene = away();
    lend(&mut scene);
    scene.enable(true);
    assert_eq!(scene.start(), 0);
    scene.step(Step::Work);
    assert!(!give_back(&mut scene), "a program runs");
    for _ in 0..20 {
        scene.fake.step(Step::End);
        scene.look();
        scene.pass();
    }
    assert!(give_back(&mut scene));
    assert_eq!(scene.state(), State::NotOperational);
    assert!(!scene.fake.schib.pmcw.flags().contains(PmcwFlags::ENABLED));
    assert!(!scene.subject.translator.is_live());
}

#[test]
fn a_disk_that_goes_while_it_is_lent_can_be_given_back() {
    let mut scene = away();
    lend(&mut scene);
    scene.enable(true);
    assert!(scene.fake.step(Step::Unplug));
    scene.with(|subject, line| subject.report(line));
    assert!(give_back(&mut scene));
    let before = scene.fake.accepted;
    assert_eq!(scene.clear(), 3);
    assert_eq!(scene.fake.accepted[CSCH], before[CSCH]);
}

#[test]
fn it_can_be_lent_again_and_begins_anew() {
    let mut scene = away();
    for _ in 0..3 {
        lend(&mut scene);
        assert_eq!(scene.start(), 3, "not enabled");
        assert_eq!(scene.enable(true), 0);
        assert_eq!(scene.start(), 0);
        scene.step(Step::Work);
        scene.step(Step::End);
        assert_eq!(scene.test().0, 0);
        assert!(give_back(&mut scene));
    }
}

#[test]
fn what_is_not_there_is_not_lent() {
    let mut scene = away();
    assert!(scene.fake.step(Step::Unplug));
    let owned = scene.fake.owned();
    assert!(!scene.with(|subject, line| subject.lend(owned, line)));
    assert!(!is_there(&mut scene));
    assert!(give_back(&mut scene), "nothing is to be ended");
}
