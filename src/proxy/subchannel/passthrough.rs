//! A virtual subchannel of the pass-through kind: it stands for a subchannel that the appliance owns, and the
//! client's channel programs run there.
//!
//! | module | what it is |
//! |---|---|
//! | [`state`] | the driver's state machine, pure functions |
//! | `requests` | the client's eight requests |
//! | `availability` | who has the owned subchannel |
//! | `actions` | what the state machine's actions do to the hardware |
//! | `program` | the client's program: translated, running, cut and going on |
//! | `owned` | the owned subchannel, and whether its device is there |
//! | `measure`, `record` | the measurement block; trace records |
//! | [`status`] | what a subchannel-status word says; status that the appliance makes |
//! | [`schib`] | which fields of the SCHIB are the client's |
//!
//! This file: the subchannel's life, from bring-up to whoever has it next, and what others want to know of it.
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
//! * The device number says which device is meant. The subchannel is where it was found last; any other device there is none.
//!
//! # Limits
//!
//! Command mode. One function of the client's at a time, as the subchannel has it.

mod actions;
mod availability;
mod measure;
mod owned;
mod program;
mod record;
mod requests;
pub mod schib;
pub mod state;
pub mod status;

#[cfg(test)]
mod tests;

use channel::{
    Crw, CrwFlags, DeviceNumber, FunctionControl, Irb, PmcwFlags, RecoveryCode, ReportingSource,
    Schib, SubchannelId,
};
use heapless::Deque;
use s390x::clock::Tod;
use vcss::client::Measurement;
use vcss::trace::{Record, TraceEvent};
use window::Window;

pub use self::owned::Owned;
pub use self::record::driver_state;

use self::availability::Availability;
use self::measure::Measured;
use self::program::Program;
use self::record::{Words, NO_CONDITION, NO_WORDS};
use self::schib::Virtual;
use self::state::{transition, Action, Event, State};
use crate::proxy::ctx::Ctx;
use crate::proxy::translate::Translator;

/// Channel reports that one call can make, at most.
const MAX_REPORTS: usize = 4;
/// After so long without an interruption a busy subchannel is looked at all the same, in microseconds.
const HEAL_US: u64 = 1_000_000;

/// Whose virtual subchannel it is, and what never changes of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub client: u16,
    pub index: u16,
    pub isc: u8,
    pub window: &'static Window,
}

/// A virtual subchannel of the pass-through kind.
#[derive(Debug)]
pub struct PassThrough {
    place: Place,
    owned: Owned,
    availability: Availability,
    state: State,
    own: Virtual,
    program: Program,
    /// Status that is not the hardware's any more, or never was. It comes before what the hardware has.
    held: Option<Irb>,
    /// The client knows that the hardware has status.
    announced: bool,
    /// Until when status is held back that may be older than a clear function, if there is any.
    held_until: Option<Tod>,
    /// What an earlier life of the appliance had shown, and what was in progress, until the subchannel can take it up.
    former: Option<(Schib, FunctionControl)>,
    deadline: Tod,
    /// How often a condition code, deferred or not, said that no path is operational; wraps.
    path_troubles: u16,
    reports: Deque<Crw, MAX_REPORTS>,
    measured: Measured,
}

impl PassThrough {
    /// The virtual subchannel at this place and with this device number, for the subchannel `owned`. Not yet opened.
    pub fn new(owned: Owned, place: Place, device: u16, translator: Translator) -> Self {
        let mut program = Program::new(translator, place.window);
        program.set_device(&owned);
        Self {
            place,
            owned,
            availability: Availability::Client,
            state: State::NotOperational,
            own: Virtual::reset(device),
            program,
            held: None,
            announced: false,
            held_until: None,
            former: None,
            deadline: Tod::NEVER,
            path_troubles: 0,
            reports: Deque::new(),
            measured: Measured::default(),
        }
    }

    /// The same for a disk's subchannel, which the disk's driver has: not to be [opened](Self::open). To the client it is one without
    /// a device except during maintenance, whatever happens to the disk.
    pub const fn of_a_disk(mut self) -> Self {
        self.availability = Availability::Driver;
        self
    }

    /// Takes the owned subchannel into use. `former` is what an earlier life of the appliance left in the SCHIB part: the
    /// SCHIB, and the functions in progress. What is in progress on the hardware is ended first. If it was another device, the
    /// client hears of it.
    pub fn open(&mut self, former: Option<(Schib, u8)>, ctx: &mut Ctx<'_>) {
        let former = former.filter(|(schib, _)| schib.pmcw.has_device());
        if let Some((schib, functions)) = former {
            if schib.pmcw.device.get() == self.own.device() {
                self.former = Some((schib, FunctionControl::from_bits_truncate(functions)));
            } else {
                self.tell(initialised(self.place.index));
            }
        }
        let before = self.state;
        match self.stored(ctx) {
            None => {}
            Some(schib) if owned::is_in_use(&schib) => {
                self.state = State::Busy;
                self.run(Event::Reset, ctx);
            }
            Some(_) => {
                self.state = State::Standby;
                let event = self.disable(ctx).unwrap_or(Event::Online);
                self.run(event, ctx);
            }
        }
        self.trace(ctx, before, TraceEvent::Online, NO_CONDITION, NO_WORDS);
    }

