//! The whole: subchannels over one storage, interruptions, channel reports, and the schedule.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::device::Device;
use super::fault::Fault;
use super::memory::Memory;
use super::program::Limits;
use super::subchannel::{PathState, Subchannel};
use super::trace::Trace;
use crate::{
    ChannelSubsystem, Crw, CrwFlags, DeviceStatus, Emw, IoInterruption, Irb, NotOperational, Orb,
    Pmcw, PmcwFlags, RecoveryCode, Refusal, Schib, SubchannelId, Tested,
};

/// Channel reports that wait; more make an overflow.
const REPORTS: usize = 16;

/// A software channel subsystem. See [the module](super).
#[derive(Debug)]
pub struct Model<M> {
    memory: M,
    subchannels: BTreeMap<SubchannelId, Subchannel>,
    reports: VecDeque<Crw>,
    limits: Limits,
    /// Interruption subclasses that [`ChannelSubsystem::pending_interruption`] takes, bit 0 (X'80')
    /// being subclass 0. All at first.
    pub isc_mask: u8,
    /// Whether the extended-measurement-word facility is installed. Without it, MODIFY SUBCHANNEL takes the bit for a
    /// reserved one. Off at first.
    pub extended_measurement: bool,
}

impl<M: Memory> Model<M> {
    /// A channel subsystem without subchannels.
    pub fn new(memory: M) -> Self {
        Self {
            memory,
            subchannels: BTreeMap::new(),
            reports: VecDeque::new(),
            limits: Limits::default(),
            isc_mask: 0xFF,
            extended_measurement: false,
        }
    }

    /// The storage.
    pub const fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Prefetch and address limit of the programs that are started from now on.
    pub const fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Puts a device behind a subchannel: valid, disabled, one operational path (number 0, chpid 0).
    pub fn attach(&mut self, id: SubchannelId, number: u16, device: impl Device + 'static) {
        let subchannel = Subchannel::new(number, Box::new(device));
        self.subchannels.insert(id, subchannel);
    }

    /// The subchannel is provided no more: condition code 3 for everything, STORE SUBCHANNEL too.
    pub fn remove(&mut self, id: SubchannelId) {
        self.subchannels.remove(&id);
        self.report_subchannel(id);
    }

