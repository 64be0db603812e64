//! A machine of software for the unit tests: storage, a clock, and a channel subsystem whose devices
//! interpret the channel programs that drivers start.
//!
//! Programs run within START SUBCHANNEL, as those of emulated devices do. Storage is numbered from 0
//! like the real one, wherever the test's process has it.

mod block;
mod console;
mod virtio;

use std::boxed::Box;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use channel::{
    ActivityControl, Ccw1, ChannelSubsystem, CommandCode, Crw, DeviceStatus, FunctionControl,
    IoInterruption, Irb, NotOperational, Orb, PmcwFlags, Refusal, Schib, StatusControl,
    SubchannelId, Tested,
};
use s390x::clock::Tod;
use window::{ClientAddress, Window};

pub use block::{Behaviour, Disk};
pub use console::Console;
pub use virtio::{Model, Virtio};

use crate::css::stock::Stock;
use crate::css::{OutOfStorage, Patience, Platform, Wake};

/// What a device answers to a command.
pub enum Answer {
    /// Channel end and device end; so many bytes were transferred.
    Done(usize),
    /// Unit check with a command reject.
    Reject,
}

/// What a subchannel does instead of what it should.
#[derive(Default)]
pub struct Mishaps {
    /// So many more starts and modifications find it busy.
    pub busy: u32,
    /// So many more starts and modifications find it status pending.
    pub pending: u32,
    /// Programs do not end.
    pub hangs: bool,
    /// Nor does a clear function.
    pub stuck: bool,
    /// Unit checks come without sense bytes.
    pub no_concurrent_sense: bool,
    /// As soon as its status is taken it has more, once.
    pub insists: bool,
    /// It is not there any more.
    pub gone: bool,
}

/// A subchannel with its device.
pub struct Subchannel {
    pub id: SubchannelId,
    pub schib: Schib,
    pub mishaps: Mishaps,
    pub virtio: Virtio,
    /// The commands it was given, in order.
    pub commands: Vec<u8>,
    /// How often its SCHIB was stored.
    pub stores: u32,
    status: Option<Irb>,
    rejected: bool,
}

impl Subchannel {
    fn enabled(&self) -> bool {
        self.schib.pmcw.flags().contains(PmcwFlags::ENABLED)
    }

    fn interruption(&self) -> IoInterruption {
        IoInterruption::Subchannel {
            id: self.id,
            parameter: self.schib.pmcw.parameter.get(),
            isc: self.schib.pmcw.isc(),
        }
    }

    fn end(&mut self, function: FunctionControl, device: DeviceStatus, count: usize) {
        let mut irb = Irb::default();
        let status = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
        irb.scsw
            .set_controls(function, ActivityControl::empty(), status);
        irb.scsw.device_status = device.bits();
        irb.scsw.count = (count as u16).into();
        if device.contains(DeviceStatus::UNIT_CHECK) && !self.mishaps.no_concurrent_sense {
            irb.set_concurrent_sense(&[0x80]);
        }
        self.status = Some(irb);
    }

    /// Status that no program asked for: a classic indicator was set.
    fn alert(&mut self) -> bool {
        if self.status.is_some() || !self.enabled() {
            return false;
        }
        let mut irb = Irb::default();
        let status = StatusControl::ALERT | StatusControl::PENDING;
        irb.scsw
            .set_controls(FunctionControl::empty(), ActivityControl::empty(), status);
        self.status = Some(irb);
        true
    }

    fn mishap(&mut self) -> Result<(), Refusal> {
        if self.mishaps.gone {
            return Err(Refusal::NotOperational);
        }
        if self.mishaps.busy > 0 {
            self.mishaps.busy -= 1;
            return Err(Refusal::Busy);
        }
        if self.mishaps.pending > 0 {
            self.mishaps.pending -= 1;
            self.alert();
        }
        if self.status.is_some() {
            Err(Refusal::StatusPending)
        } else {
            Ok(())
        }
    }
}

/// The machine.
pub struct Machine {
    pub subchannels: Vec<Subchannel>,
    pub reports: VecDeque<Crw>,
    pub pending: VecDeque<IoInterruption>,
    /// How often a driver slept.
    pub sleeps: u32,
    /// What ends the next waits of the event loop, with an interruption that is pending by then.
    pub wakes: VecDeque<(Wake, IoInterruption)>,
    /// Interruptions that were taken, and notifications, since the last wait.
    pub since_wait: Rc<Cell<u32>>,
    /// How long STORE SUBCHANNEL takes.
    pub store_micros: u64,
    /// What somebody else does during the next one.
    pub meanwhile: Option<Box<dyn FnOnce()>>,
    storage: Window,
    base: *mut u8,
    /// Where storage begins that was never given out.
    pub free: u64,
    stock: Option<Stock>,
    micros: u64,
    patience: Patience,
}

