//! Condition codes of all eight instructions in each state, and what TEST SUBCHANNEL clears.

use super::fixture::{ccw, nop, Fixture, ENDLESS, PROGRAM};
use crate::model::{Fault, Instruction, PathState};
use crate::{
    ActivityControl, CcwFlags, ChannelSubsystem, DeviceStatus, FunctionControl, Orb, OrbFlags,
    Refusal, StatusControl, SubchannelId, Tested,
};

#[derive(Clone, Copy, Debug)]
enum State {
    NotProvided,
    NotValid,
    Disabled,
    Idle,
    StartPending,
    Active,
    ActiveResumable,
    Suspended,
    SuspendedPending,
    IntermediatePending,
    PrimaryPending,
    FinalPending,
    AlertPending,
    HaltPending,
    HaltDone,
    ClearPending,
    ClearDone,
    ResumePending,
}

const SUSPENDABLE: OrbFlags = OrbFlags::SUSPEND_CONTROL;

fn in_state(state: State) -> Fixture {
    let quiet = SUSPENDABLE | OrbFlags::SUPPRESS_SUSPENDED;
    let endless = [ccw(ENDLESS, CcwFlags::SLI, 1, 0x3000)];
    let suspending = [nop(CcwFlags::CC), nop(CcwFlags::SUSPEND)];
    let run = |program: &[crate::Ccw1], flags| {
        let mut fixture = Fixture::started(program, flags);
        fixture.steps();
        fixture
    };
    match state {
        State::NotProvided => {
            let mut fixture = Fixture::new(&endless);
            fixture.css.remove(fixture.id);
            fixture
        }
        State::NotValid => {
            let mut fixture = Fixture::new(&endless);
            fixture.css.take_away(fixture.id);
            fixture
        }
        State::Disabled => {
            let mut fixture = Fixture::new(&endless);
            fixture.enable(false);
            fixture
        }
        State::Idle => Fixture::new(&endless),
        State::StartPending => Fixture::started(&endless, OrbFlags::empty()),
        State::Active => run(&endless, OrbFlags::empty()),
        State::ActiveResumable => run(&endless, SUSPENDABLE),
        State::Suspended => run(&suspending, quiet),
        State::SuspendedPending => run(&suspending, SUSPENDABLE),
        State::IntermediatePending => {
            let endless = [ccw(ENDLESS, CcwFlags::SLI | CcwFlags::PCI, 1, 0x3000)];
            run(&endless, OrbFlags::empty())
        }
        State::PrimaryPending => {
            let mut fixture = Fixture::new(&[nop(CcwFlags::empty())]);
            let reply = crate::model::Reply::accepted()
                .ends_with(DeviceStatus::CHANNEL_END)
                .after(1);
            fixture.device.borrow_mut().add(super::fixture::NOP, reply);
            fixture.start(OrbFlags::empty()).unwrap();
            while !fixture.scsw().status().contains(StatusControl::PENDING) {
                fixture.css.step(fixture.id);
            }
            fixture
        }
        State::FinalPending => run(&[nop(CcwFlags::empty())], OrbFlags::empty()),
        State::AlertPending => {
            let mut fixture = Fixture::new(&endless);
            fixture.css.unsolicited(fixture.id, DeviceStatus::ATTENTION);
            fixture.steps();
            fixture
        }
        State::HaltPending => {
            let mut fixture = run(&endless, OrbFlags::empty());
            fixture.css.halt(fixture.id).unwrap();
            fixture
        }
        State::HaltDone => {
            let mut fixture = Fixture::new(&endless);
            fixture.css.halt(fixture.id).unwrap();
            fixture.steps();
            fixture
        }
        State::ClearPending => {
            let mut fixture = run(&endless, OrbFlags::empty());
            fixture.css.clear(fixture.id).unwrap();
            fixture
        }
        State::ClearDone => {
            let mut fixture = run(&endless, OrbFlags::empty());
            fixture.css.clear(fixture.id).unwrap();
            fixture.steps();
            fixture
        }
        State::ResumePending => {
            let mut fixture = run(&suspending, quiet);
            fixture.css.resume(fixture.id).unwrap();
            fixture
        }
    }
}

fn code(result: Result<(), Refusal>) -> u8 {
    result.map_or_else(|refusal| refusal as u8, |()| 0)
}

