//! The machine around the channel subsystem: clock and storage.

use channel::SubchannelId;
use s390x::clock::Tod;
use window::{ClientAddress, Window};

use super::{Machine, STORAGE};
use crate::css::{OutOfStorage, Patience, Platform, Wake};

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
        assert!(!self.serving, "everybody waits");
        self.micros = self.micros.max(deadline.as_micros());
    }

    fn forget_interruption(&mut self, _: SubchannelId) -> bool {
        core::mem::take(&mut self.interruption)
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let bytes = pages as u64 * 4096;
        if self.free + bytes > STORAGE as u64 {
            return Err(OutOfStorage { pages });
        }
        let start = self.free;
        self.free += bytes;
        // SAFETY: within the leaked bytes, which nobody has a reference to.
        Ok(unsafe { Window::new(self.base.add(start as usize), bytes, start) })
    }

    unsafe fn zero(&mut self, address: u64, length: u32) -> bool {
        let filled = self
            .storage
            .fill(ClientAddress::new(address), length.into(), 0);
        filled.is_ok()
    }

    fn has_midaws(&mut self) -> bool {
        self.midaws
    }

    fn path_group(&self) -> [u8; 11] {
        *b"this system"
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    fn highest_set(&mut self) -> u8 {
        0
    }
}
