//! Status that comes by itself, paths, devices that go, and faults.

use alloc::vec::Vec;

use super::fixture::{ccw, ended, nop, normal, Fixture, DATA, ENDLESS, NOP, PROGRAM, READ};
use crate::model::{Fault, PathState, Reply};
use crate::{
    ActivityControl, CcwFlags, ChannelSubsystem, Crw, DeviceStatus, FunctionControl, OrbFlags,
    RecoveryCode, Refusal, ReportingSource, StatusControl, SubchannelId, SubchannelStatus,
};

const NONE: CcwFlags = CcwFlags::empty();

fn endless() -> [crate::Ccw1; 1] {
    [ccw(ENDLESS, CcwFlags::SLI, 1, DATA)]
}

fn alert() -> StatusControl {
    StatusControl::ALERT | StatusControl::PENDING
}

#[test]
fn an_end_interrupts_once_and_is_taken_once() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    assert!(!fixture.interrupted(), "nothing happens by itself");
    fixture.steps();
    assert!(fixture.interrupted());
    assert!(!fixture.interrupted());
    assert_eq!(fixture.test().scsw.status(), ended());
    assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
}

#[test]
fn status_that_is_taken_first_does_not_interrupt() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    fixture.steps();
    fixture.test();
    assert!(!fixture.interrupted());
}

#[test]
fn a_masked_subclass_waits() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    fixture.steps();
    fixture.css.isc_mask = !0x10;
    assert!(!fixture.interrupted());
    fixture.css.isc_mask = 0x10;
    assert!(fixture.interrupted());
}

#[test]
fn attention_of_an_idle_device_is_alert_status() {
    let mut fixture = Fixture::new(&endless());
    fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.scsw.status(), alert());
    assert_eq!(irb.scsw.device(), DeviceStatus::ATTENTION);
    assert!(irb.scsw.function().is_empty());
}

#[test]
fn attention_before_a_pending_start_is_deferred_condition_code_1() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.scsw.deferred_cc(), 1);
    assert_eq!(irb.scsw.status(), alert());
    assert_eq!(irb.scsw.function(), FunctionControl::START);
    assert!(fixture.device.borrow().log.is_empty());
    assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
    fixture.steps();
    assert_eq!(fixture.test().scsw.deferred_cc(), 0);
}

#[test]
fn attention_during_a_program_comes_after_its_end() {
    let mut fixture = Fixture::new(&[ccw(NOP, CcwFlags::SLI, 1, 0)]);
    let reply = Reply::accepted().after(3);
    fixture.device.borrow_mut().add(NOP, reply);
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.css.step(fixture.id);
    fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
    fixture.steps();
    assert_eq!(fixture.test().scsw.status(), ended());
    fixture.steps();
    assert_eq!(fixture.test().scsw.status(), alert());
}

#[test]
fn a_disabled_subchannel_gets_no_status() {
    let mut fixture = Fixture::new(&endless());
    fixture.enable(false);
    fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
    fixture
        .css
        .inject(fixture.id, Fault::Alert(DeviceStatus::ATTENTION));
    fixture.steps();
    assert!(!fixture.interrupted());
    assert!(fixture.scsw().status().is_empty());
}

#[test]
fn an_injected_alert_comes_at_once_and_the_program_goes_on() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    fixture
        .css
        .inject(fixture.id, Fault::Alert(DeviceStatus::ATTENTION));
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.scsw.status(), alert());
    assert!(irb
        .scsw
        .activity()
        .contains(ActivityControl::SUBCHANNEL_ACTIVE));
    assert!(!irb.scsw.ended());
    assert_eq!(fixture.start(OrbFlags::empty()), Err(Refusal::Busy));
    assert_eq!(fixture.scsw().function(), FunctionControl::START);
}

#[test]
fn a_busy_device_keeps_the_start_pending() {
    let mut fixture = Fixture::new(&[ccw(READ, NONE, 16, DATA)]);
    {
        let mut device = fixture.device.borrow_mut();
        *device = crate::model::Script::new()
            .on(READ, Reply::initial(DeviceStatus::BUSY))
            .on(READ, Reply::initial(DeviceStatus::BUSY))
            .on(READ, Reply::sends(&[1; 16]));
    }
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.css.step(fixture.id);
    fixture.css.step(fixture.id);
    assert_eq!(fixture.scsw().activity(), ActivityControl::START_PENDING);
    fixture.css.step(fixture.id);
    let live = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
    assert_eq!(fixture.scsw().activity(), live);
    fixture.steps();
    assert_eq!(fixture.test().scsw.device(), normal());
}

