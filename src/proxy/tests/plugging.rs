//! Devices that are plugged in while clients are served: whose they become, and what the clients hear of it.

use std::vec::Vec;

use channel::{DeviceNumber, PmcwFlags, SubchannelId};
use vcss::client::SchibPart;
use vcss::control::ExportKind;
use vcss::events::EventSink;
use vcss::layout::Kind;
use vcss::{plan, Area};

use super::fixture::{exported, exported_as, memory};
use crate::control::Slot;
use crate::css::{Change, Inventory};
use crate::proxy::client::Client;
use crate::proxy::ctx::Ctx;
use crate::proxy::Proxy;
use crate::testing::{Disk, Machine, Model, Virtio};

const ISC: u8 = 3;
/// What the first client is given by its number, and how it sees it.
const GIVEN: DeviceNumber = DeviceNumber {
    set: 0,
    number: 0x3270,
};
const SEEN: u16 = 0x1000;
/// Control-unit types: a device that a client can have; two that it cannot.
const TERMINAL: u16 = 0x3270;
const VIRTIO: u16 = 0x3832;
const OSA: u16 = 0x1731;

/// Two clients: the first has one virtual subchannel, for one device; the second two, for what is left.
struct Fixture {
    machine: Machine,
    inventory: Inventory,
    proxy: Proxy,
    areas: Vec<Area<'static>>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_areas(Machine::new(), [1, 2].map(area).into())
    }

    /// A life of the appliance.
    fn with_areas(mut machine: Machine, areas: Vec<Area<'static>>) -> Self {
        let inventory = Inventory::discover(&mut machine).unwrap();
        let devices = inventory.devices();
        let mut clients = Vec::new();
        for (number, area) in (0..).zip(&areas) {
            let program = memory(4096);
            let client = Client::new("client".into(), number, area.clone(), program, program, ISC);
            clients.push(client.unwrap());
        }
        let given = devices.iter().find(|device| device.number == GIVEN);
        let mut free = devices.iter().filter(|device| device.number != GIVEN);
        for (client, index) in [(0, 0), (1, 0), (1, 1)] {
            let slot = Slot { client, index };
            let (export, device) = if client == 0 {
                (exported_as(slot, GIVEN, SEEN), given)
            } else {
                (exported(slot, ExportKind::Any), free.next())
            };
            let mut ctx = Ctx::new(&mut machine);
            clients[usize::from(client)]
                .add_pass_through(export, device, &mut ctx)
                .unwrap();
        }
        Self {
            proxy: Proxy::new(clients, &[], None),
            inventory,
            machine,
            areas,
        }
    }

    /// Plugs a device in; whether somebody gets it.
    fn plug(&mut self, number: u16) -> (SubchannelId, bool) {
        self.plug_of_type(number, TERMINAL)
    }

    fn plug_of_type(&mut self, number: u16, control_unit: u16) -> (SubchannelId, bool) {
        let id = self.machine.attach(0, number, device(control_unit));
        (id, self.take_in(id))
    }

    fn take_in(&mut self, id: SubchannelId) -> bool {
        let Change::Came(place) = self.inventory.look(&mut self.machine, id) else {
            return false;
        };
        let device = &self.inventory.devices()[place];
        self.proxy.clients.plug(&mut self.machine, device)
    }

    fn unplug(&mut self, id: SubchannelId) {
        self.machine.subchannel(id).mishaps.gone = true;
        self.proxy.clients.report(&mut self.machine, id);
        self.inventory.look(&mut self.machine, id);
    }

    /// Who has which device: client, virtual subchannel, device number.
    fn held(&self) -> Vec<(u16, u16, u16)> {
        let all = self
            .proxy
            .clients
            .passed_through()
            .filter(|(.., it)| !it.is_gone());
        all.map(|(client, index, it)| (client, index, it.device().number))
            .collect()
    }

    /// Channel reports that a client finds.
    fn reports(&self, client: usize) -> Vec<u32> {
        let mut sink = EventSink::open(&self.areas[client]).unwrap();
        core::iter::from_fn(|| sink.take())
            .map(|crw| crw.0)
            .collect()
    }
}

fn device(control_unit: u16) -> Virtio {
    Virtio::new(Model::Disk(Disk::new(8)), 1).of_type(control_unit)
}

fn area(subchannels: u32) -> Area<'static> {
    let plan = plan::client_area(subchannels);
    let window = memory(plan.length() as usize);
    plan.write(window).unwrap();
    Area::open(window, Kind::Client).unwrap()
}

#[test]
fn a_device_goes_to_the_client_that_the_configuration_names() {
    let mut fixture = Fixture::new();
    assert!(fixture.held().is_empty());
    fixture.plug(0x200);
    fixture.plug(0x3270);
    fixture.plug(0x201);
    let all = [(0, 0, 0x3270), (1, 0, 0x200), (1, 1, 0x201)];
    assert_eq!(fixture.held(), all);
    assert_eq!(fixture.reports(0), [0x0384_0000]);
    assert_eq!(fixture.reports(1), [0x0384_0000, 0x0384_0001]);
}

