//! The daemon's control socket: requests of the other commands, and their answers.
//!
//! A connection to `control.sock` in the run directory brings one [`Request`] as a line of JSON. The answer is JSON, too:
//! one line, `{"Ok":…}` or `{"Err":"what was wrong"}`; for the trace a line for each record. Then it is closed. The socket is
//! its owner's only. Each connection has a thread of its own, so a program that runs can be halted by another command.

mod server;
mod status;
mod subchannel;
pub mod text;

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail, Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use dasd_tools::admin::Reservation;
use dasd_tools::dasdfmt::FormatOrder;

pub use server::{Answer, Server};
pub use status::*;
pub(crate) use subchannel::names;
pub use subchannel::{
    sense, trouble, Data, Function, Outcome, Program, Step, StoredSchib, TodMicros, TraceLine,
    TraceRecord, MAX_CCWS,
};

/// How long the daemon may take to answer, beyond what was asked for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The same for a disk, whose driver has to let go of it first, and which may be slow.
const DISK_PATIENCE: Duration = Duration::from_secs(120);

/// What is asked of the daemon. A disk is named, or has a device number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    Status,
    /// A subchannel as STORE SUBCHANNEL shows it.
    Schib {
        device: String,
    },
    Run {
        device: String,
        program: Program,
        seconds: u64,
    },
    Instruct {
        device: String,
        function: Function,
    },
    Reserve {
        disk: String,
        how: Reservation,
        /// How long a reservation that is held elsewhere is waited for.
        seconds: u64,
    },
    /// Format a disk; the answer comes line by line. It is broken off when nobody reads them any more.
    Format {
        disk: String,
        order: FormatOrder,
    },
    /// What is on a disk.
    View {
        disk: String,
    },
    /// Take the configuration as it is written now. The daemon that answers is followed by another one.
    Reload {
        /// Also take from VMs what they have just now.
        force: bool,
    },
    /// Try at once what has failed.
    Retry {
        /// The name of a disk, client or subchannel.
        name: String,
    },
    /// Make a disk longer.
    Resize {
        disk: String,
        /// Without, as long as its file or block device is.
        bytes: Option<u64>,
    },
    /// Exchange something for what is on disk by now.
    Upgrade {
        what: Upgraded,
    },
    Trace {
        /// Go on with what comes.
        follow: bool,
    },
}

/// What came of [`Request::Reload`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is different now, line by line.
    pub changes: Vec<String>,
    /// What has to wait, and for what.
    pub later: Vec<String>,
    /// Which configuration the next daemon has; none if nothing is different.
    pub configuration: Option<u32>,
}

/// What is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upgraded {
    /// The one that is asked. It ends when it has answered, and another one follows.
    Daemon,
    Appliance,
}

pub fn socket(config: &Config) -> PathBuf {
    config.in_run_dir("control.sock")
}

pub fn ask<T: DeserializeOwned>(config_file: &Path, request: &Request) -> Result<T> {
    let patience = match request {
        Request::Run { seconds, .. } => PATIENCE + Duration::from_secs(*seconds),
        Request::Reserve { seconds, .. } => DISK_PATIENCE + Duration::from_secs(*seconds),
        Request::View { .. }
        | Request::Retry { .. }
        | Request::Reload { .. }
        | Request::Resize { .. }
        | Request::Upgrade { .. } => DISK_PATIENCE,
        _ => PATIENCE,
    };
    let mut line = String::new();
    send(config_file, request, Some(patience))?
        .read_line(&mut line)
        .context("the daemon does not answer")?;
    parse(&line)
}

/// Asks the daemon for something that comes line by line, and gives each to `taken` until that says `false`.
pub fn follow<T: DeserializeOwned>(
    config_file: &Path,
    request: &Request,
    mut taken: impl FnMut(T) -> Result<bool>,
) -> Result<()> {
    for line in send(config_file, request, None)?.lines() {
        if !taken(parse(&line.context("the daemon's answer")?)?)? {
            break;
        }
    }
    Ok(())
}

fn send(
    config_file: &Path,
    request: &Request,
    patience: Option<Duration>,
) -> Result<BufReader<UnixStream>> {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, NotFound};

    let config = Config::load(config_file)?;
    let socket = socket(&config);
    let mut stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => bail!(
            "no daemon runs for {0}: start it with `stellwerk up {0}`",
            config_file.display()
        ),
        Err(error) => return Err(error).with_context(|| socket.display().to_string()),
    };
    stream.set_read_timeout(patience)?;
    let line = format!("{}\n", serde_json::to_string(request)?);
    match stream
        .write_all(line.as_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write))
    {
        // A daemon that has no place for one more says so, and closes without having read.
        Err(error) if error.kind() == BrokenPipe => {}
        other => other.context("the daemon does not listen")?,
    }
    Ok(BufReader::new(stream))
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<T> {
    let answer: Result<T, String> =
        serde_json::from_str(line).context("the daemon's answer cannot be read")?;
    answer.map_err(|wrong| anyhow!(wrong))
}

pub fn is_alive(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
