//! Clients of a disk share it by weights, and can be limited.

use s390x::clock::Tod;
use vcss::control::{HeldBackBy, Quota};

use super::fixture::{Fixture, FEATURES};
use super::scene::{iops, weight, Ask, Scene, DATA, MANY, SMALL};
use crate::css::Platform;
use crate::driver::block::Operation;

/// How long half of them took at most.
fn median(took: &[u64]) -> u64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn what_is_done_is_shared_by_weight_while_both_want_it() {
    for parallel in [1, 2] {
        let mut scene = Scene::new([weight(100), weight(300)], parallel);
        scene.run(100_000);
        scene.done();
        scene.run(400_000);
        let [one, three] = scene.done();
        assert!(
            (one * 26..=one * 34).contains(&(three * 10)),
            "{one} {three}"
        );
    }
}

#[test]
fn large_requests_count_for_more() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    // Of 8 units each.
    scene.wants[1] = (4, Ask::Read(7 << 14));
    scene.run(100_000);
    scene.done();
    scene.run(800_000);
    let [small, large] = scene.done();
    assert!((large * 6..=large * 10).contains(&small), "{small} {large}");
}

#[test]
fn who_is_alone_has_all_of_the_disk() {
    let mut scene = Scene::new([weight(1), weight(10_000)], 1);
    scene.wants = [(5, SMALL), (0, SMALL)];
    scene.run(50_000);
    assert_eq!(scene.at_disk(), 5);
    let [alone, _] = scene.done();
    assert!(alone >= 45, "{alone}");
}

#[test]
fn a_disk_that_does_much_at_a_time_is_kept_busy() {
    let mut scene = Scene::new([weight(100), weight(100)], 16);
    scene.wants = [(5, SMALL), (1, SMALL)];
    scene.run(200_000);
    scene.done();
    scene.run(200_000);
    let [greedy, modest] = scene.done();
    assert!(greedy > 800 && modest > 150, "{greedy} {modest}");
}

#[test]
fn a_modest_client_waits_for_few_of_a_greedy_one() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.wants = [(0, SMALL), (1, SMALL)];
    scene.run(50_000);
    let alone = median(&scene.took[1]);
    scene.wants[0].0 = 5;
    scene.run(50_000);
    scene.done();
    scene.run(200_000);
    let beside = median(&scene.took[1]);
    assert!(beside <= 2 * alone + 100, "{alone} {beside}");
    let longest = scene.took[1].iter().max().unwrap();
    assert!(*longest <= 5 * alone, "{alone} {longest}");
    // And the disk is never idle.
    let [greedy, modest] = scene.done();
    assert!(greedy + modest >= 170, "{greedy} {modest}");
}

#[test]
fn a_request_that_does_not_end_holds_up_nobody_else() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.run(100_000);
    scene.wants[1].0 = 0;
    while !scene.open[1].is_empty() {
        scene.step();
    }
    // The disk does nothing any more.
    scene.parallel = 0;
    scene.run(10_000);
    let before = scene.at_disk();
    assert!(before > 0);
    scene.wants[1].0 = 1;
    scene.run(10_000);
    assert_eq!(scene.at_disk(), before + 1);
}

#[test]
fn who_hangs_holds_up_the_other_for_a_moment_only_and_has_its_own_part() {
    let mut scene = Scene::new([weight(100), weight(100)], 2);
    scene.run(100_000);
    scene.done();
    scene.run(100_000);
    let [_, before] = scene.done();
    scene.hangs = true;
    scene.run(20_000);
    scene.done();
    for _ in 0..20 {
        // Through all that is done now and then to measure the disk.
        scene.run(100_000);
        let [hanging, other] = scene.done();
        assert_eq!(hanging, 0);
        assert!(
            other >= before * 3 / 2,
            "it has the disk alone: {before} {other}"
        );
    }
    // When the disk works again, both have the same again.
    scene.hangs = false;
    scene.run(100_000);
    scene.done();
    scene.run(200_000);
    let [one, other] = scene.done();
    assert!(
        (one * 8..=one * 12).contains(&(other * 10)),
        "{one} {other}"
    );
}

#[test]
fn who_hangs_from_the_first_moment_on_holds_up_nobody() {
    for heavy in [1, 10_000] {
        let mut scene = Scene::new([weight(heavy), weight(100)], 4);
        scene.hangs = true;
        scene.wants[1].0 = 0;
        scene.run(10_000);
        scene.wants[1].0 = MANY;
        scene.run(1_100_000);
        scene.done();
        scene.run(100_000);
        let [_, other] = scene.done();
        assert!(other >= 350, "{other}");
    }
}

