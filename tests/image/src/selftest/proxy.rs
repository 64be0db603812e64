//! The image as its own client: every subchannel of the machine is the proxy's, and the tests of subchannels run over the
//! area, in the client's terms. Or it runs what a disk has for IPL ([`run_ipl`]).
//!
//! While the client waits, the appliance turns. Besides what is asked of each subchannel: programs that try to harm the
//! appliance ([`super::css`]'s `hostile`), and programs that only a DASD can run (`dasd`), which write to the first track
//! of each.

use super::remote::{Client, Machine};
use super::{Outcome, Tally, Why};
use crate::loopback::Loopback;
use alloc::boxed::Box;
use alloc::vec::Vec;
use appliance::css::program::run_program;
use appliance::css::{self, Device, Hardware};
use appliance::css::{OutOfStorage, Platform};
use channel::{Ccw0, CcwFlags, Orb, OrbFlags};
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::Remote;
use window::{ClientAddress, Window};
use zerocopy::big_endian::U64;
use zerocopy::FromZeros;

/// Pages of the client's memory; when a disk is loaded, and where what it loads begins then.
const PAGES: usize = 64;
const IPL_PAGES: usize = 160;
const LOADED: u64 = 0x1_0000;
/// How long that may take, in microseconds.
const IPL_PATIENCE: u64 = 20_000_000;
const PAGE: u64 = 4096;
/// How long the appliance may take for a request, in microseconds.
const PATIENCE: u64 = 2_000_000;
/// Between two turns of an appliance that has nothing to do, in microseconds.
const REST: u64 = 200;

/// Both sides, and how much of the client's memory is in use.
struct Both {
    loopback: Loopback,
    used: usize,
    /// How many there are.
    pages: usize,
    began: Tod,
}

impl Both {
    fn turn(&mut self) {
        self.loopback.turn();
        self.loopback.drain();
    }
}

impl vcss::Wake for Both {
    fn ring(&mut self) {
        // The appliance turns when it is waited for.
        let _ = self.loopback.bell.ring();
        self.turn();
    }

    fn begin(&mut self) {
        self.began = self.loopback.platform.now();
    }

    fn pass(&mut self) -> bool {
        self.turn();
        self.loopback.platform.now() < self.began.plus_micros(PATIENCE)
    }
}

impl Machine for Both {
    fn sleep(&mut self, deadline: Tod) {
        let rest = self.loopback.platform.now().plus_micros(REST);
        self.loopback.platform.pause(deadline.min(rest));
        self.turn();
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let error = OutOfStorage { pages };
        let end = self
            .used
            .checked_add(pages)
            .filter(|&end| end <= self.pages);
        let offset = self.used as u64 * PAGE;
        self.used = end.ok_or(error)?;
        let base = self.loopback.window.absolute_base() + offset;
        let base = core::ptr::with_exposed_provenance_mut(base as usize);
        // SAFETY: pages of a window that is never given back; no others have been given out for them.
        Ok(unsafe { Window::new(base, pages as u64 * PAGE, offset) })
    }
}

/// Tests every subchannel, through the proxy.
pub(super) fn run(tally: &mut Tally, vfio: bool) {
    match client(PAGES) {
        Ok(client) => super::css::run_through(tally, Box::new(client), vfio),
        Err(why) => tally.note("", "there are subchannels to pass through", Err(why)),
    }
}

/// Runs what the first disk has for IPL, as the CPU does: a READ IPL that only the records make go on.
pub(super) fn run_ipl(tally: &mut Tally) {
    tally.note("", "what a disk has for IPL is loaded by a client", ipl());
}

#[inline(never)]
fn ipl() -> Outcome {
    let mut client = client(IPL_PAGES)?;
    let window = client.0.wake().loopback.window;
    let disk = css::discover(&mut client)?;
    let id = disk.first().ok_or("no disk")?.id;
    let schib = css::enable(&mut client, id, 3)?;
    let read_ipl = Ccw0 {
        command: 0x02,
        flags: (CcwFlags::CC | CcwFlags::SLI).bits(),
        count: 24.into(),
        ..Ccw0::new_zeroed()
    };
    window.write(ClientAddress::new(0), &read_ipl)?;
    let mut orb = Orb::format_1(0, 0, OrbFlags::empty(), css::path_mask(&schib));
    orb.set_flags(OrbFlags::empty());
    // SAFETY: the window is the client's, and what the program loads lies there or nowhere.
    unsafe { run_program(&mut client, id, &orb, IPL_PATIENCE) }?;
    let psw: U64 = window.read(ClientAddress::new(0))?;
    let mut sum: u64 = 0;
    for place in (LOADED..window.len()).step_by(8) {
        let word: U64 = window.read(ClientAddress::new(place))?;
        sum = sum.rotate_left(1) ^ word.get();
    }
    sclp::println!("proxy-ipl: PSW {psw:016x}, sum {sum:016x}");
    Ok(())
}

#[inline(never)]
fn client(pages: usize) -> Result<Client<Both>, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices: Vec<Device> = css::discover(&mut platform)?
        .into_iter()
        .filter(|device| device.identity.is_ok())
        .collect();
    let began = platform.now();
    let loopback = Loopback::new(platform, &devices, pages, true)?;
    Ok(Client(Remote::new(
        loopback.area.clone(),
        Both {
            loopback,
            // Address 0 means nothing.
            used: 1,
            pages,
            began,
        },
    )))
}
