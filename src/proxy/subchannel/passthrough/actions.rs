//! What the state machine's actions do: programs that go on, and what a client left is ended.
//!
//! # Rules
//!
//! * An action does one thing, and says by the event that it returns what came of it.
//! * Status that is taken to start a program again is the appliance's own. What else it says is held for the client.
//! * Nothing waits here. After HALT and CLEAR a time is set; when it is over, the event loop's tick brings [`Event::TimeOut`].

use channel::{FunctionControl, Irb, Orb, Refusal, StatusControl, Tested};
use vcss::client::Instruction;
use vcss::trace::TraceEvent;

use super::program::Own;
use super::record::{orb_words, Words, NO_WORDS};
use super::schib::{self, Virtual};
use super::state::{transition, Action, Event, State};
use super::{initialised, status, PassThrough, HEAL_US};
use crate::proxy::ctx::Ctx;
use crate::proxy::translate::Split;

/// Events that one event can lead to, one after the other, at most.
const MAX_CHAIN: usize = 16;
/// How long a halt function may take, in microseconds.
const HALT_US: u64 = 500_000;
/// How long a clear function may take, in microseconds.
const CLEAR_US: u64 = 1_000_000;
/// How often disabling is tried.
const DISABLES: u32 = 4;

impl PassThrough {
    /// Carries out the transition of `event`, and those of what it leads to.
    pub(super) fn run(&mut self, mut event: Event, ctx: &mut Ctx<'_>) {
        for _ in 0..MAX_CHAIN {
            match self.step(event, ctx) {
                Some(next) => event = next,
                None => return,
            }
        }
        debug_assert!(false, "events without end");
    }

    /// Carries out the transition of `event`. Returns what it leads to. A function of its own, as [`act`](Self::act) is, so that
    /// nothing of what only some events need is computed ahead of a loop.
    #[inline(never)]
    fn step(&mut self, event: Event, ctx: &mut Ctx<'_>) -> Option<Event> {
        let step = transition(self.state, event);
        self.state = step.next;
        let mut next = None;
        for action in step.actions() {
            next = self.act(action, ctx).or(next);
        }
        match self.state {
            State::Standby if self.availability.is_the_clients() => next.or(Some(Event::Online)),
            State::Idle if next.is_none() && self.former.is_some() => {
                self.take_up(ctx);
                None
            }
            _ => next,
        }
    }

    #[inline(never)]
    fn act(&mut self, action: Action, ctx: &mut Ctx<'_>) -> Option<Event> {
        match action {
            Action::Announce => self.announced = true,
            Action::Retry => return self.retry(ctx),
            Action::Proceed => return self.proceed(ctx),
            Action::Discard => return Some(self.discard(ctx)),
            Action::Release => {
                self.program.release();
                self.held_until = None;
            }
            Action::ResetVirtual => {
                self.own = Virtual::reset(self.own.device());
                self.held = None;
                self.announced = false;
                self.program.abandon();
            }
            Action::Disable => return self.disable(ctx),
            Action::QuiesceCancel => return Some(self.quiesce_cancel(ctx)),
            Action::QuiesceHalt => {
                let halted = ctx.platform.halt(self.owned.id);
                self.deadline = ctx.now.plus_micros(HALT_US);
                return Some(self.quiesced(Instruction::Halt, halted, Event::Accepted, ctx));
            }
            Action::QuiesceClear => {
                let cleared = ctx.platform.clear(self.owned.id).map_err(Refusal::from);
                self.deadline = ctx.now.plus_micros(CLEAR_US);
                return Some(self.quiesced(Instruction::Clear, cleared, Event::Accepted, ctx));
            }
            // The same report for both: the client stores the SCHIB to see which it is.
            Action::ReportGone | Action::ReportBack => self.tell(initialised(self.place.index)),
            // Whoever brings the event has the report, and passes it on.
            Action::ReportPath => {}
        }
        None
    }

    /// The deferred condition code 1 is taken and the program started once more, if nobody loses anything.
    fn retry(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        let Some(schib) = self.stored(ctx) else {
            return Some(Event::Gone);
        };
        if self.program.own(&schib.scsw) != Some(Own::Retryable) {
            self.announced = true;
            return None;
        }
        match ctx.platform.test(self.owned.id) {
            Ok(Tested::Status(irb)) => self.retry_with(irb, ctx),
            Ok(Tested::Nothing(_)) => None,
            Err(_) => Some(Event::Gone),
        }
    }

    pub(super) fn retry_with(&mut self, mut irb: Irb, ctx: &mut Ctx<'_>) -> Option<Event> {
        let orb = self.program.again()?;
        match self.start_again(&orb, ctx) {
            Ok(()) => None,
            Err(Refusal::NotOperational) if self.stored(ctx).is_none() => Some(Event::Gone),
            Err(refusal) => {
                if refusal == Refusal::NotOperational {
                    irb.scsw.set_deferred_cc(3);
                }
                self.program.in_clients_terms(&mut irb);
                self.hold(irb)
            }
        }
    }

    /// Takes the translator's own status and lets the program go on.
    fn proceed(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        match ctx.platform.test(self.owned.id) {
            Ok(Tested::Status(irb)) => self.proceed_with(irb, ctx),
            Ok(Tested::Nothing(_)) => None,
            Err(_) => Some(Event::Gone),
        }
    }

