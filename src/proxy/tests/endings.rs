//! Queues that are stopped and devices that are reset come to an end, whatever is in flight.

use std::collections::BTreeSet;
use std::vec::Vec;

use channel::{ChannelSubsystem, Tested};
use vcss::client::{InFlight, Notify, QueueState, MAX_QUEUE_SIZE};
use virtio::blk::Config;
use virtio::ccw::{Command, QueueInfo};
use virtio::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::scene::{Driver, Scene, FEATURES, QUEUE_SIZE};

const DATA: u64 = 0x8_0000;

/// Stops queue 0; the position that remains.
fn stop(scene: &mut Scene) -> u16 {
    scene.good(0, Command::SetQueue, QueueInfo::default().as_mut_bytes());
    let state: QueueState = scene.area.read(0).unwrap();
    assert_eq!(state.size.get(), 0);
    state.next_avail.get()
}

/// Sets queue 0 up again, at the position that it has.
fn go_on(scene: &mut Scene, driver: &Driver) {
    let mut info = driver.info(0);
    scene.good(0, Command::SetQueue, info.as_mut_bytes());
}

fn all_done(driver: &mut Driver, status: u8) -> BTreeSet<u16> {
    let mut heads = BTreeSet::new();
    while let Some((head, got, _)) = driver.done() {
        assert_eq!(got, status, "head {head}");
        assert!(heads.insert(head), "head {head} came back twice");
    }
    heads
}

/// As the record says it: this head was taken, as the one with this available index.
fn taken(scene: &Scene, head: u16, index: u16) {
    let entry = InFlight {
        state: InFlight::TAKEN.into(),
        index: index.into(),
    };
    scene.area.write(u32::from(head), &entry).unwrap();
}

#[test]
fn a_reset_drops_what_found_the_disk_full() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    // Somebody else has all of the disk, and keeps it.
    scene.platter(0).capacity = 0;
    driver.read(0, DATA, 512);
    scene.settle();
    scene.good(0, Command::Reset, &mut []);
    assert_eq!(scene.status(0), Status::empty());
    scene.platter(0).capacity = 64;
    scene.settle();
    assert_eq!(driver.done(), None, "its rings are somebody else's by now");
    let mut driver = scene.bring_up(0, FEATURES);
    let head = driver.read(1, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_queue_that_is_stopped_leaves_to_the_ring_what_found_the_disk_full() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    let first = driver.read(0, DATA, 512);
    scene.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first]));
    scene.platter(0).capacity = 0;
    let heads: BTreeSet<u16> = (0..3).map(|at| driver.read(at, DATA, 512)).collect();
    scene.settle();
    assert_eq!(stop(&mut scene), 1, "three requests are still to be taken");
    scene.platter(0).capacity = 64;
    scene.settle();
    assert_eq!(driver.done(), None);
    go_on(&mut scene, &driver);
    scene.settle();
    assert_eq!(all_done(&mut driver, 0), heads);
}

#[test]
fn a_queue_that_is_stopped_waits_for_the_disk_and_leaves_the_rest_to_the_ring() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).capacity = 2;
    scene.platter(0).stalled = 20;
    let heads: Vec<u16> = (0..4).map(|at| driver.read(at, DATA, 512)).collect();
    assert_eq!(stop(&mut scene), 2);
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[0], heads[1]])
    );
    go_on(&mut scene, &driver);
    scene.settle();
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[2], heads[3]])
    );
}

/// Five requests, of which the third came back; then the appliance died.
fn one_of_five_is_back(scene: &mut Scene) -> (Driver, Vec<u16>) {
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let heads: Vec<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    scene.settle();
    {
        let mut platter = scene.platter(0);
        // The one that came last goes first.
        let third = platter.waiting.remove(2).unwrap();
        platter.waiting.push_back(third);
        platter.first = 1;
    }
    scene.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([heads[2]]));
    (driver, heads)
}

