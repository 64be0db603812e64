//! An export as its vhost-user peer has set it up.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vcss::control::Life;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Error, Result};
use virtio::ccw::QueueInfo;
use zerocopy::big_endian::{U16, U32, U64};

use super::backchannel::Backchannel;
use super::memory::{Memory, Queues};
use super::state::{RingState as Ring, SessionState};
use crate::areas::Areas;
use crate::descriptors::for_peer;
use crate::doorbell::{BellHandle, Request};
use crate::layout::Slot;
use crate::log_limit::LogLimit;
use crate::remote::{VirtioDevice, VirtioError};
use crate::store::{Key, Store};

/// How long a new connection waits for an appliance that is being started.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kind of an error that ends a connection: the disk is not there for now. The peer connects again, until it is.
pub const ABSENT: std::io::ErrorKind = std::io::ErrorKind::ResourceBusy;

/// The kind of an error that ends a connection when it has been answered: this VM cannot be served as it is. Its QEMU connects
/// again, but whoever is started in its place finds the socket free.
pub const FOREIGN: std::io::ErrorKind = std::io::ErrorKind::PermissionDenied;

#[derive(Debug)]
pub struct Identity {
    /// For the log: client and disk.
    pub label: String,
    pub queues: u16,
    /// Its first queue's number, over all exports.
    pub first_slot: Slot,
}

/// The state of one export's connection, and of the device behind it.
#[derive(Debug)]
pub struct Session {
    pub(super) identity: Identity,
    pub(super) memory: Memory,
    pub(super) rings: Vec<Ring>,
    pub(super) device: VirtioDevice,
    pub(super) backchannel: Backchannel,
    areas: Areas,
    bell: BellHandle,
    store: Arc<Store>,
    /// Whether all that another daemon has left was there.
    restored: io::Result<()>,
    /// Where the files of the message that is handled are kept.
    pub(super) incoming: Vec<Option<Key>>,
    /// What the device offers, once it has been asked.
    offered: Option<u64>,
    chosen: u64,
    /// Of the protocol's features, those that the peer has chosen.
    pub(super) protocol: Option<u64>,
    /// What the device has been told, if it has.
    negotiated: Option<u64>,
    /// Whether the device has been told that the driver is ready.
    live: bool,
    /// For what the peer and its guest can cause again and again.
    pub(super) log: LogLimit,
}

impl Session {
    pub fn new(
        identity: Identity,
        memory: Memory,
        device: VirtioDevice,
        areas: Areas,
        bell: BellHandle,
        store: Arc<Store>,
    ) -> Self {
        let mut rings = Vec::new();
        rings.resize_with(usize::from(identity.queues), Ring::default);
        Self {
            identity,
            memory,
            rings,
            device,
            backchannel: Backchannel::default(),
            areas,
            bell,
            store,
            restored: Ok(()),
            incoming: Vec::new(),
            offered: None,
            chosen: 0,
            protocol: None,
            negotiated: None,
            live: false,
            log: LogLimit::new(),
        }
    }

    /// For the log: client and disk.
    pub fn label(&self) -> &str {
        &self.identity.label
    }

