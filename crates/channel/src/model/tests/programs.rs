//! Channel programs: what they touch and how they end.

use alloc::vec;
use alloc::vec::Vec;

use zerocopy::IntoBytes;

use super::fixture::{
    ccw, no_check, nop, normal, pattern, put, script, tic, BACKWARD, DATA, LIST, NOP, PROGRAM,
    READ, SIZE, WRITE,
};
use crate::model::{interpret, Area, Limits, Outcome, Reply, Run, Script, Storage};
use crate::{
    Ccw1, CcwFlags, DeviceStatus, Idaw1, Idaw2, Midaw, MidawFlags, Orb, OrbFlags, StatusControl,
    SubchannelStatus,
};

const NONE: CcwFlags = CcwFlags::empty();
const PROGRAM_CHECK: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;

/// A program in its storage.
pub struct Bench {
    pub storage: Storage,
    pub device: Script,
    pub orb: Orb,
    pub limits: Limits,
}

impl Bench {
    pub fn new(program: &[Ccw1], flags: OrbFlags) -> Self {
        let mut storage = Storage::new(0, SIZE);
        put(&mut storage, PROGRAM, program);
        Self {
            storage,
            device: script(),
            orb: Orb::format_1(0, PROGRAM, flags, 0x80),
            limits: Limits {
                steps: 10_000,
                ..Limits::default()
            },
        }
    }

    pub fn run(&mut self) -> Run {
        interpret(&self.orb, &mut self.storage, &mut self.device, &self.limits)
    }

    fn at(&self, address: u32, length: usize) -> &[u8] {
        self.storage.get(address.into(), length).unwrap()
    }
}

fn run(program: &[Ccw1], flags: OrbFlags) -> Run {
    Bench::new(program, flags).run()
}

fn area(address: u32, length: u64) -> Area {
    Area {
        address: address.into(),
        length,
    }
}

/// Ended as it should, `ccws` CCWs after the start.
fn assert_well(run: &Run, ccws: u32) {
    assert_eq!(run.outcome, Outcome::Ended);
    assert_eq!(run.scsw.subchannel(), no_check());
    assert_eq!(run.scsw.device(), normal());
    assert_eq!(run.scsw.program.get(), PROGRAM + 8 * ccws);
    assert!(run.scsw.ended());
    assert!(!run.scsw.status().contains(StatusControl::ALERT));
}

/// A check, with the CCW address after `ccws` CCWs.
fn assert_check(run: &Run, check: SubchannelStatus, ccws: u32) {
    assert_eq!(run.outcome, Outcome::Ended);
    assert_eq!(run.scsw.subchannel(), check);
    assert_eq!(run.scsw.program.get(), PROGRAM + 8 * ccws);
    assert!(run.scsw.status().contains(StatusControl::ALERT));
    assert!(run.scsw.ended());
}

// ---- data -----------------------------------------------------------------------------------------

#[test]
fn a_read_stores_what_the_device_sends() {
    let mut bench = Bench::new(&[ccw(READ, NONE, 16, DATA)], OrbFlags::empty());
    let run = bench.run();
    assert_well(&run, 1);
    assert_eq!(bench.at(DATA, 16), pattern(16));
    assert_eq!(run.trace.writes, [area(DATA, 16)]);
    assert_eq!(run.trace.reads, []);
    assert_eq!(run.trace.fetches, [area(PROGRAM, 8)]);
}

#[test]
fn a_write_gives_the_device_what_is_stored() {
    let mut bench = Bench::new(&[ccw(WRITE, NONE, 16, DATA)], OrbFlags::empty());
    bench.storage.put(DATA.into(), &pattern(16));
    let run = bench.run();
    assert_well(&run, 1);
    assert_eq!(bench.device.log, [(WRITE, pattern(16))]);
    assert_eq!(run.trace.reads, [area(DATA, 16)]);
}

#[test]
fn reading_backward_goes_down() {
    let mut bench = Bench::new(&[ccw(BACKWARD, NONE, 16, DATA + 7)], OrbFlags::empty());
    let run = bench.run();
    assert_well(&run, 1);
    let mut expected = pattern(16);
    expected.reverse();
    assert_eq!(bench.at(DATA + 7 - 15, 16), expected);
    assert_eq!(run.trace.writes, [area(DATA - 8, 16)]);
}

