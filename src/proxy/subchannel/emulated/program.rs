//! The channel of an emulated control unit: fetches a client's CCWs one by one and hands each command
//! to the [`ControlUnit`].
//!
//! # Scope
//!
//! Formats 0 and 1, command chaining, transfer in channel, SLI, SKIP, direct and indirect data
//! addresses (IDAWs of both formats). The checks and the CCW address that each leaves are those of the
//! *Principles of Operation*, chapter 15.
//!
//! # Limits
//!
//! No data chaining, MIDAWs, suspension or program-controlled interruptions: a program that asks for one gets a
//! program check. At most [`MAX_CCWS`] CCWs a program, transfers in channel counted.
//!
//! # Rule
//!
//! The program is the client's and may change at any time: each CCW is copied once, when it is its
//! turn, and the copy is checked and used.

use channel::{
    Ccw0, Ccw1, CcwFlags, CommandCode, DeviceStatus, IdawFormat, Orb, OrbFlags, SubchannelStatus,
};
use window::{ClientAddress, Window};

use super::data::{Data, Fault};

pub const MAX_CCWS: u32 = 1024;

pub trait ControlUnit {
    fn execute(&mut self, command: u8, data: &mut Data<'_>) -> Executed;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Channel end and device end.
    Done,
    /// Not a command of this unit, or not now: unit check, command reject.
    Reject,
    /// What the command needs is not there for now: unit check, intervention required.
    NotReady,
    /// Not yet: the same command is to be given again later.
    Wait,
    /// The data area is not all there.
    Fault(Fault),
}

impl From<Fault> for Executed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How a program ended: what goes into the subchannel-status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// 8 beyond the last CCW used.
    pub ccw_address: u32,
    pub count: u16,
    pub device: DeviceStatus,
    pub subchannel: SubchannelStatus,
    /// Sense byte 0, with a unit check.
    pub sense: u8,
}

impl Ending {
    /// Ended by the channel, which has found this.
    pub const fn check(ccw_address: u32, subchannel: SubchannelStatus) -> Self {
        Self {
            ccw_address,
            count: 0,
            device: DeviceStatus::empty(),
            subchannel,
            sense: 0,
        }
    }

    /// The control unit has done nothing for a CCW.
    fn unit_check(&mut self, ccw: &Ccw1, sense: u8) {
        self.count = ccw.count.get();
        self.device |= DeviceStatus::UNIT_CHECK;
        self.sense = sense;
    }
}

/// What became of a turn of [`Program::run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The control unit wants time; run again later.
    Waiting,
    Ended(Ending),
}

#[derive(Debug)]
pub struct Program {
    format_1: bool,
    /// Of its address words.
    format: IdawFormat,
    next: u32,
    fetched: u32,
    after_tic: bool,
    /// The command that the control unit is to be given again.
    waiting: Option<Ccw1>,
}

impl Program {
    /// The program that an ORB names.
    pub const fn new(orb: &Orb) -> Self {
        Self {
            format_1: orb.flags().contains(OrbFlags::FORMAT_1),
            format: orb.idaw_format(),
            next: orb.program.get(),
            fetched: 0,
            // A transfer in channel may not be the first CCW either.
            after_tic: true,
            waiting: None,
        }
    }

    /// Executes until the program ends or its control unit wants time.
    pub fn run(&mut self, window: &Window, unit: &mut impl ControlUnit) -> Step {
        loop {
            let ccw = match self.waiting.take() {
                Some(ccw) => ccw,
                None => match self.fetch(window) {
                    Ok(Some(ccw)) => ccw,
                    Ok(None) => continue,
                    Err(check) => return Step::Ended(Ending::check(self.next, check)),
                },
            };
            let mut data = Data {
                window,
                ccw,
                format: self.format,
                moved: 0,
            };
            let executed = if ccw.command == CommandCode::NOP.0 {
                data.moved = data.count();
                Executed::Done
            } else {
                unit.execute(ccw.command, &mut data)
            };
            let residual = data.count() - data.moved;
            let flags = ccw.flags();
            let mut ending = Ending::check(self.next, SubchannelStatus::empty());
            ending.device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
            ending.count = residual;
            match executed {
                Executed::Wait => {
                    self.waiting = Some(ccw);
                    return Step::Waiting;
                }
                Executed::Done if residual == 0 || flags.contains(CcwFlags::SLI) => {
                    if flags.contains(CcwFlags::CC) {
                        continue;
                    }
                }
                Executed::Done | Executed::Fault(Fault::Short) => {
                    ending.subchannel = SubchannelStatus::INCORRECT_LENGTH;
                }
                Executed::Fault(Fault::Address) => {
                    ending.subchannel = SubchannelStatus::PROGRAM_CHECK;
                }
                Executed::Reject => ending.unit_check(&ccw, COMMAND_REJECT),
                Executed::NotReady => ending.unit_check(&ccw, INTERVENTION_REQUIRED),
            }
            return Step::Ended(ending);
        }
    }

