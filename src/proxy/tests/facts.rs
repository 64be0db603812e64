//! What a client that behaves can rely on.

use std::vec;
use std::vec::Vec;

use channel::DeviceStatus;
use vcss::client::{Notify, QueueState, SET_VQ_POSITION};
use virtio::blk::{Config, Features as BlkFeatures, Range, RequestType};
use virtio::ccw::{Command, QueueInfo};
use virtio::{Features, Status};
use window::ClientAddress;
use zerocopy::{FromBytes, IntoBytes};

use super::fixture::{Fixture, FEATURES, SLICE_SECTORS, SLICE_START};
use crate::driver::block::Operation;

const DATA: u64 = 0x8_0000;

#[test]
fn a_client_sees_its_slice_and_nothing_else() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(5, DATA, 1024);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 1025)));
    let first: u8 = fixture.window.read(ClientAddress::new(DATA)).unwrap();
    let second: u8 = fixture.window.read(ClientAddress::new(DATA + 512)).unwrap();
    assert_eq!(first, (SLICE_START + 5) as u8);
    assert_eq!(second, (SLICE_START + 6) as u8);
    for sector in [SLICE_SECTORS - 1, SLICE_SECTORS, u64::MAX] {
        let head = driver.read(sector, DATA, 1024);
        fixture.settle();
        assert_eq!(driver.done(), Some((head, 1, 1)), "sector {sector}");
    }
}

#[test]
fn what_is_written_is_on_the_disk_and_is_read_back() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let pattern: Vec<u8> = (0..2048u32).map(|at| (at * 7) as u8).collect();
    fixture
        .window
        .write_bytes(ClientAddress::new(DATA), &pattern)
        .unwrap();
    let head = driver.request(
        RequestType::Out,
        9,
        &[(DATA, 512), (DATA + 512, 1536)],
        false,
    );
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 1)));
    let at = (SLICE_START as usize + 9) * 512;
    assert_eq!(fixture.platter(0).bytes[at..at + 2048], pattern);
    driver.read(9, DATA + 0x1000, 2048);
    fixture.settle();
    driver.done().unwrap();
    let mut back = vec![0; 2048];
    fixture
        .window
        .read_bytes(ClientAddress::new(DATA + 0x1000), &mut back)
        .unwrap();
    assert_eq!(back, pattern);
}

#[test]
fn many_requests_come_back_in_any_order_each_once() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let mut heads: Vec<u16> = (0..5)
        .map(|at| driver.read(at, DATA + at * 512, 512))
        .collect();
    fixture.settle();
    let mut back: Vec<u16> = core::iter::from_fn(|| driver.done())
        .map(|done| done.0)
        .collect();
    assert_ne!(back, heads, "the disk turns the order round");
    back.sort_unstable();
    heads.sort_unstable();
    assert_eq!(back, heads);
}

#[test]
fn a_full_disk_makes_requests_wait_and_loses_none() {
    let mut fixture = Fixture::new();
    fixture.platter(0).capacity = 2;
    let mut driver = fixture.bring_up(0, FEATURES);
    for at in 0..5 {
        driver.read(at, DATA, 512);
    }
    fixture.settle();
    let back = core::iter::from_fn(|| driver.done()).filter(|done| done.1 == 0);
    assert_eq!(back.count(), 5);
}

