//! A virtual channel subsystem as a platform: whatever is written for one runs over an area.

use appliance::css::{OutOfStorage, Platform, Wake};
use channel::{
    ChannelSubsystem, Crw, IoInterruption, NotOperational, Orb, Refusal, Schib, SubchannelId,
    Tested,
};
use s390x::clock::Tod;
use vcss::Remote;
use window::Window;

/// The longest sleep, in microseconds: a wake-up that was lost costs no more.
pub(super) const NAP: u64 = 500_000;

/// What the client's own machine is for.
pub(super) trait Machine: vcss::Wake {
    /// Sleeps until the appliance rings, at most until `deadline`.
    fn sleep(&mut self, deadline: Tod);
    /// Pages of the client's memory; their absolute addresses are the client's.
    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage>;
}

/// The virtual channel subsystem, as a platform for whatever is written for one.
pub(super) struct Client<M>(pub(super) Remote<'static, M>);

impl<M: Machine> ChannelSubsystem for Client<M> {
    unsafe fn start(&mut self, id: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        // SAFETY: the caller's.
        unsafe { self.0.start(id, orb) }
    }

    fn halt(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.halt(id)
    }

    fn clear(&mut self, id: SubchannelId) -> Result<(), NotOperational> {
        self.0.clear(id)
    }

    fn cancel(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.cancel(id)
    }

    fn resume(&mut self, id: SubchannelId) -> Result<(), Refusal> {
        self.0.resume(id)
    }

    fn store(&mut self, id: SubchannelId) -> Result<Schib, NotOperational> {
        self.0.store(id)
    }

    fn modify(&mut self, id: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.0.modify(id, schib)
    }

    fn test(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        self.0.test(id)
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        self.0.pending_interruption()
    }

    fn channel_report(&mut self) -> Option<Crw> {
        self.0.channel_report()
    }
}

impl<M: Machine> Platform for Client<M> {
    fn notify(&mut self, _: SubchannelId, _: u16, _: i64) -> i64 {
        // There is no such hypercall to another VM.
        -1
    }

    fn now(&self) -> Tod {
        Tod::now()
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        loop {
            if self.0.has_news() {
                return Wake::Io;
            }
            let now = self.now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Wake::Deadline;
            }
            let nap = now.plus_micros(NAP);
            self.0.wake().sleep(deadline.unwrap_or(nap));
        }
    }

    fn pause(&mut self, deadline: Tod) {
        self.wait(Some(deadline));
    }

    fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        self.0.forget_interruption(id)
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.0.wake().storage(pages)
    }

    fn highest_set(&mut self) -> u8 {
        0
    }
}