    pub(super) fn proceed_with(&mut self, irb: Irb, ctx: &mut Ctx<'_>) -> Option<Event> {
        let mut shown = irb;
        self.program.in_clients_terms(&mut shown);
        let (orb, interrupts) = match self.program.split(&irb, self.owned.id) {
            Split::No => return self.hold(shown),
            Split::Refused(refused) => return self.hold(status::alone(refused.scsw)),
            Split::Start { orb, interrupts } => (orb, interrupts),
        };
        match self.start_again(&orb, ctx) {
            Ok(()) => {
                if interrupts && self.held.is_none() {
                    // What else the status says is the client's.
                    self.held = Some(status::still_running(&shown));
                }
                None
            }
            Err(Refusal::NotOperational) if self.stored(ctx).is_none() => Some(Event::Gone),
            Err(_) => self.hold(status::broken_off(shown)),
        }
    }

    /// The program has ended, with this status for the client.
    fn hold(&mut self, irb: Irb) -> Option<Event> {
        self.held = Some(irb);
        Some(Event::Ended)
    }

    /// Starts the translated program, or the rest of it, for the client.
    fn start_again(&mut self, orb: &Orb, ctx: &mut Ctx<'_>) -> Result<(), Refusal> {
        let noted = ctx
            .note
            .filter(|note| note.begin_again(self.place.client, self.place.index));
        // SAFETY: as for the first start: the translator keeps the program.
        let mut started = unsafe { ctx.platform.start(self.owned.id, orb) };
        if started == Err(Refusal::StatusPending) && self.held.is_none() {
            // Something unsolicited got in between. The client's program is running: it has that status besides.
            if let Ok(Tested::Status(mut irb)) = ctx.platform.test(self.owned.id) {
                self.program.in_clients_terms(&mut irb);
                self.held = Some(irb);
            }
            // SAFETY: as before.
            started = unsafe { ctx.platform.start(self.owned.id, orb) };
        }
        if let Some(note) = noted {
            note.forget();
        }
        self.trace_own(Instruction::Start, started, orb_words(orb), ctx);
        self.deadline = ctx.now.plus_micros(HEAL_US);
        self.program.rest(false);
        started
    }

    /// Takes whatever status there is and drops it.
    fn discard(&mut self, ctx: &mut Ctx<'_>) -> Event {
        match ctx.platform.test(self.owned.id) {
            Ok(_) => self.left(ctx),
            Err(_) => self.lost(ctx),
        }
    }

    /// Whether anything is in progress still.
    pub(super) fn left(&self, ctx: &mut Ctx<'_>) -> Event {
        match self.stored(ctx) {
            None => Event::Gone,
            Some(schib) if schib.scsw.function().is_empty() => Event::Ended,
            Some(_) => Event::Continues,
        }
    }

    /// After condition code 3: without a device nothing runs, and neither does it on a disabled subchannel.
    fn lost(&self, ctx: &mut Ctx<'_>) -> Event {
        match self.stored(ctx) {
            None => Event::Gone,
            Some(_) => Event::Ended,
        }
    }

    fn quiesce_cancel(&mut self, ctx: &mut Ctx<'_>) -> Event {
        let Some(schib) = self.stored(ctx) else {
            return Event::Gone;
        };
        if schib.scsw.function() == FunctionControl::empty() {
            // Nothing is in progress; status that was pending is nobody's any more.
            if schib.scsw.status().contains(StatusControl::PENDING) {
                let _ = ctx.platform.test(self.owned.id);
            }
            return Event::Ended;
        }
        let cancelled = ctx.platform.cancel(self.owned.id);
        self.quiesced(Instruction::Cancel, cancelled, Event::Cancelled, ctx)
    }

    /// What came of an instruction that is to end what a client left running.
    fn quiesced(
        &self,
        instruction: Instruction,
        answer: Result<(), Refusal>,
        done: Event,
        ctx: &mut Ctx<'_>,
    ) -> Event {
        self.trace_own(instruction, answer, NO_WORDS, ctx);
        match answer {
            Ok(()) => done,
            Err(Refusal::StatusPending | Refusal::Busy | Refusal::Operand) => Event::Refused,
            Err(Refusal::NotOperational) => self.lost(ctx),
        }
    }

    /// Disables the subchannel for the next client, which finds it as after a reset.
    pub(super) fn disable(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        let id = self.owned.id;
        for _ in 0..DISABLES {
            let Some(mut schib) = self.stored(ctx) else {
                return Some(Event::Gone);
            };
            schib::release(&mut schib);
            match ctx.platform.modify(id, &schib) {
                Ok(()) => return None,
                Err(Refusal::StatusPending) => {
                    // Unsolicited, and nobody's.
                    let _ = ctx.platform.test(id);
                }
                Err(Refusal::Busy | Refusal::NotOperational | Refusal::Operand) => break,
            }
        }
        log::warn!("{id} cannot be disabled");
        None
    }

    /// A record of an instruction that no client asked for.
    fn trace_own(
        &self,
        instruction: Instruction,
        answer: Result<(), Refusal>,
        words: Words,
        ctx: &mut Ctx<'_>,
    ) {
        let event = TraceEvent::Own(instruction);
        self.trace(ctx, self.state, event, Refusal::cc(answer), words);
    }
}
