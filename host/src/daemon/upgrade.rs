//! `stellwerk upgrade`: another appliance, or another daemon, in place of the one that runs.
//!
//! # How
//!
//! What can be done while everything goes on is done by whoever serves the command: the new image is read, and its QEMU is started
//! beside the one that runs; the program on disk is asked whether it understands what this daemon leaves. The exchange of the
//! appliance is the supervisor's. The daemon is exchanged by its death, which clients do not notice.
//!
//! # Rules
//!
//! * What is wrong with the new one changes nothing.
//! * Nothing is exchanged while somebody has a disk in maintenance: that would be broken off. Nor does maintenance begin while something
//!   is exchanged. Whoever comes second is refused.
//! * A QEMU with arguments of an administrator's is not started beside another one: both would have the same sockets and files.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::fs::{memfd_create, MemfdFlags};
use vcss::control::LoanState;

use super::handover::{Left, Succession};
use super::launch::{launch, Launched};
use super::Shared;
use crate::config::{Config, SubchannelSource};
use crate::keeper;
use crate::sys::Process;
use crate::vm::{Image, Monitor};

/// The hidden command by which a program says whether it can follow this daemon.
pub const UNDERSTANDS: &str = "understands";
/// How long it may take for that.
const PATIENCE: Duration = Duration::from_secs(10);
const ONE_AT_A_TIME: &str = "another upgrade, or change of the configuration, is under way";
const IN_MAINTENANCE: &str =
    "a disk is in maintenance, or being made longer: try again when that has ended";

/// An order to the supervisor.
#[derive(Debug)]
pub struct Exchange {
    pub image: Image,
    pub prepared: Option<Prepared>,
    /// What has come of it.
    pub done: Sender<Result<String, String>>,
}

/// A QEMU that waits beside the one that runs.
#[derive(Debug)]
pub struct Prepared {
    pub launched: Launched,
    pub monitor: Monitor,
}

/// The way of these orders to the supervisor.
#[derive(Debug)]
pub struct Upgrades {
    turns: Turns,
    asked: Mutex<Option<Exchange>>,
    /// Wakes the supervisor.
    nudge: UnixStream,
    /// Readable when the daemon is told to stop.
    signals: UnixStream,
}

impl Upgrades {
    pub fn new(nudge: UnixStream, signals: UnixStream) -> Self {
        Self {
            turns: Turns::default(),
            asked: Mutex::default(),
            nudge,
            signals,
        }
    }

    /// What is to be done now.
    pub fn take(&self) -> Option<Exchange> {
        self.asked.lock().take()
    }
}

/// Exchanges the appliance; what has come of it.
pub fn upgrade_appliance(shared: &Shared) -> Result<String> {
    let upgrades = &shared.upgrades;
    let _one = begin(shared)?;
    let image = Image::read(&shared.config.appliance.image)?;
    let prepared = match can_be_prepared(&shared.config) {
        true => Some(prepare(shared, &image).context("the new QEMU does not start")?),
        false => None,
    };
    let (done, outcome) = mpsc::channel();
    *upgrades.asked.lock() = Some(Exchange {
        image,
        prepared,
        done,
    });
    let _ = (&upgrades.nudge).write(&[0]);
    match outcome.recv() {
        Ok(outcome) => outcome.map_err(anyhow::Error::msg),
        Err(_) => bail!("the daemon was told to stop"),
    }
}

/// Whether a second QEMU can be started beside the first.
fn can_be_prepared(config: &Config) -> bool {
    let mut subchannels = config.subchannels.iter();
    let has_own = subchannels.any(|it| matches!(it.source, SubchannelSource::Qemu(_)));
    config.appliance.qemu_args.is_empty() && !has_own
}

fn prepare(shared: &Shared, image: &Image) -> Result<Prepared> {
    let mut launched = launch(shared, image)?;
    let signals = shared.upgrades.signals.try_clone()?;
    match Monitor::connect(launched.monitor.try_clone()?, signals) {
        Ok(monitor) => Ok(Prepared { launched, monitor }),
        Err(error) => {
            let said = launched.vm.messages().join("\n    ");
            Err(error).context(said)
        }
    }
}

