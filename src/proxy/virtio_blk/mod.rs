//! The virtio block device that a client sees: features, configuration and virtio-ccw commands.
//!
//! # Scope
//!
//! [`VirtioBlk`] is the device; [`Unit`] is its control unit, which the virtual subchannel's channel
//! drives; `queue` keeps one virtqueue and what of it must outlive the appliance; `request` takes a
//! descriptor chain apart, `table` has the requests in flight, and `service`
//! moves requests between queues and the disk.
//!
//! # Limits
//!
//! No indicators (see `docs/protocol.md`, "Notifications"): SET_IND, SET_CONF_IND and
//! SET_IND_ADAPTER are rejected.

mod queue;
pub mod request;
pub mod service;
pub mod table;

use alloc::vec::Vec;

use vcss::client::{
    DeviceState, Notify, QueuePosition, MAX_QUEUES, MAX_QUEUE_SIZE, SET_VQ_POSITION,
};
use vcss::{Area, AreaError, Word};
use virtio::blk::{Config, Features as BlkFeatures, SECTOR};
use virtio::ccw::{
    Command, FeatureDescriptor, QueueConfig, QueueInfo, Revision, REVISION_READ_STATUS,
};
use virtio::ring::{Options, QueueLayout};
use virtio::{Features, Status};
use window::{ClientAddress, Window};
use zerocopy::{FromBytes, IntoBytes};

use self::queue::ServedQueue;
use super::program::{ControlUnit, Data, Executed, Fault};
use super::subchannel::Subchannel;
use crate::driver::block::{BlockDevice, Geometry};
use channel::CommandCode;

/// What of which disk a client gets.
#[derive(Clone, Debug)]
pub struct Export {
    /// Index of the disk.
    pub disk: usize,
    /// First sector on the disk.
    pub start: u64,
    /// Sectors; 0 means to the end of the disk.
    pub sectors: u64,
    /// Not 0: a partition of the disk. `start` and `sectors` are 0 then.
    pub partition: u8,
    /// No writing.
    pub read_only: bool,
    /// Queues.
    pub queues: u16,
    /// What GET ID answers.
    pub serial: [u8; 20],
}

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
    pub fn new(area: &Area<'static>, index: u32, export: Export) -> Result<Self, AreaError> {
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
            config_notify: word(core::mem::offset_of!(Notify, config))?,
            counters: Counters::default(),
            export,
        })
    }

    /// The disk is there, or is there again: it is served from now on. `first_queue` is how many queues others have that share it.
    ///
    /// # Errors
    ///
    /// The export does not fit the disk; nothing is served then.
    pub fn attach(
        &mut self,
        area: &Area<'static>,
        disk: &dyn BlockDevice,
        first_queue: usize,
    ) -> Result<(), Unfit> {
        self.withheld = Status::DEVICE_NEEDS_RESET;
        let geometry = disk.geometry();
        let (start, sectors) = extent(&self.export, disk)?;
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
            self.needs_reset(
                area,
                &"the disk does not offer the features any more that were agreed on",
            );
        }
        Ok(())
    }

    /// What it serves.
    pub const fn export(&self) -> &Export {
        &self.export
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

    /// Whether a write may be answered before it is on stable storage.
    fn write_back(&self) -> bool {
        let flush = Features::from(BlkFeatures::FLUSH);
        self.accepted.contains(flush) && self.writeback
    }

    /// The driver broke a queue: nothing more is served until it resets the device.
    fn needs_reset(&mut self, area: &Area<'static>, why: &dyn core::fmt::Display) {
        log::warn!("virtual subchannel {}: needs reset: {why}", self.index);
        self.status |= Status::DEVICE_NEEDS_RESET;
        self.persist(area);
        self.config_notify
            .store(self.config_notify.load().wrapping_add(1));
        self.dirty = true;
        self.changed = true;
    }

    /// Writes down what must outlive the appliance.
    fn persist(&self, area: &Area<'static>) {
        let state = DeviceState {
            features: self.accepted.bits().into(),
            revision: u32::from(self.revision).into(),
            status: self.status.bits(),
            writeback: u8::from(self.writeback),
            ..DeviceState::default()
        };
        if let Err(error) = area.write(self.index, &state) {
            log::error!("virtual subchannel {}: {error}", self.index);
        }
    }

    /// Takes up where the appliance's earlier life ended. Whatever the area says is checked as if
    /// the client had just asked for it.
    pub fn take_up(&mut self, area: &Area<'static>, window: &'static Window) {
        let Ok(state) = area.read::<DeviceState>(self.index) else {
            return;
        };
        let status = Status::from_bits_truncate(state.status);
        if !status.contains(Status::DRIVER_OK) {
            return;
        }
        let features = Features::from_bits_retain(state.features.get());
        self.revision = state.revision.get().min(u32::from(REVISION_READ_STATUS)) as u16;
        self.writeback = state.writeback != 0;
        self.accepted = features;
        self.status = status;
        let options = Options::from(self.accepted);
        for (number, slot) in self.queues.iter_mut().enumerate() {
            let place = self.index * MAX_QUEUES as u32 + number as u32;
            match ServedQueue::take_up(area, place, window, options) {
                Ok(served) => slot.served = served,
                Err(error) => {
                    self.needs_reset(area, &error);
                    return;
                }
            }
        }
        let queues = self.served().count();
        let requests = self.in_flight();
        log::info!(
            "virtual subchannel {}: took up {queues} queues, {requests} requests in flight",
            self.index
        );
    }

    /// Whether the driver puts its requests into the ring itself, and has no indirect descriptors.
    fn is_direct(&self) -> bool {
        self.status.contains(Status::FEATURES_OK)
            && !self.accepted.contains(Features::RING_INDIRECT_DESC)
    }

    fn acceptable(&self, features: Features) -> bool {
        self.offered.contains(features) && features.contains(Features::VERSION_1)
    }
}

