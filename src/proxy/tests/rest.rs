//! The event loop sleeps when there is nothing that can be done, though requests wait.

use super::fixture::{Fixture, FEATURES};

const DATA: u64 = 0x8_0000;

/// Turns until the event loop would sleep.
fn turns(fixture: &Fixture) -> usize {
    let mut side = fixture.side.borrow_mut();
    for turn in 1..100 {
        if !side.turn() && !side.proxy.arm_wakeup() {
            side.proxy.disarm_wakeup();
            return turn;
        }
        side.proxy.disarm_wakeup();
    }
    panic!("it never sleeps");
}

#[test]
fn while_a_disk_that_is_stuck_is_full() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    fixture.platter(0).capacity = 2;
    let heads: Vec<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    assert!(turns(&fixture) < 4);
    assert!(turns(&fixture) < 4, "again");
    // What makes room wakes it, and nothing is forgotten.
    fixture.platter(0).stalled = 0;
    assert!(turns(&fixture) < 20);
    let mut back: Vec<u16> = core::iter::from_fn(|| driver.done())
        .map(|done| done.0)
        .collect();
    back.sort_unstable();
    assert_eq!(back, heads);
}

#[test]
fn while_a_disk_is_held_for_what_an_earlier_life_had_taken() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    fixture.platter(0).stalled = u32::MAX;
    driver.read(0, DATA, 512);
    fixture.settle();
    fixture.restart();
    driver.read(1, DATA, 512);
    assert!(turns(&fixture) < 5);
    assert!(turns(&fixture) < 4, "again");
    fixture.platter(0).stalled = 0;
    assert!(turns(&fixture) < 20);
    assert_eq!(core::iter::from_fn(|| driver.done()).count(), 2);
}

#[test]
fn but_not_while_there_is_something_that_can_be_taken() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    assert!(turns(&fixture) < 4);
    driver.read(0, DATA, 512);
    assert!(fixture.side.borrow_mut().proxy.arm_wakeup());
}
