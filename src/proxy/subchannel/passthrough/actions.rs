//! What the state machine's actions do.
//!
//! # Rule
//!
//! An action does one thing, and says by the event that it returns what came of it.

use channel::{
    ActivityControl, Crw, FunctionControl, Irb, Orb, PmcwFlags, Refusal, Schib, Scsw,
    StatusControl, Tested,
};
use s390x::clock::Tod;
use vcss::trace::TraceEvent;
use zerocopy::big_endian::U32;

use super::again::RETRIES;
use super::record::NO_WORDS;
use super::request::Operand;
use super::schib::{self, Virtual};
use super::state::{Action, Event, State};
use super::status::{self, Over, CONCLUSIVE};
use super::{PassThrough, HEAL_US, OPERAND};
use crate::proxy::ctx::Ctx;

/// The answer to an instruction that was refused.
pub(in crate::proxy::subchannel::passthrough) const fn code(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::Operand => OPERAND,
        Refusal::StatusPending | Refusal::Busy | Refusal::NotOperational => refusal as u32,
    }
}

impl PassThrough {
    pub(in crate::proxy::subchannel::passthrough) fn act(
        &mut self,
        action: Action,
        operand: Operand<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        match action {
            Action::NotOperational => {
                self.irb = Irb::default();
                self.answer(3, None)
            }
            Action::InUse => match operand {
                // MODIFY does nothing while there is no device.
                Operand::Schib(_) => self.in_use(0, ctx),
                Operand::None | Operand::Orb(_) | Operand::Path(_) => self.in_use(3, ctx),
            },
            Action::Ignore | Action::Show => self.answer(0, None),
            Action::Start => match operand {
                Operand::Orb(orb) => self.start(orb, ctx),
                Operand::None | Operand::Schib(_) | Operand::Path(_) => None,
            },
            Action::Halt => self.halt(ctx),
            Action::Clear => self.clear(ctx),
            Action::Cancel => self.cancel(ctx),
            Action::Resume => self.resume(ctx),
            Action::Modify => match operand {
                Operand::Schib(wanted) => {
                    if self.stored(ctx).is_none() {
                        return self.answer(0, Some(Event::Gone));
                    }
                    self.condition = self.modify(wanted, ctx);
                    None
                }
                Operand::None | Operand::Orb(_) | Operand::Path(_) => None,
            },
            Action::Test => self.test(ctx),
            Action::Announce => {
                self.announced = true;
                None
            }
            Action::Retry => self.retry(ctx),
            Action::Proceed => self.proceed(ctx),
            Action::Discard => self.discard(ctx),
            Action::Release => {
                self.translator.release();
                self.at_rest = false;
                self.continued = false;
                self.held_until = None;
                self.functions = FunctionControl::empty();
                None
            }
            Action::ResetVirtual => {
                self.own = Virtual::reset(self.own.device());
                self.held = None;
                self.announced = false;
                self.functions = FunctionControl::empty();
                None
            }
            Action::Disable => self.disable(ctx),
            Action::QuiesceCancel => self.quiesce_cancel(ctx),
            Action::QuiesceHalt => self.quiesce_halt(ctx),
            Action::QuiesceClear => self.quiesce_clear(ctx),
            Action::ReportGone | Action::ReportBack => {
                // The same report for both: the client stores the SCHIB to see which it is.
                self.report_crw(initialised(self.place.index))
            }
            Action::ReportPath => match operand {
                Operand::Path(report) => self.report_crw(report),
                Operand::None | Operand::Orb(_) | Operand::Schib(_) => None,
            },
        }
    }

    /// The answer to a request, and what follows.
    pub(in crate::proxy::subchannel::passthrough) fn answer(
        &mut self,
        condition: u32,
        follows: Option<Event>,
    ) -> Option<Event> {
        self.condition = condition;
        follows
    }

    pub(in crate::proxy::subchannel::passthrough) fn report_crw(
        &mut self,
        report: Crw,
    ) -> Option<Event> {
        // There is room for as many as one call can make.
        let _ = self.reports.push_back(report);
        None
    }