fn ensure_no_maintenance(shared: &Shared) -> Result<()> {
    for (index, disk) in shared.config.disks.iter().enumerate() {
        let state = shared.areas.maintenance(index)?;
        ensure!(
            matches!(state, LoanState::Own | LoanState::Refused),
            "disk \"{}\" is in maintenance: try again when that has ended",
            disk.name
        );
    }
    Ok(())
}

/// Makes sure that nothing else is exchanged as long as what is returned is there, and that nothing would be broken off.
pub fn begin(shared: &Shared) -> Result<Exchanging<'_>> {
    ensure_no_maintenance(shared)?;
    shared.upgrades.turns.exchange()
}

/// Makes sure that nothing is exchanged as long as what is returned is there.
pub fn begin_maintenance(shared: &Shared) -> Result<Maintaining<'_>> {
    shared.upgrades.turns.maintain()
}

/// One who exchanges something, or any number of those who have disks in maintenance.
#[derive(Debug, Default)]
struct Turns(RwLock<()>);

pub type Exchanging<'a> = RwLockWriteGuard<'a, ()>;
pub type Maintaining<'a> = RwLockReadGuard<'a, ()>;

impl Turns {
    fn exchange(&self) -> Result<Exchanging<'_>> {
        self.0
            .try_write()
            .with_context(|| match self.0.is_locked_exclusive() {
                true => ONE_AT_A_TIME,
                false => IN_MAINTENANCE,
            })
    }

    fn maintain(&self) -> Result<Maintaining<'_>> {
        self.0.try_read().context(ONE_AT_A_TIME)
    }
}

/// Whether the program that is on disk can go on with this.
pub fn check_successor(shared: &Shared, left: &Left) -> Result<()> {
    ensure!(
        shared.handover.store.keeper().is_some(),
        "nobody keeps this daemon's connections: it was started by neither a keeper nor systemd with a descriptor store"
    );
    let program = keeper::program()?;
    let named = || format!("{} cannot follow this daemon", program.display());
    let mut order = File::from(memfd_create("succession", MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(&order, &shared.handover.succession(left)?)?;
    order.rewind()?;
    let mut command = Command::new(program);
    command
        .arg(UNDERSTANDS)
        .arg(&shared.config.places.file)
        .stdin(Stdio::from(order))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut asked = Process::start(&mut command).with_context(named)?;
    if !asked.ends_within(PATIENCE) {
        let _ = asked.child.kill();
        let _ = asked.child.wait();
        bail!("{}: it does not say whether it can", named());
    }
    let status = asked.child.wait()?;
    let mut said = String::new();
    if let Some(pipe) = asked.child.stderr.take() {
        pipe.take(1 << 12).read_to_string(&mut said)?;
    }
    let said = said.trim().trim_start_matches("stellwerk: ");
    let first = said.lines().next().unwrap_or("it does not say why");
    ensure!(status.success(), "{}: {first}", named());
    Ok(())
}

/// The other side: says whether this program could follow the daemon that asks.
pub fn understands(config_file: &Path, asked: impl Read) -> Result<()> {
    let succession: Succession =
        serde_json::from_reader(asked).context("what it would leave is not understood")?;
    succession.check(config_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_exchanged_beside_maintenance_nor_beside_another_exchange() {
        let turns = Turns::default();
        let refused = |error: anyhow::Error| error.to_string();
        let one = turns.maintain().unwrap();
        let other = turns.maintain().unwrap();
        assert_eq!(refused(turns.exchange().unwrap_err()), IN_MAINTENANCE);
        drop((one, other));
        let one = turns.exchange().unwrap();
        assert_eq!(refused(turns.exchange().unwrap_err()), ONE_AT_A_TIME);
        assert_eq!(refused(turns.maintain().unwrap_err()), ONE_AT_A_TIME);
        drop(one);
        assert!(turns.maintain().is_ok() && turns.exchange().is_ok());
    }
}
