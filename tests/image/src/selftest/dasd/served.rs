//! A virtio disk over a volume: the proxy serves it, and a client in the image drives it by its area, channel programs and
//! ring, as a VM would, with several requests in flight.
//!
//! # Limits
//!
//! Of requests in flight no two touch a block that one of them writes: which comes first is nobody's business.

use super::super::{ensure, expect, test, Fixture, Outcome, Tally, Test, Why};
use super::pattern::{compare, fill, hash, step};
use crate::bench::client::{Client, Taken, DATA, MOST_PIECES};
use crate::bench::{serve, Appliance};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use appliance::css::{self, Device, Hardware};
use appliance::driver::block::{BlockDevice, BlockStatus, Operation, Token};
use appliance::driver::disk;
use appliance::driver::virtio_ccw::Settings;
use core::cell::RefCell;
use s390x::control::Cr6;
use virtio::blk::{RequestStatus, RequestType};
use window::ClientAddress;

const BLOCK: u64 = 4096;
const SECTORS: u64 = BLOCK / 512;
/// The longest request: a MiB.
const LONGEST: u64 = 256;
/// Requests in flight, and the room that each has for its data.
const DEPTH: usize = 6;
const ROOM: u64 = (LONGEST + 1) * BLOCK;
const PAGES: usize = DEPTH * (LONGEST as usize + 1);
/// Requests at random, where nobody says how many: each length once, and shorter ones.
const REQUESTS: u32 = 16 * LONGEST as u32;
/// Turns of the appliance until a request is lost, and how long the disk has between two of them, in microseconds.
const TURNS: u32 = 20_000;
const PAUSE: u64 = 100;

struct Served {
    appliance: Rc<RefCell<Appliance>>,
    client: Client,
    /// How often each block was written.
    written: Vec<u32>,
    random: u64,
    requests: u32,
    /// In flight.
    asked: heapless::Vec<Asked, DEPTH>,
    /// Another volume, as its driver has it.
    source: Option<Box<dyn BlockDevice>>,
}

/// A request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    write: bool,
    block: u64,
    count: u64,
    /// Of its data, in the window.
    place: u64,
    /// Which room that is in, and the name by which it comes back.
    room: usize,
    name: u16,
}

impl Fixture for Served {}

const TESTS: &[Test<Served>] = &[
    test(
        "the first and the last block come back as they were written",
        ends,
    ),
    test("random blocks come back as they were last written", random),
    test(
        "what lies beyond the disk is an error, and the next request is not",
        beyond,
    ),
    test("the whole disk is as it was written", everything),
];

const COPY: &[Test<Served>] = &[test("the other volume is copied", copy)];

/// Tests the first volume, with so many requests at random.
pub(in super::super) fn run(tally: &mut Tally, requests: Option<u32>) {
    run_all(tally, requests.unwrap_or(REQUESTS), TESTS);
}

/// Copies the second volume to the first.
pub(in super::super) fn run_copy(tally: &mut Tally) {
    run_all(tally, 0, COPY);
}

fn run_all(tally: &mut Tally, requests: u32, tests: &[Test<Served>]) {
    match fixture(requests) {
        Ok(mut fixture) => {
            tally.run("", &mut fixture, tests);
            sclp::println!("dasd: served wrote {:016x}", hash(&fixture.written));
        }
        Err(why) => tally.note("", "a volume is served", Err(why)),
    }
}

#[inline(never)]
fn fixture(requests: u32) -> Result<Served, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut platform)?;
    let mut disks = devices
        .iter()
        .filter(|device| disk::Kind::of(device).is_some());
    let disk = open(&mut platform, disks.next().ok_or("no disk")?)?;
    let source = disks.next().map(|device| open(&mut platform, device));
    let source = source.transpose()?;
    let block_size = u64::from(disk.geometry().block_size);
    ensure("blocks of 4096 bytes or less", block_size <= BLOCK)?;
    let blocks = (disk.geometry().sectors / SECTORS) as usize;
    let (appliance, client) = serve(Box::new(platform), disk, false, PAGES)?;
    Ok(Served {
        appliance,
        client,
        written: vec![0; blocks],
        random: 0x5DEE_CE66_D1CE_4E5B,
        requests,
        asked: heapless::Vec::new(),
        source,
    })
}

