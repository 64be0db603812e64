//! The extended-measurement word: who has it, and with which status it comes.

use super::scene::{ccw, nop, Scene, DATA, READ};
use crate::model::Reply;
use crate::{
    CcwFlags, ChannelSubsystem, DeviceStatus, Emw, Irb, OrbFlags, PmcwCharacteristics, PmcwFlags,
    Refusal, Schib, StatusControl,
};

const EXTENDED: PmcwCharacteristics = PmcwCharacteristics::EXTENDED_MEASUREMENT;

fn times(connect: u32) -> Emw {
    Emw {
        device_connect: connect.into(),
        ..Emw::default()
    }
}

fn wanted(scene: &mut Scene) -> Schib {
    let mut schib = scene.css.store(scene.id).unwrap();
    schib.pmcw.set_characteristic(EXTENDED, true);
    schib.pmcw.set_isc(6);
    schib
}

/// A subchannel that is measured; the program has been started.
fn started(program: &[crate::Ccw1], flags: OrbFlags, script: &[u32]) -> Scene {
    let mut scene = Scene::new(program);
    scene.css.extended_measurement = true;
    let schib = wanted(&mut scene);
    assert_eq!(scene.css.modify(scene.id, &schib), Ok(()));
    for connect in script {
        scene.css.measure(scene.id, times(*connect));
    }
    scene.start(flags).unwrap();
    scene.steps();
    scene
}

fn connect(irb: &Irb) -> u32 {
    irb.emw.device_connect.get()
}

#[test]
fn without_the_facility_the_bit_is_an_operand_exception_and_nothing_changes() {
    let mut scene = Scene::new(&[nop(CcwFlags::empty())]);
    let before = scene.css.store(scene.id);
    let schib = wanted(&mut scene);
    let refused = scene.css.modify(scene.id, &schib);
    assert_eq!(refused, Err(Refusal::Operand));
    assert_eq!(scene.css.store(scene.id), before);
}

#[test]
fn with_the_facility_the_bit_is_taken_and_shown() {
    let mut scene = started(&[nop(CcwFlags::empty())], OrbFlags::empty(), &[1]);
    let pmcw = scene.css.store(scene.id).unwrap().pmcw;
    assert!(pmcw.has_extended_measurement());
    assert!(pmcw.flags().contains(PmcwFlags::TIMING));
}

#[test]
fn the_times_come_with_the_end_and_only_while_they_are_asked_for() {
    let mut scene = started(&[nop(CcwFlags::empty())], OrbFlags::empty(), &[5, 6]);
    assert_eq!(connect(&scene.test()), 5);
    let mut schib = wanted(&mut scene);
    schib.pmcw.set_characteristic(EXTENDED, false);
    scene.css.modify(scene.id, &schib).unwrap();
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    assert_eq!(scene.test().emw, Emw::default());
}

#[test]
fn a_suspension_has_times_of_its_own() {
    let program = [nop(CcwFlags::CC), nop(CcwFlags::SUSPEND)];
    let mut scene = started(&program, OrbFlags::SUSPEND_CONTROL, &[5, 6]);
    assert_eq!(connect(&scene.test()), 5);
    scene.css.resume(scene.id).unwrap();
    scene.steps();
    assert_eq!(connect(&scene.test()), 6);
}

#[test]
fn intermediate_and_alert_status_have_none() {
    let program = [
        ccw(READ, CcwFlags::PCI | CcwFlags::CC, 16, DATA),
        nop(CcwFlags::empty()),
    ];
    let mut scene = started(&[], OrbFlags::empty(), &[]);
    scene.test();
    scene.css.measure(scene.id, times(5));
    scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION);
    scene.steps();
    assert_eq!(scene.test().emw, Emw::default());
    scene.put(&program);
    scene.start(OrbFlags::empty()).unwrap();
    while !scene.scsw().status().contains(StatusControl::PENDING) {
        assert!(scene.css.step(scene.id));
    }
    let irb = scene.test();
    assert!(irb.scsw.status().contains(StatusControl::INTERMEDIATE));
    assert_eq!(irb.emw, Emw::default());
    scene.steps();
    assert_eq!(connect(&scene.test()), 5);
}

#[test]
fn a_device_end_that_comes_alone_has_times_again() {
    let mut scene = started(&[], OrbFlags::empty(), &[]);
    scene.test();
    let late = Reply::sends(&[1; 16]).ends_with(DeviceStatus::CHANNEL_END);
    scene.device.borrow_mut().add(0x0A, late);
    scene.put(&[ccw(0x0A, CcwFlags::SLI, 16, DATA)]);
    scene.css.measure(scene.id, times(5));
    scene.css.measure(scene.id, times(6));
    scene.start(OrbFlags::empty()).unwrap();
    while !scene.scsw().status().contains(StatusControl::PENDING) {
        assert!(scene.css.step(scene.id));
    }
    assert_eq!(connect(&scene.test()), 5);
    scene.steps();
    let irb = scene.test();
    assert_eq!(
        irb.scsw.status(),
        StatusControl::SECONDARY | StatusControl::PENDING
    );
    assert_eq!(connect(&irb), 6);
}
