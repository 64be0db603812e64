//! Volumes that cannot be brought up now, and can be later.

use std::string::{String, ToString};

use channel::DeviceStatus;

use super::{cdl, id, machine, Eckd, ISC, TRACK_0};
use crate::css::while_serving;
use crate::testing::{Fault, Machine};

/// A try while clients are served. If it fails, it has not taken more than a moment, and the reason is returned.
fn open(machine: &mut Machine) -> Result<(), String> {
    let began = machine.micros;
    let opened = while_serving(machine, |machine| Eckd::open(machine, id(), ISC).map(drop));
    let took = machine.micros - began;
    assert!(took <= 600_000, "{took} us");
    opened.map_err(|error| error.to_string())
}

#[test]
fn a_volume_that_is_reserved_elsewhere_is_refused_in_a_moment_and_opened_when_it_is_free() {
    let (mut machine, _) = machine(cdl(6), 0x80);
    let busy = Fault::Device(DeviceStatus::BUSY);
    let port = machine.subchannel(id());
    port.path_faults.insert(0x80, busy);
    for _ in 0..2 {
        let reason = open(&mut machine).unwrap_err();
        assert!(reason.starts_with("read of a record: "), "{reason}");
    }
    machine.subchannel(id()).path_faults.clear();
    assert_eq!(open(&mut machine), Ok(()));
}

#[test]
fn a_volume_that_was_reformatted_is_refused_in_words_and_opened_when_its_records_are_back() {
    let (mut machine, volume) = machine(cdl(6), 0x80);
    let before = volume.borrow().records.clone();
    // Its label is all that is left.
    let label = TRACK_0.place(3);
    volume.borrow_mut().records.retain(|at, _| *at <= label);
    for _ in 0..2 {
        let reason = open(&mut machine).unwrap_err();
        assert!(reason.starts_with("not formatted: no "), "{reason}");
    }
    volume.borrow_mut().records = before;
    assert_eq!(open(&mut machine), Ok(()));
}
