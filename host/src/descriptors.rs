//! File descriptors: how many a configuration takes, and that there are as many.
//!
//! # Rules
//!
//! * The soft limit is raised to the hard one: it is there for programs that use select(2).
//! * A configuration that needs more than the hard limit is refused before anything is started.
//! * The highest numbers are kept back for the appliance: whatever peers have opened, it can be started again. The system gives
//!   the lowest free number, so a descriptor for a peer that has one of these is closed again, and the peer is told what it
//!   would be told if the system had none left. What several peers open at a time cannot get past this.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{bail, Result};
use rustix::io::Errno;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::config::Config;

/// Files that a message of a peer's may bring; the system discards what is beyond.
pub const MAX_FILES: usize = 32;
/// So many files of a peer's that wait for their end are too many for one export. Each comes twice: it is kept before it is taken.
pub const MAX_WAITING: usize = 32;
/// What the daemon has open whatever it serves: its log, sockets, pool, areas, the appliance's VM, and a request to the
/// control socket from everybody who may make one.
const OF_THE_DAEMON: u64 = 128;
/// Of each disk of each client: its socket, what tells its threads of news, a connection with its answers, a way back to its peer, one that
/// waits for its end, what is kept of these for the next daemon, and the files that a peer can have handed over, all of them in two places.
const OF_A_DISK: u64 = 25 + (4 * MAX_FILES + MAX_WAITING) as u64;
/// Of each queue: kick, call and error, in two places.
const OF_A_QUEUE: u64 = 6;
/// Of each channel-level client: its link and the link's socket, in two places, and its memory.
const OF_A_LINK: u64 = 6;
/// Kept back for what it takes to start a VM: pipes, its process, its monitor, and those who look at its disks.
const TO_START: u64 = 64;

/// Descriptors that a configuration takes when all of its clients are connected.
fn needed(config: &Config) -> u64 {
    let disks: u64 = config
        .exports()
        .map(|(.., export)| OF_A_DISK + OF_A_QUEUE * u64::from(export.queues))
        .sum();
    let links = config.clients.iter().filter(|it| it.is_channel_level());
    OF_THE_DAEMON + TO_START + disks + OF_A_LINK * links.count() as u64
}

/// Raises the soft limit, and makes sure that it suffices.
pub fn prepare(config: &Config) -> Result<()> {
    check(needed(config), raise())
}

/// Raises the soft limit; what it is then.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // The hard limit may be above what the system takes for a soft one.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
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

/// Passes on what was opened for a peer, unless its number is one of those that are kept back.
pub fn for_peer<T: AsFd>(opened: T) -> io::Result<T> {
    let number = opened.as_fd().as_raw_fd() as u64;
    if is_kept_back(number, getrlimit(Resource::Nofile).current) {
        return Err(Errno::MFILE.into());
    }
    Ok(opened)
}

fn is_kept_back(number: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| number >= limit.saturating_sub(TO_START))
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

    /// The limit itself is everybody's in this process: that a peer is refused by it is shown by `accept_fails` of tests/contain.
    #[test]
    fn the_highest_numbers_are_for_no_peer() {
        let limit = Some(1000);
        assert!(!is_kept_back(1000 - TO_START - 1, limit));
        assert!(is_kept_back(1000 - TO_START, limit));
        assert!(is_kept_back(999, limit));
        assert!(is_kept_back(0, Some(TO_START)));
        assert!(!is_kept_back(1 << 20, None));
        let low = for_peer(std::fs::File::open("/dev/null").unwrap());
        assert!(low.is_ok());
    }
}
