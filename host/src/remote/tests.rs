//! The commands against a stand-in for the appliance, which has one terminal and runs programs by itself.

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Irb, Orb,
    PmcwFlags, Schib, StatusControl,
};
use dasd_tools::model::Volume;
use vcss::client::{Command, Instruction};
use vcss::control::Device;
use vcss::trace::{DriverState, Recorder, TraceEntry, TraceEvent};
use vcss::Area;
use window::ClientAddress;
use zerocopy::{FromBytes, FromZeros};

use super::*;
mod maintenance;
use crate::api::{Function, Outcome};
use crate::areas::{program_offset, ClientArea};
use crate::cli::tests::program;
use crate::cli::trace::TraceView;
use crate::cli::view::OutcomeView;
use crate::daemon::trace::Tracer;
use crate::testing::{eventually, Fixture, Requests};

const TERMINAL: &str = "0.0.3270";
const IDENTITY: [u8; 7] = [0xFF, 0x32, 0x70, 0, 0, 0, 0];
/// The daemon's index among the fixture's clients, and its virtual subchannel for the terminal.
const HOST_CLIENT: u16 = 1;
const PLACE: u32 = 2;

struct Terminal {
    client: ClientArea,
    /// The virtual subchannel.
    place: u32,
    /// What it really is, and the control area with its loan.
    disk: Option<(Arc<Mutex<Volume>>, Area<'static>)>,
    stop: Arc<AtomicBool>,
    schib: Schib,
    /// A program without end runs.
    runs: Arc<AtomicBool>,
    pending: Option<Irb>,
}

/// Channel end and device end, or what else.
fn ended(function: FunctionControl, device: DeviceStatus, at: u32, count: u16) -> Irb {
    let mut irb = Irb::default();
    irb.scsw.program = at.into();
    irb.scsw.count = count.into();
    irb.scsw.device_status = device.bits();
    let mut status = StatusControl::PENDING;
    if !device.is_empty() {
        status |= StatusControl::PRIMARY | StatusControl::SECONDARY;
    }
    irb.scsw
        .set_controls(function, ActivityControl::empty(), status);
    irb
}

impl Terminal {
    fn serve(mut self) {
        let requests = Requests::new(&self.client.area, self.place);
        while !self.stop.load(Ordering::Relaxed) {
            self.lend();
            if let Some(command) = requests.next() {
                let condition = self.instruction(&requests, &command);
                requests.pending.store(u32::from(self.pending.is_some()));
                requests.answer(condition);
            }
        }
    }

    fn instruction(&mut self, requests: &Requests, command: &Command) -> u32 {
        let instruction = Instruction::from_number(command.instruction.get()).unwrap();
        let enabled = self.schib.pmcw.flags().contains(PmcwFlags::ENABLED);
        match instruction {
            Instruction::Store | Instruction::Modify => {
                if instruction == Instruction::Modify {
                    self.schib = Schib::read_from_prefix(&command.operand).unwrap().0;
                }
                requests.show_schib(self.schib);
                return 0;
            }
            _ if !enabled => return 3,
            Instruction::Test => {
                let none = self.pending.is_none();
                requests.show_status(self.pending.take().unwrap_or_default());
                return u32::from(none);
            }
            Instruction::Clear => {
                self.runs.store(false, Ordering::Relaxed);
                self.pending = Some(ended(FunctionControl::CLEAR, DeviceStatus::empty(), 0, 0));
                return 0;
            }
            _ if self.pending.is_some() => return 1,
            Instruction::Start if self.runs.load(Ordering::Relaxed) => return 2,
            Instruction::Start => self.start(&Orb::read_from_prefix(&command.operand).unwrap().0),
            Instruction::Halt => {
                let both = FunctionControl::START | FunctionControl::HALT;
                self.pending = Some(ended(both, DeviceStatus::CHANNEL_END, 0, 0));
                self.runs.store(false, Ordering::Relaxed);
            }
            Instruction::Cancel if self.runs.load(Ordering::Relaxed) => {
                self.runs.store(false, Ordering::Relaxed);
            }
            Instruction::Cancel | Instruction::Resume => return 2,
        }
        0
    }

