//! How a channel fetches CCWs and address words: when it gets there, or, with prefetch allowed, ahead.
//!
//! With prefetch the model fetches as far ahead as its limit says, so that a program that relies on a
//! later change fails in a test as it might on a machine. An error in something fetched ahead counts
//! only when the program gets there.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use super::memory::{Memory, StorageError};
use super::trace::Trace;
use crate::{Ccw0, Ccw1, CcwFlags, CommandCode, IdawFormat, SubchannelStatus};

/// The check that a storage error makes.
pub(super) const fn check_of(error: StorageError) -> SubchannelStatus {
    match error {
        StorageError::Addressing => SubchannelStatus::PROGRAM_CHECK,
        StorageError::Protection => SubchannelStatus::PROTECTION_CHECK,
    }
}

/// A CCW as it was fetched: in format 1, except that a format-0 TIC is marked by its code alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// Transfer in channel.
    Tic(Ccw1),
    /// Anything else.
    Command(Ccw1),
}

#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    pub(super) key: u8,
    pub(super) format_1: bool,
    pub(super) idaw: IdawFormat,
    /// CCWs to be fetched ahead; 0 without prefetch.
    pub(super) ahead: usize,
    cache: BTreeMap<u64, Vec<u8>>,
    pub(super) trace: Trace,
}

impl Fetcher {
    pub(super) fn new(key: u8, format_1: bool, idaw: IdawFormat, ahead: usize) -> Self {
        Self {
            key,
            format_1,
            idaw,
            ahead,
            cache: BTreeMap::new(),
            trace: Trace::default(),
        }
    }

    /// The highest address that a CCW of this format can name.
    pub(super) const fn highest(&self) -> u32 {
        if self.format_1 {
            0x7FFF_FFFF
        } else {
            0x00FF_FFFF
        }
    }

    /// What was fetched ahead is forgotten: the program was resumed.
    pub(super) fn forget(&mut self) {
        self.cache.clear();
    }

    pub(super) fn bytes<const N: usize>(
        &mut self,
        memory: &dyn Memory,
        address: u64,
    ) -> Result<[u8; N], StorageError> {
        if let Some(ahead) = self.cache.remove(&address) {
            if let Ok(bytes) = <[u8; N]>::try_from(ahead.as_slice()) {
                return Ok(bytes);
            }
        }
        let mut bytes = [0; N];
        memory.fetch(self.key, address, &mut bytes)?;
        Trace::add(&mut self.trace.fetches, address, N);
        Ok(bytes)
    }

    pub(super) fn ccw(
        &mut self,
        memory: &dyn Memory,
        address: u32,
    ) -> Result<Word, SubchannelStatus> {
        if !address.is_multiple_of(8) || address > self.highest() {
            return Err(SubchannelStatus::PROGRAM_CHECK);
        }
        let bytes = self.bytes(memory, address.into()).map_err(check_of)?;
        let word = self.word(bytes);
        let (Word::Tic(ccw) | Word::Command(ccw)) = word;
        self.trace.ccw(address, ccw);
        Ok(word)
    }

    fn word(&self, bytes: [u8; 8]) -> Word {
        let code = bytes[0];
        if self.format_1 {
            let ccw = zerocopy::transmute!(bytes);
            if code == CommandCode::TIC.0 {
                Word::Tic(ccw)
            } else {
                Word::Command(ccw)
            }
        } else {
            let ccw: Ccw0 = zerocopy::transmute!(bytes);
            if code & 0x0F == CommandCode::TIC.0 {
                Word::Tic(ccw.into())
            } else {
                Word::Command(ccw.into())
            }
        }
    }

    /// Fetches ahead from `address` on.
    pub(super) fn look_ahead(&mut self, memory: &dyn Memory, mut address: u32) {
        for _ in 0..self.ahead {
            if !address.is_multiple_of(8) || address > self.highest() {
                return;
            }
            let Some(bytes) = self.keep::<8>(memory, address.into()) else {
                return;
            };
            match self.word(bytes) {
                Word::Tic(ccw) => address = ccw.address.get(),
                Word::Command(ccw) => {
                    self.list_ahead(memory, &ccw);
                    if !ccw.flags().intersects(CcwFlags::CC | CcwFlags::CD) {
                        return;
                    }
                    address = address.wrapping_add(8);
                }
            }
        }
    }

    fn list_ahead(&mut self, memory: &dyn Memory, ccw: &Ccw1) {
        if !ccw.flags().contains(CcwFlags::IDA) || ccw.flags().contains(CcwFlags::SKIP) {
            return;
        }
        let word = u64::from(self.idaw.word());
        let list = u64::from(ccw.address.get());
        let words = 1 + u32::from(ccw.count.get()).div_ceil(self.idaw.block());
        for number in 0..u64::from(words) {
            let kept = if word == 4 {
                self.keep::<4>(memory, list + 4 * number).is_some()
            } else {
                self.keep::<8>(memory, list + 8 * number).is_some()
            };
            if !kept {
                return;
            }
        }
    }

    /// Fetches into the cache, unless it is there already, in which case the older bytes count.
    fn keep<const N: usize>(&mut self, memory: &dyn Memory, address: u64) -> Option<[u8; N]> {
        if let Some(bytes) = self.cache.get(&address) {
            return <[u8; N]>::try_from(bytes.as_slice()).ok();
        }
        let mut bytes = [0; N];
        memory.fetch(self.key, address, &mut bytes).ok()?;
        Trace::add(&mut self.trace.fetches, address, N);
        self.cache.insert(address, bytes.to_vec());
        Some(bytes)
    }

    pub(super) fn value<const N: usize, T: FromBytes + IntoBytes>(
        &mut self,
        memory: &dyn Memory,
        address: u64,
    ) -> Result<T, SubchannelStatus> {
        let bytes: [u8; N] = self.bytes(memory, address).map_err(check_of)?;
        T::read_from_bytes(&bytes).map_err(|_| SubchannelStatus::PROGRAM_CHECK)
    }
}
