//! `Remote` against an appliance that is a table of condition codes.

use core::cell::{Cell, RefCell};

use channel::{ActivityControl, CrwFlags, FunctionControl, OrbFlags, RecoveryCode, StatusControl};
use window::Window;
use zerocopy::FromBytes;

use super::*;
use crate::events::EventSource;
use crate::layout::Kind;
use crate::plan;

const SUBCHANNELS: u32 = 3;
const FIRST: SubchannelId = SubchannelId::new(0, 0).unwrap();
const LAST: SubchannelId = SubchannelId::new(0, 2).unwrap();
const GONE: SubchannelId = SubchannelId::new(0, 3).unwrap();
const ATTEMPTS: u32 = 5;

/// An appliance that answers when the client waits for it.
struct Appliance<'w> {
    area: Area<'w>,
    /// The answer to everything but TEST.
    condition: Cell<u32>,
    /// It is dead.
    silent: Cell<bool>,
    /// Status that comes so many waits after a start.
    delay: Cell<u32>,
    due: Cell<Option<(u32, u32)>>,
    /// The last request.
    last: RefCell<Option<(u32, u32, [u8; 56])>>,
    requests: Cell<u32>,
}

impl<'w> Appliance<'w> {
    fn turn(&self) {
        if self.silent.get() {
            return;
        }
        for index in 0..SUBCHANNELS {
            let command: Command = self.area.read(index).unwrap();
            let response: Response = self.area.read(index).unwrap();
            if command.sequence.get() != response.sequence.get() {
                self.answer(index, &command);
            }
        }
        match self.due.get() {
            Some((index, 0)) => {
                self.due.set(None);
                self.set_pending(index, 1);
            }
            Some((index, left)) => self.due.set(Some((index, left - 1))),
            None => {}
        }
    }

    fn answer(&self, index: u32, command: &Command) {
        let number = command.instruction.get();
        *self.last.borrow_mut() = Some((index, number, command.operand));
        self.requests.set(self.requests.get() + 1);
        let mut condition = self.condition.get();
        match Instruction::from_number(number).unwrap() {
            Instruction::Start if condition == 0 => {
                self.due.set(Some((index, self.delay.get())));
            }
            Instruction::Test => {
                condition = u32::from(self.pending(index).load() == 0);
                self.pending(index).store(0);
            }
            Instruction::Modify if condition == 0 => {
                let (schib, _) = Schib::read_from_prefix(&command.operand).unwrap();
                let part = SchibPart {
                    schib,
                    functions: 0.into(),
                    reserved: [0; 8],
                };
                self.area.write(index, &part).unwrap();
            }
            _ => {}
        }
        let response = Response {
            sequence: command.sequence,
            condition: condition.into(),
        };
        self.area.write(index, &response).unwrap();
    }

    fn pending(&self, index: u32) -> crate::Word<'w> {
        self.area
            .word::<Status>(index, offset_of!(Status, pending))
            .unwrap()
    }

    fn set_pending(&self, index: u32, pending: u32) {
        let mut irb = Irb::default();
        irb.scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING,
        );
        let status = Status {
            pending: 0.into(),
            reserved: [0.into(); 7],
            irb,
        };
        self.area.write(index, &status).unwrap();
        self.pending(index).store(pending);
    }
}

struct Turning<'a, 'w> {
    appliance: &'a Appliance<'w>,
    passes: u32,
}

impl Wake for Turning<'_, '_> {
    fn ring(&mut self) {}

    fn begin(&mut self) {
        self.passes = 0;
    }

    fn pass(&mut self) -> bool {
        self.appliance.turn();
        self.passes += 1;
        self.passes <= ATTEMPTS
    }
}

