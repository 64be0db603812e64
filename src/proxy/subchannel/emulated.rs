//! One virtual subchannel as the architecture sees it: path-management word, status, and the condition
//! code of each instruction in each state. What is behind it is a [`ControlUnit`].
//!
//! Conditions are tested in the order of the *Principles of Operation*, chapter 14: not
//! operational, then status pending, then busy.

pub mod program;

use channel::{
    ActivityControl, DeviceStatus, FunctionControl, Irb, Orb, OrbFlags, Pmcw, PmcwFlags, Schib,
    Scsw, SenseId, StatusControl, SubchannelStatus,
};
use window::Window;
use zerocopy::big_endian::{U16, U32};

use super::passthrough::status::lost;
use crate::proxy::subchannel::emulated::program::{ControlUnit, Ending, Program, Step};

/// The single path that every virtual subchannel has.
const PATH: u8 = 0x80;

/// A condition code.
pub type Condition = u8;

/// A virtual subchannel.
#[derive(Debug)]
pub struct Subchannel {
    schib: Schib,
    irb: Irb,
    program: Option<Program>,
}

impl Subchannel {
    /// An idle, disabled subchannel with this device number.
    pub fn new(device: u16) -> Self {
        let mut pmcw = Pmcw {
            device: U16::new(device),
            lpm: PATH,
            pim: PATH,
            pom: 0xFF,
            pam: PATH,
            ..Pmcw::default()
        };
        pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        Self {
            schib: Schib {
                pmcw,
                ..Schib::default()
            },
            irb: Irb::default(),
            program: None,
        }
    }

    /// The identification that SENSE ID gives for a virtio block device.
    pub const fn sense_id() -> SenseId {
        SenseId {
            valid: 0xFF,
            cu_type: U16::new(virtio::ccw::CONTROL_UNIT_TYPE),
            cu_model: virtio::blk::DEVICE_ID,
            dev_type: U16::ZERO,
            dev_model: 0,
        }
    }

    /// STORE SUBCHANNEL.
    pub const fn store(&self) -> &Schib {
        &self.schib
    }

    /// Whether status is pending.
    pub const fn is_pending(&self) -> bool {
        self.schib.scsw.status().contains(StatusControl::PENDING)
    }

    /// Whether a program waits for its control unit.
    pub const fn is_active(&self) -> bool {
        self.program.is_some()
    }

