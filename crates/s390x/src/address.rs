//! Addresses, as types: an address is not a number.
//!
//! An [`AbsoluteAddress`] names a byte of the configuration's storage, for every CPU alike. A CPU
//! with a nonzero prefix sees the first 8 KiB elsewhere under *real* addresses; everything beyond
//! is the same. With DAT off (as it always is here) a Rust pointer is a real address.
//!
//! Source: *Principles of Operation*, chapter 3, "Address Types" and "Prefixing".

use core::fmt;

/// The size of a page frame in bytes.
pub const PAGE_SIZE: usize = 4096;

/// An absolute address in the configuration's own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct AbsoluteAddress(u64);

/// An absolute address that fits into 31 bits, as an SCCB address must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Address31(u32);

impl AbsoluteAddress {
    /// The address with this number.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The next address, from here on, that is a multiple of `alignment`; `None` past the end or
    /// when `alignment` is no power of two.
    pub const fn align_up(self, alignment: u64) -> Option<Self> {
        if !alignment.is_power_of_two() {
            return None;
        }
        match self.0.checked_add(alignment - 1) {
            Some(sum) => Some(Self(sum & !(alignment - 1))),
            None => None,
        }
    }

    /// The same address where only 31 bits are allowed, or `None` if it is 2 GiB or higher.
    pub const fn to_31(self) -> Option<Address31> {
        if self.0 < 1 << 31 {
            Some(Address31(self.0 as u32))
        } else {
            None
        }
    }
}

#[cfg(target_arch = "s390x")]
impl AbsoluteAddress {
    /// The address of what `pointer` points to: equal numbers, since DAT and prefix are not in use
    /// for anything beyond the first 8 KiB.
    pub fn of<T: ?Sized>(pointer: *const T) -> Self {
        Self(pointer.cast::<()>() as usize as u64)
    }

    /// The pointer to this address.
    pub fn as_mut_ptr<T>(self) -> *mut T {
        core::ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}

impl Address31 {
    /// The address as a number below 2 GiB.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for AbsoluteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gigabytes_is_the_first_address_beyond_31_bits() {
        assert!(AbsoluteAddress::new(0x7FFF_FFFF).to_31().is_some());
        assert!(AbsoluteAddress::new(0x8000_0000).to_31().is_none());
    }

    #[test]
    fn aligning_never_wraps() {
        assert_eq!(AbsoluteAddress::new(u64::MAX).align_up(4096), None);
        assert_eq!(AbsoluteAddress::new(1).align_up(3), None);
        assert_eq!(
            AbsoluteAddress::new(1).align_up(4096),
            Some(AbsoluteAddress::new(4096))
        );
    }
}
