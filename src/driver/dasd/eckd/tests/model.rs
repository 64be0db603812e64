//! The table of [`recovery`] with a channel that runs the driver's programs step by step, over one path or two.
//!
//! [`super::recovery`] proves the same and more on programs that are over before they begin, as the test says. Here an ending is as the
//! channel makes it of what the device, in the middle of a program, a path or the subchannel does.

use crate::driver::block::Dasd;
use std::vec::Vec;

use channel::model::{Fault, Instruction, PathState, Reply};
use channel::{ChannelSubsystem, CommandCode, DeviceStatus, Refusal, SubchannelStatus};
use window::Segment;

use super::recovery::sense_of;
use super::*;
use crate::driver::block::Done;
use crate::driver::dasd::recovery::{Action, ATTEMPTS, PROGRAM_TIMEOUT, TABLE};
use crate::testing::Pace;

/// One step of the clock, in microseconds.
const TICK: u64 = 50_000;
const CHECK: DeviceStatus = DeviceStatus::UNIT_CHECK;

/// The block that is read.
const READ: u64 = 9;

/// What is in it.
fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| (at % 251) as u8).collect()
}

pub(super) fn good() -> Reply {
    Reply::sends(&block())
}

/// A volume without a label.
fn volume() -> StorageControl {
    let mut volume = StorageControl::new(6).format(0, BLOCK as u16, 12);
    let record = volume.records.get_mut(&TRACK_0.place(READ as u8 + 1));
    record.unwrap().data = block();
    volume
}

/// A disk whose channel works in steps.
pub(super) struct Bench(pub(super) Fixture);

impl Bench {
    /// Over paths X'80' and X'40', or the first only. Reads are answered as `replies` say one by one, then as they should.
    fn new(paths: usize, replies: &[Reply]) -> Self {
        Self::over(if paths == 2 { 0xC0 } else { 0x80 }, replies)
    }

    /// Over these paths.
    pub(super) fn over(mask: u8, replies: &[Reply]) -> Self {
        let (mut machine, device) = machine(volume(), mask);
        machine.pace = Pace::Later;
        let mut fixture = Fixture::open((machine, device), Eckd::open);
        fixture.machine.serving = false;
        fixture.port().answer(replies);
        Self(fixture)
    }

    fn inject(&mut self, fault: Fault) {
        self.0.machine.css.inject(id(), fault);
    }

    pub(super) fn taken(&mut self) -> &[u8] {
        &self.0.port().taken
    }

    fn segment(&self) -> Segment {
        self.0
            .data
            .translate(ClientAddress::new(0), BLOCK as u32)
            .unwrap()
    }

    pub(super) fn submit(&mut self) -> Result<(), SubmitError> {
        self.0.data.fill(ClientAddress::new(0), BLOCK, 0).unwrap();
        let (sector, segments) = (READ * SECTORS, [self.segment()]);
        self.0
            .disk
            .submit(0, Operation::Read { sector }, &segments, &[], Token(7))
    }

    /// The channel works, and the event loop turns once.
    pub(super) fn turn(&mut self) -> Option<Done> {
        self.0.disk.kick(&mut self.0.machine);
        self.0.machine.css.run(1000);
        while let Some(interruption) = self.0.machine.pending_interruption() {
            assert!(self.0.disk.interruption(&mut self.0.machine, &interruption));
        }
        self.0.machine.micros += TICK;
        self.0.disk.poll()
    }

    /// How what was submitted ends: once, with its data if it ends well.
    pub(super) fn ending(&mut self) -> BlockStatus {
        let limit = 3 * u64::from(ATTEMPTS) * PROGRAM_TIMEOUT / TICK;
        let done = (0..limit).find_map(|_| self.turn());
        let done = done.expect("no ending");
        assert_eq!(done.token, Token(7));
        for _ in 0..10 {
            assert_eq!(self.turn(), None, "a second ending");
        }
        assert_eq!(self.0.disk.in_flight(), 0);
        let mut found = vec![0; BLOCK as usize];
        self.0
            .data
            .read_bytes(ClientAddress::new(0), &mut found)
            .unwrap();
        assert!(done.status != BlockStatus::Ok || found == block());
        done.status
    }

    pub(super) fn read(&mut self) -> BlockStatus {
        self.submit().unwrap();
        self.ending()
    }

    /// A request ends so after programs over these paths, and the next one ends well.
    fn expect(&mut self, status: BlockStatus, paths: &[u8], about: &str) {
        assert_eq!(self.read(), status, "{about}");
        assert_eq!(self.taken(), paths, "{about}");
        assert_eq!(self.read(), BlockStatus::Ok, "after {about}");
    }

