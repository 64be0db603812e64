//! `stellwerk reload`: what it prints, and until when it waits.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::api::{ask, Life, Reloaded, Request, Status};
use crate::sys::print;

/// How long the next daemon, and the appliance, may take to serve by the other configuration.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);

/// Has the daemon take its configuration, and waits until that is how it is.
pub fn reload(config_file: &Path, force: bool) -> Result<()> {
    let done: Reloaded = ask(config_file, &Request::Reload { force })?;
    let Some(wanted) = done.configuration else {
        return print("the configuration has not changed\n").map(drop);
    };
    let lines = done.changes.iter().cloned();
    let later = done.later.iter().map(|line| format!("later: {line}"));
    let lines: Vec<String> = lines.chain(later).map(|line| line + "\n").collect();
    print(&lines.concat())?;
    let until = Instant::now() + PATIENCE;
    loop {
        // Between two daemons nobody answers.
        let status = ask::<Status>(config_file, &Request::Status);
        let progress = status.map(|status| Progress::of(&status, wanted));
        match progress {
            Ok(Progress::Done) => return Ok(()),
            Ok(Progress::BegunAnew) => bail!(
                "the next daemon could not go on with what was left to it, and has begun anew by the file: why is in its log; clients' VMs \
                 have to be started again"
            ),
            _ if Instant::now() < until => std::thread::sleep(TICK),
            Ok(Progress::Down) => bail!("the next daemon has it; the appliance does not serve"),
            Ok(Progress::Underway) => bail!(
                "the next daemon has it; the appliance has not taken it yet: something that goes still has requests in flight"
            ),
            Err(error) => return Err(error.context("the next daemon does not answer")),
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    /// The next daemon has it, and the appliance not yet.
    Underway,
    /// The appliance does not serve.
    Down,
    /// The next daemon counts from one again: even the one before has counted so far when it answered.
    BegunAnew,
}

impl Progress {
    fn of(status: &Status, wanted: u32) -> Self {
        let (appliance, daemon) = (&status.appliance, &status.daemon);
        if daemon.configuration < wanted {
            Self::BegunAnew
        } else if appliance.life != Life::Serving {
            Self::Down
        } else if appliance.configuration == daemon.configuration {
            Self::Done
        } else {
            Self::Underway
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_begun_anew_is_not_waited_for() {
        let progress = |daemon, appliance, life| {
            let mut status = Status::default();
            status.daemon.configuration = daemon;
            status.appliance.configuration = appliance;
            status.appliance.life = life;
            Progress::of(&status, 3)
        };
        assert_eq!(progress(3, 2, Life::Serving), Progress::Underway);
        assert_eq!(progress(3, 3, Life::Serving), Progress::Done);
        assert_eq!(progress(4, 4, Life::Serving), Progress::Done);
        assert_eq!(progress(3, 3, Life::Starting), Progress::Down);
        for life in [Life::Starting, Life::Serving] {
            assert_eq!(progress(1, 1, life), Progress::BegunAnew);
        }
    }
}
