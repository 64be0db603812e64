//! The operation-request block (*Principles of Operation*, chapter 15, "Operation-request block").

use thiserror::Error;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// Word 1 of an ORB, without the storage key (bits 0 to 3) and the logical-path mask (bits 16
    /// to 23). In a transport-mode ORB only B and X have a meaning.
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
        /// X: ORB extension: the channel looks at words 3 to 7.
        const EXTENSION = 0x0000_0001;
    }
}

/// An operand exception: reserved bits of an ORB or a SCHIB are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("operand exception")]
pub struct OperandException;

/// Which kind of program an ORB names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrbMode {
    /// Word 2 is the address of a CCW.
    Command,
    /// Word 2 is the address of a transport-control word.
    Transport,
}

/// The size of the blocks that the IDAWs of a program name, and their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdawFormat {
    /// 31-bit words, 2 KiB blocks.
    Format1,
    /// 64-bit words, 2 KiB blocks.
    Format2Of2K,
    /// 64-bit words, 4 KiB blocks.
    Format2Of4K,
}

impl IdawFormat {
    /// Bytes of a block, a power of two.
    pub const fn block(self) -> u32 {
        match self {
            Self::Format1 | Self::Format2Of2K => 0x800,
            Self::Format2Of4K => 0x1000,
        }
    }

    /// Bytes of a word, a power of two; the list lies on such a boundary.
    pub const fn word(self) -> u32 {
        match self {
            Self::Format1 => 4,
            Self::Format2Of2K | Self::Format2Of4K => 8,
        }
    }
}

/// An operation-request block of eight words. Words 3 to 7 count when
/// [`EXTENSION`](OrbFlags::EXTENSION) is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Orb {
    /// Interruption parameter.
    pub parameter: U32,
    /// Key, flags and logical-path mask; see [`OrbFlags`].
    pub control: U32,
    /// Channel-program address, bit 0 zero. In transport mode the TCW's address.
    pub program: U32,
    /// Channel-subsystem priority (bits 0 to 7) and control-unit priority (bits 16 to 23).
    pub priority: U32,
    pub reserved: [U32; 4],
}

const _: () = assert!(size_of::<Orb>() == 32);

impl Orb {
    const KEY: u32 = 0xF000_0000;
    /// Bits 26 to 30 of word 1.
    const RESERVED: u32 = 0x0000_003E;
    /// Bits 4 to 12, 14, 15 and 24 to 30 of word 1 of a transport-mode ORB.
    const RESERVED_TRANSPORT: u32 = 0x0FFB_00FE;
    const RESERVED_PRIORITY: u32 = 0x00FF_00FF;
    const RESERVED_PRIORITY_TRANSPORT: u32 = 0x00FF_FFFF;
    const RESERVED_PROGRAM: u32 = 0x8000_0000;

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

    pub const fn flags(&self) -> OrbFlags {
        OrbFlags::from_bits_truncate(self.control.get())
    }

    /// Replaces the flags; key, path mask and reserved bits stay.
    pub fn set_flags(&mut self, flags: OrbFlags) {
        let rest = self.control.get() & !OrbFlags::all().bits();
        self.control = U32::new(rest | flags.bits());
    }

    /// The subchannel key (0 to 15).
    pub const fn key(&self) -> u8 {
        (self.control.get() >> 28) as u8
    }

    /// Sets the subchannel key; only the low four bits count.
    pub fn set_key(&mut self, key: u8) {
        let rest = self.control.get() & !Self::KEY;
        self.control = U32::new(rest | u32::from(key) << 28);
    }

    /// The logical-path mask.
    pub const fn path_mask(&self) -> u8 {
        (self.control.get() >> 8) as u8
    }

    /// Sets both priorities and the extension flag.
    pub fn set_priorities(&mut self, css: u8, cu: u8) {
        self.set_flags(self.flags() | OrbFlags::EXTENSION);
        self.priority = U32::new(u32::from_be_bytes([css, 0, cu, 0]));
    }

    /// Command or transport mode.
    pub const fn mode(&self) -> OrbMode {
        if self.flags().contains(OrbFlags::TRANSPORT) {
            OrbMode::Transport
        } else {
            OrbMode::Command
        }
    }

