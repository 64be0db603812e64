//! A virtual subchannel of the pass-through kind: it stands for a subchannel that the appliance owns, and the
//! client's channel programs run there.
//!
//! | module | what it is |
//! |---|---|
//! | [`state`] | the driver's state machine, one pure function |
//! | `request` | what a client asks |
//! | `actions` | what the state machine's actions do to the hardware |
//! | `again` | those that start a program again |
//! | `quiesce` | those that end what a client left running |
//! | `plugging` | devices that go and come |
//! | `lending` | a disk's subchannel, which is there only while it is lent |
//! | `measure`, `record` | the measurement block; trace records |
//! | [`status`] | what a subchannel-status word says; status that the appliance makes |
//! | [`schib`] | which fields of the SCHIB are the client's |
//!
//! # Scope
//!
//! The client's eight requests, one at a time, each with the condition code that the architecture gives; the
//! hardware's interruptions and reports; the client's reset and death; the appliance's restart.
//!
//! # The rules
//!
//! * *The subchannel keeps the status.* It is looked at when its interruption comes (STSCH) and taken when the client
//!   takes it (TSCH). So the hardware itself combines intermediate with final status, gives the condition codes, and keeps
//!   an IRB whole. Only what the appliance makes itself, or had to take to let a program go on, is held here, and
//!   delivered first.
//! * A program is translated when no other one is there, and freed by [`state::Action::Release`] alone.
//! * Nothing waits. What takes time is an interruption, or a time-out by [`PassThrough::tick`].
//!
//! # Limits
//!
//! Command mode. One function of the client's at a time, as the subchannel has it.

mod actions;
mod again;
mod lending;
mod measure;
mod plugging;
mod quiesce;
mod record;
mod request;
pub mod schib;
pub mod state;
pub mod status;

#[cfg(test)]
mod tests;

use channel::{Crw, FunctionControl, Irb, Orb, Schib, Scsw, StatusControl, SubchannelId};
use heapless::Deque;
use s390x::clock::Tod;
use vcss::client::Instruction;
use vcss::trace::TraceEvent;
use window::Window;

pub use self::actions::initialised;
pub use self::plugging::Owned;
pub use self::record::driver_state;
pub use self::request::Request;

use self::lending::Lending;
use self::measure::Measured;
use self::record::{irb_words, orb_words, scsw_words, NO_WORDS};
use self::request::Operand;
use self::schib::Virtual;
use self::state::{transition, Event, State};
use crate::proxy::ctx::Ctx;
use crate::proxy::translate::Translator;

/// The answer to a request whose operand the architecture refuses with an operand exception.
pub const OPERAND: u32 = vcss::client::Response::OPERAND;

/// Events that one event can lead to, one after the other, at most.
const MAX_CHAIN: usize = 16;
/// Channel reports that one call can make, at most.
const MAX_REPORTS: usize = 4;
/// After so long without an interruption a busy subchannel is looked at all the same, in microseconds.
const HEAL_US: u64 = 1_000_000;

/// Whose virtual subchannel it is, and what never changes of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The client's number.
    pub client: u16,
    /// The virtual subchannel's number.
    pub index: u16,
    /// The interruption subclass of the owned subchannel.
    pub isc: u8,
    /// The client's program window.
    pub window: &'static Window,
}

/// A virtual subchannel of the pass-through kind.
#[derive(Debug)]
pub struct PassThrough {
    /// The owned subchannel.
    id: SubchannelId,
    /// The number of the device that has to be there.
    number: u16,
    place: Place,
    state: State,
    /// It is for somebody: on its way out of standby it is given to the client.
    owned: bool,
    /// It is a disk's, and whose it is now.
    lending: Lending,
    own: Virtual,
    /// Status that is not the hardware's any more, or never was. It comes before what the hardware has.
    held: Option<Irb>,
    /// The client knows that the hardware has status.
    announced: bool,
    /// The client's functions that are in progress.
    functions: FunctionControl,
    /// What an earlier life of the appliance had shown, and what was in progress, until the subchannel can take it up.
    former: Option<(Schib, FunctionControl)>,
    /// What the hardware was given for the program, to start it once more.
    orb: Orb,
    retries: u8,
    /// What runs is not the program's first part: some of it has been executed.
    continued: bool,
    /// The program is suspended, or has ended: its words mean nothing until it is resumed.
    at_rest: bool,
    /// Until when status is held back that may be older than a clear function, if there is any.
    held_until: Option<Tod>,
    translator: Translator,
    deadline: Tod,
    reports: Deque<Crw, MAX_REPORTS>,
    measured: Measured,
    /// The answer that is being made.
    condition: u32,
    irb: Irb,
}

