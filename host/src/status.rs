//! What goes on: `stellwerk status` and `stellwerk lscss`.

mod lscss;
mod table;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use dasd_tools::reserve::Holder;

pub use lscss::lscss;
pub use table::table;

/// Everything at one instant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The appliance.
    pub appliance: Appliance,
    /// The daemon.
    pub daemon: Daemon,
    /// The disks of the configuration.
    #[serde(default)]
    pub disks: Vec<Health>,
    /// The subchannels that the appliance owns.
    pub devices: Vec<Device>,
    /// Those who are served.
    pub clients: Vec<Client>,
}

/// How a disk of the configuration fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// `online`, `failed`, or `unknown` while the appliance has not looked at it.
    pub state: String,
    /// Why it has failed.
    pub reason: Option<String>,
}

/// The appliance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Appliance {
    /// Its version.
    pub version: String,
    /// `starting`, `serving`, `stopping`, `stopped` or `failed`; `down` while it has died and is not started again yet.
    pub life: String,
    /// Milliseconds until it is started again, when it is down.
    #[serde(default)]
    pub next_start_ms: Option<u64>,
    /// Seconds since it began to serve.
    pub uptime_s: u64,
    /// Process id of its QEMU.
    pub pid: u32,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// Times it opened the first client's area.
    pub generation: u32,
    /// Times it was started anew by the daemon.
    pub restarts: u32,
    /// Milliseconds from its first instruction to serving.
    pub boot_ms: f64,
    /// Bytes of the pool that are its own.
    pub private_bytes: u64,
    /// Bytes of the loaded image.
    pub image_bytes: u64,
    /// Bytes of heap in use when it began to serve.
    pub heap_bytes: u64,
    /// Turns of its event loop.
    pub turns: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Wake-up bytes that it sent.
    pub wakes: u64,
    /// Work that its slow timer found.
    pub healed: u64,
}

/// The daemon.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The pool file.
    pub pool: PathBuf,
    /// Its length.
    pub pool_bytes: u64,
    /// Kicks carried to the appliance.
    pub kicks: u64,
    /// Notifications carried from it.
    pub calls: u64,
    /// Wake-up bytes sent.
    pub wakes: u64,
    /// Times the wake-up thread went to sleep.
    pub sleeps: u64,
    /// Work that its slow timer found.
    pub healed: u64,
}

/// An owned subchannel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Device {
    /// Device number, as `0.0.0100`.
    pub device: String,
    /// Subchannel, as `0.0.0003`.
    pub subchannel: String,
    /// Control-unit type, hexadecimal.
    pub cu_type: String,
    /// Control-unit model, hexadecimal.
    pub cu_model: String,
    /// Device type, hexadecimal.
    pub dev_type: String,
    /// Device model, hexadecimal.
    pub dev_model: String,
    /// `standby`, `online` or `failed`.
    pub state: String,
    /// The disk that it is.
    pub disk: Option<String>,
    /// Its size.
    pub sectors: u64,
    /// Who has reserved it, as far as the daemon knows: `us` or `other`.
    #[serde(default)]
    pub reserved: Option<Holder>,
    /// What its driver has done to get requests through.
    pub recoveries: Recoveries,
    /// What it is called in the configuration, if it is passed through by its name.
    pub name: Option<String>,
    /// State of the driver that passes it through.
    pub driver: Option<String>,
    /// Whom it is passed through to: a client's name.
    pub client: Option<String>,
    /// The device number that the client sees.
    pub client_device: Option<String>,
    /// Path-installed mask, hexadecimal as the others.
    pub pim: String,
    /// Path-available mask.
    pub pam: String,
    /// Path-operational mask.
    pub pom: String,
    /// Channel-path identifiers.
    pub chpids: String,
}

/// What the driver of a disk has done to get requests through, since the appliance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recoveries {
    /// Requests, or several of them together, that were tried again.
    pub retries: u32,
    /// Of these, over another path.
    pub other_paths: u32,
    /// Of these, after a wait for the device.
    pub waits: u32,
    /// Operations that did not end in time.
    pub timeouts: u32,
    /// Requests that failed all the same.
    pub failures: u32,
}

/// A client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Whether its VM is connected: to all of its disks, or by its link, and has begun to use its area.
    pub connected: bool,
    /// As of a disk: whether the appliance can serve it.
    #[serde(default)]
    pub state: String,
    /// Why it cannot.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why a VM that is connected by its link is none of this daemon's.
    #[serde(default)]
    pub refused: Option<String>,
    /// Where its window begins in the pool.
    pub window_offset: u64,
    /// How long its window is.
    pub window_bytes: u64,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Device numbers of the subchannels that it is given.
    pub subchannels: Vec<String>,
    /// Those of them that the appliance does not serve, by their names, and why.
    #[serde(default)]
    pub withheld: Vec<Health>,
}

/// What a client is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disk {
    /// The disk's name.
    pub disk: String,
    /// The socket for it.
    pub socket: PathBuf,
    /// Whether the client's VM is connected to it, and is not refused.
    pub connected: bool,
    /// `online`, `failed` or `unknown`, as of the disk; a slice that does not fit fails alone.
    #[serde(default)]
    pub state: String,
    /// Why it has failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why a VM that has connected is not served.
    #[serde(default)]
    pub refused: Option<String>,
    /// The partition of the disk; where that is the appliance knows.
    pub partition: Option<u8>,
    /// First sector on the disk.
    pub start: u64,
    /// Sectors; 0 while the size of the disk is not known, and of a partition.
    pub sectors: u64,
    /// Whether the client may only read.
    pub readonly: bool,
    /// Queues.
    pub queues: u16,
    /// What has been done with it since the appliance started.
    pub counters: Counters,
}

/// Requests that have ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards and write-zeroes.
    pub discards: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Those that have not ended.
    pub in_flight: u64,
}
