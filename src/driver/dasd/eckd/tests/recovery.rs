//! What is done about programs that do not end as they should.

use std::vec::Vec;

use channel::{ChannelSubsystem, DeviceStatus, Refusal, SubchannelStatus};
use vcss::trace::{Record, TraceEvent};

use super::{cdl, id, machine, Eckd, Fixture, SubmitError, BLOCK, ISC};
use crate::css::while_serving;
use crate::driver::block::{BlockDevice, BlockStatus, Dasd, Recoveries};
use crate::driver::dasd::recovery::{self, Action, ATTEMPTS, CHANGE_US, PROGRAM_TIMEOUT, TABLE};
use crate::testing::Fault;

/// Sense bytes with the bits of a row, and of no row before it.
const SENSE: [[u8; 3]; TABLE.len()] = [
    [0x80, 0, 0],
    [0, 0x02, 0],
    [0, 0x04, 0],
    [0, 0x08, 0],
    [0, 0x40, 0],
    [0, 0x20, 0],
    [0x10, 0x80, 0],
    [0, 0x80, 0],
    [0x40, 0, 0],
    [0, 0, 0x10],
    [0x10, 0, 0],
    [0x20, 0, 0],
    [0x08, 0, 0],
    [0x04, 0, 0],
    [0x01, 0, 0],
    [0, 0x10, 0],
    [0, 0, 0],
];

pub(super) fn sense_of(number: usize) -> Vec<u8> {
    let mut sense = SENSE[number].to_vec();
    sense.resize(24, 0);
    sense
}

/// A disk over two paths.
fn two_paths() -> Fixture {
    Fixture::over(cdl(6), 0xC0)
}

/// The actions that the trace has.
fn actions(fixture: &mut Fixture) -> Vec<u8> {
    let records: Vec<Record> = core::iter::from_fn(|| fixture.disk.incident()).collect();
    let recoveries = records
        .iter()
        .filter(|record| record.event == TraceEvent::Recovery);
    recoveries
        .map(|record| (record.words[0] >> 56) as u8)
        .collect()
}

#[test]
fn every_row_is_found_by_its_bits() {
    for (number, row) in TABLE.iter().enumerate() {
        assert_eq!(recovery::row_of(&sense_of(number)).reason, row.reason);
    }
    assert_eq!(recovery::row_of(&[]).reason, "no sense");
}

#[test]
fn every_row_does_what_it_says_over_one_path() {
    for (number, row) in TABLE.iter().enumerate() {
        let sense = sense_of(number);
        let once = match row.action {
            Action::Retry | Action::OtherPath | Action::AwaitChange => BlockStatus::Ok,
            Action::UntriedPath | Action::Fail => BlockStatus::IoError,
        };
        for (times, status) in [(1, once), (ATTEMPTS, BlockStatus::IoError)] {
            let mut fixture = Fixture::cdl();
            fixture.port().faults = vec![Fault::UnitCheck(sense.clone()); times as usize].into();
            let found = fixture.status(true, 9);
            assert_eq!(found, status, "{}, {times} times", row.reason);
            fixture.port().faults.clear();
            let found = fixture.status(false, 9);
            assert_eq!(found, BlockStatus::Ok, "after {}", row.reason);
        }
    }
}

#[test]
fn every_row_does_what_it_says_over_two_paths() {
    for (number, row) in TABLE.iter().enumerate() {
        let mut fixture = two_paths();
        let fault = Fault::UnitCheck(sense_of(number));
        fixture.port().faults.push_back(fault);
        let found = fixture.status(true, 9);
        let good = row.action != Action::Fail;
        assert_eq!(found == BlockStatus::Ok, good, "{}", row.reason);
        let paths: &[u8] = match row.action {
            Action::Retry | Action::AwaitChange => &[0x80, 0x80],
            Action::OtherPath | Action::UntriedPath => &[0x80, 0x40],
            Action::Fail => &[0x80],
        };
        assert_eq!(fixture.port().taken, paths, "{}", row.reason);
    }
}