#[inline(never)]
fn open(platform: &mut Hardware, device: &Device) -> Result<Box<dyn BlockDevice>, Why> {
    Ok(disk::open(platform, device, Settings::default())?)
}

fn ends(served: &mut Served) -> Outcome {
    let last = served.blocks() - 1;
    for block in [0, last] {
        served.ask(true, block, 1)?;
        served.settle(0)?;
        served.ask(false, block, 1)?;
        served.settle(0)?;
    }
    Ok(())
}

fn random(served: &mut Served) -> Outcome {
    for number in 0..served.requests {
        // Each length in its turn; between them as many short ones as longer ones.
        let count = if number.is_multiple_of(16) {
            u64::from(number / 16) % LONGEST + 1
        } else {
            let most = 1 << (served.next() | LONGEST).trailing_zeros();
            1 + served.next() % most
        };
        let count = count.min(served.blocks());
        let last = served.blocks() - count;
        let block = if number % 32 == 7 {
            last
        } else {
            served.next() % (last + 1)
        };
        let write = served.next().is_multiple_of(2);
        served.ask(write, block, count)?;
        if number % 64 == 21 {
            served.settle(0)?;
            served.beyond(write, count)?;
        }
    }
    served.settle(0)
}

fn beyond(served: &mut Served) -> Outcome {
    for count in [1, 2, LONGEST] {
        for write in [true, false] {
            served.beyond(write, count)?;
            served.ask(false, served.blocks() - 1, 1)?;
            served.settle(0)?;
        }
    }
    Ok(())
}

fn everything(served: &mut Served) -> Outcome {
    let mut block = 0;
    while block < served.blocks() {
        let count = LONGEST.min(served.blocks() - block);
        served.ask(false, block, count)?;
        block += count;
    }
    served.settle(0)
}

fn copy(served: &mut Served) -> Outcome {
    let mut source = served.source.take().ok_or(Why::Skip("no other volume"))?;
    expect(
        "blocks",
        source.geometry().sectors / SECTORS,
        served.blocks(),
    )?;
    let mut block = 0;
    while block < served.blocks() {
        let count = (1 + served.next() % LONGEST).min(served.blocks() - block);
        let bytes = (count * BLOCK) as u32;
        let segment = served
            .client
            .window()
            .translate(ClientAddress::new(DATA), bytes)?;
        let sector = block * SECTORS;
        source.submit(0, Operation::Read { sector }, &[segment], &[], Token(0))?;
        let mut turns = 0;
        let done = loop {
            source.kick(served.appliance.borrow_mut().platform());
            if let Some(done) = source.poll() {
                break done;
            }
            turns += 1;
            ensure("the request comes back", turns < TURNS)?;
            served.appliance.borrow_mut().let_pass(PAUSE);
        };
        expect("status", done.status, BlockStatus::Ok)?;
        let name = served
            .client
            .ask(RequestType::Out, block, &[(DATA, bytes)])?;
        let taken = served.wait()?;
        expect("request", taken.name, name)?;
        expect("status", taken.status, RequestStatus::Ok.into())?;
        block += count;
    }
    Ok(())
}

impl Served {
    fn blocks(&self) -> u64 {
        self.written.len() as u64
    }

    fn next(&mut self) -> u64 {
        step(&mut self.random)
    }

