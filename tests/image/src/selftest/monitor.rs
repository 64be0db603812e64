//! The operator's console on the machine itself: commands are answered up to one that changes something, `log off`.

use core::cell::RefCell;

use super::{test, Fixture, Outcome, Tally, Test};
use appliance::boot::program::{Innards, Program, ThisImage};
use appliance::boot::{listen, wake};
use appliance::control::listed;
use appliance::css::{Hardware, Inventory, Platform};
use appliance::monitor::view::{Client, Disk, Export, Queue, Request, Summary};
use appliance::monitor::{Acts, Mode, Operator, OperatorConsole, View};
use channel::{ChannelSubsystem, Schib, SubchannelId};
use log::LevelFilter;
use s390x::clock::Tod;
use s390x::control::Cr6;
use vcss::control::{self, Life};
use vcss::trace::TraceEntry;

/// How long somebody may take to type, in microseconds.
const PATIENCE: u64 = 20_000_000;
/// Below this there is storage, and nothing but this program's.
const OWN: u64 = 1 << 20;

const TESTS: &[Test<Machine>] = &[test("commands are answered at the console", answers)];

/// The machine without anything that serves.
struct Machine {
    platform: RefCell<Hardware>,
    inventory: Inventory,
    /// What the command that ends this has said.
    level: Option<LevelFilter>,
}

impl Fixture for Machine {}

pub(super) fn run(tally: &mut Tally) {
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let inventory = match Inventory::discover(&mut platform) {
        Ok(inventory) => inventory,
        Err(error) => return tally.note("", "discovery", Err(error.into())),
    };
    let mut machine = Machine {
        platform: RefCell::new(platform),
        inventory,
        level: None,
    };
    tally.run("", &mut machine, TESTS);
}

fn answers(machine: &mut Machine) -> Outcome {
    sclp::println!("monitor: type commands, the last one \"log off\"");
    let mut operator = OperatorConsole::new(Mode::Change, &ThisImage, wake, listen);
    let end = Tod::now().plus_micros(PATIENCE);
    // Until the answer to the last one is out.
    while machine.level.is_none() || operator.due() != Tod::NEVER {
        let now = Tod::now();
        if now >= end {
            return Err("nobody typed anything".into());
        }
        if operator.due() <= now {
            operator.attend(machine);
            continue;
        }
        let until = operator.due().min(end);
        let woken = machine.platform.get_mut().wait(Some(until));
        operator.woken(woken);
    }
    super::ensure(
        "the level that was typed",
        machine.level == Some(LevelFilter::Off),
    )
}

impl View for Machine {
    fn now(&self) -> Tod {
        Tod::now()
    }

    fn summary(&self) -> Summary<'_> {
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            life: Life::Starting,
            up_us: ThisImage.up_us(),
            about: control::Appliance::default(),
            at_disks: 0,
        }
    }

    fn device(&self, place: u32) -> Option<control::Device> {
        let device = self.inventory.devices().get(place as usize)?;
        Some(listed(device, None, None))
    }

    fn disk_count(&self) -> usize {
        0
    }

    fn disk(&self, _: usize) -> Option<Disk<'_>> {
        None
    }

    fn client(&self, _: usize) -> Option<Client<'_>> {
        None
    }

    fn export(&self, _: usize) -> Option<Export<'_>> {
        None
    }

    fn queue(&self, _: usize, _: u16) -> Option<Queue> {
        None
    }

    fn each_request(&self, _: &mut dyn FnMut(Request)) {}

    fn newest_traced(&self) -> u32 {
        0
    }

    fn traced(&self, _: u32) -> Option<TraceEntry> {
        None
    }

    fn each_log_line(&self, act: &mut dyn FnMut(&str)) {
        ThisImage.each_log_line(act);
    }

    fn schib(&self, id: SubchannelId) -> Option<Schib> {
        self.platform.borrow_mut().store(id).ok()
    }

    fn innards(&self) -> Innards {
        ThisImage.innards()
    }

    fn bytes(&self, address: u64, to: &mut [u8]) -> bool {
        address < OWN && ThisImage.bytes(address, to)
    }
}

impl Acts for Machine {
    fn set_log_level(&mut self, level: LevelFilter) {
        self.level = Some(level);
    }
}
