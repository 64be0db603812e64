//! A client whose disk is not there.

use channel::DeviceStatus;
use virtio::ccw::Command;
use virtio::{Features, Status};

use super::scene::{Scene, FEATURES};

const DATA: u64 = 0x8_0000;
const INTERVENTION_REQUIRED: u8 = 0x40;

#[test]
fn requests_wait_for_a_disk_that_is_not_there_after_a_restart() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let first = driver.read(1, DATA, 512);
    scene.settle();
    scene.restart_with(&[1]);
    scene.platter(0).stalled = 0;
    let second = driver.read(2, DATA + 512, 512);
    scene.settle();
    assert_eq!(driver.done(), None);
    let idle = !scene.side.borrow_mut().proxy.lie_down();
    assert!(idle, "what cannot be served keeps nobody awake");
    // The other disk's client does not notice.
    let offered = scene.features(1);
    let mut other = scene.bring_up(1, FEATURES & offered);
    let head = other.read(1, DATA + 1024, 512);
    scene.settle();
    assert_eq!(other.done(), Some((head, 0, 513)));
    scene.attach(0);
    scene.settle();
    let mut done = [driver.done().unwrap(), driver.done().unwrap()];
    done.sort_unstable();
    let mut expected = [(first, 0, 513), (second, 0, 513)];
    expected.sort_unstable();
    assert_eq!(done, expected);
}

#[test]
fn what_needs_the_disk_ends_with_intervention_required() {
    let mut scene = Scene::new();
    scene.restart_with(&[1]);
    for command in [
        Command::ReadFeatures,
        Command::WriteFeatures,
        Command::ReadConfig,
        Command::WriteConfig,
    ] {
        let irb = scene.command(0, command.into(), &mut [0; 8]);
        let status = DeviceStatus::from_bits_retain(irb.scsw.device_status);
        assert!(status.contains(DeviceStatus::UNIT_CHECK), "{command:?}");
        assert_eq!(
            irb.concurrent_sense().and_then(|sense| sense.first()),
            Some(&INTERVENTION_REQUIRED),
            "{command:?}"
        );
    }
    scene.attach(0);
    let mut driver = scene.bring_up(0, FEATURES);
    let head = driver.read(1, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_client_can_reset_its_device_while_the_disk_is_not_there() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    driver.read(1, DATA, 512);
    scene.restart_with(&[1]);
    assert!(scene.status(0).contains(Status::DRIVER_OK));
    scene.good(0, Command::Reset, &mut []);
    assert_eq!(scene.status(0), Status::empty());
    scene.attach(0);
    scene.settle();
    assert_eq!(driver.done(), None, "its rings are somebody else's by now");
}

#[test]
fn a_disk_that_comes_back_with_less_than_was_agreed_on_asks_for_a_reset() {
    let mut scene = Scene::new();
    scene.bring_up(0, FEATURES | Features::from(virtio::blk::Features::DISCARD));
    scene.restart_with(&[1]);
    scene.platter(0).geometry.discard = None;
    scene.attach(0);
    assert!(scene.status(0).contains(Status::DEVICE_NEEDS_RESET));
}
