//! Status that comes by itself, paths, devices that go, and faults.

use alloc::vec::Vec;

use super::scene::{ccw, ended, nop, normal, Scene, DATA, ENDLESS, NOP, PROGRAM, READ};
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
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    assert!(!scene.interrupted(), "nothing happens by itself");
    scene.steps();
    assert!(scene.interrupted());
    assert!(!scene.interrupted());
    assert_eq!(scene.test().scsw.status(), ended());
    assert_eq!(scene.start(OrbFlags::empty()), Ok(()));
}

#[test]
fn status_that_is_taken_first_does_not_interrupt() {
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    scene.steps();
    scene.test();
    assert!(!scene.interrupted());
}

#[test]
fn a_masked_subclass_waits() {
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    scene.steps();
    scene.css.isc_mask = !0x10;
    assert!(!scene.interrupted());
    scene.css.isc_mask = 0x10;
    assert!(scene.interrupted());
}

#[test]
fn attention_of_an_idle_device_is_alert_status() {
    let mut scene = Scene::new(&endless());
    scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION);
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.scsw.status(), alert());
    assert_eq!(irb.scsw.device(), DeviceStatus::ATTENTION);
    assert!(irb.scsw.function().is_empty());
}

#[test]
fn attention_before_a_pending_start_is_deferred_condition_code_1() {
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION);
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.scsw.deferred_cc(), 1);
    assert_eq!(irb.scsw.status(), alert());
    assert_eq!(irb.scsw.function(), FunctionControl::START);
    assert!(scene.device.borrow().log.is_empty());
    assert_eq!(scene.start(OrbFlags::empty()), Ok(()));
    scene.steps();
    assert_eq!(scene.test().scsw.deferred_cc(), 0);
}

#[test]
fn attention_during_a_program_comes_after_its_end() {
    let mut scene = Scene::new(&[ccw(NOP, CcwFlags::SLI, 1, 0)]);
    let reply = Reply::accepted().after(3);
    scene.device.borrow_mut().add(NOP, reply);
    scene.start(OrbFlags::empty()).unwrap();
    scene.css.step(scene.id);
    scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION);
    scene.steps();
    assert_eq!(scene.test().scsw.status(), ended());
    scene.steps();
    assert_eq!(scene.test().scsw.status(), alert());
}

#[test]
fn a_disabled_subchannel_gets_no_status() {
    let mut scene = Scene::new(&endless());
    scene.enable(false);
    scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION);
    scene
        .css
        .inject(scene.id, Fault::Alert(DeviceStatus::ATTENTION));
    scene.steps();
    assert!(!scene.interrupted());
    assert!(scene.scsw().status().is_empty());
}

#[test]
fn an_injected_alert_comes_at_once_and_the_program_goes_on() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    scene
        .css
        .inject(scene.id, Fault::Alert(DeviceStatus::ATTENTION));
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.scsw.status(), alert());
    assert!(irb
        .scsw
        .activity()
        .contains(ActivityControl::SUBCHANNEL_ACTIVE));
    assert!(!irb.scsw.ended());
    assert_eq!(scene.start(OrbFlags::empty()), Err(Refusal::Busy));
    assert_eq!(scene.scsw().function(), FunctionControl::START);
}

#[test]
fn a_busy_device_keeps_the_start_pending() {
    let mut scene = Scene::new(&[ccw(READ, NONE, 16, DATA)]);
    {
        let mut device = scene.device.borrow_mut();
        *device = crate::model::Script::new()
            .on(READ, Reply::initial(DeviceStatus::BUSY))
            .on(READ, Reply::initial(DeviceStatus::BUSY))
            .on(READ, Reply::sends(&[1; 16]));
    }
    scene.start(OrbFlags::empty()).unwrap();
    scene.css.step(scene.id);
    scene.css.step(scene.id);
    assert_eq!(scene.scsw().activity(), ActivityControl::START_PENDING);
    scene.css.step(scene.id);
    let live = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
    assert_eq!(scene.scsw().activity(), live);
    scene.steps();
    assert_eq!(scene.test().scsw.device(), normal());
}

