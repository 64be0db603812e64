//! Why this program stops: the disabled wait that says so once more, and whose fault it is.

use s390x::cpu::WaitCode;

/// Why the program stopped, and with which address in the disabled-wait PSW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Stop {
    /// A Rust panic.
    Panic = 0xE01,
    /// A program interruption.
    Program = 0xE02,
    /// A program interruption because the stack was used up.
    StackOverflow = 0xE03,
    /// A machine check: outside the idle wait, or one that says that CPU or storage is damaged.
    MachineCheck = 0xE04,
    /// An external, I/O or supervisor-call interruption outside the idle wait.
    Unexpected = 0xE05,
    /// A restart interruption: the operator, or a hypervisor's "NMI", asked for this report.
    Restart = 0xE06,
    /// The same, while the event loop has not come round for a while.
    Hang = 0xE07,
    /// Another one of these while the report was being made; nothing more is printed.
    InReport = 0xE0F,
}

impl Stop {
    /// The disabled wait at the end of it.
    #[must_use]
    pub(super) const fn wait_code(self) -> WaitCode {
        WaitCode::new(self as u64)
    }

    /// Whether this program died of what it did, and not of the machine or of an operator's wish.
    pub(super) const fn is_its_own(self) -> bool {
        match self {
            Self::Panic
            | Self::Program
            | Self::StackOverflow
            | Self::Unexpected
            | Self::Hang
            | Self::InReport => true,
            Self::MachineCheck | Self::Restart => false,
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Program => "program interruption",
            Self::StackOverflow => "stack overflow",
            Self::MachineCheck => "machine check",
            Self::Unexpected => "unexpected interruption",
            Self::Restart => "restart interruption",
            Self::Hang => "hang",
            Self::InReport => "interruption during a report",
        }
    }
}
