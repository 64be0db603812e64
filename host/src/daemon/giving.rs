//! How the VM comes by its devices.
//!
//! # Rules
//!
//! * A disk, or a subchannel, that QEMU cannot have is that one's trouble: it is tried again every few seconds.
//! * QEMU does nothing else while it opens a disk. So a disk's file is looked at first, by a process of its own that can be held up
//!   as long as it likes. A disk that holds up QEMU all the same costs a start of the VM, and is then left alone for a while.

use std::time::{Duration, Instant};

use anyhow::Result;
use vcss::control::{Condition, ConditionState};

use super::given::PAUSE;
use super::observe;
use super::supervise::{Event, Supervisor};
use crate::config::{Format, SECTOR};
use crate::vm::look::Found;
use crate::vm::{Given, Monitor, MonitorError, MonitorEvent, Outcome, Plug};

/// How long a file system may take to answer: others wait for the appliance meanwhile, and it is tried again soon. At the first start
/// nobody waits, and nothing is tried again.
const LOOK: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// What is said of a disk that has held up QEMU.
const HELD_UP: &str = "QEMU was held up by opening it";

/// What a look has come to; nothing is found of what is no file.
pub type Looked = Result<Option<Found>, String>;

impl Supervisor<'_> {
    /// Begins to look at a device, before it is given; the outcome comes into `looked`.
    pub(super) fn begin(&mut self, what: Given) {
        self.shared.given.begun(what);
        let begun = match what.look(&self.shared.config, &self.backings) {
            None => return self.looked.push((what, Ok(None))),
            Some(order) => {
                let limit = if self.is_first { FIRST_LOOK } else { LOOK };
                self.looks.begin(what, &order, limit)
            }
        };
        if let Err(trouble) = begun {
            self.looked.push((what, Err(trouble)));
        }
    }

    /// Waits until all these have been looked at, or time is up; or the VM has ended, or a signal has come.
    pub(super) fn finish_looks(&mut self, whats: &[Given]) -> Result<()> {
        while whats.iter().any(|&what| self.looks.is_waited_for(what)) {
            if let Event::Ended | Event::Signal = self.wait(Some(PAUSE))? {
                break;
            }
        }
        Ok(())
    }

    /// Gives a VM that does not run yet all devices that have been looked at. Returns the one that QEMU is held up by.
    pub(super) fn give_all(
        &mut self,
        mut monitor: Monitor,
        whats: &[Given],
    ) -> Result<Option<Given>, MonitorError> {
        let place = |what: &Given| whats.iter().position(|it| it == what);
        let mut looked = std::mem::take(&mut self.looked);
        looked.sort_by_key(|(what, _)| place(what));
        let (mut given, mut plugs) = (Vec::new(), Vec::new());
        for (what, found) in looked {
            match self.plug(what, found) {
                _ if place(&what).is_none() => {}
                Ok(plug) => {
                    given.push(what);
                    plugs.push(plug);
                }
                Err(trouble) => self.settle(what, Err(trouble)),
            }
        }
        let outcomes = monitor.plug_in(&plugs)?;
        self.monitor = Some(monitor);
        for (what, outcome) in given.into_iter().zip(outcomes) {
            match outcome {
                Outcome::There => self.settle(what, Ok(())),
                Outcome::Refused(trouble) => self.settle(what, Err(trouble)),
                Outcome::Underway => {
                    self.blame(what);
                    return Ok(Some(what));
                }
            }
        }
        Ok(None)
    }

    fn plug(&mut self, what: Given, found: Looked) -> Result<Plug, String> {
        let found = found?;
        if let Given::Disk(index) = what {
            if let Some(size) = self.sizes.get_mut(index) {
                *size = found.map(|found| found.bytes);
            }
        }
        let plug = what.plug(&self.shared.config, &self.backings, found);
        plug.map_err(|error| format!("{error:#}"))
    }

    /// Tries what is due, and what has been looked at meanwhile.
    pub(super) fn give_due(&mut self) {
        // Without a monitor nobody can be given anything.
        if self.monitor.is_none() {
            return;
        }
        self.check_sizes();
        for what in self.shared.given.due(Instant::now()) {
            self.begin(what);
        }
        for (what, found) in std::mem::take(&mut self.looked) {
            match self.shared.given.trouble(what) {
                Some(_) => self.give(what, found),
                None => self.renew(what, found),
            }
        }
    }

    /// Tries again to give the VM a device.
    fn give(&mut self, what: Given, found: Looked) {
        let plug = match self.plug(what, found) {
            Ok(plug) => plug,
            Err(trouble) => return self.settle(what, Err(trouble)),
        };
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        let outcome = give_again(monitor, &plug);
        self.came_of(what, outcome);
    }

    fn came_of(&mut self, what: Given, outcome: Result<Outcome, MonitorError>) {
        match outcome {
            Ok(Outcome::There) => self.settle(what, Ok(())),
            Ok(Outcome::Refused(trouble)) => self.settle(what, Err(trouble)),
            // Everybody waits for it: a VM without it serves all the others.
            Ok(Outcome::Underway) => {
                self.blame(what);
                self.kill_vm();
            }
            Err(MonitorError::Told) => {}
            Err(MonitorError::Ended(error)) => self.lose_monitor(&error),
            Err(error) => self.settle(what, Err(error.to_string())),
        }
    }

    fn blame(&mut self, what: Given) {
        let rest = self.shared.given.has_held_up(what, HELD_UP.into());
        if !self.is_first {
            let label = what.label(&self.shared.config);
            tracing::error!(
                "{label}: {HELD_UP}; the appliance is started again without it, and it is tried again in {} s",
                rest.as_secs()
            );
        }
    }

    /// Takes down what came of a device.
    fn settle(&mut self, what: Given, outcome: Result<(), String>) {
        let label = what.label(&self.shared.config);
        match outcome {
            Ok(()) => {
                if self.shared.given.trouble(what).is_some() {
                    tracing::info!("{label}: it is there again");
                }
                self.shared.given.good(what);
                self.next_check = Some(Instant::now() + PAUSE);
            }
            Err(trouble) => {
                // At the first start nothing is tried again: it ends, and says this.
                if self.shared.given.failed(what, trouble.clone()) && !self.is_first {
                    tracing::error!("{label}: {trouble}; it is tried again");
                }
            }
        }
    }

    /// QEMU takes a raw image for as long as it was when it was opened. A disk that nobody is served from, because it is too short,
    /// is looked at again every few seconds.
    fn check_sizes(&mut self) {
        let now = Instant::now();
        if self.next_check.is_none_or(|next| now < next) {
            return;
        }
        self.next_check = None;
        for index in 0..self.sizes.len() {
            let what = Given::Disk(index);
            if self.shared.given.trouble(what).is_none() && self.serves_nobody(index) {
                self.begin(what);
                self.next_check = Some(now + PAUSE);
            }
        }
    }

    /// Whether a disk is a raw image of which some clients are given something, and none is served.
    fn serves_nobody(&self, disk: usize) -> bool {
        let raw = |backing: &_| {
            matches!(
                backing,
                Some(crate::vm::Backing {
                    format: Format::Raw,
                    ..
                })
            )
        };
        if !self.backings.get(disk).is_some_and(raw) {
            return false;
        }
        let config = &self.shared.config;
        let (disks, clients) = (config.disks.len() as u32, config.clients.len() as u32 + 1);
        // Exports are counted over all kinds.
        let (mut number, mut count) = (0, 0);
        for client in &config.clients {
            for export in &client.exports {
                if export.disk == disk {
                    let entry = Condition::of_export(number, disks, clients);
                    let told = self.shared.areas.condition(entry);
                    if !told.is_ok_and(|told| told.state == ConditionState::Failed) {
                        return false;
                    }
                    count += 1;
                }
                number += 1;
            }
            number += client.subchannels.len();
        }
        count != 0
    }

    /// Gives the VM a disk anew whose image has got another length, if nobody is served from it. QEMU's own command for that would
    /// cut off what somebody is adding to the image at this moment.
    fn renew(&mut self, what: Given, found: Looked) {
        let (Given::Disk(index), Ok(Some(found))) = (what, found) else {
            return;
        };
        let known = self.sizes.get(index).copied().flatten();
        let sectors = observe::sectors(self.shared, index);
        let is_same = known == Some(found.bytes)
            && sectors.is_none_or(|sectors| sectors == found.bytes / SECTOR);
        if is_same || !self.serves_nobody(index) {
            return;
        }
        let Ok(plug) = self.plug(what, Ok(Some(found))) else {
            return;
        };
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        let label = what.label(&self.shared.config);
        tracing::info!(
            "{label}: its image has {} bytes by now; it is opened anew",
            found.bytes
        );
        let outcome = match monitor.unplug(&plug) {
            Ok(()) => give_again(monitor, &plug),
            Err(MonitorError::Silent) => Ok(Outcome::Underway),
            Err(MonitorError::Refused(trouble)) => Ok(Outcome::Refused(trouble)),
            Err(error) => Err(error),
        };
        self.came_of(what, outcome);
    }

    pub(super) fn hear_monitor(&mut self) {
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        let news = match monitor.news() {
            Ok(news) => news,
            Err(MonitorError::Ended(error)) => return self.lose_monitor(&error),
            Err(_) => return,
        };
        for news in news {
            match news {
                MonitorEvent::Unplugged(id) => self.shared.given.unplugged(&id),
                MonitorEvent::Stopped => {
                    tracing::warn!("the appliance's VM was paused; it goes on");
                    if let Err(error) = monitor.go_on() {
                        tracing::error!("the appliance's VM does not go on: {error}");
                    }
                }
                MonitorEvent::IoError { node, reason } => {
                    let disk = Given::of_node(&self.shared.config, &node);
                    // Clients can have as many of these as they like, each of them of its own disks.
                    let Some(more) = self.io_errors.entry(disk).or_default().line() else {
                        continue;
                    };
                    let label = disk.map(|disk| disk.label(&self.shared.config) + ": ");
                    let label = label.unwrap_or_default();
                    tracing::warn!("{label}a request has failed in QEMU: {reason}{more}");
                }
            }
        }
    }

    /// If QEMU has ended, that is noticed by its end.
    fn lose_monitor(&mut self, error: &std::io::Error) {
        tracing::debug!(%error, "QEMU's monitor is closed");
        self.monitor = None;
    }
}

/// Gives a VM a device that it could not have before, or had once.
fn give_again(monitor: &mut Monitor, plug: &Plug) -> Result<Outcome, MonitorError> {
    // QEMU may have carried out what was given up waiting for.
    if monitor.has(&plug.id)? {
        return Ok(Outcome::There);
    }
    monitor.clean(plug)?;
    let outcomes = monitor.plug_in(std::slice::from_ref(plug))?;
    Ok(outcomes.into_iter().next().unwrap_or(Outcome::There))
}
