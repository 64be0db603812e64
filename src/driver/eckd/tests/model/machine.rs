//! The model as a [`Platform`]: with storage, and a clock that goes on when nothing else does.

use std::vec::Vec;

use channel::model::{Memory, Model, StorageError};
use channel::{
    ChannelSubsystem, Crw, FunctionControl, IoInterruption, NotOperational, Orb, Refusal, Schib,
    SubchannelId, Tested,
};
use s390x::clock::Tod;
use window::{ClientAddress, Window};

use crate::css::{OutOfStorage, Platform, Wake};

const STORAGE: usize = 4 << 20;

/// What the channel reaches.
#[derive(Debug)]
pub struct Whole(Window);

impl Memory for Whole {
    fn fetch(&self, _: u8, address: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let read = self.0.read_bytes(ClientAddress::new(address), into);
        read.map_err(|_| StorageError::Addressing)
    }

    fn store(&mut self, _: u8, address: u64, from: &[u8]) -> Result<(), StorageError> {
        let written = self.0.write_bytes(ClientAddress::new(address), from);
        written.map_err(|_| StorageError::Addressing)
    }
}

/// The model with a clock and storage.
pub struct Machine {
    pub model: Model<Whole>,
    base: *mut u8,
    free: u64,
    pub micros: u64,
    /// The paths that ended start functions took.
    pub taken: Vec<u8>,
}

impl Machine {
    pub fn new() -> Self {
        let bytes = vec![0; STORAGE].leak();
        let base = bytes.as_mut_ptr();
        Self {
            model: Model::new(Whole(Window::leaked(bytes, 0))),
            base,
            free: 4096,
            micros: 1,
            taken: Vec::new(),
        }
    }
}

impl ChannelSubsystem for Machine {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        // SAFETY: the caller's.
        unsafe { self.model.start(id, orb) }
    }
    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.model.halt(id)
    }
    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        self.model.clear(id)
    }
    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.model.cancel(id)
    }
    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.model.resume(id)
    }
    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        self.model.store(id)
    }
    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.model.modify(id, schib)
    }
    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        let tested = self.model.test(id)?;
        if let Tested::Status(irb) = &tested {
            if irb.scsw.ended() && irb.scsw.function().contains(FunctionControl::START) {
                self.taken.push(irb.esw.last_path_used());
            }
        }
        Ok(tested)
    }
    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        self.model.pending_interruption()
    }
    fn channel_report(&mut self) -> Option<Crw> {
        self.model.channel_report()
    }
}

impl Platform for Machine {
    fn notify(&mut self, _: SubchannelId, _: u16, _: i64) -> i64 {
        -22
    }
    fn now(&self) -> Tod {
        Tod::from_micros(self.micros)
    }
    fn wait(&mut self, _: Option<Tod>) -> Wake {
        Wake::Deadline
    }
    fn pause(&mut self, deadline: Tod) {
        self.model.run(1000);
        match self.model.pending_interruption() {
            Some(_) => self.micros += 1,
            None => self.micros = self.micros.max(deadline.as_micros()),
        }
    }
    fn forget_interruption(&mut self, _: SubchannelId) -> bool {
        self.model.pending_interruption().is_some()
    }
    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let bytes = pages as u64 * 4096;
        let start = self.free;
        if start + bytes > STORAGE as u64 {
            return Err(OutOfStorage { pages });
        }
        self.free += bytes;
        // SAFETY: within the leaked bytes, which nobody has a reference to.
        Ok(unsafe { Window::new(self.base.add(start as usize), bytes, start) })
    }
    fn highest_set(&mut self) -> u8 {
        0
    }
}