#[test]
fn skip_stores_nothing_and_counts() {
    let program = [
        ccw(READ, CcwFlags::SKIP | CcwFlags::CD, 10, 0x7FFF_FFFF),
        ccw(0, NONE, 6, DATA),
    ];
    let mut bench = Bench::new(&program, OrbFlags::empty());
    let run = bench.run();
    assert_well(&run, 2);
    assert_eq!(run.trace.writes, [area(DATA, 6)]);
    assert_eq!(bench.at(DATA, 6), &pattern(16)[10..]);
}

#[test]
fn skip_means_nothing_to_a_write() {
    let mut bench = Bench::new(&[ccw(WRITE, CcwFlags::SKIP, 16, DATA)], OrbFlags::empty());
    bench.storage.put(DATA.into(), &pattern(16));
    assert_well(&bench.run(), 1);
    assert_eq!(bench.device.log, [(WRITE, pattern(16))]);
}

#[test]
fn data_chaining_goes_on_through_a_tic() {
    let program = [
        ccw(READ, CcwFlags::CD, 4, DATA),
        tic(PROGRAM + 24),
        nop(NONE),
        ccw(0, NONE, 12, DATA + 0x100),
    ];
    let mut bench = Bench::new(&program, OrbFlags::empty());
    let run = bench.run();
    assert_well(&run, 4);
    assert_eq!(bench.device.log.len(), 1, "one command");
    assert_eq!(bench.at(DATA + 0x100, 12), &pattern(16)[4..]);
}

fn through_idaws(flags: OrbFlags, block: u32, format_2: bool) {
    let mut bench = Bench::new(
        &[ccw(READ, CcwFlags::IDA, 6000, LIST)],
        flags | OrbFlags::PREFETCH,
    );
    bench.device = Script::new().on(READ, Reply::sends(&pattern(6000)));
    let first = 0x4000 + block - 100;
    let others = [0x8000, 0xC000, 0x6000, 0xA000];
    let mut list = Vec::new();
    for address in [first].into_iter().chain(others) {
        if format_2 {
            list.extend_from_slice(Idaw2::new(address.into()).as_bytes());
        } else {
            list.extend_from_slice(Idaw1::new(address).as_bytes());
        }
    }
    bench.storage.put(LIST.into(), &list);
    let run = bench.run();
    assert_well(&run, 1);
    let mut left = 6000 - 100;
    let mut expected = vec![area(first, 100)];
    for address in others {
        let length = left.min(u64::from(block));
        left -= length;
        if length > 0 {
            expected.push(area(address, length));
        }
    }
    assert_eq!(run.trace.writes, expected);
    assert_eq!(bench.at(0x8000, 16), &pattern(6000)[100..116]);
}

#[test]
fn idaws_of_all_formats_name_blocks() {
    through_idaws(OrbFlags::empty(), 0x800, false);
    through_idaws(OrbFlags::FORMAT_2_IDAW, 0x1000, true);
    through_idaws(OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K, 0x800, true);
}

#[test]
fn idaws_backward_end_blocks() {
    let mut bench = Bench::new(&[ccw(BACKWARD, CcwFlags::IDA, 16, LIST)], OrbFlags::empty());
    let list = [Idaw1::new(0x4003), Idaw1::new(0x67FF)];
    bench.storage.put(LIST.into(), list.as_bytes());
    let run = bench.run();
    assert_well(&run, 1);
    assert_eq!(run.trace.writes, [area(0x4000, 4), area(0x67F4, 12)]);
    assert_eq!(bench.at(0x67FF, 1), [5]);
}

#[test]
fn a_second_idaw_within_a_block_is_a_program_check() {
    let mut bench = Bench::new(&[ccw(READ, CcwFlags::IDA, 16, LIST)], OrbFlags::empty());
    let list = [Idaw1::new(0x47FC), Idaw1::new(0x6004)];
    bench.storage.put(LIST.into(), list.as_bytes());
    let run = bench.run();
    assert_check(&run, PROGRAM_CHECK, 1);
    assert_eq!(run.scsw.count.get(), 12, "what was not transferred");
    assert_eq!(run.scsw.device(), normal(), "the device was told to stop");
}

fn midaws(count: u16, list: &[Midaw]) -> (Bench, Run) {
    let program = [ccw(READ, CcwFlags::MIDA, count, LIST)];
    let mut bench = Bench::new(&program, OrbFlags::MIDAW);
    bench.storage.put(LIST.into(), list.as_bytes());
    let run = bench.run();
    (bench, run)
}

#[test]
fn midaws_name_areas_of_any_length() {
    let list = [
        Midaw::new(MidawFlags::empty(), 3, 0x4001),
        Midaw::new(MidawFlags::SKIP, 5, 0),
        Midaw::new(MidawFlags::LAST, 8, 0x5000),
    ];
    let (bench, run) = midaws(16, &list);
    assert_well(&run, 1);
    assert_eq!(run.trace.writes, [area(0x4001, 3), area(0x5000, 8)]);
    assert_eq!(bench.at(0x5000, 8), &pattern(16)[8..]);
}

