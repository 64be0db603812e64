//! The appliance on a machine of software, and channel reports.

mod configuration;
mod constant;
mod dead;
mod leaving;
mod lending;
mod operator;
mod paths;
mod reports;
mod resized;
mod run;
mod suspects;
mod watched;

use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;

use channel::{PmcwFlags, SubchannelId};
use vcss::control::{
    Client, ClientMemory, Condition, ConditionState, Device, Disk, Export, ExportKind,
};
use vcss::layout::{Extent, Kind, Name, PAGE};
use vcss::{plan, Area};
use window::{ClientAddress, Window};
use zerocopy::FromZeros;

use super::{Appliance, Tuning};
use crate::control::Storage;
use crate::css::Inventory;
use crate::css::Platform;
use crate::driver::virtio_serial::LINK_PORT;
use crate::testing::{self, Console, Machine, Model, Virtio};

/// The number of the disk, of what the client is given, and of something else.
const DISK: u16 = 0x100;
const GIVEN: u16 = 0x3270;
const OTHER: u16 = 0x200;

/// A link on subchannel 0, disks behind it; clients, and what they are given.
struct Fixture {
    machine: Machine,
    control: Area<'static>,
    /// The clients' areas as memory.
    shared: Vec<&'static Window>,
    storage: Storage,
    appliance: Appliance,
}

impl Fixture {
    /// One disk; one client, which gets [`GIVEN`] and what is left.
    fn new() -> Self {
        let given = [ExportKind::PassThrough, ExportKind::Any].map(|kind| export(kind, 0));
        Self::with(1, &[DISK], &[DISK], &given, |_, _| {})
    }

    /// The disks are those that the control area names; of them, those that are there are there. `spoil` gets the control area
    /// and the clients' areas before the appliance comes up.
    fn with(
        clients: u16,
        disks: &[u16],
        there: &[u16],
        exports: &[Export],
        spoil: impl FnOnce(&Area<'static>, &[&'static Window]),
    ) -> Self {
        Self::on(Machine::new(), clients, disks, there, exports, spoil)
    }

    /// The same on this machine.
    fn on(
        mut machine: Machine,
        clients: u16,
        disks: &[u16],
        there: &[u16],
        exports: &[Export],
        spoil: impl FnOnce(&Area<'static>, &[&'static Window]),
    ) -> Self {
        machine.attach(
            0,
            2,
            Virtio::new(Model::Console(Console::new(&[LINK_PORT])), 64),
        );
        for &number in there {
            machine.attach(0, number, disk());
        }
        let (control, shared, storage) = areas(clients, disks, exports);
        spoil(&control, &shared);
        let inventory = Inventory::discover(&mut machine).unwrap();
        let tuning = Tuning::default();
        let appliance = Appliance::bring_up(&mut machine, inventory, storage, tuning).unwrap();
        Self {
            machine,
            control,
            shared,
            storage,
            appliance,
        }
    }

    /// The appliance's next life.
    fn restart(&mut self) {
        self.machine.reports.clear();
        let inventory = Inventory::discover(&mut self.machine).unwrap();
        let (machine, storage) = (&mut self.machine, self.storage);
        let tuning = Tuning::default();
        self.appliance = Appliance::bring_up(machine, inventory, storage, tuning).unwrap();
    }

    /// The daemon asks for a try.
    fn retry(&mut self, entry: u32) {
        let at = core::mem::offset_of!(Condition, retry);
        let word = self.control.word::<Condition>(entry, at).unwrap();
        word.store(word.load() + 1);
        self.later(0);
    }

    /// The conditions of disks, clients and exports: whether each is served, or why not.
    fn conditions(&self) -> Vec<Result<(), String>> {
        let all = 0..self.control.count::<Condition>();
        let all = all.map(|index| self.control.read::<Condition>(index).unwrap());
        all.map(
            |entry| match ConditionState::from_number(entry.state.get()) {
                Some(ConditionState::Good | ConditionState::Unknown) => Ok(()),
                Some(ConditionState::Failed) => Err(entry.reason().to_string()),
                None => panic!("{entry:?}"),
            },
        )
        .collect()
    }

    /// So many microseconds later, the house is kept.
    fn later(&mut self, micros: u64) {
        self.appliance.drain(&mut self.machine);
        let then = self.machine.now().plus_micros(micros);
        self.machine.pause(then);
        let Self {
            appliance, machine, ..
        } = self;
        appliance.plane.turn(machine);
        assert!(!appliance.keep_house(machine));
    }

    fn plug(&mut self, number: u16) -> SubchannelId {
        let id = self.machine.attach(0, number, device(number));
        self.report(id);
        id
    }

    fn report(&mut self, id: SubchannelId) {
        self.machine.report(id);
        self.hear_reports();
    }

    /// Reports were lost.
    fn lose_reports(&mut self) {
        self.machine.lose_reports();
        self.hear_reports();
    }

    /// The appliance deals with all reports there are.
    fn hear_reports(&mut self) {
        self.appliance.reports(&mut self.machine);
        while self.appliance.reports.is_busy() {
            self.appliance.reports(&mut self.machine);
        }
    }

    /// Another device is on the subchannel now; nobody has heard of it.
    fn exchange(&mut self, id: SubchannelId, number: u16) {
        self.machine.exchange(id, number, device(number));
    }

    /// The list as the daemon sees it: device number, subchannel, and the virtual subchannel of the client that has it.
    fn listed(&mut self) -> Vec<(u16, u16, Option<u16>)> {
        self.appliance.show_devices();
        (0..)
            .map_while(|index| self.control.read::<Device>(index).ok())
            .take_while(|entry| entry.subchannel.get() != 0)
            .map(|entry| {
                let given = entry.client.get() == 0;
                let subchannel = entry.subchannel.get() as u16;
                (
                    entry.device.get(),
                    subchannel,
                    given.then(|| entry.index.get()),
                )
            })
            .collect()
    }
}

