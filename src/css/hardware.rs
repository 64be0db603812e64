//! The channel subsystem itself: each method is the instruction of that name.

use core::ptr;

use channel::{
    ChannelSubsystem, Crw, IoInterruption, Irb, NotOperational, Orb, OrbFlags, Refusal, Schib,
    SubchannelId, Tested,
};
use liballoc::alloc::{alloc, dealloc, Layout};
use s390x::address::{AbsoluteAddress, PAGE_SIZE};
use s390x::cc::ConditionCode;
use s390x::clock::Tod;
use s390x::control::{Cr14, Cr6};
use s390x::diagnose::WatchdogFunction;
use s390x::idle::{self, Sources};
use s390x::io::{self, OperandException, SubchannelWord};
use s390x::{cpu, diagnose, fence};
use window::{ClientAddress, Window};

use super::chsc;
use super::pending::PendingInterruptions;
use crate::css::stock::Stock;
use crate::css::{EventInformation, OutOfStorage, Patience, Platform, Wake};

/// Those that say that channel reports are pending, and all others that are news.
const MACHINE_CHECKS: Cr14 = Cr14::CHANNEL_REPORT_PENDING
    .union(Cr14::RECOVERY)
    .union(Cr14::DEGRADATION)
    .union(Cr14::EXTERNAL_DAMAGE)
    .union(Cr14::WARNING);

#[derive(Debug)]
pub struct Hardware {
    pending: PendingInterruptions,
    highest_set: Option<u8>,
    midaws: Option<bool>,
    /// The machine's watchdog counts.
    is_watched: bool,
    path_group: [u8; 11],
    stock: Option<Stock>,
    patience: Patience,
}

impl Hardware {
    /// Takes the channel subsystem, the interruptions of `subclasses` for this CPU, and all machine checks that a program can
    /// enable.
    ///
    /// # Safety
    ///
    /// * [`idle::install`] has been called on this CPU, and interruptions are disabled.
    /// * Nobody else on this CPU issues I/O instructions or waits, and no other CPU uses the same
    ///   subchannels or subclasses.
    pub unsafe fn new(subclasses: Cr6) -> Self {
        // SAFETY: the PSW enables machine checks in the wait alone, which is installed.
        unsafe { Cr14::update(|cr14| cr14.union(MACHINE_CHECKS)) };
        // SAFETY: the same for I/O interruptions.
        unsafe { Cr6::update(|cr6| cr6.difference(Cr6::ALL_SUBCLASSES).union(subclasses)) };
        Self {
            pending: PendingInterruptions::new(),
            highest_set: None,
            midaws: None,
            is_watched: false,
            path_group: path_group(),
            stock: None,
            patience: Patience::DRIVERS,
        }
    }
}

/// The CPU's identification and type, which virtual machines may share, and the clock to 16 microseconds.
fn path_group() -> [u8; 11] {
    let id = cpu::stidp();
    let [_, a, b, c] = id.identification().to_be_bytes();
    let [one, two] = id.machine_type().to_be_bytes();
    let [t0, t1, t2, t3, t4, t5, ..] = Tod::now().units().to_be_bytes();
    [t4, t5, a, b, c, one, two, t0, t1, t2, t3]
}

const fn word(id: SubchannelId) -> SubchannelWord {
    SubchannelWord(id.word())
}

const fn refusal(cc: ConditionCode) -> Result<(), Refusal> {
    Refusal::from_cc(cc.bits())
}

/// The answer of an instruction that can find its operand wrong.
fn checked(answer: Result<ConditionCode, OperandException>) -> Result<(), Refusal> {
    match answer {
        Ok(cc) => refusal(cc),
        Err(OperandException) => Err(Refusal::Operand),
    }
}

fn interruption(code: &io::IoInterruption) -> Option<IoInterruption> {
    IoInterruption::from_words(
        code.subsystem_id.get(),
        code.parameter.get(),
        code.identification.get(),
    )
}

impl ChannelSubsystem for Hardware {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        // SAFETY: the ORB is one; its program is the caller's care.
        checked(unsafe { io::ssch(word(id), ptr::from_ref(orb)) })
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        // SAFETY: the subchannels are this `Hardware`'s.
        refusal(unsafe { io::hsch(word(id)) })
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        // SAFETY: as for `halt`.
        refusal(unsafe { io::csch(word(id)) }).map_err(|_| NotOperational)
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        // SAFETY: as for `halt`.
        refusal(unsafe { io::xsch(word(id)) })
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        // SAFETY: as for `halt`. The storage of a suspended program is still in use.
        refusal(unsafe { io::rsch(word(id)) })
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        let mut schib = Schib::default();
        // SAFETY: a SCHIB, word aligned by its type.
        match refusal(unsafe { io::stsch(word(id), ptr::from_mut(&mut schib)) }) {
            Ok(()) => {
                schib.scsw.settle_deferred_cc();
                Ok(schib)
            }
            Err(_) => Err(NotOperational),
        }
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        // SAFETY: a SCHIB, word aligned by its type. Measurement blocks are not switched on by
        // anyone here.
        checked(unsafe { io::msch(word(id), ptr::from_ref(schib)) })
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        let mut irb = Irb::default();
        // SAFETY: an IRB, word aligned by its type.
        let tested = unsafe { io::tsch(word(id), ptr::from_mut(&mut irb)) };
        irb.scsw.settle_deferred_cc();
        match tested {
            ConditionCode::Cc0 => Ok(Tested::Status(irb)),
            ConditionCode::Cc1 => Ok(Tested::Nothing(irb)),
            ConditionCode::Cc2 | ConditionCode::Cc3 => Err(NotOperational),
        }
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        match self.pending.take() {
            Some(kept) => Some(kept),
            None => io::tpi().as_ref().and_then(interruption),
        }
    }

    fn channel_report(&mut self) -> Option<Crw> {
        io::stcrw().map(Crw)
    }
}

