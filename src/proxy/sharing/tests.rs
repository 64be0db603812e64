//! The decisions about a disk, without one.

use vcss::control::Quota;

use super::*;

/// A disk whose measurements never end, and two devices of the same weight.
struct Pair {
    disk: Disk,
    lanes: [Lane; 2],
    micros: u64,
}

impl Pair {
    fn new() -> Self {
        let mut disk = Disk::new();
        disk.most = 64;
        disk.depth = 1;
        disk.base = 500;
        disk.phase = Phase::Measure;
        disk.left = u32::MAX;
        Self {
            disk,
            lanes: [(); 2].map(|()| Lane::new(&Quota::default())),
            micros: 1_000_000,
        }
    }

    /// What each may take in the next turn, if these want something.
    fn turn(&mut self, wants: [bool; 2]) -> [u32; 2] {
        let Self { disk, lanes, .. } = self;
        let now = Tod::from_micros(self.micros);
        disk.begin(now);
        for (lane, wants) in lanes.iter_mut().zip(wants) {
            lane.begin(now, 1);
            disk.look(lane, wants);
        }
        disk.advance();
        disk.set_round();
        let mut wants = wants.into_iter();
        lanes.each_mut().map(|lane| {
            let wants = wants.next().unwrap_or_default();
            let units = if wants { disk.allowance(lane) } else { 0 };
            lane.grant(units);
            units
        })
    }

    fn next(&self) -> u64 {
        self.disk.next().as_micros()
    }
}

#[test]
fn who_is_ahead_waits_for_who_hangs_until_it_is_clear_that_it_does() {
    let mut pair = Pair::new();
    assert_eq!(pair.turn([true; 2]), [1, 1]);
    // What the first one has at the disk will not end; the other's does.
    pair.lanes[0].take(0, 512, &[], false);
    let hangs = pair.micros + 4 * 500;
    for _ in 0..3 {
        let charge = pair.lanes[1].take(0, 512, &[], false);
        pair.micros += 100;
        pair.lanes[1].release(&charge);
        pair.turn([true; 2]);
    }
    assert_eq!(pair.turn([true; 2]), [0, 0]);
    let looked_at = pair.next();
    assert!((hangs..=hangs + 100).contains(&looked_at));
    pair.micros = looked_at - 1;
    assert_eq!(pair.turn([true; 2]), [0, 0]);
    pair.micros += 1;
    assert_eq!(pair.turn([true; 2]), [0, 1]);
    assert!(pair.next() > pair.micros, "nobody spins");
    // As soon as something of it moves, it counts again.
    for lane in [0, 1, 1] {
        let charge = pair.lanes[lane].take(0, 512, &[], false);
        pair.lanes[lane].release(&charge);
    }
    assert_eq!(pair.turn([true; 2])[1], 0);
}

#[test]
fn who_may_take_something_and_cannot_holds_up_nobody_either() {
    let mut pair = Pair::new();
    pair.turn([true; 2]);
    // The first one's queue of the disk is full of what a third one has there.
    for _ in 0..3 {
        let charge = pair.lanes[1].take(0, 512, &[], false);
        pair.lanes[1].release(&charge);
        pair.micros += 100;
        pair.turn([true; 2]);
    }
    assert_eq!(pair.turn([true; 2]), [1, 0]);
    pair.micros = pair.next();
    assert_eq!(pair.turn([true; 2])[1], 1);
}

#[test]
fn who_waits_for_its_turn_does_not_hang_however_long_that_takes() {
    let mut pair = Pair::new();
    pair.turn([true; 2]);
    // A thousand requests' worth at once.
    let charge = pair.lanes[0].take(0, 1000 << 14, &[], false);
    pair.lanes[0].release(&charge);
    for turn in 0..500 {
        let [first, second] = pair.turn([true; 2]);
        assert_eq!((first, second), (0, 1), "{turn}");
        let charge = pair.lanes[1].take(0, 512, &[], false);
        pair.micros += 10_000;
        pair.lanes[1].release(&charge);
    }
}

