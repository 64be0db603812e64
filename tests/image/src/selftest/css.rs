//! Condition codes, status and interruptions, on every subchannel that has a device.
//!
//! Only commands that each control unit knows are used, so that the same tests run on emulated
//! devices and on a DASD. Where an implementation is known to differ from the *Principles of Operation*, the
//! test asks for what both have in common.

use super::{ensure, Fixture, Outcome, Tally, Test, Why};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use appliance::css::Platform;
use appliance::css::{self, Device, Hardware};
use appliance::driver::dasd::fba;
use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, IoInterruption, Irb, NotOperational, Orb,
    OrbFlags, PmcwFlags, Refusal, Schib, SenseId, StatusControl, SubchannelId, Tested,
};
use s390x::control::Cr6;
use window::{ClientAddress, Window};
use zerocopy::IntoBytes;

mod attention;
mod codes;
mod dasd;
mod hostile;
mod interruptions;
mod ipl;
mod laid;
mod programs;
mod remote;
mod running;
mod terminal;

/// Interruption subclass and parameter of the tests.
const ISC: u8 = 3;
const PARAMETER: u32 = 0x5EED_0001;
/// How long a status may take to come, in microseconds.
const SOON: u64 = 1_000_000;
/// A command that no control unit knows.
const UNKNOWN: CommandCode = CommandCode(0xF3);

/// A subchannel, and storage for programs and data.
pub(super) struct Subchannel {
    platform: Box<dyn Platform>,
    id: SubchannelId,
    device: Device,
    /// Another one.
    neighbour: Option<SubchannelId>,
    /// Those that are not tested yet.
    others: Vec<Device>,
    /// The first of the set that is not there.
    absent: SubchannelId,
    page: Window,
    /// The channel subsystem is this machine's own, not another's.
    own: bool,
    /// Behind it is a vfio-ccw.
    vfio: bool,
    /// Nothing there is of value to anybody.
    writes: bool,
    /// Whether programs run while the CPU goes on, as soon as that is known.
    asynchronous: Option<bool>,
}

impl Subchannel {
    /// Pages of storage; the last one is for data.
    const PAGES: usize = 4;
    const DATA: u32 = 4096 * (Self::PAGES as u32 - 1);

    /// Skips what vfio-ccw cannot do.
    fn skip_for_vfio(&self, why: &'static str) -> Outcome {
        match self.vfio {
            true => Err(Why::Skip(why)),
            false => Ok(()),
        }
    }

    fn base(&self) -> u32 {
        self.page.absolute_base() as u32
    }

    /// A CCW whose data is in the page.
    fn ccw(&self, command: CommandCode, flags: CcwFlags, count: u16) -> Ccw1 {
        Ccw1::new(command, flags, count, self.base() + Self::DATA)
    }

    fn sense_id(&self) -> Ccw1 {
        self.ccw(CommandCode::SENSE_ID, CcwFlags::SLI, 7)
    }

    fn nop(&self, flags: CcwFlags) -> Ccw1 {
        self.ccw(CommandCode::NOP, flags | CcwFlags::SLI, 1)
    }

    /// The ORB of a program at the start of the page.
    fn orb(&self) -> Orb {
        let paths = self.device.path_mask;
        Orb::format_1(PARAMETER, self.base(), OrbFlags::PREFETCH, paths)
    }

    /// Writes a program and starts it.
    #[inline(never)]
    fn start(&mut self, program: &[Ccw1]) -> Result<(), Refusal> {
        self.put(program.as_bytes());
        let orb = self.orb();
        self.start_orb(&orb)
    }

    #[inline(never)]
    fn put(&mut self, program: &[u8]) {
        // The page is longer than any program here.
        let _ = self.page.write_bytes(ClientAddress::new(0), program);
        let _ = self.page.fill(ClientAddress::new(Self::DATA.into()), 64, 0);
    }

