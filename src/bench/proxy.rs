//! What a channel program costs the appliance: START, interruption and TEST of a pass-through subchannel.
//!
//! # Scope
//!
//! Two programs of control commands that do nothing: one CCW; and 64 CCWs with four address words each. The image is
//! its own client. The device is whatever subchannel there is; it need only know the command NO-OPERATION.
//!
//! Counted is what the event loop does for the program: the turns that take START and TEST, and the one that takes the
//! interruption. The device's own time is not: QEMU runs the program within START SUBCHANNEL, at no instruction of ours.

use super::liballoc::boxed::Box;
use super::liballoc::string::{String, ToString};
use super::liballoc::vec::Vec;
use super::{lap, Scale};
use appliance::css::{self, Hardware};
use appliance::driver::Platform;
use appliance::proxy::client::{Client, Surroundings};
use appliance::proxy::Proxy;
use channel::{Ccw1, CcwFlags, ChannelSubsystem, CommandCode, Orb, OrbFlags, PmcwFlags, Schib};
use core::mem::offset_of;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::client::{Command, Instruction, Response, SchibPart, Status};
use vcss::layout::Kind;
use vcss::plan::{self, AreaPlan};
use vcss::trace::Recorder;
use vcss::{Area, Bell};
use window::{ClientAddress, Window};
use zerocopy::big_endian::U64;
use zerocopy::IntoBytes;

/// Programs of each kind.
const PROGRAMS: u32 = 64;
/// Interruption subclass.
const ISC: u8 = 3;
/// Where things are in the client's window.
const CCWS: u32 = 0;
const LISTS: u32 = 0x1000;
const DATA: u32 = 0x4000;
const PAGES: usize = 8;
/// Address words of each CCW of the long program, a page each.
const WORDS: u16 = 4;

/// Measures and prints.
pub fn run(scale: &Scale) -> Result<(), String> {
    let mut bench = Bench::new()?;
    for (ccws, words) in [(1, 0), (64, WORDS)] {
        bench.program(ccws, words)?;
        // The first one is to warm up.
        bench.once()?;
        let mut cost = 0;
        for _ in 0..PROGRAMS {
            cost += bench.once()?;
        }
        let insns = scale.instructions(cost).div_ceil(u64::from(PROGRAMS));
        let words = ccws * words;
        sclp::println!("bench: proxy ccws={ccws} idaws={words} insns={insns}");
    }
    Ok(())
}

struct Bench {
    platform: Hardware,
    proxy: Proxy,
    area: Area<'static>,
    bell: Bell<'static>,
    window: &'static Window,
    sequence: u32,
}

fn area(platform: &mut dyn Platform, plan: &AreaPlan, kind: Kind) -> Result<Area<'static>, String> {
    let memory = share(platform, (plan.length() / 4096) as usize)?;
    plan.write(memory).map_err(|error| error.to_string())?;
    Area::open(memory, kind).map_err(|error| error.to_string())
}

fn share(platform: &mut dyn Platform, pages: usize) -> Result<&'static Window, String> {
    let window = platform.storage(pages).map_err(|error| error.to_string())?;
    Ok(Box::leak(Box::new(window)))
}

impl Bench {
    fn new() -> Result<Self, String> {
        // SAFETY: the vectors are set, and this is the one CPU.
        let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
        let devices = css::discover(&mut platform).map_err(|error| error.to_string())?;
        sclp::println!("bench: proxy midaws={}", platform.has_midaws());
        let device = devices.first().ok_or("no subchannel")?;
        let control = area(&mut platform, &plan::control_area(1, 1, 1), Kind::Control)?;
        let area = area(&mut platform, &plan::client_area(1), Kind::Client)?;
        let window = share(&mut platform, PAGES)?;
        let mut trace = Recorder::open(&control).ok();
        let mut client = Client::new("bench".to_string(), 0, area.clone(), window, window)
            .map_err(|error| error.to_string())?;
        let around = Surroundings {
            now: platform.now(),
            platform: &mut platform,
            trace: trace.as_mut(),
        };
        let owned = Some((device.id, device.number.number));
        client
            .add_pass_through(owned, ISC, around)
            .map_err(|error| error.to_string())?;
        let clients = super::liballoc::vec![client];
        let mut bench = Self {
            proxy: Proxy::new(clients, &[], trace),
            platform,
            bell: Bell::of_client(&area).map_err(|error| error.to_string())?,
            area,
            window,
            sequence: 0,
        };
        bench.proxy.get_up();
        bench.enable()?;
        Ok(bench)
    }

