//! What the appliance takes out of the control area, and what it shows in it.

use core::mem::offset_of;

use std::boxed::Box;
use std::string::ToString;
use std::vec;

use channel::{DeviceNumber, SenseId, SubchannelId};
use vcss::control::{self, DeviceLife};
use vcss::layout::{Kind, PAGE};
use vcss::{plan, Area};
use window::Window;

use super::{Control, Storage, Subject};
use crate::css::Device;
use crate::driver::block::Recoveries;

/// A control area with one export, as the daemon makes it.
struct Fixture {
    area: Area<'static>,
    storage: Storage,
}

impl Fixture {
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

#[test]
fn a_failed_disk_is_shown_with_its_reason_and_is_tried_when_the_daemon_asks() {
    let fixture = Fixture::new(export(0));
    let control = Control::open(fixture.storage).unwrap();
    let mut conditions = control.conditions();
    let shown = |of| {
        let entry: control::Condition = fixture.area.read(of).unwrap();
        let state = control::ConditionState::from_number(entry.state.get()).unwrap();
        (state, entry.tries.get(), entry.reason().to_string())
    };
    conditions.failed(Subject::Disk(0), "there is no device 0.0.0100");
    conditions.good(Subject::Client(0));
    conditions.failed(Subject::Export(0), "it ends beyond");
    let failed = control::ConditionState::Failed;
    assert_eq!(
        [0, 1, 2].map(shown),
        [
            (failed, 1, "there is no device 0.0.0100".to_string()),
            (control::ConditionState::Good, 1, "".to_string()),
            (failed, 1, "it ends beyond".to_string()),
        ]
    );
    assert!(!conditions.is_asked(Subject::Disk(0)));
    let retry = offset_of!(control::Condition, retry);
    let word = fixture.area.word::<control::Condition>(0, retry).unwrap();
    word.store(word.load().wrapping_add(1));
    assert!(conditions.is_asked(Subject::Disk(0)));
    assert!(!conditions.is_asked(Subject::Disk(0)), "asked once");
    conditions.good(Subject::Disk(0));
    assert_eq!(shown(0), (control::ConditionState::Good, 2, "".to_string()));
    assert_eq!(word.load(), 1, "the word is the daemon's");
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
        is_queued: false,
        runs_within_start: false,
        identity: Ok(SenseId::default()),
    }
}

#[test]
fn the_list_has_the_devices_that_are_there() {
    let fixture = Fixture::new(export(0));
    let mut control = Control::open(fixture.storage).unwrap();
    let listed = || -> std::vec::Vec<u16> {
        (0..)
            .map_while(|index| fixture.area.read::<control::Device>(index).ok())
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
    let fixture = Fixture::new(export(0));
    let listed = |index| {
        let entry: control::Device = fixture.area.read(index).unwrap();
        entry.device.get()
    };
    let mut control = Control::open(fixture.storage).unwrap();
    for index in 0..3 {
        control.show_device(index, &device(index as u16, 0xA80), None);
    }
    control = Control::open(fixture.storage).unwrap();
    control.show_device(0, &device(0, 0xB00), None);
    control.end_devices();
    assert_eq!([0, 1, 2].map(listed), [0xB00, 0, 0]);
}

#[test]
fn what_a_driver_did_to_get_requests_through_is_shown_beside_its_device() {
    let fixture = Fixture::new(export(0));
    let mut control = Control::open(fixture.storage).unwrap();
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
    let entry: control::Device = fixture.area.read(0).unwrap();
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
    let entry: control::Device = fixture.area.read(0).unwrap();
    assert_eq!(entry.life, DeviceLife::Failed as u8);
    assert_eq!((entry.subchannel.get(), entry.pam), (id.word(), 0xC0));
}
