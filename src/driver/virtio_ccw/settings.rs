//! How a device is to be driven, and how it turned out.

/// How a device is to be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interruption subclass, both of the subchannel and of adapter interruptions.
    pub isc: u8,
    /// Whether adapter interruptions are asked for.
    pub adapter: bool,
}

impl Default for Settings {
    /// Subclass 3, adapter interruptions.
    fn default() -> Self {
        Self {
            isc: 3,
            adapter: true,
        }
    }
}

/// How the device tells of used buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalling {
    /// By adapter interruptions.
    Adapter,
    /// By its subchannel's interruptions.
    Classic,
}