/// The device with a number: those of disks are below those of what clients can have.
fn device(number: u16) -> Virtio {
    if number < OTHER {
        disk()
    } else {
        terminal()
    }
}

fn terminal() -> Virtio {
    disk().of_type(0x3270)
}

fn disk() -> Virtio {
    Virtio::new(Model::Disk(testing::Disk::new(8)), 64)
}

/// Control area, client areas with a window each, as the daemon lays them out.
fn areas(
    clients: u16,
    disks: &[u16],
    exports: &[Export],
) -> (Area<'static>, Vec<&'static Window>, Storage) {
    let plan = plan::control_area(clients.into(), disks.len() as u32, exports.len() as u32);
    let each = plan::client_area(2);
    let length = plan.length() + u64::from(clients) * (each.length() + PAGE);
    let bytes = std::vec![0_u8; (length + PAGE) as usize].leak();
    let front = bytes.as_ptr().align_offset(PAGE as usize);
    let bytes = &mut bytes[front..front + length as usize];
    let start = bytes.as_mut_ptr().expose_provenance() as u64;
    let (first, mut rest) = bytes.split_at_mut(plan.length() as usize);
    let window: &'static Window = Box::leak(Box::new(Window::leaked(first, start)));
    plan.write(window).unwrap();
    let area = Area::open(window, Kind::Control).unwrap();
    let mut shared = Vec::new();
    for index in 0..clients {
        let there = rest.as_mut_ptr().expose_provenance() as u64;
        let (own, behind) = rest.split_at_mut(each.length() as usize);
        let own: &'static Window = Box::leak(Box::new(Window::leaked(own, there)));
        each.write(own).unwrap();
        shared.push(own);
        rest = behind.split_at_mut(PAGE as usize).1;
        let memory = Extent::new(there + each.length(), PAGE);
        let entry = Client {
            name: Name::new("client").unwrap(),
            area: Extent::new(there, each.length()),
            window: memory,
            program: memory,
            flags: 0.into(),
            reserved: [0; 44],
        };
        area.write(index.into(), &entry).unwrap();
        let there = ClientMemory {
            length: PAGE.into(),
            ..ClientMemory::default()
        };
        area.write(index.into(), &there).unwrap();
    }
    for (index, &device) in (0..).zip(disks) {
        let disk = Disk {
            name: Name::new("data").unwrap(),
            device: device.into(),
            set: 0,
            reserved: [0; 29],
        };
        area.write(index, &disk).unwrap();
    }
    for (index, export) in (0..).zip(exports) {
        area.write(index, export).unwrap();
    }
    // SAFETY: leaked memory, to which there are no references.
    (area, shared, unsafe { Storage::new(start, start + length) })
}