#[test]
fn a_busy_device_with_status_turns_the_start_away() {
    let mut fixture = Fixture::new(&[ccw(0x12, NONE, 16, DATA)]);
    let status = DeviceStatus::BUSY | DeviceStatus::ATTENTION;
    fixture
        .device
        .borrow_mut()
        .add(0x12, Reply::initial(status));
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.scsw.deferred_cc(), 1);
    assert_eq!(irb.scsw.device(), status);
}

#[test]
fn a_start_that_is_pending_can_be_cancelled_without_status() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    fixture.css.cancel(fixture.id).unwrap();
    fixture.steps();
    assert!(!fixture.interrupted());
    assert!(fixture.device.borrow().log.is_empty());
    assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
}

#[test]
fn primary_and_secondary_status_can_come_apart() {
    let mut fixture = Fixture::new(&[ccw(0x0F, NONE, 0, 0)]);
    let rewind = Reply::accepted().ends_with(DeviceStatus::CHANNEL_END);
    fixture.device.borrow_mut().add(0x0F, rewind);
    fixture.start(OrbFlags::empty()).unwrap();
    while !fixture.scsw().status().contains(StatusControl::PENDING) {
        fixture.css.step(fixture.id);
    }
    let first = fixture.test().scsw;
    assert_eq!(
        first.status(),
        StatusControl::PRIMARY | StatusControl::PENDING
    );
    assert_eq!(first.device(), DeviceStatus::CHANNEL_END);
    assert_eq!(first.activity(), ActivityControl::DEVICE_ACTIVE);
    fixture.steps();
    let second = fixture.test().scsw;
    assert_eq!(
        second.status(),
        StatusControl::SECONDARY | StatusControl::PENDING
    );
    assert_eq!(second.device(), DeviceStatus::DEVICE_END);
    assert!(fixture.scsw().activity().is_empty());
}

#[test]
fn initial_status_interruption_has_a_zero_condition_code() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::INITIAL_STATUS);
    fixture.steps();
    let irb = fixture.test();
    let expected = StatusControl::INTERMEDIATE | StatusControl::PENDING;
    assert_eq!(irb.scsw.status(), expected);
    assert!(irb
        .scsw
        .flags()
        .contains(crate::ScswFlags::ZERO_CONDITION_CODE));
}

#[test]
fn a_resumed_program_fetches_its_ccw_again() {
    let program = [nop(CcwFlags::CC), nop(CcwFlags::SUSPEND)];
    let flags = OrbFlags::SUSPEND_CONTROL | OrbFlags::PREFETCH;
    let mut fixture = Fixture::started(&program, flags);
    fixture.steps();
    fixture.test();
    fixture.css.resume(fixture.id).unwrap();
    fixture.steps();
    assert!(
        fixture
            .test()
            .scsw
            .activity()
            .contains(ActivityControl::SUSPENDED),
        "still"
    );
    fixture.put(&[nop(CcwFlags::CC), nop(CcwFlags::CC), nop(NONE)]);
    fixture.css.resume(fixture.id).unwrap();
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.scsw.status(), ended());
    assert_eq!(irb.scsw.program.get(), PROGRAM + 24);
}

#[test]
fn a_program_that_is_resumed_in_advance_looks_again() {
    let program = [
        ccw(NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0),
        nop(CcwFlags::SUSPEND),
    ];
    let mut fixture = Fixture::new(&program);
    fixture
        .device
        .borrow_mut()
        .add(NOP, Reply::accepted().after(2));
    fixture.device.borrow_mut().add(NOP, Reply::immediate());
    fixture.start(OrbFlags::SUSPEND_CONTROL).unwrap();
    fixture.css.step(fixture.id);
    fixture.css.resume(fixture.id).unwrap();
    assert_eq!(fixture.css.resume(fixture.id), Err(Refusal::Busy));
    fixture.steps();
    let scsw = fixture.test().scsw;
    assert_eq!(
        scsw.activity(),
        ActivityControl::SUSPENDED,
        "the flag was still there"
    );
}

#[test]
fn a_halted_program_ends_with_what_the_device_says() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    fixture.css.halt(fixture.id).unwrap();
    fixture.steps();
    let scsw = fixture.test().scsw;
    assert_eq!(
        scsw.function(),
        FunctionControl::START | FunctionControl::HALT
    );
    assert_eq!(scsw.status(), ended());
    assert_eq!(scsw.device(), normal());
    assert_eq!(scsw.program.get(), PROGRAM + 8);
    assert_eq!(fixture.device.borrow().stops, 1);
}

