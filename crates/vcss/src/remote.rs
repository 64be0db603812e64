//! The client's side: a channel subsystem whose instructions are requests in an area.
//!
//! # Three ways to use it
//!
//! * *Blocking*: [`Remote::run`] starts a program and waits for its end, [`Remote::wait`] for any status;
//! * *polling*: [`Remote::is_pending`] looks at a word of memory and asks nobody, then TEST SUBCHANNEL;
//! * *as with interruptions*: [`ChannelSubsystem::pending_interruption`] and
//!   [`ChannelSubsystem::channel_report`] take what has come, once, lowest subclass first; a client that
//!   finds nothing sleeps by its [`Bell`](crate::Bell) until the appliance rings.
//!
//! # Limits
//!
//! One request at a time. Interruptions of subchannels beyond number [`MAX_TOLD`] come as long as their
//! status is pending, not once.

use core::mem::offset_of;

use channel::{
    ChannelSubsystem, Crw, IoInterruption, Irb, NotOperational, Orb, PmcwFlags, Refusal, Schib,
    SubchannelId, Tested,
};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::area::{Area, AreaError};
use crate::client::{Command, Instruction, Response, SchibPart, Status};
use crate::events::EventSink;

/// Subchannels whose interruptions come once.
pub const MAX_TOLD: u32 = 512;

/// How a client tells the appliance to look, and passes the time until it has.
pub trait Wake {
    /// Rings the area's bell, and sends the wake-up byte if the appliance sleeps.
    fn ring(&mut self);
    /// Lets some time pass, or returns `false` when there is none left to wait.
    fn pass(&mut self) -> bool;
    /// A new wait begins.
    fn begin(&mut self) {}
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// The area does not have what is needed.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The appliance did not answer in time.
    #[error("the appliance did not answer in time")]
    Timeout,
    /// The appliance did not know the request.
    #[error("the appliance did not know the request")]
    Invalid,
    /// The instruction was refused.
    #[error("virtual subchannel: {0}")]
    Refused(Refusal),
}

impl From<Refusal> for RemoteError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A client's virtual channel subsystem. Subchannel numbers count from 0 in set 0.
#[derive(Debug)]
pub struct Remote<'w, W> {
    area: Area<'w>,
    wake: W,
    events: Option<EventSink<'w>>,
    /// Where [`ChannelSubsystem::pending_interruption`] looks next.
    next: u32,
    /// Whose interruption has been taken, and its status not yet.
    told: [u32; (MAX_TOLD / u32::BITS) as usize],
}

impl<'w, W: Wake> Remote<'w, W> {
    /// A client of this area.
    pub fn new(area: Area<'w>, wake: W) -> Self {
        Self {
            // An older creator's area has no reports.
            events: EventSink::open(&area).ok(),
            area,
            wake,
            next: 0,
            told: [0; (MAX_TOLD / u32::BITS) as usize],
        }
    }

    /// What waits and rings for this client.
    pub const fn wake(&mut self) -> &mut W {
        &mut self.wake
    }

