//! What is behind the queue of a [`Disk`](super::Disk).

use core::fmt;

use channel::Orb;
use window::{OutOfWindow, Segment};

use super::chain::Cursor;
use super::thin::Track;
use super::BringUpError;
use crate::css::{Channel, Platform};

/// What is behind the queue: its blocks, and the program that reads and writes them.
pub trait Medium: fmt::Debug {
    fn block(&self) -> u32;
    fn blocks(&self) -> u64;
    /// How many blocks make a good transfer.
    fn best(&self) -> u32;
    fn begin(&mut self);
    /// Adds blocks from `block` on, one or more of the `left` that the request has. Gives how many, and the place behind their
    /// storage; `None` if the program has no room for them.
    ///
    /// # Errors
    ///
    /// [`OutOfWindow`]: the program's storage is shorter than it says. Does not happen.
    fn add(
        &mut self,
        write: bool,
        block: u64,
        left: u32,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<(u32, Cursor)>, OutOfWindow>;
    /// Writes what only the end knows. Gives the ORB; `None` if nothing was added.
    fn finish(&mut self, parameter: u32, path_mask: u8) -> Result<Option<Orb>, OutOfWindow>;
    fn ccws(&self) -> u32;
    /// At which block of a program of one request the channel was, counted from 0, when it stopped with `ccw` as the address
    /// in the SCSW.
    fn block_at(&self, ccw: u32) -> u64;
    fn place(&self, block: u64) -> impl fmt::Display;
    fn partition(&self, _number: u8) -> Option<(u64, u64)> {
        None
    }
    /// What it can do beside, if there can be tracks that were never formatted.
    fn thin(&mut self) -> Option<&mut dyn Thin> {
        None
    }
    /// For commands between programs.
    fn channel(&mut self) -> &mut Channel;
    /// A program has ended with a command reject: does without a command that it need not have had, from now on. `false`: there
    /// is none.
    fn do_without(&mut self) -> bool {
        false
    }
    /// These are the paths of the device from now on.
    fn regroup(&mut self, _platform: &mut dyn Platform, path_mask: u8) {
        self.channel().set_path_mask(path_mask);
    }
    /// Whether what is there over the paths of the [channel](Self::channel) is what it was.
    fn verify(&mut self, platform: &mut dyn Platform) -> Result<(), BringUpError>;
}

/// A medium with tracks that were never formatted: see [`thin`](super::thin).
pub trait Thin {
    /// Writes a program that finds out which records the track of a block has.
    fn survey(&mut self, block: u64, parameter: u32, path_mask: u8) -> Option<Orb>;
    /// What that has found, when it has ended with `ccw` as the address in the SCSW for want of a record.
    fn surveyed(&self, block: u64, ccw: u32) -> Track;
    /// Writes a program that formats the track of a block behind its first `there` records.
    fn format(&mut self, block: u64, there: u8, parameter: u32, path_mask: u8) -> Option<Orb>;
}
