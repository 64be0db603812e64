//! A channel of its own: runs a program byte by byte as the *Principles of Operation* says, on any memory, and
//! writes down what it touched. It shares nothing with the translation but the formats.

use channel::{Ccw0, Ccw1, CcwFlags, DeviceStatus, Orb, OrbFlags, SubchannelStatus};
use zerocopy::{FromBytes, IntoBytes};

use super::places::Places;

/// Storage as the channel reaches it.
pub trait Memory {
    /// Fetches; `false`: not provided.
    fn load(&self, address: u64, bytes: &mut [u8]) -> bool;
    /// Stores; `false`: not provided.
    fn store(&mut self, address: u64, bytes: &[u8]) -> bool;
    /// The client's address of a data address.
    fn client(&self, address: u64) -> u64;
    /// Fetches a CCW or an address word.
    fn fetch(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.load(address, bytes)
    }
    /// What the device gives for the first command; else numbers.
    fn record(&self) -> Option<&[u8]> {
        None
    }
    /// Whether a command can end with status modifier.
    fn modifies(&self, _command: u8) -> bool {
        true
    }
    /// Whether it matters what a command sends.
    fn sends(&self, _command: u8) -> bool {
        true
    }
    /// Whether a CCW there says again what was said in the part of the program before.
    fn repeats(&self, _address: u32) -> bool {
        false
    }
    /// Called before the channel fetches the CCW of a command, with the number of commands so far: what
    /// others do meanwhile.
    fn tick(&mut self, _commands: usize) {}
    /// Called before each fetch of a CCW, of an address word, and before each piece of data: the same, at any time.
    fn step(&mut self) {}
}

/// What the device does with a command: one entry for each, around and around.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Bytes it wants to move.
    pub wants: u32,
    /// Ends with status modifier.
    pub modifier: bool,
    /// Ends with unit check.
    pub unit_check: bool,
    /// Ends at once, without data.
    pub immediate: bool,
}

impl Act {
    pub const fn moves(wants: u32) -> Self {
        Self {
            wants,
            modifier: false,
            unit_check: false,
            immediate: false,
        }
    }

    pub const fn skips(self) -> Self {
        Self {
            modifier: true,
            ..self
        }
    }
}

/// One stretch of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The lowest client address.
    pub address: u64,
    pub length: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fetched,
    Stored,
    StoredBackward,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// CCW address.
    pub program: u32,
    /// Residual count; `None`: unpredictable.
    pub count: Option<u16>,
    pub device: DeviceStatus,
    pub subchannel: SubchannelStatus,
    pub suspended: bool,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Commands that the device got.
    pub commands: Vec<u8>,
    pub touched: Vec<Touch>,
    /// CCW addresses with which a PCI would be shown.
    pub interruptions: Vec<u32>,
    /// Bytes that the device got with each of them, summed up in their order.
    pub sent: Vec<u64>,
    /// How many commands there were when the device's present chain began.
    pub begun: usize,
    /// How many were said again.
    pub repeated: usize,
    /// CCWs that were used.
    pub ccws: usize,
    /// Bytes that the device gave.
    pub source: u8,
    pub ending: Option<Ending>,
}

/// Commands after which a program counts as endless.
const MOST_COMMANDS: usize = 300;
const DONE: DeviceStatus = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);

/// A check: the subchannel status.
#[derive(Debug)]
pub struct Check(pub SubchannelStatus);

pub fn program_check<T>() -> Result<T, Check> {
    Err(Check(SubchannelStatus::PROGRAM_CHECK))
}

struct Channel<'a, M> {
    memory: &'a mut M,
    orb: Orb,
    run: &'a mut Run,
    /// The next command that is said again.
    again: Option<usize>,
    /// What the device got with it.
    said: u64,
}

/// Runs the program of an ORB, and adds it to `run`: what went before was the part of it before a cut.
pub fn run<M: Memory>(memory: &mut M, orb: &Orb, acts: &[Act], run: &mut Run) {
    let mut channel = Channel {
        memory,
        orb: *orb,
        again: None,
        said: 0,
        run,
    };
    if channel.memory.repeats(orb.program.get()) {
        channel.again = Some(channel.run.begun);
    } else {
        channel.run.begun = channel.run.commands.len();
    }
    let ending = channel.program(acts);
    run.ending = ending;
}

/// Where the channel is.
struct Position {
    next: u32,
    after_tic: bool,
}