#[test]
fn a_queue_that_is_stopped_after_a_restart_does_again_what_the_position_cannot_name() {
    let mut scene = Scene::new();
    let (mut driver, heads) = one_of_five_is_back(&mut scene);
    // One place on the disk, which somebody else has for now.
    scene.restart();
    scene.platter(0).capacity = 1;
    scene.platter(0).stalled = 5;
    let position = stop(&mut scene);
    let done = all_done(&mut driver, 0);
    assert!(position >= 3, "the first two stood before the third");
    let expected: BTreeSet<u16> = [0, 1, 3, 4]
        .into_iter()
        .filter(|&at| at < position)
        .map(|at| heads[usize::from(at)])
        .collect();
    assert_eq!(done, expected);
    scene.platter(0).capacity = 64;
    go_on(&mut scene, &driver);
    scene.settle();
    let rest: BTreeSet<u16> = heads[usize::from(position)..].iter().copied().collect();
    assert_eq!(all_done(&mut driver, 0), rest);
}

#[test]
fn a_queue_that_is_stopped_without_its_disk_ends_what_the_position_cannot_name() {
    let mut scene = Scene::new();
    let (mut driver, heads) = one_of_five_is_back(&mut scene);
    scene.restart_with(&[1]);
    assert_eq!(stop(&mut scene), 3);
    assert_eq!(
        all_done(&mut driver, 1),
        BTreeSet::from([heads[0], heads[1]]),
        "an error is an ending, too"
    );
    scene.platter(0).stalled = 0;
    scene.attach(0);
    go_on(&mut scene, &driver);
    scene.settle();
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[3], heads[4]])
    );
}

#[test]
fn a_device_that_needs_a_reset_after_a_restart_can_be_stopped_and_reset() {
    for stopping in [false, true] {
        for there in [[0, 1].as_slice(), &[1]] {
            let mut scene = Scene::new();
            let mut driver = scene.bring_up(0, FEATURES);
            scene.platter(0).stalled = u32::MAX;
            for at in 0..3 {
                driver.read(at, DATA, 512);
            }
            scene.settle();
            // The disk that comes back has less.
            scene.platter(0).geometry.discard = None;
            scene.restart_with(there);
            if there.len() == 1 {
                scene.attach(0);
            }
            assert!(scene.status(0).contains(Status::DEVICE_NEEDS_RESET));
            if stopping {
                stop(&mut scene);
            }
            scene.good(0, Command::Reset, &mut []);
            assert_eq!(scene.status(0), Status::empty());
            scene.platter(0).stalled = 0;
            scene.settle();
            assert_eq!(driver.done(), None, "nothing of it is served any more");
        }
    }
}

#[test]
fn a_stop_that_is_cut_off_leaves_a_queue_that_is_served() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let first = driver.read(0, DATA, 512);
    scene.settle();
    scene.cut_off(0, Command::SetQueue, QueueInfo::default().as_mut_bytes());
    let second = driver.read(1, DATA, 512);
    scene.platter(0).stalled = 0;
    scene.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first, second]));
}

#[test]
fn a_stop_that_is_halted_leaves_a_queue_that_is_served() {
    for (command, data) in [(Command::SetQueue, [0; 32]), (Command::Reset, [0; 32])] {
        let mut scene = Scene::new();
        let mut driver = scene.bring_up(0, FEATURES);
        scene.platter(0).stalled = u32::MAX;
        let first = driver.read(0, DATA, 512);
        scene.settle();
        let id = scene.start(0, command, &data);
        assert!(matches!(scene.remote.test(id), Ok(Tested::Nothing(_))));
        scene.remote.halt(id).unwrap();
        assert!(matches!(scene.remote.test(id), Ok(Tested::Status(_))));
        let second = driver.read(1, DATA, 512);
        scene.platter(0).stalled = 0;
        scene.settle();
        let both = BTreeSet::from([first, second]);
        assert_eq!(all_done(&mut driver, 0), both, "{command:?}");
    }
}

#[test]
fn a_command_that_waits_is_the_one_that_was_read() {
    for (command, first, later) in [
        (Command::SetQueue, 0, 1),
        (Command::WriteStatus, 0, 0x0F),
        (Command::WriteStatus, 0, 0x01),
    ] {
        let mut scene = Scene::new();
        let mut driver = scene.bring_up(0, FEATURES);
        scene.platter(0).stalled = u32::MAX;
        let head = driver.read(0, DATA, 512);
        scene.settle();
        let data = |value: u16| {
            let info = QueueInfo {
                index: value.into(),
                ..QueueInfo::default()
            };
            match command {
                Command::SetQueue => info.as_bytes().to_vec(),
                _ => std::vec![value as u8],
            }
        };
        let id = scene.start(0, command, &data(first));
        assert!(matches!(scene.remote.test(id), Ok(Tested::Nothing(_))));
        scene.change_data(&data(later));
        scene.platter(0).stalled = 0;
        scene.settle();
        assert!(matches!(scene.remote.test(id), Ok(Tested::Status(_))));
        assert_eq!(all_done(&mut driver, 0), BTreeSet::from([head]));
        let state: QueueState = scene.area.read(0).unwrap();
        assert_eq!(state.size.get(), 0, "{command:?}");
        if command == Command::WriteStatus {
            assert_eq!(scene.status(0), Status::empty());
        }
    }
}

