//! The appliance's VM, kept running, and ended in order.
//!
//! # Rules
//!
//! * At the first start, what does not work is an error. From then on nothing ends the daemon but an order: a VM that dies is
//!   started again, slower and slower, for as long as it takes.
//! * A disk, or a subchannel, that QEMU cannot have is that one's trouble: it is tried again every few seconds.
//! * Signals are looked at all the while.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use vcss::control::{Life, Order};

use super::Shared;
use crate::appliance::{self, console_report, Backing, Given, Monitor, News, Vm};

/// How long the appliance may take to serve.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to let requests end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long QEMU may take to end, after the appliance has stopped or failed, and again after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(5);
/// The pause before the second start after a death; before each further one it is twice as long, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_LIMIT: Duration = Duration::from_secs(30);
/// An appliance that has served for so long begins with a clean sheet.
const GOOD_SERVICE: Duration = Duration::from_secs(60);
/// Signals within so long of the first one are the same order.
const ONE_ORDER: Duration = Duration::from_secs(1);
/// How often the appliance's life is looked at while it changes.
const TICK: Duration = Duration::from_millis(2);

/// Starts the VM, starts it again, ends it.
pub struct Supervisor<'a> {
    shared: &'a Shared,
    backings: Vec<Option<Backing>>,
    signals: UnixStream,
    /// Readable when a device that has failed is to be tried at once.
    nudges: UnixStream,
    vm: Option<Vm>,
    monitor: Option<Monitor>,
    /// How long the console log was when the VM was started.
    console_from: u64,
    pause: Duration,
    /// When the first signal came.
    told: Option<Instant>,
}

enum Event {
    Signal,
    Ended,
    Monitor,
    Nudge,
    Tick,
}

impl<'a> Supervisor<'a> {
    /// Nothing runs yet.
    pub fn new(
        shared: &'a Shared,
        backings: Vec<Option<Backing>>,
        signals: UnixStream,
        nudges: UnixStream,
    ) -> Self {
        Self {
            shared,
            backings,
            signals,
            nudges,
            vm: None,
            monitor: None,
            console_from: 0,
            pause: Duration::ZERO,
            told: None,
        }
    }

    /// Starts the VM for the first time and waits until the appliance serves; `false` when a signal came first.
    ///
    /// # Errors
    ///
    /// It does not serve, or QEMU cannot have one of the devices.
    pub fn start_first(&mut self) -> Result<bool> {
        let started = self.start()?;
        for what in self.shared.given.all() {
            if let Some(trouble) = self.shared.given.trouble(what) {
                bail!("{}: {trouble}", what.label(&self.shared.config));
            }
        }
        Ok(started)
    }

    fn start(&mut self) -> Result<bool> {
        let config = &self.shared.config;
        // From here on descriptors are needed that others may have used up meanwhile.
        self.shared.reserve.release();
        let (ours, theirs) = UnixStream::pair()?;
        let args = appliance::args(config, &self.shared.layout, theirs.as_raw_fd())?;
        self.shared.areas.restore(config)?;
        self.shared.areas.forget_life();
        let console = self.console();
        self.console_from = std::fs::metadata(&console).map_or(0, |about| about.len());
        let began = Instant::now();
        let vm = Vm::start(&config.appliance.qemu, &args, theirs.as_fd())?;
        drop(theirs);
        self.shared.run().pid = vm.pid();
        tracing::info!(
            pid = vm.pid(),
            accel = config.appliance.accel.name(),
            "appliance started"
        );
        self.vm = Some(vm);
        match Monitor::connect(ours) {
            Ok(monitor) => self.monitor = Some(monitor),
            Err(_) => return Err(self.did_not_come_up()),
        }
        for what in self.shared.given.all() {
            self.give(what);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.go_on().context("QEMU does not let the VM run")?;
        }
        loop {
            match self.wait(Some(TICK))? {
                Event::Signal => return Ok(false),
                Event::Ended => return Err(self.did_not_come_up()),
                Event::Monitor => self.hear_monitor(),
                Event::Nudge | Event::Tick => {}
            }
            match self.shared.areas.life() {
                Life::Serving => break,
                Life::Failed => return Err(self.did_not_come_up()),
                Life::Starting | Life::Stopping | Life::Stopped => {}
            }
            if began.elapsed() > START_LIMIT {
                let limit = START_LIMIT.as_secs();
                bail!(
                    "the appliance does not serve after {limit} s: {}",
                    self.what_happened()
                );
            }
        }
        self.shared.run().serving_since = Some(Instant::now());
        if let Err(error) = self.shared.reserve.fill() {
            tracing::warn!("{error:#}");
        }
        let appliance = self.shared.areas.appliance()?;
        tracing::info!(
            version = appliance.version.as_str(),
            boot_ms = f64::from(appliance.boot_us.get()) / 1000.0,
            with_qemu_ms = began.elapsed().as_millis(),
            "appliance serves"
        );
        Ok(true)
    }

