//! The same with programs: the channel of the machine runs the translated ones, and the device gets their data.
//!
//! [`super::sequences`] tries everything, whatever the program is. Here the schedule is drawn: what the client
//! asks, what the channel does next, and what goes wrong. After each operation the condition code has to be the subchannel's,
//! status has to arrive once, a program has to be there as long as the channel has it; and at the end of each walk the
//! subchannel works.

use core::ops::{Deref, DerefMut};

use channel::model::{Fault, Reply, Script};
use channel::{
    Ccw1, CcwFlags, CommandClass, CommandCode, DeviceStatus, FunctionControl, Orb, OrbFlags,
    PmcwFlags, Refusal, StatusControl, SubchannelStatus,
};
use window::ClientAddress;
use zerocopy::IntoBytes;

use super::fixture::{Fixture, ARENA, ARENA_AT, MEMORY, READ};
use crate::proxy::subchannel::passthrough::program::Own;
use crate::proxy::subchannel::passthrough::state::{State, CLEARS, HALTS};
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;

const WALKS: u64 = 400;
const DATA: u32 = 0x2000;
const WRITE: u8 = 0x01;
/// A command that only a halt or clear signal ends.
const ENDLESS: u8 = 0x0B;
/// A command with channel end, and later device end.
const REWIND: u8 = 0x07;
/// A program that was executed in part.
const BROKEN_OFF: SubchannelStatus = SubchannelStatus::INTERFACE_CONTROL_CHECK;
/// What the device sends.
const SENT: [u8; 8] = *b"stellwrk";

/// Where the programs are, each with the flags of its ORB.
const PROGRAMS: [(u32, OrbFlags); 6] = [
    (0x1000, OrbFlags::PREFETCH),
    (0x1100, OrbFlags::PREFETCH),
    (0x1200, OrbFlags::SUSPEND_CONTROL),
    (0x1300, OrbFlags::PREFETCH),
    (0x1400, OrbFlags::empty()),
    (0x1500, OrbFlags::INITIAL_STATUS),
];

/// Numbers that look random, always the same for a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, many: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % many
    }
}

/// What can be said to the device again.
fn classify(command: CommandCode) -> Option<CommandClass> {
    match command.0 {
        READ => Some(CommandClass::Reads),
        0x03 | REWIND => Some(CommandClass::Nothing),
        _ => None,
    }
}

pub struct Walk {
    fixture: Fixture,
    /// The client has enabled the subchannel, and nothing has disabled it since.
    enabled: bool,
    /// How often a chain that was cut was going on as the same chain, and how often a cut had to wait for device end.
    went_on: [u64; 2],
}

impl Deref for Walk {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.fixture
    }
}

impl DerefMut for Walk {
    fn deref_mut(&mut self) -> &mut Fixture {
        &mut self.fixture
    }
}

impl Walk {
    pub fn new() -> Self {
        let script = Script::new()
            .on(WRITE, Reply::takes(16).after(1))
            .on(READ, Reply::sends(&SENT).after(1))
            .on(
                REWIND,
                Reply::accepted()
                    .ends_with(DeviceStatus::CHANNEL_END)
                    .after(2),
            )
            .on(ENDLESS, Reply::accepted().after(Reply::NEVER));
        let mut walk = Self {
            fixture: Fixture::of(script, classify),
            enabled: false,
            went_on: [0; 2],
        };
        walk.write_programs();
        walk.open(None);
        walk
    }

