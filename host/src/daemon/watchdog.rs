//! Whether the appliance, and its QEMU, still go on; and what is done about one that hangs.
//!
//! # How
//!
//! The configured limit is divided into [`TICKS`] ticks. At each one the appliance is asked by a ping in the control area, which its
//! event loop answers, and QEMU by a command that costs nothing. Who has answered is asked again; who has not for nearly all ticks in
//! succession hangs. Then what a diagnosis needs is saved (see [`dump`]), an image whose QEMU still answers is made to say where it
//! is, and the VM is ended. From there on it is as if it had died.
//!
//! # Rules
//!
//! * Only ticks count, and one that comes late counts once: a daemon that was stopped, or a machine that was, does not find that
//!   everybody else has been silent for long. Nor does one that has waited for QEMU to open a disk, which has limits of its own.
//! * It is watched from when it serves until it is ended. All that is known of it is forgotten with it, and nothing has to be
//!   known: a daemon can begin to watch an appliance at any time.
//! * A disk that does not answer is no hang: the event loop comes round all the same.
//! * How long an appliance may take to serve is the supervisor's affair. One that takes longer is asked where it is in the same way:
//!   the next life is to know whom it died of.

use std::fmt::{self, Display};
use std::mem::offset_of;
use std::time::{Duration, Instant};

use vcss::control::Heartbeat;
use vcss::Word;

use super::{dump, Shared};
use crate::layout::AreaNumber;
use crate::vm::Monitor;

/// Ticks in the limit.
const TICKS: u32 = 10;
/// Ticks without an answer after which somebody hangs. It may have begun to right behind an answer, nearly a tick before it was asked
/// again: so it is found within the limit.
const SILENT_TICKS: u32 = TICKS - 1;
/// How long an image that was told to say where it is may take for that.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whether they have answered what they were asked at the tick before. Who is not watched always has.
#[derive(Clone, Copy, Debug)]
struct Answered {
    appliance: bool,
    qemu: bool,
}

/// Who hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hang {
    /// The appliance alone.
    Appliance,
    /// QEMU, and with it most likely the appliance.
    Qemu,
}

impl Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Appliance => "the appliance hangs: its event loop does not come round any more",
            Self::Qemu => "the appliance's QEMU hangs: its monitor does not answer",
        })
    }
}

/// Ticks in succession at which an answer was missing.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    appliance: u32,
    qemu: u32,
}

impl Silence {
    fn tick(&mut self, answered: Answered) -> Option<Hang> {
        let count = |silent: u32, answered: bool| if answered { 0 } else { silent + 1 };
        self.appliance = count(self.appliance, answered.appliance);
        self.qemu = count(self.qemu, answered.qemu);
        // Of two that begin to hang together one may have answered a tick more.
        let hangs = self.appliance.max(self.qemu) >= SILENT_TICKS;
        hangs.then_some(match self.qemu {
            0 => Hang::Appliance,
            _ => Hang::Qemu,
        })
    }
}

/// What is to become of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    Lives,
    /// It hangs, and is to be killed.
    Condemned,
}

/// The words in the control area.
#[derive(Debug)]
struct Pings {
    ping: Word<'static>,
    answer: Word<'static>,
}

impl Pings {
    /// Those of an appliance that answers any: an older one does not.
    fn find(shared: &Shared) -> Option<Self> {
        let word = |offset| shared.areas.heartbeat(offset).ok();
        let this = Self {
            ping: word(offset_of!(Heartbeat, ping))?,
            answer: word(offset_of!(Heartbeat, answer))?,
        };
        (this.answer.load() != 0).then_some(this)
    }

    fn is_answered(&self) -> bool {
        self.answer.load() == self.ping.load()
    }

    fn ask(&self, shared: &Shared) {
        let next = self.ping.load().wrapping_add(1);
        self.ping.store(next.max(1));
        shared.bell.ring(AreaNumber::CONTROL);
    }
}

/// Watches one appliance after the other.
#[derive(Debug)]
pub struct Watchdog<'a> {
    shared: &'a Shared,
    silence: Silence,
    /// None: the appliance is not watched in this way.
    pings: Option<Pings>,
    /// None: nobody is watched.
    next: Option<Instant>,
    /// It hangs, and has been told to say where it is.
    is_condemned: bool,
}