fn fixture(story: impl FnOnce(&Appliance<'_>, Remote<'_, Turning<'_, '_>>)) {
    let plan = plan::client_area(SUBCHANNELS);
    let mut bytes = [0; 1 << 18];
    let window = Window::borrowed(&mut bytes[..plan.length() as usize], 0);
    plan.write(&window).unwrap();
    let area = Area::open(&window, Kind::Client).unwrap();
    let appliance = Appliance {
        area: area.clone(),
        condition: Cell::default(),
        silent: Cell::default(),
        delay: Cell::default(),
        due: Cell::default(),
        last: RefCell::default(),
        requests: Cell::default(),
    };
    let wake = Turning {
        appliance: &appliance,
        passes: 0,
    };
    story(&appliance, Remote::new(area, wake));
}

fn enable(remote: &mut Remote<'_, Turning<'_, '_>>, id: SubchannelId, isc: u8, parameter: u32) {
    let mut schib = Schib::default();
    schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
    schib.pmcw.set_isc(isc);
    schib.pmcw.parameter = parameter.into();
    remote.modify(id, &schib).unwrap();
}

fn orb() -> Orb {
    Orb::format_1(7, 0x1000, OrbFlags::PREFETCH, 0x80)
}

#[test]
fn each_instruction_is_one_request_of_its_own_with_its_operand() {
    fixture(|appliance, mut remote| {
        let last = || appliance.last.borrow().unwrap();
        // SAFETY: nobody runs the program.
        unsafe { remote.start(LAST, &orb()) }.unwrap();
        let (index, number, operand) = last();
        assert_eq!((index, number), (2, Instruction::Start as u32));
        assert_eq!(operand[..32], *orb().as_bytes());
        remote.halt(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Halt as u32);
        remote.clear(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Clear as u32);
        remote.cancel(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Cancel as u32);
        remote.resume(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Resume as u32);
        remote.store(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Store as u32);
        enable(&mut remote, FIRST, 3, 9);
        assert_eq!(last().1, Instruction::Modify as u32);
        remote.test(FIRST).unwrap();
        assert_eq!(last().1, Instruction::Test as u32);
        assert_eq!(appliance.requests.get(), 8);
    });
}

#[test]
fn every_condition_code_comes_back() {
    fixture(|appliance, mut remote| {
        for (code, refusal) in [
            (1, Refusal::StatusPending),
            (2, Refusal::Busy),
            (3, Refusal::NotOperational),
        ] {
            appliance.condition.set(code);
            // SAFETY: nobody runs the program.
            assert_eq!(unsafe { remote.start(FIRST, &orb()) }, Err(refusal));
            assert_eq!(remote.halt(FIRST), Err(refusal));
            assert_eq!(remote.cancel(FIRST), Err(refusal));
            assert_eq!(remote.resume(FIRST), Err(refusal));
            assert_eq!(remote.modify(FIRST, &Schib::default()), Err(refusal));
        }
        assert_eq!(remote.clear(FIRST), Err(NotOperational));
        assert_eq!(remote.store(FIRST).err(), Some(NotOperational));
    });
}

#[test]
fn a_subchannel_that_the_area_does_not_have_is_not_operational() {
    fixture(|_, mut remote| {
        assert_eq!(remote.halt(GONE), Err(Refusal::NotOperational));
        assert_eq!(remote.store(GONE).err(), Some(NotOperational));
        assert!(remote.test(GONE).is_err());
        assert!(!remote.is_pending(GONE));
        let other_set = SubchannelId::new(1, 0).unwrap();
        assert_eq!(remote.halt(other_set), Err(Refusal::NotOperational));
    });
}

#[test]
fn an_appliance_that_does_not_answer_is_not_waited_for_without_end() {
    fixture(|appliance, mut remote| {
        appliance.silent.set(true);
        // SAFETY: nobody runs the program.
        let run = unsafe { remote.run(FIRST, &orb()) };
        assert_eq!(run.err(), Some(RemoteError::Timeout));
        assert_eq!(remote.halt(FIRST), Err(Refusal::NotOperational));
    });
}

