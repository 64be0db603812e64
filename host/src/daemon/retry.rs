//! `stellwerk retry`: what has failed is tried at once.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use vcss::control::{Condition, ConditionState};

use super::Shared;
use crate::vm::Given;

/// How long what came of it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(20);

/// One of the things that a name stands for: a disk or subchannel itself, a client itself, or what a client has of a disk.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// What the VM is given for it.
    given: Option<Given>,
    /// The condition by which the appliance is asked.
    asked: Option<u32>,
    /// The condition that says whether it is served.
    told: Option<u32>,
    /// What the appliance has not looked at needs no look.
    is_quiet: bool,
}

/// How often a part was tried: by the daemon, by the appliance.
type Tries = (u32, u32);

impl Part {
    fn tries(self, shared: &Shared) -> Result<Tries> {
        let given = self.given.map_or(0, |given| shared.given.tries(given));
        let told = self.told.map(|entry| shared.areas.condition(entry));
        Ok((given, told.transpose()?.map_or(0, |told| told.tries)))
    }

    /// Why it is not served, if it is not, and whether that was found out after it had been tried so often.
    fn trouble(self, shared: &Shared, before: Tries) -> Result<Option<(String, bool)>> {
        if let Some(given) = self.given {
            if let Some(trouble) = shared.given.trouble(given) {
                return Ok(Some((trouble, shared.given.tries(given) != before.0)));
            }
            if shared.given.tries(given) != before.0 {
                // The VM has just got it: the appliance has yet to take it in.
                return self.told_trouble(shared, None);
            }
        }
        self.told_trouble(shared, Some(before.1))
    }

    /// As [`trouble`](Self::trouble), as the appliance says it; without a number, nothing that it says is final.
    fn told_trouble(self, shared: &Shared, before: Option<u32>) -> Result<Option<(String, bool)>> {
        if shared.run().serving_since.is_none() {
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

/// What a name stands for.
fn parts(shared: &Shared, name: &str) -> Result<Vec<Part>> {
    let config = &shared.config;
    let disk_count = config.disks.len() as u32;
    // The daemon is one more client.
    let client_count = config.clients.len() as u32 + 1;
    if let Some(disk) = config.disks.iter().position(|disk| disk.name == name) {
        let entry = Some(Condition::of_disk(disk));
        return Ok(vec![Part {
            given: Some(Given::Disk(disk)),
            asked: entry,
            told: entry,
            is_quiet: false,
        }]);
    }
    // The k-th client's exports: its disks first, then its subchannels.
    let first = |place: usize| -> usize {
        let before = config.clients[..place].iter();
        before
            .map(|client| client.exports.len() + client.subchannels.len())
            .sum()
    };
    let of_export = |number| Condition::of_export(number, disk_count, client_count);
    let subchannels = |place: usize| {
        let client = &config.clients[place];
        let number = first(place) + client.exports.len();
        client
            .subchannels
            .iter()
            .zip(number..)
            .map(|(given, number)| {
                let entry = Some(of_export(number));
                let part = Part {
                    given: None,
                    asked: entry,
                    told: entry,
                    is_quiet: true,
                };
                (given.subchannel, part)
            })
    };
    if let Some(place) = config.clients.iter().position(|it| it.name == name) {
        let entry = Some(Condition::of_client(place, disk_count));
        let own = Part {
            asked: entry,
            told: entry,
            ..Part::default()
        };
        let exports = config.clients[place].exports.iter().zip(first(place)..);
        let of_disks = exports.flat_map(|(export, number)| {
            let told = Some(of_export(number));
            let part = |given, asked| Part {
                given,
                asked,
                told,
                is_quiet: false,
            };
            [
                part(
                    Some(Given::Disk(export.disk)),
                    Some(Condition::of_disk(export.disk)),
                ),
                // It may have failed alone.
                part(None, told),
            ]
        });
        let of_subchannels = subchannels(place).map(|(_, part)| part);
        let all = std::iter::once(own).chain(of_disks);
        return Ok(all.chain(of_subchannels).collect());
    }
    let mut all = config.subchannels.iter();
    if let Some(subchannel) = all.position(|it| it.name == name) {
        let own = Part {
            given: Some(Given::Subchannel(subchannel)),
            ..Part::default()
        };
        let clients = (0..config.clients.len()).flat_map(subchannels);
        let of_clients = clients.filter(|(given, _)| *given == subchannel);
        let of_clients = of_clients.map(|(_, part)| part);
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
        if let Some(given) = part.given {
            shared.given.ask(given);
        }
        if let Some(entry) = part.asked {
            shared.areas.retry(entry)?;
        }
    }
    shared.bell.ring(0);
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