    /// A request for blocks of the disk, in whatever pieces; those that are in its way end first.
    #[inline(never)]
    fn ask(&mut self, write: bool, block: u64, count: u64) -> Outcome {
        let in_the_way = |other: &Asked| {
            let apart = block + count <= other.block || other.block + other.count <= block;
            !apart && (write || other.write)
        };
        if self.asked.iter().any(in_the_way) {
            self.settle(0)?;
        }
        self.settle(DEPTH - 1)?;
        let room = (0..DEPTH).find(|room| self.asked.iter().all(|asked| asked.room != *room));
        let room = room.ok_or("no room")?;
        // Half of them begin at a page.
        let offset = self.next() % 2 * (self.next() % (BLOCK / 8) * 8);
        let mut asked = Asked {
            write,
            block,
            count,
            place: DATA + room as u64 * ROOM + offset,
            room,
            name: 0,
        };
        let window = self.client.window();
        for number in 0..count {
            let place = asked.place + number * BLOCK;
            if write {
                let written = self.written.get_mut((block + number) as usize);
                let written = written.ok_or("no such block")?;
                *written += 1;
                fill(window, place, BLOCK, (block + number, *written))?;
            } else {
                window.fill(ClientAddress::new(place), 64, 0xAA)?;
            }
        }
        asked.name = self.start(&asked)?;
        self.asked
            .push(asked)
            .map_err(|_| "too many in flight".into())
    }

    /// Gives a request to the device, a quarter of them in several pieces.
    fn start(&mut self, asked: &Asked) -> Result<u16, Why> {
        let mut pieces: heapless::Vec<(u64, u32), MOST_PIECES> = heapless::Vec::new();
        let (mut place, mut left) = (asked.place, asked.count * BLOCK);
        if self.next().is_multiple_of(4) {
            for _ in 1..MOST_PIECES {
                let length = 1 + self.next() % left;
                if length < left && pieces.push((place, length as u32)).is_ok() {
                    place += length;
                    left -= length;
                }
            }
        }
        let _ = pieces.push((place, left as u32));
        let kind = if asked.write {
            RequestType::Out
        } else {
            RequestType::In
        };
        let name = self.client.ask(kind, asked.block, &pieces)?;
        self.client.ring();
        Ok(name)
    }

    /// Takes requests that have ended until no more than so many are in flight.
    #[inline(never)]
    fn settle(&mut self, most: usize) -> Outcome {
        while self.asked.len() > most {
            let taken = self.wait()?;
            let found = self.asked.iter().position(|asked| asked.name == taken.name);
            let asked = self
                .asked
                .swap_remove(found.ok_or("nobody asked for that")?);
            let bytes = if asked.write { 0 } else { asked.count * BLOCK };
            let good = taken.status == RequestStatus::Ok.into();
            if !good || u64::from(taken.bytes) != bytes + 1 {
                return Err(format!("{asked:?} ended with {taken:?}").into());
            }
            if asked.write {
                continue;
            }
            for number in 0..asked.count {
                let block = asked.block + number;
                let written = *self.written.get(block as usize).ok_or("no such block")?;
                let place = asked.place + number * BLOCK;
                compare(self.client.window(), place, BLOCK, (block, written))?;
            }
        }
        Ok(())
    }

    /// A request of which at least the last block lies beyond the disk; nothing else is in flight.
    #[inline(never)]
    fn beyond(&mut self, write: bool, count: u64) -> Outcome {
        let asked = Asked {
            write,
            block: self.blocks() + 1 - count + self.next() % (2 * count),
            count,
            place: DATA,
            room: 0,
            name: 0,
        };
        let name = self.start(&asked)?;
        let taken = self.wait()?;
        expect("request", taken.name, name)?;
        expect("status", taken.status, RequestStatus::IoError.into())
    }

    /// The next request that has ended.
    #[inline(never)]
    fn wait(&mut self) -> Result<Taken, Why> {
        self.client.ring();
        for _ in 0..TURNS {
            self.appliance.borrow_mut().turn();
            if let Some(taken) = self.client.poll().map_err(|why| why.to_string())? {
                return Ok(taken);
            }
            self.appliance.borrow_mut().let_pass(PAUSE);
        }
        Err("the request does not come back".into())
    }
}
