//! The disk that is not there: what stands in its driver's place until it can be opened.

use channel::IoInterruption;
use window::Segment;

use super::block::{BlockDevice, Done, Geometry, Operation, Range, SubmitError, Token, SECTOR};
use crate::css::Platform;

/// A disk without a driver. Nothing is in flight on it, ever.
#[derive(Debug)]
pub struct Absent {
    geometry: Geometry,
    /// Its subchannel is there, and nobody uses it: it can be lent.
    lendable: bool,
}

impl Absent {
    /// In place of a disk whose subchannel can be lent, or not.
    pub const fn new(lendable: bool) -> Self {
        Self {
            geometry: Geometry {
                sectors: 0,
                block_size: SECTOR,
                physical_block_exp: 0,
                alignment_offset: 0,
                min_io: 1,
                opt_io: 0,
                seg_max: 1,
                size_max: SECTOR,
                read_only: true,
                flush: false,
                discard: None,
                write_zeroes: None,
                queues: 0,
                queue_size: 0,
            },
            lendable,
        }
    }
}

impl BlockDevice for Absent {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn submit(
        &mut self,
        _: u16,
        _: Operation,
        _: &[Segment],
        _: &[Range],
        _: Token,
    ) -> Result<(), SubmitError> {
        Err(SubmitError::Broken)
    }

    fn kick(&mut self, _: &mut dyn Platform) {}

    fn poll(&mut self) -> Option<Done> {
        None
    }

    fn in_flight(&self) -> u32 {
        0
    }

    fn is_broken(&self) -> bool {
        true
    }

    fn interrupts(&mut self, _: bool) -> bool {
        false
    }

    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }

    fn lend(&mut self) -> Option<bool> {
        self.lendable.then_some(true)
    }
}
