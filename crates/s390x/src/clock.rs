//! The TOD clock and the clock comparator.
//!
//! The TOD clock is a 64-bit counter whose bit 51 steps each microsecond: 4096 units are one
//! microsecond, and it wraps after 143 years. The epoch is 1900 by convention, or IPL, or anything
//! a hypervisor makes it: only differences mean anything here.
//!
//! **Limits.** Epochs are not looked at: comparisons are plain unsigned ones, as the clock
//! comparator's are with the default CR 0.
//!
//! Source: *Principles of Operation*, chapter 4, "Timing".

use core::time::Duration;

/// A point in time, or a reading, of the TOD clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Tod(u64);

impl Tod {
    /// Units in one microsecond.
    pub const UNITS_PER_MICROSECOND: u64 = 4096;

    /// The last point in time there is: as a clock-comparator value, "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// From the clock's own units.
    pub const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// In the clock's own units.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// From whole microseconds since the clock's zero; saturates at [`Tod::NEVER`].
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(Self::UNITS_PER_MICROSECOND))
    }

    /// Whole microseconds since the clock's zero.
    pub const fn as_micros(self) -> u64 {
        self.0 / Self::UNITS_PER_MICROSECOND
    }

    /// Whole microseconds from `earlier` to here; 0 if `earlier` is the later one.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / Self::UNITS_PER_MICROSECOND
    }

    /// The time from `earlier` to here; zero if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        let units = self.0.saturating_sub(earlier.0);
        let micros = units / Self::UNITS_PER_MICROSECOND;
        let nanos = units % Self::UNITS_PER_MICROSECOND * 1000 / Self::UNITS_PER_MICROSECOND;
        Duration::from_nanos(micros.saturating_mul(1000).saturating_add(nanos))
    }

    /// The point `micros` microseconds later; saturates at [`Tod::NEVER`].
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(Self::from_micros(micros).0))
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
        pub fn now() -> Self {
            let mut tod = 0u64;
            // SAFETY: stores eight bytes at an operand of our own.
            unsafe { asm!("stckf 0({})", in(reg_addr) &mut tod, options(nostack)) }
            Self(tod)
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
    pub fn stckc() -> Tod {
        let mut at = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stckc 0({})", in(reg_addr) &mut at, options(nostack)) }
        Tod(at)
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
