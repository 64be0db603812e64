//! Program interruptions: the codes and their names.
//!
//! Source: *Principles of Operation*, chapter 6, "Program Interruption" (figure "Program-interruption
//! codes").

/// A program-interruption code, as stored at real locations 142-143.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ProgramInterruptionCode(u16);

impl ProgramInterruptionCode {
    /// Operation exception.
    pub const OPERATION: Self = Self(0x01);
    /// Protection exception.
    pub const PROTECTION: Self = Self(0x04);
    /// Addressing exception.
    pub const ADDRESSING: Self = Self(0x05);
    /// Specification exception.
    pub const SPECIFICATION: Self = Self(0x06);

    /// The bit that says a PER event came along.
    const PER: u16 = 0x0080;
    /// The bit that says a transaction was aborted.
    const TRANSACTION_ABORTED: u16 = 0x0200;

    /// The code as stored.
    #[must_use]
    pub const fn from_raw(code: u16) -> Self {
        Self(code)
    }

    /// The code as stored, with the bits that come on top.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The code alone, without the bits for PER event and aborted transaction.
    #[must_use]
    pub const fn exception(self) -> Self {
        Self(self.0 & !(Self::PER | Self::TRANSACTION_ABORTED))
    }

    /// The exception's name in the manual.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.exception().0 {
            0x00 => "PER event",
            0x01 => "operation exception",
            0x02 => "privileged-operation exception",
            0x03 => "execute exception",
            0x04 => "protection exception",
            0x05 => "addressing exception",
            0x06 => "specification exception",
            0x07 => "data exception",
            0x08 => "fixed-point-overflow exception",
            0x09 => "fixed-point-divide exception",
            0x0A => "decimal-overflow exception",
            0x0B => "decimal-divide exception",
            0x0C => "HFP-exponent-overflow exception",
            0x0D => "HFP-exponent-underflow exception",
            0x0E => "HFP-significance exception",
            0x0F => "HFP-divide exception",
            0x10 => "segment-translation exception",
            0x11 => "page-translation exception",
            0x12 => "translation-specification exception",
            0x13 => "special-operation exception",
            0x15 => "operand exception",
            0x16 => "trace-table exception",
            0x18 => "transaction-constraint exception",
            0x1B => "vector-processing exception",
            0x1C => "space-switch event",
            0x1D => "HFP-square-root exception",
            0x1F => "PC-translation-specification exception",
            0x20 => "AFX-translation exception",
            0x21 => "ASX-translation exception",
            0x22 => "LX-translation exception",
            0x23 => "EX-translation exception",
            0x24 => "primary-authority exception",
            0x25 => "secondary-authority exception",
            0x26 => "LFX-translation exception",
            0x27 => "LSX-translation exception",
            0x28 => "ALET-specification exception",
            0x29 => "ALEN-translation exception",
            0x2A => "ALE-sequence exception",
            0x2B => "ASTE-validity exception",
            0x2C => "ASTE-sequence exception",
            0x2D => "extended-authority exception",
            0x2E => "LSTE-sequence exception",
            0x2F => "ASTE-instance exception",
            0x30 => "stack-full exception",
            0x31 => "stack-empty exception",
            0x32 => "stack-specification exception",
            0x33 => "stack-type exception",
            0x34 => "stack-operation exception",
            0x38 => "ASCE-type exception",
            0x39 => "region-first-translation exception",
            0x3A => "region-second-translation exception",
            0x3B => "region-third-translation exception",
            0x3D => "secure-storage-access exception",
            0x3E => "non-secure-storage-access exception",
            0x40 => "monitor event",
            _ => "unassigned code",
        }
    }
}

impl core::fmt::Display for ProgramInterruptionCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x} {}", self.0, self.name())
    }
}

impl core::fmt::Debug for ProgramInterruptionCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_name_does_not_depend_on_what_comes_on_top() {
        let code = ProgramInterruptionCode::from_raw(0x0284);
        assert_eq!(code.exception(), ProgramInterruptionCode::PROTECTION);
        assert_eq!(code.to_string(), "0284 protection exception");
    }
}
