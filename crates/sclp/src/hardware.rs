//! The SCLP of the machine: SERVICE CALL, and the wait for its service signal.
//!
//! Rule: the page belongs to the SCLP from condition code 0 until the service signal with its
//! address has been taken; [`Hardware::execute`] does not return in between.
//!
//! Limits: `s390x::idle::install` must have been called on this CPU, since that is where the
//! interruption is taken. A machine that accepts a call and never signals hangs the caller.

use crate::calls::Sclp;
use crate::console::Console;
use crate::error::{ScpInfoError, ServiceCallError};
use crate::global::CONSOLE;
use crate::sccb::SccbPage;
use crate::scp_info::ScpInfo;
use crate::spec::Command;
use crate::transport::{EventPending, Signal, Transport};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use s390x::address::AbsoluteAddress;
use s390x::clock::Tod;
use s390x::idle::{self, ExternalCode, Sources, Wake};
use s390x::lowcore::Lowcore;
use s390x::service::{servc, ServiceCall};

/// How long [`Transport::pause`] lasts.
const PAUSE_MICROS: u64 = 100;

/// The SCLP of the machine.
#[derive(Debug)]
pub struct Hardware(());

impl Transport for Hardware {
    fn execute(
        &mut self,
        command: Command,
        page: &mut SccbPage,
    ) -> Result<EventPending, ServiceCallError> {
        let address = AbsoluteAddress::of(page);
        // The prefix area is no place for an SCCB: SERVICE CALL takes it for an error.
        let address = address
            .to_31()
            .filter(|_| address.get() >= size_of::<Lowcore>() as u64)
            .ok_or(ServiceCallError::BadPage)?;
        // SAFETY: a page is aligned and holds an SCCB of at most its own size; it is borrowed
        // exclusively until the service signal has been taken, below.
        match unsafe { servc(command.word(), address) } {
            ServiceCall::Initiated => {}
            ServiceCall::Busy => return Err(ServiceCallError::Busy),
            ServiceCall::NotOperational => return Err(ServiceCallError::NotOperational),
        }
        let mut event_pending = false;
        loop {
            if let Some(signal) = service_signal(idle::wait(Sources::SERVICE_SIGNAL, None)) {
                event_pending |= signal.event_pending();
                if signal.completed_sccb() == Some(address.get()) {
                    return Ok(EventPending::new(event_pending));
                }
            }
        }
    }

    fn pause(&mut self) -> EventPending {
        let wake = idle::wait(
            Sources::SERVICE_SIGNAL,
            Some(Tod::now().plus_micros(PAUSE_MICROS)),
        );
        EventPending::new(service_signal(wake).is_some_and(Signal::event_pending))
    }
}

/// The service signal in what ended a wait, if it is one.
fn service_signal(wake: Wake) -> Option<Signal> {
    match wake {
        Wake::External(interruption) if interruption.code == ExternalCode::ServiceSignal => {
            Some(Signal::from_parameter(interruption.parameter))
        }
        Wake::External(_) | Wake::Deadline | Wake::Io(_) | Wake::MachineCheck(_) => None,
    }
}

/// Reads what the machine is made of, activates its console and puts it into [`CONSOLE`].
///
/// To be called once, after `s390x::idle::install`; `None` at the second call. A machine without a
/// console still has its description.
pub fn bring_up() -> Option<Result<ScpInfo, ScpInfoError>> {
    let mut sclp = take()?;
    let info = sclp.read_scp_info();
    if let Ok(console) = Console::new(sclp) {
        // The cell is empty: there is one `Sclp`, and it is in this console.
        CONSOLE.install(console);
    }
    Some(info)
}

/// The one SCLP of the machine with its page, for whoever asks first.
fn take() -> Option<Sclp<'static, &'static mut (dyn Transport + Send)>> {
    struct Singleton {
        taken: AtomicBool,
        page: UnsafeCell<SccbPage>,
        hardware: UnsafeCell<Hardware>,
    }
    // SAFETY: the cells are only reached by whoever set `taken` from false to true.
    unsafe impl Sync for Singleton {}
    static SINGLETON: Singleton = Singleton {
        taken: AtomicBool::new(false),
        page: UnsafeCell::new(SccbPage::new()),
        hardware: UnsafeCell::new(Hardware(())),
    };
    if SINGLETON.taken.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: `taken` was false and will never be again, so each of these references is the only one.
    let (page, hardware) = unsafe { (&mut *SINGLETON.page.get(), &mut *SINGLETON.hardware.get()) };
    Some(Sclp::new(hardware, page))
}
