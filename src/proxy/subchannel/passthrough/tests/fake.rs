//! One subchannel, as the *Principles of Operation* describe it, whose device does what the test says and when it says so.

use channel::{
    ActivityControl, ChannelSubsystem, Crw, DeviceStatus, FunctionControl, IoInterruption, Irb,
    NotOperational, Orb, PmcwFlags, Refusal, Schib, Scsw, StatusControl, SubchannelId,
    SubchannelStatus, Tested,
};

use crate::proxy::subchannel::passthrough::Owned;

const ALERT: StatusControl = StatusControl::ALERT;
const INTERMEDIATE: StatusControl = StatusControl::INTERMEDIATE;
const PRIMARY: StatusControl = StatusControl::PRIMARY;
const SECONDARY: StatusControl = StatusControl::SECONDARY;
const PENDING: StatusControl = StatusControl::PENDING;
const ACTIVE: ActivityControl =
    ActivityControl::SUBCHANNEL_ACTIVE.union(ActivityControl::DEVICE_ACTIVE);

/// What the device, the channel or the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A start, halt, clear or resume that is pending is carried out.
    Work,
    /// The channel fetches a CCW with PCI.
    Pci,
    /// The channel fetches a CCW with the suspend flag.
    Suspend,
    /// Channel end and device end.
    End,
    /// Channel end, the device stays active.
    ChannelEnd,
    /// Device end of such a device.
    DeviceEnd,
    /// Unit check at the end, with sense data if they are wanted.
    UnitCheck,
    /// Attention.
    Attention,
    /// The device turns the start away, saying nothing.
    Busy,
    /// The device turns the start away with attention.
    Preempted,
    /// No path is there.
    NoPath,
    /// The device is unplugged.
    Unplug,
    /// It is plugged in again.
    Plug,
}

impl Step {
    pub const ALL: [Self; 13] = [
        Self::Work,
        Self::Pci,
        Self::Suspend,
        Self::End,
        Self::ChannelEnd,
        Self::DeviceEnd,
        Self::UnitCheck,
        Self::Attention,
        Self::Busy,
        Self::Preempted,
        Self::NoPath,
        Self::Unplug,
        Self::Plug,
    ];
}

/// The subchannel.
pub struct Fake {
    pub id: SubchannelId,
    pub schib: Schib,
    irb: Irb,
    pub gone: bool,
    /// Halt functions never end.
    pub halt_stuck: bool,
    /// Clear functions never end.
    pub clear_stuck: bool,
    /// The device may read and write what this program names.
    pub program: Option<u32>,
    /// An interruption that has not been taken.
    pub interruption: bool,
    /// How often each instruction was accepted: SSCH, HSCH, CSCH, XSCH, RSCH.
    pub accepted: [u32; 5],
    /// How often it was issued.
    pub issued: [u32; 5],
    /// Status taken by TSCH: how often, and the last.
    pub taken: u32,
    pub last: Irb,
    pub started: Vec<Orb>,
}

pub const SSCH: usize = 0;
pub const HSCH: usize = 1;
pub const CSCH: usize = 2;
pub const XSCH: usize = 3;
pub const RSCH: usize = 4;

impl Fake {
    pub fn new() -> Self {
        let mut schib = Schib::default();
        let pmcw = &mut schib.pmcw;
        pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        pmcw.device = 0xA80.into();
        pmcw.lpm = 0xC0;
        pmcw.pim = 0xC0;
        pmcw.pam = 0xC0;
        pmcw.pom = 0xFF;
        pmcw.chpid = [0x40, 0x41, 0, 0, 0, 0, 0, 0];
        Self {
            id: SubchannelId::new(0, 7).unwrap(),
            schib,
            irb: Irb::default(),
            gone: false,
            halt_stuck: false,
            clear_stuck: false,
            program: None,
            interruption: false,
            accepted: [0; 5],
            issued: [0; 5],
            taken: 0,
            last: Irb::default(),
            started: Vec::new(),
        }
    }

    /// The subchannel, and the device that is there.
    pub fn owned(&self) -> Owned {
        Owned {
            id: self.id,
            number: self.schib.pmcw.device.get(),
            classify: |_| None,
            runs_within_start: false,
        }
    }

