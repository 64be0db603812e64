//! The channel paths to a disk, and which of them are used.

use s390x::clock::Tod;

use crate::css::Platform;

/// How long a path on which something went wrong is left out, in microseconds.
const LEFT_OUT_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    all: u8,
    /// Those that programs are started over, and until when the others are left out.
    now: u8,
    until: Tod,
}

impl Paths {
    pub const fn new(all: u8) -> Self {
        Self {
            all,
            now: all,
            until: Tod::NEVER,
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
}
