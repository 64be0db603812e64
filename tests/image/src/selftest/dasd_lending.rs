//! A disk's subchannel lent to a client between the disk's own programs, as it is lent to the daemon: the data plane and the client
//! are both in the image.
//!
//! The disk's last format is told by the line `dasd: NUMBER formatted …`, and the host compares the volume with that.

use super::dasd_admin::announce;
use super::{ensure, expect, test, Fixture, Outcome, Tally, Test, Why};
use crate::loopback::{area, exported, share};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use appliance::css::Platform;
use appliance::css::{self, Device, Hardware};
use appliance::driver::block::{Operation, SubmitError, Token};
use appliance::driver::dasd::eckd::{is_eckd, Eckd};
use appliance::driver::disk::{Maintenance, OwnedDisk};
use appliance::event_loop::data_plane::DataPlane;
use appliance::proxy::client::Client;
use appliance::proxy::ctx::Ctx;
use appliance::proxy::Proxy;
use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, DeviceStatus, Orb, OrbFlags, PmcwFlags, SubchannelId,
};
use core::mem::offset_of;
use dasd::Label;
use dasd_tools::admin::{self, Reservation};
use dasd_tools::format::{serial, Format, Layout};
use dasd_tools::formatter::Formatter;
use dasd_tools::program::Program;
use dasd_tools::runner::{Fault, Runner, SENSE};
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::control::{ExportKind, Loan, LoanState};
use vcss::layout::Kind;
use vcss::{plan, Bell, Remote, Wake, Word};
use window::{ClientAddress, Window};

/// Interruption subclass.
const ISC: u8 = 3;
/// Pages of the client: CCWs, data of programs, and a page for the disk's own requests.
const PAGES: usize = 5;
const DATA: u32 = 4096;
const BLOCK: u64 = 4 * 4096;
/// How long anything may take, and the appliance's rests, in microseconds.
const PATIENCE: u64 = 5_000_000;
const REST: u64 = 200;

/// The appliance.
struct Machine {
    platform: Hardware,
    plane: DataPlane,
    device: Device,
    bell: Bell<'static>,
    began: Tod,
}

/// A disk, and the client that borrows it.
struct Lending {
    remote: Remote<'static, Machine>,
    wanted: Word<'static>,
    state: Word<'static>,
    memory: &'static Window,
    number: String,
}

impl Fixture for Lending {}

impl Machine {
    fn turn(&mut self) {
        self.plane.drain(&mut self.platform, |_, _| false);
        let devices = core::slice::from_ref(&self.device);
        self.plane.maintain(0, &mut self.platform, devices);
        self.plane.turn(&mut self.platform);
    }
}

impl Wake for Machine {
    fn ring(&mut self) {
        let _ = self.bell.ring();
        self.turn();
    }

    fn begin(&mut self) {
        self.began = self.platform.now();
    }

    fn pass(&mut self) -> bool {
        let rest = self.platform.now().plus_micros(REST);
        self.platform.pause(rest);
        self.turn();
        self.platform.now() < self.began.plus_micros(PATIENCE)
    }
}

/// Tests on the first disk.
pub(super) fn run(tally: &mut Tally) {
    match fixture() {
        Ok(mut fixture) => tally.run("", &mut fixture, TESTS),
        Err(why) => tally.note("", "a disk can be lent", Err(why)),
    }
}

const TESTS: &[Test<Lending>] = &[
    test("a disk that is not lent is no device to the client", away),
    test(
        "requests wait while the disk is lent, and end when it is back",
        requests,
    ),
    test("the borrower reserves it and reads its label", administered),
    test("what the borrower leaves behind is ended", left_behind),
    test("a disk that is formatted as it was goes on", formatted),
    test("a disk of another format is given up", formatted_otherwise),
];