    fn enable(&mut self) -> Result<(), String> {
        let part: SchibPart = self.area.read(0).map_err(|error| error.to_string())?;
        let mut schib: Schib = part.schib;
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        self.ask(Instruction::Modify, schib.as_bytes())?;
        Ok(())
    }

    /// Writes a program of so many CCWs with so many address words each.
    fn program(&mut self, ccws: u16, words: u16) -> Result<(), String> {
        let write = |at: u32, bytes: &[u8]| {
            let place = ClientAddress::new(u64::from(at));
            let written = self.window.write_bytes(place, bytes);
            written.map_err(|error| error.to_string())
        };
        for number in 0..ccws {
            let mut flags = CcwFlags::SLI;
            flags.set(CcwFlags::CC, number + 1 < ccws);
            flags.set(CcwFlags::IDA, words > 0);
            let list = LISTS + u32::from(number) * u32::from(words) * 8;
            let (address, count) = if words > 0 {
                (list, words * 4096)
            } else {
                (DATA, 1)
            };
            let ccw = Ccw1::new(CommandCode::NOP, flags, count, address);
            write(CCWS + u32::from(number) * 8, ccw.as_bytes())?;
            for word in 0..words {
                let at = list + u32::from(word) * 8;
                write(at, U64::new(u64::from(DATA)).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Starts the program and takes its status; clock units that the appliance took.
    fn once(&mut self) -> Result<u64, String> {
        let flags = OrbFlags::PREFETCH | OrbFlags::FORMAT_2_IDAW;
        let orb = Orb::format_1(1, CCWS, flags, 0xFF);
        let (condition, started) = self.ask(Instruction::Start, orb.as_bytes())?;
        let start = Tod::now();
        self.drain();
        let drained = lap(start, Tod::now());
        let pending = self
            .area
            .word::<Status>(0, offset_of!(Status, pending))
            .map_err(|error| error.to_string())?;
        if condition != 0 || pending.load() != 1 {
            return Err("the program did not end".to_string());
        }
        let (condition, tested) = self.ask(Instruction::Test, &[])?;
        let status: Status = self.area.read(0).map_err(|error| error.to_string())?;
        let scsw = status.irb.scsw;
        if condition != 0 || scsw.device_status != 0x0C || scsw.subchannel_status != 0 {
            return Err(super::liballoc::format!("ended with {scsw:?}"));
        }
        Ok(started + drained + tested)
    }

    /// What the event loop does with interruptions.
    fn drain(&mut self) {
        if self.proxy.is_expecting() {
            while let Some(interruption) = self.platform.pending_interruption() {
                self.proxy.interruption(&mut self.platform, &interruption);
            }
        }
    }

    /// A request; its condition code, and the clock units of the turn.
    fn ask(&mut self, instruction: Instruction, operand: &[u8]) -> Result<(u32, u64), String> {
        self.sequence += 1;
        let mut command = Command {
            sequence: (self.sequence - 1).into(),
            instruction: (instruction as u32).into(),
            operand: [0; 56],
        };
        for (to, from) in command.operand.iter_mut().zip(operand) {
            *to = *from;
        }
        let wrong = |error: vcss::AreaError| error.to_string();
        self.area.write(0, &command).map_err(wrong)?;
        let asked = self.area.word::<Command>(0, offset_of!(Command, sequence));
        asked.map_err(wrong)?.store(self.sequence);
        let _ = self.bell.ring();
        let start = Tod::now();
        self.proxy.turn(&mut Vec::new(), &mut self.platform, true);
        let cost = lap(start, Tod::now());
        let response: Response = self.area.read(0).map_err(wrong)?;
        if response.sequence.get() != self.sequence {
            return Err("no answer".to_string());
        }
        Ok((response.condition.get(), cost))
    }
}
