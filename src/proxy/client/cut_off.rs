//! Requests that a death of the appliance cut off.
//!
//! # Rule
//!
//! A request that may have been carried out is not carried out again: it may be what the appliance died of. It is answered, and
//! what follows from it ends for the client as after any restart.

use channel::{FunctionControl, Orb, OrbMode};
use vcss::client::{Command, Instruction, Response};
use vcss::underway::CutOff;
use vcss::Area;
use zerocopy::FromBytes;

use super::place::{Kind, Virtual};
use crate::proxy::ctx::Ctx;

/// The answer to a request that may have been carried out, and the functions that have to end for the client then.
///
/// `before` are those that were in progress, as far as the area says.
fn answer(command: &Command, enabled: bool, before: FunctionControl) -> (u32, FunctionControl) {
    let Some(instruction) = Instruction::from_number(command.instruction.get()) else {
        return (Response::INVALID, before);
    };
    let started = before.contains(FunctionControl::START);
    match instruction {
        Instruction::Store => (0, before),
        // Busy: to be asked again, which changes nothing if it was carried out.
        Instruction::Modify => (2, before),
        _ if !enabled => (3, before),
        Instruction::Start => match Orb::read_from_prefix(&command.operand) {
            Ok((orb, _)) if orb.check() == Ok(OrbMode::Command) => {
                (0, before | FunctionControl::START)
            }
            Ok(_) | Err(_) => (Response::OPERAND, before),
        },
        Instruction::Halt => (0, before | FunctionControl::HALT),
        Instruction::Clear => (0, FunctionControl::CLEAR),
        // What is in progress ends by itself; if nothing is, it may be this request that has taken it away.
        Instruction::Cancel => (if started { 2 } else { 0 }, before),
        Instruction::Resume => (if started { 0 } else { 2 }, before),
        // What is pending comes with the next one.
        Instruction::Test => (1, before),
    }
}

impl Virtual {
    /// Answers the request, if it is open still.
    pub(super) fn cut_off(
        &mut self,
        cut: &CutOff,
        client: u16,
        area: &Area<'static>,
        ctx: &mut Ctx<'_>,
    ) {
        let sequence = self.asked.load();
        if cut.request != Some(sequence) || sequence == self.answered.load() {
            return;
        }
        let functions = FunctionControl::from_bits_truncate(self.functions() as u8);
        match cut.done {
            // Only that was left to say.
            Some(left) => self.end_functions(FunctionControl::from_bits_truncate(left)),
            None => {
                let Ok(command) = area.read::<Command>(self.index) else {
                    return;
                };
                log::warn!(
                    "client {client}, virtual subchannel {}: request {} was cut off, and is not carried out again",
                    self.index,
                    command.instruction
                );
                let (condition, left) = answer(&command, self.is_enabled(), functions);
                if left != functions {
                    self.end_functions(left);
                }
                self.condition.store(condition);
            }
        }
        self.show(area, ctx);
        self.tell_pending();
        self.answered.store(sequence);
    }

    fn is_enabled(&self) -> bool {
        match &self.kind {
            _ if self.withheld => false,
            Kind::PassThrough(subject) => subject.is_or_was_enabled(),
            Kind::Virtio(subchannel, _) => subchannel.is_enabled(),
            Kind::Nothing => false,
        }
    }

    /// Lets these functions end, and no others.
    fn end_functions(&mut self, functions: FunctionControl) {
        match &mut self.kind {
            Kind::PassThrough(subject) => subject.end_functions(functions),
            Kind::Virtio(subchannel, _) => subchannel.cut_off(functions),
            Kind::Nothing => {}
        }
    }
}
