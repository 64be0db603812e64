//! Virtual subchannels that the appliance died of, again and again.

use std::boxed::Box;
use std::panic::{catch_unwind, AssertUnwindSafe};

use channel::SubchannelId;
use vcss::client::{Command, Instruction, Response, SchibPart};
use vcss::control::{Condition, ExportKind};
use vcss::layout::Kind;
use vcss::underway::{Note, Served};
use vcss::Area;

use super::{export, Fixture, DISK, GIVEN, OTHER};

pub(super) mod deadly;

/// Entries of the conditions: one disk, two clients, and the exports.
const DEADLY: usize = 3;

/// Client 0 has a device and what is left, client 1 a disk.
fn fixture() -> (Fixture, SubchannelId) {
    let mut disk = export(ExportKind::Block, 1);
    disk.disk = 0.into();
    let given = [
        export(ExportKind::PassThrough, 0),
        export(ExportKind::Any, 0),
        disk,
    ];
    let mut fixture = Fixture::with(2, &[DISK], &[DISK], &given, |_, _| {});
    let id = fixture.plug(GIVEN);
    fixture.plug(OTHER);
    (fixture, id)
}

impl Fixture {
    /// The appliance dies while it does something for a client's virtual subchannel, and is started again.
    fn dies_of(&mut self, client: u16, index: u16) {
        let (note, _) = Note::open(&self.control).unwrap();
        note.begin(client, index, 77);
        self.restart();
    }

    /// The appliance finds that it cannot go on while it does something for this, and is started again.
    pub(super) fn dies_serving(&mut self, what: Served) {
        let (note, _) = Note::open(&self.control).unwrap();
        note.serve(what);
        note.death().store(1);
        self.restart();
    }

    fn deaths(&self, export: usize) -> u32 {
        let entry: Condition = self.control.read((3 + export) as u32).unwrap();
        entry.deaths.get()
    }

    /// Client 0 asks: its answer.
    fn ask(&mut self, index: u32, instruction: Instruction) -> Option<u32> {
        let area = Area::open(self.shared[0], Kind::Client).unwrap();
        let mut command: Command = area.read(index).unwrap();
        command.instruction = (instruction as u32).into();
        command.sequence += 1;
        area.write(index, &command).unwrap();
        let _ = vcss::Bell::of_client(&area).unwrap().ring();
        self.later(0);
        let response: Response = area.read(index).unwrap();
        (response.sequence == command.sequence).then_some(response.condition.get())
    }

    fn has_device(&mut self, index: u32) -> bool {
        assert_eq!(self.ask(index, Instruction::Store), Some(0));
        let area = Area::open(self.shared[0], Kind::Client).unwrap();
        let part: SchibPart = area.read(index).unwrap();
        part.schib.pmcw.has_device()
    }
}

pub(super) const FAILED: &str = "the appliance has died 2 times while it did something for it";

#[test]
fn the_first_death_costs_no_more_than_the_request() {
    let (mut fixture, _) = fixture();
    fixture.dies_of(0, 0);
    assert!(fixture.has_device(0) && fixture.has_device(1));
    assert_eq!(fixture.deaths(0), 1);
    // One that has nothing to do with it is not counted, nor is the first one again.
    fixture.restart();
    assert!(fixture.has_device(0));
    assert_eq!(fixture.deaths(0), 1);
    fixture.later(3_700_000_000);
    assert_eq!(fixture.deaths(0), 0, "forgiven");
}

#[test]
fn after_the_second_death_it_is_out_of_service_and_nobody_else() {
    let (mut fixture, id) = fixture();
    fixture.dies_of(0, 0);
    fixture.dies_of(0, 0);
    let conditions = fixture.conditions();
    assert_eq!(conditions[DEADLY], Err(FAILED.into()));
    assert_eq!(conditions[DEADLY + 1..], [Ok(()), Ok(())]);
    assert!(!fixture.has_device(0) && fixture.has_device(1));
    for instruction in [
        Instruction::Start,
        Instruction::Halt,
        Instruction::Clear,
        Instruction::Cancel,
        Instruction::Resume,
        Instruction::Test,
    ] {
        assert_eq!(fixture.ask(0, instruction), Some(3), "{instruction:?}");
    }
    assert_eq!(fixture.ask(0, Instruction::Modify), Some(0));
    // Its device is kept for it, whatever is reported.
    fixture.report(id);
    fixture.lose_reports();
    let listed = fixture.listed();
    let of = |number| listed.iter().find(|entry| entry.0 == number).unwrap().2;
    assert_eq!((of(GIVEN), of(OTHER)), (Some(0), Some(1)));
    fixture.later(9_000_000);
    assert!(!fixture.has_device(0));
    fixture.later(2_000_000);
    assert!(fixture.has_device(0));
    assert_eq!(fixture.conditions()[DEADLY], Ok(()));
}

#[test]
fn its_pause_grows_with_each_death_and_the_daemon_can_end_it() {
    let (mut fixture, _) = fixture();
    for _ in 0..3 {
        fixture.dies_of(0, 0);
    }
    fixture.later(19_000_000);
    assert!(!fixture.has_device(0));
    fixture.later(2_000_000);
    assert!(fixture.has_device(0));
    for _ in 0..6 {
        fixture.dies_of(0, 0);
    }
    fixture.later(599_000_000);
    assert!(!fixture.has_device(0));
    // Another death meanwhile, of something else, is not its own.
    fixture.restart();
    assert_eq!(fixture.deaths(0), 9);
    assert!(!fixture.has_device(0));
    fixture.retry(DEADLY as u32);
    assert!(fixture.has_device(0));
    assert_eq!(fixture.conditions()[DEADLY], Ok(()));
}

