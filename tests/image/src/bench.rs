//! Measurements that the image makes by itself (`bench=` on the command line).
//!
//! # Scope
//!
//! [`Bench::Read4k`]: how many instructions a 4 KiB random read costs the appliance. The image is its own client:
//! pages of its heap are a client's area and window, and [`client`] drives the virtual subchannel in
//! them as any client does. The disk behind it is the first virtio disk there is.
//!
//! [`Bench::Proxy`]: what a channel program costs that is passed through; see [`proxy`]. [`Bench::Eckd`]: a count-key-data disk; see
//! [`eckd`].
//!
//! # How instructions are counted
//!
//! By the clock. Under QEMU's `-icount` it advances by a fixed time with each instruction and stands still
//! otherwise, so a clock difference is a number of instructions, the same in each run; how many
//! units one takes is measured with a loop of known length. Without `-icount` the numbers are times
//! in disguise, and change.
//!
//! Counted is what [`DataPlane::turn`] executes in turns that did work; the client's own instructions, and
//! turns that found nothing, are not. A turn is given after all requests in flight have come
//! back (the CPU sleeps that long), so *depth 1* is two turns for each read and *depth 32* two turns for 32.
//!
//! The sleeping figure adds what [`DataPlane::sleep`] executes. Only reads whose completion ended a
//! wait count, and the time that the CPU waited does not; the instructions of the wait itself are
//! taken from one whose deadline has passed.
//!
//! # Limits
//!
//! One disk, one client, one queue. The control area and the link to the host daemon do not exist here, so
//! their part in going to sleep and waking up (three stores and four loads) is not in the sleeping figure.

pub(crate) mod client;
mod eckd;
mod proxy;

use crate::loopback;
use crate::options::{Bench, Options};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use appliance::css::{self, Hardware};
use appliance::css::{Platform, Wake};
use appliance::driver::block::BlockDevice;
use appliance::driver::disk::{Maintenance, OwnedDisk};
use appliance::driver::virtio_blk::VirtioBlk;
use appliance::driver::virtio_ccw::Settings;
use appliance::event_loop::data_plane::{Companion, DataPlane};
use appliance::proxy::Proxy;
use channel::IoInterruption;
use client::Client;
use core::cell::RefCell;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::layout::Kind;
use vcss::plan;
use vcss::underway::Note;

/// Reads before anything is counted.
const WARM_UP: u32 = 256;
/// Reads that are counted.
const READS: u32 = 1024;
/// How long a turn is put off for the disk to come back, in microseconds. It does not count.
const DISK_TIME: u64 = 200;
/// After so many turns without work the disk is taken for dead.
const PATIENCE: u32 = 20_000;
/// Length of the loop that the clock is measured with.
const KNOWN: u64 = 100_000;

/// Measure, print, and shut down.
pub fn run(bench: Bench, options: &Options) -> ! {
    let done = match bench {
        Bench::Read4k => read4k(options),
        Bench::Proxy => proxy::run(&measured_scale()),
        Bench::Eckd => eckd::run(&measured_scale()),
    };
    match done {
        Ok(()) => appliance::boot::shut_down(),
        Err(why) => panic!("bench: {why}"),
    }
}

fn measured_scale() -> Scale {
    let scale = Scale::measure();
    sclp::println!("bench: clock {KNOWN} instructions in {} ns", scale.nanos());
    scale
}

fn read4k(options: &Options) -> Result<(), String> {
    let scale = measured_scale();
    let (appliance, mut client) = fixture(options)?;
    appliance.borrow_mut().plane.proxy.disarm_wakeup();
    for (depth, reads) in [(1, WARM_UP), (1, READS), (32, READS)] {
        let cost = awake(&appliance, &mut client, depth, reads)?;
        if reads == READS {
            let insns = nearest(scale.instructions(cost), reads);
            sclp::println!("bench: read4k depth={depth} reads={reads} insns={insns}");
        }
    }
    let (reads, cost) = asleep(&appliance, &mut client)?;
    let insns = nearest(scale.instructions(cost), reads.max(1));
    sclp::println!("bench: read4k-sleeping depth=1 reads={reads} insns={insns}");
    let idle = appliance.borrow_mut().idle_turn();
    sclp::println!("bench: idle-turn insns={}", scale.instructions(idle));
    Ok(())
}

