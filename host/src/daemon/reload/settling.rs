//! What is left to do when the appliance serves by another configuration.

use std::time::{Duration, Instant};

use vcss::control::Life;

use super::super::Shared;
use crate::config::Holder;
use crate::vm::{Monitor, MonitorError, Plug, Pluggable};

/// How often it is looked whether the appliance has come so far.
const LOOK: Duration = Duration::from_millis(5);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(3);
/// How long nothing is said.
const QUIET: Duration = Duration::from_secs(10);

/// Clears away what is nobody's any more: memory in windows, and devices in QEMU.
pub struct Settling<'a> {
    shared: &'a Shared,
    /// When it is looked next, if there is anything to do.
    pub next: Option<Instant>,
    began: Instant,
    is_said: bool,
}

impl<'a> Settling<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        let now = Instant::now();
        Self {
            shared,
            next: shared.handover.left().is_unsettled().then_some(now),
            began: now,
            is_said: false,
        }
    }

    /// Does what can be done, when it is time.
    pub fn tick(&mut self, monitor: Option<&mut Monitor>) {
        if self.next.is_none_or(|next| Instant::now() < next) {
            return;
        }
        if !self.is_served() {
            self.next = Some(Instant::now() + LOOK);
            return;
        }
        self.clear_windows();
        // One that owes an answer is asked now and then whether it lives.
        self.next = match monitor {
            None => Some(Instant::now() + PAUSE),
            Some(monitor) if monitor.is_owed_answer() => Some(Instant::now() + LOOK),
            Some(monitor) => match self.unplug(monitor) {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!("what has left the configuration cannot be cleared away: {error}; it is tried again");
                    Some(Instant::now() + PAUSE)
                }
            },
        };
    }

    fn is_served(&mut self) -> bool {
        let areas = &self.shared.areas;
        let wanted = self.shared.handover.left().configuration;
        let served = areas.appliance().map(|it| it.configuration.get());
        let is_served = areas.life() == Life::Serving && served.is_ok_and(|it| it == wanted);
        if !is_served && !self.is_said && self.began.elapsed() > QUIET {
            self.is_said = true;
            tracing::warn!("the appliance does not serve by the other configuration yet: something that goes still has requests in flight");
        }
        is_served
    }

    /// That needs no QEMU that hears.
    fn clear_windows(&self) {
        let left = self.shared.handover.left();
        if left.vacated.is_empty() {
            return;
        }
        for &window in &left.vacated {
            self.shared.windows.clear(window);
        }
        let cleared = left.configuration;
        (self.shared.handover).change(|left| left.clear_windows(cleared));
    }

    fn unplug(&self, monitor: &mut Monitor) -> Result<(), MonitorError> {
        let left = self.shared.handover.left();
        let disks = left.seats.disks.iter().enumerate();
        let disks = disks.filter(|(_, holder)| **holder == Holder::Leaving);
        let disks = disks.map(|(disk, _)| Pluggable::former(disk));
        let others = left.unplugged.iter().map(|id| Plug {
            id: id.clone(),
            ..Plug::default()
        });
        for plug in disks.chain(others) {
            match monitor.has(&plug.id)? {
                true => monitor.unplug(&plug)?,
                // What was in front of it may be left.
                false => monitor.clean(&plug)?,
            }
        }
        let cleared = left.configuration;
        self.shared.handover.change(|left| left.settle(cleared));
        // What was in the way has gone.
        for what in self.shared.plugged.all() {
            if left.held_back.contains(&what.id(&self.shared.config)) {
                self.shared.plugged.ask(what);
            }
        }
        tracing::info!("the appliance serves by the other configuration");
        Ok(())
    }
}
