//! A subchannel of the machine: its device, what has been asked of it, and what goes wrong there.

use std::boxed::Box;
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::vec::Vec;

use channel::model::{Device, Instruction, Reply};
use channel::{CommandCode, DeviceStatus, Irb, Orb, Refusal, SubchannelStatus};

use super::unit::Unit;
use super::virtio::Virtio;

/// What happens to a program instead of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Unit check with these sense bytes.
    UnitCheck(Vec<u8>),
    /// Subchannel status.
    Channel(SubchannelStatus),
    /// Device status.
    Device(DeviceStatus),
    /// Deferred condition code.
    Deferred(u8),
    /// START SUBCHANNEL is refused.
    Refused(Refusal),
    /// It does not end before a halt or clear function ends it.
    Hang,
}

/// What goes wrong with everything that is asked of a subchannel, until the test says otherwise.
#[derive(Debug, Default)]
pub struct Mishaps {
    /// So many more starts and modifications find it busy.
    pub busy: u32,
    /// So many more starts and modifications find it status pending.
    pub pending: u32,
    /// Programs do not end.
    pub hangs: bool,
    /// Nor does a halt function.
    pub halt_stuck: bool,
    /// Nor does a halt or clear function.
    pub stuck: bool,
    /// Unit checks come without sense bytes.
    pub no_concurrent_sense: bool,
    /// As soon as its status is taken it has more, once.
    pub insists: bool,
    /// A program that hangs ends as soon as status in front of it has been taken, once.
    pub ends_behind: bool,
    /// It is not there any more.
    pub gone: bool,
}

/// A subchannel with its device.
#[derive(Debug, Default)]
pub struct Port {
    pub mishaps: Mishaps,
    /// What happens to programs of reads and writes, one by one; those are the ones that begin with DEFINE EXTENT or PREFIX.
    pub faults: VecDeque<Fault>,
    /// So many such programs before that do their work.
    pub skip_faults: u32,
    /// What happens to every such program on a path.
    pub path_faults: BTreeMap<u8, Fault>,
    /// What happens to SENSE.
    pub sense_faults: VecDeque<Fault>,
    /// The paths that programs of reads and writes took.
    pub taken: Vec<u8>,
    /// How many of these were started, and how often it was halted, cleared, and stored.
    pub starts: u32,
    pub halts: u32,
    pub clears: u32,
    pub stores: u32,
    /// START, HALT, CLEAR, CANCEL and RESUME as they were issued, with their answers.
    pub asked: Vec<(Instruction, Result<(), Refusal>)>,
    /// The programs that were started.
    pub started: Vec<Orb>,
    /// How often status was taken, and the last.
    pub tested: u32,
    pub last: Irb,
    /// The first commands of the programs that it was given, in order.
    pub commands: Vec<u8>,
    pub(super) front: Option<Rc<RefCell<Front>>>,
    pub(super) virtio: Option<Rc<RefCell<Virtio>>>,
    /// What the model knows of the mishaps: stuck halt and clear functions, and that it is gone.
    pub(super) stuck: (bool, bool),
    pub(super) gone: bool,
}

