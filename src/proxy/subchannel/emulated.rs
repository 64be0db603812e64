//! One virtual subchannel as the architecture sees it: path-management word, status, and the condition
//! code of each instruction in each state. What is behind it is a [`ControlUnit`].
//!
//! Conditions are tested in the order of the *Principles of Operation*, chapter 14: not
//! operational, then status pending, then busy.

pub mod data;
pub mod program;

use channel::{
    ActivityControl, DeviceStatus, FunctionControl, Irb, NotOperational, Orb, OrbFlags, Pmcw,
    PmcwFlags, Refusal, Schib, Scsw, SenseId, StatusControl, SubchannelStatus, Tested,
};
use window::Window;
use zerocopy::big_endian::{U16, U32};

use self::program::{ControlUnit, Ending, Program, Step};
use super::passthrough::status::{lost, CONCLUSIVE};

/// The single path that every virtual subchannel has.
const PATH: u8 = 0x80;

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

    pub const fn store(&self) -> &Schib {
        &self.schib
    }

    pub const fn is_pending(&self) -> bool {
        self.schib.scsw.status().contains(StatusControl::PENDING)
    }

    /// Whether a program waits for its control unit.
    pub const fn is_active(&self) -> bool {
        self.program.is_some()
    }

    /// START SUBCHANNEL. Unless the control unit wants time, status is pending afterwards.
    ///
    /// # Errors
    ///
    /// As for all instructions here, the condition codes other than 0.
    pub fn start(
        &mut self,
        orb: &Orb,
        window: &Window,
        unit: &mut impl ControlUnit,
    ) -> Result<(), Refusal> {
        self.operational()?;
        self.idle()?;
        self.schib.pmcw.parameter = orb.parameter;
        self.irb = Irb::default();
        let scsw = &mut self.schib.scsw;
        *scsw = Scsw::default();
        let format = orb.flags() & OrbFlags::FORMAT_1;
        scsw.control = U32::new(u32::from(orb.key()) << 28 | format.bits());
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::START_PENDING,
            StatusControl::empty(),
        );
        if orb.path_mask() & PATH == 0 {
            self.no_path();
            return Ok(());
        }
        self.schib.pmcw.lpum = PATH;
        if orb.flags().contains(OrbFlags::TRANSPORT) {
            let ccw_address = orb.program.get().wrapping_add(8);
            self.present(Ending::check(ccw_address, SubchannelStatus::PROGRAM_CHECK));
            return Ok(());
        }
        self.program = Some(Program::new(orb));
        self.advance(window, unit);
        Ok(())
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

    pub fn halt(&mut self) -> Result<(), Refusal> {
        self.operational()?;
        let status = self.schib.scsw.status();
        if status == StatusControl::PENDING || (self.is_pending() && status.intersects(CONCLUSIVE))
        {
            return Err(Refusal::StatusPending);
        }
        let function = self.functions();
        if function.intersects(FunctionControl::HALT | FunctionControl::CLEAR) {
            return Err(Refusal::Busy);
        }
        self.program = None;
        self.ended(function | FunctionControl::HALT, StatusControl::PENDING);
        Ok(())
    }

    pub fn clear(&mut self) -> Result<(), Refusal> {
        self.operational()?;
        self.program = None;
        self.schib.scsw = Scsw::default();
        self.irb = Irb::default();
        self.ended(FunctionControl::CLEAR, StatusControl::PENDING);
        Ok(())
    }

    /// CANCEL SUBCHANNEL. An emulated control unit takes a start at once, so there is never one to
    /// cancel.
    pub fn cancel(&self) -> Result<(), Refusal> {
        self.operational()?;
        if !self.schib.scsw.status().is_empty() {
            return Err(Refusal::StatusPending);
        }
        Err(Refusal::Busy)
    }

    /// RESUME SUBCHANNEL. Programs for an emulated control unit are never suspended.
    pub fn resume(&self) -> Result<(), Refusal> {
        self.operational()?;
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        Err(Refusal::Busy)
    }

    /// MODIFY SUBCHANNEL. Taken are interruption parameter, ISC, enable, logical-path mask and
    /// concurrent sense.
    pub fn modify(&mut self, wanted: &Schib) -> Result<(), Refusal> {
        self.idle()?;
        let pmcw = &mut self.schib.pmcw;
        pmcw.parameter = wanted.pmcw.parameter;
        pmcw.set_isc(wanted.pmcw.isc());
        pmcw.set_flag(
            PmcwFlags::ENABLED,
            wanted.pmcw.flags().contains(PmcwFlags::ENABLED),
        );
        pmcw.lpm = wanted.pmcw.lpm;
        pmcw.set_concurrent_sense(wanted.pmcw.has_concurrent_sense());
        Ok(())
    }

    pub fn test(&mut self) -> Result<Tested, NotOperational> {
        if !self.is_enabled() {
            return Err(NotOperational);
        }
        let mut irb = self.irb;
        irb.scsw = self.schib.scsw;
        if !self.is_pending() {
            return Ok(Tested::Nothing(irb));
        }
        self.irb = Irb::default();
        // All status of an emulated unit is final, so nothing of the function remains.
        self.ended(FunctionControl::empty(), StatusControl::empty());
        Ok(Tested::Status(irb))
    }

    /// The functions in progress, or with status pending.
    pub const fn functions(&self) -> FunctionControl {
        self.schib.scsw.function()
    }

    fn operational(&self) -> Result<(), Refusal> {
        (self.is_enabled().then_some(())).ok_or(Refusal::NotOperational)
    }

    /// Neither status is pending nor a function in progress.
    fn idle(&self) -> Result<(), Refusal> {
        if self.is_pending() {
            return Err(Refusal::StatusPending);
        }
        (self.functions().is_empty().then_some(())).ok_or(Refusal::Busy)
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

    pub fn is_enabled(&self) -> bool {
        self.schib.pmcw.flags().contains(PmcwFlags::ENABLED)
    }

    fn present(&mut self, ending: Ending) {
        let scsw = &mut self.schib.scsw;
        scsw.program = U32::new(ending.ccw_address);
        scsw.count = U16::new(ending.count);
        scsw.device_status = ending.device.bits();
        scsw.subchannel_status = ending.subchannel.bits();
        let unit_check = ending.device.contains(DeviceStatus::UNIT_CHECK);
        let mut status = CONCLUSIVE | StatusControl::PENDING;
        status.set(
            StatusControl::ALERT,
            unit_check || !ending.subchannel.is_empty(),
        );
        self.ended(FunctionControl::START, status);
        if unit_check && self.schib.pmcw.has_concurrent_sense() {
            self.irb.set_concurrent_sense(&[ending.sense]);
            self.schib.scsw.set_ecw_stored(true);
        }
    }

    /// None of the paths that the ORB allows is there: deferred condition code 3.
    fn no_path(&mut self) {
        let scsw = &mut self.schib.scsw;
        scsw.set_deferred_cc(3);
        scsw.set_path_not_operational(true);
        let status = StatusControl::ALERT | StatusControl::PENDING;
        self.ended(FunctionControl::START, status);
    }

    /// Nothing goes on any more.
    fn ended(&mut self, function: FunctionControl, status: StatusControl) {
        let scsw = &mut self.schib.scsw;
        scsw.set_controls(function, ActivityControl::empty(), status);
    }
}

