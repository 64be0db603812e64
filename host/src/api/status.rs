//! What goes on: the answer to [`Request::Status`](super::Request::Status).

use std::path::PathBuf;

use channel::{DeviceNumber, SubchannelId};
use dasd_tools::reserve::Holder;
use serde::{Deserialize, Serialize};
use vcss::control::{self, DeviceLife};
use vcss::trace::DriverState;

use super::text::{Dotted, Hex};
use crate::config::Export;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub appliance: ApplianceStatus,
    pub daemon: DaemonStatus,
    #[serde(default)]
    pub disks: Vec<Health>,
    pub devices: Vec<OwnedDevice>,
    pub clients: Vec<ClientStatus>,
}

/// Whether the appliance can serve something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum State {
    /// The appliance has not looked at it.
    #[default]
    Unknown,
    Online,
    Failed,
}

/// The same, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    pub state: State,
    pub reason: Option<String>,
}

impl Condition {
    pub fn failed(reason: String) -> Self {
        Self {
            state: State::Failed,
            reason: Some(reason),
        }
    }
}

/// How something fares that has a name in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub name: String,
    #[serde(flatten)]
    pub condition: Condition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Life {
    /// It has died and is not started again yet.
    Down,
    #[default]
    Starting,
    Serving,
    Stopping,
    Stopped,
    Failed,
}

impl From<control::Life> for Life {
    fn from(life: control::Life) -> Self {
        match life {
            control::Life::Starting => Self::Starting,
            control::Life::Serving => Self::Serving,
            control::Life::Stopping => Self::Stopping,
            control::Life::Stopped => Self::Stopped,
            control::Life::Failed => Self::Failed,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ApplianceStatus {
    pub version: String,
    pub life: Life,
    /// Which configuration it serves by: the daemon's when it has taken the last change.
    #[serde(default)]
    pub configuration: u32,
    /// Milliseconds until it is started again, when it is down.
    #[serde(default)]
    pub next_start_ms: Option<u64>,
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
    pub image_bytes: u64,
    /// Bytes of heap in use when it began to serve.
    pub heap_bytes: u64,
    pub turns: u64,
    pub sleeps: u64,
    /// Wake-up bytes that it sent.
    pub wakes: u64,
    /// Work that its slow timer found.
    pub healed: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub uptime_s: u64,
    /// Counts the configurations that it has taken.
    #[serde(default)]
    pub configuration: u32,
    pub pool: PathBuf,
    pub pool_bytes: u64,
    /// Kicks carried to the appliance.
    pub kicks: u64,
    /// Notifications carried from it.
    pub calls: u64,
    pub wakes: u64,
    /// Times the wake-up thread went to sleep.
    pub sleeps: u64,
    /// Work that its slow timer found.
    pub healed: u64,
}

/// A subchannel that the appliance owns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnedDevice {
    pub device: Dotted<DeviceNumber>,
    pub subchannel: Dotted<SubchannelId>,
    /// Control-unit type.
    pub cu_type: Hex<u16>,
    pub cu_model: Hex<u8>,
    pub dev_type: Hex<u16>,
    pub dev_model: Hex<u8>,
    pub state: DeviceLife,
    pub disk: Option<String>,
    pub sectors: u64,
    /// Who has reserved it, as far as the daemon knows.
    #[serde(default)]
    pub reserved: Option<Holder>,
    /// What its driver has done to get requests through.
    pub recoveries: Recoveries,
    /// What it is called in the configuration, if it is passed through by its name.
    pub name: Option<String>,
    /// State of the driver that passes it through.
    pub driver: Option<DriverState>,
    /// Whom it is passed through to: a client's name.
    pub client: Option<String>,
    /// The device number that the client sees.
    pub client_device: Option<Dotted<DeviceNumber>>,
    /// Path-installed, path-available and path-operational mask.
    pub pim: Hex<u8>,
    pub pam: Hex<u8>,
    pub pom: Hex<u8>,
    /// Logical-path, last-path-used and path-not-operational mask, as of the appliance's last look.
    #[serde(default)]
    pub lpm: Hex<u8>,
    #[serde(default)]
    pub lpum: Hex<u8>,
    #[serde(default)]
    pub pnom: Hex<u8>,
    #[serde(with = "hex::serde")]
    pub chpids: [u8; 8],
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

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientStatus {
    pub name: String,
    /// Whether its VM is connected: to all of its disks, or by its link, and has begun to use its area.
    pub connected: bool,
    #[serde(flatten)]
    pub condition: Condition,
    /// Why a VM that is connected by its link is none of this daemon's.
    #[serde(default)]
    pub refused: Option<String>,
    /// Where its window is in the pool.
    pub window_offset: u64,
    pub window_bytes: u64,
    /// What it is given of disks.
    pub disks: Vec<ExportStatus>,
    /// Device numbers of the subchannels that it is given.
    pub subchannels: Vec<Dotted<DeviceNumber>>,
    /// Those of them that the appliance does not serve.
    #[serde(default)]
    pub withheld: Vec<Health>,
}

/// A disk, or a part of one, that a client is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExportStatus {
    pub disk: String,
    pub socket: PathBuf,
    /// Whether the client's VM is connected to it, and is not refused.
    pub connected: bool,
    /// As of the disk; a slice that does not fit fails alone.
    #[serde(flatten)]
    pub condition: Condition,
    /// Why a VM that has connected is not served.
    #[serde(default)]
    pub refused: Option<String>,
    /// What of the disk. Its sectors are 0 while the size of the disk is not known, and of a partition.
    #[serde(flatten)]
    pub part: Export,
    /// What has been done with it since the appliance started.
    pub counters: Counters,
    #[serde(default)]
    pub held_back: HeldBack,
}

/// What holds back requests that a client has made, and how long it has since the appliance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Nothing, if nothing does now.
    pub by: Option<HeldBackBy>,
    /// While others that share the disk had their turn.
    pub share_ms: u64,
    /// By its own limits.
    pub limits_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBackBy {
    Share,
    Limits,
}

impl From<control::HeldBack> for HeldBack {
    fn from(said: control::HeldBack) -> Self {
        Self {
            by: match control::HeldBackBy::from_number(said.by.get()) {
                Some(control::HeldBackBy::Share) => Some(HeldBackBy::Share),
                Some(control::HeldBackBy::Limits) => Some(HeldBackBy::Limits),
                Some(control::HeldBackBy::Nothing) | None => None,
            },
            share_ms: said.share_us.get() / 1000,
            limits_ms: said.limits_us.get() / 1000,
        }
    }
}

/// Requests that have ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    pub reads: u64,
    pub writes: u64,
    pub flushes: u64,
    /// Discards and write-zeroes.
    pub discards: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub errors: u64,
    /// Those that have not ended.
    pub in_flight: u64,
}
