//! Sense data that does not come along with a unit check: nobody waits for it. (Whoever waits while clients are served ends the test:
//! see [`Machine::serving`](super::fake::Machine::serving).)

use channel::{ChannelSubsystem, DeviceStatus, Refusal};

use super::{cdl, id, Fixture};
use crate::driver::block::{BlockDevice, BlockStatus, Dasd, Volume};
use crate::driver::dasd::recovery::{ATTEMPTS, SENSE_TIMEOUT, STOP_TIMEOUT};
use crate::testing::Fault;

impl Fixture {
    /// A disk whose unit checks bring no sense data, with a read that ends so.
    fn checked(sense: &[u8]) -> Self {
        let mut fixture = Self::over(cdl(6), 0xC0);
        fixture.port().mishaps.no_concurrent_sense = true;
        let check = Fault::UnitCheck(sense.to_vec());
        fixture.port().faults.push_back(check);
        fixture.one(false, 9, 0);
        fixture
    }
}

#[test]
fn sense_that_comes_late_is_waited_for_by_its_request_only() {
    let mut fixture = Fixture::checked(&[0x80]);
    fixture.port().sense_faults.push_back(Fault::Hang);
    for _ in 0..10 {
        fixture.kick();
        fixture.machine.micros += SENSE_TIMEOUT / 20;
        assert!(fixture.disk.poll().is_none());
        assert!(!fixture.disk.arm(), "the event loop can sleep");
        assert!(!fixture.disk.release(), "it is not done yet");
    }
    fixture.machine.end_well(id());
    let interruption = fixture.machine.pending_interruption().unwrap();
    assert!(fixture
        .disk
        .interruption(&mut fixture.machine, &interruption));
    assert!(fixture.disk.release());
    fixture.disk.resume(&mut fixture.machine, Volume::Same);
    // It brought nothing: no sense bit is on.
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
    assert_eq!((fixture.port().starts, fixture.port().halts), (2, 0));
}

#[test]
fn sense_that_never_ends_is_stopped_and_the_request_tried_again() {
    for (halt_stuck, clears) in [(false, 0), (true, 1)] {
        let mut fixture = Fixture::checked(&[0x80]);
        fixture.port().sense_faults.push_back(Fault::Hang);
        fixture.port().mishaps.halt_stuck = halt_stuck;
        let began = fixture.machine.micros;
        assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
        let took = fixture.machine.micros - began;
        assert!(took < SENSE_TIMEOUT + 2 * STOP_TIMEOUT, "{took} us");
        assert_eq!((fixture.port().halts, fixture.port().clears), (1, clears));
        assert_eq!(fixture.disk.recoveries().timeouts, 1);
        assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    }
}

#[test]
fn sense_that_cannot_be_stopped_ends_the_disk() {
    let mut fixture = Fixture::checked(&[0x80]);
    fixture.port().sense_faults.push_back(Fault::Hang);
    (
        fixture.port().mishaps.halt_stuck,
        fixture.port().mishaps.stuck,
    ) = (true, true);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
    assert!(fixture.disk.is_broken());
}

#[test]
fn sense_that_ends_badly_or_is_refused_leaves_another_try() {
    for fault in [
        Fault::UnitCheck(vec![0x80]),
        Fault::Deferred(1),
        Fault::Device(DeviceStatus::BUSY),
        Fault::Refused(Refusal::Busy),
        Fault::Refused(Refusal::StatusPending),
    ] {
        let mut fixture = Fixture::checked(&[0x80]);
        fixture.port().sense_faults.push_back(fault.clone());
        assert_eq!(fixture.all()[0].status, BlockStatus::Ok, "{fault:?}");
        let mut fixture = Fixture::checked(&[0x80]);
        let check = Fault::UnitCheck(vec![0x80]);
        fixture.port().faults = vec![check; ATTEMPTS as usize].into();
        fixture.port().sense_faults = vec![fault.clone(); ATTEMPTS as usize].into();
        assert_eq!(fixture.all()[0].status, BlockStatus::IoError, "{fault:?}");
    }
    let mut fixture = Fixture::checked(&[0x80]);
    let gone = Fault::Refused(Refusal::NotOperational);
    fixture.port().sense_faults.push_back(gone);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
    assert!(fixture.disk.is_broken());
}

#[test]
fn the_action_is_that_of_the_sense_bytes_over_the_path_of_the_program() {
    // Equipment check: over another path than the one that was used.
    let mut fixture = Fixture::checked(&[0x10]);
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
    assert_eq!(fixture.port().taken, [0x80, 0x40]);
    let record = fixture.disk.incident().unwrap();
    assert_eq!(record.words[1] >> 56, 0x10, "the sense bytes are traced");
}

#[test]
fn a_disk_that_goes_while_it_is_asked_for_sense_fails_its_requests() {
    let mut fixture = Fixture::checked(&[0x80]);
    fixture.port().sense_faults.push_back(Fault::Hang);
    fixture.kick();
    fixture.machine.unplug(id());
    fixture.disk.recheck(&mut fixture.machine);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
}

#[test]
fn a_status_behind_the_one_that_is_taken_keeps_its_interruption() {
    let mut fixture = Fixture::cdl();
    fixture.port().faults.push_back(Fault::Hang);
    fixture.one(false, 9, 0);
    fixture.kick();
    fixture.machine.alert(id(), DeviceStatus::ATTENTION);
    fixture.port().mishaps.ends_behind = true;
    let first = fixture.machine.pending_interruption().unwrap();
    assert!(fixture.disk.interruption(&mut fixture.machine, &first));
    assert_eq!(fixture.disk.poll(), None);
    // The program ended between TEST SUBCHANNEL and whatever came next: the event loop, which sleeps, has to hear of it.
    let second = fixture.machine.pending_interruption();
    let second = second.expect("the interruption is lost");
    assert!(fixture.disk.interruption(&mut fixture.machine, &second));
    assert_eq!(fixture.disk.poll().unwrap().status, BlockStatus::Ok);
}
