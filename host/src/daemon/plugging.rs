//! How the VM comes by its devices.
//!
//! # Rules
//!
//! * A disk, or a subchannel, that QEMU cannot have is that one's trouble: it is tried again every few seconds.
//! * QEMU does nothing else while it opens a disk. So a disk's file is looked at first, by a process of its own that can be held up
//!   as long as it likes. A disk that holds up QEMU all the same costs a start of the VM, and is then left alone for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use vcss::control::ConditionState;

use super::plugged::{Growth, PAUSE};
use super::resize::{Growing, Step};
use super::{observe, resize, Shared};
use crate::config::{show_size, Format, SECTOR};
use crate::log_limit::LogLimit;
use crate::vm::look::{Found, LookError};
use crate::vm::looks::Looks;
use crate::vm::{Backing, Monitor, MonitorError, MonitorEvent, Outcome, Plug, Pluggable};

/// How long a file system may take to answer: others wait for the appliance meanwhile, and it is tried again soon. At the first start
/// nobody waits, and nothing is tried again.
const LOOK: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// What is said of a disk that has held up QEMU.
const HELD_UP: &str = "QEMU was held up by opening it";

/// What a look has come to; nothing is found of what is no file.
type Looked = Result<Option<Found>, LookError>;

/// What has become of QEMU by plugging devices in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Qemu {
    Answers,
    /// It is held up by opening one, and with it everybody: a VM without it serves all the others.
    IsHeldUp,
}

/// What a VM is given: devices, and how they are plugged in.
#[derive(Debug, Default)]
pub struct Given {
    whats: Vec<Pluggable>,
    plugs: Vec<Plug>,
}

impl Given {
    fn add(&mut self, what: Pluggable, plug: Plug) {
        self.whats.push(what);
        self.plugs.push(plug);
    }
}

/// Gives the VM its devices, over its monitor.
pub struct Plugger<'a> {
    shared: &'a Shared,
    backings: Vec<Option<Backing>>,
    /// Without one nothing can be plugged in.
    pub monitor: Option<Monitor>,
    /// Looks at devices' files that are under way, and what has come of others.
    pub looks: Looks<Pluggable>,
    looked: Vec<(Pluggable, Looked)>,
    /// How long the disks' raw images were when QEMU was told to open them; or how long it was told to make them, of any format.
    sizes: Vec<Option<u64>>,
    /// When images are looked at next that may have become longer.
    pub next_check: Option<Instant>,
    /// Disks that are being made longer.
    growing: Growing,
    /// Whether the VM has never run, and what fails is an error.
    pub is_first: bool,
    /// What is logged of requests that fail in QEMU, for each device.
    io_errors: HashMap<Option<Pluggable>, LogLimit>,
}

impl<'a> Plugger<'a> {
    pub fn new(shared: &'a Shared, backings: Vec<Option<Backing>>) -> Self {
        Self {
            shared,
            sizes: vec![None; backings.len()],
            backings,
            monitor: None,
            looks: Looks::default(),
            looked: Vec::new(),
            next_check: None,
            growing: Growing::default(),
            is_first: true,
            io_errors: HashMap::new(),
        }
    }

    /// How long the disks' images were when QEMU opened them.
    pub fn sizes(&self) -> &[Option<u64>] {
        &self.sizes
    }

    /// Goes on with a VM that another daemon has given its devices: those that it does not have are tried again.
    pub fn take_over(&mut self, mut monitor: Monitor, sizes: &[Option<u64>]) {
        let held_back = self.shared.handover.left().held_back;
        for what in self.shared.plugged.all() {
            let id = what.id(&self.shared.config);
            match monitor.has(&id) {
                Ok(true) => self.shared.plugged.good(what),
                Ok(false) if held_back.contains(&id) => self.shared.plugged.held_back(what),
                // It may have come with another configuration.
                Ok(false) => {
                    let trouble = "QEMU did not have it when this daemon took over";
                    self.shared.plugged.failed(what, trouble.into());
                    self.shared.plugged.ask(what);
                }
                // Whatever it is shows again when the monitor is used.
                Err(error) => {
                    tracing::warn!(%error, "{}", what.label(&self.shared.config));
                    break;
                }
            }
        }
        for (known, size) in self.sizes.iter_mut().zip(sizes) {
            *known = *size;
        }
        monitor.be_patient();
        self.next_check = Some(Instant::now() + PAUSE);
        self.monitor = Some(monitor);
    }

    /// Begins to look at all devices that a VM is given when it starts, and forgets what came of earlier looks.
    pub fn begin_all(&mut self) -> Vec<Pluggable> {
        let whats = self.shared.plugged.to_start_with(Instant::now());
        self.looked.clear();
        let why = "the appliance was started again";
        self.growing.refuse_all(Vec::new(), why);
        whats.iter().for_each(|&what| self.begin(what));
        whats
    }

