//! What a client is given: one of its virtual subchannels, and what that stands for.

use core::fmt;

use channel::DeviceNumber;
use vcss::control::{self, ExportKind};
use vcss::underway::Served;
use zerocopy::IntoBytes;

use super::ControlError;

/// A virtual subchannel: which client's, and which of that client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub client: u16,
    pub index: u16,
}

impl From<Slot> for Served {
    fn from(slot: Slot) -> Self {
        Self::Subchannel(slot.client, slot.index)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {}, virtual subchannel {}",
            self.client, self.index
        )
    }
}

/// What a client is given: one of its virtual subchannels, and what that stands for.
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    /// Its place among all exports.
    pub index: usize,
    pub slot: Slot,
    /// [`ExportKind::Vacant`] if it is of a kind that nobody knows.
    pub kind: ExportKind,
    pub entry: control::Export,
    pub quota: control::Quota,
}

impl Exported {
    pub fn new(slot: Slot, entry: control::Export) -> Self {
        Self {
            index: 0,
            slot,
            kind: ExportKind::from_number(entry.kind.get()).unwrap_or(ExportKind::Vacant),
            entry,
            quota: control::Quota::default(),
        }
    }

    /// What is wrong with it whatever there is: nothing can stand behind it.
    pub fn check(&self) -> Result<(), ControlError> {
        // One that is vacant is no export.
        match self.kind {
            ExportKind::Vacant => Err(ControlError::Index {
                of: "kind of export",
                index: self.entry.kind.get() as u16,
            }),
            _ => Ok(()),
        }
    }

    /// Whether it is the same export of the same client's still, and is given the same.
    pub fn is(&self, other: &Self) -> bool {
        (self.index, self.slot, self.quota) == (other.index, other.slot, other.quota)
            && self.entry.as_bytes() == other.entry.as_bytes()
    }

    /// The index of the disk, of which it is a part or for whose maintenance it is.
    pub fn disk(&self) -> usize {
        self.entry.disk.get().into()
    }

    /// Whether it is a part of this disk.
    pub fn is_part_of(&self, disk: usize) -> bool {
        self.kind == ExportKind::Block && self.disk() == disk
    }

    /// The owned device that is given by its number, if one is.
    pub fn given(&self) -> Option<DeviceNumber> {
        (self.kind == ExportKind::PassThrough).then(|| DeviceNumber {
            set: self.entry.owned_set,
            number: self.entry.owned_device.get(),
        })
    }

    /// The number by which the client sees an owned device.
    pub fn seen(&self, number: DeviceNumber) -> u16 {
        match self.kind {
            ExportKind::Block | ExportKind::PassThrough => self.entry.device.get(),
            ExportKind::Any | ExportKind::Lent | ExportKind::Vacant => number.number,
        }
    }
}
