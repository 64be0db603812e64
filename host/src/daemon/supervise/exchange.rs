//! A planned exchange of the appliance.
//!
//! # How
//!
//! The one that runs is told to stop: it takes no new requests, lets those at the disks end, and flushes. Its QEMU closes the disks, and is
//! killed. The next QEMU, which waits already where that can be, and has opened what can be opened beside another, is given clients' memory
//! and the disks, and serves what clients have asked meanwhile.
//!
//! Neither an end nor an opening is waited for there: both take some 40 ms, in which the kernel waits for all its CPUs before it gives up a
//! context of asynchronous I/O.
//!
//! # Rules
//!
//! * While a request does not end, the order is withdrawn, and the appliance serves on: a disk that hangs is no reason to kill anybody.
//! * If the new image does not serve, the one before is started again.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Result};
use vcss::control::{Life, Order};

use super::{Event, Stop, Supervisor, STOP_LIMIT, TICK};
use crate::daemon::launch::Launched;
use crate::daemon::plugging::{Given, Qemu};
use crate::daemon::upgrade::{Exchange, Prepared};
use crate::layout::AreaNumber;
use crate::vm::{Image, Monitor, Pluggable, ShutDown, Vm};

/// How long requests may take to end: all clients wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the new appliance may take to serve before the one before is started again.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A new image that has taken the place of the one before, and whether it serves is not known yet.
pub(super) struct New {
    before: Image,
    done: Sender<Result<String, String>>,
}

/// A QEMU that waits, with all that it could be given beside another one.
struct Next {
    launched: Launched,
    monitor: Monitor,
    given: Given,
}