    /// START SUBCHANNEL. Unless the control unit wants time, status is pending afterwards.
    pub fn start(&mut self, orb: &Orb, window: &Window, unit: &mut impl ControlUnit) -> Condition {
        if !self.is_enabled() {
            return 3;
        }
        if self.is_pending() {
            return 1;
        }
        if !self.function().is_empty() {
            return 2;
        }
        self.schib.pmcw.parameter = orb.parameter;
        self.irb = Irb::default();
        let scsw = &mut self.schib.scsw;
        *scsw = Scsw::default();
        let format = if orb.flags().contains(OrbFlags::FORMAT_1) {
            OrbFlags::FORMAT_1.bits()
        } else {
            0
        };
        scsw.control = U32::new(u32::from(orb.key()) << 28 | format);
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::START_PENDING,
            StatusControl::empty(),
        );
        if orb.path_mask() & PATH == 0 {
            self.no_path();
            return 0;
        }
        self.schib.pmcw.lpum = PATH;
        if orb.flags().contains(OrbFlags::TRANSPORT) {
            self.present(Ending {
                ccw_address: orb.program.get().wrapping_add(8),
                count: 0,
                device: DeviceStatus::empty(),
                subchannel: SubchannelStatus::PROGRAM_CHECK,
                sense: 0,
            });
            return 0;
        }
        self.program = Some(Program::new(orb));
        self.advance(window, unit);
        0
    }

    /// Goes on with a program that waits for its control unit. Returns whether it ended.
    pub fn advance(&mut self, window: &Window, unit: &mut impl ControlUnit) -> bool {
        let Some(program) = &mut self.program else {
            return false;
        };
        match program.run(window, unit) {
            Step::Waiting => {
                self.schib.scsw.set_controls(
                    FunctionControl::START,
                    ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE,
                    StatusControl::empty(),
                );
                false
            }
            Step::Ended(ending) => {
                self.program = None;
                self.present(ending);
                true
            }
        }
    }

    /// HALT SUBCHANNEL.
    pub fn halt(&mut self) -> Condition {
        if !self.is_enabled() {
            return 3;
        }
        let status = self.schib.scsw.status();
        let beyond_intermediate =
            StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::ALERT;
        if status == StatusControl::PENDING
            || (self.is_pending() && status.intersects(beyond_intermediate))
        {
            return 1;
        }
        if self
            .function()
            .intersects(FunctionControl::HALT | FunctionControl::CLEAR)
        {
            return 2;
        }
        self.program = None;
        let function = self.function() | FunctionControl::HALT;
        self.function_done(function);
        0
    }

    /// CLEAR SUBCHANNEL.
    pub fn clear(&mut self) -> Condition {
        if !self.is_enabled() {
            return 3;
        }
        self.program = None;
        self.schib.scsw = Scsw::default();
        self.irb = Irb::default();
        self.function_done(FunctionControl::CLEAR);
        0
    }

    /// CANCEL SUBCHANNEL. An emulated control unit takes a start at once, so there is never one to
    /// cancel.
    pub fn cancel(&self) -> Condition {
        if !self.is_enabled() {
            3
        } else if !self.schib.scsw.status().is_empty() {
            1
        } else {
            2
        }
    }

    /// RESUME SUBCHANNEL. Programs for an emulated control unit are never suspended.
    pub fn resume(&self) -> Condition {
        if !self.is_enabled() {
            3
        } else if self.is_pending() {
            1
        } else {
            2
        }
    }

    /// MODIFY SUBCHANNEL. Taken are interruption parameter, ISC, enable, logical-path mask and
    /// concurrent sense.
    pub fn modify(&mut self, wanted: &Schib) -> Condition {
        if self.is_pending() {
            return 1;
        }
        if !self.function().is_empty() {
            return 2;
        }
        let pmcw = &mut self.schib.pmcw;
        pmcw.parameter = wanted.pmcw.parameter;
        pmcw.set_isc(wanted.pmcw.isc());
        pmcw.set_flag(
            PmcwFlags::ENABLED,
            wanted.pmcw.flags().contains(PmcwFlags::ENABLED),
        );
        pmcw.lpm = wanted.pmcw.lpm;
        pmcw.set_concurrent_sense(wanted.pmcw.characteristics.get() & 1 != 0);
        0
    }

    /// TEST SUBCHANNEL: condition code and what it stores.
    pub fn test(&mut self) -> (Condition, Irb) {
        if !self.is_enabled() {
            return (3, Irb::default());
        }
        let mut irb = self.irb;
        irb.scsw = self.schib.scsw;
        if !self.is_pending() {
            return (1, irb);
        }
        self.irb = Irb::default();
        let scsw = &mut self.schib.scsw;
        // All status of an emulated unit is final, so nothing of the function remains.
        scsw.set_controls(
            FunctionControl::empty(),
            ActivityControl::empty(),
            StatusControl::empty(),
        );
        (0, irb)
    }

    /// The functions in progress, or with status pending.
    pub const fn functions(&self) -> FunctionControl {
        self.function()
    }

    /// These functions were in progress, or had status, when the appliance died: they end.
    pub fn cut_off(&mut self, functions: FunctionControl) {
        if self.is_enabled() {
            self.program = None;
            self.irb = Irb::default();
            self.schib.scsw = if functions.is_empty() {
                Scsw::default()
            } else {
                lost(functions).scsw
            };
        }
    }

    /// Whether it is enabled.
    pub fn is_enabled(&self) -> bool {
        self.schib.pmcw.flags().contains(PmcwFlags::ENABLED)
    }

    const fn function(&self) -> FunctionControl {
        self.schib.scsw.function()
    }

    fn present(&mut self, ending: Ending) {
        let scsw = &mut self.schib.scsw;
        scsw.program = U32::new(ending.ccw_address);
        scsw.count = U16::new(ending.count);
        scsw.device_status = ending.device.bits();
        scsw.subchannel_status = ending.subchannel.bits();
        let alert =
            ending.device.contains(DeviceStatus::UNIT_CHECK) || !ending.subchannel.is_empty();
        let kind = if alert {
            StatusControl::ALERT
        } else {
            StatusControl::empty()
        };
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            kind | StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING,
        );
        if ending.device.contains(DeviceStatus::UNIT_CHECK)
            && self.schib.pmcw.characteristics.get() & 1 != 0
        {
            self.irb.set_concurrent_sense(&[ending.sense]);
            self.schib.scsw.set_ecw_stored(true);
        }
    }

    /// None of the paths that the ORB allows is there: deferred condition code 3.
    fn no_path(&mut self) {
        let scsw = &mut self.schib.scsw;
        scsw.set_deferred_cc(3);
        scsw.set_path_not_operational(true);
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            StatusControl::ALERT | StatusControl::PENDING,
        );
    }

    fn function_done(&mut self, function: FunctionControl) {
        self.schib
            .scsw
            .set_controls(function, ActivityControl::empty(), StatusControl::PENDING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::subchannel::emulated::program::{Data, Executed};
    use channel::{Ccw1, CcwFlags, CommandCode};
    use zerocopy::IntoBytes;

    struct Unit(Executed);

    impl ControlUnit for Unit {
        fn execute(&mut self, _: u8, data: &mut Data<'_>) -> Executed {
            let _ = data.write(0, &[1]);
            self.0
        }
    }

    struct Fixture {
        memory: [u8; 64],
        subchannel: Subchannel,
    }

    /// A subchannel, enabled, with a one-CCW program at 0.
    fn fixture() -> Fixture {
        let mut memory = [0; 64];
        let ccw = Ccw1::new(CommandCode(0x02), CcwFlags::empty(), 1, 0x20);
        memory[..8].copy_from_slice(ccw.as_bytes());
        let mut subchannel = Subchannel::new(0x1000);
        let mut schib = *subchannel.store();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        schib.pmcw.set_concurrent_sense(true);
        assert_eq!(subchannel.modify(&schib), 0);
        Fixture { memory, subchannel }
    }

    impl Fixture {
        fn start(&mut self, executed: Executed, path: u8) -> Condition {
            let window = Window::borrowed(&mut self.memory, 0);
            let orb = Orb::format_1(7, 0, OrbFlags::empty(), path);
            self.subchannel.start(&orb, &window, &mut Unit(executed))
        }
    }

    #[test]
    fn a_disabled_subchannel_is_not_operational() {
        let mut subchannel = Subchannel::new(1);
        assert_eq!(subchannel.halt(), 3);
        assert_eq!(subchannel.clear(), 3);
        assert_eq!(subchannel.cancel(), 3);
        assert_eq!(subchannel.resume(), 3);
        assert_eq!(subchannel.test().0, 3);
        let mut fixture = fixture();
        let mut schib = *fixture.subchannel.store();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, false);
        assert_eq!(fixture.subchannel.modify(&schib), 0);
        assert_eq!(fixture.start(Executed::Done, 0xFF), 3);
    }

    #[test]
    fn an_ended_start_is_status_pending_until_tested() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Done, 0xFF), 0);
        assert!(fixture.subchannel.is_pending());
        assert_eq!(fixture.start(Executed::Done, 0xFF), 1);
        assert_eq!(fixture.subchannel.halt(), 1);
        assert_eq!(fixture.subchannel.cancel(), 1);
        assert_eq!(fixture.subchannel.resume(), 1);
        let schib = *fixture.subchannel.store();
        assert_eq!(fixture.subchannel.modify(&schib), 1);
        let (condition, irb) = fixture.subchannel.test();
        assert_eq!(condition, 0);
        assert_eq!(irb.scsw.program.get(), 8);
        assert!(irb.scsw.ended());
        assert_eq!(fixture.subchannel.test().0, 1);
        assert_eq!(fixture.start(Executed::Done, 0xFF), 0);
    }

    #[test]
    fn a_waiting_start_is_busy_and_can_be_cleared() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Wait, 0xFF), 0);
        assert!(!fixture.subchannel.is_pending());
        assert_eq!(fixture.start(Executed::Done, 0xFF), 2);
        assert_eq!(fixture.subchannel.cancel(), 2);
        assert_eq!(fixture.subchannel.test().0, 1);
        assert_eq!(fixture.subchannel.clear(), 0);
        assert!(!fixture.subchannel.is_active());
        let (condition, irb) = fixture.subchannel.test();
        assert_eq!(condition, 0);
        assert_eq!(irb.scsw.function(), FunctionControl::CLEAR);
        assert_eq!(irb.scsw.status(), StatusControl::PENDING);
    }

    #[test]
    fn a_waiting_start_can_be_halted() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Wait, 0xFF), 0);
        assert_eq!(fixture.subchannel.halt(), 0);
        let (condition, irb) = fixture.subchannel.test();
        assert_eq!(condition, 0);
        assert_eq!(
            irb.scsw.function(),
            FunctionControl::START | FunctionControl::HALT
        );
    }

    #[test]
    fn a_rejected_command_brings_its_sense_along() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Reject, 0xFF), 0);
        let (_, irb) = fixture.subchannel.test();
        assert!(irb.scsw.status().contains(StatusControl::ALERT));
        assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
    }

    #[test]
    fn a_start_without_a_path_ends_with_deferred_condition_code_3() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Done, 0x01), 0);
        let (condition, irb) = fixture.subchannel.test();
        assert_eq!(condition, 0);
        assert_eq!(irb.scsw.deferred_cc(), 3);
        assert!(irb.scsw.path_not_operational());
    }
}
