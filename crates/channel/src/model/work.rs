//! The work that a channel does by itself for one subchannel (*Principles of Operation*, chapters 15
//! and 16): it takes up starts, runs programs, performs halt and clear functions, and presents status.

use super::fault::Fault;
use super::memory::Memory;
use super::program::{Ending, Event, Interpreter};
use super::run::{apply, end, intermediate, turned_away};
use super::subchannel::{PathState, Subchannel};
use crate::{
    ActivityControl, DeviceStatus, Erw, Esw, FunctionControl, Irb, OrbMode, Pmcw, StatusControl,
    SubchannelStatus,
};

/// Status that devices may have waiting; more is lost.
const STACKED: usize = 16;

impl Subchannel {
    /// Status that no program asked for; it waits while the device is at work.
    pub(super) fn unsolicited(&mut self, status: DeviceStatus) {
        if self.operational() && self.stacked.len() < STACKED {
            self.stacked.push_back(status);
        }
    }

    /// One piece of work. Returns whether anything changed.
    pub(super) fn step(&mut self, memory: &mut dyn Memory) -> bool {
        if !self.operational() {
            return false;
        }
        let activity = self.activity();
        if activity.contains(ActivityControl::CLEAR_PENDING) {
            return self.perform_clear();
        }
        if activity.contains(ActivityControl::HALT_PENDING) {
            return self.perform_halt();
        }
        if self.strike() {
            return true;
        }
        let live = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
        if activity.intersects(live) {
            return self.go_on(memory);
        }
        if self.function() == FunctionControl::START && !self.is_pending() {
            if activity.contains(ActivityControl::START_PENDING) {
                return self.begin(memory);
            }
            if activity.contains(ActivityControl::RESUME_PENDING | ActivityControl::SUSPENDED) {
                return self.begin(memory);
            }
        }
        self.present()
    }

    /// A fault whose time has come.
    fn strike(&mut self) -> bool {
        let ready = |fault: &Fault| match fault {
            Fault::Check(_) => self.is_active(),
            Fault::Alert(_) => true,
            Fault::DeferredStatus(_) | Fault::DeferredNoPath => {
                self.activity() == ActivityControl::START_PENDING && !self.is_pending()
            }
            Fault::Refuse(..) | Fault::HaltUnanswered | Fault::ClearUnanswered => false,
        };
        let Some(at) = self.faults.iter().position(ready) else {
            return false;
        };
        match self.faults.remove(at) {
            Fault::Check(check) => self.end_with_check(check),
            Fault::Alert(status) => self.alert(status),
            Fault::DeferredStatus(status) => self.turn_away(1, status),
            Fault::DeferredNoPath => self.turn_away(3, DeviceStatus::empty()),
            Fault::Refuse(..) | Fault::HaltUnanswered | Fault::ClearUnanswered => {}
        }
        true
    }

    fn turn_away(&mut self, cc: u8, status: DeviceStatus) {
        self.program = None;
        turned_away(&mut self.irb.scsw, cc, status);
        self.irb.scsw.program = (self.orb.program.get().wrapping_add(8) & 0x7FFF_FFFF).into();
        self.interruption = true;
    }

    /// The IRB was made another one.
    pub(super) fn shown(&mut self) {
        let on = ActivityControl::SUBCHANNEL_ACTIVE
            | ActivityControl::SUSPENDED
            | ActivityControl::START_PENDING
            | ActivityControl::RESUME_PENDING;
        if let Some(program) = &mut self.program {
            if !self.irb.scsw.activity().intersects(on) {
                program.stop();
            }
        }
        self.interruption = self.is_pending();
    }

    fn alert(&mut self, status: DeviceStatus) {
        let scsw = &mut self.irb.scsw;
        let pending = scsw.status() | StatusControl::ALERT | StatusControl::PENDING;
        scsw.device_status |= status.bits();
        scsw.set_controls(scsw.function(), scsw.activity(), pending);
        self.interruption = true;
    }

    fn present(&mut self) -> bool {
        if self.is_pending() || !self.function().is_empty() {
            return false;
        }
        let Some(status) = self.stacked.pop_front() else {
            return false;
        };
        self.irb = Irb::default();
        self.irb.esw = Esw::of_path(self.pmcw.lpum, Erw::default());
        self.alert(status);
        true
    }

    /// Path selection, and the first step of a start or a resumption.
    fn begin(&mut self, memory: &mut dyn Memory) -> bool {
        if let Some(status) = self.stacked.pop_front() {
            if self.activity().contains(ActivityControl::START_PENDING) {
                self.turn_away(1, status);
                return true;
            }
            self.stacked.push_front(status);
        }
        if !self.select_path() {
            self.turn_away(3, DeviceStatus::empty());
            return true;
        }
        if self.orb.mode() == OrbMode::Transport {
            self.end_with_check(SubchannelStatus::PROGRAM_CHECK);
            return true;
        }
        if self.activity().contains(ActivityControl::SUSPENDED) {
            if let Some(program) = &mut self.program {
                program.resume();
            }
            self.set_activity(ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE);
            return true;
        }
        self.go_on(memory)
    }