#[inline(never)]
fn fixture() -> Result<Lending, Why> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = css::discover(&mut platform)?;
    let is_disk = |device: &&Device| device.identity.as_ref().is_ok_and(is_eckd);
    let device = devices.iter().find(is_disk).ok_or("no disk")?;
    let disk = Box::new(Eckd::open(&mut platform, device.id, ISC)?);
    let control = area(&mut platform, &plan::control_area(1, 1, 1), Kind::Control)?;
    let area = area(&mut platform, &plan::client_area(1), Kind::Client)?;
    let memory = share(&mut platform, PAGES)?;
    let mut client = Client::new("borrower".to_string(), 0, area.clone(), memory, memory, ISC)?;
    let mut ctx = Ctx::new(&mut platform);
    client.add_pass_through(exported(0, ExportKind::Lent)?, None, &mut ctx)?;
    let word = |at| control.word::<Loan>(0, at);
    let (wanted, state) = (
        word(offset_of!(Loan, wanted))?,
        word(offset_of!(Loan, state))?,
    );
    let words = Some((wanted.clone(), state.clone()));
    let mut disk = OwnedDisk::driven_by(disk, Maintenance::new(words));
    (disk.id, disk.number) = (Some(device.id), device.number);
    let disks = vec![disk];
    let proxy = Proxy::new(vec![client], &disks, None);
    let machine = Machine {
        plane: DataPlane { disks, proxy },
        device: device.clone(),
        bell: Bell::of_client(&area)?,
        began: platform.now(),
        platform,
    };
    Ok(Lending {
        remote: Remote::new(area, machine),
        wanted,
        state,
        memory,
        number: device.number.to_string(),
    })
}

/// The one virtual subchannel.
fn id() -> Result<SubchannelId, Why> {
    Ok(SubchannelId::new(0, 0).ok_or("no subchannel")?)
}

impl Lending {
    fn machine(&mut self) -> &mut Machine {
        self.remote.wake()
    }

    /// Turns until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&mut Self) -> bool) -> Outcome {
        self.machine().begin();
        while !holds(self) {
            ensure(what, self.machine().pass())?;
        }
        Ok(())
    }

    fn borrow_disk(&mut self, wanted: u32) -> Outcome {
        self.wanted.store(wanted);
        self.until("it is lent", |this| this.is(LoanState::Lent))?;
        let mut schib = self.remote.store(id()?)?;
        ensure("there is a device", schib.pmcw.has_device())?;
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        schib.pmcw.set_concurrent_sense(true);
        Ok(self.remote.modify(id()?, &schib)?)
    }

    fn give_back(&mut self) -> Outcome {
        self.wanted.store(Loan::NONE);
        self.until("it is back", |this| this.is(LoanState::Own))?;
        let schib = self.remote.store(id()?)?;
        ensure("there is no device", !schib.pmcw.has_device())
    }

    fn is(&self, state: LoanState) -> bool {
        self.state.load() == state as u32
    }

    /// A request of the disk's own.
    fn submit(&mut self) -> Result<(), SubmitError> {
        let segment = self.memory.translate(ClientAddress::new(BLOCK), 4096);
        let segment = segment.map_err(|_| SubmitError::TooLarge)?;
        let read = Operation::Read { sector: 0 };
        let disk = &mut self.machine().plane.disks[0].driver;
        disk.submit(0, read, &[segment], &[], Token(7))
    }

    fn in_flight(&mut self) -> u32 {
        self.machine().plane.disks[0].driver.in_flight()
    }

    fn is_served(&mut self) -> Outcome {
        self.submit()?;
        self.until("the request ends", |this| this.in_flight() == 0)
    }

    /// Puts a program into the client's memory.
    fn write(&self, program: &Program) -> Result<Orb, Why> {
        let last = program.steps.len().saturating_sub(1);
        let mut place = DATA;
        for (number, step) in program.steps.iter().enumerate() {
            let mut flags = CcwFlags::SLI;
            flags.set(CcwFlags::CC, number < last);
            let count = step.data.len() as u16;
            let ccw = Ccw1::new(step.command, flags, count, place);
            self.memory
                .write(ClientAddress::new(8 * number as u64), &ccw)?;
            self.memory
                .write_bytes(ClientAddress::new(place.into()), &step.data)?;
            place += u32::from(count);
        }
        Ok(Orb::format_1(0, 0, OrbFlags::PREFETCH, 0xFF))
    }

    fn format(&mut self, layout: Layout, block: u16) -> Outcome {
        let about = admin::characteristics(self)?;
        let serial = serial("LINUX1").ok_or("a serial")?;
        let format = Format::new(about, layout, block, serial)?;
        let mut formatter = Formatter::begin(self, format)?;
        while formatter.step(self)? {}
        announce(&self.number, &format, 1);
        Ok(())
    }
}

