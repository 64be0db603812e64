//! The wake-up thread, with clients whose eventfds are not what they seem.

use std::fs::File;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use vcss::client::Notify;

use super::*;
use crate::layout::Slot;
use crate::testing::{eventually, fired, Fixture};

const QUEUE_0: usize = offset_of!(Notify, queue);
const QUEUE_1: usize = QUEUE_0 + size_of::<u32>();
/// As much as an eventfd can hold.
const FULL: u64 = u64::MAX - 1;

fn made(flags: EventfdFlags, count: u64) -> File {
    let fd = eventfd(0, flags | EventfdFlags::CLOEXEC).unwrap();
    if count != 0 {
        rustix::io::write(&fd, &count.to_ne_bytes()).unwrap();
    }
    fd.into()
}

/// A queue is served from now on; the eventfds stay the client's as well.
fn attach(fixture: &Fixture, slot: usize, kick: &File, call: &File) {
    let before = fixture.rung();
    fixture.bell.request(Request::Attach {
        slot: Slot(slot),
        kick: Some(kick.try_clone().unwrap()),
    });
    fixture.bell.request(Request::Call {
        slot: Slot(slot),
        call: Some(call.try_clone().unwrap()),
    });
    eventually("attached", || fixture.rung() > before);
}

fn new() -> File {
    new_eventfd().unwrap().into()
}

#[test]
fn a_call_that_is_full_and_blocks_holds_up_nobody() {
    let fixture = Fixture::new();
    let (bad, good) = (made(EventfdFlags::empty(), FULL), new());
    attach(&fixture, 0, &new(), &bad);
    attach(&fixture, 1, &new(), &good);
    for _ in 0..3 {
        fixture.notify(QUEUE_0);
        fixture.notify(QUEUE_1);
        eventually("the other one is notified", || fired(&good));
    }
    // And it ends, when the fixture does.
}

#[test]
fn a_call_that_is_filled_and_made_to_block_at_any_moment_holds_up_nobody() {
    let fixture = Fixture::new();
    let (bad, good) = (made(EventfdFlags::NONBLOCK, 0), new());
    attach(&fixture, 0, &new(), &bad);
    attach(&fixture, 1, &new(), &good);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Its own writes must not block here.
                let flags = fcntl_getfl(&bad).unwrap();
                fcntl_setfl(&bad, flags | OFlags::NONBLOCK).unwrap();
                let _ = rustix::io::write(&bad, &FULL.to_ne_bytes());
                fcntl_setfl(&bad, flags - OFlags::NONBLOCK).unwrap();
            }
        });
        for _ in 0..200 {
            fixture.notify(QUEUE_0);
            fixture.notify(QUEUE_1);
            eventually("the other one is notified", || fired(&good));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_kick_that_counts_down_one_by_one_is_one_kick() {
    let fixture = Fixture::new();
    let kick = made(EventfdFlags::SEMAPHORE, 0);
    attach(&fixture, 0, &kick, &new());
    rustix::io::write(&kick, &(1u64 << 40).to_ne_bytes()).unwrap();
    let totals = fixture.bell.totals();
    eventually("kicked", || totals.kicks.load(Ordering::Relaxed) == 1);
    let before = totals.sleeps.load(Ordering::Relaxed);
    eventually("the thread sleeps", || {
        totals.sleeps.load(Ordering::Relaxed) > before
    });
    assert_eq!(totals.kicks.load(Ordering::Relaxed), 1);
    // The next one is heard all the same.
    rustix::io::write(&kick, &1u64.to_ne_bytes()).unwrap();
    eventually("kicked again", || totals.kicks.load(Ordering::Relaxed) == 2);
}

#[test]
fn a_kick_that_blocks_and_that_somebody_else_empties_holds_up_nobody() {
    let fixture = Fixture::new();
    let (bad, good) = (made(EventfdFlags::empty(), 0), new());
    attach(&fixture, 0, &bad, &new());
    attach(&fixture, 1, &good, &new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rustix::io::write(&bad, &1u64.to_ne_bytes()).unwrap();
                peer::emptied(&bad);
            }
        });
        for _ in 0..200 {
            let before = fixture.rung();
            signal(&good);
            eventually("the other one is heard", || fixture.rung() > before);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_notification_that_nobody_was_there_for_reaches_the_next_one() {
    let fixture = Fixture::new();
    fixture.bell.request(Request::Attach {
        slot: Slot(0),
        kick: None,
    });
    fixture.bell.request(Request::Detach { slot: Slot(0) });
    // What was in flight ends after the queue has been let go.
    fixture.notify(QUEUE_0);
    std::thread::sleep(Duration::from_millis(10));
    let call = new();
    attach(&fixture, 0, &new(), &call);
    eventually("notified", || fired(&call));
}
