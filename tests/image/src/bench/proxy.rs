//! What a channel program costs the appliance: START, interruption and TEST of a pass-through subchannel.
//!
//! # Scope
//!
//! Two programs of control commands that do nothing: one CCW; and 64 CCWs with four address words each. The image is
//! its own client. The trace is written. The device is whatever subchannel there is; it need only know the command NO-OPERATION.
//!
//! Counted is what the event loop does for the program: the turns that take START and TEST, and the one that takes the
//! interruption. The device's own time is not: QEMU runs the program within START SUBCHANNEL, at no instruction of ours.
//!
//! A trace record costs what the one-CCW program costs less when no trace is written, for each of its records.

use super::{lap, nearest, Scale};
use crate::loopback::Loopback;
use alloc::string::{String, ToString};
use appliance::css::Platform;
use appliance::css::{self, Hardware};
use channel::{Ccw1, CcwFlags, CommandCode, Orb, OrbFlags, PmcwFlags, Schib};
use core::mem::offset_of;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::client::{Command, Instruction, Response, SchibPart, Status};
use vcss::trace::Followed;
use window::ClientAddress;
use zerocopy::big_endian::U64;
use zerocopy::IntoBytes;

/// Programs of each kind.
const PROGRAMS: u32 = 64;
/// Where things are in the client's window.
const CCWS: u32 = 0;
const LISTS: u32 = 0x1000;
const DATA: u32 = 0x4000;
const PAGES: usize = 8;
/// Address words of each CCW of the long program, a page each.
const WORDS: u16 = 4;

/// Measures and prints.
pub fn run(scale: &Scale) -> Result<(), String> {
    let mut bench = Bench::new(true)?;
    let (short, records) = bench.programs(1, 0)?;
    let (long, _) = bench.programs(64, WORDS)?;
    let (untraced, _) = Bench::new(false)?.programs(1, 0)?;
    for (cost, ccws, words) in [(short, 1, 0), (long, 64, WORDS)] {
        let insns = nearest(scale.instructions(cost), PROGRAMS);
        let words = ccws * words;
        sclp::println!("bench: proxy ccws={ccws} idaws={words} insns={insns}");
    }
    let insns = scale.instructions(short.saturating_sub(untraced));
    let insns = nearest(insns, records.max(1));
    sclp::println!("bench: trace records={records} insns={insns}");
    Ok(())
}

struct Bench {
    both: Loopback,
    sequence: u32,
}

impl Bench {
    fn new(traced: bool) -> Result<Self, String> {
        // SAFETY: the vectors are set, and this is the one CPU.
        let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
        let devices = css::discover(&mut platform).map_err(|error| error.to_string())?;
        sclp::println!("bench: proxy midaws={}", platform.has_midaws());
        let device = devices.get(..1).ok_or("no subchannel")?;
        let mut bench = Self {
            both: Loopback::new(platform, device, PAGES, traced)?,
            sequence: 0,
        };
        bench.enable()?;
        Ok(bench)
    }

    fn enable(&mut self) -> Result<(), String> {
        let part: SchibPart = self.both.area.read(0).map_err(|error| error.to_string())?;
        let mut schib: Schib = part.schib;
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        self.ask(Instruction::Modify, schib.as_bytes())?;
        Ok(())
    }

    /// Writes a program of so many CCWs with so many address words each.
    fn program(&mut self, ccws: u16, words: u16) -> Result<(), String> {
        let write = |at: u32, bytes: &[u8]| {
            let place = ClientAddress::new(u64::from(at));
            let written = self.both.window.write_bytes(place, bytes);
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

    /// Runs a program of so many CCWs with so many address words each, again and again; clock units that the appliance took,
    /// and records that it wrote.
    fn programs(&mut self, ccws: u16, words: u16) -> Result<(u64, u32), String> {
        self.program(ccws, words)?;
        // The first one is to warm up.
        self.once()?;
        self.records();
        let mut cost = 0;
        for _ in 0..PROGRAMS {
            cost += self.once()?;
        }
        Ok((cost, self.records()))
    }

    /// How many trace records there are that have not been counted. The ring has room for them.
    fn records(&mut self) -> u32 {
        let mut count = 0;
        if let Some(trace) = &mut self.both.trace {
            while let Followed::Record(_) = trace.follow() {
                count += 1;
            }
        }
        count
    }

    /// Starts the program and takes its status; clock units that the appliance took.
    fn once(&mut self) -> Result<u64, String> {
        let flags = OrbFlags::PREFETCH | OrbFlags::FORMAT_2_IDAW;
        let orb = Orb::format_1(1, CCWS, flags, 0xFF);
        let (condition, started) = self.ask(Instruction::Start, orb.as_bytes())?;
        let start = Tod::now();
        self.both.drain();
        let drained = lap(start, Tod::now());
        let pending = self
            .both
            .area
            .word::<Status>(0, offset_of!(Status, pending))
            .map_err(|error| error.to_string())?;
        if condition != 0 || pending.load() != 1 {
            return Err("the program did not end".to_string());
        }
        let (condition, tested) = self.ask(Instruction::Test, &[])?;
        let status: Status = self.both.area.read(0).map_err(|error| error.to_string())?;
        let scsw = status.irb.scsw;
        if condition != 0 || scsw.device_status != 0x0C || scsw.subchannel_status != 0 {
            return Err(alloc::format!("ended with {scsw:?}"));
        }
        Ok(started + drained + tested)
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
        self.both.area.write(0, &command).map_err(wrong)?;
        let asked = self
            .both
            .area
            .word::<Command>(0, offset_of!(Command, sequence));
        asked.map_err(wrong)?.store(self.sequence);
        let _ = self.both.bell.ring();
        let start = Tod::now();
        self.both.turn();
        let cost = lap(start, Tod::now());
        let response: Response = self.both.area.read(0).map_err(wrong)?;
        if response.sequence.get() != self.sequence {
            return Err("no answer".to_string());
        }
        Ok((response.condition.get(), cost))
    }
}