impl Runner for Lending {
    fn run(&mut self, program: &mut Program) -> Result<(), Fault> {
        let other = |why: Why| match why {
            Why::Fail(why) => Fault::Other(why.into()),
            Why::Skip(why) => Fault::Other(why.into()),
        };
        let orb = self.write(program).map_err(other)?;
        let id = id().map_err(other)?;
        // SAFETY: program and data lie in the client's memory, which nobody else uses.
        let irb = unsafe { self.remote.run(id, &orb) };
        let irb = irb.map_err(|error| Fault::Other(error.to_string().into()))?;
        let device = irb.scsw.device();
        if device.contains(DeviceStatus::UNIT_CHECK) {
            let mut bytes = [0; SENSE];
            for (to, from) in bytes.iter_mut().zip(irb.concurrent_sense().unwrap_or(&[])) {
                *to = *from;
            }
            return Err(Fault::UnitCheck(bytes));
        }
        if !irb.scsw.subchannel().is_empty() {
            return Err(Fault::Other(format!("{:?}", irb.scsw.subchannel()).into()));
        }
        let mut place = u64::from(DATA);
        for step in &mut program.steps {
            self.memory
                .read_bytes(ClientAddress::new(place), &mut step.data)
                .map_err(|error| Fault::Other(error.to_string().into()))?;
            place += step.data.len() as u64;
        }
        Ok(())
    }
}

fn away(lending: &mut Lending) -> Outcome {
    let schib = lending.remote.store(id()?)?;
    ensure("there is no device", !schib.pmcw.has_device())?;
    let orb = lending.write(&Program::default())?;
    // SAFETY: there is no device to run it.
    let started = unsafe { lending.remote.start(id()?, &orb) };
    ensure("refused", started.is_err())?;
    lending.is_served()
}

fn requests(lending: &mut Lending) -> Outcome {
    lending.borrow_disk(Loan::WANTED)?;
    lending.submit()?;
    for _ in 0..100 {
        lending.machine().pass();
    }
    expect("in flight", lending.in_flight(), 1)?;
    lending.give_back()?;
    lending.until("the request ends", |this| this.in_flight() == 0)
}

fn administered(lending: &mut Lending) -> Outcome {
    lending.borrow_disk(Loan::WANTED)?;
    admin::reserve(lending, Reservation::Reserve)?;
    let (label, _) = admin::label(lending)?;
    ensure("VOL1", matches!(label, Label::Cdl(_)))?;
    lending.give_back()?;
    // It is this system's, whoever of it runs programs.
    lending.is_served()?;
    lending.borrow_disk(Loan::WANTED)?;
    admin::reserve(lending, Reservation::Release)?;
    lending.give_back()?;
    lending.is_served()
}

fn left_behind(lending: &mut Lending) -> Outcome {
    for _ in 0..8 {
        lending.borrow_disk(Loan::WANTED)?;
        let mut program = Program::default();
        let track = dasd::TrackAddress::default();
        program.extent(dasd::command::DefineExtent::MASK_READ, track, track);
        for _ in 0..20 {
            program.locate(dasd::command::LocateRecord::READ, track, 0, 3);
            for _ in 0..3 {
                program.receive(dasd::command::READ_COUNT, 8);
            }
        }
        let orb = lending.write(&program)?;
        // SAFETY: the program stays as it is until the disk is back.
        unsafe { lending.remote.start(id()?, &orb) }?;
        lending.give_back()?;
        lending.is_served()?;
    }
    Ok(())
}

fn formatted(lending: &mut Lending) -> Outcome {
    lending.borrow_disk(Loan::FORMAT)?;
    lending.format(Layout::Cdl, 4096)?;
    lending.give_back()?;
    lending.is_served()
}

fn formatted_otherwise(lending: &mut Lending) -> Outcome {
    lending.borrow_disk(Loan::FORMAT)?;
    lending.format(Layout::Ldl, 1024)?;
    lending.submit()?;
    lending.give_back()?;
    lending.until("the request ends", |this| this.in_flight() == 0)?;
    expect("submit", lending.submit(), Err(SubmitError::Broken))
}
