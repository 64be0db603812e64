//! A client that leaves while others are served.

use std::vec::Vec;

use super::fixture::{Fixture, FEATURES};

const DATA: u64 = 0x8_0000;

/// Has the client with this number leave. Whether it has.
fn leave(fixture: &Fixture, number: u16) -> bool {
    let side = &mut *fixture.side.borrow_mut();
    side.proxy.leave(number, &mut side.machine)
}

#[test]
fn what_it_has_in_flight_ends_first_and_nothing_more_is_taken() {
    let [mut one, _other] = Fixture::pair();
    let mut driver = one.bring_up(0, FEATURES);
    one.platter(0).stalled = u32::MAX;
    let before: Vec<u16> = (0..4).map(|at| driver.write(at, DATA, 512)).collect();
    one.side.borrow_mut().turn();
    assert!(!leave(&one, 0));
    driver.write(5, DATA, 512);
    one.side.borrow_mut().turn();
    assert_eq!(one.platter(0).waiting.len(), before.len());
    assert!(!leave(&one, 0));
    one.platter(0).stalled = 0;
    one.side.borrow_mut().turn();
    one.side.borrow_mut().turn();
    assert!(leave(&one, 0));
    for _ in before {
        assert_eq!(driver.done().unwrap().1, 0, "it was told");
    }
    assert!(driver.done().is_none());
    assert!(leave(&one, 0), "nobody is there any more");
}

#[test]
fn what_others_have_in_flight_is_theirs_though_they_get_its_place() {
    let [mut one, mut other] = Fixture::pair();
    one.bring_up(0, FEATURES);
    let mut driver = other.bring_up(0, FEATURES);
    other.platter(0).stalled = u32::MAX;
    let before: Vec<u16> = (0..4).map(|at| driver.write(at, DATA, 512)).collect();
    other.side.borrow_mut().turn();
    assert_eq!(other.platter(0).waiting.len(), before.len());
    assert!(leave(&one, 0));
    other.platter(0).stalled = 0;
    other.settle();
    for _ in before {
        assert_eq!(driver.done().unwrap().1, 0);
    }
    driver.read(0, DATA, 512);
    other.settle();
    assert_eq!(driver.done().unwrap().1, 0);
}
