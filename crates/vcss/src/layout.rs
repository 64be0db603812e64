//! Header and capability list, which every area begins with, and the doorbell part, which every
//! area has.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The first eight bytes of an area.
pub const MAGIC: [u8; 8] = *b"STLWAREA";
/// Layouts with another major version are not read.
pub const VERSION_MAJOR: u16 = 1;
/// Grows when a capability is added.
pub const VERSION_MINOR: u16 = 6;
/// The version of the entries' format that a [`Capability`] names. A part of another version is not read.
pub const CAPABILITY_VERSION: u16 = 1;
/// Areas and windows begin at multiples of this.
pub const PAGE: u64 = 4096;
/// A capability list longer than this is an error.
pub const MAX_CAPABILITIES: usize = 32;

/// Gives enums the way back from a number that was read from an area.
macro_rules! from_number {
    ($($name:ident: $int:ty),+) => {$(
        impl $name {
            /// What this number, read from an area, stands for.
            pub fn from_number(number: $int) -> Option<Self> {
                Self::try_read_from_bytes(number.as_bytes()).ok()
            }
        }
    )+};
}
pub(crate) use from_number;

from_number!(Kind: u32, CapabilityId: u16);

/// What an area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Kind {
    /// Between the host daemon and the appliance.
    Control = 1,
    /// Between one client and the appliance.
    Client = 2,
}

/// Where a run of bytes lies in the pool, and so in the appliance's absolute storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Extent {
    /// Offset from the pool's first byte.
    pub offset: U64,
    /// Length in bytes.
    pub length: U64,
}

impl Extent {
    /// An extent from its parts.
    pub const fn new(offset: u64, length: u64) -> Self {
        Self {
            offset: U64::new(offset),
            length: U64::new(length),
        }
    }
}

/// Offset 0 of an area. Written once, by the creator, before the other side is told of it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION_MAJOR`].
    pub major: U16,
    /// [`VERSION_MINOR`] of the creator.
    pub minor: U16,
    /// [`Kind`].
    pub kind: U32,
    /// Bytes in the area.
    pub length: U64,
    /// Offset of the first capability; they stand side by side.
    pub capabilities: U32,
    /// How many there are, at most [`MAX_CAPABILITIES`].
    pub capability_count: U32,
    /// Zero.
    pub reserved: [u8; 32],
}

const _: () = assert!(size_of::<Header>() == 64);

/// Names one part of an area: an array of equal entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Capability {
    /// [`CapabilityId`]; a reader skips ids that it does not know.
    pub id: U16,
    /// Version of the entries' format.
    pub version: U16,
    /// Bytes from the area's start to the first entry, a multiple of 8.
    pub offset: U32,
    /// Bytes from one entry to the next.
    pub stride: U32,
    /// Number of entries.
    pub count: U32,
}

const _: () = assert!(size_of::<Capability>() == 16);

