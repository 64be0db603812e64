//! Requests that a death of the appliance cut off.
//!
//! # Rule
//!
//! A request that may have been carried out is not carried out again: it may be what the appliance died of. It is answered, and
//! what follows from it ends for the client as after any restart.

use channel::FunctionControl;
use s390x::cc::ConditionCode;
use vcss::underway::CutOff;

use super::place::{Kind, Virtual};
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::PassThrough;
use crate::proxy::subchannel::{Reply, Request};

/// The answer to a request that may have been carried out, and the functions that have to end for the client then.
///
/// `before` are those that were in progress, as far as the area says.
fn answer(request: &Request, enabled: bool, before: FunctionControl) -> (Reply, FunctionControl) {
    const BUSY: Reply = Reply::cc(ConditionCode::Cc2);
    let started = before.contains(FunctionControl::START);
    match request {
        Request::Store => (Reply::DONE, before),
        // Busy: to be asked again, which changes nothing if it was carried out.
        Request::Modify(_) => (BUSY, before),
        _ if !enabled => (Reply::NOT_OPERATIONAL, before),
        Request::Start(_) if !request.is_valid() => (Reply::OPERAND, before),
        Request::Start(_) => (Reply::DONE, before | FunctionControl::START),
        Request::Halt => (Reply::DONE, before | FunctionControl::HALT),
        Request::Clear => (Reply::DONE, FunctionControl::CLEAR),
        // What is in progress ends by itself; if nothing is, it may be this request that has taken it away.
        Request::Cancel => (if started { BUSY } else { Reply::DONE }, before),
        Request::Resume => (if started { Reply::DONE } else { BUSY }, before),
        // What is pending comes with the next one.
        Request::Test => (Reply::cc(ConditionCode::Cc1), before),
    }
}

impl Virtual {
    /// Answers the request, if it is open still.
    pub(super) fn cut_off(&mut self, cut: &CutOff, ctx: &mut Ctx<'_>) {
        let Some(sequence) = self.entry.open_request() else {
            return;
        };
        if cut.request != Some(sequence) {
            return;
        }
        let functions = FunctionControl::from_bits_truncate(self.functions() as u8);
        match cut.done {
            // Only that was left to say.
            Some(left) => self.end_functions(FunctionControl::from_bits_truncate(left)),
            None => {
                let request = self.entry.request();
                log::warn!(
                    "client {}, virtual subchannel {}: request {} was cut off, and is not carried out again",
                    cut.client,
                    cut.subchannel,
                    request.map_or(0, |request| request.instruction() as u32)
                );
                let enabled = self.is_enabled();
                let answer = request.map(|request| answer(&request, enabled, functions));
                if let Some((_, left)) = answer.filter(|(_, left)| *left != functions) {
                    self.end_functions(left);
                }
                self.entry.answer(answer.as_ref().map(|(reply, _)| reply));
            }
        }
        self.show(ctx);
        self.tell_pending();
        self.entry.answered(sequence);
    }

    fn is_enabled(&self) -> bool {
        let subject = self.subject();
        !self.withheld
            && match &self.kind {
                Kind::Virtio(subchannel, _) => subchannel.is_enabled(),
                Kind::Owned(..) => subject.is_some_and(PassThrough::is_or_was_enabled),
            }
    }

    /// Lets these functions end, and no others.
    fn end_functions(&mut self, functions: FunctionControl) {
        match &mut self.kind {
            Kind::Virtio(subchannel, _) => subchannel.cut_off(functions),
            Kind::Owned(_, Some(subject)) => subject.end_functions(functions),
            Kind::Owned(_, None) => {}
        }
    }
}
