//! The interpreter of command-mode channel programs (*Principles of Operation*, chapter 15, "Execution
//! of I/O operations"). One [`Interpreter::step`] is one bounded piece of work: a CCW fetched and its
//! command given to the device, one piece of data moved, or one status taken.

use alloc::vec::Vec;

use super::data::DataArea;
use super::device::{Device, Reply};
use super::fetch::{Fetcher, Word};
use super::memory::Memory;
use super::trace::Trace;
use crate::{Ccw1, CcwFlags, CommandCode, DeviceStatus, Orb, OrbFlags, SubchannelStatus};

/// What bounds an interpretation, and what the channel has besides the ORB.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Steps after which [`interpret`](super::interpret) gives up.
    pub steps: usize,
    /// CCWs that are fetched ahead when the ORB allows it.
    pub ahead: usize,
    /// Whether [`interpret`](super::interpret) resumes a program that suspends itself.
    pub resume: bool,
    /// Data addresses that address-limit checking allows.
    pub allowed: core::ops::Range<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1 << 20,
            ahead: 16,
            resume: false,
            allowed: 0..u64::MAX,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program went on.
    Progress,
    /// The device is not ready.
    Waiting,
    /// The first command was accepted; with zero initial status, or as an immediate operation.
    Accepted,
    /// The device turned the first command away with status of its own: deferred condition code 1.
    TurnedAway(DeviceStatus),
    /// The program suspended itself before the CCW at the CCW address.
    Suspended,
    /// Channel end without device end: primary status.
    ChannelEnd(Ending),
    /// The program ended; after [`Event::ChannelEnd`], with the status that came later.
    Ended(Ending),
}

/// The status with which a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Device status.
    pub device: DeviceStatus,
    /// Subchannel status, without PCI.
    pub subchannel: SubchannelStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chaining {
    Start,
    Command,
    Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Fetch,
    Issue,
    Transfer,
    Finish,
    /// Waits for device end; then the chain goes on, or not.
    DeviceEnd {
        chain: bool,
    },
    Suspended,
    Ended,
}

/// A channel program that is being executed.
#[derive(Clone, Debug)]
pub struct Interpreter {
    flags: OrbFlags,
    pub(super) fetcher: Fetcher,
    pub(super) allowed: core::ops::Range<u64>,
    pub(super) state: State,
    pub(super) chaining: Chaining,
    next: u32,
    last: u32,
    tic: Option<u32>,
    pub(super) ccw: Ccw1,
    pub(super) command: CommandCode,
    pub(super) area: Option<DataArea>,
    pub(super) residual: u16,
    pub(super) sends: Vec<u8>,
    pub(super) sent: usize,
    pub(super) takes: usize,
    immediate: bool,
    accepted: bool,
    resumed: bool,
    pub(super) check: SubchannelStatus,
    pub(super) interrupt: bool,
}

impl Interpreter {
    /// A program that is about to start. The ORB is one of command mode.
    pub fn new(orb: &Orb, limits: &Limits) -> Self {
        let flags = orb.flags();
        let ahead = if flags.contains(OrbFlags::PREFETCH) {
            limits.ahead
        } else {
            0
        };
        let allowed = if flags.contains(OrbFlags::ADDRESS_LIMIT) {
            limits.allowed.clone()
        } else {
            0..u64::MAX
        };
        let format_1 = flags.contains(OrbFlags::FORMAT_1);
        Self {
            flags,
            fetcher: Fetcher::new(orb.key(), format_1, orb.idaw_format(), ahead),
            allowed,
            state: State::Fetch,
            chaining: Chaining::Start,
            next: orb.program.get(),
            last: orb.program.get(),
            tic: None,
            ccw: Ccw1::default(),
            command: CommandCode::NOP,
            area: None,
            residual: 0,
            sends: Vec::new(),
            sent: 0,
            takes: 0,
            immediate: false,
            accepted: false,
            resumed: false,
            check: SubchannelStatus::empty(),
            interrupt: false,
        }
    }

    /// The CCW address of the SCSW: 8 beyond the last CCW that became current.
    pub const fn ccw_address(&self) -> u32 {
        self.last.wrapping_add(8) & 0x7FFF_FFFF
    }

    /// The residual count of the last CCW.
    pub const fn residual(&self) -> u16 {
        self.residual
    }

    /// Whether the program waits to be resumed.
    pub fn is_suspended(&self) -> bool {
        self.state == State::Suspended
    }

    /// Whether the program has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the device has accepted a command.
    pub const fn is_under_way(&self) -> bool {
        self.accepted
    }

    /// Whether the program was resumed before it suspended itself.
    pub const fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Takes the interruption that a PCI flag, or a MIDAW, has asked for since the last call.
    pub fn take_interrupt(&mut self) -> bool {
        core::mem::take(&mut self.interrupt)
    }

    /// What the program has touched so far.
    pub const fn trace(&self) -> &Trace {
        &self.fetcher.trace
    }