/// Where on a disk an export lies: first sector, and how many.
fn extent(export: &Export, disk: &dyn BlockDevice) -> Result<(u64, u64), Unfit> {
    let geometry = disk.geometry();
    let size = geometry.sectors;
    let (start, sectors) = match export.partition {
        0 => (export.start, export.sectors),
        number => disk.partition(number).ok_or(Unfit::Partition(number))?,
    };
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

/// The device's control unit, for as long as a channel program is being executed.
#[derive(Debug)]
pub struct Unit<'a> {
    /// The device.
    pub device: &'a mut VirtioBlk,
    /// The client's area.
    pub area: &'a Area<'static>,
    /// The client's window, for ring addresses.
    pub window: &'static Window,
}

impl ControlUnit for Unit<'_> {
    fn execute(&mut self, command: u8, data: &mut Data<'_>) -> Executed {
        let done = match Command::try_from(command) {
            Ok(command) => self.virtio(command, data),
            Err(_) => self.common(command, data),
        };
        done.unwrap_or_else(Executed::from)
    }
}

impl Unit<'_> {
    /// The commands that every control unit knows, and this one's own.
    fn common(&mut self, command: u8, data: &mut Data<'_>) -> Result<Executed, Fault> {
        const SENSE_ID: u8 = CommandCode::SENSE_ID.0;
        const SENSE: u8 = CommandCode::SENSE.0;
        match command {
            SENSE_ID => write_up_to_count(data, Subchannel::sense_id().as_bytes()),
            SENSE => write_up_to_count(data, &[0; 32]),
            SET_VQ_POSITION => {
                let position: QueuePosition = read(data)?;
                let Some(slot) = self.slot(position.index.get()) else {
                    return Ok(Executed::Reject);
                };
                slot.start = position.next_avail.get();
                Ok(Executed::Done)
            }
            _ => Ok(Executed::Reject),
        }
    }

    fn virtio(&mut self, command: Command, data: &mut Data<'_>) -> Result<Executed, Fault> {
        let device = &mut *self.device;
        if !device.is_ready() && needs_disk(command) {
            return Ok(Executed::NotReady);
        }
        match command {
            Command::SetRevision => {
                let revision: Revision = read(data)?;
                // The data that some revisions bring along means nothing to us.
                let rest = data.count().min(4u16.saturating_add(revision.length.get()));
                data.read(0, &mut [0; 64][..usize::from(rest).min(64)])?;
                if revision.revision.get() > REVISION_READ_STATUS {
                    return Ok(Executed::Reject);
                }
                device.revision = revision.revision.get();
            }
            Command::ReadFeatures => {
                let asked: FeatureDescriptor = read(data)?;
                let word = device.offered.word(asked.index);
                data.write(0, &word.to_le_bytes())?;
            }
            Command::WriteFeatures => {
                let given: FeatureDescriptor = read(data)?;
                if device.status.contains(Status::FEATURES_OK) {
                    return Ok(Executed::Reject);
                }
                device.accepted = device.accepted.with_word(given.index, given.features.get());
            }
            Command::ReadConfig => {
                device.config.writeback = u8::from(device.writeback);
                let mut config = device.config;
                if device.is_direct() {
                    let most = config.seg_max.get().min(DIRECT_SEGMENTS);
                    config.seg_max.set(most);
                }
                return write_up_to_count(data, config.as_bytes());
            }
            Command::WriteConfig => return self.write_config(data),
            Command::ReadStatus => data.write(0, &[device.status.bits()])?,
            Command::WriteStatus => {
                let [status]: [u8; 1] = read(data)?;
                return Ok(self.write_status(Status::from_bits_truncate(status)));
            }
            Command::ReadQueueConfig => {
                let mut config: QueueConfig = read(data)?;
                let size = match self.slot(config.index.get()) {
                    Some(_) => MAX_QUEUE_SIZE as u16,
                    None => 0,
                };
                config.max_size = size.into();
                data.write(0, config.as_bytes())?;
            }
            Command::SetQueue => {
                let info: QueueInfo = read(data)?;
                return Ok(self.set_queue(&info));
            }
            Command::Reset => return Ok(self.reset()),
            Command::SetIndicators
            | Command::SetConfigIndicators
            | Command::SetAdapterIndicators => return Ok(Executed::Reject),
        }
        self.device.persist(self.area);
        Ok(Executed::Done)
    }

    fn write_config(&mut self, data: &mut Data<'_>) -> Result<Executed, Fault> {
        const WRITEBACK: usize = core::mem::offset_of!(Config, writeback);
        let mut config = [0; size_of::<Config>()];
        let length = usize::from(data.count()).min(config.len());
        let bytes = config.get_mut(..length).unwrap_or_default();
        data.read(0, bytes)?;
        let wanted = bytes.get(WRITEBACK).copied();
        let may = Features::from(BlkFeatures::CONFIG_WCE);
        if let (Some(wanted), true) = (wanted, self.device.offered.contains(may)) {
            self.device.writeback = wanted != 0;
        }
        self.device.persist(self.area);
        Ok(Executed::Done)
    }

    fn write_status(&mut self, status: Status) -> Executed {
        if status.is_empty() {
            return self.reset();
        }
        let device = &mut *self.device;
        let newly = status - device.status;
        if newly.contains(Status::FEATURES_OK) && !device.is_ready() {
            return Executed::NotReady;
        }
        if newly.contains(Status::FEATURES_OK) && !device.acceptable(device.accepted) {
            return Executed::Reject;
        }
        if newly.contains(Status::DRIVER_OK)
            && !(status | device.status).contains(Status::FEATURES_OK)
        {
            return Executed::Reject;
        }
        device.status = status | (device.status & Status::DEVICE_NEEDS_RESET);
        device.persist(self.area);
        Executed::Done
    }

    fn set_queue(&mut self, info: &QueueInfo) -> Executed {
        let place = self.device.index * MAX_QUEUES as u32 + u32::from(info.index.get());
        let (area, window) = (self.area, self.window);
        let options = Options::from(self.device.accepted);
        let agreed = self.device.status.contains(Status::FEATURES_OK);
        let ready = self.device.is_ready();
        let Some(slot) = self.slot(info.index.get()) else {
            return Executed::Reject;
        };
        if let Some(served) = &mut slot.served {
            if !served.release(area, place) {
                return Executed::Wait;
            }
            slot.start = served.next_avail();
            slot.served = None;
        }
        if info.size.get() == 0 {
            return Executed::Done;
        }
        if !ready {
            return Executed::NotReady;
        }
        if !agreed || usize::from(info.size.get()) > MAX_QUEUE_SIZE {
            return Executed::Reject;
        }
        let layout = QueueLayout {
            size: info.size.get(),
            descriptors: ClientAddress::new(info.descriptors.get()),
            driver: ClientAddress::new(info.driver.get()),
            device: ClientAddress::new(info.device.get()),
        };
        match ServedQueue::set_up(area, place, window, layout, options, slot.start) {
            Ok(served) => {
                slot.served = Some(served);
                Executed::Done
            }
            Err(error) => {
                log::warn!("virtual subchannel {}: {error}", self.device.index);
                Executed::Reject
            }
        }
    }

    /// Takes no more requests, waits for those in flight, and forgets everything.
    pub(in crate::proxy) fn reset(&mut self) -> Executed {
        let first = self.device.index * MAX_QUEUES as u32;
        let mut drained = true;
        for (number, slot) in self.device.queues.iter_mut().enumerate() {
            if let Some(served) = &mut slot.served {
                if served.release(self.area, first + number as u32) {
                    slot.served = None;
                } else {
                    drained = false;
                }
            }
            slot.start = 0;
        }
        if !drained {
            return Executed::Wait;
        }
        let device = &mut *self.device;
        device.accepted = Features::empty();
        device.status = Status::empty();
        device.revision = 0;
        // The cache mode stays: a client that is told what it is from a copy goes on being told so.
        device.persist(self.area);
        Executed::Done
    }

    fn slot(&mut self, index: u16) -> Option<&mut QueueSlot> {
        self.device.queues.get_mut(usize::from(index))
    }
}

