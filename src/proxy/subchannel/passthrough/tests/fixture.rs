//! The fixture: a pass-through subchannel on the [`Machine`], and a client that asks.

use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;

use channel::model::{Instruction, PathState, Reply, Script};
use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, Classify, CommandCode, Irb, Orb, OrbFlags, Pmcw, PmcwFlags,
    Schib, SubchannelId,
};
use s390x::clock::Tod;
use window::{ClientAddress, Window};

use super::steps::Step;
use crate::css::Platform;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::{Owned, PassThrough, Place};
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;
use crate::proxy::translate::Translator;
use crate::testing::{Machine, Pace, Port};

/// Where the program of the client is: two control commands, chained.
pub const PROGRAM: u32 = 0x1000;
/// The device number, and the one that the client sees.
pub const NUMBER: u16 = 0xA80;
pub const DEVICE: u16 = 0x1234;
pub const MEMORY: usize = 0x4000;
/// Bytes of the translator's arena.
pub const ARENA: usize = 2 << 10;
/// Where the channel finds it, in storage that nobody else has.
pub const ARENA_AT: u32 = 0x80_0000;
/// A command that reads.
pub const READ: u8 = 0x02;
/// What a chain says again, behind it.
const REPEATED: usize = 2 << 10;

pub struct Fixture {
    pub machine: Machine,
    pub subject: PassThrough,
    pub window: &'static Window,
    pub device: Rc<RefCell<Script>>,
    pub id: SubchannelId,
    classify: Classify,
    pub now: Tod,
    /// What the last request stored.
    pub irb: Irb,
}

/// The place of a virtual subchannel.
fn place(window: &'static Window) -> Place {
    Place {
        client: 0,
        index: 5,
        isc: 3,
        window,
    }
}

fn owned(id: SubchannelId, number: u16, classify: Classify) -> Owned {
    Owned {
        id,
        number,
        classify,
        runs_within_start: false,
    }
}

impl Fixture {
    /// A machine with this device, of whose commands these can be said again. Not opened.
    pub fn of(script: Script, classify: Classify) -> Self {
        let mut machine = Machine::new();
        machine.pace = Pace::Stepped;
        let window = machine.storage(MEMORY / 4096).unwrap();
        let window: &'static Window = Box::leak(Box::new(window));
        let id = SubchannelId::new(0, 7).unwrap();
        let device = Rc::new(RefCell::new(script));
        machine.attach_device(id, NUMBER, device.clone());
        let translator = Translator::at(ARENA, ARENA_AT);
        let owned = owned(id, NUMBER, classify);
        Self {
            machine,
            subject: PassThrough::new(owned, place(window), DEVICE, translator),
            window,
            device,
            id,
            classify,
            now: Tod::from_micros(1),
            irb: Irb::default(),
        }
    }

    /// A device that ends no command by itself, on two paths.
    pub fn closed() -> Self {
        let endless = |reply: Reply| reply.after(Reply::NEVER);
        let script = Script::new()
            .on(CommandCode::NOP.0, endless(Reply::accepted()))
            .on(READ, endless(Reply::sends(&[0; 8])));
        let mut fixture = Self::of(script, |_| None);
        fixture.connect();
        let first = Ccw1::new(CommandCode::NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0);
        let second = Ccw1::new(CommandCode::NOP, CcwFlags::SLI, 1, 0);
        fixture.write(PROGRAM, &first);
        fixture.write(PROGRAM + 8, &second);
        fixture
    }

    fn connect(&mut self) {
        for number in [0, 1] {
            let state = PathState::Operational;
            self.machine
                .css
                .set_path(self.id, number, 0x40 + number, state);
        }
    }

    /// As [`Self::new`] makes it, on the same machine.
    pub fn renew(&mut self) {
        self.machine
            .attach_device(self.id, NUMBER, self.device.clone());
        self.connect();
        self.restart();
        self.now = Tod::from_micros(1);
        self.open(None);
    }

    /// A new life of the appliance, on the same machine. Not opened.
    pub fn restart(&mut self) {
        let translator = Translator::at(ARENA, ARENA_AT);
        let owned = self.owned();
        self.subject = PassThrough::new(owned, place(self.window), DEVICE, translator);
    }

    /// Opened, not yet enabled.
    pub fn new() -> Self {
        let mut fixture = Self::closed();
        fixture.open(None);
        fixture
    }

    /// Opened and enabled.
    pub fn enabled() -> Self {
        let mut fixture = Self::new();
        assert_eq!(fixture.enable(true), 0);
        fixture
    }

    /// A program is running.
    pub fn running() -> Self {
        Self::running_with(Self::orb())
    }

    /// A program is running with this ORB.
    pub fn running_with(orb: Orb) -> Self {
        let mut fixture = Self::enabled();
        assert_eq!(fixture.ask(Request::Start(orb)), 0);
        assert!(fixture.happens(Step::Work));
        fixture
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut PassThrough, &mut Ctx<'_>) -> T) -> T {
        let mut ctx = Ctx {
            platform: &mut self.machine,
            now: self.now,
            trace: None,
            note: None,
        };
        act(&mut self.subject, &mut ctx)
    }