    fn start(&mut self, orb: &Orb) {
        if let Some((volume, _)) = &self.disk {
            self.pending = Some(maintenance::run(&self.client, &volume.clone(), orb));
            return;
        }
        let base = program_offset(&self.client.area);
        let fine = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let mut at = orb.program.get();
        loop {
            let place = ClientAddress::new(base + u64::from(at));
            let ccw: Ccw1 = self.client.window.read(place).unwrap();
            at += 8;
            let data = ClientAddress::new(base + u64::from(ccw.address.get()));
            let mut left = 0;
            match CommandCode(ccw.command) {
                CommandCode::NOP => {}
                CommandCode::TIC => {
                    self.runs.store(true, Ordering::Relaxed);
                    return;
                }
                CommandCode::SENSE_ID => {
                    self.client.window.write_bytes(data, &IDENTITY).unwrap();
                    left = ccw.count.get() - IDENTITY.len() as u16;
                }
                _ => {
                    let check = fine | DeviceStatus::UNIT_CHECK;
                    self.pending = Some(ended(FunctionControl::START, check, at, ccw.count.get()));
                    return;
                }
            }
            if !ccw.flags().contains(CcwFlags::CC) {
                self.pending = Some(ended(FunctionControl::START, fine, at, left));
                return;
            }
        }
    }
}

struct Stage {
    fixture: Fixture,
    host: HostClient,
    stop: Arc<AtomicBool>,
    runs: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Ends the stand-in.
    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

/// An owned subchannel as the appliance lists it.
fn device(number: u16, disk: u16, client: u16) -> Device {
    let mut entry = Device::new_zeroed();
    entry.subchannel = (0x0001_0000 | u32::from(number)).into();
    entry.device = number.into();
    entry.disk = disk.into();
    entry.client = client.into();
    entry.index = (PLACE as u16).into();
    entry
}

fn stage() -> Stage {
    let fixture = Fixture::new();
    let (none, disk) = (Device::NO_DISK, 0);
    let devices = [
        device(0x0002, none, Device::NO_CLIENT),
        device(0x0100, disk, Device::NO_CLIENT),
        device(0x3270, none, HOST_CLIENT),
        device(0x3271, none, 0),
    ];
    for (index, entry) in devices.iter().enumerate() {
        fixture.areas.control.write(index as u32, entry).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let runs = Arc::new(AtomicBool::new(false));
    let terminal = Terminal {
        client: fixture.areas.host.clone(),
        place: PLACE,
        disk: None,
        stop: Arc::clone(&stop),
        schib: Schib::default(),
        runs: Arc::clone(&runs),
        pending: None,
    };
    let host = HostClient::new(&fixture.config, &fixture.areas, fixture.bell.clone()).unwrap();
    Stage {
        host,
        stop,
        runs,
        thread: Some(std::thread::spawn(move || terminal.serve())),
        fixture,
    }
}

fn until_it_runs(stage: &Stage) {
    eventually("it runs", || stage.runs.load(Ordering::Relaxed));
}

const SOON: Duration = Duration::from_secs(10);
/// NOP, and back to it.
const ENDLESS: [&str; 2] = ["0340000100000000", "0800000000000000"];

fn run(stage: &Stage, words: &[&str]) -> Result<Outcome, String> {
    let outcome = stage.host.run(TERMINAL, &program(words), SOON);
    outcome.map_err(|error| format!("{error:#}"))
}

#[test]
fn a_program_runs_and_its_data_comes_back() {
    let stage = stage();
    let outcome = run(&stage, &["nop", "sense-id"]).unwrap();
    assert_eq!(outcome.trouble(), None);
    assert_eq!(outcome.data.len(), 1);
    assert_eq!(outcome.data[0].ccw, 1);
    assert_eq!(outcome.data[0].bytes, IDENTITY);
    let shown = OutcomeView::new(outcome);
    let json = serde_json::to_value(&shown).unwrap();
    let scsw = &json["irb"]["scsw"];
    assert_eq!(scsw["ccw_address"], "10");
    let status = serde_json::json!(["channel end", "device end"]);
    assert_eq!(scsw["device_status"], status);
    let text = shown.text();
    assert!(text.contains("0000  ff327000 000000"), "{text}");
    assert!(text.contains("|.2p....|"), "{text}");
}

#[test]
fn a_program_that_ends_badly_says_how() {
    let stage = stage();
    let outcome = run(&stage, &["sense-id", "write:F3:00", "sense"]).unwrap();
    let trouble = outcome.trouble().unwrap();
    assert_eq!(trouble, "the program ended with unit check");
    assert_eq!(outcome.data.len(), 1, "what was read before it");
}

#[test]
fn a_program_that_runs_is_halted_by_another_command() {
    let stage = stage();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&stage, &ENDLESS));
        until_it_runs(&stage);
        stage.host.instruct(TERMINAL, Function::Halt).unwrap();
        let outcome = running.join().unwrap().unwrap();
        let trouble = outcome.trouble().unwrap();
        assert!(trouble.contains("halt"), "{trouble}");
    });
}

