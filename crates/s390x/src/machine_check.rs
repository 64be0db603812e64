//! The machine-check-interruption code: what broke, and what of the CPU's state is still valid.
//!
//! Source: *Principles of Operation*, chapter 11, "Machine-Check-Interruption Code".

use bitflags::bitflags;
use core::fmt::{self, Write};

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
        /// Bit 25 (VR): the saved vector registers are valid.
        const VECTOR_REGISTERS_VALID = 1 << (63 - 25);
        /// Bit 26 (EC): the external-damage code is valid.
        const EXTERNAL_DAMAGE_CODE_VALID = 1 << (63 - 26);
        /// Bit 27 (FP): the saved floating-point registers are valid.
        const FLOATING_POINT_REGISTERS_VALID = 1 << (63 - 27);
        /// Bit 28 (GR): the saved general registers are valid.
        const GENERAL_REGISTERS_VALID = 1 << (63 - 28);
        /// Bit 29 (CR): the saved control registers are valid.
        const CONTROL_REGISTERS_VALID = 1 << (63 - 29);
        /// Bit 31 (ST): storage is logically valid.
        const STORAGE_LOGICALLY_VALID = 1 << (63 - 31);
        /// Bit 32 (IE): indirect storage error: the failing storage is behind the address, not at it.
        const INDIRECT_STORAGE_ERROR = 1 << (63 - 32);
        /// Bit 33 (AR): the saved access registers are valid.
        const ACCESS_REGISTERS_VALID = 1 << (63 - 33);
        /// Bit 34 (DA): delayed-access exception: an access exception was found too late.
        const DELAYED_ACCESS_EXCEPTION = 1 << (63 - 34);
        /// Bit 36 (GS): the saved guarded-storage registers are valid.
        const GUARDED_STORAGE_VALID = 1 << (63 - 36);
        /// Bit 42 (PR): the saved TOD programmable register is valid.
        const TOD_PROGRAMMABLE_VALID = 1 << (63 - 42);
        /// Bit 43 (FC): the saved floating-point-control register is valid.
        const FLOATING_POINT_CONTROL_VALID = 1 << (63 - 43);
        /// Bit 44 (AP): ancillary report: another element was found to be damaged, too.
        const ANCILLARY_REPORT = 1 << (63 - 44);
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
        .union(Self::TIMING_FACILITY_DAMAGE)
        .union(Self::CHANNEL_SUBSYSTEM_DAMAGE)
        .union(Self::STORAGE_ERROR_UNCORRECTED)
        .union(Self::STORAGE_KEY_ERROR);

    /// What has to be valid for a program that was in the wait to go on: its registers, its storage, and that it was waiting. It
    /// knows by itself where to go on, and uses no register of the other kinds.
    const NEEDED: Self = Self::PSW_MWP_VALID
        .union(Self::PSW_MASKS_VALID)
        .union(Self::GENERAL_REGISTERS_VALID)
        .union(Self::CONTROL_REGISTERS_VALID)
        .union(Self::STORAGE_LOGICALLY_VALID);

    /// What has to be valid besides for an instruction to be done again that was damaged.
    const NEEDED_AGAIN: Self = Self::BACKED_UP
        .union(Self::PROGRAM_MASK_VALID)
        .union(Self::INSTRUCTION_ADDRESS_VALID);

    /// All that it can say is still valid, apart from what not every machine has.
    const VALIDITY: Self = Self::NEEDED
        .union(Self::PROGRAM_MASK_VALID)
        .union(Self::INSTRUCTION_ADDRESS_VALID)
        .union(Self::FLOATING_POINT_REGISTERS_VALID)
        .union(Self::ACCESS_REGISTERS_VALID)
        .union(Self::TOD_PROGRAMMABLE_VALID)
        .union(Self::FLOATING_POINT_CONTROL_VALID)
        .union(Self::CPU_TIMER_VALID)
        .union(Self::CLOCK_COMPARATOR_VALID);

    /// The rest of what it can say is valid.
    const OTHER_VALIDITY: Self = Self::VECTOR_REGISTERS_VALID
        .union(Self::GUARDED_STORAGE_VALID)
        .union(Self::FAILING_STORAGE_ADDRESS_VALID)
        .union(Self::EXTERNAL_DAMAGE_CODE_VALID);

    /// What it says has happened.
    pub const fn conditions(self) -> Self {
        self.difference(Self::VALIDITY)
            .difference(Self::OTHER_VALIDITY)
    }

    /// Whether nothing that the program computed before its wait can be trusted any more. Everything else (a
    /// channel report, a recovery, a warning) is news and can be handled.
    pub const fn is_fatal(self) -> bool {
        self.intersects(Self::DAMAGE)
            || !self.contains(Self::NEEDED)
            || (self.contains(Self::INSTRUCTION_PROCESSING_DAMAGE) && !self.can_repeat())
    }

    /// Of an instruction-processing damage: whether the CPU is as it was before the instruction, so that it can be done again.
    const fn can_repeat(self) -> bool {
        self.contains(Self::NEEDED_AGAIN) && !self.intersects(Self::DELAYED_ACCESS_EXCEPTION)
    }

    /// Whether it says that an instruction was damaged and is done again. That may be so a few times, and not for ever.
    pub const fn is_repeated(self) -> bool {
        self.contains(Self::INSTRUCTION_PROCESSING_DAMAGE) && !self.is_fatal()
    }

    /// Whether it says nothing but that channel reports are pending.
    pub fn is_report_alone(self) -> bool {
        self.conditions() == Self::CHANNEL_REPORT_PENDING
    }
}

