//! How a service call reaches the SCLP: the one trait between this crate and the machine.
//!
//! There are two implementers: `Hardware` in an image, and `mock::ScriptedSclp` on the
//! developer's machine.

use crate::error::ServiceCallError;
use crate::sccb::SccbPage;
use crate::spec::Command;

/// The parameter of a service-signal external interruption.
///
/// Bits 0–28 are the address of the SCCB that is done with, zero if no service call ended; bits 30
/// and 31 say that an event waits for READ EVENT DATA. Both can stand in one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u32);

impl Signal {
    const ADDRESS: u32 = !0x7;
    const EVENT_PENDING: u32 = 0x3;

    /// The signal that only says that an event is pending.
    pub const EVENT: Self = Self(0x1);

    /// The signal with this interruption parameter.
    pub const fn from_parameter(parameter: u32) -> Self {
        Self(parameter)
    }

    /// The address of the SCCB whose service call ended, if one did.
    pub const fn completed_sccb(self) -> Option<u32> {
        match self.0 & Self::ADDRESS {
            0 => None,
            address => Some(address),
        }
    }

    /// Whether the SCLP holds an event for READ EVENT DATA.
    pub const fn event_pending(self) -> bool {
        self.0 & Self::EVENT_PENDING != 0
    }
}

/// Executes service calls.
///
/// # What an implementer owes
///
/// * When [`execute`](Self::execute) returns `Ok`, the SCLP has finished with the page: the
///   service-signal interruption of this call has been taken.
/// * When it returns an error, the SCLP has not begun with the page.
/// * A signal taken on the way that is not this call's completion is not lost: its event-pending
///   bit counts for the result.
pub trait Transport {
    /// Executes SERVICE CALL once and waits for its service signal. Says whether the SCLP holds an
    /// event now.
    fn execute(
        &mut self,
        command: Command,
        page: &mut SccbPage,
    ) -> Result<EventPending, ServiceCallError>;

    /// Lets some 100 µs pass before something is tried again, and takes a service signal should one
    /// come or be pending: one that nobody took keeps the SCLP busy.
    fn pause(&mut self) -> EventPending;
}

/// Whether the SCLP holds an event for READ EVENT DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventPending {
    /// It has said so.
    Yes,
    /// It has not said so.
    No,
}

impl EventPending {
    /// `Yes` if `pending`.
    pub const fn new(pending: bool) -> Self {
        if pending {
            Self::Yes
        } else {
            Self::No
        }
    }
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn execute(
        &mut self,
        command: Command,
        page: &mut SccbPage,
    ) -> Result<EventPending, ServiceCallError> {
        (**self).execute(command, page)
    }

    fn pause(&mut self) -> EventPending {
        (**self).pause()
    }
}
