//! Paths that are lost and found while programs are started.

use std::vec::Vec;

use channel::model::{PathState, Reply};

use super::model::{good, Bench};
use super::*;
use crate::driver::block::{BlockDevice, BlockStatus, Dasd, SubmitError};
use crate::driver::dasd::recovery::PROGRAM_TIMEOUT;

const FIRST: u8 = 0x30;

impl Bench {
    fn lose(&mut self, number: u8) {
        self.0.machine.css.lose_path(FIRST + number);
        self.0.disk.paths_changed(&mut self.0.machine);
    }

    /// The path is available again, and in this state.
    fn find(&mut self, number: u8, state: PathState) {
        let machine = &mut self.0.machine;
        machine.css.set_path(id(), number, FIRST + number, state);
        self.0.disk.paths_changed(machine);
    }

    /// As the event loop does when it keeps house.
    fn verify(&mut self) {
        if self.0.disk.has_unverified_paths() {
            self.0.disk.verify_paths(&mut self.0.machine);
        }
    }

    /// A program is started, and the channel does so many steps of it.
    fn under_way(&mut self, steps: usize) {
        self.submit().unwrap();
        self.0.disk.kick(&mut self.0.machine);
        for _ in 0..steps {
            self.0.machine.css.step(id());
        }
    }

    fn last_taken(&mut self) -> Option<u8> {
        self.taken().last().copied()
    }
}

#[test]
fn a_program_that_hangs_on_a_lost_path_is_ended_at_once_and_done_over_another() {
    let mut bench = Bench::over(0xC0, &[good().after(Reply::NEVER)]);
    bench.under_way(100);
    let began = bench.0.machine.micros;
    // The channel subsystem says nothing by itself.
    bench.find(0, PathState::Unavailable);
    assert_eq!(bench.ending(), BlockStatus::Ok);
    assert_eq!(bench.taken(), [0x80, 0x40]);
    assert!(bench.0.machine.micros - began < PROGRAM_TIMEOUT);
    assert_eq!(bench.0.port().stops(), 1);
    assert_eq!(bench.0.disk.recoveries().timeouts, 0);
    assert_eq!(bench.0.disk.recoveries().other_paths, 1);
}

#[test]
fn a_program_that_is_under_way_on_another_path_is_left_alone() {
    let mut bench = Bench::over(0xC0, &[]);
    bench.under_way(1);
    bench.find(1, PathState::Unavailable);
    assert_eq!(bench.ending(), BlockStatus::Ok);
    assert_eq!(bench.taken(), [0x80]);
    assert_eq!(bench.0.port().stops(), 0);
}

#[test]
fn a_path_that_is_found_again_is_verified_and_grouped_before_it_is_used() {
    let mut bench = Bench::over(0xC0, &[]);
    bench.lose(0);
    assert_eq!(bench.read(), BlockStatus::Ok);
    assert_eq!(bench.last_taken(), Some(0x40));
    bench.0.device.borrow_mut().paths.clear();
    bench.find(0, PathState::Operational);
    bench.submit().unwrap();
    let before = bench.taken().len();
    assert!((0..5).all(|_| bench.turn().is_none()), "it waits for that");
    assert_eq!(bench.taken().len(), before);
    assert!(bench.0.disk.arm(), "nobody sleeps meanwhile");
    bench.verify();
    assert!(!bench.0.disk.has_unverified_paths());
    let grouped: Vec<u8> = bench.0.device.borrow().paths.keys().copied().collect();
    assert_eq!(grouped, [0x40, 0x80]);
    assert_eq!(bench.ending(), BlockStatus::Ok);
    assert_eq!(bench.last_taken(), Some(0x80));
}

#[test]
fn a_path_that_leads_to_nothing_is_not_used() {
    let mut bench = Bench::over(0xC0, &[]);
    bench.lose(0);
    bench.find(0, PathState::Dead);
    bench.verify();
    let before = bench.taken().len();
    assert_eq!(bench.read(), BlockStatus::Ok);
    assert!(bench.taken()[before..].iter().all(|path| *path == 0x40));
    // It is tried again when something is said of it again.
    bench.find(0, PathState::Operational);
    bench.verify();
    assert_eq!(bench.read(), BlockStatus::Ok);
    assert_eq!(bench.last_taken(), Some(0x80));
}

/// Loses all paths and finds them again, each while a program has made so many steps.
fn walk(lost: &[u8], found: &[u8], steps: usize) {
    let about = std::format!("{lost:?} {found:?} {steps}");
    let count = lost.len();
    let mut bench = Bench::over(!(0xFF_u16 >> count) as u8, &[]);
    for (done, number) in lost.iter().enumerate() {
        bench.under_way(steps);
        bench.lose(*number);
        if done + 1 < count {
            assert_eq!(bench.ending(), BlockStatus::Ok, "{about}");
            continue;
        }
        // Over no path it fails, unless it had ended.
        bench.ending();
        if bench.submit().is_ok() {
            assert_eq!(bench.ending(), BlockStatus::IoError, "{about}");
        }
        assert_eq!(bench.submit(), Err(SubmitError::Broken), "{about}");
    }
    for (done, number) in found.iter().enumerate() {
        if done > 0 {
            bench.under_way(steps);
        }
        bench.find(*number, PathState::Operational);
        if done > 0 {
            // What runs ends before anything is verified.
            let ended = (0..20).find_map(|_| {
                bench.verify();
                bench.turn()
            });
            assert_eq!(ended.map(|done| done.status), Some(BlockStatus::Ok));
        }
        bench.verify();
        assert_eq!(bench.read(), BlockStatus::Ok, "{about}");
        assert!(!bench.0.disk.has_unverified_paths(), "{about}");
    }
    // All are in use, so the first one is that of the next program.
    assert_eq!(bench.read(), BlockStatus::Ok);
    assert_eq!(bench.last_taken(), Some(0x80), "{about}");
}

/// All orders of so many numbers.
fn orders(count: u8) -> Vec<Vec<u8>> {
    let Some(last) = count.checked_sub(1) else {
        return [Vec::new()].to_vec();
    };
    let shorter = orders(last);
    let all = shorter.iter().flat_map(|order| {
        (0..=order.len()).map(move |place| {
            let mut longer = order.clone();
            longer.insert(place, last);
            longer
        })
    });
    all.collect()
}

#[test]
fn paths_are_lost_and_found_during_starts_in_every_order() {
    for count in 2..=3 {
        for lost in orders(count) {
            for found in orders(count) {
                (0..6).for_each(|steps| walk(&lost, &found, steps));
            }
        }
    }
    for count in 4..=8 {
        let up: Vec<u8> = (0..count).collect();
        let down: Vec<u8> = (0..count).rev().collect();
        let mut apart = up.clone();
        apart.rotate_left(usize::from(count / 2));
        for lost in [&up, &down, &apart] {
            for found in [&up, &down, &apart] {
                (0..6).step_by(2).for_each(|steps| walk(lost, found, steps));
            }
        }
    }
}