    /// Gives the VM a device, or says why it cannot have it.
    fn give(&mut self, what: Given) {
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        let config = &self.shared.config;
        let plug = what.plug(config, &self.backings);
        match plug.and_then(|plug| monitor.plug(&plug)) {
            Ok(()) => {
                if self.shared.given.trouble(what).is_some() {
                    tracing::info!("{}: it is there again", what.label(config));
                }
                self.shared.given.good(what);
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                if self.shared.given.failed(what, trouble.clone()) {
                    tracing::error!("{}: {trouble}; it is tried again", what.label(config));
                }
            }
        }
    }

    /// Watches the VM until a signal comes.
    ///
    /// # Errors
    ///
    /// The system does not let it.
    pub fn watch(&mut self) -> Result<()> {
        loop {
            let next = self.shared.given.next();
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            match self.wait(pause)? {
                Event::Signal => return Ok(()),
                Event::Monitor => self.hear_monitor(),
                Event::Nudge | Event::Tick => {}
                Event::Ended => {
                    if !self.revive()? {
                        return Ok(());
                    }
                }
            }
            for what in self.shared.given.due(Instant::now()) {
                self.give(what);
            }
        }
    }

    fn hear_monitor(&mut self) {
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        let news = match monitor.news() {
            Ok(news) => news,
            Err(error) => {
                // If QEMU has ended, that is noticed by its end.
                tracing::debug!("{error:#}");
                self.monitor = None;
                return;
            }
        };
        for news in news {
            match news {
                News::Unplugged(id) => self.shared.given.unplugged(&id),
                News::Stopped => {
                    tracing::warn!("the appliance's VM was paused; it goes on");
                    if let Err(error) = monitor.go_on() {
                        tracing::error!("{error:#}");
                    }
                }
            }
        }
    }