#[test]
fn a_cleared_program_leaves_status_pending_alone() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    fixture.css.clear(fixture.id).unwrap();
    fixture.steps();
    let scsw = fixture.test().scsw;
    assert_eq!(scsw.function(), FunctionControl::CLEAR);
    assert_eq!(scsw.status(), StatusControl::PENDING);
    assert!(scsw.activity().is_empty());
    assert_eq!(fixture.css.store(fixture.id).unwrap().pmcw.lpum, 0);
}

#[test]
fn clear_wipes_status_that_is_pending() {
    let mut fixture = Fixture::started(&[nop(NONE)], OrbFlags::empty());
    fixture.steps();
    fixture.css.clear(fixture.id).unwrap();
    assert!(!fixture.interrupted());
    fixture.steps();
    assert_eq!(fixture.test().scsw.function(), FunctionControl::CLEAR);
}

#[test]
fn a_halt_that_nobody_answers_stays_pending_until_a_clear() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    fixture.css.inject(fixture.id, Fault::HaltUnanswered);
    fixture.css.halt(fixture.id).unwrap();
    fixture.steps();
    assert!(!fixture.interrupted());
    assert_eq!(fixture.css.halt(fixture.id), Err(Refusal::Busy));
    fixture.css.clear(fixture.id).unwrap();
    fixture.steps();
    assert!(fixture.interrupted());
}

#[test]
fn unit_check_brings_its_sense_along() {
    let mut fixture = Fixture::started(&[ccw(0x42, NONE, 4, DATA)], OrbFlags::empty());
    fixture.steps();
    let irb = fixture.test();
    assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
    assert_eq!(irb.esw.last_path_used(), 0x80);
    let mut schib = fixture.css.store(fixture.id).unwrap();
    schib.pmcw.set_concurrent_sense(false);
    fixture.css.modify(fixture.id, &schib).unwrap();
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    assert_eq!(fixture.test().concurrent_sense(), None);
}

#[test]
fn replies_with_unit_check_have_sense_bytes_of_their_own() {
    let mut fixture = Fixture::new(&[ccw(0x42, NONE, 4, DATA)]);
    let check = DeviceStatus::UNIT_CHECK;
    let late = Reply::sends(&[1; 4]).ends_with(normal() | check);
    for (reply, sense) in [(Reply::initial(check), [0x10, 1]), (late, [0, 0x80])] {
        let reply = reply.with_sense(&sense);
        fixture.device.borrow_mut().add(0x42, reply);
    }
    for (sense, status) in [([0x10, 1], check), ([0, 0x80], normal() | check)] {
        fixture.start(OrbFlags::empty()).unwrap();
        fixture.steps();
        let irb = fixture.test();
        assert_eq!(irb.concurrent_sense(), Some(sense.as_slice()));
        assert_eq!(irb.scsw.device(), status);
    }
}

#[test]
fn a_dead_path_is_passed_over_and_shown() {
    let mut fixture = Fixture::new(&[nop(NONE)]);
    fixture.css.set_path(fixture.id, 0, 0x30, PathState::Dead);
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    let irb = fixture.test();
    assert!(irb.scsw.path_not_operational());
    assert_eq!(irb.scsw.deferred_cc(), 0);
    let pmcw = fixture.css.store(fixture.id).unwrap().pmcw;
    assert_eq!((pmcw.pnom, pmcw.pom, pmcw.lpum), (0x80, 0x7F, 0x40));
}

#[test]
fn no_living_path_is_deferred_condition_code_3() {
    let mut fixture = Fixture::new(&[nop(NONE)]);
    fixture.css.set_path(fixture.id, 0, 0x30, PathState::Dead);
    fixture.css.set_path(fixture.id, 1, 0x31, PathState::Dead);
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    let scsw = fixture.test().scsw;
    assert_eq!(scsw.deferred_cc(), 3);
    assert!(scsw.path_not_operational());
    assert_eq!(scsw.status(), StatusControl::ALERT | StatusControl::PENDING);
    assert!(
        !fixture.scsw().path_not_operational(),
        "taken with the status"
    );
}

#[test]
fn a_lost_path_ends_what_runs_on_it_and_is_reported() {
    let mut fixture = Fixture::new(&endless());
    fixture
        .css
        .set_path(fixture.id, 0, 0x30, PathState::Operational);
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    fixture.css.lose_path(0x30);
    let report = fixture.css.channel_report().unwrap();
    assert_eq!(report.source(), ReportingSource::ChannelPath);
    assert_eq!(report.source_id(), 0x30);
    let scsw = fixture.test().scsw;
    assert_eq!(scsw.subchannel(), SubchannelStatus::INTERFACE_CONTROL_CHECK);
    assert_eq!(fixture.css.store(fixture.id).unwrap().pmcw.pam, 0x40);
    fixture.css.find_path(0x30);
    assert_eq!(fixture.css.store(fixture.id).unwrap().pmcw.pam, 0xC0);
}

