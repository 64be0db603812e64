//! What the program knows of itself while it runs, for whoever looks at it from outside: heap, stack, log, storage.
//!
//! # Limits
//!
//! The stack is known as far as its storage was zero at the start, as that of a new machine is; else more of it counts as used.

use log::LevelFilter;

/// How much of something is used, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub used: u64,
    pub size: u64,
}

/// What the program has for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Innards {
    pub heap: Usage,
    /// The most that was ever used of the stack.
    pub stack: Usage,
    /// Where the stack ends, and where it is now.
    pub stack_top: u64,
    pub stack_now: u64,
    /// Control registers 0, 6 and 14.
    pub controls: [u64; 3],
}

pub trait Program {
    /// Microseconds since the first instruction.
    fn up_us(&self) -> u64;

    fn innards(&self) -> Innards;

    /// The last log records, the oldest one first.
    fn each_log_line(&self, act: &mut dyn FnMut(&str));

    /// The console shows records up to this level.
    fn set_log_level(&self, level: LevelFilter);

    /// Reads storage that is there: the caller's care. Returns whether that can be done.
    fn bytes(&self, address: u64, to: &mut [u8]) -> bool;
}

/// There is no such program: nothing is known of it.
#[derive(Clone, Copy, Debug)]
pub struct NoProgram;

impl Program for NoProgram {
    fn up_us(&self) -> u64 {
        0
    }

    fn innards(&self) -> Innards {
        Innards::default()
    }

    fn each_log_line(&self, _: &mut dyn FnMut(&str)) {}

    fn set_log_level(&self, _: LevelFilter) {}

    fn bytes(&self, _: u64, _: &mut [u8]) -> bool {
        false
    }
}

#[cfg(target_os = "none")]
pub use this::ThisImage;

#[cfg(target_os = "none")]
mod this {
    use core::ptr::with_exposed_provenance;

    use log::LevelFilter;
    use s390x::control;

    use super::{Innards, Program, Usage};
    use crate::boot::image::{uptime, STACK_BOTTOM, STACK_TOP};
    use crate::boot::logring;

    /// The program that this is.
    #[derive(Clone, Copy, Debug)]
    pub struct ThisImage;

    /// Below this address nothing is read: a pointer of zero is none.
    const FIRST: u64 = 8;

    impl Program for ThisImage {
        fn up_us(&self) -> u64 {
            uptime().as_micros() as u64
        }

        fn innards(&self) -> Innards {
            let (used, size) = crate::alloc::usage();
            let here = 0_u8;
            let [cr0, _, _, _, _, _, cr6, _, _, _, _, _, _, _, cr14, _] = control::read_all();
            Innards {
                heap: Usage {
                    used: used as u64,
                    size: size as u64,
                },
                stack: Usage {
                    used: (STACK_TOP - lowest_used()) as u64,
                    size: (STACK_TOP - STACK_BOTTOM) as u64,
                },
                stack_top: STACK_TOP as u64,
                stack_now: core::ptr::from_ref(&here).addr() as u64,
                controls: [cr0, cr6, cr14],
            }
        }

        fn each_log_line(&self, act: &mut dyn FnMut(&str)) {
            logring::each(act);
        }

        fn set_log_level(&self, level: LevelFilter) {
            logring::install(level);
        }

        fn bytes(&self, address: u64, to: &mut [u8]) -> bool {
            if address < FIRST {
                return false;
            }
            for (at, byte) in (address..).zip(to) {
                // SAFETY: there is storage, by the caller's care; any byte is a number, and the program does not run meanwhile.
                *byte = unsafe { with_exposed_provenance::<u8>(at as usize).read_volatile() };
            }
            true
        }
    }

    /// The lowest address of the stack at which something is.
    fn lowest_used() -> usize {
        let mut all = (STACK_BOTTOM..STACK_TOP).step_by(8);
        let found = all.find(|&at| {
            // SAFETY: the stack is storage.
            unsafe { with_exposed_provenance::<u64>(at).read_volatile() != 0 }
        });
        found.unwrap_or(STACK_TOP)
    }
}
