//! What leaves the disk as it is.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::{Disk, MADE, PAGES, SECTOR, SOON};
use appliance::css::{Platform, Wake};
use appliance::driver::block::{BlockDevice, BlockStatus, Operation, SubmitError};
use appliance::driver::virtio_ccw::Signalling;
use channel::ChannelSubsystem;
use window::ClientAddress;

/// What the host has named the disk.
const SERIAL: &[u8] = b"stellwerk-selftest\0\0";

/// The tests.
pub(super) const TESTS: &[Test<Disk>] = &[
    test(
        "the disk has four queues, flush, discard and write-zeroes",
        geometry,
    ),
    test(
        "completions are signalled as the command line asks",
        signalling,
    ),
    test("the disk knows its name", name),
    test("a block reads as the host has written it", block),
    test(
        "segments of odd lengths at odd addresses are filled in order",
        segments,
    ),
    test("a segment is filled up to its end and no further", bounds),
    test("the last sectors, less than a block, can be read", tail),
    test(
        "a read past the end is an error, and the disk goes on",
        past_the_end,
    ),
    test("four queues work at a time", queues),
    test("a full ring says so, and all requests come back", full),
    test("what is too large or has no queue is refused", refused),
    test("a completion ends the wait", wakes),
    test("nothing interrupts when nothing is in flight", quiet),
    test(
        "all of the disk reads as the host has written it",
        everything,
    ),
];

fn geometry(fixture: &mut Disk) -> Outcome {
    let geometry = fixture.disk.geometry();
    expect("queues", geometry.queues, 4)?;
    expect("queue size", geometry.queue_size, 128)?;
    ensure("flush", geometry.flush)?;
    ensure("discard", geometry.discard.is_some())?;
    ensure("write-zeroes", geometry.write_zeroes.is_some())
}

fn signalling(fixture: &mut Disk) -> Outcome {
    let wanted = if fixture.settings.adapter {
        Signalling::Adapter
    } else {
        Signalling::Classic
    };
    expect("signalling", fixture.disk.signalling(), wanted)
}

fn name(fixture: &mut Disk) -> Outcome {
    let segment = fixture.segment(0, SERIAL.len() as u32)?;
    fixture.good(Operation::GetId, &[segment], &[])?;
    let mut name = [0; SERIAL.len()];
    fixture
        .memory
        .read_bytes(ClientAddress::new(0), &mut name)?;
    expect("name", name.as_slice(), SERIAL)
}

fn block(fixture: &mut Disk) -> Outcome {
    fixture.read(8, 8)?;
    fixture.check(0, 8, 8, MADE)
}

fn segments(fixture: &mut Disk) -> Outcome {
    // Each behind a gap of one byte more than the last one's.
    let lengths = [512, 1, 511, 1000, 24, 4096, 3, 2045];
    let (mut place, mut list) = (1, super::Vec::new());
    for (gap, len) in lengths.into_iter().enumerate() {
        list.push(fixture.segment(place, len)?);
        place += u64::from(len) + gap as u64;
    }
    let sectors = u64::from(lengths.iter().sum::<u32>()) / SECTOR;
    fixture.good(Operation::Read { sector: 100 }, &list, &[])?;
    // Put together again in front of everything else.
    let end = PAGES as u64 * 4096;
    let mut whole = end - sectors * SECTOR;
    for segment in &list {
        let mut bytes = alloc::vec![0; segment.len as usize];
        let from = ClientAddress::new(segment.absolute - fixture.memory.absolute_base());
        fixture.memory.read_bytes(from, &mut bytes)?;
        fixture
            .memory
            .write_bytes(ClientAddress::new(whole), &bytes)?;
        whole += bytes.len() as u64;
    }
    fixture.check(end - sectors * SECTOR, 100, sectors, MADE)
}

fn bounds(fixture: &mut Disk) -> Outcome {
    fixture.memory.fill(ClientAddress::new(0), 4096, 0xA5)?;
    let segment = fixture.segment(1000, 512)?;
    fixture.good(Operation::Read { sector: 3 }, &[segment], &[])?;
    for place in [0, 999, 1512, 4095] {
        let byte: u8 = fixture.memory.read(ClientAddress::new(place))?;
        expect("a byte outside", byte, 0xA5)?;
    }
    fixture.check(1000, 3, 1, MADE)
}

