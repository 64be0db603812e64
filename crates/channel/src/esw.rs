//! The extended-status word (*Principles of Operation*, chapter 16, "Extended-status word").
//!
//! Five words. In all formats word 0 has the last-path-used mask at the same place, and word 1 is the extended-report word. What
//! else a subchannel logout says (format 0) is for people: it is shown as it stands.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// Those flags of an extended-report word (bits 0 to 9) that anybody looks at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ErwFlags: u32 {
        /// P: path verification required.
        const PATH_VERIFICATION = 0x0800_0000;
        /// F: the failing-storage address is valid.
        const FAILING_STORAGE_VALID = 0x0200_0000;
        /// S: the ECW holds concurrent sense.
        const CONCURRENT_SENSE = 0x0100_0000;
        /// C: the secondary-CCW address is valid.
        const SECONDARY_CCW_VALID = 0x0080_0000;
        /// R: the failing-storage address has 64 bits.
        const FAILING_STORAGE_64 = 0x0040_0000;
    }
}

/// The extended-report word: word 1 of an ESW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Erw(pub U32);

impl Erw {
    const SENSE_COUNT_SHIFT: u32 = 16;

    /// A word with these flags and no sense.
    pub const fn new(flags: ErwFlags) -> Self {
        Self(U32::new(flags.bits()))
    }

    /// A word that says that the first `count` bytes (at most 32) of the ECW are sense data.
    pub const fn with_sense(self, count: u8) -> Self {
        let rest = self.0.get() & !(0x3F << Self::SENSE_COUNT_SHIFT);
        let count = if count > 32 { 32 } else { count as u32 };
        Self(U32::new(
            rest | ErwFlags::CONCURRENT_SENSE.bits() | count << Self::SENSE_COUNT_SHIFT,
        ))
    }

    pub const fn flags(self) -> ErwFlags {
        ErwFlags::from_bits_truncate(self.0.get())
    }

    /// SCNT: bytes of concurrent sense.
    pub const fn sense_count(self) -> u8 {
        (self.0.get() >> Self::SENSE_COUNT_SHIFT) as u8 & 0x3F
    }
}

/// An extended-status word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Esw {
    /// Word 0: a subchannel logout, or the last-path-used mask and what belongs to it.
    pub word_0: U32,
    /// Extended-report word.
    pub erw: Erw,
    /// Failing-storage address of a format-0 ESW: 31 bits in the first word, or 64 bits.
    pub failing_storage: [U32; 2],
    /// Secondary-CCW address of a format-0 ESW.
    pub secondary_ccw: U32,
}

const _: () = assert!(size_of::<Esw>() == 20);

impl Esw {
    /// A word of format 1 with the path that was used last.
    pub const fn of_path(last_path_used: u8, erw: Erw) -> Self {
        Self {
            word_0: U32::new((last_path_used as u32) << 16),
            erw,
            failing_storage: [U32::ZERO; 2],
            secondary_ccw: U32::ZERO,
        }
    }

    /// LPUM, which all formats have at the same place; in format 0 it has a validity flag.
    pub const fn last_path_used(&self) -> u8 {
        (self.word_0.get() >> 16) as u8
    }
}

/// The extended-measurement word: the times of one start function, or since it was resumed, in units of half a microsecond.
///
/// It is stored with primary status, with secondary status alone, and when a program is suspended, if the timing facility is
/// there. (*Principles of Operation*, chapter 16, "Extended-measurement word"; the unit is that of US patent 7,886,082.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Emw {
    /// Device-connect time.
    pub device_connect: U32,
    /// Function-pending time.
    pub function_pending: U32,
    /// Device-disconnect time.
    pub device_disconnect: U32,
    /// Control-unit-queuing time.
    pub control_unit_queuing: U32,
    /// Device-active-only time.
    pub device_active_only: U32,
    /// Device-busy time.
    pub device_busy: U32,
    /// Initial-command-response time.
    pub initial_command_response: U32,
    pub reserved: U32,
}

const _: () = assert!(size_of::<Emw>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sense_count_does_not_exceed_the_ecw() {
        let erw = Erw::new(ErwFlags::PATH_VERIFICATION).with_sense(99);
        assert_eq!(erw.sense_count(), 32);
        assert_eq!(erw.0.get(), 0x0920_0000);
    }
}
