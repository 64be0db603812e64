//! Clients and disks that come, go and change while the appliance serves.

use core::mem::offset_of;

use vcss::client::DeviceState;
use vcss::control::{self, Order};
use vcss::underway::Served;
use vcss::Word;

use super::suspects::FAILED;
use super::*;

const SECOND: u16 = 0x101;

/// One disk and its client; a second of each has a place, and is not there.
pub(super) fn fixture() -> Fixture {
    let given = [0, 1].map(|client| export(ExportKind::Block, client));
    let there = [DISK, SECOND];
    Fixture::with(2, &there, &there, &given, |control, _| {
        control.write(1, &vacant_disk()).unwrap();
        control.write(1, &Client::new_zeroed()).unwrap();
        control.write(1, &vacant()).unwrap();
    })
}

fn vacant_disk() -> Disk {
    Disk::new_zeroed()
}

pub(super) fn vacant() -> Export {
    let mut export = export(ExportKind::Vacant, u16::MAX);
    export.disk = Export::NO_DISK.into();
    export
}

pub(super) fn named(name: &str, device: u16) -> Disk {
    Disk {
        name: Name::new(name).unwrap(),
        device: device.into(),
        ..vacant_disk()
    }
}

impl Fixture {
    /// The daemon says that the entries have changed. Whether the appliance serves by that at once.
    pub(super) fn change(&mut self) -> bool {
        let wanted = self.wanted();
        wanted.store(wanted.load() + 1);
        self.later(0);
        self.serves_by_it()
    }

    fn wanted(&self) -> Word<'static> {
        let at = offset_of!(Order, configuration);
        self.control.word::<Order>(0, at).unwrap()
    }

    /// Whether the last change has been carried out.
    pub(super) fn serves_by_it(&self) -> bool {
        let about: control::Appliance = self.control.read(0).unwrap();
        about.configuration.get() == self.wanted().load()
    }

    /// The second client as the fixture has laid it out.
    pub(super) fn client(&self, name: &str) -> Client {
        let area = self.shared[1];
        let at = area.absolute_base();
        let memory = Extent::new(at + area.len(), PAGE);
        Client {
            name: Name::new(name).unwrap(),
            area: Extent::new(at, area.len()),
            window: memory,
            program: memory,
            flags: 0.into(),
            reserved: [0; 44],
        }
    }

    pub(super) fn second_comes(&mut self, name: &str) {
        self.control.write(1, &named(name, SECOND)).unwrap();
        self.control.write(1, &self.client(name)).unwrap();
        (self.control)
            .write(1, &export(ExportKind::Block, 1))
            .unwrap();
        assert!(self.change());
    }

    pub(super) fn second_goes(&mut self) {
        self.control.write(1, &vacant_disk()).unwrap();
        self.control.write(1, &Client::new_zeroed()).unwrap();
        self.control.write(1, &vacant()).unwrap();
        assert!(self.change());
    }

    pub(super) fn state(&self, entry: u32) -> ConditionState {
        let entry: Condition = self.control.read(entry).unwrap();
        ConditionState::from_number(entry.state.get()).unwrap()
    }

    /// The disks that have a place.
    fn disks(&self) -> Vec<String> {
        let disks = self.appliance.plane.disks.iter();
        disks.map(|disk| disk.name.clone()).collect()
    }
}

#[test]
fn a_client_and_its_disk_come_and_go_and_others_come_in_their_places() {
    let mut fixture = fixture();
    let all_good = std::vec![Ok(()); 6];
    assert_eq!(fixture.disks(), ["data"], "no place costs anything");
    for name in ["one", "two"] {
        fixture.second_comes(name);
        assert_eq!(fixture.disks(), ["data", name]);
        assert_eq!(fixture.conditions(), all_good);
        // Disk, client and export.
        for entry in [1, 3, 5] {
            assert_eq!(fixture.state(entry), ConditionState::Good, "{entry}");
        }
        fixture.second_goes();
        assert_eq!(fixture.disks(), ["data"]);
        for entry in [1, 3, 5] {
            assert_eq!(fixture.state(entry), ConditionState::Unknown, "{entry}");
        }
    }
    // Whoever was there all the time is served.
    for entry in [0, 2, 4] {
        assert_eq!(fixture.state(entry), ConditionState::Good, "{entry}");
    }
}

#[test]
fn a_device_that_comes_later_is_its_disks() {
    let mut fixture = fixture();
    let late = SECOND + 1;
    fixture.control.write(1, &named("late", late)).unwrap();
    fixture.control.write(1, &fixture.client("late")).unwrap();
    let given = export(ExportKind::Block, 1);
    fixture.control.write(1, &given).unwrap();
    assert!(fixture.change());
    assert!(fixture.conditions()[1].is_err());
    fixture.plug(late);
    fixture.later(0);
    assert_eq!(fixture.conditions(), std::vec![Ok(()); 6]);
}