    /// A request fails, and the disk takes no more until it is looked at again.
    fn expect_gone(&mut self, about: &str) {
        assert_eq!(self.ending(), BlockStatus::IoError, "{about}");
        assert_eq!(self.submit(), Err(SubmitError::Broken), "{about}");
        self.0.machine.css.bring_back(id());
        self.0.disk.recheck(&mut self.0.machine);
        assert_eq!(self.read(), BlockStatus::Ok, "after {about}");
    }
}

/// A read that ends with these sense bytes: at once, or after its data.
fn checks(sense: &[u8]) -> [Reply; 2] {
    let late = good().ends_with(Reply::normal_end() | CHECK);
    [Reply::initial(CHECK), late].map(|reply| reply.with_sense(sense))
}

/// The paths of all programs of a request that always ends so, and whether one such ending fails it.
fn tries(action: Action, paths: usize) -> (&'static [u8], bool) {
    match (action, paths) {
        (Action::Fail, _) | (Action::UntriedPath, 1) => (&[0x80], true),
        (Action::UntriedPath, _) => (&[0x80, 0x40], false),
        (Action::OtherPath, 2) => (&[0x80, 0x40, 0x80, 0x40, 0x80], false),
        _ => (&[0x80; ATTEMPTS as usize], false),
    }
}

#[test]
fn every_row_of_the_table_does_what_it_says_over_one_path_and_over_two() {
    for (number, row) in TABLE.iter().enumerate() {
        for check in checks(&sense_of(number)) {
            for paths in [1, 2] {
                let (all, fails) = tries(row.action, paths);
                // With one program more the request would end well.
                let replies = vec![check.clone(); all.len()];
                Bench::new(paths, &replies).expect(BlockStatus::IoError, all, row.reason);
                if !fails {
                    let mut bench = Bench::new(paths, &replies[..1]);
                    bench.expect(BlockStatus::Ok, &all[..2], row.reason);
                }
            }
        }
    }
}

#[test]
fn a_path_that_an_earlier_request_left_out_is_untried() {
    let [other, _] = checks(&[0x10]);
    let [untried, _] = checks(&[0x10, 0x80]);
    let mut bench = Bench::new(2, &[other, good(), untried]);
    bench.expect(BlockStatus::Ok, &[0x80, 0x40], "both");
    assert_eq!(bench.taken(), [0x80, 0x40, 0x40, 0x80]);
}

#[test]
fn sense_that_does_not_come_along_is_asked_for() {
    for (number, row) in TABLE.iter().enumerate() {
        let [check, _] = checks(&sense_of(number));
        let mut bench = Bench::new(2, &[check]);
        let mut schib = bench.0.machine.store(id()).unwrap();
        schib.pmcw.set_concurrent_sense(false);
        bench.0.machine.modify(id(), &schib).unwrap();
        let failed = bench.read() == BlockStatus::IoError;
        assert_eq!(failed, row.action == Action::Fail, "{}", row.reason);
        assert_eq!(bench.read(), BlockStatus::Ok, "after {}", row.reason);
        let commands = bench.0.port().commands.iter();
        let asked = commands.filter(|one| **one == CommandCode::SENSE.0);
        assert_eq!(asked.count(), 1, "{}", row.reason);
    }
}

#[test]
fn what_the_channel_and_the_device_report_is_retried_or_fails() {
    use SubchannelStatus as Channel;
    let busy = DeviceStatus::BUSY | DeviceStatus::STATUS_MODIFIER;
    let exception = Reply::normal_end() | DeviceStatus::UNIT_EXCEPTION;
    let (again, other): (&[u8], &[u8]) = (&[0x80, 0x80], &[0x80, 0x40]);
    let fails = &again[..1];
    let check = |check| (Some(check), None);
    let reply = |reply: Reply| (None, Some(reply));
    for ((fault, reply), taken) in [
        (check(Channel::PROGRAM_CHECK), fails),
        (check(Channel::PROTECTION_CHECK), fails),
        (check(Channel::CHANNEL_DATA_CHECK), again),
        (check(Channel::CHAINING_CHECK), again),
        (check(Channel::CHANNEL_CONTROL_CHECK), other),
        (check(Channel::INTERFACE_CONTROL_CHECK), other),
        (reply(Reply::sends(&[1; 100])), fails),
        (reply(good().ends_with(exception)), fails),
        (reply(Reply::initial(busy)), again),
    ] {
        let status = match taken {
            [_] => BlockStatus::IoError,
            _ => BlockStatus::Ok,
        };
        let about = std::format!("{fault:?} {reply:?}");
        let mut bench = Bench::new(2, reply.as_slice());
        if let Some(check) = fault {
            bench.inject(Fault::Check(check));
        }
        bench.expect(status, taken, &about);
    }
}