#[test]
fn a_second_program_has_to_wait_for_the_first() {
    let stage = stage();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&stage, &ENDLESS));
        until_it_runs(&stage);
        let refused = run(&stage, &["nop"]).unwrap_err();
        assert!(refused.contains("a program runs on 0.0.3270"), "{refused}");
        stage.host.instruct(TERMINAL, Function::Cancel).unwrap();
        let outcome = running.join().unwrap().unwrap();
        assert_eq!(outcome.trouble().unwrap(), "the program was cancelled");
    });
    assert!(run(&stage, &["nop"]).is_ok(), "and then it may");
}

#[test]
fn a_program_without_an_end_is_cleared() {
    let stage = stage();
    let short = Duration::from_millis(50);
    let outcome = stage.host.run(TERMINAL, &program(&ENDLESS), short);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("was cleared"), "{error}");
    assert!(run(&stage, &["nop"]).is_ok());
}

#[test]
fn a_refused_instruction_says_which_and_why() {
    let stage = stage();
    let refused = |function| {
        let answer = stage.host.instruct(TERMINAL, function);
        answer.unwrap_err().to_string()
    };
    assert_eq!(
        refused(Function::Halt),
        "halt 0.0.3270: not operational (cc 3)"
    );
    run(&stage, &["nop"]).unwrap();
    assert_eq!(refused(Function::Resume), "resume 0.0.3270: busy (cc 2)");
}

#[test]
fn somebody_elses_device_is_out_of_reach() {
    let stage = stage();
    let error = |device: &str| stage.host.schib(device).unwrap_err().to_string();
    assert!(error("3270").contains("no device number"));
    assert!(error("0.0.4711").contains("it has 0.0.0002, 0.0.0100, 0.0.3270, 0.0.3271"));
    assert!(error("0.0.0100").contains("disk \"data\""));
    assert!(error("0.0.3271").contains("client \"linux1\""));
    assert!(error("0.0.0002").contains("the appliance uses it itself"));
    assert!(stage.host.schib(TERMINAL).is_ok());
}

#[test]
fn a_program_lost_with_the_appliance_is_told_of() {
    let stage = stage();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&stage, &ENDLESS));
        until_it_runs(&stage);
        let generation = crate::areas::generation(&stage.fixture.areas.host.area).unwrap();
        generation.store(generation.load() + 1);
        let error = running.join().unwrap().unwrap_err();
        assert!(error.contains("started anew"), "{error}");
    });
}

#[test]
fn the_trace_names_device_client_event_and_state() {
    let stage = stage();
    let control = &stage.fixture.areas.control;
    let mut recorder = Recorder::open(control).unwrap();
    let names = vec!["linux1".into(), "host".into()];
    let mut tracer = Tracer::open(control, names).unwrap();
    assert_eq!(tracer.line(), None);
    recorder.record(&vcss::trace::Record {
        subchannel: 0x0001_3270,
        event: TraceEvent::Request(Instruction::Start),
        before: DriverState::Idle,
        after: DriverState::Busy,
        condition: 0,
        client: HOST_CLIENT,
        tod: (3661 * 1_000_000 + 5) << 12,
        words: [0xC0_8000, 0, 0],
    });
    // What no appliance writes today.
    let entry: TraceEntry = control.read(1).unwrap();
    let unknown = TraceEntry {
        sequence: 2.into(),
        event: 0x7FFF.into(),
        condition: TraceEntry::NO_CONDITION,
        client: TraceEntry::NO_CLIENT.into(),
        before: 77,
        after: 77,
        ..entry
    };
    control.write(2, &unknown).unwrap();
    let line = TraceView::new(tracer.line().unwrap()).to_string();
    assert!(
        line.starts_with("1900-01-01T01:01:01.000005Z  0.0.3270  host "),
        "{line}"
    );
    assert!(
        line.contains("start") && line.contains("cc 0  idle > busy"),
        "{line}"
    );
    assert!(line.contains("00000000 00c08000"), "{line}");
    let line = TraceView::new(tracer.line().unwrap()).to_string();
    assert!(
        line.contains("event 0x7fff") && line.contains("state 77"),
        "{line}"
    );
    assert_eq!(tracer.line(), None);
}
