//! `stellwerk retry`: what has failed is tried at once.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use vcss::control::{Condition, ConditionState};

use super::Shared;
use crate::appliance::Given;

/// How long what came of it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Something that can be tried: what the VM is given, and the appliance's condition of it.
struct Subject {
    given: Option<Given>,
    condition: Option<u32>,
}

impl Subject {
    fn find(shared: &Shared, name: &str) -> Result<Self> {
        let config = &shared.config;
        let disks = config.disks.len() as u32;
        if let Some(disk) = config.disks.iter().position(|disk| disk.name == name) {
            return Ok(Self {
                given: Some(Given::Disk(disk)),
                condition: Some(Condition::of_disk(disk)),
            });
        }
        if let Some(client) = config.clients.iter().position(|it| it.name == name) {
            return Ok(Self {
                given: None,
                condition: Some(Condition::of_client(client, disks)),
            });
        }
        let mut subchannels = config.subchannels.iter();
        if let Some(subchannel) = subchannels.position(|it| it.name == name) {
            return Ok(Self {
                given: Some(Given::Subchannel(subchannel)),
                condition: None,
            });
        }
        bail!("there is no disk, client or subchannel \"{name}\"")
    }

    /// Why it is not served, if it is not.
    fn trouble(&self, shared: &Shared) -> Result<Option<String>> {
        if let Some(trouble) = self.given.and_then(|given| shared.given.trouble(given)) {
            return Ok(Some(trouble));
        }
        let Some(condition) = self.condition else {
            return Ok(None);
        };
        Ok(match shared.areas.condition(condition)? {
            (ConditionState::Good, _) => None,
            (ConditionState::Unknown, _) => Some("the appliance does not serve yet".to_owned()),
            (ConditionState::Failed, reason) => Some(reason),
        })
    }
}

/// Tries a disk, client or subchannel, and says what came of it.
///
/// # Errors
///
/// There is none of that name, or it still cannot be served, and why.
pub fn retry(shared: &Shared, name: &str) -> Result<String> {
    let subject = Subject::find(shared, name)?;
    if subject.trouble(shared)?.is_none() {
        return Ok(format!("\"{name}\" is served already"));
    }
    if let Some(given) = subject.given {
        shared.given.ask(given);
    }
    if let Some(condition) = subject.condition {
        shared.areas.retry(condition)?;
        shared.bell.ring(0);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let Some(trouble) = subject.trouble(shared)? else {
            return Ok(format!("\"{name}\" is served"));
        };
        if Instant::now() >= until {
            bail!("\"{name}\" is still not served: {trouble}");
        }
        std::thread::sleep(TICK);
    }
}