    /// Takes the next CCW; `None` after a transfer in channel. In every case `next` is then 8 beyond the
    /// CCW that was looked at, or where the transfer went.
    fn fetch(&mut self, window: &Window) -> Result<Option<Ccw1>, SubchannelStatus> {
        const CHECK: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;
        let limit: u32 = if self.format_1 {
            0x7FFF_FFFF
        } else {
            0x00FF_FFFF
        };
        let address = self.next;
        self.next = address.wrapping_add(8) & 0x7FFF_FFFF;
        self.fetched += 1;
        if self.fetched > MAX_CCWS || !address.is_multiple_of(8) || address > limit {
            return Err(CHECK);
        }
        let place = ClientAddress::new(u64::from(address));
        let ccw: Ccw1 = if self.format_1 {
            window.read(place).map_err(|_| CHECK)?
        } else {
            let ccw: Ccw0 = window.read(place).map_err(|_| CHECK)?;
            if ccw.count.get() == 0 && ccw.command & 0x0F != CommandCode::TIC.0 {
                return Err(CHECK);
            }
            ccw.into()
        };
        if ccw.address.get() & 0x8000_0000 != 0 {
            return Err(CHECK);
        }
        if ccw.command & 0x0F == CommandCode::TIC.0 {
            let good = ccw.command == CommandCode::TIC.0
                && ccw.flags == 0
                && ccw.count.get() == 0
                && ccw.address.get().is_multiple_of(8)
                && !self.after_tic;
            if !good {
                return Err(CHECK);
            }
            self.after_tic = true;
            self.next = ccw.address.get();
            return Ok(None);
        }
        self.after_tic = false;
        let unsupported = CcwFlags::CD | CcwFlags::PCI | CcwFlags::SUSPEND | CcwFlags::MIDA;
        if ccw.command & 0x0F == 0 || ccw.flags().intersects(unsupported) {
            return Err(CHECK);
        }
        Ok(Some(ccw))
    }
}

