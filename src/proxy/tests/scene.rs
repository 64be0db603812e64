//! Two clients that keep a disk busy, which takes a while for each request.

use std::collections::VecDeque;
use std::vec::Vec;

use channel::IoInterruption;
use s390x::clock::Tod;
use vcss::control::Quota;
use virtio::blk::{Range, RequestType};
use window::ClientAddress;

use super::fixture::{Driver, Fixture, FEATURES, QUEUE_SIZE};
use crate::css::{Platform, Wake};
use crate::driver::block::Operation;
use crate::event_loop::data_plane::{Companion, DataPlane};
use crate::proxy::Proxy;

pub const DATA: u64 = 0x8_0000;
/// As many requests as a queue has room for.
pub const MANY: u16 = QUEUE_SIZE / 3;
/// First sectors of what each of two clients reads.
pub const PARTS: [u64; 2] = [0, 1000];

pub fn weight(weight: u32) -> Quota {
    Quota {
        weight: weight.into(),
        ..Quota::default()
    }
}

/// What a client asks for.
#[derive(Clone, Copy)]
pub enum Ask {
    /// So many bytes.
    Read(u32),
    /// So many sectors, to be zeroes.
    Zeroes(u32),
    /// What is answered without the disk: the name of the disk, what lies beyond it, what it does not know, no room for a status.
    Junk,
}

pub const SMALL: Ask = Ask::Read(512);

pub fn iops(iops: u32, burst: u32) -> Quota {
    Quota {
        iops: iops.into(),
        iops_burst: burst.into(),
        ..Quota::default()
    }
}

/// Two clients that keep so many requests each open, and a disk that works on a number of them at a time and takes a while for each.
pub struct Scene {
    pub pair: [Fixture; 2],
    pub drivers: [Driver; 2],
    /// Requests that each wants to have open, and of which kind.
    pub wants: [(u16, Ask); 2],
    /// Requests that it has open, and since when.
    pub open: [Vec<(u16, u64)>; 2],
    /// How long each of the requests took that have ended.
    pub took: [Vec<u64>; 2],
    /// What the disk works on at a time, and how long it takes for each.
    pub parallel: usize,
    pub micros: u64,
    /// When the disk is done with what it works on.
    pub works: Vec<u64>,
    /// It does not work on what the first client asks for.
    pub hangs: bool,
    pub junk: usize,
}

impl Scene {
    pub fn new(quotas: [Quota; 2], parallel: usize) -> Self {
        let mut pair = Fixture::pair_with(&quotas);
        let drivers = pair.each_mut().map(|client| client.bring_up(0, FEATURES));
        pair[0].platter(0).stalled = u32::MAX;
        Self {
            pair,
            drivers,
            wants: [(MANY, SMALL); 2],
            open: [const { Vec::new() }; 2],
            took: [const { Vec::new() }; 2],
            parallel,
            micros: 1000,
            works: Vec::new(),
            hangs: false,
            junk: 0,
        }
    }

    pub fn now(&self) -> u64 {
        let side = self.pair[0].side.borrow();
        side.machine.now().as_micros()
    }

    /// Lets so much time pass.
    pub fn run(&mut self, micros: u64) {
        let end = self.now() + micros;
        while self.now() < end {
            self.step();
        }
    }

    /// Lets the time of one turn pass.
    pub fn step(&mut self) {
        let now = self.now();
        for (number, driver) in self.drivers.iter_mut().enumerate() {
            let (count, ask) = self.wants[number];
            while let Some((head, status, _)) = driver.done() {
                assert!(status == 0 || self.junk > 0);
                let open = &mut self.open[number];
                let place = open.iter().position(|it| it.0 == head).unwrap();
                let (_, since) = open.remove(place);
                self.took[number].push(now - since);
            }
            while self.open[number].len() < usize::from(count) {
                let head = match ask {
                    Ask::Read(bytes) => driver.read(PARTS[number], DATA, bytes),
                    Ask::Zeroes(sectors) => zeroes(driver, &self.pair[number], sectors),
                    Ask::Junk => junk(driver, &mut self.junk),
                };
                self.open[number].push((head, now));
            }
        }
        self.pair[0].side.borrow_mut().turn();
        self.disk();
        let next = Tod::from_micros(now + 50);
        self.pair[0].side.borrow_mut().machine.pause(next);
    }

