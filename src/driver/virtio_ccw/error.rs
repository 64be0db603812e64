//! What can go wrong between a virtio-ccw device and its driver.

use core::fmt;

use virtio::ccw::Command;
use virtio::ring::LayoutError;
use virtio::Features;

use crate::css::EnableError;
use crate::css::{OutOfStorage, ProgramError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportError {
    Enable(EnableError),
    Storage(OutOfStorage),
    Program(Command, ProgramError),
    NotModern,
    /// It does not accept these features, all of which it had offered.
    Features(Features),
    NoQueue(u16),
    Layout(u16, LayoutError),
    NotReset,
    Configuration(&'static str),
}

impl TransportError {
    /// Whether the device does not know the command, or not with such data.
    pub(super) fn is_command_reject(&self) -> bool {
        matches!(self, Self::Program(_, ProgramError::UnitCheck(sense)) if sense.is_command_reject())
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(error) => write!(f, "the subchannel is not enabled: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Program(command, error) => write!(f, "{command:?}: {error}"),
            Self::NotModern => f.write_str("a legacy device (before virtio 1.0)"),
            Self::Features(features) => {
                write!(
                    f,
                    "features {:#x}, all offered, are not accepted",
                    features.bits()
                )
            }
            Self::NoQueue(index) => write!(f, "there is no queue {index}"),
            Self::Layout(index, error) => write!(f, "queue {index}: {error}"),
            Self::NotReset => f.write_str("the device does not come out of its reset"),
            Self::Configuration(what) => write!(f, "bad configuration: {what}"),
        }
    }
}

impl core::error::Error for TransportError {}
