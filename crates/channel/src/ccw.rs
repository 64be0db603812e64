//! Channel-command words (*Principles of Operation*, chapter 15, "Channel-command word").

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// The flag byte of a CCW, the same in both formats.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CcwFlags: u8 {
        /// Chain data.
        const CD = 0x80;
        /// Chain command.
        const CC = 0x40;
        /// Suppress length indication.
        const SLI = 0x20;
        /// Skip the transfer to storage.
        const SKIP = 0x10;
        /// Program-controlled interruption.
        const PCI = 0x08;
        /// Indirect data address.
        const IDA = 0x04;
        const SUSPEND = 0x02;
        /// Modified indirect data address.
        const MIDA = 0x01;
    }
}

/// Common command codes. A command code is a byte whose low bits say the direction; device types
/// define the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCode(pub u8);

impl CommandCode {
    /// Control: no operation.
    pub const NOP: Self = Self(0x03);
    /// Basic sense.
    pub const SENSE: Self = Self(0x04);
    /// Transfer in channel, as format 1 has it; format 0 ignores the high four bits.
    pub const TIC: Self = Self(0x08);
    pub const SENSE_ID: Self = Self(0xE4);

    /// Whether the code transfers data to storage (read, read backward, sense).
    pub const fn reads(self) -> bool {
        matches!(self.0 & 0x03, 0x02) || matches!(self.0 & 0x0F, 0x04 | 0x0C)
    }
}

/// What a command does to the state of its device that lasts for a chain. Nothing else, or it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandClass {
    /// Nothing, and moves no data.
    Nothing,
    Reads,
    /// It sets the state by its argument.
    Sets,
    /// It compares its argument with a record, and ends with status modifier if that is the one.
    Searches,
}

/// The class of each command that does nothing else, as the kind of device has it: what makes a chain that can be said again.
pub type Classify = fn(CommandCode) -> Option<CommandClass>;

/// A format-1 CCW: 31-bit data address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ccw1 {
    /// Command code.
    pub command: u8,
    /// Flags; see [`CcwFlags`].
    pub flags: u8,
    /// Byte count.
    pub count: U16,
    /// Data address, bit 0 zero.
    pub address: U32,
}

const _: () = assert!(size_of::<Ccw1>() == 8);

impl Ccw1 {
    /// A CCW from its parts.
    pub const fn new(command: CommandCode, flags: CcwFlags, count: u16, address: u32) -> Self {
        Self {
            command: command.0,
            flags: flags.bits(),
            count: U16::new(count),
            address: U32::new(address),
        }
    }

    pub const fn flags(&self) -> CcwFlags {
        CcwFlags::from_bits_retain(self.flags)
    }
}

/// A format-0 CCW: 24-bit data address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ccw0 {
    /// Command code.
    pub command: u8,
    /// Data address, 24 bits.
    pub address: [u8; 3],
    /// Flags; see [`CcwFlags`].
    pub flags: u8,
    /// Not used.
    pub reserved: u8,
    /// Byte count.
    pub count: U16,
}

const _: () = assert!(size_of::<Ccw0>() == 8);

impl From<Ccw0> for Ccw1 {
    /// The same command in format 1. A format-0 transfer in channel ignores the high four bits of
    /// its code, its flags and its count; format 1 wants them zero.
    fn from(ccw: Ccw0) -> Self {
        let [high, middle, low] = ccw.address;
        let address = U32::new(u32::from_be_bytes([0, high, middle, low]));
        if ccw.command & 0x0F == CommandCode::TIC.0 {
            return Self {
                command: CommandCode::TIC.0,
                address,
                ..Self::default()
            };
        }
        Self {
            command: ccw.command,
            flags: ccw.flags,
            count: ccw.count,
            address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_1_ccw_has_the_architected_bytes() {
        let ccw = Ccw1::new(CommandCode::SENSE_ID, CcwFlags::SLI, 7, 0x1234_5678);
        assert_eq!(
            ccw.as_bytes(),
            [0xE4, 0x20, 0, 7, 0x12, 0x34, 0x56, 0x78].as_slice()
        );
    }

    #[test]
    fn a_format_0_tic_loses_what_the_channel_ignores() {
        let ccw0 = Ccw0::read_from_bytes(&[0xF8, 0x12, 0x34, 0x56, 0xFF, 0, 0xAA, 0xBB]).unwrap();
        let ccw = Ccw1::from(ccw0);
        assert_eq!(ccw.as_bytes(), [8, 0, 0, 0, 0, 0x12, 0x34, 0x56].as_slice());
    }

    #[test]
    fn the_low_bits_of_a_command_say_the_direction() {
        for read in [0x02, 0x06, 0x0C, 0x04, 0xE4, 0x22] {
            assert!(CommandCode(read).reads(), "{read:02x}");
        }
        for other in [0x01, 0x03, 0x08, 0x63, 0x31] {
            assert!(!CommandCode(other).reads(), "{other:02x}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_format_0_ccw_means_the_same_in_format_1(bytes: [u8; 8]) {
            let ccw0 = Ccw0::read_from_bytes(&bytes).unwrap();
            proptest::prop_assert_eq!(ccw0.as_bytes(), bytes.as_slice());
            let ccw = Ccw1::from(ccw0);
            let again = Ccw1::read_from_bytes(ccw.as_bytes()).unwrap();
            proptest::prop_assert_eq!(again, ccw);
            proptest::prop_assert!(ccw.address.get() <= 0x00FF_FFFF);
            if ccw.command != CommandCode::TIC.0 {
                proptest::prop_assert_eq!(ccw.command, bytes[0]);
                proptest::prop_assert_eq!(ccw.flags().bits(), bytes[4]);
                proptest::prop_assert_eq!(ccw.count, ccw0.count);
            }
        }
    }
}