impl PassThrough {
    /// The virtual subchannel at this place and with this device number, for the subchannel `owned`. Not yet opened.
    pub fn new(owned: Owned, place: Place, device: u16, translator: Translator) -> Self {
        let mut translator = translator.replaying(owned.classify);
        translator.set_within_start(owned.runs_within_start);
        Self {
            id: owned.id,
            number: owned.number,
            place,
            state: State::NotOperational,
            owned: true,
            lending: Lending::Never,
            own: Virtual::reset(device),
            held: None,
            announced: false,
            functions: FunctionControl::empty(),
            former: None,
            orb: Orb::default(),
            retries: 0,
            continued: false,
            at_rest: false,
            held_until: None,
            translator,
            deadline: Tod::NEVER,
            reports: Deque::new(),
            measured: Measured::default(),
            condition: 0,
            irb: Irb::default(),
        }
    }

    /// Takes the owned subchannel into use. `former` is what an earlier life of the appliance left in the SCHIB part: the
    /// SCHIB, and the functions in progress. What is in progress on the hardware is ended first. If it was another device, the
    /// client hears of it.
    pub fn open(&mut self, former: Option<(Schib, u8)>, ctx: &mut Ctx<'_>) {
        let former = former.filter(|(schib, _)| schib.pmcw.has_device());
        let same = |schib: &Schib| schib.pmcw.device.get() == self.own.device();
        let another = former.is_some_and(|(schib, _)| !same(&schib));
        self.former = former
            .filter(|(schib, _)| same(schib))
            .map(|(schib, functions)| (schib, FunctionControl::from_bits_truncate(functions)));
        if another {
            self.report_crw(initialised(self.place.index));
        }
        let before = self.state;
        match self.stored(ctx) {
            None => {}
            Some(schib) if is_in_use(&schib) => {
                self.state = State::Busy;
                self.run(Event::Reset, Operand::None, ctx);
            }
            Some(_) => {
                self.state = State::Standby;
                let event = self.disable(ctx).unwrap_or(Event::Online);
                self.run(event, Operand::None, ctx);
            }
        }
        self.trace(ctx, before, TraceEvent::Online, None, NO_WORDS);
    }

    /// Carries out a request; the condition code, or [`OPERAND`].
    pub fn request(&mut self, request: Request<'_>, ctx: &mut Ctx<'_>) -> u32 {
        let before = self.state;
        if !request.is_valid() {
            self.condition = OPERAND;
        } else if request.needs_enabled() && !self.own.is_enabled() {
            self.condition = 3;
            self.irb = Irb::default();
        } else {
            if request.wants_a_look() && self.state == State::Busy {
                // Status that is the appliance's own must not be in its way.
                self.interruption(ctx);
            }
            let operand = match request {
                Request::Start(orb) => Operand::Orb(orb),
                Request::Modify(schib) => Operand::Schib(schib),
                _ => Operand::None,
            };
            self.run(request.event(), operand, ctx);
        }
        let (instruction, words) = match request {
            Request::Start(orb) => (Instruction::Start, orb_words(orb)),
            Request::Halt => (Instruction::Halt, NO_WORDS),
            Request::Clear => (Instruction::Clear, NO_WORDS),
            Request::Cancel => (Instruction::Cancel, NO_WORDS),
            Request::Resume => (Instruction::Resume, NO_WORDS),
            Request::Store => (Instruction::Store, NO_WORDS),
            Request::Modify(_) => (Instruction::Modify, NO_WORDS),
            Request::Test => (Instruction::Test, irb_words(&self.irb)),
        };
        // None for an operand exception.
        let condition = u8::try_from(self.condition).ok();
        self.trace(
            ctx,
            before,
            TraceEvent::Request(instruction),
            condition,
            words,
        );
        self.condition
    }

    /// The IRB of the last TEST.
    pub const fn irb(&self) -> &Irb {
        &self.irb
    }

    /// The SCHIB as STORE shows it.
    pub fn schib(&mut self, ctx: &mut Ctx<'_>) -> Schib {
        let hidden = match self.state {
            State::NotOperational | State::Disconnected => true,
            State::Standby | State::Idle | State::Busy | State::Quiescing(_) => false,
        };
        let hardware = if hidden { None } else { self.looked(ctx) };
        let Some(hardware) = hardware else {
            return self.own.show_nothing();
        };
        let mut schib = self.own.show(&hardware);
        schib.scsw = match (&self.held, self.state) {
            (Some(held), _) => held.scsw,
            (None, State::Idle | State::Busy) => {
                let mut scsw = hardware.scsw;
                if self.is_half_of_split(&scsw) {
                    scsw = status::running(scsw);
                }
                self.client_scsw(scsw)
            }
            // What is being ended is no business of the client's.
            (None, _) => Scsw::default(),
        };
        schib
    }

