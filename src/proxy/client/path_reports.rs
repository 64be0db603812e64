//! What a client hears of its channel paths.

use vcss::control;

/// When a client hears that a channel path is lost or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathReports {
    /// By a channel report.
    AtOnce,
    /// When it looks: at the masks, or at the status of its next program.
    Later,
}

impl PathReports {
    /// What the daemon says of a client.
    pub const fn of(entry: &control::Client) -> Self {
        match entry.flags.get() & control::Client::PATH_REPORTS {
            0 => Self::Later,
            _ => Self::AtOnce,
        }
    }
}
