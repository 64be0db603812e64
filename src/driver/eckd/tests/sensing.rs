//! Sense data that does not come along with a unit check: nobody waits for it. (Whoever waits while clients are served ends the test:
//! see [`Machine::serving`](super::fake::Machine::serving).)

use channel::{ChannelSubsystem, DeviceStatus, Refusal};

use super::fake::Fault;
use super::{cdl, Scene, ISC};
use crate::driver::block::{BlockDevice, BlockStatus};
use crate::driver::dasd::recovery::{ATTEMPTS, SENSE_TIMEOUT, STOP_TIMEOUT};

impl Scene {
    /// A disk whose unit checks bring no sense data, with a read that ends so.
    fn checked(sense: &[u8]) -> Self {
        let mut scene = Self::new(cdl(6).over(0xC0));
        scene.machine.concurrent_sense = false;
        let check = Fault::UnitCheck(sense.to_vec());
        scene.machine.faults.push_back(check);
        scene.one(false, 9, 0);
        scene
    }

    fn kick(&mut self) {
        self.disk.kick(&mut self.machine);
    }
}

#[test]
fn sense_that_comes_late_is_waited_for_by_its_request_only() {
    let mut scene = Scene::checked(&[0x80]);
    scene.machine.sense_faults.push_back(Fault::Hang);
    for _ in 0..10 {
        scene.kick();
        scene.machine.micros += SENSE_TIMEOUT / 20;
        assert!(scene.disk.poll().is_none());
        assert!(!scene.disk.interrupts(true), "the event loop can sleep");
        assert_eq!(scene.disk.lend(), Some(false), "it is not done yet");
    }
    scene.machine.end_well();
    let interruption = scene.machine.pending_interruption().unwrap();
    assert!(scene.disk.interruption(&mut scene.machine, &interruption));
    assert_eq!(scene.disk.lend(), Some(true));
    scene.disk.take_back(&mut scene.machine, ISC, false);
    // It brought nothing: no sense bit is on.
    assert_eq!(scene.all()[0].status, BlockStatus::Ok);
    assert_eq!((scene.machine.starts, scene.machine.halts), (2, 0));
}

#[test]
fn sense_that_never_ends_is_stopped_and_the_request_tried_again() {
    for (halt_stuck, clears) in [(false, 0), (true, 1)] {
        let mut scene = Scene::checked(&[0x80]);
        scene.machine.sense_faults.push_back(Fault::Hang);
        scene.machine.halt_stuck = halt_stuck;
        let began = scene.machine.micros;
        assert_eq!(scene.all()[0].status, BlockStatus::Ok);
        let took = scene.machine.micros - began;
        assert!(took < SENSE_TIMEOUT + 2 * STOP_TIMEOUT, "{took} us");
        assert_eq!((scene.machine.halts, scene.machine.clears), (1, clears));
        assert_eq!(scene.disk.recoveries().timeouts, 1);
        assert_eq!(scene.status(true, 9), BlockStatus::Ok);
    }
}

#[test]
fn sense_that_cannot_be_stopped_ends_the_disk() {
    let mut scene = Scene::checked(&[0x80]);
    scene.machine.sense_faults.push_back(Fault::Hang);
    (scene.machine.halt_stuck, scene.machine.clear_stuck) = (true, true);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
    assert!(scene.disk.is_broken());
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
        let mut scene = Scene::checked(&[0x80]);
        scene.machine.sense_faults.push_back(fault.clone());
        assert_eq!(scene.all()[0].status, BlockStatus::Ok, "{fault:?}");
        let mut scene = Scene::checked(&[0x80]);
        let check = Fault::UnitCheck(vec![0x80]);
        scene.machine.faults = vec![check; ATTEMPTS as usize].into();
        scene.machine.sense_faults = vec![fault.clone(); ATTEMPTS as usize].into();
        assert_eq!(scene.all()[0].status, BlockStatus::IoError, "{fault:?}");
    }
    let mut scene = Scene::checked(&[0x80]);
    let gone = Fault::Refused(Refusal::NotOperational);
    scene.machine.sense_faults.push_back(gone);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
    assert!(scene.disk.is_broken());
}

#[test]
fn the_action_is_that_of_the_sense_bytes_over_the_path_of_the_program() {
    // Equipment check: over another path than the one that was used.
    let mut scene = Scene::checked(&[0x10]);
    assert_eq!(scene.all()[0].status, BlockStatus::Ok);
    assert_eq!(scene.machine.taken, [0x80, 0x40]);
    let record = scene.disk.incident().unwrap();
    assert_eq!(record.words[1] >> 56, 0x10, "the sense bytes are traced");
}

#[test]
fn a_disk_that_goes_while_it_is_asked_for_sense_fails_its_requests() {
    let mut scene = Scene::checked(&[0x80]);
    scene.machine.sense_faults.push_back(Fault::Hang);
    scene.kick();
    scene.machine.unplug();
    scene.disk.recheck(&mut scene.machine);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
}

#[test]
fn a_status_behind_the_one_that_is_taken_keeps_its_interruption() {
    let mut scene = Scene::cdl();
    scene.machine.faults.push_back(Fault::Hang);
    scene.one(false, 9, 0);
    scene.kick();
    scene.machine.alert(DeviceStatus::ATTENTION);
    scene.machine.ends_behind = true;
    let first = scene.machine.pending_interruption().unwrap();
    assert!(scene.disk.interruption(&mut scene.machine, &first));
    assert_eq!(scene.disk.poll(), None);
    // The program ended between TEST SUBCHANNEL and whatever came next: the event loop, which sleeps, has to hear of it.
    let second = scene.machine.pending_interruption();
    let second = second.expect("the interruption is lost");
    assert!(scene.disk.interruption(&mut scene.machine, &second));
    assert_eq!(scene.disk.poll().unwrap().status, BlockStatus::Ok);
}
