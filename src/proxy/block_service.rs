//! The virtio block device that a client sees: features, configuration and state.
//!
//! # Scope
//!
//! [`VirtioBlk`] is the device; `unit` makes it a control unit, which the virtual subchannel's channel
//! drives; `queue` keeps one virtqueue and what of it must outlive the appliance; `ending` sets queues up, stops them and
//! resets the device; `request` takes a descriptor chain apart, `table` has the requests in flight, and `service`
//! moves requests between queues and the disk.

mod ending;
mod queue;
pub mod request;
pub mod service;
pub mod table;
mod unit;

use liballoc::vec::Vec;

use vcss::client::{DeviceState, Notify, MAX_QUEUES};
use vcss::{Area, AreaError, Word};
use virtio::blk::{Config, Features as BlkFeatures, SECTOR};
use virtio::ccw::{QueueInfo, REVISION_READ_STATUS};
use virtio::ring::Options;
use virtio::{Features, Status};
use window::Window;
use zerocopy::IntoBytes;

use self::queue::{ServedQueue, SetupError};
use crate::control::Export;
use crate::driver::block::{BlockDevice, Geometry};

/// Counted since the appliance started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Reads, writes, flushes, discards and write-zeroes that ended well.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards and write-zeroes.
    pub discards: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Requests that ended in an error.
    pub errors: u64,
}

/// A virtio block device.
#[derive(Debug)]
pub struct VirtioBlk {
    export: Export,
    /// The client's area, and its window.
    area: Area<'static>,
    window: &'static Window,
    /// Number of its subchannel in the client's area.
    index: u32,
    offered: Features,
    config: Config,
    /// What of the disk each request is measured with.
    disk: Traits,
    /// While the disk is not there, the bit that keeps the device from being served: requests wait.
    withheld: Status,
    /// Something was given back since the last publishing.
    dirty: bool,
    /// The client is to hear of a configuration change.
    changed: bool,
    accepted: Features,
    status: Status,
    revision: u16,
    writeback: bool,
    queues: Vec<QueueSlot>,
    /// A command that waits for the disk.
    waiting: Waiting,
    config_notify: Word<'static>,
    counters: Counters,
}

/// What of the disk each request is measured with.
#[derive(Clone, Copy, Debug)]
struct Traits {
    /// First sector on the disk.
    start: u64,
    /// Sectors.
    sectors: u64,
    block_size: u32,
    read_only: bool,
    flush: bool,
}

/// Data segments that fit into any ring that a driver of today makes, of 64 descriptors, beside header and status.
const DIRECT_SEGMENTS: u32 = 62;

/// A command that waits for the disk, with its data: what the client's memory says later is none of it.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    No,
    /// A reset.
    Reset,
    /// SET_VQ.
    Queue(QueueInfo),
}

/// One of the device's queues, set up or not.
#[derive(Debug)]
struct QueueSlot {
    /// The disk's queue that its requests go to.
    disk_queue: u16,
    served: Option<ServedQueue>,
    /// Where the next set-up begins.
    start: u16,
    notify: Word<'static>,
}

/// Why a client cannot have what it is given of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The disk has no such partition, or none that can be served.
    Partition(u8),
    /// The slice ends beyond the disk's end, at this many sectors.
    Beyond(u64),
    /// The slice does not begin and end on blocks, of this many bytes.
    Blocks(u32),
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Partition(number) => {
                write!(f, "the disk has no partition {number} that can be served")
            }
            Self::Beyond(sectors) => {
                write!(f, "the slice ends beyond the disk's {sectors} sectors")
            }
            Self::Blocks(bytes) => write!(
                f,
                "the slice does not begin and end on the disk's blocks of {bytes} bytes"
            ),
        }
    }
}

impl VirtioBlk {
    /// A device over `export`, in its state after reset. It has no disk until [`Self::attach`].
    ///
    /// # Errors
    ///
    /// The area has no place for it.
    pub fn new(
        area: Area<'static>,
        window: &'static Window,
        index: u32,
        export: Export,
    ) -> Result<Self, AreaError> {
        let word = |offset| area.word::<Notify>(index, offset);
        let mut queues = Vec::with_capacity(MAX_QUEUES);
        for number in 0..usize::from(export.queues).min(MAX_QUEUES) {
            queues.push(QueueSlot {
                disk_queue: 0,
                served: None,
                start: 0,
                notify: word(number * size_of::<u32>())?,
            });
        }
        Ok(Self {
            index,
            offered: Features::empty(),
            config: Config::default(),
            disk: Traits {
                start: 0,
                sectors: 0,
                block_size: SECTOR,
                read_only: true,
                flush: false,
            },
            withheld: Status::DEVICE_NEEDS_RESET,
            // A queue that is taken up may have something to say.
            dirty: true,
            changed: false,
            accepted: Features::empty(),
            status: Status::empty(),
            revision: 0,
            writeback: true,
            queues,
            waiting: Waiting::No,
            config_notify: word(core::mem::offset_of!(Notify, config))?,
            counters: Counters::default(),
            export,
            area,
            window,
        })
    }