/// Sense byte 0.
const COMMAND_REJECT: u8 = 0x80;
const INTERVENTION_REQUIRED: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    /// Adds up what it is given by command 1, gives the sum for command 2, waits once at 3f.
    #[derive(Default)]
    struct Adder {
        sum: u8,
        waited: bool,
    }

    impl ControlUnit for Adder {
        fn execute(&mut self, command: u8, data: &mut Data<'_>) -> Executed {
            match command {
                0x01 => {
                    let mut bytes = [0; 4];
                    if let Err(fault) = data.read(0, &mut bytes) {
                        return fault.into();
                    }
                    self.sum = bytes.iter().sum();
                    Executed::Done
                }
                0x02 => match data.write(0, &[self.sum]) {
                    Ok(()) => Executed::Done,
                    Err(fault) => fault.into(),
                },
                0x3F if !core::mem::replace(&mut self.waited, true) => Executed::Wait,
                0x3F => Executed::Done,
                _ => Executed::Reject,
            }
        }
    }

    fn run(ccws: &[Ccw1], flags: OrbFlags, memory: &mut [u8; 8192]) -> (Step, Program, Adder) {
        for (at, ccw) in ccws.iter().enumerate() {
            memory[at * 8..at * 8 + 8].copy_from_slice(ccw.as_bytes());
        }
        let window = Window::borrowed(memory, 0);
        let mut program = Program::new(&Orb::format_1(0, 0, flags, 0x80));
        let mut unit = Adder::default();
        let step = program.run(&window, &mut unit);
        (step, program, unit)
    }

    fn ccw(command: u8, flags: CcwFlags, count: u16, address: u32) -> Ccw1 {
        Ccw1::new(CommandCode(command), flags, count, address)
    }

    fn ended(step: Step) -> Ending {
        match step {
            Step::Ended(ending) => ending,
            Step::Waiting => panic!("still waiting"),
        }
    }

    #[test]
    fn commands_chain_and_move_data() {
        let mut memory = [0; 8192];
        memory[0x100..0x104].copy_from_slice(&[1, 2, 3, 4]);
        let program = [
            ccw(1, CcwFlags::CC, 4, 0x100),
            ccw(8, CcwFlags::empty(), 0, 0x18),
            ccw(0, CcwFlags::empty(), 0, 0),
            ccw(2, CcwFlags::empty(), 1, 0x200),
        ];
        let (step, ..) = run(&program, OrbFlags::empty(), &mut memory);
        let ending = ended(step);
        assert_eq!(ending.subchannel, SubchannelStatus::empty());
        assert_eq!(ending.ccw_address, 0x20);
        assert_eq!(memory[0x200], 10);
    }

    #[test]
    fn a_read_shorter_than_its_count_is_an_incorrect_length_unless_suppressed() {
        let mut memory = [0; 8192];
        let (step, ..) = run(
            &[ccw(2, CcwFlags::empty(), 3, 0x200)],
            OrbFlags::empty(),
            &mut memory,
        );
        assert_eq!(ended(step).subchannel, SubchannelStatus::INCORRECT_LENGTH);
        assert_eq!(ended(step).count, 2);
        let (step, ..) = run(
            &[ccw(2, CcwFlags::SLI, 3, 0x200)],
            OrbFlags::empty(),
            &mut memory,
        );
        assert_eq!(ended(step).subchannel, SubchannelStatus::empty());
        assert_eq!(ended(step).count, 2);
    }

    #[test]
    fn bad_programs_get_the_architected_check() {
        let none = CcwFlags::empty();
        for bad in [
            vec![ccw(8, none, 0, 0)],
            vec![ccw(0, none, 1, 0)],
            vec![ccw(3, CcwFlags::CC, 1, 0), ccw(8, none, 0, 4)],
            vec![ccw(3, CcwFlags::CC, 1, 0), ccw(0x18, none, 0, 0)],
            vec![ccw(3, CcwFlags::CC, 1, 0), ccw(8, none, 0, 0x7FFF_FFF8)],
            vec![ccw(3, CcwFlags::CC, 1, 0), ccw(8, none, 0, 8)],
            vec![ccw(3, CcwFlags::MIDA, 1, 0)],
            vec![ccw(3, none, 1, 0x8000_0000)],
        ] {
            let mut memory = [0; 8192];
            let (step, ..) = run(&bad, OrbFlags::empty(), &mut memory);
            assert_eq!(
                ended(step).subchannel,
                SubchannelStatus::PROGRAM_CHECK,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_endless_program_is_ended() {
        let mut memory = [0; 8192];
        let program = [ccw(3, CcwFlags::CC, 1, 0), ccw(8, CcwFlags::empty(), 0, 0)];
        let (step, program, _) = run(&program, OrbFlags::empty(), &mut memory);
        assert_eq!(ended(step).subchannel, SubchannelStatus::PROGRAM_CHECK);
        assert_eq!(program.fetched, MAX_CCWS + 1);
    }

    #[test]
    fn an_unknown_command_is_rejected_by_the_unit() {
        let mut memory = [0; 8192];
        let (step, ..) = run(
            &[ccw(0x77, CcwFlags::empty(), 1, 0)],
            OrbFlags::empty(),
            &mut memory,
        );
        assert!(ended(step).device.contains(DeviceStatus::UNIT_CHECK));
    }

    #[test]
    fn a_unit_that_wants_time_is_asked_again() {
        let mut memory = [0; 8192];
        let chain = [
            ccw(0x3F, CcwFlags::CC | CcwFlags::SLI, 1, 0),
            ccw(2, CcwFlags::empty(), 1, 0x200),
        ];
        let (step, mut program, mut unit) = run(&chain, OrbFlags::empty(), &mut memory);
        assert_eq!(step, Step::Waiting);
        let window = Window::borrowed(&mut memory, 0);
        let step = program.run(&window, &mut unit);
        assert_eq!(ended(step).ccw_address, 0x10);
    }

    #[test]
    fn indirect_data_of_both_formats_reaches_every_block() {
        for (flags, block) in [
            (OrbFlags::empty(), 2048u64),
            (OrbFlags::FORMAT_2_IDAW, 4096),
            (OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K, 2048),
        ] {
            let mut memory = [0; 8192];
            let words = [block - 2, 0x1000];
            for (at, word) in words.into_iter().enumerate() {
                if flags.contains(OrbFlags::FORMAT_2_IDAW) {
                    memory[0x40 + at * 8..0x48 + at * 8].copy_from_slice(&word.to_be_bytes());
                } else {
                    memory[0x40 + at * 4..0x44 + at * 4]
                        .copy_from_slice(&(word as u32).to_be_bytes());
                }
            }
            memory[block as usize - 2] = 1;
            memory[block as usize - 1] = 2;
            memory[0x1000] += 4;
            memory[0x1001] += 8;
            let (step, _, unit) = run(&[ccw(1, CcwFlags::IDA, 4, 0x40)], flags, &mut memory);
            assert_eq!(ended(step).subchannel, SubchannelStatus::empty());
            assert_eq!(unit.sum, 15, "{flags:?}");
        }
    }
}