#[test]
fn a_busy_device_with_status_turns_the_start_away() {
    let mut scene = Scene::new(&[ccw(0x12, NONE, 16, DATA)]);
    let status = DeviceStatus::BUSY | DeviceStatus::ATTENTION;
    scene.device.borrow_mut().add(0x12, Reply::initial(status));
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.scsw.deferred_cc(), 1);
    assert_eq!(irb.scsw.device(), status);
}

#[test]
fn a_start_that_is_pending_can_be_cancelled_without_status() {
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    scene.css.cancel(scene.id).unwrap();
    scene.steps();
    assert!(!scene.interrupted());
    assert!(scene.device.borrow().log.is_empty());
    assert_eq!(scene.start(OrbFlags::empty()), Ok(()));
}

#[test]
fn primary_and_secondary_status_can_come_apart() {
    let mut scene = Scene::new(&[ccw(0x0F, NONE, 0, 0)]);
    let rewind = Reply::accepted().ends_with(DeviceStatus::CHANNEL_END);
    scene.device.borrow_mut().add(0x0F, rewind);
    scene.start(OrbFlags::empty()).unwrap();
    while !scene.scsw().status().contains(StatusControl::PENDING) {
        scene.css.step(scene.id);
    }
    let first = scene.test().scsw;
    assert_eq!(
        first.status(),
        StatusControl::PRIMARY | StatusControl::PENDING
    );
    assert_eq!(first.device(), DeviceStatus::CHANNEL_END);
    assert_eq!(first.activity(), ActivityControl::DEVICE_ACTIVE);
    scene.steps();
    let second = scene.test().scsw;
    assert_eq!(
        second.status(),
        StatusControl::SECONDARY | StatusControl::PENDING
    );
    assert_eq!(second.device(), DeviceStatus::DEVICE_END);
    assert!(scene.scsw().activity().is_empty());
}

#[test]
fn initial_status_interruption_has_a_zero_condition_code() {
    let mut scene = Scene::started(&endless(), OrbFlags::INITIAL_STATUS);
    scene.steps();
    let irb = scene.test();
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
    let mut scene = Scene::started(&program, flags);
    scene.steps();
    scene.test();
    scene.css.resume(scene.id).unwrap();
    scene.steps();
    assert!(
        scene
            .test()
            .scsw
            .activity()
            .contains(ActivityControl::SUSPENDED),
        "still"
    );
    scene.put(&[nop(CcwFlags::CC), nop(CcwFlags::CC), nop(NONE)]);
    scene.css.resume(scene.id).unwrap();
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.scsw.status(), ended());
    assert_eq!(irb.scsw.program.get(), PROGRAM + 24);
}

#[test]
fn a_program_that_is_resumed_in_advance_looks_again() {
    let program = [
        ccw(NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0),
        nop(CcwFlags::SUSPEND),
    ];
    let mut scene = Scene::new(&program);
    scene
        .device
        .borrow_mut()
        .add(NOP, Reply::accepted().after(2));
    scene.device.borrow_mut().add(NOP, Reply::immediate());
    scene.start(OrbFlags::SUSPEND_CONTROL).unwrap();
    scene.css.step(scene.id);
    scene.css.resume(scene.id).unwrap();
    assert_eq!(scene.css.resume(scene.id), Err(Refusal::Busy));
    scene.steps();
    let scsw = scene.test().scsw;
    assert_eq!(
        scsw.activity(),
        ActivityControl::SUSPENDED,
        "the flag was still there"
    );
}

#[test]
fn a_halted_program_ends_with_what_the_device_says() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    scene.css.halt(scene.id).unwrap();
    scene.steps();
    let scsw = scene.test().scsw;
    assert_eq!(
        scsw.function(),
        FunctionControl::START | FunctionControl::HALT
    );
    assert_eq!(scsw.status(), ended());
    assert_eq!(scsw.device(), normal());
    assert_eq!(scsw.program.get(), PROGRAM + 8);
    assert_eq!(scene.device.borrow().stops, 1);
}

#[test]
fn a_cleared_program_leaves_status_pending_alone() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    scene.css.clear(scene.id).unwrap();
    scene.steps();
    let scsw = scene.test().scsw;
    assert_eq!(scsw.function(), FunctionControl::CLEAR);
    assert_eq!(scsw.status(), StatusControl::PENDING);
    assert!(scsw.activity().is_empty());
    assert_eq!(scene.css.store(scene.id).unwrap().pmcw.lpum, 0);
}