/// An export to a client: of [`GIVEN`], or of the disk with the client's number.
fn export(kind: ExportKind, client: u16) -> Export {
    let mut export = Export::new_zeroed();
    export.kind = (kind as u32).into();
    export.client = client.into();
    export.disk = match kind {
        ExportKind::Block => client,
        _ => Export::NO_DISK,
    }
    .into();
    export.device = GIVEN.into();
    export.owned_device = GIVEN.into();
    export
}

#[test]
fn what_is_not_there_keeps_nothing_else_from_being_served() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.listed(), [(2, 0, None), (DISK, 1, None)]);
    assert_eq!(fixture.appliance.plane.disks.len(), 1);
    fixture.plug(GIVEN);
    assert_eq!(fixture.listed()[2..], [(GIVEN, 2, Some(0))]);
    fixture.plug(OTHER);
    assert_eq!(
        fixture.listed()[2..],
        [(GIVEN, 2, Some(0)), (OTHER, 3, Some(1))]
    );
}

#[test]
fn a_device_that_has_gone_is_off_the_list_and_is_found_again_elsewhere() {
    let mut fixture = Fixture::new();
    let id = fixture.plug(GIVEN);
    fixture.plug(OTHER);
    fixture.machine.subchannel(id).mishaps.gone = true;
    fixture.report(id);
    assert_eq!(fixture.listed()[2..], [(OTHER, 3, Some(1))]);
    fixture.plug(GIVEN);
    assert_eq!(
        fixture.listed()[2..],
        [(OTHER, 3, Some(1)), (GIVEN, 4, Some(0))]
    );
}

#[test]
fn devices_that_have_changed_places_are_told_apart_after_lost_reports() {
    let mut fixture = Fixture::new();
    let (given, other) = (fixture.plug(GIVEN), fixture.plug(OTHER));
    fixture.exchange(given, OTHER);
    fixture.exchange(other, GIVEN);
    // And one more, of which nobody hears either.
    fixture.machine.attach(0, 0x201, terminal());
    fixture.lose_reports();
    let expected = [(OTHER, 2, Some(1)), (GIVEN, 3, Some(0)), (0x201, 4, None)];
    assert_eq!(fixture.listed()[2..], expected);
}

#[test]
fn a_disk_that_was_exchanged_is_found_elsewhere_and_what_is_there_now_goes_to_whom_it_is_for() {
    let mut fixture = Fixture::new();
    let disk = SubchannelId::new(0, 1).unwrap();
    fixture.exchange(disk, OTHER);
    fixture.report(disk);
    assert_eq!(fixture.listed(), [(2, 0, None), (OTHER, 1, Some(1))]);
    fixture.later(0);
    assert!(fixture.conditions()[0].is_err());
    // The disk's number is for the disk, wherever it turns up.
    fixture.plug(DISK);
    fixture.later(0);
    assert_eq!(fixture.conditions()[0], Ok(()));
    assert_eq!(
        fixture.listed()[1..],
        [(OTHER, 1, Some(1)), (DISK, 2, None)]
    );
}

#[test]
fn a_disk_that_is_not_there_has_failed_and_is_served_when_it_comes() {
    let given = [0, 1].map(|client| export(ExportKind::Block, client));
    let mut fixture = Fixture::with(2, &[DISK, 0x101], &[0x101], &given, |_, _| {});
    let gone = Err("there is no device 0.0.0100".to_string());
    let expected = [gone.clone(), Ok(()), Ok(()), Ok(()), gone, Ok(())];
    assert_eq!(fixture.conditions(), expected);
    let is_ready = |fixture: &Fixture, client| {
        let client = fixture.appliance.plane.proxy.clients.get(client).unwrap();
        client.device(0).unwrap().is_ready()
    };
    assert!(!is_ready(&fixture, 0) && is_ready(&fixture, 1));
    fixture.later(4_000_000);
    assert!(fixture.conditions()[0].is_err(), "still");
    fixture.plug(DISK);
    fixture.later(0);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
    assert!(is_ready(&fixture, 0));
}

