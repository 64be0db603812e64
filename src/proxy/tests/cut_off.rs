//! Requests that were open when the appliance died: none that may have been carried out is carried out again.

use std::vec::Vec;

use channel::model::{self, Fault};
use channel::{
    DeviceNumber, FunctionControl, Orb, OrbFlags, PmcwFlags, Refusal, StatusControl, SubchannelId,
    SubchannelStatus,
};
use vcss::client::{Command, Instruction, Response, SchibPart, Status};
use vcss::events::EventSink;
use vcss::layout::Kind;
use vcss::underway::Note;
use vcss::{plan, Area};
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{exported_as, memory};
use crate::control::Slot;
use crate::css::Inventory;
use crate::proxy::client::Client;
use crate::proxy::ctx::Ctx;
use crate::proxy::Proxy;
use crate::testing::{Disk, Machine, Model, Virtio};

const NUMBER: DeviceNumber = DeviceNumber {
    set: 0,
    number: 0x3270,
};
const SEEN: u16 = 0x1000;
/// The request that was open.
const SEQUENCE: u32 = 17;

const NONE: FunctionControl = FunctionControl::empty();
const START: FunctionControl = FunctionControl::START;

/// The areas, which outlive the appliance, and the machine.
struct Fixture {
    machine: Machine,
    control: Area<'static>,
    area: Area<'static>,
}

fn area(plan: &plan::AreaPlan, kind: Kind) -> Area<'static> {
    let window = memory(plan.length() as usize);
    plan.write(window).unwrap();
    Area::open(window, kind).unwrap()
}

impl Fixture {
    /// An earlier life has left the subchannel enabled, with these functions in progress.
    fn new(enabled: bool, functions: FunctionControl) -> Self {
        let mut machine = Machine::new();
        let device = Virtio::new(Model::Disk(Disk::new(8)), 1).of_type(0x3270);
        machine.attach(0, NUMBER.number, device);
        let area = area(&plan::client_area(1), Kind::Client);
        let mut part: SchibPart = area.read(0).unwrap();
        part.schib.pmcw.device = SEEN.into();
        part.schib.pmcw.lpm = 0x80;
        let valid = PmcwFlags::DEVICE_NUMBER_VALID;
        part.schib.pmcw.set_flag(valid, true);
        part.schib.pmcw.set_flag(PmcwFlags::ENABLED, enabled);
        part.functions = u32::from(functions.bits()).into();
        area.write(0, &part).unwrap();
        Self {
            machine,
            control: self::area(&plan::control_area(1, 1, 1), Kind::Control),
            area,
        }
    }

    /// The client asks.
    fn ask(&self, sequence: u32, instruction: Instruction, operand: &[u8]) {
        let mut command = Command::new_zeroed();
        command.instruction = (instruction as u32).into();
        command.operand[..operand.len()].copy_from_slice(operand);
        command.sequence = sequence.into();
        self.area.write(0, &command).unwrap();
    }

    /// A life of the appliance.
    fn live(&mut self) -> Proxy {
        let inventory = Inventory::discover(&mut self.machine).unwrap();
        let program = memory(4096);
        let mut client =
            Client::new("client".into(), 0, self.area.clone(), program, program, 3).unwrap();
        let mut ctx = Ctx::new(&mut self.machine);
        let device = inventory.devices().first();
        let slot = Slot {
            client: 0,
            index: 0,
        };
        client
            .add_pass_through(exported_as(slot, NUMBER, SEEN), device, &mut ctx)
            .unwrap();
        let mut proxy = Proxy::new(std::vec![client], &[], None);
        let (note, cut) = Note::open(&self.control).unwrap();
        proxy.clients.note_requests(
            std::boxed::Box::leak(std::boxed::Box::new(note)),
            cut,
            &mut self.machine,
        );
        proxy
    }

    /// What the client was answered, if it was.
    fn answer(&self) -> Option<u32> {
        let command: Command = self.area.read(0).unwrap();
        let response: Response = self.area.read(0).unwrap();
        let answered = response.sequence == command.sequence;
        answered.then_some(response.condition.get())
    }

    /// The next life asks nothing of the device: how many commands it got.
    fn commands(&mut self) -> usize {
        let id = SubchannelId::new(0, 0).unwrap();
        self.machine.subchannel(id).commands.len()
    }

    fn is_pending(&self) -> bool {
        self.area.read::<Status>(0).unwrap().pending.get() != 0
    }

    fn reports(&self) -> Vec<u32> {
        let mut sink = EventSink::open(&self.area).unwrap();
        core::iter::from_fn(|| sink.take())
            .map(|crw| crw.0)
            .collect()
    }

    /// The client takes its status: function control and subchannel status.
    fn test(&mut self, proxy: &mut Proxy) -> Option<(FunctionControl, SubchannelStatus)> {
        self.ask(SEQUENCE + 1, Instruction::Test, &[]);
        let mut bell = vcss::Bell::of_client(&self.area).unwrap();
        let _ = bell.ring();
        proxy.turn(&mut Vec::new(), &mut self.machine, true);
        let status: Status = self.area.read(0).unwrap();
        let scsw = status.irb.scsw;
        (self.answer() == Some(0)).then(|| {
            assert!(scsw.status().contains(StatusControl::PENDING));
            (scsw.function(), scsw.subchannel())
        })
    }
}

fn orb() -> Orb {
    Orb::format_1(0, 0x100, OrbFlags::PREFETCH, 0xFF)
}

