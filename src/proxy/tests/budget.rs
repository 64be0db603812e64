//! What one client's requests take of a turn.

use std::boxed::Box;
use std::vec::Vec;

use channel::{Ccw1, CcwFlags, CommandCode, Orb, OrbFlags, PmcwFlags};
use s390x::clock::Tod;
use vcss::client::{Command, Instruction, Response, SchibPart};
use vcss::control::ExportKind;
use vcss::layout::Kind;
use vcss::{plan, Area, Bell};
use window::{ClientAddress, Window};
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{exported, memory};
use crate::control::Slot;
use crate::css::Inventory;
use crate::css::Platform;
use crate::proxy::client::Client;
use crate::proxy::ctx::Ctx;
use crate::proxy::Proxy;
use crate::testing::{Disk, Machine, Model, Virtio};

const COUNT: u32 = 4;

/// One client with some devices.
struct Fixture {
    machine: Machine,
    area: Area<'static>,
    program: &'static Window,
    proxy: Proxy,
}

impl Fixture {
    /// The devices' programs do not end. There are arenas for them, or none.
    fn new(arenas: bool) -> Self {
        let mut machine = Machine::new();
        for number in 0..COUNT as u16 {
            let device = Virtio::new(Model::Disk(Disk::new(8)), 1).of_type(0x3270);
            machine.attach(0, number, device);
        }
        let plan = plan::client_area(COUNT);
        let window = memory(plan.length() as usize);
        plan.write(window).unwrap();
        let area = Area::open(window, Kind::Client).unwrap();
        // Where a CCW can name it.
        let bytes = Box::leak(std::vec![0; 4096].into_boxed_slice());
        let program: &'static Window = Box::leak(Box::new(Window::leaked(bytes, 0x10_0000)));
        let mut client =
            Client::new("client".into(), 0, area.clone(), program, program, 3).unwrap();
        let inventory = Inventory::discover(&mut machine).unwrap();
        for (index, device) in (0..).zip(inventory.devices()) {
            let mut ctx = Ctx::new(&mut machine);
            let export = exported(Slot { client: 0, index }, ExportKind::Any);
            client
                .add_pass_through(export, Some(device), &mut ctx)
                .unwrap();
        }
        if arenas {
            client.place_arenas();
        }
        for subchannel in machine.subchannels.values_mut() {
            subchannel.mishaps.hangs = true;
        }
        Self {
            machine,
            area,
            program,
            proxy: Proxy::new(std::vec![client], &[], None),
        }
    }

    /// Stores a request of each subchannel's, and rings.
    fn ask(&self, instruction: Instruction, operand: impl Fn(u32) -> Vec<u8>) {
        for index in 0..COUNT {
            let before: Command = self.area.read(index).unwrap();
            let mut command = Command::new_zeroed();
            command.instruction = (instruction as u32).into();
            let operand = operand(index);
            command.operand[..operand.len()].copy_from_slice(&operand);
            command.sequence = before.sequence + 1;
            self.area.write(index, &command).unwrap();
        }
        let _ = Bell::of_client(&self.area).unwrap().ring();
    }

    /// Enables all subchannels.
    fn enable(&mut self) {
        self.ask(Instruction::Modify, |index| {
            let mut schib = self.area.read::<SchibPart>(index).unwrap().schib;
            schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
            schib.as_bytes().into()
        });
        self.turn();
        assert_eq!(self.answered(), [0, 1, 2, 3], "none of that is long");
    }

    fn turn(&mut self) -> bool {
        let Self { machine, proxy, .. } = self;
        proxy.turn(&mut Vec::new(), machine, true).worked
    }

    /// Which requests have been answered.
    fn answered(&self) -> Vec<u32> {
        let is_answered = |&index: &u32| {
            let command: Command = self.area.read(index).unwrap();
            let response: Response = self.area.read(index).unwrap();
            response.sequence == command.sequence
        };
        (0..COUNT).filter(is_answered).collect()
    }

    /// Which programs a turn looks at. For that the SCHIB is stored, and nothing else stores it while they run.
    fn looked_at(&mut self) -> Vec<usize> {
        let before: Vec<u32> = self.stores();
        self.turn();
        let counts = before.into_iter().zip(self.stores()).enumerate();
        counts
            .flat_map(|(index, (before, after))| (before..after).map(move |_| index))
            .collect()
    }

    fn stores(&self) -> Vec<u32> {
        let all = self.machine.subchannels.values();
        all.map(|subchannel| subchannel.stores).collect()
    }
}

#[test]
fn long_programs_share_out_over_turns() {
    let mut fixture = Fixture::new(false);
    fixture.enable();
    let nop = Ccw1::new(CommandCode::NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0);
    fixture.program.write(ClientAddress::new(0), &nop).unwrap();
    // On the developer's machine there is no arena: of each program three CCWs are looked at, and the budget is one for that.
    let orb = Orb::format_1(0, 0, OrbFlags::PREFETCH, 0xFF);
    fixture.ask(Instruction::Start, |_| orb.as_bytes().into());
    assert!(fixture.turn());
    assert_eq!(fixture.answered(), [0, 1, 2], "so many in a turn");
    assert!(fixture.turn());
    assert_eq!(fixture.answered(), [0, 1, 2, 3], "nobody has rung again");
    fixture.turn();
    assert!(!fixture.turn(), "there is no more");
    assert!(!fixture.proxy.arm_wakeup());
}

#[test]
fn of_programs_that_may_change_one_is_looked_at_at_a_time() {
    let mut fixture = Fixture::new(true);
    fixture.enable();
    let nop = Ccw1::new(CommandCode::NOP, CcwFlags::SLI, 1, 0);
    fixture.program.write(ClientAddress::new(0), &nop).unwrap();
    let orb = Orb::format_1(0, 0, OrbFlags::empty(), 0x80);
    fixture.ask(Instruction::Start, |_| orb.as_bytes().into());
    while fixture.answered().len() < COUNT as usize {
        assert!(fixture.turn());
    }
    let all = fixture.proxy.clients.passed_through();
    assert_eq!(all.filter(|(_, _, of)| of.is_changing()).count(), 4);
    // A look takes that long.
    let took = 1_000;
    fixture.machine.store_micros = took;
    let mut looks = Vec::new();
    for _ in 0..2 * COUNT {
        let from = fixture.proxy.clients.tending.from;
        fixture.machine.pause(from);
        let now = fixture.machine.now();
        let looked_at = fixture.looked_at();
        assert_eq!(looked_at.len(), 1, "{looked_at:?}");
        looks.extend(looked_at);
        let from = now.plus_micros(took + 3 * took);
        assert_eq!(fixture.proxy.clients.tending.from, from);
        // None before that, though the turns go on.
        for before in [2 * took, 1] {
            fixture
                .machine
                .pause(Tod::from_micros(from.as_micros() - before));
            assert!(fixture.looked_at().is_empty());
        }
    }
    // Each in its turn.
    let first = looks[0];
    let expected = (first..first + looks.len()).map(|number| number % 4);
    assert!(expected.eq(looks.iter().copied()), "{looks:?}");
}