#[test]
fn a_failed_disk_is_tried_every_few_seconds_and_when_the_daemon_asks() {
    let given = [export(ExportKind::Block, 0)];
    let mut fixture = Fixture::with(1, &[DISK], &[], &given, |_, _| {});
    let tries = |fixture: &Fixture| {
        let entry: Condition = fixture.control.read(0).unwrap();
        entry.tries.get()
    };
    assert_eq!(tries(&fixture), 1);
    fixture.later(1_000_000);
    assert_eq!(tries(&fixture), 1);
    fixture.retry(0);
    assert_eq!(tries(&fixture), 2);
    fixture.later(4_000_000);
    assert_eq!(tries(&fixture), 3);
    // Nobody has heard of it.
    let id = fixture.machine.attach(0, DISK, disk());
    fixture.appliance.inventory.look(&mut fixture.machine, id);
    fixture.later(4_000_000);
    assert_eq!(fixture.conditions()[0], Ok(()));
}

#[test]
fn a_disk_that_breaks_is_opened_anew() {
    let given = [export(ExportKind::Block, 0)];
    let mut fixture = Fixture::with(1, &[DISK], &[DISK], &given, |_, _| {});
    let id = SubchannelId::new(0, 1).unwrap();
    fixture.machine.subchannel(id).mishaps.gone = true;
    fixture.report(id);
    fixture.later(0);
    assert!(fixture.conditions()[0].is_err());
    fixture.later(4_000_000);
    assert_eq!(
        fixture.conditions()[0],
        Err("there is no device 0.0.0100".to_string())
    );
    fixture.machine.subchannel(id).mishaps.gone = false;
    fixture.report(id);
    fixture.later(0);
    assert_eq!(fixture.conditions()[0], Ok(()));
    assert!(!fixture.appliance.plane.disks[0].driver.is_broken());
}

#[test]
fn a_slice_that_does_not_fit_is_its_clients_trouble() {
    // The disks have 8 sectors, which is one block.
    let mut beyond = export(ExportKind::Block, 0);
    beyond.start = 4.into();
    beyond.sectors = 5.into();
    let mut fits = export(ExportKind::Block, 1);
    fits.disk = 0.into();
    let mut within = export(ExportKind::Block, 3);
    within.disk = 0.into();
    within.start = 4.into();
    let mut partition = export(ExportKind::Block, 2);
    partition.disk = 0.into();
    partition.partition = 1;
    let given = [beyond, fits, partition, within];
    let fixture = Fixture::with(4, &[DISK], &[DISK], &given, |_, _| {});
    let conditions = fixture.conditions();
    assert_eq!(conditions[..5], [const { Ok(()) }; 5]);
    assert_eq!(
        conditions[5..],
        [
            Err("the slice ends beyond the disk's 8 sectors".to_string()),
            Ok(()),
            Err("the disk has no partition 1 that can be served".to_string()),
            Err("the slice does not begin and end on the disk's blocks of 4096 bytes".to_string()),
        ]
    );
}

#[test]
fn a_client_whose_area_is_spoilt_keeps_nobody_else_from_being_served() {
    let given = [0, 1].map(|client| export(ExportKind::Block, client));
    let numbers = [DISK, 0x101];
    let mut fixture = Fixture::with(2, &numbers, &numbers, &given, |_, shared| {
        let nothing = [0; 64];
        shared[0]
            .write_bytes(ClientAddress::new(0), &nothing)
            .unwrap();
    });
    let is_served =
        |fixture: &Fixture, client| fixture.appliance.plane.proxy.clients.get(client).is_some();
    assert!(!is_served(&fixture, 0) && is_served(&fixture, 1));
    let reason = fixture.conditions()[2].clone().unwrap_err();
    assert!(reason.starts_with("its area is spoilt: "), "{reason}");
    fixture.later(4_000_000);
    assert!(!is_served(&fixture, 0));
    // The daemon writes it anew.
    plan::client_area(2).write(fixture.shared[0]).unwrap();
    fixture.later(4_000_000);
    assert!(is_served(&fixture, 0));
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
    let client = fixture.appliance.plane.proxy.clients.get(0).unwrap();
    assert!(client.device(0).unwrap().is_ready());
}

