//! Transport-mode formats (*Principles of Operation*, chapter 15, "Transport-control word"): their
//! shape only. Nothing here builds or runs a transport-mode program.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A transport-control word; lies on a 64-byte boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tcw {
    /// Format (bits 0 and 1) and flags (bits 8 to 31).
    pub flags: U32,
    /// TCCB length, R and W.
    pub control: U32,
    /// Output-data address.
    pub output: U64,
    /// Input-data address.
    pub input: U64,
    /// Transport-status-block address.
    pub tsb: U64,
    /// Transport-command-control-block address.
    pub tccb: U64,
    /// Output count.
    pub output_count: U32,
    /// Input count.
    pub input_count: U32,
    /// Reserved.
    pub reserved: [U32; 3],
    /// Interrogate-TCW address.
    pub interrogate: U32,
}

const _: () = assert!(size_of::<Tcw>() == 64);

impl Tcw {
    /// TCCBL: the length of the TCCB's variable part, in words.
    pub const fn tccb_length(&self) -> u8 {
        (self.control.get() >> 18) as u8 & 0x3F
    }

    /// R: data goes to storage.
    pub const fn reads(&self) -> bool {
        self.control.get() & 0x0002_0000 != 0
    }

    /// W: data comes from storage.
    pub const fn writes(&self) -> bool {
        self.control.get() & 0x0001_0000 != 0
    }
}

/// The header of a transport-command-control block; device-command words follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TccbHeader {
    /// Format.
    pub format: u8,
    /// Reserved.
    pub reserved_1: [u8; 6],
    /// Length of the transport-command area.
    pub length: u8,
    /// Service-action code.
    pub service_action: U16,
    /// Reserved.
    pub reserved_2: u8,
    /// Priority.
    pub priority: u8,
    /// Reserved.
    pub reserved_3: U32,
}

const _: () = assert!(size_of::<TccbHeader>() == 16);

/// A device-command word of a TCCB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Dcw {
    /// Command code.
    pub command: u8,
    /// Flags.
    pub flags: u8,
    /// Reserved.
    pub reserved: u8,
    /// Bytes of control data.
    pub control_count: u8,
    /// Byte count.
    pub count: U32,
}

const _: () = assert!(size_of::<Dcw>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcw_has_the_architected_bits() {
        let tcw = Tcw {
            control: U32::new(0x00AA_0000),
            ..Tcw::default()
        };
        assert_eq!(tcw.tccb_length(), 0x2A);
        assert!(tcw.reads());
        assert!(!tcw.writes());
    }
}