    /// The disk works on what came first.
    pub fn disk(&mut self) {
        let now = self.now();
        let mut platter = self.pair[0].platter(0);
        let before = self.works.len();
        self.works.retain(|&end| end > now);
        let hangs = |operation: &Operation| match operation {
            Operation::Read { sector } => self.hangs && *sector == PARTS[0],
            _ => false,
        };
        let all = std::mem::take(&mut platter.waiting).into_iter();
        let (mut hanging, mut waiting): (VecDeque<_>, VecDeque<_>) =
            all.partition(|it| hangs(&it.0));
        // It gives back last what stands first.
        let done = (before - self.works.len()).min(waiting.len());
        waiting.rotate_left(done);
        platter.first += done as u32;
        let count = waiting.len() - platter.first as usize;
        hanging.append(&mut waiting);
        platter.waiting = hanging;
        while self.works.len() < self.parallel.min(count) {
            self.works.push(now + self.micros);
        }
    }

    /// What has ended since this was last asked.
    pub fn done(&mut self) -> [usize; 2] {
        self.took.each_mut().map(|took| std::mem::take(took).len())
    }

    pub fn at_disk(&self) -> usize {
        self.pair[0].platter(0).waiting.len()
    }
}

/// A request that makes a number of sectors zeroes.
fn zeroes(driver: &mut Driver, client: &Fixture, sectors: u32) -> u16 {
    let range = Range {
        sector: 2000.into(),
        num_sectors: sectors.into(),
        flags: 0.into(),
    };
    let at = ClientAddress::new(DATA);
    client.window.write(at, &range).unwrap();
    let data = [(DATA, size_of::<Range>() as u32)];
    driver.request(RequestType::WriteZeroes, 0, &data, false)
}

/// A request that the disk never sees, of one kind after the other.
fn junk(driver: &mut Driver, count: &mut usize) -> u16 {
    *count += 1;
    match *count % 4 {
        0 => driver.request(RequestType::GetId, 0, &[(DATA, 20)], true),
        1 => driver.read(u64::MAX - 1, DATA, 512),
        2 => driver.request(RequestType::SecureErase, 0, &[], false),
        _ => driver.read(0, DATA, 100),
    }
}

/// Nothing but the data plane goes to sleep.
struct Nobody;

impl Companion for Nobody {
    fn arm(&mut self) -> bool {
        false
    }
    fn woken(&mut self, _: Wake) {}
    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}

impl Scene {
    /// Lets the appliance do what it does while nobody asks for anything new and no disk ends anything: its turns and sleeps until a
    /// point in time, which are counted.
    pub fn sleep_until(&mut self, end: u64) -> (usize, usize) {
        let side = &mut *self.pair[0].side.borrow_mut();
        let mut plane = DataPlane {
            disks: std::mem::take(&mut side.disks),
            proxy: std::mem::replace(&mut side.proxy, Proxy::new(Vec::new(), &[], None)),
        };
        let machine = &mut side.machine;
        let (mut turns, mut sleeps) = (0, 0);
        while machine.now().as_micros() < end {
            turns += 1;
            if !plane.turn(machine).worked {
                let slept = plane.sleep(machine, Some(Tod::from_micros(end)), &mut Nobody);
                sleeps += usize::from(slept.is_some());
            }
            assert!(turns < 10_000, "it spins");
        }
        (side.disks, side.proxy) = (plane.disks, plane.proxy);
        (turns, sleeps)
    }
}