/// Clock units that the turns of so many reads took, `depth` at a time.
fn awake(
    appliance: &RefCell<Appliance>,
    client: &mut Client,
    depth: u32,
    reads: u32,
) -> Result<u64, String> {
    let mut cost = 0;
    let (mut asked, mut done) = (0, 0);
    let mut idle = 0;
    while done < reads {
        while asked < reads && asked - done < depth {
            client.read()?;
            asked += 1;
        }
        client.ring();
        let mut appliance = appliance.borrow_mut();
        match appliance.turn() {
            Some(units) => {
                cost += units;
                idle = 0;
            }
            None => idle += 1,
        }
        done += client.take()?;
        if idle > PATIENCE {
            return Err("the disk does not come back".to_string());
        }
        if done < asked {
            appliance.let_pass(DISK_TIME);
        }
    }
    Ok(cost)
}

/// The same at depth 1, the appliance lying down after it has passed a read on. Gives how many reads came
/// back while it slept, and what those cost.
fn asleep(appliance: &RefCell<Appliance>, client: &mut Client) -> Result<(u32, u64), String> {
    let mut appliance = appliance.borrow_mut();
    let of_the_wait = appliance.cost_of_a_wait();
    let (mut cost, mut counted) = (0, 0);
    for _ in 0..READS {
        client.read()?;
        client.ring();
        let mut units = appliance.turn().ok_or("a read that nobody took")?;
        let slept = appliance.sleep()?;
        let mut idle = 0;
        while client.take()? == 0 {
            match appliance.turn() {
                Some(more) => units += more,
                None => appliance.let_pass(DISK_TIME),
            }
            idle += 1;
            if idle > PATIENCE {
                return Err("the disk does not come back".to_string());
            }
        }
        if let Some(lying_down_and_getting_up) = slept {
            cost += units + lying_down_and_getting_up + of_the_wait;
            counted += 1;
        }
    }
    Ok((counted, cost))
}

/// The appliance's side, without control area and link.
pub(crate) struct Appliance {
    platform: Box<dyn Platform>,
    plane: DataPlane,
}

/// When the data plane lay down to sleep, and what ended that.
#[derive(Default)]
struct Sleeper {
    asleep: Option<Tod>,
    awake: Option<(Tod, Wake)>,
}

impl Companion for Sleeper {
    fn arm(&mut self) -> bool {
        self.asleep = Some(Tod::now());
        false
    }

    fn woken(&mut self, wake: Wake) {
        self.awake = Some((Tod::now(), wake));
    }

    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}

impl Appliance {
    /// A turn; how many clock units it took, if it did anything.
    pub(crate) fn turn(&mut self) -> Option<u64> {
        let start = Tod::now();
        let turn = self.plane.turn(self.platform.as_mut());
        let end = Tod::now();
        turn.worked.then(|| lap(start, end))
    }

    /// What a turn without work takes.
    fn idle_turn(&mut self) -> u64 {
        let start = Tod::now();
        self.plane.turn(self.platform.as_mut());
        lap(start, Tod::now())
    }

    /// The machine.
    pub(crate) fn platform(&mut self) -> &mut dyn Platform {
        self.platform.as_mut()
    }

    /// Time for the disk, in which the CPU executes nothing.
    pub(crate) fn let_pass(&mut self, micros: u64) {
        let deadline = self.platform.now().plus_micros(micros);
        self.platform.wait(Some(deadline));
        while self.platform.pending_interruption().is_some() {}
    }