    /// A channel report about a path. Returns whether the subchannel has it; the client hears of it unless it has been
    /// `told` already.
    pub fn path(&mut self, report: Crw, told: bool, ctx: &mut Ctx<'_>) -> bool {
        if self.is_away() {
            return false;
        }
        let Some(schib) = self.looked(ctx) else {
            return false;
        };
        let installed = schib.pmcw.pim;
        let mut paths = (0..8u32).map(|path| 0x80 >> path).zip(schib.pmcw.chpid);
        let has_it = paths
            .any(|(mask, chpid)| installed & mask != 0 && u16::from(chpid) == report.source_id());
        if has_it {
            let step = transition(self.state, Event::Path);
            if !told && step.actions().any(|action| action == Action::ReportPath) {
                self.tell(report);
            }
            self.happen(Event::Path, TraceEvent::Path, ctx);
        }
        has_it
    }

    /// A channel report about the owned subchannel: looks whether the device has gone. One that the client has not enabled may be
    /// another one with its number, and nothing would show it: it is let go, to be asked what it is and to come back.
    pub fn report(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_away() {
            return;
        }
        let unused = self.state == State::Idle && !self.own.is_enabled() && !self.is_of_a_disk();
        if self.stored(ctx).is_none() || unused {
            self.gone(ctx);
        }
    }

    /// The device is there, or another one for which the virtual subchannel stands from now on: on the subchannel `owned`, and
    /// with the device number `device` for the client. Nothing happens while there is one already.
    pub fn plug(&mut self, owned: Owned, device: u16, ctx: &mut Ctx<'_>) {
        if self.is_away() || !self.is_gone() {
            return;
        }
        if device != self.own.device() {
            self.former = None;
            self.own = Virtual::reset(device);
            self.measured = Measured::default();
        }
        self.come(owned, ctx);
    }

    /// The device is on this subchannel, disabled whatever it was before.
    fn come(&mut self, owned: Owned, ctx: &mut Ctx<'_>) {
        self.owned = owned;
        self.program.set_device(&owned);
        if self.stored(ctx).is_some() && self.disable(ctx).is_none() {
            self.happen(Event::Back, TraceEvent::Back, ctx);
        }
    }

    /// The client begins anew, or has died.
    pub fn reset(&mut self, ctx: &mut Ctx<'_>) {
        // Nor does the client want what an earlier life of the appliance had shown.
        self.former = None;
        self.happen(Event::Reset, TraceEvent::Reset, ctx);
    }

    /// The subchannel is taken from the client, for good.
    pub fn offline(&mut self, ctx: &mut Ctx<'_>) {
        self.availability = self.availability.taken();
        self.happen(Event::Offline, TraceEvent::Offline, ctx);
    }

    /// The disk's driver has let go of it, wherever it is by now. Returns whether the client has it: otherwise it is the driver's still.
    pub fn begin_maintenance(&mut self, owned: Owned, ctx: &mut Ctx<'_>) -> bool {
        if self.availability != Availability::Driver {
            return false;
        }
        self.availability = Availability::Maintenance;
        self.come(owned, ctx);
        if self.is_gone() {
            self.availability = Availability::Driver;
        }
        !self.is_gone()
    }

    /// The driver of the disk wants it back. To be called until it says that nothing of the client's is left there.
    pub fn end_maintenance(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.availability == Availability::Maintenance {
            self.offline(ctx);
        }
        match self.state {
            State::Standby => self.run(Event::Gone, ctx),
            State::NotOperational => {}
            // It cannot be stopped: the disk's driver finds that out, too.
            State::Disconnected => {}
            State::Idle | State::Busy | State::Quiescing(_) => return false,
        }
        self.availability = Availability::Driver;
        true
    }

    /// Whether [`Self::tick`] has something to do.
    #[inline]
    pub fn is_due(&self, now: Tod) -> bool {
        now >= self.deadline || self.is_holding()
    }

