//! The trait with one method per I/O instruction, and the names that go with it.

use core::fmt;

use thiserror::Error;

use crate::{Crw, Irb, OperandException, Orb, Schib};

/// Subchannel set and number: the part of the subsystem-identification word that varies.
///
/// *Principles of Operation*, chapter 14, "Subsystem-identification word".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubchannelId(u32);

impl SubchannelId {
    /// The highest subchannel-set identifier.
    pub const MAX_SET: u8 = 3;

    /// Names a subchannel; `None` when `set` exceeds [`Self::MAX_SET`].
    pub const fn new(set: u8, number: u16) -> Option<Self> {
        if set > Self::MAX_SET {
            None
        } else {
            Some(Self(0x0001_0000 | (set as u32) << 17 | number as u32))
        }
    }

    /// Reads a subsystem-identification word; `None` unless bit 15 (numbered from 0) is one and
    /// the channel-subsystem-image part is zero, as in an image without the multiple-CSS facility.
    pub const fn from_word(word: u32) -> Option<Self> {
        if word & 0xFFF9_0000 == 0x0001_0000 {
            Some(Self(word))
        } else {
            None
        }
    }

    /// The subsystem-identification word, as the I/O instructions take it in general register 1.
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The subchannel-set identifier (0 to 3).
    pub const fn set(self) -> u8 {
        (self.0 >> 17) as u8 & 3
    }

    /// The subchannel number within its set.
    pub const fn number(self) -> u16 {
        self.0 as u16
    }

    /// All subchannels of a set, in order.
    pub fn all_of_set(set: u8) -> impl Iterator<Item = Self> {
        (0..=u16::MAX).map_while(move |number| Self::new(set, number))
    }
}

impl fmt::Display for SubchannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{:x}.{:04x}", self.set(), self.number())
    }
}

impl fmt::Debug for SubchannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A device number with its subchannel set, as administrators write it: `0.0.0a80`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The subchannel set (0 to 3).
    pub set: u8,
    /// The device number (PMCW word 1, bits 16 to 31).
    pub number: u16,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{:x}.{:04x}", self.set, self.number)
    }
}

impl fmt::Debug for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an I/O instruction was not carried out: its condition code, when not 0, or the program exception that it ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u8)]
pub enum Refusal {
    /// Condition code 1: the subchannel is status pending.
    #[error("status pending (cc 1)")]
    StatusPending = 1,
    /// Condition code 2: a function is in progress, or (CANCEL, RESUME) the function does not apply.
    #[error("busy (cc 2)")]
    Busy = 2,
    /// Condition code 3: the subchannel is not operational.
    #[error("not operational (cc 3)")]
    NotOperational = 3,
    /// No condition code. START or MODIFY recognised an operand exception: the operand is none, or asks for what the machine
    /// does not have. Nothing was done.
    #[error("operand exception")]
    Operand = 0xFF,
}

impl Refusal {
    /// Turns an instruction's condition code into its result. Codes above 3 do not exist.
    pub const fn from_cc(cc: u8) -> Result<(), Self> {
        match cc {
            0 => Ok(()),
            1 => Err(Self::StatusPending),
            2 => Err(Self::Busy),
            _ => Err(Self::NotOperational),
        }
    }

    /// The condition code of an instruction's result; X'FF' is none.
    pub const fn cc(result: Result<(), Self>) -> u8 {
        match result {
            Ok(()) => 0,
            Err(refusal) => refusal as u8,
        }
    }
}

impl From<OperandException> for Refusal {
    fn from(_: OperandException) -> Self {
        Self::Operand
    }
}

/// Condition code 3 of an instruction that has no other failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not operational (cc 3)")]
pub struct NotOperational;

impl From<NotOperational> for Refusal {
    fn from(_: NotOperational) -> Self {
        Self::NotOperational
    }
}

/// What TEST SUBCHANNEL answered.
#[derive(Clone, Debug)]
pub enum Tested {
    /// Condition code 0: the subchannel was status pending; the status is now cleared.
    Status(Irb),
    /// Condition code 1: nothing was pending; the IRB shows the subchannel as it is.
    Nothing(Irb),
}

/// An I/O interruption, taken by TEST PENDING INTERRUPTION or out of the wait state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoInterruption {
    /// A subchannel became status pending.
    Subchannel {
        /// Which one.
        id: SubchannelId,
        /// The interruption parameter of its PMCW or ORB.
        parameter: u32,
        /// The interruption subclass.
        isc: u8,
    },
    /// An adapter interruption: look at the indicators of the subclass.
    Adapter {
        /// The interruption subclass.
        isc: u8,
    },
}

impl IoInterruption {
    /// Reads the three-word I/O-interruption code (subsystem-identification word, interruption
    /// parameter, interruption-identification word). `None` for a subsystem-identification word
    /// that names no subchannel.
    pub const fn from_words(id: u32, parameter: u32, identification: u32) -> Option<Self> {
        let isc = (identification >> 27) as u8 & 7;
        if identification & 0x8000_0000 != 0 {
            return Some(Self::Adapter { isc });
        }
        match SubchannelId::from_word(id) {
            Some(id) => Some(Self::Subchannel { id, parameter, isc }),
            None => None,
        }
    }
}

/// A channel subsystem: one method per I/O instruction, each returning its condition code as a type.
///
/// *Principles of Operation*, chapter 14.
pub trait ChannelSubsystem {
    /// START SUBCHANNEL.
    ///
    /// # Safety
    ///
    /// The device acts on the memory that the channel program names. Until the final status of this
    /// start has been taken, the caller keeps the CCWs, the address lists and the data areas
    /// valid, and touches data areas that the device writes only through raw pointers.
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal>;
    /// HALT SUBCHANNEL.
    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal>;
    /// CLEAR SUBCHANNEL.
    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational>;
    /// CANCEL SUBCHANNEL.
    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal>;
    /// RESUME SUBCHANNEL.
    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal>;
    /// STORE SUBCHANNEL.
    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational>;
    /// MODIFY SUBCHANNEL. Only the fields that the architecture lets a program set are taken.
    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal>;
    /// TEST SUBCHANNEL.
    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational>;
    /// TEST PENDING INTERRUPTION: takes one enabled pending interruption, if there is one.
    fn pending_interruption(&mut self) -> Option<IoInterruption>;
    /// STORE CHANNEL REPORT WORD: takes one pending report, if there is one.
    fn channel_report(&mut self) -> Option<Crw>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subsystem_identification_word_names_set_and_number() {
        let id = SubchannelId::new(2, 0x1234).unwrap();
        assert_eq!(id.word(), 0x0005_1234);
        assert_eq!(SubchannelId::from_word(0x0005_1234), Some(id));
        assert_eq!(SubchannelId::new(4, 0), None);
    }

    #[test]
    fn a_word_without_its_one_bit_names_nothing() {
        assert_eq!(SubchannelId::from_word(0x0000_1234), None);
        assert_eq!(SubchannelId::from_word(0x0009_1234), None);
    }

    #[test]
    fn an_adapter_interruption_names_no_subchannel() {
        assert_eq!(
            IoInterruption::from_words(0, 0, 0x9800_0000),
            Some(IoInterruption::Adapter { isc: 3 })
        );
    }

    #[test]
    fn a_set_has_65536_subchannels() {
        assert_eq!(SubchannelId::all_of_set(3).count(), 65_536);
        assert_eq!(SubchannelId::all_of_set(4).count(), 0);
    }
}