    /// An interruption of the owned subchannel: looks what it is.
    pub fn interruption(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_away() {
            return;
        }
        let before = self.state;
        let Some(schib) = self.looked(ctx) else {
            return;
        };
        if self.holds_back(&schib.scsw, ctx.now) || self.is_half_of_split(&schib.scsw) {
            return;
        }
        let Some(mut event) = status::event_of(&schib.scsw) else {
            // The status has been taken already.
            return;
        };
        if self.is_split(&schib.scsw) {
            event = Event::Split;
        }
        self.at_rest = self.translator.is_modifiable() && self.rests(&schib.scsw);
        self.run(event, Operand::None, ctx);
        let words = scsw_words(&schib.scsw);
        self.trace(ctx, before, TraceEvent::Interruption, None, words);
    }

    /// A channel report about a path. Returns whether the subchannel has it; the client hears of it unless it has been
    /// `told` already.
    pub fn path(&mut self, report: Crw, told: bool, ctx: &mut Ctx<'_>) -> bool {
        if self.is_away() {
            return false;
        }
        let before = self.state;
        let Some(schib) = self.looked(ctx) else {
            return false;
        };
        let installed = schib.pmcw.pim;
        let mut paths = (0..8u32).map(|path| 0x80 >> path).zip(schib.pmcw.chpid);
        let has_it = paths
            .any(|(mask, chpid)| installed & mask != 0 && u16::from(chpid) == report.source_id());
        if has_it {
            let operand = if told {
                Operand::None
            } else {
                Operand::Path(report)
            };
            self.run(Event::Path, operand, ctx);
            self.trace(ctx, before, TraceEvent::Path, None, NO_WORDS);
        }
        has_it
    }

    /// The client begins anew, or has died.
    pub fn reset(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.state;
        // Nor does the client want what an earlier life of the appliance had shown.
        self.former = None;
        self.run(Event::Reset, Operand::None, ctx);
        self.trace(ctx, before, TraceEvent::Reset, None, NO_WORDS);
    }

    /// The subchannel is taken from the client, for good.
    pub fn offline(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.state;
        self.owned = false;
        self.run(Event::Offline, Operand::None, ctx);
        self.trace(ctx, before, TraceEvent::Offline, None, NO_WORDS);
    }

    /// Whether [`Self::tick`] has something to do.
    #[inline]
    pub fn is_due(&self, now: Tod) -> bool {
        now >= self.deadline || self.is_holding()
    }

    /// Time has passed. Whatever is due is done.
    pub fn tick(&mut self, ctx: &mut Ctx<'_>) {
        self.look_again(ctx);
        if ctx.now < self.deadline {
            return;
        }
        match self.state {
            State::Quiescing(_) => {
                let before = self.state;
                // An interruption that got lost is found now.
                self.interruption(ctx);
                if self.state == before {
                    self.run(Event::TimeOut, Operand::None, ctx);
                    self.trace(ctx, before, TraceEvent::TimeOut, None, NO_WORDS);
                }
            }
            State::Busy => {
                self.deadline = ctx.now.plus_micros(HEAL_US);
                if !self.announced {
                    self.interruption(ctx);
                }
            }
            State::NotOperational | State::Standby | State::Idle | State::Disconnected => {
                self.deadline = Tod::NEVER;
            }
        }
    }

    /// For tests: another translator, while no program runs.
    #[cfg(test)]
    pub fn set_translator(&mut self, translator: Translator) {
        self.translator = translator;
    }

    /// Looks again at status that is held back.
    fn look_again(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_holding() {
            self.interruption(ctx);
        }
    }

    /// Looks at the client's words of a program that may change while it runs. That takes its time.
    pub fn refresh(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_changing() {
            return;
        }
        let Some(schib) = self.stored(ctx) else {
            return;
        };
        self.at_rest = self.translator.is_modifiable() && self.rests(&schib.scsw);
        if !self.at_rest {
            self.translator.refresh(self.place.window);
        }
    }

