//! How a device is to be driven, and how it turned out.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interruption subclass, both of the subchannel and of adapter interruptions.
    pub isc: u8,
    pub adapter: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            isc: 3,
            adapter: true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalling {
    Adapter,
    Classic,
}
