//! The image as a client of another appliance: the tests of subchannels, over a client area at the end of its own storage.
//!
//! The area is where `area=` on the command line says. Whatever asks it goes through [`Remote`]; the machine's own
//! channel subsystem has the clock, the wait and the serial port over which client and daemon wake each other.

use super::remote::{self, Client, Machine as _, NAP};
use super::{Tally, Why};
use alloc::boxed::Box;
use appliance::css::{self, Hardware};
use appliance::css::{OutOfStorage, Platform};
use appliance::driver::virtio_ccw::Settings;
use appliance::driver::virtio_serial::{VirtioSerial, LINK_PORT};
use channel::ChannelSubsystem;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::layout::{Header, Kind};
use vcss::{plan, Area, Bell, Remote};
use window::{ClientAddress, Window};

/// How long the appliance may take for a request, in microseconds.
const PATIENCE: u64 = 10_000_000;
/// How long to poll before sleeping, in microseconds.
const LINGER: u64 = 500;

/// What the machine itself is for: time, and waking each other.
struct Machine {
    hardware: Hardware,
    serial: VirtioSerial,
    bell: Bell<'static>,
    began: Tod,
}

impl remote::Machine for Machine {
    fn sleep(&mut self, deadline: Tod) {
        self.bell.arm_wakeup();
        let nap = self.hardware.now().plus_micros(NAP);
        if !self.bell.rings() && !self.serial.arm() {
            self.hardware.pause(deadline.min(nap));
        }
        while let Some(interruption) = self.hardware.pending_interruption() {
            self.serial.interruption(&mut self.hardware, &interruption);
        }
        self.serial.disarm();
        self.serial.take_wakes(&mut self.hardware);
        self.bell.disarm_wakeup();
        self.bell.heard();
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.hardware.storage(pages)
    }
}

impl vcss::Wake for Machine {
    fn ring(&mut self) {
        if self.bell.ring() {
            self.serial.send_wake(&mut self.hardware);
        }
    }

    fn begin(&mut self) {
        self.began = self.hardware.now();
    }

    fn pass(&mut self) -> bool {
        let now = self.hardware.now();
        if now >= self.began.plus_micros(LINGER) {
            self.sleep(self.began.plus_micros(PATIENCE));
        }
        now < self.began.plus_micros(PATIENCE)
    }
}

/// Tests every virtual subchannel.
pub(super) fn run(tally: &mut Tally, settings: Settings, area: Option<u64>) {
    match client(settings, area) {
        Ok(client) => super::css::run_on(tally, Box::new(client)),
        Err(why) => tally.note("", "there is an area to test", Err(why)),
    }
}

/// Tests the terminal among them, while keys are pressed.
pub(super) fn run_attention(tally: &mut Tally, settings: Settings, area: Option<u64>) {
    match client(settings, area) {
        Ok(client) => super::css::run_attention(tally, Box::new(client)),
        Err(why) => tally.note("", "there is an area to test", Err(why)),
    }
}

#[inline(never)]
fn client(settings: Settings, area: Option<u64>) -> Result<Client<Machine>, Why> {
    let area = open(area.ok_or("no area= on the command line")?)?;
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut hardware = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut hardware)?;
    let device = devices
        .iter()
        .find(|device| device.virtio_id() == Some(virtio::console::DEVICE_ID))
        .ok_or("no virtio console for the link")?;
    let serial = VirtioSerial::open(&mut hardware, device.id, settings, LINK_PORT)?;
    let machine = Machine {
        began: hardware.now(),
        bell: Bell::of_new_client(&area)?,
        hardware,
        serial,
    };
    let mut remote = Remote::new(area, machine);
    // What happened before this client is not what is tested, but whoever has plugged devices wants to know.
    for _ in 0..plan::EVENTS {
        match remote.channel_report() {
            Some(report) => sclp::println!("channel report {:08x}", report.0),
            None => break,
        }
    }
    Ok(Client(remote))
}

/// The area at an address, behind the heap.
fn open(address: u64) -> Result<Area<'static>, Why> {
    let base = core::ptr::with_exposed_provenance_mut(address as usize);
    let window = |length| {
        // SAFETY: the heap ends below `area=`, and the rest of this program is below the heap; that the area is
        // storage is the daemon's word, as for all that the command line says.
        let window = unsafe { Window::new(base, length, address) };
        &*Box::leak(Box::new(window))
    };
    let header: Header = window(size_of::<Header>() as u64).read(ClientAddress::new(0))?;
    Ok(Area::open(window(header.length.get()), Kind::Client)?)
}
