//! What goes on: `stellwerk status`, and the socket that it asks.
//!
//! The daemon answers each connection to `control.sock` in its run directory with one [`Status`] as JSON, and
//! closes it. The socket is its owner's only.

mod server;
mod table;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::Config;

pub use server::StatusServer;
pub use table::table;

/// Everything at one instant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The appliance.
    pub appliance: Appliance,
    /// The daemon.
    pub daemon: Daemon,
    /// The subchannels that the appliance owns.
    pub devices: Vec<Device>,
    /// Those who are served.
    pub clients: Vec<Client>,
}

/// The appliance.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Appliance {
    /// Its version.
    pub version: String,
    /// `starting`, `serving`, `stopping`, `stopped` or `failed`.
    pub life: String,
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
}

/// A client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Whether its VM is connected to all of its disks.
    pub connected: bool,
    /// Where its window begins in the pool.
    pub window_offset: u64,
    /// How long its window is.
    pub window_bytes: u64,
    /// Its disks.
    pub disks: Vec<Disk>,
}

/// What a client is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disk {
    /// The disk's name.
    pub disk: String,
    /// The socket for it.
    pub socket: PathBuf,
    /// Whether the client's VM is connected to it.
    pub connected: bool,
    /// First sector on the disk.
    pub start: u64,
    /// Sectors; 0 while the size of the disk is not known.
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

/// The daemon's control socket.
pub fn socket(config: &Config) -> PathBuf {
    config.appliance.run_dir.join("control.sock")
}

/// Asks the daemon of a configuration.
///
/// # Errors
///
/// None runs, or it does not answer.
pub fn ask(config_file: &Path) -> Result<Status> {
    let config = Config::load(config_file)?;
    let socket = socket(&config);
    let mut stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => bail!(
            "no daemon runs for {0}: start it with `stellwerk up {0}`",
            config_file.display()
        ),
        Err(error) => return Err(error).with_context(|| socket.display().to_string()),
    };
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .context("the daemon does not answer")?;
    serde_json::from_str(&text).context("the daemon's answer cannot be read")
}

/// Whether a daemon answers at a socket.
pub fn is_alive(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
