//! The subchannel-information block (*Principles of Operation*, chapter 15,
//! "Subchannel-information block").

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Scsw;

bitflags::bitflags! {
    /// PMCW bytes 4 and 5.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PmcwFlags: u16 {
        /// QDIO facility.
        const QDIO = 0x8000;
        /// Subchannel enabled.
        const ENABLED = 0x0080;
        /// Measurement-mode enable: measurement-block update.
        const MEASUREMENT_BLOCK = 0x0010;
        /// Measurement-mode enable: device-connect time.
        const CONNECT_TIME = 0x0008;
        /// Multipath mode.
        const MULTIPATH = 0x0004;
        /// Timing facility.
        const TIMING = 0x0002;
        /// Device number valid.
        const DEVICE_NUMBER_VALID = 0x0001;
    }
}

/// Path-management-control word.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
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
    const CONCURRENT_SENSE: u32 = 1;

    /// The flags.
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

    /// Asks for sense data in the IRB of a unit check.
    pub fn set_concurrent_sense(&mut self, on: bool) {
        let rest = self.characteristics.get() & !Self::CONCURRENT_SENSE;
        self.characteristics = U32::new(rest | u32::from(on));
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
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
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
}
