//! A virtio disk as a [`BlockDevice`] (virtio 1.3, section 5.2).
//!
//! # Scope
//!
//! Read, write, flush, discard, write-zeroes and get-id, on up to [`MAX_QUEUES`] queues, with indirect
//! descriptors and event indices if the device has them. `queue` is the hot path: a request costs one
//! slot of storage that was set aside at bring-up, filled in and named to the device.
//!
//! # Limits
//!
//! * [`QUEUE_SIZE`] requests in flight for each queue, [`SEGMENTS`] data segments for each request.
//! * The write cache stays as the device has it: without [`Features::CONFIG_WCE`] a device that offers
//!   flush is write-back.
//! * A device that breaks is reset and given up; it is not brought up anew.
//!
//! # The rule
//!
//! The device is trusted with the storage it was told of, not with our bookkeeping: a used ring that
//! makes no sense breaks the device. Before its requests are given back as failed, the device is
//! reset, so that it does not write into storage that is somebody else's by then. A device that cannot
//! even be reset is out of anybody's hands; the log says so.

mod config;
mod queue;
#[cfg(test)]
mod tests;

use liballoc::vec::Vec;

use channel::{IoInterruption, PmcwFlags, SubchannelId};
use virtio::blk::{Config, Features};
use window::Segment;

use super::block::{BlockDevice, Done, Geometry, Operation, Range, SubmitError, Token};
use super::virtio_ccw::{Settings, Signalling, Transport, TransportError, TransportEvent};
use crate::css::Platform;
use queue::RequestQueue;

pub use queue::{QUEUE_SIZE, SEGMENTS};

pub const MAX_QUEUES: u16 = 4;

/// How many completions of one queue come in a row while others may wait.
const BURST: u32 = 32;

/// How often a configuration is read in succession that changes each time meanwhile.
const LOOKS: u32 = 8;

/// What is asked for; the device may have less.
const WANTED: Features = Features::SIZE_MAX
    .union(Features::SEG_MAX)
    .union(Features::RO)
    .union(Features::BLK_SIZE)
    .union(Features::FLUSH)
    .union(Features::TOPOLOGY)
    .union(Features::MQ)
    .union(Features::DISCARD)
    .union(Features::WRITE_ZEROES);

const WANTED_OF_RING: virtio::Features =
    virtio::Features::RING_INDIRECT_DESC.union(virtio::Features::RING_EVENT_IDX);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    /// Found broken: to be reset before anything else.
    Broken,
    GivenUp,
}

#[derive(Debug)]
pub struct VirtioBlk {
    transport: Transport,
    geometry: Geometry,
    queues: Vec<RequestQueue>,
    /// The queue that is polled next, and how often it has been since its turn came.
    next: usize,
    burst: u32,
    fresh: bool,
    in_flight: u32,
    health: Health,
}

