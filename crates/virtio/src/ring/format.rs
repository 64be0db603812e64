//! What is in a ring's memory: all little-endian, typed so.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// One entry of a descriptor table (`virtq_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Descriptor {
    /// Address of the buffer, or of an indirect table.
    pub address: U64,
    /// Its length in bytes.
    pub len: U32,
    /// [`DescriptorFlags`].
    pub flags: U16,
    /// Number of the next descriptor, if [`DescriptorFlags::NEXT`] is set.
    pub next: U16,
}

impl Descriptor {
    /// A descriptor with these fields.
    #[inline]
    pub const fn new(address: u64, len: u32, flags: DescriptorFlags, next: u16) -> Self {
        Self {
            address: U64::new(address),
            len: U32::new(len),
            flags: U16::new(flags.bits()),
            next: U16::new(next),
        }
    }

    /// The flags that have a meaning.
    #[inline]
    pub const fn flags(&self) -> DescriptorFlags {
        DescriptorFlags::from_bits_truncate(self.flags.get())
    }
}

bitflags! {
    /// Flags of a [`Descriptor`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DescriptorFlags: u16 {
        /// The chain goes on at `next`.
        const NEXT = 1;
        /// The device writes the buffer; otherwise it reads it.
        const WRITE = 2;
        /// The buffer is a table of descriptors, which make up the rest of the chain.
        const INDIRECT = 4;
    }
}

bitflags! {
    /// Flags of the driver area.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AvailFlags: u16 {
        /// The driver does not want to be told of used buffers.
        const NO_INTERRUPT = 1;
    }
}

bitflags! {
    /// Flags of the device area.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UsedFlags: u16 {
        /// The device does not want to be told of available buffers.
        const NO_NOTIFY = 1;
    }
}

/// One entry of the used ring (`virtq_used_elem`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct UsedElement {
    /// Number of the chain's first descriptor.
    pub id: U32,
    /// How many bytes the device wrote.
    pub len: U32,
}

const _: () = assert!(size_of::<Descriptor>() == 16);
const _: () = assert!(core::mem::offset_of!(Descriptor, flags) == 12);
const _: () = assert!(size_of::<UsedElement>() == 8);
