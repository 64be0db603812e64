//! The appliance dies at a bad moment and starts again: no request is lost, none ends twice.

use std::collections::BTreeSet;

use vcss::client::{InFlight, MAX_QUEUE_SIZE};
use virtio::Status;

use super::scene::{Scene, FEATURES};

const DATA: u64 = 0x8_0000;

fn live(scene: &Scene) -> bool {
    let side = scene.side.borrow();
    let client = side.proxy.client(0).unwrap();
    client.devices()[0].is_live()
}

#[test]
fn requests_in_flight_are_taken_up_again() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let heads: BTreeSet<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    scene.settle();
    assert_eq!(driver.done(), None);
    scene.restart();
    assert!(live(&scene));
    scene.platter(0).stalled = 0;
    scene.settle();
    let back: BTreeSet<u16> = core::iter::from_fn(|| driver.done())
        .map(|(head, status, _)| {
            assert_eq!(status, 0);
            head
        })
        .collect();
    assert_eq!(back, heads);
    // And it goes on as if nothing had happened.
    let head = driver.read(1, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_request_that_was_returned_is_not_done_again() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    driver.write(0, DATA, 512);
    scene.settle();
    assert!(driver.done().is_some());
    let before = scene.platter(0).log.len();
    scene.restart();
    scene.settle();
    assert_eq!(scene.platter(0).log.len(), before);
    assert_eq!(driver.done(), None);
}

#[test]
fn what_was_returned_and_not_published_is_done_again() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    let head = driver.read(0, DATA, 512);
    scene.settle();
    // As if the crash had come between the used-ring entry and the used index.
    let entry = InFlight {
        state: InFlight::RETURNED.into(),
        index: 0.into(),
    };
    scene.area.write(u32::from(head), &entry).unwrap();
    scene.restart();
    scene.platter(0).stalled = 0;
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    assert_eq!(driver.done(), None);
}

#[test]
fn a_taken_entry_that_the_index_does_not_cover_yet_counts_once() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    // As if the crash had come between TAKEN and the next available index.
    let head = driver.read(0, DATA, 512);
    let entry = InFlight {
        state: InFlight::TAKEN.into(),
        index: 0.into(),
    };
    scene.area.write(u32::from(head), &entry).unwrap();
    scene.restart();
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    assert_eq!(driver.done(), None);
}

#[test]
fn a_record_that_contradicts_the_rings_needs_a_reset() {
    let mut scene = Scene::new();
    let _driver = scene.bring_up(0, FEATURES);
    for head in 0..4u32 {
        let entry = InFlight {
            state: InFlight::TAKEN.into(),
            index: 40.into(),
        };
        assert!((head as usize) < MAX_QUEUE_SIZE);
        scene.area.write(head, &entry).unwrap();
    }
    scene.restart();
    assert!(!live(&scene));
    assert!(scene.status(0).contains(Status::DEVICE_NEEDS_RESET));
    // A reset heals it.
    let mut driver = scene.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    scene.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn an_enabled_subchannel_is_still_enabled() {
    let mut scene = Scene::new();
    scene.restart();
    assert_eq!(scene.status(0), Status::empty(), "a command still runs");
}

#[test]
fn a_client_that_begins_anew_finds_block_subchannels_as_after_a_reset() {
    use vcss::client::{QueueState, SchibPart, Status as StatusPart};
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    driver.read(0, DATA, 512);
    scene.settle();
    // Its generation changes while a request is in flight.
    let mut bell = vcss::Bell::of_new_client(&scene.area).unwrap();
    let _ = bell.ring();
    scene.side.borrow_mut().turn();
    let part: SchibPart = scene.area.read(0).unwrap();
    let enabled = part
        .schib
        .pmcw
        .flags()
        .contains(channel::PmcwFlags::ENABLED);
    assert!(!enabled && part.schib.pmcw.has_device());
    assert_eq!(scene.area.read::<StatusPart>(0).unwrap().pending.get(), 0);
    let size = |scene: &Scene| scene.area.read::<QueueState>(0).unwrap().size.get();
    assert_ne!(size(&scene), 0, "its request has not ended");
    scene.platter(0).stalled = 0;
    for _ in 0..4 {
        scene.side.borrow_mut().turn();
    }
    assert!(!live(&scene));
    assert_eq!(size(&scene), 0);
}