#[test]
fn clear_wipes_status_that_is_pending() {
    let mut scene = Scene::started(&[nop(NONE)], OrbFlags::empty());
    scene.steps();
    scene.css.clear(scene.id).unwrap();
    assert!(!scene.interrupted());
    scene.steps();
    assert_eq!(scene.test().scsw.function(), FunctionControl::CLEAR);
}

#[test]
fn a_halt_that_nobody_answers_stays_pending_until_a_clear() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    scene.css.inject(scene.id, Fault::HaltUnanswered);
    scene.css.halt(scene.id).unwrap();
    scene.steps();
    assert!(!scene.interrupted());
    assert_eq!(scene.css.halt(scene.id), Err(Refusal::Busy));
    scene.css.clear(scene.id).unwrap();
    scene.steps();
    assert!(scene.interrupted());
}

#[test]
fn unit_check_brings_its_sense_along() {
    let mut scene = Scene::started(&[ccw(0x42, NONE, 4, DATA)], OrbFlags::empty());
    scene.steps();
    let irb = scene.test();
    assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
    assert_eq!(irb.esw.last_path_used(), 0x80);
    let mut schib = scene.css.store(scene.id).unwrap();
    schib.pmcw.set_concurrent_sense(false);
    scene.css.modify(scene.id, &schib).unwrap();
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    assert_eq!(scene.test().concurrent_sense(), None);
}

#[test]
fn replies_with_unit_check_have_sense_bytes_of_their_own() {
    let mut scene = Scene::new(&[ccw(0x42, NONE, 4, DATA)]);
    let check = DeviceStatus::UNIT_CHECK;
    let late = Reply::sends(&[1; 4]).ends_with(normal() | check);
    for (reply, sense) in [(Reply::initial(check), [0x10, 1]), (late, [0, 0x80])] {
        let reply = reply.with_sense(&sense);
        scene.device.borrow_mut().add(0x42, reply);
    }
    for (sense, status) in [([0x10, 1], check), ([0, 0x80], normal() | check)] {
        scene.start(OrbFlags::empty()).unwrap();
        scene.steps();
        let irb = scene.test();
        assert_eq!(irb.concurrent_sense(), Some(sense.as_slice()));
        assert_eq!(irb.scsw.device(), status);
    }
}

#[test]
fn a_dead_path_is_passed_over_and_shown() {
    let mut scene = Scene::new(&[nop(NONE)]);
    scene.css.set_path(scene.id, 0, 0x30, PathState::Dead);
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    let irb = scene.test();
    assert!(irb.scsw.path_not_operational());
    assert_eq!(irb.scsw.deferred_cc(), 0);
    let pmcw = scene.css.store(scene.id).unwrap().pmcw;
    assert_eq!((pmcw.pnom, pmcw.pom, pmcw.lpum), (0x80, 0x7F, 0x40));
}

#[test]
fn no_living_path_is_deferred_condition_code_3() {
    let mut scene = Scene::new(&[nop(NONE)]);
    scene.css.set_path(scene.id, 0, 0x30, PathState::Dead);
    scene.css.set_path(scene.id, 1, 0x31, PathState::Dead);
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    let scsw = scene.test().scsw;
    assert_eq!(scsw.deferred_cc(), 3);
    assert!(scsw.path_not_operational());
    assert_eq!(scsw.status(), StatusControl::ALERT | StatusControl::PENDING);
    assert!(
        !scene.scsw().path_not_operational(),
        "taken with the status"
    );
}

#[test]
fn a_lost_path_ends_what_runs_on_it_and_is_reported() {
    let mut scene = Scene::new(&endless());
    scene
        .css
        .set_path(scene.id, 0, 0x30, PathState::Operational);
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    scene.css.lose_path(0x30);
    let report = scene.css.channel_report().unwrap();
    assert_eq!(report.source(), ReportingSource::ChannelPath);
    assert_eq!(report.source_id(), 0x30);
    let scsw = scene.test().scsw;
    assert_eq!(scsw.subchannel(), SubchannelStatus::INTERFACE_CONTROL_CHECK);
    assert_eq!(scene.css.store(scene.id).unwrap().pmcw.pam, 0x40);
    scene.css.find_path(0x30);
    assert_eq!(scene.css.store(scene.id).unwrap().pmcw.pam, 0xC0);
}

