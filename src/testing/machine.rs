//! Storage, a clock, and the channel subsystem. Storage is numbered from 0 like the real one, wherever the test's process has it.

mod platform;
mod storm;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use channel::model::{self, Instruction, Model, PathState};
use channel::{
    Ccw1, ChannelSubsystem, CommandCode, Crw, CrwFlags, DeviceStatus, IoInterruption,
    NotOperational, Orb, Pmcw, PmcwFlags, RecoveryCode, Refusal, ReportingSource, Schib,
    StatusControl, SubchannelId, Tested,
};
use window::{ClientAddress, Window};

use self::storm::Storm;
use super::port::{Fault, Front, Port};
use super::storage::Storage;
use super::unit::Unit;
use super::virtio::{Signal, Virtio};
use crate::css::stock::Stock;
use crate::css::{EventInformation, Patience, Wake};

/// When the channel works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Within each instruction, up to the end of what it started.
    Within,
    /// While a driver sleeps, and when the test steps the model.
    Later,
    /// When the test steps the model, and at no other time.
    Stepped,
}

/// The machine.
pub struct Machine {
    pub css: Model<Storage>,
    pub pace: Pace,
    pub subchannels: BTreeMap<SubchannelId, Port>,
    pub reports: VecDeque<Crw>,
    /// Reports that come as time goes by.
    pub storm: Option<Storm>,
    /// Events of the channel subsystem.
    pub events: VecDeque<EventInformation>,
    /// Interruptions of adapters, and those that were taken for somebody else.
    pending: VecDeque<IoInterruption>,
    /// How often a driver slept.
    pub sleeps: u32,
    /// Clients are served: whoever waits now has them wait, and ends the test.
    pub serving: bool,
    /// What ends the next waits of the event loop, with an interruption that is pending by then.
    pub wakes: VecDeque<(Wake, IoInterruption)>,
    /// Interruptions that were taken, and notifications, since the last wait.
    pub since_wait: Rc<Cell<u32>>,
    /// How long STORE SUBCHANNEL takes.
    pub store_micros: u64,
    /// What somebody else does during the next one.
    pub meanwhile: Option<Box<dyn FnOnce()>>,
    pub midaws: bool,
    /// For how many seconds its watchdog was set, each time; none if it has none.
    pub watchdog: Option<Vec<u32>>,
    pub micros: u64,
    storage: Window,
    base: *mut u8,
    /// Where storage begins that was never given out.
    pub free: u64,
    stock: Option<Stock>,
    patience: Patience,
}

impl Machine {
    /// More than any program takes.
    const STEPS: usize = 100_000;

    pub fn new() -> Self {
        Self::with_storage(16 << 20)
    }

    /// A machine without devices, for who asks nothing of it but to be there.
    pub fn empty() -> Self {
        Self::with_storage(0)
    }

    fn with_storage(size: usize) -> Self {
        let base = vec![0; size].leak().as_mut_ptr();
        // SAFETY: leaked bytes, which nobody has a reference to.
        let all = || unsafe { Window::new(base, size as u64, 0) };
        Self {
            css: Model::new(Storage(all())),
            pace: Pace::Within,
            subchannels: BTreeMap::new(),
            reports: VecDeque::new(),
            storm: None,
            events: VecDeque::new(),
            pending: VecDeque::new(),
            sleeps: 0,
            serving: false,
            wakes: VecDeque::new(),
            since_wait: Rc::default(),
            store_micros: 0,
            meanwhile: None,
            midaws: false,
            watchdog: None,
            micros: 1,
            storage: all(),
            base,
            free: 4096,
            stock: None,
            patience: Patience::DRIVERS,
        }
    }

    /// Something has happened to a subchannel.
    pub fn report(&mut self, id: SubchannelId) {
        let code = RecoveryCode::ParametersInitialized;
        let (first, second) = Crw::of_subchannel(id, CrwFlags::ANCILLARY, code);
        self.reports.push_back(first);
        self.reports.extend(second);
    }

    /// Reports were lost.
    pub fn lose_reports(&mut self) {
        let (source, flags) = (ReportingSource::Subchannel, CrwFlags::ANCILLARY);
        let report = Crw::new(flags, source, RecoveryCode::ParametersInitialized, 0);
        self.reports.push_back(report.with_overflow());
    }

    /// A machine with one device, and its subchannel.
    pub fn with(virtio: Virtio) -> (Self, SubchannelId) {
        let mut machine = Self::new();
        let id = machine.attach(0, 0x100, virtio);
        (machine, id)
    }

    /// Adds a virtio device on the next subchannel of `set`.
    pub fn attach(&mut self, set: u8, device: u16, virtio: Virtio) -> SubchannelId {
        let all = self.subchannels.keys().filter(|id| id.set() == set);
        let id = SubchannelId::new(set, all.count() as u16).unwrap();
        self.exchange(id, device, virtio);
        id
    }

