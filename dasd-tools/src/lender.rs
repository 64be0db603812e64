//! From whom disks are borrowed.

use crate::runner::Runner;

/// What a disk is borrowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The volume stays what it is.
    Look,
    /// The volume may be another one afterwards.
    Format,
}

/// Whoever has disks, and lends one at a time to its administrator.
pub trait Lender {
    /// A disk that is borrowed, until it is dropped.
    type Disk<'a>: Runner
    where
        Self: 'a;

    /// Borrows a disk, by its name or its device number.
    ///
    /// # Errors
    ///
    /// There is no such disk, it cannot be lent, or it is not let go in time.
    fn borrow_disk(&self, name: &str, purpose: Purpose) -> anyhow::Result<Self::Disk<'_>>;
}
