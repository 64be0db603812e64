//! What a client that misbehaves gets: an error for its request or its device, and nothing else.

use std::vec::Vec;

use proptest::prelude::*;
use vcss::client::{Command as Request, Notify, Response};
use virtio::blk::RequestType;
use virtio::ring::Descriptor;
use virtio::Status;
use window::ClientAddress;

use super::fixture::{buffer, Driver, Fixture, FEATURES, MEMORY};

const DATA: u64 = 0x8_0000;
/// The available ring of queue 0 of subchannel 0, behind its 16 descriptors.
const AVAIL: u64 = 16 * 16;

fn needs_reset(fixture: &mut Fixture) -> bool {
    fixture.status(0).contains(Status::DEVICE_NEEDS_RESET)
}

#[test]
fn data_outside_the_window_is_an_io_error() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    for (at, len) in [
        (MEMORY as u64 - 511, 512),
        (MEMORY as u64, 512),
        (u64::MAX - 100, 512),
        (u64::MAX, 1024),
    ] {
        let head = driver.read(0, at, len);
        fixture.settle();
        assert_eq!(driver.done(), Some((head, 1, 1)), "{at:#x}");
    }
    assert!(fixture.platter(0).log.is_empty());
}

#[test]
fn half_a_sector_is_an_io_error() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 511);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 1, 1)));
}

#[test]
fn more_segments_than_allowed_are_an_io_error() {
    let mut fixture = Fixture::new();
    fixture.platter(0).geometry.seg_max = 4;
    let mut driver = fixture.bring_up(0, FEATURES);
    for (count, status) in [(4, 0), (5, 1)] {
        let pieces: Vec<(u64, u32)> = (0..count).map(|at| (DATA + at * 512, 512)).collect();
        let head = driver.request(RequestType::In, 0, &pieces, true);
        fixture.settle();
        let done = driver.done().unwrap();
        assert_eq!((done.0, done.1), (head, status), "{count} segments");
    }
}

#[test]
fn a_request_without_header_or_status_comes_back_empty_and_others_go_on() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    for bad in [
        [buffer(DATA, 8, false), buffer(DATA, 1, true)].as_slice(),
        &[buffer(DATA, 16, false)],
        &[buffer(DATA, 1, true)],
        &[buffer(DATA, 16, false), buffer(DATA, 0, true)],
    ] {
        let head = driver.queue.add(bad).unwrap();
        driver.queue.publish();
        fixture.settle();
        let used = driver.queue.poll_used().unwrap().unwrap();
        assert_eq!((used.head, used.len), (head, 0));
    }
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_header_in_pieces_and_a_status_with_the_data_are_understood() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let header = virtio::blk::RequestHeader::new(RequestType::In, 3);
    fixture
        .window
        .write(ClientAddress::new(DATA), &header)
        .unwrap();
    let head = driver
        .queue
        .add(&[
            buffer(DATA, 5, false),
            buffer(DATA + 5, 0, false),
            buffer(DATA + 5, 11, false),
            buffer(DATA + 0x1000, 513, true),
        ])
        .unwrap();
    driver.queue.publish();
    fixture.settle();
    let used = driver.queue.poll_used().unwrap().unwrap();
    assert_eq!((used.head, used.len), (head, 513));
    let status: u8 = fixture
        .window
        .read(ClientAddress::new(DATA + 0x1000 + 512))
        .unwrap();
    assert_eq!(status, 0);
}

#[test]
fn a_descriptor_loop_ends_that_request() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver
        .queue
        .add(&[buffer(DATA, 16, false), buffer(DATA, 1, false)])
        .unwrap();
    // The second descriptor leads back to the first.
    let second = (head + 1) % 16;
    let descriptor = ClientAddress::new(u64::from(second) * size_of::<Descriptor>() as u64);
    fixture
        .window
        .write_bytes(
            ClientAddress::new(descriptor.value() + 12),
            &[1, 0, head as u8, 0],
        )
        .unwrap();
    driver.queue.publish();
    fixture.settle();
    let used = driver.queue.poll_used().unwrap().unwrap();
    assert_eq!((used.head, used.len), (head, 0));
    assert!(!needs_reset(&mut fixture));
}

