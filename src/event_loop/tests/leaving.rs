//! What a client that leaves still has in flight, and who waits for that.

use super::configuration::{fixture, named, vacant};
use super::suspects::deadly::Guest;
use super::*;
use crate::testing::Behaviour;

impl Fixture {
    /// What the only disk does with its requests from now on.
    fn behave(&mut self, behaviour: Behaviour) {
        let id = SubchannelId::new(0, 1).unwrap();
        self.machine.subchannel(id).virtio().disk().behaviour = behaviour;
        self.machine.work(id);
    }

    /// The first client goes, while a request of its does not end.
    fn goes_with_a_request_in_flight(&mut self) -> Guest {
        let mut guest = Guest::new(self, 0);
        self.restart();
        self.behave(Behaviour::Hold);
        guest.flushes();
        self.later(0);
        self.control.write(0, &Client::new_zeroed()).unwrap();
        self.control.write(0, &vacant()).unwrap();
        guest
    }

    /// The clients that have a device with this number.
    fn who_has(&self, number: u16) -> Vec<u16> {
        let all = self.appliance.plane.proxy.clients.passed_through();
        let all = all.filter(|(.., it)| !it.is_gone() && it.device().number == number);
        all.map(|(client, ..)| client).collect()
    }

    fn has_client(&self, number: u16) -> bool {
        self.appliance.plane.proxy.clients.get(number).is_some()
    }
}

#[test]
fn who_gets_what_a_client_that_leaves_still_writes_waits_until_that_has_ended() {
    let mut fixture = fixture();
    let mut guest = fixture.goes_with_a_request_in_flight();
    let comes = fixture.client("comes");
    fixture.control.write(1, &comes).unwrap();
    let mut its_disk = export(ExportKind::Block, 1);
    its_disk.disk = 0.into();
    fixture.control.write(1, &its_disk).unwrap();
    assert!(!fixture.change());
    for _ in 0..3 {
        fixture.later(1_000_000);
        assert!(!fixture.serves_by_it());
        assert!(
            !fixture.has_client(1),
            "it would have what is still written"
        );
    }
    assert_eq!(guest.served(), 0);
    fixture.behave(Behaviour::Serve);
    fixture.later(0);
    fixture.later(0);
    assert!(fixture.serves_by_it());
    assert_eq!(guest.served(), 1, "it was told");
    assert!(!fixture.has_client(0) && fixture.has_client(1));
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 6]);
}

#[test]
fn who_gets_nothing_of_it_does_not_wait() {
    let mut fixture = fixture();
    let second = named("second", DISK + 1);
    fixture.control.write(1, &second).unwrap();
    fixture.goes_with_a_request_in_flight();
    let comes = fixture.client("comes");
    fixture.control.write(1, &comes).unwrap();
    let own = export(ExportKind::Block, 1);
    fixture.control.write(1, &own).unwrap();
    assert!(!fixture.change(), "somebody leaves still");
    assert!(fixture.has_client(0) && fixture.has_client(1));
    fixture.later(0);
    assert_eq!(fixture.state(5), ConditionState::Good);
}

#[test]
fn a_device_that_becomes_free_is_for_whoever_gets_what_is_left() {
    let given = [
        export(ExportKind::Any, 0),
        export(ExportKind::PassThrough, 1),
    ];
    let mut fixture = Fixture::with(2, &[DISK], &[DISK], &given, |_, _| {});
    fixture.plug(GIVEN);
    assert_eq!(fixture.listed()[2..], [(GIVEN, 2, None)]);
    fixture.control.write(1, &Client::new_zeroed()).unwrap();
    fixture.control.write(1, &vacant()).unwrap();
    assert!(fixture.change());
    assert_eq!(fixture.listed()[2..], [(GIVEN, 2, Some(0))]);
}

#[test]
fn a_device_that_somebody_is_given_who_is_still_to_come_is_nobody_elses() {
    let given = [
        export(ExportKind::Block, 0),
        export(ExportKind::Any, 2),
        vacant(),
        vacant(),
    ];
    let mut fixture = Fixture::with(3, &[DISK], &[DISK], &given, |control, _| {
        control.write(1, &Client::new_zeroed()).unwrap();
    });
    fixture.goes_with_a_request_in_flight();
    // Who comes waits for the disk.
    let mut its_disk = export(ExportKind::Block, 1);
    its_disk.disk = 0.into();
    let comes = fixture.client("comes");
    fixture.control.write(1, &comes).unwrap();
    fixture.control.write(2, &its_disk).unwrap();
    let its_device = export(ExportKind::PassThrough, 1);
    fixture.control.write(3, &its_device).unwrap();
    assert!(!fixture.change());
    fixture.plug(GIVEN);
    fixture.plug(OTHER);
    assert_eq!(
        (fixture.who_has(GIVEN), fixture.who_has(OTHER)),
        (Vec::new(), std::vec![2])
    );
    fixture.behave(Behaviour::Serve);
    fixture.later(0);
    fixture.later(0);
    assert!(fixture.serves_by_it());
    assert_eq!(fixture.who_has(GIVEN), [1]);
}