    pub fn function(&self) -> FunctionControl {
        self.schib.scsw.function()
    }

    pub fn activity(&self) -> ActivityControl {
        self.schib.scsw.activity()
    }

    pub fn status(&self) -> StatusControl {
        self.schib.scsw.status()
    }

    pub fn is_pending(&self) -> bool {
        self.status().contains(PENDING)
    }

    fn enabled(&self) -> bool {
        !self.gone && self.schib.pmcw.flags().contains(PmcwFlags::ENABLED)
    }

    fn set(&mut self, function: FunctionControl, activity: ActivityControl, status: StatusControl) {
        self.schib.scsw.set_controls(function, activity, status);
    }

    /// Status becomes pending, together with what is pending already.
    fn present(&mut self, activity: ActivityControl, status: StatusControl, device: DeviceStatus) {
        let together = self.status() | status | PENDING;
        self.set(self.function(), activity, together);
        self.schib.scsw.device_status |= device.bits();
        self.interruption = true;
    }

    fn is_running(&self) -> bool {
        self.function().contains(FunctionControl::START)
            && self.activity().contains(ActivityControl::SUBCHANNEL_ACTIVE)
    }

    fn is_start_pending(&self) -> bool {
        self.function() == FunctionControl::START
            && self.activity().contains(ActivityControl::START_PENDING)
    }

    /// Whether the step makes sense now; if so it has been made.
    pub fn step(&mut self, step: Step) -> bool {
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let none = ActivityControl::empty();
        match step {
            Step::Unplug if !self.gone => {
                self.gone = true;
                self.program = None;
                self.interruption = false;
                let fresh = Self::new().schib;
                self.schib = fresh;
            }
            Step::Plug if self.gone => self.gone = false,
            _ if !self.enabled() => return false,
            Step::Work => return self.work(),
            Step::Pci if self.is_running() => {
                self.schib.scsw.subchannel_status |= SubchannelStatus::PCI.bits();
                self.schib.scsw.program = (self.program.unwrap_or(0) + 8).into();
                self.present(self.activity(), INTERMEDIATE, DeviceStatus::empty());
            }
            Step::Suspend if self.is_running() => {
                self.schib.scsw.program = (self.program.unwrap_or(0) + 8).into();
                self.present(
                    ActivityControl::SUSPENDED,
                    INTERMEDIATE,
                    DeviceStatus::empty(),
                );
            }
            Step::End | Step::UnitCheck if self.is_running() => {
                self.schib.scsw.program = (self.program.unwrap_or(0) + 8).into();
                self.program = None;
                if step == Step::UnitCheck {
                    self.present(
                        none,
                        PRIMARY | SECONDARY | ALERT,
                        ended | DeviceStatus::UNIT_CHECK,
                    );
                    self.sense();
                } else {
                    self.present(none, PRIMARY | SECONDARY, ended);
                }
            }
            Step::ChannelEnd if self.is_running() => {
                self.schib.scsw.program = (self.program.unwrap_or(0) + 8).into();
                self.program = None;
                self.present(
                    ActivityControl::DEVICE_ACTIVE,
                    PRIMARY,
                    DeviceStatus::CHANNEL_END,
                );
            }
            Step::DeviceEnd if self.activity() == ActivityControl::DEVICE_ACTIVE => {
                self.present(none, SECONDARY, DeviceStatus::DEVICE_END);
            }
            // Status while a program runs goes with the program's own.
            Step::Attention if !self.is_pending() && !self.is_running() => {
                self.present(self.activity(), ALERT, DeviceStatus::ATTENTION);
            }
            Step::Busy if self.is_start_pending() && !self.is_pending() => {
                self.turn_away(1, DeviceStatus::BUSY);
            }
            Step::Preempted if self.is_start_pending() && !self.is_pending() => {
                self.turn_away(1, DeviceStatus::ATTENTION);
            }
            Step::NoPath if self.is_start_pending() && !self.is_pending() => {
                self.turn_away(3, DeviceStatus::empty());
            }
            _ => return false,
        }
        true
    }

