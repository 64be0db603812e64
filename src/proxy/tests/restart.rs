//! The appliance dies at a bad moment and starts again: no request is lost, none ends twice.

use std::collections::BTreeSet;

use vcss::client::{InFlight, MAX_QUEUE_SIZE};
use virtio::Status;

use super::fixture::{Fixture, FEATURES};

const DATA: u64 = 0x8_0000;

fn live(fixture: &Fixture) -> bool {
    let side = fixture.side.borrow();
    let client = side.proxy.clients.get(0).unwrap();
    client.devices()[0].is_live()
}

#[test]
fn requests_in_flight_are_taken_up_again() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let heads: BTreeSet<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    fixture.settle();
    assert_eq!(driver.done(), None);
    fixture.restart();
    assert!(live(&fixture));
    fixture.platter(0).stalled = 0;
    fixture.settle();
    let back: BTreeSet<u16> = core::iter::from_fn(|| driver.done())
        .map(|(head, status, _)| {
            assert_eq!(status, 0);
            head
        })
        .collect();
    assert_eq!(back, heads);
    // And it goes on as if nothing had happened.
    let head = driver.read(1, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn a_request_that_was_returned_is_not_done_again() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    driver.write(0, DATA, 512);
    fixture.settle();
    assert!(driver.done().is_some());
    let before = fixture.platter(0).log.len();
    fixture.restart();
    fixture.settle();
    assert_eq!(fixture.platter(0).log.len(), before);
    assert_eq!(driver.done(), None);
}

#[test]
fn what_was_returned_and_not_published_is_done_again() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    // As if the crash had come between the used-ring entry and the used index.
    let entry = InFlight {
        state: InFlight::RETURNED.into(),
        index: 0.into(),
    };
    fixture.area.write(u32::from(head), &entry).unwrap();
    fixture.restart();
    fixture.platter(0).stalled = 0;
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    assert_eq!(driver.done(), None);
}

#[test]
fn a_taken_entry_that_the_index_does_not_cover_yet_counts_once() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    // As if the crash had come between TAKEN and the next available index.
    let head = driver.read(0, DATA, 512);
    let entry = InFlight {
        state: InFlight::TAKEN.into(),
        index: 0.into(),
    };
    fixture.area.write(u32::from(head), &entry).unwrap();
    fixture.restart();
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
    assert_eq!(driver.done(), None);
}