#[test]
fn every_recovery_is_counted_and_traced() {
    for (number, row) in TABLE.iter().enumerate() {
        let mut fixture = two_paths();
        let fault = Fault::UnitCheck(sense_of(number));
        fixture.port().faults.push_back(fault);
        fixture.status(true, 9);
        let other = matches!(row.action, Action::OtherPath | Action::UntriedPath);
        let wanted = Recoveries {
            retries: u32::from(row.action != Action::Fail),
            other_paths: other.into(),
            waits: u32::from(row.action == Action::AwaitChange),
            failures: u32::from(row.action == Action::Fail),
            ..Recoveries::default()
        };
        assert_eq!(fixture.disk.recoveries(), wanted, "{}", row.reason);
        assert_eq!(actions(&mut fixture), [row.action as u8], "{}", row.reason);
    }
}

#[test]
fn a_record_of_the_trace_has_the_paths_the_status_and_the_sense_bytes() {
    let mut fixture = two_paths();
    let sense = vec![0x10, 0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    fixture.port().faults.push_back(Fault::UnitCheck(sense));
    fixture.status(true, 9);
    let record = fixture.disk.incident().unwrap();
    let wanted = [
        0x0201_8040_0E00_0000,
        0x1000_0003_0405_0607,
        0x0809_0A0B_0000_0000,
    ];
    assert_eq!(record.words, wanted, "{:x?}", record.words);
    assert!(fixture.disk.incident().is_none());
}

#[test]
fn a_path_that_fails_is_left_alone_for_a_while() {
    let mut fixture = two_paths();
    let check = Fault::UnitCheck(vec![0x10]);
    fixture.port().path_faults.insert(0x80, check);
    for _ in 0..3 {
        assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    }
    assert_eq!(fixture.port().taken, [0x80, 0x40, 0x40, 0x40]);
    fixture.machine.micros += 60_000_000;
    assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    assert_eq!(fixture.port().taken[4..], [0x80, 0x40]);
}

#[test]
fn what_fails_on_every_path_fails() {
    let mut fixture = Fixture::over(cdl(6), 0xF0);
    for path in [0x80, 0x40, 0x20, 0x10] {
        let check = Fault::UnitCheck(vec![0x10, 0x02]);
        fixture.port().path_faults.insert(path, check);
    }
    assert_eq!(fixture.status(true, 9), BlockStatus::IoError);
    assert_eq!(fixture.port().taken, [0x80, 0x40, 0x20, 0x10]);
}

#[test]
fn a_path_that_is_not_operational_is_no_lost_disk() {
    let mut fixture = two_paths();
    fixture
        .port()
        .faults
        .push_back(Fault::UnitCheck(vec![0x10]));
    fixture.port().faults.push_back(Fault::Deferred(3));
    assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    assert_eq!(fixture.port().taken, [0x80, 0x40, 0x80]);
}

#[test]
fn a_program_that_does_not_end_is_tried_over_another_path() {
    let mut fixture = two_paths();
    fixture.port().path_faults.insert(0x80, Fault::Hang);
    assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    assert_eq!(fixture.port().taken, [0x80, 0x40]);
    let all = fixture.disk.recoveries();
    assert_eq!((all.timeouts, all.other_paths), (1, 1));
}

#[test]
fn a_wait_for_the_device_ends_with_its_status() {
    for status in [
        DeviceStatus::DEVICE_END,
        DeviceStatus::CONTROL_UNIT_END,
        DeviceStatus::ATTENTION,
    ] {
        let mut fixture = Fixture::cdl();
        let required = Fault::UnitCheck(vec![0x40]);
        fixture.port().faults.push_back(required);
        fixture.one(true, 9, 0);
        let began = fixture.machine.micros;
        fixture.kick();
        fixture.machine.micros += CHANGE_US / 2;
        fixture.kick();
        assert_eq!(fixture.port().starts, 1, "it waits");
        fixture.machine.alert(id(), status);
        let interruption = channel::IoInterruption::Subchannel {
            id: id(),
            parameter: 0,
            isc: ISC,
        };
        assert!(fixture
            .disk
            .interruption(&mut fixture.machine, &interruption));
        fixture.kick();
        assert_eq!(fixture.disk.poll().unwrap().status, BlockStatus::Ok);
        assert!(fixture.machine.micros < began + CHANGE_US);
    }
}

#[test]
fn a_wait_for_the_device_without_status_ends_too() {
    let mut fixture = Fixture::cdl();
    let busy = Fault::Device(DeviceStatus::BUSY);
    fixture.port().faults.push_back(busy);
    let began = fixture.machine.micros;
    assert_eq!(fixture.status(true, 9), BlockStatus::Ok);
    assert!(fixture.machine.micros >= began + CHANGE_US);
}

#[test]
fn a_device_that_stays_busy_fails_all_requests_of_the_program_at_once() {
    let mut fixture = Fixture::cdl();
    let busy = Fault::Device(DeviceStatus::BUSY);
    fixture.port().path_faults.insert(0x80, busy);
    for token in 0..20 {
        fixture.one(false, u64::from(token) * 3, token);
    }
    let done = fixture.all();
    assert_eq!(done.len(), 20);
    assert!(done.iter().all(|one| one.status == BlockStatus::IoError));
    assert_eq!(fixture.port().starts, ATTEMPTS);
}

#[test]
fn a_disk_that_is_back_is_brought_up_again() {
    let mut fixture = Fixture::cdl();
    assert_eq!(fixture.status(true, 1), BlockStatus::Ok);
    fixture.machine.unplug(id());
    fixture.disk.recheck(&mut fixture.machine);
    assert!(fixture.disk.recoveries().broken);
    let one = fixture.segment(0, BLOCK as u32);
    assert_eq!(
        fixture.submit(false, 0, &[one], 9),
        Err(SubmitError::Broken)
    );
    fixture.port().mishaps.gone = false;
    fixture.disk.recheck(&mut fixture.machine);
    assert!(!fixture.disk.recoveries().broken);
    assert_eq!(fixture.status(false, 1), BlockStatus::Ok);
    let events: Vec<TraceEvent> =
        core::iter::from_fn(|| fixture.disk.incident().map(|record| record.event)).collect();
    assert_eq!(events, [TraceEvent::Gone, TraceEvent::Back]);
}

#[test]
fn a_disk_that_goes_while_a_program_runs_fails_all_requests_and_can_come_back() {
    let mut fixture = Fixture::cdl();
    fixture.port().faults.push_back(Fault::Hang);
    for token in 0..30 {
        fixture.one(token % 2 == 0, u64::from(token) * 3, token);
    }
    fixture.kick();
    fixture.machine.unplug(id());
    let done = fixture.all();
    assert_eq!(done.len(), 30);
    assert!(done.iter().all(|one| one.status == BlockStatus::IoError));
    fixture.port().mishaps.gone = false;
    fixture.disk.recheck(&mut fixture.machine);
    assert_eq!(fixture.status(true, 1), BlockStatus::Ok);
}

#[test]
fn a_program_that_somebody_else_halts_or_clears_is_tried_again() {
    for clear in [false, true] {
        let mut fixture = Fixture::cdl();
        fixture.port().faults.push_back(Fault::Hang);
        fixture.one(true, 9, 0);
        fixture.kick();
        if clear {
            fixture.machine.clear(id()).unwrap();
        } else {
            fixture.machine.halt(id()).unwrap();
        }
        assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
        assert_eq!(fixture.disk.recoveries().timeouts, 0);
    }
}

#[test]
fn another_volume_in_its_place_is_not_served() {
    let mut fixture = Fixture::cdl();
    fixture.machine.unplug(id());
    fixture.disk.recheck(&mut fixture.machine);
    let other = cdl(6).label("VOL1", "VOL1OTHER1");
    fixture.device.borrow_mut().records = other.records;
    fixture.port().mishaps.gone = false;
    fixture.disk.recheck(&mut fixture.machine);
    let one = fixture.segment(0, BLOCK as u32);
    assert_eq!(
        fixture.submit(false, 0, &[one], 9),
        Err(SubmitError::Broken)
    );
}

#[test]
fn write_inhibited_is_not_an_equipment_check() {
    assert_eq!(recovery::row_of(&[0x10, 0x02]).reason, "write inhibited");
    assert_eq!(recovery::row_of(&[]).action, Action::Retry);
}

#[test]
fn sense_that_does_not_come_by_itself_is_asked_for() {
    let mut fixture = Fixture::cdl();
    fixture.port().mishaps.no_concurrent_sense = true;
    fixture
        .port()
        .faults
        .push_back(Fault::UnitCheck(vec![0x80]));
    assert_eq!(fixture.status(false, 9), BlockStatus::IoError);
    assert_eq!(fixture.port().starts, 1);
}

#[test]
fn what_the_channel_reports_is_retried_or_fails() {
    use SubchannelStatus as Channel;
    let both = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    for (fault, status) in [
        (Fault::Channel(Channel::PROGRAM_CHECK), BlockStatus::IoError),
        (
            Fault::Channel(Channel::PROTECTION_CHECK),
            BlockStatus::IoError,
        ),
        (
            Fault::Channel(Channel::INCORRECT_LENGTH),
            BlockStatus::IoError,
        ),
        (Fault::Channel(Channel::CHANNEL_DATA_CHECK), BlockStatus::Ok),
        (
            Fault::Channel(Channel::CHANNEL_CONTROL_CHECK),
            BlockStatus::Ok,
        ),
        (
            Fault::Channel(Channel::INTERFACE_CONTROL_CHECK),
            BlockStatus::Ok,
        ),
        (Fault::Channel(Channel::CHAINING_CHECK), BlockStatus::Ok),
        (Fault::Device(DeviceStatus::BUSY), BlockStatus::Ok),
        (
            Fault::Device(both | DeviceStatus::UNIT_EXCEPTION),
            BlockStatus::IoError,
        ),
        (Fault::Deferred(1), BlockStatus::Ok),
        (Fault::Refused(Refusal::Busy), BlockStatus::Ok),
    ] {
        let mut fixture = Fixture::cdl();
        fixture.port().faults.push_back(fault.clone());
        assert_eq!(fixture.status(false, 9), status, "{fault:?}");
        assert_eq!(fixture.status(false, 9), BlockStatus::Ok, "after {fault:?}");
    }
}

#[test]
fn of_many_requests_only_the_one_without_its_record_fails() {
    let mut fixture = Fixture::cdl();
    let place = fixture.disk.volume().layout.place(70);
    fixture.device.borrow_mut().records.remove(&place);
    for token in 0..60 {
        fixture.one(token % 3 == 0, u64::from(token) * 2, token);
    }
    let done = fixture.all();
    assert_eq!(done.len(), 60);
    for one in done {
        let lost = one.token.0 == 35;
        assert_eq!(one.status == BlockStatus::IoError, lost, "{one:?}");
    }
    assert_eq!(fixture.disk.recoveries().failures, 1);
}

#[test]
fn of_blocks_that_follow_each_other_those_of_an_unformatted_track_fail() {
    let mut fixture = Fixture::cdl();
    fixture
        .device
        .borrow_mut()
        .records
        .retain(|at, _| (at.cylinder, at.head) != (0, 4));
    for token in 0..60 {
        fixture.one(false, u64::from(token), token);
    }
    for one in fixture.all() {
        let lost = (24..36).contains(&one.token.0);
        assert_eq!(one.status == BlockStatus::IoError, lost, "{one:?}");
    }
}

#[test]
fn a_program_that_does_not_end_is_halted_and_tried_again() {
    let mut fixture = Fixture::cdl();
    fixture.port().faults.push_back(Fault::Hang);
    assert_eq!(fixture.status(true, 1), BlockStatus::Ok);
    assert_eq!((fixture.port().halts, fixture.port().clears), (1, 0));
    assert_eq!(fixture.disk.recoveries().timeouts, 1);
    assert!(fixture.machine.micros > PROGRAM_TIMEOUT);
}

#[test]
fn a_halt_that_does_not_end_is_followed_by_a_clear() {
    let mut fixture = Fixture::cdl();
    fixture.port().mishaps.halt_stuck = true;
    fixture.port().faults.push_back(Fault::Hang);
    assert_eq!(fixture.status(true, 1), BlockStatus::Ok);
    assert_eq!((fixture.port().halts, fixture.port().clears), (1, 1));
}

#[test]
fn a_disk_that_cannot_be_stopped_is_given_up() {
    let mut fixture = Fixture::cdl();
    fixture.port().mishaps.halt_stuck = true;
    fixture.port().mishaps.stuck = true;
    fixture.port().faults.push_back(Fault::Hang);
    fixture.one(false, 1, 0);
    fixture.one(false, 2, 1);
    let done = fixture.all();
    assert!(done.iter().all(|one| one.status == BlockStatus::IoError));
    assert_eq!((done.len(), fixture.port().clears), (2, recovery::CLEARS));
    let one = fixture.segment(0, BLOCK as u32);
    assert_eq!(
        fixture.submit(false, 0, &[one], 9),
        Err(SubmitError::Broken)
    );
}

#[test]
fn a_program_that_never_ends_fails_in_the_end() {
    let mut fixture = Fixture::cdl();
    fixture.port().faults = vec![Fault::Hang; ATTEMPTS as usize].into();
    assert_eq!(fixture.status(false, 1), BlockStatus::IoError);
    assert_eq!(fixture.status(false, 1), BlockStatus::Ok);
}

#[test]
fn a_disk_that_is_gone_fails_its_requests_and_takes_no_more() {
    for fault in [Fault::Deferred(3), Fault::Refused(Refusal::NotOperational)] {
        let mut fixture = Fixture::cdl();
        fixture.port().faults.push_back(fault);
        assert_eq!(fixture.status(false, 1), BlockStatus::IoError);
        let one = fixture.segment(0, BLOCK as u32);
        assert_eq!(
            fixture.submit(false, 0, &[one], 9),
            Err(SubmitError::Broken)
        );
    }
    let mut fixture = Fixture::cdl();
    fixture.one(false, 1, 0);
    fixture.port().mishaps.gone = true;
    fixture.disk.recheck(&mut fixture.machine);
    assert_eq!(fixture.all()[0].status, BlockStatus::IoError);
}

#[test]
fn a_dead_volume_is_tried_for_a_moment_only_while_others_are_served() {
    for stuck in [false, true] {
        let (mut machine, _) = machine(cdl(6), 0x80);
        let port = machine.subchannel(id());
        port.faults.push_back(Fault::Hang);
        port.mishaps.stuck = stuck;
        let tried = while_serving(&mut machine, |machine| {
            Eckd::open(machine, id(), ISC).map(drop)
        });
        tried.unwrap_err();
        assert!(machine.micros <= 600_000, "{} us", machine.micros);
    }
    let (mut machine, _) = machine(cdl(6), 0x80);
    while_serving(&mut machine, |machine| {
        Eckd::open(machine, id(), ISC).map(drop)
    })
    .unwrap();
}

#[test]
fn a_disk_that_gets_stuck_on_its_way_back_comes_back_when_that_has_ended() {
    let mut fixture = Fixture::cdl();
    fixture.machine.serving = false;
    fixture.machine.unplug(id());
    fixture.disk.recheck(&mut fixture.machine);
    let port = fixture.port();
    port.mishaps.gone = false;
    port.mishaps.stuck = true;
    port.faults.push_back(Fault::Hang);
    while_serving(&mut fixture.machine, |machine| {
        fixture.disk.recheck(machine);
    });
    assert!(fixture.disk.is_broken());
    fixture.port().mishaps.stuck = false;
    let _ = fixture.machine.clear(id());
    let _ = fixture.machine.test(id());
    fixture.disk.recheck(&mut fixture.machine);
    assert!(!fixture.disk.is_broken());
    fixture.one(false, 1, 0);
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
}
