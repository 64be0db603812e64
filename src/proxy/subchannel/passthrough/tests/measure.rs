//! The extended-measurement word and the measurement block, on the channel model.

use channel::model::{Fault, Reply};
use channel::{
    Ccw1, CcwFlags, CommandCode, DeviceStatus, Emw, Irb, Orb, OrbFlags, PmcwCharacteristics,
    PmcwFlags, StatusControl,
};
use vcss::client::{Measurement, Response};

use super::model::Walk;
use crate::proxy::subchannel::passthrough::state::State;
use crate::proxy::subchannel::Request;

const EXTENDED: PmcwCharacteristics = PmcwCharacteristics::EXTENDED_MEASUREMENT;
const BLOCK: PmcwFlags = PmcwFlags::MEASUREMENT_BLOCK;
/// Programs of [`Walk`]: two CCWs; one that suspends itself at the second.
const PLAIN: usize = 0;
const SUSPENDED: usize = 2;
/// Half microseconds in one unit of the block.
const UNIT: u32 = 256;

/// Times that are all different.
fn times(first: u32) -> Emw {
    Emw {
        device_connect: first.into(),
        function_pending: (first + 1).into(),
        device_disconnect: (first + 2).into(),
        control_unit_queuing: (first + 3).into(),
        device_active_only: (first + 4).into(),
        device_busy: (first + 5).into(),
        initial_command_response: (first + 6).into(),
        reserved: 0.into(),
    }
}

impl Walk {
    /// Opened, on a machine with the facility.
    fn measured() -> Self {
        let mut walk = Self::new();
        walk.machine.css.extended_measurement = true;
        walk
    }

    fn measure(&mut self, times: Emw) {
        let id = self.id;
        self.machine.css.measure(id, times);
    }

    fn modify(&mut self, flags: PmcwFlags, extended: bool) -> u32 {
        let mut schib = self.schib();
        schib.pmcw.set_flag(BLOCK, false);
        schib.pmcw.set_flag(PmcwFlags::ENABLED | flags, true);
        schib.pmcw.set_characteristic(EXTENDED, extended);
        self.ask(Request::Modify(schib))
    }

    /// Goes on until the client is told of status, and takes it.
    fn next_irb(&mut self) -> Irb {
        for _ in 0..40 {
            self.work();
            self.look();
            if self.subject.is_pending() {
                assert_eq!(self.ask(Request::Test), 0);
                return self.irb;
            }
        }
        panic!("no status");
    }

    fn run(&mut self, first: u32) -> Irb {
        self.measure(times(first));
        assert_eq!(self.start(PLAIN), 0);
        self.next_irb()
    }

    fn block(&mut self) -> Measurement {
        *self
            .subject
            .take_measurement()
            .expect("nothing has changed")
    }
}

#[test]
fn a_machine_that_takes_the_bit_gives_its_word_to_the_client_whole() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(PmcwFlags::empty(), true), 0);
    assert!(walk.hardware().pmcw.has_extended_measurement());
    assert!(walk.schib().pmcw.has_extended_measurement());
    assert_eq!(walk.run(1000).emw, times(1000));
    assert!(walk.schib().pmcw.flags().contains(PmcwFlags::TIMING));
}

#[test]
fn a_machine_without_it_answers_with_an_operand_exception_and_nothing_changes() {
    let mut walk = Walk::new();
    assert_eq!(walk.modify(PmcwFlags::empty(), false), 0);
    let (shown, hardware) = (walk.schib(), walk.hardware());
    let mut wanted = shown;
    wanted.pmcw.set_characteristic(EXTENDED, true);
    wanted.pmcw.set_isc(6);
    wanted.pmcw.parameter = 0x77.into();
    wanted.pmcw.lpm = 0;
    wanted.pmcw.set_flag(BLOCK, true);
    assert_eq!(walk.ask(Request::Modify(wanted)), Response::OPERAND);
    assert_eq!(walk.schib(), shown);
    assert_eq!(walk.hardware(), hardware);
    assert_eq!(walk.subject.state(), State::Idle);
    assert_eq!(walk.run(1000).emw, Emw::default());
    assert!(walk.subject.take_measurement().is_none());
}

#[test]
fn the_block_has_the_sums_in_units_of_128_microseconds() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(BLOCK, true), 0);
    walk.run(3 * UNIT - 3);
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (1, 1));
    assert_eq!((block.connect.get(), block.queuing.get()), (2, 3));
    assert_eq!(block.initial_response.get(), 3);
    // What is left of a unit is not lost.
    walk.run(3);
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (2, 2));
    assert_eq!(block.connect.get(), 3);
}

#[test]
fn the_times_of_the_block_wrap() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(BLOCK, true), 0);
    let most = u32::MAX - 6;
    for _ in 0..UNIT {
        walk.run(most);
    }
    assert_eq!(walk.block().connect.get(), most);
    walk.run(7 * UNIT);
    let block = walk.block();
    assert_eq!((block.connect.get(), block.samples.get()), (0, UNIT + 1));
}

