//! Clients of a disk share it by weights, and can be limited.

use std::collections::VecDeque;
use std::vec::Vec;

use channel::IoInterruption;
use s390x::clock::Tod;
use vcss::control::{HeldBackBy, Quota};
use virtio::blk::{Range, RequestType};
use window::ClientAddress;

use super::fixture::{Driver, Fixture, FEATURES, QUEUE_SIZE};
use crate::css::{Platform, Wake};
use crate::driver::block::Operation;
use crate::event_loop::data_plane::{Companion, DataPlane};
use crate::proxy::Proxy;

const DATA: u64 = 0x8_0000;
/// As many requests as a queue has room for.
const MANY: u16 = QUEUE_SIZE / 3;
/// First sectors of what each of two clients reads.
const PARTS: [u64; 2] = [0, 1000];

fn weight(weight: u32) -> Quota {
    Quota {
        weight: weight.into(),
        ..Quota::default()
    }
}

/// What a client asks for.
#[derive(Clone, Copy)]
enum Ask {
    /// So many bytes.
    Read(u32),
    /// So many sectors, to be zeroes.
    Zeroes(u32),
    /// What is answered without the disk: the name of the disk, what lies beyond it, what it does not know, no room for a status.
    Junk,
}

const SMALL: Ask = Ask::Read(512);

fn iops(iops: u32, burst: u32) -> Quota {
    Quota {
        iops: iops.into(),
        iops_burst: burst.into(),
        ..Quota::default()
    }
}

/// Two clients that keep so many requests each open, and a disk that works on a number of them at a time and takes a while for each.
struct Scene {
    pair: [Fixture; 2],
    drivers: [Driver; 2],
    /// Requests that each wants to have open, and of which kind.
    wants: [(u16, Ask); 2],
    /// Requests that it has open, and since when.
    open: [Vec<(u16, u64)>; 2],
    /// How long each of the requests took that have ended.
    took: [Vec<u64>; 2],
    /// What the disk works on at a time, and how long it takes for each.
    parallel: usize,
    micros: u64,
    /// When the disk is done with what it works on.
    works: Vec<u64>,
    /// It does not work on what the first client asks for.
    hangs: bool,
    junk: usize,
}

impl Scene {
    fn new(quotas: [Quota; 2], parallel: usize) -> Self {
        let mut pair = Fixture::pair_with(&quotas);
        let drivers = pair.each_mut().map(|client| client.bring_up(0, FEATURES));
        pair[0].platter(0).stalled = u32::MAX;
        Self {
            pair,
            drivers,
            wants: [(MANY, SMALL); 2],
            open: [const { Vec::new() }; 2],
            took: [const { Vec::new() }; 2],
            parallel,
            micros: 1000,
            works: Vec::new(),
            hangs: false,
            junk: 0,
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
            let (count, ask) = self.wants[number];
            while let Some((head, status, _)) = driver.done() {
                assert!(status == 0 || self.junk > 0);
                let open = &mut self.open[number];
                let place = open.iter().position(|it| it.0 == head).unwrap();
                let (_, since) = open.remove(place);
                self.took[number].push(now - since);
            }
            while self.open[number].len() < usize::from(count) {
                let head = match ask {
                    Ask::Read(bytes) => driver.read(PARTS[number], DATA, bytes),
                    Ask::Zeroes(sectors) => zeroes(driver, &self.pair[number], sectors),
                    Ask::Junk => junk(driver, &mut self.junk),
                };
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
        let hangs = |operation: &Operation| match operation {
            Operation::Read { sector } => self.hangs && *sector == PARTS[0],
            _ => false,
        };
        let all = std::mem::take(&mut platter.waiting).into_iter();
        let (mut hanging, mut waiting): (VecDeque<_>, VecDeque<_>) =
            all.partition(|it| hangs(&it.0));
        // It gives back last what stands first.
        let done = (before - self.works.len()).min(waiting.len());
        waiting.rotate_left(done);
        platter.first += done as u32;
        let count = waiting.len() - platter.first as usize;
        hanging.append(&mut waiting);
        platter.waiting = hanging;
        while self.works.len() < self.parallel.min(count) {
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

/// A request that makes a number of sectors zeroes.
fn zeroes(driver: &mut Driver, client: &Fixture, sectors: u32) -> u16 {
    let range = Range {
        sector: 2000.into(),
        num_sectors: sectors.into(),
        flags: 0.into(),
    };
    let at = ClientAddress::new(DATA);
    client.window.write(at, &range).unwrap();
    let data = [(DATA, size_of::<Range>() as u32)];
    driver.request(RequestType::WriteZeroes, 0, &data, false)
}

/// A request that the disk never sees, of one kind after the other.
fn junk(driver: &mut Driver, count: &mut usize) -> u16 {
    *count += 1;
    match *count % 4 {
        0 => driver.request(RequestType::GetId, 0, &[(DATA, 20)], true),
        1 => driver.read(u64::MAX - 1, DATA, 512),
        2 => driver.request(RequestType::SecureErase, 0, &[], false),
        _ => driver.read(0, DATA, 100),
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

/// Nothing but the data plane goes to sleep.
struct Nobody;

impl Companion for Nobody {
    fn arm(&mut self) -> bool {
        false
    }
    fn woken(&mut self, _: Wake) {}
    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}

impl Scene {
    /// Lets the appliance do what it does while nobody asks for anything new and no disk ends anything: its turns and sleeps until a
    /// point in time, which are counted.
    fn sleep_until(&mut self, end: u64) -> (usize, usize) {
        let side = &mut *self.pair[0].side.borrow_mut();
        let mut plane = DataPlane {
            disks: std::mem::take(&mut side.disks),
            proxy: std::mem::replace(&mut side.proxy, Proxy::new(Vec::new(), &[], None)),
        };
        let machine = &mut side.machine;
        let (mut turns, mut sleeps) = (0, 0);
        while machine.now().as_micros() < end {
            turns += 1;
            if !plane.turn(machine).worked {
                let slept = plane.sleep(machine, Some(Tod::from_micros(end)), &mut Nobody);
                sleeps += usize::from(slept.is_some());
            }
            assert!(turns < 10_000, "it spins");
        }
        (side.disks, side.proxy) = (plane.disks, plane.proxy);
        (turns, sleeps)
    }
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