#[test]
fn what_is_for_nobody_stays_with_nobody() {
    let mut fixture = Fixture::new();
    assert!(fixture.plug(0x200).1 && fixture.plug(0x201).1);
    assert!(
        !fixture.plug(0x202).1,
        "not even with a place that is another device's"
    );
    assert_eq!(fixture.held().len(), 2);
}

#[test]
fn devices_that_change_places_stay_with_their_clients() {
    let mut fixture = Fixture::new();
    let (one, _) = fixture.plug(0x3270);
    let (two, _) = fixture.plug(0x200);
    for id in [one, two] {
        fixture.unplug(id);
        fixture.machine.subchannel(id).mishaps.gone = false;
    }
    fixture.machine.pmcw(one).device = 0x200.into();
    fixture.machine.pmcw(two).device = 0x3270.into();
    assert!(fixture.take_in(one) && fixture.take_in(two));
    assert_eq!(fixture.held(), [(0, 0, 0x3270), (1, 0, 0x200)]);
    assert_eq!(fixture.reports(0).len(), 3, "came, gone, came");
}

#[test]
fn a_place_whose_device_is_gone_is_given_to_another_one() {
    let mut fixture = Fixture::new();
    let (gone, _) = fixture.plug(0x200);
    fixture.plug(0x201);
    fixture.unplug(gone);
    assert!(fixture.plug(0x202).1);
    assert_eq!(fixture.held(), [(1, 0, 0x202), (1, 1, 0x201)]);
}

#[test]
fn a_client_whose_device_is_not_there_after_a_restart_hears_of_it() {
    let areas = [1, 2].map(area);
    let mut part: SchibPart = areas[0].read(0).unwrap();
    part.schib.pmcw.device = SEEN.into();
    let valid = PmcwFlags::DEVICE_NUMBER_VALID;
    part.schib.pmcw.set_flag(valid, true);
    areas[0].write(0, &part).unwrap();
    let mut fixture = Fixture::with_areas(Machine::new(), areas.into());
    assert_eq!(fixture.reports(0), [0x0384_0000], "gone");
    let part: SchibPart = fixture.areas[0].read(0).unwrap();
    assert!(!part.schib.pmcw.has_device());
    fixture.plug(0x3270);
    assert_eq!(fixture.held(), [(0, 0, 0x3270)]);
    assert_eq!(fixture.reports(0), [0x0384_0000], "back");
}

#[test]
fn a_client_whose_virtual_subchannel_has_another_device_after_a_restart_hears_of_it() {
    let areas = [1, 2].map(area);
    for (index, number) in [(0, 0x200), (1, 0x201)] {
        let mut part: SchibPart = areas[1].read(index).unwrap();
        part.schib.pmcw.device = number.into();
        let valid = PmcwFlags::DEVICE_NUMBER_VALID;
        part.schib.pmcw.set_flag(valid, true);
        areas[1].write(index, &part).unwrap();
    }
    let mut machine = Machine::new();
    machine.attach(0, 0x201, device(TERMINAL));
    let fixture = Fixture::with_areas(machine, areas.into());
    assert_eq!(fixture.held(), [(1, 0, 0x201)]);
    assert_eq!(fixture.reports(1), [0x0384_0000, 0x0384_0001]);
}

#[test]
fn devices_whose_data_name_storage_are_nobodys() {
    let mut fixture = Fixture::new();
    for (number, control_unit) in [(0x3270, VIRTIO), (0x200, VIRTIO), (0x201, OSA)] {
        let (_, given) = fixture.plug_of_type(number, control_unit);
        assert!(!given, "{control_unit:04x}");
    }
    assert!(fixture.held().is_empty());
    assert!(fixture.reports(0).is_empty() && fixture.reports(1).is_empty());
}

#[test]
fn a_subchannel_for_queued_direct_io_is_nobodys_whatever_its_device_says() {
    let mut fixture = Fixture::new();
    let id = fixture.machine.attach(0, 0x200, device(TERMINAL));
    let pmcw = fixture.machine.pmcw(id);
    pmcw.set_flag(PmcwFlags::QDIO, true);
    assert!(!fixture.take_in(id));
    assert!(fixture.held().is_empty());
}

#[test]
fn at_bring_up_a_client_gets_no_device_whose_data_name_storage() {
    let mut machine = Machine::new();
    machine.attach(0, 0x3270, device(VIRTIO));
    machine.attach(0, 0x200, device(VIRTIO));
    machine.attach(0, 0x201, device(TERMINAL));
    let fixture = Fixture::with_areas(machine, [1, 2].map(area).into());
    assert_eq!(fixture.held(), [(1, 1, 0x201)]);
    let part: SchibPart = fixture.areas[0].read(0).unwrap();
    assert!(!part.schib.pmcw.has_device());
}
