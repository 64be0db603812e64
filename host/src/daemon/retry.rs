//! `stellwerk retry`: what has failed is tried at once.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use vcss::control::ConditionState;

use super::Shared;
use crate::config::ConditionEntry;
use crate::layout::AreaNumber;
use crate::vm::Pluggable;

/// How long what came of it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(20);

/// One of the things that a name stands for: a disk or subchannel itself, a client itself, or what a client has of a disk.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// What is plugged into the VM for it.
    plugged: Option<Pluggable>,
    /// The condition by which the appliance is asked.
    asked: Option<ConditionEntry>,
    /// The condition that says whether it is served.
    told: Option<ConditionEntry>,
    /// What the appliance has not looked at needs no look.
    is_quiet: bool,
}

/// How often a part was tried: by the daemon, by the appliance.
type Tries = (u32, u32);

impl Part {
    fn tries(self, shared: &Shared) -> Result<Tries> {
        let plugged = self.plugged.map_or(0, |it| shared.plugged.tries(it));
        let told = self.told.map(|entry| shared.areas.condition(entry));
        Ok((plugged, told.transpose()?.map_or(0, |told| told.tries)))
    }

    /// Why it is not served, if it is not, and whether that was found out after it had been tried so often.
    fn trouble(self, shared: &Shared, before: Tries) -> Result<Option<(String, bool)>> {
        if let Some(plugged) = self.plugged {
            if let Some(trouble) = shared.plugged.trouble(plugged) {
                return Ok(Some((trouble, shared.plugged.tries(plugged) != before.0)));
            }
            if shared.plugged.tries(plugged) != before.0 {
                // The VM has just got it: the appliance has yet to take it in.
                return self.told_trouble(shared, None);
            }
        }
        self.told_trouble(shared, Some(before.1))
    }

    /// As [`trouble`](Self::trouble), as the appliance says it; without a number, nothing that it says is final.
    fn told_trouble(self, shared: &Shared, before: Option<u32>) -> Result<Option<(String, bool)>> {
        if shared.run.lock().serving_since.is_none() {
            return Ok(Some(("the appliance does not serve".into(), false)));
        }
        let Some(entry) = self.told else {
            return Ok(None);
        };
        let told = shared.areas.condition(entry)?;
        Ok(match told.state {
            ConditionState::Good => None,
            ConditionState::Unknown if self.is_quiet => None,
            ConditionState::Unknown => Some(("the appliance has not tried it".into(), false)),
            ConditionState::Failed => {
                let again = before.is_some_and(|before| told.tries != before);
                Some((told.reason, again))
            }
        })
    }
}

fn parts(shared: &Shared, name: &str) -> Result<Vec<Part>> {
    let config = &shared.config;
    let part = |entry| Part {
        asked: Some(entry),
        told: Some(entry),
        ..Part::default()
    };
    let disk = |disk| Part {
        plugged: Some(Pluggable::Disk(disk)),
        ..part(config.condition_of_disk(disk))
    };
    let given = |(id, _)| Part {
        is_quiet: true,
        ..part(config.condition_of(id))
    };
    if let Some(index) = config.disk_number(name) {
        return Ok(vec![disk(index)]);
    }
    if let Some(client) = config.client_number(name) {
        let mut parts = vec![part(config.condition_of_client(client))];
        for (id, export) in config.exports().filter(|(id, _)| id.client == client) {
            let own = part(config.condition_of(id));
            parts.push(Part {
                told: own.told,
                ..disk(export.disk)
            });
            // It may have failed alone.
            parts.push(own);
        }
        let subchannels = config.given().filter(|(id, _)| id.client == client);
        parts.extend(subchannels.map(given));
        return Ok(parts);
    }
    let mut all = config.subchannels.iter();
    if let Some(subchannel) = all.position(|it| it.name == name) {
        let own = Part {
            plugged: Some(Pluggable::Subchannel(subchannel)),
            ..Part::default()
        };
        let of_clients = config.given().filter(|(_, it)| it.subchannel == subchannel);
        let of_clients = of_clients.map(given);
        return Ok(std::iter::once(own).chain(of_clients).collect());
    }
    bail!("there is no disk, client or subchannel \"{name}\"")
}

/// Tries a disk, client or subchannel, and says what came of it.
pub fn retry(shared: &Shared, name: &str) -> Result<String> {
    let mut waited = Vec::new();
    for part in parts(shared, name)? {
        let before = part.tries(shared)?;
        if part.trouble(shared, before)?.is_some() {
            waited.push((part, before));
        }
    }
    if waited.is_empty() {
        return Ok(format!("\"{name}\" is served already"));
    }
    for (part, _) in &waited {
        if let Some(plugged) = part.plugged {
            shared.plugged.ask(plugged);
        }
        if let Some(entry) = part.asked {
            shared.areas.retry(entry)?;
        }
    }
    shared.bell.ring(AreaNumber::CONTROL);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut left = Vec::new();
        for (part, before) in &waited {
            left.extend(part.trouble(shared, *before)?);
        }
        if left.is_empty() {
            return Ok(format!("\"{name}\" is served"));
        }
        if left.iter().all(|(_, again)| *again) || Instant::now() >= until {
            let mut reasons: Vec<String> = left.into_iter().map(|(reason, _)| reason).collect();
            reasons.dedup();
            bail!("\"{name}\" is still not served: {}", reasons.join("; "));
        }
        std::thread::sleep(TICK);
    }
}
