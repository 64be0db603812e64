//! What an interpreted program touched.

use alloc::vec::Vec;

use crate::Ccw1;

/// Consecutive bytes of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Area {
    /// Absolute address of the first byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// What a program did to storage, in order; neighbouring bytes touched one after the other make one
/// area.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Data areas that were read (to the device).
    pub reads: Vec<Area>,
    /// Data areas that were written (from the device).
    pub writes: Vec<Area>,
    /// CCWs and address words that were fetched.
    pub fetches: Vec<Area>,
    /// The CCWs that became current, with their addresses, in format 1. TICs are among them.
    pub ccws: Vec<(u32, Ccw1)>,
}

impl Trace {
    /// Entries that a list keeps; what comes later is not recorded. Longer than what the tests run.
    pub const CAPACITY: usize = 1 << 16;

    pub(super) fn add(list: &mut Vec<Area>, address: u64, length: usize) {
        let length = length as u64;
        if length == 0 {
            return;
        }
        if let Some(last) = list.last_mut() {
            if last.address.wrapping_add(last.length) == address {
                last.length += length;
                return;
            }
            if address.wrapping_add(length) == last.address {
                last.address = address;
                last.length += length;
                return;
            }
        }
        if list.len() < Self::CAPACITY {
            list.push(Area { address, length });
        }
    }

    pub(super) fn ccw(&mut self, address: u32, ccw: Ccw1) {
        if self.ccws.len() < Self::CAPACITY {
            self.ccws.push((address, ccw));
        }
    }
}