    /// Time has passed. Whatever is due is done.
    pub fn tick(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_holding() {
            self.interruption(ctx);
        }
        if ctx.now < self.deadline {
            return;
        }
        match self.state {
            State::Quiescing(_) => {
                let before = self.state;
                // An interruption that got lost is found now.
                self.interruption(ctx);
                if self.state == before {
                    self.happen(Event::TimeOut, TraceEvent::TimeOut, ctx);
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

    /// Looks at the client's words of a program that may change while it runs. That takes its time.
    pub fn refresh(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_changing() {
            return;
        }
        if let Some(schib) = self.stored(ctx) {
            self.program.look(&schib.scsw);
            self.program.refresh();
        }
    }

    /// For tests: another translator, while no program runs.
    #[cfg(test)]
    pub fn set_translator(&mut self, translator: Translator) {
        self.program = Program::new(translator, self.place.window);
        self.program.set_device(&self.owned);
    }

    fn gone(&mut self, ctx: &mut Ctx<'_>) {
        if self.state != State::NotOperational {
            self.happen(Event::Gone, TraceEvent::Gone, ctx);
        }
    }

    /// The SCHIB, if there is the device.
    fn stored(&self, ctx: &mut Ctx<'_>) -> Option<Schib> {
        self.owned.stored(self.own.is_enabled(), ctx.platform)
    }

    /// The same, and if there is no device any more, that is noted.
    fn looked(&mut self, ctx: &mut Ctx<'_>) -> Option<Schib> {
        let schib = self.stored(ctx);
        if schib.is_none() {
            self.gone(ctx);
        }
        schib
    }

    /// An event that has a record of its own.
    fn happen(&mut self, event: Event, traced: TraceEvent, ctx: &mut Ctx<'_>) {
        let before = self.state;
        self.run(event, ctx);
        self.trace(ctx, before, traced, NO_CONDITION, NO_WORDS);
    }

    #[inline(always)]
    fn trace(
        &self,
        ctx: &mut Ctx<'_>,
        before: State,
        event: TraceEvent,
        condition: u8,
        words: Words,
    ) {
        let Some(recorder) = ctx.trace.as_deref_mut() else {
            return;
        };
        recorder.record(&Record {
            subchannel: self.owned.id.word(),
            tod: ctx.now.units(),
            event,
            before: driver_state(before),
            after: driver_state(self.state),
            condition,
            client: self.place.client,
            words,
        });
    }

    /// A channel report for the client. There is room for as many as one call can make.
    fn tell(&mut self, report: Crw) {
        let _ = self.reports.push_back(report);
    }

    pub fn take_report(&mut self) -> Option<Crw> {
        self.reports.pop_front()
    }

    /// The measurement block, if it has changed.
    pub fn take_measurement(&mut self) -> Option<&Measurement> {
        self.measured.take()
    }

    /// Whether somebody else has the subchannel: then nothing here touches it.
    const fn is_away(&self) -> bool {
        matches!(self.availability, Availability::Driver)
    }

    pub const fn is_of_a_disk(&self) -> bool {
        self.availability.is_of_a_disk()
    }

    pub const fn is_gone(&self) -> bool {
        matches!(self.state, State::NotOperational)
    }

    /// Whether status is held back of which no interruption will tell.
    const fn is_holding(&self) -> bool {
        self.held_until.is_some() && !self.announced
    }

    /// Whether a program runs that may change meanwhile: [`Self::refresh`] looks at it.
    pub fn is_changing(&self) -> bool {
        self.program.is_changing()
    }

    pub fn wants_refresh(&self) -> bool {
        self.is_holding() || self.is_changing()
    }

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

    /// Whether the device may use storage of this: what a client left is being ended, or cannot be.
    pub const fn is_in_progress(&self) -> bool {
        match self.state {
            State::Busy | State::Quiescing(_) | State::Disconnected => true,
            State::NotOperational | State::Standby | State::Idle => false,
        }
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
        self.program.functions() | held | former
    }

    /// What an earlier life of the appliance has shown, until that has been taken up.
    pub fn former(&self) -> Option<&Schib> {
        self.former.as_ref().map(|(schib, _)| schib)
    }

    /// Whether the client has enabled the subchannel, in this life of the appliance or in the one before.
    pub fn is_or_was_enabled(&self) -> bool {
        let was = |schib: &Schib| schib.pmcw.flags().contains(PmcwFlags::ENABLED);
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

    pub const fn path_troubles(&self) -> u16 {
        self.path_troubles
    }

    pub const fn is_enabled(&self) -> bool {
        self.own.is_enabled()
    }

    pub const fn state(&self) -> State {
        self.state
    }

    /// The owned subchannel; while there is no device, where it was.
    pub const fn id(&self) -> SubchannelId {
        self.owned.id
    }

    pub const fn device(&self) -> DeviceNumber {
        self.owned.device()
    }

    /// What it takes to look at its program: CCWs.
    pub const fn effort(&self) -> usize {
        self.program.effort()
    }

    pub const fn index(&self) -> u16 {
        self.place.index
    }

    pub const fn client(&self) -> u16 {
        self.place.client
    }
}

/// The channel report for a client whose virtual subchannel has got another device, or none.
pub const fn initialised(index: u16) -> Crw {
    Crw::new(
        CrwFlags::ANCILLARY,
        ReportingSource::Subchannel,
        RecoveryCode::ParametersInitialized,
        index,
    )
}
