//! Control registers: the CPU's switches, those of them that a program without DAT needs.
//!
//! | register | what it decides here |
//! |---|---|
//! | [`Cr0`] | which external interruptions are enabled; low-address protection |
//! | [`Cr6`] | which I/O-interruption subclasses are enabled |
//! | [`Cr14`] | which repressible machine checks are enabled |
//!
//! Each has `read` (STCTG), `write` (LCTLG) and `update`. An enabled subclass still interrupts only
//! while the PSW enables its class, which here happens in [`crate::idle`] and nowhere else.
//!
//! **Limits.** The translation registers (1, 7, 13), PER (9-11), tracing (12) and the linkage stack
//! (15) have no type: nothing here uses them. [`read_all`] shows them for a report.
//!
//! Source: *Principles of Operation*, chapter 4, "Control Registers" (figure "Assignment of
//! Control-Register Fields").

use bitflags::bitflags;

bitflags! {
    /// Control register 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Cr0: u64 {
        /// Bit 35: stores by the program to effective addresses 0-511 and 4096-4607 are refused
        /// (protection exception). Interruptions store there all the same.
        const LOW_ADDRESS_PROTECTION = 1 << (63 - 35);
        /// Bit 48: external interruption 0x1200, another CPU failed.
        const MALFUNCTION_ALERT = 1 << (63 - 48);
        /// Bit 49: external interruption 0x1201, SIGP emergency signal.
        const EMERGENCY_SIGNAL = 1 << (63 - 49);
        /// Bit 50: external interruption 0x1202, SIGP external call.
        const EXTERNAL_CALL = 1 << (63 - 50);
        /// Bit 52: external interruption 0x1004, the clock comparator.
        const CLOCK_COMPARATOR = 1 << (63 - 52);
        /// Bit 53: external interruption 0x1005, the CPU timer.
        const CPU_TIMER = 1 << (63 - 53);
        /// Bit 54: external interruption 0x2401, the service signal.
        const SERVICE_SIGNAL = 1 << (63 - 54);
        /// Bit 57: external interruption 0x0040, the operator's interrupt key.
        const INTERRUPT_KEY = 1 << (63 - 57);
        /// Bit 58: external interruption 0x1407, measurement alert.
        const MEASUREMENT_ALERT = 1 << (63 - 58);
        /// Bit 59: external interruption 0x1406, timing alert.
        const TIMING_ALERT = 1 << (63 - 59);
        /// The other bits stay as they are.
        const _ = !0;
    }
}

impl Cr0 {
    /// All external-interruption subclasses that have a name here.
    pub const EXTERNAL_SUBCLASSES: Self = Self::MALFUNCTION_ALERT
        .union(Self::EMERGENCY_SIGNAL)
        .union(Self::EXTERNAL_CALL)
        .union(Self::CLOCK_COMPARATOR)
        .union(Self::CPU_TIMER)
        .union(Self::SERVICE_SIGNAL)
        .union(Self::INTERRUPT_KEY)
        .union(Self::MEASUREMENT_ALERT)
        .union(Self::TIMING_ALERT);
}

bitflags! {
    /// Control register 6: bit 32 + *i* enables I/O-interruption subclass *i*.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Cr6: u64 {
        /// Every subclass.
        const ALL_SUBCLASSES = 0xFF00_0000;
        /// The other bits stay as they are.
        const _ = !0;
    }
}

impl Cr6 {
    /// The bit that enables a subclass, 0 to 7; higher bits of `subclass` are ignored.
    pub const fn subclass(subclass: u8) -> Self {
        Self::from_bits_retain(0x8000_0000 >> (subclass & 7))
    }
}

bitflags! {
    /// Control register 14.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Cr14: u64 {
        /// Bit 35: machine checks that say "channel reports are pending".
        const CHANNEL_REPORT_PENDING = 1 << (63 - 35);
        /// Bit 36: those that say "it has been put right".
        const RECOVERY = 1 << (63 - 36);
        /// Bit 37: those that say "the machine is slower from now on".
        const DEGRADATION = 1 << (63 - 37);
        /// Bit 38: those that say "something outside the CPU is damaged".
        const EXTERNAL_DAMAGE = 1 << (63 - 38);
        /// Bit 39: those that say "power is about to fail". The condition can stay for long.
        const WARNING = 1 << (63 - 39);
        /// The other bits stay as they are.
        const _ = !0;
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{Cr0, Cr14, Cr6};
    use core::arch::asm;

    macro_rules! control_register {
        ($register:ident, $number:literal) => {
            impl $register {
                /// The register as it is now (STORE CONTROL).
                #[inline]
                pub fn read() -> Self {
                    let mut value = 0u64;
                    // SAFETY: stores eight bytes at an operand of our own.
                    unsafe {
                        asm!(
                            concat!("stctg ", $number, ",", $number, ",0({})"),
                            in(reg_addr) &mut value,
                            options(nostack),
                        );
                    }
                    Self::from_bits_retain(value)
                }

                /// Set the register (LOAD CONTROL).
                ///
                /// # Safety
                /// What it enables from now on is prepared for: no interruption subclass without
                /// a new PSW, no protection that the code around relies on not being there.
                #[inline]
                pub unsafe fn write(self) {
                    let value = self.bits();
                    // SAFETY: the caller's.
                    unsafe {
                        asm!(
                            concat!("lctlg ", $number, ",", $number, ",0({})"),
                            in(reg_addr) &value,
                            options(nostack),
                        );
                    }
                }

                /// Set the register to what `change` makes of it; gives what it was before.
                ///
                /// # Safety
                /// As for [`Self::write`].
                #[inline]
                pub unsafe fn update(change: impl FnOnce(Self) -> Self) -> Self {
                    let before = Self::read();
                    // SAFETY: the caller's.
                    unsafe { change(before).write() };
                    before
                }
            }
        };
    }

    control_register!(Cr0, "0");
    control_register!(Cr6, "6");
    control_register!(Cr14, "14");

    /// All sixteen control registers, as they are.
    pub fn read_all() -> [u64; 16] {
        let mut values = [0u64; 16];
        // SAFETY: stores 128 bytes at an operand of our own.
        unsafe { asm!("stctg 0,15,0({})", in(reg_addr) &mut values, options(nostack)) }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subclass_has_its_own_bit() {
        let mut all = Cr6::empty();
        for number in 0..8 {
            assert!(!all.intersects(Cr6::subclass(number)));
            all |= Cr6::subclass(number);
        }
        assert_eq!(all, Cr6::ALL_SUBCLASSES);
    }

    #[test]
    fn the_masks_are_where_the_manual_has_them() {
        assert_eq!(Cr0::LOW_ADDRESS_PROTECTION.bits(), 0x1000_0000);
        assert_eq!(Cr0::SERVICE_SIGNAL.bits(), 0x200);
        assert_eq!(Cr0::CLOCK_COMPARATOR.bits(), 0x800);
        assert_eq!(Cr14::CHANNEL_REPORT_PENDING.bits(), 0x1000_0000);
    }
}
