//! Indirect-data-address words (*Principles of Operation*, chapter 15, "Indirect-data-address word"
//! and "Modified CCW indirect data addressing").

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A format-1 indirect-data-address word: 31-bit absolute address, bit 0 zero. Each word but the
/// first names the start of a 2 KiB block (reading backward: its last byte).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Idaw1(pub U32);

const _: () = assert!(size_of::<Idaw1>() == 4);

impl Idaw1 {
    /// The word for an address.
    pub const fn new(address: u32) -> Self {
        Self(U32::new(address))
    }

    /// The address; `None` when bit 0, which must be zero, is one: a program check.
    pub const fn address(self) -> Option<u32> {
        let word = self.0.get();
        if word & 0x8000_0000 == 0 {
            Some(word)
        } else {
            None
        }
    }
}

/// A format-2 indirect-data-address word: 64-bit absolute address. Each word but the first names the
/// start of a block of 4 KiB, or of 2 KiB when the ORB says so (reading backward: its last byte).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Idaw2(pub U64);

const _: () = assert!(size_of::<Idaw2>() == 8);

impl Idaw2 {
    /// The word for an address.
    pub const fn new(address: u64) -> Self {
        Self(U64::new(address))
    }

    pub const fn address(self) -> u64 {
        self.0.get()
    }
}

bitflags::bitflags! {
    /// The flag byte of a modified-indirect-data-address word (bits 40 to 47).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MidawFlags: u8 {
        /// The last word of the list.
        const LAST = 0x80;
        /// No transfer to storage.
        const SKIP = 0x40;
        /// Data-transfer-interruption control.
        const DATA_TRANSFER_INTERRUPT = 0x20;
    }
}

/// A modified-indirect-data-address word. The list lies on a 16-byte boundary and does not cross a
/// 4 KiB boundary; the data of one word does not cross one either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Midaw {
    /// Zeros.
    pub reserved: [u8; 5],
    /// Flags; see [`MidawFlags`].
    pub flags: u8,
    /// Byte count, not zero.
    pub count: U16,
    /// Absolute data address.
    pub address: U64,
}

const _: () = assert!(size_of::<Midaw>() == 16);

impl Midaw {
    /// A word from its parts.
    pub const fn new(flags: MidawFlags, count: u16, address: u64) -> Self {
        Self {
            reserved: [0; 5],
            flags: flags.bits(),
            count: U16::new(count),
            address: U64::new(address),
        }
    }

    pub const fn flags(&self) -> MidawFlags {
        MidawFlags::from_bits_retain(self.flags)
    }

    /// Whether the reserved bits (0 to 39, 43 to 47) are zero and the count is not; if not, the
    /// channel reports a program check.
    pub fn is_well_formed(&self) -> bool {
        self.reserved == [0; 5]
            && MidawFlags::from_bits(self.flags).is_some()
            && self.count.get() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_midaw_has_the_architected_bytes() {
        let midaw = Midaw::new(MidawFlags::LAST, 0x0102, 0x0011_2233_4455_6677);
        assert_eq!(
            midaw.as_bytes(),
            [0, 0, 0, 0, 0, 0x80, 1, 2, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77].as_slice()
        );
        assert!(midaw.is_well_formed());
    }

    #[test]
    fn a_midaw_with_a_reserved_bit_or_without_a_count_is_not_well_formed() {
        let good = Midaw::new(MidawFlags::SKIP, 1, 0);
        assert!(good.is_well_formed());
        assert!(!Midaw {
            count: 0.into(),
            ..good
        }
        .is_well_formed());
        assert!(!Midaw {
            flags: 0x10,
            ..good
        }
        .is_well_formed());
        assert!(!Midaw {
            reserved: [0, 0, 1, 0, 0],
            ..good
        }
        .is_well_formed());
    }

    #[test]
    fn bit_0_of_a_format_1_idaw_must_be_zero() {
        assert_eq!(Idaw1::new(0x7FFF_FFFF).address(), Some(0x7FFF_FFFF));
        assert_eq!(Idaw1::new(0x8000_0000).address(), None);
    }
}
