//! The control unit of a virtio block device: the virtio-ccw commands, one by one.
//!
//! # Limits
//!
//! No indicators (see `docs/protocol.md`, "Notifications"): SET_IND, SET_CONF_IND and
//! SET_IND_ADAPTER are rejected.
//!
//! # Rule
//!
//! A queue that is stopped and a device that is reset are done in bounded time: they wait for the disk to end what it has,
//! and for nothing else. What was taken and is not at the disk is
//!
//! * when the device is reset, or needs a reset, dropped: its driver does not wait for it any more;
//! * when a queue is stopped, left to the ring again where the position that remains can name it, and else worked on; while
//!   the disk is not there, it ends with an error.

use channel::CommandCode;
use vcss::client::{QueuePosition, MAX_QUEUES, MAX_QUEUE_SIZE, SET_VQ_POSITION};
use virtio::blk::{Config, Features as BlkFeatures};
use virtio::ccw::{
    Command, FeatureDescriptor, QueueConfig, QueueInfo, Revision, REVISION_READ_STATUS,
};
use virtio::ring::{Options, QueueLayout};
use virtio::{Features, Status};
use window::ClientAddress;
use zerocopy::{FromBytes, IntoBytes};

use super::queue::{forget, ServedQueue};
use super::{VirtioBlk, Waiting, DIRECT_SEGMENTS};
use crate::proxy::subchannel::emulated::data::{Data, Fault};
use crate::proxy::subchannel::emulated::program::{ControlUnit, Executed};
use crate::proxy::subchannel::emulated::Subchannel;

impl ControlUnit for VirtioBlk {
    fn execute(&mut self, command: u8, data: &mut Data<'_>) -> Executed {
        let done = match Command::try_from(command) {
            Ok(command) => self.virtio(command, data),
            Err(_) => self.common(command, data),
        };
        let executed = done.unwrap_or_else(Executed::from);
        if executed != Executed::Wait {
            // However it ended: nothing is being stopped any more.
            self.go_on();
        }
        executed
    }
}

impl VirtioBlk {
    /// The commands that every control unit knows, and this one's own.
    fn common(&mut self, command: u8, data: &mut Data<'_>) -> Result<Executed, Fault> {
        const SENSE_ID: u8 = CommandCode::SENSE_ID.0;
        const SENSE: u8 = CommandCode::SENSE.0;
        match command {
            SENSE_ID => write_up_to_count(data, Subchannel::sense_id().as_bytes()),
            SENSE => write_up_to_count(data, &[0; 32]),
            SET_VQ_POSITION => {
                let position: QueuePosition = read(data)?;
                let place = self.record_place(position.index.get());
                let start = position.next_avail.get();
                let Some(slot) = self.queues.get_mut(usize::from(position.index.get())) else {
                    return Ok(Executed::Reject);
                };
                slot.start = start;
                if slot.served.is_none() {
                    forget(&self.area, place, start);
                }
                Ok(Executed::Done)
            }
            _ => Ok(Executed::Reject),
        }
    }