    /// Starts the VM again in the same pool; `false` when a signal came.
    fn revive(&mut self) -> Result<bool> {
        loop {
            tracing::error!("the appliance has died: {}", self.what_happened());
            let served = self.shared.run().serving_since.take();
            if served.is_some_and(|since| since.elapsed() >= GOOD_SERVICE) {
                self.pause = Duration::ZERO;
            }
            self.vm = None;
            self.monitor = None;
            // Who waits for it is not to count the time until it serves again.
            self.shared.areas.forget_life();
            if !self.rest()? {
                return Ok(false);
            }
            self.shared.run().restarts += 1;
            match self.start() {
                Ok(started) => return Ok(started),
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    }

    /// The pause before the next start; `false` when a signal came.
    fn rest(&mut self) -> Result<bool> {
        let until = Instant::now() + self.pause;
        if !self.pause.is_zero() {
            tracing::info!("it is started again in {} ms", self.pause.as_millis());
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, PAUSE_LIMIT);
        self.shared.run().next_start = Some(until);
        let signal = loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.wait(Some(left))? {
                Event::Signal => break true,
                Event::Tick if left.is_zero() => break false,
                _ => {}
            }
        };
        self.shared.run().next_start = None;
        Ok(!signal)
    }

    /// Has the appliance stop, and then QEMU. A signal meanwhile cuts the waiting short.
    ///
    /// # Errors
    ///
    /// It had to be killed before all its requests had ended.
    pub fn shut_down(&mut self) -> Result<()> {
        if self.vm.is_none() {
            return Ok(());
        }
        let served = self.shared.run().serving_since.is_some();
        if served {
            self.shared.areas.order(Order::SHUT_DOWN)?;
            self.shared.bell.ring(0);
            self.wait_until(STOP_LIMIT, |life| {
                matches!(life, Life::Stopped | Life::Failed)
            })?;
        }
        let life = self.shared.areas.life();
        let stopped = life == Life::Stopped;
        if stopped {
            self.wait_until(END_LIMIT, |_| false)?;
        }
        if let Some(vm) = &mut self.vm {
            if matches!(vm.try_wait(), Ok(None)) {
                vm.signal(Signal::TERM);
                self.wait_until(END_LIMIT, |_| false)?;
            }
        }
        // Kills it if it still runs.
        self.vm = None;
        if served && !stopped {
            let was = match life {
                Life::Starting => "starting",
                Life::Serving => "serving and did not hear the order to stop",
                Life::Stopping => "letting requests end",
                Life::Stopped => "stopped",
                Life::Failed => "failed",
            };
            bail!("the appliance was ended before all its requests had; it was {was}");
        }
        if stopped {
            tracing::info!("appliance stopped");
        }
        Ok(())
    }

    /// Waits until the appliance's life is as wanted, the VM has ended, a signal comes, or time is up.
    fn wait_until(&mut self, limit: Duration, wanted: impl Fn(Life) -> bool) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < limit && !wanted(self.shared.areas.life()) {
            match self.wait(Some(TICK))? {
                Event::Tick | Event::Nudge => {}
                Event::Monitor => self.hear_monitor(),
                Event::Ended => return Ok(()),
                Event::Signal => {
                    tracing::warn!("told to stop once more: not waiting any longer");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, limit: Option<Duration>) -> Result<Event> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        });
        let (signals, nudges) = (self.signals.as_fd(), self.nudges.as_fd());
        let vm = self.vm.as_ref().map(Vm::ended);
        let monitor = self.monitor.as_ref().map(Monitor::readable);
        // Without a VM, the signals stand in for it.
        let (ended, readable) = (vm.unwrap_or(signals), monitor.unwrap_or(signals));
        let mut fds = [signals, nudges, ended, readable]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let [signal, nudge, ended, readable] = fds.map(|fd| !fd.revents().is_empty());
        let (has_vm, has_monitor) = (vm.is_some(), monitor.is_some());
        if signal {
            let _ = self.signals.read(&mut [0; 16]);
            // Whoever signals a whole group of processes often signals each of them as well.
            let same = self.told.is_some_and(|told| told.elapsed() < ONE_ORDER);
            self.told.get_or_insert_with(Instant::now);
            return Ok(if same { Event::Tick } else { Event::Signal });
        }
        if nudge {
            let _ = self.nudges.read(&mut [0; 16]);
            return Ok(Event::Nudge);
        }
        Ok(match (ended && has_vm, readable && has_monitor) {
            (true, _) => Event::Ended,
            (false, true) => Event::Monitor,
            (false, false) => Event::Tick,
        })
    }

    fn console(&self) -> std::path::PathBuf {
        self.shared.config.appliance.run_dir.join("console.log")
    }

    fn did_not_come_up(&mut self) -> anyhow::Error {
        anyhow!("the appliance did not come up: {}", self.what_happened())
    }

    /// What is known of the VM's end: exit status, QEMU's messages, the report on the console. An appliance that prints one ends
    /// by itself when it has.
    fn what_happened(&mut self) -> String {
        let life = self.shared.areas.life();
        if self.monitor.is_none() || life == Life::Failed {
            let _ = self.wait_until(END_LIMIT, |_| false);
        }
        let mut text = String::new();
        if let Some(vm) = &mut self.vm {
            match vm.try_wait() {
                Ok(Some(status)) => text.push_str(&format!("QEMU ended ({status})")),
                _ => text.push_str("QEMU is still running"),
            }
            for message in vm.messages() {
                text.push_str(&format!("\n    {message}"));
            }
        }
        let console = self.console();
        match console_report(&console, self.console_from) {
            Some(report) => text.push_str(&format!("; its console says:\n{report}")),
            None => text.push_str(
                "; the appliance has printed nothing: is [appliance] image an image of Stellwerk, and `accel` right for this machine?",
            ),
        }
        text.push_str(&format!("\n    the whole console: {}", console.display()));
        text
    }
}