/// Whether a command cannot be answered as long as the disk is not there. Reset, and the release of queues, can.
const fn needs_disk(command: Command) -> bool {
    match command {
        Command::ReadFeatures
        | Command::WriteFeatures
        | Command::ReadConfig
        | Command::WriteConfig => true,
        Command::SetRevision
        | Command::ReadStatus
        | Command::WriteStatus
        | Command::ReadQueueConfig
        | Command::SetQueue
        | Command::Reset
        | Command::SetIndicators
        | Command::SetConfigIndicators
        | Command::SetAdapterIndicators => false,
    }
}

/// Copies a payload from the start of the data area.
fn read<T: FromBytes + IntoBytes>(data: &mut Data<'_>) -> Result<T, Fault> {
    let mut value = T::new_zeroed();
    data.read(0, value.as_mut_bytes())?;
    Ok(value)
}

/// Answers with as much as the CCW has room for.
fn write_up_to_count(data: &mut Data<'_>, bytes: &[u8]) -> Result<Executed, Fault> {
    let length = bytes.len().min(usize::from(data.count()));
    data.write(0, bytes.get(..length).unwrap_or_default())?;
    Ok(Executed::Done)
}

/// Sectors in so many bytes; `None` when it is no whole number of blocks.
const fn sectors(bytes: u64, block_size: u32) -> Option<u64> {
    if block_size == 0 || !bytes.is_multiple_of(block_size as u64) {
        return None;
    }
    Some(bytes / SECTOR as u64)
}
