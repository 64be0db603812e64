//! Trace records.

use channel::{Irb, Orb, Scsw};
use vcss::trace::{DriverState, TraceEntry};
use zerocopy::big_endian::U32;

use super::state::State;

/// The words of a trace record, two in each.
pub(super) type Words = [u64; 3];

pub(super) const NO_WORDS: Words = [0; 3];
pub(super) const NO_CONDITION: u8 = TraceEntry::NO_CONDITION;

const fn pair(high: U32, low: U32) -> u64 {
    (high.get() as u64) << 32 | low.get() as u64
}

pub(super) const fn orb_words(orb: &Orb) -> Words {
    let first = pair(orb.parameter, orb.control);
    [first, pair(orb.program, U32::ZERO), 0]
}

pub(super) const fn scsw_words(scsw: &Scsw) -> Words {
    let last = (scsw.device_status as u64) << 56
        | (scsw.subchannel_status as u64) << 48
        | (scsw.count.get() as u64) << 32;
    [pair(scsw.control, scsw.program), last, 0]
}

pub(super) const fn irb_words(irb: &Irb) -> Words {
    let [first, last, _] = scsw_words(&irb.scsw);
    let esw = &irb.esw;
    let second = last | esw.word_0.get() as u64;
    [first, second, pair(esw.erw.0, U32::ZERO)]
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
