//! The table of [`recovery`] on [`channel::model::Model`]: its channel runs the driver's programs step by step, over one path or two, with
//! a disk that follows a script.
//!
//! [`super::recovery`] proves the same and more on a storage control that knows records; there the end of a program is as the test says.
//! Here it is as the channel makes it of what the device, a path or the subchannel does.

use crate::driver::block::Dasd;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

use channel::model::{Fault, Instruction, PathState, Reply, Script};
use channel::{ChannelSubsystem, CommandCode, DeviceStatus, Refusal, SubchannelStatus};
use window::{Segment, Window};
use zerocopy::IntoBytes;

use super::recovery::sense_of;
use super::*;
use crate::driver::block::Done;
use crate::driver::dasd::recovery::{Action, ATTEMPTS, PROGRAM_TIMEOUT, TABLE};
use crate::testing::{Machine, Pace};

/// One step of the clock, in microseconds.
const TICK: u64 = 50_000;
const CHECK: DeviceStatus = DeviceStatus::UNIT_CHECK;

/// What is on the disk, everywhere.
fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| (at % 251) as u8).collect()
}

fn good() -> Reply {
    Reply::sends(&block())
}

/// Answers to two bring-ups of a volume without a label.
fn script() -> Script {
    let about = StorageControl::new(6).about;
    let mut script = Script::new()
        .on(
            CommandCode::SENSE_ID.0,
            Reply::sends(&[0xFF, 0x39, 0x90, 2, 0x33, 0x90, 2]),
        )
        .on(
            format::READ_CHARACTERISTICS.0,
            Reply::sends(about.as_bytes()),
        )
        .on(format::DEFINE_EXTENT.0, Reply::takes(16))
        .on(format::LOCATE_RECORD.0, Reply::takes(16))
        .on(format::READ_CKD.0, Reply::sends(&[0; 36]))
        .on(format::SENSE_PATH_GROUP.0, Reply::sends(&[0; 12]))
        .on(format::SET_PATH_GROUP.0, Reply::takes(12));
    for record in [1, 12, 1, 12] {
        let mut count = format::CountField::default();
        (count.record, count.data) = (record, (BLOCK as u16).into());
        script.add(format::READ_COUNT.0, Reply::sends(count.as_bytes()));
    }
    script
}

/// A disk of the model.
struct Bench {
    machine: Machine,
    disk: Eckd,
    device: Rc<RefCell<Script>>,
    data: Window,
}

impl Bench {
    /// Over paths X'80' and X'40', or the first only. Reads are answered as `replies` say one by one, then as they should.
    fn new(paths: usize, replies: &[Reply]) -> Self {
        let device = Rc::new(RefCell::new(script()));
        let mut machine = Machine::new();
        machine.pace = Pace::Later;
        machine.attach_device(id(), 0x0A80, device.clone());
        if paths == 2 {
            let model = &mut machine.css;
            model.set_path(id(), 1, 0x31, PathState::Operational);
        }
        let disk = Eckd::open(&mut machine, id(), ISC).unwrap();
        for reply in replies.iter().cloned().chain([good()]) {
            device.borrow_mut().add(format::READ_DATA.0, reply);
        }
        machine.subchannel(id()).taken.clear();
        let data = machine.storage(1).unwrap();
        Self {
            machine,
            disk,
            device,
            data,
        }
    }

    fn inject(&mut self, fault: Fault) {
        self.machine.css.inject(id(), fault);
    }

    fn taken(&mut self) -> &[u8] {
        &self.machine.subchannel(id()).taken
    }

    fn segment(&self) -> Segment {
        self.data
            .translate(ClientAddress::new(0), BLOCK as u32)
            .unwrap()
    }

    fn submit(&mut self) -> Result<(), SubmitError> {
        self.data.fill(ClientAddress::new(0), BLOCK, 0).unwrap();
        let (sector, segments) = (9 * SECTORS, [self.segment()]);
        self.disk
            .submit(0, Operation::Read { sector }, &segments, &[], Token(7))
    }

    /// The channel works, and the event loop turns once.
    fn turn(&mut self) -> Option<Done> {
        self.disk.kick(&mut self.machine);
        self.machine.css.run(1000);
        while let Some(interruption) = self.machine.pending_interruption() {
            assert!(self.disk.interruption(&mut self.machine, &interruption));
        }
        self.machine.micros += TICK;
        self.disk.poll()
    }

    /// How what was submitted ends: once, with its data if it ends well.
    fn ending(&mut self) -> BlockStatus {
        let limit = 3 * u64::from(ATTEMPTS) * PROGRAM_TIMEOUT / TICK;
        let done = (0..limit).find_map(|_| self.turn());
        let done = done.expect("no ending");
        assert_eq!(done.token, Token(7));
        for _ in 0..10 {
            assert_eq!(self.turn(), None, "a second ending");
        }
        assert_eq!(self.disk.in_flight(), 0);
        let mut found = vec![0; BLOCK as usize];
        self.data
            .read_bytes(ClientAddress::new(0), &mut found)
            .unwrap();
        assert!(done.status != BlockStatus::Ok || found == block());
        done.status
    }

    fn read(&mut self) -> BlockStatus {
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
        self.machine.css.bring_back(id());
        self.disk.recheck(&mut self.machine);
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
        let mut schib = bench.machine.store(id()).unwrap();
        schib.pmcw.set_concurrent_sense(false);
        bench.machine.modify(id(), &schib).unwrap();
        let failed = bench.read() == BlockStatus::IoError;
        assert_eq!(failed, row.action == Action::Fail, "{}", row.reason);
        assert_eq!(bench.read(), BlockStatus::Ok, "after {}", row.reason);
        let device = bench.device.borrow();
        let asked = device
            .log
            .iter()
            .filter(|one| one.0 == CommandCode::SENSE.0);
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
    let model = &mut bench.machine.css;
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
        assert_eq!(bench.device.borrow().stops, 1, "by the halt or the clear");
        assert_eq!(bench.disk.recoveries().timeouts, 1);
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
        bench.machine.css.take_away(id());
        bench.disk.recheck(&mut bench.machine);
        bench.expect_gone("a device that is taken away");
    }
}

#[test]
fn a_path_that_is_lost_under_a_program_is_left() {
    let mut bench = Bench::new(2, &[good().after(Reply::NEVER)]);
    bench.submit().unwrap();
    bench.turn();
    // All paths that nobody gave a number have number 0.
    bench.machine.css.lose_path(0);
    assert_eq!(bench.ending(), BlockStatus::Ok);
    assert_eq!(bench.taken(), [0x80, 0x40]);
    bench.machine.css.find_path(0);
    assert_eq!(bench.read(), BlockStatus::Ok);
}

#[test]
fn when_the_other_path_is_lost_too_the_first_one_is_used_again() {
    for state in [PathState::Dead, PathState::Unavailable] {
        let [check, _] = checks(&[0x10]);
        let mut bench = Bench::new(2, &[check]);
        bench.machine.css.set_path(id(), 1, 0x31, state);
        assert_eq!(bench.read(), BlockStatus::Ok, "{state:?}");
        assert_eq!(bench.taken().last(), Some(&0x80));
        assert_eq!(bench.read(), BlockStatus::Ok, "{state:?}");
    }
}