#[test]
fn a_start_that_is_put_off_is_tried_again() {
    for fault in [
        Fault::DeferredStatus(DeviceStatus::ATTENTION),
        Fault::DeferredStatus(DeviceStatus::BUSY),
        Fault::Refuse(Instruction::Start, Refusal::Busy),
        Fault::Refuse(Instruction::Start, Refusal::StatusPending),
    ] {
        for paths in [1, 2] {
            let mut bench = Bench::new(paths, &[]);
            bench.inject(fault);
            assert_eq!(bench.read(), BlockStatus::Ok, "{fault:?}");
            assert_eq!(bench.read(), BlockStatus::Ok, "after {fault:?}");
        }
    }
}

#[test]
fn a_busy_device_that_is_free_says_so_and_is_not_waited_for_longer() {
    let busy = Reply::initial(DeviceStatus::BUSY | DeviceStatus::STATUS_MODIFIER);
    let mut bench = Bench::new(2, &[busy]);
    bench.submit().unwrap();
    assert_eq!((bench.turn(), bench.turn()), (None, None));
    let model = &mut bench.0.machine.css;
    model.unsolicited(id(), DeviceStatus::CONTROL_UNIT_END);
    let done = (0..4).find_map(|_| bench.turn());
    assert_eq!(done.unwrap().status, BlockStatus::Ok);
}

#[test]
fn a_program_that_does_not_end_is_stopped_and_tried_over_another_path() {
    let endless = good().after(Reply::NEVER);
    for (paths, deaf, second) in [(1, false, 0x80), (2, false, 0x40), (2, true, 0x40)] {
        let mut bench = Bench::new(paths, std::slice::from_ref(&endless));
        if deaf {
            bench.inject(Fault::HaltUnanswered);
        }
        assert_eq!(bench.read(), BlockStatus::Ok);
        assert_eq!(bench.taken().last(), Some(&second), "{paths} {deaf}");
        assert_eq!(bench.0.port().stops(), 1, "by the halt or the clear");
        assert_eq!(bench.0.disk.recoveries().timeouts, 1);
        assert_eq!(bench.read(), BlockStatus::Ok);
    }
    let mut bench = Bench::new(2, &vec![endless; ATTEMPTS as usize]);
    assert_eq!(bench.read(), BlockStatus::IoError);
    assert_eq!(bench.read(), BlockStatus::Ok);
}

#[test]
fn a_program_that_cannot_be_stopped_ends_the_disk() {
    let mut bench = Bench::new(2, &[good().after(Reply::NEVER)]);
    bench.inject(Fault::HaltUnanswered);
    bench.inject(Fault::ClearUnanswered);
    assert_eq!(bench.read(), BlockStatus::IoError);
    assert_eq!(bench.submit(), Err(SubmitError::Broken));
}

#[test]
fn a_disk_without_a_path_or_without_its_subchannel_is_gone_until_it_is_back() {
    for paths in [1, 2] {
        for fault in [
            Fault::DeferredNoPath,
            Fault::Refuse(Instruction::Start, Refusal::NotOperational),
            Fault::Refuse(Instruction::Test, Refusal::NotOperational),
        ] {
            let mut bench = Bench::new(paths, &[]);
            bench.inject(fault);
            bench.submit().unwrap();
            bench.expect_gone(&std::format!("{fault:?}"));
        }
        let mut bench = Bench::new(paths, &[good().after(Reply::NEVER)]);
        bench.submit().unwrap();
        bench.turn();
        bench.0.machine.css.take_away(id());
        bench.0.disk.recheck(&mut bench.0.machine);
        bench.expect_gone("a device that is taken away");
    }
}

#[test]
fn a_path_that_is_lost_under_a_program_is_left() {
    let mut bench = Bench::new(2, &[good().after(Reply::NEVER)]);
    bench.submit().unwrap();
    bench.turn();
    bench.0.machine.css.lose_path(0x30);
    assert_eq!(bench.ending(), BlockStatus::Ok);
    assert_eq!(bench.taken(), [0x80, 0x40]);
    bench.0.machine.css.find_path(0x30);
    assert_eq!(bench.read(), BlockStatus::Ok);
}

#[test]
fn when_the_other_path_is_lost_too_the_first_one_is_used_again() {
    for state in [PathState::Dead, PathState::Unavailable] {
        let [check, _] = checks(&[0x10]);
        let mut bench = Bench::new(2, &[check]);
        bench.0.machine.css.set_path(id(), 1, 0x31, state);
        assert_eq!(bench.read(), BlockStatus::Ok, "{state:?}");
        assert_eq!(bench.taken().last(), Some(&0x80));
        assert_eq!(bench.read(), BlockStatus::Ok, "{state:?}");
    }
}
