//! The port over which the host daemon and the appliance wake each other (virtio 1.3, section 5.3).
//!
//! # Scope
//!
//! A multiport console device has named ports. [`VirtioSerial`] finds the one with a given name and
//! opens it; from then on a byte in either direction means "look at the doorbells". Which byte it is
//! says nothing.
//!
//! # Limits
//!
//! One port, among the first [`MAX_PORTS`] of the device. The other ports, and everything a console
//! does, are left alone.
//!
//! # The rule
//!
//! A wake-up is a hint that may be given twice and must not be lost. So a byte that finds the
//! transmit queue full needs not be sent: one that the host has not yet read lies before it. That is
//! counted, and never waited for.

use liballoc::vec::Vec;

use channel::{IoInterruption, SubchannelId};
use thiserror::Error;
use virtio::console::{
    receive_queue, transmit_queue, Config, ControlEvent, ControlMessage, Features,
    CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE, NO_PORT,
};
use virtio::ring::driver::{Buffer, Queue};
use window::{ClientAddress, Window};
use zerocopy::FromBytes;

use super::virtio_ccw::{Settings, Signalling, Transport, TransportError, TransportEvent};
use crate::css::Platform;

/// The name of the port that links the appliance with its host daemon.
pub const LINK_PORT: &str = "org.stellwerk.link";

/// Ports of the device that are looked at.
pub const MAX_PORTS: u16 = 4;

/// Entries of each queue.
const ENTRIES: usize = 8;
/// Bytes of each receive buffer: a control message with a name, or so many wake-ups.
const BUFFER: u32 = 64;
/// How long the device may take to name its ports, in microseconds.
const NAMING_TIMEOUT: u64 = 2_000_000;

type SmallQueue = Queue<ENTRIES>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SerialError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("a console of a single port")]
    NotMultiport,
    #[error("no port has the name")]
    NoSuchPort,
    #[error("the device is broken")]
    Broken,
}

/// Where things are in the page of buffers.
mod place {
    /// Receive buffers of the control queue, one for each head.
    pub(super) const CONTROL_RECEIVE: u64 = 0;
    /// Receive buffers of the port, one for each head.
    pub(super) const RECEIVE: u64 = 512;
    /// Messages on the control transmit queue, one for each head.
    pub(super) const CONTROL_TRANSMIT: u64 = 1024;
    pub(super) const WAKE: u64 = 2048;
}

#[derive(Debug)]
struct Port {
    receive: SmallQueue,
    transmit: SmallQueue,
}

#[derive(Debug)]
pub struct VirtioSerial {
    transport: Transport,
    control_receive: SmallQueue,
    control_transmit: SmallQueue,
    ports: Vec<Port>,
    buffers: Window,
    name: &'static str,
    found: Option<u16>,
    connected: bool,
    broken: bool,
    unsent: u32,
}