    #[inline(never)]
    fn start_orb(&mut self, orb: &Orb) -> Result<(), Refusal> {
        // SAFETY: whatever the program says, the data of its CCWs is in the page, outside of all
        // storage, or nowhere.
        unsafe { self.platform.start(self.id, orb) }
    }

    /// The status that comes next.
    #[inline(never)]
    fn status(&mut self) -> Result<Irb, Why> {
        let deadline = self.platform.now().plus_micros(SOON);
        loop {
            // What a CSCH finds pending stays with a vfio-ccw until the clear function has ended.
            let clearing = ActivityControl::CLEAR_PENDING;
            while self.vfio && self.schib()?.scsw.activity().contains(clearing) {
                ensure("cleared", self.platform.now() < deadline)?;
                self.platform.forget_interruption(self.id);
            }
            if let Tested::Status(irb) = self.platform.take_status(self.id)? {
                return Ok(irb);
            }
            if self.platform.now() >= deadline {
                return Err("no status".into());
            }
            self.platform.pause(deadline);
        }
    }

    /// Waits until status is pending, and leaves it there.
    #[inline(never)]
    fn pending(&mut self) -> Outcome {
        let deadline = self.platform.now().plus_micros(SOON);
        loop {
            let status = self.schib()?.scsw.status();
            if status.contains(StatusControl::PENDING) {
                return Ok(());
            }
            ensure("status becomes pending", self.platform.now() < deadline)?;
        }
    }

    /// Starts SENSE ID and waits until its status is pending.
    #[inline(never)]
    fn with_status_pending(&mut self) -> Outcome {
        self.start(&[self.sense_id()])?;
        self.pending()
    }

    /// The interruption that comes next.
    #[inline(never)]
    fn interruption(&mut self) -> Result<IoInterruption, Why> {
        let deadline = self.platform.now().plus_micros(SOON);
        self.platform.pause(deadline);
        self.platform
            .pending_interruption()
            .ok_or("no interruption".into())
    }

    #[inline(never)]
    fn schib(&mut self) -> Result<Schib, NotOperational> {
        self.platform.store(self.id)
    }

    #[inline(never)]
    fn identity(&self) -> Result<SenseId, Why> {
        Ok(self.page.read(ClientAddress::new(Self::DATA.into()))?)
    }

    #[inline(never)]
    fn modify(&mut self, change: &dyn Fn(&mut Schib)) -> Result<(), Why> {
        let mut schib = self.schib()?;
        change(&mut schib);
        Ok(self.platform.modify(self.id, &schib)?)
    }
}

impl Fixture for Subchannel {
    /// Enabled, idle, nothing pending.
    #[inline(never)]
    fn fresh(&mut self) -> Outcome {
        // What a test that failed has left running. With a vfio-ccw the SCSW does not always say.
        let schib = self.schib()?;
        let enabled = schib.pmcw.flags().contains(PmcwFlags::ENABLED);
        if !schib.scsw.function().is_empty() || self.vfio && enabled {
            self.platform.clear(self.id)?;
            self.status()?;
        }
        css::enable(self.platform.as_mut(), self.id, ISC)?;
        while let Tested::Status(_) = self.platform.take_status(self.id)? {}
        Ok(())
    }
}

/// Tests every subchannel that has a device.
pub(super) fn run(tally: &mut Tally, vfio: bool) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    run_with(tally, fixture(Box::new(platform), true, vfio), &[]);
}

/// The same over a channel subsystem that is not the machine's, and what cannot be asked of that.
pub(super) fn run_on(tally: &mut Tally, platform: Box<dyn Platform>) {
    run_with(tally, fixture(platform, false, false), remote::TESTS);
}

/// The same over the proxy in this image, which is tried harder; DASD are written to.
pub(super) fn run_through(tally: &mut Tally, platform: Box<dyn Platform>, vfio: bool) {
    let mut fixture = fixture(platform, false, vfio);
    if let Ok(fixture) = &mut fixture {
        fixture.writes = true;
    }
    run_with(tally, fixture, remote::TESTS);
}

