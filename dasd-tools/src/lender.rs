//! From whom disks are borrowed.

use anyhow::Result;

use crate::admin::Runner;

/// Whoever has disks, and lends one at a time to its administrator.
pub trait Lender {
    /// A disk that is borrowed, until it is dropped.
    type Disk<'a>: Runner<Error = anyhow::Error>
    where
        Self: 'a;

    /// Borrows a disk, by its name or its device number. `formats`: the volume may be another one afterwards.
    ///
    /// # Errors
    ///
    /// There is no such disk, it cannot be lent, or it is not let go in time.
    fn borrow_disk(&self, name: &str, formats: bool) -> Result<Self::Disk<'_>>;
}