#[test]
fn nonsense_is_its_own_trouble() {
    let mut fixture = fixture();
    let mut kind = export(ExportKind::Block, 1);
    kind.kind = 77.into();
    let mut disk = export(ExportKind::Block, 1);
    disk.disk = 9.into();
    let good = fixture.client("second");
    let mut client = good;
    client.window.offset = 1.into();
    let client_of = [(good, kind), (good, disk), (client, vacant())];
    for (client, export) in client_of {
        fixture.control.write(1, &client).unwrap();
        fixture.control.write(1, &export).unwrap();
        assert!(fixture.change());
        let conditions = fixture.conditions();
        let good = [3, 5].map(|entry| fixture.state(entry) == ConditionState::Good);
        assert_ne!(good, [true; 2], "{conditions:?}");
        for entry in [0, 2, 4] {
            assert_eq!(conditions[entry], Ok(()));
        }
    }
    fixture.second_goes();
    assert_eq!(fixture.conditions(), std::vec![Ok(()); 6]);
    fixture.second_comes("second");
    assert_eq!(fixture.conditions(), std::vec![Ok(()); 6]);
}

#[test]
fn who_dies_in_the_middle_serves_by_what_is_there_then() {
    let mut fixture = fixture();
    // The daemon has written all of it, and not yet said so.
    fixture.control.write(1, &named("second", SECOND)).unwrap();
    let client = fixture.client("second");
    fixture.control.write(1, &client).unwrap();
    fixture.restart();
    let given = export(ExportKind::Block, 1);
    fixture.control.write(1, &given).unwrap();
    assert!(fixture.change());
    assert_eq!(fixture.conditions(), std::vec![Ok(()); 6]);
    assert_eq!(fixture.state(5), ConditionState::Good);
    fixture.restart();
    let about: control::Appliance = fixture.control.read(0).unwrap();
    fixture.appliance.show();
    let after: control::Appliance = fixture.control.read(0).unwrap();
    assert_eq!(about.configuration, after.configuration);
    assert_eq!(fixture.disks(), ["data", "second"]);
}

#[test]
fn another_device_in_the_same_place_does_not_go_on_where_the_former_ended() {
    let mut fixture = fixture();
    fixture.second_comes("one");
    let area = Area::open(fixture.shared[1], Kind::Client).unwrap();
    let mut left: DeviceState = area.read(0).unwrap();
    assert_ne!(left.identity.get(), 0);
    left.status = 15;
    area.write(0, &left).unwrap();
    // The same disk, a longer part of it.
    let mut longer = export(ExportKind::Block, 1);
    longer.sectors = 4.into();
    fixture.control.write(1, &longer).unwrap();
    assert!(fixture.change());
    let state: DeviceState = area.read(0).unwrap();
    assert_eq!((state.status, state.identity), (15, left.identity));
    // Another part.
    longer.start = 2.into();
    fixture.control.write(1, &longer).unwrap();
    assert!(fixture.change());
    let state: DeviceState = area.read(0).unwrap();
    assert_eq!(state.status, 0);
    assert_ne!(state.identity, left.identity);
}

#[test]
fn what_kills_each_life_since_a_change_is_put_out_of_service() {
    let mut fixture = fixture();
    fixture.control.write(1, &named("second", SECOND)).unwrap();
    let client = fixture.client("second");
    fixture.control.write(1, &client).unwrap();
    let given = export(ExportKind::Block, 1);
    fixture.control.write(1, &given).unwrap();
    // The life that is to take it dies before it has, and so does each that begins by it.
    let wanted = fixture.wanted();
    wanted.store(wanted.load() + 1);
    for _ in 0..2 {
        fixture.dies_serving(Served::Client(1));
    }
    assert_eq!(fixture.conditions()[3], Err(FAILED.into()));
    assert_eq!(fixture.state(2), ConditionState::Good, "the other one");
}

#[test]
fn another_share_alone_is_taken_too() {
    let mut fixture = fixture();
    let quota = control::Quota {
        iops: 7.into(),
        ..control::Quota::default()
    };
    fixture.control.write(0, &quota).unwrap();
    assert!(fixture.change());
    assert_eq!(fixture.appliance.table.exports()[0].quota, quota);
    assert_eq!(fixture.conditions(), std::vec![Ok(()); 6]);
}

#[test]
fn what_the_appliance_has_died_of_is_not_held_against_who_comes_in_its_place() {
    let mut fixture = fixture();
    fixture.second_comes("one");
    let deaths = |fixture: &Fixture| {
        let entry: Condition = fixture.control.read(5).unwrap();
        entry.deaths.get()
    };
    let mut entry: Condition = fixture.control.read(5).unwrap();
    entry.deaths = 1.into();
    fixture.control.write(5, &entry).unwrap();
    fixture.second_goes();
    assert_eq!(deaths(&fixture), 0);
    fixture.second_comes("two");
    assert_eq!(
        (deaths(&fixture), fixture.state(5)),
        (0, ConditionState::Good)
    );
}