#[test]
fn a_request_that_the_appliance_does_not_know_is_no_condition_code() {
    fixture(|appliance, mut remote| {
        appliance.condition.set(Response::INVALID);
        // SAFETY: nobody runs the program.
        let run = unsafe { remote.run(FIRST, &orb()) };
        assert_eq!(run.err(), Some(RemoteError::Invalid));
        appliance.condition.set(Response::OPERAND);
        // SAFETY: nobody runs the program.
        let run = unsafe { remote.run(FIRST, &orb()) };
        assert_eq!(run.err(), Some(RemoteError::Refused(Refusal::Operand)));
        let modified = remote.modify(FIRST, &Schib::default());
        assert_eq!(modified, Err(Refusal::Operand));
    });
}

#[test]
fn run_waits_for_the_end_and_wait_for_any_status() {
    fixture(|appliance, mut remote| {
        appliance.delay.set(2);
        // SAFETY: nobody runs the program.
        let irb = unsafe { remote.run(FIRST, &orb()) }.unwrap();
        assert!(irb.scsw.ended());
        assert_eq!(remote.wait(FIRST).err(), Some(RemoteError::Timeout));
        appliance.set_pending(0, 1);
        assert!(remote.is_pending(FIRST));
        assert!(remote.wait(FIRST).is_ok());
        assert!(!remote.is_pending(FIRST));
    });
}

#[test]
fn test_brings_all_96_bytes_of_the_irb() {
    fixture(|appliance, mut remote| {
        let bytes: [u8; 96] = core::array::from_fn(|at| at as u8 + 1);
        let status = Status {
            pending: 1.into(),
            reserved: [0.into(); 7],
            irb: Irb::read_from_bytes(&bytes).unwrap(),
        };
        appliance.area.write(1, &status).unwrap();
        let Ok(Tested::Status(irb)) = remote.test(SubchannelId::new(0, 1).unwrap()) else {
            panic!("no status");
        };
        assert_eq!(irb.as_bytes(), bytes);
        assert_eq!(irb.emw.device_connect.get(), 0x4142_4344);
    });
}

#[test]
fn an_interruption_comes_once_for_each_status_lowest_subclass_first() {
    fixture(|appliance, mut remote| {
        enable(&mut remote, FIRST, 5, 11);
        enable(&mut remote, LAST, 2, 22);
        assert_eq!(remote.pending_interruption(), None);
        appliance.set_pending(0, 1);
        appliance.set_pending(2, 1);
        assert!(remote.has_news());
        let came = |id, parameter, isc| Some(IoInterruption::Subchannel { id, parameter, isc });
        assert_eq!(remote.pending_interruption(), came(LAST, 22, 2));
        assert_eq!(remote.pending_interruption(), came(FIRST, 11, 5));
        assert_eq!(remote.pending_interruption(), None);
        assert!(!remote.has_news());
        assert!(remote.is_pending(FIRST), "the status is still to be had");
        remote.test(FIRST).unwrap();
        appliance.set_pending(0, 1);
        assert_eq!(remote.pending_interruption(), came(FIRST, 11, 5));
        remote.clear(FIRST).unwrap();
        assert_eq!(
            remote.pending_interruption(),
            came(FIRST, 11, 5),
            "the clear function's own"
        );
    });
}

#[test]
fn a_subchannel_that_is_not_enabled_interrupts_nobody() {
    fixture(|appliance, mut remote| {
        appliance.set_pending(1, 1);
        assert_eq!(remote.pending_interruption(), None);
    });
}

#[test]
fn channel_reports_are_taken_from_the_ring() {
    fixture(|appliance, mut remote| {
        assert_eq!(remote.channel_report(), None);
        let (gone, _) = Crw::of_subchannel(
            SubchannelId::new(0, 1).unwrap(),
            CrwFlags::ANCILLARY,
            RecoveryCode::ParametersInitialized,
        );
        assert!(EventSource::open(&appliance.area).unwrap().report(gone));
        assert!(remote.has_news());
        assert_eq!(remote.channel_report(), Some(gone));
        assert_eq!(remote.channel_report(), None);
    });
}
