//! The client's eight requests, and what STORE shows.
//!
//! # Rule
//!
//! A request is the instruction of its name, once, on the owned subchannel, and the hardware's condition code is the client's, unless
//! status of the appliance's own is in between.

use channel::{
    ActivityControl, FunctionControl, Irb, OperandException, Orb, PmcwFlags, Refusal, Schib, Scsw,
    StatusControl, Tested,
};
use s390x::cc::ConditionCode;
use s390x::clock::Tod;
use vcss::trace::TraceEvent;

use super::program::Own;
use super::record::{irb_words, orb_words, scsw_words, Words, NO_CONDITION, NO_WORDS};
use super::state::{handling, Event, Handling, State};
use super::status::{self, Over, CONCLUSIVE};
use super::{initialised, schib, PassThrough, HEAL_US};
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::{Reply, Request};

/// How long status may be held back for a clear function to end, in microseconds.
pub(super) const HOLD_US: u64 = 100_000;

const PENDING: Reply = Reply::cc(ConditionCode::Cc1);

impl PassThrough {
    /// Carries out a request. A function of its own, so that a turn without one computes nothing for it.
    #[inline(never)]
    pub fn request(&mut self, request: &Request, ctx: &mut Ctx<'_>) -> Reply {
        let before = self.state;
        let reply = self.answer(request, ctx);
        let words = match (request, &reply.irb) {
            (Request::Start(orb), _) => orb_words(orb),
            (Request::Test, Some(irb)) => irb_words(irb),
            _ => NO_WORDS,
        };
        let event = TraceEvent::Request(request.instruction());
        match reply.cc {
            Ok(cc) => self.trace(ctx, before, event, cc.bits(), words),
            Err(OperandException) => self.trace_exception(ctx, before, event, words),
        }
        reply
    }

    /// The same where there is no condition code, which is rare.
    #[cold]
    fn trace_exception(&self, ctx: &mut Ctx<'_>, before: State, event: TraceEvent, words: Words) {
        self.trace(ctx, before, event, NO_CONDITION, words);
    }

    fn answer(&mut self, request: &Request, ctx: &mut Ctx<'_>) -> Reply {
        if !request.is_valid() {
            return Reply::OPERAND;
        }
        if request.needs_enabled() && !self.own.is_enabled() {
            return Reply::NOT_OPERATIONAL;
        }
        let on_what_runs = matches!(request, Request::Halt | Request::Cancel | Request::Resume);
        if on_what_runs && self.state == State::Busy {
            // Status that is the appliance's own must not be in its way.
            self.interruption(ctx);
        }
        match (handling(self.state, request.instruction()), request) {
            (Handling::NotOperational, _) => Reply::NOT_OPERATIONAL,
            (Handling::Ignore, _) | (Handling::Serve, Request::Store) => Reply::DONE,
            // MODIFY does nothing while there is no device.
            (Handling::InUse, Request::Modify(_)) => self.in_use(Reply::DONE, ctx),
            (Handling::InUse, _) => self.in_use(Reply::NOT_OPERATIONAL, ctx),
            (Handling::Serve, Request::Start(orb)) => self.start(orb, ctx),
            (Handling::Serve, Request::Halt) => self.halt(ctx),
            (Handling::Serve, Request::Clear) => self.clear(ctx),
            (Handling::Serve, Request::Cancel) => self.cancel(ctx),
            (Handling::Serve, Request::Resume) => self.resume(ctx),
            (Handling::Serve, Request::Modify(wanted)) => match self.stored(ctx) {
                Some(hardware) => self.modify(&hardware, wanted, ctx),
                None => self.lost_it(Reply::DONE, ctx),
            },
            (Handling::Serve, Request::Test) => self.test(ctx),
        }
    }

    /// The answer when the device turns out to have gone.
    fn lost_it(&mut self, reply: Reply, ctx: &mut Ctx<'_>) -> Reply {
        self.run(Event::Gone, ctx);
        reply
    }