#[test]
fn a_read_only_disk_says_so_and_refuses_writes() {
    let mut fixture = Fixture::new();
    let offered = fixture.features(1);
    assert!(offered.contains(BlkFeatures::RO.into()));
    assert!(!offered.contains(BlkFeatures::DISCARD.into()));
    let features = Features::VERSION_1 | BlkFeatures::FLUSH.into();
    let mut driver = fixture.bring_up(1, features);
    for kind in [
        RequestType::Out,
        RequestType::WriteZeroes,
        RequestType::Discard,
    ] {
        let head = driver.request(kind, 0, &[(DATA, 512)], false);
        fixture.settle();
        assert_eq!(driver.done(), Some((head, 1, 1)), "{kind:?}");
    }
    assert!(
        fixture.platter(1).log.is_empty(),
        "nothing reached the disk"
    );
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn the_configuration_describes_the_slice() {
    let mut fixture = Fixture::new();
    let mut bytes = [0; size_of::<Config>()];
    fixture.good(0, Command::ReadConfig, &mut bytes);
    let config = Config::read_from_bytes(&bytes).unwrap();
    assert_eq!(config.capacity.get(), SLICE_SECTORS);
    assert_eq!(config.num_queues.get(), 4);
    assert_eq!(config.seg_max.get(), 16);
    assert_eq!(config.max_discard_seg.get(), 4);
    assert_eq!(config.writeback, 1);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut fixture = Fixture::new();
    fixture.good(0, Command::Reset, &mut []);
    let mut unknown = [0, 0, 0, 0x80, 0];
    fixture.good(0, Command::WriteFeatures, &mut unknown);
    let irb = fixture.command(0, Command::WriteStatus.into(), &mut [1 | 2 | 8]);
    assert!(irb.scsw.device().contains(DeviceStatus::UNIT_CHECK));
    assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.request(RequestType::SecureErase, 0, &[], false);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 2, 1)));
}

#[test]
fn get_id_answers_the_serial() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    for length in [20, 512] {
        let head = driver.request(RequestType::GetId, 0, &[(DATA, length)], true);
        fixture.settle();
        assert_eq!(driver.done(), Some((head, 0, 21)));
        let id: [u8; 20] = fixture.window.read(ClientAddress::new(DATA)).unwrap();
        assert_eq!(&id, b"slice of disk zero\0\0");
    }
}

#[test]
fn used_lengths_say_what_was_written() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let long = [(DATA, 512), (DATA + 512, 1024)];
    for (kind, sector, data, writable, expected) in [
        (RequestType::In, 1, long.as_slice(), true, (0, 1537)),
        (RequestType::In, 1, &[], true, (0, 1)),
        (RequestType::In, SLICE_SECTORS, &long, true, (1, 1)),
        (RequestType::In, 1, &[(DATA, 100)], true, (1, 1)),
        (RequestType::Out, 1, &long, false, (0, 1)),
        (RequestType::Out, 1, &[], false, (0, 1)),
        (RequestType::Flush, 0, &[], false, (0, 1)),
        (RequestType::Flush, 0, &[(DATA, 512)], true, (0, 1)),
        (RequestType::GetId, 0, &[(DATA, 8)], true, (0, 9)),
        (
            RequestType::GetId,
            0,
            &[(DATA, 8), (DATA + 8, 100)],
            true,
            (0, 21),
        ),
        (RequestType::GetId, 0, &[], true, (0, 1)),
        (RequestType::GetLifetime, 0, &[(DATA, 40)], true, (2, 1)),
        (RequestType::SecureErase, 0, &[(DATA, 16)], false, (2, 1)),
        (RequestType::Discard, 0, &[], false, (1, 1)),
    ] {
        let head = driver.request(kind, sector, data, writable);
        fixture.settle();
        let (status, written) = expected;
        assert_eq!(
            driver.done(),
            Some((head, status, written)),
            "{kind:?} {sector} {data:?}"
        );
    }
}

#[test]
fn a_cache_mode_that_was_asked_for_outlives_a_reset() {
    let mut fixture = Fixture::new();
    let writeback = |fixture: &mut Fixture| {
        let mut bytes = [0; size_of::<Config>()];
        fixture.good(0, Command::ReadConfig, &mut bytes);
        Config::read_from_bytes(&bytes).unwrap().writeback
    };
    let mut config = [0; size_of::<Config>()];
    fixture.bring_up(0, FEATURES);
    fixture.good(0, Command::WriteConfig, &mut config);
    assert_eq!(writeback(&mut fixture), 0);
    // As a guest that is rebooted does it, which may have been told by somebody's copy.
    let mut driver = fixture.bring_up(0, FEATURES);
    assert_eq!(writeback(&mut fixture), 0);
    driver.write(1, DATA, 512);
    fixture.settle();
    assert_eq!(fixture.platter(0).log.last(), Some(&Operation::Flush));
    fixture.restart();
    assert_eq!(writeback(&mut fixture), 0);
    // What is written before the features are agreed on counts too.
    fixture.good(0, Command::Reset, &mut []);
    config[core::mem::offset_of!(Config, writeback)] = 1;
    fixture.good(0, Command::WriteConfig, &mut config);
    assert_eq!(writeback(&mut fixture), 1);
}

