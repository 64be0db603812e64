//! Clients of a disk share it by weights, and can be limited.

use s390x::clock::Tod;
use vcss::control::Quota;

use super::fixture::{Driver, Fixture, FEATURES, QUEUE_SIZE};
use crate::css::Platform;
use crate::driver::block::Operation;

const DATA: u64 = 0x8_0000;
/// First sectors of what each of two clients reads.
const PARTS: [u64; 2] = [0, 1000];

fn weight(weight: u32) -> Quota {
    Quota {
        weight: weight.into(),
        ..Quota::default()
    }
}

/// Two clients that keep so many requests of so many bytes each open, and a disk that works on a number of them at a time and takes a
/// while for each.
struct Scene {
    pair: [Fixture; 2],
    drivers: [Driver; 2],
    /// Requests that each wants to have open, and their bytes.
    wants: [(u16, u32); 2],
    /// Requests that it has open, and since when.
    open: [Vec<(u16, u64)>; 2],
    /// How long each of the requests took that have ended.
    took: [Vec<u64>; 2],
    /// What the disk works on at a time, and how long it takes for each.
    parallel: usize,
    micros: u64,
    /// When the disk is done with what it works on.
    works: Vec<u64>,
}

impl Scene {
    fn new(quotas: [Quota; 2], parallel: usize) -> Self {
        let mut pair = Fixture::pair_with(&quotas);
        let drivers = pair.each_mut().map(|client| client.bring_up(0, FEATURES));
        pair[0].platter(0).stalled = u32::MAX;
        Self {
            pair,
            drivers,
            wants: [(QUEUE_SIZE / 3, 512); 2],
            open: [const { Vec::new() }; 2],
            took: [const { Vec::new() }; 2],
            parallel,
            micros: 1000,
            works: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        let side = self.pair[0].side.borrow();
        side.machine.now().as_micros()
    }

    /// Lets so much time pass.
    fn run(&mut self, micros: u64) {
        let end = self.now() + micros;
        while self.now() < end {
            self.step();
        }
    }

    /// Lets the time of one turn pass.
    fn step(&mut self) {
        let now = self.now();
        for (number, driver) in self.drivers.iter_mut().enumerate() {
            while let Some((head, status, _)) = driver.done() {
                assert_eq!(status, 0);
                let open = &mut self.open[number];
                let place = open.iter().position(|it| it.0 == head).unwrap();
                let (_, since) = open.remove(place);
                self.took[number].push(now - since);
            }
            let (count, bytes) = self.wants[number];
            while self.open[number].len() < usize::from(count) {
                let head = driver.read(PARTS[number], DATA, bytes);
                self.open[number].push((head, now));
            }
        }
        self.pair[0].side.borrow_mut().turn();
        self.disk();
        let next = Tod::from_micros(now + 50);
        self.pair[0].side.borrow_mut().machine.pause(next);
    }

    /// The disk works on what came first.
    fn disk(&mut self) {
        let now = self.now();
        let mut platter = self.pair[0].platter(0);
        let before = self.works.len();
        self.works.retain(|&end| end > now);
        // It gives back last what stands first.
        let done = before - self.works.len();
        platter.waiting.rotate_left(done);
        platter.first += done as u32;
        let waiting = platter.waiting.len() - platter.first as usize;
        while self.works.len() < self.parallel.min(waiting) {
            self.works.push(now + self.micros);
        }
    }

    /// What has ended since this was last asked.
    fn done(&mut self) -> [usize; 2] {
        self.took.each_mut().map(|took| std::mem::take(took).len())
    }

    fn at_disk(&self) -> usize {
        self.pair[0].platter(0).waiting.len()
    }
}

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
    scene.wants[1] = (4, 7 << 14);
    scene.run(100_000);
    scene.done();
    scene.run(800_000);
    let [small, large] = scene.done();
    assert!((large * 6..=large * 10).contains(&small), "{small} {large}");
}

#[test]
fn who_is_alone_has_all_of_the_disk() {
    let mut scene = Scene::new([weight(1), weight(10_000)], 1);
    scene.wants = [(5, 512), (0, 512)];
    scene.run(50_000);
    assert_eq!(scene.at_disk(), 5);
    let [alone, _] = scene.done();
    assert!(alone >= 45, "{alone}");
}

#[test]
fn a_disk_that_does_much_at_a_time_is_kept_busy() {
    let mut scene = Scene::new([weight(100), weight(100)], 16);
    scene.wants = [(5, 512), (1, 512)];
    scene.run(200_000);
    scene.done();
    scene.run(200_000);
    let [greedy, modest] = scene.done();
    assert!(greedy > 800 && modest > 150, "{greedy} {modest}");
}

#[test]
fn a_modest_client_waits_for_few_of_a_greedy_one() {
    let mut scene = Scene::new([weight(100), weight(100)], 1);
    scene.wants = [(0, 512), (1, 512)];
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
fn limits_hold_and_have_their_burst() {
    let limited = Quota {
        iops: 1000.into(),
        iops_burst: 20.into(),
        ..Quota::default()
    };
    let mut scene = Scene::new([limited, Quota::default()], 64);
    scene.wants = [(5, 512), (0, 512)];
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
    scene.wants = [(4, 4096), (0, 512)];
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
