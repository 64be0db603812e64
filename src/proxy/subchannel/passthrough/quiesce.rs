//! Ending what a client left running: cancel, halt, clear, each a bounded number of times.
//!
//! # Rule
//!
//! Nothing waits here. After HALT and CLEAR a time is set; when it is over, the event loop's tick brings
//! [`Event::TimeOut`].

use channel::{FunctionControl, Refusal, StatusControl};
use vcss::client::Instruction;
use vcss::trace::TraceEvent;

use super::record::NO_WORDS;
use super::state::Event;
use super::{schib, PassThrough};
use crate::proxy::ctx::Ctx;

/// How long a halt function may take, in microseconds.
pub const HALT_US: u64 = 500_000;
/// How long a clear function may take, in microseconds.
pub const CLEAR_US: u64 = 1_000_000;
/// How often disabling is tried.
const DISABLES: u32 = 4;

impl PassThrough {
    /// Takes whatever status there is and drops it.
    pub(in crate::proxy::subchannel::passthrough) fn discard(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
        if ctx.platform.test(id).is_err() {
            return Some(self.lost(ctx));
        }
        self.rest(ctx)
    }

    /// Whether anything is in progress still.
    fn rest(&mut self, ctx: &mut Ctx<'_>) -> Option<Event> {
        Some(match self.stored(ctx) {
            None => Event::Gone,
            Some(schib) if schib.scsw.function().is_empty() => Event::Ended,
            Some(_) => Event::Continues,
        })
    }

    /// After condition code 3: without a device nothing runs, and neither does it on a disabled subchannel.
    fn lost(&mut self, ctx: &mut Ctx<'_>) -> Event {
        if self.stored(ctx).is_none() {
            Event::Gone
        } else {
            Event::Ended
        }
    }

    pub(in crate::proxy::subchannel::passthrough) fn quiesce_cancel(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
        let Some(schib) = self.stored(ctx) else {
            return Some(Event::Gone);
        };
        if schib.scsw.function() == FunctionControl::empty() {
            // Nothing is in progress; status that was pending is nobody's any more.
            if schib.scsw.status().contains(StatusControl::PENDING) {
                let _ = ctx.platform.test(id);
            }
            return Some(Event::Ended);
        }
        let cancelled = ctx.platform.cancel(id);
        self.trace_own(Instruction::Cancel, Refusal::cc(cancelled), ctx);
        Some(match cancelled {
            Ok(()) => Event::Cancelled,
            Err(Refusal::StatusPending | Refusal::Busy | Refusal::Operand) => Event::Refused,
            Err(Refusal::NotOperational) => self.lost(ctx),
        })
    }

    pub(in crate::proxy::subchannel::passthrough) fn quiesce_halt(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
        let halted = ctx.platform.halt(id);
        self.trace_own(Instruction::Halt, Refusal::cc(halted), ctx);
        self.deadline = ctx.now.plus_micros(HALT_US);
        Some(match halted {
            Ok(()) => Event::Accepted,
            Err(Refusal::StatusPending | Refusal::Busy | Refusal::Operand) => Event::Refused,
            Err(Refusal::NotOperational) => self.lost(ctx),
        })
    }

    pub(in crate::proxy::subchannel::passthrough) fn quiesce_clear(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
        let cleared = ctx.platform.clear(id);
        self.trace_own(Instruction::Clear, if cleared.is_ok() { 0 } else { 3 }, ctx);
        self.deadline = ctx.now.plus_micros(CLEAR_US);
        Some(match cleared {
            Ok(()) => Event::Accepted,
            Err(_) => self.lost(ctx),
        })
    }

    /// Disables the subchannel for the next client, which finds it as after a reset.
    pub(in crate::proxy::subchannel::passthrough) fn disable(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
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

    fn trace_own(&mut self, instruction: Instruction, condition: u8, ctx: &mut Ctx<'_>) {
        let event = TraceEvent::Own(instruction);
        self.trace(ctx, self.state, event, Some(condition), NO_WORDS);
    }
}
