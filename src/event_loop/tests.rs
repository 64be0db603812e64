//! The appliance on a machine of software, and channel reports.

use std::boxed::Box;
use std::vec::Vec;

use channel::{Crw, PmcwFlags, SubchannelId};
use vcss::control::{Client, Device, Disk, Export, ExportKind};
use vcss::layout::{Extent, Kind, Name, PAGE};
use vcss::{plan, Area};
use window::Window;
use zerocopy::FromZeros;

use super::{Appliance, Tuning};
use crate::control::Storage;
use crate::css::Inventory;
use crate::driver::fake::{self, Console, Machine, Model, Virtio};
use crate::driver::virtio_serial::LINK_PORT;

/// The number of the disk, of what the client is given, and of something else.
const DISK: u16 = 0x100;
const GIVEN: u16 = 0x3270;
const OTHER: u16 = 0x200;
/// Channel reports were lost.
const OVERFLOW: Crw = Crw(0x2384_0000);

/// A link on subchannel 0, a disk on 1; one client, which gets [`GIVEN`] and what is left.
struct Scene {
    machine: Machine,
    control: Area<'static>,
    appliance: Appliance,
}

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new();
        machine.attach(
            0,
            2,
            Virtio::new(Model::Console(Console::new(&[LINK_PORT])), 64),
        );
        machine.attach(0, DISK, disk());
        let (control, storage) = areas();
        let inventory = Inventory::discover(&mut machine).unwrap();
        let tuning = Tuning::default();
        let appliance = Appliance::bring_up(&mut machine, inventory, storage, tuning).unwrap();
        Self {
            machine,
            control,
            appliance,
        }
    }

    fn plug(&mut self, number: u16) -> SubchannelId {
        let id = self.machine.attach(0, number, disk());
        self.report(id);
        id
    }

    fn report(&mut self, id: SubchannelId) {
        let crw = Crw(0x0384_0000 | u32::from(id.number()));
        self.machine.reports.push_back(crw);
        self.appliance.reports(&mut self.machine);
    }

    /// Another device is on the subchannel now; nobody has heard of it.
    fn exchange(&mut self, id: SubchannelId, number: u16) {
        let schib = &mut self.machine.subchannel(id).schib;
        schib.pmcw.device = number.into();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, false);
    }

    /// The list as the daemon sees it: device number, subchannel, and the virtual subchannel of the client that has it.
    fn listed(&self) -> Vec<(u16, u16, Option<u16>)> {
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

fn disk() -> Virtio {
    Virtio::new(Model::Disk(fake::Disk::new(8)), 64)
}

/// Control area, client area and a window, as the daemon lays them out.
fn areas() -> (Area<'static>, Storage) {
    let (control, client) = (plan::control_area(1, 1, 2), plan::client_area(2));
    let length = control.length() + client.length() + PAGE;
    let bytes = std::vec![0_u8; (length + PAGE) as usize].leak();
    let front = bytes.as_ptr().align_offset(PAGE as usize);
    let bytes = &mut bytes[front..front + length as usize];
    let start = bytes.as_mut_ptr().expose_provenance() as u64;
    let (first, second) = bytes.split_at_mut(control.length() as usize);
    let window: &'static Window = Box::leak(Box::new(Window::leaked(first, start)));
    control.write(window).unwrap();
    let there = start + control.length();
    client.write(&Window::leaked(second, there)).unwrap();
    let area = Area::open(window, Kind::Control).unwrap();
    describe(&area, there, client.length());
    // SAFETY: leaked memory, to which there are no references.
    (area, unsafe { Storage::new(start, start + length) })
}

fn describe(area: &Area<'_>, client: u64, length: u64) {
    let memory = Extent::new(client + length, PAGE);
    let entry = Client {
        name: Name::new("client").unwrap(),
        area: Extent::new(client, length),
        window: memory,
        program: memory,
        reserved: [0; 48],
    };
    area.write(0, &entry).unwrap();
    let disk = Disk {
        name: Name::new("data").unwrap(),
        device: DISK.into(),
        set: 0,
        reserved: [0; 29],
    };
    area.write(0, &disk).unwrap();
    for (index, kind) in [(0, ExportKind::PassThrough), (1, ExportKind::Any)] {
        let mut export = Export::new_zeroed();
        export.kind = (kind as u32).into();
        export.disk = Export::NO_DISK.into();
        export.device = GIVEN.into();
        export.owned_device = GIVEN.into();
        area.write(index, &export).unwrap();
    }
}

#[test]
fn what_is_not_there_keeps_nothing_else_from_being_served() {
    let mut scene = Scene::new();
    assert_eq!(scene.listed(), [(2, 0, None), (DISK, 1, None)]);
    assert_eq!(scene.appliance.disks.len(), 1);
    scene.plug(GIVEN);
    assert_eq!(scene.listed()[2..], [(GIVEN, 2, Some(0))]);
    scene.plug(OTHER);
    assert_eq!(
        scene.listed()[2..],
        [(GIVEN, 2, Some(0)), (OTHER, 3, Some(1))]
    );
}

#[test]
fn a_device_that_has_gone_is_off_the_list_and_is_found_again_elsewhere() {
    let mut scene = Scene::new();
    let id = scene.plug(GIVEN);
    scene.plug(OTHER);
    scene.machine.subchannel(id).mishaps.gone = true;
    scene.report(id);
    assert_eq!(scene.listed()[2..], [(OTHER, 3, Some(1))]);
    scene.plug(GIVEN);
    assert_eq!(
        scene.listed()[2..],
        [(OTHER, 3, Some(1)), (GIVEN, 4, Some(0))]
    );
}

#[test]
fn devices_that_have_changed_places_are_told_apart_after_lost_reports() {
    let mut scene = Scene::new();
    let (given, other) = (scene.plug(GIVEN), scene.plug(OTHER));
    scene.exchange(given, OTHER);
    scene.exchange(other, GIVEN);
    // And one more, of which nobody hears either.
    scene.machine.attach(0, 0x201, disk());
    scene.machine.reports.push_back(OVERFLOW);
    scene.appliance.reports(&mut scene.machine);
    let expected = [(OTHER, 2, Some(1)), (GIVEN, 3, Some(0)), (0x201, 4, None)];
    assert_eq!(scene.listed()[2..], expected);
}

#[test]
fn the_subchannel_of_a_disk_is_not_for_other_devices() {
    let mut scene = Scene::new();
    let disk = SubchannelId::new(0, 1).unwrap();
    scene.exchange(disk, OTHER);
    scene.report(disk);
    assert_eq!(scene.listed(), [(2, 0, None), (DISK, 1, None)]);
    let pmcw = scene.machine.subchannel(disk).schib.pmcw;
    assert!(!pmcw.flags().contains(PmcwFlags::ENABLED));
    // Nor is its number for others, wherever it turns up.
    scene.plug(DISK);
    assert_eq!(scene.listed()[2..], [(DISK, 2, None)]);
}

#[test]
fn a_device_that_its_client_has_not_enabled_is_asked_again_what_it_is() {
    let mut scene = Scene::new();
    let id = scene.plug(GIVEN);
    let before = scene.machine.subchannel(id).commands.len();
    scene.report(id);
    assert!(scene.machine.subchannel(id).commands.len() > before);
    assert_eq!(scene.listed()[2..], [(GIVEN, 2, Some(0))]);
}
