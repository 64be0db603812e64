//! The machine-check-interruption code: what broke, and what of the CPU's state is still valid.
//!
//! Source: *Principles of Operation*, chapter 11, "Machine-Check-Interruption Code".

use bitflags::bitflags;

bitflags! {
    /// The machine-check-interruption code (MCIC), real location 232.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct MachineCheckCode: u64 {
        /// Bit 0 (SD): system damage.
        const SYSTEM_DAMAGE = 1 << 63;
        /// Bit 1 (PD): instruction-processing damage.
        const INSTRUCTION_PROCESSING_DAMAGE = 1 << (63 - 1);
        /// Bit 2 (SR): system recovery: it has been put right.
        const SYSTEM_RECOVERY = 1 << (63 - 2);
        /// Bit 4 (CD): timing-facility damage.
        const TIMING_FACILITY_DAMAGE = 1 << (63 - 4);
        /// Bit 5 (ED): external damage.
        const EXTERNAL_DAMAGE = 1 << (63 - 5);
        /// Bit 7 (DG): degradation.
        const DEGRADATION = 1 << (63 - 7);
        /// Bit 8 (W): warning: power is about to fail.
        const WARNING = 1 << (63 - 8);
        /// Bit 9 (CP): channel reports are pending: STORE CHANNEL REPORT WORD gets them.
        const CHANNEL_REPORT_PENDING = 1 << (63 - 9);
        /// Bit 10 (SP): service-processor damage.
        const SERVICE_PROCESSOR_DAMAGE = 1 << (63 - 10);
        /// Bit 11 (CK): channel-subsystem damage.
        const CHANNEL_SUBSYSTEM_DAMAGE = 1 << (63 - 11);
        /// Bit 14 (B): backed up: the interruption point lies before the error.
        const BACKED_UP = 1 << (63 - 14);
        /// Bit 16 (SE): storage error uncorrected.
        const STORAGE_ERROR_UNCORRECTED = 1 << (63 - 16);
        /// Bit 17 (SC): storage error corrected.
        const STORAGE_ERROR_CORRECTED = 1 << (63 - 17);
        /// Bit 18 (KE): storage-key error uncorrected.
        const STORAGE_KEY_ERROR = 1 << (63 - 18);
        /// Bit 19 (DS): storage degradation.
        const STORAGE_DEGRADATION = 1 << (63 - 19);
        /// Bit 20 (WP): the old PSW's wait, mask and problem bits are valid.
        const PSW_MWP_VALID = 1 << (63 - 20);
        /// Bit 21 (MS): the old PSW's masks and key are valid.
        const PSW_MASKS_VALID = 1 << (63 - 21);
        /// Bit 22 (PM): the old PSW's program mask and condition code are valid.
        const PROGRAM_MASK_VALID = 1 << (63 - 22);
        /// Bit 23 (IA): the old PSW's instruction address is valid.
        const INSTRUCTION_ADDRESS_VALID = 1 << (63 - 23);
        /// Bit 24 (FA): the failing-storage address is valid.
        const FAILING_STORAGE_ADDRESS_VALID = 1 << (63 - 24);
        /// Bit 26 (EC): the external-damage code is valid.
        const EXTERNAL_DAMAGE_CODE_VALID = 1 << (63 - 26);
        /// Bit 28 (GR): the saved general registers are valid.
        const GENERAL_REGISTERS_VALID = 1 << (63 - 28);
        /// Bit 29 (CR): the saved control registers are valid.
        const CONTROL_REGISTERS_VALID = 1 << (63 - 29);
        /// Bit 31 (ST): storage is logically valid.
        const STORAGE_LOGICALLY_VALID = 1 << (63 - 31);
        /// Bit 46 (CT): the saved CPU timer is valid.
        const CPU_TIMER_VALID = 1 << (63 - 46);
        /// Bit 47 (CC): the saved clock comparator is valid.
        const CLOCK_COMPARATOR_VALID = 1 << (63 - 47);
        /// The other bits stay as they are.
        const _ = !0;
    }
}

impl MachineCheckCode {
    /// What leaves the program no ground to go on from.
    const DAMAGE: Self = Self::SYSTEM_DAMAGE
        .union(Self::INSTRUCTION_PROCESSING_DAMAGE)
        .union(Self::TIMING_FACILITY_DAMAGE)
        .union(Self::CHANNEL_SUBSYSTEM_DAMAGE)
        .union(Self::STORAGE_ERROR_UNCORRECTED)
        .union(Self::STORAGE_KEY_ERROR);

    /// Whether nothing that the program computed can be trusted any more. Everything else (a
    /// channel report, a recovery, a warning) is news and can be handled.
    pub const fn is_fatal(self) -> bool {
        self.intersects(Self::DAMAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_report_is_news_and_not_damage() {
        let code = MachineCheckCode::from_bits_retain(0x0040_0F1D_4033_0000);
        assert!(code.contains(MachineCheckCode::CHANNEL_REPORT_PENDING));
        assert!(!code.is_fatal());
        assert!(MachineCheckCode::SYSTEM_DAMAGE.is_fatal());
    }
}
