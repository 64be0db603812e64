//! SENSE ID data (*ESA/390 Common I/O-Device Commands*, SA22-7204, "Sense ID").

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first seven bytes of sense-ID data.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SenseId {
    /// X'FF' in a valid answer.
    pub valid: u8,
    /// Control-unit type.
    pub cu_type: U16,
    /// Control-unit model.
    pub cu_model: u8,
    /// Device type.
    pub dev_type: U16,
    /// Device model.
    pub dev_model: u8,
}

const _: () = assert!(size_of::<SenseId>() == 7);

impl SenseId {
    /// Whether the answer is one.
    pub const fn is_valid(&self) -> bool {
        self.valid == 0xFF
    }
}

impl fmt::Display for SenseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}/{:02x} {:04x}/{:02x}",
            self.cu_type, self.cu_model, self.dev_type, self.dev_model
        )
    }
}
