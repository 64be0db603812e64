//! What tells others that the loop comes round: answers to pings, and the machine's watchdog set again.

use core::mem::offset_of;

use vcss::control::Heartbeat;

use super::*;

/// An appliance that is to be watched, on a machine with a watchdog or without.
fn watched(watchdog: Option<Vec<u32>>) -> Fixture {
    let mut machine = Machine::new();
    machine.watchdog = watchdog;
    Fixture::on(machine, 1, &[], &[], &[], |control, _| {
        let heartbeat = Heartbeat {
            ping: 7.into(),
            watchdog_seconds: 20.into(),
            ..Heartbeat::default()
        };
        control.write(0, &heartbeat).unwrap();
    })
}

impl Fixture {
    fn ping(&self, number: u32) {
        let at = offset_of!(Heartbeat, ping);
        let word = self.control.word::<Heartbeat>(0, at).unwrap();
        word.store(number);
    }

    fn answer(&self) -> u32 {
        self.control.read::<Heartbeat>(0).unwrap().answer.get()
    }
}

#[test]
fn a_ping_is_answered_when_the_house_is_kept_and_by_nobody_else() {
    let mut fixture = watched(None);
    assert_eq!(fixture.answer(), 7, "at bring-up");
    fixture.ping(8);
    fixture.appliance.plane.turn(&mut fixture.machine);
    assert_eq!(fixture.answer(), 7);
    fixture.later(0);
    assert_eq!(fixture.answer(), 8);
}

#[test]
fn a_ping_is_answered_between_two_devices_that_are_looked_at() {
    let mut fixture = watched(None);
    fixture.ping(8);
    fixture.plug(OTHER);
    assert_eq!(fixture.answer(), 8);
}

#[test]
fn the_machines_watchdog_is_set_again_by_time() {
    let mut fixture = watched(Some(Vec::new()));
    let set = |fixture: &Fixture| fixture.machine.watchdog.clone().unwrap();
    assert_eq!(set(&fixture), [20], "at bring-up");
    for _ in 0..10 {
        fixture.later(100);
    }
    assert_eq!(set(&fixture), [20], "not each time");
    fixture.later(2_500_000);
    assert_eq!(set(&fixture), [20, 20]);
}

#[test]
fn a_watchdog_that_the_daemon_does_not_want_is_not_set() {
    let mut machine = Machine::new();
    machine.watchdog = Some(Vec::new());
    let fixture = Fixture::on(machine, 1, &[], &[], &[], |_, _| {});
    assert_eq!(fixture.machine.watchdog, Some(Vec::new()));
}

#[test]
fn a_machine_without_a_watchdog_is_served_all_the_same() {
    let mut fixture = watched(None);
    fixture.later(10_000_000);
    fixture.ping(8);
    fixture.later(10_000_000);
    assert_eq!(fixture.answer(), 8);
}
