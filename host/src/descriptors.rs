//! File descriptors: how many a configuration takes, and that there are as many.
//!
//! # Rules
//!
//! * The soft limit is raised to the hard one: it is there for programs that use select(2).
//! * A configuration that needs more than the hard limit is refused before anything is started.
//! * A few are kept back for the appliance: whoever else has used up the others, it can be started again.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Context, Result};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::config::Config;

/// What the daemon has open whatever it serves: its log, sockets, pool, areas, the appliance's VM, and a request to the
/// control socket from everybody who may make one.
const OF_THE_DAEMON: u64 = 128;
/// Of each disk of each client: its socket, what tells its threads of news, and a connection.
const OF_A_DISK: u64 = 8;
/// Of each queue: kick, in two places, call and error.
const OF_A_QUEUE: u64 = 4;
/// Of each channel-level client: its link and the link's socket.
const OF_A_LINK: u64 = 2;
/// What it takes to start a VM: pipes, its process, its monitor.
const TO_START: usize = 16;

/// Descriptors that a configuration takes when all of its clients are connected.
fn needed(config: &Config) -> u64 {
    let disks: u64 = config
        .exports()
        .map(|(_, export)| OF_A_DISK + OF_A_QUEUE * u64::from(export.queues))
        .sum();
    let links = config.clients.iter().filter(|it| it.is_channel_level());
    OF_THE_DAEMON + TO_START as u64 + disks + OF_A_LINK * links.count() as u64
}

/// Raises the soft limit, and makes sure that it suffices.
///
/// # Errors
///
/// The hard limit does not.
pub fn prepare(config: &Config) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // The hard limit may be above what the system takes for a soft one.
    let granted = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    check(needed(config), granted)
}

fn check(needed: u64, granted: Option<u64>) -> Result<()> {
    match granted {
        Some(granted) if granted < needed => bail!(
            "this configuration needs up to {needed} file descriptors, and the limit is {granted}: raise it (LimitNOFILE= \
             of the unit, or `ulimit -Hn`), or give the clients fewer disks or queues"
        ),
        _ => Ok(()),
    }
}

/// Descriptors that nobody uses until the appliance is started.
#[derive(Debug)]
pub struct Reserve(Mutex<Vec<OwnedFd>>);

impl Reserve {
    /// Keeps some back.
    ///
    /// # Errors
    ///
    /// The system has none left.
    pub fn new() -> Result<Self> {
        let reserve = Self(Mutex::default());
        reserve
            .fill()
            .context("file descriptors for the appliance")?;
        Ok(reserve)
    }

    /// Gives them back to the system, to be used at once; [`Self::fill`] takes others.
    pub fn release(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Keeps some back again, as many as are to be had.
    ///
    /// # Errors
    ///
    /// The system has not as many left.
    pub fn fill(&self) -> Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() < TO_START {
            kept.push(File::open("/dev/null")?.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_suffice_is_said_with_both_figures() {
        assert!(check(1000, None).is_ok());
        assert!(check(1000, Some(1000)).is_ok());
        let refused = check(1000, Some(999)).unwrap_err().to_string();
        assert!(
            refused.contains("1000") && refused.contains("999"),
            "{refused}"
        );
    }

    #[test]
    fn each_disk_and_each_queue_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let disks = |count| {
            let disk = "[[client.disk]]\ndisk = \"data\"\nreadonly = true\nqueues = 4\n";
            let text = format!(
                "[appliance]\nimage = \"i\"\n[[disk]]\nname = \"data\"\nimage = \"d\"\n\
                 [[client]]\nname = \"linux1\"\nmemory = \"16M\"\n{}",
                disk.repeat(count)
            );
            std::fs::write(&file, text).unwrap();
            needed(&Config::load(&file).unwrap())
        };
        assert_eq!(disks(3) - disks(2), OF_A_DISK + 4 * OF_A_QUEUE);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let text = "[appliance]\nimage = \"i\"\n[[disk]]\nname = \"data\"\nimage = \"d\"\n\
             [[client]]\nname = \"linux1\"\nmemory = \"16M\"\n[[client.disk]]\ndisk = \"data\"\n";
        std::fs::write(&file, text).unwrap();
        prepare(&Config::load(&file).unwrap()).unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn what_was_kept_back_is_there_when_it_is_needed() {
        let reserve = Reserve::new().unwrap();
        let kept = reserve.0.lock().unwrap().len();
        assert_eq!(kept, TO_START);
        reserve.release();
        assert_eq!(reserve.0.lock().unwrap().len(), 0);
        reserve.fill().unwrap();
        assert_eq!(reserve.0.lock().unwrap().len(), TO_START);
    }
}
