//! The machine's own watchdog, which ends an appliance whose event loop does not come round any more, also when no daemon looks.
//!
//! # Rule
//!
//! It is refused where the daemon does not want it, or the machine has none; nobody is told, for the daemon looks as well.

use s390x::clock::Tod;

use crate::boot::hang;
use crate::css::Platform;

/// It is set again when this part of its time has passed.
const PART: u64 = 8;

/// The watchdog, as long as it counts.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// 0: it does not.
    seconds: u32,
    /// When it is set again.
    next: Tod,
}

impl Watchdog {
    /// Has it count, if so many seconds are wanted.
    pub(super) fn arm(platform: &mut dyn Platform, seconds: u32) -> Self {
        let mut this = Self {
            seconds,
            next: platform.now(),
        };
        this.come_round(platform);
        this
    }

    /// The event loop has come round, or has made as much progress.
    pub(super) fn come_round(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        hang::came_round(now);
        if self.seconds == 0 || now < self.next {
            return;
        }
        self.next = now.plus_micros(u64::from(self.seconds) * 1_000_000 / PART);
        if !platform.arm_watchdog(self.seconds) {
            log::info!("the machine has no watchdog for {} s", self.seconds);
            self.seconds = 0;
        }
        hang::is_watched_for(self.seconds);
    }
}
