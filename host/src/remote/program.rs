//! Where a channel program lies in an area, and what comes back from there.

use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, Irb, NotOperational, Orb, OrbFlags, PmcwFlags,
    Refusal, SubchannelId, SubchannelStatus,
};
use vcss::{Remote, Wake};
use window::{ClientAddress, OutOfWindow, Window};

use crate::api::text::Hex;
use crate::api::{Data, Program};
use crate::areas::{program_offset, ClientArea};

/// After which the residual count says nothing.
const CHECKS: SubchannelStatus = SubchannelStatus::PCI
    .union(SubchannelStatus::INCORRECT_LENGTH)
    .complement();

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("a program has 1 to {0} CCWs")]
    Count(usize),
    #[error("the program's data does not fit: at most {0} bytes")]
    Data(u32),
    #[error(transparent)]
    Window(#[from] OutOfWindow),
}

/// A virtual subchannel's own part of an area's program window: first CCWs, then data.
#[derive(Clone, Copy, Debug)]
pub struct ProgramPlace {
    window: &'static Window,
    /// Where it begins in the area.
    at: u64,
    /// Where it begins in the program window, in which programs have their addresses.
    start: u32,
    /// Where the data begins in it, and where it ends.
    data: u32,
    end: u32,
}

impl ProgramPlace {
    /// In an area where each subchannel has so many bytes, the first `data` of them for CCWs.
    pub fn new(area: &ClientArea, id: SubchannelId, data: u32, end: u32) -> Self {
        let start = u32::from(id.number()) * end;
        Self {
            window: area.window,
            at: program_offset(&area.area) + u64::from(start),
            start,
            data,
            end,
        }
    }

    pub const fn start(&self) -> u32 {
        self.start
    }

    const fn ccw(&self, number: usize) -> ClientAddress {
        self.address((number * size_of::<Ccw1>()) as u32)
    }

    /// Where the data of each CCW is, counted from the beginning. A TIC has none.
    fn data<'p>(&self, program: &'p Program) -> impl Iterator<Item = u32> + 'p {
        program.ccws.iter().scan(self.data, |next, step| {
            let at = *next;
            if step.target.is_none() {
                *next += u32::from(step.count).next_multiple_of(8);
            }
            Some(at)
        })
    }

    const fn address(&self, offset: u32) -> ClientAddress {
        ClientAddress::new(self.at + offset as u64)
    }

    /// Puts a program there; the ORB that starts it.
    pub fn write(&self, program: &Program) -> Result<Orb, ProgramError> {
        let most = self.data as usize / size_of::<Ccw1>();
        if !(1..=most).contains(&program.ccws.len()) {
            return Err(ProgramError::Count(most));
        }
        let steps = program.ccws.iter().zip(self.data(program));
        for (number, (step, at)) in steps.enumerate() {
            let address = match step.target {
                Some(target) => self.start.wrapping_add(target),
                None => self.start + at,
            };
            let flags = CcwFlags::from_bits_retain(step.flags);
            let ccw = Ccw1::new(CommandCode(step.command), flags, step.count, address);
            self.window.write(self.ccw(number), &ccw)?;
            if step.target.is_none() {
                if at + u32::from(step.count) > self.end {
                    return Err(ProgramError::Data(self.end - self.data));
                }
                let data = self.address(at);
                self.window.fill(data, u64::from(step.count), 0)?;
                let length = step.data.len().min(usize::from(step.count));
                self.window.write_bytes(data, &step.data[..length])?;
            }
        }
        let mut flags = OrbFlags::empty();
        flags.set(OrbFlags::PREFETCH, !program.no_prefetch);
        flags.set(OrbFlags::SUSPEND_CONTROL, program.suspend);
        let paths = program.lpm.unwrap_or(0xFF);
        Ok(Orb::format_1(0, self.start, flags, paths))
    }

    /// What was read, up to the CCW at which the program ended.
    pub fn read_back(&self, program: &Program, irb: &Irb) -> Result<Vec<Data>, OutOfWindow> {
        let beyond = irb.scsw.program.get().wrapping_sub(self.start) as usize / size_of::<Ccw1>();
        let mut data = Vec::new();
        let steps = program.ccws.iter().zip(self.data(program));
        for (number, (step, at)) in steps.enumerate().take(beyond) {
            let left = match number + 1 == beyond {
                true if irb.scsw.subchannel().intersects(CHECKS) => step.count,
                true => irb.scsw.count.get().min(step.count),
                false => 0,
            };
            if step.reads() && left < step.count {
                let mut bytes = vec![0; usize::from(step.count - left)];
                self.window.read_bytes(self.address(at), &mut bytes)?;
                data.push(Data {
                    ccw: number,
                    command: Hex(step.command),
                    bytes,
                });
            }
        }
        Ok(data)
    }

    /// Takes away the first suspend flag that is left in a program of so many CCWs.
    pub fn let_go_on(&self, ccws: usize) -> Result<(), OutOfWindow> {
        for number in 0..ccws {
            let mut ccw: Ccw1 = self.window.read(self.ccw(number))?;
            if ccw.flags().contains(CcwFlags::SUSPEND) {
                ccw.flags &= !CcwFlags::SUSPEND.bits();
                return self.window.write(self.ccw(number), &ccw);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum EnableError {
    #[error("virtual subchannel: {0}")]
    NotOperational(#[from] NotOperational),
    #[error("virtual subchannel cannot be enabled: {0}")]
    Refused(#[from] Refusal),
}

/// Enables a subchannel, with sense data in the status of a unit check.
pub fn enable<W: Wake>(remote: &mut Remote<'_, W>, id: SubchannelId) -> Result<(), EnableError> {
    let mut schib = remote.store(id)?;
    if !schib.pmcw.flags().contains(PmcwFlags::ENABLED) || !schib.pmcw.has_concurrent_sense() {
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        schib.pmcw.set_concurrent_sense(true);
        remote.modify(id, &schib)?;
    }
    Ok(())
}
