//! What discovery finds, and how it gets along with a subchannel that is busy.

use channel::{ChannelSubsystem, PmcwFlags, ReportSubject, SubchannelId};

use std::vec::Vec;

use super::*;
use crate::css::while_serving;
use crate::testing::{Disk, Machine, Model, Virtio};

fn disk() -> Virtio {
    Virtio::new(Model::Disk(Disk::new(8)), 1)
}

#[test]
fn devices_of_all_sets_are_found_and_left_disabled() {
    let mut machine = Machine::new();
    let first = machine.attach(0, 0x100, disk());
    let gap = machine.attach(0, 0, disk());
    machine.unplug(gap);
    let second = machine.attach(0, 0x101, disk());
    let third = machine.attach(2, 0x100, disk());
    let devices = discover(&mut machine).unwrap();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    assert_eq!(ids, [first, second, third]);
    assert!(devices.iter().all(|device| device.virtio_id() == Some(2)));
    assert_eq!(std::format!("{}", devices[2].number), "0.2.0100");
    for id in ids {
        let schib = machine.store(id).unwrap();
        assert!(!schib.pmcw.flags().contains(PmcwFlags::ENABLED));
    }
    assert!(machine.pending_interruption().is_none());
}

#[test]
fn a_device_that_hangs_is_listed_and_does_not_stop_the_others() {
    let mut machine = Machine::new();
    let hangs = machine.attach(0, 0x100, disk());
    machine.subchannel(hangs).mishaps.hangs = true;
    machine.subchannel(hangs).mishaps.stuck = true;
    machine.attach(0, 0x101, disk());
    let devices = discover(&mut machine).unwrap();
    assert_eq!(
        devices[0].identity.unwrap_err(),
        IdentityError::SenseId(ProgramError::Stuck)
    );
    assert_eq!(devices[1].virtio_id(), Some(2));
}

#[test]
fn a_device_that_is_plugged_in_and_hangs_does_not_keep_the_others_waiting_for_long() {
    let mut machine = Machine::new();
    machine.attach(0, 0x100, disk());
    let mut inventory = Inventory::discover(&mut machine).unwrap();
    let hangs = machine.attach(0, 0x101, disk());
    machine.subchannel(hangs).mishaps.hangs = true;
    let before = machine.now();
    assert_eq!(
        while_serving(&mut machine, |machine| inventory.look(machine, hangs)),
        Change::Came(1)
    );
    assert!(machine.now() < before.plus_micros(600_000));
    let timeout = IdentityError::SenseId(ProgramError::Timeout);
    assert_eq!(inventory.devices()[1].identity.unwrap_err(), timeout);
}

#[test]
fn enabling_goes_on_through_busy_and_pending_status() {
    let (mut machine, id) = Machine::with(disk());
    machine.pmcw(id).set_flag(PmcwFlags::ENABLED, true);
    machine.subchannel(id).mishaps.busy = 3;
    machine.subchannel(id).mishaps.pending = 2;
    let schib = enable(&mut machine, id, 5).unwrap();
    assert_eq!(schib.pmcw.isc(), 5);
    assert_eq!(schib.pmcw.parameter.get(), id.word());
    assert!(machine.sleeps >= 3);
}

#[test]
fn a_subchannel_that_stays_busy_is_given_up() {
    let (mut machine, id) = Machine::with(disk());
    machine.subchannel(id).mishaps.busy = u32::MAX;
    let refused = enable(&mut machine, id, 3).map(drop);
    assert_eq!(refused, Err(EnableError::Refused(Refusal::Busy)));
    machine.subchannel(id).mishaps.gone = true;
    assert_eq!(
        enable(&mut machine, id, 3).map(drop),
        Err(EnableError::NoDevice)
    );
}

#[test]
fn a_chained_report_names_the_set() {
    let mut machine = Machine::new();
    let ids = [(0, 1), (2, 2)].map(|(set, number)| SubchannelId::new(set, number).unwrap());
    for id in ids {
        machine.report(id);
    }
    machine.lose_reports();
    for id in ids {
        let report = next_report(&mut machine).unwrap();
        assert_eq!(report.subject(), ReportSubject::Subchannel(id));
        assert!(!report.lost);
    }
    assert!(next_report(&mut machine).unwrap().lost);
    assert_eq!(next_report(&mut machine), None);
}

