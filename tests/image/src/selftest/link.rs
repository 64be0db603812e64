//! Wake-up bytes between the image and the host, over the port of a virtio console.
//!
//! The host's end sends a byte back for each that it gets; when it has been quiet for a while it hangs
//! up, and calls again.

use super::{ensure, expect, test, Outcome, Scene, Tally, Test, Why};
use appliance::css::{self, Hardware};
use appliance::css::{Platform, Wake};
use appliance::driver::virtio_ccw::{Settings, Signalling};
use appliance::driver::virtio_serial::{VirtioSerial, LINK_PORT};
use channel::ChannelSubsystem;
use s390x::clock::Tod;
use s390x::control::Cr6;

/// How long the host may take for anything, in microseconds.
const SOON: u64 = 10_000_000;

const TESTS: &[Test<Link>] = &[
    test("bytes are signalled as the command line asks", signalling),
    test("the host opens its end", opens),
    test(
        "a wake-up goes out, and one comes in and ends the wait",
        there_and_back,
    ),
    test("a hundred times", hundred_times),
    test(
        "after a burst that nobody waits for the link still works",
        burst,
    ),
    test("nothing comes when nothing was sent", quiet),
    test("the host hangs up, and opens its end again", hangs_up),
];

struct Link {
    platform: Hardware,
    settings: Settings,
    serial: VirtioSerial,
}

impl Scene for Link {}

/// Tests the first virtio console.
pub(super) fn run(tally: &mut Tally, settings: Settings) {
    match scene(settings) {
        Ok(mut scene) => tally.run("", &mut scene, TESTS),
        Err(why) => tally.note("", "there is a link to test", Err(why)),
    }
}

#[inline(never)]
fn scene(settings: Settings) -> Result<Link, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut platform)?;
    let device = devices
        .iter()
        .find(|device| device.virtio_id() == Some(virtio::console::DEVICE_ID))
        .ok_or("no virtio console")?;
    let serial = VirtioSerial::open(&mut platform, device.id, settings, LINK_PORT)?;
    Ok(Link {
        platform,
        settings,
        serial,
    })
}

impl Link {
    /// Sleeps until something comes, as the event loop does, unless there is something already.
    #[inline(never)]
    fn sleep(&mut self, deadline: Tod) -> Option<Wake> {
        let mut wake = None;
        if !self.serial.interrupts(true) {
            wake = Some(self.platform.wait(Some(deadline)));
        }
        while let Some(interruption) = self.platform.pending_interruption() {
            self.serial.interruption(&mut self.platform, &interruption);
        }
        self.serial.interrupts(false);
        wake
    }

    /// Sleeps until `holds`.
    #[inline(never)]
    fn until(&mut self, what: &str, holds: &dyn Fn(&mut Self) -> bool) -> Outcome {
        let deadline = self.platform.now().plus_micros(SOON);
        while !holds(self) {
            ensure(what, self.platform.now() < deadline)?;
            self.sleep(deadline);
        }
        Ok(())
    }

    fn take(&mut self) -> bool {
        self.serial.take_wakes(&mut self.platform)
    }

    fn send(&mut self) {
        self.serial.send_wake(&mut self.platform);
    }
}

fn signalling(scene: &mut Link) -> Outcome {
    let wanted = if scene.settings.adapter {
        Signalling::Adapter
    } else {
        Signalling::Classic
    };
    expect("signalling", scene.serial.signalling(), wanted)
}

fn opens(scene: &mut Link) -> Outcome {
    scene.until("opened", &|scene| {
        scene.take();
        scene.serial.connected()
    })
}

fn there_and_back(scene: &mut Link) -> Outcome {
    scene.send();
    scene.until("an answer", &Link::take)
}

fn hundred_times(scene: &mut Link) -> Outcome {
    for _ in 0..100 {
        there_and_back(scene)?;
    }
    Ok(())
}

/// Takes everything, until nothing has come for a while.
#[inline(never)]
fn drain(scene: &mut Link) -> Outcome {
    let end = scene.platform.now().plus_micros(SOON);
    loop {
        let deadline = scene.platform.now().plus_micros(100_000);
        let wake = scene.sleep(deadline);
        if !scene.take() && wake == Some(Wake::Deadline) {
            return Ok(());
        }
        ensure("an end of it", scene.platform.now() < end)?;
    }
}

fn burst(scene: &mut Link) -> Outcome {
    for _ in 0..50 {
        scene.send();
    }
    scene.until("an answer", &Link::take)?;
    drain(scene)?;
    there_and_back(scene)
}

fn quiet(scene: &mut Link) -> Outcome {
    drain(scene)?;
    let deadline = scene.platform.now().plus_micros(50_000);
    let wake = scene.sleep(deadline);
    expect("wake", wake, Some(Wake::Deadline))?;
    ensure("no wake-up", !scene.take())
}

fn hangs_up(scene: &mut Link) -> Outcome {
    scene.until("hung up", &|scene| {
        scene.take();
        !scene.serial.connected()
    })?;
    opens(scene)?;
    there_and_back(scene)
}