    /// RESUME SUBCHANNEL. A suspended program goes on with a fresh fetch of the CCW at which it stopped.
    /// One that is not suspended does not stop at the next suspend flag without fetching it again.
    pub fn resume(&mut self) {
        self.fetcher.forget();
        if self.is_suspended() {
            self.state = State::Fetch;
            if self.chaining == Chaining::Start {
                self.chaining = Chaining::Command;
            }
        } else {
            self.resumed = true;
        }
    }

    /// Ends the program from outside: by a halt or clear signal, or with a check.
    pub fn stop(&mut self) {
        self.state = State::Ended;
    }

    /// Does the next piece of work.
    pub fn step(&mut self, memory: &mut dyn Memory, device: &mut dyn Device) -> Event {
        match self.state {
            State::Fetch => self.fetch(memory, device),
            State::Issue => self.issue(device),
            State::Transfer => self.transfer(memory, device),
            State::Finish => self.finish(device),
            State::DeviceEnd { chain } => self.device_end(device, chain),
            State::Suspended => Event::Waiting,
            State::Ended => Event::Ended(Ending {
                device: DeviceStatus::empty(),
                subchannel: self.check,
            }),
        }
    }

    fn fetch(&mut self, memory: &dyn Memory, device: &mut dyn Device) -> Event {
        let address = self.next;
        let word = match self.fetcher.ccw(memory, address) {
            Ok(word) => word,
            Err(check) => {
                // A TIC to where no CCW can be is the TIC's mistake.
                self.last = match self.tic {
                    Some(tic) if check == SubchannelStatus::PROGRAM_CHECK => tic,
                    _ => address,
                };
                self.residual = 0;
                return self.fail(check);
            }
        };
        self.last = address;
        let ahead = match word {
            Word::Tic(ccw) => ccw.address.get(),
            Word::Command(_) => address.wrapping_add(8),
        };
        self.fetcher.look_ahead(memory, ahead);
        match word {
            Word::Tic(ccw) => self.transfer_in_channel(&ccw),
            Word::Command(ccw) => {
                self.tic = None;
                match self.examine(ccw) {
                    Ok(event) => event.unwrap_or_else(|| self.execute(device)),
                    Err(check) => {
                        self.residual = ccw.count.get();
                        self.fail(check)
                    }
                }
            }
        }
    }

    fn transfer_in_channel(&mut self, ccw: &Ccw1) -> Event {
        let target = ccw.address.get();
        let bad = self.chaining == Chaining::Start
            || self.tic.is_some()
            || ccw.flags != 0
            || ccw.count.get() != 0
            || !target.is_multiple_of(8)
            || target > self.fetcher.highest();
        if bad {
            self.residual = 0;
            return self.fail(SubchannelStatus::PROGRAM_CHECK);
        }
        self.tic = Some(self.last);
        self.next = target;
        Event::Progress
    }

    /// The checks of a CCW that is not a TIC, and suspension.
    fn examine(&mut self, ccw: Ccw1) -> Result<Option<Event>, SubchannelStatus> {
        const PROGRAM_CHECK: Result<Option<Event>, SubchannelStatus> =
            Err(SubchannelStatus::PROGRAM_CHECK);
        let flags = ccw.flags();
        let data = self.chaining == Chaining::Data;
        let format_1 = self.flags.contains(OrbFlags::FORMAT_1);
        let low = ccw.command & 0x0F;
        if !data && (low == 0 || low == CommandCode::TIC.0) {
            return PROGRAM_CHECK;
        }
        if ccw.count.get() == 0 && (!format_1 || data || flags.contains(CcwFlags::CD)) {
            return PROGRAM_CHECK;
        }
        if ccw.address.get() > self.fetcher.highest() {
            return PROGRAM_CHECK;
        }
        if flags.contains(CcwFlags::MIDA)
            && (!self.flags.contains(OrbFlags::MIDAW)
                || flags.intersects(CcwFlags::SKIP | CcwFlags::IDA))
        {
            return PROGRAM_CHECK;
        }
        if flags.contains(CcwFlags::SUSPEND) {
            if data || !self.flags.contains(OrbFlags::SUSPEND_CONTROL) {
                return PROGRAM_CHECK;
            }
            if core::mem::take(&mut self.resumed) {
                // Resumed in advance: look again, and stop if it still says so.
                self.fetcher.forget();
                return Ok(Some(Event::Progress));
            }
            self.interrupt |= flags.contains(CcwFlags::PCI);
            self.state = State::Suspended;
            self.residual = ccw.count.get();
            return Ok(Some(Event::Suspended));
        }
        let command = if data {
            self.command
        } else {
            CommandCode(ccw.command)
        };
        let backward = low_bits_backward(command);
        let highest = self.fetcher.highest();
        let mut ccw_of_area = ccw;
        if !command.reads() {
            // SKIP counts only where data would go to storage.
            ccw_of_area.flags &= !CcwFlags::SKIP.bits();
        }
        let area = DataArea::new(&ccw_of_area, self.fetcher.idaw, backward, highest)?;
        self.area = Some(area);
        self.ccw = ccw;
        self.command = command;
        self.residual = ccw.count.get();
        self.next = self.last.wrapping_add(8);
        Ok(None)
    }

