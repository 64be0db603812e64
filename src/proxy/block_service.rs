//! The virtio block device that a client sees: features, configuration and state.
//!
//! # Scope
//!
//! [`VirtioBlk`] is the device; `unit` makes it a control unit, which the virtual subchannel's channel
//! drives; `queue` keeps one virtqueue and what of it must outlive the appliance; `request` takes a descriptor chain apart, `slice` makes
//! the disk's operation of it, `table` has the requests in flight, `lane` counts
//! what the device takes of its disk, and `service` moves requests between queues and the disk.

pub mod lane;
mod queue;
pub mod request;
pub mod service;
mod slice;
pub mod table;
mod unit;

use liballoc::vec::Vec;

use vcss::client::{DeviceState, Notify, MAX_QUEUES};
use vcss::control::{Counters, Export, HeldBack, Quota};
use vcss::{Area, AreaError, Word};
use virtio::blk::{Config, Features as BlkFeatures};
use virtio::ccw::{QueueInfo, REVISION_READ_STATUS};
use virtio::ring::Options;
use virtio::{Features, Status};
use window::Window;
use zerocopy::big_endian::U32;
use zerocopy::IntoBytes;

use self::lane::Lane;
pub use self::queue::ServedQueue;
use self::queue::SetupError;
use self::slice::Slice;
pub use self::slice::Unfit;
use crate::driver::block::BlockDevice;

#[derive(Debug)]
pub struct VirtioBlk {
    export: Export,
    area: Area<'static>,
    window: &'static Window,
    index: u32,
    offered: Features,
    config: Config,
    slice: Slice,
    /// While the disk is not there, the bit that keeps the device from being served: requests wait.
    withheld: Status,
    /// Nothing new is taken until what an earlier life had taken is done, for whichever client of the disk.
    held: bool,
    /// Something was given back since the last publishing.
    dirty: bool,
    /// The client is to hear of a configuration change.
    changed: bool,
    accepted: Features,
    status: Status,
    revision: u16,
    writeback: bool,
    queues: Vec<QueueSlot>,
    pub(super) lane: Lane,
    waiting: Waiting,
    config_notify: Word<'static>,
    counters: Counters,
    /// What the area says of which device it is.
    identity: U32,
}

/// Data segments that fit into any ring that a driver of today makes, of 64 descriptors, beside header and status.
const DIRECT_SEGMENTS: u32 = 62;

/// A command that waits for the disk, with its data: what the client's memory says later is none of it.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    No,
    Reset,
    Queue(QueueInfo),
}

#[derive(Debug)]
struct QueueSlot {
    /// The disk's queue that its requests go to.
    disk_queue: u16,
    served: Option<ServedQueue>,
    /// Where the next set-up begins.
    start: u16,
    notify: Word<'static>,
}

