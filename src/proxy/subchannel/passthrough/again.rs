//! The actions that start the client's program again: after a deferred condition code 1, and where the translator has cut it.
//!
//! # Rule
//!
//! Status that is taken for this is the appliance's own. What else it says is held for the client.

use channel::{Irb, Refusal, Scsw, Tested};
use vcss::client::Instruction;
use vcss::trace::TraceEvent;
use zerocopy::big_endian::U32;

use super::record::orb_words;
use super::state::{Event, State};
use super::{status, PassThrough, HEAL_US};
use crate::proxy::ctx::Ctx;
use crate::proxy::translate::Split;

/// How often a start that was turned away later on is repeated.
pub const RETRIES: u8 = 8;

impl PassThrough {
    /// The deferred condition code 1 is taken and the program started once more, if nobody loses anything.
    pub(in crate::proxy::subchannel::passthrough) fn retry(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let id = self.id;
        let Some(schib) = self.stored(ctx) else {
            return Some(Event::Gone);
        };
        if !self.may_retry(&schib.scsw) {
            self.announced = true;
            return None;
        }
        match ctx.platform.test(id) {
            Ok(Tested::Status(irb)) => self.retry_with(irb, ctx),
            Ok(Tested::Nothing(_)) => None,
            Err(_) => Some(Event::Gone),
        }
    }

    pub(in crate::proxy::subchannel::passthrough) fn retry_with(
        &mut self,
        irb: Irb,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        self.retries = self.retries.saturating_sub(1);
        match self.start_again(ctx) {
            Ok(()) => None,
            Err(Refusal::NotOperational) if self.stored(ctx).is_none() => Some(Event::Gone),
            Err(refusal) => {
                let mut instead = irb;
                if refusal == Refusal::NotOperational {
                    instead.scsw.set_deferred_cc(3);
                }
                self.in_clients_terms(&mut instead);
                self.hold(instead)
            }
        }
    }

    pub(in crate::proxy::subchannel::passthrough) fn may_retry(&self, scsw: &Scsw) -> bool {
        self.retries > 0 && status::is_retryable(scsw)
    }

    /// The program has ended, with this status for the client.
    fn hold(&mut self, irb: Irb) -> Option<Event> {
        self.held = Some(irb);
        Some(Event::Ended)
    }

    /// Starts the translated program, or the rest of it, for the client.
    fn start_again(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Refusal> {
        let orb = self.orb;
        let noted = ctx
            .note
            .filter(|note| note.begin_again(self.place.client, self.place.index));
        // SAFETY: as for the first start: the translator keeps the program.
        let mut started = unsafe { ctx.platform.start(self.id, &orb) };
        if started == Err(Refusal::StatusPending) && self.held.is_none() {
            // Something unsolicited got in between. The client's program is running: it has that status besides.
            if let Ok(Tested::Status(mut irb)) = ctx.platform.test(self.id) {
                self.in_clients_terms(&mut irb);
                self.held = Some(irb);
            }
            // SAFETY: as before.
            started = unsafe { ctx.platform.start(self.id, &orb) };
        }
        if let Some(note) = noted {
            note.forget();
        }
        let event = TraceEvent::Own(Instruction::Start);
        let condition = Some(Refusal::cc(started));
        self.trace(ctx, self.state, event, condition, orb_words(&orb));
        self.deadline = ctx.now.plus_micros(HEAL_US);
        self.at_rest = false;
        started
    }

    /// Takes the translator's own status and lets the program go on.
    pub(in crate::proxy::subchannel::passthrough) fn proceed(
        &mut self,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        match ctx.platform.test(self.id) {
            Ok(Tested::Status(irb)) => self.proceed_with(irb, ctx),
            Ok(Tested::Nothing(_)) => None,
            Err(_) => Some(Event::Gone),
        }
    }

    pub(in crate::proxy::subchannel::passthrough) fn proceed_with(
        &mut self,
        irb: Irb,
        ctx: &mut Ctx<'_>,
    ) -> Option<Event> {
        let mut shown = irb;
        self.in_clients_terms(&mut shown);
        let interrupts = match self.translator.split(&irb, self.place.window) {
            Split::No => return self.hold(shown),
            Split::Refused(refused) => {
                return self.hold(Irb {
                    scsw: refused.scsw,
                    ..Irb::default()
                })
            }
            Split::Start { orb, interrupts } => {
                self.orb = orb;
                self.orb.parameter = U32::new(self.id.word());
                self.continued = true;
                interrupts
            }
        };
        match self.start_again(ctx) {
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

    /// Whether status is the translator's own.
    pub(in crate::proxy::subchannel::passthrough) fn is_split(&self, scsw: &Scsw) -> bool {
        self.state == State::Busy && self.translator.is_split(scsw)
    }

    /// Whether status is the first half of that: the program is going on. It is not taken, so that device end joins it.
    pub(in crate::proxy::subchannel::passthrough) fn is_half_of_split(&self, scsw: &Scsw) -> bool {
        self.state == State::Busy && self.translator.is_half_of_split(scsw)
    }
}
