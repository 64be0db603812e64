//! The channel paths to a disk, and which of them are used.
//!
//! # Rules
//!
//! * A path on which something went wrong is left out for a while.
//! * A path that is not available is not used. When it is available again it is verified first: it may lead to nothing, or to another
//!   device.

use s390x::clock::Tod;

use crate::css::Platform;

/// How long a path on which something went wrong is left out, in microseconds.
const LEFT_OUT_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Those that can be used.
    all: u8,
    /// Those that programs are started over, and until when the others are left out.
    now: u8,
    until: Tod,
    /// Those that were in use, and are not available any more.
    lost: u8,
    /// Those that are available again, and not verified yet.
    unverified: u8,
}

impl Paths {
    pub const fn new(all: u8) -> Self {
        Self {
            all,
            now: all,
            until: Tod::NEVER,
            lost: 0,
            unverified: 0,
        }
    }

    /// The logical-path mask for the next program.
    #[inline]
    pub fn mask(&mut self, platform: &dyn Platform) -> u8 {
        if !self.is_whole() && platform.now() >= self.until {
            self.reset();
        }
        self.now
    }

    /// The logical-path mask of the last program, or of the next one.
    pub const fn current(&self) -> u8 {
        self.now
    }

    pub const fn is_whole(&self) -> bool {
        self.now == self.all
    }

    /// Leaves out the path that was used last, the first one if nobody knows which that was. `false`: there is no other one
    /// that was not left out yet, so all are in use again.
    pub fn leave(&mut self, used: u8, now: Tod) -> bool {
        if used & self.lost != 0 {
            // It is left already.
            return true;
        }
        let used = match used & self.now {
            0 => 0x80_u8.checked_shr(self.now.leading_zeros()).unwrap_or(0),
            used => used,
        };
        self.now &= !used;
        self.until = now.plus_micros(LEFT_OUT_US);
        if self.now == 0 {
            self.reset();
            return false;
        }
        true
    }

    pub const fn reset(&mut self) {
        self.now = self.all;
    }

    /// These are available. Where none is, whoever starts a program finds that out.
    pub const fn set_available(&mut self, available: u8) {
        if available == 0 {
            return;
        }
        self.lost = (self.lost | self.all) & !available;
        self.unverified = available & !self.all;
        if self.all & available == 0 {
            // There is nothing else to go on with.
            self.all = available;
            self.unverified = 0;
        }
        self.all &= available;
        self.now &= self.all;
        if self.now == 0 {
            self.reset();
        }
    }

    /// Those that are not available any more.
    pub const fn lost(&self) -> u8 {
        self.lost
    }

    pub const fn unverified(&self) -> u8 {
        self.unverified
    }

    /// Of those that were to be verified, these lead to the device.
    pub const fn verified(&mut self, good: u8) {
        let good = good & self.unverified;
        self.all |= good;
        self.now |= good;
        self.unverified = 0;
    }

    /// Those that can be used, whether they are left out for a while or not.
    pub const fn all(&self) -> u8 {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_path_is_used_no_more_and_a_found_one_when_it_is_verified() {
        let mut paths = Paths::new(0xE0);
        paths.set_available(0x60);
        assert_eq!((paths.current(), paths.lost()), (0x60, 0x80));
        assert!(paths.leave(0x80, Tod::NEVER), "that is no news");
        assert_eq!(paths.current(), 0x60);
        paths.set_available(0xE0);
        assert_eq!((paths.current(), paths.unverified()), (0x60, 0x80));
        paths.verified(0x80);
        assert_eq!((paths.current(), paths.unverified()), (0xE0, 0));
        assert_eq!(paths.lost(), 0);
        // Nothing of one that is not verified.
        paths.set_available(0xC0);
        paths.set_available(0xE0);
        paths.verified(0);
        assert_eq!((paths.all(), paths.unverified()), (0xC0, 0));
    }

    #[test]
    fn when_only_others_are_left_they_are_used_and_when_none_is_nothing_changes() {
        let mut paths = Paths::new(0x80);
        paths.set_available(0);
        assert_eq!(paths.current(), 0x80);
        paths.set_available(0x40);
        assert_eq!((paths.current(), paths.lost()), (0x40, 0x80));
        let mut paths = Paths::new(0xC0);
        assert!(paths.leave(0x80, Tod::from_micros(1)));
        paths.set_available(0x80);
        assert_eq!(paths.current(), 0x80, "left out, and the only one");
    }
}
