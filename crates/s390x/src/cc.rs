//! The condition code, as a type.
//!
//! Two bits of the PSW say how an instruction ended. What each value means is the instruction's
//! affair (see [`crate::io`] for the I/O instructions); here are only the four values.
//!
//! Source: *z/Architecture Principles of Operation*, chapter 4, "Program-Status Word".

/// The condition code an instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ConditionCode {
    /// Condition code 0: for most instructions, done as asked.
    Cc0 = 0,
    #[allow(missing_docs)]
    Cc1 = 1,
    #[allow(missing_docs)]
    Cc2 = 2,
    /// Condition code 3: for most instructions, not operational or not available.
    Cc3 = 3,
}

impl ConditionCode {
    /// The condition code in the two low-order bits of `bits`; higher bits are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Cc0,
            1 => Self::Cc1,
            2 => Self::Cc2,
            _ => Self::Cc3,
        }
    }

    /// The code as a number from 0 to 3.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

impl core::fmt::Display for ConditionCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cc {}", self.bits())
    }
}

/// Executes one instruction and gives the condition code that it has set. Before it, the code is made `$dirty`, which the
/// instruction would not leave there on success: one that is wrongly not executed, or a hypervisor that forgets to set the code,
/// is then seen as a failure and never as success. The operands are those of [`asm!`](core::arch::asm).
#[cfg(target_arch = "s390x")]
macro_rules! condition_code {
    (dirty $dirty:literal, $instruction:expr, $($operand:tt)*) => {{
        let ipm: u64;
        core::arch::asm!(
            "tmll {cc},3",
            $instruction,
            "ipm {cc}",
            $($operand)*,
            options(nostack),
            cc = inout(reg) $dirty => ipm,
        );
        $crate::cc::ConditionCode::from_ipm(ipm)
    }};
}
#[cfg(target_arch = "s390x")]
pub(crate) use condition_code;

#[cfg(target_arch = "s390x")]
impl ConditionCode {
    /// The condition code out of what INSERT PROGRAM MASK put into a register
    /// (bits 34 and 35 of the register).
    pub(crate) const fn from_ipm(ipm: u64) -> Self {
        Self::from_bits((ipm >> 28) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_low_bits_count() {
        for bits in 0..=255u8 {
            assert_eq!(ConditionCode::from_bits(bits).bits(), bits & 3);
        }
    }
}
