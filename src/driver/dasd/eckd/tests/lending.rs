//! The subchannel lent between two programs.

use super::{cdl, id, Fixture};
use crate::css;
use crate::driver::block::{BlockDevice, BlockStatus, Dasd, SubmitError, Volume};
use channel::{ChannelSubsystem, PmcwFlags};

impl Fixture {
    /// What a borrower does to the subchannel in the end.
    fn return_it(&mut self, volume: Volume) {
        css::disable(&mut self.machine, id()).unwrap();
        self.disk.resume(&mut self.machine, volume);
    }

    /// Requests that are in flight after some time.
    fn after_a_while(&mut self) -> u32 {
        for _ in 0..100 {
            self.kick();
            self.machine.micros += 50_000;
        }
        self.disk.in_flight()
    }
}

#[test]
fn requests_wait_until_it_is_back() {
    let mut fixture = Fixture::cdl();
    assert!(fixture.disk.release());
    for token in 0..3 {
        fixture.one(true, 7 + u64::from(token), token);
    }
    assert_eq!(fixture.after_a_while(), 3);
    assert_eq!(fixture.port().starts, 0);
    assert!(!fixture.disk.arm(), "there is nothing to be done");
    fixture.return_it(Volume::Same);
    let done = fixture.all();
    assert!(done.iter().all(|done| done.status == BlockStatus::Ok));
    assert_eq!((done.len(), fixture.port().starts), (3, 1));
}

#[test]
fn a_disk_that_waits_for_a_change_is_lent_at_once() {
    let mut fixture = Fixture::cdl();
    let intervention = crate::testing::Fault::UnitCheck([0x40].to_vec());
    fixture.port().faults.push_back(intervention);
    fixture.one(false, 5, 0);
    fixture.kick();
    fixture.kick();
    assert!(fixture.disk.release());
    fixture.return_it(Volume::Same);
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
}

#[test]
fn a_running_program_ends_first() {
    let mut fixture = Fixture::cdl();
    fixture.port().faults.push_back(crate::testing::Fault::Hang);
    fixture.one(false, 5, 0);
    fixture.kick();
    assert!(!fixture.disk.release());
    let mut turns = 0;
    while !fixture.disk.release() {
        fixture.machine.micros += 200_000;
        fixture.kick();
        turns += 1;
        assert!(turns < 500, "bounded by the missing-interruption time");
    }
    fixture.return_it(Volume::Same);
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
}

#[test]
fn the_same_volume_goes_on() {
    let mut fixture = Fixture::cdl();
    fixture.disk.release();
    fixture.return_it(Volume::Doubtful);
    assert_eq!(fixture.status(true, 5), BlockStatus::Ok);
    let schib = fixture.machine.store(id()).unwrap();
    assert!(schib.pmcw.flags().contains(PmcwFlags::ENABLED));
}

#[test]
fn another_volume_is_given_up_with_its_requests() {
    let mut fixture = Fixture::cdl();
    fixture.disk.release();
    fixture.one(false, 5, 0);
    // As if it had been formatted with other blocks.
    let other = cdl(6).format(2, 2048, 21);
    fixture.device.borrow_mut().records = other.records;
    fixture.return_it(Volume::Doubtful);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
    let segment = fixture.segment(0, 4096);
    assert_eq!(
        fixture.submit(false, 0, &[segment], 1),
        Err(SubmitError::Broken)
    );
}

#[test]
fn a_disk_that_is_gone_when_it_comes_back_is_given_up() {
    let mut fixture = Fixture::cdl();
    fixture.disk.release();
    fixture.one(false, 5, 0);
    css::disable(&mut fixture.machine, id()).unwrap();
    fixture.machine.unplug(id());
    fixture.disk.resume(&mut fixture.machine, Volume::Same);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
}

#[test]
fn another_volume_that_was_plugged_in_meanwhile_is_not_the_disk() {
    let mut fixture = Fixture::cdl();
    fixture.disk.release();
    fixture.one(true, 5, 0);
    fixture.machine.unplug(id());
    fixture.disk.recheck(&mut fixture.machine);
    fixture.port().mishaps.gone = false;
    let other = cdl(6).label("VOL1", "VOL1OTHER1");
    fixture.device.borrow_mut().records = other.records;
    fixture.return_it(Volume::Same);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
}

#[test]
fn a_device_with_another_number_is_not_the_disk_though_it_may_be_a_copy() {
    for lent in [false, true] {
        let mut fixture = Fixture::cdl();
        if lent {
            fixture.disk.release();
        } else {
            fixture.machine.unplug(id());
            fixture.disk.recheck(&mut fixture.machine);
            fixture.port().mishaps.gone = false;
        }
        fixture.machine.pmcw(id()).device = 0x123.into();
        if lent {
            fixture.return_it(Volume::Same);
        } else {
            fixture.disk.recheck(&mut fixture.machine);
        }
        let segment = fixture.segment(0, 4096);
        let submitted = fixture.submit(true, 0, &[segment], 1);
        assert_eq!(submitted, Err(SubmitError::Broken), "lent: {lent}");
    }
}