impl<M: Memory> Channel<'_, M> {
    fn flag(&self, flag: OrbFlags) -> bool {
        self.orb.flags().contains(flag)
    }

    /// `None`: it never ended.
    fn program(&mut self, acts: &[Act]) -> Option<Ending> {
        let mut position = Position {
            next: self.orb.program.get(),
            after_tic: true,
        };
        loop {
            if self.run.commands.len() >= MOST_COMMANDS {
                return None;
            }
            if self.again.is_none() {
                self.memory.tick(self.run.commands.len());
            }
            let first = match self.fetch(&mut position, false) {
                Ok(ccw) => ccw,
                Err(Check(check)) => {
                    return Some(end(&position, None, DeviceStatus::empty(), check))
                }
            };
            if let Some(again) = self.again {
                if !self.memory.repeats(position.next - 8) {
                    assert_eq!(again, self.run.commands.len(), "not all is said again");
                    self.again = None;
                }
            }
            if first.flags().contains(CcwFlags::SUSPEND) {
                let allowed = self.flag(OrbFlags::SUSPEND_CONTROL);
                let check = if allowed {
                    SubchannelStatus::empty()
                } else {
                    SubchannelStatus::PROGRAM_CHECK
                };
                return Some(Ending {
                    suspended: allowed,
                    ..end(&position, None, DeviceStatus::empty(), check)
                });
            }
            let number = self.again.unwrap_or(self.run.commands.len());
            let act = &acts[number % acts.len()];
            if self.again.is_none() {
                self.run.commands.push(first.command);
                self.run.sent.push(0);
            }
            let (ccw, residual, check) = match self.command(first, act, &mut position) {
                Ok(done) => done,
                Err(ending) => return Some(ending),
            };
            if let Some(again) = &mut self.again {
                assert_eq!(first.command, self.run.commands[number]);
                let said = std::mem::take(&mut self.said);
                if self.memory.sends(first.command) {
                    assert_eq!(said, self.run.sent[number]);
                }
                self.run.repeated += 1;
                *again += 1;
            }
            let mut device = DONE;
            let modifier = act.modifier && self.memory.modifies(first.command);
            device.set(DeviceStatus::STATUS_MODIFIER, modifier);
            device.set(DeviceStatus::UNIT_CHECK, act.unit_check);
            let flags = ccw.flags();
            let chains = flags.contains(CcwFlags::CC) && !flags.contains(CcwFlags::CD);
            if !check.is_empty() || act.unit_check || !chains {
                return Some(end(&position, Some(residual), device, check));
            }
            if modifier {
                position.next += 8;
            }
        }
    }

    /// One command with its data chaining: the CCW it ended with, residual count, checks.
    fn command(
        &mut self,
        first: Ccw1,
        act: &Act,
        position: &mut Position,
    ) -> Result<(Ccw1, u16, SubchannelStatus), Ending> {
        let input = matches!(first.command & 0x03, 2) || matches!(first.command & 0x0F, 4 | 12);
        let backward = first.command & 0x0F == 0x0C;
        let mut ccw = first;
        let mut wants = if act.immediate {
            0
        } else {
            u64::from(act.wants)
        };
        loop {
            let mut left = u64::from(ccw.count.get());
            let mut places = Places::new(ccw, input, backward, &self.orb);
            while wants > 0 && left > 0 {
                let moved = self.piece(&mut places, wants.min(left), input);
                match moved {
                    Ok(length) => {
                        wants -= length;
                        left -= length;
                    }
                    Err(Check(check)) => {
                        let device = DeviceStatus::empty();
                        return Err(end(position, Some(left as u16), device, check));
                    }
                }
            }
            let flags = ccw.flags();
            if left > 0 || !flags.contains(CcwFlags::CD) {
                let suppressed = act.immediate
                    && (!self.flag(OrbFlags::FORMAT_1) || self.flag(OrbFlags::LENGTH_SUPPRESSION));
                let wrong = (left > 0 || wants > 0) && !suppressed;
                let sli = flags.contains(CcwFlags::SLI) && !flags.contains(CcwFlags::CD);
                let mut check = SubchannelStatus::empty();
                check.set(SubchannelStatus::INCORRECT_LENGTH, wrong && !sli);
                return Ok((ccw, left as u16, check));
            }
            // The count is used up, and there is more to come: or so the CD flag says.
            match self.fetch(position, true) {
                Ok(next) if next.count.get() > 0 && !next.flags().contains(CcwFlags::SUSPEND) => {
                    ccw = next;
                    if let Some(again) = self.again {
                        if !self.memory.repeats(position.next - 8) {
                            // What was said again was the begin of this command.
                            assert_eq!(again + 1, self.run.commands.len(), "not all is said again");
                            self.again = None;
                            self.run.repeated += 1;
                        }
                    }
                }
                Ok(_) | Err(Check(_)) => {
                    let check = SubchannelStatus::PROGRAM_CHECK;
                    return Err(end(position, None, DeviceStatus::empty(), check));
                }
            }
        }
    }

    fn piece(&mut self, places: &mut Places, most: u64, input: bool) -> Result<u64, Check> {
        if self.again.is_some() && input {
            assert!(places.skip, "it would be stored once more");
            return Ok(most);
        }
        if input && places.skip {
            self.run.source = self.run.source.wrapping_add(most as u8);
            return Ok(most);
        }
        self.memory.step();
        let (start, length) = places.piece(most, self.memory)?;
        let mut bytes = vec![0; length as usize];
        if input {
            let mut give = || {
                self.run.source = self.run.source.wrapping_add(1);
                // A program that it makes by chance does not read backward: a status modifier into such a chain is not served.
                if self.run.source & 0x0F == 0x0C {
                    self.run.source += 1;
                }
                self.run.source
            };
            if places.backward {
                bytes.iter_mut().rev().for_each(|byte| *byte = give());
            } else {
                bytes.iter_mut().for_each(|byte| *byte = give());
            }
            if let Some(record) = self
                .memory
                .record()
                .filter(|_| self.run.commands.len() == 1)
            {
                bytes.copy_from_slice(&record[..length as usize]);
            }
            if places.lost {
                return Ok(length);
            }
        }
        // What is not provided is found out at the first byte that is not.
        let there = self.provided(start, length, places.backward);
        let kind = match (input, places.backward) {
            (false, _) => Kind::Fetched,
            (true, false) => Kind::Stored,
            (true, true) => Kind::StoredBackward,
        };
        if there > 0 {
            let (low, part) = if places.backward {
                (
                    start + length - there,
                    &mut bytes[(length - there) as usize..],
                )
            } else {
                (start, &mut bytes[..there as usize])
            };
            if input {
                assert!(self.memory.store(low, part));
            } else {
                assert!(self.memory.load(low, part));
                let sent = match self.again {
                    Some(_) => Some(&mut self.said),
                    None => self.run.sent.last_mut(),
                };
                let sent = sent.expect("a command");
                for &byte in part.iter() {
                    *sent = sent.wrapping_mul(31).wrapping_add(u64::from(byte));
                }
            }
            if self.again.is_none() {
                self.touch(Touch {
                    address: self.memory.client(low),
                    length: there,
                    kind,
                });
            }
        }
        if there == 0 {
            return program_check();
        }
        if there < length {
            // The rest of the piece is for the next call, which finds nothing there.
            places.left += length - there;
            places.at = if places.backward {
                start + length - there - 1
            } else {
                start + there
            };
        }
        Ok(there)
    }

    /// How many bytes of a piece are provided, from where the transfer begins.
    fn provided(&self, start: u64, length: u64, backward: bool) -> u64 {
        let there = |count: u64| {
            let low = if backward {
                start + length - count
            } else {
                start
            };
            let mut byte = [0];
            count == 0 || {
                let ends = [low, low + count - 1];
                ends.iter().all(|&end| self.memory.load(end, &mut byte))
            }
        };
        if there(length) {
            return length;
        }
        let (mut good, mut bad) = (0, length);
        while bad - good > 1 {
            let middle = (good + bad) / 2;
            if there(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    fn touch(&mut self, touch: Touch) {
        if let Some(last) = self.run.touched.last_mut() {
            if last.kind == touch.kind {
                if touch.kind == Kind::StoredBackward {
                    if touch.address + touch.length == last.address {
                        last.address = touch.address;
                        last.length += touch.length;
                        return;
                    }
                } else if last.address + last.length == touch.address {
                    last.length += touch.length;
                    return;
                }
            }
        }
        self.run.touched.push(touch);
    }

    /// The next CCW that is not a transfer in channel. `position` is 8 beyond what was looked at last.
    fn fetch(&mut self, position: &mut Position, data: bool) -> Result<Ccw1, Check> {
        let format_1 = self.flag(OrbFlags::FORMAT_1);
        let end: u32 = if format_1 { 1 << 31 } else { 1 << 24 };
        loop {
            let address = position.next;
            position.next = address.wrapping_add(8);
            self.memory.step();
            let mut bytes = [0; 8];
            if !address.is_multiple_of(8)
                || address >= end
                || !self.memory.fetch(u64::from(address), &mut bytes)
            {
                return program_check();
            }
            let ccw = if format_1 {
                Ccw1::read_from_bytes(&bytes).unwrap()
            } else {
                let ccw = Ccw0::read_from_bytes(&bytes).unwrap();
                if ccw.count.get() == 0 && ccw.command & 0x0F != 8 {
                    return program_check();
                }
                Ccw1::from(ccw)
            };
            if ccw.command & 0x0F == 8 {
                let target = ccw.address.get();
                let plain = ccw.as_bytes()[..4] == [8, 0, 0, 0];
                let mut byte = [0];
                let there = target < end
                    && target % 8 == 0
                    && self.memory.fetch(u64::from(target), &mut byte);
                if !plain || position.after_tic || !there {
                    return program_check();
                }
                position.next = target;
                position.after_tic = true;
                continue;
            }
            position.after_tic = false;
            let flags = ccw.flags();
            let both = CcwFlags::IDA | CcwFlags::MIDA;
            let midaw = flags.contains(CcwFlags::MIDA) && !self.flag(OrbFlags::MIDAW);
            let code = ccw.command & 0x0F == 0 && !data;
            if ccw.address.get() >= 1 << 31 || flags.contains(both) || midaw || code {
                return program_check();
            }
            if flags.contains(CcwFlags::PCI) {
                self.run.interruptions.push(position.next);
            }
            self.run.ccws += 1;
            return Ok(ccw);
        }
    }
}

fn end(
    position: &Position,
    count: Option<u16>,
    device: DeviceStatus,
    subchannel: SubchannelStatus,
) -> Ending {
    Ending {
        program: position.next,
        count,
        device,
        subchannel,
        suspended: false,
    }
}