/// Tests the terminal of a channel subsystem that is not the machine's, at which somebody types all the time.
pub(super) fn run_attention(tally: &mut Tally, platform: Box<dyn Platform>) {
    match terminal_of(fixture(platform, false, false)) {
        Ok(mut fixture) => {
            // Asks for keys until the first one comes.
            tally.run("", &mut fixture, terminal::TESTS);
            tally.run("", &mut fixture, attention::TESTS);
        }
        Err(why) => tally.note("", "there is a terminal to test", Err(why)),
    }
}

/// Tests the machine's own terminal, which is that of a vfio-ccw, with data from `window` on.
pub(super) fn run_laid(tally: &mut Tally, window: Option<u64>) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let terminal = terminal_of(fixture(Box::new(platform), true, true));
    let both = terminal.and_then(|terminal| {
        let window = window.ok_or("no window= on the command line")?;
        Ok((terminal, window))
    });
    match both {
        Ok((terminal, window)) => laid::run(tally, terminal, window),
        Err(why) => tally.note("", "there is a terminal to test, and a window", Err(why)),
    }
}

/// The fixture, on the terminal that is among its devices.
fn terminal_of(fixture: Result<Subchannel, Why>) -> Result<Subchannel, Why> {
    let mut fixture = fixture?;
    let is_terminal = |device: &Device| {
        let identity = device.identity.as_ref();
        identity.is_ok_and(|it| it.cu_type.get() == terminal::CONTROL_UNIT_TYPE)
    };
    let found = fixture
        .others
        .iter()
        .find(|device| is_terminal(device))
        .cloned();
    fixture.device = found.ok_or("no terminal")?;
    fixture.id = fixture.device.id;
    Ok(fixture)
}

fn run_with(tally: &mut Tally, fixture: Result<Subchannel, Why>, more: &[Test<Subchannel>]) {
    let mut fixture = match fixture {
        Ok(fixture) => fixture,
        Err(why) => return tally.note("", "there are subchannels to test", Err(why)),
    };
    for device in core::mem::take(&mut fixture.others) {
        let Ok(identity) = device.identity else {
            continue;
        };
        let of = format!("{} {identity}: ", device.number);
        fixture.neighbour = Some(fixture.id).filter(|&id| id != device.id);
        fixture.id = device.id;
        fixture.device = device;
        fixture.asynchronous = None;
        if identity.cu_type.get() == terminal::CONTROL_UNIT_TYPE {
            tally.run(&of, &mut fixture, terminal::TESTS);
        }
        tally.run(&of, &mut fixture, codes::TESTS);
        tally.run(&of, &mut fixture, programs::TESTS);
        tally.run(&of, &mut fixture, running::TESTS);
        tally.run(&of, &mut fixture, interruptions::TESTS);
        tally.run(&of, &mut fixture, more);
        let is_dasd = dasd::CONTROL_UNITS.contains(&identity.cu_type.get());
        if is_dasd {
            tally.run(&of, &mut fixture, ipl::READS);
        }
        if fixture.writes {
            tally.run(&of, &mut fixture, hostile::TESTS);
            if is_dasd {
                tally.run(&of, &mut fixture, dasd::TESTS);
                tally.run(&of, &mut fixture, ipl::TESTS);
            } else if fba::is_fba(&identity) {
                tally.run(&of, &mut fixture, ipl::FIXED);
            }
        }
    }
}

#[inline(never)]
fn fixture(mut platform: Box<dyn Platform>, own: bool, vfio: bool) -> Result<Subchannel, Why> {
    let devices = css::discover(platform.as_mut())?;
    let device = devices.first().cloned().ok_or("no device")?;
    let absent = SubchannelId::all_of_set(0).find(|&id| platform.store(id).is_err());
    Ok(Subchannel {
        id: device.id,
        device,
        neighbour: None,
        others: devices,
        absent: absent.ok_or("no subchannel is missing")?,
        page: platform.storage(Subchannel::PAGES)?,
        platform,
        own,
        vfio,
        writes: false,
        asynchronous: None,
    })
}
