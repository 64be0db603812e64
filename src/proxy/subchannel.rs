//! Virtual subchannels: what a client sees as a subchannel of a channel subsystem of its own.
//!
//! | part | what it is |
//! |---|---|
//! | [`emulated`] | one whose control unit is software: the virtio control unit of a disk |
//! | [`passthrough`] | one that stands for a subchannel that the appliance owns |
//!
//! This file: what a client asks of either, and how that is answered.

pub mod emulated;
pub mod passthrough;

use channel::{Irb, NotOperational, OperandException, Orb, OrbMode, Refusal, Schib, Tested};
use s390x::cc::ConditionCode;
use vcss::client::{Command, Instruction, Response};
use zerocopy::FromBytes;

/// A request of a client's, with its operand. The numbers are those of [`Instruction`].
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Request {
    Start(Orb) = Instruction::Start as u32,
    Halt = Instruction::Halt as u32,
    Clear = Instruction::Clear as u32,
    Cancel = Instruction::Cancel as u32,
    Resume = Instruction::Resume as u32,
    Store = Instruction::Store as u32,
    Modify(Schib) = Instruction::Modify as u32,
    Test = Instruction::Test as u32,
}

impl Request {
    /// What an area's copy of a request asks; `None`: it is none.
    pub fn decode(command: &Command) -> Option<Self> {
        Some(match Instruction::from_number(command.instruction.get())? {
            Instruction::Start => Self::Start(Orb::read_from_prefix(&command.operand).ok()?.0),
            Instruction::Halt => Self::Halt,
            Instruction::Clear => Self::Clear,
            Instruction::Cancel => Self::Cancel,
            Instruction::Resume => Self::Resume,
            Instruction::Store => Self::Store,
            Instruction::Modify => Self::Modify(Schib::read_from_prefix(&command.operand).ok()?.0),
            Instruction::Test => Self::Test,
        })
    }

    pub const fn instruction(&self) -> Instruction {
        match self {
            Self::Start(_) => Instruction::Start,
            Self::Halt => Instruction::Halt,
            Self::Clear => Instruction::Clear,
            Self::Cancel => Instruction::Cancel,
            Self::Resume => Instruction::Resume,
            Self::Store => Instruction::Store,
            Self::Modify(_) => Instruction::Modify,
            Self::Test => Instruction::Test,
        }
    }

    /// Whether only a subchannel that is enabled takes it.
    pub const fn needs_enabled(&self) -> bool {
        !matches!(self, Self::Store | Self::Modify(_))
    }

    /// Whether its operand is one; else an operand exception is recognised. Transport mode is refused as in a configuration
    /// without the fibre-channel extensions.
    #[inline]
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Start(orb) => orb.check() == Ok(OrbMode::Command),
            Self::Modify(schib) => schib.check().is_ok(),
            _ => true,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The condition code, or none where a CPU recognises an operand exception.
    pub cc: Result<ConditionCode, OperandException>,
    /// What TEST SUBCHANNEL stores; nothing is an IRB of zeros.
    pub irb: Option<Irb>,
}

impl Reply {
    pub const DONE: Self = Self::cc(ConditionCode::Cc0);
    pub const NOT_OPERATIONAL: Self = Self::cc(ConditionCode::Cc3);
    pub const OPERAND: Self = Self {
        cc: Err(OperandException),
        irb: None,
    };

    pub const fn cc(cc: ConditionCode) -> Self {
        Self {
            cc: Ok(cc),
            irb: None,
        }
    }

    /// The answer to TEST SUBCHANNEL: condition code 0, or 1 if nothing was pending.
    pub const fn tested(cc: ConditionCode, irb: Irb) -> Self {
        Self {
            cc: Ok(cc),
            irb: Some(irb),
        }
    }

    pub const fn word(&self) -> u32 {
        match self.cc {
            Ok(cc) => cc as u32,
            Err(OperandException) => Response::OPERAND,
        }
    }
}

impl From<Result<Tested, NotOperational>> for Reply {
    fn from(tested: Result<Tested, NotOperational>) -> Self {
        match tested {
            Ok(Tested::Status(irb)) => Self::tested(ConditionCode::Cc0, irb),
            Ok(Tested::Nothing(irb)) => Self::tested(ConditionCode::Cc1, irb),
            Err(NotOperational) => Self::NOT_OPERATIONAL,
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::StatusPending => Self::cc(ConditionCode::Cc1),
            Refusal::Busy => Self::cc(ConditionCode::Cc2),
            Refusal::NotOperational => Self::NOT_OPERATIONAL,
            Refusal::Operand => Self::OPERAND,
        }
    }
}
