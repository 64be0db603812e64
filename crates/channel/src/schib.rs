//! The subchannel-information block (*Principles of Operation*, chapter 15,
//! "Subchannel-information block").

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{OperandException, Scsw};

bitflags::bitflags! {
    /// PMCW word 1, bits 0 to 15, without the interruption subclass.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PmcwFlags: u16 {
        /// QDIO facility.
        const QDIO = 0x8000;
        /// Subchannel enabled.
        const ENABLED = 0x0080;
        /// Limit mode: addresses below the limit are refused. Both bits: an operand exception.
        const LIMIT_BELOW = 0x0040;
        /// Limit mode: addresses from the limit on are refused.
        const LIMIT_ABOVE = 0x0020;
        /// Measurement-mode enable: measurement-block update.
        const MEASUREMENT_BLOCK = 0x0010;
        /// Measurement-mode enable: device-connect time.
        const CONNECT_TIME = 0x0008;
        /// Multipath mode.
        const MULTIPATH = 0x0004;
        /// Timing facility.
        const TIMING = 0x0002;
        const DEVICE_NUMBER_VALID = 0x0001;
    }
}

bitflags::bitflags! {
    /// Bits 29 to 31 of PMCW word 6.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PmcwCharacteristics: u32 {
        /// MBFC: the measurement block is of format 1 and lies at the measurement-block address.
        const MEASUREMENT_BLOCK_FORMAT_1 = 4;
        /// XMWME: the IRB holds an extended-measurement word.
        const EXTENDED_MEASUREMENT = 2;
        /// S: concurrent sense.
        const CONCURRENT_SENSE = 1;
    }
}

/// Path-management-control word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Pmcw {
    /// Interruption parameter.
    pub parameter: U32,
    /// QDIO, ISC and the enabling bits; see [`PmcwFlags`] and [`Self::isc`].
    pub flags: U16,
    /// Device number.
    pub device: U16,
    /// Logical-path mask.
    pub lpm: u8,
    /// Path-not-operational mask.
    pub pnom: u8,
    /// Last-path-used mask.
    pub lpum: u8,
    /// Path-installed mask.
    pub pim: u8,
    /// Measurement-block index.
    pub mbi: U16,
    /// Path-operational mask.
    pub pom: u8,
    /// Path-available mask.
    pub pam: u8,
    /// Channel-path identifiers.
    pub chpid: [u8; 8],
    /// Word 6: measurement-block format, extended measurement word, concurrent sense.
    pub characteristics: U32,
}

const _: () = assert!(size_of::<Pmcw>() == 28);

impl Pmcw {
    const ISC_SHIFT: u16 = 11;
    const TYPE_SHIFT: u32 = 21;
    /// Bits 0, 1, 6 and 7 of word 1.
    const RESERVED_FLAGS: u16 = 0xC300;
    /// Bits 0 to 28 of word 6, without the subchannel type, which a stored SCHIB brings along.
    const RESERVED_CHARACTERISTICS: u32 = 0xFF1F_FFF8;

    pub const fn flags(&self) -> PmcwFlags {
        PmcwFlags::from_bits_truncate(self.flags.get())
    }

    /// Interruption subclass (0 to 7).
    pub const fn isc(&self) -> u8 {
        (self.flags.get() >> Self::ISC_SHIFT) as u8 & 7
    }

    /// Sets or clears one of the flags.
    pub fn set_flag(&mut self, flag: PmcwFlags, on: bool) {
        let rest = self.flags.get() & !flag.bits();
        self.flags = U16::new(if on { rest | flag.bits() } else { rest });
    }

    /// Sets the interruption subclass; only the low three bits count.
    pub fn set_isc(&mut self, isc: u8) {
        let rest = self.flags.get() & !(7 << Self::ISC_SHIFT);
        self.flags = U16::new(rest | u16::from(isc & 7) << Self::ISC_SHIFT);
    }

    /// The bits of word 6.
    pub const fn characteristics(&self) -> PmcwCharacteristics {
        PmcwCharacteristics::from_bits_truncate(self.characteristics.get())
    }

    /// Sets or clears bits of word 6.
    pub fn set_characteristic(&mut self, flag: PmcwCharacteristics, on: bool) {
        let rest = self.characteristics.get() & !flag.bits();
        self.characteristics = U32::new(if on { rest | flag.bits() } else { rest });
    }

    /// Whether sense data comes in the IRB of a unit check.
    pub const fn has_concurrent_sense(&self) -> bool {
        self.characteristics()
            .contains(PmcwCharacteristics::CONCURRENT_SENSE)
    }

    /// Asks for sense data in the IRB of a unit check.
    pub fn set_concurrent_sense(&mut self, on: bool) {
        self.set_characteristic(PmcwCharacteristics::CONCURRENT_SENSE, on);
    }

    /// Whether the IRB holds an extended-measurement word.
    pub const fn has_extended_measurement(&self) -> bool {
        self.characteristics()
            .contains(PmcwCharacteristics::EXTENDED_MEASUREMENT)
    }