#[test]
fn an_index_that_jumps_breaks_the_device_until_reset() {
    let mut fixture = Fixture::new();
    let _driver = fixture.bring_up(0, FEATURES);
    let before: Notify = fixture.area.read(0).unwrap();
    fixture
        .window
        .write_bytes(ClientAddress::new(AVAIL + 2), &[0x00, 0x40])
        .unwrap();
    fixture.settle();
    assert!(needs_reset(&mut fixture));
    let after: Notify = fixture.area.read(0).unwrap();
    assert_eq!(after.config.get(), before.config.get() + 1);
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_head_made_available_twice_breaks_the_device() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    fixture
        .window
        .write_bytes(ClientAddress::new(AVAIL + 6), &head.to_le_bytes())
        .unwrap();
    fixture
        .window
        .write_bytes(ClientAddress::new(AVAIL + 2), &[2, 0])
        .unwrap();
    fixture.settle();
    assert!(needs_reset(&mut fixture));
    fixture.platter(0).stalled = 0;
    fixture.settle();
}

#[test]
fn a_ring_outside_the_window_is_refused() {
    let mut fixture = Fixture::new();
    fixture.bring_up(0, FEATURES);
    let mut info = virtio::ccw::QueueInfo {
        descriptors: (MEMORY as u64).into(),
        size: 16.into(),
        driver: 0x1000.into(),
        device: 0x2000.into(),
        index: 1.into(),
        ..Default::default()
    };
    use zerocopy::IntoBytes;
    let irb = fixture.command(
        0,
        virtio::ccw::Command::SetQueue.into(),
        info.as_mut_bytes(),
    );
    assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
}

#[test]
fn an_unknown_instruction_is_answered_as_none() {
    let mut fixture = Fixture::new();
    let mut request: Request = fixture.area.read(0).unwrap();
    request.sequence = (request.sequence.get() + 1).into();
    request.instruction = 77.into();
    fixture.area.write(0, &request).unwrap();
    let mut bell = vcss::Bell::of_client(&fixture.area).unwrap();
    let _ = bell.ring();
    fixture.settle();
    let response: Response = fixture.area.read(0).unwrap();
    assert_eq!(response.sequence, request.sequence);
    assert_eq!(response.condition.get(), Response::INVALID);
}

/// A word of garbage that has a chance to be meaningful.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..64u64,
        (0..MEMORY as u64 + 0x1000).prop_map(|at| at & !0xF),
        any::<u64>(),
        Just(0x0000_0001_0001_0000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn garbage_in_the_rings_harms_only_its_device(
        words in proptest::collection::vec((0..0x600u64 / 8, word()), 1..60),
        available in 0u16..16,
    ) {
        let mut fixture = Fixture::new();
        let mut driver: Driver = fixture.bring_up(0, FEATURES);
        let _ = driver.read(0, DATA, 512);
        for (at, word) in words {
            fixture.window.write_bytes(ClientAddress::new(at * 8), &word.to_le_bytes()).unwrap();
        }
        fixture.window
            .write_bytes(ClientAddress::new(AVAIL + 2), &available.to_le_bytes())
            .unwrap();
        fixture.settle();
        // Outside its slice nothing has changed.
        {
            let platter = fixture.platter(0);
            for sector in (0..1000).chain(3000..4096usize) {
                prop_assert_eq!(platter.bytes[sector * 512], sector as u8);
            }
        }
        // A reset brings everything back.
        let mut driver = fixture.bring_up(0, FEATURES);
        let head = driver.read(0, DATA, 512);
        fixture.settle();
        prop_assert_eq!(driver.done(), Some((head, 0, 513)));
    }
}
