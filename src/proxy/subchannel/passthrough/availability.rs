//! Who has an owned subchannel.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// The client, for good.
    Client,
    /// Nobody any more: the appliance stops.
    Withdrawn,
    /// It is a disk's, and the disk's driver has it. Nothing here touches it.
    Driver,
    /// It is a disk's, and the client has it for maintenance.
    Maintenance,
    /// It is a disk's, on its way back: what the client has left is being ended.
    Returning,
}

impl Availability {
    /// The same, taken from the client for good.
    pub(super) const fn taken(self) -> Self {
        match self {
            Self::Client => Self::Withdrawn,
            Self::Maintenance => Self::Returning,
            Self::Withdrawn | Self::Driver | Self::Returning => self,
        }
    }

    /// Whether the client has it.
    pub(super) const fn is_the_clients(self) -> bool {
        matches!(self, Self::Client | Self::Maintenance)
    }

    pub(super) const fn is_of_a_disk(self) -> bool {
        !matches!(self, Self::Client | Self::Withdrawn)
    }
}
