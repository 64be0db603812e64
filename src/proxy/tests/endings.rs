//! Queues that are stopped and devices that are reset come to an end, whatever is in flight.

use std::collections::BTreeSet;
use std::vec::Vec;

use channel::{ChannelSubsystem, Tested};
use vcss::client::{InFlight, Notify, QueueState, MAX_QUEUE_SIZE};
use virtio::blk::Config;
use virtio::ccw::{Command, QueueInfo};
use virtio::{Features, Status};
use zerocopy::{FromBytes, IntoBytes};

use super::fixture::{Driver, Fixture, FEATURES, MEMORY, QUEUE_SIZE};

const DATA: u64 = 0x8_0000;

/// Stops queue 0; the position that remains.
fn stop(fixture: &mut Fixture) -> u16 {
    fixture.good(0, Command::SetQueue, QueueInfo::default().as_mut_bytes());
    let state: QueueState = fixture.area.read(0).unwrap();
    assert_eq!(state.size.get(), 0);
    state.next_avail.get()
}

/// Sets queue 0 up again, at the position that it has.
fn go_on(fixture: &mut Fixture, driver: &Driver) {
    let mut info = driver.info(0);
    fixture.good(0, Command::SetQueue, info.as_mut_bytes());
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
fn taken(fixture: &Fixture, head: u16, index: u16) {
    let entry = InFlight {
        state: InFlight::TAKEN.into(),
        index: index.into(),
    };
    fixture.area.write(u32::from(head), &entry).unwrap();
}

#[test]
fn a_reset_drops_what_found_the_disk_full() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    // Somebody else has all of the disk, and keeps it.
    fixture.platter(0).capacity = 0;
    driver.read(0, DATA, 512);
    fixture.settle();
    fixture.good(0, Command::Reset, &mut []);
    assert_eq!(fixture.status(0), Status::empty());
    fixture.platter(0).capacity = 64;
    fixture.settle();
    assert_eq!(driver.done(), None, "its rings are somebody else's by now");
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(1, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_queue_that_is_stopped_leaves_to_the_ring_what_found_the_disk_full() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let first = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first]));
    fixture.platter(0).capacity = 0;
    let heads: BTreeSet<u16> = (0..3).map(|at| driver.read(at, DATA, 512)).collect();
    fixture.settle();
    assert_eq!(
        stop(&mut fixture),
        1,
        "three requests are still to be taken"
    );
    fixture.platter(0).capacity = 64;
    fixture.settle();
    assert_eq!(driver.done(), None);
    go_on(&mut fixture, &driver);
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), heads);
}

#[test]
fn a_queue_that_is_stopped_waits_for_the_disk_and_leaves_the_rest_to_the_ring() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).capacity = 2;
    fixture.platter(0).stalled = 20;
    let heads: Vec<u16> = (0..4).map(|at| driver.read(at, DATA, 512)).collect();
    assert_eq!(stop(&mut fixture), 2);
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[0], heads[1]])
    );
    go_on(&mut fixture, &driver);
    fixture.settle();
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[2], heads[3]])
    );
}

/// Five requests, of which the third came back; then the appliance died.
fn one_of_five_is_back(fixture: &mut Fixture) -> (Driver, Vec<u16>) {
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let heads: Vec<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    fixture.settle();
    {
        let mut platter = fixture.platter(0);
        // The one that came last goes first.
        let third = platter.waiting.remove(2).unwrap();
        platter.waiting.push_back(third);
        platter.first = 1;
    }
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([heads[2]]));
    (driver, heads)
}

#[test]
fn a_queue_that_is_stopped_after_a_restart_does_again_what_the_position_cannot_name() {
    let mut fixture = Fixture::new();
    let (mut driver, heads) = one_of_five_is_back(&mut fixture);
    // One place on the disk, which somebody else has for now.
    fixture.restart();
    fixture.platter(0).capacity = 1;
    fixture.platter(0).stalled = 5;
    let position = stop(&mut fixture);
    let done = all_done(&mut driver, 0);
    assert!(position >= 3, "the first two stood before the third");
    let expected: BTreeSet<u16> = [0, 1, 3, 4]
        .into_iter()
        .filter(|&at| at < position)
        .map(|at| heads[usize::from(at)])
        .collect();
    assert_eq!(done, expected);
    fixture.platter(0).capacity = 64;
    go_on(&mut fixture, &driver);
    fixture.settle();
    let rest: BTreeSet<u16> = heads[usize::from(position)..].iter().copied().collect();
    assert_eq!(all_done(&mut driver, 0), rest);
}

