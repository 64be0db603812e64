//! The I/O instructions.

use channel::{
    ChannelSubsystem, CommandCode, Crw, DeviceStatus, Esw, FunctionControl, IoInterruption, Irb,
    NotOperational, Orb, Refusal, Schib, SubchannelId, SubchannelStatus, Tested,
};

use super::super::super::format;
use super::{first_path, id, Machine};

impl ChannelSubsystem for Machine {
    unsafe fn start(&mut self, _: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        self.there()?;
        if self.status.is_some() {
            return Err(Refusal::StatusPending);
        }
        if self.running {
            return Err(Refusal::Busy);
        }
        let path = first_path(orb.path_mask() & self.schib.pmcw.pam);
        assert!(path != 0, "a program over no path");
        let first = CommandCode(self.ccw(orb.program.get()).command);
        let fault = if matches!(first, format::DEFINE_EXTENT | format::PREFIX) {
            self.starts += 1;
            self.taken.push(path);
            let of_path = || self.path_faults.get(&path).cloned();
            if self.skip_faults > 0 {
                self.skip_faults -= 1;
                of_path()
            } else {
                self.faults.pop_front().or_else(of_path)
            }
        } else if first == CommandCode::SENSE {
            self.sense_faults.pop_front()
        } else {
            None
        };
        match fault {
            Some(fault) => self.fail(fault)?,
            None => self.work(orb),
        }
        if let Some(irb) = &mut self.status {
            irb.esw = Esw::of_path(path, irb.esw.erw);
        }
        Ok(())
    }

    fn halt(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        self.there()?;
        self.halts += 1;
        if !self.halt_stuck {
            let function = FunctionControl::START | FunctionControl::HALT;
            self.end(function, DeviceStatus::empty(), SubchannelStatus::empty());
        }
        Ok(())
    }

    fn clear(&mut self, _: SubchannelId) -> Result<(), NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        self.clears += 1;
        if !self.clear_stuck {
            let (device, channel) = (DeviceStatus::empty(), SubchannelStatus::empty());
            self.end(FunctionControl::CLEAR, device, channel);
        }
        Ok(())
    }

    fn cancel(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn resume(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn store(&mut self, _: SubchannelId) -> Result<Schib, NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        Ok(self.schib)
    }

    fn modify(&mut self, _: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.there()?;
        self.schib = *schib;
        Ok(())
    }

    fn test(&mut self, _: SubchannelId) -> Result<Tested, NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        let Some(irb) = self.status.take() else {
            return Ok(Tested::Nothing(Irb::default()));
        };
        self.interruption = false;
        if self.running && core::mem::take(&mut self.ends_behind) {
            self.end_well();
        }
        Ok(Tested::Status(irb))
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        core::mem::take(&mut self.interruption).then_some(IoInterruption::Subchannel {
            id: id(),
            parameter: id().word(),
            isc: self.schib.pmcw.isc(),
        })
    }

    fn channel_report(&mut self) -> Option<Crw> {
        None
    }
}
