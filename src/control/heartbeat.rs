//! The daemon's question whether the event loop still comes round.

use core::mem::offset_of;

use vcss::control::Heartbeat;
use vcss::{Area, AreaError, Word};

#[derive(Debug)]
pub(super) struct Pings {
    ping: Word<'static>,
    answer: Word<'static>,
    watchdog_seconds: u32,
}

impl Pings {
    /// # Errors
    ///
    /// The area has none: an older daemon has laid it out.
    pub(super) fn open(area: &Area<'static>) -> Result<Self, AreaError> {
        let word = |offset| area.word::<Heartbeat>(0, offset);
        Ok(Self {
            ping: word(offset_of!(Heartbeat, ping))?,
            answer: word(offset_of!(Heartbeat, answer))?,
            watchdog_seconds: word(offset_of!(Heartbeat, watchdog_seconds))?.load(),
        })
    }

    pub(super) fn answer(&self) {
        self.answer.store(self.ping.load());
    }

    pub(super) const fn watchdog_seconds(&self) -> u32 {
        self.watchdog_seconds
    }
}
