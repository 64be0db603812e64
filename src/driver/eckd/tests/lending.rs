//! The subchannel lent between two programs.

use super::fake::id;
use super::{cdl, Scene, ISC};
use crate::css;
use crate::driver::block::{BlockDevice, BlockStatus, SubmitError};
use channel::{ChannelSubsystem, PmcwFlags};

impl Scene {
    /// What a borrower does to the subchannel in the end.
    fn return_it(&mut self, changed: bool) {
        css::disable(&mut self.machine, id()).unwrap();
        self.disk.take_back(&mut self.machine, ISC, changed);
    }

    /// Requests that are in flight after some time.
    fn after_a_while(&mut self) -> u32 {
        for _ in 0..100 {
            self.disk.kick(&mut self.machine);
            self.machine.micros += 50_000;
        }
        self.disk.in_flight()
    }
}

#[test]
fn requests_wait_until_it_is_back() {
    let mut scene = Scene::cdl();
    assert_eq!(scene.disk.lend(), Some(true));
    for token in 0..3 {
        scene.one(true, 7 + u64::from(token), token);
    }
    assert_eq!(scene.after_a_while(), 3);
    assert_eq!(scene.machine.starts, 0);
    assert!(!scene.disk.interrupts(true), "there is nothing to be done");
    scene.return_it(false);
    let done = scene.all();
    assert!(done.iter().all(|done| done.status == BlockStatus::Ok));
    assert_eq!((done.len(), scene.machine.starts), (3, 1));
}

#[test]
fn a_disk_that_waits_for_a_change_is_lent_at_once() {
    let mut scene = Scene::cdl();
    let intervention = super::fake::Fault::UnitCheck([0x40].to_vec());
    scene.machine.faults.push_back(intervention);
    scene.one(false, 5, 0);
    scene.disk.kick(&mut scene.machine);
    scene.disk.kick(&mut scene.machine);
    assert_eq!(scene.disk.lend(), Some(true));
    scene.return_it(false);
    assert_eq!(scene.all()[0].status, BlockStatus::Ok);
}

#[test]
fn a_running_program_ends_first() {
    let mut scene = Scene::cdl();
    scene.machine.faults.push_back(super::fake::Fault::Hang);
    scene.one(false, 5, 0);
    scene.disk.kick(&mut scene.machine);
    assert_eq!(scene.disk.lend(), Some(false));
    let mut turns = 0;
    while scene.disk.lend() == Some(false) {
        scene.machine.micros += 200_000;
        scene.disk.kick(&mut scene.machine);
        turns += 1;
        assert!(turns < 500, "bounded by the missing-interruption time");
    }
    scene.return_it(false);
    assert_eq!(scene.all()[0].status, BlockStatus::Ok);
}

#[test]
fn the_same_volume_goes_on() {
    let mut scene = Scene::cdl();
    scene.disk.lend();
    scene.return_it(true);
    assert_eq!(scene.status(true, 5), BlockStatus::Ok);
    let schib = scene.machine.store(id()).unwrap();
    assert!(schib.pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn another_volume_is_given_up_with_its_requests() {
    let mut scene = Scene::cdl();
    scene.disk.lend();
    scene.one(false, 5, 0);
    // As if it had been formatted with other blocks.
    let other = cdl(6).format(2, 2048, 21);
    scene.machine.records = other.records;
    scene.return_it(true);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
    let segment = scene.segment(0, 4096);
    assert_eq!(
        scene.submit(false, 0, &[segment], 1),
        Err(SubmitError::Broken)
    );
}

#[test]
fn a_disk_that_is_gone_when_it_comes_back_is_given_up() {
    let mut scene = Scene::cdl();
    scene.disk.lend();
    scene.one(false, 5, 0);
    css::disable(&mut scene.machine, id()).unwrap();
    scene.machine.unplug();
    scene.disk.take_back(&mut scene.machine, ISC, false);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
}

#[test]
fn another_volume_that_was_plugged_in_meanwhile_is_not_the_disk() {
    let mut scene = Scene::cdl();
    scene.disk.lend();
    scene.one(true, 5, 0);
    scene.machine.unplug();
    scene.disk.recheck(&mut scene.machine);
    scene.machine.gone = false;
    let other = cdl(6).label("VOL1", "VOL1OTHER1");
    scene.machine.records = other.records;
    scene.return_it(false);
    assert_eq!(scene.all()[0].status, BlockStatus::IoError);
}

#[test]
fn a_device_with_another_number_is_not_the_disk_though_it_may_be_a_copy() {
    for lent in [false, true] {
        let mut scene = Scene::cdl();
        if lent {
            scene.disk.lend();
        } else {
            scene.machine.unplug();
            scene.disk.recheck(&mut scene.machine);
            scene.machine.gone = false;
        }
        scene.machine.schib.pmcw.device = 0x123.into();
        if lent {
            scene.return_it(false);
        } else {
            scene.disk.recheck(&mut scene.machine);
        }
        let segment = scene.segment(0, 4096);
        let submitted = scene.submit(true, 0, &[segment], 1);
        assert_eq!(submitted, Err(SubmitError::Broken), "lent: {lent}");
    }
}
