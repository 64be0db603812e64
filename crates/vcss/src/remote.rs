//! The client's side: a channel subsystem whose instructions are requests in an area.

use core::fmt;
use core::mem::offset_of;

use channel::{
    ChannelSubsystem, Crw, IoInterruption, Irb, NotOperational, Orb, PmcwFlags, Refusal, Schib,
    SubchannelId, Tested,
};
use zerocopy::IntoBytes;

use crate::area::{Area, AreaError};
use crate::client::{Command, Instruction, Response, SchibPart, Status};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteError {
    /// The area does not have what is needed.
    Area(AreaError),
    /// The appliance did not answer in time.
    Timeout,
    /// The appliance did not know the request.
    Invalid,
    /// The instruction was refused with this condition code.
    Refused(Refusal),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Area(error) => error.fmt(f),
            Self::Timeout => f.write_str("the appliance did not answer in time"),
            Self::Invalid => f.write_str("the appliance did not know the request"),
            Self::Refused(refusal) => write!(f, "virtual subchannel: {refusal}"),
        }
    }
}

impl core::error::Error for RemoteError {}

impl From<AreaError> for RemoteError {
    fn from(error: AreaError) -> Self {
        Self::Area(error)
    }
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
    /// Where [`ChannelSubsystem::pending_interruption`] looks next.
    next: u32,
}

impl<'w, W: Wake> Remote<'w, W> {
    /// A client of this area.
    pub const fn new(area: Area<'w>, wake: W) -> Self {
        Self {
            area,
            wake,
            next: 0,
        }
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
        let pending = self
            .area
            .word::<Status>(index, offset_of!(Status, pending))?;
        self.wake.begin();
        loop {
            if pending.load() != 0 {
                if let Tested::Status(irb) = self.test_subchannel(index)? {
                    if irb.scsw.ended() {
                        return Ok(irb);
                    }
                }
            }
            if !self.wake.pass() {
                return Err(RemoteError::Timeout);
            }
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
        let response: Response = self.area.read(index)?;
        u8::try_from(response.condition.get()).map_err(|_| RemoteError::Invalid)
    }

    fn test_subchannel(&mut self, index: u32) -> Result<Tested, RemoteError> {
        let condition = self.request(index, Instruction::Test, &[])?;
        let status: Status = self.area.read(index)?;
        match condition {
            0 => Ok(Tested::Status(status.irb)),
            1 => Ok(Tested::Nothing(status.irb)),
            _ => Err(RemoteError::Refused(Refusal::NotOperational)),
        }
    }

    /// For the trait, whose condition codes have no word for a dead appliance: not operational.
    fn condition(&mut self, id: SubchannelId, instruction: Instruction, operand: &[u8]) -> u8 {
        if id.set() != 0 {
            return 3;
        }
        self.request(u32::from(id.number()), instruction, operand)
            .unwrap_or(3)
    }
}

impl<W: Wake> ChannelSubsystem for Remote<'_, W> {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        Refusal::from_cc(self.condition(id, Instruction::Start, orb.as_bytes()))
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        Refusal::from_cc(self.condition(id, Instruction::Halt, &[]))
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        match self.condition(id, Instruction::Clear, &[]) {
            0 => Ok(()),
            _ => Err(NotOperational),
        }
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        Refusal::from_cc(self.condition(id, Instruction::Cancel, &[]))
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        Refusal::from_cc(self.condition(id, Instruction::Resume, &[]))
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        if self.condition(id, Instruction::Store, &[]) != 0 {
            return Err(NotOperational);
        }
        self.area
            .read::<SchibPart>(u32::from(id.number()))
            .map(|part| part.schib)
            .map_err(|_| NotOperational)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        Refusal::from_cc(self.condition(id, Instruction::Modify, schib.as_bytes()))
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
        for _ in 0..count {
            let index = self.next % count;
            self.next = index + 1;
            let pending = self
                .area
                .word::<Status>(index, offset_of!(Status, pending))
                .ok()?;
            let schib = self.area.read::<SchibPart>(index).ok()?.schib;
            if pending.load() != 0 && schib.pmcw.flags().contains(PmcwFlags::ENABLED) {
                return Some(IoInterruption::Subchannel {
                    id: SubchannelId::new(0, index as u16)?,
                    parameter: schib.pmcw.parameter.get(),
                    isc: schib.pmcw.isc(),
                });
            }
        }
        None
    }

    fn channel_report(&mut self) -> Option<Crw> {
        None
    }
}