impl Port {
    /// The virtio control unit behind it.
    pub fn virtio(&self) -> RefMut<'_, Virtio> {
        self.virtio.as_ref().expect("no virtio device").borrow_mut()
    }

    /// Forgets what was asked, with the storage for it.
    pub fn forget(&mut self) {
        self.commands = Vec::new();
        self.asked = Vec::new();
        self.started = Vec::new();
    }

    /// How often this instruction was issued.
    pub fn issued(&self, instruction: Instruction) -> usize {
        let asked = self.asked.iter();
        asked.filter(|(which, _)| *which == instruction).count()
    }

    /// How often it was accepted.
    pub fn accepted(&self, instruction: Instruction) -> usize {
        let accepted = (instruction, Ok(()));
        self.asked
            .iter()
            .filter(|asked| **asked == accepted)
            .count()
    }

    /// What happens to the next program, which begins with this command and takes this path.
    pub(super) fn fault(&mut self, first: u8, path: u8) -> Option<Fault> {
        const DEFINE_EXTENT: u8 = 0x63;
        const PREFIX: u8 = 0xE7;
        match first {
            DEFINE_EXTENT | PREFIX => {
                self.starts += 1;
                self.taken.push(path);
                let of_path = self.path_faults.get(&path).cloned();
                match self.skip_faults.checked_sub(1) {
                    Some(left) => {
                        self.skip_faults = left;
                        of_path
                    }
                    None => self.faults.pop_front().or(of_path),
                }
            }
            first if first == CommandCode::SENSE.0 => self.sense_faults.pop_front(),
            _ => None,
        }
    }
}

/// The device as the channel has it: a [`Unit`], and what goes wrong in front of it.
#[derive(Debug)]
pub(super) struct Front {
    unit: Box<dyn Unit>,
    /// What happens to the next command.
    pub(super) fault: Option<Fault>,
    /// What is in the data area of the program's first command.
    pub(super) area: Vec<u8>,
    pub(super) hangs: bool,
    command: CommandCode,
    data: Vec<u8>,
    /// The status that the command ends with whatever it does.
    ending: Option<DeviceStatus>,
    sense: Vec<u8>,
}

impl Front {
    pub(super) fn new(unit: Box<dyn Unit>) -> Self {
        Self {
            unit,
            fault: None,
            area: Vec::new(),
            hangs: false,
            command: CommandCode::NOP,
            data: Vec::new(),
            ending: None,
            sense: Vec::new(),
        }
    }

    pub(super) fn unit(&mut self) -> &mut dyn Unit {
        &mut *self.unit
    }
}

impl Device for Front {
    fn command(&mut self, code: u8) -> Reply {
        self.command = CommandCode(code);
        self.data.clear();
        self.ending = None;
        match self.fault.take() {
            Some(Fault::UnitCheck(sense)) => {
                self.sense = sense;
                self.ending = Some(Reply::normal_end() | DeviceStatus::UNIT_CHECK);
            }
            Some(Fault::Device(status)) => self.ending = Some(status),
            // When it ends after all, it brings nothing.
            Some(Fault::Hang) if self.command == CommandCode::SENSE => {
                self.sense.clear();
                self.hangs = true;
            }
            Some(Fault::Hang) => self.hangs = true,
            Some(Fault::Channel(_) | Fault::Deferred(_) | Fault::Refused(_)) | None => {}
        }
        if self.ending.is_some() || !self.command.reads() {
            self.hangs |= self.unit.hangs(self.command);
            return Reply::accepted();
        }
        if self.command == CommandCode::SENSE {
            let mut data = core::mem::take(&mut self.sense);
            data.resize(32, 0);
            return Reply::sends(&data);
        }
        match self.unit.command(self.command, &self.area) {
            Ok(data) => Reply::sends(&data),
            Err(sense) => {
                self.sense = sense;
                Reply::initial(DeviceStatus::UNIT_CHECK)
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.data.extend(bytes);
    }

    fn ready(&mut self) -> bool {
        !self.hangs
    }

    fn end(&mut self) -> DeviceStatus {
        if let Some(status) = self.ending.take() {
            return status;
        }
        if self.command.reads() {
            return Reply::normal_end();
        }
        match self.unit.command(self.command, &self.data) {
            Ok(_) => Reply::normal_end(),
            Err(sense) => {
                self.sense = sense;
                Reply::normal_end() | DeviceStatus::UNIT_CHECK
            }
        }
    }

    fn later(&mut self) -> DeviceStatus {
        DeviceStatus::DEVICE_END
    }

    fn sense(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.sense)
    }

    fn stop(&mut self) {
        self.hangs = false;
        self.unit.stop();
    }
}