    /// The answer of an instruction that was refused; a device that has gone is noticed here.
    fn refused(&mut self, refusal: Refusal, ctx: &mut Ctx<'_>) -> Option<Event> {
        self.condition = code(refusal);
        match refusal {
            Refusal::StatusPending => self.announced = true,
            Refusal::Busy | Refusal::Operand => {}
            Refusal::NotOperational if self.stored(ctx).is_none() => return Some(Event::Gone),
            // The device is there, the paths are not.
            Refusal::NotOperational => {}
        }
        Some(Event::Refused)
    }

    /// A function has begun.
    fn accepted(&mut self, function: FunctionControl, ctx: &Ctx<'_>) -> Option<Event> {
        self.functions |= function;
        self.deadline = ctx.now.plus_micros(HEAL_US);
        self.answer(0, Some(Event::Accepted))
    }

    fn start(&mut self, orb: &Orb, ctx: &mut Ctx<'_>) -> Option<Event> {
        let id = self.id;
        if self.is_pending() {
            return self.in_use(3, ctx);
        }
        let mut translated = match self.translator.translate(orb, self.place.window) {
            Ok(translated) => translated,
            Err(refused) => return self.refuse_program(orb, refused.scsw, ctx),
        };
        translated.parameter = U32::new(id.word());
        // SAFETY: the translator built the program, out of addresses in the client's window, and keeps it as it is until
        // it is released, which is when its final status has been taken.
        match unsafe { ctx.platform.start(id, &translated) } {
            Ok(()) => {
                self.own.set_parameter(orb.parameter.get());
                self.orb = translated;
                self.retries = RETRIES;
                self.count_start();
                self.accepted(FunctionControl::START, ctx)
            }
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    /// A program that is not even begun: unless the subchannel would refuse it, the start ends at once with the check
    /// that the translator found.
    fn refuse_program(&mut self, orb: &Orb, found: Scsw, ctx: &mut Ctx<'_>) -> Option<Event> {
        let Some(schib) = self.stored(ctx) else {
            return self.answer(3, Some(Event::Gone));
        };
        if schib.scsw.status().contains(StatusControl::PENDING) {
            self.announced = true;
            return self.answer(1, Some(Event::Refused));
        }
        if orb.path_mask() & schib.pmcw.lpm & schib.pmcw.pam == 0 {
            return self.answer(3, Some(Event::Refused));
        }
        self.own.set_parameter(orb.parameter.get());
        self.count_start();
        self.held = Some(Irb {
            scsw: found,
            ..Irb::default()
        });
        self.answer(0, Some(Event::Refused))
    }

    fn halt(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        // Status pending alone is that of a function which has ended.
        let ended = |held: &Irb| {
            let status = held.scsw.status();
            status.intersects(CONCLUSIVE) || status == StatusControl::PENDING
        };
        if self.held.as_ref().is_some_and(ended) {
            return self.answer(1, None);
        }
        let id = self.id;
        match ctx.platform.halt(id) {
            Ok(()) => self.accepted(FunctionControl::HALT, ctx),
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn clear(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        let id = self.id;
        match ctx.platform.clear(id) {
            Ok(()) => {
                self.held = None;
                self.announced = false;
                self.functions = FunctionControl::empty();
                self.accepted(FunctionControl::CLEAR, ctx)
            }
            Err(_) => self.refused(Refusal::NotOperational, ctx),
        }
    }

    fn cancel(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        if self.held.is_some() {
            return self.answer(1, None);
        }
        if self.continued {
            return self.in_use(3, ctx);
        }
        let id = self.id;
        match ctx.platform.cancel(id) {
            Ok(()) => self.answer(0, Some(Event::Cancelled)),
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        if self.held.is_some() {
            return self.answer(1, None);
        }
        let Some(schib) = self.stored(ctx) else {
            return self.answer(3, Some(Event::Gone));
        };
        // Whoever suspends a program may change it before it goes on. One that is not suspended is not looked at: that takes its time.
        let pending = schib.scsw.status().contains(StatusControl::PENDING);
        if status::is_suspended(&schib.scsw) && !pending {
            self.translator.refresh(self.place.window);
            self.translator.end_cycles();
        }
        match ctx.platform.resume(self.id) {
            Ok(()) => {
                self.at_rest = false;
                self.count_start();
                self.answer(0, None)
            }
            Err(refusal) => self.refused(refusal, ctx),
        }
    }

    fn modify(&mut self, wanted: &Schib, ctx: &mut Ctx<'_>) -> u32 {
        if self.held.is_some() {
            return 1;
        }
        let id = self.id;
        let Some(hardware) = self.stored(ctx) else {
            return 3;
        };
        let schib = schib::for_hardware(&hardware, wanted, id.word(), self.place.isc);
        match ctx.platform.modify(id, &schib) {
            Ok(()) => {
                self.own.take(wanted);
                0
            }
            Err(refusal) => {
                self.announced |= refusal == Refusal::StatusPending;
                code(refusal)
            }
        }
    }

    /// TEST SUBCHANNEL for the client: what is held first, then what the hardware has.
    fn test(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        if let Some(held) = self.held.take() {
            self.irb = held;
            self.sample();
            return self.answer(0, None);
        }
        if self.functions.contains(FunctionControl::CLEAR) {
            let stored = self.stored(ctx);
            if let Some(schib) = stored.filter(|schib| self.holds_back(&schib.scsw, ctx.now)) {
                let mut scsw = schib.scsw;
                scsw.set_controls(
                    FunctionControl::CLEAR,
                    ActivityControl::CLEAR_PENDING,
                    StatusControl::empty(),
                );
                self.irb = Irb {
                    scsw: self.client_scsw(scsw),
                    ..Irb::default()
                };
                return self.answer(1, None);
            }
        }
        if self.translator.is_modifiable() {
            let stored = self.stored(ctx);
            if let Some(schib) = stored.filter(|schib| self.is_half_of_split(&schib.scsw)) {
                self.announced = false;
                self.irb = Irb {
                    scsw: self.client_scsw(status::running(schib.scsw)),
                    ..Irb::default()
                };
                return self.answer(1, None);
            }
        }
        let id = self.id;
        let mut irb = match ctx.platform.test(id) {
            Ok(Tested::Status(irb)) => irb,
            Ok(Tested::Nothing(irb)) => {
                self.announced = false;
                self.irb = irb;
                self.irb.scsw = self.client_scsw(irb.scsw);
                return self.answer(1, None);
            }
            Err(_) => {
                self.irb = Irb::default();
                return self.refused(Refusal::NotOperational, ctx);
            }
        };
        self.announced = false;
        if self.state == State::Busy {
            // The client was faster than the interruption.
            if self.is_split(&irb.scsw) {
                self.irb = Irb::default();
                self.condition = 1;
                return self.proceed_with(irb, ctx);
            }
            if self.may_retry(&irb.scsw) {
                self.irb = Irb::default();
                self.condition = 1;
                return self.retry_with(irb, ctx);
            }
        }
        let taken = irb.scsw;
        self.in_clients_terms(&mut irb);
        self.irb = irb;
        self.sample();
        let follows = self.after(&taken, ctx);
        self.answer(0, Some(follows))
    }

    /// What is left in progress after this status has been taken.
    pub(in crate::proxy::subchannel::passthrough) fn after(
        &mut self,
        taken: &Scsw,
        ctx: &mut Ctx<'_>,
    ) -> Event {
        let over = match status::over(taken) {
            Over::Yes => true,
            Over::No => {
                self.at_rest = taken.activity().contains(ActivityControl::SUSPENDED);
                false
            }
            Over::Ask => match self.stored(ctx) {
                Some(schib) => schib.scsw.function().is_empty(),
                None => return Event::Gone,
            },
        };
        if over {
            Event::Ended
        } else {
            Event::Continues
        }
    }

    /// When it comes to rest: what an earlier life of the appliance had shown holds again, and whatever that left in
    /// progress ends for the client.
    pub(in crate::proxy::subchannel::passthrough) fn take_up(&mut self, ctx: &mut Ctx<'_>) {
        let Some((former, function)) = self.former.take() else {
            return;
        };
        if !former.pmcw.flags().contains(PmcwFlags::ENABLED) {
            return;
        }
        // Whatever it was doing: reservation, path group and mode may be gone.
        self.report_crw(initialised(self.place.index));
        if self.modify(&former, ctx) == 0 && !function.is_empty() {
            self.held = Some(status::lost(function));
        }
    }

    /// Puts status into the client's terms. Only that of a start function says anything of its ORB.
    pub(in crate::proxy::subchannel::passthrough) fn in_clients_terms(&self, irb: &mut Irb) {
        if irb.scsw.function().contains(FunctionControl::START) {
            self.translator.back(irb);
            if self.continued && irb.scsw.deferred_cc() != 0 {
                *irb = status::broken_off(*irb);
            }
        } else {
            irb.scsw.program = U32::ZERO;
        }
    }

    /// The hardware's SCSW in the client's terms.
    pub(in crate::proxy::subchannel::passthrough) fn client_scsw(&self, scsw: Scsw) -> Scsw {
        let mut irb = Irb {
            scsw,
            ..Irb::default()
        };
        self.in_clients_terms(&mut irb);
        irb.scsw
    }

    /// The answer of a subchannel that cannot take a new function: condition code 1 if status is pending, its interruption
    /// taken or not, else 2; `gone` if there is no device any more.
    fn in_use(&mut self, gone: u32, ctx: &mut Ctx<'_>) -> Option<Event> {
        let Some(schib) = self.stored(ctx) else {
            return self.answer(gone, Some(Event::Gone));
        };
        let scsw = &schib.scsw;
        let own = self.is_split(scsw) || self.is_half_of_split(scsw) || self.may_retry(scsw);
        let pending = scsw.status().contains(StatusControl::PENDING) && !own;
        self.answer(if self.held.is_some() || pending { 1 } else { 2 }, None)
    }

    /// The SCHIB, if there is a device, and the same as before: one that was exchanged in between is disabled, or has another
    /// number.
    pub(in crate::proxy::subchannel::passthrough) fn stored(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Schib> {
        let schib = ctx.platform.store(self.id).ok()?;
        let disabled = self.own.is_enabled() && !schib.pmcw.flags().contains(PmcwFlags::ENABLED);
        let exchanged = disabled || schib.pmcw.device.get() != self.number;
        (schib.pmcw.has_device() && !exchanged).then_some(schib)
    }

    /// The same, and if there is no device any more, that is noted.
    pub(in crate::proxy::subchannel::passthrough) fn looked(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Schib> {
        let schib = self.stored(ctx);
        if schib.is_none() {
            self.gone(ctx);
        }
        schib
    }

    /// Whether pending status is not shown yet, because it may be older than a clear function that has not ended: see
    /// [`status::is_clearing`]. That is for [`HOLD_US`] from the first look at it; by then the function has ended, or the
    /// activity stands beside its very end, as it can on Hercules.
    pub(in crate::proxy::subchannel::passthrough) fn holds_back(
        &mut self,
        scsw: &Scsw,
        now: Tod,
    ) -> bool {
        if !status::is_clearing(scsw) {
            self.held_until = None;
            return false;
        }
        let until = self.held_until.get_or_insert(now.plus_micros(HOLD_US));
        now < *until
    }

    /// The device has gone.
    pub(in crate::proxy::subchannel::passthrough) fn gone(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.state;
        if before != State::NotOperational {
            self.run(Event::Gone, Operand::None, ctx);
            self.trace(ctx, before, TraceEvent::Gone, None, NO_WORDS);
        }
    }
}

/// How long status may be held back for a clear function to end, in microseconds.
pub(in crate::proxy::subchannel::passthrough) const HOLD_US: u64 = 100_000;

/// The channel report for a client whose virtual subchannel has got another device, or none: reporting source subchannel, ancillary
/// report, installed parameters initialised.
pub const fn initialised(index: u16) -> Crw {
    Crw(0x0384_0000 | index as u32)
}