impl VirtioBlk {
    /// Brings the device on subchannel `id` up, with as many queues as it has, at most `queues` and
    /// [`MAX_QUEUES`].
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        settings: Settings,
        queues: u16,
    ) -> Result<Self, TransportError> {
        let mut transport = Transport::open(platform, id, settings)?;
        let features = transport.negotiate(platform, WANTED_OF_RING.union(WANTED.into()))?;
        let config: Config = transport.read_config(platform)?;
        let mut geometry = config::geometry(&config, features)?;
        let mut request_queues = Vec::new();
        for index in 0..geometry.queues.min(queues.clamp(1, MAX_QUEUES)) {
            let ring = transport.queue(platform, index)?;
            geometry.queue_size = ring.size();
            request_queues.push(RequestQueue::new(platform, ring, features.into())?);
        }
        geometry.queues = request_queues.len() as u16;
        if !features.contains(virtio::Features::RING_INDIRECT_DESC) {
            geometry.seg_max = geometry.seg_max.min(queue::DIRECT_SEGMENTS);
        }
        transport.finish(platform)?;
        Ok(Self {
            transport,
            geometry,
            queues: request_queues,
            next: 0,
            burst: 0,
            fresh: false,
            in_flight: 0,
            health: Health::Well,
        })
    }

    pub const fn signalling(&self) -> Signalling {
        self.transport.signalling()
    }

    #[inline]
    fn next_done(&mut self) -> Option<Done> {
        match self.health {
            Health::Well => {}
            Health::Broken => return None,
            Health::GivenUp => return self.queues.iter_mut().find_map(RequestQueue::abandon),
        }
        for _ in 0..self.queues.len() {
            let queue = self.queues.get_mut(self.next)?;
            match queue.poll() {
                Some(Ok(done)) if self.burst < BURST => {
                    self.burst += 1;
                    return Some(done);
                }
                Some(Ok(done)) => {
                    self.turn();
                    return Some(done);
                }
                Some(Err(fault)) => {
                    log::error!("disk {}: {fault}", self.transport.id());
                    self.give_up();
                    return None;
                }
                None => {}
            }
            self.turn();
        }
        None
    }

    #[inline]
    fn turn(&mut self) {
        self.burst = 0;
        self.next = if self.next + 1 < self.queues.len() {
            self.next + 1
        } else {
            0
        };
    }

    /// The configuration may be another one: the disk's size, or a plea for a reset.
    #[cold]
    fn look_again(&mut self, platform: &mut dyn Platform) {
        match self.transport.needs_reset(platform) {
            Ok(false) => {}
            Ok(true) | Err(_) => return self.give_up(),
        }
        // A change that comes while a channel program runs finds the subchannel with status pending, and makes no interruption.
        for _ in 0..LOOKS {
            match self.transport.read_config::<Config>(platform) {
                Ok(config) => self.geometry.sectors = config.capacity.get(),
                Err(error) => log::warn!("disk {}: {error}", self.transport.id()),
            }
            if !self.transport.take_change() {
                break;
            }
        }
    }

    /// Whether its device is there, and is as it was left.
    fn is_there(&self, platform: &mut dyn Platform) -> bool {
        platform.store(self.transport.id()).is_ok_and(|schib| {
            schib.pmcw.has_device() && schib.pmcw.flags().contains(PmcwFlags::ENABLED)
        })
    }

    #[cold]
    fn give_up(&mut self) {
        if self.health == Health::Well {
            log::error!("disk {} is broken", self.transport.id());
            self.health = Health::Broken;
        }
    }

    /// The reset is bounded in time, and failed or not it is all that can be done.
    #[cold]
    fn reset(&mut self, platform: &mut dyn Platform) {
        if let Err(error) = self.transport.reset(platform) {
            log::error!("disk {} cannot be reset: {error}", self.transport.id());
        }
        self.health = Health::GivenUp;
    }
}

impl BlockDevice for VirtioBlk {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    fn submit(
        &mut self,
        queue: u16,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
        token: Token,
    ) -> Result<(), SubmitError> {
        if self.health != Health::Well {
            return Err(SubmitError::Broken);
        }
        let Some(queue) = self.queues.get_mut(usize::from(queue)) else {
            return Err(SubmitError::Unsupported);
        };
        config::check(&self.geometry, operation, segments, ranges)?;
        queue.submit(operation, segments, ranges, token)?;
        self.fresh = true;
        self.in_flight += 1;
        Ok(())
    }

    #[inline]
    fn kick(&mut self, platform: &mut dyn Platform) {
        if self.health == Health::Broken {
            return self.reset(platform);
        }
        if !core::mem::take(&mut self.fresh) {
            return;
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if queue.publish() && !self.transport.notify(platform, index as u16) {
                self.health = Health::Broken;
            }
        }
    }

    #[inline]
    fn poll(&mut self) -> Option<Done> {
        if self.in_flight == 0 {
            return None;
        }
        let done = self.next_done()?;
        self.in_flight -= 1;
        Some(done)
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn is_broken(&self) -> bool {
        // One that is still to be reset is not done with its subchannel.
        self.health == Health::GivenUp
    }

    fn arm(&mut self) -> bool {
        match self.health {
            Health::Well => {
                self.transport.arm();
                // Each of them, also when the first has work already.
                let mut work = false;
                for queue in &mut self.queues {
                    work |= queue.enable_interrupts();
                }
                work
            }
            Health::Broken => true,
            Health::GivenUp => self.in_flight() > 0,
        }
    }

    fn disarm(&mut self) {
        self.queues
            .iter_mut()
            .for_each(RequestQueue::disable_interrupts);
    }

    fn interruption(&mut self, platform: &mut dyn Platform, interruption: &IoInterruption) -> bool {
        match self.transport.interruption(platform, interruption) {
            None => return false,
            Some(TransportEvent::Queues) => {}
            Some(TransportEvent::Configuration) => self.look_again(platform),
            Some(TransportEvent::Gone) => self.give_up(),
        }
        true
    }

    fn close(&mut self, platform: &mut dyn Platform) -> bool {
        let there = self.is_there(platform);
        let closed = !there || self.transport.close(platform).is_ok();
        self.health = Health::GivenUp;
        closed
    }

    fn recheck(&mut self, platform: &mut dyn Platform) {
        if !self.is_there(platform) && self.health != Health::GivenUp {
            // What is gone, or was disabled, has nothing of ours any more; and a reset would be for what is there now.
            log::error!("disk {} has gone", self.transport.id());
            self.health = Health::GivenUp;
        }
    }
}