#[test]
fn a_device_that_goes_takes_its_program_along_and_comes_back_disabled() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    scene.css.take_away(scene.id);
    assert!(scene.css.test(scene.id).is_err());
    assert_eq!(scene.css.halt(scene.id), Err(Refusal::NotOperational));
    assert!(!scene.css.store(scene.id).unwrap().pmcw.has_device());
    scene.css.bring_back(scene.id);
    let reports: Vec<Crw> = core::iter::from_fn(|| scene.css.channel_report()).collect();
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert_eq!(report.source_id(), scene.id.number());
        assert_eq!(report.recovery(), RecoveryCode::ParametersInitialized);
    }
    assert_eq!(scene.start(OrbFlags::empty()), Err(Refusal::NotOperational));
    scene.enable(true);
    assert_eq!(scene.start(OrbFlags::empty()), Ok(()));
    assert!(!scene.interrupted(), "what was lost gives no status");
}

#[test]
fn too_many_reports_overflow() {
    let mut scene = Scene::new(&[]);
    for _ in 0..20 {
        scene.css.take_away(scene.id);
    }
    let reports: Vec<Crw> = core::iter::from_fn(|| scene.css.channel_report()).collect();
    assert_eq!(reports.len(), 16);
    let overflow = |crw: &Crw| crw.flags().contains(crate::CrwFlags::OVERFLOW);
    assert_eq!(reports.iter().filter(|crw| overflow(crw)).count(), 1);
}

#[test]
fn injected_checks_and_deferred_codes_come_once() {
    let mut scene = Scene::started(&endless(), OrbFlags::empty());
    scene.steps();
    let check = SubchannelStatus::CHANNEL_DATA_CHECK;
    scene.css.inject(scene.id, Fault::Check(check));
    scene.steps();
    assert_eq!(scene.test().scsw.subchannel(), check);
    scene
        .css
        .inject(scene.id, Fault::DeferredStatus(DeviceStatus::DEVICE_END));
    scene.css.inject(scene.id, Fault::DeferredNoPath);
    for expected in [1, 3] {
        scene.start(OrbFlags::empty()).unwrap();
        scene.steps();
        assert_eq!(scene.test().scsw.deferred_cc(), expected);
    }
    scene.start(OrbFlags::empty()).unwrap();
    scene.steps();
    assert!(!scene.interrupted(), "the endless command runs");
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
            let mut scene = Scene::new(&program);
            let (mut started, mut finished) = (0u32, 0u32);
            for call in calls {
                match call {
                    0 => started += u32::from(scene.start(OrbFlags::empty()).is_ok()),
                    1 => { let _ = scene.css.halt(scene.id); }
                    2 => { let _ = scene.css.resume(scene.id); }
                    3 => scene.css.unsolicited(scene.id, DeviceStatus::ATTENTION),
                    4 => {
                        if let Ok(Tested::Status(irb)) = scene.css.test(scene.id) {
                            let of_start = irb.scsw.function().contains(FunctionControl::START);
                            finished += u32::from(of_start && irb.scsw.ended());
                        }
                    }
                    5 => { scene.css.pending_interruption(); }
                    6 => scene.css.run_seeded(seed, 3),
                    _ => { scene.css.step(scene.id); }
                }
                prop_assert!(finished <= started && started <= finished + 1);
            }
            scene.steps();
            if let Ok(Tested::Status(irb)) = scene.css.test(scene.id) {
                finished += u32::from(
                    irb.scsw.function().contains(FunctionControl::START) && irb.scsw.ended(),
                );
            }
            prop_assert_eq!(started, finished);
        }
    }

    #[test]
    fn an_unknown_subchannel_never_moves() {
        let mut scene = Scene::new(&[]);
        assert!(!scene.css.step(SubchannelId::new(2, 9).unwrap()));
    }
}
