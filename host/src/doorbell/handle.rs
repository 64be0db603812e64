//! The other threads' end of the wake-up thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use rustix::event::{eventfd, EventfdFlags};

use super::peer::Signaller;
use crate::layout::{AreaNumber, Slot};

#[derive(Debug)]
pub enum Request {
    /// The serial port of the appliance, of which one has been started.
    Link { link: UnixStream },
    /// A queue is about to be served: listen to its kicks, pass its notifications on.
    Attach { slot: Slot, kick: Option<File> },
    /// Where the queue's notifications go from now on.
    Call {
        slot: Slot,
        /// The eventfd, or nobody.
        call: Option<File>,
    },
    /// A queue has been released: pass the last notification on and forget it.
    Detach { slot: Slot },
}

/// Counted since the daemon started.
#[derive(Debug, Default)]
pub struct Totals {
    pub kicks: AtomicU64,
    pub calls: AtomicU64,
    pub wakes: AtomicU64,
    pub sleeps: AtomicU64,
    pub healed: AtomicU64,
}

/// The link of a client that rings by itself.
#[derive(Debug, Default)]
pub(super) struct LinkState {
    pub there: AtomicBool,
    /// The client's generation while nobody has begun to use the area since the last one left it.
    pub blank: AtomicU32,
    /// It has rung though it has not begun: it rings in another area than this one.
    pub rang_early: AtomicBool,
}

/// What is known of the VM of a client that rings by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Nobody,
    /// It is there, and has not begun to use its area.
    Silent,
    /// It is there, and uses an area, but not this one: its memory is an earlier daemon's.
    Elsewhere,
    Connected,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Says that one of the following has changed.
    pub changed: OwnedFd,
    pub requests: Mutex<Vec<Request>>,
    /// For each area: somebody wants its bell rung.
    pub ring: Box<[AtomicBool]>,
    pub stop: AtomicBool,
    pub abandoned: AtomicBool,
    /// For each area whose client rings by itself: its link.
    pub links: Box<[LinkState]>,
    pub totals: Totals,
    pub signaller: Signaller,
}

#[derive(Clone, Debug)]
pub struct BellHandle(pub(super) Arc<Shared>);

impl BellHandle {
    /// For so many areas, the control area being number 0.
    pub fn new(areas: usize) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            changed: new_eventfd()?,
            requests: Mutex::default(),
            ring: (0..areas).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            links: (0..areas).map(|_| LinkState::default()).collect(),
            totals: Totals::default(),
            signaller: Signaller::new()?,
        })))
    }

    /// Has the bell of an area rung.
    pub fn ring(&self, area: AreaNumber) {
        if let Some(wanted) = self.0.ring.get(area.0) {
            wanted.store(true, Ordering::Release);
        }
        signal(&self.0.changed);
    }

    /// Hands a request over. Requests are carried out in order.
    pub fn request(&self, request: Request) {
        self.0.requests.lock().push(request);
        signal(&self.0.changed);
    }

    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        signal(&self.0.changed);
    }

    /// Says that the appliance will not come back, so that nobody waits for it any longer.
    pub fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }

    pub fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    /// Whether the VM of a client that rings by itself is there. `generation` is the client's, as its area says it now.
    pub fn link(&self, area: AreaNumber, generation: u32) -> Link {
        let Some(link) = self.0.links.get(area.0) else {
            return Link::Nobody;
        };
        let there = link.there.load(Ordering::Relaxed);
        let begun = generation != link.blank.load(Ordering::Relaxed);
        match (there, begun, link.rang_early.load(Ordering::Relaxed)) {
            (false, ..) => Link::Nobody,
            (true, true, _) => Link::Connected,
            (true, false, false) => Link::Silent,
            (true, false, true) => Link::Elsewhere,
        }
    }

    /// Signals a peer's eventfd. It may be full, and it may be one that blocks: nobody waits.
    pub fn signal_peer(&self, eventfd: impl AsFd) {
        let _ = self.0.signaller.signal(eventfd);
    }

    pub fn totals(&self) -> &Totals {
        &self.0.totals
    }
}

pub fn new_eventfd() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Signals an eventfd of our own. One that cannot count further is signalled already.
pub fn signal(fd: impl AsFd) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Takes the signals of an eventfd of our own; whether there were any.
pub fn taken(fd: BorrowedFd<'_>) -> bool {
    rustix::io::read(fd, &mut [0u8; 8]).is_ok()
}
