//! The drivers of count-key-data and fixed-block disks, on every volume that they serve.
//!
//! Each block that is written here says which one it is and how often it was written, and the rest of it follows from
//! that. So the host can check a volume afterwards: what stands in its blocks, and by the number in the line
//! `dasd: NUMBER wrote HASH` that every block was written as often as it was here.
//!
//! Requests are waited for as the event loop does it.

use super::{ensure, expect, test, Fixture, Outcome, Tally, Test, Why};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use appliance::css::{self, Device, Hardware};
use appliance::css::{Platform, Wake};
use appliance::driver::block::{
    self, BlockDevice, BlockStatus, Done, Geometry, Operation, SubmitError, Token,
};
use appliance::driver::dasd::eckd::Eckd;
use appliance::driver::dasd::fba::Fba;
use appliance::driver::dasd::{recovery, Counters, Disk, Medium};
use appliance::driver::disk::Kind;
use channel::{ChannelSubsystem, SubchannelId};
use s390x::control::Cr6;
use s390x::ebcdic::Text;
use window::{ClientAddress, Segment, Window};

mod errors;
mod pattern;
mod served;

use pattern::{compare, fill, hash, step};

pub(super) use errors::TESTS as ERRORS;
pub(super) use served::{run as run_served, run_copy};

/// Interruption subclass.
const ISC: u8 = 3;
/// Pages of storage for data: 1 MiB and somewhat more.
const PAGES: usize = 272;
/// How long requests may take, in microseconds.
const SOON: u64 = 20_000_000;
/// How long the event loop sleeps at most, in microseconds.
const HEAL: u64 = 1_000_000;
const SECTOR: u64 = 512;

/// A disk that says what was started on it, and can be made impatient.
trait Counting: BlockDevice + block::Dasd {
    fn counters(&self) -> Counters;
    fn set_expires(&mut self, micros: u64);
}

impl<M: Medium> Counting for Disk<M> {
    fn counters(&self) -> Counters {
        *Self::counters(self)
    }

    fn set_expires(&mut self, micros: u64) {
        Self::set_expires(self, micros);
    }
}

/// A disk, storage for its data, and what is known of its blocks.
pub(super) struct Dasd {
    platform: Hardware,
    id: SubchannelId,
    disk: Box<dyn Counting>,
    memory: Window,
    /// How often each block was written.
    written: Vec<u32>,
    /// The last block that is known to be readable.
    readable: u64,
    random: u64,
    next_token: u32,
}

impl Fixture for Dasd {}

/// Tests every volume that is served; the others have to say why they are not.
pub(super) fn run(tally: &mut Tally, tests: &[Test<Dasd>]) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = match css::discover(&mut platform) {
        Ok(devices) => devices,
        Err(error) => return tally.note("", "there are disks to test", Err(error.into())),
    };
    let mut memory = None;
    for device in &devices {
        let number = device.number;
        let opened = match Kind::of(device) {
            Some(Kind::Eckd) => open_eckd(&mut platform, device),
            Some(Kind::Fba) => open_fba(&mut platform, device),
            Some(Kind::Virtio) | None => continue,
        };
        let disk = match opened {
            Ok(disk) => disk,
            Err(error) => {
                sclp::println!("dasd: {number} {error}");
                continue;
            }
        };
        let pages = match memory.take() {
            Some(pages) => Ok(pages),
            None => platform.storage(PAGES),
        };
        let mut fixture = match pages {
            Ok(memory) => Dasd {
                written: vec![0; blocks_of(disk.geometry()) as usize],
                platform,
                id: device.id,
                disk,
                memory,
                readable: 0,
                random: 0x9E37_79B9_7F4A_7C15,
                next_token: 0,
            },
            Err(error) => return tally.note("", "there is storage", Err(error.into())),
        };
        tally.run(&format!("{number}: "), &mut fixture, tests);
        let hash = hash(&fixture.written);
        sclp::println!("dasd: {number} wrote {hash:016x}");
        let (counters, recoveries) = (fixture.disk.counters(), fixture.disk.recoveries());
        sclp::println!("dasd: {number} {counters:?} {recoveries:?}");
        memory = Some(fixture.memory);
        platform = fixture.platform;
    }
}

