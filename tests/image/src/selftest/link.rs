//! Wake-up bytes between the image and the host, over the port of a virtio console.
//!
//! The host's end sends a byte back for each that it gets; when it has been quiet for a while it hangs
//! up, and calls again.

use super::{ensure, expect, test, Fixture, Outcome, Tally, Test, Why};
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

impl Fixture for Link {}

/// Tests the first virtio console.
pub(super) fn run(tally: &mut Tally, settings: Settings) {
    match fixture(settings) {
        Ok(mut fixture) => tally.run("", &mut fixture, TESTS),
        Err(why) => tally.note("", "there is a link to test", Err(why)),
    }
}

#[inline(never)]
fn fixture(settings: Settings) -> Result<Link, Why> {
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
        if !self.serial.arm() {
            wake = Some(self.platform.wait(Some(deadline)));
        }
        while let Some(interruption) = self.platform.pending_interruption() {
            self.serial.interruption(&mut self.platform, &interruption);
        }
        self.serial.disarm();
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

fn signalling(fixture: &mut Link) -> Outcome {
    let wanted = if fixture.settings.adapter {
        Signalling::Adapter
    } else {
        Signalling::Classic
    };
    expect("signalling", fixture.serial.signalling(), wanted)
}

fn opens(fixture: &mut Link) -> Outcome {
    fixture.until("opened", &|fixture| {
        fixture.take();
        fixture.serial.connected()
    })
}

fn there_and_back(fixture: &mut Link) -> Outcome {
    fixture.send();
    fixture.until("an answer", &Link::take)
}

fn hundred_times(fixture: &mut Link) -> Outcome {
    for _ in 0..100 {
        there_and_back(fixture)?;
    }
    Ok(())
}

/// Takes everything, until nothing has come for a while.
#[inline(never)]
fn drain(fixture: &mut Link) -> Outcome {
    let end = fixture.platform.now().plus_micros(SOON);
    loop {
        let deadline = fixture.platform.now().plus_micros(100_000);
        let wake = fixture.sleep(deadline);
        if !fixture.take() && wake == Some(Wake::Deadline) {
            return Ok(());
        }
        ensure("an end of it", fixture.platform.now() < end)?;
    }
}

fn burst(fixture: &mut Link) -> Outcome {
    for _ in 0..50 {
        fixture.send();
    }
    fixture.until("an answer", &Link::take)?;
    drain(fixture)?;
    there_and_back(fixture)
}

fn quiet(fixture: &mut Link) -> Outcome {
    drain(fixture)?;
    let deadline = fixture.platform.now().plus_micros(50_000);
    let wake = fixture.sleep(deadline);
    expect("wake", wake, Some(Wake::Deadline))?;
    ensure("no wake-up", !fixture.take())
}

fn hangs_up(fixture: &mut Link) -> Outcome {
    fixture.until("hung up", &|fixture| {
        fixture.take();
        !fixture.serial.connected()
    })?;
    opens(fixture)?;
    there_and_back(fixture)
}
