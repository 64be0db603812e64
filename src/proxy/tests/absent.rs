//! A client whose disk is not there.

use channel::DeviceStatus;
use virtio::ccw::Command;
use virtio::{Features, Status};

use super::fixture::{Fixture, FEATURES};

const DATA: u64 = 0x8_0000;
const INTERVENTION_REQUIRED: u8 = 0x40;

#[test]
fn requests_wait_for_a_disk_that_is_not_there_after_a_restart() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let first = driver.read(1, DATA, 512);
    fixture.settle();
    fixture.restart_with(&[1]);
    fixture.platter(0).stalled = 0;
    let second = driver.read(2, DATA + 512, 512);
    fixture.settle();
    assert_eq!(driver.done(), None);
    let idle = !fixture.side.borrow_mut().proxy.arm_wakeup();
    assert!(idle, "what cannot be served keeps nobody awake");
    // The other disk's client does not notice.
    let offered = fixture.features(1);
    let mut other = fixture.bring_up(1, FEATURES & offered);
    let head = other.read(1, DATA + 1024, 512);
    fixture.settle();
    assert_eq!(other.done(), Some((head, 0, 513)));
    fixture.attach(0);
    fixture.settle();
    let mut done = [driver.done().unwrap(), driver.done().unwrap()];
    done.sort_unstable();
    let mut expected = [(first, 0, 513), (second, 0, 513)];
    expected.sort_unstable();
    assert_eq!(done, expected);
}

#[test]
fn what_needs_the_disk_ends_with_intervention_required() {
    let mut fixture = Fixture::new();
    fixture.restart_with(&[1]);
    for command in [
        Command::ReadFeatures,
        Command::WriteFeatures,
        Command::ReadConfig,
        Command::WriteConfig,
    ] {
        let irb = fixture.command(0, command.into(), &mut [0; 8]);
        let status = DeviceStatus::from_bits_retain(irb.scsw.device_status);
        assert!(status.contains(DeviceStatus::UNIT_CHECK), "{command:?}");
        assert_eq!(
            irb.concurrent_sense().and_then(|sense| sense.first()),
            Some(&INTERVENTION_REQUIRED),
            "{command:?}"
        );
    }
    fixture.attach(0);
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(1, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_client_can_reset_its_device_while_the_disk_is_not_there() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.read(1, DATA, 512);
    fixture.restart_with(&[1]);
    assert!(fixture.status(0).contains(Status::DRIVER_OK));
    fixture.good(0, Command::Reset, &mut []);
    assert_eq!(fixture.status(0), Status::empty());
    fixture.attach(0);
    fixture.settle();
    assert_eq!(driver.done(), None, "its rings are somebody else's by now");
}

#[test]
fn a_disk_that_comes_back_with_less_than_was_agreed_on_asks_for_a_reset() {
    let mut fixture = Fixture::new();
    fixture.bring_up(0, FEATURES | Features::from(virtio::blk::Features::DISCARD));
    fixture.restart_with(&[1]);
    fixture.platter(0).geometry.discard = None;
    fixture.attach(0);
    assert!(fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
}
