//! The image as a client of another appliance: the tests of subchannels, over a client area at the end of its own storage.
//!
//! The area is where `area=` on the command line says. Whatever asks it goes through [`Remote`]; the machine's own
//! channel subsystem has the clock, the wait and the serial port over which client and daemon wake each other.

use super::liballoc::boxed::Box;
use super::{Tally, Why};
use appliance::css::{self, Hardware};
use appliance::driver::virtio_ccw::Settings;
use appliance::driver::virtio_serial::{VirtioSerial, LINK_PORT};
use appliance::driver::{OutOfStorage, Platform, Wake};
use channel::{
    ChannelSubsystem, Crw, IoInterruption, NotOperational, Orb, Refusal, Schib, SubchannelId,
    Tested,
};
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::layout::{Header, Kind};
use vcss::{Area, Bell, Remote};
use window::{ClientAddress, Window};

/// How long the appliance may take for a request, in microseconds.
const PATIENCE: u64 = 10_000_000;
/// How long to poll before sleeping, in microseconds.
const LINGER: u64 = 500;
/// The longest sleep, in microseconds: a wake-up that was lost costs no more.
const NAP: u64 = 500_000;

/// What the machine itself is for: time, and waking each other.
struct Machine {
    hardware: Hardware,
    serial: VirtioSerial,
    bell: Bell<'static>,
    began: Tod,
}

impl Waiting for Machine {
    /// Sleeps until the appliance rings.
    fn sleep(&mut self, deadline: Tod) {
        self.bell.lie_down();
        let nap = self.hardware.now().plus_micros(NAP);
        if !self.bell.rings() && !self.serial.interrupts(true) {
            self.hardware.pause(deadline.min(nap));
        }
        while let Some(interruption) = self.hardware.pending_interruption() {
            self.serial.interruption(&mut self.hardware, &interruption);
        }
        self.serial.interrupts(false);
        self.serial.take_wakes(&mut self.hardware);
        self.bell.get_up();
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

/// What a client does when it has nothing to do, and where its storage is.
pub(super) trait Waiting: vcss::Wake {
    /// Lets time pass until something may have come, at most until `deadline`.
    fn sleep(&mut self, deadline: Tod);

    /// As [`Platform::storage`], by the client's addresses.
    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage>;
}

/// The virtual channel subsystem, as a platform for whatever is written for one.
pub(super) struct Client<W>(pub(super) Remote<'static, W>);

impl<W: Waiting> ChannelSubsystem for Client<W> {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        // SAFETY: the caller's.
        unsafe { self.0.start(id, orb) }
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.halt(id)
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        self.0.clear(id)
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.cancel(id)
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.resume(id)
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        self.0.store(id)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.0.modify(id, schib)
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        self.0.test(id)
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        self.0.pending_interruption()
    }

    fn channel_report(&mut self) -> Option<Crw> {
        self.0.channel_report()
    }
}

impl<W: Waiting> Platform for Client<W> {
    fn notify(&mut self, _: SubchannelId, _: u16, _: i64) -> i64 {
        // There is no such hypercall to another VM.
        -1
    }

    fn now(&self) -> Tod {
        Tod::now()
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        loop {
            if self.0.has_news() {
                return Wake::Io;
            }
            let now = self.now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Wake::Deadline;
            }
            let nap = now.plus_micros(NAP);
            self.0.wake().sleep(deadline.unwrap_or(nap));
        }
    }

    fn pause(&mut self, deadline: Tod) {
        self.wait(Some(deadline));
    }

    fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        self.0.forget_interruption(id)
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.0.wake().storage(pages)
    }

    fn highest_set(&mut self) -> u8 {
        0
    }
}

/// Tests every virtual subchannel.
pub(super) fn run(tally: &mut Tally, settings: Settings, area: Option<u64>) {
    match client(settings, area) {
        Ok(client) => super::css::run_on(tally, Box::new(client), false),
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
    Ok(Client(Remote::new(area, machine)))
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