impl VirtioSerial {
    /// Brings the device on subchannel `id` up and opens the port with this `name`.
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        settings: Settings,
        name: &'static str,
    ) -> Result<Self, SerialError> {
        let mut transport = Transport::open(platform, id, settings)?;
        let wanted = Features::MULTIPORT;
        let features = virtio::Features::RING_EVENT_IDX.union(wanted.into());
        let features = transport.negotiate(platform, features)?;
        if !Features::from(features).contains(wanted) {
            return Err(SerialError::NotMultiport);
        }
        let config: Config = transport.read_config(platform)?;
        let mut ports = Vec::new();
        for port in 0..config.max_nr_ports.get().min(MAX_PORTS.into()) as u16 {
            let no_queue = TransportError::NoQueue(port);
            ports.push(Port {
                receive: transport.queue(platform, receive_queue(port).ok_or(no_queue)?)?,
                transmit: transport.queue(platform, transmit_queue(port).ok_or(no_queue)?)?,
            });
        }
        let mut serial = Self {
            control_receive: transport.queue(platform, CONTROL_RECEIVE_QUEUE)?,
            control_transmit: transport.queue(platform, CONTROL_TRANSMIT_QUEUE)?,
            buffers: platform.storage(1).map_err(TransportError::Storage)?,
            transport,
            ports,
            name,
            found: None,
            connected: false,
            broken: false,
            unsent: 0,
        };
        serial.transport.finish(platform)?;
        serial.find_port(platform)?;
        Ok(serial)
    }

    fn find_port(&mut self, platform: &mut dyn Platform) -> Result<(), SerialError> {
        for port in &mut self.ports {
            port.transmit.disable_interrupts();
            port.receive.disable_interrupts();
        }
        self.control_transmit.disable_interrupts();
        self.refill_control(platform);
        self.send_control(platform, NO_PORT, ControlEvent::DeviceReady, 1);
        let deadline = platform.now().plus_micros(NAMING_TIMEOUT);
        loop {
            self.serve_control(platform);
            if self.broken {
                return Err(SerialError::Broken);
            }
            if self.found.is_some() {
                return Ok(());
            }
            self.transport.arm();
            if self.control_receive.enable_interrupts() {
                continue;
            }
            if platform.now() >= deadline {
                return Err(SerialError::NoSuchPort);
            }
            platform.pause(deadline);
            self.transport.settle(platform);
        }
    }

    pub const fn connected(&self) -> bool {
        self.connected
    }

    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// How many wake-ups found the queue full, and were not needed.
    pub const fn unsent(&self) -> u32 {
        self.unsent
    }

    pub const fn id(&self) -> SubchannelId {
        self.transport.id()
    }

    pub const fn signalling(&self) -> Signalling {
        self.transport.signalling()
    }

    /// Wakes the host: one byte.
    pub fn send_wake(&mut self, platform: &mut dyn Platform) {
        let Some(number) = self.found.filter(|_| !self.broken) else {
            return;
        };
        let byte = Buffer {
            absolute: self.buffers.absolute_base() + place::WAKE,
            len: 1,
            writable: false,
        };
        let Some(port) = self.ports.get_mut(usize::from(number)) else {
            return;
        };
        reclaim(&mut port.transmit);
        if port.transmit.add(&[byte]).is_err() {
            self.broken |= port.transmit.is_broken();
            self.unsent = self.unsent.wrapping_add(1);
            return;
        }
        port.transmit.publish();
        if port.transmit.needs_kick() {
            self.notify(platform, transmit_queue(number));
        }
    }

    /// Takes what the host has sent; whether it was a wake-up.
    pub fn take_wakes(&mut self, platform: &mut dyn Platform) -> bool {
        self.serve_control(platform);
        let Some(number) = self.found.filter(|_| !self.broken) else {
            return false;
        };
        let Some(port) = self.ports.get_mut(usize::from(number)) else {
            return false;
        };
        let mut woken = false;
        // More than the queue holds cannot come before it is refilled.
        while let Some(used) = port.receive.poll_used() {
            woken = true;
            self.broken |= used.is_err();
        }
        self.broken |= port.receive.is_broken();
        if woken && fill(&mut port.receive, &self.buffers, place::RECEIVE) {
            self.notify(platform, receive_queue(number));
        }
        woken
    }

    /// Wants interruptions. Returns whether there is something to take already: then do not sleep.
    pub fn arm(&mut self) -> bool {
        self.transport.arm();
        let mut work = false;
        for queue in self.receive_queues() {
            work |= queue.enable_interrupts();
        }
        work && !self.broken
    }

    /// No longer wants interruptions.
    pub fn disarm(&mut self) {
        self.receive_queues().for_each(Queue::disable_interrupts);
    }

    fn receive_queues(&mut self) -> impl Iterator<Item = &mut SmallQueue> {
        let number = self.found.map(usize::from);
        let port = number.and_then(|number| self.ports.get_mut(number));
        core::iter::once(&mut self.control_receive).chain(port.map(|port| &mut port.receive))
    }

    /// Handles an interruption if it is one of this device's subchannel: returns whether it is.
    pub fn interruption(
        &mut self,
        platform: &mut dyn Platform,
        interruption: &IoInterruption,
    ) -> bool {
        match self.transport.interruption(platform, interruption) {
            None => return false,
            Some(TransportEvent::Queues | TransportEvent::Configuration) => {}
            Some(TransportEvent::Gone) => self.broken = true,
        }
        true
    }

    /// Handles what the device says on the control queue, as long as it can be answered.
    fn serve_control(&mut self, platform: &mut dyn Platform) {
        let mut taken = false;
        for _ in 0..ENTRIES {
            reclaim(&mut self.control_transmit);
            // A message is answered by at most one other.
            if self.broken || self.control_transmit.vacant().is_none() {
                break;
            }
            match self.control_receive.poll_used() {
                None => break,
                Some(Ok(used)) => {
                    taken = true;
                    self.control_message(platform, used.head, used.len);
                }
                Some(Err(fault)) => {
                    log::error!("serial {}: {fault}", self.transport.id());
                    self.broken = true;
                }
            }
        }
        if taken {
            self.refill_control(platform);
        }
    }

    fn control_message(&mut self, platform: &mut dyn Platform, head: u16, len: u32) {
        let mut bytes = [0; BUFFER as usize];
        let place = place::CONTROL_RECEIVE + u64::from(head) * u64::from(BUFFER);
        let place = ClientAddress::new(place);
        if self.buffers.read_bytes(place, &mut bytes).is_err() {
            return;
        }
        let bytes = bytes.get(..len as usize).unwrap_or(&[]);
        let Ok((message, rest)) = ControlMessage::read_from_prefix(bytes) else {
            return;
        };
        let port = u16::try_from(message.id.get()).unwrap_or(u16::MAX);
        let ours = self.found == Some(port);
        if usize::from(port) >= self.ports.len() {
            return;
        }
        match ControlEvent::try_from(message.event.get()) {
            Ok(ControlEvent::DeviceAdd) => {
                self.send_control(platform, port.into(), ControlEvent::PortReady, 1);
            }
            Ok(ControlEvent::DeviceRemove) if ours => {
                self.found = None;
                self.connected = false;
            }
            Ok(ControlEvent::PortName) if self.found.is_none() => {
                if rest.split(|byte| *byte == 0).next() == Some(self.name.as_bytes()) {
                    self.open_port(platform, port);
                }
            }
            Ok(ControlEvent::PortOpen) if ours => self.connected = message.value.get() != 0,
            Ok(
                ControlEvent::DeviceReady
                | ControlEvent::DeviceRemove
                | ControlEvent::PortReady
                | ControlEvent::ConsolePort
                | ControlEvent::Resize
                | ControlEvent::PortOpen
                | ControlEvent::PortName,
            )
            | Err(_) => {}
        }
    }

    fn open_port(&mut self, platform: &mut dyn Platform, number: u16) {
        self.found = Some(number);
        let Some(port) = self.ports.get_mut(usize::from(number)) else {
            return;
        };
        if fill(&mut port.receive, &self.buffers, place::RECEIVE) {
            self.notify(platform, receive_queue(number));
        }
        self.send_control(platform, number.into(), ControlEvent::PortOpen, 1);
    }

    fn refill_control(&mut self, platform: &mut dyn Platform) {
        if fill(
            &mut self.control_receive,
            &self.buffers,
            place::CONTROL_RECEIVE,
        ) {
            self.notify(platform, Some(CONTROL_RECEIVE_QUEUE));
        }
    }

    fn send_control(
        &mut self,
        platform: &mut dyn Platform,
        port: u32,
        event: ControlEvent,
        value: u16,
    ) {
        let queue = &mut self.control_transmit;
        let Some(head) = queue.vacant() else { return };
        let message = ControlMessage::new(port, event, value);
        let len = size_of::<ControlMessage>() as u32;
        let place = place::CONTROL_TRANSMIT + u64::from(head) * u64::from(len);
        let buffer = Buffer {
            absolute: self.buffers.absolute_base() + place,
            len,
            writable: false,
        };
        let put = self.buffers.write(ClientAddress::new(place), &message);
        if put.is_err() || queue.add(&[buffer]).is_err() {
            return;
        }
        queue.publish();
        if queue.needs_kick() {
            self.notify(platform, Some(CONTROL_TRANSMIT_QUEUE));
        }
    }

    fn notify(&mut self, platform: &mut dyn Platform, queue: Option<u16>) {
        let told = queue.is_some_and(|queue| self.transport.notify(platform, queue));
        self.broken |= !told;
    }
}

/// Offers the device every buffer that is free; whether it wants to be told.
fn fill(queue: &mut SmallQueue, buffers: &Window, region: u64) -> bool {
    let base = buffers.absolute_base() + region;
    while let Some(head) = queue.vacant() {
        let buffer = Buffer {
            absolute: base + u64::from(head) * u64::from(BUFFER),
            len: BUFFER,
            writable: true,
        };
        if queue.add(&[buffer]).is_err() {
            break;
        }
    }
    queue.publish();
    queue.needs_kick()
}

fn reclaim(queue: &mut SmallQueue) {
    while let Some(Ok(_)) = queue.poll_used() {}
}

#[cfg(test)]
mod tests;
