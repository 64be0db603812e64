//! A disk gets another size while it is served.

use vcss::client::{DeviceState, Notify};

use super::*;

/// What begins at this sector of the only disk, and has so many sectors.
fn part(start: u64, sectors: u64) -> Export {
    let mut export = export(ExportKind::Block, 0);
    export.start = start.into();
    export.sectors = sectors.into();
    export
}

impl Fixture {
    /// The disk has so many sectors from now on, and says so.
    fn resize(&mut self, sectors: usize) {
        let id = self.resize_silently(sectors);
        self.machine.change_configuration(id);
        self.later(0);
    }

    fn resize_silently(&mut self, sectors: usize) -> SubchannelId {
        let id = SubchannelId::new(0, 1).unwrap();
        let mut disk = self.machine.subchannel(id).virtio();
        disk.disk().content.resize(sectors * 512, 0);
        id
    }

    /// How long the control area says that the disk is.
    fn published(&mut self) -> u64 {
        self.appliance.show_devices();
        let devices = (0..).map_while(|index| self.control.read::<Device>(index).ok());
        let mut devices = devices.filter(|entry| entry.device.get() == DISK);
        devices.next().unwrap().sectors.get()
    }

    /// What the client's area says of a device: its capacity, and how often its configuration has changed.
    fn told(&self, device: u32) -> (u64, u32) {
        let area = Area::open(self.shared[0], Kind::Client).unwrap();
        let state: DeviceState = area.read(device).unwrap();
        let notify: Notify = area.read(device).unwrap();
        (state.capacity.get(), notify.config.get())
    }
}

#[test]
fn a_slice_that_fits_by_now_is_served_and_one_that_does_not_any_more_is_not() {
    let given = [part(8, 16), part(0, 8)];
    let mut fixture = Fixture::with(1, &[DISK], &[DISK], &given, |_, _| {});
    let beyond = Err("the slice ends beyond the disk's 8 sectors".to_string());
    let both = [Ok(()), Ok(()), Ok(()), Ok(())];
    let mut one = both.clone();
    one[2] = beyond;
    assert_eq!(fixture.conditions(), one);
    fixture.resize(24);
    assert_eq!(fixture.conditions(), both);
    assert_eq!(fixture.published(), 24);
    fixture.resize(8);
    assert_eq!(fixture.conditions(), one);
    fixture.resize(0);
    assert!(fixture.conditions()[3].is_err());
    fixture.resize(64);
    assert_eq!(fixture.conditions(), both);
}

#[test]
fn a_client_that_knows_a_capacity_is_told_of_another_one_also_by_the_next_life() {
    let given = [part(0, 0), part(0, 8)];
    let spoil = |_: &Area<'static>, shared: &[&'static Window]| {
        // Set up in an earlier life, of a disk that was as long.
        let area = Area::open(shared[0], Kind::Client).unwrap();
        for device in 0..2 {
            let state = DeviceState {
                written: 1,
                capacity: 8.into(),
                ..DeviceState::default()
            };
            area.write(device, &state).unwrap();
        }
    };
    let mut fixture = Fixture::with(1, &[DISK], &[DISK], &given, spoil);
    assert_eq!((fixture.told(0), fixture.told(1)), ((8, 0), (8, 0)));
    fixture.resize(16);
    assert_eq!(fixture.told(0), (16, 1));
    assert_eq!(fixture.told(1), (8, 0), "its slice is as long as before");
    fixture.resize(16);
    assert_eq!(fixture.told(0), (16, 1), "nothing has changed");
    // While no appliance is there.
    fixture.resize_silently(32);
    fixture.restart();
    assert_eq!(fixture.told(0), (32, 2));
    // A shorter one is no less news.
    fixture.resize(24);
    assert_eq!(fixture.told(0), (24, 3));
}