fn tail(fixture: &mut Disk) -> Outcome {
    let sectors = fixture.sectors() % 8;
    ensure("the disk ends within a block", sectors != 0)?;
    let first = fixture.sectors() - sectors;
    fixture.read(first, sectors)?;
    fixture.check(0, first, sectors, MADE)
}

fn past_the_end(fixture: &mut Disk) -> Outcome {
    let segment = fixture.segment(0, 4096)?;
    for sector in [fixture.sectors() - 7, fixture.sectors(), u64::MAX / 1024] {
        let status = fixture.request(Operation::Read { sector }, &[segment], &[])?;
        expect("status", status, BlockStatus::IoError)?;
    }
    block(fixture)
}

fn queues(fixture: &mut Disk) -> Outcome {
    let count = fixture.disk.geometry().queues;
    for queue in 0..count {
        let at = u64::from(queue);
        let segment = fixture.segment(at * 4096, 4096)?;
        let operation = Operation::Read { sector: at * 800 };
        let token = fixture.token();
        fixture
            .disk
            .submit(queue, operation, &[segment], &[], token)?;
    }
    fixture.disk.kick(&mut fixture.platform);
    for done in fixture.completions(count.into())? {
        expect("status", done.status, BlockStatus::Ok)?;
    }
    for queue in 0..u64::from(count) {
        fixture.check(queue * 4096, queue * 800, 8, MADE)?;
    }
    Ok(())
}

fn full(fixture: &mut Disk) -> Outcome {
    let segment = fixture.segment(0, 512)?;
    let (mut asked, mut done, mut full) = (0, 0, 0);
    while done < 1000 {
        while asked < 1000 {
            let operation = Operation::Read { sector: asked };
            let token = fixture.token();
            match fixture.disk.submit(1, operation, &[segment], &[], token) {
                Ok(()) => asked += 1,
                Err(SubmitError::Full) => {
                    full += 1;
                    let size = u32::from(fixture.disk.geometry().queue_size);
                    expect("in flight when full", fixture.disk.in_flight(), size)?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        fixture.disk.kick(&mut fixture.platform);
        for one in fixture.completions(1)? {
            expect("status", one.status, BlockStatus::Ok)?;
            done += 1;
        }
    }
    ensure("it was full", full > 0)?;
    expect("came back", done, asked)?;
    expect("in flight", fixture.disk.in_flight(), 0)
}

fn refused(fixture: &mut Disk) -> Outcome {
    let segment = fixture.segment(0, 512)?;
    let many = alloc::vec![segment; 1000];
    let operation = Operation::Read { sector: 0 };
    let token = fixture.token();
    let disk = &mut fixture.disk;
    let long = disk.submit(0, operation, &many, &[], token);
    expect("1000 segments", long, Err(SubmitError::TooLarge))?;
    let nowhere = disk.submit(4, operation, &[segment], &[], token);
    expect("queue 4", nowhere, Err(SubmitError::Unsupported))?;
    let none = disk.submit(0, Operation::Discard, &[], &[], token);
    expect("no ranges", none, Err(SubmitError::TooLarge))
}

fn wakes(fixture: &mut Disk) -> Outcome {
    let before = fixture.wakes;
    for sector in 0..100 {
        fixture.read(sector, 1)?;
    }
    // Not each: one that comes back at once is found by the last look before the wait.
    ensure("some waits", fixture.wakes > before)
}

fn quiet(fixture: &mut Disk) -> Outcome {
    if fixture.disk.arm() {
        return Err(Why::Fail("work out of nothing".into()));
    }
    let deadline = fixture.platform.now().plus_micros(20_000);
    // What was pending from before is no news.
    while fixture.platform.pending_interruption().is_some() {}
    let wake = fixture.platform.wait(Some(deadline));
    fixture.disk.disarm();
    expect("wake", wake, Wake::Deadline)
}

fn everything(fixture: &mut Disk) -> Outcome {
    const STEP: u64 = PAGES as u64 * 4096 / SECTOR;
    let deadline = fixture.platform.now().plus_micros(6 * SOON);
    let mut sector = 0;
    while sector < fixture.sectors() {
        let count = STEP.min(fixture.sectors() - sector);
        fixture.read(sector, count)?;
        fixture.check(0, sector, count, MADE)?;
        ensure("in time", fixture.platform.now() < deadline)?;
        sector += count;
    }
    Ok(())
}