    /// Another device is on the subchannel from now on.
    pub fn exchange(&mut self, id: SubchannelId, device: u16, virtio: Virtio) {
        let virtio = Rc::new(RefCell::new(virtio));
        self.attach_unit(id, device, virtio.clone());
        self.subchannel(id).virtio = Some(virtio);
    }

    /// Puts a device on a subchannel.
    pub fn attach_unit(&mut self, id: SubchannelId, device: u16, unit: impl Unit + 'static) {
        let front = Rc::new(RefCell::new(Front::new(Box::new(unit))));
        self.attach_device(id, device, front.clone());
        self.subchannel(id).front = Some(front);
    }

    /// Puts a device of the model's on a subchannel.
    pub fn attach_device(
        &mut self,
        id: SubchannelId,
        number: u16,
        device: impl model::Device + 'static,
    ) {
        self.css.attach(id, number, device);
        self.subchannels.insert(id, Port::default());
    }

    /// Gives a subchannel these paths, each with a channel-path identifier of its own.
    pub fn set_paths(&mut self, id: SubchannelId, mask: u8) {
        for number in (0..8).filter(|number| mask & Pmcw::path_bit(*number) != 0) {
            let state = PathState::Operational;
            self.css.set_path(id, number, 0x30 + number, state);
        }
    }

    pub fn subchannel(&mut self, id: SubchannelId) -> &mut Port {
        self.subchannels.get_mut(&id).unwrap()
    }

    /// The path-management-control word, to be made what no instruction makes it.
    pub fn pmcw(&mut self, id: SubchannelId) -> &mut Pmcw {
        self.settle(id);
        self.css.pmcw(id).unwrap()
    }

    /// Takes the device away, at once. When it is gone no longer, it is back.
    pub fn unplug(&mut self, id: SubchannelId) {
        self.subchannel(id).mishaps.gone = true;
        self.settle(id);
    }

    /// All of the machine's storage.
    pub fn window(&self) -> &Window {
        &self.storage
    }

    /// Lets a virtio device go on with what it has.
    pub fn work(&mut self, id: SubchannelId) {
        let signals = self.subchannels[&id].virtio().work(&self.storage);
        for signal in signals {
            match signal {
                Signal::Adapter(isc) => self.pending.push_back(IoInterruption::Adapter { isc }),
                Signal::Classic => self.alert(id, DeviceStatus::empty()),
            }
        }
    }

    /// A virtio device says that its configuration is another one.
    pub fn change_configuration(&mut self, id: SubchannelId) {
        let place = self.subchannels[&id].virtio().config_indicators.unwrap();
        let set = self.storage.write(ClientAddress::new(place), &[0x80_u8]);
        set.unwrap();
        self.alert(id, DeviceStatus::empty());
    }

    /// Status that no program asked for, unless other status is pending.
    pub fn alert(&mut self, id: SubchannelId, status: DeviceStatus) {
        if self.css.store(id).is_ok_and(|schib| !is_pending(&schib)) {
            self.css.inject(id, model::Fault::Alert(status));
            self.css.step(id);
        }
    }

    /// A program that hangs goes on after all.
    pub fn end_well(&mut self, id: SubchannelId) {
        let front = self.subchannels[&id].front.as_ref().unwrap();
        front.borrow_mut().hangs = false;
        self.run(id);
    }

    /// The channel works, if this is the time for it.
    fn run(&mut self, id: SubchannelId) {
        if self.pace == Pace::Stepped {
            return;
        }
        // A device that waits changes nothing, once.
        let mut idle = 0;
        for _ in 0..Self::STEPS {
            idle = if self.css.step(id) { 0 } else { idle + 1 };
            if self.pace == Pace::Later || idle > 1 {
                return;
            }
        }
        panic!("a program that does not come to its end");
    }

    /// Tells the model what the test says of the subchannel.
    fn settle(&mut self, id: SubchannelId) {
        let Some(port) = self.subchannels.get_mut(&id) else {
            return;
        };
        let mishaps = &port.mishaps;
        let stuck = (mishaps.halt_stuck || mishaps.stuck, mishaps.stuck);
        if port.stuck != stuck {
            port.stuck = stuck;
            self.css.mend(id);
            if stuck.0 {
                self.css.inject(id, model::Fault::HaltUnanswered);
            }
            if stuck.1 {
                self.css.inject(id, model::Fault::ClearUnanswered);
            }
        }
        if mishaps.no_concurrent_sense {
            if let Some(pmcw) = self.css.pmcw(id) {
                pmcw.set_concurrent_sense(false);
            }
        }
        if port.gone != mishaps.gone {
            port.gone = mishaps.gone;
            match port.gone {
                true => self.css.take_away(id),
                false => self.css.bring_back(id),
            }
        }
    }

    /// Writes down an instruction with its answer.
    fn note(
        &mut self,
        id: SubchannelId,
        instruction: Instruction,
        answer: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(port) = self.subchannels.get_mut(&id) {
            port.asked.push((instruction, answer));
        }
        answer
    }