#[test]
fn wrong_midaws_are_program_checks() {
    let last = MidawFlags::LAST;
    let lists = [
        vec![Midaw::new(last, 15, 0x4000)],
        vec![Midaw::new(last, 17, 0x4000)],
        vec![Midaw::new(last, 16, 0x4FF8)],
        vec![Midaw::new(MidawFlags::empty(), 16, 0x4000)],
        vec![Midaw::new(last, 0, 0x4000)],
        vec![Midaw::new(
            last | MidawFlags::from_bits_retain(1),
            16,
            0x4000,
        )],
    ];
    for list in lists {
        let (_, run) = midaws(16, &list);
        assert_check(&run, PROGRAM_CHECK, 1);
    }
}

#[test]
fn a_midaw_list_does_not_cross_a_page() {
    let program = [ccw(READ, CcwFlags::MIDA, 16, LIST + 0xFF0)];
    let mut bench = Bench::new(&program, OrbFlags::MIDAW);
    let list = [
        Midaw::new(MidawFlags::empty(), 8, 0x4000),
        Midaw::new(MidawFlags::LAST, 8, 0x5000),
    ];
    bench.storage.put((LIST + 0xFF0).into(), list.as_bytes());
    assert_check(&bench.run(), PROGRAM_CHECK, 1);
}

// ---- chaining -------------------------------------------------------------------------------------

#[test]
fn command_chaining_runs_one_after_the_other() {
    let program = [
        nop(CcwFlags::CC),
        ccw(READ, CcwFlags::CC, 16, DATA),
        ccw(NOP, CcwFlags::SLI, 0, 0),
    ];
    assert_well(&run(&program, OrbFlags::empty()), 3);
}

#[test]
fn status_modifier_skips_one_ccw() {
    let program = [
        ccw(0x31, CcwFlags::CC, 16, DATA),
        tic(PROGRAM),
        ccw(READ, NONE, 16, DATA),
    ];
    let mut bench = Bench::new(&program, OrbFlags::empty());
    let modified = normal() | DeviceStatus::STATUS_MODIFIER;
    bench.device.add(0x31, Reply::accepted());
    bench.device.add(0x31, Reply::accepted());
    bench
        .device
        .add(0x31, Reply::accepted().ends_with(modified));
    let run = bench.run();
    assert_well(&run, 3);
    assert_eq!(bench.device.log.len(), 4, "searched three times, read once");
}

#[test]
fn a_chain_waits_for_device_end() {
    let program = [ccw(0x0B, CcwFlags::CC, 6, DATA), nop(NONE)];
    let mut bench = Bench::new(&program, OrbFlags::empty());
    let seek = Reply::takes(6).ends_with(DeviceStatus::CHANNEL_END);
    bench.device.add(0x0B, seek);
    assert_well(&bench.run(), 2);
}

#[test]
fn unit_check_ends_a_chain() {
    let program = [ccw(0x42, CcwFlags::CC, 4, DATA), nop(NONE)];
    let run = run(&program, OrbFlags::empty());
    assert_eq!(run.scsw.device(), DeviceStatus::UNIT_CHECK);
    assert_eq!(run.scsw.program.get(), PROGRAM + 8);
    assert_eq!(run.scsw.count.get(), 4);
    assert!(run.scsw.status().contains(StatusControl::ALERT));
}

#[test]
fn a_loop_ends_with_the_limit() {
    let program = [nop(CcwFlags::CC), tic(PROGRAM)];
    let run = run(&program, OrbFlags::empty());
    assert_eq!(run.outcome, Outcome::OutOfSteps);
}

// ---- lengths --------------------------------------------------------------------------------------

#[test]
fn incorrect_length_unless_it_is_suppressed() {
    let il = SubchannelStatus::INCORRECT_LENGTH;
    for (code, count, residual) in [(READ, 20, 4), (READ, 10, 0), (WRITE, 20, 4), (WRITE, 10, 0)] {
        let wrong = run(
            &[ccw(code, CcwFlags::CC, count, DATA), nop(NONE)],
            OrbFlags::empty(),
        );
        assert_check(&wrong, il, 1);
        assert_eq!(wrong.scsw.count.get(), residual);
        let flags = CcwFlags::CC | CcwFlags::SLI;
        let right = run(
            &[ccw(code, flags, count, DATA), nop(NONE)],
            OrbFlags::empty(),
        );
        assert_well(&right, 2);
    }
}

