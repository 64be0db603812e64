//! What fails for days takes no more storage than what fails once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vcss::control::{Client, ExportKind};
use window::ClientAddress;

use super::{disk, export, Fixture, DISK};
use crate::testing::{self, Model, Port, Virtio};

/// The allocator of all tests, which counts what a thread has and has not given back.
struct Counting;

std::thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    // So that storage which nobody touches takes no memory.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as of the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as of the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const TRIES: usize = 10_000;

/// Tries everything that has failed so often; bytes of the heap, and of storage for devices, that are gone afterwards.
fn gone(fixture: &mut Fixture) -> (isize, u64) {
    for _ in 0..3 {
        fixture.later(4_000_000);
    }
    let forget = |fixture: &mut Fixture| {
        let subchannels = fixture.machine.subchannels.values_mut();
        subchannels.for_each(Port::forget);
    };
    forget(fixture);
    let before = (HELD.get(), fixture.machine.free);
    for _ in 0..TRIES {
        fixture.later(4_000_000);
    }
    // What the machine of software has noted is none of the appliance's.
    forget(fixture);
    (HELD.get() - before.0, fixture.machine.free - before.1)
}

#[test]
fn a_disk_that_cannot_be_opened() {
    let given = [export(ExportKind::Block, 0)];
    let mut fixture = Fixture::with(1, &[DISK], &[], &given, |_, _| {});
    // Its queue has no room for anything, which is found out late.
    let bad = Virtio::new(Model::Disk(testing::Disk::new(8)), 0);
    let id = fixture.machine.attach(0, DISK, bad);
    fixture.report(id);
    fixture.later(0);
    let reason = fixture.conditions()[0].clone().unwrap_err();
    assert!(!reason.contains("storage"), "{reason}");
    assert_eq!(gone(&mut fixture), (0, 0), "{reason}");
    assert_eq!(fixture.conditions()[0], Err(reason));
    // And when it can be, it is served.
    *fixture.machine.subchannel(id).virtio() = disk();
    fixture.later(4_000_000);
    assert_eq!(fixture.conditions()[0], Ok(()));
}

#[test]
fn a_client_whose_area_is_spoilt() {
    let given = [export(ExportKind::PassThrough, 0)];
    let mut fixture = Fixture::with(1, &[], &[], &given, |_, shared| {
        let nothing = [0; 64];
        shared[0]
            .write_bytes(ClientAddress::new(0), &nothing)
            .unwrap();
    });
    assert_eq!(gone(&mut fixture), (0, 0));
    let reason = fixture.conditions()[0].clone().unwrap_err();
    assert!(reason.starts_with("its area is spoilt"), "{reason}");
}

#[test]
fn a_client_whose_window_lies_where_it_may_not() {
    let given = [export(ExportKind::PassThrough, 0)];
    let mut fixture = Fixture::with(1, &[], &[], &given, |control, _| {
        let mut entry: Client = control.read(0).unwrap();
        entry.program.length = 0.into();
        control.write(0, &entry).unwrap();
    });
    assert_eq!(gone(&mut fixture), (0, 0));
    assert!(fixture.conditions()[0].is_err());
}

#[test]
fn a_configuration_that_changes_again_and_again() {
    let mut fixture = super::configuration::fixture();
    let change = |fixture: &mut Fixture, count: usize| {
        for _ in 0..count {
            fixture.second_comes("second");
            fixture.second_goes();
            fixture
                .machine
                .subchannels
                .values_mut()
                .for_each(Port::forget);
        }
    };
    change(&mut fixture, 3);
    let before = (HELD.get(), fixture.machine.free);
    change(&mut fixture, 1_000);
    assert_eq!((HELD.get(), fixture.machine.free), before);
}
