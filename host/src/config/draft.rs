//! What has been read of a configuration so far.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::problem::Problems;
use super::{Client, Disk, Export, Groups, Places, Subchannel};

pub(super) struct Draft<'p, 't> {
    pub(super) problems: &'p Problems<'t>,
    /// What groups are, by their clients' names, if that is known already.
    pub(super) known_groups: &'p Groups,
    pub(super) run_dir: PathBuf,
    /// The appliance's memory, if it is written.
    pub(super) memory: Option<Spanned<String>>,
    /// The room for clients' memory, if it is written.
    pub(super) room: Option<Spanned<String>>,
    pub(super) places: Places,
    pub(super) disks: Vec<Disk>,
    pub(super) subchannels: Vec<Subchannel>,
    pub(super) clients: Vec<Client>,
    pub(super) slices: Vec<Slice>,
}

/// An export, for the comparison with others.
pub(super) struct Slice {
    /// Where its disk is named.
    pub(super) span: Range<usize>,
    pub(super) export: Export,
    /// Something is wrong with it already.
    pub(super) doubtful: bool,
    pub(super) shared: bool,
    /// Whose it is: the index among the clients.
    pub(super) client: usize,
}