/// Everything that a device is known by.
fn known(inventory: &Inventory) -> Vec<(u16, u16)> {
    let devices = inventory.devices().iter();
    devices
        .map(|device| (device.id.number(), device.number.number))
        .collect()
}

#[test]
fn the_inventory_follows_devices_that_go_come_and_are_exchanged() {
    let mut machine = Machine::new();
    let ids = [0x100, 0x101, 0x102].map(|number| machine.attach(0, number, disk()));
    let mut inventory = Inventory::discover(&mut machine).unwrap();
    machine.subchannel(ids[0]).mishaps.gone = true;
    assert_eq!(inventory.look(&mut machine, ids[0]), Change::Gone(0));
    assert_eq!(inventory.look(&mut machine, ids[0]), Change::Nothing);
    assert_eq!(known(&inventory), [(2, 0x102), (1, 0x101)]);
    machine.subchannel(ids[0]).mishaps.gone = false;
    machine.pmcw(ids[0]).device = 0x200.into();
    assert_eq!(inventory.look(&mut machine, ids[0]), Change::Came(2));
    machine.pmcw(ids[1]).device = 0x201.into();
    assert_eq!(inventory.look(&mut machine, ids[1]), Change::Came(1));
    assert_eq!(known(&inventory), [(2, 0x102), (1, 0x201), (0, 0x200)]);
    assert_eq!(inventory.devices()[2].virtio_id(), Some(2));
    let flags = machine.store(ids[0]).unwrap().pmcw.flags();
    assert!(!flags.contains(PmcwFlags::ENABLED));
}

#[test]
fn there_are_at_most_256_devices_and_one_that_goes_makes_room() {
    let mut machine = Machine::new();
    for number in 0..260 {
        machine.attach(0, number, disk());
    }
    let mut inventory = Inventory::discover(&mut machine).unwrap();
    assert_eq!(inventory.devices().len(), Inventory::MAX);
    let id = |number| SubchannelId::new(0, number).unwrap();
    assert_eq!(inventory.look(&mut machine, id(258)), Change::Nothing);
    machine.subchannel(id(3)).mishaps.gone = true;
    assert_eq!(inventory.look(&mut machine, id(3)), Change::Gone(3));
    assert_eq!(inventory.look(&mut machine, id(258)), Change::Came(255));
}

/// Devices that neither answer nor can be cleared, in the inventory.
fn stuck(machine: &mut Machine, inventory: &mut Inventory, numbers: core::ops::Range<u16>) {
    for number in numbers {
        let id = machine.attach(0, number, disk());
        let mishaps = &mut machine.subchannel(id).mishaps;
        (mishaps.hangs, mishaps.stuck) = (true, true);
        while_serving(machine, |machine| inventory.look(machine, id));
    }
}

#[test]
fn devices_that_cannot_be_cleared_keep_nobody_else_from_being_asked() {
    let mut machine = Machine::new();
    let mut inventory = Inventory::discover(&mut machine).unwrap();
    let free = machine.free;
    stuck(&mut machine, &mut inventory, 0..255);
    let good = machine.attach(0, 0x1000, disk());
    assert_eq!(inventory.look(&mut machine, good), Change::Came(255));
    assert_eq!(inventory.devices()[255].virtio_id(), Some(2));
    let expected = IdentityError::SenseId(ProgramError::Stuck);
    let mut others = inventory.devices()[..255].iter();
    assert!(others.all(|device| device.identity.unwrap_err() == expected));
    assert_eq!(machine.free.abs_diff(free), 15 * 4096, "of 16 pages");
}

#[test]
fn a_device_that_gets_stuck_again_and_again_keeps_no_more_storage_for_that() {
    let mut machine = Machine::new();
    let mut inventory = Inventory::discover(&mut machine).unwrap();
    stuck(&mut machine, &mut inventory, 0..1);
    let id = inventory.devices()[0].id;
    let free = machine.free;
    for _ in 0..1000 {
        for mishap in [false, true] {
            let mishaps = &mut machine.subchannel(id).mishaps;
            (mishaps.hangs, mishaps.stuck) = (mishap, mishap);
            if !mishap {
                // What was stuck ends after all.
                machine.clear(id).unwrap();
            }
            while_serving(&mut machine, |machine| inventory.look(machine, id));
            assert_eq!(inventory.devices()[0].identity.is_err(), mishap);
        }
    }
    assert_eq!(machine.free, free);
}
