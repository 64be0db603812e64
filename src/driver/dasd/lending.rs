//! The subchannel lent to somebody else: an administrator's programs run between those of the disk.

use super::{Disk, Medium, State};
use crate::css;
use crate::css::Platform;
use crate::driver::block::Volume;

impl<M: Medium> Disk<M> {
    /// Starts nothing more; whether everything has ended.
    pub(super) fn let_go(&mut self) -> bool {
        self.lending = true;
        match self.state {
            State::Idle(_) | State::Waiting(_) | State::GivenUp => {
                self.state = State::Lent;
                true
            }
            State::Lent => true,
            State::Running(_) | State::Sensing(_) | State::Halting(_) | State::Clearing(..) => {
                false
            }
        }
    }

    /// Goes on, if the disk is still there, and what it was. One that had been given up gets another try.
    pub(super) fn back(&mut self, platform: &mut dyn Platform, isc: u8, volume: Volume) {
        self.lending = false;
        if self.state != State::Lent {
            return;
        }
        self.state = State::GivenUp;
        let doubtful = core::mem::take(&mut self.doubtful);
        let there = self.stored(platform).is_some();
        if volume == Volume::Doubtful || doubtful || self.recoveries.broken {
            self.come_back(platform);
        } else if there && css::enable(platform, self.id, isc).is_ok() {
            self.state = State::Idle(platform.now());
        }
        if self.state == State::GivenUp {
            self.give_up(platform, "it did not come back as it was");
        }
    }
}
