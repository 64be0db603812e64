//! How much memory of its own the appliance needs for what it is given to do.
//!
//! The figures are what the image takes, measured, and a tenth more. What takes it are the slots of the disks' queues and the
//! arenas of subchannels that are passed through.

use std::fmt;

use super::memory::MIB;
use super::{Client, Disk, Subchannel};
use crate::layout::HOST_SUBCHANNELS;

const KIB: u64 = 1024;
/// The image, its stack, and what it needs for itself.
const BASE: u64 = MIB;
const DISK: u64 = 64 * KIB;
const QUEUE: u64 = 280 * KIB;
/// Queues of a disk that are used at most.
const QUEUES_USED: u16 = 4;
const EXPORT: u64 = 32 * KIB;
const SUBCHANNEL: u64 = 384 * KIB;
/// What it has when it needs no more.
const DEFAULT: u64 = 16 * MIB;

#[derive(Clone, Copy, Debug)]
pub struct Need {
    disks: u64,
    queues: u64,
    exports: u64,
    subchannels: u64,
}

impl Need {
    pub fn of(disks: &[Disk], subchannels: &[Subchannel], clients: &[Client]) -> Self {
        let queues = disks.iter().map(|disk| disk.queues.min(QUEUES_USED));
        // A client costs about as much as one more export.
        let exports = clients.iter().map(|client| client.exports.len() + 1);
        Self {
            disks: disks.len() as u64,
            queues: queues.map(u64::from).sum(),
            exports: exports.sum::<usize>() as u64,
            subchannels: subchannels.len() as u64,
        }
    }

    /// The least that is enough, in whole MiB.
    pub const fn size(self) -> u64 {
        let bytes = BASE
            + self.disks * DISK
            + self.queues * QUEUE
            + self.exports * EXPORT
            + self.subchannels * SUBCHANNEL;
        bytes.next_multiple_of(MIB)
    }

    /// What is enough, and leaves room for as many devices as the host can have besides.
    pub fn default_size(self) -> u64 {
        let others = u64::from(HOST_SUBCHANNELS) * SUBCHANNEL;
        (self.size() + others).next_multiple_of(MIB).max(DEFAULT)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} disks with {} queues in use", self.disks, self.queues)?;
        match self.subchannels {
            0 => Ok(()),
            count => write!(f, ", and {count} subchannels"),
        }
    }
}
