//! Cuts a life short before one of its stores: for tests of what has to be whole at every instant.
//!
//! Each thread counts for itself. Without the feature `stores` nothing is counted, and there is nothing to be called.

#[cfg(feature = "stores")]
mod counted {
    use std::boxed::Box;
    use std::cell::Cell;

    std::thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// What a life that is cut short unwinds with.
    #[derive(Clone, Copy, Debug)]
    pub struct Cut;

    /// Lets this thread store so many times more; the store after that unwinds with [`Cut`], and those after it are made again.
    /// `None`: as often as it likes. Returns what was left.
    pub fn cut_after(stores: Option<u32>) -> Option<u32> {
        LEFT.replace(stores)
    }

    pub(crate) fn about_to_store() {
        let Some(left) = LEFT.get() else {
            return;
        };
        LEFT.set(left.checked_sub(1));
        if left == 0 {
            std::panic::resume_unwind(Box::new(Cut));
        }
    }
}

#[cfg(feature = "stores")]
pub use counted::*;

/// A store to a window is about to be made.
#[cfg(not(feature = "stores"))]
#[inline(always)]
pub(crate) const fn about_to_store() {}
