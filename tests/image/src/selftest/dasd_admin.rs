//! Administration of count-key-data disks: the programs of `dasd_tools::admin`, by which the host daemon formats, shows and reserves
//! disks, run here without daemon or proxy.
//!
//! Every disk that is there is formatted, each in another way, and what the host finds on the volumes afterwards is compared with
//! what other programs make. It goes by the lines `dasd: NUMBER formatted …`.

use super::{ensure, expect, test, Fixture, Outcome, Tally, Test, Why};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use appliance::css::{self, Device, Hardware};
use appliance::css::{run_program, Channel, Platform, ProgramError};
use appliance::driver::block::BlockDevice;
use appliance::driver::dasd::eckd::{is_eckd, Eckd};
use channel::{Ccw1, CcwFlags, CommandCode, Orb, OrbFlags, Refusal, SubchannelId};
use dasd::{Dscb, Label, Place};
use dasd_tools::admin::{self, Reservation};
use dasd_tools::format::{serial, Format, Layout, Mark};
use dasd_tools::formatter::Formatter;
use dasd_tools::program::Program;
use dasd_tools::runner::{Fault, Runner, SENSE};
use s390x::control::Cr6;
use s390x::ebcdic::Text;
use window::{ClientAddress, Window};

/// Interruption subclass.
const ISC: u8 = 3;
/// How long a program may take, in microseconds.
const TIMEOUT: u64 = 10_000_000;
/// Where the data of a program begins in its storage: behind the CCWs.
const DATA: u32 = 4096;
const PAGES: usize = 4;
/// What the disks become, one after the other.
const FORMATS: [(Layout, u16); 4] = [
    (Layout::Cdl, 4096),
    (Layout::Ldl, 4096),
    (Layout::Cdl, 512),
    (Layout::Ldl, 1024),
];

/// What runs the programs.
struct Hands {
    platform: Hardware,
    id: SubchannelId,
    path_mask: u8,
    storage: Window,
    channel: Channel,
}

/// A disk.
struct Disk {
    hands: Hands,
    number: String,
    layout: Layout,
    block: u16,
}

impl Fixture for Disk {}

impl Runner for Hands {
    fn run(&mut self, program: &mut Program) -> Result<(), Fault> {
        let other = |error: &dyn core::fmt::Display| Fault::Other(error.to_string().into());
        let base = self.storage.absolute_base() as u32;
        let at = |place: u32| ClientAddress::new(place.into());
        let last = program.steps.len() - 1;
        let mut place = DATA;
        for (number, step) in program.steps.iter().enumerate() {
            let mut flags = CcwFlags::SLI;
            flags.set(CcwFlags::CC, number < last);
            let count = step.data.len() as u16;
            let ccw = Ccw1::new(step.command, flags, count, base + place);
            self.storage
                .write(at(8 * number as u32), &ccw)
                .map_err(|error| other(&error))?;
            self.storage
                .write_bytes(at(place), &step.data)
                .map_err(|error| other(&error))?;
            place += u32::from(count);
        }
        let orb = Orb::format_1(self.id.word(), base, OrbFlags::PREFETCH, self.path_mask);
        // SAFETY: program and data lie in storage that nobody else uses, and which is never given back.
        let ended = unsafe { run_program(&mut self.platform, self.id, &orb, TIMEOUT) };
        match ended {
            Ok(_) => {}
            Err(ProgramError::Refused(Refusal::Busy)) => return Err(Fault::Busy),
            Err(ProgramError::UnitCheck(sense)) => {
                let mut bytes = [0; SENSE];
                bytes[..sense.bytes().len()].copy_from_slice(sense.bytes());
                if sense.bytes().is_empty() {
                    self.channel
                        .read(&mut self.platform, CommandCode::SENSE, &mut bytes)
                        .map_err(|error| other(&error))?;
                }
                return Err(Fault::UnitCheck(bytes));
            }
            Err(error) => return Err(other(&error)),
        }
        let mut place = DATA;
        for step in &mut program.steps {
            self.storage
                .read_bytes(at(place), &mut step.data)
                .map_err(|error| other(&error))?;
            place += step.data.len() as u32;
        }
        Ok(())
    }
}

/// Tests on every disk.
pub(super) fn run(tally: &mut Tally) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let devices = match css::discover(&mut platform) {
        Ok(devices) => devices,
        Err(error) => return tally.note("", "there are disks to test", Err(error.into())),
    };
    let is_disk = |device: &&Device| device.identity.as_ref().is_ok_and(is_eckd);
    let disks = devices.iter().filter(is_disk);
    for (device, (layout, block)) in disks.zip(FORMATS) {
        let of = format!("{}: ", device.number);
        let mut disk = match Disk::new(platform, device, layout, block) {
            Ok(disk) => disk,
            Err(why) => return tally.note(&of, "it can be administered", Err(why)),
        };
        tally.run(&of, &mut disk, TESTS);
        platform = disk.hands.platform;
    }
}

const TESTS: &[Test<Disk>] = &[
    test("it can be reserved, released, and stolen", reserve),
    test("its tracks are not formatted", is_empty),
    test("a volume that is being formatted is none", broken_off),
    test("another format is begun anew", another),
    test("formatting goes on where it was broken off", resumed),
    test("label and VTOC say what was formatted", shown),
    test("the driver serves it", served),
];

