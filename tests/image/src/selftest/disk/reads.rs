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

fn geometry(scene: &mut Disk) -> Outcome {
    let geometry = scene.disk.geometry();
    expect("queues", geometry.queues, 4)?;
    expect("queue size", geometry.queue_size, 128)?;
    ensure("flush", geometry.flush)?;
    ensure("discard", geometry.discard.is_some())?;
    ensure("write-zeroes", geometry.write_zeroes.is_some())
}

fn signalling(scene: &mut Disk) -> Outcome {
    let wanted = if scene.settings.adapter {
        Signalling::Adapter
    } else {
        Signalling::Classic
    };
    expect("signalling", scene.disk.signalling(), wanted)
}

fn name(scene: &mut Disk) -> Outcome {
    let segment = scene.segment(0, SERIAL.len() as u32)?;
    scene.good(Operation::GetId, &[segment], &[])?;
    let mut name = [0; SERIAL.len()];
    scene.memory.read_bytes(ClientAddress::new(0), &mut name)?;
    expect("name", name.as_slice(), SERIAL)
}

fn block(scene: &mut Disk) -> Outcome {
    scene.read(8, 8)?;
    scene.check(0, 8, 8, MADE)
}

fn segments(scene: &mut Disk) -> Outcome {
    // Each behind a gap of one byte more than the last one's.
    let lengths = [512, 1, 511, 1000, 24, 4096, 3, 2045];
    let (mut place, mut list) = (1, super::Vec::new());
    for (gap, len) in lengths.into_iter().enumerate() {
        list.push(scene.segment(place, len)?);
        place += u64::from(len) + gap as u64;
    }
    let sectors = u64::from(lengths.iter().sum::<u32>()) / SECTOR;
    scene.good(Operation::Read { sector: 100 }, &list, &[])?;
    // Put together again in front of everything else.
    let end = PAGES as u64 * 4096;
    let mut whole = end - sectors * SECTOR;
    for segment in &list {
        let mut bytes = alloc::vec![0; segment.len as usize];
        let from = ClientAddress::new(segment.absolute - scene.memory.absolute_base());
        scene.memory.read_bytes(from, &mut bytes)?;
        scene
            .memory
            .write_bytes(ClientAddress::new(whole), &bytes)?;
        whole += bytes.len() as u64;
    }
    scene.check(end - sectors * SECTOR, 100, sectors, MADE)
}

fn bounds(scene: &mut Disk) -> Outcome {
    scene.memory.fill(ClientAddress::new(0), 4096, 0xA5)?;
    let segment = scene.segment(1000, 512)?;
    scene.good(Operation::Read { sector: 3 }, &[segment], &[])?;
    for place in [0, 999, 1512, 4095] {
        let byte: u8 = scene.memory.read(ClientAddress::new(place))?;
        expect("a byte outside", byte, 0xA5)?;
    }
    scene.check(1000, 3, 1, MADE)
}

fn tail(scene: &mut Disk) -> Outcome {
    let sectors = scene.sectors() % 8;
    ensure("the disk ends within a block", sectors != 0)?;
    let first = scene.sectors() - sectors;
    scene.read(first, sectors)?;
    scene.check(0, first, sectors, MADE)
}

fn past_the_end(scene: &mut Disk) -> Outcome {
    let segment = scene.segment(0, 4096)?;
    for sector in [scene.sectors() - 7, scene.sectors(), u64::MAX / 1024] {
        let status = scene.request(Operation::Read { sector }, &[segment], &[])?;
        expect("status", status, BlockStatus::IoError)?;
    }
    block(scene)
}

fn queues(scene: &mut Disk) -> Outcome {
    let count = scene.disk.geometry().queues;
    for queue in 0..count {
        let at = u64::from(queue);
        let segment = scene.segment(at * 4096, 4096)?;
        let operation = Operation::Read { sector: at * 800 };
        let token = scene.token();
        scene
            .disk
            .submit(queue, operation, &[segment], &[], token)?;
    }
    scene.disk.kick(&mut scene.platform);
    for done in scene.completions(count.into())? {
        expect("status", done.status, BlockStatus::Ok)?;
    }
    for queue in 0..u64::from(count) {
        scene.check(queue * 4096, queue * 800, 8, MADE)?;
    }
    Ok(())
}

fn full(scene: &mut Disk) -> Outcome {
    let segment = scene.segment(0, 512)?;
    let (mut asked, mut done, mut full) = (0, 0, 0);
    while done < 1000 {
        while asked < 1000 {
            let operation = Operation::Read { sector: asked };
            let token = scene.token();
            match scene.disk.submit(1, operation, &[segment], &[], token) {
                Ok(()) => asked += 1,
                Err(SubmitError::Full) => {
                    full += 1;
                    let size = u32::from(scene.disk.geometry().queue_size);
                    expect("in flight when full", scene.disk.in_flight(), size)?;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        scene.disk.kick(&mut scene.platform);
        for one in scene.completions(1)? {
            expect("status", one.status, BlockStatus::Ok)?;
            done += 1;
        }
    }
    ensure("it was full", full > 0)?;
    expect("came back", done, asked)?;
    expect("in flight", scene.disk.in_flight(), 0)
}

fn refused(scene: &mut Disk) -> Outcome {
    let segment = scene.segment(0, 512)?;
    let many = alloc::vec![segment; 1000];
    let operation = Operation::Read { sector: 0 };
    let token = scene.token();
    let disk = &mut scene.disk;
    let long = disk.submit(0, operation, &many, &[], token);
    expect("1000 segments", long, Err(SubmitError::TooLarge))?;
    let nowhere = disk.submit(4, operation, &[segment], &[], token);
    expect("queue 4", nowhere, Err(SubmitError::Unsupported))?;
    let none = disk.submit(0, Operation::Discard, &[], &[], token);
    expect("no ranges", none, Err(SubmitError::TooLarge))
}

fn wakes(scene: &mut Disk) -> Outcome {
    let before = scene.wakes;
    for sector in 0..100 {
        scene.read(sector, 1)?;
    }
    // Not each: one that comes back at once is found by the last look before the wait.
    ensure("some waits", scene.wakes > before)
}

fn quiet(scene: &mut Disk) -> Outcome {
    if scene.disk.interrupts(true) {
        return Err(Why::Fail("work out of nothing".into()));
    }
    let deadline = scene.platform.now().plus_micros(20_000);
    // What was pending from before is no news.
    while scene.platform.pending_interruption().is_some() {}
    let wake = scene.platform.wait(Some(deadline));
    scene.disk.interrupts(false);
    expect("wake", wake, Wake::Deadline)
}

fn everything(scene: &mut Disk) -> Outcome {
    const STEP: u64 = PAGES as u64 * 4096 / SECTOR;
    let deadline = scene.platform.now().plus_micros(6 * SOON);
    let mut sector = 0;
    while sector < scene.sectors() {
        let count = STEP.min(scene.sectors() - sector);
        scene.read(sector, count)?;
        scene.check(0, sector, count, MADE)?;
        ensure("in time", scene.platform.now() < deadline)?;
        sector += count;
    }
    Ok(())
}