#[test]
fn junk_costs_what_a_request_costs() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.wants = [(MANY, Ask::Junk), (MANY, SMALL)];
    scene.run(100_000);
    scene.done();
    scene.run(200_000);
    let [junk, other] = scene.done();
    assert!(other >= 190, "the disk is busy: {other}");
    assert!(junk <= other * 12 / 10, "{junk} {other}");
    // Beside one request at a time it may be more, which takes nothing from the other: the disk is.
    scene.wants[1].0 = 1;
    scene.run(50_000);
    scene.done();
    scene.run(200_000);
    let [_, other] = scene.done();
    assert!(other >= 180, "{other}");
}

#[test]
fn who_floods_junk_does_not_become_one_that_is_alone() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.run(200_000);
    // The other one does nothing for a moment: what is at the disk is still not more than it should be.
    scene.wants = [(MANY, Ask::Junk), (0, SMALL)];
    scene.run(50_000);
    scene.wants = [(MANY, SMALL), (0, SMALL)];
    scene.run(50_000);
    assert!(scene.at_disk() <= 3, "{}", scene.at_disk());
}

#[test]
fn junk_is_limited_as_any_request() {
    let mut scene = Scene::new([iops(1000, 20), Quota::default()], 64);
    scene.wants = [(MANY, Ask::Junk), (0, SMALL)];
    scene.run(10_000);
    let [first, _] = scene.done();
    assert!((28..=32).contains(&first), "{first}");
    scene.run(100_000);
    let [then, _] = scene.done();
    assert!((98..=102).contains(&then), "{then}");
}

#[test]
fn zeroes_count_as_what_they_overwrite() {
    // Of 33 bytes each as far as the disk sees them, and 256 sectors.
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.wants = [(MANY, Ask::Zeroes(256)), (MANY, SMALL)];
    scene.run(200_000);
    scene.done();
    scene.run(900_000);
    let [zeroes, reads] = scene.done();
    assert!(
        (zeroes * 7..=zeroes * 11).contains(&reads),
        "{zeroes} {reads}"
    );
    let limited = Quota {
        bandwidth: (256 * 512 * 10).into(),
        bandwidth_burst: 4096.into(),
        ..Quota::default()
    };
    let mut scene = Scene::new([limited, Quota::default()], 64);
    scene.wants = [(MANY, Ask::Zeroes(256)), (0, SMALL)];
    scene.run(2_000_000);
    let [zeroes, _] = scene.done();
    assert!((19..=21).contains(&zeroes), "{zeroes}");
}

#[test]
fn who_was_idle_for_long_is_owed_nothing() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.wants = [(MANY, SMALL), (0, SMALL)];
    scene.run(2_000_000);
    scene.wants[1].0 = MANY;
    scene.run(50_000);
    scene.done();
    scene.run(200_000);
    let [one, other] = scene.done();
    assert!(
        (one * 8..=one * 12).contains(&(other * 10)),
        "{one} {other}"
    );
}

#[test]
fn the_appliance_sleeps_until_a_limit_lets_something_be_taken() {
    let mut scene = Scene::new([iops(10, 1), weight(1)], 1);
    scene.wants = [(MANY, SMALL), (0, SMALL)];
    scene.step();
    assert_eq!(scene.at_disk(), 1);
    let start = scene.now();
    for number in 1..MANY {
        let (turns, sleeps) = scene.sleep_until(start + u64::from(number) * 100_000 + 50_000);
        assert_eq!(scene.at_disk(), 1 + usize::from(number), "one each 100 ms");
        assert!(turns <= 5 && sleeps <= 3, "{turns} {sleeps}");
    }
    // There is nothing more to be taken.
    let (turns, sleeps) = scene.sleep_until(start + 10_000_000);
    assert_eq!((turns, sleeps), (1, 1));
    assert_eq!(scene.pair[0].side.borrow().proxy.next(), None);
}

#[test]
fn the_appliance_sleeps_until_who_hangs_holds_up_nobody() {
    // What is at the disk of the first one hangs, as it is behind the other in virtual time.
    let mut scene = Scene::new([weight(10_000), weight(1)], 2);
    scene.run(300_000);
    scene.hangs = true;
    scene.run(2_000);
    scene.parallel = 0;
    let before = scene.at_disk();
    let start = scene.now();
    let (turns, sleeps) = scene.sleep_until(start + 900_000);
    assert!(scene.at_disk() >= before);
    assert!(turns <= 40 && sleeps <= 30, "{turns} {sleeps}");
    let side = scene.pair[0].side.borrow();
    assert_eq!(side.proxy.next(), None, "there is nothing more to wait for");
}