    pub fn open(&mut self, former: Option<(Schib, u8)>) {
        self.with(|subject, ctx| subject.open(former, ctx));
    }

    pub fn ask(&mut self, request: Request) -> u32 {
        let reply = self.with(|subject, ctx| subject.request(&request, ctx));
        self.irb = reply.irb.unwrap_or_default();
        reply.word()
    }

    pub fn orb() -> Orb {
        Orb::format_1(0xC0DE_0001, PROGRAM, OrbFlags::PREFETCH, 0xFF)
    }

    /// The ORB of a program that may suspend itself.
    pub fn suspending() -> Orb {
        let flags = OrbFlags::PREFETCH | OrbFlags::SUSPEND_CONTROL;
        Orb::format_1(0xC0DE_0001, PROGRAM, flags, 0xFF)
    }

    pub fn start(&mut self) -> u32 {
        self.ask(Request::Start(Self::orb()))
    }

    pub fn halt(&mut self) -> u32 {
        self.ask(Request::Halt)
    }

    pub fn clear(&mut self) -> u32 {
        self.ask(Request::Clear)
    }

    pub fn test(&mut self) -> (u32, Irb) {
        let condition = self.ask(Request::Test);
        (condition, self.irb)
    }

    pub fn schib(&mut self) -> Schib {
        self.with(|subject, ctx| subject.schib(ctx))
    }

    pub fn enable(&mut self, on: bool) -> u32 {
        let mut schib = self.schib();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, on);
        schib.pmcw.set_concurrent_sense(true);
        schib.pmcw.set_isc(5);
        schib.pmcw.parameter = 0xAAAA_0001.into();
        self.ask(Request::Modify(schib))
    }

    /// The client writes a CCW.
    pub fn write(&self, at: u32, ccw: &Ccw1) {
        self.window
            .write(ClientAddress::new(at.into()), ccw)
            .unwrap();
    }

    /// The device does something, and the event loop hears of it.
    pub fn step(&mut self, step: Step) {
        assert!(self.happens(step), "{step:?} makes no sense here");
        self.look();
    }

    /// The channel works on the subchannel. Returns whether anything changed.
    pub fn work(&mut self) -> bool {
        // The channel finds the arena in the machine's storage. One that holds no program is as good as any.
        for (at, bytes) in [(0, ARENA), (ARENA as u32, REPEATED)] {
            let (at, mut words) = (ARENA_AT + at, vec![0; bytes]);
            let fetched = self.subject.program.translator.fetch(at, &mut words);
            if fetched.is_some() {
                let place = ClientAddress::new(at.into());
                self.machine.window().write_bytes(place, &words).unwrap();
            }
        }
        self.machine.css.step(self.id)
    }

    /// The subchannel shows something else from now on, whatever its program does.
    pub fn present(&mut self, make: impl FnOnce(&mut Irb)) {
        self.machine.css.present(self.id, make);
    }

    /// The event loop takes the interruption, if there is one.
    pub fn look(&mut self) {
        if self.machine.pending_interruption().is_some() {
            self.with(|subject, ctx| subject.interruption(ctx));
        }
    }

    /// Time passes, up to the next deadline.
    pub fn pass(&mut self) {
        let deadline = self.subject.deadline();
        if deadline != Tod::NEVER {
            self.now = self.now.max(deadline);
        }
        self.with(|subject, ctx| subject.tick(ctx));
    }

    pub fn reset(&mut self) {
        self.with(|subject, ctx| subject.reset(ctx));
    }

    /// The channel report about the subchannel.
    pub fn report(&mut self) {
        self.with(|subject, ctx| subject.report(ctx));
        let owned = self.owned();
        if !self.port().mishaps.gone {
            self.plug(owned);
        }
    }

    /// A device is there that is the subchannel's.
    pub fn plug(&mut self, owned: Owned) {
        self.with(|subject, ctx| subject.plug(owned, DEVICE, ctx));
    }

    pub fn state(&self) -> State {
        self.subject.state()
    }

    /// The subchannel, and the device that is there.
    pub fn owned(&mut self) -> Owned {
        let number = self.hardware().pmcw.device.get();
        owned(self.id, number, self.classify)
    }

    pub fn port(&mut self) -> &mut Port {
        self.machine.subchannel(self.id)
    }

    /// What the machine shows of the subchannel.
    pub fn hardware(&mut self) -> Schib {
        self.machine.store(self.id).unwrap()
    }

    pub fn pmcw(&mut self) -> &mut Pmcw {
        self.machine.pmcw(self.id)
    }

    /// How often the machine was asked, and how often it accepted.
    pub fn issued(&mut self, instruction: Instruction) -> usize {
        self.port().issued(instruction)
    }

    pub fn accepted(&mut self, instruction: Instruction) -> usize {
        self.port().accepted(instruction)
    }
}