impl Machine {
    const STORAGE: usize = 16 << 20;

    pub fn new() -> Self {
        let bytes = vec![0; Self::STORAGE].leak();
        let base = bytes.as_mut_ptr();
        Self {
            subchannels: Vec::new(),
            reports: VecDeque::new(),
            pending: VecDeque::new(),
            sleeps: 0,
            wakes: VecDeque::new(),
            since_wait: Rc::default(),
            store_micros: 0,
            meanwhile: None,
            storage: Window::leaked(bytes, 0),
            base,
            free: 4096,
            stock: None,
            micros: 1,
            patience: Patience::DRIVERS,
        }
    }

    /// A machine with one device, and its subchannel.
    pub fn with(virtio: Virtio) -> (Self, SubchannelId) {
        let mut machine = Self::new();
        let id = machine.attach(0, 0x100, virtio);
        (machine, id)
    }

    /// Adds a device on the next subchannel of `set`.
    pub fn attach(&mut self, set: u8, device: u16, virtio: Virtio) -> SubchannelId {
        let number = self
            .subchannels
            .iter()
            .filter(|s| s.id.set() == set)
            .count();
        let id = SubchannelId::new(set, number as u16).unwrap();
        let mut schib = Schib::default();
        schib.pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        schib.pmcw.device = device.into();
        schib.pmcw.lpm = 0x80;
        schib.pmcw.pim = 0x80;
        schib.pmcw.pam = 0x80;
        self.subchannels.push(Subchannel {
            id,
            schib,
            mishaps: Mishaps::default(),
            virtio,
            commands: Vec::new(),
            stores: 0,
            status: None,
            rejected: false,
        });
        id
    }

    pub fn subchannel(&mut self, id: SubchannelId) -> &mut Subchannel {
        self.subchannels.iter_mut().find(|s| s.id == id).unwrap()
    }

    /// All of the machine's storage.
    pub fn window(&self) -> &Window {
        &self.storage
    }

    /// Lets the devices go on with what they have.
    pub fn work(&mut self, id: SubchannelId) {
        let index = self.subchannels.iter().position(|s| s.id == id).unwrap();
        let subchannel = &mut self.subchannels[index];
        for signal in subchannel.virtio.work(&self.storage) {
            match signal {
                virtio::Signal::Adapter(isc) => {
                    self.pending.push_back(IoInterruption::Adapter { isc });
                }
                virtio::Signal::Classic if subchannel.alert() => {
                    self.pending.push_back(subchannel.interruption());
                }
                virtio::Signal::Classic => {}
            }
        }
    }

    /// The device says that its configuration is another one.
    pub fn change_configuration(&mut self, id: SubchannelId) {
        let place = self.subchannel(id).virtio.config_indicators.unwrap();
        self.storage
            .write(ClientAddress::new(place), &[0x80_u8])
            .unwrap();
        let subchannel = self.subchannel(id);
        if subchannel.alert() {
            let interruption = subchannel.interruption();
            self.pending.push_back(interruption);
        }
    }

    fn find(&mut self, id: SubchannelId) -> Result<&mut Subchannel, NotOperational> {
        let found = self
            .subchannels
            .iter_mut()
            .find(|s| s.id == id && !s.mishaps.gone);
        found.ok_or(NotOperational)
    }
}

