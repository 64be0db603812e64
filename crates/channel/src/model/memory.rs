//! The storage that a channel works on: absolute addresses and storage keys.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Why storage was not accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// There is no storage at the address.
    Addressing,
    /// The key does not allow it.
    Protection,
}

/// Storage, as a channel with a subchannel key sees it. An access that fails changes nothing.
pub trait Memory {
    /// Reads bytes from an absolute address on.
    fn fetch(&self, key: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError>;
    /// Writes bytes from an absolute address on.
    fn store(&mut self, key: u8, address: u64, from: &[u8]) -> Result<(), StorageError>;
}

fn range(base: u64, size: usize, address: u64, length: usize) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(address.checked_sub(base)?).ok()?;
    let end = start.checked_add(length)?;
    (end <= size).then_some(start..end)
}

/// Bytes from address 0 on, without keys.
impl Memory for [u8] {
    fn fetch(&self, _: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let bytes = range(0, self.len(), address, into.len()).and_then(|range| self.get(range));
        into.copy_from_slice(bytes.ok_or(StorageError::Addressing)?);
        Ok(())
    }

    fn store(&mut self, _: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        let range = range(0, self.len(), address, from.len());
        let bytes = range.and_then(|range| self.get_mut(range));
        bytes.ok_or(StorageError::Addressing)?.copy_from_slice(from);
        Ok(())
    }
}

impl<M: Memory + ?Sized> Memory for &mut M {
    fn fetch(&self, key: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        (**self).fetch(key, address, into)
    }

    fn store(&mut self, key: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        (**self).store(key, address, from)
    }
}

/// Storage that a test goes on using while the model has it.
impl<M: Memory> Memory for Rc<RefCell<M>> {
    fn fetch(&self, key: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        self.borrow().fetch(key, address, into)
    }

    fn store(&mut self, key: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        self.borrow_mut().store(key, address, from)
    }
}

/// Storage of its own, with a storage key for each 4 KiB block.
#[derive(Clone, Debug)]
pub struct Storage {
    base: u64,
    bytes: Vec<u8>,
    keys: Vec<u8>,
}

impl Storage {
    /// The fetch-protection bit of a storage key; its access-control bits are the high four.
    pub const FETCH_PROTECTED: u8 = 0x08;
    const BLOCK: u64 = 0x1000;

    /// `size` zero bytes from `base` on, all with storage key 0, which does not protect from key 0.
    pub fn new(base: u64, size: usize) -> Self {
        Self {
            base,
            bytes: vec![0; size],
            keys: vec![0; size.div_ceil(Self::BLOCK as usize)],
        }
    }

    /// Sets the storage key of the block at `address`; does nothing where there is none.
    pub fn set_key(&mut self, address: u64, key: u8) {
        let block = address.checked_sub(self.base).map(|at| at / Self::BLOCK);
        let block = block.and_then(|block| usize::try_from(block).ok());
        if let Some(to) = block.and_then(|block| self.keys.get_mut(block)) {
            *to = key;
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies bytes to an address, whatever the keys; `false` when they do not fit.
    pub fn put(&mut self, address: u64, bytes: &[u8]) -> bool {
        let range = range(self.base, self.bytes.len(), address, bytes.len());
        match range.and_then(|range| self.bytes.get_mut(range)) {
            Some(to) => {
                to.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Bytes at an address, whatever the keys; `None` when they are not all there.
    pub fn get(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.bytes
            .get(range(self.base, self.bytes.len(), address, length)?)
    }

    fn may(&self, key: u8, address: u64, length: usize, stores: bool) -> bool {
        if key == 0 || length == 0 {
            return true;
        }
        let first = (address - self.base) / Self::BLOCK;
        let last = (address - self.base + length as u64 - 1) / Self::BLOCK;
        (first..=last).all(|block| {
            let found = self.keys.get(block as usize).copied().unwrap_or(0);
            found >> 4 == key || (!stores && found & Self::FETCH_PROTECTED == 0)
        })
    }
}

impl Memory for Storage {
    fn fetch(&self, key: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let bytes = self.get(address, into.len());
        let bytes = bytes.ok_or(StorageError::Addressing)?;
        if !self.may(key, address, into.len(), false) {
            return Err(StorageError::Protection);
        }
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn store(&mut self, key: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        if self.get(address, from.len()).is_none() {
            return Err(StorageError::Addressing);
        }
        if !self.may(key, address, from.len(), true) {
            return Err(StorageError::Protection);
        }
        self.put(address, from);
        Ok(())
    }
}