impl<'a> Watchdog<'a> {
    pub const fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            silence: Silence {
                appliance: 0,
                qemu: 0,
            },
            pings: None,
            next: None,
            is_condemned: false,
        }
    }

    /// An appliance serves, from now on or already.
    pub fn begin(&mut self) {
        self.end();
        self.next = self.after_a_tick();
        self.pings = Pings::find(self.shared);
        if self.next.is_some() && self.pings.is_none() {
            tracing::warn!("this image answers no pings: it is an older one, and nobody notices if it hangs while its QEMU does not");
        }
    }

    /// It is no concern of anybody's any more.
    pub fn end(&mut self) {
        *self = Self::new(self.shared);
    }

    /// When [`Self::tick`] has something to do.
    pub const fn next(&self) -> Option<Instant> {
        self.next
    }

    fn after_a_tick(&self) -> Option<Instant> {
        let limit = self.shared.config.appliance.hang_limit?;
        Some(Instant::now() + limit / TICKS)
    }

    /// Looks who has answered, if it is time. Without a monitor QEMU is not watched.
    pub fn tick(&mut self, monitor: Option<&mut Monitor>) -> Verdict {
        if self.next.is_none_or(|next| Instant::now() < next) {
            return Verdict::Lives;
        }
        if self.is_condemned {
            return Verdict::Condemned;
        }
        let answered = Answered {
            appliance: self.pings.as_ref().is_none_or(Pings::is_answered),
            qemu: monitor.as_ref().is_none_or(|it| !it.is_owed_answer()),
        };
        if let Some(hang) = self.silence.tick(answered) {
            return self.condemn(hang, monitor);
        }
        if let Some(pings) = self.pings.as_ref().filter(|_| answered.appliance) {
            pings.ask(self.shared);
        }
        if let Some(Err(error)) = monitor.map(Monitor::ping) {
            // That it has ended is noticed by its end.
            tracing::debug!(%error, "QEMU was not asked");
        }
        self.next = self.after_a_tick();
        Verdict::Lives
    }

    fn condemn(&mut self, hang: Hang, monitor: Option<&mut Monitor>) -> Verdict {
        tracing::error!("{hang}; it is ended and started again");
        let monitor = monitor.filter(|_| hang == Hang::Appliance);
        if !diagnose(self.shared, &hang, monitor) {
            return Verdict::Condemned;
        }
        self.is_condemned = true;
        self.next = Some(Instant::now() + LAST_WORDS);
        Verdict::Lives
    }
}

/// Saves what a diagnosis needs of an appliance that is about to be ended, and has it say where it is if QEMU answers, in which case it
/// takes [`LAST_WORDS`], and ends. Returns whether it was told to.
pub fn diagnose(shared: &Shared, why: &dyn Display, mut monitor: Option<&mut Monitor>) -> bool {
    let registers = monitor.as_mut().map(|monitor| monitor.registers());
    match dump::save(shared, why, registers) {
        Ok(path) => tracing::error!("it was dumped to {}", path.display()),
        Err(error) => tracing::error!("it could not be dumped: {error:#}"),
    }
    let interrupted = monitor.map(Monitor::interrupt_guest);
    interrupted.is_some_and(|interrupted| interrupted.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which tick, if any, who is found to hang, by who answers at each of a hundred.
    fn found(answers: impl Fn(u32) -> (bool, bool)) -> Option<(u32, Hang)> {
        let mut silence = Silence::default();
        (1..=100).find_map(|tick| {
            let (appliance, qemu) = answers(tick);
            let hang = silence.tick(Answered { appliance, qemu })?;
            Some((tick, hang))
        })
    }

    #[test]
    fn who_answers_now_and_then_does_not_hang() {
        assert_eq!(found(|_| (true, true)), None);
        assert_eq!(found(|tick| (tick % SILENT_TICKS == 0, true)), None);
        assert_eq!(found(|tick| (true, tick % SILENT_TICKS == 0)), None);
        // Each is silent often, and neither for long.
        let in_turn = |tick| (tick % 5 != 0, tick % 5 == 0);
        assert_eq!(found(in_turn), None);
    }

    #[test]
    fn a_silent_appliance_hangs_within_the_limit() {
        let (tick, hang) = found(|tick| (tick < 50, true)).unwrap();
        assert_eq!(hang, Hang::Appliance);
        // It may have begun to hang right behind tick 48, having answered what it was asked then.
        assert!(tick - 48 <= TICKS);
    }

    #[test]
    fn a_silent_qemu_hangs_whatever_the_appliance_does() {
        let hang = Some((49 + SILENT_TICKS, Hang::Qemu));
        assert_eq!(found(|tick| (true, tick < 50)), hang);
        assert_eq!(found(|tick| (tick < 50, tick < 50)), hang);
        // One that is stopped as a whole is not asked for its registers, though it may have answered once more than its appliance.
        assert_eq!(found(|tick| (tick < 50, tick < 51)), hang);
        assert_eq!(found(|tick| (tick < 51, tick < 50)), hang);
    }

    #[test]
    fn a_daemon_that_was_away_for_long_counts_one_tick() {
        let mut silence = Silence::default();
        let nobody = Answered {
            appliance: false,
            qemu: false,
        };
        assert_eq!(silence.tick(nobody), None, "after an hour");
        let all = Answered {
            appliance: true,
            qemu: true,
        };
        assert_eq!(silence.tick(all), None);
    }
}
