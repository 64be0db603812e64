//! Disks that take no new requests for a moment, after a restart.
//!
//! # Rule
//!
//! A write that an earlier life of the appliance had taken may be done twice: it may have been on the disk already when that life
//! ended. Another client of the same disk may have read it there. If that client wrote the sectors anew and was told so before the
//! first write was done again, its write would be lost. So all that an earlier life had taken ends before anything new of the
//! same disk begins.

use super::client::Client;

/// Disks that may be held; the configuration allows half as many.
const DISKS: usize = 256;

/// Which disks are held.
#[derive(Debug, Default)]
pub struct Held([u64; DISKS / 64]);

impl Held {
    /// Those of which requests of an earlier life are still being done again.
    pub fn by(clients: &[Client]) -> Self {
        let mut held = Self::default();
        let devices = clients.iter().flat_map(Client::devices);
        for device in devices.filter(|device| device.is_redoing()) {
            let disk = device.export().disk;
            if let Some(word) = held.0.get_mut(disk / 64) {
                *word |= 1 << (disk % 64);
            }
        }
        held
    }

    /// Whether a disk is held.
    #[inline]
    pub fn contains(&self, disk: usize) -> bool {
        let word = self.0.get(disk / 64);
        word.is_some_and(|word| word & 1 << (disk % 64) != 0)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; DISKS / 64]
    }
}
