//! The CPU: who it is (STIDP), and where it ends (disabled wait).
//!
//! Source: *Principles of Operation*, chapter 10, "STORE CPU ID"; chapter 4, "CPU Signaling and Response".

/// The order of SIGNAL PROCESSOR that sets the architecture: parameter 1 is z/Architecture for all CPUs.
pub const SET_ARCHITECTURE: u8 = 0x12;

/// What STORE CPU ID tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct CpuId(u64);

impl CpuId {
    /// The CPU identification number (24 bits).
    pub const fn identification(self) -> u32 {
        (self.0 >> 32) as u32 & 0xFF_FFFF
    }

    /// The machine type, to be read in hexadecimal: 0x2827 is a zEC12.
    pub const fn machine_type(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// The address in a disabled-wait PSW: the last thing a program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct WaitCode(u64);

impl WaitCode {
    /// "The program ended as it should": QEMU and KVM shut the machine down on a disabled wait at
    /// an address that ends in 0xFFF, and do not call it a crash.
    pub const QUIESCED: Self = Self(0xFFF);

    /// A code of the program's own choice.
    pub const fn new(code: u64) -> Self {
        Self(code)
    }

    /// The code as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{CpuId, WaitCode};
    use crate::psw::{Psw, PswMask};
    use core::arch::asm;

    /// STORE CPU ID.
    #[inline]
    pub fn stidp() -> CpuId {
        let mut id = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stidp 0({})", in(reg_addr) &mut id, options(nostack)) }
        CpuId(id)
    }

    /// The end: a wait in which nothing is enabled, with `code` for who looks at the PSW.
    pub fn disabled_wait(code: WaitCode) -> ! {
        // SAFETY: nothing runs after this.
        unsafe { Psw::new(PswMask::DISABLED_WAIT, code.get()).load() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_id_comes_apart() {
        let id = CpuId(0xFF00_2623_2827_8000);
        assert_eq!(id.identification(), 0x2623);
        assert_eq!(id.machine_type(), 0x2827);
    }
}