    /// The device goes away: the subchannel is no longer valid, and whatever it was doing is lost
    /// without status. Makes a channel report.
    pub fn take_away(&mut self, id: SubchannelId) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.take_away();
            self.report_subchannel(id);
        }
    }

    /// The device is there again: valid and disabled. Makes a channel report.
    pub fn bring_back(&mut self, id: SubchannelId) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.bring_back();
            self.report_subchannel(id);
        }
    }

    /// The path-management-control word, to be made what no instruction makes it.
    pub fn pmcw(&mut self, id: SubchannelId) -> Option<&mut Pmcw> {
        Some(&mut self.subchannels.get_mut(&id)?.pmcw)
    }

    /// Makes what the subchannel shows what the test says, whatever its program does; if status is pending then, so is its interruption.
    /// A program that the channel works on no more has ended.
    pub fn present(&mut self, id: SubchannelId, make: impl FnOnce(&mut Irb)) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            make(&mut subchannel.irb);
            subchannel.shown();
        }
    }

    /// Whether the subchannel has an interruption that nobody has taken.
    pub fn has_interruption(&self, id: SubchannelId) -> bool {
        let subchannel = self.subchannels.get(&id);
        subchannel.is_some_and(|subchannel| subchannel.interruption)
    }

    /// Gives a subchannel a path, or changes the state of one. Makes no report.
    pub fn set_path(&mut self, id: SubchannelId, number: u8, chpid: u8, state: PathState) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.set_path(number, chpid, state);
        }
    }

    /// A channel path is lost for all subchannels. Programs that run on it end with an
    /// interface-control check. Makes a channel report.
    pub fn lose_path(&mut self, chpid: u8) {
        let mut known = false;
        for subchannel in self.subchannels.values_mut() {
            known |= subchannel.lose_path(chpid);
        }
        if known {
            let code = RecoveryCode::PermanentErrorNotInitialized;
            self.report(Crw::of_channel_path(chpid, CrwFlags::empty(), code));
        }
    }

    /// A channel path is there again. Makes a channel report.
    pub fn find_path(&mut self, chpid: u8) {
        let mut known = false;
        for subchannel in self.subchannels.values_mut() {
            known |= subchannel.find_path(chpid);
        }
        if known {
            let code = RecoveryCode::Initialized;
            self.report(Crw::of_channel_path(chpid, CrwFlags::empty(), code));
        }
    }

    /// The device has status that no program asked for. It is presented by a step as soon as no
    /// program is at work: as alert status, or as deferred condition code 1 of a start that is pending.
    pub fn unsolicited(&mut self, id: SubchannelId, status: DeviceStatus) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.unsolicited(status);
        }
    }

    /// The times of a start function, or from a resumption on: each status with an extended-measurement word takes the next,
    /// and has zeros when there is none. Sets the timing-facility bit.
    pub fn measure(&mut self, id: SubchannelId, times: Emw) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.pmcw.set_flag(PmcwFlags::TIMING, true);
            subchannel.times.push_back(times);
        }
    }

    /// Adds a fault to a subchannel's list.
    pub fn inject(&mut self, id: SubchannelId, fault: Fault) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.faults.push(fault);
        }
    }

    /// Removes all faults that have not happened.
    pub fn mend(&mut self, id: SubchannelId) {
        if let Some(subchannel) = self.subchannels.get_mut(&id) {
            subchannel.faults.clear();
        }
    }

    /// What the subchannel's program has touched so far; `None` without a program.
    pub fn trace(&self, id: SubchannelId) -> Option<&Trace> {
        self.subchannels.get(&id).and_then(Subchannel::trace)
    }

    /// Makes a channel report pending.
    pub fn report(&mut self, report: Crw) {
        if self.reports.len() < REPORTS {
            self.reports.push_back(report);
        } else if let Some(last) = self.reports.back_mut() {
            *last = last.with_overflow();
        }
    }

    fn report_subchannel(&mut self, id: SubchannelId) {
        let code = RecoveryCode::ParametersInitialized;
        let (first, second) = Crw::of_subchannel(id, CrwFlags::ANCILLARY, code);
        self.report(first);
        if let Some(second) = second {
            self.report(second);
        }
    }

    // ---- the schedule ----------------------------------------------------------------------------

    /// One piece of work of one subchannel: a start taken up, a CCW fetched, data moved, or status
    /// presented. Returns whether anything changed.
    pub fn step(&mut self, id: SubchannelId) -> bool {
        match self.subchannels.get_mut(&id) {
            Some(subchannel) => subchannel.step(&mut self.memory),
            None => false,
        }
    }

    /// Steps all subchannels in turn until in one round nothing changes, at most `rounds` times.
    /// Returns whether it came to rest. A device that waits changes nothing; a few such rounds in a
    /// row count as rest.
    pub fn run(&mut self, rounds: usize) -> bool {
        const PATIENCE: usize = 4;
        let ids: Vec<SubchannelId> = self.subchannels.keys().copied().collect();
        let mut idle = 0;
        for _ in 0..rounds {
            let mut moved = false;
            for id in &ids {
                moved |= self.step(*id);
            }
            idle = if moved { 0 } else { idle + 1 };
            if idle > PATIENCE {
                return true;
            }
        }
        false
    }

    /// Steps subchannels in an order that the seed decides, `steps` times.
    pub fn run_seeded(&mut self, seed: u64, steps: usize) {
        let ids: Vec<SubchannelId> = self.subchannels.keys().copied().collect();
        let mut state = seed | 1;
        for _ in 0..steps {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let Some(at) = (state as usize).checked_rem(ids.len()) else {
                return;
            };
            if let Some(id) = ids.get(at) {
                self.step(*id);
            }
        }
    }

    fn find(&mut self, id: SubchannelId) -> Result<&mut Subchannel, NotOperational> {
        self.subchannels.get_mut(&id).ok_or(NotOperational)
    }
}

impl<M: Memory> ChannelSubsystem for Model<M> {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        orb.check()?;
        let limits = self.limits.clone();
        self.find(id)?.start(orb, &limits)
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.find(id)?.halt()
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        self.find(id)?.clear()
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.find(id)?.cancel()
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.find(id)?.resume()
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        Ok(self.find(id)?.store())
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        schib.check()?;
        if schib.pmcw.has_extended_measurement() && !self.extended_measurement {
            return Err(Refusal::Operand);
        }
        self.find(id)?.modify(schib)
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        self.find(id)?.test()
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        let mask = self.isc_mask;
        let open = self.subchannels.iter_mut().filter(|(_, subchannel)| {
            subchannel.interruption && mask & (0x80 >> subchannel.pmcw.isc()) != 0
        });
        let (id, subchannel) = open.min_by_key(|(_, subchannel)| subchannel.pmcw.isc())?;
        subchannel.interruption = false;
        Some(IoInterruption::Subchannel {
            id: *id,
            parameter: subchannel.pmcw.parameter.get(),
            isc: subchannel.pmcw.isc(),
        })
    }

    fn channel_report(&mut self) -> Option<Crw> {
        self.reports.pop_front()
    }
}
