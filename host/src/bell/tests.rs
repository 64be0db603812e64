use std::io::Read;
use std::mem::offset_of;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vcss::client::Notify;
use vcss::layout::DoorbellHalf;

use super::*;
use crate::testing::{eventually, fired, Scene};

const QUEUE_0: usize = offset_of!(Notify, queue);
const CONFIG: usize = offset_of!(Notify, config);

fn file(fd: std::os::fd::OwnedFd) -> std::fs::File {
    fd.into()
}

/// Attaches queue 0; its kick and call.
fn attach(scene: &Scene) -> (std::fs::File, std::fs::File) {
    let (kick, call) = (file(new_eventfd().unwrap()), file(new_eventfd().unwrap()));
    scene.bell.request(Request::Attach {
        slot: 0,
        kick: Some(kick.try_clone().unwrap()),
        seen: 0,
    });
    scene.bell.request(Request::Call {
        slot: 0,
        call: Some(call.try_clone().unwrap()),
    });
    eventually("attached", || scene.rung() == 1);
    (kick, call)
}

#[test]
fn a_kick_rings_the_bell_and_sends_no_byte_to_an_appliance_that_is_awake() {
    let scene = Scene::new();
    let mut link = UnixStream::connect(scene.link()).unwrap();
    let (kick, _) = attach(&scene);
    signal(&kick);
    eventually("rung", || scene.rung() == 2);
    link.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(link.read(&mut [0]).is_err());
}

#[test]
fn a_kick_wakes_an_appliance_that_sleeps() {
    let scene = Scene::new();
    let mut link = UnixStream::connect(scene.link()).unwrap();
    let (kick, _) = attach(&scene);
    scene
        .appliance_word(offset_of!(DoorbellHalf, asleep))
        .store(1);
    signal(&kick);
    link.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(link.read(&mut [0; 8]).unwrap(), 1);
    eventually("counted", || {
        scene.bell.totals().wakes.load(Ordering::Relaxed) == 1
    });
}

#[test]
fn the_link_survives_a_new_appliance() {
    let scene = Scene::new();
    let (kick, _) = attach(&scene);
    scene
        .appliance_word(offset_of!(DoorbellHalf, asleep))
        .store(1);
    for _ in 0..3 {
        let mut link = UnixStream::connect(scene.link()).unwrap();
        link.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        eventually("woken", || {
            signal(&kick);
            link.read(&mut [0; 8]).is_ok()
        });
    }
}

#[test]
fn a_notification_reaches_the_guest_once() {
    let scene = Scene::new();
    let (_, call) = attach(&scene);
    assert!(!fired(&call));
    scene.notify(QUEUE_0);
    eventually("notified", || fired(&call));
    scene.ring();
    std::thread::sleep(Duration::from_millis(10));
    assert!(!fired(&call), "a bell alone is no notification");
}

#[test]
fn a_notification_waits_for_somebody_to_tell() {
    let scene = Scene::new();
    let slot = 0;
    scene.bell.request(Request::Attach {
        slot,
        kick: None,
        seen: 0,
    });
    scene.notify(QUEUE_0);
    let call = file(new_eventfd().unwrap());
    let given = Some(call.try_clone().unwrap());
    scene.bell.request(Request::Call { slot, call: given });
    eventually("notified", || fired(&call));
}

#[test]
fn the_last_notification_comes_before_a_queue_is_forgotten() {
    let scene = Scene::new();
    let (_, call) = attach(&scene);
    let counter = scene.areas.clients[0]
        .area
        .word::<Notify>(0, QUEUE_0)
        .unwrap();
    counter.store(1);
    scene.bell.request(Request::Detach { slot: 0 });
    eventually("notified", || fired(&call));
    scene.notify(QUEUE_0);
    std::thread::sleep(Duration::from_millis(10));
    assert!(!fired(&call), "the queue is forgotten");
}

#[test]
fn a_change_of_the_configuration_calls_for_attention() {
    let scene = Scene::new();
    scene.notify(CONFIG);
    eventually("attention", || fired(&scene.attention));
}

#[test]
fn a_lost_wake_up_is_found_and_counted() {
    let scene = Scene::new();
    let (_, call) = attach(&scene);
    eventually("asleep", || {
        scene.bell.totals().sleeps.load(Ordering::Relaxed) > 2
    });
    std::thread::sleep(Duration::from_millis(20));
    // Counter and bell change, and no byte comes.
    let counter = scene.areas.clients[0]
        .area
        .word::<Notify>(0, QUEUE_0)
        .unwrap();
    counter.store(1);
    let bell = scene.appliance_word(offset_of!(DoorbellHalf, bell));
    bell.store(bell.load().wrapping_add(1));
    eventually("healed", || fired(&call));
    assert!(scene.bell.totals().healed.load(Ordering::Relaxed) > 0);
}