fn blocks_of(geometry: &Geometry) -> u64 {
    geometry.sectors * SECTOR / u64::from(geometry.block_size)
}

#[inline(never)]
fn open_fba(platform: &mut Hardware, device: &Device) -> Result<Box<dyn Counting>, String> {
    let disk = Fba::open(platform, device.id, ISC).map_err(|error| error.to_string())?;
    let volume = disk.volume();
    let blocks = blocks_of(disk.geometry());
    let (number, all, origin) = (device.number, volume.all, volume.origin);
    let (name, serial) = volume.label.split_at(4);
    let (name, serial) = (Text(name), Text(serial));
    sclp::println!("dasd: {number} {all} blocks, {name} {serial}, {blocks} blocks from {origin}");
    Ok(Box::new(disk))
}

#[inline(never)]
fn open_eckd(platform: &mut Hardware, device: &Device) -> Result<Box<dyn Counting>, String> {
    let disk = Eckd::open(platform, device.id, ISC).map_err(|error| error.to_string())?;
    let volume = disk.volume();
    let layout = &volume.layout;
    sclp::println!(
        "dasd: {} {:04x}/{:02x} {} cylinders of {}, {} {}, {} records of {} a track, {} blocks from {}, {}",
        device.number,
        volume.device.0,
        volume.device.1,
        volume.cylinders,
        layout.heads,
        volume.label,
        Text(&volume.serial),
        layout.records,
        layout.block,
        layout.blocks,
        layout.origin,
        Text(&volume.name),
    );
    for partition in &volume.partitions {
        sclp::println!(
            "dasd: {} partition {}: {} blocks from {}",
            device.number,
            partition.number,
            partition.blocks,
            partition.block
        );
    }
    Ok(Box::new(disk))
}

pub(super) const TESTS: &[Test<Dasd>] = &[
    test("the first and the last block are read and written", ends),
    test("what is beyond the last block is refused", beyond),
    test("half a block is refused", half_blocks),
    test("a megabyte is one or two starts", megabyte),
    test("requests that wait are one start", together),
    test("data in small pieces anywhere is read and written", pieces),
    test("random writes are read back", random),
    test(
        "programs that are halted or cleared are tried again",
        broken_off,
    ),
    test("the whole volume is as it was written", everything),
];

fn ends(dasd: &mut Dasd) -> Outcome {
    let last = dasd.blocks() - 1;
    for block in [0, last] {
        dasd.write(block, 1)?;
        dasd.read(block, 1)?;
    }
    Ok(())
}

fn beyond(dasd: &mut Dasd) -> Outcome {
    let blocks = dasd.blocks();
    for (block, count) in [(blocks, 1), (blocks - 1, 2), (u64::MAX / SECTOR, 1)] {
        let segment = dasd.segment(0, count)?;
        let sector = block.wrapping_mul(dasd.sectors());
        for operation in [Operation::Read { sector }, Operation::Write { sector }] {
            let found = dasd.disk.submit(0, operation, &[segment], &[], Token(0));
            expect("submit", found, Err(SubmitError::TooLarge))?;
        }
    }
    Ok(())
}

fn half_blocks(dasd: &mut Dasd) -> Outcome {
    let mut segment = dasd.segment(0, 1)?;
    let sectors = dasd.sectors();
    let mut submit = |sector, segment| {
        let operation = Operation::Read { sector };
        dasd.disk.submit(0, operation, &[segment], &[], Token(0))
    };
    // Blocks of one sector begin everywhere.
    if sectors > 1 {
        expect("sector", submit(1, segment), Err(SubmitError::TooLarge))?;
    }
    segment.len /= 2;
    expect("length", submit(0, segment), Err(SubmitError::TooLarge))
}

fn megabyte(dasd: &mut Dasd) -> Outcome {
    let count = (1 << 20) / dasd.block();
    dasd.write(3, count)?;
    let before = dasd.disk.counters();
    dasd.read(3, count)?;
    let after = dasd.disk.counters();
    ensure("at most 2 starts", after.starts - before.starts <= 2)?;
    let ccws = after.ccws - before.ccws;
    ensure("at most 1.1 CCWs a block", ccws * 10 <= count * 11)
}

