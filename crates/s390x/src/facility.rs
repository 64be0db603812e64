//! Facilities: what this CPU can do beyond the base architecture.
//!
//! STORE FACILITY LIST EXTENDED stores a string of bits, numbered from the left; bit *n* is one if
//! facility *n* is installed. Facility numbers without a name here can be asked for by
//! [`FacilityList::has_number`].
//!
//! Source: *Principles of Operation*, chapter 4, "Facility Indications".

/// Facilities that something here asks for or reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Facility {
    /// 0: instructions marked N3 are there.
    N3 = 0,
    /// 1: z/Architecture is installed.
    ZArchitecture = 1,
    /// 2: z/Architecture is active.
    ZArchitectureActive = 2,
    /// 7: STORE FACILITY LIST EXTENDED.
    Stfle = 7,
    /// 8: enhanced DAT 1.
    EnhancedDat = 8,
    /// 9: SENSE RUNNING STATUS.
    SenseRunningStatus = 9,
    /// 11: configuration topology.
    ConfigurationTopology = 11,
    /// 17: message-security assist.
    MessageSecurityAssist = 17,
    /// 18: long displacement.
    LongDisplacement = 18,
    /// 21: extended immediate.
    ExtendedImmediate = 21,
    /// 25: STORE CLOCK FAST.
    StoreClockFast = 25,
    /// 34: general-instructions extension (z10).
    GeneralInstructionsExtension = 34,
    /// 45: distinct operands, fast BCR serialization and others (z196).
    FastBcrSerialization = 45,
    /// 51: local-TLB clearing.
    LocalTlbClearing = 51,
    /// 129: vector facility (z13).
    Vector = 129,
    /// 139: multiple epochs.
    MultipleEpoch = 139,
    /// 158: ultravisor call, guest side.
    UltravisorCall = 158,
}

/// The facility list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FacilityList([u64; Self::DOUBLEWORDS]);

impl FacilityList {
    /// How much of the list is kept.
    const DOUBLEWORDS: usize = 4;

    /// From doublewords as stored.
    #[must_use]
    pub const fn from_doublewords(list: [u64; Self::DOUBLEWORDS]) -> Self {
        Self(list)
    }

    /// Whether the facility is installed.
    #[must_use]
    pub const fn has(&self, facility: Facility) -> bool {
        self.has_number(facility as u16)
    }

    /// Whether the facility with this number is installed. False past what is kept (255).
    #[must_use]
    pub const fn has_number(&self, number: u16) -> bool {
        let word = number as usize / 64;
        word < Self::DOUBLEWORDS && self.0[word] & (1 << (63 - number % 64)) != 0
    }

    /// The doublewords, as stored.
    #[must_use]
    pub const fn doublewords(&self) -> &[u64; Self::DOUBLEWORDS] {
        &self.0
    }

    /// STORE FACILITY LIST EXTENDED, which every CPU has that this can run on (z10 and later).
    #[cfg(target_arch = "s390x")]
    #[must_use]
    pub fn read() -> Self {
        let mut list = [0u64; Self::DOUBLEWORDS];
        // SAFETY: stores at most as many doublewords as r0 says (plus one), at our own operand.
        unsafe {
            core::arch::asm!(
                "stfle 0({list})",
                list = in(reg_addr) &mut list,
                inout("r0") (Self::DOUBLEWORDS - 1) as u64 => _,
                options(nostack),
            );
        }
        Self(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_the_left() {
        let list = FacilityList::from_doublewords([1 << 63, 0, 1 << 62, 1]);
        assert!(list.has(Facility::N3));
        assert!(!list.has(Facility::ZArchitecture));
        assert!(list.has(Facility::Vector));
        assert!(list.has_number(255));
        assert!(!list.has_number(256));
        assert!(!list.has_number(u16::MAX));
    }
}