#[test]
fn what_was_begun_is_answered_and_its_functions_end() {
    let check = SubchannelStatus::INTERFACE_CONTROL_CHECK;
    let none = SubchannelStatus::empty();
    let halted = START | FunctionControl::HALT;
    let cleared = FunctionControl::CLEAR;
    for (instruction, before, condition, ends) in [
        (Instruction::Start, NONE, 0, Some((START, check))),
        (Instruction::Start, START, 0, Some((START, check))),
        (Instruction::Halt, START, 0, Some((halted, check))),
        (
            Instruction::Halt,
            NONE,
            0,
            Some((FunctionControl::HALT, none)),
        ),
        (Instruction::Clear, START, 0, Some((cleared, none))),
        (Instruction::Cancel, START, 2, Some((START, check))),
        (Instruction::Cancel, NONE, 0, None),
        (Instruction::Resume, START, 0, Some((START, check))),
        (Instruction::Resume, NONE, 2, None),
        (Instruction::Store, NONE, 0, None),
        (Instruction::Modify, NONE, 2, None),
        (Instruction::Test, START, 1, Some((START, check))),
    ] {
        let mut fixture = Fixture::new(true, before);
        fixture.ask(SEQUENCE, instruction, orb().as_bytes());
        let (note, _) = Note::open(&fixture.control).unwrap();
        note.begin(0, 0, SEQUENCE);
        let mut proxy = fixture.live();
        assert_eq!(fixture.answer(), Some(condition), "{instruction:?}");
        assert_eq!(fixture.is_pending(), ends.is_some(), "{instruction:?}");
        assert_eq!(fixture.test(&mut proxy), ends, "{instruction:?}");
        assert_eq!(fixture.reports(), [0x0384_0000]);
    }
}

#[test]
fn it_is_not_carried_out_again_however_often_the_appliance_dies() {
    let mut fixture = Fixture::new(true, NONE);
    fixture.ask(SEQUENCE, Instruction::Start, orb().as_bytes());
    let (note, _) = Note::open(&fixture.control).unwrap();
    note.begin(0, 0, SEQUENCE);
    drop(fixture.live());
    // It dies again before the client has taken its status.
    let before = fixture.commands();
    let mut proxy = fixture.live();
    let asked = fixture.commands() - before;
    proxy.turn(&mut Vec::new(), &mut fixture.machine, true);
    assert_eq!(fixture.commands() - before, asked, "SENSE ID only");
    let check = SubchannelStatus::INTERFACE_CONTROL_CHECK;
    assert_eq!(fixture.test(&mut proxy), Some((START, check)));
}

#[test]
fn a_disabled_subchannel_and_a_wrong_operand_are_answered_as_ever() {
    for (enabled, transport, condition) in [(false, false, 3), (true, true, Response::OPERAND)] {
        let mut fixture = Fixture::new(enabled, NONE);
        let mut orb = orb();
        orb.set_flags(match transport {
            true => orb.flags() | OrbFlags::TRANSPORT,
            false => orb.flags(),
        });
        fixture.ask(SEQUENCE, Instruction::Start, orb.as_bytes());
        let (note, _) = Note::open(&fixture.control).unwrap();
        note.begin(0, 0, SEQUENCE);
        fixture.live();
        assert_eq!(fixture.answer(), Some(condition));
        assert!(!fixture.is_pending());
    }
}

#[test]
fn what_was_done_and_only_not_said_is_said() {
    // TEST had taken the final status; the functions in the area are older.
    let mut fixture = Fixture::new(true, START);
    fixture.ask(SEQUENCE, Instruction::Test, &[]);
    let (note, _) = Note::open(&fixture.control).unwrap();
    note.begin(0, 0, SEQUENCE);
    note.done(0);
    let mut proxy = fixture.live();
    assert_eq!(fixture.answer(), Some(0));
    assert_eq!(fixture.test(&mut proxy), None, "no status but that");
}

#[test]
fn what_was_not_begun_is_carried_out() {
    let mut fixture = Fixture::new(true, NONE);
    fixture.ask(SEQUENCE, Instruction::Resume, &[]);
    let (note, _) = Note::open(&fixture.control).unwrap();
    // Another one was, and has been answered.
    note.begin(0, 0, SEQUENCE - 1);
    let mut proxy = fixture.live();
    assert_eq!(fixture.answer(), None);
    let refused = Fault::Refuse(model::Instruction::Resume, Refusal::NotOperational);
    let id = SubchannelId::new(0, 0).unwrap();
    fixture.machine.css.inject(id, refused);
    proxy.turn(&mut Vec::new(), &mut fixture.machine, true);
    assert_eq!(fixture.answer(), Some(3), "the machine was asked");
}

#[test]
fn the_client_cannot_change_the_note() {
    // It is not in its area.
    for id in (0..0x100).filter_map(vcss::layout::CapabilityId::from_number) {
        let is_note = id == vcss::layout::CapabilityId::Underway;
        assert!(!is_note || plan::client_area(4).offset(id).is_none());
    }
}

#[test]
fn a_subchannel_that_was_idle_is_told_that_its_device_may_have_lost_its_state() {
    let mut fixture = Fixture::new(true, NONE);
    fixture.live();
    assert_eq!(fixture.reports(), [0x0384_0000]);
    let mut fixture = Fixture::new(false, NONE);
    fixture.live();
    assert!(fixture.reports().is_empty(), "nobody uses it");
}
