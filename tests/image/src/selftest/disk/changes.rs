//! What changes the disk. Each change is announced to the host.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::{pattern, Disk, MADE, SECTOR, WRITTEN};
use appliance::driver::block::{BlockDevice, BlockStatus, Operation, Range};
use window::ClientAddress;

/// Where each test works; between them nothing changes.
const ONE_SECTOR: u64 = 1001;
const MANY: u64 = 2000;
const ZEROED: u64 = 4000;
const UNMAPPED: u64 = 5000;
const DISCARDED: u64 = 6000;

/// The tests.
pub(super) const TESTS: &[Test<Disk>] = &[
    test(
        "a written sector reads back, and its neighbours are as before",
        one_sector,
    ),
    test("a write of many segments reads back", many_segments),
    test("a flush ends well, also with nothing to flush", flush),
    test("write-zeroes makes zeroes, up to its ends", zeroes),
    test("write-zeroes may unmap", zeroes_unmapped),
    test("a discard of several ranges ends well", discard),
    test("a write past the end is an error", past_the_end),
    test(
        "a read-only disk says so, and refuses to be written",
        read_only,
    ),
];

#[inline(never)]
fn announce(what: &str, sector: u64, count: u64) {
    sclp::println!("disk: {what} {sector} {count}");
}

/// Puts the new pattern of some sectors into storage.
#[inline(never)]
fn put(scene: &Disk, offset: u64, sector: u64, count: u64) -> Outcome {
    for number in 0..count {
        let place = ClientAddress::new(offset + number * SECTOR);
        let bytes = pattern(sector + number, WRITTEN);
        scene.memory.write_bytes(place, &bytes)?;
    }
    Ok(())
}

fn one_sector(scene: &mut Disk) -> Outcome {
    let sector = ONE_SECTOR;
    put(scene, 0, sector, 1)?;
    let segment = scene.segment(0, 512)?;
    scene.good(Operation::Write { sector }, &[segment], &[])?;
    announce("wrote", sector, 1);
    scene.memory.fill(ClientAddress::new(0), 4096, 0)?;
    scene.read(sector - 1, 3)?;
    scene.check(0, sector - 1, 1, MADE)?;
    scene.check(SECTOR, sector, 1, WRITTEN)?;
    scene.check(2 * SECTOR, sector + 1, 1, MADE)
}

fn many_segments(scene: &mut Disk) -> Outcome {
    let (sector, count) = (MANY, 120);
    let mut segments = super::Vec::new();
    // The last sector lies first in storage.
    for number in 0..count {
        let offset = (count - 1 - number) * SECTOR;
        put(scene, offset, sector + number, 1)?;
        segments.push(scene.segment(offset, 512)?);
    }
    scene.good(Operation::Write { sector }, &segments, &[])?;
    announce("wrote", sector, count);
    scene.read(sector, count)?;
    scene.check(0, sector, count, WRITTEN)
}

fn flush(scene: &mut Disk) -> Outcome {
    scene.good(Operation::Flush, &[], &[])?;
    scene.good(Operation::Flush, &[], &[])
}

const fn range(sector: u64, sectors: u32, unmap: bool) -> Range {
    Range {
        sector,
        sectors,
        unmap,
    }
}

fn zeroes(scene: &mut Disk) -> Outcome {
    let (sector, count) = (ZEROED, 100);
    let range = range(sector, count as u32, false);
    scene.good(Operation::WriteZeroes, &[], &[range])?;
    announce("zeroed", sector, count);
    scene.read(sector - 1, count + 2)?;
    scene.check(0, sector - 1, 1, MADE)?;
    scene.check_zero(SECTOR, count * SECTOR)?;
    scene.check((count + 1) * SECTOR, sector + count, 1, MADE)
}

fn zeroes_unmapped(scene: &mut Disk) -> Outcome {
    let (sector, count) = (UNMAPPED, 64);
    let range = range(sector, count as u32, true);
    scene.good(Operation::WriteZeroes, &[], &[range])?;
    announce("zeroed", sector, count);
    scene.read(sector, count)?;
    scene.check_zero(0, count * SECTOR)
}

fn discard(scene: &mut Disk) -> Outcome {
    let most = scene.disk.geometry().discard.as_ref();
    let several = most.is_some_and(|limits| limits.max_segments >= 2);
    let ranges = [
        range(DISCARDED, 64, false),
        range(DISCARDED + 128, 64, false),
    ];
    let ranges = if several { &ranges[..] } else { &ranges[..1] };
    scene.good(Operation::Discard, &[], ranges)?;
    for range in ranges {
        announce("discarded", range.sector, range.sectors.into());
    }
    scene.read(DISCARDED + 64, 64)?;
    scene.check(0, DISCARDED + 64, 64, MADE)
}

fn past_the_end(scene: &mut Disk) -> Outcome {
    let segment = scene.segment(0, 4096)?;
    let sector = scene.sectors() - 4;
    let status = scene.request(Operation::Write { sector }, &[segment], &[])?;
    expect("status", status, BlockStatus::IoError)
}

fn read_only(scene: &mut Disk) -> Outcome {
    let other = scene.read_only.as_mut().ok_or(Why::Skip("no such disk"))?;
    ensure("says so", other.geometry().read_only)?;
    core::mem::swap(&mut scene.disk, other);
    let segment = scene.segment(0, 512)?;
    let read = scene.request(Operation::Read { sector: 0 }, &[segment], &[]);
    let written = scene.request(Operation::Write { sector: 0 }, &[segment], &[]);
    if let Some(other) = &mut scene.read_only {
        core::mem::swap(&mut scene.disk, other);
    }
    expect("read", read?, BlockStatus::Ok)?;
    expect("written", written?, BlockStatus::IoError)
}
