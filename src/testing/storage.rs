//! The machine's storage, as the channel reaches it.

use channel::model::{Memory, StorageError};
use window::{ClientAddress, Window};

/// All of it, without keys.
#[derive(Debug)]
pub struct Storage(pub(super) Window);

impl Memory for Storage {
    fn fetch(&self, _: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let read = self.0.read_bytes(ClientAddress::new(address), into);
        read.map_err(|_| StorageError::Addressing)
    }

    fn store(&mut self, _: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        let written = self.0.write_bytes(ClientAddress::new(address), from);
        written.map_err(|_| StorageError::Addressing)
    }
}