#[test]
fn a_queue_that_is_stopped_without_its_disk_ends_what_the_position_cannot_name() {
    let mut fixture = Fixture::new();
    let (mut driver, heads) = one_of_five_is_back(&mut fixture);
    fixture.restart_with(&[1]);
    assert_eq!(stop(&mut fixture), 3);
    assert_eq!(
        all_done(&mut driver, 1),
        BTreeSet::from([heads[0], heads[1]]),
        "an error is an ending, too"
    );
    fixture.platter(0).stalled = 0;
    fixture.attach(0);
    go_on(&mut fixture, &driver);
    fixture.settle();
    assert_eq!(
        all_done(&mut driver, 0),
        BTreeSet::from([heads[3], heads[4]])
    );
}

#[test]
fn a_device_that_needs_a_reset_after_a_restart_can_be_stopped_and_reset() {
    for stopping in [false, true] {
        for there in [[0, 1].as_slice(), &[1]] {
            let mut fixture = Fixture::new();
            let mut driver = fixture.bring_up(0, FEATURES);
            fixture.platter(0).stalled = u32::MAX;
            for at in 0..3 {
                driver.read(at, DATA, 512);
            }
            fixture.settle();
            // The disk that comes back has less.
            fixture.platter(0).geometry.discard = None;
            fixture.restart_with(there);
            if there.len() == 1 {
                fixture.attach(0);
            }
            assert!(fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
            if stopping {
                stop(&mut fixture);
            }
            fixture.good(0, Command::Reset, &mut []);
            assert_eq!(fixture.status(0), Status::empty());
            fixture.platter(0).stalled = 0;
            fixture.settle();
            assert_eq!(driver.done(), None, "nothing of it is served any more");
        }
    }
}

#[test]
fn a_stop_that_is_cut_off_leaves_a_queue_that_is_served() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let first = driver.read(0, DATA, 512);
    fixture.settle();
    fixture.cut_off(0, Command::SetQueue, QueueInfo::default().as_mut_bytes());
    let second = driver.read(1, DATA, 512);
    fixture.platter(0).stalled = 0;
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first, second]));
}

#[test]
fn a_stop_that_is_halted_leaves_a_queue_that_is_served() {
    for (command, data) in [(Command::SetQueue, [0; 32]), (Command::Reset, [0; 32])] {
        let mut fixture = Fixture::new();
        let mut driver = fixture.bring_up(0, FEATURES);
        fixture.platter(0).stalled = u32::MAX;
        let first = driver.read(0, DATA, 512);
        fixture.settle();
        let id = fixture.start(0, command, &data);
        assert!(matches!(fixture.remote.test(id), Ok(Tested::Nothing(_))));
        fixture.remote.halt(id).unwrap();
        assert!(matches!(fixture.remote.test(id), Ok(Tested::Status(_))));
        let second = driver.read(1, DATA, 512);
        fixture.platter(0).stalled = 0;
        fixture.settle();
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
        let mut fixture = Fixture::new();
        let mut driver = fixture.bring_up(0, FEATURES);
        fixture.platter(0).stalled = u32::MAX;
        let head = driver.read(0, DATA, 512);
        fixture.settle();
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
        let id = fixture.start(0, command, &data(first));
        assert!(matches!(fixture.remote.test(id), Ok(Tested::Nothing(_))));
        fixture.change_data(&data(later));
        fixture.platter(0).stalled = 0;
        fixture.settle();
        assert!(matches!(fixture.remote.test(id), Ok(Tested::Status(_))));
        assert_eq!(all_done(&mut driver, 0), BTreeSet::from([head]));
        let state: QueueState = fixture.area.read(0).unwrap();
        assert_eq!(state.size.get(), 0, "{command:?}");
        if command == Command::WriteStatus {
            assert_eq!(fixture.status(0), Status::empty());
        }
    }
}

#[test]
fn a_reset_forgets_a_queue_that_could_not_be_taken_up() {
    let mut fixture = Fixture::new();
    let _driver = fixture.bring_up(0, FEATURES);
    (0..4).for_each(|head| taken(&fixture, head, 40));
    fixture.restart();
    assert!(fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
    fixture.good(0, Command::Reset, &mut []);
    for queue in 0..8 {
        let state: QueueState = fixture.area.read(queue).unwrap();
        assert_eq!((state.size.get(), state.next_avail.get()), (0, 0));
    }
    // The next life has nothing to take up.
    fixture.restart();
    assert_eq!(fixture.status(0), Status::empty());
}

#[test]
fn what_was_published_before_a_crash_does_not_count_64_ki_requests_later() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    // As if the crash had come between the used index and FREE.
    let unused = QUEUE_SIZE - 1;
    let entry = InFlight {
        state: InFlight::RETURNED.into(),
        index: 0.into(),
    };
    fixture.area.write(u32::from(unused), &entry).unwrap();
    fixture.restart();
    let entry: InFlight = fixture.area.read(u32::from(unused)).unwrap();
    assert_eq!(entry.state.get(), InFlight::FREE);
}

