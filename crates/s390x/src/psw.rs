//! The program-status word.
//!
//! The PSW holds the instruction address and the state that decides how instructions run and which
//! interruptions may be taken. There are two formats:
//!
//! * [`Psw`]: the z/Architecture PSW of 16 bytes, which LPSWE loads and interruptions swap.
//! * [`ShortPsw`]: 8 bytes, with a 31-bit address: what IPL loads from location 0 and what the
//!   restart at IPL of a list-directed load begins with.
//!
//! ```text
//! bit 0 1      5 6 7 8   11 12 13 14 15 16 17 18 19 20   23 24      31 32 33             63
//!     0 R 000  T I E  key   0   M  W  P  AS    CC  prog mask  0 ..   EA BA 0             ...
//! ```
//!
//! The fields are plain native integers: a PSW exists only in the storage of an s390x CPU, or in a
//! file that [`ShortPsw::to_bytes`] makes.
//!
//! Source: *Principles of Operation*, chapter 4, "Program-Status-Word Format" and "Short PSW Format".

use bitflags::bitflags;

bitflags! {
    /// The first doubleword of the PSW, by the names of its bits.
    ///
    /// The storage key (bits 8-11), the condition code and the program mask are values, not
    /// flags, and have no names here.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PswMask: u64 {
        /// Bit 6 (I): I/O interruptions may be taken, as far as CR 6 lets their subclass.
        const IO = 1 << (63 - 6);
        /// Bit 7 (E): external interruptions may be taken, as far as CR 0 lets their subclass.
        const EXTERNAL = 1 << (63 - 7);
        /// Bit 13 (M): machine checks may be taken, as far as CR 14 lets their subclass.
        const MACHINE_CHECK = 1 << (63 - 13);
        /// Bit 14 (W): wait: no instruction is executed.
        const WAIT = 1 << (63 - 14);
        /// Bit 31 (EA): with [`PswMask::BASIC_ADDRESSING`], 64-bit addressing.
        const EXTENDED_ADDRESSING = 1 << (63 - 31);
        /// Bit 32 (BA): 31-bit addressing, or 64-bit with [`PswMask::EXTENDED_ADDRESSING`].
        const BASIC_ADDRESSING = 1 << (63 - 32);
        /// The other bits stay as they are when a PSW is taken apart and put together.
        const _ = !0;
    }
}

impl PswMask {
    /// Supervisor state, 64-bit addressing, everything disabled, key 0: how all of this runs.
    pub const DISABLED: Self = Self::EXTENDED_ADDRESSING.union(Self::BASIC_ADDRESSING);

    /// A wait in which nothing is enabled: the end.
    pub const DISABLED_WAIT: Self = Self::DISABLED.union(Self::WAIT);
}

/// The z/Architecture PSW.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Psw {
    /// Bits 0-63.
    pub mask: PswMask,
    /// Bits 64-127: the instruction address.
    pub address: u64,
}

const _: () = assert!(size_of::<Psw>() == 16);

impl Psw {
    /// The PSW with this mask and this instruction address.
    pub const fn new(mask: PswMask, address: u64) -> Self {
        Self { mask, address }
    }
}

impl core::fmt::Debug for Psw {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x} {:016x}", self.mask.bits(), self.address)
    }
}

/// The PSW of 8 bytes with a 31-bit instruction address, as IPL loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ShortPsw(u64);

impl ShortPsw {
    /// Bit 12, which tells a short PSW and must be one.
    const SHORT: u64 = 1 << (63 - 12);

    /// The short form of `mask` and `address`.
    ///
    /// `None` if the address does not fit into 31 bits or 64-bit addressing is asked for: the CPU
    /// is in ESA/390 mode after IPL and would refuse it.
    pub const fn new(mask: PswMask, address: u64) -> Option<Self> {
        let low = mask.bits() & 0x7FFF_FFFF;
        if address >= 1 << 31 || low != 0 || mask.contains(PswMask::EXTENDED_ADDRESSING) {
            return None;
        }
        Some(Self(mask.bits() | Self::SHORT | address))
    }

    /// The eight bytes as they stand in storage or in a file.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::Psw;
    use core::arch::asm;

    impl Psw {
        /// EXTRACT PSW: the mask as it is now (the address is not part of it and reads 0).
        #[inline]
        pub fn current_mask() -> super::PswMask {
            let (high, low): (u64, u64);
            // SAFETY: changes the two registers' low words only.
            unsafe {
                asm!(
                    "epsw {high},{low}",
                    high = inout(reg) 0u64 => high,
                    low = inout(reg_addr) 0u64 => low,
                    options(nomem, nostack),
                );
            }
            super::PswMask::from_bits_retain((high << 32) | (low & 0xFFFF_FFFF))
        }

        /// LOAD PSW EXTENDED: go on as this PSW says. There is no way back.
        ///
        /// # Safety
        /// What runs next at the PSW's address must be able to do so with the present registers.
        #[inline]
        pub unsafe fn load(self) -> ! {
            // SAFETY: the caller's.
            unsafe { asm!("lpswe 0({})", in(reg_addr) &self, options(noreturn)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ipl_psw_of_a_31_bit_program() {
        let psw = ShortPsw::new(PswMask::BASIC_ADDRESSING, 0x1_0000).unwrap();
        assert_eq!(
            psw.to_bytes(),
            [0x00, 0x08, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00]
        );
    }

    #[test]
    fn a_short_psw_has_no_room_for_more_than_31_bits() {
        assert_eq!(ShortPsw::new(PswMask::DISABLED, 0), None);
        assert_eq!(ShortPsw::new(PswMask::BASIC_ADDRESSING, 1 << 31), None);
    }
}