impl VirtioBlk {
    /// A device over `export`, in its state after reset. It has no disk until [`Self::attach`].
    pub fn new(
        area: Area<'static>,
        window: &'static Window,
        index: u32,
        export: Export,
        quota: &Quota,
    ) -> Result<Self, AreaError> {
        let word = |offset| area.word::<Notify>(index, offset);
        let mut queues = Vec::with_capacity(MAX_QUEUES);
        for number in 0..usize::from(export.queues.get()).clamp(1, MAX_QUEUES) {
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
            slice: Slice::default(),
            withheld: Status::DEVICE_NEEDS_RESET,
            held: false,
            // A queue that is taken up may have something to say.
            dirty: true,
            changed: false,
            accepted: Features::empty(),
            status: Status::empty(),
            revision: 0,
            writeback: true,
            queues,
            lane: Lane::new(quota),
            waiting: Waiting::No,
            config_notify: word(core::mem::offset_of!(Notify, config))?,
            counters: Counters::default(),
            identity: U32::new(0),
            export,
            area,
            window,
        })
    }

    /// The disk is there, or is there again, or has got another size: it is served from now on as it is. `first_queue` is how many
    /// queues others have that share it.
    ///
    /// # Errors
    ///
    /// The export does not fit the disk; nothing is served then.
    pub fn attach(&mut self, disk: &mut dyn BlockDevice, first_queue: usize) -> Result<(), Unfit> {
        self.withheld = Status::DEVICE_NEEDS_RESET;
        self.slice = Slice::new(&self.export, disk)?;
        let geometry = disk.geometry();
        (self.offered, self.config) = self.slice.offer(self.queue_count(), geometry);
        // Side by side with the queues of whoever else has the disk, so that none of the disk's lies idle.
        let queues = (0..geometry.queues.max(1)).cycle();
        let first = first_queue % usize::from(geometry.queues.max(1));
        for (slot, queue) in self.queues.iter_mut().zip(queues.skip(first)) {
            slot.disk_queue = queue;
        }
        self.withheld = Status::empty();
        self.tell_capacity();
        if self.status.contains(Status::FEATURES_OK) && !self.acceptable(self.accepted) {
            self.needs_reset(&"the disk does not offer the features any more that were agreed on");
        }
        Ok(())
    }

    /// Tells the client of a capacity that is not the one in the area, which it knows. Also one that it knows of an earlier life, or of
    /// the export as it was configured before.
    #[cold]
    fn tell_capacity(&mut self) {
        let (now, before) = (self.config.capacity.get(), self.told_capacity());
        // What has had no command so far has nobody who could know any.
        if before == now || (before == 0 && self.status.is_empty()) {
            return;
        }
        self.persist();
        if before != 0 {
            log::info!(
                "virtual subchannel {}: {now} sectors, {before} until now",
                self.index
            );
            self.tell_of_change();
        }
    }

    /// The capacity in the area; 0 if there is none.
    fn told_capacity(&self) -> u64 {
        let state = self.area.read::<DeviceState>(self.index);
        state.map_or(0, |state| state.capacity.get())
    }

    /// The index of the disk of which it is a part.
    #[inline]
    pub fn disk(&self) -> usize {
        self.export.disk.get().into()
    }

    #[inline]
    pub const fn index(&self) -> u16 {
        self.index as u16
    }

    /// Whether there is something to [publish](Self::publish).
    #[inline]
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What it has done since the appliance started.
    pub fn counters(&self) -> Counters {
        Counters {
            in_flight: u64::from(self.in_flight()).into(),
            ..self.counters
        }
    }

    /// It was there before, and has done this.
    pub const fn count_on(&mut self, counters: Counters) {
        self.counters = counters;
    }

    /// What holds back its requests.
    pub fn held_back(&self) -> HeldBack {
        self.lane.held_back()
    }

    /// Requests that the client waits for.
    fn in_flight(&self) -> u32 {
        self.served()
            .map(|queue| u32::from(queue.in_flight()))
            .sum()
    }

    /// Whether a request of its is at the disk.
    pub fn is_at_disk(&self) -> bool {
        self.served().any(|queue| !queue.is_off_disk())
    }

    /// Looks whether each ring is in the client's memory still.
    pub fn check_rings(&mut self) {
        let window = self.window;
        let mut queues = self.served();
        let lost = queues.find_map(|queue| queue.check(window).err());
        drop(queues);
        if let Some(error) = lost {
            self.needs_reset(&error);
        }
    }

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

    /// Whether its driver has damaged a queue, and has to reset it.
    pub const fn needs_driver(&self) -> bool {
        self.status.contains(Status::DEVICE_NEEDS_RESET)
    }

    /// A queue that is set up, and the disk's queue that its requests go to.
    pub fn queue(&self, number: u16) -> Option<(u16, &ServedQueue)> {
        let slot = self.queues.get(usize::from(number))?;
        Some((slot.disk_queue, slot.served.as_ref()?))
    }

    fn served(&self) -> impl Iterator<Item = &ServedQueue> {
        self.queues.iter().filter_map(|slot| slot.served.as_ref())
    }

    /// Whether requests that an earlier life had taken are being done again.
    pub fn is_redoing(&self) -> bool {
        self.is_live() && self.served().any(ServedQueue::is_redoing)
    }

    /// From now on only what was taken before is taken again, or no longer so.
    pub const fn hold(&mut self, held: bool) {
        self.held = held;
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

    /// The client is to hear that its configuration is another one.
    pub fn tell_of_change(&mut self) {
        self.config_notify
            .store(self.config_notify.load().wrapping_add(1));
        self.dirty = true;
        self.changed = true;
    }

    /// Writes down what must outlive the appliance.
    fn persist(&self) {
        let capacity = match self.config.capacity.get() {
            // The disk has not been there in this life.
            0 => self.told_capacity(),
            capacity => capacity,
        };
        let state = DeviceState {
            features: self.accepted.bits().into(),
            revision: u32::from(self.revision).into(),
            status: self.status.bits(),
            writeback: u8::from(self.writeback),
            written: 1,
            capacity: capacity.into(),
            identity: self.identity,
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
        if self.is_driven() {
            // The earlier life may have died between a change and telling of it.
            self.tell_of_change();
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
        self.identity = state.identity;
        // No command has come yet: nothing but that was ever written there.
        let identity = state.identity;
        let nothing = DeviceState {
            identity,
            ..DeviceState::default()
        };
        if state.as_bytes() == nothing.as_bytes() {
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
