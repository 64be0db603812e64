//! Channel paths that are lost and found: what the control area says of them.

use channel::ChannelSubsystem;

use super::*;

const FIRST: u8 = 0x30;

impl Fixture {
    /// With [`GIVEN`] on so many paths; nothing of it is enabled.
    fn with_paths(count: u8) -> (Self, SubchannelId) {
        let mut fixture = Self::new();
        let id = fixture.machine.attach(0, GIVEN, terminal());
        fixture.machine.set_paths(id, mask(count));
        fixture.report(id);
        (fixture, id)
    }

    /// What the model has to report of paths becomes the machine's.
    fn hear_of_paths(&mut self) {
        while let Some(report) = self.machine.css.channel_report() {
            self.machine.reports.push_back(report);
        }
        self.hear_reports();
    }

    fn lose(&mut self, number: u8) {
        self.machine.css.lose_path(FIRST + number);
        self.hear_of_paths();
    }

    fn find(&mut self, number: u8) {
        self.machine.css.find_path(FIRST + number);
        self.hear_of_paths();
    }

    fn entry(&mut self, number: u16) -> Device {
        self.appliance.show_devices();
        let all = (0..).map_while(|index| self.control.read::<Device>(index).ok());
        let mut all = all.take_while(|entry| entry.subchannel.get() != 0);
        all.find(|entry| entry.device.get() == number).unwrap()
    }
}

/// The first so many paths.
fn mask(count: u8) -> u8 {
    !(0xFF_u16 >> count) as u8
}

/// All orders of so many numbers.
fn orders(count: u8) -> Vec<Vec<u8>> {
    if count == 0 {
        return [Vec::new()].to_vec();
    }
    let shorter = orders(count - 1);
    let all = shorter.iter().flat_map(|order| {
        (0..=order.len()).map(|place| {
            let mut longer = order.clone();
            longer.insert(place, count - 1);
            longer
        })
    });
    all.collect()
}

/// Loses and finds the paths in these orders.
fn walk(fixture: &mut Fixture, lost: &[u8], found: &[u8]) {
    let pim = mask(lost.len() as u8);
    let mut pam = pim;
    let steps = lost.iter().map(|number| (number, true));
    let steps = steps.chain(found.iter().map(|number| (number, false)));
    for (&number, is_lost) in steps {
        match is_lost {
            true => fixture.lose(number),
            false => fixture.find(number),
        }
        pam ^= 0x80 >> number;
        let entry = fixture.entry(GIVEN);
        assert_eq!((entry.pim, entry.pam), (pim, pam), "{lost:?} {found:?}");
        assert_eq!(entry.lpm, pim);
    }
}

#[test]
fn paths_that_are_lost_and_found_are_shown_so_in_every_order() {
    for count in 2..=3 {
        for lost in orders(count) {
            let (mut fixture, _) = Fixture::with_paths(count);
            for found in orders(count) {
                walk(&mut fixture, &lost, &found);
            }
        }
    }
    for count in 4..=8 {
        let (mut fixture, _) = Fixture::with_paths(count);
        let up: Vec<u8> = (0..count).collect();
        let down: Vec<u8> = (0..count).rev().collect();
        let mut apart = up.clone();
        apart.rotate_left(usize::from(count / 2));
        for lost in [&up, &down, &apart] {
            for found in [&up, &down, &apart] {
                walk(&mut fixture, lost, found);
            }
        }
    }
}

#[test]
fn lost_reports_hide_no_lost_path() {
    let (mut fixture, _) = Fixture::with_paths(2);
    fixture.machine.css.lose_path(FIRST);
    fixture.lose_reports();
    assert_eq!(fixture.entry(GIVEN).pam, 0x40);
}

#[test]
fn each_device_on_a_path_is_looked_at_and_no_other() {
    let (mut fixture, id) = Fixture::with_paths(2);
    let other = fixture.machine.attach(0, OTHER, terminal());
    fixture.machine.set_paths(other, 0x40);
    fixture.report(other);
    let far = fixture.machine.subchannel(SubchannelId::new(0, 1).unwrap());
    let before = far.stores;
    fixture.lose(1);
    assert_eq!(fixture.entry(GIVEN).pam, 0x80);
    // It has path 0 beside, as all have it at first.
    assert_eq!(fixture.entry(OTHER).pam, 0x80);
    let far = fixture.machine.subchannel(SubchannelId::new(0, 1).unwrap());
    assert_eq!(far.stores, before);
    assert_eq!(fixture.entry(GIVEN).subchannel.get(), id.word());
}

#[test]
fn what_nothing_is_said_of_is_found_in_the_end() {
    let (mut fixture, id) = Fixture::with_paths(2);
    fixture.machine.pmcw(id).pnom = 0x80;
    assert_eq!(fixture.entry(GIVEN).pnom, 0);
    for _ in 0..3 {
        fixture.later(1_000_000);
    }
    assert_eq!(fixture.entry(GIVEN).pnom, 0x80);
}