#[cfg(test)]
mod tests {
    use super::data::Data;
    use super::program::Executed;
    use super::*;
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
        assert_eq!(subchannel.modify(&schib), Ok(()));
        Fixture { memory, subchannel }
    }

    impl Fixture {
        fn start(&mut self, executed: Executed, path: u8) -> Result<(), Refusal> {
            let window = Window::borrowed(&mut self.memory, 0);
            let orb = Orb::format_1(7, 0, OrbFlags::empty(), path);
            self.subchannel.start(&orb, &window, &mut Unit(executed))
        }

        /// What TEST takes, status being pending.
        fn status(&mut self) -> Irb {
            match self.subchannel.test() {
                Ok(Tested::Status(irb)) => irb,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_disabled_subchannel_is_not_operational() {
        let mut subchannel = Subchannel::new(1);
        assert_eq!(subchannel.halt(), Err(Refusal::NotOperational));
        assert_eq!(subchannel.clear(), Err(Refusal::NotOperational));
        assert_eq!(subchannel.cancel(), Err(Refusal::NotOperational));
        assert_eq!(subchannel.resume(), Err(Refusal::NotOperational));
        assert!(subchannel.test().is_err());
        let mut fixture = fixture();
        let mut schib = *fixture.subchannel.store();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, false);
        assert_eq!(fixture.subchannel.modify(&schib), Ok(()));
        assert_eq!(
            fixture.start(Executed::Done, 0xFF),
            Err(Refusal::NotOperational)
        );
    }

    #[test]
    fn an_ended_start_is_status_pending_until_tested() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Done, 0xFF), Ok(()));
        assert!(fixture.subchannel.is_pending());
        assert_eq!(
            fixture.start(Executed::Done, 0xFF),
            Err(Refusal::StatusPending)
        );
        assert_eq!(fixture.subchannel.halt(), Err(Refusal::StatusPending));
        assert_eq!(fixture.subchannel.cancel(), Err(Refusal::StatusPending));
        assert_eq!(fixture.subchannel.resume(), Err(Refusal::StatusPending));
        let schib = *fixture.subchannel.store();
        assert_eq!(
            fixture.subchannel.modify(&schib),
            Err(Refusal::StatusPending)
        );
        let irb = fixture.status();
        assert_eq!(irb.scsw.program.get(), 8);
        assert!(irb.scsw.ended());
        assert!(matches!(fixture.subchannel.test(), Ok(Tested::Nothing(_))));
        assert_eq!(fixture.start(Executed::Done, 0xFF), Ok(()));
    }

    #[test]
    fn a_waiting_start_is_busy_and_can_be_cleared() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Wait, 0xFF), Ok(()));
        assert!(!fixture.subchannel.is_pending());
        assert_eq!(fixture.start(Executed::Done, 0xFF), Err(Refusal::Busy));
        assert_eq!(fixture.subchannel.cancel(), Err(Refusal::Busy));
        assert!(matches!(fixture.subchannel.test(), Ok(Tested::Nothing(_))));
        assert_eq!(fixture.subchannel.clear(), Ok(()));
        assert!(!fixture.subchannel.is_active());
        let irb = fixture.status();
        assert_eq!(irb.scsw.function(), FunctionControl::CLEAR);
        assert_eq!(irb.scsw.status(), StatusControl::PENDING);
    }

    #[test]
    fn a_waiting_start_can_be_halted() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Wait, 0xFF), Ok(()));
        assert_eq!(fixture.subchannel.halt(), Ok(()));
        let irb = fixture.status();
        assert_eq!(
            irb.scsw.function(),
            FunctionControl::START | FunctionControl::HALT
        );
    }

    #[test]
    fn a_rejected_command_brings_its_sense_along() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Reject, 0xFF), Ok(()));
        let irb = fixture.status();
        assert!(irb.scsw.status().contains(StatusControl::ALERT));
        assert_eq!(irb.concurrent_sense(), Some([0x80].as_slice()));
    }

    #[test]
    fn a_start_without_a_path_ends_with_deferred_condition_code_3() {
        let mut fixture = fixture();
        assert_eq!(fixture.start(Executed::Done, 0x01), Ok(()));
        let irb = fixture.status();
        assert_eq!(irb.scsw.deferred_cc(), 3);
        assert!(irb.scsw.path_not_operational());
    }
}