    /// The answer of an instruction that was refused; a device that has gone is noticed here.
    fn refused(&mut self, refusal: Refusal, ctx: &mut Ctx<'_>) -> Reply {
        self.announced |= refusal == Refusal::StatusPending;
        // If the device is there, the paths are not.
        let not_operational = refusal == Refusal::NotOperational;
        self.path_troubles = self.path_troubles.wrapping_add(u16::from(not_operational));
        let gone = not_operational && self.stored(ctx).is_none();
        self.run(if gone { Event::Gone } else { Event::Refused }, ctx);
        refusal.into()
    }

    /// A function has begun; a start, with this ORB.
    fn accepted(
        &mut self,
        function: FunctionControl,
        start: Option<&Orb>,
        ctx: &mut Ctx<'_>,
    ) -> Reply {
        self.program.accepted(function, start);
        self.deadline = ctx.now.plus_micros(HEAL_US);
        self.run(Event::Accepted, ctx);
        Reply::DONE
    }

    /// A START was accepted.
    fn started(&mut self, orb: &Orb) {
        self.own.set_parameter(orb.parameter);
        self.count_start();
    }

    fn count_start(&mut self) {
        if self.own.is_measured() {
            self.measured.count_start();
        }
    }

    /// The client takes status.
    fn deliver(&mut self, irb: Irb) -> Reply {
        if self.own.is_measured() {
            self.measured.sample(&irb);
        }
        Reply::tested(ConditionCode::Cc0, irb)
    }

    /// The answer of a subchannel that cannot take a new function: condition code 1 if status is pending, its interruption
    /// taken or not, else 2; `gone` if there is no device any more.
    fn in_use(&mut self, gone: Reply, ctx: &mut Ctx<'_>) -> Reply {
        let Some(schib) = self.stored(ctx) else {
            return self.lost_it(gone, ctx);
        };
        let scsw = &schib.scsw;
        let pending = scsw.status().contains(StatusControl::PENDING);
        if self.held.is_some() || pending && self.program.own(scsw).is_none() {
            PENDING
        } else {
            Reply::cc(ConditionCode::Cc2)
        }
    }