    fn virtio(&mut self, command: Command, data: &mut Data<'_>) -> Result<Executed, Fault> {
        if !self.is_ready() && needs_disk(command) {
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
                self.revision = revision.revision.get();
            }
            Command::ReadFeatures => {
                let asked: FeatureDescriptor = read(data)?;
                let word = self.offered.word(asked.index);
                data.write(0, &word.to_le_bytes())?;
            }
            Command::WriteFeatures => {
                let given: FeatureDescriptor = read(data)?;
                if self.status.contains(Status::FEATURES_OK) {
                    return Ok(Executed::Reject);
                }
                self.accepted = self.accepted.with_word(given.index, given.features.get());
            }
            Command::ReadConfig => {
                self.config.writeback = u8::from(self.writeback);
                let mut config = self.config;
                if self.is_direct() {
                    let most = config.seg_max.get().min(DIRECT_SEGMENTS);
                    config.seg_max.set(most);
                }
                return write_up_to_count(data, config.as_bytes());
            }
            Command::WriteConfig => return self.write_config(data),
            Command::ReadStatus => data.write(0, &[self.status.bits()])?,
            Command::WriteStatus => {
                let [status]: [u8; 1] = read(data)?;
                return Ok(self.write_status(Status::from_bits_truncate(status)));
            }
            Command::ReadQueueConfig => {
                let mut config: QueueConfig = read(data)?;
                let size = match self.queues.get(usize::from(config.index.get())) {
                    Some(_) => MAX_QUEUE_SIZE as u16,
                    None => 0,
                };
                config.max_size = size.into();
                data.write(0, config.as_bytes())?;
            }
            Command::SetQueue => {
                let mut info: QueueInfo = read(data)?;
                if let Waiting::Queue(first) = self.waiting {
                    info = first;
                }
                self.waiting = Waiting::Queue(info);
                return Ok(self.set_queue(&info));
            }
            Command::Reset => return Ok(self.reset()),
            Command::SetIndicators
            | Command::SetConfigIndicators
            | Command::SetAdapterIndicators => return Ok(Executed::Reject),
        }
        self.persist();
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
        if let (Some(wanted), true) = (wanted, self.offered.contains(may)) {
            self.writeback = wanted != 0;
        }
        self.persist();
        Ok(Executed::Done)
    }

    fn write_status(&mut self, status: Status) -> Executed {
        if status.is_empty() || matches!(self.waiting, Waiting::Reset) {
            self.waiting = Waiting::Reset;
            return self.reset();
        }
        let newly = status - self.status;
        if newly.contains(Status::FEATURES_OK) && !self.is_ready() {
            return Executed::NotReady;
        }
        if newly.contains(Status::FEATURES_OK) && !self.acceptable(self.accepted) {
            return Executed::Reject;
        }
        if newly.contains(Status::DRIVER_OK)
            && !(status | self.status).contains(Status::FEATURES_OK)
        {
            return Executed::Reject;
        }
        // Only a reset takes a bit away.
        self.status |= status;
        self.persist();
        Executed::Done
    }

    /// Where a queue's record stands in the area.
    pub(super) fn record_place(&self, queue: u16) -> u32 {
        self.index * MAX_QUEUES as u32 + u32::from(queue)
    }

    /// SET_VQ: releases the queue if there is one, and sets it up if the size is not 0.
    pub(super) fn set_queue(&mut self, info: &QueueInfo) -> Executed {
        let place = self.record_place(info.index.get());
        let window = self.window;
        let options = Options::from(self.accepted);
        let agreed = self.status.contains(Status::FEATURES_OK);
        let ready = self.is_ready();
        let driven = self.is_driven();
        let Some(slot) = self.queues.get_mut(usize::from(info.index.get())) else {
            return Executed::Reject;
        };
        if let Some(served) = &mut slot.served {
            // A driver that has broken a ring waits for nothing any more.
            let stopped = served.stop(window) || (!driven && served.is_off_disk());
            if !stopped {
                return Executed::Wait;
            }
            // Whoever stops the queue reads the counter next: what was published and not told is told now.
            if served.take_notify() {
                slot.notify.store(slot.notify.load().wrapping_add(1));
            }
            slot.start = served.next_avail();
            slot.served = None;
        }
        // Also the record of one that could not be taken up.
        forget(&self.area, place, slot.start);
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
        match ServedQueue::set_up(&self.area, place, window, layout, options, slot.start) {
            Ok(served) => {
                slot.served = Some(served);
                Executed::Done
            }
            Err(error) => {
                log::warn!("virtual subchannel {}: {error}", self.index);
                Executed::Reject
            }
        }
    }

    /// VDEV_RESET: drops what is not at the disk, waits for what is, and forgets everything.
    pub(in crate::proxy) fn reset(&mut self) -> Executed {
        let mut drained = true;
        for slot in &mut self.queues {
            let served = slot.served.as_mut();
            drained &= served.is_none_or(ServedQueue::abandon);
        }
        if !drained {
            return Executed::Wait;
        }
        // All that the area has, also those that could not be taken up. A crash in between leaves a device without queues.
        for queue in 0..MAX_QUEUES as u16 {
            forget(&self.area, self.record_place(queue), 0);
        }
        self.waiting = Waiting::No;
        for slot in &mut self.queues {
            slot.served = None;
            slot.start = 0;
        }
        // One store for the status, the next for the features: in between, nothing has been agreed on.
        self.status = Status::empty();
        self.revision = 0;
        // The cache mode stays: a client that is told what it is from a copy goes on being told so.
        self.persist();
        self.accepted = Features::empty();
        self.persist();
        Executed::Done
    }

    /// The channel program that stopped a queue or reset the device has ended, or was ended: what queues there are are served as before.
    pub fn go_on(&mut self) {
        self.waiting = Waiting::No;
        for slot in &mut self.queues {
            if let Some(served) = &mut slot.served {
                served.go_on();
            }
        }
    }
}

/// Whether a command cannot be answered as long as the disk is not there. Reset, and the release of queues, can.
const fn needs_disk(command: Command) -> bool {
    matches!(
        command,
        Command::ReadFeatures | Command::WriteFeatures | Command::ReadConfig | Command::WriteConfig
    )
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
