//! What a client asks, and what an event brings along.

use channel::{Crw, Orb, OrbMode, Schib};

use super::state::Event;

/// A request of the client's.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// START SUBCHANNEL.
    Start(&'a Orb),
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL.
    Clear,
    /// CANCEL SUBCHANNEL.
    Cancel,
    /// RESUME SUBCHANNEL.
    Resume,
    /// STORE SUBCHANNEL.
    Store,
    /// MODIFY SUBCHANNEL.
    Modify(&'a Schib),
    /// TEST SUBCHANNEL.
    Test,
}

impl Request<'_> {
    pub(in crate::proxy::subchannel::passthrough) const fn event(&self) -> Event {
        match self {
            Self::Start(_) => Event::Start,
            Self::Halt => Event::Halt,
            Self::Clear => Event::Clear,
            Self::Cancel => Event::Cancel,
            Self::Resume => Event::Resume,
            Self::Store => Event::Store,
            Self::Modify(_) => Event::Modify,
            Self::Test => Event::Test,
        }
    }

    /// Whether a subchannel that is not enabled takes it.
    pub(in crate::proxy::subchannel::passthrough) const fn needs_enabled(&self) -> bool {
        !matches!(self, Self::Store | Self::Modify(_))
    }

    /// Whether the hardware's condition code depends on status that may be the appliance's own.
    pub(in crate::proxy::subchannel::passthrough) const fn wants_a_look(&self) -> bool {
        matches!(self, Self::Halt | Self::Cancel | Self::Resume)
    }

    /// Whether its operand is one.
    pub(in crate::proxy::subchannel::passthrough) fn is_valid(&self) -> bool {
        match self {
            Self::Start(orb) => orb_is_valid(orb),
            Self::Modify(schib) => schib.check().is_ok(),
            Self::Halt | Self::Clear | Self::Cancel | Self::Resume | Self::Store | Self::Test => {
                true
            }
        }
    }
}

/// Whether START SUBCHANNEL takes the operand; else an operand exception is recognised. Transport mode is refused as in a
/// configuration without the fibre-channel extensions.
fn orb_is_valid(orb: &Orb) -> bool {
    orb.check() == Ok(OrbMode::Command)
}

/// What an event brings along.
#[derive(Clone, Copy)]
pub(in crate::proxy::subchannel::passthrough) enum Operand<'a> {
    None,
    Orb(&'a Orb),
    Schib(&'a Schib),
    Path(Crw),
}