#[test]
fn sli_does_not_help_a_device_that_ends_within_data_chaining() {
    let program = [
        ccw(READ, CcwFlags::CD | CcwFlags::SLI, 20, DATA),
        ccw(0, CcwFlags::SLI, 20, DATA),
    ];
    let run = run(&program, OrbFlags::empty());
    assert_check(&run, SubchannelStatus::INCORRECT_LENGTH, 1);
}

#[test]
fn an_immediate_operation_with_a_count_is_judged_by_the_orb() {
    let program = [ccw(NOP, NONE, 1, DATA)];
    let il = SubchannelStatus::INCORRECT_LENGTH;
    assert_check(&run(&program, OrbFlags::empty()), il, 1);
    assert_well(&run(&program, OrbFlags::LENGTH_SUPPRESSION), 1);
    assert_well(&run(&[ccw(NOP, CcwFlags::SLI, 1, 0)], OrbFlags::empty()), 1);
    assert_well(&run(&[ccw(NOP, NONE, 0, 0)], OrbFlags::empty()), 1);
}

#[test]
fn format_0_suppresses_the_length_of_immediate_operations() {
    let mut bench = Bench::new(&[], OrbFlags::empty());
    bench.orb.set_flags(OrbFlags::empty());
    let program = [0x03, 0, 0, 0, 0, 0, 0, 1];
    bench.storage.put(PROGRAM.into(), &program);
    assert_well(&bench.run(), 1);
}

// ---- checks ---------------------------------------------------------------------------------------

#[test]
fn wrong_ccws_are_program_checks_at_their_address() {
    let second = [
        ccw(0x00, NONE, 1, DATA),
        ccw(0x18, NONE, 1, DATA),
        ccw(READ, NONE, 16, DATA | 0x8000_0000),
        ccw(READ, NONE, 16, SIZE as u32),
        ccw(READ, CcwFlags::SUSPEND, 16, DATA),
        ccw(READ, CcwFlags::MIDA, 16, LIST),
        ccw(READ, CcwFlags::IDA, 16, LIST + 2),
        ccw(READ, CcwFlags::IDA, 16, SIZE as u32),
        ccw(READ, CcwFlags::CD, 0, DATA),
        ccw(0x08, CcwFlags::SLI, 0, PROGRAM),
        ccw(0x08, NONE, 1, PROGRAM),
        tic(PROGRAM + 4),
        tic(SIZE as u32),
    ];
    for wrong in second {
        let program = [nop(CcwFlags::CC), wrong];
        assert_check(&run(&program, OrbFlags::empty()), PROGRAM_CHECK, 2);
    }
}

#[test]
fn midaw_with_skip_or_ida_is_a_program_check() {
    for flag in [CcwFlags::SKIP, CcwFlags::IDA] {
        let program = [ccw(READ, CcwFlags::MIDA | flag, 16, LIST)];
        assert_check(&run(&program, OrbFlags::MIDAW), PROGRAM_CHECK, 1);
    }
}

#[test]
fn a_tic_comes_neither_first_nor_after_a_tic() {
    assert_check(
        &run(&[tic(PROGRAM + 8), nop(NONE)], OrbFlags::empty()),
        PROGRAM_CHECK,
        1,
    );
    let program = [nop(CcwFlags::CC), tic(PROGRAM + 16), tic(PROGRAM)];
    assert_check(&run(&program, OrbFlags::empty()), PROGRAM_CHECK, 3);
    let itself = [nop(CcwFlags::CC), tic(PROGRAM + 8)];
    assert_check(&run(&itself, OrbFlags::empty()), PROGRAM_CHECK, 2);
}

#[test]
fn a_zero_count_is_a_program_check_in_format_0_and_in_data_chaining() {
    let mut bench = Bench::new(&[], OrbFlags::empty());
    bench.orb.set_flags(OrbFlags::empty());
    bench
        .storage
        .put(PROGRAM.into(), &[0x03, 0, 0, 0, 0x20, 0, 0, 0]);
    assert_check(&bench.run(), PROGRAM_CHECK, 1);
    let program = [ccw(READ, CcwFlags::CD, 4, DATA), ccw(0, NONE, 0, DATA)];
    let run = run(&program, OrbFlags::empty());
    assert_check(&run, PROGRAM_CHECK, 2);
    assert_eq!(run.scsw.device(), normal(), "the device was at work");
}

