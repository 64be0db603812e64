//! One subchannel: what each instruction finds and leaves (*Principles of Operation*, chapter 14). What
//! happens between them is in [`work`](super::work).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::device::Device;
use super::fault::{Fault, Instruction};
use super::program::{Interpreter, Limits};
use crate::{
    ActivityControl, DeviceStatus, Ecw, Emw, Esw, FunctionControl, Irb, NotOperational, Orb,
    OrbFlags, Pmcw, PmcwCharacteristics, PmcwFlags, Refusal, Schib, Scsw, ScswFlags, StatusControl,
    SubchannelStatus, Tested,
};

/// The state of one channel path to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Works.
    Operational,
    /// Looks available (PAM), but the device does not answer: path not operational.
    Dead,
    /// Not available (PAM zero).
    Unavailable,
}

#[derive(Debug)]
pub(super) struct Subchannel {
    pub(super) pmcw: Pmcw,
    mba: u64,
    pub(super) irb: Irb,
    pub(super) device: Box<dyn Device>,
    pub(super) paths: [PathState; 8],
    pub(super) orb: Orb,
    pub(super) program: Option<Interpreter>,
    /// Unsolicited status that the device could not present yet.
    pub(super) stacked: VecDeque<DeviceStatus>,
    /// An interruption is pending and not yet taken.
    pub(super) interruption: bool,
    pub(super) faults: Vec<Fault>,
    /// What extended-measurement words are to say.
    pub(super) times: VecDeque<Emw>,
}

impl Subchannel {
    pub(super) fn new(number: u16, device: Box<dyn Device>) -> Self {
        let mut pmcw = Pmcw {
            device: number.into(),
            lpm: 0x80,
            pim: 0x80,
            pom: 0xFF,
            pam: 0x80,
            ..Pmcw::default()
        };
        pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        let mut paths = [PathState::Unavailable; 8];
        paths[0] = PathState::Operational;
        Self {
            pmcw,
            mba: 0,
            irb: Irb::default(),
            device,
            paths,
            orb: Orb::default(),
            program: None,
            stacked: VecDeque::new(),
            interruption: false,
            faults: Vec::new(),
            times: VecDeque::new(),
        }
    }

    // ---- paths, and being there ------------------------------------------------------------------

    pub(super) fn set_path(&mut self, number: u8, chpid: u8, state: PathState) {
        let bit = Pmcw::path_bit(number);
        let at = usize::from(number);
        let (Some(path), Some(id)) = (self.paths.get_mut(at), self.pmcw.chpid.get_mut(at)) else {
            return;
        };
        *path = state;
        *id = chpid;
        if self.pmcw.pim & bit == 0 {
            self.pmcw.pim |= bit;
            self.pmcw.lpm |= bit;
        }
        if state == PathState::Unavailable {
            self.pmcw.pam &= !bit;
        } else {
            self.pmcw.pam |= bit;
        }
    }

    /// The path is lost: what runs on it ends with an interface-control check.
    pub(super) fn lose_path(&mut self, chpid: u8) -> bool {
        let mut had = false;
        for number in 0..8u8 {
            let bit = Pmcw::path_bit(number);
            let is = self.pmcw.chpid.get(usize::from(number)) == Some(&chpid);
            if is && self.pmcw.pim & bit != 0 {
                had = true;
                self.set_path(number, chpid, PathState::Unavailable);
                if self.is_active() && self.pmcw.lpum & bit != 0 {
                    self.end_with_check(SubchannelStatus::INTERFACE_CONTROL_CHECK);
                }
            }
        }
        had
    }

    pub(super) fn find_path(&mut self, chpid: u8) -> bool {
        let mut had = false;
        for number in 0..8u8 {
            let is = self.pmcw.chpid.get(usize::from(number)) == Some(&chpid);
            if is && self.pmcw.pim & Pmcw::path_bit(number) != 0 {
                had = true;
                self.set_path(number, chpid, PathState::Operational);
            }
        }
        had
    }

    pub(super) fn take_away(&mut self) {
        let empty = Pmcw::default();
        self.pmcw = Pmcw {
            device: self.pmcw.device,
            pim: self.pmcw.pim,
            chpid: self.pmcw.chpid,
            ..empty
        };
        self.device.stop();
        self.forget();
        self.stacked.clear();
        self.mba = 0;
    }

    pub(super) fn bring_back(&mut self) {
        self.pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        self.pmcw.lpm = self.pmcw.pim;
        self.pmcw.pom = 0xFF;
        for number in 0..8u8 {
            let there = self.paths.get(usize::from(number)) != Some(&PathState::Unavailable);
            if there {
                self.pmcw.pam |= Pmcw::path_bit(number);
            }
        }
    }