fn together(dasd: &mut Dasd) -> Outcome {
    const COUNT: u64 = 32;
    let before = dasd.disk.counters().starts;
    for first in [100, 101] {
        for number in 0..COUNT {
            dasd.put(number, first + 2 * number)?;
            let operation = Operation::Write {
                sector: (first + 2 * number) * dasd.sectors(),
            };
            dasd.submit(operation, number, 1)?;
        }
        dasd.all_good(COUNT as usize)?;
    }
    expect("starts", dasd.disk.counters().starts - before, 2)?;
    dasd.read(100, 2 * COUNT)
}

fn pieces(dasd: &mut Dasd) -> Outcome {
    // Three blocks at an odd place, the pieces in the order of the data, with gaps between them.
    const LENGTHS: [u32; 8] = [100, 412, 512, 1000, 3096, 24, 4096, 3048];
    let block = 500;
    let mut segments = Vec::new();
    let mut place = 200 * 4096 + 77;
    for length in LENGTHS {
        segments.push(dasd.memory.translate(ClientAddress::new(place), length)?);
        place += u64::from(length) + 9;
    }
    let bytes: u32 = LENGTHS.iter().sum();
    let count = u64::from(bytes) / dasd.block();
    for number in 0..count {
        dasd.put(number, block + number)?;
    }
    dasd.copy(&segments, true)?;
    let sector = block * dasd.sectors();
    dasd.request(Operation::Write { sector }, &segments)?;
    dasd.read(block, count)?;
    dasd.memory
        .fill(ClientAddress::new(200 * 4096), 8 * 4096, 0xAA)?;
    dasd.request(Operation::Read { sector }, &segments)?;
    dasd.copy(&segments, false)?;
    for number in 0..count {
        dasd.check(number, block + number)?;
    }
    Ok(())
}

fn random(dasd: &mut Dasd) -> Outcome {
    const ROUNDS: u32 = 200;
    for _ in 0..ROUNDS {
        // As many small ones as large ones.
        let most = 1_u64 << (dasd.next() % 9);
        let most = most.min((1 << 20) / dasd.block());
        let count = 1 + dasd.next() % most;
        let block = dasd.next() % (dasd.blocks() - count + 1);
        if dasd.next() % 4 < 3 {
            dasd.write(block, count)?;
        }
        dasd.read(block, count)?;
    }
    Ok(())
}

/// By somebody else than the driver, which is not told. Hercules can lose the program that is started next: so the driver has a
/// missing interruption to find, too, and does not wait for it as long as it would on a real disk.
fn broken_off(dasd: &mut Dasd) -> Outcome {
    const ROUNDS: u64 = 4;
    const EXPIRES: u64 = 1_000_000;
    let count = (1 << 20) / dasd.block();
    dasd.disk.set_expires(EXPIRES);
    for round in 0..ROUNDS {
        let block = round * 3;
        for number in 0..count {
            dasd.put(number, block + number)?;
        }
        let sector = block * dasd.sectors();
        dasd.submit(Operation::Write { sector }, 0, count)?;
        dasd.disk.kick(&mut dasd.platform);
        // What has ended already is not there to be broken off.
        let _ = match round % 2 {
            0 => dasd.platform.halt(dasd.id),
            _ => dasd.platform.clear(dasd.id).map_err(Into::into),
        };
        dasd.all_good(1)?;
        dasd.read(block, count)?;
    }
    dasd.disk.set_expires(recovery::PROGRAM_TIMEOUT);
    Ok(())
}

fn everything(dasd: &mut Dasd) -> Outcome {
    let most = (1 << 20) / dasd.block();
    let mut block = 0;
    while block < dasd.blocks() {
        let count = most.min(dasd.blocks() - block);
        dasd.read(block, count)?;
        block += count;
    }
    Ok(())
}

impl Dasd {
    fn blocks(&self) -> u64 {
        blocks_of(self.disk.geometry())
    }

    fn block(&self) -> u64 {
        self.disk.geometry().block_size.into()
    }

    fn sectors(&self) -> u64 {
        self.block() / SECTOR
    }

    fn next(&mut self) -> u64 {
        step(&mut self.random)
    }

    /// Storage for so many blocks, from block `number` of the storage on.
    #[inline(never)]
    fn segment(&self, number: u64, count: u64) -> Result<Segment, Why> {
        let place = ClientAddress::new(number * self.block());
        Ok(self
            .memory
            .translate(place, (count * self.block()) as u32)?)
    }

