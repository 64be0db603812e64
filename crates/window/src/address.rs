//! Addresses on either side of a window. They are different types, because they are different
//! things: one is what the other side *says*, the other is what a device of this side *does*.

use core::fmt;

/// An absolute address in the other side's numbering: a claim, until a window has checked it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ClientAddress(u64);

impl ClientAddress {
    /// The address `value`, as the other side named it.
    #[inline]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The bare number, for messages and for storing it away.
    #[inline]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Whether the address is a multiple of `alignment`, which has to be a power of two.
    #[inline]
    pub const fn is_aligned(self, alignment: u64) -> bool {
        self.0 & alignment.wrapping_sub(1) == 0
    }
}

impl From<u64> for ClientAddress {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAddress({:#x})", self.0)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A range of absolute addresses of *this* side that has been found to lie in a window: what a
/// device may be told to read or write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Absolute address of the first byte.
    pub absolute: u64,
    /// Length in bytes.
    pub len: u32,
}
