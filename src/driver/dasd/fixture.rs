//! A disk on the machine of software, and storage for its data.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::vec::Vec;

use channel::SubchannelId;
use window::{ClientAddress, Segment, Window};

use super::super::block::{BlockDevice, BlockStatus, Done, Operation, SubmitError, Token, SECTOR};
use super::{Disk, Medium};
use crate::css::Platform;
use crate::testing::{Machine, Port, Unit};

pub const ISC: u8 = 3;
/// Pages of data.
const PAGES: usize = 600;

/// The disk's subchannel.
pub fn id() -> SubchannelId {
    SubchannelId::new(0, 3).unwrap()
}

/// A machine with one disk, over these paths.
pub fn machine<U: Unit + 'static>(unit: U, paths: u8) -> (Machine, Rc<RefCell<U>>) {
    let mut machine = Machine::new();
    machine.midaws = true;
    let device = Rc::new(RefCell::new(unit));
    machine.attach_unit(id(), 0x0A80, device.clone());
    machine.set_paths(id(), paths);
    (machine, device)
}

pub struct Fixture<U, M> {
    pub machine: Machine,
    pub device: Rc<RefCell<U>>,
    pub disk: Disk<M>,
    pub data: Window,
}

type Open<M, E> = fn(&mut dyn Platform, SubchannelId, u8) -> Result<Disk<M>, E>;

impl<U, M: Medium> Fixture<U, M> {
    /// The machine's disk, brought up.
    pub fn open<E: Debug>(of: (Machine, Rc<RefCell<U>>), open: Open<M, E>) -> Self {
        let (mut machine, device) = of;
        let disk = open(&mut machine, id(), ISC).unwrap();
        let data = machine.storage(PAGES).unwrap();
        machine.serving = true;
        let port = machine.subchannel(id());
        port.starts = 0;
        port.taken.clear();
        Self {
            machine,
            device,
            disk,
            data,
        }
    }

    pub fn port(&mut self) -> &mut Port {
        self.machine.subchannel(id())
    }

    pub fn segment(&self, offset: u64, len: u32) -> Segment {
        let place = ClientAddress::new(offset);
        self.data.translate(place, len).unwrap()
    }

    pub fn submit(
        &mut self,
        write: bool,
        block: u64,
        segments: &[Segment],
        token: u32,
    ) -> Result<(), SubmitError> {
        let sector = block * u64::from(self.disk.geometry().block_size / SECTOR);
        let operation = if write {
            Operation::Write { sector }
        } else {
            Operation::Read { sector }
        };
        self.disk.submit(0, operation, segments, &[], Token(token))
    }

    /// Submits a request for one block, at its place in the storage.
    pub fn one(&mut self, write: bool, block: u64, token: u32) {
        let size = self.disk.geometry().block_size;
        let segment = self.segment(u64::from(token) * u64::from(size), size);
        self.submit(write, block, &[segment], token).unwrap();
    }

    pub fn kick(&mut self) {
        self.disk.kick(&mut self.machine);
    }

    /// Lets time pass until all requests have ended.
    pub fn all(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..10_000 {
            self.kick();
            done.extend(core::iter::from_fn(|| self.disk.poll()));
            if self.disk.in_flight() == 0 {
                return done;
            }
            self.machine.micros += 50_000;
        }
        panic!("{} requests do not end", self.disk.in_flight());
    }

    /// How one request for a block ends.
    pub fn status(&mut self, write: bool, block: u64) -> BlockStatus {
        self.one(write, block, 0);
        let done = self.all();
        assert_eq!(done.len(), 1);
        done[0].status
    }
}
