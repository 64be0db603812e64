//! Trace records.

use channel::{Irb, Orb, Scsw};
use vcss::trace::{DriverState, Record, TraceEntry, TraceEvent};
use zerocopy::big_endian::U32;

use super::state::State;
use super::PassThrough;
use crate::proxy::ctx::Ctx;

/// The words of a trace record, two in each.
pub(in crate::proxy::subchannel::passthrough) type Words = [u64; 3];

pub(in crate::proxy::subchannel::passthrough) const NO_WORDS: Words = [0; 3];

const fn pair(high: U32, low: U32) -> u64 {
    (high.get() as u64) << 32 | low.get() as u64
}

pub(in crate::proxy::subchannel::passthrough) const fn orb_words(orb: &Orb) -> Words {
    let first = pair(orb.parameter, orb.control);
    [first, pair(orb.program, U32::ZERO), 0]
}

pub(in crate::proxy::subchannel::passthrough) const fn scsw_words(scsw: &Scsw) -> Words {
    let last = (scsw.device_status as u64) << 56
        | (scsw.subchannel_status as u64) << 48
        | (scsw.count.get() as u64) << 32;
    [pair(scsw.control, scsw.program), last, 0]
}

pub(in crate::proxy::subchannel::passthrough) const fn irb_words(irb: &Irb) -> Words {
    let [first, last, _] = scsw_words(&irb.scsw);
    let esw = &irb.esw;
    let second = last | esw.word_0.get() as u64;
    [first, second, pair(esw.erw.0, U32::ZERO)]
}

impl PassThrough {
    /// Writes a trace record.
    #[inline(always)]
    pub(in crate::proxy::subchannel::passthrough) fn trace(
        &mut self,
        ctx: &mut Ctx<'_>,
        before: State,
        event: TraceEvent,
        condition: Option<u8>,
        words: Words,
    ) {
        let Some(recorder) = ctx.trace.as_deref_mut() else {
            return;
        };
        recorder.record(&Record {
            subchannel: self.id.word(),
            tod: ctx.now.units(),
            event,
            before: driver_state(before),
            after: driver_state(self.state),
            condition: condition.unwrap_or(TraceEntry::NO_CONDITION),
            client: self.place.client,
            words,
        });
    }
}

/// The state as an area has it.
pub const fn driver_state(state: State) -> DriverState {
    match state {
        State::NotOperational => DriverState::NotOperational,
        State::Standby => DriverState::Standby,
        State::Idle => DriverState::Idle,
        State::Busy => DriverState::Busy,
        State::Quiescing(_) => DriverState::Quiescing,
        State::Disconnected => DriverState::Disconnected,
    }
}