#[test]
fn a_program_that_is_started_once_more_is_counted_as_well() {
    let (mut fixture, _) = fixture();
    let (note, _) = Note::open(&fixture.control).unwrap();
    assert!(note.begin_again(0, 1));
    fixture.restart();
    assert!(note.begin_again(0, 1));
    fixture.restart();
    assert_eq!(fixture.deaths(1), 2);
    assert!(fixture.has_device(0) && !fixture.has_device(1));
    // What it had is not given to another one.
    fixture.later(11_000_000);
    assert!(fixture.has_device(1));
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
}

#[test]
fn a_disk_is_withheld_from_the_client_whose_it_is() {
    let (mut fixture, _) = fixture();
    let is_ready = |fixture: &Fixture| {
        let client = fixture.appliance.plane.proxy.clients.get(1).unwrap();
        client.device(0).unwrap().is_ready()
    };
    assert!(is_ready(&fixture));
    fixture.dies_of(1, 0);
    fixture.dies_of(1, 0);
    assert!(!is_ready(&fixture));
    assert_eq!(fixture.conditions()[DEADLY + 2], Err(FAILED.into()));
    assert_eq!(fixture.conditions()[0], Ok(()), "the disk itself works");
    assert!(fixture.has_device(0));
    fixture.later(11_000_000);
    assert!(is_ready(&fixture));
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
}

#[test]
fn a_disk_that_the_appliance_dies_of_when_it_opens_it_is_not_opened() {
    let (mut fixture, _) = fixture();
    let id = fixture.appliance.plane.disks[0].id.unwrap();
    let hangs = |fixture: &mut Fixture, hangs| {
        fixture.machine.subchannel(id).mishaps.hangs = hangs;
    };
    hangs(&mut fixture, true);
    fixture.restart();
    assert!(fixture.conditions()[0].is_err());
    // The next try is what it dies of.
    fixture.machine.meanwhile = Some(Box::new(|| panic!("it dies")));
    let tried = catch_unwind(AssertUnwindSafe(|| fixture.later(60_000_000)));
    assert!(tried.is_err());
    let (note, _) = Note::open(&fixture.control).unwrap();
    note.death().store(1);
    hangs(&mut fixture, false);
    fixture.restart();
    assert_eq!(
        fixture.conditions(),
        [const { Ok(()) }; 6],
        "it is opened once more"
    );
    fixture.dies_serving(Served::Disk(0));
    let conditions = fixture.conditions();
    assert_eq!(conditions[0], Err(FAILED.into()));
    assert_eq!(
        conditions[DEADLY + 2],
        Err(FAILED.into()),
        "its client's export"
    );
    let others = [1, 2, DEADLY, DEADLY + 1].map(|entry| conditions[entry].is_ok());
    assert_eq!(others, [true; 4]);
    assert!(fixture.has_device(0));
    fixture.later(9_000_000);
    assert_eq!(fixture.conditions()[0], Err(FAILED.into()));
    fixture.later(2_000_000);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
    // And when the daemon asks.
    fixture.dies_serving(Served::Disk(0));
    assert!(fixture.conditions()[0].is_err());
    fixture.retry(0);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
}

#[test]
fn a_client_that_the_appliance_dies_of_when_it_opens_its_area_is_not_served() {
    let (mut fixture, _) = fixture();
    for _ in 0..2 {
        assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
        fixture.dies_serving(Served::Client(0));
    }
    let conditions = fixture.conditions();
    assert_eq!(conditions[1], Err(FAILED.into()));
    assert!(fixture.appliance.plane.proxy.clients.get(0).is_none());
    let client = fixture.appliance.plane.proxy.clients.get(1).unwrap();
    assert!(client.device(0).unwrap().is_ready());
    fixture.later(9_000_000);
    assert_eq!(fixture.conditions()[1], Err(FAILED.into()));
    fixture.later(2_000_000);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
    assert!(fixture.has_device(0));
}

#[test]
fn one_whose_device_came_while_it_was_out_of_service_is_looked_after() {
    let given = [export(ExportKind::PassThrough, 0)];
    let mut fixture = Fixture::with(1, &[], &[], &given, |_, _| {});
    fixture.dies_of(0, 0);
    fixture.dies_of(0, 0);
    let id = fixture.plug(GIVEN);
    assert!(!fixture.appliance.plane.proxy.clients.holds(id));
    fixture.later(11_000_000);
    assert!(fixture.has_device(0));
    assert!(fixture.appliance.plane.proxy.clients.holds(id));
}

#[test]
fn a_try_that_is_asked_for_while_others_are_tried_is_not_lost() {
    let (mut fixture, _) = fixture();
    for what in [
        Served::Disk(0),
        Served::Disk(0),
        Served::Client(0),
        Served::Client(0),
    ] {
        fixture.dies_serving(what);
    }
    let conditions = fixture.conditions();
    assert!(conditions[0].is_err() && conditions[1].is_err());
    let at = core::mem::offset_of!(Condition, retry);
    for entry in [0, 1] {
        let word = fixture.control.word::<Condition>(entry, at).unwrap();
        word.store(word.load() + 1);
    }
    fixture.appliance.tend_disks(&mut fixture.machine);
    fixture.appliance.tend_clients(&mut fixture.machine);
    fixture.later(0);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
}