#[test]
fn a_driver_without_indirect_descriptors_is_told_of_segments_that_fit_a_small_ring() {
    let mut fixture = Fixture::new();
    fixture.platter(0).geometry.seg_max = 126;
    fixture.restart();
    let seg_max = |fixture: &mut Fixture| {
        let mut bytes = [0; size_of::<Config>()];
        fixture.good(0, Command::ReadConfig, &mut bytes);
        Config::read_from_bytes(&bytes).unwrap().seg_max.get()
    };
    fixture.bring_up(0, FEATURES);
    assert_eq!(seg_max(&mut fixture), 126);
    fixture.bring_up(0, FEATURES - Features::RING_INDIRECT_DESC);
    assert_eq!(seg_max(&mut fixture), 62);
}

#[test]
fn two_clients_that_fill_a_disk_each_get_their_part_of_it() {
    let [mut one, mut other] = Fixture::pair();
    let mut drivers = [one.bring_up(0, FEATURES), other.bring_up(0, FEATURES)];
    one.platter(0).capacity = 4;
    let mut counts = [0, 0];
    for _ in 0..400 {
        for (driver, count) in drivers.iter_mut().zip(&mut counts) {
            while driver.done().is_some() {
                *count += 1;
            }
            while driver.queue.free() >= 3 {
                driver.read(1, DATA, 512);
            }
        }
        one.side.borrow_mut().turn();
    }
    let [first, second] = counts;
    assert!(first > 0 && second > 0, "{counts:?}");
    assert!(first <= 2 * second && second <= 2 * first, "{counts:?}");
}

#[test]
fn clients_of_one_disk_use_its_queues_side_by_side() {
    let [mut one, mut other] = Fixture::pair();
    one.platter(0).geometry.queues = 4;
    one.attach(0);
    let mut drivers = [one.bring_up(0, FEATURES), other.bring_up(0, FEATURES)];
    for driver in &mut drivers {
        driver.read(1, DATA, 512);
    }
    one.settle();
    assert_eq!(one.platter(0).queues_used, [0, 1].into());
}

#[test]
fn discard_and_write_zeroes_stay_in_the_slice() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let range = |sector: u64, sectors: u32, flags: u32| Range {
        sector: sector.into(),
        num_sectors: sectors.into(),
        flags: flags.into(),
    };
    for (kind, range, status) in [
        (RequestType::WriteZeroes, range(3, 2, 1), 0),
        (RequestType::Discard, range(10, 1, 0), 0),
        (RequestType::Discard, range(10, 1, 1), 2),
        (RequestType::WriteZeroes, range(10, 1, 2), 2),
        (RequestType::WriteZeroes, range(SLICE_SECTORS - 1, 2, 0), 1),
        (RequestType::WriteZeroes, range(u64::MAX, 2, 0), 1),
        (RequestType::WriteZeroes, range(0, 257, 0), 1),
    ] {
        fixture
            .window
            .write(ClientAddress::new(DATA), &range)
            .unwrap();
        let head = driver.request(kind, 0, &[(DATA, 16)], false);
        fixture.settle();
        assert_eq!(driver.done(), Some((head, status, 1)), "{kind:?} {range:?}");
    }
    let platter = fixture.platter(0);
    let start = SLICE_START as usize;
    let sector = |number: usize| platter.bytes[number * 512];
    assert_eq!(sector(start + 2), (start + 2) as u8);
    assert_eq!(sector(start + 3), 0);
    assert_eq!(sector(start + 4), 0);
    assert_eq!(sector(start + 5), (start + 5) as u8);
    assert_eq!(sector(start + 10), 0);
}

