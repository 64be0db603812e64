//! A virtio disk over a volume: the proxy serves it, and a client in the image drives it by its area, channel programs and
//! ring, as a VM would.

use super::super::liballoc::boxed::Box;
use super::super::liballoc::rc::Rc;
use super::super::liballoc::vec;
use super::super::liballoc::vec::Vec;
use super::super::{ensure, test, Outcome, Scene, Tally, Test, Why};
use super::{compare, fill, hash, step, ISC};
use crate::bench::client::Client;
use crate::bench::{serve, Appliance};
use appliance::css::{self, Hardware};
use appliance::driver::block::BlockDevice;
use appliance::driver::eckd::{is_eckd, Eckd};
use core::cell::RefCell;
use s390x::control::Cr6;
use virtio::blk::RequestType;

const BLOCK: u64 = 4096;
/// Turns of the appliance until a request is lost, and how long the disk has between two of them, in microseconds.
const TURNS: u32 = 20_000;
const PAUSE: u64 = 100;

struct Served {
    appliance: Rc<RefCell<Appliance>>,
    client: Client,
    written: Vec<u32>,
    random: u64,
}

impl Scene for Served {}

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
];

/// Tests the first volume with blocks of 4096 bytes.
pub(in super::super) fn run(tally: &mut Tally) {
    match scene() {
        Ok(mut scene) => {
            tally.run("", &mut scene, TESTS);
            sclp::println!("dasd: served wrote {:016x}", hash(&scene.written));
        }
        Err(why) => tally.note("", "a volume is served", Err(why)),
    }
}

#[inline(never)]
fn scene() -> Result<Served, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut platform)?;
    let is_disk = |identity: &_| is_eckd(identity);
    let device = devices
        .iter()
        .find(|device| device.identity.as_ref().is_ok_and(is_disk))
        .ok_or("no disk")?;
    let disk = Eckd::open(&mut platform, device.id, ISC)?;
    let block_size = u64::from(disk.geometry().block_size);
    ensure("blocks of 4096 bytes", block_size == BLOCK)?;
    let blocks = disk.volume().layout.blocks as usize;
    let (appliance, client) = serve(Box::new(platform), Box::new(disk), false)?;
    Ok(Served {
        appliance,
        client,
        written: vec![0; blocks],
        random: 0x5DEE_CE66_D1CE_4E5B,
    })
}

fn ends(served: &mut Served) -> Outcome {
    let last = served.written.len() as u64 - 1;
    for block in [0, last] {
        served.write(block)?;
        served.read(block)?;
    }
    Ok(())
}

fn random(served: &mut Served) -> Outcome {
    const ROUNDS: u32 = 500;
    for _ in 0..ROUNDS {
        let blocks = served.written.len() as u64;
        let block = step(&mut served.random) % blocks;
        served.write(block)?;
        served.read(block)?;
        let block = step(&mut served.random) % blocks;
        served.read(block)?;
    }
    Ok(())
}

fn beyond(served: &mut Served) -> Outcome {
    let block = served.written.len() as u64;
    let data = served.client.vacant()?;
    let refused = served.request(RequestType::In, block, data);
    ensure("an error", refused.is_err())?;
    served.read(0)
}

impl Served {
    #[inline(never)]
    fn write(&mut self, block: u64) -> Outcome {
        let written = self.written.get_mut(block as usize);
        let written = written.ok_or("no such block")?;
        *written += 1;
        let data = self.client.vacant()?;
        fill(self.client.window(), data, BLOCK, (block, *written))?;
        self.request(RequestType::Out, block, data)
    }

    #[inline(never)]
    fn read(&mut self, block: u64) -> Outcome {
        let written = *self.written.get(block as usize).ok_or("no such block")?;
        let data = self.client.vacant()?;
        self.request(RequestType::In, block, data)?;
        compare(self.client.window(), data, BLOCK, (block, written))
    }

    /// A request from beginning to end.
    #[inline(never)]
    fn request(&mut self, kind: RequestType, block: u64, data: u64) -> Outcome {
        self.client.ask(kind, block, data, BLOCK as u32)?;
        self.client.ring();
        for _ in 0..TURNS {
            self.appliance.borrow_mut().turn();
            if self.client.take_of(kind, BLOCK as u32)? > 0 {
                return Ok(());
            }
            self.appliance.borrow_mut().let_pass(PAUSE);
        }
        Err("the request does not come back".into())
    }
}