impl ChannelSubsystem for Machine {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        let Self {
            subchannels,
            storage,
            pending,
            ..
        } = self;
        let subchannel = subchannels.iter_mut().find(|s| s.id == id);
        let subchannel = subchannel.ok_or(Refusal::NotOperational)?;
        subchannel.mishap()?;
        assert!(subchannel.enabled(), "a start on a disabled subchannel");
        assert_eq!(orb.path_mask(), 0x80);
        if subchannel.mishaps.hangs {
            return Ok(());
        }
        let program = ClientAddress::new(orb.program.get().into());
        let ccw: Ccw1 = storage.read(program).unwrap();
        let count = usize::from(ccw.count.get());
        let place = ClientAddress::new(ccw.address.get().into());
        assert!(count == 0 || place.is_aligned(8));
        let mut data = vec![0; count];
        storage.read_bytes(place, &mut data).unwrap();
        subchannel.commands.push(ccw.command);
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let answer = if ccw.command == CommandCode::SENSE.0 {
            data[0] = if std::mem::take(&mut subchannel.rejected) {
                0x80
            } else {
                0
            };
            Answer::Done(1)
        } else {
            subchannel
                .virtio
                .command(CommandCode(ccw.command), &mut data)
        };
        match answer {
            Answer::Done(transferred) => {
                storage.write_bytes(place, &data).unwrap();
                subchannel.end(
                    FunctionControl::START,
                    ended,
                    count - transferred.min(count),
                );
            }
            Answer::Reject => {
                subchannel.rejected = true;
                subchannel.end(
                    FunctionControl::START,
                    ended | DeviceStatus::UNIT_CHECK,
                    count,
                );
            }
        }
        pending.push_back(subchannel.interruption());
        Ok(())
    }

    fn halt(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::NotOperational)
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        let subchannel = self.find(id)?;
        if !subchannel.mishaps.stuck {
            subchannel.end(FunctionControl::CLEAR, DeviceStatus::empty(), 0);
        }
        Ok(())
    }

    fn cancel(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::NotOperational)
    }

    fn resume(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::NotOperational)
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        if let Some(act) = self.meanwhile.take() {
            act();
        }
        self.micros += self.store_micros;
        let subchannel = self.find(id)?;
        subchannel.stores += 1;
        Ok(subchannel.schib)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        let subchannel = self.find(id).map_err(|_| Refusal::NotOperational)?;
        subchannel.mishap()?;
        subchannel.schib = *schib;
        if !subchannel.enabled() {
            subchannel.virtio.disable();
        }
        Ok(())
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        let subchannel = self.find(id)?;
        let Some(irb) = subchannel.status.take() else {
            return Ok(Tested::Nothing(Irb::default()));
        };
        if std::mem::take(&mut subchannel.mishaps.insists) && subchannel.alert() {
            let interruption = subchannel.interruption();
            self.pending.push_back(interruption);
        }
        Ok(Tested::Status(irb))
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        let first = self.pending.pop_front();
        if first.is_some() {
            self.since_wait.update(|count| count + 1);
        }
        first
    }

    fn channel_report(&mut self) -> Option<Crw> {
        self.reports.pop_front()
    }
}

impl Platform for Machine {
    fn notify(&mut self, id: SubchannelId, queue: u16, cookie: i64) -> i64 {
        self.since_wait.update(|count| count + 1);
        let subchannel = self.subchannel(id);
        if subchannel.mishaps.gone {
            return -22;
        }
        assert_eq!(cookie, subchannel.virtio.expected_cookie(queue));
        subchannel.virtio.notified(queue);
        self.work(id);
        i64::from(queue) + 1000
    }

    fn now(&self) -> Tod {
        Tod::from_micros(self.micros)
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        self.since_wait.set(0);
        if let Some((wake, interruption)) = self.wakes.pop_front() {
            self.pending.push_back(interruption);
            return wake;
        }
        if !self.pending.is_empty() {
            return Wake::Io;
        }
        self.pause(deadline.expect("nothing will ever happen"));
        Wake::Deadline
    }

    fn pause(&mut self, deadline: Tod) {
        self.sleeps += 1;
        if self.pending.is_empty() {
            self.micros = self.micros.max(deadline.as_micros());
        } else {
            self.micros += 1;
        }
    }

    fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        let before = self.pending.len();
        self.pending
            .retain(|one| !matches!(one, IoInterruption::Subchannel { id: of, .. } if *of == id));
        self.pending.len() < before
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let bytes = pages as u64 * 4096;
        if let Some(start) = self.stock.as_mut().and_then(|stock| stock.take(pages)) {
            // SAFETY: within the leaked bytes, which nobody has a reference to.
            let window = unsafe { Window::new(self.base.add(start as usize), bytes, start) };
            window.fill(ClientAddress::new(0), bytes, 0).unwrap();
            return Ok(window);
        }
        if pages == 0 || self.free + bytes > Self::STORAGE as u64 {
            return Err(OutOfStorage { pages });
        }
        let start = self.free;
        self.free += bytes;
        if let Some(stock) = &mut self.stock {
            stock.add(start, pages);
        }
        // SAFETY: within the leaked bytes, which nobody has a reference to.
        Ok(unsafe { Window::new(self.base.add(start as usize), bytes, start) })
    }

    fn use_stock(&mut self, stock: Option<Stock>) -> Option<Stock> {
        core::mem::replace(&mut self.stock, stock)
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    fn highest_set(&mut self) -> u8 {
        3
    }
}
