//! A console of software, with ports.

use std::collections::VecDeque;
use std::vec::Vec;

use virtio::console::{
    receive_queue, transmit_queue, Config, ControlEvent, ControlMessage, Features,
    CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE,
};
use virtio::ring::device::Chain;
use window::Window;
use zerocopy::{FromBytes, IntoBytes};

use super::queue::QueueState;

#[derive(Debug)]
pub struct Console {
    pub features: Features,
    /// Names of ports 0, 1, ...; an empty one is not plugged.
    pub names: Vec<&'static str>,
    /// The host reads what is sent to it.
    pub reads: bool,
    /// Bytes that were sent to the host on any port.
    pub sent: usize,
    /// Ports that the driver has opened.
    pub opened: Vec<u32>,
    /// For a queue, what is to come on it.
    outbox: VecDeque<(u16, Vec<u8>)>,
}

impl Console {
    pub fn new(names: &[&'static str]) -> Self {
        Self {
            features: Features::MULTIPORT,
            names: names.to_vec(),
            reads: true,
            sent: 0,
            opened: Vec::new(),
            outbox: VecDeque::new(),
        }
    }

    pub fn config(&self) -> Vec<u8> {
        let config = Config {
            max_nr_ports: 31.into(),
            ..Config::default()
        };
        config.as_bytes().to_vec()
    }

    pub fn reset(&mut self) {
        self.outbox.clear();
        self.opened.clear();
    }

    /// The host sends to a port; the driver is told when the device works next.
    pub fn host_sends(&mut self, port: u16, bytes: &[u8]) {
        self.outbox
            .push_back((receive_queue(port).unwrap(), bytes.to_vec()));
    }

    /// The host says something about a port.
    pub fn say(&mut self, port: u32, event: ControlEvent, value: u16, name: &str) {
        let mut message = ControlMessage::new(port, event, value).as_bytes().to_vec();
        message.extend(name.as_bytes());
        self.outbox.push_back((CONTROL_RECEIVE_QUEUE, message));
    }

    pub fn serve(&mut self, queues: &mut [QueueState], storage: &Window) {
        let mut chain = Chain::<8>::new();
        for (queue, number) in queues.iter_mut().zip(0_u16..) {
            let sends = number % 2 == 1 && (self.reads || number == CONTROL_TRANSMIT_QUEUE);
            let Some(ring) = queue.ring.as_mut().filter(|_| sends) else {
                continue;
            };
            while let Some(head) = ring.pop(storage, &mut chain).unwrap() {
                let mut bytes = vec![0; chain.readable()[0].len as usize];
                storage
                    .read_bytes(chain.readable()[0].address, &mut bytes)
                    .unwrap();
                ring.complete(storage, head, 0).unwrap();
                if number == CONTROL_TRANSMIT_QUEUE {
                    self.control(ControlMessage::read_from_bytes(&bytes).unwrap());
                } else {
                    assert!(transmit_queue(0) == Some(number) || number > CONTROL_TRANSMIT_QUEUE);
                    self.sent += bytes.len();
                }
            }
        }
        let mut left = VecDeque::new();
        for (queue, bytes) in self.outbox.drain(..) {
            let ring = queues[usize::from(queue)].ring.as_mut();
            let head = ring.and_then(|ring| Some((ring.pop(storage, &mut chain).unwrap()?, ring)));
            let Some((head, ring)) = head else {
                left.push_back((queue, bytes));
                continue;
            };
            storage
                .write_bytes(chain.writable()[0].address, &bytes)
                .unwrap();
            ring.complete(storage, head, bytes.len() as u32).unwrap();
        }
        self.outbox = left;
    }

    fn control(&mut self, message: ControlMessage) {
        let port = message.id.get();
        match ControlEvent::try_from(message.event.get()).unwrap() {
            ControlEvent::DeviceReady => {
                for port in 0..self.names.len() {
                    if !self.names[port].is_empty() {
                        self.say(port as u32, ControlEvent::DeviceAdd, 1, "");
                    }
                }
            }
            ControlEvent::PortReady => {
                let name = std::format!("{}\0", self.names[port as usize]);
                self.say(port, ControlEvent::PortName, 1, &name);
                self.say(port, ControlEvent::PortOpen, 1, "");
            }
            ControlEvent::PortOpen => self.opened.push(port),
            other => panic!("the driver says {other:?}"),
        }
    }
}