    /// The area.
    pub const fn area(&self) -> &Area<'w> {
        &self.area
    }

    /// Starts a channel program and waits for its end.
    ///
    /// # Errors
    ///
    /// The start was refused, or the program did not end in time; it may then still be running.
    ///
    /// # Safety
    ///
    /// As for [`ChannelSubsystem::start`].
    pub unsafe fn run(&mut self, id: SubchannelId, orb: &Orb) -> Result<Irb, RemoteError> {
        let index = u32::from(id.number());
        // Status left over from before would be taken for this program's.
        self.request(index, Instruction::Test, &[])?;
        Refusal::from_cc(self.request(index, Instruction::Start, orb.as_bytes())?)?;
        self.await_status(index, |irb| irb.scsw.ended())
    }

    /// Waits for the answer to the last request of an earlier client, which has ended before it had it.
    ///
    /// # Errors
    ///
    /// It did not come in time.
    pub fn catch_up(&mut self, id: SubchannelId) -> Result<(), RemoteError> {
        let index = u32::from(id.number());
        let asked = self
            .area
            .word::<Command>(index, offset_of!(Command, sequence))?;
        self.await_response(index, asked.load())
    }

    /// Waits for status of any kind, and takes it.
    ///
    /// # Errors
    ///
    /// None came in time, or the subchannel is not operational.
    pub fn wait(&mut self, id: SubchannelId) -> Result<Irb, RemoteError> {
        self.await_status(u32::from(id.number()), |_| true)
    }

    /// Takes one status after the other until one is enough.
    fn await_status(
        &mut self,
        index: u32,
        is_enough: impl Fn(&Irb) -> bool,
    ) -> Result<Irb, RemoteError> {
        self.wake.begin();
        loop {
            if let Some(irb) = self.status(index)? {
                if is_enough(&irb) {
                    return Ok(irb);
                }
            }
            if !self.wake.pass() {
                return Err(RemoteError::Timeout);
            }
        }
    }

    /// Whether a subchannel is status pending. Makes no request.
    pub fn is_pending(&self, id: SubchannelId) -> bool {
        id.set() == 0 && self.pending_word(u32::from(id.number())) != 0
    }

    /// Whether there is an interruption or a channel report to take. Makes no request.
    pub fn has_news(&self) -> bool {
        let waiting = |index| self.pending_word(index) != 0 && !self.is_told(index);
        self.events.as_ref().is_some_and(EventSink::has_news)
            || (0..self.area.count::<Status>()).any(waiting)
    }

    /// Takes the interruption of a subchannel without asking for others'. Whether there was one.
    pub fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        let index = u32::from(id.number());
        let there = self.is_pending(id) && !self.is_told(index);
        if there {
            self.set_told(index, true);
        }
        there
    }

    fn pending_word(&self, index: u32) -> u32 {
        let word = self.area.word::<Status>(index, offset_of!(Status, pending));
        word.map_or(0, |word| word.load())
    }

    /// The status that is pending, taken.
    fn status(&mut self, index: u32) -> Result<Option<Irb>, RemoteError> {
        if self.pending_word(index) == 0 {
            return Ok(None);
        }
        match self.test_subchannel(index)? {
            Tested::Status(irb) => Ok(Some(irb)),
            Tested::Nothing(_) => Ok(None),
        }
    }

    fn is_told(&self, index: u32) -> bool {
        let word = self.told.get((index / u32::BITS) as usize);
        word.is_some_and(|word| word & 1 << (index % u32::BITS) != 0)
    }

    fn set_told(&mut self, index: u32, told: bool) {
        if let Some(word) = self.told.get_mut((index / u32::BITS) as usize) {
            let bit = 1 << (index % u32::BITS);
            *word = if told { *word | bit } else { *word & !bit };
        }
    }

    /// One request, answered: the condition code.
    fn request(
        &mut self,
        index: u32,
        instruction: Instruction,
        operand: &[u8],
    ) -> Result<u8, RemoteError> {
        let mut command: Command = self.area.read(index)?;
        command.instruction.set(instruction as u32);
        if let Some(place) = command.operand.get_mut(..operand.len()) {
            place.copy_from_slice(operand);
        }
        let sequence = command.sequence.get().wrapping_add(1);
        self.area.write(index, &command)?;
        self.area
            .word::<Command>(index, offset_of!(Command, sequence))?
            .store(sequence);
        self.await_response(index, sequence)?;
        let response: Response = self.area.read(index)?;
        match response.condition.get() {
            Response::OPERAND => Err(Refusal::Operand.into()),
            condition => u8::try_from(condition).map_err(|_| RemoteError::Invalid),
        }
    }

    fn await_response(&mut self, index: u32, sequence: u32) -> Result<(), RemoteError> {
        self.wake.ring();
        let answered = self
            .area
            .word::<Response>(index, offset_of!(Response, sequence))?;
        self.wake.begin();
        while answered.load() != sequence {
            if !self.wake.pass() {
                return Err(RemoteError::Timeout);
            }
        }
        Ok(())
    }

    fn test_subchannel(&mut self, index: u32) -> Result<Tested, RemoteError> {
        let condition = self.request(index, Instruction::Test, &[])?;
        self.set_told(index, false);
        let status: Status = self.area.read(index)?;
        match condition {
            0 => Ok(Tested::Status(status.irb)),
            1 => Ok(Tested::Nothing(status.irb)),
            _ => Err(RemoteError::Refused(Refusal::NotOperational)),
        }
    }

    /// For the trait, which has no word for a dead appliance: not operational.
    fn carry_out(
        &mut self,
        id: SubchannelId,
        instruction: Instruction,
        operand: &[u8],
    ) -> Result<(), Refusal> {
        if id.set() != 0 {
            return Err(Refusal::NotOperational);
        }
        match self.request(u32::from(id.number()), instruction, operand) {
            Ok(condition) => Refusal::from_cc(condition),
            Err(RemoteError::Refused(refusal)) => Err(refusal),
            Err(RemoteError::Area(_) | RemoteError::Timeout | RemoteError::Invalid) => {
                Err(Refusal::NotOperational)
            }
        }
    }
}

impl<W: Wake> ChannelSubsystem for Remote<'_, W> {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        self.carry_out(id, Instruction::Start, orb.as_bytes())
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.carry_out(id, Instruction::Halt, &[])
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        // What is pending goes, and its interruption with it.
        self.set_told(id.number().into(), false);
        self.carry_out(id, Instruction::Clear, &[])
            .map_err(|_| NotOperational)
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.carry_out(id, Instruction::Cancel, &[])
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.carry_out(id, Instruction::Resume, &[])
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        self.carry_out(id, Instruction::Store, &[])
            .map_err(|_| NotOperational)?;
        self.area
            .read::<SchibPart>(u32::from(id.number()))
            .map(|part| part.schib)
            .map_err(|_| NotOperational)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.carry_out(id, Instruction::Modify, schib.as_bytes())
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        if id.set() != 0 {
            return Err(NotOperational);
        }
        self.test_subchannel(u32::from(id.number()))
            .map_err(|_| NotOperational)
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        let count = self.area.count::<Status>();
        let mut found: Option<(u8, u32, u32)> = None;
        for step in 0..count {
            let index = (self.next % count + step) % count;
            if self.pending_word(index) == 0 || self.is_told(index) {
                continue;
            }
            let id = SubchannelId::new(0, index as u16)?;
            // The parameter is the ORB's if there was a start.
            let Ok(Schib { pmcw, .. }) = self.store(id) else {
                continue;
            };
            let first = found.is_none_or(|(isc, ..)| pmcw.isc() < isc);
            if first && pmcw.flags().contains(PmcwFlags::ENABLED) {
                found = Some((pmcw.isc(), index, pmcw.parameter.get()));
            }
        }
        let (isc, index, parameter) = found?;
        self.next = index + 1;
        self.set_told(index, true);
        Some(IoInterruption::Subchannel {
            id: SubchannelId::new(0, index as u16)?,
            parameter,
            isc,
        })
    }

    fn channel_report(&mut self) -> Option<Crw> {
        self.events.as_mut()?.take()
    }
}

#[cfg(test)]
mod tests;
