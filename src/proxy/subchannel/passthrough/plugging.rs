//! Devices that go and come.
//!
//! # Rule
//!
//! The device number says which device is meant. The subchannel is where it was found last; any other device there is none.

use channel::{DeviceNumber, SubchannelId};
use vcss::trace::TraceEvent;

use super::measure::Measured;
use super::record::NO_WORDS;
use super::request::Operand;
use super::schib::Virtual;
use super::state::{Event, State};
use super::PassThrough;
use crate::proxy::ctx::Ctx;
use channel::Classify;

/// An owned subchannel, and the number of the device that is meant there. Another device on that subchannel is none.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    /// The subchannel.
    pub id: SubchannelId,
    /// The device number.
    pub number: u16,
    /// What can be said to the device again.
    pub classify: Classify,
    /// Programs run within START SUBCHANNEL.
    pub runs_within_start: bool,
}

impl PassThrough {
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
        self.follow(owned);
        if device != self.own.device() {
            self.former = None;
            self.own = Virtual::reset(device);
            self.measured = Measured::default();
        }
        self.come(ctx);
    }

    /// The device is on this subchannel.
    pub(in crate::proxy::subchannel::passthrough) const fn follow(&mut self, owned: Owned) {
        self.id = owned.id;
        self.number = owned.number;
        self.translator.set_classify(owned.classify);
        self.translator.set_within_start(owned.runs_within_start);
    }

    /// The device is there, disabled whatever it was before.
    pub(in crate::proxy::subchannel::passthrough) fn come(&mut self, ctx: &mut Ctx<'_>) {
        if self.stored(ctx).is_none() || self.disable(ctx).is_some() {
            return;
        }
        let before = self.state;
        self.run(Event::Back, Operand::None, ctx);
        self.trace(ctx, before, TraceEvent::Back, None, NO_WORDS);
    }

    /// Whether there is no device.
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, State::NotOperational)
    }

    /// The number of the owned device.
    pub const fn device(&self) -> DeviceNumber {
        DeviceNumber {
            set: self.id.set(),
            number: self.number,
        }
    }
}