    /// A peer has connected: waits for the appliance, and puts the device back to power-on.
    pub fn begin(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.areas.life() != Life::Serving {
            if began.elapsed() > PATIENCE || self.bell.is_abandoned() {
                return Err(refusal("the appliance does not serve"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.reset()?;
        // Whoever asks for them gets no answer if they cannot be had, and would wait for ever.
        self.features().map(drop)
    }

    /// The peer has gone, or is sent away: releases everything, after everything in flight has ended.
    pub fn end(&mut self) {
        let released = self.reset();
        let queues = match &released {
            Ok(()) => Queues::Released,
            Err(_) => Queues::Unknown,
        };
        match released {
            Ok(()) => {}
            // What was in flight has ended with the appliance.
            Err(_) if self.bell.is_abandoned() => {}
            Err(error) => {
                if let Some(more) = self.log.line() {
                    tracing::error!(disk = self.label(), %error, "could not be released{more}");
                }
            }
        }
        for queue in 0..self.rings.len() {
            self.detach(queue);
            self.set_call(queue, None);
        }
        self.rings.fill_with(Ring::default);
        self.memory.clear(queues);
        self.chosen = 0;
        self.protocol = None;
        self.offered = None;
        self.backchannel = Backchannel::default();
    }

    /// Where a file is kept: the one at this place among those that have come with the message.
    pub(super) fn kept(&self, at: usize, file: &File) -> Result<Key> {
        match self.incoming.get(at) {
            Some(&Some(key)) => Ok(key),
            // It is of no use to anybody, and is about to be refused.
            Some(None) => Ok(Key::NONE),
            None => {
                let key = self.store.keep_for_peer(file);
                key.map_err(Error::ReqHandlerError)
            }
        }
    }

    /// What is to be kept of it.
    pub fn state(&self) -> SessionState {
        SessionState {
            offered: self.offered,
            chosen: self.chosen,
            protocol: self.protocol,
            negotiated: self.negotiated,
            live: self.live,
            rings: self.rings.clone(),
            regions: self.memory.state(),
            backchannel: self.backchannel.clone(),
        }
    }

    /// Goes on as another daemon has left it. Its rings are served at once: the device does so all the while.
    pub fn restore(&mut self, state: &SessionState) {
        self.offered = state.offered;
        self.chosen = state.chosen;
        self.protocol = state.protocol;
        self.negotiated = state.negotiated;
        self.live = state.live;
        self.backchannel = state.backchannel.clone();
        for (ring, kept) in self.rings.iter_mut().zip(&state.rings) {
            *ring = kept.clone();
        }
        let mut restored = self.memory.restore(&state.regions, &self.store);
        for queue in 0..self.rings.len() {
            let Some(ring) = self.rings.get(queue) else {
                break;
            };
            let is_served = ring.active;
            let call = ring.call.map(|key| self.store.get(key)).transpose();
            match (call, self.kick(queue)) {
                (Ok(call), Ok(kick)) => {
                    self.set_call(queue, call.map(File::from));
                    if is_served {
                        self.attach(queue, kick);
                    }
                }
                (Err(error), _) | (_, Err(error)) => restored = Err(error),
            }
        }
        self.restored = restored;
    }

    /// Finds out how far the device has come with what the daemon before was about to have it do.
    ///
    /// # Errors
    ///
    /// Something of the connection is not there any more.
    pub fn settle(&mut self) -> Result<()> {
        self.device.settle()?;
        std::mem::replace(&mut self.restored, Ok(())).map_err(Error::ReqHandlerError)?;
        for queue in 0..self.rings.len() {
            let (is_set_up, next) = self.device.position(queue as u16)?;
            match (self.ring(queue)?.active, is_set_up) {
                (true, false) => {
                    self.detach(queue);
                    self.ring(queue)?.base = next;
                }
                // The message that has it started is handled again, and then it goes on where it stands.
                (false, true) => {
                    let base = self.device.stop_queue(queue as u16)?;
                    self.ring(queue)?.base = base;
                }
                _ => {}
            }
        }
        if !self.is_served() {
            self.negotiated = None;
            self.live = false;
        }
        Ok(())
    }

    /// The wake-up thread listens to a ring's kicks, and passes its notifications on.
    fn attach(&self, queue: usize, kick: Option<File>) {
        let slot = self.identity.first_slot.queue(queue);
        self.bell.request(Request::Attach { slot, kick });
    }

    fn kick(&self, queue: usize) -> io::Result<Option<File>> {
        let key = self.rings.get(queue).and_then(|ring| ring.kick);
        let kick = key.map(|key| self.store.get(key).and_then(for_peer));
        Ok(kick.transpose()?.map(File::from))
    }

    /// Releases the queues and puts the device back to power-on, after everything in flight has ended.
    pub fn reset(&mut self) -> Result<()> {
        for queue in 0..self.rings.len() {
            if let Err(error) = self.stop(queue) {
                tracing::debug!(disk = self.label(), queue, %error, "reset without release");
            }
        }
        self.negotiated = None;
        self.live = false;
        self.device.reset()?;
        self.memory.unmark();
        // A queue that was not released by itself is now, and where it stood is not known.
        for queue in 0..self.rings.len() {
            if self.detach(queue) {
                self.ring(queue)?.base = 0;
            }
        }
        Ok(())
    }

    pub fn is_served(&self) -> bool {
        self.rings.iter().any(|ring| ring.active)
    }

    /// The device's features, and that the peer may use the protocol's.
    pub fn features(&mut self) -> Result<u64> {
        let offered = match self.offered {
            Some(offered) => offered,
            None => {
                let offered = self.device.features()?;
                // What an earlier VM has asked for is not this one's. From here on the peer may read it, and keep a copy.
                self.device.set_write_back()?;
                *self.offered.insert(offered)
            }
        };
        Ok(offered | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())
    }

    /// What the peer has chosen. The device is told when its first queue starts.
    pub fn choose(&mut self, features: u64) -> Result<()> {
        let unknown = features & !self.features()?;
        if unknown != 0 {
            return Err(refusal(format!("features {unknown:#x} are not offered")));
        }
        self.chosen = features;
        let all_enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        if all_enabled {
            for queue in 0..self.rings.len() {
                self.ring(queue)?.enabled = true;
            }
        }
        Ok(())
    }

    pub fn ring(&mut self, queue: usize) -> Result<&mut Ring> {
        let count = self.rings.len();
        let ring = self.rings.get_mut(queue);
        ring.ok_or_else(|| refusal(format!("there is no queue {queue}, only {count}")))
    }

    /// The ring of this number, which must not be served just now.
    pub fn idle_ring(&mut self, queue: usize) -> Result<&mut Ring> {
        let ring = self.ring(queue)?;
        if ring.active {
            return Err(refusal(format!("queue {queue} is being served")));
        }
        Ok(ring)
    }

    /// Begins to serve a ring if everything is there for it.
    pub fn start_if_ready(&mut self, queue: usize) -> Result<()> {
        let ring = self.ring(queue)?;
        if ring.active || !ring.is_ready() {
            return Ok(());
        }
        let Some(place) = ring.place else {
            return Ok(());
        };
        let (size, base) = (ring.size, ring.base);
        let kick = self.kick(queue).map_err(Error::ReqHandlerError)?;
        self.negotiate()?;
        let number = queue as u16;
        let info = QueueInfo {
            descriptors: U64::new(place.descriptors),
            reserved: U32::ZERO,
            index: U16::new(number),
            size: U16::new(size),
            driver: U64::new(place.driver),
            device: U64::new(place.device),
        };
        self.device.start_queue(info, base)?;
        if !self.is_served() {
            self.backchannel.begins();
        }
        // From here on it has to be released, whatever follows.
        self.ring(queue)?.active = true;
        if !self.live {
            self.device.driver_ok()?;
            self.live = true;
        }
        self.attach(queue, kick);
        self.tell_capacity();
        tracing::debug!(disk = self.label(), queue, size, base, "queue started");
        Ok(())
    }

    /// Ceases to serve a ring, after everything in flight has ended. One that cannot be released goes on being served.
    pub fn stop(&mut self, queue: usize) -> Result<()> {
        if !self.ring(queue)?.active {
            return Ok(());
        }
        let base = self.device.stop_queue(queue as u16)?;
        self.detach(queue);
        self.ring(queue)?.base = base;
        tracing::debug!(disk = self.label(), queue, base, "queue released");
        Ok(())
    }

    /// The wake-up thread forgets a ring. Whether it was served.
    fn detach(&mut self, queue: usize) -> bool {
        let slot = self.identity.first_slot.queue(queue);
        let served = self.rings.get_mut(queue);
        let served = served.is_some_and(|ring| std::mem::take(&mut ring.active));
        if served {
            self.bell.request(Request::Detach { slot });
        }
        served
    }

    pub fn set_call(&mut self, queue: usize, call: Option<File>) {
        let slot = self.identity.first_slot.queue(queue);
        self.bell.request(Request::Call { slot, call });
    }

    /// The wake-up thread says that the device's configuration or state has changed.
    pub fn attention(&mut self) {
        self.tell_capacity();
        if !self.device.needs_reset() {
            return;
        }
        if let Some(more) = self.log.line() {
            tracing::warn!(
                disk = self.label(),
                "the guest's ring is damaged: the device waits for a reset{more}"
            );
        }
        let errors = self.rings.iter().filter_map(|ring| ring.error);
        for error in errors.filter_map(|key| self.store.get(key).ok()) {
            self.bell.signal_peer(error);
        }
    }

    /// Tells a peer that is served of a capacity that it does not know.
    pub(super) fn tell_capacity(&mut self) {
        let Some(capacity) = self.device.capacity().filter(|_| self.is_served()) else {
            return;
        };
        if let Err(error) = self.backchannel.tell(capacity, &self.store) {
            if let Some(more) = self.log.line() {
                tracing::warn!(
                    disk = self.label(),
                    %error,
                    "its VM cannot be told that the disk has {capacity} sectors by now{more}"
                );
            }
        }
    }

    /// The features that the device is to have.
    fn wanted(&self) -> u64 {
        self.chosen & !VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn negotiate(&mut self) -> Result<()> {
        let wanted = self.wanted();
        if self.negotiated == Some(wanted) && !self.device.needs_reset() {
            return Ok(());
        }
        if self.rings.iter().any(|ring| ring.active) {
            return Err(refusal("features change while queues are being served"));
        }
        self.live = false;
        self.negotiated = None;
        self.device.negotiate(wanted)?;
        self.negotiated = Some(wanted);
        Ok(())
    }
}

/// A device's error as one of the protocol's.
impl From<VirtioError> for Error {
    fn from(error: VirtioError) -> Self {
        match error {
            VirtioError::Absent => {
                Self::ReqHandlerError(std::io::Error::new(ABSENT, error.to_string()))
            }
            error => refusal(error.to_string()),
        }
    }
}

pub fn protocol_features() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
}

/// An error that the connection outlives.
pub fn refusal(text: impl Into<String>) -> Error {
    Error::ReqHandlerError(std::io::Error::other(text.into()))
}