    /// What the indirect-data-address words of the program are. T counts only with H.
    pub const fn idaw_format(&self) -> IdawFormat {
        let flags = self.flags();
        if !flags.contains(OrbFlags::FORMAT_2_IDAW) {
            IdawFormat::Format1
        } else if flags.contains(OrbFlags::IDAW_2K) {
            IdawFormat::Format2Of2K
        } else {
            IdawFormat::Format2Of4K
        }
    }

    /// What START SUBCHANNEL checks before it does anything else: reserved bits are zero (of words
    /// 3 to 7 only with X), and a transport-mode ORB is an extended one. Facilities count as
    /// installed; who lacks one (transport mode, MIDAWs) refuses its bit besides.
    pub fn check(&self) -> Result<OrbMode, OperandException> {
        let (mode, reserved, priority) = match self.mode() {
            OrbMode::Command => (OrbMode::Command, Self::RESERVED, Self::RESERVED_PRIORITY),
            OrbMode::Transport => (
                OrbMode::Transport,
                Self::RESERVED_TRANSPORT,
                Self::RESERVED_PRIORITY_TRANSPORT,
            ),
        };
        let extended = self.flags().contains(OrbFlags::EXTENSION);
        let good = self.control.get() & reserved == 0
            && self.program.get() & Self::RESERVED_PROGRAM == 0
            && (extended || mode == OrbMode::Command)
            && (!extended
                || self.priority.get() & priority == 0 && self.reserved == [U32::ZERO; 4]);
        if good {
            Ok(mode)
        } else {
            Err(OperandException)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_reserved_bit_is_an_operand_exception() {
        let good = Orb::format_1(0, 0x1000, OrbFlags::all() - OrbFlags::TRANSPORT, 0xFF);
        assert_eq!(good.check(), Ok(OrbMode::Command));
        for bit in 1..=5 {
            let mut orb = good;
            orb.control = U32::new(orb.control.get() | 1 << bit);
            assert_eq!(orb.check(), Err(OperandException), "bit {}", 31 - bit);
        }
        let mut orb = good;
        orb.program = U32::new(0x8000_0000);
        assert!(orb.check().is_err());
    }

    #[test]
    fn words_3_to_7_count_only_with_the_extension() {
        let mut orb = Orb::format_1(0, 0, OrbFlags::empty(), 0x80);
        orb.priority = U32::new(0x1122_3344);
        orb.reserved[3] = U32::new(1);
        assert!(orb.check().is_ok());
        orb.set_flags(orb.flags() | OrbFlags::EXTENSION);
        assert!(orb.check().is_err());
        orb.reserved[3] = U32::ZERO;
        orb.set_priorities(0x11, 0x33);
        assert!(orb.check().is_ok());
        assert_eq!(orb.priority.get(), 0x1100_3300);
    }

    #[test]
    fn a_transport_mode_orb_is_extended_and_has_no_command_mode_bit() {
        let mut orb = Orb {
            control: U32::new(0xF004_FF01),
            ..Orb::default()
        };
        assert_eq!(orb.check(), Ok(OrbMode::Transport));
        orb.control = U32::new(0xF004_FF00);
        assert!(orb.check().is_err());
        orb.control = U32::new(0xF084_FF01);
        assert!(orb.check().is_err());
    }

    #[test]
    fn the_2k_bit_counts_only_for_format_2() {
        let of = |flags| Orb::format_1(0, 0, flags, 0x80).idaw_format();
        assert_eq!(of(OrbFlags::IDAW_2K), IdawFormat::Format1);
        assert_eq!(of(OrbFlags::FORMAT_2_IDAW), IdawFormat::Format2Of4K);
        assert_eq!(
            of(OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K),
            IdawFormat::Format2Of2K
        );
    }

    proptest! {
        #[test]
        fn what_is_set_is_what_is_read(control: u32, key in 0..16u8, flags: u32) {
            let flags = OrbFlags::from_bits_truncate(flags);
            let mut orb = Orb { control: U32::new(control), ..Orb::default() };
            orb.set_flags(flags);
            orb.set_key(key);
            prop_assert_eq!((orb.flags(), orb.key()), (flags, key));
            prop_assert_eq!(orb.path_mask(), (control >> 8) as u8);
            prop_assert_eq!(orb.control.get() & Orb::RESERVED, control & Orb::RESERVED);
        }
    }
}
