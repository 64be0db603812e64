//! How queues come and go: SET_VQ, VDEV_RESET, and what becomes of requests then.
//!
//! # Rule
//!
//! A queue that is stopped and a device that is reset are done in bounded time: they wait for the disk to end what it has,
//! and for nothing else. What was taken and is not at the disk is
//!
//! * when the device is reset, or needs a reset, dropped: its driver does not wait for it any more;
//! * when a queue is stopped, left to the ring again where the position that remains can name it, and else worked on; while
//!   the disk is not there, it ends with an error.

use vcss::client::{MAX_QUEUES, MAX_QUEUE_SIZE};
use virtio::blk::RequestStatus;
use virtio::ccw::QueueInfo;
use virtio::ring::device::PopError;
use virtio::ring::{Options, QueueLayout};
use virtio::{Features, Status};
use window::ClientAddress;

use super::queue::{forget, ServedQueue};
use super::request::{shape, Scratch};
use super::table::Origin;
use super::{VirtioBlk, Waiting};
use crate::proxy::subchannel::emulated::program::Executed;

impl VirtioBlk {
    /// SET_VQ: releases the queue if there is one, and sets it up if the size is not 0.
    pub(in crate::proxy::block_service) fn set_queue(&mut self, info: &QueueInfo) -> Executed {
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

    /// While the disk is not there: ends with an error what keeps queues from stopping. Returns whether there was anything.
    pub fn end_rest(&mut self, client: u16, subchannel: u16, scratch: &mut Scratch) -> bool {
        let window = self.window;
        let mut worked = false;
        for queue in 0..self.queue_count() {
            let origin = Origin {
                client,
                subchannel,
                queue,
            };
            while self.is_driven() {
                let served = self.served_mut(queue).filter(|served| served.has_rest());
                let head = match served.map(|served| served.take(window, &mut scratch.chain)) {
                    Some(Ok(Some(head)) | Err(PopError::Request { head, .. })) => head,
                    None | Some(Ok(None) | Err(PopError::Queue(_))) => break,
                };
                self.counters.errors += 1;
                worked = true;
                match shape(window, &scratch.chain) {
                    Ok(shape) => {
                        let (at, status) = (shape.status, RequestStatus::IoError);
                        self.answer(origin, head, at, status, 1);
                    }
                    Err(_) => self.give_back(origin, head, 0),
                }
            }
        }
        worked
    }
}
