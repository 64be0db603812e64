//! The transfer of a command's data, one piece a step.

use alloc::vec::Vec;

use super::device::{Device, Reply};
use super::fetch::check_of;
use super::memory::Memory;
use super::program::{low_bits_backward, Chaining, Event, Interpreter, State};
use super::trace::Trace;
use crate::{CcwFlags, SubchannelStatus};

impl Interpreter {
    pub(super) fn wants(&self) -> usize {
        if self.command.reads() {
            self.sends.len() - self.sent.min(self.sends.len())
        } else {
            self.takes
        }
    }

    pub(super) fn transfer(&mut self, memory: &mut dyn Memory, device: &mut dyn Device) -> Event {
        if self.residual > 0 && self.wants() > 0 {
            if !device.ready() {
                return Event::Waiting;
            }
            if let Err(check) = self.move_piece(memory, device) {
                self.check |= check;
                self.state = State::Finish;
            }
            return Event::Progress;
        }
        if self.residual == 0 && self.ccw.flags().contains(CcwFlags::CD) {
            self.chaining = Chaining::Data;
            self.state = State::Fetch;
        } else {
            self.state = State::Finish;
        }
        Event::Progress
    }

    fn move_piece(
        &mut self,
        memory: &mut dyn Memory,
        device: &mut dyn Device,
    ) -> Result<(), SubchannelStatus> {
        let Some(mut area) = self.area else {
            return Err(SubchannelStatus::PROGRAM_CHECK);
        };
        let wanted = usize::from(self.residual).min(self.wants());
        let piece = area.piece(&mut self.fetcher, memory, wanted, self.residual.into())?;
        self.interrupt |= core::mem::take(&mut area.interrupt);
        if let Some(address) = piece.address {
            let end = address.checked_add(piece.length as u64);
            if address < self.allowed.start || end.is_none_or(|end| end > self.allowed.end) {
                return Err(SubchannelStatus::PROGRAM_CHECK);
            }
        }
        if self.command.reads() {
            self.store(memory, piece.address, piece.length)?;
        } else {
            self.load(memory, device, piece.address, piece.length)?;
        }
        // A piece is no longer than the residual count.
        self.residual -= piece.length as u16;
        let result = area.done(piece.length, self.residual.into());
        self.area = Some(area);
        result
    }

    fn store(
        &mut self,
        memory: &mut dyn Memory,
        address: Option<u64>,
        length: usize,
    ) -> Result<(), SubchannelStatus> {
        let data = self.sends.get(self.sent..).unwrap_or(&[]);
        let data = data.get(..length).unwrap_or(data);
        if let Some(address) = address {
            let key = self.fetcher.key;
            if low_bits_backward(self.command) {
                let reversed: Vec<u8> = data.iter().rev().copied().collect();
                memory.store(key, address, &reversed).map_err(check_of)?;
            } else {
                memory.store(key, address, data).map_err(check_of)?;
            }
            Trace::add(&mut self.fetcher.trace.writes, address, length);
        }
        self.sent += length;
        Ok(())
    }

    fn load(
        &mut self,
        memory: &dyn Memory,
        device: &mut dyn Device,
        address: Option<u64>,
        length: usize,
    ) -> Result<(), SubchannelStatus> {
        let mut data = alloc::vec![0; length];
        if let Some(address) = address {
            let fetched = memory.fetch(self.fetcher.key, address, &mut data);
            fetched.map_err(check_of)?;
            Trace::add(&mut self.fetcher.trace.reads, address, length);
        }
        device.receive(&data);
        if self.takes != Reply::ANY {
            self.takes -= length;
        }
        Ok(())
    }
}
