//! The data plane: the disks, and the clients that are served from them.
//!
//! # Rule
//!
//! All that the event loop does for a request is here, so that a benchmark can measure it: the turn, and the sleep.

use liballoc::vec::Vec;

use channel::IoInterruption;
use s390x::clock::Tod;

use crate::css::{Platform, Wake};
use crate::driver::disk::OwnedDisk;
use crate::proxy::{Proxy, Turn};

#[derive(Debug)]
pub struct DataPlane {
    pub disks: Vec<OwnedDisk>,
    pub proxy: Proxy,
}

/// What goes to sleep together with the data plane.
pub trait Companion {
    /// Asks to be woken. Returns whether there is work already.
    fn arm(&mut self) -> bool;

    /// The wait has ended. This comes first of all: after a fatal machine check nothing else is to be done.
    fn woken(&mut self, wake: Wake);

    /// Handles an interruption if it is its own: returns whether it is.
    fn interruption(&mut self, platform: &mut dyn Platform, interruption: &IoInterruption) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slept {
    pub wake: Wake,
    /// At the end of the time there was work that nobody had announced.
    pub was_late: bool,
}

impl DataPlane {
    pub fn turn(&mut self, platform: &mut dyn Platform) -> Turn {
        self.proxy.turn(&mut self.disks, platform, true)
    }

    /// The same for one that is being stopped: it takes no new requests.
    pub fn last_turn(&mut self, platform: &mut dyn Platform) -> Turn {
        self.proxy.turn(&mut self.disks, platform, false)
    }

    /// Sleeps until something happens, until something is due, or at most until `latest`. It does not if there is work.
    pub fn sleep(
        &mut self,
        platform: &mut dyn Platform,
        latest: Option<Tod>,
        companion: &mut impl Companion,
    ) -> Option<Slept> {
        let has_work = self.arm() | companion.arm();
        let mut slept = None;
        if !has_work {
            let deadline = latest.map(|latest| {
                let due = self.proxy.clients.deadline(platform.now());
                let next = self.proxy.next().unwrap_or(Tod::NEVER);
                latest.min(due).min(next)
            });
            let wake = platform.wait(deadline);
            companion.woken(wake);
            let was_late = wake == Wake::Deadline && deadline == latest && self.arm();
            slept = Some(Slept { wake, was_late });
        }
        self.drain(platform, |platform, interruption| {
            companion.interruption(platform, interruption)
        });
        for disk in &mut self.disks {
            disk.driver.disarm();
        }
        self.proxy.disarm_wakeup();
        slept
    }

    /// Asks disks and clients to announce work. Returns whether there is any already.
    fn arm(&mut self) -> bool {
        let mut has_work = false;
        for disk in &mut self.disks {
            has_work |= disk.driver.arm();
        }
        has_work | self.proxy.arm_wakeup()
    }

    /// Takes all pending interruptions to whom they are for; `other` may have some, too.
    pub fn drain(
        &mut self,
        platform: &mut dyn Platform,
        mut other: impl FnMut(&mut dyn Platform, &IoInterruption) -> bool,
    ) {
        while let Some(interruption) = platform.pending_interruption() {
            let mut taken = other(platform, &interruption);
            for disk in &mut self.disks {
                taken |= disk.driver.interruption(platform, &interruption);
            }
            taken |= self.proxy.clients.interruption(platform, &interruption);
            if !taken {
                log::trace!("{interruption:?}");
            }
        }
    }
}