    fn turn_away(&mut self, deferred_cc: u8, device: DeviceStatus) {
        self.program = None;
        self.schib.scsw.set_deferred_cc(deferred_cc);
        let none = ActivityControl::empty();
        self.present(none, ALERT | PRIMARY | SECONDARY, device);
    }

    fn sense(&mut self) {
        if self.schib.pmcw.has_concurrent_sense() {
            let mut irb = Irb::default();
            irb.set_concurrent_sense(&[0x5A; 32]);
            self.irb = irb;
            self.schib.scsw.set_ecw_stored(true);
        }
    }

    fn work(&mut self) -> bool {
        let (function, activity) = (self.function(), self.activity());
        let none = ActivityControl::empty();
        if activity.contains(ActivityControl::CLEAR_PENDING) && !self.clear_stuck {
            self.program = None;
            self.set(FunctionControl::CLEAR, none, StatusControl::empty());
            self.present(none, StatusControl::empty(), DeviceStatus::empty());
        } else if activity.contains(ActivityControl::HALT_PENDING)
            && !self.halt_stuck
            && !self.is_pending()
        {
            self.program = None;
            let status = if function.contains(FunctionControl::START) {
                PRIMARY | SECONDARY
            } else {
                StatusControl::empty()
            };
            self.set(function, none, StatusControl::empty());
            self.present(none, status, DeviceStatus::empty());
        } else if function == FunctionControl::START
            && !self.is_pending()
            && activity.intersects(ActivityControl::START_PENDING | ActivityControl::RESUME_PENDING)
        {
            self.set(function, ACTIVE, self.status());
        } else {
            return false;
        }
        true
    }

    fn count(&mut self, instruction: usize, result: Result<(), Refusal>) -> Result<(), Refusal> {
        self.issued[instruction] += 1;
        self.accepted[instruction] += u32::from(result.is_ok());
        result
    }

    fn start_cc(&self, orb: &Orb) -> Result<(), Refusal> {
        if !self.enabled() || orb.path_mask() & self.schib.pmcw.lpm & self.schib.pmcw.pam == 0 {
            Err(Refusal::NotOperational)
        } else if self.is_pending() {
            Err(Refusal::StatusPending)
        } else if !self.function().is_empty() {
            Err(Refusal::Busy)
        } else {
            Ok(())
        }
    }

    fn halt_cc(&self) -> Result<(), Refusal> {
        let status = self.status();
        if !self.enabled() {
            Err(Refusal::NotOperational)
        } else if status == PENDING
            || status.contains(PENDING) && status.intersects(ALERT | PRIMARY | SECONDARY)
        {
            Err(Refusal::StatusPending)
        } else if self
            .function()
            .intersects(FunctionControl::HALT | FunctionControl::CLEAR)
        {
            Err(Refusal::Busy)
        } else {
            Ok(())
        }
    }

    fn cancel_cc(&self) -> Result<(), Refusal> {
        let cancellable = ActivityControl::RESUME_PENDING
            | ActivityControl::START_PENDING
            | ActivityControl::SUSPENDED;
        if !self.enabled() {
            Err(Refusal::NotOperational)
        } else if !self.status().is_empty() {
            Err(Refusal::StatusPending)
        } else if self.function() != FunctionControl::START
            || !self.activity().intersects(cancellable)
            || self.activity().contains(ActivityControl::SUBCHANNEL_ACTIVE)
        {
            Err(Refusal::Busy)
        } else {
            Ok(())
        }
    }

    fn resume_cc(&self) -> Result<(), Refusal> {
        if !self.enabled() {
            Err(Refusal::NotOperational)
        } else if self.is_pending() {
            Err(Refusal::StatusPending)
        } else if self.function() != FunctionControl::START
            || self.activity() != ActivityControl::SUSPENDED
        {
            Err(Refusal::Busy)
        } else {
            Ok(())
        }
    }
}

super::fixture::bare_machine!(Fake);

impl ChannelSubsystem for Fake {
    unsafe fn start(&mut self, _: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        let result = self.start_cc(orb);
        self.count(SSCH, result)?;
        let device_active = self.activity() & ActivityControl::DEVICE_ACTIVE;
        self.schib.scsw = Scsw::of_start(orb);
        self.irb = Irb::default();
        self.set(
            FunctionControl::START,
            ActivityControl::START_PENDING | device_active,
            StatusControl::empty(),
        );
        self.schib.pmcw.parameter = orb.parameter;
        assert_eq!(self.program, None, "two programs");
        self.program = Some(orb.program.get());
        self.started.push(*orb);
        Ok(())
    }

