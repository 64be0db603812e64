//! Machine checks that the program survives: told of, and counted.
//!
//! # Rule
//!
//! A machine check that leaves no ground to go on from is not this module's: it ends the program before anything else is done.
//!
//! # Limits
//!
//! One that comes again and again is told of each time that the number of times has doubled. The log must not be what stops the
//! program.

use s390x::machine_check::MachineCheckCode;

/// Damaged instructions that are done again at most. A CPU that damages more of them does not get better.
const MAX_REPEATED: u32 = 16;

/// The machine checks that came so far.
#[derive(Debug)]
pub(super) struct Survived {
    last: MachineCheckCode,
    /// How often the last one has come in a row.
    in_a_row: u32,
    repeated: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// The same, and it is to be told of: it has come so often in a row.
    Tell(u32),
    /// There have been too many.
    Stop,
}

impl Survived {
    pub(super) const fn none() -> Self {
        Self {
            last: MachineCheckCode::empty(),
            in_a_row: 0,
            repeated: 0,
        }
    }

    /// What to do about another one, which is not fatal by itself.
    pub(super) fn note(&mut self, code: MachineCheckCode) -> Verdict {
        if code.is_report_alone() {
            return Verdict::GoOn;
        }
        self.repeated += u32::from(code.is_repeated());
        if self.repeated > MAX_REPEATED {
            return Verdict::Stop;
        }
        self.in_a_row = match self.last == code {
            true => self.in_a_row.saturating_add(1),
            false => 1,
        };
        self.last = code;
        match self.in_a_row.is_power_of_two() {
            true => Verdict::Tell(self.in_a_row),
            false => Verdict::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_VALID: MachineCheckCode = MachineCheckCode::from_bits_retain(0x0F1D_4033_0000);

    #[test]
    fn one_that_comes_for_ever_is_told_of_now_and_then() {
        let mut survived = Survived::none();
        let recovery = ALL_VALID | MachineCheckCode::SYSTEM_RECOVERY;
        let told = (0..1000).filter(|_| survived.note(recovery) != Verdict::GoOn);
        assert_eq!(told.count(), 10);
        let warning = ALL_VALID | MachineCheckCode::WARNING;
        assert_eq!(survived.note(warning), Verdict::Tell(1));
        assert_eq!(survived.note(recovery), Verdict::Tell(1));
    }

    #[test]
    fn channel_reports_are_somebody_elses_to_tell_of() {
        let mut survived = Survived::none();
        let report = ALL_VALID | MachineCheckCode::CHANNEL_REPORT_PENDING;
        assert!((0..100).all(|_| survived.note(report) == Verdict::GoOn));
        let both = report | MachineCheckCode::DEGRADATION;
        assert_eq!(survived.note(both), Verdict::Tell(1));
    }

    #[test]
    fn a_cpu_that_damages_one_instruction_after_the_other_is_given_up() {
        let mut survived = Survived::none();
        let damage = MachineCheckCode::INSTRUCTION_PROCESSING_DAMAGE | MachineCheckCode::BACKED_UP;
        let recovery = ALL_VALID | MachineCheckCode::SYSTEM_RECOVERY;
        for _ in 0..MAX_REPEATED {
            assert_ne!(survived.note(ALL_VALID | damage), Verdict::Stop);
            assert_ne!(survived.note(recovery), Verdict::Stop);
        }
        assert_eq!(survived.note(ALL_VALID | damage), Verdict::Stop);
    }
}
