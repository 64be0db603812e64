//! What can go wrong on demand.

use crate::{DeviceStatus, Refusal, SubchannelStatus};

/// The instructions that a fault can refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// START SUBCHANNEL.
    Start,
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL; any refusal is condition code 3.
    Clear,
    /// CANCEL SUBCHANNEL.
    Cancel,
    /// RESUME SUBCHANNEL.
    Resume,
    /// MODIFY SUBCHANNEL.
    Modify,
    /// TEST SUBCHANNEL; any refusal is condition code 3.
    Test,
}

/// A fault of one subchannel. Each happens once, at the first occasion, except the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next such instruction is refused, whatever the subchannel's state, and changes nothing.
    Refuse(Instruction, Refusal),
    /// The next start that is accepted is turned away by status of the device: deferred condition
    /// code 1.
    DeferredStatus(DeviceStatus),
    /// The next start that is accepted finds no path: deferred condition code 3.
    DeferredNoPath,
    /// The program that runs next ends with this check and no device status.
    Check(SubchannelStatus),
    /// Alert status now, in whatever state. A running program goes on; a suspended one ends when the
    /// status is taken, as with any status that is more than intermediate.
    Alert(DeviceStatus),
    /// Halt functions stay pending for ever.
    HaltUnanswered,
    /// Clear functions stay pending for ever.
    ClearUnanswered,
}