    fn execute(&mut self, device: &mut dyn Device) -> Event {
        self.interrupt |= self.ccw.flags().contains(CcwFlags::PCI);
        if self.chaining == Chaining::Data {
            self.state = State::Transfer;
            return Event::Progress;
        }
        self.issue(device)
    }

    fn issue(&mut self, device: &mut dyn Device) -> Event {
        let reply = device.command(self.command.0);
        let status = reply.initial;
        self.sent = 0;
        self.immediate = status.contains(DeviceStatus::CHANNEL_END);
        let first = !self.accepted && self.chaining == Chaining::Start;
        if status == DeviceStatus::BUSY {
            self.state = State::Issue;
            return Event::Waiting;
        }
        if first && status.contains(DeviceStatus::BUSY) {
            self.state = State::Ended;
            return Event::TurnedAway(status);
        }
        if self.command.reads() {
            self.sends = reply.data;
            self.takes = 0;
        } else {
            self.sends = Vec::new();
            self.takes = reply.takes;
        }
        if status.is_empty() {
            self.accepted = true;
            self.state = State::Transfer;
            return if first {
                Event::Accepted
            } else {
                Event::Progress
            };
        }
        self.accepted |= self.immediate;
        if !self.immediate {
            return self.end_with(Ending {
                device: status,
                subchannel: SubchannelStatus::empty(),
            });
        }
        self.take_end(status)
    }

    fn finish(&mut self, device: &mut dyn Device) -> Event {
        if !device.ready() {
            return Event::Waiting;
        }
        let status = device.end();
        self.take_end(status)
    }

    fn wrong_length(&self) -> bool {
        let flags = self.ccw.flags();
        let residual = self.residual != 0;
        if self.immediate {
            let indicated = self.flags.contains(OrbFlags::FORMAT_1)
                && !self.flags.contains(OrbFlags::LENGTH_SUPPRESSION);
            return residual
                && (flags.contains(CcwFlags::CD) || (indicated && !flags.contains(CcwFlags::SLI)));
        }
        let wants = self.wants();
        let wrong = residual && self.takes != Reply::ANY
            || wants > 0 && wants != Reply::ANY
            || residual && flags.contains(CcwFlags::CD);
        wrong && (flags.contains(CcwFlags::CD) || !flags.contains(CcwFlags::SLI))
    }

    /// Ending status, or channel end in the initial status: to the next command, or the end.
    fn take_end(&mut self, status: DeviceStatus) -> Event {
        const USUAL: DeviceStatus = DeviceStatus::CHANNEL_END
            .union(DeviceStatus::DEVICE_END)
            .union(DeviceStatus::STATUS_MODIFIER);
        let mut subchannel = self.check;
        if subchannel.is_empty() && self.wrong_length() {
            subchannel |= SubchannelStatus::INCORRECT_LENGTH;
        }
        let flags = self.ccw.flags();
        let chain = flags.contains(CcwFlags::CC)
            && !flags.contains(CcwFlags::CD)
            && USUAL.contains(status)
            && subchannel.is_empty();
        let ended = status.contains(DeviceStatus::DEVICE_END) || !USUAL.contains(status);
        let ending = Ending {
            device: status,
            subchannel,
        };
        match (chain, ended) {
            (true, true) => self.chain_command(status),
            (true, false) => {
                self.state = State::DeviceEnd { chain: true };
                Event::Progress
            }
            (false, true) => self.end_with(ending),
            (false, false) => {
                self.state = State::DeviceEnd { chain: false };
                Event::ChannelEnd(ending)
            }
        }
    }

    fn chain_command(&mut self, status: DeviceStatus) -> Event {
        if status.contains(DeviceStatus::STATUS_MODIFIER) {
            self.next = self.next.wrapping_add(8);
        }
        self.chaining = Chaining::Command;
        self.state = State::Fetch;
        Event::Progress
    }

    fn device_end(&mut self, device: &mut dyn Device, chain: bool) -> Event {
        if !device.ready() {
            return Event::Waiting;
        }
        let status = device.later();
        let usual = DeviceStatus::DEVICE_END | DeviceStatus::STATUS_MODIFIER;
        if chain && usual.contains(status) {
            return self.chain_command(status);
        }
        self.end_with(Ending {
            device: status,
            subchannel: SubchannelStatus::empty(),
        })
    }

    fn end_with(&mut self, ending: Ending) -> Event {
        self.state = State::Ended;
        Event::Ended(ending)
    }

    /// A check before the command is given to the device. In data chaining the device is at work and is
    /// told to stop; its ending status goes with the check.
    fn fail(&mut self, check: SubchannelStatus) -> Event {
        if self.chaining == Chaining::Data {
            self.check |= check;
            self.state = State::Finish;
            return Event::Progress;
        }
        self.end_with(Ending {
            device: DeviceStatus::empty(),
            subchannel: check,
        })
    }
}

/// Read backward: the low four bits are 1100.
pub(super) const fn low_bits_backward(command: CommandCode) -> bool {
    command.0 & 0x0F == 0x0C
}
