//! The configuration: what the file says, checked.
//!
//! # Purpose
//!
//! [`Config::load`] reads a TOML file and gives a [`Config`] in which everything that can be known without
//! touching a disk or a VM has been checked: names, sizes, references, overlapping slices. What is
//! wrong is reported with file, line and column, and with what to do; all of it at once.
//!
//! # Rules
//!
//! * Unknown keys are errors: a misspelt key must not be a silent default.
//! * All problems are reported at once, whatever they are; only what is no TOML comes before everything else.
//! * Relative paths are relative to the current directory, as on a command line, and made absolute here.
//! * Two slices of a disk that share a sector must both be marked `shared`, unless nobody writes.
//! * A subchannel is given to one client at most.
//! * A client's area is the daemon's to use (for its disks) or its VM's own (for its subchannels), so a client has one
//!   or the other.

mod check;
mod draft;
mod memory;
mod need;
mod problem;
mod quota;
mod seats;
mod slices;
mod subchannels;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use channel::DeviceNumber;
use rustix::fs::Gid;
use serde::{Deserialize, Serialize};
use vcss::control::Condition;

pub use memory::{next_good, parse as parse_size, show as show_size, MIB};
use need::Need;

pub use problem::{ConfigError, Place, Problem};
pub use seats::{Holder, Seats};

/// What stands in place of QEMU's firmware. QEMU loads that at each start, also with `-kernel`, 3 MiB below the end of the
/// memory or 2 GiB: into a client's window, or the control area. A file of one byte goes to X'9000', where nothing
/// is yet; an empty one is refused by QEMU 11.
pub const NO_FIRMWARE: [u8; 1] = [0];
const LEAST_WATCHDOG_SECONDS: u32 = 20;
/// Bytes in a sector, the unit of slices.
pub const SECTOR: u64 = 512;

#[derive(Clone, Debug)]
pub struct Config {
    pub appliance: Appliance,
    pub disks: Vec<Disk>,
    /// Further subchannels of the appliance's, to be passed through.
    pub subchannels: Vec<Subchannel>,
    pub clients: Vec<Client>,
    pub places: Places,
}

/// Where in the file the appliance's keys are written, for what is found wrong with them later. Disks, subchannels and exports have
/// places of their own.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub file: PathBuf,
    pub image: Place,
    /// QEMU's program and the run directory, if they are named; else the image.
    pub qemu: Place,
    pub run_dir: Place,
}

/// The appliance and the place that it runs in.
#[derive(Clone, Debug)]
pub struct Appliance {
    pub image: PathBuf,
    /// Bytes of the pool that are its own.
    pub private: u64,
    /// Bytes that there are for the memory of all clients together, if that is written.
    pub room: Option<u64>,
    pub qemu: String,
    pub accel: Accel,
    /// Its command line, without what the daemon adds.
    pub append: String,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// Whether QEMU may make only such system calls as it needs.
    pub sandbox: bool,
    /// Directory of sockets and console log.
    pub run_dir: PathBuf,
    /// How long the daemon looks for work before it sleeps.
    pub poll: Duration,
    /// How long the appliance, or its QEMU, may give no sign of life before it is ended as one that hangs. Without it nobody looks.
    pub hang_limit: Option<Duration>,
}

impl Appliance {
    /// For how many seconds the machine's own watchdog is set, which is for the time in which no daemon looks: longer than the
    /// appliance takes for an orderly end, and shorter than it may take to serve. 0: it is not.
    pub fn watchdog_seconds(&self) -> u32 {
        let limit = self.hang_limit.map(|limit| limit.as_secs() as u32);
        limit.map_or(0, |seconds| (2 * seconds).max(LEAST_WATCHDOG_SECONDS))
    }
}

/// How QEMU runs the appliance: by the hardware, or by translation, on any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    /// The value of `-smp` for a VM that shares memory: under TCG the second possible CPU is what makes
    /// QEMU keep atomic accesses atomic.
    pub const fn smp(self) -> &'static str {
        match self {
            Self::Kvm => "1",
            Self::Tcg => "1,maxcpus=2",
        }
    }
}

/// A disk that the appliance owns.
#[derive(Clone, Debug)]
pub struct Disk {
    pub name: String,
    pub source: Source,
    /// Queues between appliance and disk.
    pub queues: u16,
    /// Where its file or device is named.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or a block device, as a virtio-blk-ccw device.
    Image {
        path: PathBuf,
        /// Looked up in the file when not given.
        format: Option<Format>,
        cache: Cache,
        aio: Option<Aio>,
    },
    /// A mediated device of vfio-ccw: a real subchannel.
    Mdev(PathBuf),
}

