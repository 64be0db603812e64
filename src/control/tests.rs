//! What the appliance takes out of the control area, and what it shows in it.

use core::mem::offset_of;

use std::boxed::Box;
use std::string::ToString;
use std::vec;

use channel::{DeviceNumber, SenseId, SubchannelId};
use vcss::control::{self, DeviceLife};
use vcss::layout::{Extent, Kind, Name, PAGE};
use vcss::{plan, Area};
use window::Window;

use super::{listed, Control, Storage, Subject};
use crate::css::{Device, PathMasks};
use crate::driver::block::Recoveries;
use crate::driver::disk::DiskState;

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
    conditions.failed(Subject::Disk(0), &"there is no device 0.0.0100");
    conditions.good(Subject::Client(0));
    conditions.failed(Subject::Export(0), &"it ends beyond");
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
        paths: PathMasks {
            pim: 0xC0,
            pam: 0xC0,
            pom: 0xC0,
            ..PathMasks::default()
        },
        is_queued: false,
        runs_within_start: false,
        identity: Ok(SenseId::default()),
    }
}

/// Publishes a list of devices, each with its subchannel.
fn show(control: &mut Control, devices: &[(u16, u16)]) {
    let entries = devices.iter().map(|&(subchannel, number)| {
        let device = device(subchannel, number);
        listed(&device, None, None)
    });
    control.show_devices(entries);
}

#[test]
fn the_list_has_the_devices_that_are_there() {
    let fixture = Fixture::new(export(0));
    let mut control = Control::open(fixture.storage).unwrap();
    let list = || -> std::vec::Vec<u16> {
        (0..)
            .map_while(|index| fixture.area.read::<control::Device>(index).ok())
            .take_while(|entry| entry.subchannel.get() != 0)
            .map(|entry| entry.device.get())
            .collect()
    };
    show(&mut control, &[(0, 0xA80), (1, 0xA81), (2, 0xA82)]);
    show(&mut control, &[(2, 0xA82), (1, 0xA81)]);
    assert_eq!(list(), [0xA82, 0xA81]);
    show(&mut control, &[(2, 0xB00)]);
    assert_eq!(list(), [0xB00]);
    show(&mut control, &[]);
    assert_eq!(list(), []);
}

#[test]
fn what_an_earlier_life_had_listed_is_gone() {
    let fixture = Fixture::new(export(0));
    let number = |index| {
        let entry: control::Device = fixture.area.read(index).unwrap();
        entry.device.get()
    };
    let mut control = Control::open(fixture.storage).unwrap();
    show(&mut control, &[(0, 0xA80), (1, 0xA80), (2, 0xA80)]);
    control = Control::open(fixture.storage).unwrap();
    show(&mut control, &[(0, 0xB00)]);
    assert_eq!([0, 1, 2].map(number), [0xB00, 0, 0]);
}

#[test]
fn what_a_driver_did_to_get_requests_through_is_shown_beside_its_device() {
    let device = device(7, 0xA80);
    let mut state = DiskState {
        id: Some(device.id),
        sectors: 1000,
        is_broken: false,
        recoveries: Recoveries {
            retries: 5,
            other_paths: 2,
            waits: 1,
            timeouts: 3,
            failures: 4,
            broken: false,
        },
    };
    let entry = listed(&device, Some((0, &state)), None);
    let shown = &entry.recoveries;
    let counts = [
        shown.retries,
        shown.other_paths,
        shown.waits,
        shown.timeouts,
        shown.failures,
    ];
    assert_eq!(counts.map(|count| count.get()), [5, 2, 1, 3, 4]);
    assert_eq!((entry.disk.get(), entry.sectors.get()), (0, 1000));
    assert_eq!(entry.life, DeviceLife::Online as u8);
    state.recoveries.broken = true;
    let entry = listed(&device, Some((0, &state)), None);
    assert_eq!(entry.life, DeviceLife::Failed as u8);
    assert_eq!(
        (entry.subchannel.get(), entry.pam),
        (device.id.word(), 0xC0)
    );
}

#[test]
fn a_window_reaches_as_far_as_the_daemon_says_that_there_is_memory() {
    let fixture = Fixture::new(export(0));
    let room = Extent::new(fixture.storage.start, 4 * PAGE);
    let client = control::Client {
        name: Name::new("client").unwrap(),
        area: room,
        window: room,
        program: room,
        flags: 0.into(),
        reserved: [0; 44],
    };
    fixture.area.write(0, &client).unwrap();
    let says = |generation: u32, length: u64| {
        let entry = control::ClientMemory {
            length: length.into(),
            generation: generation.into(),
            reserved: 0.into(),
        };
        fixture.area.write(0, &entry).unwrap();
    };
    let taken = || {
        let entry: control::MemoryTaken = fixture.area.read(0).unwrap();
        entry.generation.get()
    };
    says(7, 2 * PAGE);
    let mut control = Control::open(fixture.storage).unwrap();
    let window = control.share(0, &client).unwrap().window;
    assert_eq!((window.len(), taken()), (2 * PAGE, 7));
    assert!(control.changed_memory(0).is_none());
    // What is outside the window is not there, whatever the daemon says.
    says(8, 9 * PAGE);
    let change = control.changed_memory(0).unwrap();
    assert!(control.is_growth(change));
    assert_eq!((window.len(), taken()), (2 * PAGE, 7));
    // It changed once more before the first change was taken.
    says(9, 0);
    control.take_memory(change);
    assert_eq!((window.len(), taken()), (4 * PAGE, 8));
    let change = control.changed_memory(0).unwrap();
    assert!(!control.is_growth(change));
    control.take_memory(change);
    assert!(window.is_empty() && control.changed_memory(0).is_none());
    assert!(control.changed_memory(1).is_none());
}
