//! What has been read of a configuration so far.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use channel::DeviceNumber;
use toml::Spanned;

use super::problem::Problems;
use super::{Client, Disk, Places, Subchannel};
use crate::layout::parse_device;

/// What has been read so far.
pub(super) struct Draft<'p, 't> {
    pub(super) file: &'p Path,
    pub(super) problems: &'p Problems<'t>,
    pub(super) run_dir: PathBuf,
    /// The appliance's memory, if it is written.
    pub(super) memory: Option<Spanned<String>>,
    pub(super) places: Places,
    pub(super) disks: Vec<Disk>,
    pub(super) disk_names: HashMap<String, usize>,
    pub(super) subchannels: Vec<Subchannel>,
    pub(super) registry: Registry,
    pub(super) clients: Vec<Client>,
    pub(super) client_names: HashSet<String>,
    pub(super) slices: Vec<Slice>,
}

/// A slice with the place where it was written, for the comparison of slices.
pub(super) struct Slice {
    /// Where its disk is named.
    pub(super) span: Range<usize>,
    /// Where it begins, if that is said.
    pub(super) place: Range<usize>,
    pub(super) disk: usize,
    pub(super) sectors: Range<u64>,
    pub(super) partition: Option<u8>,
    /// Something is wrong with it already.
    pub(super) doubtful: bool,
    pub(super) read_only: bool,
    pub(super) shared: bool,
    pub(super) client: String,
}

/// What has been written of subchannels so far.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) names: HashMap<String, usize>,
    pub(super) devices: HashMap<DeviceNumber, usize>,
    /// Whom each was given to.
    pub(super) owners: HashMap<usize, String>,
    /// The numbers by which clients see them by default.
    pub(super) numbers: Vec<DeviceNumber>,
}

impl Registry {
    /// The subchannel that a name or a device number means.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let by_name = self.names.get(text);
        let index = by_name.or_else(|| self.devices.get(&parse_device(text)?));
        index.copied()
    }
}