    fn forget(&mut self) {
        self.program = None;
        self.irb = Irb::default();
        self.interruption = false;
    }

    pub(super) fn is_valid(&self) -> bool {
        self.pmcw.flags().contains(PmcwFlags::DEVICE_NUMBER_VALID)
    }

    pub(super) fn operational(&self) -> bool {
        self.is_valid() && self.pmcw.flags().contains(PmcwFlags::ENABLED)
    }

    // ---- what the SCSW says ----------------------------------------------------------------------

    pub(super) fn status(&self) -> StatusControl {
        self.irb.scsw.status()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.status().contains(StatusControl::PENDING)
    }

    pub(super) fn is_active(&self) -> bool {
        self.irb
            .scsw
            .activity()
            .contains(ActivityControl::SUBCHANNEL_ACTIVE)
    }

    pub(super) fn function(&self) -> FunctionControl {
        self.irb.scsw.function()
    }

    pub(super) fn activity(&self) -> ActivityControl {
        self.irb.scsw.activity()
    }

    pub(super) fn set_activity(&mut self, activity: ActivityControl) {
        let (function, status) = (self.function(), self.status());
        self.irb.scsw.set_controls(function, activity, status);
    }

    fn refused(&mut self, instruction: Instruction) -> Result<(), Refusal> {
        let wanted =
            |fault: &Fault| matches!(fault, Fault::Refuse(which, _) if *which == instruction);
        match self.faults.iter().position(wanted) {
            Some(at) => match self.faults.remove(at) {
                Fault::Refuse(_, refusal) => Err(refusal),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    // ---- the instructions ------------------------------------------------------------------------

    pub(super) fn start(&mut self, orb: &Orb, limits: &Limits) -> Result<(), Refusal> {
        self.refused(Instruction::Start)?;
        let paths = orb.path_mask() & self.pmcw.lpm & self.pmcw.pam;
        if !self.operational() || paths == 0 {
            return Err(Refusal::NotOperational);
        }
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        if !self.function().is_empty() {
            return Err(Refusal::Busy);
        }
        self.orb = *orb;
        self.pmcw.parameter = orb.parameter;
        let device_active = self.activity() & ActivityControl::DEVICE_ACTIVE;
        self.irb = Irb {
            scsw: Scsw::of_start(orb),
            ..Irb::default()
        };
        self.set_activity(device_active | ActivityControl::START_PENDING);
        // A device that has yet to report device end keeps its program.
        if device_active.is_empty() {
            self.program = Some(Interpreter::new(orb, limits));
        }
        Ok(())
    }

    pub(super) fn halt(&mut self) -> Result<(), Refusal> {
        self.refused(Instruction::Halt)?;
        if !self.operational() {
            return Err(Refusal::NotOperational);
        }
        let beyond = StatusControl::ALERT | StatusControl::PRIMARY | StatusControl::SECONDARY;
        let status = self.status();
        if status == StatusControl::PENDING || self.is_pending() && status.intersects(beyond) {
            return Err(Refusal::StatusPending);
        }
        let function = self.function();
        if function.intersects(FunctionControl::HALT | FunctionControl::CLEAR) {
            return Err(Refusal::Busy);
        }
        let activity = self.activity() | ActivityControl::HALT_PENDING;
        let scsw = &mut self.irb.scsw;
        scsw.set_controls(function | FunctionControl::HALT, activity, status);
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<(), NotOperational> {
        if !self.operational() || self.refused(Instruction::Clear).is_err() {
            return Err(NotOperational);
        }
        self.irb = Irb::default();
        self.interruption = false;
        self.irb.scsw.set_controls(
            FunctionControl::CLEAR,
            ActivityControl::CLEAR_PENDING,
            StatusControl::empty(),
        );
        Ok(())
    }

    pub(super) fn cancel(&mut self) -> Result<(), Refusal> {
        self.refused(Instruction::Cancel)?;
        if !self.operational() {
            return Err(Refusal::NotOperational);
        }
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        let waiting = ActivityControl::START_PENDING
            | ActivityControl::RESUME_PENDING
            | ActivityControl::SUSPENDED;
        let activity = self.activity();
        if self.function() != FunctionControl::START
            || !activity.intersects(waiting)
            || activity.contains(ActivityControl::SUBCHANNEL_ACTIVE)
        {
            return Err(Refusal::Busy);
        }
        self.program = None;
        self.irb = Irb::default();
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Refusal> {
        self.refused(Instruction::Resume)?;
        if !self.operational() {
            return Err(Refusal::NotOperational);
        }
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        let activity = self.activity();
        if self.function() != FunctionControl::START
            || activity.contains(ActivityControl::RESUME_PENDING)
            || !self.orb.flags().contains(OrbFlags::SUSPEND_CONTROL)
        {
            return Err(Refusal::Busy);
        }
        self.set_activity(activity | ActivityControl::RESUME_PENDING);
        Ok(())
    }

    pub(super) fn store(&self) -> Schib {
        Schib {
            pmcw: self.pmcw,
            scsw: self.irb.scsw,
            mba: self.mba.into(),
            ..Schib::default()
        }
    }

    pub(super) fn modify(&mut self, schib: &Schib) -> Result<(), Refusal> {
        self.refused(Instruction::Modify)?;
        if !self.is_valid() {
            return Ok(());
        }
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        if !self.function().is_empty() {
            return Err(Refusal::Busy);
        }
        let taken = PmcwFlags::ENABLED
            | PmcwFlags::LIMIT_BELOW
            | PmcwFlags::LIMIT_ABOVE
            | PmcwFlags::MEASUREMENT_BLOCK
            | PmcwFlags::CONNECT_TIME
            | PmcwFlags::MULTIPATH;
        let pmcw = &mut self.pmcw;
        pmcw.parameter = schib.pmcw.parameter;
        pmcw.set_isc(schib.pmcw.isc());
        pmcw.set_flag(taken, false);
        pmcw.set_flag(schib.pmcw.flags() & taken, true);
        pmcw.lpm = schib.pmcw.lpm;
        pmcw.pom = schib.pmcw.pom;
        pmcw.mbi = schib.pmcw.mbi;
        let all = PmcwCharacteristics::all();
        pmcw.set_characteristic(all, false);
        pmcw.set_characteristic(schib.pmcw.characteristics(), true);
        self.mba = schib.mba.get();
        Ok(())
    }

    pub(super) fn test(&mut self) -> Result<Tested, NotOperational> {
        if !self.operational() || self.refused(Instruction::Test).is_err() {
            return Err(NotOperational);
        }
        let mut irb = self.irb;
        if !self.is_pending() {
            return Ok(Tested::Nothing(irb));
        }
        if self.is_measured() {
            irb.emw = self.times.pop_front().unwrap_or_default();
        }
        self.interruption = false;
        self.taken();
        Ok(Tested::Status(irb))
    }

    /// Whether the status comes with an extended-measurement word: it is primary, or secondary alone, or says that the program is
    /// suspended.
    fn is_measured(&self) -> bool {
        let status = self.status();
        let suspended = status.contains(StatusControl::INTERMEDIATE)
            && self.activity().contains(ActivityControl::SUSPENDED);
        let ended = status.intersects(StatusControl::PRIMARY | StatusControl::SECONDARY);
        self.pmcw.has_extended_measurement() && (ended || suspended)
    }

    /// What TEST SUBCHANNEL clears. Intermediate status alone ends nothing, nor does an injected alert
    /// while the program runs; any other ends the functions and whatever waits.
    fn taken(&mut self) {
        let waiting = ActivityControl::RESUME_PENDING
            | ActivityControl::START_PENDING
            | ActivityControl::HALT_PENDING
            | ActivityControl::CLEAR_PENDING
            | ActivityControl::SUSPENDED;
        let final_kinds = StatusControl::PRIMARY | StatusControl::SECONDARY;
        let running = self.is_active() && !self.status().intersects(final_kinds);
        let intermediate =
            running || self.status() == StatusControl::INTERMEDIATE | StatusControl::PENDING;
        let (mut function, mut activity) = (self.function(), self.activity());
        let suspended = activity.contains(ActivityControl::SUSPENDED);
        let halted = function.contains(FunctionControl::HALT);
        if !intermediate || (suspended && halted) {
            function = FunctionControl::empty();
            activity -= waiting;
            self.irb.scsw.set_path_not_operational(false);
        } else if suspended {
            activity -= ActivityControl::RESUME_PENDING;
            self.irb.scsw.set_path_not_operational(false);
        }
        let scsw = &mut self.irb.scsw;
        scsw.set_controls(function, activity, StatusControl::empty());
        scsw.device_status = 0;
        scsw.subchannel_status = 0;
        scsw.set_flag(
            ScswFlags::ECW_STORED | ScswFlags::LOGOUT_STORED | ScswFlags::ZERO_CONDITION_CODE,
            false,
        );
        self.irb.esw = Esw::default();
        self.irb.ecw = Ecw::default();
        if function.is_empty() && !activity.contains(ActivityControl::DEVICE_ACTIVE) {
            self.program = None;
        }
    }
}
