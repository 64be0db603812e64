//! Devices that go, come back elsewhere, or are exchanged: the number says which one is the client's.

use channel::model::Instruction;
use channel::{FunctionControl, PmcwFlags, StatusControl, SubchannelId};

use super::fixture::{Fixture, DEVICE, NUMBER};
use super::steps::Step;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::Owned;

const OTHER: u16 = 0xB00;

/// The device has gone, and another one is on its subchannel.
fn exchanged() -> Fixture {
    let mut fixture = Fixture::enabled();
    assert!(fixture.happens(Step::Unplug));
    assert!(fixture.happens(Step::Plug));
    fixture.pmcw().device = OTHER.into();
    fixture
}

fn seen(fixture: &mut Fixture) -> Option<u16> {
    let pmcw = fixture.schib().pmcw;
    pmcw.has_device().then(|| pmcw.device.get())
}

#[test]
fn another_device_on_its_subchannel_is_not_its_device() {
    let mut fixture = exchanged();
    fixture.with(|subject, ctx| subject.report(ctx));
    assert_eq!(fixture.state(), State::NotOperational);
    assert_eq!(seen(&mut fixture), None);
    assert_eq!((fixture.enable(true), fixture.start()), (0, 3));
    assert_eq!(fixture.accepted(Instruction::Start), 0);
    assert!(!fixture.hardware().pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn a_request_before_the_report_does_not_reach_the_other_device_either() {
    let mut fixture = exchanged();
    // Whoever has it now has enabled it.
    fixture.pmcw().set_flag(PmcwFlags::ENABLED, true);
    assert_eq!(seen(&mut fixture), None);
    assert_eq!((fixture.start(), fixture.clear()), (3, 3));
    fixture.reset();
    fixture.with(|subject, ctx| subject.interruption(ctx));
    assert!(fixture
        .port()
        .asked
        .iter()
        .all(|(_, answer)| answer.is_err()));
    assert!(fixture.hardware().pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn a_device_that_comes_back_on_another_subchannel_is_served_there() {
    let mut fixture = exchanged();
    fixture.with(|subject, ctx| subject.report(ctx));
    while fixture.subject.take_report().is_some() {}
    let id = SubchannelId::new(0, 9).unwrap();
    fixture.id = id;
    let device = fixture.device.clone();
    fixture.machine.attach_device(id, NUMBER, device);
    let owned = fixture.owned();
    fixture.plug(owned);
    assert_eq!(
        fixture.subject.take_report().map(|crw| crw.0),
        Some(0x0384_0005)
    );
    assert_eq!(seen(&mut fixture), Some(DEVICE));
    assert_eq!(fixture.start(), 3, "a device that is new is disabled");
    assert_eq!((fixture.enable(true), fixture.start()), (0, 0));
    assert_eq!(fixture.hardware().pmcw.parameter.get(), id.word());
    fixture.step(Step::Work);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
}

#[test]
fn a_virtual_subchannel_whose_device_is_gone_can_stand_for_another_one() {
    let mut fixture = exchanged();
    fixture.with(|subject, ctx| subject.report(ctx));
    let owned = fixture.owned();
    fixture.with(|subject, ctx| subject.plug(owned, OTHER, ctx));
    assert_eq!(seen(&mut fixture), Some(OTHER));
    assert_eq!((fixture.enable(true), fixture.start()), (0, 0));
}

#[test]
fn what_has_a_device_keeps_it() {
    let mut fixture = Fixture::running();
    let owned = Owned {
        number: OTHER,
        ..fixture.owned()
    };
    fixture.plug(owned);
    assert_eq!(fixture.state(), State::Busy);
    fixture.step(Step::End);
    assert_eq!(fixture.test().0, 0);
}

#[test]
fn a_device_that_has_gone_again_before_it_is_taken_is_none() {
    let mut fixture = Fixture::closed();
    fixture.port().mishaps.gone = true;
    fixture.open(None);
    let owned = fixture.owned();
    fixture.plug(owned);
    assert_eq!(fixture.state(), State::NotOperational);
    assert_eq!(fixture.subject.take_report(), None);
}

#[test]
fn a_device_that_goes_while_status_is_held_back_leaves_nothing_to_look_at() {
    let mut fixture = Fixture::running();
    assert_eq!(fixture.clear(), 0);
    // As QEMU does with a vfio-ccw: older status beside a clear function that has not ended.
    let status = StatusControl::PRIMARY | StatusControl::PENDING;
    fixture.present(|irb| {
        let activity = irb.scsw.activity();
        irb.scsw
            .set_controls(FunctionControl::CLEAR, activity, status);
    });
    fixture.look();
    assert!(fixture.subject.wants_refresh());
    assert!(fixture.happens(Step::Unplug));
    fixture.with(|subject, ctx| subject.report(ctx));
    assert_eq!(fixture.state(), State::NotOperational);
    assert!(!fixture.subject.wants_refresh());
}

/// It is disabled, so that nothing but its number shows whether it is the same.
#[test]
fn a_device_that_nobody_uses_may_be_another_one_with_its_number() {
    let mut fixture = Fixture::new();
    fixture.with(|subject, ctx| subject.report(ctx));
    assert!(fixture.subject.is_gone());
    let owned = fixture.owned();
    fixture.plug(owned);
    assert_eq!(fixture.state(), State::Idle);
    assert_eq!(seen(&mut fixture), Some(DEVICE));
}

#[test]
fn a_device_in_use_stays_what_it_is() {
    let mut fixture = Fixture::enabled();
    fixture.with(|subject, ctx| subject.report(ctx));
    assert_eq!(fixture.state(), State::Idle);
    let mut fixture = Fixture::running();
    fixture.with(|subject, ctx| subject.report(ctx));
    assert_eq!(fixture.state(), State::Busy);
}