/// START, HALT, CLEAR, CANCEL, RESUME, STORE, MODIFY, TEST.
fn codes(state: State) -> [u8; 8] {
    let fresh = || in_state(state);
    let start = fresh().start(OrbFlags::empty());
    let (mut halt, mut clear, mut cancel) = (fresh(), fresh(), fresh());
    let (mut resume, mut store, mut modify, mut test) = (fresh(), fresh(), fresh(), fresh());
    let id = halt.id;
    let schib = store.css.store(id).unwrap_or_default();
    [
        code(start),
        code(halt.css.halt(id)),
        code(clear.css.clear(id).map_err(Refusal::from)),
        code(cancel.css.cancel(id)),
        code(resume.css.resume(id)),
        code(store.css.store(id).map(|_| ()).map_err(Refusal::from)),
        code(modify.css.modify(id, &schib)),
        match test.css.test(id) {
            Ok(Tested::Status(_)) => 0,
            Ok(Tested::Nothing(_)) => 1,
            Err(_) => 3,
        },
    ]
}

#[test]
fn condition_codes_of_each_instruction_in_each_state() {
    //                             SSCH HSCH CSCH XSCH RSCH STSCH MSCH TSCH
    let table = [
        (State::NotProvided, [3, 3, 3, 3, 3, 3, 3, 3]),
        (State::NotValid, [3, 3, 3, 3, 3, 0, 0, 3]),
        (State::Disabled, [3, 3, 3, 3, 3, 0, 0, 3]),
        (State::Idle, [0, 0, 0, 2, 2, 0, 0, 1]),
        (State::StartPending, [2, 0, 0, 0, 2, 0, 2, 1]),
        (State::Active, [2, 0, 0, 2, 2, 0, 2, 1]),
        (State::ActiveResumable, [2, 0, 0, 2, 0, 0, 2, 1]),
        (State::Suspended, [2, 0, 0, 0, 0, 0, 2, 1]),
        (State::SuspendedPending, [1, 0, 0, 1, 1, 0, 1, 0]),
        (State::IntermediatePending, [1, 0, 0, 1, 1, 0, 1, 0]),
        (State::PrimaryPending, [1, 1, 0, 1, 1, 0, 1, 0]),
        (State::FinalPending, [1, 1, 0, 1, 1, 0, 1, 0]),
        (State::AlertPending, [1, 1, 0, 1, 1, 0, 1, 0]),
        (State::HaltPending, [2, 2, 0, 2, 2, 0, 2, 1]),
        (State::HaltDone, [1, 1, 0, 1, 1, 0, 1, 0]),
        (State::ClearPending, [2, 2, 0, 2, 2, 0, 2, 1]),
        (State::ClearDone, [1, 1, 0, 1, 1, 0, 1, 0]),
        (State::ResumePending, [2, 0, 0, 0, 2, 0, 2, 1]),
    ];
    for (state, expected) in table {
        assert_eq!(codes(state), expected, "{state:?}");
    }
}

#[test]
fn an_instruction_that_is_refused_changes_nothing() {
    let states = [
        State::Idle,
        State::StartPending,
        State::Active,
        State::SuspendedPending,
        State::FinalPending,
        State::HaltPending,
        State::ClearDone,
    ];
    for state in states {
        let mut fixture = in_state(state);
        let before = fixture.css.store(fixture.id).unwrap();
        let id = fixture.id;
        let orb = Orb::format_1(1, PROGRAM, OrbFlags::empty(), 0xFF);
        // SAFETY: the model's storage is its own.
        let start = unsafe { fixture.css.start(id, &orb) };
        if start.is_err() {
            assert_eq!(fixture.css.store(id).unwrap(), before, "{state:?}");
        }
        let mut fixture = in_state(state);
        if fixture.css.cancel(id).is_err() && fixture.css.resume(id).is_err() {
            assert_eq!(fixture.css.store(id).unwrap(), before, "{state:?}");
        }
    }
}

#[test]
fn no_path_that_the_orb_allows_is_condition_code_3() {
    let mut fixture = Fixture::new(&[nop(CcwFlags::empty())]);
    let orb = Orb::format_1(0, PROGRAM, OrbFlags::empty(), 0x20);
    // SAFETY: the model's storage is its own.
    let result = unsafe { fixture.css.start(fixture.id, &orb) };
    assert_eq!(result, Err(Refusal::NotOperational));
    fixture
        .css
        .set_path(fixture.id, 0, 0, PathState::Unavailable);
    fixture
        .css
        .set_path(fixture.id, 1, 0x31, PathState::Unavailable);
    assert_eq!(
        fixture.start(OrbFlags::empty()),
        Err(Refusal::NotOperational)
    );
}

