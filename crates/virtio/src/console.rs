//! The console device: configuration and multiport control messages (virtio 1.3, section 5.3).
//!
//! The appliance talks to its host over named ports of such a device. Ports come, open and close
//! by [`ControlMessage`]s on the control queues. All fields are little-endian.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::features::device_features;
use crate::wire::wire_enum;

/// The virtio device id of a console.
pub const DEVICE_ID: u8 = 3;

/// The queue on which the device sends control messages.
pub const CONTROL_RECEIVE_QUEUE: u16 = 2;

/// The queue on which the driver sends control messages.
pub const CONTROL_TRANSMIT_QUEUE: u16 = 3;

/// [`ControlMessage::id`] of [`ControlEvent::DeviceReady`], which concerns no port.
pub const NO_PORT: u32 = u32::MAX;

/// The queue on which the driver receives from `port`, or `None` if no device has such a port.
pub const fn receive_queue(port: u16) -> Option<u16> {
    match port {
        0 => Some(0),
        // Two queues lie between: those of the control messages.
        1..=0x7ffe => Some(port * 2 + 2),
        _ => None,
    }
}

/// The queue on which the driver sends to `port`, or `None` if no device has such a port.
pub const fn transmit_queue(port: u16) -> Option<u16> {
    match receive_queue(port) {
        Some(queue) => Some(queue + 1),
        None => None,
    }
}

bitflags! {
    /// Feature bits of a console (section 5.3.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// More than one port, and control queues.
        const MULTIPORT = 1 << 1;
    }
}

device_features!(Features);

/// The configuration space (section 5.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Config {
    /// Columns and rows of the terminal: of no interest.
    pub size: [U16; 2],
    /// Most ports of the device ([`Features::MULTIPORT`]).
    pub max_nr_ports: U32,
    /// Where a character comes out without any queue: of no interest.
    pub emerg_wr: U32,
}

wire_enum! {
    /// What a [`ControlMessage`] says (section 5.3.6.2).
    pub enum ControlEvent(u16, "console control event") {
        /// Driver: I am ready (value 1) or have failed (0).
        DeviceReady = 0,
        /// Device: a port was added.
        DeviceAdd = 1,
        /// Device: a port was removed.
        DeviceRemove = 2,
        /// Driver: the port is ready (value 1) or has failed (0).
        PortReady = 3,
        /// Device: the port is a console.
        ConsolePort = 4,
        /// Device: the console's size has changed; columns and rows follow.
        Resize = 5,
        /// Both: the port was opened (value 1) or closed (0) at the sender's end.
        PortOpen = 6,
        /// Device: the port's name follows, UTF-8 without NUL.
        PortName = 7,
    }
}

/// One message on a control queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ControlMessage {
    /// Number of the port.
    pub id: U32,
    /// A [`ControlEvent`].
    pub event: U16,
    /// What it means depends on the event.
    pub value: U16,
}

impl ControlMessage {
    /// The message that `event` happened to port `id`.
    pub const fn new(id: u32, event: ControlEvent, value: u16) -> Self {
        Self {
            id: U32::new(id),
            event: U16::new(event as u16),
            value: U16::new(value),
        }
    }
}

const _: () = assert!(size_of::<Config>() == 12);
const _: () = assert!(size_of::<ControlMessage>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_queues_lie_between_port_0_and_port_1() {
        assert_eq!((receive_queue(0), transmit_queue(0)), (Some(0), Some(1)));
        assert_eq!((receive_queue(1), transmit_queue(1)), (Some(4), Some(5)));
        assert_eq!((receive_queue(2), transmit_queue(2)), (Some(6), Some(7)));
    }

    #[test]
    fn a_port_number_past_all_queues_has_none() {
        assert_eq!(transmit_queue(0x7ffe), Some(0xffff));
        assert_eq!(receive_queue(0x7fff), None);
        assert_eq!(transmit_queue(u16::MAX), None);
    }

    #[test]
    fn every_event_comes_back_from_its_number() {
        for &event in ControlEvent::ALL {
            assert_eq!(ControlEvent::try_from(u16::from(event)), Ok(event));
        }
        assert!(ControlEvent::try_from(8).is_err());
    }
}