    /// The disk is there, or is there again: it is served from now on. `first_queue` is how many queues others have that share it.
    ///
    /// # Errors
    ///
    /// The export does not fit the disk; nothing is served then.
    pub fn attach(&mut self, disk: &mut dyn BlockDevice, first_queue: usize) -> Result<(), Unfit> {
        self.withheld = Status::DEVICE_NEEDS_RESET;
        let (start, sectors) = extent(&self.export, disk)?;
        let geometry = disk.geometry();
        let (offered, config) = offer(&self.export, sectors, geometry);
        self.offered = offered;
        self.config = config;
        self.disk = Traits {
            start,
            sectors,
            block_size: geometry.block_size,
            read_only: self.export.read_only || geometry.read_only,
            flush: geometry.flush,
        };
        // Side by side with the queues of whoever else has the disk, so that none of the disk's lies idle.
        let queues = (0..geometry.queues.max(1)).cycle();
        let first = first_queue % usize::from(geometry.queues.max(1));
        for (slot, queue) in self.queues.iter_mut().zip(queues.skip(first)) {
            slot.disk_queue = queue;
        }
        self.withheld = Status::empty();
        if self.status.contains(Status::FEATURES_OK) && !self.acceptable(self.accepted) {
            self.needs_reset(&"the disk does not offer the features any more that were agreed on");
        }
        Ok(())
    }

    /// What it serves.
    pub const fn export(&self) -> &Export {
        &self.export
    }

    /// The number of its virtual subchannel.
    #[inline]
    pub const fn index(&self) -> u16 {
        self.index as u16
    }

    /// Whether there is something to [publish](Self::publish).
    #[inline]
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What it has done.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Requests that the client waits for.
    pub fn in_flight(&self) -> u32 {
        self.served()
            .map(|queue| u32::from(queue.in_flight()))
            .sum()
    }

    /// Whether its disk is there.
    pub const fn is_ready(&self) -> bool {
        self.withheld.is_empty()
    }

    /// Whether rings are to be served.
    pub fn is_live(&self) -> bool {
        const LOOKED_AT: Status = Status::DRIVER_OK.union(Status::DEVICE_NEEDS_RESET);
        (self.status | self.withheld) & LOOKED_AT == Status::DRIVER_OK
    }

    /// Whether a driver has set it up, and has not damaged it.
    pub fn is_driven(&self) -> bool {
        self.status.contains(Status::DRIVER_OK) && !self.status.contains(Status::DEVICE_NEEDS_RESET)
    }

    fn served(&self) -> impl Iterator<Item = &ServedQueue> {
        self.queues.iter().filter_map(|slot| slot.served.as_ref())
    }

    /// Whether requests that an earlier life had taken are being done again.
    pub fn is_redoing(&self) -> bool {
        self.is_live() && self.served().any(ServedQueue::is_redoing)
    }

    /// Whether a write may be answered before it is on stable storage.
    fn write_back(&self) -> bool {
        let flush = Features::from(BlkFeatures::FLUSH);
        self.accepted.contains(flush) && self.writeback
    }

    /// The driver broke a queue: nothing more is served until it resets the device.
    fn needs_reset(&mut self, why: &dyn core::fmt::Display) {
        log::warn!("virtual subchannel {}: needs reset: {why}", self.index);
        self.status |= Status::DEVICE_NEEDS_RESET;
        self.persist();
        self.tell_of_change();
    }

    /// Tells the client of a configuration change.
    fn tell_of_change(&mut self) {
        self.config_notify
            .store(self.config_notify.load().wrapping_add(1));
        self.dirty = true;
        self.changed = true;
    }

    /// Writes down what must outlive the appliance.
    fn persist(&self) {
        let state = DeviceState {
            features: self.accepted.bits().into(),
            revision: u32::from(self.revision).into(),
            status: self.status.bits(),
            writeback: u8::from(self.writeback),
            written: 1,
            ..DeviceState::default()
        };
        if let Err(error) = self.area.write(self.index, &state) {
            log::error!("virtual subchannel {}: {error}", self.index);
        }
    }

    /// Takes up where the appliance's earlier life ended. Whatever the area says is checked as if
    /// the client had just asked for it.
    pub fn take_up(&mut self) {
        if !self.take_up_state() {
            return;
        }
        if self.status.contains(Status::DEVICE_NEEDS_RESET) {
            // The earlier life may not have come to saying so.
            self.tell_of_change();
            return;
        }
        if let Err(error) = self.take_up_queues() {
            self.needs_reset(&error);
            return;
        }
        let queues = self.served().count();
        let requests = self.in_flight();
        log::info!(
            "virtual subchannel {}: took up {queues} queues, {requests} requests in flight",
            self.index
        );
    }