    fn select_path(&mut self) -> bool {
        let wanted = self.orb.path_mask() & self.pmcw.lpm & self.pmcw.pam;
        for number in 0..8u8 {
            let bit = Pmcw::path_bit(number);
            if wanted & bit == 0 {
                continue;
            }
            match self.paths.get(usize::from(number)) {
                Some(PathState::Operational) => {
                    self.pmcw.lpum = bit;
                    self.pmcw.pom |= bit;
                    return true;
                }
                Some(PathState::Dead) => {
                    self.pmcw.pnom |= bit;
                    self.pmcw.pom &= !bit;
                    self.irb.scsw.set_path_not_operational(true);
                }
                Some(PathState::Unavailable) | None => {}
            }
        }
        false
    }

    fn go_on(&mut self, memory: &mut dyn Memory) -> bool {
        let late = self.activity().contains(ActivityControl::DEVICE_ACTIVE)
            && self.activity().contains(ActivityControl::START_PENDING);
        let Some(program) = &mut self.program else {
            return false;
        };
        // Resumed before it was suspended: the program is told when it asks.
        if self
            .irb
            .scsw
            .activity()
            .contains(ActivityControl::RESUME_PENDING)
        {
            program.resume();
        }
        let event = program.step(memory, &mut *self.device);
        if late {
            // Device end of the program before meets a start that is pending.
            return match event {
                Event::Ended(ending) => {
                    self.turn_away(1, ending.device);
                    true
                }
                _ => event != Event::Waiting,
            };
        }
        if let Event::TurnedAway(status) = event {
            self.turn_away(1, status);
            return true;
        }
        let before = self.irb.scsw;
        let mut news = apply(&mut self.irb.scsw, program, event, self.orb.flags());
        if program.take_interrupt() {
            intermediate(&mut self.irb.scsw, program);
            news = true;
        }
        if let Event::Ended(ending) | Event::ChannelEnd(ending) = event {
            self.report(ending);
        }
        self.interruption |= news;
        event != Event::Waiting || news || before != self.irb.scsw
    }

    /// Extended status of an ending, and concurrent sense.
    fn report(&mut self, ending: Ending) {
        self.irb.esw = Esw::of_path(self.pmcw.lpum, Erw::default());
        if ending.device.contains(DeviceStatus::UNIT_CHECK) && self.pmcw.has_concurrent_sense() {
            let sense = self.device.sense();
            self.irb.set_concurrent_sense(&sense);
        }
    }

    pub(super) fn end_with_check(&mut self, check: SubchannelStatus) {
        let Some(program) = &mut self.program else {
            return;
        };
        program.stop();
        self.device.stop();
        let ending = Ending {
            device: DeviceStatus::empty(),
            subchannel: check,
        };
        end(&mut self.irb.scsw, program, ending);
        self.report(ending);
        self.interruption = true;
    }

    fn perform_halt(&mut self) -> bool {
        if self.faults.contains(&Fault::HaltUnanswered) {
            return false;
        }
        self.device.stop();
        let live = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
        let was_live = self.activity().intersects(live);
        self.set_activity(self.activity() - ActivityControl::HALT_PENDING);
        match &mut self.program {
            Some(program) if was_live => {
                let channel_end = !program.has_ended() && self.irb.scsw.activity().contains(live);
                program.stop();
                let device = if channel_end {
                    DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
                } else {
                    DeviceStatus::DEVICE_END
                };
                let ending = Ending {
                    device,
                    subchannel: SubchannelStatus::empty(),
                };
                end(&mut self.irb.scsw, program, ending);
                self.report(ending);
            }
            // Nothing had begun. What waited is shown until the status is taken.
            Some(_) | None => {
                let (function, activity) = (self.function(), self.activity());
                let status = self.status() | StatusControl::PENDING;
                self.irb.scsw.set_controls(function, activity, status);
                self.irb.esw = Esw::of_path(self.pmcw.lpum, Erw::default());
            }
        }
        self.interruption = true;
        true
    }

    fn perform_clear(&mut self) -> bool {
        if self.faults.contains(&Fault::ClearUnanswered) {
            return false;
        }
        self.device.stop();
        self.program = None;
        self.pmcw.lpum = 0;
        self.pmcw.pnom = 0;
        self.pmcw.pom = 0xFF;
        self.irb.scsw.set_controls(
            FunctionControl::CLEAR,
            ActivityControl::empty(),
            StatusControl::PENDING,
        );
        self.interruption = true;
        true
    }

    /// What the current program has touched so far.
    pub(super) fn trace(&self) -> Option<&super::trace::Trace> {
        self.program.as_ref().map(Interpreter::trace)
    }
}
