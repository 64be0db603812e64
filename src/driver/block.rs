//! The seam between the disk drivers and the block service: requests down, completions up.
//!
//! # Scope
//!
//! A [`BlockDevice`] takes requests on one of its queues, tells its device of a whole batch at once
//! ([`kick`](BlockDevice::kick)), and gives completions back in any order, each with the caller's own
//! [`Token`]. Data is a list of absolute storage ranges, so that the device's DMA hits the client's
//! pages.
//!
//! # Limits
//!
//! The caller has checked sectors against [`Geometry::sectors`], and segments against the client's
//! window. The driver checks what its own structures need: counts and lengths.
//!
//! # The rules
//!
//! * Each accepted request is completed exactly once, also when the device breaks: then with
//!   [`BlockStatus::IoError`], and only after the device was reset, so that it does not write into
//!   storage that is no longer its own.
//! * Between bring-up and the end, nothing here allocates, locks or waits, but for the reset of a
//!   broken device, which is bounded.

use channel::IoInterruption;
use thiserror::Error;
use vcss::trace::Record;
use window::Segment;

use crate::css::Platform;

/// Bytes in a sector: the unit of every sector number, whatever the disk's block size is.
pub const SECTOR: u32 = virtio::blk::SECTOR;

/// What a disk can do and how big it is. There may be nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    pub sectors: u64,
    pub block_size: u32,
    /// Logical blocks per physical block, as a power of two.
    pub physical_block_exp: u8,
    /// Logical blocks before the first aligned one.
    pub alignment_offset: u8,
    /// Smallest good transfer in logical blocks.
    pub min_io: u16,
    /// Best transfer in logical blocks; zero if the disk does not care.
    pub opt_io: u32,
    pub seg_max: u16,
    pub size_max: u32,
    pub read_only: bool,
    /// Writes are stable only after a flush; without it, as soon as they are completed.
    pub flush: bool,
    pub discard: Option<DiscardLimits>,
    pub write_zeroes: Option<WriteZeroesLimits>,
    pub queues: u16,
    /// Requests that each queue can have in flight.
    pub queue_size: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardLimits {
    pub max_sectors: u32,
    pub max_segments: u32,
    /// Ranges do best at multiples of this many sectors.
    pub alignment: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteZeroesLimits {
    pub max_sectors: u32,
    pub max_segments: u32,
    /// Whether [`Range::unmap`] has an effect.
    pub may_unmap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Into the segments.
    Read { sector: u64 },
    /// From the segments.
    Write { sector: u64 },
    /// All completed writes onto stable storage.
    Flush,
    /// The ranges are no longer needed.
    Discard,
    /// The ranges are to read as zeroes.
    WriteZeroes,
    /// The disk's name into the segments: 20 bytes, padded with NULs.
    GetId,
}

impl Operation {
    /// Whether the data is another one afterwards.
    pub const fn changes_data(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Discard | Self::WriteZeroes)
    }
}

/// The caller's own name for a request: comes back with its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub sector: u64,
    pub sectors: u32,
    /// Write-zeroes only: the disk may give the storage back.
    pub unmap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    Ok,
    /// Not done, or not all of it.
    IoError,
    /// The disk does not know such a request.
    Unsupported,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub token: Token,
    pub status: BlockStatus,
}

/// What a driver has done to get requests through, since bring-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Requests, or several of them together, that were tried again.
    pub retries: u32,
    /// Of these, over another path.
    pub other_paths: u32,
    /// Of these, after a wait for the device.
    pub waits: u32,
    pub timeouts: u32,
    /// Requests that failed all the same.
    pub failures: u32,
    pub broken: bool,
}

/// Why a request was not accepted. Nothing of it has reached the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The queue is full: try again after a completion.
    #[error("the queue is full")]
    Full,
    /// More segments or ranges than the [`Geometry`] allows, or one that is too long.
    #[error("the request exceeds the disk's limits")]
    TooLarge,
    /// The disk does not know such a request, or has no such queue.
    #[error("the disk does not know such a request")]
    Unsupported,
    #[error("the disk is broken")]
    Broken,
}