impl Disk {
    fn new(
        mut platform: Hardware,
        device: &Device,
        layout: Layout,
        block: u16,
    ) -> Result<Self, Why> {
        let schib = css::enable(&mut platform, device.id, ISC)?;
        let path_mask = css::path_mask(&schib);
        let storage = platform.storage(PAGES)?;
        let page = platform.storage(1)?;
        Ok(Self {
            number: device.number.to_string(),
            hands: Hands {
                id: device.id,
                path_mask,
                storage,
                channel: Channel::new(device.id, path_mask, page),
                platform,
            },
            layout,
            block,
        })
    }

    fn format(&mut self) -> Result<Format, Why> {
        let about = admin::characteristics(&mut self.hands)?;
        let serial = serial("LINUX1").ok_or("a serial")?;
        Ok(Format::new(about, self.layout, self.block, serial)?)
    }

    fn begin(&mut self, format: Format) -> Result<Formatter, Why> {
        Ok(Formatter::begin(&mut self.hands, format)?)
    }

    fn step(&mut self, formatter: &mut Formatter) -> Result<bool, Why> {
        Ok(formatter.step(&mut self.hands)?)
    }

    fn label(&mut self) -> Result<(Label, Option<Mark>), Why> {
        Ok(admin::label(&mut self.hands)?)
    }

    fn reserve(&mut self, how: Reservation) -> Outcome {
        Ok(admin::reserve(&mut self.hands, how)?)
    }
}

fn reserve(disk: &mut Disk) -> Outcome {
    disk.reserve(Reservation::Reserve)?;
    disk.reserve(Reservation::Reserve)?;
    disk.reserve(Reservation::Release)?;
    match disk.reserve(Reservation::Steal) {
        // It does not know the command.
        Err(Why::Fail(why)) if why.contains("command reject") => {
            sclp::println!("dasd: {} UNCONDITIONAL RESERVE: {why}", disk.number);
        }
        other => other?,
    }
    disk.reserve(Reservation::Release)
}

fn is_empty(disk: &mut Disk) -> Outcome {
    let (_, mark) = disk.label()?;
    ensure("no mark", mark.is_none())?;
    let place = Place {
        cylinder: 1,
        head: 0,
        record: 1,
    };
    let found = admin::count(&mut disk.hands, place)?;
    expect("record", found, None)
}

/// Formats until the volume has a mark that is worth going on from.
fn broken_off(disk: &mut Disk) -> Outcome {
    let format = disk.format()?;
    let mut formatter = disk.begin(format)?;
    expect("resumed", formatter.resumed(), None)?;
    while formatter.tracks_done() < 320 && formatter.tracks_done() + 40 < format.tracks() {
        ensure("not complete", disk.step(&mut formatter)?)?;
    }
    let (label, mark) = disk.label()?;
    expect("label", label, Label::None)?;
    ensure("a mark", mark.is_some())?;
    match Eckd::open(&mut disk.hands.platform, disk.hands.id, ISC) {
        Err(_) => Ok(()),
        Ok(_) => Err("the driver serves it".into()),
    }
}

fn another(disk: &mut Disk) -> Outcome {
    let (_, before) = disk.label()?;
    let mark = before.ok_or("no mark")?;
    let same = disk.format()?;
    disk.block = if disk.block == 2048 { 4096 } else { 2048 };
    let other = disk.format();
    disk.block = same.block();
    expect("resumes", mark.resumes(&other?), None)?;
    ensure("the same format goes on", mark.resumes(&same).is_some())
}

fn resumed(disk: &mut Disk) -> Outcome {
    let format = disk.format()?;
    let mut formatter = disk.begin(format)?;
    let at = formatter.resumed().ok_or("begun anew")?;
    ensure("behind the begin", at >= 300 || format.tracks() < 340)?;
    while disk.step(&mut formatter)? {}
    expect("tracks", formatter.tracks_done(), format.tracks())?;
    announce(&disk.number, &format, at);
    Ok(())
}

/// For the host, which compares.
pub(super) fn announce(number: &str, format: &Format, at: u32) {
    let layout = match format.layout() {
        Layout::Cdl => "cdl",
        Layout::Ldl => "ldl",
    };
    let (block, tracks) = (format.block(), format.tracks());
    sclp::println!("dasd: {number} formatted {layout} {block} {tracks} tracks, went on at {at}");
}

fn shown(disk: &mut Disk) -> Outcome {
    let (label, mark) = disk.label()?;
    ensure("no mark", mark.is_none())?;
    expect("serial", Text(&label.serial()).to_string(), "LINUX1".into())?;
    let format = disk.format()?;
    let label = match (disk.layout, label) {
        (Layout::Cdl, Label::Cdl(label)) => label,
        (Layout::Ldl, Label::Ldl(_)) => return Ok(()),
        (_, other) => return Err(format!("{other:?}").into()),
    };
    let heads = format.about().heads.get();
    let dscbs = admin::vtoc(&mut disk.hands, &label, heads)?;
    let format = dscbs.iter().map(|(_, dscb)| match Dscb::parse(dscb) {
        Dscb::Format4(_) => 4,
        Dscb::Format5(_) => 5,
        _ => 0,
    });
    expect("DSCBs", format.collect(), Vec::from([4, 5]))
}

fn served(disk: &mut Disk) -> Outcome {
    let format = disk.format()?;
    let served = Eckd::open(&mut disk.hands.platform, disk.hands.id, ISC)?;
    let sectors = u64::from(format.block()) / 512;
    expect(
        "sectors",
        served.geometry().sectors,
        format.blocks() * sectors,
    )
}
