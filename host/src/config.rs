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
#[cfg(test)]
mod limits;
mod memory;
#[cfg(test)]
mod mistakes;
mod need;
mod problem;
mod raw;
mod read;
mod slices;
mod subchannels;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use channel::DeviceNumber;

pub use memory::{next_good, show as show_size, MIB};
pub use problem::{ConfigError, Place, Problem};
pub use subchannels::parse_device;

/// What stands in place of QEMU's firmware. QEMU loads that at each start, also with `-kernel`, 3 MiB below the end of the
/// memory or 2 GiB: into a client's window, or the control area. A file of one byte goes to X'9000', where nothing
/// is yet; an empty one is refused by QEMU 11.
pub const NO_FIRMWARE: [u8; 1] = [0];
/// Bytes in a sector, the unit of slices.
pub const SECTOR: u64 = 512;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Config {
    /// The appliance.
    pub appliance: Appliance,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Further subchannels of its, to be passed through.
    pub subchannels: Vec<Subchannel>,
    /// Those whom it serves.
    pub clients: Vec<Client>,
    /// Where in the file it says so.
    pub places: Places,
}

/// Where things are written, for what is found wrong with them later.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The configuration file.
    pub file: PathBuf,
    /// The image's path.
    pub image: Place,
    /// QEMU's program, if it is named.
    pub qemu: Place,
    /// The pool, if it is named.
    pub pool: Place,
    /// The run directory, if it is named.
    pub run_dir: Place,
    /// For each disk, its file or device.
    pub disks: Vec<Place>,
    /// The same for each subchannel.
    pub subchannels: Vec<Place>,
    /// For each export of each client, where the slice begins.
    pub exports: Vec<Vec<Place>>,
}

/// The appliance and the place that it runs in.
#[derive(Clone, Debug)]
pub struct Appliance {
    /// The image to boot.
    pub image: PathBuf,
    /// Bytes of the pool that are its own.
    pub private: u64,
    /// The QEMU program.
    pub qemu: String,
    /// How QEMU runs it.
    pub accel: Accel,
    /// Its command line, without what the daemon adds.
    pub append: String,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// Directory of sockets and console log.
    pub run_dir: PathBuf,
    /// The pool file.
    pub pool: PathBuf,
    /// How long the daemon looks for work before it sleeps.
    pub poll_us: u32,
}

/// How QEMU runs the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the hardware.
    Kvm,
    /// By translation, on any machine.
    Tcg,
}

impl Accel {
    /// Its name on QEMU's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

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
    /// Its name.
    pub name: String,
    /// What it is.
    pub source: Source,
    /// Queues between appliance and disk.
    pub queues: u16,
}

/// What a disk is.
#[derive(Clone, Debug)]
pub enum Source {
    /// An image or a block device, as a virtio-blk-ccw device.
    Image {
        /// The file or device.
        path: PathBuf,
        /// Its format; looked up in the file when not given.
        format: Option<Format>,
        /// Whether the host caches it.
        cache: Cache,
        /// How QEMU reads and writes it.
        aio: Option<Aio>,
    },
    /// A mediated device of vfio-ccw: a real subchannel.
    Mdev(PathBuf),
}

/// Format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The sectors, one after the other.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl Format {
    /// Its name on QEMU's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Whether the host's page cache lies between QEMU and the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// It does not, where the file system allows that.
    #[default]
    None,
    /// It does; a flush still reaches the disk.
    Writeback,
}

/// How QEMU reads and writes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aio {
    /// A pool of threads.
    Threads,
    /// Linux asynchronous I/O; needs an uncached file.
    Native,
    /// io_uring.
    IoUring,
}

impl Aio {
    /// Its name on QEMU's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Native => "native",
            Self::IoUring => "io_uring",
        }
    }
}

/// A subchannel that the appliance owns to pass it through.
#[derive(Clone, Debug)]
pub struct Subchannel {
    /// Its name.
    pub name: String,
    /// Its device number on the appliance's channel subsystem.
    pub device: DeviceNumber,
    /// What it is.
    pub source: SubchannelSource,
}

/// What a subchannel is.
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
    /// Index in [`Config::subchannels`].
    pub subchannel: usize,
    /// The device number that the client sees.
    pub device: u16,
}

/// A VM that is served.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its memory, which is its window in the pool.
    pub memory: u64,
    /// What it is given, in the order of its virtual subchannels.
    pub exports: Vec<Export>,
    /// The subchannels that it is given, in the order of its virtual subchannels. A client that has any has no
    /// disks, and is *channel-level*: its VM drives its area itself.
    pub subchannels: Vec<Given>,
}

impl Client {
    /// Whether its VM drives its area itself.
    pub fn is_channel_level(&self) -> bool {
        !self.subchannels.is_empty()
    }
}

/// A disk, or a slice of one, given to a client.
#[derive(Clone, Debug)]
pub struct Export {
    /// Index in [`Config::disks`].
    pub disk: usize,
    /// A partition that the volume's own table of contents names, instead of the next two.
    pub partition: Option<u8>,
    /// First sector.
    pub start: u64,
    /// Sectors; `None` to the end of the disk.
    pub sectors: Option<u64>,
    /// Whether the client may only read.
    pub read_only: bool,
    /// Queues that it may use.
    pub queues: u16,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or something in it is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        Self::parse(file, &text)
    }

    /// The same of what is in the file.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        check::config(file, text)
    }

    /// The exports of all clients, in the order of the control area.
    pub fn exports(&self) -> impl Iterator<Item = (usize, &Export)> {
        self.clients
            .iter()
            .enumerate()
            .flat_map(|(client, this)| this.exports.iter().map(move |export| (client, export)))
    }

    /// The socket of a client's export.
    pub fn socket(&self, client: &Client, export: usize) -> PathBuf {
        let name = format!("{}.{export}.sock", client.name);
        self.appliance.run_dir.join(name)
    }

    /// What QEMU is given in place of its firmware, which it would put into memory that is somebody's: see
    /// [`NO_FIRMWARE`].
    pub fn no_firmware(&self) -> PathBuf {
        self.appliance.run_dir.join("no-firmware.bin")
    }

    /// The socket of a channel-level client's wake-ups.
    pub fn link_socket(&self, client: &Client) -> PathBuf {
        let name = format!("{}.link.sock", client.name);
        self.appliance.run_dir.join(name)
    }

    /// What the QEMU of a client's VM holds locked while it runs.
    pub fn client_pid(&self, client: &Client) -> PathBuf {
        self.appliance.run_dir.join(format!("{}.pid", client.name))
    }
}