impl Platform for Hardware {
    fn notify(&mut self, id: SubchannelId, queue: u16, cookie: i64) -> i64 {
        fence::full();
        // SAFETY: the subchannel is this `Hardware`'s; the device reads no other storage than that
        // which a channel program has given to it.
        unsafe { diagnose::virtio_ccw_notify(word(id), queue.into(), cookie) }
    }

    fn now(&self) -> Tod {
        Tod::now()
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        if !self.pending.is_empty() {
            return Wake::Io;
        }
        match idle::wait(Sources::EVENT_LOOP, deadline) {
            idle::Wake::Deadline => Wake::Deadline,
            idle::Wake::Io(code) => {
                if let Some(interruption) = interruption(&code) {
                    self.pending.keep(interruption);
                }
                Wake::Io
            }
            idle::Wake::External(external) => Wake::External(external),
            idle::Wake::MachineCheck(code) => Wake::MachineCheck(code),
        }
    }

    fn pause(&mut self, deadline: Tod) {
        if let idle::Wake::Io(code) = idle::wait(Sources::IO, Some(deadline)) {
            if let Some(interruption) = interruption(&code) {
                self.pending.keep(interruption);
            }
        }
    }

    fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        while let Some(code) = io::tpi() {
            if let Some(interruption) = interruption(&code) {
                self.pending.keep(interruption);
            }
        }
        self.pending
            .forget(|kept| matches!(kept, IoInterruption::Subchannel { id: of, .. } if *of == id))
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let window = self.storage_as_is(pages)?;
        let cleared = window.fill(ClientAddress::new(0), window.len(), 0);
        cleared.map(|()| window).map_err(|_| OutOfStorage { pages })
    }

    unsafe fn zero(&mut self, address: u64, length: u32) -> bool {
        let base = ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: the caller's; absolute addresses are pointers here.
        let window = unsafe { Window::new(base, length.into(), address) };
        let zeroed = window.fill(ClientAddress::new(0), length.into(), 0);
        zeroed.is_ok()
    }

    fn storage_as_is(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let error = OutOfStorage { pages };
        let bytes = pages
            .checked_mul(PAGE_SIZE)
            .filter(|bytes| *bytes > 0)
            .ok_or(error)?;
        if let Some(start) = self.stock.as_mut().and_then(|stock| stock.take(pages)) {
            let base = ptr::with_exposed_provenance_mut(start as usize);
            // SAFETY: it was allocated below, is never given back, and no driver uses it any more.
            return Ok(unsafe { Window::new(base, bytes as u64, start) });
        }
        let layout = Layout::from_size_align(bytes, PAGE_SIZE).map_err(|_| error)?;
        // SAFETY: the layout has a size.
        let base = unsafe { alloc(layout) };
        if base.is_null() {
            return Err(error);
        }
        let start = AbsoluteAddress::of(base);
        let last = start
            .checked_add(bytes as u64 - 1)
            .and_then(AbsoluteAddress::to_31);
        if last.is_none() {
            // SAFETY: it was allocated with this layout a moment ago.
            unsafe { dealloc(base, layout) };
            return Err(error);
        }
        if let Some(stock) = &mut self.stock {
            stock.add(start.get(), pages);
        }
        // SAFETY: the allocation is as long, is never given back, and nobody else knows it. The
        // window's accesses are volatile, so that what is in it is whatever the storage holds.
        Ok(unsafe { Window::new(base, bytes as u64, start.get()) })
    }

    fn use_stock(&mut self, stock: Option<Stock>) -> Option<Stock> {
        core::mem::replace(&mut self.stock, stock)
    }

    fn event_information(&mut self) -> Option<EventInformation> {
        chsc::event_information()
    }

    fn has_midaws(&mut self) -> bool {
        if let Some(known) = self.midaws {
            return known;
        }
        // The last subchannel there can be, which is not there, or not enabled at least.
        let nowhere = SubchannelWord(0x0001_FFFF);
        let orb = Orb::format_1(0, 0, OrbFlags::MIDAW, 0);
        // SAFETY: nothing is started over no path on no subchannel.
        let known = unsafe { io::ssch(nowhere, ptr::from_ref(&orb)) }.is_ok();
        self.midaws = Some(known);
        known
    }

    fn arm_watchdog(&mut self, seconds: u32) -> bool {
        let function = match self.is_watched {
            true => WatchdogFunction::Change,
            false => WatchdogFunction::Initialize,
        };
        // SAFETY: the program-interruption handler is `boot::report`'s.
        self.is_watched = unsafe { diagnose::watchdog(function, seconds.into()) }.is_ok();
        self.is_watched
    }

    fn path_group(&self) -> [u8; 11] {
        self.path_group
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    fn highest_set(&mut self) -> u8 {
        match self.highest_set {
            Some(set) => set,
            None => {
                let set = chsc::enable_subchannel_sets();
                self.highest_set = Some(set);
                set
            }
        }
    }
}
