//! All sequences of events: every state that can be reached is reached, and everything that can happen is tried in it.
//!
//! # How
//!
//! From the fixture's beginning, operations are appended one at a time. A sequence that leads where another has been is not
//! continued; one that leads to a new state is, until there is none. So all sequences are covered, however long.
//!
//! # The invariants, after each operation
//!
//! * The condition code is the one that the architecture gives (by the subchannel of software, asked beforehand).
//! * While the hardware uses a program, the translator has it; at rest it has none.
//! * Status taken from the hardware has been delivered, whole, or was a start turned away that is repeated, or
//!   belonged to a client that is gone. None is delivered twice.
//! * The client is told of pending status, and only of it.
//! * Quiescing ends.

use std::collections::HashSet;
use std::format;
use std::panic::AssertUnwindSafe;
use std::string::String;

use channel::model::Instruction;
use channel::{ActivityControl, ChannelSubsystem, FunctionControl, PmcwFlags, StatusControl};

use super::fixture::Fixture;
use super::steps::Step;
use crate::proxy::subchannel::passthrough::state::{State, CLEARS, HALTS};
use crate::proxy::subchannel::passthrough::status;
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Start,
    Halt,
    Clear,
    Cancel,
    Resume,
    Store,
    Enable,
    Disable,
    Test,
    Hardware(Step),
    Look,
    Reset,
    Pass,
    Report,
}

fn operations() -> Vec<Op> {
    let mut all = vec![
        Op::Start,
        Op::Halt,
        Op::Clear,
        Op::Cancel,
        Op::Resume,
        Op::Store,
        Op::Enable,
        Op::Disable,
        Op::Test,
        Op::Look,
        Op::Reset,
        Op::Pass,
        Op::Report,
    ];
    all.extend(Step::ALL.map(Op::Hardware));
    all
}

/// Hardware that never ends a halt, or neither a halt nor a clear function.
#[derive(Clone, Copy, Debug, Default)]
struct Stuck {
    halt: bool,
    all: bool,
}

struct Explorer {
    fixture: Fixture,
    /// The client has enabled the subchannel, and nothing has disabled it since.
    enabled: bool,
}

impl Explorer {
    fn new() -> Self {
        Self {
            fixture: Fixture::new(),
            enabled: false,
        }
    }

    /// From the beginning again, on the same machine.
    fn replay(&mut self, stuck: Stuck, path: &[Op]) {
        self.fixture.renew();
        self.enabled = false;
        let mishaps = &mut self.fixture.port().mishaps;
        (mishaps.halt_stuck, mishaps.stuck) = (stuck.halt, stuck.all);
        path.iter().for_each(|&op| self.apply(op));
    }

    /// Whether pending status is one that the client never sees.
    fn is_own(&mut self) -> bool {
        let scsw = self.fixture.hardware().scsw;
        self.fixture.state() == State::Busy
            && status::is_retryable(&scsw)
            && self
                .fixture
                .subject
                .program
                .run
                .map_or(0, |run| run.retries)
                > 0
    }

    /// The condition code that the architecture gives. A start that was turned away and will be repeated is, for the
    /// client, start pending.
    fn expected(&mut self, op: Op) -> Option<u32> {
        let mut scsw = self.fixture.hardware().scsw;
        if self.is_own() {
            scsw.set_controls(
                FunctionControl::START,
                ActivityControl::START_PENDING,
                StatusControl::empty(),
            );
        }
        let status = scsw.status();
        let pending = status.contains(StatusControl::PENDING);
        let conclusive = status == StatusControl::PENDING || status.intersects(status::CONCLUSIVE);
        let (function, activity) = (scsw.function(), scsw.activity());
        let start_only = function == FunctionControl::START;
        let active = activity.contains(ActivityControl::SUBCHANNEL_ACTIVE);
        let waiting = activity.intersects(
            ActivityControl::START_PENDING
                | ActivityControl::RESUME_PENDING
                | ActivityControl::SUSPENDED,
        );
        let ending = function.intersects(FunctionControl::HALT | FunctionControl::CLEAR);
        let operational = self.enabled && !self.is_gone();
        let code = |refuses: [bool; 2]| match refuses {
            [true, _] => 1,
            [false, true] => 2,
            [false, false] => 0,
        };
        Some(match op {
            Op::Start | Op::Halt | Op::Clear | Op::Cancel | Op::Resume | Op::Test
                if !operational =>
            {
                3
            }
            Op::Start => code([pending, !function.is_empty()]),
            Op::Halt => code([pending && conclusive, ending]),
            Op::Clear => 0,
            Op::Cancel => code([pending, !(start_only && waiting && !active)]),
            Op::Resume => code([
                pending,
                !start_only || activity.contains(ActivityControl::RESUME_PENDING),
            ]),
            Op::Test => code([!pending, false]),
            _ => return None,
        })
    }

