//! The virtio disk driver, against a disk that the host has filled with a pattern.
//!
//! Each eight bytes of the disk are their own offset, big-endian, exclusive-or [`MADE`]; what is
//! written here is the same with [`WRITTEN`]. Every change is announced by a line
//! `disk: wrote SECTOR COUNT`, `disk: zeroed SECTOR COUNT` or `disk: discarded SECTOR COUNT`, so that the host
//! can check afterwards that this has changed and nothing else.
//!
//! Requests are waited for as the event loop does it: interruptions on, a last look, the wait. A
//! completion that does not interrupt is a failure.

use super::{ensure, expect, Fixture, Outcome, Tally, Why};
use alloc::format;
use alloc::vec::Vec;
use appliance::css::{self, Hardware};
use appliance::css::{Platform, Wake};
use appliance::driver::block::{BlockDevice, BlockStatus, Done, Operation, Range, Token};
use appliance::driver::virtio_blk::VirtioBlk;
use appliance::driver::virtio_ccw::Settings;
use channel::ChannelSubsystem;
use s390x::control::Cr6;
use window::{ClientAddress, Segment, Window};

mod changes;
mod reads;

/// What the host has made the disk of: "STELLWRK".
const MADE: u64 = 0x5354_454C_4C57_524B;
/// What is written here: "written!".
const WRITTEN: u64 = 0x7772_6974_7465_6E21;
/// Pages of storage for data.
const PAGES: usize = 64;
/// How long a request may take, in microseconds.
const SOON: u64 = 10_000_000;
const SECTOR: u64 = 512;

/// A disk, and storage for its data.
struct Disk {
    platform: Hardware,
    settings: Settings,
    disk: VirtioBlk,
    read_only: Option<VirtioBlk>,
    memory: Window,
    next_token: u32,
    /// Waits that an interruption has ended.
    wakes: u32,
}

impl Fixture for Disk {}

/// Tests the first virtio disk that can be written.
pub(super) fn run(tally: &mut Tally, settings: Settings) {
    match fixture(settings) {
        Ok(mut fixture) => {
            let sectors = fixture.disk.geometry().sectors;
            sclp::println!("disk: {sectors} sectors");
            tally.run("", &mut fixture, reads::TESTS);
            tally.run("", &mut fixture, changes::TESTS);
        }
        Err(why) => tally.note("", "there is a disk to test", Err(why)),
    }
}

#[inline(never)]
fn fixture(settings: Settings) -> Result<Disk, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let (mut disk, mut read_only) = (None, None);
    for device in css::discover(&mut platform)? {
        if device.virtio_id() != Some(virtio::blk::DEVICE_ID) {
            continue;
        }
        let found = VirtioBlk::open(&mut platform, device.id, settings, 4)?;
        let place = if found.geometry().read_only {
            &mut read_only
        } else {
            &mut disk
        };
        place.get_or_insert(found);
    }
    Ok(Disk {
        settings,
        disk: disk.ok_or("no virtio disk that can be written")?,
        read_only,
        memory: platform.storage(PAGES)?,
        next_token: 0,
        wakes: 0,
        platform,
    })
}

impl Disk {
    fn sectors(&self) -> u64 {
        self.disk.geometry().sectors
    }

    /// A piece of the data storage.
    #[inline(never)]
    fn segment(&self, offset: u64, len: u32) -> Result<Segment, Why> {
        Ok(self.memory.translate(ClientAddress::new(offset), len)?)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// A request on queue 0, from beginning to end.
    #[inline(never)]
    fn request(
        &mut self,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
    ) -> Result<BlockStatus, Why> {
        let token = self.token();
        self.disk.submit(0, operation, segments, ranges, token)?;
        self.disk.kick(&mut self.platform);
        let done = self.completions(1)?;
        let done = done.first().ok_or("no completion")?;
        expect("token", done.token, token)?;
        Ok(done.status)
    }

    /// A request that has to end well.
    #[inline(never)]
    fn good(&mut self, operation: Operation, segments: &[Segment], ranges: &[Range]) -> Outcome {
        let status = self.request(operation, segments, ranges)?;
        expect("status", status, BlockStatus::Ok)
    }

    /// Reads sectors to the start of the data storage.
    #[inline(never)]
    fn read(&mut self, sector: u64, sectors: u64) -> Outcome {
        let segment = self.segment(0, (sectors * SECTOR) as u32)?;
        self.good(Operation::Read { sector }, &[segment], &[])
    }

    /// So many completions, sleeping until they come.
    #[inline(never)]
    fn completions(&mut self, count: usize) -> Result<Vec<Done>, Why> {
        let deadline = self.platform.now().plus_micros(SOON);
        let mut done = Vec::new();
        loop {
            while let Some(one) = self.disk.poll() {
                done.push(one);
            }
            if done.len() >= count {
                return Ok(done);
            }
            self.disk.kick(&mut self.platform);
            if !self.disk.arm() {
                match self.platform.wait(Some(deadline)) {
                    Wake::Io => self.wakes += 1,
                    Wake::Deadline => return Err("no interruption".into()),
                    Wake::MachineCheck(_) | Wake::External(_) => {}
                }
            }
            while let Some(interruption) = self.platform.pending_interruption() {
                self.disk.interruption(&mut self.platform, &interruption);
            }
            self.disk.disarm();
        }
    }

    /// The storage at `offset` is what `key` makes of so many sectors of the disk.
    #[inline(never)]
    fn check(&self, offset: u64, sector: u64, sectors: u64, key: u64) -> Outcome {
        for number in 0..sectors {
            let place = ClientAddress::new(offset + number * SECTOR);
            let found: [u8; SECTOR as usize] = self.memory.read(place)?;
            if found != pattern(sector + number, key) {
                return Err(format!("sector {} is wrong", sector + number).into());
            }
        }
        Ok(())
    }

    /// The storage from `offset` on is zero.
    #[inline(never)]
    fn check_zero(&self, offset: u64, bytes: u64) -> Outcome {
        for number in 0..bytes / 8 {
            let place = ClientAddress::new(offset + number * 8);
            let word: u64 = self.memory.read(place)?;
            ensure("zero", word == 0)?;
        }
        Ok(())
    }
}

/// A sector of the pattern.
#[inline(never)]
fn pattern(sector: u64, key: u64) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    for (number, word) in bytes.chunks_exact_mut(8).enumerate() {
        let offset = sector * SECTOR + number as u64 * 8;
        word.copy_from_slice(&(offset ^ key).to_be_bytes());
    }
    bytes
}
