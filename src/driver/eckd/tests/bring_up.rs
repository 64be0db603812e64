//! Volumes that cannot be brought up now, and can be later.

use std::string::{String, ToString};

use channel::DeviceStatus;

use super::fake::{Fault, Machine};
use super::{cdl, Eckd};
use crate::css::while_serving;

/// A try while clients are served. If it fails, it has not taken more than a moment, and the reason is returned.
fn open(machine: &mut Machine) -> Result<(), String> {
    let began = machine.micros;
    let opened = while_serving(machine, |machine| {
        Eckd::open(machine, super::id(), super::ISC).map(drop)
    });
    let took = machine.micros - began;
    assert!(took <= 600_000, "{took} us");
    opened.map_err(|error| error.to_string())
}

#[test]
fn a_volume_that_is_reserved_elsewhere_is_refused_in_a_moment_and_opened_when_it_is_free() {
    let mut machine = cdl(6);
    let busy = Fault::Device(DeviceStatus::BUSY);
    machine.path_faults.insert(0x80, busy);
    for _ in 0..2 {
        let reason = open(&mut machine).unwrap_err();
        assert!(reason.starts_with("read of a record: "), "{reason}");
    }
    machine.path_faults.clear();
    assert_eq!(open(&mut machine), Ok(()));
}

#[test]
fn a_volume_that_was_reformatted_is_refused_in_words_and_opened_when_its_records_are_back() {
    let mut machine = cdl(6);
    let before = machine.records.clone();
    // Its label is all that is left.
    machine.records.retain(|at, _| *at <= (0, 0, 3));
    for _ in 0..2 {
        let reason = open(&mut machine).unwrap_err();
        assert!(reason.starts_with("not formatted: no "), "{reason}");
    }
    machine.records = before;
    assert_eq!(open(&mut machine), Ok(()));
}