/// What has happened, and what is not valid: `system recovery, storage error corrected (not valid: cpu timer)`.
impl fmt::Display for MachineCheckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, _) in self.conditions().iter_names() {
            write!(f, "{comma}{}", Words(name))?;
            comma = ", ";
        }
        if comma.is_empty() {
            f.write_str("nothing that is known")?;
        }
        let mut before = " (not valid: ";
        for (name, _) in Self::VALIDITY.difference(*self).iter_names() {
            write!(f, "{before}{}", Words(name.trim_end_matches("_VALID")))?;
            before = ", ";
        }
        match before {
            ", " => f.write_str(")"),
            _ => Ok(()),
        }
    }
}

/// The name of a constant as people write it.
struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = self.0.chars().map(|letter| match letter {
            '_' => ' ',
            other => other.to_ascii_lowercase(),
        });
        letters.try_for_each(|letter| f.write_char(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    /// With everything valid.
    const ALL_VALID: u64 = 0x0000_0F1D_4033_0000;

    fn code(bits: &[u32]) -> MachineCheckCode {
        let bits = bits.iter().fold(0, |all, bit| all | 1 << (63 - bit));
        MachineCheckCode::from_bits_retain(bits | ALL_VALID)
    }

    #[test]
    fn a_channel_report_is_news_and_not_damage() {
        let code = MachineCheckCode::from_bits_retain(0x0040_0F1D_4033_0000);
        assert!(code.contains(MachineCheckCode::CHANNEL_REPORT_PENDING));
        assert!(!code.is_fatal() && code.is_report_alone());
        assert_eq!(code.to_string(), "channel report pending");
        assert!(MachineCheckCode::SYSTEM_DAMAGE.is_fatal());
    }

    #[test]
    fn each_condition_has_its_name_and_ends_the_program_or_does_not() {
        #[rustfmt::skip]
        let table: [(u32, &str, bool); 18] = [
            (0, "system damage", true),
            (1, "instruction processing damage", true),
            (2, "system recovery", false),
            (4, "timing facility damage", true),
            (5, "external damage", false),
            (7, "degradation", false),
            (8, "warning", false),
            (9, "channel report pending", false),
            (10, "service processor damage", false),
            (11, "channel subsystem damage", true),
            (14, "backed up", false),
            (16, "storage error uncorrected", true),
            (17, "storage error corrected", false),
            (18, "storage key error", true),
            (19, "storage degradation", false),
            (32, "indirect storage error", false),
            (34, "delayed access exception", false),
            (44, "ancillary report", false),
        ];
        for (bit, name, is_fatal) in table {
            let this = code(&[bit]);
            assert_eq!((&*this.to_string(), this.is_fatal()), (name, is_fatal));
            assert_eq!(this.is_report_alone(), bit == 9, "{name}");
            // Whatever comes together with it, it is as bad as the worst of it.
            let both = code(&[bit, 9]);
            assert_eq!(both.is_fatal(), is_fatal, "{name}");
            assert!(both.to_string().contains(name));
            assert!(both.to_string().contains("channel report pending"));
        }
    }

    #[test]
    fn each_validity_that_is_missing_is_named_and_ends_the_program_where_it_is_needed() {
        #[rustfmt::skip]
        let table: [(u32, &str, bool); 13] = [
            (20, "psw mwp", true),
            (21, "psw masks", true),
            (22, "program mask", false),
            (23, "instruction address", false),
            (27, "floating point registers", false),
            (28, "general registers", true),
            (29, "control registers", true),
            (31, "storage logically", true),
            (33, "access registers", false),
            (42, "tod programmable", false),
            (43, "floating point control", false),
            (46, "cpu timer", false),
            (47, "clock comparator", false),
        ];
        for (bit, name, is_fatal) in table {
            let valid = code(&[9]).bits() & !(1 << (63 - bit));
            let this = MachineCheckCode::from_bits_retain(valid);
            let text = std::format!("channel report pending (not valid: {name})");
            assert_eq!((this.to_string(), this.is_fatal()), (text, is_fatal));
        }
        assert!(MachineCheckCode::empty().is_fatal());
        let text = MachineCheckCode::empty().to_string();
        assert!(text.starts_with("nothing that is known (not valid: psw mwp, psw masks, "));
        assert!(text.ends_with(", cpu timer, clock comparator)"));
    }

    #[test]
    fn a_damaged_instruction_is_done_again_if_the_cpu_is_as_before_it() {
        assert!(code(&[1]).is_fatal());
        assert!(!code(&[1, 14]).is_fatal() && code(&[1, 14]).is_repeated());
        assert!(
            code(&[1, 14, 34]).is_fatal(),
            "an access exception, too late"
        );
        for damage in [0, 4, 11, 16, 18] {
            assert!(code(&[1, 14, damage]).is_fatal());
        }
        for needed in [20, 21, 22, 23, 28, 29, 31] {
            let without = code(&[1, 14]).bits() & !(1 << (63 - needed));
            assert!(MachineCheckCode::from_bits_retain(without).is_fatal());
        }
        assert!(!code(&[2, 14]).is_repeated() && !code(&[1]).is_repeated());
    }
}
