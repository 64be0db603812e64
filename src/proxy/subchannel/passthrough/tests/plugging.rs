//! Devices that go, come back elsewhere, or are exchanged: the number says which one is the client's.

use channel::{FunctionControl, PmcwFlags, StatusControl, SubchannelId};

use super::fake::{Step, SSCH};
use super::scene::{Scene, DEVICE};
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::Owned;

const OTHER: u16 = 0xB00;

/// The device has gone, and another one is on its subchannel.
fn exchanged() -> Scene {
    let mut scene = Scene::enabled();
    assert!(scene.fake.step(Step::Unplug));
    assert!(scene.fake.step(Step::Plug));
    scene.fake.schib.pmcw.device = OTHER.into();
    scene
}

fn seen(scene: &mut Scene) -> Option<u16> {
    let pmcw = scene.schib().pmcw;
    pmcw.has_device().then(|| pmcw.device.get())
}

#[test]
fn another_device_on_its_subchannel_is_not_its_device() {
    let mut scene = exchanged();
    scene.with(|subject, line| subject.report(line));
    assert_eq!(scene.state(), State::NotOperational);
    assert_eq!(seen(&mut scene), None);
    assert_eq!((scene.enable(true), scene.start()), (0, 3));
    assert_eq!(scene.fake.accepted[SSCH], 0);
    assert!(!scene.fake.schib.pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn a_request_before_the_report_does_not_reach_the_other_device_either() {
    let mut scene = exchanged();
    // Whoever has it now has enabled it.
    scene.fake.schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
    assert_eq!(seen(&mut scene), None);
    assert_eq!((scene.start(), scene.clear()), (3, 3));
    scene.reset();
    scene.with(|subject, line| subject.interruption(line));
    assert_eq!(scene.fake.accepted, [0; 5]);
    assert!(scene.fake.schib.pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn a_device_that_comes_back_on_another_subchannel_is_served_there() {
    let mut scene = exchanged();
    scene.with(|subject, line| subject.report(line));
    while scene.subject.take_report().is_some() {}
    let id = SubchannelId::new(0, 9).unwrap();
    scene.fake.id = id;
    scene.fake.schib.pmcw.device = 0xA80.into();
    let owned = scene.fake.owned();
    scene.plug(owned);
    assert_eq!(
        scene.subject.take_report().map(|crw| crw.0),
        Some(0x0384_0005)
    );
    assert_eq!(seen(&mut scene), Some(DEVICE));
    assert_eq!(scene.start(), 3, "a device that is new is disabled");
    assert_eq!((scene.enable(true), scene.start()), (0, 0));
    assert_eq!(scene.fake.schib.pmcw.parameter.get(), id.word());
    scene.step(Step::Work);
    scene.step(Step::End);
    assert_eq!(scene.test().0, 0);
}

#[test]
fn a_virtual_subchannel_whose_device_is_gone_can_stand_for_another_one() {
    let mut scene = exchanged();
    scene.with(|subject, line| subject.report(line));
    let owned = scene.fake.owned();
    scene.with(|subject, line| subject.plug(owned, OTHER, line));
    assert_eq!(seen(&mut scene), Some(OTHER));
    assert_eq!((scene.enable(true), scene.start()), (0, 0));
}

#[test]
fn what_has_a_device_keeps_it() {
    let mut scene = Scene::running();
    let owned = Owned {
        number: OTHER,
        ..scene.fake.owned()
    };
    scene.plug(owned);
    assert_eq!(scene.state(), State::Busy);
    scene.step(Step::End);
    assert_eq!(scene.test().0, 0);
}

#[test]
fn a_device_that_has_gone_again_before_it_is_taken_is_none() {
    let mut scene = Scene::closed();
    scene.fake.gone = true;
    scene.open(None);
    let owned = scene.fake.owned();
    scene.plug(owned);
    assert_eq!(scene.state(), State::NotOperational);
    assert_eq!(scene.subject.take_report(), None);
}

#[test]
fn a_device_that_goes_while_status_is_held_back_leaves_nothing_to_look_at() {
    let mut scene = Scene::running();
    assert_eq!(scene.clear(), 0);
    // As QEMU does with a vfio-ccw: older status beside a clear function that has not ended.
    let activity = scene.fake.activity();
    scene.fake.schib.scsw.set_controls(
        FunctionControl::CLEAR,
        activity,
        StatusControl::PRIMARY | StatusControl::PENDING,
    );
    scene.fake.interruption = true;
    scene.look();
    assert!(scene.subject.wants_tending());
    assert!(scene.fake.step(Step::Unplug));
    scene.with(|subject, line| subject.report(line));
    assert_eq!(scene.state(), State::NotOperational);
    assert!(!scene.subject.wants_tending());
}

/// It is disabled, so that nothing but its number shows whether it is the same.
#[test]
fn a_device_that_nobody_uses_may_be_another_one_with_its_number() {
    let mut scene = Scene::new();
    scene.with(|subject, line| subject.report(line));
    assert!(scene.subject.is_gone());
    let owned = scene.fake.owned();
    scene.plug(owned);
    assert_eq!(scene.state(), State::Idle);
    assert_eq!(seen(&mut scene), Some(DEVICE));
}

#[test]
fn a_device_in_use_stays_what_it_is() {
    let mut scene = Scene::enabled();
    scene.with(|subject, line| subject.report(line));
    assert_eq!(scene.state(), State::Idle);
    let mut scene = Scene::running();
    scene.with(|subject, line| subject.report(line));
    assert_eq!(scene.state(), State::Busy);
}