#[test]
fn write_through_flushes_before_it_answers() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let mut config = [0; 33];
    fixture.good(0, Command::WriteConfig, &mut config);
    driver.write(0, DATA, 512);
    fixture.settle();
    assert!(driver.done().is_some());
    let sector = SLICE_START;
    assert_eq!(
        fixture.platter(0).log,
        [Operation::Write { sector }, Operation::Flush]
    );
}

#[test]
fn write_back_leaves_flushing_to_the_client() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.write(0, DATA, 512);
    fixture.settle();
    driver.request(RequestType::Flush, 0, &[], false);
    fixture.settle();
    let sector = SLICE_START;
    assert_eq!(
        fixture.platter(0).log,
        [Operation::Write { sector }, Operation::Flush]
    );
}

#[test]
fn a_client_that_cannot_flush_gets_write_through() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, Features::VERSION_1);
    driver.write(0, DATA, 512);
    fixture.settle();
    assert_eq!(fixture.platter(0).log.last(), Some(&Operation::Flush));
}

#[test]
fn a_failing_disk_is_an_io_error_for_the_client() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).failing = true;
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 1, 1)));
    fixture.platter(0).failing = false;
    driver.read(0, DATA, 512);
    fixture.settle();
    assert!(matches!(driver.done(), Some((_, 0, 513))));
}

#[test]
fn a_reset_waits_for_requests_in_flight() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = 20;
    driver.read(0, DATA, 512);
    fixture.good(0, Command::Reset, &mut []);
    assert_eq!(
        fixture.platter(0).stalled,
        0,
        "the reset outlasted the disk"
    );
    assert!(driver.done().is_some(), "its request came back first");
    assert_eq!(fixture.status(0), Status::empty());
}

#[test]
fn a_released_queue_keeps_its_position() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    for at in 0..3 {
        driver.read(at, DATA, 512);
    }
    fixture.settle();
    let mut release = QueueInfo::default();
    fixture.good(0, Command::SetQueue, release.as_mut_bytes());
    let state: QueueState = fixture.area.read(0).unwrap();
    assert_eq!((state.size.get(), state.next_avail.get()), (0, 3));
    // Set up again where it was, it goes on.
    let addresses = driver.queue.addresses();
    let mut info = QueueInfo {
        descriptors: addresses.descriptors.into(),
        size: super::fixture::QUEUE_SIZE.into(),
        driver: addresses.driver.into(),
        device: addresses.device.into(),
        ..QueueInfo::default()
    };
    fixture.command(0, SET_VQ_POSITION, &mut [0, 0, 0, 3]);
    fixture.good(0, Command::SetQueue, info.as_mut_bytes());
    while driver.done().is_some() {}
    let head = driver.read(7, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_completion_notifies_the_queue_it_belongs_to() {
    let mut fixture = Fixture::new();
    let mut first = fixture.bring_up(0, FEATURES);
    let mut third = fixture.queue(0, 2, FEATURES);
    let before: Notify = fixture.area.read(0).unwrap();
    third.read(0, DATA, 512);
    fixture.settle();
    let after: Notify = fixture.area.read(0).unwrap();
    assert_eq!(after.queue[0], before.queue[0]);
    assert_eq!(after.queue[2].get(), before.queue[2].get() + 1);
    assert!(first.done().is_none());
    assert!(third.done().is_some());
}

#[test]
fn a_client_that_wants_no_notification_gets_none() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.read(0, DATA, 512);
    fixture.settle();
    while driver.done().is_some() {}
    driver.queue.disable_interrupts();
    let before: Notify = fixture.area.read(0).unwrap();
    driver.read(0, DATA, 512);
    fixture.settle();
    let after: Notify = fixture.area.read(0).unwrap();
    assert_eq!(after.queue[0], before.queue[0]);
    assert!(driver.done().is_some());
}
