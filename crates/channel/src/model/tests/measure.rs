//! The extended-measurement word: who has it, and with which status it comes.

use super::fixture::{ccw, nop, Fixture, DATA, READ};
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

fn wanted(fixture: &mut Fixture) -> Schib {
    let mut schib = fixture.css.store(fixture.id).unwrap();
    schib.pmcw.set_characteristic(EXTENDED, true);
    schib.pmcw.set_isc(6);
    schib
}

/// A subchannel that is measured; the program has been started.
fn started(program: &[crate::Ccw1], flags: OrbFlags, script: &[u32]) -> Fixture {
    let mut fixture = Fixture::new(program);
    fixture.css.extended_measurement = true;
    let schib = wanted(&mut fixture);
    assert_eq!(fixture.css.modify(fixture.id, &schib), Ok(()));
    for connect in script {
        fixture.css.measure(fixture.id, times(*connect));
    }
    fixture.start(flags).unwrap();
    fixture.steps();
    fixture
}

fn connect(irb: &Irb) -> u32 {
    irb.emw.device_connect.get()
}

#[test]
fn without_the_facility_the_bit_is_an_operand_exception_and_nothing_changes() {
    let mut fixture = Fixture::new(&[nop(CcwFlags::empty())]);
    let before = fixture.css.store(fixture.id);
    let schib = wanted(&mut fixture);
    let refused = fixture.css.modify(fixture.id, &schib);
    assert_eq!(refused, Err(Refusal::Operand));
    assert_eq!(fixture.css.store(fixture.id), before);
}

#[test]
fn with_the_facility_the_bit_is_taken_and_shown() {
    let mut fixture = started(&[nop(CcwFlags::empty())], OrbFlags::empty(), &[1]);
    let pmcw = fixture.css.store(fixture.id).unwrap().pmcw;
    assert!(pmcw.has_extended_measurement());
    assert!(pmcw.flags().contains(PmcwFlags::TIMING));
}

#[test]
fn the_times_come_with_the_end_and_only_while_they_are_asked_for() {
    let mut fixture = started(&[nop(CcwFlags::empty())], OrbFlags::empty(), &[5, 6]);
    assert_eq!(connect(&fixture.test()), 5);
    let mut schib = wanted(&mut fixture);
    schib.pmcw.set_characteristic(EXTENDED, false);
    fixture.css.modify(fixture.id, &schib).unwrap();
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    assert_eq!(fixture.test().emw, Emw::default());
}

#[test]
fn a_suspension_has_times_of_its_own() {
    let program = [nop(CcwFlags::CC), nop(CcwFlags::SUSPEND)];
    let mut fixture = started(&program, OrbFlags::SUSPEND_CONTROL, &[5, 6]);
    assert_eq!(connect(&fixture.test()), 5);
    fixture.css.resume(fixture.id).unwrap();
    fixture.steps();
    assert_eq!(connect(&fixture.test()), 6);
}

#[test]
fn intermediate_and_alert_status_have_none() {
    let program = [
        ccw(READ, CcwFlags::PCI | CcwFlags::CC, 16, DATA),
        nop(CcwFlags::empty()),
    ];
    let mut fixture = started(&[], OrbFlags::empty(), &[]);
    fixture.test();
    fixture.css.measure(fixture.id, times(5));
    fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
    fixture.steps();
    assert_eq!(fixture.test().emw, Emw::default());
    fixture.put(&program);
    fixture.start(OrbFlags::empty()).unwrap();
    while !fixture.scsw().status().contains(StatusControl::PENDING) {
        assert!(fixture.css.step(fixture.id));
    }
    let irb = fixture.test();
    assert!(irb.scsw.status().contains(StatusControl::INTERMEDIATE));
    assert_eq!(irb.emw, Emw::default());
    fixture.steps();
    assert_eq!(connect(&fixture.test()), 5);
}

#[test]
fn a_device_end_that_comes_alone_has_times_again() {
    let mut fixture = started(&[], OrbFlags::empty(), &[]);
    fixture.test();
    let late = Reply::sends(&[1; 16]).ends_with(DeviceStatus::CHANNEL_END);
    fixture.device.borrow_mut().add(0x0A, late);
    fixture.put(&[ccw(0x0A, CcwFlags::SLI, 16, DATA)]);
    fixture.css.measure(fixture.id, times(5));
    fixture.css.measure(fixture.id, times(6));
    fixture.start(OrbFlags::empty()).unwrap();
    while !fixture.scsw().status().contains(StatusControl::PENDING) {
        assert!(fixture.css.step(fixture.id));
    }
    assert_eq!(connect(&fixture.test()), 5);
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(
        irb.scsw.status(),
        StatusControl::SECONDARY | StatusControl::PENDING
    );
    assert_eq!(connect(&irb), 6);
}