    fn apply(&mut self, op: Op) {
        let expected = self.expected(op);
        let own = self.is_own();
        let port = self.fixture.port();
        let before = (port.tested, port.issued(Instruction::Start));
        let answer = match op {
            Op::Start => Some(self.fixture.ask(Request::Start(Fixture::suspending()))),
            Op::Halt => Some(self.fixture.halt()),
            Op::Clear => Some(self.fixture.clear()),
            Op::Cancel => Some(self.fixture.ask(Request::Cancel)),
            Op::Resume => Some(self.fixture.ask(Request::Resume)),
            Op::Test => {
                let (condition, irb) = self.fixture.test();
                if condition == 0 {
                    let mut whole = self.fixture.port().last;
                    whole.scsw.program = irb.scsw.program;
                    assert_eq!(irb, whole, "an IRB that is not whole");
                }
                Some(condition)
            }
            Op::Store => {
                let schib = self.fixture.schib();
                let shown = schib.pmcw.flags().contains(PmcwFlags::ENABLED);
                assert!(!shown || self.enabled);
                None
            }
            Op::Enable | Op::Disable => {
                let on = op == Op::Enable;
                let condition = self.fixture.enable(on);
                if condition == 0 && self.fixture.state() == State::Idle {
                    self.enabled = on && !self.is_gone();
                }
                None
            }
            Op::Hardware(step) => {
                self.fixture.happens(step);
                if self.is_gone() {
                    self.enabled = false;
                }
                None
            }
            Op::Look => {
                self.fixture.look();
                None
            }
            Op::Reset => {
                self.fixture.reset();
                self.enabled = false;
                None
            }
            Op::Pass => {
                self.fixture.pass();
                None
            }
            Op::Report => {
                self.fixture.report();
                None
            }
        };
        if let (Some(answer), Some(expected)) = (answer, expected) {
            assert_eq!(answer, expected, "condition code of {op:?}");
        }
        self.check_status(op, own, before, answer);
        self.check_program();
        self.check_pending();
        while self.fixture.subject.take_report().is_some() {}
    }

    fn check_status(&mut self, op: Op, own: bool, before: (u32, usize), answer: Option<u32>) {
        let port = self.fixture.port();
        let taken = port.tested - before.0;
        let repeated = u32::from(own && port.issued(Instruction::Start) > before.1);
        let delivered = u32::from(op == Op::Test && answer == Some(0));
        let ending = !self.enabled;
        if ending {
            return;
        }
        assert_eq!(
            taken,
            delivered + repeated,
            "status lost or doubled by {op:?}"
        );
    }

    fn check_program(&mut self) {
        let live = self.fixture.subject.program.translator.is_live();
        let gone = self.is_gone();
        if self.is_used() {
            assert!(live, "the hardware uses a program that is freed");
        }
        match self.fixture.state() {
            State::NotOperational | State::Standby | State::Idle => {
                assert!(!live || gone, "a program that nobody owns");
            }
            State::Busy | State::Quiescing(_) | State::Disconnected => {}
        }
    }