    /// Takes up all but the queues: nothing of what the client has in its memory is looked at. Returns whether there was anything.
    pub fn take_up_state(&mut self) -> bool {
        let Ok(state) = self.area.read::<DeviceState>(self.index) else {
            return false;
        };
        let first = self.index * MAX_QUEUES as u32;
        for (place, slot) in (first..).zip(&mut self.queues) {
            slot.start = queue::position(&self.area, place);
        }
        // No command has come yet: nothing was ever written there.
        if state.as_bytes().iter().all(|&byte| byte == 0) {
            return false;
        }
        self.revision = state.revision.get().min(u32::from(REVISION_READ_STATUS)) as u16;
        self.writeback = state.writeback != 0;
        self.accepted = Features::from_bits_retain(state.features.get());
        self.status = Status::from_bits_truncate(state.status);
        true
    }

    /// Whether the driver puts its requests into the ring itself, and has no indirect descriptors.
    fn is_direct(&self) -> bool {
        self.status.contains(Status::FEATURES_OK)
            && !self.accepted.contains(Features::RING_INDIRECT_DESC)
    }

    fn take_up_queues(&mut self) -> Result<(), SetupError> {
        let agreed = self.status.contains(Status::FEATURES_OK);
        let driven = self.status.contains(Status::DRIVER_OK);
        if driven && !agreed {
            return Err(SetupError::Record);
        }
        let options = Options::from(self.accepted);
        let first = self.index * MAX_QUEUES as u32;
        for number in 0..MAX_QUEUES {
            let place = first + number as u32;
            let Some(mut served) = ServedQueue::take_up(&self.area, place, self.window, options)?
            else {
                continue;
            };
            if !driven {
                // There is nothing that the driver could have missed.
                served.take_notify();
            }
            match self.queues.get_mut(number) {
                Some(slot) if agreed => slot.served = Some(served),
                _ => return Err(SetupError::Record),
            }
        }
        Ok(())
    }

    fn acceptable(&self, features: Features) -> bool {
        self.offered.contains(features) && features.contains(Features::VERSION_1)
    }
}

/// Where on a disk an export lies: first sector, and how many.
fn extent(export: &Export, disk: &mut dyn BlockDevice) -> Result<(u64, u64), Unfit> {
    let (start, sectors) = match export.partition {
        0 => (export.start, export.sectors),
        number => (disk.dasd())
            .and_then(|dasd| dasd.partition(number))
            .ok_or(Unfit::Partition(number))?,
    };
    let geometry = disk.geometry();
    let size = geometry.sectors;
    let sectors = match sectors {
        0 => size.saturating_sub(start),
        sectors => sectors,
    };
    let end = start.checked_add(sectors);
    let Some(end) = end.filter(|&end| sectors != 0 && end <= size) else {
        return Err(Unfit::Beyond(size));
    };
    let block = u64::from(geometry.block_size / SECTOR).max(1);
    if !start.is_multiple_of(block) || !end.is_multiple_of(block) {
        return Err(Unfit::Blocks(geometry.block_size));
    }
    Ok((start, sectors))
}

/// What the export offers of what the disk can do.
fn offer(export: &Export, sectors: u64, disk: &Geometry) -> (Features, Config) {
    let mut features = BlkFeatures::SEG_MAX
        | BlkFeatures::SIZE_MAX
        | BlkFeatures::BLK_SIZE
        | BlkFeatures::TOPOLOGY
        | BlkFeatures::MQ;
    let mut config = Config {
        capacity: sectors.into(),
        size_max: disk.size_max.into(),
        seg_max: u32::from(disk.seg_max).into(),
        blk_size: disk.block_size.into(),
        num_queues: export.queues.into(),
        writeback: 1,
        ..Config::default()
    };
    config.topology.physical_block_exp = disk.physical_block_exp;
    config.topology.min_io_size = disk.min_io.into();
    config.topology.opt_io_size = disk.opt_io.into();
    if disk.flush {
        features |= BlkFeatures::FLUSH | BlkFeatures::CONFIG_WCE;
    }
    if export.read_only || disk.read_only {
        features |= BlkFeatures::RO;
    } else {
        if let Some(limits) = &disk.discard {
            features |= BlkFeatures::DISCARD;
            config.max_discard_sectors = limits.max_sectors.into();
            config.max_discard_seg = request::ranges(limits.max_segments).into();
            config.discard_sector_alignment = limits.alignment.into();
        }
        if let Some(limits) = &disk.write_zeroes {
            features |= BlkFeatures::WRITE_ZEROES;
            config.max_write_zeroes_sectors = limits.max_sectors.into();
            config.max_write_zeroes_seg = request::ranges(limits.max_segments).into();
            config.write_zeroes_may_unmap = u8::from(limits.may_unmap);
        }
    }
    let ring = Features::VERSION_1 | Features::RING_INDIRECT_DESC | Features::RING_EVENT_IDX;
    (ring | features.into(), config)
}

/// Sectors in so many bytes; `None` when it is no whole number of blocks.
const fn sectors(bytes: u64, block_size: u32) -> Option<u64> {
    if block_size == 0 || !bytes.is_multiple_of(block_size as u64) {
        return None;
    }
    Some(bytes / SECTOR as u64)
}