#[test]
fn a_reset_forgets_a_queue_that_could_not_be_taken_up() {
    let mut scene = Scene::new();
    let _driver = scene.bring_up(0, FEATURES);
    (0..4).for_each(|head| taken(&scene, head, 40));
    scene.restart();
    assert!(scene.status(0).contains(Status::DEVICE_NEEDS_RESET));
    scene.good(0, Command::Reset, &mut []);
    for queue in 0..8 {
        let state: QueueState = scene.area.read(queue).unwrap();
        assert_eq!((state.size.get(), state.next_avail.get()), (0, 0));
    }
    // The next life has nothing to take up.
    scene.restart();
    assert_eq!(scene.status(0), Status::empty());
}

#[test]
fn what_was_published_before_a_crash_does_not_count_64_ki_requests_later() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    // As if the crash had come between the used index and FREE.
    let unused = QUEUE_SIZE - 1;
    let entry = InFlight {
        state: InFlight::RETURNED.into(),
        index: 0.into(),
    };
    scene.area.write(u32::from(unused), &entry).unwrap();
    scene.restart();
    let entry: InFlight = scene.area.read(u32::from(unused)).unwrap();
    assert_eq!(entry.state.get(), InFlight::FREE);
}

#[test]
fn an_old_request_with_the_next_index_is_not_taken_for_the_last_one() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let first = driver.read(0, DATA, 512);
    let second = driver.read(1, DATA, 512);
    scene.settle();
    // It has been at the disk while 64 Ki others came and went.
    taken(&scene, first, 2);
    scene.restart();
    assert!(!scene.status(0).contains(Status::DEVICE_NEEDS_RESET));
    scene.platter(0).stalled = 0;
    scene.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first, second]));
    assert!(usize::from(first) < MAX_QUEUE_SIZE);
}

#[test]
fn what_was_negotiated_before_a_restart_is_still_agreed_on() {
    let mut scene = Scene::new();
    scene.begin(0, FEATURES);
    scene.restart();
    let agreed = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    assert_eq!(scene.status(0), agreed);
    let mut driver = scene.queue(0, 0, FEATURES);
    scene.restart();
    scene.good(0, Command::WriteStatus, &mut [1 | 2 | 8 | 4]);
    let head = driver.read(0, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn the_position_of_a_queue_that_is_stopped_outlives_the_appliance() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    driver.read(0, DATA, 512);
    scene.settle();
    assert_eq!(stop(&mut scene), 1);
    all_done(&mut driver, 0);
    scene.restart();
    go_on(&mut scene, &driver);
    let head = driver.read(1, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn the_cache_mode_that_outlives_a_reset_outlives_a_restart_after_it() {
    let mut scene = Scene::new();
    let mut config = [0; size_of::<Config>()];
    scene.good(0, Command::WriteConfig, &mut config);
    scene.good(0, Command::Reset, &mut []);
    scene.restart();
    scene.good(0, Command::ReadConfig, &mut config);
    let config = Config::read_from_bytes(&config).unwrap();
    assert_eq!(config.writeback, 0);
}

#[test]
fn what_an_earlier_life_published_is_told_when_the_queue_is_stopped_first() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    driver.read(0, DATA, 512);
    scene.settle();
    let notifications = |scene: &Scene| {
        let notify: Notify = scene.area.read(0).unwrap();
        notify.queue[0].get()
    };
    let before = notifications(&scene);
    // The earlier life may have died before it said so, and the first thing that the new one hears is the stop.
    scene.restart();
    scene.start(0, Command::SetQueue, QueueInfo::default().as_bytes());
    scene.settle();
    assert_eq!(scene.area.read::<QueueState>(0).unwrap().size.get(), 0);
    assert_ne!(notifications(&scene), before);
}
