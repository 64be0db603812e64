//! `stellwerk upgrade`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::say;
use crate::api::{ask, Request, Status, Upgraded};

/// How long another daemon is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);

/// Exchanges both, unless one of them alone is wanted; the daemon first, for it is the one that starts the appliance.
pub fn upgrade(config: &Path, only_daemon: bool, only_appliance: bool) -> Result<()> {
    if !only_appliance {
        say(&daemon(config)?)?;
    }
    if !only_daemon {
        let what = Upgraded::Appliance;
        let done: String = ask(config, &Request::Upgrade { what })?;
        say(&format!("{done}\n"))?;
    }
    Ok(())
}

fn daemon(config: &Path) -> Result<String> {
    let before: Status = ask(config, &Request::Status)?;
    let what = Upgraded::Daemon;
    let () = ask(config, &Request::Upgrade { what })?;
    let until = Instant::now() + PATIENCE;
    let after = loop {
        let now = ask::<Status>(config, &Request::Status);
        match now.ok().filter(|now| now.daemon.pid != before.daemon.pid) {
            Some(status) => break status,
            None => {
                ensure!(
                    Instant::now() < until,
                    "no other daemon has followed; what it waits for is in its log"
                );
                std::thread::sleep(TICK);
            }
        }
    };
    ensure!(
        after.appliance.generation == before.appliance.generation,
        "another daemon serves, but it had to start the appliance anew; why is in its log"
    );
    let (version, pid) = (after.daemon.version, after.daemon.pid);
    Ok(format!("daemon: {version} serves (process {pid})\n"))
}