/// The parts that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u16)]
pub enum CapabilityId {
    /// [`Doorbell`]: one entry, in every area.
    Doorbell = 1,
    /// [`control::Client`](crate::control::Client).
    Clients = 0x10,
    /// [`control::Disk`](crate::control::Disk).
    Disks = 0x11,
    /// [`control::Export`](crate::control::Export).
    Exports = 0x12,
    /// [`control::Order`](crate::control::Order): one entry.
    Order = 0x13,
    /// [`control::Loan`](crate::control::Loan).
    Loans = 0x14,
    /// [`control::Condition`](crate::control::Condition).
    Conditions = 0x15,
    /// [`control::ClientMemory`](crate::control::ClientMemory).
    ClientMemories = 0x16,
    /// [`control::MemoryTaken`](crate::control::MemoryTaken).
    MemoriesTaken = 0x17,
    /// [`control::Appliance`](crate::control::Appliance): one entry.
    Appliance = 0x18,
    /// [`control::Device`](crate::control::Device).
    Devices = 0x19,
    /// [`control::Counters`](crate::control::Counters).
    Counters = 0x1A,
    /// [`underway::Underway`](crate::underway::Underway): one entry.
    Underway = 0x1B,
    /// [`trace::TraceEntry`](crate::trace::TraceEntry).
    Trace = 0x1C,
    /// [`control::Heartbeat`](crate::control::Heartbeat): one entry.
    Heartbeat = 0x1D,
    /// [`control::Quota`](crate::control::Quota).
    Quotas = 0x1E,
    /// [`control::HeldBack`](crate::control::HeldBack).
    HeldBack = 0x1F,
    /// [`client::Command`](crate::client::Command).
    Commands = 0x20,
    /// [`client::Response`](crate::client::Response).
    Responses = 0x21,
    /// [`client::Status`](crate::client::Status).
    Statuses = 0x22,
    /// [`client::SchibPart`](crate::client::SchibPart).
    Schibs = 0x23,
    /// [`client::Notify`](crate::client::Notify).
    Notifies = 0x24,
    /// [`events::Event`](crate::events::Event).
    Events = 0x25,
    /// [`client::Measurement`](crate::client::Measurement).
    Measurements = 0x26,
    /// [`events::EventPositions`](crate::events::EventPositions): one entry.
    EventPositions = 0x27,
    /// [`client::DeviceState`](crate::client::DeviceState).
    DeviceStates = 0x28,
    /// [`client::QueueState`](crate::client::QueueState).
    QueueStates = 0x29,
    /// [`client::InFlight`](crate::client::InFlight).
    InFlights = 0x2A,
    /// The program window, when it lies in the area: bytes, the client's own.
    Program = 0x30,
}

/// An entry type and the part that it stands in: the table is in `parts`.
pub trait Entry: FromBytes + IntoBytes + Immutable {
    /// The part.
    const ID: CapabilityId;
}

/// Wake-ups with suppression. Each half has one writer and a line of its own.
///
/// To ring: make the work visible, add one to the own `bell`, full fence, and send the wake-up
/// byte only if the other side's `asleep` is not zero. To sleep: set the own `asleep` to 1, full fence,
/// look at the other side's `bell` (and the rings) once more, and sleep only if nothing came.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Doorbell {
    /// Written by the client (the control area's client is the daemon).
    pub client: DoorbellHalf,
    /// Written by the appliance.
    pub appliance: DoorbellHalf,
}

/// One side's half of the [`Doorbell`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DoorbellHalf {
    /// Counts the times that this side had something for the other; wraps.
    pub bell: U32,
    /// 1 while this side needs the wake-up byte to notice.
    pub asleep: U32,
    /// Counts this side's starts. The appliance adds one each time that it opens the area; a client that
    /// uses channel programs of its own adds one when it begins anew, and the daemon for one that has gone.
    pub generation: U32,
    /// In the appliance's half, one more than the client's generation that the appliance has acted on last; 0 in an area that no
    /// appliance has opened, or only one that did not know this word. Zero in the client's half.
    pub acted: U32,
    /// Zero.
    pub reserved: [u8; 112],
}

/// A name as it stands in an area: UTF-8, padded with NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Name([u8; Name::MAX]);

impl Default for Name {
    fn default() -> Self {
        Self([0; Self::MAX])
    }
}

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 32;

    /// Packs a name; `None` if it is longer than [`Self::MAX`] bytes.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// The name, up to the first NUL; empty when the bytes are not UTF-8.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::MAX);
        core::str::from_utf8(&self.0[..end]).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_packing() {
        assert_eq!(Name::new("data").unwrap().as_str(), "data");
        let longest = "x123456789012345678901234567890y";
        assert_eq!(Name::new(longest).unwrap().as_str(), longest);
        assert_eq!(Name::new("x1234567890123456789012345678901y"), None);
    }

    #[test]
    fn a_capability_id_is_found_by_its_number() {
        let ids = (0..0x100).filter_map(CapabilityId::from_number);
        assert_eq!(ids.clone().count(), 29);
        for id in ids {
            assert_eq!(CapabilityId::from_number(id as u16), Some(id));
        }
        assert_eq!(CapabilityId::from_number(0), None);
    }
}