    fn halt(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        let result = self.halt_cc();
        self.count(HSCH, result)?;
        let function = self.function() | FunctionControl::HALT;
        let activity = self.activity() | ActivityControl::HALT_PENDING;
        self.set(function, activity, self.status());
        Ok(())
    }

    fn clear(&mut self, _: SubchannelId) -> Result<(), NotOperational> {
        let result = if self.enabled() {
            Ok(())
        } else {
            Err(Refusal::NotOperational)
        };
        self.count(CSCH, result).map_err(|_| NotOperational)?;
        self.schib.scsw = Default::default();
        self.irb = Irb::default();
        self.interruption = false;
        self.set(
            FunctionControl::CLEAR,
            ActivityControl::CLEAR_PENDING,
            StatusControl::empty(),
        );
        Ok(())
    }

    fn cancel(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        let result = self.cancel_cc();
        self.count(XSCH, result)?;
        self.schib.scsw = Default::default();
        self.program = None;
        Ok(())
    }

    fn resume(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        let result = self.resume_cc();
        self.count(RSCH, result)?;
        self.set(
            FunctionControl::START,
            ActivityControl::RESUME_PENDING | ActivityControl::SUSPENDED,
            StatusControl::empty(),
        );
        Ok(())
    }

    fn store(&mut self, _: SubchannelId) -> Result<Schib, NotOperational> {
        let mut schib = self.schib;
        if self.gone {
            schib.pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, false);
        }
        Ok(schib)
    }

    fn modify(&mut self, _: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        if self.gone {
            return Ok(());
        }
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        if !self.function().is_empty() {
            return Err(Refusal::Busy);
        }
        let pmcw = &mut self.schib.pmcw;
        pmcw.parameter = schib.pmcw.parameter;
        pmcw.flags = schib.pmcw.flags;
        pmcw.lpm = schib.pmcw.lpm;
        pmcw.pom = schib.pmcw.pom;
        pmcw.characteristics = schib.pmcw.characteristics;
        Ok(())
    }

    fn test(&mut self, _: SubchannelId) -> Result<Tested, NotOperational> {
        if !self.enabled() {
            return Err(NotOperational);
        }
        let mut irb = self.irb;
        irb.scsw = self.schib.scsw;
        if !self.is_pending() {
            return Ok(Tested::Nothing(irb));
        }
        self.taken += 1;
        self.last = irb;
        self.interruption = false;
        self.irb = Irb::default();
        let status = self.status();
        let scsw = &mut self.schib.scsw;
        let none = StatusControl::empty();
        let unsolicited = scsw.deferred_cc() == 0 && status == ALERT | PENDING;
        if status == INTERMEDIATE | PENDING || unsolicited {
            let (function, activity) = (scsw.function(), scsw.activity());
            scsw.set_controls(function, activity, none);
        } else {
            let activity = scsw.activity() & ActivityControl::DEVICE_ACTIVE;
            scsw.set_controls(FunctionControl::empty(), activity, none);
        }
        scsw.set_deferred_cc(0);
        scsw.set_ecw_stored(false);
        scsw.device_status = 0;
        scsw.subchannel_status = 0;
        Ok(Tested::Status(irb))
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        core::mem::take(&mut self.interruption).then(|| IoInterruption::Subchannel {
            id: self.id,
            parameter: self.schib.pmcw.parameter.get(),
            isc: self.schib.pmcw.isc(),
        })
    }

    fn channel_report(&mut self) -> Option<Crw> {
        None
    }
}

/// Bytes of the translator's arena.
pub const ARENA: usize = 64 << 10;
/// Where the hardware finds it.
pub const ARENA_AT: u32 = 0x2000_0000;

/// A client's memory whose absolute addresses are small and mean nothing.
pub fn memory(length: usize) -> &'static window::Window {
    let bytes: &'static mut [u8] = vec![0; length].leak();
    Box::leak(Box::new(window::Window::leaked(bytes, 0x100_0000)))
}
