//! What can go wrong between a virtio-ccw device and its driver.

use thiserror::Error;
use virtio::ccw::Command;
use virtio::ring::LayoutError;
use virtio::Features;

use crate::css::{EnableError, OutOfStorage, ProgramError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    #[error("the subchannel is not enabled: {0}")]
    Enable(#[from] EnableError),
    #[error(transparent)]
    Storage(#[from] OutOfStorage),
    #[error("{0:?}: {1}")]
    Program(Command, ProgramError),
    #[error("a legacy device (before virtio 1.0)")]
    NotModern,
    /// It does not accept these features, all of which it had offered.
    #[error("features {:#x}, all offered, are not accepted", .0.bits())]
    Features(Features),
    #[error("there is no queue {0}")]
    NoQueue(u16),
    #[error("queue {0}: {1}")]
    Layout(u16, LayoutError),
    #[error("the device does not come out of its reset")]
    NotReset,
    #[error("bad configuration: {0}")]
    Configuration(&'static str),
}

impl TransportError {
    /// Whether the device does not know the command, or not with such data.
    pub(super) fn is_command_reject(&self) -> bool {
        matches!(self, Self::Program(_, ProgramError::UnitCheck(sense)) if sense.is_command_reject())
    }
}