#[test]
fn an_old_request_with_the_next_index_is_not_taken_for_the_last_one() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let first = driver.read(0, DATA, 512);
    let second = driver.read(1, DATA, 512);
    fixture.settle();
    // It has been at the disk while 64 Ki others came and went.
    taken(&fixture, first, 2);
    fixture.restart();
    assert!(!fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
    fixture.platter(0).stalled = 0;
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first, second]));
    assert!(usize::from(first) < MAX_QUEUE_SIZE);
}

#[test]
fn what_was_negotiated_before_a_restart_is_still_agreed_on() {
    let mut fixture = Fixture::new();
    fixture.begin(0, FEATURES);
    fixture.restart();
    let agreed = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    assert_eq!(fixture.status(0), agreed);
    let mut driver = fixture.queue(0, 0, FEATURES);
    fixture.restart();
    fixture.good(0, Command::WriteStatus, &mut [1 | 2 | 8 | 4]);
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn the_position_of_a_queue_that_is_stopped_outlives_the_appliance() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(stop(&mut fixture), 1);
    all_done(&mut driver, 0);
    fixture.restart();
    go_on(&mut fixture, &driver);
    let head = driver.read(1, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn the_cache_mode_that_outlives_a_reset_outlives_a_restart_after_it() {
    let mut fixture = Fixture::new();
    let mut config = [0; size_of::<Config>()];
    fixture.good(0, Command::WriteConfig, &mut config);
    fixture.good(0, Command::Reset, &mut []);
    fixture.restart();
    fixture.good(0, Command::ReadConfig, &mut config);
    let config = Config::read_from_bytes(&config).unwrap();
    assert_eq!(config.writeback, 0);
}

#[test]
fn what_an_earlier_life_published_is_told_when_the_queue_is_stopped_first() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.read(0, DATA, 512);
    fixture.settle();
    let notifications = |fixture: &Fixture| {
        let notify: Notify = fixture.area.read(0).unwrap();
        notify.queue[0].get()
    };
    let before = notifications(&fixture);
    // The earlier life may have died before it said so, and the first thing that the new one hears is the stop.
    fixture.restart();
    fixture.start(0, Command::SetQueue, QueueInfo::default().as_bytes());
    fixture.settle();
    assert_eq!(fixture.area.read::<QueueState>(0).unwrap().size.get(), 0);
    assert_ne!(notifications(&fixture), before);
}

#[test]
fn memory_that_changes_waits_for_what_is_at_the_disk_and_takes_nothing_new() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    assert!(fixture.settles(), "nothing is in flight");
    fixture.platter(0).stalled = u32::MAX;
    let first = driver.read(0, DATA, 512);
    fixture.settle();
    assert!(!fixture.settles());
    let second = driver.read(1, DATA, 512);
    fixture.settle();
    assert_eq!(fixture.platter(0).waiting.len(), 1);
    // Another disk of the client's is held, too.
    let mut other = fixture.bring_up(1, Features::VERSION_1);
    let third = other.read(0, DATA, 512);
    fixture.settle();
    assert!(fixture.platter(1).waiting.is_empty() && other.done().is_none());
    fixture.platter(0).stalled = 0;
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([first]));
    assert!(fixture.settles());
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([second]));
    assert_eq!(all_done(&mut other, 0), BTreeSet::from([third]));
}

#[test]
fn a_ring_in_memory_that_has_gone_is_served_no_more_until_the_device_is_reset() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let window = fixture.window;
    driver.read(0, DATA, 512);
    fixture.settle();
    let before = window.len();
    window.set_len(8);
    fixture.check_rings();
    assert!(
        fixture.status(0).contains(Status::DEVICE_NEEDS_RESET),
        "before anybody uses it"
    );
    window.set_len(before);
    driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    driver.read(0, DATA, 512);
    fixture.settle();
    assert!(
        !fixture.settles(),
        "what is at the disk ends in the memory that it was taken from"
    );
    fixture.platter(0).stalled = 0;
    fixture.settle();
    assert!(fixture.settles());
    driver.read(1, DATA, 512);
    window.set_len(8);
    fixture.settle();
    assert!(fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
    window.set_len(MEMORY as u64);
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(all_done(&mut driver, 0), BTreeSet::from([head]));
}