    /// A sleep. Clock units without the wait, or `None` if there was work already.
    fn sleep(&mut self) -> Result<Option<u64>, String> {
        let mut sleeper = Sleeper::default();
        let start = Tod::now();
        // Without a latest time: under `-icount` the clock leaps to one before the disk comes back.
        self.plane.sleep(self.platform.as_mut(), None, &mut sleeper);
        let end = Tod::now();
        match (sleeper.asleep, sleeper.awake) {
            (Some(asleep), Some((awake, Wake::Io))) => {
                Ok(Some(lap(start, asleep) + lap(awake, end)))
            }
            (_, None) => Ok(None),
            (_, Some((_, other))) => Err(alloc::format!("the wait ended with {other:?}")),
        }
    }

    /// Clock units of a wait that has not to wait.
    fn cost_of_a_wait(&mut self) -> u64 {
        let start = Tod::now();
        self.platform.wait(Some(start));
        lap(start, Tod::now())
    }
}

/// Clock units between two looks at the clock, without those of looking.
fn lap(start: Tod, end: Tod) -> u64 {
    let (one, two) = (Tod::now(), Tod::now());
    let looking = two.units() - one.units();
    (end.units() - start.units()).saturating_sub(looking)
}

/// The share of each of so many, to the nearest: the clock's grain is far below one instruction.
fn nearest(instructions: u64, many: u32) -> u64 {
    (instructions + u64::from(many) / 2) / u64::from(many)
}

/// How many clock units [`KNOWN`] instructions take.
struct Scale(u64);

impl Scale {
    fn measure() -> Self {
        let start = Tod::now();
        // SAFETY: counts a register down.
        unsafe {
            core::arch::asm!("1: brctg {},1b", inout(reg) KNOWN => _, options(nomem, nostack));
        }
        Self(lap(start, Tod::now()).max(1))
    }

    fn nanos(&self) -> u64 {
        self.0 * 1000 / Tod::UNITS_PER_MICROSECOND
    }

    fn instructions(&self, units: u64) -> u64 {
        (u128::from(units) * u128::from(KNOWN)).div_ceil(u128::from(self.0)) as u64
    }
}

/// Disk, proxy, and a client that has negotiated.
fn fixture(options: &Options) -> Result<(Rc<RefCell<Appliance>>, Client), String> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut platform).map_err(|error| error.to_string())?;
    let device = devices
        .iter()
        .find(|device| device.virtio_id() == Some(virtio::blk::DEVICE_ID))
        .ok_or("no virtio disk")?;
    let settings = Settings {
        adapter: options.adapter,
        ..Settings::default()
    };
    let disk = VirtioBlk::open(&mut platform, device.id, settings, 4)
        .map_err(|error| alloc::format!("{}: {error}", device.number))?;
    let pages = client::Memory::BLOCKS;
    serve(Box::new(platform), Box::new(disk), true, pages)
}

/// A disk, the proxy that serves it, and a client that has negotiated, with so many pages for data.
pub(crate) fn serve(
    mut platform: Box<dyn Platform>,
    disk: Box<dyn BlockDevice>,
    read_only: bool,
    pages: usize,
) -> Result<(Rc<RefCell<Appliance>>, Client), String> {
    let sectors = disk.geometry().sectors;
    let mut disks = alloc::vec![OwnedDisk::driven_by(disk, Maintenance::NONE)];
    let memory =
        client::Memory::new(platform.as_mut(), pages).map_err(|error| error.to_string())?;
    let served = memory.appliance_side(read_only)?;
    let mut proxy = Proxy::new(alloc::vec![served], &disks, None);
    // As in service, it is noted for whom something is done.
    let control = loopback::area(
        platform.as_mut(),
        &plan::control_area(1, 1, 1),
        Kind::Control,
    )?;
    let (note, _) = Note::open(&control).map_err(|error| error.to_string())?;
    proxy
        .clients
        .note_requests(Box::leak(Box::new(note)), None, platform.as_mut());
    let mut fits = Ok(());
    proxy.attach(0, &mut disks, |_, it| fits = it);
    fits.map_err(|unfit| unfit.to_string())?;
    let appliance = Rc::new(RefCell::new(Appliance {
        platform,
        plane: DataPlane { disks, proxy },
    }));
    let client = Client::negotiate(memory, appliance.clone(), sectors)?;
    Ok((appliance, client))
}
