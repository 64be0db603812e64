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
fn put(fixture: &Disk, offset: u64, sector: u64, count: u64) -> Outcome {
    for number in 0..count {
        let place = ClientAddress::new(offset + number * SECTOR);
        let bytes = pattern(sector + number, WRITTEN);
        fixture.memory.write_bytes(place, &bytes)?;
    }
    Ok(())
}

fn one_sector(fixture: &mut Disk) -> Outcome {
    let sector = ONE_SECTOR;
    put(fixture, 0, sector, 1)?;
    let segment = fixture.segment(0, 512)?;
    fixture.good(Operation::Write { sector }, &[segment], &[])?;
    announce("wrote", sector, 1);
    fixture.memory.fill(ClientAddress::new(0), 4096, 0)?;
    fixture.read(sector - 1, 3)?;
    fixture.check(0, sector - 1, 1, MADE)?;
    fixture.check(SECTOR, sector, 1, WRITTEN)?;
    fixture.check(2 * SECTOR, sector + 1, 1, MADE)
}

fn many_segments(fixture: &mut Disk) -> Outcome {
    let (sector, count) = (MANY, 120);
    let mut segments = super::Vec::new();
    // The last sector lies first in storage.
    for number in 0..count {
        let offset = (count - 1 - number) * SECTOR;
        put(fixture, offset, sector + number, 1)?;
        segments.push(fixture.segment(offset, 512)?);
    }
    fixture.good(Operation::Write { sector }, &segments, &[])?;
    announce("wrote", sector, count);
    fixture.read(sector, count)?;
    fixture.check(0, sector, count, WRITTEN)
}

fn flush(fixture: &mut Disk) -> Outcome {
    fixture.good(Operation::Flush, &[], &[])?;
    fixture.good(Operation::Flush, &[], &[])
}

const fn range(sector: u64, sectors: u32, unmap: bool) -> Range {
    Range {
        sector,
        sectors,
        unmap,
    }
}

fn zeroes(fixture: &mut Disk) -> Outcome {
    let (sector, count) = (ZEROED, 100);
    let range = range(sector, count as u32, false);
    fixture.good(Operation::WriteZeroes, &[], &[range])?;
    announce("zeroed", sector, count);
    fixture.read(sector - 1, count + 2)?;
    fixture.check(0, sector - 1, 1, MADE)?;
    fixture.check_zero(SECTOR, count * SECTOR)?;
    fixture.check((count + 1) * SECTOR, sector + count, 1, MADE)
}

fn zeroes_unmapped(fixture: &mut Disk) -> Outcome {
    let (sector, count) = (UNMAPPED, 64);
    let range = range(sector, count as u32, true);
    fixture.good(Operation::WriteZeroes, &[], &[range])?;
    announce("zeroed", sector, count);
    fixture.read(sector, count)?;
    fixture.check_zero(0, count * SECTOR)
}

fn discard(fixture: &mut Disk) -> Outcome {
    let most = fixture.disk.geometry().discard.as_ref();
    let several = most.is_some_and(|limits| limits.max_segments >= 2);
    let ranges = [
        range(DISCARDED, 64, false),
        range(DISCARDED + 128, 64, false),
    ];
    let ranges = if several { &ranges[..] } else { &ranges[..1] };
    fixture.good(Operation::Discard, &[], ranges)?;
    for range in ranges {
        announce("discarded", range.sector, range.sectors.into());
    }
    fixture.read(DISCARDED + 64, 64)?;
    fixture.check(0, DISCARDED + 64, 64, MADE)
}

fn past_the_end(fixture: &mut Disk) -> Outcome {
    let segment = fixture.segment(0, 4096)?;
    let sector = fixture.sectors() - 4;
    let status = fixture.request(Operation::Write { sector }, &[segment], &[])?;
    expect("status", status, BlockStatus::IoError)
}

fn read_only(fixture: &mut Disk) -> Outcome {
    let other = fixture
        .read_only
        .as_mut()
        .ok_or(Why::Skip("no such disk"))?;
    ensure("says so", other.geometry().read_only)?;
    core::mem::swap(&mut fixture.disk, other);
    let segment = fixture.segment(0, 512)?;
    let read = fixture.request(Operation::Read { sector: 0 }, &[segment], &[]);
    let written = fixture.request(Operation::Write { sector: 0 }, &[segment], &[]);
    if let Some(other) = &mut fixture.read_only {
        core::mem::swap(&mut fixture.disk, other);
    }
    expect("read", read?, BlockStatus::Ok)?;
    expect("written", written?, BlockStatus::IoError)
}