    /// Whether the channel does not look at the program any more, or not before it is resumed.
    fn rests(&self, scsw: &Scsw) -> bool {
        let status = scsw.status();
        let suspended = status::is_suspended(scsw);
        let ended = status.contains(StatusControl::PENDING | StatusControl::PRIMARY)
            && status::over(scsw) == status::Over::Yes;
        suspended || ended && !self.is_split(scsw) && !self.is_half_of_split(scsw)
    }

    /// Whether status is held back of which no interruption will tell.
    const fn is_holding(&self) -> bool {
        self.held_until.is_some() && !self.announced
    }

    /// Whether a program runs that may change meanwhile: [`Self::refresh`] looks at it.
    pub const fn is_changing(&self) -> bool {
        matches!(self.state, State::Busy) && !self.at_rest && self.translator.is_modifiable()
    }

    /// Whether it is to be looked at soon.
    pub const fn wants_refresh(&self) -> bool {
        self.is_holding() || self.is_changing()
    }

    /// Whether an interruption may come.
    pub const fn is_expecting(&self) -> bool {
        match self.state {
            State::Busy => !self.announced,
            State::Quiescing(_) => true,
            State::NotOperational | State::Standby | State::Idle | State::Disconnected => false,
        }
    }

    /// Whether what a client left is being ended.
    pub const fn is_quiescing(&self) -> bool {
        matches!(self.state, State::Quiescing(_))
    }

    /// Until when something has to happen; [`Tod::NEVER`] if nothing has to.
    pub const fn deadline(&self) -> Tod {
        self.deadline
    }

    /// Whether TEST will answer condition code 0.
    pub const fn is_pending(&self) -> bool {
        self.announced || self.held.is_some()
    }

    /// The client's functions that are in progress, or whose status is held: what the next life of the appliance has to
    /// know.
    #[inline]
    pub fn functions(&self) -> FunctionControl {
        let none = FunctionControl::empty();
        let held = self.held.as_ref().map_or(none, |irb| irb.scsw.function());
        let former = self
            .former
            .as_ref()
            .map_or(none, |(_, functions)| *functions);
        self.functions | held | former
    }

    /// What an earlier life of the appliance has shown, until that has been taken up.
    pub fn former(&self) -> Option<&Schib> {
        self.former.as_ref().map(|(schib, _)| schib)
    }

    /// Whether the client has enabled the subchannel, in this life of the appliance or in the one before.
    pub fn is_or_was_enabled(&self) -> bool {
        let was = |schib: &Schib| schib.pmcw.flags().contains(channel::PmcwFlags::ENABLED);
        self.is_enabled() || self.former().is_some_and(was)
    }

    /// In the life of the appliance before, these functions were in progress, and no others: they end.
    pub fn end_functions(&mut self, functions: FunctionControl) {
        if let Some((_, former)) = &mut self.former {
            *former = functions;
        } else if self.is_enabled() {
            self.held = (!functions.is_empty()).then(|| status::lost(functions));
        }
    }

    /// Whether the client has enabled the subchannel.
    pub const fn is_enabled(&self) -> bool {
        self.own.is_enabled()
    }

    /// The state, for whoever shows it.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The owned subchannel; while there is no device, where it was.
    pub const fn id(&self) -> SubchannelId {
        self.id
    }

    /// What it takes to look at its program: CCWs.
    pub const fn effort(&self) -> usize {
        self.translator.ccws()
    }

    /// The number of the virtual subchannel.
    pub const fn index(&self) -> u16 {
        self.place.index
    }

    /// The next channel report for the client.
    pub fn take_report(&mut self) -> Option<Crw> {
        self.reports.pop_front()
    }

    /// Carries out the transition of `event`, and those of what it leads to.
    fn run(&mut self, event: Event, operand: Operand<'_>, ctx: &mut Ctx<'_>) {
        let mut next = Some(event);
        for _ in 0..MAX_CHAIN {
            let Some(event) = next.take() else { return };
            let step = transition(self.state, event);
            self.state = step.next;
            for &action in step.actions {
                if let Some(follows) = self.act(action, operand, ctx) {
                    next = Some(follows);
                }
            }
            match (self.state, next) {
                (State::Standby, None) if self.owned => next = Some(Event::Online),
                (State::Idle, None) => self.take_up(ctx),
                _ => {}
            }
        }
        debug_assert!(next.is_none(), "events without end");
    }
}

/// Whether somebody left the subchannel enabled, or a function in progress.
fn is_in_use(schib: &Schib) -> bool {
    schib.pmcw.flags().contains(channel::PmcwFlags::ENABLED) || !schib.scsw.function().is_empty()
}