#[test]
fn what_is_held_back_is_told() {
    let mut scene = Scene::new([iops(100, 1), weight(100)], 1);
    scene.run(300_000);
    let told = |scene: &Scene, client: u16| {
        let side = scene.pair[0].side.borrow();
        let device = side.proxy.clients.get(client).and_then(|it| it.device(0));
        let told = device.unwrap().held_back();
        let by = HeldBackBy::from_number(told.by.get()).unwrap();
        (by, told.share_us.get(), told.limits_us.get())
    };
    let (by, _, limits) = told(&scene, 0);
    assert_eq!(by, HeldBackBy::Limits);
    assert!((250_000..=300_000).contains(&limits), "{limits}");
    let (_, share, limits) = told(&scene, 1);
    assert!(share > 100_000 && limits == 0, "{share} {limits}");
    scene.wants = [(0, SMALL); 2];
    scene.run(300_000);
    let before = told(&scene, 0);
    scene.run(100_000);
    assert_eq!(told(&scene, 0), before);
    assert_eq!(before.0, HeldBackBy::Nothing);
}

#[test]
fn limits_hold_and_have_their_burst() {
    let mut scene = Scene::new([iops(1000, 20), Quota::default()], 64);
    scene.wants = [(5, SMALL), (0, SMALL)];
    scene.micros = 50;
    scene.run(10_000);
    let [first, _] = scene.done();
    assert!(
        (28..=32).contains(&first),
        "20 at once, then 1 each ms: {first}"
    );
    scene.run(100_000);
    let [then, _] = scene.done();
    assert!((98..=102).contains(&then), "{then}");
    // After a pause there is the burst again, and no more.
    scene.wants[0].0 = 0;
    scene.run(1_000_000);
    scene.done();
    scene.wants[0].0 = 5;
    scene.run(10_000);
    let [again, _] = scene.done();
    assert!((28..=32).contains(&again), "{again}");
}

#[test]
fn bandwidth_is_limited_by_bytes() {
    let limited = Quota {
        bandwidth: 1_000_000.into(),
        bandwidth_burst: 8192.into(),
        ..Quota::default()
    };
    let mut scene = Scene::new([limited, Quota::default()], 64);
    scene.wants = [(4, Ask::Read(4096)), (0, SMALL)];
    scene.micros = 50;
    scene.run(500_000);
    let [done, _] = scene.done();
    assert!((121..=128).contains(&done), "{done}");
}

#[test]
fn a_limited_client_keeps_nobody_waiting_and_is_waited_for_by_the_clock() {
    let limited = Quota {
        iops: 10.into(),
        iops_burst: 1.into(),
        ..weight(10_000)
    };
    let mut scene = Scene::new([limited, weight(1)], 1);
    scene.run(100_000);
    scene.done();
    scene.run(1_000_000);
    let [limited, other] = scene.done();
    assert!((9..=11).contains(&limited), "{limited}");
    assert!(other > 850, "{other}");
    // Nothing to be done but to wait for its limit: the appliance can sleep until then, and the ring says nothing meanwhile.
    scene.wants[1].0 = 0;
    while scene.open[1].len() + scene.at_disk() > 0 {
        scene.step();
    }
    assert!(!scene.open[0].is_empty());
    let mut side = scene.pair[0].side.borrow_mut();
    let next = side.proxy.next().unwrap();
    let wait = next.micros_since(side.machine.now());
    assert!((1..=100_000).contains(&wait), "{wait}");
    assert!(!side.turn() && !side.proxy.arm_wakeup());
    side.proxy.disarm_wakeup();
    side.machine.pause(Tod::from_micros(next.as_micros() + 1));
    assert!(side.turn());
}

#[test]
fn what_is_unlimited_asks_for_no_time_and_nothing_is_lost() {
    let wide = Quota {
        iops: u32::MAX.into(),
        bandwidth: u64::MAX.into(),
        ..Quota::default()
    };
    for quota in [Quota::default(), wide] {
        let [mut one, _other] = Fixture::pair_with(&[quota, Quota::default()]);
        let mut driver = one.bring_up(0, FEATURES);
        for round in 0..50 {
            let heads = [0, 1, 2].map(|at| driver.read(round + at, DATA, 512));
            one.settle();
            let mut done = [(); 3].map(|()| driver.done().unwrap().0);
            done.sort_unstable();
            let mut heads = heads;
            heads.sort_unstable();
            assert_eq!(done, heads);
        }
        let log = one.platter(0).log.clone();
        assert_eq!(log.len(), 150);
        assert!(log.iter().all(|it| matches!(it, Operation::Read { .. })));
        assert_eq!(one.side.borrow().proxy.next(), None);
    }
}