#[test]
fn a_record_that_contradicts_the_rings_needs_a_reset() {
    let mut fixture = Fixture::new();
    let _driver = fixture.bring_up(0, FEATURES);
    for head in 0..4u32 {
        let entry = InFlight {
            state: InFlight::TAKEN.into(),
            index: 40.into(),
        };
        assert!((head as usize) < MAX_QUEUE_SIZE);
        fixture.area.write(head, &entry).unwrap();
    }
    fixture.restart();
    assert!(!live(&fixture));
    assert!(fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
    // A reset heals it.
    let mut driver = fixture.bring_up(0, FEATURES);
    let head = driver.read(0, DATA, 512);
    fixture.settle();
    assert_eq!(driver.done(), Some((head, 0, 513)));
}

#[test]
fn an_enabled_subchannel_is_still_enabled() {
    let mut fixture = Fixture::new();
    fixture.restart();
    assert_eq!(fixture.status(0), Status::empty(), "a command still runs");
}

#[test]
fn a_client_that_begins_anew_finds_block_subchannels_as_after_a_reset() {
    use vcss::client::{QueueState, SchibPart, Status as StatusPart};
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    driver.read(0, DATA, 512);
    fixture.settle();
    // Its generation changes while a request is in flight.
    let mut bell = vcss::Bell::of_new_client(&fixture.area).unwrap();
    let _ = bell.ring();
    fixture.side.borrow_mut().turn();
    let part: SchibPart = fixture.area.read(0).unwrap();
    let enabled = part
        .schib
        .pmcw
        .flags()
        .contains(channel::PmcwFlags::ENABLED);
    assert!(!enabled && part.schib.pmcw.has_device());
    assert_eq!(fixture.area.read::<StatusPart>(0).unwrap().pending.get(), 0);
    let size = |fixture: &Fixture| fixture.area.read::<QueueState>(0).unwrap().size.get();
    assert_ne!(size(&fixture), 0, "its request has not ended");
    fixture.platter(0).stalled = 0;
    for _ in 0..4 {
        fixture.side.borrow_mut().turn();
    }
    assert!(!live(&fixture));
    assert_eq!(size(&fixture), 0);
}

#[test]
fn a_client_that_began_anew_while_the_appliance_was_dead_is_reset_once() {
    for dead in [true, false] {
        let mut fixture = Fixture::new();
        let mut driver = fixture.bring_up(0, FEATURES);
        fixture.platter(0).stalled = u32::MAX;
        driver.read(0, DATA, 512);
        fixture.settle();
        let _ = vcss::Bell::of_new_client(&fixture.area).unwrap();
        if !dead {
            // It hears of it, and dies while it waits for the request.
            let id = channel::SubchannelId::new(0, 0).unwrap();
            assert!(channel::ChannelSubsystem::store(&mut fixture.remote, id).is_ok());
            let queue: vcss::client::QueueState = fixture.area.read(0).unwrap();
            assert_ne!(queue.size.get(), 0, "its request has not ended");
        }
        fixture.restart();
        fixture.platter(0).stalled = 0;
        for _ in 0..4 {
            fixture.side.borrow_mut().turn();
        }
        assert!(!live(&fixture));
        assert_eq!(driver.done(), None);
        // What the client does from then on is its new kernel's, also after one more restart.
        fixture.enable(0);
        let mut driver = fixture.bring_up(0, FEATURES);
        fixture.platter(0).stalled = u32::MAX;
        let head = driver.read(0, DATA, 512);
        fixture.settle();
        fixture.restart();
        fixture.platter(0).stalled = 0;
        fixture.settle();
        assert_eq!(driver.done(), Some((head, 0, 513)));
    }
}

#[test]
fn what_is_done_again_comes_before_what_another_client_writes_anew() {
    let mut pair = Fixture::pair();
    let [one, other] = &mut pair;
    let mut first = one.bring_up(0, FEATURES);
    let mut second = other.bring_up(0, FEATURES);
    let (window, at) = (one.window, window::ClientAddress::new(DATA));
    window.fill(at, 512, 0x11).unwrap();
    other.window.fill(at, 512, 0x22).unwrap();
    // On the disk already, though not reported: the other client may have read it.
    one.platter(0).stalled = u32::MAX;
    let old = first.write(5, DATA, 512);
    one.settle();
    assert_eq!(one.platter(0).waiting.len(), 1);

    Fixture::restart_pair(&pair);
    let [one, _] = &pair;
    let new = second.write(5, DATA, 512);
    for _ in 0..3 {
        one.side.borrow_mut().turn();
    }
    assert_eq!(one.platter(0).waiting.len(), 1, "only the old one");
    // This disk does first what came last.
    one.platter(0).stalled = 0;
    for _ in 0..8 {
        one.side.borrow_mut().turn();
    }
    assert_eq!(first.done(), Some((old, 0, 1)));
    assert_eq!(second.done(), Some((new, 0, 1)));
    assert_eq!(one.platter(0).bytes[5 * 512..6 * 512], [0x22; 512]);
    // From then on nobody is held up.
    one.platter(0).stalled = u32::MAX;
    first.write(5, DATA, 512);
    second.write(6, DATA, 512);
    one.side.borrow_mut().turn();
    assert_eq!(one.platter(0).waiting.len(), 2);
}

#[test]
fn a_client_that_resets_or_needs_a_reset_holds_nobody_up() {
    for breaks in [false, true] {
        let mut pair = Fixture::pair();
        let [one, other] = &mut pair;
        let mut first = one.bring_up(0, FEATURES);
        let mut second = other.bring_up(0, FEATURES);
        one.platter(0).stalled = u32::MAX;
        first.write(5, DATA, 512);
        one.settle();
        Fixture::restart_pair(&pair);
        let [one, _] = &mut pair;
        one.platter(0).capacity = 0;
        second.read(5, DATA, 512);
        for _ in 0..3 {
            one.side.borrow_mut().turn();
        }
        if breaks {
            // The available index jumps.
            let driver = first.queue.addresses().driver;
            let place = window::ClientAddress::new(driver + 2);
            one.window.write(place, &0x4000u16.to_le_bytes()).unwrap();
            one.platter(0).capacity = 64;
            one.platter(0).stalled = 0;
        } else {
            one.good(0, virtio::ccw::Command::Reset, &mut []);
            one.platter(0).capacity = 64;
            one.platter(0).stalled = 0;
        }
        for _ in 0..8 {
            one.side.borrow_mut().turn();
        }
        assert!(second.done().is_some());
    }
}
