//! What the appliance takes out of the control area, and what it shows in it.

use std::boxed::Box;
use std::string::ToString;
use std::vec;

use channel::{DeviceNumber, SenseId, SubchannelId};
use vcss::control::{self, DeviceLife};
use vcss::layout::{Kind, PAGE};
use vcss::{plan, Area};
use window::Window;

use super::{Control, Exported, Storage};
use crate::css::Device;
use crate::driver::block::Recoveries;

/// A control area with one export, as the daemon makes it.
struct Scene {
    area: Area<'static>,
    storage: Storage,
}

impl Scene {
    fn new(export: control::Export) -> Self {
        let plan = plan::control_area(1, 1, 1);
        let bytes = vec![0_u8; (plan.length() + PAGE) as usize].leak();
        let front = bytes.as_ptr().align_offset(PAGE as usize);
        let bytes = &mut bytes[front..front + plan.length() as usize];
        let start = bytes.as_mut_ptr().expose_provenance() as u64;
        let window: &'static Window = Box::leak(Box::new(Window::leaked(bytes, start)));
        plan.write(window).unwrap();
        let area = Area::open(window, Kind::Control).unwrap();
        area.write(0, &export).unwrap();
        // SAFETY: leaked memory, to which there are no references.
        let storage = unsafe { Storage::new(start, start + plan.length()) };
        Self { area, storage }
    }
}

fn export(partition: u8) -> control::Export {
    control::Export {
        client: 0.into(),
        disk: 0.into(),
        device: 0.into(),
        queues: 1.into(),
        flags: 0.into(),
        kind: 0.into(),
        start: 0.into(),
        sectors: 0.into(),
        serial: [0; 20],
        owned_device: 0.into(),
        owned_set: 0,
        partition,
        reserved: [0; 8],
    }
}

/// Where an export of partition `wanted` is, on a disk of 1000 sectors with the partition 2.
fn place(wanted: u8) -> Result<(u64, u64), String> {
    let control = Control::open(Scene::new(export(wanted)).storage).unwrap();
    let disks = [("data".to_string(), 1000)];
    let partition = |_, number| (number == 2).then_some((96, 480));
    let exports = control.exports(&disks, partition);
    let exports = exports.map_err(|error| error.to_string())?;
    match &exports[0].2 {
        Exported::Block(export) => Ok((export.start, export.sectors)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_partition_is_where_its_disk_says() {
    assert_eq!(place(0), Ok((0, 1000)));
    assert_eq!(place(2), Ok((96, 480)));
}

#[test]
fn a_partition_that_is_not_there_is_refused_by_its_name() {
    let text = "disk data has no partition 3 that can be served";
    assert_eq!(place(3), Err(text.to_string()));
}

fn device(subchannel: u16, number: u16) -> Device {
    Device {
        id: SubchannelId::new(0, subchannel).unwrap(),
        number: DeviceNumber { set: 0, number },
        path_mask: 0xC0,
        pim: 0xC0,
        pam: 0xC0,
        pom: 0xC0,
        chpids: [0; 8],
        identity: Ok(SenseId::default()),
    }
}

#[test]
fn the_list_has_the_devices_that_are_there() {
    let scene = Scene::new(export(0));
    let mut control = Control::open(scene.storage).unwrap();
    let listed = || -> std::vec::Vec<u16> {
        (0..)
            .map_while(|index| scene.area.read::<control::Device>(index).ok())
            .take_while(|entry| entry.subchannel.get() != 0)
            .map(|entry| entry.device.get())
            .collect()
    };
    for (index, number) in [0xA80, 0xA81, 0xA82].into_iter().enumerate() {
        control.show_device(index, &device(index as u16, number), None);
    }
    control.forget_device(0);
    assert_eq!(listed(), [0xA82, 0xA81]);
    control.forget_device(1);
    control.show_device(0, &device(2, 0xB00), None);
    assert_eq!(listed(), [0xB00]);
    control.forget_device(0);
    control.forget_device(0);
    assert_eq!(listed(), []);
}

#[test]
fn what_an_earlier_life_had_listed_is_gone() {
    let scene = Scene::new(export(0));
    let listed = |index| {
        let entry: control::Device = scene.area.read(index).unwrap();
        entry.device.get()
    };
    let mut control = Control::open(scene.storage).unwrap();
    for index in 0..3 {
        control.show_device(index, &device(index as u16, 0xA80), None);
    }
    control = Control::open(scene.storage).unwrap();
    control.show_device(0, &device(0, 0xB00), None);
    control.end_devices();
    assert_eq!([0, 1, 2].map(listed), [0xB00, 0, 0]);
}

#[test]
fn what_a_driver_did_to_get_requests_through_is_shown_beside_its_device() {
    let scene = Scene::new(export(0));
    let mut control = Control::open(scene.storage).unwrap();
    let device = device(7, 0xA80);
    let id = device.id;
    control.show_device(0, &device, Some((0, 1000)));
    let mut done = Recoveries {
        retries: 5,
        other_paths: 2,
        waits: 1,
        timeouts: 3,
        failures: 4,
        broken: false,
    };
    control.show_disk(id, &done);
    let entry: control::Device = scene.area.read(0).unwrap();
    let shown = &entry.recoveries;
    let counts = [
        shown.retries,
        shown.other_paths,
        shown.waits,
        shown.timeouts,
        shown.failures,
    ];
    assert_eq!(counts.map(|count| count.get()), [5, 2, 1, 3, 4]);
    assert_eq!(entry.life, DeviceLife::Online as u8);
    done.broken = true;
    control.show_disk(id, &done);
    let entry: control::Device = scene.area.read(0).unwrap();
    assert_eq!(entry.life, DeviceLife::Failed as u8);
    assert_eq!((entry.subchannel.get(), entry.pam), (id.word(), 0xC0));
}