    fn start(&mut self, orb: &Orb, ctx: &mut Ctx<'_>) -> Reply {
        if self.is_pending() {
            return self.in_use(Reply::NOT_OPERATIONAL, ctx);
        }
        let translated = match self.program.translate(orb, self.owned.id) {
            Ok(translated) => translated,
            Err(refused) => return self.refuse_program(orb, refused.scsw, ctx),
        };
        // SAFETY: the translator built the program, out of addresses in the client's window, and keeps it as it is until
        // it is released, which is when its final status has been taken.
        match unsafe { ctx.platform.start(self.owned.id, &translated) } {
            Ok(()) => {
                self.started(orb);
                self.accepted(FunctionControl::START, Some(&translated), ctx)
            }
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    /// A program that is not even begun: unless the subchannel would refuse it, the start ends at once with the check
    /// that the translator found.
    fn refuse_program(&mut self, orb: &Orb, scsw: Scsw, ctx: &mut Ctx<'_>) -> Reply {
        let Some(schib) = self.stored(ctx) else {
            return self.lost_it(Reply::NOT_OPERATIONAL, ctx);
        };
        let reply = if schib.scsw.status().contains(StatusControl::PENDING) {
            self.announced = true;
            PENDING
        } else if orb.path_mask() & schib.pmcw.lpm & schib.pmcw.pam == 0 {
            Reply::NOT_OPERATIONAL
        } else {
            self.started(orb);
            self.held = Some(status::alone(scsw));
            Reply::DONE
        };
        self.run(Event::Refused, ctx);
        reply
    }

    fn halt(&mut self, ctx: &mut Ctx<'_>) -> Reply {
        // Status pending alone is that of a function which has ended.
        let ended = |held: &Irb| {
            let status = held.scsw.status();
            status.intersects(CONCLUSIVE) || status == StatusControl::PENDING
        };
        if self.held.as_ref().is_some_and(ended) {
            return PENDING;
        }
        match ctx.platform.halt(self.owned.id) {
            Ok(()) => self.accepted(FunctionControl::HALT, None, ctx),
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn clear(&mut self, ctx: &mut Ctx<'_>) -> Reply {
        match ctx.platform.clear(self.owned.id) {
            Ok(()) => {
                self.held = None;
                self.announced = false;
                self.accepted(FunctionControl::CLEAR, None, ctx)
            }
            Err(gone) => self.refused(gone.into(), ctx),
        }
    }

    fn cancel(&mut self, ctx: &mut Ctx<'_>) -> Reply {
        if self.held.is_some() {
            return PENDING;
        }
        if self.program.is_continued() {
            return self.in_use(Reply::NOT_OPERATIONAL, ctx);
        }
        match ctx.platform.cancel(self.owned.id) {
            Ok(()) => {
                self.run(Event::Cancelled, ctx);
                Reply::DONE
            }
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_>) -> Reply {
        if self.held.is_some() {
            return PENDING;
        }
        let Some(schib) = self.stored(ctx) else {
            return self.lost_it(Reply::NOT_OPERATIONAL, ctx);
        };
        // One that is not suspended is not looked at: that takes its time.
        let pending = schib.scsw.status().contains(StatusControl::PENDING);
        if status::is_suspended(&schib.scsw) && !pending {
            self.program.before_resume();
        }
        match ctx.platform.resume(self.owned.id) {
            Ok(()) => {
                self.program.rest(false);
                self.count_start();
                Reply::DONE
            }
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn modify(&mut self, hardware: &Schib, wanted: &Schib, ctx: &mut Ctx<'_>) -> Reply {
        if self.held.is_some() {
            return PENDING;
        }
        let id = self.owned.id;
        let schib = schib::for_hardware(hardware, wanted, id.word(), self.place.isc);
        match ctx.platform.modify(id, &schib) {
            Ok(()) => {
                self.own.take(wanted);
                Reply::DONE
            }
            Err(refusal) => {
                self.announced |= refusal == Refusal::StatusPending;
                refusal.into()
            }
        }
    }

    /// TEST SUBCHANNEL for the client: what is held first, then what the hardware has.
    fn test(&mut self, ctx: &mut Ctx<'_>) -> Reply {
        if let Some(held) = self.held.take() {
            return self.deliver(held);
        }
        let clearing = self.program.functions().contains(FunctionControl::CLEAR);
        if clearing || self.program.is_modifiable() {
            if let Some(Schib { scsw, .. }) = self.stored(ctx) {
                if clearing && self.holds_back(&scsw, ctx.now) {
                    return self.nothing(status::clearing(scsw));
                }
                if self.program.own(&scsw) == Some(Own::HalfOfSplit) {
                    return self.nothing(status::running(scsw));
                }
            }
        }
        let mut irb = match ctx.platform.test(self.owned.id) {
            Ok(Tested::Status(irb)) => irb,
            Ok(Tested::Nothing(mut irb)) => {
                self.announced = false;
                irb.scsw = self.client_scsw(irb.scsw);
                return Reply::tested(ConditionCode::Cc1, irb);
            }
            Err(gone) => return self.refused(gone.into(), ctx),
        };
        self.announced = false;
        let follows = match self.program.own(&irb.scsw) {
            // The client was faster than the interruption.
            Some(Own::Split) => self.proceed_with(irb, ctx),
            Some(Own::Retryable) => self.retry_with(irb, ctx),
            Some(Own::HalfOfSplit) | None => {
                let follows = self.after(&irb.scsw, ctx);
                self.program.in_clients_terms(&mut irb);
                let reply = self.deliver(irb);
                self.run(follows, ctx);
                return reply;
            }
        };
        if let Some(event) = follows {
            self.run(event, ctx);
        }
        PENDING
    }

    /// The answer to TEST while status that is there is not shown.
    fn nothing(&mut self, shown: Scsw) -> Reply {
        self.announced = false;
        let irb = status::alone(self.client_scsw(shown));
        Reply::tested(ConditionCode::Cc1, irb)
    }

    /// What is left in progress after this status has been taken.
    fn after(&mut self, taken: &Scsw, ctx: &mut Ctx<'_>) -> Event {
        match status::over(taken) {
            Over::Yes => Event::Ended,
            Over::No => {
                let suspended = taken.activity().contains(ActivityControl::SUSPENDED);
                self.program.rest(suspended);
                Event::Continues
            }
            Over::Ask => self.left(ctx),
        }
    }

    /// An interruption of the owned subchannel: looks what it is.
    pub fn interruption(&mut self, ctx: &mut Ctx<'_>) {
        if self.is_away() {
            return;
        }
        let before = self.state;
        let Some(Schib { scsw, .. }) = self.looked(ctx) else {
            return;
        };
        if self.holds_back(&scsw, ctx.now) {
            return;
        }
        let event = match self.program.own(&scsw) {
            Some(Own::HalfOfSplit) => return,
            Some(Own::Split) => Event::Split,
            Some(Own::Retryable) | None => match status::event_of(&scsw) {
                Some(Event::DeferredThree) => {
                    self.path_troubles = self.path_troubles.wrapping_add(1);
                    Event::DeferredThree
                }
                Some(event) => event,
                // The status has been taken already.
                None => return,
            },
        };
        self.program.look(&scsw);
        self.run(event, ctx);
        let words = scsw_words(&scsw);
        self.trace(ctx, before, TraceEvent::Interruption, NO_CONDITION, words);
    }

    /// Whether pending status is not shown yet, because it may be older than a clear function that has not ended: see
    /// [`status::is_clearing`]. That is for [`HOLD_US`] from the first look at it; by then the function has ended, or the
    /// activity stands beside its very end, as it can on Hercules.
    fn holds_back(&mut self, scsw: &Scsw, now: Tod) -> bool {
        if !status::is_clearing(scsw) {
            self.held_until = None;
            return false;
        }
        let until = self.held_until.get_or_insert(now.plus_micros(HOLD_US));
        now < *until
    }

    /// When it comes to rest: what an earlier life of the appliance had shown holds again, and whatever that left in
    /// progress ends for the client.
    pub(super) fn take_up(&mut self, ctx: &mut Ctx<'_>) {
        let Some((former, function)) = self.former.take() else {
            return;
        };
        if !former.pmcw.flags().contains(PmcwFlags::ENABLED) {
            return;
        }
        // Whatever it was doing: reservation, path group and mode may be gone.
        self.tell(initialised(self.place.index));
        let Some(hardware) = self.stored(ctx) else {
            return;
        };
        let modified = self.modify(&hardware, &former, ctx);
        if modified.cc == Ok(ConditionCode::Cc0) && !function.is_empty() {
            self.held = Some(status::lost(function));
        }
    }

    /// The hardware's SCSW in the client's terms.
    fn client_scsw(&self, scsw: Scsw) -> Scsw {
        let mut irb = status::alone(scsw);
        self.program.in_clients_terms(&mut irb);
        irb.scsw
    }

    /// The SCHIB as STORE shows it.
    pub fn schib(&mut self, ctx: &mut Ctx<'_>) -> Schib {
        let hardware = match self.state {
            State::NotOperational | State::Disconnected => None,
            State::Standby | State::Idle | State::Busy | State::Quiescing(_) => self.looked(ctx),
        };
        let Some(hardware) = hardware else {
            return self.own.show_nothing();
        };
        let mut schib = self.own.show(&hardware);
        schib.scsw = match (&self.held, self.state) {
            (Some(held), _) => held.scsw,
            (None, State::Idle | State::Busy) => {
                let scsw = hardware.scsw;
                let half = self.program.own(&scsw) == Some(Own::HalfOfSplit);
                self.client_scsw(if half { status::running(scsw) } else { scsw })
            }
            // What is being ended is no business of the client's.
            (None, _) => Scsw::default(),
        };
        schib
    }
}
