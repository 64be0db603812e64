//! What READ DEVICE CHARACTERISTICS says of a disk, and how much one of its tracks holds.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Device characteristics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Characteristics {
    /// Storage-control type.
    pub control: U16,
    /// Storage-control model.
    pub control_model: u8,
    /// Device type.
    pub device: U16,
    /// Device model.
    pub device_model: u8,
    /// Facilities.
    pub facilities: U32,
    /// Device class code.
    pub class: u8,
    /// Device type code.
    pub code: u8,
    /// Primary cylinders; X'FFFE' if they do not fit.
    pub cylinders: U16,
    /// Tracks of a cylinder.
    pub heads: U16,
    /// Sectors of a track.
    pub sectors: u8,
    /// Total track length.
    pub track_length: [u8; 3],
    /// Length of home address and R0.
    pub home_length: U16,
    /// Track-capacity formula, 1 or 2.
    pub formula: u8,
    /// Factor 1.
    pub factor_1: u8,
    /// Factors 2 to 5 of formula 2, factors 2 and 3 (of two bytes each) of formula 1.
    pub factors: [u8; 4],
    /// Not used here: alternate, diagnostic and support cylinders, record identifiers.
    pub other: [u8; 20],
    /// Factor 6 of formula 2.
    pub factor_6: u8,
    /// Not used here.
    pub rest: [u8; 11],
    /// Primary cylinders, where they do not fit above.
    pub long_cylinders: U32,
}

const _: () = assert!(size_of::<Characteristics>() == 64);
const _: () = assert!(core::mem::offset_of!(Characteristics, formula) == 22);
const _: () = assert!(core::mem::offset_of!(Characteristics, factor_6) == 48);

impl Characteristics {
    /// Cylinders: see the long field.
    const LONG: u16 = 0xFFFE;
    /// Most cylinders whose numbers fit into a track address.
    pub const MOST_CYLINDERS: u32 = (1 << 28) - 1;

    /// Facilities: the storage control has PREFIX (byte 6, bit 6).
    pub const PREFIX: u32 = 0x0200_0000;

    /// Whether the storage control has PREFIX.
    pub const fn has_prefix(&self) -> bool {
        self.facilities.get() & Self::PREFIX != 0
    }

    /// How many cylinders there are.
    pub const fn cylinders(&self) -> u32 {
        match self.cylinders.get() {
            Self::LONG => self.long_cylinders.get(),
            cylinders => cylinders as u32,
        }
    }

    /// Whether cylinders and heads are numbers that a track address can have.
    pub fn are_sound(&self) -> bool {
        (1..=Self::MOST_CYLINDERS).contains(&self.cylinders())
            && (1..=15).contains(&self.heads.get())
    }

    /// How many records without key, of `data` bytes each, fit on a track (*Device characteristics*, "track capacity
    /// formulas"). `None` if the device says it by a formula that nobody knows.
    pub fn records_of(&self, data: u32) -> Option<u32> {
        let factor_1 = u32::from(self.factor_1);
        let [f2, f3, f4, f5] = self.factors.map(u32::from);
        let [high, middle, low] = self.track_length;
        let length = u32::from_be_bytes([0, high, middle, low]);
        if factor_1 == 0 || data > 0xFFFF {
            return None;
        }
        let bytes = match self.formula {
            1 => (f2 << 8 | f3).checked_add(data)?.next_multiple_of(factor_1),
            2 if f5 > 0 => {
                let f6 = u32::from(self.factor_6);
                let pieces = (data + f6).div_ceil(2 * f5);
                factor_1 * f2 + (data + f6 + f4 * pieces).next_multiple_of(factor_1)
            }
            _ => return None,
        };
        length.checked_div(bytes)
    }
}