#[test]
fn an_unaligned_or_absent_program_is_a_program_check() {
    let mut bench = Bench::new(&[nop(NONE)], OrbFlags::empty());
    bench.orb.program = (PROGRAM + 4).into();
    let run = bench.run();
    assert_eq!(run.scsw.subchannel(), PROGRAM_CHECK);
    assert_eq!(run.scsw.program.get(), PROGRAM + 12);
    bench.orb.program = (SIZE as u32).into();
    assert_eq!(bench.run().scsw.subchannel(), PROGRAM_CHECK);
    assert!(bench.device.log.is_empty());
}

#[test]
fn a_foreign_key_is_a_protection_check() {
    let protection = SubchannelStatus::PROTECTION_CHECK;
    let mut bench = Bench::new(&[ccw(READ, NONE, 16, DATA)], OrbFlags::empty());
    bench.orb.set_key(3);
    assert_check(&bench.run(), protection, 1);
    bench.storage.set_key(DATA.into(), 0x30);
    assert_well(&bench.run(), 1);
    bench.storage.set_key(PROGRAM.into(), 0x48);
    assert_check(&bench.run(), protection, 1);
}

#[test]
fn a_transfer_stops_where_storage_ends() {
    let end = SIZE as u32;
    let mut bench = Bench::new(&[ccw(READ, NONE, 16, end - 10)], OrbFlags::empty());
    let run = bench.run();
    assert_check(&run, PROGRAM_CHECK, 1);
    assert_eq!(run.scsw.count.get(), 6);
    assert_eq!(run.trace.writes, [area(end - 10, 10)]);
}

#[test]
fn an_address_limit_counts_only_when_the_orb_says_so() {
    let mut bench = Bench::new(&[ccw(READ, NONE, 16, DATA)], OrbFlags::empty());
    bench.limits.allowed = 0x4000..u64::MAX;
    assert_well(&bench.run(), 1);
    bench
        .orb
        .set_flags(bench.orb.flags() | OrbFlags::ADDRESS_LIMIT);
    assert_check(&bench.run(), PROGRAM_CHECK, 1);
}

// ---- programs that change -------------------------------------------------------------------------

/// Reads a CCW over the third one: what is there before is a NOP that ends the program.
fn self_modifying(flags: OrbFlags) -> (Bench, Run) {
    let program = [
        ccw(READ, CcwFlags::CC, 8, PROGRAM + 8),
        nop(NONE),
        nop(NONE),
    ];
    let mut bench = Bench::new(&program, flags);
    let new = ccw(NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0);
    bench.device = Script::new().on(READ, Reply::sends(new.as_bytes()));
    let run = bench.run();
    (bench, run)
}

#[test]
fn without_prefetch_a_program_sees_what_it_has_read_into_itself() {
    let (_, run) = self_modifying(OrbFlags::empty());
    assert_well(&run, 3);
}

#[test]
fn with_prefetch_it_sees_what_was_there_before() {
    let (bench, run) = self_modifying(OrbFlags::PREFETCH);
    assert_well(&run, 2);
    assert_eq!(bench.at(PROGRAM + 9, 1), [0x60], "it was read all the same");
}

#[test]
fn an_error_that_was_fetched_ahead_counts_only_when_reached() {
    let program = [nop(CcwFlags::CC), nop(NONE), ccw(0, NONE, 0, 0)];
    assert_well(&run(&program, OrbFlags::PREFETCH), 2);
}

#[test]
fn a_suspended_program_shows_the_ccw_that_stopped_it() {
    let program = [nop(CcwFlags::CC), nop(CcwFlags::SUSPEND)];
    let run = run(&program, OrbFlags::SUSPEND_CONTROL);
    assert_eq!(run.outcome, Outcome::Suspended);
    assert_eq!(run.scsw.program.get(), PROGRAM + 16);
    let expected = StatusControl::INTERMEDIATE | StatusControl::PENDING;
    assert_eq!(run.scsw.status(), expected);
}

#[test]
fn each_pci_is_one_intermediate_status() {
    let program = [
        nop(CcwFlags::CC | CcwFlags::PCI),
        nop(CcwFlags::CC),
        ccw(READ, CcwFlags::PCI, 16, DATA),
    ];
    let run = run(&program, OrbFlags::empty());
    assert_well(&run, 3);
    let at: Vec<u32> = run.intermediate.iter().map(|s| s.program.get()).collect();
    assert_eq!(at, [PROGRAM + 8, PROGRAM + 24]);
    for scsw in &run.intermediate {
        assert_eq!(scsw.subchannel(), SubchannelStatus::PCI);
    }
}