#[test]
fn a_reserved_bit_of_an_orb_is_an_operand_exception() {
    let mut fixture = Fixture::new(&[nop(CcwFlags::empty())]);
    let mut orb = Orb::format_1(0, PROGRAM, OrbFlags::empty(), 0x80);
    orb.control = (orb.control.get() | 2).into();
    // SAFETY: the model's storage is its own.
    let result = unsafe { fixture.css.start(fixture.id, &orb) };
    assert_eq!(result, Err(Refusal::Operand));
    assert!(fixture.scsw().function().is_empty());
}

#[test]
fn an_injected_refusal_happens_once() {
    let mut fixture = Fixture::new(&[nop(CcwFlags::empty())]);
    let fault = Fault::Refuse(Instruction::Start, Refusal::StatusPending);
    fixture.css.inject(fixture.id, fault);
    assert_eq!(
        fixture.start(OrbFlags::empty()),
        Err(Refusal::StatusPending)
    );
    assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
}

// ---- what TEST SUBCHANNEL clears ------------------------------------------------------------------

fn after_test(state: State) -> (FunctionControl, ActivityControl) {
    let mut fixture = in_state(state);
    fixture.test();
    assert!(
        !fixture.interrupted(),
        "{state:?}: the interruption is gone too"
    );
    let scsw = fixture.scsw();
    assert!(scsw.status().is_empty(), "{state:?}");
    assert_eq!(
        (scsw.device_status, scsw.subchannel_status),
        (0, 0),
        "{state:?}"
    );
    (scsw.function(), scsw.activity())
}

#[test]
fn final_and_alert_status_end_the_functions() {
    let nothing = (FunctionControl::empty(), ActivityControl::empty());
    assert_eq!(after_test(State::FinalPending), nothing);
    assert_eq!(after_test(State::AlertPending), nothing);
    assert_eq!(after_test(State::HaltDone), nothing);
    assert_eq!(after_test(State::ClearDone), nothing);
}

#[test]
fn intermediate_status_alone_ends_nothing() {
    let live = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
    let started = FunctionControl::START;
    assert_eq!(after_test(State::IntermediatePending), (started, live));
    let suspended = (started, ActivityControl::SUSPENDED);
    assert_eq!(after_test(State::SuspendedPending), suspended);
}

#[test]
fn primary_status_leaves_the_device_active() {
    let left = (FunctionControl::empty(), ActivityControl::DEVICE_ACTIVE);
    assert_eq!(after_test(State::PrimaryPending), left);
}

#[test]
fn a_halt_of_a_suspended_program_ends_it_when_its_status_is_taken() {
    for state in [State::SuspendedPending, State::Suspended] {
        let mut fixture = in_state(state);
        fixture.css.halt(fixture.id).unwrap();
        fixture.steps();
        let irb = fixture.test();
        let both = FunctionControl::START | FunctionControl::HALT;
        assert_eq!(irb.scsw.function(), both);
        assert_eq!(irb.scsw.activity(), ActivityControl::SUSPENDED);
        assert!(fixture.scsw().function().is_empty());
        assert!(fixture.scsw().activity().is_empty());
        assert_eq!(fixture.start(OrbFlags::empty()), Ok(()));
    }
}

#[test]
fn test_without_status_changes_nothing() {
    for state in [
        State::Idle,
        State::StartPending,
        State::Active,
        State::HaltPending,
    ] {
        let mut fixture = in_state(state);
        let before = fixture.scsw();
        assert!(matches!(
            fixture.css.test(fixture.id),
            Ok(Tested::Nothing(_))
        ));
        assert_eq!(fixture.scsw(), before, "{state:?}");
    }
}

#[test]
fn modify_takes_only_what_a_program_may_set() {
    let mut fixture = Fixture::new(&[]);
    let before = fixture.css.store(fixture.id).unwrap();
    let mut schib = before;
    schib.pmcw.device = 0xFFFF.into();
    schib.pmcw.pim = 0;
    schib.pmcw.pam = 0;
    schib.pmcw.lpum = 0xFF;
    schib.pmcw.chpid = [9; 8];
    schib
        .pmcw
        .set_flag(crate::PmcwFlags::DEVICE_NUMBER_VALID, false);
    schib.pmcw.parameter = 0x1234.into();
    schib.pmcw.lpm = 0x40;
    schib.pmcw.mbi = 5.into();
    fixture.css.modify(fixture.id, &schib).unwrap();
    let mut expected = before;
    expected.pmcw.parameter = 0x1234.into();
    expected.pmcw.lpm = 0x40;
    expected.pmcw.mbi = 5.into();
    assert_eq!(fixture.css.store(fixture.id).unwrap(), expected);
    let nowhere = SubchannelId::new(1, 1).unwrap();
    assert!(fixture.css.store(nowhere).is_err());
}
