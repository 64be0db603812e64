//! Devices, as a channel sees them: commands, data, status; and one that follows a script.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use crate::DeviceStatus;

/// How a device answers a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Initial status. Empty: the command is accepted. With channel end: it is an immediate
    /// operation and done. [`DeviceStatus::BUSY`] alone: it is tried again later. Anything else ends
    /// the program.
    pub initial: DeviceStatus,
    /// What the device sends when the command reads or senses.
    pub data: Vec<u8>,
    /// How many bytes the device wants when the command writes or controls; [`Reply::ANY`] for as
    /// many as there are.
    pub takes: usize,
    /// Ending status.
    pub end: DeviceStatus,
    /// Status that completes an ending status without device end.
    pub later: DeviceStatus,
    /// How often the device, when asked to go on, is not ready; [`Reply::NEVER`] for a command
    /// that only a halt or clear signal ends.
    pub waits: usize,
    /// Sense data of a unit check in it; without, those that [`Script::set_sense`] gave.
    pub sense: Vec<u8>,
}

impl Reply {
    /// As many bytes as there are.
    pub const ANY: usize = usize::MAX;
    /// The device is never ready.
    pub const NEVER: usize = usize::MAX;

    /// Channel end and device end together.
    pub const fn normal_end() -> DeviceStatus {
        DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END)
    }

    /// A command that is accepted, takes what it is given, and ends as it should.
    pub const fn accepted() -> Self {
        Self {
            initial: DeviceStatus::empty(),
            data: Vec::new(),
            takes: Self::ANY,
            end: Self::normal_end(),
            later: DeviceStatus::DEVICE_END,
            waits: 0,
            sense: Vec::new(),
        }
    }

    /// A command that sends `data`.
    pub fn sends(data: &[u8]) -> Self {
        Self {
            data: data.to_vec(),
            takes: 0,
            ..Self::accepted()
        }
    }

    /// A command that wants `bytes` bytes.
    pub fn takes(bytes: usize) -> Self {
        Self {
            takes: bytes,
            ..Self::accepted()
        }
    }

    /// An initial status.
    pub fn initial(status: DeviceStatus) -> Self {
        Self {
            initial: status,
            ..Self::accepted()
        }
    }

    /// An immediate operation that ends as it should.
    pub fn immediate() -> Self {
        Self::initial(Self::normal_end())
    }

    /// The same with another ending status.
    #[must_use]
    pub fn ends_with(self, end: DeviceStatus) -> Self {
        Self { end, ..self }
    }

    /// The same with sense data for its unit check.
    #[must_use]
    pub fn with_sense(self, sense: &[u8]) -> Self {
        Self {
            sense: sense.to_vec(),
            ..self
        }
    }

    /// The same, but only after the device was asked `waits` times.
    #[must_use]
    pub fn after(self, waits: usize) -> Self {
        Self { waits, ..self }
    }
}

/// A device with its control unit. The channel asks; the device never calls.
pub trait Device: fmt::Debug {
    /// A command. The ending parts of the answer are not looked at: [`Self::end`] gives them.
    fn command(&mut self, code: u8) -> Reply;
    /// Bytes of a writing or controlling command, in the order in which they are transferred.
    fn receive(&mut self, bytes: &[u8]);
    /// Whether the device can go on with the command: transfer, or end. Asked once each step.
    fn ready(&mut self) -> bool;
    /// The transfer is over: the ending status.
    fn end(&mut self) -> DeviceStatus;
    /// After an ending status without device end: its completion.
    fn later(&mut self) -> DeviceStatus;
    /// Sense data for concurrent sense.
    fn sense(&mut self) -> Vec<u8>;
    /// A halt or clear signal: the command is over.
    fn stop(&mut self);
}