#[test]
fn a_device_that_goes_takes_its_program_along_and_comes_back_disabled() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    fixture.css.take_away(fixture.id);
    assert!(fixture.css.test(fixture.id).is_err());
    assert_eq!(fixture.css.halt(fixture.id), Err(Refusal::NotOperational));
    assert!(!fixture.css.store(fixture.id).unwrap().pmcw.has_device());
    fixture.css.bring_back(fixture.id);
    let reports: Vec<Crw> = core::iter::from_fn(|| fixture.css.channel_report()).collect();
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert_eq!(report.source_id(), fixture.id.number());
        assert_eq!(report.recovery(), RecoveryCode::ParametersInitialized);
    }
    assert_eq!(
        fixture.start(OrbFlags::empty()),
        Err(Refusal::NotOperational)
    );
    fixture.enable(true);
    assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
    assert!(!fixture.interrupted(), "what was lost gives no status");
}

#[test]
fn too_many_reports_overflow() {
    let mut fixture = Fixture::new(&[]);
    for _ in 0..20 {
        fixture.css.take_away(fixture.id);
    }
    let reports: Vec<Crw> = core::iter::from_fn(|| fixture.css.channel_report()).collect();
    assert_eq!(reports.len(), 16);
    let overflow = |crw: &Crw| crw.flags().contains(crate::CrwFlags::OVERFLOW);
    assert_eq!(reports.iter().filter(|crw| overflow(crw)).count(), 1);
}

#[test]
fn injected_checks_and_deferred_codes_come_once() {
    let mut fixture = Fixture::started(&endless(), OrbFlags::empty());
    fixture.steps();
    let check = SubchannelStatus::CHANNEL_DATA_CHECK;
    fixture.css.inject(fixture.id, Fault::Check(check));
    fixture.steps();
    assert_eq!(fixture.test().scsw.subchannel(), check);
    fixture
        .css
        .inject(fixture.id, Fault::DeferredStatus(DeviceStatus::DEVICE_END));
    fixture.css.inject(fixture.id, Fault::DeferredNoPath);
    for expected in [1, 3] {
        fixture.start(OrbFlags::empty()).unwrap();
        fixture.steps();
        assert_eq!(fixture.test().scsw.deferred_cc(), expected);
    }
    fixture.start(OrbFlags::empty()).unwrap();
    fixture.steps();
    assert!(!fixture.interrupted(), "the endless command runs");
}

mod any {
    //! Whatever the order of calls and steps: each status is taken once, and the model stays sane.

    use proptest::prelude::*;

    use super::*;
    use crate::Tested;

    proptest! {
        #[test]
        fn no_status_is_lost_or_doubled(calls in proptest::collection::vec(0..9u8, 0..200), seed: u64) {
            let program = [nop(CcwFlags::CC | CcwFlags::PCI), ccw(READ, CcwFlags::SLI, 16, DATA)];
            let mut fixture = Fixture::new(&program);
            let (mut started, mut finished) = (0u32, 0u32);
            for call in calls {
                match call {
                    0 => started += u32::from(fixture.start(OrbFlags::empty()).is_ok()),
                    1 => { let _ = fixture.css.halt(fixture.id); }
                    2 => { let _ = fixture.css.resume(fixture.id); }
                    3 => fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION),
                    4 => {
                        if let Ok(Tested::Status(irb)) = fixture.css.test(fixture.id) {
                            let of_start = irb.scsw.function().contains(FunctionControl::START);
                            finished += u32::from(of_start && irb.scsw.ended());
                        }
                    }
                    5 => { fixture.css.pending_interruption(); }
                    6 => fixture.css.run_seeded(seed, 3),
                    _ => { fixture.css.step(fixture.id); }
                }
                prop_assert!(finished <= started && started <= finished + 1);
            }
            fixture.steps();
            if let Ok(Tested::Status(irb)) = fixture.css.test(fixture.id) {
                finished += u32::from(
                    irb.scsw.function().contains(FunctionControl::START) && irb.scsw.ended(),
                );
            }
            prop_assert_eq!(started, finished);
        }
    }

    #[test]
    fn an_unknown_subchannel_never_moves() {
        let mut fixture = Fixture::new(&[]);
        assert!(!fixture.css.step(SubchannelId::new(2, 9).unwrap()));
    }
}
