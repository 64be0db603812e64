//! Program interruptions: the codes and their names.
//!
//! Source: *Principles of Operation*, chapter 6, "Program Interruption" (figure "Program-interruption
//! codes").

/// A program-interruption code, as stored at real locations 142-143.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ProgramInterruptionCode(u16);

impl ProgramInterruptionCode {
    /// Protection exception.
    pub const PROTECTION: Self = Self(0x04);
    /// The bit that says a PER event came along.
    const PER: u16 = 0x0080;
    /// The bit that says a transaction was aborted.
    const TRANSACTION_ABORTED: u16 = 0x0200;

    /// The code as stored.
    pub const fn from_raw(code: u16) -> Self {
        Self(code)
    }

    /// The code alone, without the bits for PER event and aborted transaction.
    pub const fn exception(self) -> Self {
        Self(self.0 & !(Self::PER | Self::TRANSACTION_ABORTED))
    }

    /// The exception's name in the manual; of those of address translation, address spaces and linkage stack, which nothing here
    /// uses, there are none.
    const fn name(self) -> &'static str {
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
            0x13 => "special-operation exception",
            0x15 => "operand exception",
            0x18 => "transaction-constraint exception",
            0x1B => "vector-processing exception",
            0x1D => "HFP-square-root exception",
            0x3D => "secure-storage-access exception",
            0x3E => "non-secure-storage-access exception",
            0x40 => "monitor event",
            _ => "unknown code",
        }
    }
}

impl core::fmt::Display for ProgramInterruptionCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x} {}", self.0, self.name())
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