macro_rules! forward {
    ($self:ident, $to:expr) => {
        fn command(&mut $self, code: u8) -> Reply {
            $to.command(code)
        }
        fn receive(&mut $self, bytes: &[u8]) {
            $to.receive(bytes);
        }
        fn ready(&mut $self) -> bool {
            $to.ready()
        }
        fn end(&mut $self) -> DeviceStatus {
            $to.end()
        }
        fn later(&mut $self) -> DeviceStatus {
            $to.later()
        }
        fn sense(&mut $self) -> Vec<u8> {
            $to.sense()
        }
        fn stop(&mut $self) {
            $to.stop();
        }
    };
}

/// A device that a test goes on looking at while the model has it.
impl<D: Device> Device for Rc<RefCell<D>> {
    forward!(self, self.borrow_mut());
}

impl<D: Device + ?Sized> Device for Box<D> {
    forward!(self, (**self));
}

impl<D: Device + ?Sized> Device for &mut D {
    forward!(self, (**self));
}

/// A device that answers each command code with the next of the replies it was given for it; the
/// last one stays. NOP is immediate, basic sense gives the sense bytes, and any other command
/// without a reply is rejected (unit check, sense byte 0 X'80').
#[derive(Clone, Debug, Default)]
pub struct Script {
    replies: BTreeMap<u8, VecDeque<Reply>>,
    current: Option<Reply>,
    sense: Vec<u8>,
    /// What happened: each command with the bytes that came with it.
    pub log: Vec<(u8, Vec<u8>)>,
    /// Halt and clear signals received.
    pub stops: usize,
}

impl Script {
    const NOP: u8 = 0x03;
    const BASIC_SENSE: u8 = 0x04;
    const COMMAND_REJECT: u8 = 0x80;

    /// A device without replies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reply to a command.
    #[must_use]
    pub fn on(mut self, code: u8, reply: Reply) -> Self {
        self.add(code, reply);
        self
    }

    /// Adds a reply to a command.
    pub fn add(&mut self, code: u8, reply: Reply) {
        self.replies.entry(code).or_default().push_back(reply);
    }

    /// Sets the sense data that go with the next unit check.
    pub fn set_sense(&mut self, sense: &[u8]) {
        self.sense = sense.to_vec();
    }

    fn reply(&mut self, code: u8) -> Reply {
        if let Some(replies) = self.replies.get_mut(&code) {
            if replies.len() > 1 {
                if let Some(reply) = replies.pop_front() {
                    return reply;
                }
            } else if let Some(reply) = replies.front() {
                return reply.clone();
            }
        }
        match code {
            Self::NOP => Reply::immediate(),
            Self::BASIC_SENSE => {
                let mut data = core::mem::take(&mut self.sense);
                data.resize(32, 0);
                Reply::sends(&data)
            }
            _ => {
                self.sense = vec![Self::COMMAND_REJECT];
                Reply::initial(DeviceStatus::UNIT_CHECK)
            }
        }
    }
}

impl Device for Script {
    fn command(&mut self, code: u8) -> Reply {
        let reply = self.reply(code);
        if !reply.sense.is_empty() {
            self.sense.clone_from(&reply.sense);
        }
        self.log.push((code, Vec::new()));
        self.current = Some(reply.clone());
        reply
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Some((_, received)) = self.log.last_mut() {
            received.extend_from_slice(bytes);
        }
    }

    fn ready(&mut self) -> bool {
        match &mut self.current {
            Some(Reply { waits, .. }) if *waits == Reply::NEVER => false,
            Some(Reply { waits, .. }) if *waits > 0 => {
                *waits -= 1;
                false
            }
            _ => true,
        }
    }

    fn end(&mut self) -> DeviceStatus {
        let end = self.current.as_ref().map(|reply| reply.end);
        end.unwrap_or(Reply::normal_end())
    }

    fn later(&mut self) -> DeviceStatus {
        let later = self.current.as_ref().map(|reply| reply.later);
        later.unwrap_or(DeviceStatus::DEVICE_END)
    }

    fn sense(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.sense)
    }

    fn stop(&mut self) {
        self.current = None;
        self.stops += 1;
    }
}
