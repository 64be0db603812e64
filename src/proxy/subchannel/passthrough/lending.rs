//! A disk's subchannel, as the client sees it to whom it can be lent: there while it is lent, and a subchannel without a device
//! otherwise, whatever happens to the disk.

use super::state::{Event, State};
use super::{Owned, PassThrough};
use crate::proxy::ctx::Ctx;

/// Whose a subchannel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::subchannel::passthrough) enum Lending {
    /// The client's, for good.
    Never,
    /// The disk's driver's.
    Away,
    /// The client's, for now.
    Lent,
    /// On its way back: what the client has left is being ended.
    Returning,
}

impl PassThrough {
    /// The same for a disk's subchannel. It is not lent yet, and not to be [opened](Self::open).
    pub const fn away(mut self) -> Self {
        self.lending = Lending::Away;
        self
    }

    /// Whether somebody else has the subchannel: then nothing here touches it.
    pub(in crate::proxy::subchannel::passthrough) const fn is_away(&self) -> bool {
        matches!(self.lending, Lending::Away)
    }

    /// Whether it is a disk's.
    pub const fn is_of_a_disk(&self) -> bool {
        !matches!(self.lending, Lending::Never)
    }

    /// The disk's driver has let go of it, wherever it is by now. Returns whether the client has it: otherwise it is the driver's still.
    pub fn lend(&mut self, owned: Owned, ctx: &mut Ctx<'_>) -> bool {
        if self.lending != Lending::Away {
            return false;
        }
        self.follow(owned);
        self.lending = Lending::Lent;
        self.owned = true;
        self.come(ctx);
        if self.is_gone() {
            self.lending = Lending::Away;
            return false;
        }
        true
    }

    /// The disk's driver wants it back. To be called until it says that nothing of the client's is left there.
    pub fn give_back(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if self.lending == Lending::Lent {
            self.lending = Lending::Returning;
            self.offline(ctx);
        }
        match self.state {
            State::Standby => self.run(Event::Gone, super::Operand::None, ctx),
            State::NotOperational => {}
            // It cannot be stopped: the disk's driver finds that out, too.
            State::Disconnected => {}
            State::Idle | State::Busy | State::Quiescing(_) => return false,
        }
        if self.is_of_a_disk() {
            self.lending = Lending::Away;
        }
        true
    }
}
