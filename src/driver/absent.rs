//! The disk that is not there: what stands in its driver's place until it can be opened.

use channel::IoInterruption;
use window::Segment;

use super::block::{BlockDevice, Done, Geometry, Operation, Range, SubmitError, Token};
use crate::css::Platform;

/// A disk without a driver. Nothing is in flight on it, ever.
#[derive(Debug, Default)]
pub struct Absent(Geometry);

impl BlockDevice for Absent {
    fn geometry(&self) -> &Geometry {
        &self.0
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

    fn arm(&mut self) -> bool {
        false
    }

    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}