pub trait BlockDevice {
    /// What it can do and how big it is. Can change with an [`interruption`](Self::interruption):
    /// a disk may grow.
    fn geometry(&self) -> &Geometry;

    /// Accepts a request. The device learns of it with the next [`kick`](Self::kick).
    ///
    /// `segments` are absolute storage, which is the device's until the request has ended. `ranges`
    /// are for [`Operation::Discard`] and [`Operation::WriteZeroes`].
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; the request is then the caller's to end.
    fn submit(
        &mut self,
        queue: u16,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
        token: Token,
    ) -> Result<(), SubmitError>;

    /// Tells the device of all that was submitted, with at most one notification for each queue;
    /// resets a device that was found broken. Called in each turn of the event loop: it costs
    /// next to nothing when there is nothing to do.
    fn kick(&mut self, platform: &mut dyn Platform);

    /// The next completion, of any queue.
    ///
    /// When the device is found broken this returns nothing until the next [`kick`](Self::kick) has
    /// reset it; then every request in flight, each once, with [`BlockStatus::IoError`].
    fn poll(&mut self) -> Option<Done>;

    /// Requests that were accepted and have not come back.
    fn in_flight(&self) -> u32;

    /// Whether it has been given up: it takes no requests until it is opened anew, or comes back by itself with a
    /// [`recheck`](Self::recheck).
    fn is_broken(&self) -> bool;

    /// Asks for interruptions. Returns whether there is something to [`poll`](Self::poll) already: then do not sleep.
    fn arm(&mut self) -> bool;

    /// Wants no interruptions any more.
    fn disarm(&mut self) {}

    /// Handles an interruption if it is one of this device's subchannel: returns whether it is.
    ///
    /// An adapter interruption belongs to no one device; after one, poll them all.
    fn interruption(&mut self, platform: &mut dyn Platform, interruption: &IoInterruption) -> bool;

    /// Looks whether the device is still there: after a channel report about its subchannel, or when
    /// reports were lost. Requests of one that is not end with the next [`kick`](Self::kick). One that was gone and is back may be
    /// brought up again, which waits, in bounds.
    fn recheck(&mut self, platform: &mut dyn Platform) {
        let _ = platform;
    }

    /// The masks of its paths are others than before: what runs on a lost path is ended and done again over another one.
    fn paths_changed(&mut self, platform: &mut dyn Platform) {
        let _ = platform;
    }

    /// Whether paths are to be verified before they are used: then [`verify_paths`](Self::verify_paths) is to be called again and again.
    fn has_unverified_paths(&self) -> bool {
        false
    }

    /// Verifies paths, between two programs: until then none is started. That waits, in bounds.
    fn verify_paths(&mut self, platform: &mut dyn Platform) {
        let _ = platform;
    }

    /// Lets go of the device for good, nothing being in flight: it is as nobody has it, and has nothing of ours any more. Returns whether
    /// that is sure, so that others can have its storage.
    fn close(&mut self, platform: &mut dyn Platform) -> bool {
        let _ = platform;
        false
    }
    /// What it can do beside, if it is driven by channel programs.
    fn dasd(&mut self) -> Option<&mut dyn Dasd> {
        None
    }
}

/// What only a disk can do that is driven by channel programs. It comes back by itself, with a [`recheck`](BlockDevice::recheck), as the
/// volume that it was.
pub trait Dasd {
    /// The first sector of a partition that the volume names, and how many it has.
    fn partition(&self, number: u8) -> Option<(u64, u64)>;

    /// What was done to get requests through.
    fn recoveries(&self) -> Recoveries;

    /// The next record of that for the trace.
    fn incident(&mut self) -> Option<Record>;

    /// Releases the subchannel for maintenance, as soon as nothing of this driver's is in progress there: returns whether it has. From
    /// then on it takes requests all the same, and starts nothing until it [has it back](Self::resume).
    fn release(&mut self) -> bool;

    /// Gets the subchannel back.
    fn resume(&mut self, platform: &mut dyn Platform, volume: Volume);
}

/// What a volume is after maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// The one that it was, as far as anybody knows.
    Same,
    /// Perhaps another one: the driver has to look.
    Doubtful,
}
