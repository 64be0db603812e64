//! Disks whose requests do not end, and an appliance that does not serve: what a VM is told, and when.

use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::VhostUserConfigFlags;
use vhost::vhost_user::VhostUserFrontend;
use vhost::VhostBackend;

use super::{close, fixture, Guest};
use crate::areas::generation;
use crate::testing::{eventually, Fixture};
use crate::vhost::{Peer, Server};

/// Longer than the appliance may take for what waits for nothing else, in tests.
const LONG: Duration = Duration::from_millis(2500);
const SHORT: Duration = Duration::from_millis(200);

fn served() -> (Fixture, Server, Guest) {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    fixture.log();
    (fixture, server, guest)
}

/// Has a guest do something while the disk is stuck; it must not have happened before the disk goes on.
fn while_stuck<T: Send>(
    fixture: &Fixture,
    guest: &mut Guest,
    meanwhile: impl FnOnce(),
    act: impl FnOnce(&mut Guest) -> T + Send,
) -> T {
    fixture.heard.hold.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let (done, outcome) = channel();
        scope.spawn(move || done.send(act(guest)).unwrap());
        assert!(outcome.recv_timeout(SHORT).is_err(), "not before the end");
        meanwhile();
        assert!(outcome.recv_timeout(LONG).is_err(), "not before the end");
        fixture.heard.hold.store(false, Ordering::Relaxed);
        outcome.recv().unwrap()
    })
}

#[test]
fn a_guest_that_is_stopped_waits_for_its_requests_and_goes_on_afterwards() {
    let (fixture, server, mut guest) = served();
    while_stuck(&fixture, &mut guest, || {}, |guest| guest.enable(0, false));
    assert_eq!(guest.frontend.get_vring_base(0).unwrap(), 12);
    guest.set_up(0, 12).unwrap();
    guest.enable(0, true);
    let started = "queue 0 size 128 at 0x1000 0x2000 0x3000 from 12";
    assert_eq!(fixture.log(), ["release 0", started]);
    close(server);
}

#[test]
fn the_base_is_told_when_it_is_known() {
    let (fixture, server, mut guest) = served();
    let base = while_stuck(
        &fixture,
        &mut guest,
        || {},
        |guest| guest.frontend.get_vring_base(0),
    );
    assert_eq!(base.unwrap(), 12);
    close(server);
}

#[test]
fn a_guest_waits_through_a_restart_of_the_appliance() {
    let (fixture, server, mut guest) = served();
    let generation = generation(&fixture.areas.clients[0].area).unwrap();
    let restart = || generation.store(generation.load() + 1);
    let base = while_stuck(&fixture, &mut guest, restart, |guest| {
        guest.frontend.get_vring_base(0)
    });
    assert_eq!(base.unwrap(), 12);
    close(server);
}

#[test]
fn a_reset_waits_for_the_requests() {
    let (fixture, server, mut guest) = served();
    while_stuck(
        &fixture,
        &mut guest,
        || {},
        |guest| guest.frontend.reset_device(),
    )
    .unwrap();
    assert_eq!(fixture.log(), ["release 0", "reset"]);
    close(server);
}

#[test]
fn whoever_comes_after_a_disconnect_waits_for_the_requests() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    fixture.log();
    fixture.heard.hold.store(true, Ordering::Relaxed);
    drop(guest);
    std::thread::scope(|scope| {
        let (done, outcome) = channel();
        let path = &path;
        scope.spawn(move || {
            let next = Guest::connect(path);
            done.send(()).unwrap();
            next
        });
        assert!(outcome.recv_timeout(LONG).is_err(), "it waits");
        fixture.heard.hold.store(false, Ordering::Relaxed);
        outcome.recv().unwrap();
    });
    assert_eq!(fixture.log()[..2], ["release 0", "reset"]);
    close(server);
}

#[test]
fn a_daemon_that_is_told_to_stop_does_not_wait_for_ever_and_gives_no_answer() {
    let (fixture, mut server, guest) = served();
    fixture.heard.hold.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let (done, outcome) = channel();
        scope.spawn(move || done.send(guest.frontend.get_vring_base(0)).unwrap());
        assert!(outcome.recv_timeout(SHORT).is_err());
        server.stop();
        let brief = Instant::now() + SHORT;
        assert!(!server.join_until(brief), "it waits for the requests");
        assert!(
            outcome.try_recv().is_err(),
            "the VM does not go on while its memory may be written to"
        );
        // The appliance has ended, and everything in flight with it.
        fixture.bell.abandon();
        assert!(server.join_until(Instant::now() + Duration::from_secs(20)));
        assert!(outcome.recv().unwrap().is_err(), "no answer");
    });
}

#[test]
fn a_program_that_was_given_up_does_not_keep_a_ring_from_being_served() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    // A program that waits for nothing but the appliance does not end in time.
    fixture.heard.hold.store(true, Ordering::Relaxed);
    let flags = VhostUserConfigFlags::WRITABLE;
    assert!(guest.frontend.set_config(32, flags, &[77]).is_err());
    drop(guest);
    let mut guest = std::thread::scope(|scope| {
        let (done, outcome) = channel();
        let path = &path;
        scope.spawn(move || done.send(Guest::connect(path)));
        std::thread::sleep(SHORT);
        // The old program still waits when the next one is started.
        fixture.heard.hold.store(false, Ordering::Relaxed);
        outcome.recv().unwrap()
    });
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    eventually("served", || server.peer() == Peer::Connected);
    close(server);
}

#[test]
fn time_in_which_no_appliance_serves_does_not_count() {
    let (fixture, server, mut guest) = served();
    crate::testing::set_life(&fixture.areas, vcss::control::Life::Starting);
    while_stuck(
        &fixture,
        &mut guest,
        || {},
        |guest| {
            let config = guest
                .frontend
                .get_config(8, 4, VhostUserConfigFlags::WRITABLE, &[0; 4]);
            assert_eq!(config.unwrap().1, [8, 9, 10, 11]);
        },
    );
    close(server);
}
