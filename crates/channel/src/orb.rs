//! The operation-request block (*Principles of Operation*, chapter 15, "Operation-request block").

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// Word 1 of a command-mode ORB, without the storage key (bits 0 to 3) and the logical-path
    /// mask (bits 16 to 23).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OrbFlags: u32 {
        /// S: suspend control.
        const SUSPEND_CONTROL = 0x0800_0000;
        /// C: streaming-mode control.
        const STREAMING = 0x0400_0000;
        /// M: modification control.
        const MODIFICATION = 0x0200_0000;
        /// Y: synchronization control.
        const SYNCHRONIZATION = 0x0100_0000;
        /// F: the program consists of format-1 CCWs.
        const FORMAT_1 = 0x0080_0000;
        /// P: the channel may fetch CCWs, address words and data ahead.
        const PREFETCH = 0x0040_0000;
        /// I: initial-status interruption.
        const INITIAL_STATUS = 0x0020_0000;
        /// A: address-limit checking.
        const ADDRESS_LIMIT = 0x0010_0000;
        /// U: suppress the suspended interruption.
        const SUPPRESS_SUSPENDED = 0x0008_0000;
        /// B: transport mode.
        const TRANSPORT = 0x0004_0000;
        /// H: format-2 IDAWs.
        const FORMAT_2_IDAW = 0x0002_0000;
        /// T: format-2 IDAWs name 2 KiB blocks.
        const IDAW_2K = 0x0001_0000;
        /// L: incorrect-length suppression mode.
        const LENGTH_SUPPRESSION = 0x0000_0080;
        /// D: modified CCW indirect data addressing.
        const MIDAW = 0x0000_0040;
        /// X: ORB extension.
        const EXTENSION = 0x0000_0001;
    }
}

/// A command-mode operation-request block of eight words.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Orb {
    /// Interruption parameter.
    pub parameter: U32,
    /// Key, flags and logical-path mask; see [`OrbFlags`].
    pub control: U32,
    /// Channel-program address, bit 0 zero.
    pub program: U32,
    /// Channel-subsystem priority and control-unit priority.
    pub priority: U32,
    /// Reserved.
    pub reserved: [U32; 4],
}

const _: () = assert!(size_of::<Orb>() == 32);

impl Orb {
    /// A request for a program of format-1 CCWs over all paths that `path_mask` allows.
    pub const fn format_1(parameter: u32, program: u32, flags: OrbFlags, path_mask: u8) -> Self {
        let flags = flags.bits() | OrbFlags::FORMAT_1.bits();
        Self {
            parameter: U32::new(parameter),
            control: U32::new(flags | (path_mask as u32) << 8),
            program: U32::new(program),
            priority: U32::ZERO,
            reserved: [U32::ZERO; 4],
        }
    }

    /// The flags.
    pub const fn flags(&self) -> OrbFlags {
        OrbFlags::from_bits_truncate(self.control.get())
    }

    /// The subchannel key (0 to 15).
    pub const fn key(&self) -> u8 {
        (self.control.get() >> 28) as u8
    }

    /// The logical-path mask.
    pub const fn path_mask(&self) -> u8 {
        (self.control.get() >> 8) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_1_request_has_the_architected_bytes() {
        let orb = Orb::format_1(0xCAFE_F00D, 0x1000, OrbFlags::PREFETCH, 0x80);
        assert_eq!(
            orb.as_bytes()[..12],
            [0xCA, 0xFE, 0xF0, 0x0D, 0x00, 0xC0, 0x80, 0x00, 0, 0, 0x10, 0]
        );
        assert_eq!(orb.path_mask(), 0x80);
        assert!(orb.flags().contains(OrbFlags::FORMAT_1));
    }
}