    /// What a start or modification finds before anything else.
    fn meet(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.settle(id);
        let port = self.subchannels.get_mut(&id);
        let mishaps = &mut port.ok_or(Refusal::NotOperational)?.mishaps;
        if mishaps.gone {
            return Ok(());
        }
        if let Some(left) = mishaps.busy.checked_sub(1) {
            mishaps.busy = left;
            return Err(Refusal::Busy);
        }
        if let Some(left) = mishaps.pending.checked_sub(1) {
            mishaps.pending = left;
            self.alert(id, DeviceStatus::empty());
        }
        Ok(())
    }

    /// What happens to a program that is about to start, by the test's word.
    fn prepare(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        let place = ClientAddress::new(orb.program.get().into());
        let Ok(ccw) = self.storage.read::<Ccw1>(place) else {
            return Ok(());
        };
        let schib = self.css.store(id)?;
        let pmcw = &schib.pmcw;
        let enabled = pmcw.flags().contains(PmcwFlags::ENABLED);
        if !enabled || is_pending(&schib) || !schib.scsw.function().is_empty() {
            return Ok(());
        }
        let mask = orb.path_mask() & pmcw.lpm & pmcw.pam;
        let path = 0x80_u8.checked_shr(mask.leading_zeros()).unwrap_or(0);
        let port = self.subchannels.get_mut(&id).ok_or(NotOperational)?;
        let fault = port.fault(CommandCode(ccw.command), path);
        if let Some(Fault::Refused(refusal)) = fault {
            return Err(refusal);
        }
        port.commands.push(ccw.command);
        match fault {
            Some(Fault::Channel(status)) => self.css.inject(id, model::Fault::Check(status)),
            Some(Fault::Deferred(1)) => {
                let none = DeviceStatus::empty();
                self.css.inject(id, model::Fault::DeferredStatus(none));
            }
            Some(Fault::Deferred(_)) => self.css.inject(id, model::Fault::DeferredNoPath),
            _ => {}
        }
        if let Some(front) = &port.front {
            let mut front = front.borrow_mut();
            front.unit().begin(path);
            front.fault = fault;
            front.area.resize(ccw.count.get().into(), 0);
            let place = ClientAddress::new(ccw.address.get().into());
            // Lists of addresses are looked at, too; nobody makes use of that.
            let _ = self.storage.read_bytes(place, &mut front.area);
        }
        Ok(())
    }
}

fn is_pending(schib: &Schib) -> bool {
    schib.scsw.status().contains(StatusControl::PENDING)
}

impl ChannelSubsystem for Machine {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        let met = self.meet(id).and_then(|()| self.prepare(id, orb));
        // SAFETY: the caller's.
        let started = met.and_then(|()| unsafe { self.css.start(id, orb) });
        self.note(id, Instruction::Start, started)?;
        self.subchannel(id).started.push(*orb);
        if !self.subchannel(id).mishaps.hangs {
            self.run(id);
        }
        Ok(())
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.settle(id);
        let halted = self.css.halt(id);
        self.note(id, Instruction::Halt, halted)?;
        self.subchannel(id).halts += 1;
        self.run(id);
        Ok(())
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        self.settle(id);
        let cleared = self.css.clear(id);
        self.note(id, Instruction::Clear, cleared.map_err(Refusal::from))
            .map_err(|_| NotOperational)?;
        self.subchannel(id).clears += 1;
        self.run(id);
        Ok(())
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.settle(id);
        let cancelled = self.css.cancel(id);
        self.note(id, Instruction::Cancel, cancelled)
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.settle(id);
        let resumed = self.css.resume(id);
        self.note(id, Instruction::Resume, resumed)?;
        self.run(id);
        Ok(())
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        if let Some(act) = self.meanwhile.take() {
            act();
        }
        self.micros += self.store_micros;
        self.settle(id);
        let port = self.subchannels.get_mut(&id).ok_or(NotOperational)?;
        port.stores += 1;
        self.css.store(id)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.meet(id)?;
        self.css.modify(id, schib)?;
        let enabled = schib.pmcw.flags().contains(PmcwFlags::ENABLED);
        let front = &self.subchannels[&id].front;
        if let Some(front) = front.as_ref().filter(|_| !enabled) {
            front.borrow_mut().unit().disable();
        }
        Ok(())
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        self.settle(id);
        let tested = self.css.test(id)?;
        if let Tested::Status(irb) = tested {
            let port = self.subchannel(id);
            port.tested += 1;
            port.last = irb;
            let mishaps = &mut port.mishaps;
            let (insists, ends) = (mishaps.insists, mishaps.ends_behind);
            (mishaps.insists, mishaps.ends_behind) = (false, false);
            if insists {
                self.alert(id, DeviceStatus::empty());
            }
            if ends {
                self.end_well(id);
            }
        }
        Ok(tested)
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        let kept = self.pending.pop_front();
        let first = kept.or_else(|| self.css.pending_interruption());
        if first.is_some() {
            self.since_wait.update(|count| count + 1);
        }
        first
    }

    fn channel_report(&mut self) -> Option<Crw> {
        let reported = self.reports.pop_front();
        reported.or_else(|| self.blow())
    }
}