impl Source {
    pub fn path(&self) -> &Path {
        let (Self::Image { path, .. } | Self::Mdev(path)) = self;
        path
    }
}

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    Raw,
    Qcow2,
}

/// Whether the host's page cache lies between QEMU and the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Cache {
    /// It does not, where the file system allows that.
    #[default]
    None,
    /// It does; a flush still reaches the disk.
    Writeback,
}

/// How QEMU reads and writes an image.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Aio {
    Threads,
    /// Linux asynchronous I/O; needs an uncached file.
    Native,
    IoUring,
}

/// A subchannel that the appliance owns to pass it through.
#[derive(Clone, Debug)]
pub struct Subchannel {
    pub name: String,
    /// Its device number on the appliance's channel subsystem.
    pub device: DeviceNumber,
    pub source: SubchannelSource,
    /// Where its device is named.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubchannelSource {
    /// A device that QEMU emulates: the value of `-device`, without a device number.
    Qemu(String),
    /// A mediated device of vfio-ccw: a real subchannel.
    Mdev(PathBuf),
    /// Whatever somebody else plugs into the appliance's VM, when they please.
    Plugged,
}

/// A subchannel, given to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub subchannel: usize,
    /// The device number that the client sees.
    pub device: u16,
}

impl Given {
    /// The same with the subchannel set of everything that clients see.
    pub const fn seen(self) -> DeviceNumber {
        DeviceNumber {
            set: 0,
            number: self.device,
        }
    }
}

/// Numbers of groups, by their clients' names.
pub type Groups = BTreeMap<String, u32>;

/// Something that a client is given: the client's index, and its own number there. The disks come first, then the subchannels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub client: usize,
    pub number: usize,
}

/// Where the control area says how a disk, a client, or a part of a client's fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionEntry(pub u32);

/// A VM that is served.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: String,
    /// The most memory that its VM may have, in bytes: its window.
    pub memory: u64,
    /// Whose members may connect to its sockets, besides the daemon's own user.
    pub group: Option<Gid>,
    /// Whether it gets a channel report at once when a channel path of its subchannels is lost or found.
    pub path_reports: bool,
    /// What it is given of disks, in the order of its virtual subchannels.
    pub exports: Vec<Export>,
    /// The subchannels that it is given, in the same order. A client that has any has no disks, and is *channel-level*: its VM
    /// drives its area itself.
    pub subchannels: Vec<Given>,
    /// How many of either it can be given while the appliance runs.
    pub rows: u32,
}

impl Client {
    pub fn is_channel_level(&self) -> bool {
        !self.subchannels.is_empty()
    }

    /// Virtual subchannels that it has.
    pub fn parts(&self) -> usize {
        self.exports.len() + self.subchannels.len()
    }

    /// What GET ID answers: the disk's name, cut to fit, and the number of the export if the client has several of the same disk.
    pub fn serial(&self, disks: &[Disk], export: usize) -> [u8; 20] {
        let mut serial = [0; 20];
        let disk = self.exports.get(export).map_or(0, |export| export.disk);
        let same = self.exports.iter().filter(|other| other.disk == disk);
        let name = disks.get(disk).map_or("", |disk| &disk.name);
        let tail = match same.count() {
            0 | 1 => String::new(),
            _ => format!("-{export}"),
        };
        let name = name.bytes().take(serial.len() - tail.len());
        for (to, from) in serial.iter_mut().zip(name.chain(tail.bytes())) {
            *to = from;
        }
        serial
    }
}

/// A disk, or a slice of one, given to a client.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Export {
    /// Index in [`Config::disks`].
    #[serde(skip)]
    pub disk: usize,
    /// A partition that the volume's own table of contents names, instead of the next two.
    pub partition: Option<u8>,
    pub start: u64,
    /// 0: to the end of the disk, or of the partition.
    pub sectors: u64,
    #[serde(rename = "readonly")]
    pub read_only: bool,
    /// Queues that the client may use.
    pub queues: u16,
    #[serde(flatten, default)]
    pub quota: Quota,
    /// Where it is written that it begins.
    #[serde(skip)]
    pub place: Place,
}

/// How a client shares a disk with others, and what it may do there at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// Its share relative to the others'.
    pub weight: u32,
    /// Requests a second, and at once after a pause.
    pub iops: Option<u64>,
    pub iops_burst: Option<u64>,
    /// Bytes a second, and at once after a pause.
    pub bandwidth: Option<u64>,
    pub bandwidth_burst: Option<u64>,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            weight: vcss::control::Quota::WEIGHT,
            iops: None,
            iops_burst: None,
            bandwidth: None,
            bandwidth_burst: None,
        }
    }
}

