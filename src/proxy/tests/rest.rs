//! The event loop sleeps when there is nothing that can be done, though requests wait.

use super::scene::{Scene, FEATURES};

const DATA: u64 = 0x8_0000;

/// Turns until the event loop would sleep.
fn turns(scene: &Scene) -> usize {
    let mut side = scene.side.borrow_mut();
    for turn in 1..100 {
        if !side.turn() && !side.proxy.lie_down() {
            side.proxy.get_up();
            return turn;
        }
        side.proxy.get_up();
    }
    panic!("it never sleeps");
}

#[test]
fn while_a_disk_that_is_stuck_is_full() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    scene.platter(0).capacity = 2;
    let heads: Vec<u16> = (0..5).map(|at| driver.read(at, DATA, 512)).collect();
    assert!(turns(&scene) < 4);
    assert!(turns(&scene) < 4, "again");
    // What makes room wakes it, and nothing is forgotten.
    scene.platter(0).stalled = 0;
    assert!(turns(&scene) < 20);
    let mut back: Vec<u16> = core::iter::from_fn(|| driver.done())
        .map(|done| done.0)
        .collect();
    back.sort_unstable();
    assert_eq!(back, heads);
}

#[test]
fn while_a_disk_is_held_for_what_an_earlier_life_had_taken() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    scene.platter(0).stalled = u32::MAX;
    driver.read(0, DATA, 512);
    scene.settle();
    scene.restart();
    driver.read(1, DATA, 512);
    assert!(turns(&scene) < 5);
    assert!(turns(&scene) < 4, "again");
    scene.platter(0).stalled = 0;
    assert!(turns(&scene) < 20);
    assert_eq!(core::iter::from_fn(|| driver.done()).count(), 2);
}

#[test]
fn but_not_while_there_is_something_that_can_be_taken() {
    let mut scene = Scene::new();
    let mut driver = scene.bring_up(0, FEATURES);
    assert!(turns(&scene) < 4);
    driver.read(0, DATA, 512);
    assert!(scene.side.borrow_mut().proxy.lie_down());
}