#[test]
fn what_is_to_end_before_the_disk_is_measured_has_a_limit_of_time() {
    let mut pair = Pair::new();
    pair.turn([true; 2]);
    for _ in 0..5 {
        pair.lanes[0].take(0, 512, &[], false);
    }
    pair.disk.phase = pair.disk.drain();
    assert_eq!(pair.turn([true; 2]), [0, 1]);
    pair.lanes[1].take(0, 512, &[], false);
    pair.micros += 16 * 500 - 1;
    pair.turn([true; 2]);
    assert!(matches!(pair.disk.phase, Phase::Drain { .. }));
    assert_eq!(pair.next(), pair.micros + 1);
    pair.micros += 1;
    pair.turn([true; 2]);
    assert_eq!(pair.disk.phase, Phase::Settle);
    // Where it is not known how long the disk takes, that is what has to be found out.
    pair.disk.base = 0;
    pair.disk.phase = pair.disk.drain();
    pair.micros += 250_000;
    pair.turn([true; 2]);
    assert_eq!(pair.disk.phase, Phase::Probe);
}

#[test]
fn a_slow_disk_that_is_met_first_has_the_time_to_end_what_it_has() {
    let mut pair = Pair::new();
    pair.disk.base = 0;
    pair.turn([true; 2]);
    let charges = [(); 100].map(|()| pair.lanes[0].take(0, 512, &[], false));
    pair.turn([true; 2]);
    pair.disk.phase = pair.disk.drain();
    for charge in &charges[3..] {
        pair.turn([true, false]);
        assert!(matches!(pair.disk.phase, Phase::Drain { .. }));
        pair.micros += 100_000;
        pair.lanes[0].release(charge);
        // The other one has one after the other meanwhile.
        let own = pair.lanes[1].take(0, 512, &[], false);
        pair.turn([true, true]);
        pair.lanes[1].release(&own);
    }
    pair.lanes[0].release(&charges[2]);
    pair.turn([true; 2]);
    assert_eq!(pair.disk.phase, Phase::Probe);
}

#[test]
fn a_quarter_of_the_depth_at_most_is_left_to_those_who_may_come() {
    let mut disk = Disk::new();
    (disk.most, disk.depth, disk.base, disk.phase, disk.left) = (64, 32, 500, Phase::Measure, 100);
    let mut lanes: Vec<Lane> = (0..100).map(|_| Lane::new(&Quota::default())).collect();
    let mut turn = |micros, wanting: usize| {
        disk.begin(Tod::from_micros(micros));
        for (number, lane) in lanes.iter_mut().enumerate() {
            disk.look(lane, number < wanting);
        }
        disk.advance();
        disk.set_round();
        disk.allowance(&lanes[0])
    };
    turn(1, 100);
    assert_eq!(turn(2, 1), 24);
    // When the others have wanted nothing for a while, it has all.
    assert_eq!(turn(300_000, 1), u32::MAX);
}

#[test]
fn virtual_time_begins_anew_before_it_ends_and_nobody_gains_by_that() {
    let mut pair = Pair::new();
    let unit = SCALE / 100;
    pair.turn([true; 2]);
    for virtual_time in [FAR + 2 * unit, u64::MAX - unit, u64::MAX] {
        pair.disk.clock = virtual_time - unit;
        for lane in &mut pair.lanes {
            (lane.start, lane.virtual_time) = (virtual_time - unit, virtual_time - unit);
        }
        pair.lanes[0].virtual_time = virtual_time;
        for _ in 0..2 {
            assert_eq!(pair.turn([true; 2]), [0, 1], "{virtual_time:#x}");
            let [one, other] = pair.lanes.each_ref().map(|lane| lane.virtual_time);
            assert_eq!(one - other, unit);
        }
        let ends = pair.lanes.iter().map(|lane| lane.virtual_time).max();
        assert!(ends < Some(FAR));
    }
    // One that has wanted nothing since long before is owed a round, as ever.
    pair.disk.clock = FAR + 1;
    pair.lanes[1].virtual_time = 0;
    (pair.lanes[0].start, pair.lanes[0].virtual_time) = (FAR + 1, FAR + 1);
    pair.turn([true; 2]);
    let [one, other] = pair.lanes.each_ref().map(|lane| lane.virtual_time);
    assert!(one - other <= unit, "{one} {other}");
}

#[test]
fn one_that_hung_does_not_say_how_long_the_disk_takes() {
    let mut took = Took::default();
    assert_eq!(took.mean(), 0);
    took.add(100);
    assert_eq!(took.mean(), 100);
    for it in [90, 5_000_000, 110, 100] {
        took.add(it);
    }
    assert_eq!(took.mean(), 100);
}
