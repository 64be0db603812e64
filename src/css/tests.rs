//! What discovery finds, and how it gets along with a subchannel that is busy.

use channel::{ChannelSubsystem, Crw, PmcwFlags, SubchannelId};

use super::*;
use crate::driver::fake::{Disk, Machine, Model, Virtio};

fn disk() -> Virtio {
    Virtio::new(Model::Disk(Disk::new(8)), 1)
}

#[test]
fn devices_of_all_sets_are_found_and_left_disabled() {
    let mut machine = Machine::new();
    let first = machine.attach(0, 0x100, disk());
    let gap = machine.attach(0, 0, disk());
    machine
        .subchannel(gap)
        .schib
        .pmcw
        .set_flag(PmcwFlags::DEVICE_NUMBER_VALID, false);
    let second = machine.attach(0, 0x101, disk());
    let third = machine.attach(2, 0x100, disk());
    let devices = discover(&mut machine).unwrap();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    assert_eq!(ids, [first, second, third]);
    assert!(devices.iter().all(|device| device.virtio_id() == Some(2)));
    assert_eq!(std::format!("{}", devices[2].number), "0.2.0100");
    for id in ids {
        let schib = machine.store(id).unwrap();
        assert!(!schib.pmcw.flags().contains(PmcwFlags::ENABLED));
    }
    assert!(machine.pending.is_empty());
}

#[test]
fn a_device_that_hangs_is_listed_and_does_not_stop_the_others() {
    let mut machine = Machine::new();
    let hangs = machine.attach(0, 0x100, disk());
    machine.subchannel(hangs).mishaps.hangs = true;
    machine.subchannel(hangs).mishaps.stuck = true;
    machine.attach(0, 0x101, disk());
    let devices = discover(&mut machine).unwrap();
    assert_eq!(
        devices[0].identity.unwrap_err(),
        IdentityError::SenseId(ProgramError::Stuck)
    );
    assert_eq!(devices[1].virtio_id(), Some(2));
}

#[test]
fn enabling_goes_on_through_busy_and_pending_status() {
    let (mut machine, id) = Machine::with(disk());
    machine
        .subchannel(id)
        .schib
        .pmcw
        .set_flag(PmcwFlags::ENABLED, true);
    machine.subchannel(id).mishaps.busy = 3;
    machine.subchannel(id).mishaps.pending = 2;
    let schib = enable(&mut machine, id, 5).unwrap();
    assert_eq!(schib.pmcw.isc(), 5);
    assert_eq!(schib.pmcw.parameter.get(), id.word());
    assert!(machine.sleeps >= 3);
}

#[test]
fn a_subchannel_that_stays_busy_is_given_up() {
    let (mut machine, id) = Machine::with(disk());
    machine.subchannel(id).mishaps.busy = u32::MAX;
    let refused = enable(&mut machine, id, 3).map(drop);
    assert_eq!(refused, Err(EnableError::Refused(Refusal::Busy)));
    machine.subchannel(id).mishaps.gone = true;
    assert_eq!(
        enable(&mut machine, id, 3).map(drop),
        Err(EnableError::NoDevice)
    );
}

#[test]
fn a_chained_report_names_the_set() {
    let mut machine = Machine::new();
    machine.reports.extend([
        Crw(0x0384_0001),
        Crw(0x1384_0002),
        Crw(0x0384_0020),
        Crw(0x2384_0000),
    ]);
    let id = |set, number| Some(Report::Subchannel(SubchannelId::new(set, number).unwrap()));
    assert_eq!(next_report(&mut machine), id(0, 1));
    assert_eq!(next_report(&mut machine), id(2, 2));
    assert_eq!(next_report(&mut machine), Some(Report::Overflow));
    assert_eq!(next_report(&mut machine), None);
}