#[test]
fn two_disks_that_have_changed_places_are_both_found() {
    let given = [0, 1].map(|client| export(ExportKind::Block, client));
    let numbers = [DISK, 0x101];
    let mut fixture = Fixture::with(2, &numbers, &numbers, &given, |_, _| {});
    let ids = [1, 2].map(|number| SubchannelId::new(0, number).unwrap());
    fixture.exchange(ids[0], 0x101);
    fixture.exchange(ids[1], DISK);
    fixture.lose_reports();
    fixture.later(0);
    fixture.later(4_000_000);
    fixture.later(4_000_000);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
    assert_eq!(fixture.listed()[1..], [(0x101, 1, None), (DISK, 2, None)]);
    // And a try of one has not disturbed the other.
    for id in ids {
        let pmcw = *fixture.machine.pmcw(id);
        assert!(pmcw.flags().contains(PmcwFlags::ENABLED), "{id}");
    }
}

#[test]
fn a_lost_disk_whose_subchannel_another_one_has_does_not_disturb_that_one() {
    let given = [0, 1].map(|client| export(ExportKind::Block, client));
    let mut fixture = Fixture::with(2, &[DISK, 0x101], &[DISK], &given, |_, _| {});
    let id = SubchannelId::new(0, 1).unwrap();
    // The first one goes, and the second one is plugged in where it was.
    fixture.exchange(id, 0x101);
    fixture.report(id);
    for _ in 0..4 {
        fixture.later(4_000_000);
    }
    assert!(fixture.conditions()[0].is_err());
    assert_eq!(fixture.conditions()[1], Ok(()));
    let pmcw = *fixture.machine.pmcw(id);
    assert!(pmcw.flags().contains(PmcwFlags::ENABLED));
    assert!(!fixture.appliance.plane.disks[1].driver.is_broken());
}

#[test]
fn a_device_that_its_client_has_not_enabled_is_asked_again_what_it_is() {
    let mut fixture = Fixture::new();
    let id = fixture.plug(GIVEN);
    let before = fixture.machine.subchannel(id).commands.len();
    fixture.report(id);
    assert!(fixture.machine.subchannel(id).commands.len() > before);
    assert_eq!(fixture.listed()[2..], [(GIVEN, 2, Some(0))]);
}

#[test]
fn the_host_gets_no_virtio_device_either() {
    let mut fixture = Fixture::new();
    let id = fixture.machine.attach(0, OTHER, disk());
    fixture.report(id);
    assert_eq!(fixture.listed()[2..], [(OTHER, 2, None)]);
    // The place is for others still.
    fixture.plug(0x201);
    assert_eq!(
        fixture.listed()[2..],
        [(OTHER, 2, None), (0x201, 3, Some(1))]
    );
}

#[test]
fn a_device_that_does_not_say_what_it_is_is_nobodys_until_it_does() {
    let given = [ExportKind::PassThrough, ExportKind::Any].map(|kind| export(kind, 0));
    let mut fixture = Fixture::with(1, &[], &[], &given, |_, _| {});
    for number in [GIVEN, OTHER] {
        let id = fixture.machine.attach(0, number, device(number));
        fixture.machine.subchannel(id).mishaps.hangs = true;
        fixture.report(id);
    }
    fixture.later(0);
    assert_eq!(fixture.listed()[1..], [(GIVEN, 1, None), (OTHER, 2, None)]);
    let reason = fixture.conditions()[1].clone().unwrap_err();
    let expected = "0.0.3270 has not said what it is: SENSE ID: ";
    assert!(reason.starts_with(expected), "{reason}");
    let commands = |fixture: &mut Fixture| {
        let id = SubchannelId::new(0, 1).unwrap();
        fixture.machine.subchannel(id).commands.len()
    };
    let before = commands(&mut fixture);
    fixture.later(1_000_000);
    assert_eq!(
        commands(&mut fixture),
        before,
        "it is left alone for a while"
    );
    // The daemon asks.
    for number in [1, 2] {
        let id = SubchannelId::new(0, number).unwrap();
        fixture.machine.subchannel(id).mishaps.hangs = false;
    }
    fixture.retry(1);
    fixture.later(0);
    assert_eq!(
        fixture.listed()[1..],
        [(GIVEN, 1, Some(0)), (OTHER, 2, None)]
    );
    assert_eq!(fixture.conditions(), [Ok(()), Ok(()), Ok(())]);
    // For whom nobody asks is asked later.
    fixture.later(60_000_000);
    assert_eq!(fixture.listed()[2..], [(OTHER, 2, Some(1))]);
}
