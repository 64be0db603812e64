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
        let is_down = match &status {
            Ok(Status { appliance, .. }) if appliance.life != Life::Serving => true,
            Ok(Status {
                appliance, daemon, ..
            }) if daemon.configuration >= wanted => {
                if appliance.configuration == daemon.configuration {
                    return Ok(());
                }
                false
            }
            _ => false,
        };
        if Instant::now() > until {
            match status {
                Err(error) => return Err(error.context("the next daemon does not answer")),
                Ok(_) if is_down => bail!("the next daemon has it; the appliance does not serve"),
                Ok(_) => bail!(
                    "the next daemon has it; the appliance has not taken it yet: something that goes still has requests in flight"
                ),
            }
        }
        std::thread::sleep(TICK);
    }
}