    /// Makes a block anew, at place `number` of the storage.
    #[inline(never)]
    fn put(&mut self, number: u64, block: u64) -> Outcome {
        let written = self
            .written
            .get_mut(block as usize)
            .ok_or("no such block")?;
        *written += 1;
        let written = *written;
        fill(
            &self.memory,
            number * self.block(),
            self.block(),
            (block, written),
        )
    }

    /// The storage at place `number` is what was last written to the block.
    #[inline(never)]
    fn check(&mut self, number: u64, block: u64) -> Outcome {
        let written = *self.written.get(block as usize).ok_or("no such block")?;
        compare(
            &self.memory,
            number * self.block(),
            self.block(),
            (block, written),
        )
    }

    /// Copies between the front of the storage, whole, and segments of it.
    #[inline(never)]
    fn copy(&mut self, segments: &[Segment], out: bool) -> Outcome {
        let mut whole = 0;
        for segment in segments {
            let piece = segment.absolute - self.memory.absolute_base();
            for offset in 0..u64::from(segment.len) {
                let (from, to) = if out {
                    (whole + offset, piece + offset)
                } else {
                    (piece + offset, whole + offset)
                };
                let byte: u8 = self.memory.read(ClientAddress::new(from))?;
                self.memory.write(ClientAddress::new(to), &byte)?;
            }
            whole += u64::from(segment.len);
        }
        Ok(())
    }

    #[inline(never)]
    fn write(&mut self, block: u64, count: u64) -> Outcome {
        for number in 0..count {
            self.put(number, block + number)?;
        }
        let segment = self.segment(0, count)?;
        let sector = block * self.sectors();
        self.request(Operation::Write { sector }, &[segment])
    }

    #[inline(never)]
    fn read(&mut self, block: u64, count: u64) -> Outcome {
        let segment = self.segment(0, count)?;
        let sector = block * self.sectors();
        self.memory
            .fill(ClientAddress::new(0), segment.len.into(), 0xAA)?;
        self.request(Operation::Read { sector }, &[segment])?;
        for number in 0..count {
            self.check(number, block + number)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn submit(&mut self, operation: Operation, number: u64, count: u64) -> Outcome {
        let segment = self.segment(number, count)?;
        self.next_token += 1;
        let token = Token(self.next_token);
        Ok(self.disk.submit(0, operation, &[segment], &[], token)?)
    }

    /// A request that has to end well.
    #[inline(never)]
    fn request(&mut self, operation: Operation, segments: &[Segment]) -> Outcome {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.disk.submit(0, operation, segments, &[], token)?;
        self.all_good(1)
    }

    /// So many requests end, all of them well.
    #[inline(never)]
    fn all_good(&mut self, count: usize) -> Outcome {
        for done in self.completions(count)? {
            expect("status", done.status, BlockStatus::Ok)?;
        }
        Ok(())
    }

    /// So many completions, sleeping until they come.
    #[inline(never)]
    fn completions(&mut self, count: usize) -> Result<Vec<Done>, Why> {
        let deadline = self.platform.now().plus_micros(SOON);
        let mut done = Vec::new();
        loop {
            self.disk.kick(&mut self.platform);
            while let Some(one) = self.disk.poll() {
                done.push(one);
            }
            if done.len() >= count {
                return Ok(done);
            }
            if !self.disk.arm() {
                let heal = self.platform.now().plus_micros(HEAL);
                match self.platform.wait(Some(heal)) {
                    Wake::Io | Wake::External(_) => {}
                    Wake::MachineCheck(_) => self.reports(),
                    Wake::Deadline if self.platform.now() < deadline => {}
                    Wake::Deadline => return Err("no interruption".into()),
                }
            }
            while let Some(interruption) = self.platform.pending_interruption() {
                self.disk.interruption(&mut self.platform, &interruption);
            }
            self.disk.disarm();
        }
    }

    /// As the event loop does it with channel reports.
    #[inline(never)]
    fn reports(&mut self) {
        while css::next_report(&mut self.platform).is_some() {
            self.disk.recheck(&mut self.platform);
        }
    }
}
