//! The TOD clock, the clock comparator and the CPU timer.
//!
//! The TOD clock is a 64-bit counter whose bit 51 steps each microsecond: 4096 units are one
//! microsecond, and it wraps after 143 years. The epoch is 1900 by convention, or IPL, or anything
//! a hypervisor makes it: only differences mean anything here.
//!
//! **Limits.** Epochs (STCKE's epoch index) are carried but not used: comparisons are plain
//! unsigned ones, as the clock comparator's are with the default CR 0.
//!
//! Source: *Principles of Operation*, chapter 4, "Timing".

use core::time::Duration;

/// A point in time, or a reading, of the TOD clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Tod(u64);

impl Tod {
    /// Units in one microsecond.
    pub const UNITS_PER_MICROSECOND: u64 = 4096;

    /// The last point in time there is: as a clock-comparator value, "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// From the clock's own units.
    #[must_use]
    pub const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// In the clock's own units.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.0
    }

    /// From whole microseconds since the clock's zero; saturates at [`Tod::NEVER`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(Self::UNITS_PER_MICROSECOND))
    }

    /// Whole microseconds since the clock's zero.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / Self::UNITS_PER_MICROSECOND
    }

    /// Whole microseconds from `earlier` to here; 0 if `earlier` is the later one.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / Self::UNITS_PER_MICROSECOND
    }

    /// The time from `earlier` to here; zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let units = self.0.saturating_sub(earlier.0);
        let micros = units / Self::UNITS_PER_MICROSECOND;
        let nanos = units % Self::UNITS_PER_MICROSECOND * 1000 / Self::UNITS_PER_MICROSECOND;
        Duration::from_nanos(micros.saturating_mul(1000).saturating_add(nanos))
    }

    /// The point `micros` microseconds later; saturates at [`Tod::NEVER`].
    #[must_use]
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(
            self.0
                .saturating_add(micros.saturating_mul(Self::UNITS_PER_MICROSECOND)),
        )
    }
}

impl core::fmt::Debug for Tod {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Tod({:016x})", self.0)
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::Tod;
    use core::arch::asm;

    impl Tod {
        /// The clock now, by STORE CLOCK FAST: cheap; two readings can be equal.
        #[inline]
        #[must_use]
        pub fn now() -> Self {
            stckf()
        }
    }

    /// STORE CLOCK FAST.
    #[inline]
    #[must_use]
    pub fn stckf() -> Tod {
        let mut tod = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stckf 0({})", in(reg_addr) &mut tod, options(nostack)) }
        Tod(tod)
    }

    /// STORE CLOCK: serialises, and no two readings in the configuration are equal.
    #[inline]
    #[must_use]
    pub fn stck() -> Tod {
        let mut tod = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stck 0({})", in(reg_addr) &mut tod, options(nostack)) }
        Tod(tod)
    }

    /// What STORE CLOCK EXTENDED stores.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExtendedTod {
        /// The epoch index: how often bit 0 has wrapped.
        pub epoch: u8,
        /// Bits 0-63 of the clock.
        pub tod: Tod,
        /// Bits 64-103 of the clock.
        pub fraction: u64,
        /// The TOD programmable field.
        pub programmable: u16,
    }

    /// STORE CLOCK EXTENDED.
    #[inline]
    #[must_use]
    pub fn stcke() -> ExtendedTod {
        let mut stored = 0u128;
        // SAFETY: stores sixteen bytes at an operand of our own.
        unsafe { asm!("stcke 0({})", in(reg_addr) &mut stored, options(nostack)) }
        ExtendedTod {
            epoch: (stored >> 120) as u8,
            tod: Tod((stored >> 56) as u64),
            fraction: (stored >> 16) as u64 & 0xFF_FFFF_FFFF,
            programmable: stored as u16,
        }
    }

    /// SET CLOCK COMPARATOR: the clock-comparator condition exists whenever the clock is past `at`.
    ///
    /// Nothing is interrupted by this alone: CR 0 and the PSW must allow it (see [`crate::idle`]).
    #[inline]
    pub fn sckc(at: Tod) {
        // SAFETY: reads eight bytes of our own; no interruption can be taken but in the idle wait.
        unsafe { asm!("sckc 0({})", in(reg_addr) &at.0, options(nostack)) }
    }

    /// STORE CLOCK COMPARATOR.
    #[inline]
    #[must_use]
    pub fn stckc() -> Tod {
        let mut at = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stckc 0({})", in(reg_addr) &mut at, options(nostack)) }
        Tod(at)
    }

    /// SET CPU TIMER: a count-down in TOD-clock units; negative is the interruption condition.
    #[inline]
    pub fn spt(units: i64) {
        // SAFETY: reads eight bytes of our own.
        unsafe { asm!("spt 0({})", in(reg_addr) &units, options(nostack)) }
    }

    /// STORE CPU TIMER.
    #[inline]
    #[must_use]
    pub fn stpt() -> i64 {
        let mut units = 0i64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stpt 0({})", in(reg_addr) &mut units, options(nostack)) }
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bit_51_is_a_microsecond() {
        assert_eq!(Tod::from_micros(1).units(), 1 << (63 - 51));
        assert_eq!(Tod::from_units(8191).as_micros(), 1);
    }

    #[test]
    fn never_stays_never() {
        assert_eq!(Tod::NEVER.plus_micros(1), Tod::NEVER);
        assert_eq!(Tod::from_micros(u64::MAX), Tod::NEVER);
    }

    proptest! {
        #[test]
        fn later_by_what_was_added(start in 0..u64::MAX / 2, micros in 0..1u64 << 50) {
            let start = Tod::from_units(start);
            let later = start.plus_micros(micros);
            prop_assert_eq!(later.micros_since(start), micros);
            prop_assert_eq!(later.since(start), Duration::from_micros(micros));
            prop_assert_eq!(start.micros_since(later), 0);
        }
    }
}
