//! A planned exchange of the appliance.
//!
//! # How
//!
//! The one that runs is told to stop: it takes no new requests, lets those at the disks end, and flushes. Then its QEMU ends, and with it all
//! that it has of disks; the next one, which waits already where that can be, is given clients' memory and the disks, and serves what
//! clients have asked meanwhile.
//!
//! # Rules
//!
//! * While a request does not end, the order is withdrawn, and the appliance serves on: a disk that hangs is no reason to kill anybody.
//! * If the new image does not serve, the one before is started again.

use std::time::{Duration, Instant};

use anyhow::{anyhow, Result};
use vcss::control::{Life, Order};

use super::{Event, Stop, Supervisor, STOP_LIMIT, TICK};
use crate::daemon::plugging::Qemu;
use crate::daemon::upgrade::{Exchange, Prepared};
use crate::layout::AreaNumber;
use crate::vm::Pluggable;

/// How long requests may take to end: all clients wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the new appliance may take to serve before the one before is started again.
const START_LIMIT: Duration = Duration::from_secs(10);

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
        // Files are looked at while everybody is served.
        let whats = self.plugger.begin_all();
        self.finish_looks(&whats)?;
        let began = Instant::now();
        if !self.makes_way()? {
            let told = "requests of clients did not end: nothing was exchanged, and the appliance serves on";
            tracing::warn!("upgrade: {told}");
            let _ = done.send(Err(told.into()));
            return Ok(());
        }
        self.end_vm()?;
        self.shared.run.lock().serving_since = None;
        let stopped = began.elapsed();
        let before = std::mem::replace(&mut self.image, image);
        let started = match prepared {
            Some(prepared) => self.start_prepared(prepared, &whats),
            None => self.start(),
        };
        match started {
            Ok(()) => {
                let waited = began.elapsed();
                self.shared.handover.change_image(&self.image)?;
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
                self.image = before;
                self.start_again()?;
                let told = format!(
                    "the new appliance does not serve, and the one before does again: {error:#}"
                );
                let _ = done.send(Err(told));
                Ok(())
            }
        }
    }

    /// While nobody serves, the next start is one with the new image.
    pub(super) fn take_new_image(&mut self) {
        let Some(order) = self.shared.upgrades.take() else {
            return;
        };
        self.image = order.image;
        let kept = self.shared.handover.change_image(&self.image);
        let told = "appliance: none serves; from now on it is started with the new image";
        let outcome = kept
            .map(|()| told.into())
            .map_err(|error| error.to_string());
        let _ = order.done.send(outcome);
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
            if Instant::now() >= until {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_prepared(&mut self, prepared: Prepared, whats: &[Pluggable]) -> Result<(), Stop> {
        let Prepared { launched, monitor } = prepared;
        let began = Instant::now();
        self.adopt(launched)?;
        if self.equip(Ok(monitor), whats)? == Qemu::IsHeldUp {
            return Err(anyhow!("QEMU is held up by opening a disk").into());
        }
        self.run(began, START_LIMIT)
    }
}