#[test]
fn each_mode_is_on_by_itself() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(PmcwFlags::empty(), true), 0);
    assert_eq!(walk.run(UNIT).emw, times(UNIT));
    assert!(walk.subject.take_measurement().is_none());
    assert_eq!(walk.modify(BLOCK, false), 0);
    assert_eq!(walk.run(UNIT).emw, Emw::default());
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (1, 0));
    assert_eq!(block.connect.get(), 0, "as if not measured");
}

#[test]
fn a_suspended_program_has_a_sample_for_each_part() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(BLOCK, true), 0);
    walk.measure(times(UNIT));
    walk.measure(times(2 * UNIT));
    assert_eq!(walk.start(SUSPENDED), 0);
    let irb = walk.next_irb();
    assert!(irb.scsw.status().contains(StatusControl::INTERMEDIATE));
    assert_eq!(irb.emw, times(UNIT));
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (1, 1));
    assert_eq!(walk.ask(Request::Resume), 0);
    assert_eq!(walk.next_irb().emw, times(2 * UNIT));
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (2, 2));
    assert_eq!(block.connect.get(), 3);
}

#[test]
fn device_end_alone_adds_the_device_active_only_time_and_no_sample() {
    const LATE: u8 = 0x0A;
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(BLOCK, true), 0);
    let late = Reply::sends(&[0; 8]).ends_with(DeviceStatus::CHANNEL_END);
    walk.device.borrow_mut().add(LATE, late);
    let ccw = Ccw1::new(CommandCode(LATE), CcwFlags::SLI, 8, 0x2000);
    walk.write(0x3000, &ccw);
    let orb = Orb::format_1(7, 0x3000, OrbFlags::PREFETCH, 0xFF);
    let before = Emw {
        device_active_only: 0.into(),
        ..times(UNIT)
    };
    walk.measure(before);
    walk.measure(times(4 * UNIT));
    assert_eq!(walk.ask(Request::Start(orb)), 0);
    assert_eq!(walk.next_irb().emw, before);
    let irb = walk.next_irb();
    assert!(!irb.scsw.status().contains(StatusControl::PRIMARY));
    assert_eq!(irb.emw, times(4 * UNIT));
    let block = walk.block();
    assert_eq!((block.samples.get(), block.connect.get()), (1, 1));
    assert_eq!(block.active_only.get(), 4);
}

#[test]
fn a_start_that_is_repeated_for_the_client_is_one_sample() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(BLOCK, true), 0);
    let busy = Fault::DeferredStatus(DeviceStatus::BUSY);
    let id = walk.id;
    walk.machine.css.inject(id, busy);
    assert_eq!(walk.run(UNIT).emw, times(UNIT));
    let block = walk.block();
    assert_eq!((block.starts.get(), block.samples.get()), (1, 1));
}

#[test]
fn the_bit_ends_with_the_client_on_the_hardware_too() {
    let mut walk = Walk::measured();
    let mut schib = walk.schib();
    schib.pmcw.pom = 0x80;
    assert_eq!(walk.ask(Request::Modify(schib)), 0);
    assert_eq!(walk.modify(BLOCK | PmcwFlags::MULTIPATH, true), 0);
    assert_eq!(walk.hardware().pmcw.pom, 0x80);
    assert_eq!(walk.start(PLAIN), 0);
    assert_eq!(walk.block().starts.get(), 1);
    walk.with(|subject, ctx| subject.reset(ctx));
    for _ in 0..10 {
        walk.work();
        walk.look();
        walk.pass();
    }
    assert_eq!(walk.subject.state(), State::Idle);
    for schib in [walk.schib(), walk.hardware()] {
        assert_eq!((schib.pmcw.lpm, schib.pmcw.pom), (0x80, 0xFF));
        assert_eq!(schib.pmcw.characteristics(), PmcwCharacteristics::empty());
        let left = PmcwFlags::ENABLED | PmcwFlags::MULTIPATH;
        assert!(!schib.pmcw.flags().intersects(left));
    }
    assert_eq!(walk.modify(PmcwFlags::empty(), false), 0);
    assert_eq!(walk.run(UNIT).emw, Emw::default());
    assert!(walk.subject.take_measurement().is_none());
}

#[test]
fn a_subchannel_that_is_taken_away_for_good_leaves_the_bit_off() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(PmcwFlags::empty(), true), 0);
    walk.with(|subject, ctx| subject.offline(ctx));
    assert!(!walk.hardware().pmcw.has_extended_measurement());
}

#[test]
fn the_next_life_of_the_appliance_asks_for_it_again() {
    let mut walk = Walk::measured();
    assert_eq!(walk.modify(PmcwFlags::empty(), true), 0);
    let (former, functions) = (walk.schib(), walk.subject.functions().bits());
    walk.restart();
    walk.open(Some((former, functions)));
    assert_eq!(walk.subject.state(), State::Idle);
    assert!(walk.hardware().pmcw.has_extended_measurement());
    assert_eq!(walk.schib().pmcw, former.pmcw);
    assert_eq!(walk.run(UNIT).emw, times(UNIT));
}