    /// Begins to look at all devices that the VM has, before another one is given them.
    pub fn begin_present(&mut self) -> Vec<Pluggable> {
        let plugged = &self.shared.plugged;
        let mut whats = plugged.all();
        whats.retain(|&what| plugged.trouble(what).is_none());
        self.looked.retain(|(what, _)| !whats.contains(what));
        whats.iter().for_each(|&what| self.begin(what));
        whats
    }

    /// Begins to look at a device, before it is given; the outcome comes into `looked`.
    fn begin(&mut self, what: Pluggable) {
        self.shared.plugged.begun(what);
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

    pub fn take_looks(&mut self) {
        let looked = self.looks.take(Instant::now()).into_iter();
        let looked = looked.map(|(what, found)| (what, found.map(Some)));
        self.looked.extend(looked);
    }

    pub fn next(&self) -> Option<Instant> {
        self.monitor.as_ref().filter(|it| !it.is_owed_answer())?;
        let due = self.shared.plugged.next();
        let all = due.into_iter().chain(self.next_check);
        all.chain(self.growing.next()).min()
    }

    /// Gives a VM that does not run yet all devices that have been looked at.
    pub fn plug_in_all(
        &mut self,
        mut monitor: Monitor,
        whats: &[Pluggable],
    ) -> Result<Qemu, MonitorError> {
        let mut given = Given::default();
        for (what, found) in self.take_looked(whats) {
            match self.plug(what, found) {
                Ok(plug) => given.add(what, plug),
                Err(error) => self.is_missing(what, format!("{error:#}")),
            }
        }
        self.looked.clear();
        let outcomes = monitor.plug_in(&given.plugs)?;
        Ok(self.goes_on(monitor, given, outcomes))
    }

    /// Does of that what can be done while another VM has the same devices. One that cannot be had is an error.
    pub fn plug_in_beforehand(
        &mut self,
        monitor: &mut Monitor,
        whats: &[Pluggable],
    ) -> Result<Given> {
        let mut given = Given::default();
        for (what, found) in self.take_looked(whats) {
            let plug = self.plug(what, found);
            given.add(what, plug.with_context(|| what.label(&self.shared.config))?);
        }
        let outcomes = monitor.plug_in_beforehand(&given.plugs)?;
        for (what, outcome) in given.whats.iter().zip(outcomes) {
            let label = what.label(&self.shared.config);
            match outcome {
                Outcome::There => {}
                Outcome::Refused(trouble) => bail!("{label}: {trouble}"),
                Outcome::Underway => bail!("{label}: {HELD_UP}"),
            }
        }
        Ok(given)
    }

    /// Does the rest.
    pub fn plug_in_the_rest(
        &mut self,
        mut monitor: Monitor,
        given: Given,
    ) -> Result<Qemu, MonitorError> {
        let outcomes = monitor.plug_in_the_rest(&given.plugs)?;
        Ok(self.goes_on(monitor, given, outcomes))
    }

    /// Closes these disks of a VM that has stopped, so that another one can have them.
    ///
    /// # Errors
    ///
    /// It may still have some.
    pub fn close_all(&mut self, whats: &[Pluggable]) -> Result<()> {
        let monitor = self.monitor.as_mut().context("there is no monitor")?;
        let nodes: Vec<String> = whats.iter().filter_map(|what| what.node()).collect();
        Ok(monitor.close(nodes.iter().map(String::as_str))?)
    }

    /// What the looks at these have found, in their order.
    fn take_looked(&mut self, whats: &[Pluggable]) -> Vec<(Pluggable, Looked)> {
        let place = |what: &Pluggable| whats.iter().position(|it| it == what);
        let looked = std::mem::take(&mut self.looked).into_iter();
        let (mut looked, others) = looked.partition::<Vec<_>, _>(|(what, _)| place(what).is_some());
        self.looked = others;
        looked.sort_by_key(|(what, _)| place(what));
        looked
    }

    /// Goes on with a VM that was given these, with these outcomes.
    fn goes_on(&mut self, monitor: Monitor, given: Given, outcomes: Vec<Outcome>) -> Qemu {
        self.monitor = Some(monitor);
        for (what, outcome) in given.whats.into_iter().zip(outcomes) {
            match outcome {
                Outcome::There => self.is_there(what),
                Outcome::Refused(trouble) => self.is_missing(what, trouble),
                Outcome::Underway => {
                    self.blame(what);
                    return Qemu::IsHeldUp;
                }
            }
        }
        Qemu::Answers
    }

    fn plug(&mut self, what: Pluggable, found: Looked) -> Result<Plug> {
        let found = found?;
        if let Pluggable::Disk(index) = what {
            if let Some(size) = self.sizes.get_mut(index) {
                // Of another format the length of the file says nothing.
                let backing = self.backings.get(index).copied().flatten();
                let is_raw = backing.is_some_and(|backing| backing.format == Format::Raw);
                *size = found.filter(|_| is_raw).map(|found| found.bytes);
            }
        }
        what.plug(&self.shared.config, &self.backings, found)
    }

    /// Tries what is due, and what has been looked at meanwhile.
    pub fn plug_in_due(&mut self) -> Qemu {
        let mut qemu = Qemu::Answers;
        let Some(monitor) = &self.monitor else {
            self.growing
                .refuse_all(self.shared.plugged.take_growths(), "QEMU does not answer");
            return qemu;
        };
        // What is sent to one that owes an answer would have to be waited for: it is asked now and then whether it lives.
        if monitor.is_owed_answer() {
            return qemu;
        }
        self.check_sizes();
        for (what, growth) in self.shared.plugged.take_growths() {
            self.begin_growth(what, growth);
        }
        for what in self.growing.due(Instant::now()) {
            self.begin(what);
        }
        for what in self.shared.plugged.due(Instant::now()) {
            self.begin(what);
        }
        for (what, found) in std::mem::take(&mut self.looked) {
            let outcome = match self.shared.plugged.trouble(what) {
                Some(_) => self.try_again(what, found),
                None if self.growing.is_looked_at(what) => self.grow(what, found),
                None => self.renew(what, found),
            };
            match outcome {
                None | Some(Err(MonitorError::Told)) => {}
                Some(Ok(Outcome::There)) => self.is_there(what),
                Some(Ok(Outcome::Refused(trouble))) => self.is_missing(what, trouble),
                Some(Ok(Outcome::Underway)) => {
                    self.blame(what);
                    self.monitor = None;
                    qemu = Qemu::IsHeldUp;
                }
                Some(Err(MonitorError::Ended(error))) => self.lose_monitor(&error),
                Some(Err(error)) => self.is_missing(what, error.to_string()),
            }
        }
        qemu
    }

    /// Tries again to give the VM a device; nothing if that cannot be tried.
    fn try_again(
        &mut self,
        what: Pluggable,
        found: Looked,
    ) -> Option<Result<Outcome, MonitorError>> {
        match self.plug(what, found) {
            Ok(plug) => Some(plug_in_again(self.monitor.as_mut()?, &plug)),
            Err(error) => Some(Ok(Outcome::Refused(format!("{error:#}")))),
        }
    }

    /// Begins to make a disk longer: first of all its file is looked at.
    fn begin_growth(&mut self, what: Pluggable, growth: Growth) {
        let Pluggable::Disk(index) = what else { return };
        let backing = self.backings.get(index).copied().flatten();
        let trouble = self.shared.plugged.trouble(what);
        let sectors = observe::sectors(self.shared, index);
        let begun = resize::plan(backing, trouble, sectors, growth.wanted);
        match begun {
            Ok(mut plan) => {
                // QEMU may have been told to make it longer than the appliance has seen so far.
                let known = self.sizes.get(index).copied().flatten();
                plan.least = plan.least.max(known.unwrap_or(0));
                self.growing.add(what, plan, growth);
                self.begin(what);
            }
            Err(trouble) => growth.refuse(trouble),
        }
    }

    /// Goes on with a disk that is being made longer, whose file has been looked at.
    fn grow(&mut self, what: Pluggable, found: Looked) -> Option<Result<Outcome, MonitorError>> {
        let Pluggable::Disk(index) = what else {
            return None;
        };
        let Step::Grow(growth, bytes) = self.growing.looked(what, found, Instant::now()) else {
            return None;
        };
        let label = what.label(&self.shared.config);
        tracing::info!("{label}: QEMU is told to make it {}", show_size(bytes));
        // Also for a daemon that follows: QEMU may do it although nobody hears its answer.
        let before = self.sizes.get(index).copied().flatten();
        self.know_size(index, Some(bytes));
        let resized = self.monitor.as_mut()?.resize(&what.node()?, bytes);
        if let Err(MonitorError::Refused(_)) = resized {
            self.know_size(index, before);
        }
        match resized {
            Ok(()) => growth.done(bytes),
            Err(MonitorError::Silent) => {
                growth.refuse("QEMU was held up by it".into());
                return Some(Ok(Outcome::Underway));
            }
            Err(MonitorError::Refused(trouble)) => growth.refuse(format!("QEMU says: {trouble}")),
            Err(error) => {
                growth.refuse(error.to_string());
                return Some(Err(error));
            }
        }
        None
    }

    fn know_size(&mut self, disk: usize, size: Option<u64>) {
        if let Some(known) = self.sizes.get_mut(disk) {
            *known = size;
        }
        let sizes = self.sizes.clone();
        self.shared.handover.change(|left| {
            if let Some(vm) = &mut left.vm {
                vm.sizes = sizes;
            }
        });
    }

    fn blame(&mut self, what: Pluggable) {
        let rest = self.shared.plugged.has_held_up(what, HELD_UP.into());
        if !self.is_first {
            let label = what.label(&self.shared.config);
            tracing::error!(
                "{label}: {HELD_UP}; the appliance is started again without it, and it is tried again in {} s",
                rest.as_secs()
            );
        }
    }

    /// Takes down that the VM has a device.
    fn is_there(&mut self, what: Pluggable) {
        if self.shared.plugged.trouble(what).is_some() {
            let label = what.label(&self.shared.config);
            tracing::info!("{label}: it is there");
        }
        self.shared.plugged.good(what);
        self.next_check = Some(Instant::now() + PAUSE);
    }

    /// Takes down that the VM could not have a device. At the first start nothing is tried again: it ends, and says this.
    fn is_missing(&self, what: Pluggable, trouble: String) {
        if self.shared.plugged.failed(what, trouble.clone()) && !self.is_first {
            let label = what.label(&self.shared.config);
            tracing::error!("{label}: {trouble}; it is tried again");
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
            let what = Pluggable::Disk(index);
            if self.shared.plugged.trouble(what).is_none() && self.serves_nobody(index) {
                self.begin(what);
                self.next_check = Some(now + PAUSE);
            }
        }
    }

    /// Whether a disk is a raw image of which some clients are given something, and none is served.
    fn serves_nobody(&self, disk: usize) -> bool {
        let backing = self.backings.get(disk).copied().flatten();
        if backing.is_none_or(|backing| backing.format != Format::Raw) {
            return false;
        }
        let config = &self.shared.config;
        let mut exports = config.exports().filter(|(_, export)| export.disk == disk);
        let fails = |(part, _)| {
            let told = self.shared.areas.condition(config.condition_of(part));
            told.is_ok_and(|told| told.state == ConditionState::Failed)
        };
        exports.next().is_some_and(fails) && exports.all(fails)
    }

    /// Gives the VM a disk anew whose image has got another length, if nobody is served from it. QEMU's own command for that would
    /// cut off what somebody is adding to the image at this moment.
    fn renew(&mut self, what: Pluggable, found: Looked) -> Option<Result<Outcome, MonitorError>> {
        let (Pluggable::Disk(index), Ok(Some(found))) = (what, found) else {
            return None;
        };
        let known = self.sizes.get(index).copied().flatten();
        let sectors = observe::sectors(self.shared, index);
        let is_same = known == Some(found.bytes)
            && sectors.is_none_or(|sectors| sectors == found.bytes / SECTOR);
        if is_same || !self.serves_nobody(index) {
            return None;
        }
        let plug = self.plug(what, Ok(Some(found))).ok()?;
        let monitor = self.monitor.as_mut()?;
        let label = what.label(&self.shared.config);
        let bytes = found.bytes;
        tracing::info!("{label}: its image has {bytes} bytes by now; it is opened anew");
        Some(match monitor.unplug(&plug) {
            Ok(()) => plug_in_again(monitor, &plug),
            Err(MonitorError::Silent) => Ok(Outcome::Underway),
            Err(MonitorError::Refused(trouble)) => Ok(Outcome::Refused(trouble)),
            Err(error) => Err(error),
        })
    }

    pub fn hear_monitor(&mut self) {
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
                MonitorEvent::Unplugged(id) => {
                    let mut all = self.shared.plugged.all().into_iter();
                    if let Some(what) = all.find(|it| it.id(&self.shared.config) == id) {
                        self.shared.plugged.unplugged(what);
                    }
                }
                MonitorEvent::Stopped => {
                    tracing::warn!("the appliance's VM was paused; it goes on");
                    if let Err(error) = monitor.go_on() {
                        tracing::error!("the appliance's VM does not go on: {error}");
                    }
                }
                MonitorEvent::WatchdogFired => {
                    tracing::warn!("the appliance's own watchdog has fired: it hangs, or the whole machine has stood still");
                }
                MonitorEvent::IoError { node, reason } => {
                    let disk = Pluggable::of_node(&self.shared.config, &node);
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
fn plug_in_again(monitor: &mut Monitor, plug: &Plug) -> Result<Outcome, MonitorError> {
    // QEMU may have carried out what was given up waiting for.
    if monitor.has(&plug.id)? {
        return Ok(Outcome::There);
    }
    monitor.clean(plug)?;
    let outcomes = monitor.plug_in(std::slice::from_ref(plug))?;
    Ok(outcomes.into_iter().next().unwrap_or(Outcome::There))
}