    fn check_pending(&mut self) {
        let status = self.fixture.hardware().scsw.status();
        let pending = status.contains(StatusControl::PENDING);
        let told = self.fixture.subject.is_pending();
        let seen = pending && !self.has_interruption();
        if self.enabled && !self.is_gone() {
            assert!(!told || pending, "told of status that is not there");
            assert!(told || !seen || self.is_own(), "not told of status");
        }
    }

    fn is_gone(&mut self) -> bool {
        self.fixture.port().mishaps.gone
    }

    fn has_interruption(&self) -> bool {
        self.fixture.machine.css.has_interruption(self.fixture.id)
    }

    /// Whether the channel uses the program.
    fn is_used(&mut self) -> bool {
        let function = self.fixture.hardware().scsw.function();
        let has_one = self.fixture.machine.css.trace(self.fixture.id).is_some();
        function.contains(FunctionControl::START) && has_one
    }

    /// What matters for what can happen next.
    fn fingerprint(&mut self) -> String {
        let hardware = self.fixture.hardware();
        let (gone, used) = (self.is_gone(), self.is_used());
        let subject = &self.fixture.subject;
        let scsw = &hardware.scsw;
        format!(
            "{:?} {} {} {:?} {} {:?} {:x} {:?} {} {} {} {} {}",
            subject.state(),
            subject.announced,
            subject.program.run.map_or(0, |run| run.retries) > 0,
            subject.program.functions(),
            subject.program.translator.is_live(),
            subject.held.is_some(),
            scsw.control.get(),
            (scsw.device_status, scsw.subchannel_status),
            gone,
            used,
            self.has_interruption(),
            hardware.pmcw.flags.get(),
            self.enabled,
        )
    }
}

/// From anywhere, a reset leads to rest in a bounded number of time-outs, whatever the hardware does not do.
fn quiesces(explorer: &mut Explorer) {
    explorer.apply(Op::Reset);
    for _ in 0..=u32::from(HALTS) + u32::from(CLEARS) {
        explorer.apply(Op::Pass);
    }
    let state = explorer.fixture.state();
    assert!(
        !matches!(state, State::Quiescing(_) | State::Busy),
        "{state:?}"
    );
}

fn explore(stuck: Stuck) -> usize {
    let operations = operations();
    let mut seen = HashSet::new();
    let mut paths: Vec<Vec<Op>> = vec![Vec::new()];
    let mut explorer = Explorer::new();
    explorer.replay(stuck, &[]);
    seen.insert(explorer.fingerprint());
    while let Some(path) = paths.pop() {
        for &op in &operations {
            let mut longer = path.clone();
            longer.push(op);
            let tried = AssertUnwindSafe(|| {
                explorer.replay(stuck, &longer);
                let mark = explorer.fingerprint();
                quiesces(&mut explorer);
                mark
            });
            let outcome = std::panic::catch_unwind(tried);
            let mark = outcome.unwrap_or_else(|_| panic!("{longer:?}"));
            if seen.insert(mark) {
                paths.insert(0, longer);
            }
        }
    }
    seen.len()
}

#[test]
fn every_sequence_of_events_keeps_the_invariants() {
    let states = explore(Stuck::default());
    assert!(states > 400, "only {states} states");
}

#[test]
fn so_it_does_on_hardware_whose_halt_never_ends() {
    explore(Stuck {
        halt: true,
        all: false,
    });
}

#[test]
fn so_it_does_on_hardware_where_nothing_ends() {
    explore(Stuck {
        halt: true,
        all: true,
    });
}

/// What the hardware was asked is what the client asked, while nothing is repeated or ended for it.
#[test]
fn an_instruction_of_the_clients_is_one_instruction() {
    let mut fixture = Fixture::running();
    assert_eq!(fixture.halt(), 0);
    assert_eq!(fixture.ask(Request::Cancel), 2);
    assert_eq!(fixture.ask(Request::Resume), 2);
    assert_eq!(fixture.start(), 2);
    let issued = [
        Instruction::Start,
        Instruction::Halt,
        Instruction::Cancel,
        Instruction::Resume,
    ];
    assert_eq!(issued.map(|which| fixture.issued(which)), [1; 4]);
    assert!(fixture.machine.pending_interruption().is_none());
}