    fn write_programs(&self) {
        let ccw = |command: u8, flags, count| Ccw1::new(CommandCode(command), flags, count, DATA);
        let (cc, sli) = (CcwFlags::CC, CcwFlags::SLI);
        let programs: [&[Ccw1]; 6] = [
            &[ccw(0x03, cc | sli, 1), ccw(WRITE, CcwFlags::empty(), 16)],
            &[ccw(0x03, cc | sli | CcwFlags::PCI, 1), ccw(ENDLESS, sli, 1)],
            &[ccw(0x03, cc | sli, 1), ccw(WRITE, CcwFlags::SUSPEND, 16)],
            &[ccw(0x03, cc | sli, 1), ccw(0xF3, sli, 1)],
            // The device writes over a CCW ahead: the chain is split.
            &[
                Ccw1::new(CommandCode(READ), cc | sli, 8, 0x1410),
                ccw(0x03, cc | sli, 1),
                ccw(0x03, sli, 1),
            ],
            // The same, behind a command that has device end later.
            &[
                Ccw1::new(CommandCode(READ), cc | sli, 8, 0x1510),
                ccw(REWIND, cc | sli, 1),
                ccw(0x03, sli, 1),
            ],
        ];
        for ((at, _), program) in PROGRAMS.iter().zip(programs) {
            for (at, ccw) in (u64::from(*at)..).step_by(8).zip(program) {
                self.window.write(ClientAddress::new(at), ccw).unwrap();
            }
        }
        let data: [u8; 16] = core::array::from_fn(|at| at as u8 + 1);
        let at = ClientAddress::new(DATA.into());
        self.window.write(at, &data).unwrap();
    }

    pub fn start(&mut self, program: usize) -> u32 {
        let (at, flags) = PROGRAMS[program];
        // The split program gets its READ back.
        self.write_programs();
        self.ask(Request::Start(Orb::format_1(7, at, flags, 0xFF)))
    }

    fn enable(&mut self, on: bool) {
        let mut schib = self.with(|subject, ctx| subject.schib(ctx));
        schib.pmcw.set_flag(PmcwFlags::ENABLED, on);
        if self.ask(Request::Modify(schib)) == 0 && self.subject.state() == State::Idle {
            self.enabled = on;
        }
    }

    pub fn look(&mut self) {
        self.fixture.look();
        self.with(|subject, ctx| {
            subject.tick(ctx);
            subject.refresh(ctx);
        });
    }

    fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            self.work();
        }
    }

    fn scsw(&mut self) -> channel::Scsw {
        self.hardware().scsw
    }

    /// Whether pending status is one that the client never sees.
    fn is_own(&mut self) -> bool {
        let scsw = self.scsw();
        self.subject.program.own(&scsw).is_some()
    }

    /// One operation of the client's, the channel's or the world's.
    fn operate(&mut self, draw: &mut Draw) {
        let (taken, own) = (self.port().tested, self.is_own());
        let (before, held) = (self.scsw(), self.subject.held.is_some());
        let pending = before.status().contains(StatusControl::PENDING) && !own || held;
        let mut delivered = 0;
        match draw.below(40) {
            0..=4 => {
                let answer = self.start(draw.below(PROGRAMS.len() as u64) as usize);
                let expected = match (pending, before.function().is_empty() && !own) {
                    _ if !self.enabled => 3,
                    (true, _) => 1,
                    (false, false) => 2,
                    (false, true) => 0,
                };
                assert_eq!(answer, expected, "START");
            }
            kind @ 5..=8 => {
                let request = match kind {
                    5 => Request::Halt,
                    6 => Request::Clear,
                    7 => Request::Cancel,
                    _ => Request::Resume,
                };
                self.port().asked.clear();
                let answer = self.ask(request);
                if !self.enabled {
                    assert_eq!(answer, 3);
                } else if let ([(_, hardware)], false) = (&self.port().asked[..], own || held) {
                    let code = Refusal::cc(*hardware);
                    assert_eq!(answer, u32::from(code), "{request:?}");
                }
            }
            9..=13 => {
                let answer = self.ask(Request::Test);
                delivered = u32::from(answer == 0 && !held);
                let expected = match (self.enabled, pending) {
                    (false, _) => 3,
                    (true, true) => 0,
                    (true, false) => 1,
                };
                assert_eq!(answer, expected, "TEST");
                if answer == 0 && !held {
                    let last = self.port().last;
                    let mut whole = last;
                    let irb = &self.irb;
                    whole.scsw.program = irb.scsw.program;
                    whole.scsw.control = irb.scsw.control;
                    let deferred = last.scsw.deferred_cc() != 0;
                    if deferred && irb.scsw.deferred_cc() == 0 {
                        // The second part of a program was not begun.
                        whole.scsw.subchannel_status |= BROKEN_OFF.bits();
                    }
                    assert_eq!(*irb, whole, "an IRB that is not whole");
                    let program = irb.scsw.program.get();
                    assert!(program < MEMORY as u32, "an address of the appliance's");
                }
            }
            14 => drop(self.with(|subject, ctx| subject.schib(ctx))),
            15 | 16 => self.enable(true),
            17 if draw.below(4) == 0 => self.enable(false),
            18 if draw.below(3) == 0 => {
                self.enabled = false;
                self.reset();
            }
            19 => self.pass(),
            20 => {
                let id = self.id;
                self.machine.css.unsolicited(id, DeviceStatus::ATTENTION);
            }
            21 => {
                let fault = match draw.below(3) {
                    0 => Fault::DeferredStatus(DeviceStatus::BUSY),
                    1 => Fault::DeferredNoPath,
                    _ => Fault::Check(BROKEN_OFF),
                };
                let id = self.id;
                self.machine.css.inject(id, fault);
            }
            22 if draw.below(6) == 0 => {
                let id = self.id;
                self.machine.css.take_away(id);
                self.enabled = false;
                self.with(|subject, ctx| subject.report(ctx));
                self.machine.css.bring_back(id);
                let owned = self.owned();
                self.plug(owned);
            }
            23..=28 => self.look(),
            _ => self.go_on(1),
        }
        let taken = self.port().tested - taken;
        if self.enabled && !own {
            assert_eq!(taken, delivered, "status lost or doubled");
        }
        self.invariants();
        while self.subject.take_report().is_some() {}
    }

    fn invariants(&mut self) {
        let scsw = self.scsw();
        let started = scsw.function().contains(FunctionControl::START);
        let run = self.subject.program.run;
        let orb = run.map_or_else(Orb::default, |run| run.orb);
        let repeats = orb.program.get() >= ARENA_AT + ARENA as u32;
        self.went_on[0] += u64::from(repeats && self.subject.program.is_continued());
        self.went_on[1] += u64::from(self.subject.program.own(&scsw) == Some(Own::HalfOfSplit));
        if started && self.machine.css.trace(self.id).is_some() {
            let live = self.subject.program.translator.is_live();
            assert!(live, "the channel runs a program that is freed");
        }
    }

    /// From anywhere, a reset leads to rest, and then the subchannel works.
    fn works(&mut self) {
        let id = self.id;
        self.machine.css.mend(id);
        self.reset();
        for _ in 0..=u32::from(HALTS) + u32::from(CLEARS) {
            self.go_on(8);
            self.look();
            self.pass();
        }
        assert_eq!(self.subject.state(), State::Idle);
        assert!(!self.subject.program.translator.is_live());
        // Keys that were pressed in between.
        for _ in 0..40 {
            self.work();
            self.enable(true);
            self.ask(Request::Test);
        }
        assert_eq!(self.start(0), 0);
        self.go_on(20);
        self.look();
        assert_eq!(self.ask(Request::Test), 0);
        let irb = &self.irb;
        assert!(irb.scsw.ended());
        assert_eq!(irb.scsw.program.get(), 0x1010);
        let device = self.device.borrow();
        let sent = self
            .window
            .read::<[u8; 16]>(ClientAddress::new(DATA.into()));
        let written = device.log.last().unwrap();
        assert_eq!(written, &(WRITE, sent.unwrap().as_bytes().to_vec()));
    }
}

#[test]
fn whatever_happens_to_a_subchannel_of_the_model_it_keeps_the_invariants() {
    let (mut ended, mut went_on) = (0, [0; 2]);
    for seed in 1..=WALKS {
        let outcome = std::panic::catch_unwind(|| {
            let mut walk = Walk::new();
            let mut draw = Draw(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
            walk.enable(true);
            (0..120).for_each(|_| walk.operate(&mut draw));
            walk.works();
            (walk.port().tested, walk.went_on)
        });
        let (taken, [repeated, halves]) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        ended += taken;
        went_on = [went_on[0] + repeated, went_on[1] + halves];
    }
    assert!(
        went_on.iter().all(|&often| often > WALKS / 20),
        "{went_on:?}"
    );
    assert!(u64::from(ended) > 5 * WALKS, "only {ended} times status");
}
