//! The image as appliance and client at once: the tests of subchannels, over an area in the image's own storage.
//!
//! The appliance's half is the proxy with one client, to which it passes every subchannel that there is. The client's half is
//! [`Client`], as over another appliance's area; whenever it waits, the appliance takes a turn. So what the real
//! subchannels answer goes through state machine and translation, on whatever machine the image runs, without a
//! daemon and a second machine.

use super::channel::{Client, Waiting};
use super::liballoc::boxed::Box;
use super::liballoc::string::ToString;
use super::liballoc::vec::Vec;
use super::{Tally, Why};
use appliance::css::{self, Hardware};
use appliance::driver::{OutOfStorage, Platform};
use appliance::proxy::client::{Client as Served, Surroundings};
use appliance::proxy::Proxy;
use channel::ChannelSubsystem;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::layout::Kind;
use vcss::{plan, Area, Bell, Remote};
use window::Window;

/// How long the appliance may take for a request, in microseconds.
const PATIENCE: u64 = 10_000_000;
/// The longest time without a turn, in microseconds.
const NAP: u64 = 1_000;
/// Interruption subclass of the owned subchannels.
const ISC: u8 = 3;
/// Storage of the client.
const PAGES: usize = 32;

/// Tests every subchannel, as a client of it.
pub(super) fn run(tally: &mut Tally, vfio: bool) {
    match client() {
        Ok(client) => super::css::run_on(tally, Box::new(client), vfio),
        Err(why) => tally.note("", "there are subchannels to pass through", Err(why)),
    }
}

/// The appliance, and what the client has of its storage.
struct Machine {
    hardware: Hardware,
    proxy: Proxy,
    bell: Bell<'static>,
    window: &'static Window,
    /// Pages of the window that are given away.
    used: usize,
    began: Tod,
}

impl Machine {
    /// What the event loop does in between: interruptions, and a turn. Whether there was work.
    fn turn(&mut self) -> bool {
        let mut worked = false;
        while let Some(interruption) = self.hardware.pending_interruption() {
            worked |= self.proxy.interruption(&mut self.hardware, &interruption);
        }
        while let Some(report) = css::next_report(&mut self.hardware) {
            log::warn!("channel report: {report:?}");
            self.proxy.report(&mut self.hardware, None);
        }
        let turn = self.proxy.turn(&mut Vec::new(), &mut self.hardware, true);
        worked | turn.worked
    }
}

impl Waiting for Machine {
    fn sleep(&mut self, deadline: Tod) {
        if !self.turn() {
            let now = self.hardware.now();
            let due = deadline.min(self.proxy.deadline(now));
            self.hardware.pause(due.min(now.plus_micros(NAP)));
        }
    }

    /// The next pages of the client's window. Their contents are what the heap held, which is nothing yet.
    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let end = self.used.checked_add(pages).filter(|&end| end <= PAGES);
        let end = end.ok_or(OutOfStorage { pages })?;
        let at = (self.used * 4096) as u64;
        let base = (self.window.absolute_base() + at) as usize;
        self.used = end;
        // SAFETY: pages of a window that is never given back; each is given away once.
        Ok(unsafe {
            Window::new(
                core::ptr::with_exposed_provenance_mut(base),
                pages as u64 * 4096,
                at,
            )
        })
    }
}

impl vcss::Wake for Machine {
    fn ring(&mut self) {
        // Whether it sleeps makes no difference: it turns when it is waited for.
        let _ = self.bell.ring();
    }

    fn begin(&mut self) {
        self.began = self.hardware.now();
    }

    fn pass(&mut self) -> bool {
        self.sleep(self.began.plus_micros(PATIENCE));
        self.hardware.now() < self.began.plus_micros(PATIENCE)
    }
}

#[inline(never)]
fn client() -> Result<Client<Machine>, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut hardware = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut hardware)?;
    let count = u32::try_from(devices.len()).map_err(|error| error.to_string())?;
    let plan = plan::client_area(count);
    let mut share = |pages| -> Result<&'static Window, Why> {
        Ok(Box::leak(Box::new(hardware.storage(pages)?)))
    };
    let memory = share((plan.length() / 4096) as usize)?;
    let window = share(PAGES)?;
    plan.write(memory)?;
    let area = Area::open(memory, Kind::Client)?;
    let mut served = Served::new("selftest".to_string(), 0, area.clone(), window, window)?;
    for device in &devices {
        let around = Surroundings {
            now: hardware.now(),
            platform: &mut hardware,
            trace: None,
        };
        let owned = Some((device.id, device.number.number));
        served.add_pass_through(owned, ISC, around)?;
    }
    let mut proxy = Proxy::new(super::liballoc::vec![served], &[], None);
    proxy.get_up();
    let machine = Machine {
        began: hardware.now(),
        bell: Bell::of_client(&area)?,
        hardware,
        proxy,
        window,
        used: 0,
    };
    Ok(Client(Remote::new(area, machine)))
}