    /// The bit of path `number` (0 to 7) in each of the masks.
    pub const fn path_bit(number: u8) -> u8 {
        if number > 7 {
            0
        } else {
            0x80 >> number
        }
    }

    /// Subchannel type: 0 is an I/O subchannel, 1 CHSC, 2 message, 3 EADM.
    pub const fn subchannel_type(&self) -> u8 {
        (self.characteristics.get() >> Self::TYPE_SHIFT) as u8 & 7
    }

    /// Whether this is an I/O subchannel with a device.
    pub fn has_device(&self) -> bool {
        self.subchannel_type() == 0 && self.flags().contains(PmcwFlags::DEVICE_NUMBER_VALID)
    }
}

/// Subchannel-information block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Schib {
    /// Path-management-control word.
    pub pmcw: Pmcw,
    /// Subchannel-status word.
    pub scsw: Scsw,
    /// Measurement-block address (extended format).
    pub mba: U64,
    /// Model-dependent area.
    pub model_dependent: [u8; 4],
}

const _: () = assert!(size_of::<Schib>() == 52);

impl Schib {
    /// What MODIFY SUBCHANNEL checks before it does anything else: reserved bits are zero, the limit
    /// mode is one of the three, a format-1 measurement block lies on a 64-byte boundary.
    pub fn check(&self) -> Result<(), OperandException> {
        let pmcw = &self.pmcw;
        let both_limits = PmcwFlags::LIMIT_BELOW | PmcwFlags::LIMIT_ABOVE;
        let format_1 = pmcw
            .characteristics()
            .contains(PmcwCharacteristics::MEASUREMENT_BLOCK_FORMAT_1);
        let good = pmcw.flags.get() & Pmcw::RESERVED_FLAGS == 0
            && !pmcw.flags().contains(both_limits)
            && pmcw.characteristics.get() & Pmcw::RESERVED_CHARACTERISTICS == 0
            && (!format_1 || self.mba.get().is_multiple_of(64));
        if good {
            Ok(())
        } else {
            Err(OperandException)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabling_changes_one_bit() {
        let mut pmcw = Pmcw::default();
        pmcw.set_isc(3);
        pmcw.set_flag(PmcwFlags::ENABLED, true);
        assert_eq!(pmcw.as_bytes()[4..6], [0x18, 0x80]);
        pmcw.set_flag(PmcwFlags::ENABLED, false);
        assert_eq!(pmcw.as_bytes()[4..6], [0x18, 0x00]);
        assert_eq!(pmcw.isc(), 3);
    }

    #[test]
    fn only_an_io_subchannel_with_a_valid_number_has_a_device() {
        let mut pmcw = Pmcw::default();
        assert!(!pmcw.has_device());
        pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        assert!(pmcw.has_device());
        pmcw.characteristics = U32::new(1 << 21);
        assert!(!pmcw.has_device());
    }

    #[test]
    fn a_schib_that_was_stored_may_be_given_back() {
        let mut schib = Schib::default();
        schib.pmcw.set_isc(7);
        let set = PmcwFlags::all() - PmcwFlags::QDIO - PmcwFlags::LIMIT_ABOVE;
        schib.pmcw.set_flag(set, true);
        schib.pmcw.characteristics = U32::new(0x0060_0003);
        assert_eq!(schib.check(), Ok(()));
    }

    #[test]
    fn reserved_bits_of_a_schib_are_an_operand_exception() {
        let with = |change: &dyn Fn(&mut Schib)| {
            let mut schib = Schib::default();
            change(&mut schib);
            schib.check()
        };
        let refused = Err(OperandException);
        assert_eq!(with(&|schib| schib.pmcw.flags = U16::new(0x4000)), refused);
        assert_eq!(with(&|schib| schib.pmcw.flags = U16::new(0x0060)), refused);
        let format_1 = PmcwCharacteristics::MEASUREMENT_BLOCK_FORMAT_1;
        let odd = |schib: &mut Schib| {
            schib.pmcw.set_characteristic(format_1, true);
            schib.mba = U64::new(0x20);
        };
        assert_eq!(with(&odd), refused);
        let reserved = |schib: &mut Schib| schib.pmcw.characteristics = U32::new(8);
        assert_eq!(with(&reserved), refused);
    }

    proptest::proptest! {
        #[test]
        fn what_is_set_in_a_pmcw_is_what_is_read(word: u16, flags: u16, isc in 0..8u8, six: u32) {
            let mut pmcw = Pmcw { flags: U16::new(word), ..Pmcw::default() };
            pmcw.set_flag(PmcwFlags::all(), false);
            pmcw.set_flag(PmcwFlags::from_bits_truncate(flags), true);
            pmcw.set_isc(isc);
            pmcw.characteristics = U32::new(six);
            pmcw.set_concurrent_sense(true);
            proptest::prop_assert_eq!(pmcw.flags(), PmcwFlags::from_bits_truncate(flags));
            proptest::prop_assert_eq!(pmcw.isc(), isc);
            proptest::prop_assert!(pmcw.has_concurrent_sense());
            proptest::prop_assert_eq!(pmcw.characteristics.get() >> 1, six >> 1);
        }
    }
}