impl Export {
    /// The sectors, as far as they are known without the disk.
    pub const fn range(&self) -> Range<u64> {
        let end = match self.sectors {
            0 => u64::MAX,
            sectors => self.start.saturating_add(sectors),
        };
        self.start..end
    }
}

impl Config {
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_text(file).map(|(config, _)| config)
    }

    /// The same, and the text.
    pub fn load_text(file: &Path) -> Result<(Self, String), ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        Ok((Self::parse(file, &text)?, text))
    }

    /// The same of what is in the file.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        check::config(file, text, &Groups::new())
    }

    /// The same again, of one by which clients are served: their groups are what they were then, whatever the system knows of them now.
    pub fn parse_again(file: &Path, text: &str, groups: &Groups) -> Result<Self, ConfigError> {
        check::config(file, text, groups)
    }

    /// What the clients' groups are.
    pub fn groups(&self) -> Groups {
        let clients = self.clients.iter();
        let groups = clients.filter_map(|it| Some((it.name.clone(), it.group?.as_raw())));
        groups.collect()
    }

    /// The exports of all clients, in the order of the control area.
    pub fn exports(&self) -> impl Iterator<Item = (Part, &Export)> {
        let clients = self.clients.iter().enumerate();
        clients.flat_map(|(client, this)| {
            let exports = this.exports.iter().enumerate();
            exports.map(move |(number, export)| (Part { client, number }, export))
        })
    }

    /// The same of subchannels.
    pub fn given(&self) -> impl Iterator<Item = (Part, &Given)> {
        let clients = self.clients.iter().enumerate();
        clients.flat_map(|(client, this)| {
            let given = (this.exports.len()..).zip(&this.subchannels);
            given.map(move |(number, given)| (Part { client, number }, given))
        })
    }

    /// The number of what a client is given, over all clients.
    pub fn export_number(&self, part: Part) -> usize {
        let before = self.clients.iter().take(part.client);
        before.map(|it| it.rows as usize).sum::<usize>() + part.number
    }

    pub fn condition_of_disk(&self, disk: usize) -> ConditionEntry {
        ConditionEntry(Condition::of_disk(disk))
    }

    pub fn condition_of_client(&self, client: usize) -> ConditionEntry {
        ConditionEntry(Condition::of_client(client, self.disks.len() as u32))
    }

    pub fn condition_of(&self, part: Part) -> ConditionEntry {
        // The daemon is one more client.
        let clients = self.clients.len() as u32 + 1;
        let number = self.export_number(part);
        ConditionEntry(Condition::of_export(
            number,
            self.disks.len() as u32,
            clients,
        ))
    }

    /// The least memory of its own that the appliance needs, in bytes.
    pub fn needed(&self) -> u64 {
        Need::of(&self.disks, &self.subchannels, &self.clients).size()
    }

    /// A file of the run directory.
    pub fn in_run_dir(&self, name: &str) -> PathBuf {
        self.appliance.run_dir.join(name)
    }

    pub fn socket(&self, export: Part) -> PathBuf {
        let client = &self.clients[export.client].name;
        self.in_run_dir(&format!("{client}.{}.sock", export.number))
    }

    /// What QEMU is given in place of its firmware, which it would put into memory that is somebody's: see
    /// [`NO_FIRMWARE`].
    pub fn no_firmware(&self) -> PathBuf {
        self.in_run_dir("no-firmware.bin")
    }

    /// The socket of a channel-level client's wake-ups.
    pub fn link_socket(&self, client: &Client) -> PathBuf {
        self.in_run_dir(&format!("{}.link.sock", client.name))
    }

    /// The name by which the VM of a channel-level client has its memory.
    pub fn client_memory(&self, client: &Client) -> PathBuf {
        let name = format!("{}.memory", client.name);
        self.appliance.run_dir.join(name)
    }

    /// What there is in the run directory for clients: all of it goes with them.
    pub fn names(&self) -> Vec<PathBuf> {
        let sockets = self.exports().map(|(part, _)| self.socket(part));
        let clients = self.clients.iter().filter(|it| it.is_channel_level());
        let own = clients.flat_map(|it| [self.link_socket(it), self.client_memory(it)]);
        sockets.chain(own).collect()
    }

    /// What the QEMU of a channel-level client's VM holds locked while it runs.
    pub fn client_pid(&self, client: &Client) -> PathBuf {
        self.in_run_dir(&format!("{}.pid", client.name))
    }
}
