//! Whether the event loop comes round: for whoever is asked for a report by a restart interruption.
//!
//! Three send one: an operator, at any time; the daemon, when it has found that the event loop does not come round; and the machine's
//! watchdog, when it has not been set again in time. The last one may be wrong: it fires as well when the whole machine has stood
//! still for as long, as one whose processes were stopped. So the program goes on once, and is given a little more time. The daemon
//! is known by its being earlier.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use s390x::clock::Tod;

/// An event loop that has not come round for so long hangs. It sleeps for a second at most.
const HANGS_AFTER: Duration = Duration::from_millis(1500);

/// When the event loop last came round, in the clock's units; 0: there is none yet.
static CAME_ROUND: AtomicU64 = AtomicU64::new(0);
/// When it had done so the last time that the program went on.
static WENT_ON: AtomicU64 = AtomicU64::new(0);
/// For how many seconds the machine's watchdog was set; 0: it was not.
static WATCHDOG_SECONDS: AtomicU32 = AtomicU32::new(0);

/// The event loop has come round.
pub fn came_round(now: Tod) {
    CAME_ROUND.store(now.units(), Ordering::Relaxed);
}

/// The machine's watchdog has been set for so many seconds.
pub fn is_watched_for(seconds: u32) {
    WATCHDOG_SECONDS.store(seconds, Ordering::Relaxed);
}

/// What a restart interruption is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody wants a report.
    Demand,
    /// The event loop has not come round for so long, and never will.
    Hang(Duration),
    /// It has not, but maybe nothing else has gone on either.
    Standstill,
}

/// What a restart interruption that has come now is for.
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub(super) fn cause(now: Tod) -> Cause {
    let [round, went_on] = [&CAME_ROUND, &WENT_ON].map(|it| it.load(Ordering::Relaxed));
    let seconds = WATCHDOG_SECONDS.load(Ordering::Relaxed);
    of(round, went_on == round, seconds, now)
}

/// The program goes on: the next cause is another one, unless the event loop has come round.
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
pub(super) fn goes_on() {
    WENT_ON.store(CAME_ROUND.load(Ordering::Relaxed), Ordering::Relaxed);
}

fn of(round: u64, went_on: bool, watchdog_seconds: u32, now: Tod) -> Cause {
    let silent = now.since(Tod::from_units(round));
    // The watchdog was set some time before the event loop came round last.
    let by_watchdog = Duration::from_secs(watchdog_seconds.into()) * 3 / 4;
    if round == 0 || silent <= HANGS_AFTER {
        Cause::Demand
    } else if watchdog_seconds == 0 || silent < by_watchdog || went_on {
        Cause::Hang(silent)
    } else {
        Cause::Standstill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Tod = Tod::from_micros(5_000_000);

    /// So many milliseconds after the event loop has come round.
    fn after(millis: u64, went_on: bool, watchdog_seconds: u32) -> Cause {
        let now = ROUND.plus_micros(millis * 1000);
        of(ROUND.units(), went_on, watchdog_seconds, now)
    }

    #[test]
    fn an_event_loop_that_sleeps_or_has_not_begun_does_not_hang() {
        assert_eq!(after(1000, false, 20), Cause::Demand);
        assert_eq!(of(0, true, 20, ROUND), Cause::Demand);
    }

    #[test]
    fn whoever_is_earlier_than_the_watchdog_knows() {
        let silent = Duration::from_secs(5);
        assert_eq!(after(5000, false, 20), Cause::Hang(silent));
        assert_eq!(after(5000, false, 0), Cause::Hang(silent));
    }

    #[test]
    fn the_watchdog_is_believed_the_second_time() {
        assert_eq!(after(18_000, false, 20), Cause::Standstill);
        assert_eq!(after(3_600_000, false, 20), Cause::Standstill);
        let silent = Duration::from_secs(35);
        assert_eq!(after(35_000, true, 20), Cause::Hang(silent));
    }
}
