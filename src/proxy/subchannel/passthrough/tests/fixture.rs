//! The fixture: a pass-through subchannel on a subchannel of software, and a client that asks.

use channel::{Ccw1, CcwFlags, CommandCode, Irb, Orb, OrbFlags, PmcwFlags, Schib};
use s390x::clock::Tod;
use window::{ClientAddress, Window};

use super::fake::{Fake, Step};
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::passthrough::{Owned, PassThrough, Place};
use crate::proxy::subchannel::Request;
use crate::proxy::translate::tests::history::ChannelSide;
use crate::proxy::translate::Translator;

/// Where the program of the client is: two control commands, chained.
pub const PROGRAM: u32 = 0x1000;
pub const DEVICE: u16 = 0x1234;
const MEMORY: usize = 0x10000;

pub struct Fixture {
    pub fake: Fake,
    pub subject: PassThrough,
    pub window: &'static Window,
    pub now: Tod,
    /// What the last request stored.
    irb: Irb,
}

/// The place of a virtual subchannel.
pub fn place(window: &'static Window) -> Place {
    Place {
        client: 0,
        index: 5,
        isc: 3,
        window,
    }
}

/// What else a machine is, for one that is a channel subsystem and no more.
macro_rules! bare_machine {
    ($name:ty) => {
        impl crate::css::Platform for $name {
            fn notify(&mut self, _: channel::SubchannelId, _: u16, _: i64) -> i64 {
                unreachable!("there is no hypervisor")
            }
            fn now(&self) -> s390x::clock::Tod {
                unreachable!("the context has the time")
            }
            fn wait(&mut self, _: Option<s390x::clock::Tod>) -> crate::css::Wake {
                unreachable!("nothing waits")
            }
            fn pause(&mut self, _: s390x::clock::Tod) {
                unreachable!("nothing waits")
            }
            fn forget_interruption(&mut self, _: channel::SubchannelId) -> bool {
                unreachable!("interruptions are the event loop's")
            }
            fn storage(
                &mut self,
                pages: usize,
            ) -> Result<window::Window, crate::css::OutOfStorage> {
                Err(crate::css::OutOfStorage { pages })
            }
            fn highest_set(&mut self) -> u8 {
                0
            }
        }
    };
}
pub(super) use bare_machine;

impl Fixture {
    /// Opened, not yet enabled.
    pub fn new() -> Self {
        let mut fixture = Self::closed();
        fixture.open(None);
        fixture
    }

    pub fn closed() -> Self {
        let fake = Fake::new();
        let window = super::fake::memory(MEMORY);
        let first = Ccw1::new(CommandCode::NOP, CcwFlags::CC | CcwFlags::SLI, 1, 0);
        let second = Ccw1::new(CommandCode::NOP, CcwFlags::SLI, 1, 0);
        let at = u64::from(PROGRAM);
        window.write(ClientAddress::new(at), &first).unwrap();
        window.write(ClientAddress::new(at + 8), &second).unwrap();
        let translator = Translator::at(super::fake::ARENA, super::fake::ARENA_AT);
        Self {
            subject: PassThrough::new(fake.owned(), place(window), DEVICE, translator),
            fake,
            window,
            now: Tod::from_micros(1),
            irb: Irb::default(),
        }
    }

    /// Opened and enabled.
    pub fn enabled() -> Self {
        let mut fixture = Self::new();
        assert_eq!(fixture.enable(true), 0);
        fixture
    }

    /// A program is running.
    pub fn running() -> Self {
        let mut fixture = Self::enabled();
        assert_eq!(fixture.start(), 0);
        assert!(fixture.fake.step(Step::Work));
        fixture
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut PassThrough, &mut Ctx<'_>) -> T) -> T {
        let mut ctx = Ctx {
            platform: &mut self.fake,
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

    /// The device does something, and the event loop hears of it.
    pub fn step(&mut self, step: Step) {
        assert!(self.fake.step(step), "{step:?} makes no sense here");
        self.look();
    }

    /// The event loop takes the interruption, if there is one.
    pub fn look(&mut self) {
        use channel::ChannelSubsystem;
        if self.fake.pending_interruption().is_some() {
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
        let owned = self.fake.owned();
        if !self.fake.gone {
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
}
