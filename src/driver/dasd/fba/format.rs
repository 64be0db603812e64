//! Commands and formats of fixed-block disks.
//!
//! Source: *3370 Direct Access Storage Description* (GA26-1657) and its successors. Nobody else spells an offset.

use channel::CommandCode;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Device types that take these commands.
pub const DEVICES: [u16; 7] = [0x3310, 0x3370, 0x9313, 0x9332, 0x9335, 0x9336, 0x0671];

pub const DEFINE_EXTENT: CommandCode = CommandCode(0x63);
pub const LOCATE: CommandCode = CommandCode(0x43);
/// READ. Only behind LOCATE.
pub const READ: CommandCode = CommandCode(0x42);
/// WRITE. Only behind LOCATE.
pub const WRITE: CommandCode = CommandCode(0x41);
pub const READ_CHARACTERISTICS: CommandCode = CommandCode(0x64);

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DefineExtent {
    /// File mask: one of the `MASK` constants.
    pub mask: u8,
    pub reserved: u8,
    pub block: U16,
    /// Where the extent begins on the disk.
    pub origin: U32,
    /// The number that LOCATE has for its first block.
    pub first: U32,
    /// The number of its last block.
    pub last: U32,
}

const _: () = assert!(size_of::<DefineExtent>() == 16);

impl DefineExtent {
    /// Blocks under their own numbers, from the first to the last.
    pub fn of(first: u32, last: u32, mask: u8) -> Self {
        Self {
            mask,
            reserved: 0,
            block: 512.into(),
            origin: first.into(),
            first: first.into(),
            last: last.into(),
        }
    }

    /// Mask: no format writes.
    pub const MASK_WRITE: u8 = 0x00;
    pub const MASK_READ: u8 = 0x40;
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Locate {
    /// [`Self::WRITE`] or [`Self::READ`].
    pub operation: u8,
    /// Of replicated data only.
    pub replication: u8,
    pub count: U16,
    pub block: U32,
}

const _: () = assert!(size_of::<Locate>() == 8);

impl Locate {
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x06;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct Characteristics {
    pub modes: u8,
    pub features: u8,
    pub class: u8,
    pub code: u8,
    pub block: U16,
    /// Blocks of a cyclical group: what goes by in one turn.
    pub cyclical: U32,
    /// Blocks of an access position.
    pub position: U32,
    /// Blocks under the movable access mechanism: those that are used.
    pub blocks: U32,
    /// Not used here: blocks under fixed heads, alternate and service areas, times.
    pub rest: [u8; 14],
}

const _: () = assert!(size_of::<Characteristics>() == 32);

impl Characteristics {
    pub const FBA: u8 = 0x21;
}