impl Supervisor<'_> {
    pub(super) fn exchange(&mut self, order: Exchange) -> Result<(), Stop> {
        let Exchange {
            image,
            prepared,
            done,
        } = order;
        let how = match prepared {
            Some(_) => "",
            None => {
                "; QEMU was not started beforehand, for it has arguments or devices of your own"
            }
        };
        // Files are looked at, and opened, while everybody is served.
        let whats = self.plugger.begin_present();
        self.finish_looks(&whats)?;
        let next = prepared.map(|prepared| self.equip_beforehand(prepared, &whats));
        let next = match next.transpose() {
            Ok(next) => next,
            Err(error) => {
                let told = format!("nothing was exchanged: {error:#}");
                tracing::warn!("upgrade: {told}");
                let _ = done.send(Err(told));
                return Ok(());
            }
        };
        let began = Instant::now();
        let stays = next.is_some() && self.stays(&whats);
        let has_stopped = self.makes_way();
        if stays && !matches!(has_stopped, Ok(true)) {
            self.ends_by_itself();
        }
        if !has_stopped? {
            let told = "requests of clients did not end: nothing was exchanged, and the appliance serves on";
            tracing::warn!("upgrade: {told}");
            let _ = done.send(Err(told.into()));
            return Ok(());
        }
        let former = if stays { self.lets_go(&whats) } else { None };
        self.end_vm()?;
        self.shared.run.lock().serving_since = None;
        let stopped = began.elapsed();
        let before = std::mem::replace(&mut self.image, image);
        let started = match next {
            Some(next) => self.start_next(next),
            None => self.start(START_LIMIT),
        };
        let waited = began.elapsed();
        // It has had the time to end.
        drop(former);
        self.keep_image(before, started.is_ok());
        match started {
            Ok(()) => {
                let version = self.shared.areas.appliance()?.version;
                let (waited, stopped) = (waited.as_millis(), stopped.as_millis());
                tracing::info!(
                    waited_ms = waited,
                    stopped_ms = stopped,
                    "appliance exchanged"
                );
                let _ = done.send(Ok(format!(
                    "appliance: {} serves; clients waited for {waited} ms{how}",
                    version.as_str()
                )));
                Ok(())
            }
            Err(Stop::Told) => Err(Stop::Told),
            Err(Stop::Failed(error)) => {
                tracing::error!("the image before is started again: {error:#}");
                self.start_again()?;
                let told = format!(
                    "the new appliance does not serve, and the one before does again: {error:#}"
                );
                let _ = done.send(Err(told));
                Ok(())
            }
        }
    }

    /// While nobody serves, the next start is one with the new image, if somebody has asked for that.
    pub(super) fn take_new_image(&mut self) -> Option<New> {
        let Exchange { image, done, .. } = self.shared.upgrades.take()?;
        let before = std::mem::replace(&mut self.image, image);
        Some(New { before, done })
    }

    /// Says what has come of it. One that does not serve is followed by the one before.
    pub(super) fn new_image_was_tried(&mut self, new: New, started: &Result<(), Stop>) {
        self.keep_image(new.before, started.is_ok());
        let outcome = match started {
            Ok(()) => Ok("appliance: none served; it was started with the new image".into()),
            Err(Stop::Told) => Err("the daemon was told to stop".into()),
            Err(Stop::Failed(error)) => Err(format!(
                "the new appliance does not serve, and the one before is started again: {error:#}"
            )),
        };
        let _ = new.done.send(outcome);
    }

    /// The new image is the appliance's from now on if it serves; else the one before is.
    fn keep_image(&mut self, before: Image, serves: bool) {
        if !serves {
            self.image = before;
        } else if let Err(error) = self.shared.handover.change_image(&self.image) {
            tracing::error!("a daemon that follows has the image before: {error:#}");
        }
    }

    /// Has the appliance stop. If that takes too long, it is to serve on; whether it has stopped.
    fn makes_way(&mut self) -> Result<bool, Stop> {
        let has_stopped = |life| matches!(life, Life::Stopped | Life::Failed);
        self.order(Order::SHUT_DOWN)?;
        // Everything is flushed then: QEMU need not end by itself, which would take longer.
        if self.becomes(PATIENCE, has_stopped)? {
            return Ok(true);
        }
        self.order(Order::SERVE)?;
        // It may not have looked since the last request ended.
        self.becomes(STOP_LIMIT, |life| {
            life == Life::Serving || has_stopped(life)
        })?;
        Ok(has_stopped(self.shared.areas.life()))
    }

    fn order(&self, order: u32) -> Result<()> {
        self.shared.areas.order(order)?;
        self.shared.bell.ring(AreaNumber::CONTROL);
        Ok(())
    }

    /// Waits until the appliance's life is as wanted or its VM has ended, for so long; whether one of these came.
    fn becomes(&mut self, limit: Duration, wanted: impl Fn(Life) -> bool) -> Result<bool, Stop> {
        let until = Instant::now() + limit;
        while !wanted(self.shared.areas.life()) {
            if let Event::Ended = self.next(Some(TICK))? {
                return Ok(true);
            }
            // Told to stay, QEMU does so also when the appliance crashes.
            let monitor = self.plugger.monitor.as_ref();
            if monitor.is_some_and(Monitor::has_shut_down)
                && self.shared.areas.life() != Life::Stopped
            {
                self.kill_vm();
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives a QEMU beside the one that runs what both can have.
    fn equip_beforehand(&mut self, prepared: Prepared, whats: &[Pluggable]) -> Result<Next> {
        let Prepared {
            launched,
            mut monitor,
        } = prepared;
        let has_ended = self.vm.as_ref().is_none_or(Vm::has_ended);
        ensure!(
            !has_ended,
            "the appliance has died meanwhile; it is started again"
        );
        let given = self.plugger.plug_in_beforehand(&mut monitor, whats)?;
        ensure!(
            !launched.vm.has_ended(),
            "the QEMU that was started beforehand has ended"
        );
        Ok(Next {
            launched,
            monitor,
            given,
        })
    }

    /// Whether QEMU will stay when its VM shuts itself down, so that it can be told to close its disks, if these are all images.
    fn stays(&mut self, whats: &[Pluggable]) -> bool {
        let config = &self.shared.config;
        let monitor = self.plugger.monitor.as_mut();
        let monitor = monitor.filter(|monitor| !monitor.is_owed_answer());
        let Some(monitor) = monitor.filter(|_| whats.iter().all(|what| what.is_image(config)))
        else {
            return false;
        };
        let stays = monitor.when_it_shuts_down(ShutDown::Stays).is_ok();
        if !stays {
            // It may do it all the same.
            self.ends_by_itself();
        }
        stays
    }

    fn ends_by_itself(&mut self) {
        let monitor = self.plugger.monitor.as_mut();
        if let Some(Err(error)) = monitor.map(|it| it.when_it_shuts_down(ShutDown::Ends)) {
            tracing::warn!("QEMU will not end by itself when the appliance is told to: {error}");
        }
    }

    /// Closes the disks of a VM that has stopped, and kills it. Another one can have them before it has ended; if it may still have
    /// some, nothing is returned, and it is still ours.
    fn lets_go(&mut self, whats: &[Pluggable]) -> Option<Vm> {
        if self.shared.areas.life() != Life::Stopped {
            return None;
        }
        if let Err(error) = self.plugger.close_all(whats) {
            tracing::debug!("QEMU's end is waited for: {error:#}");
            return None;
        }
        self.kill_vm();
        let former = self.vm.take();
        self.forget_vm();
        former
    }

    fn start_next(&mut self, next: Next) -> Result<(), Stop> {
        let began = Instant::now();
        self.adopt(next.launched)?;
        self.lay_windows()?;
        let given = self.plugger.plug_in_the_rest(next.monitor, next.given);
        if self.is_equipped(given)? == Qemu::IsHeldUp {
            return Err(anyhow!("QEMU is held up by opening a disk").into());
        }
        self.run(began, START_LIMIT)
    }
}
