//! The appliance's VM, kept running, and ended in order.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use vcss::control::{Life, Order};

use super::Shared;
use crate::appliance::{self, last_lines, Backing, Vm};

/// How long the appliance may take to serve.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to let requests end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long QEMU may take to end, after the appliance has stopped, and again after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Starts within [`RESTART_WINDOW`] after which it is given up.
const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// How often the appliance's life is looked at while it changes.
const TICK: Duration = Duration::from_millis(2);
/// Console lines in an error.
const LINES: usize = 15;

/// Starts the VM, starts it again, ends it.
pub struct Supervisor<'a> {
    shared: &'a Shared,
    backings: Vec<Option<Backing>>,
    signals: UnixStream,
    vm: Option<Vm>,
    deaths: VecDeque<Instant>,
}

enum Event {
    Signal,
    Ended,
    Tick,
}

impl<'a> Supervisor<'a> {
    /// Nothing runs yet.
    pub fn new(shared: &'a Shared, backings: Vec<Option<Backing>>, signals: UnixStream) -> Self {
        Self {
            shared,
            backings,
            signals,
            vm: None,
            deaths: VecDeque::new(),
        }
    }

    /// Starts the VM and waits until the appliance serves; `false` when a signal came first.
    ///
    /// # Errors
    ///
    /// It does not serve.
    pub fn start(&mut self) -> Result<bool> {
        let config = &self.shared.config;
        let args = appliance::args(config, &self.shared.layout, &self.backings)?;
        self.shared.areas.forget_life();
        let began = Instant::now();
        let vm = Vm::start(&config.appliance.qemu, &args)?;
        self.shared.run().pid = vm.pid();
        tracing::info!(
            pid = vm.pid(),
            accel = config.appliance.accel.name(),
            "appliance started"
        );
        self.vm = Some(vm);
        loop {
            match self.wait(Some(TICK))? {
                Event::Signal => return Ok(false),
                Event::Ended => bail!("the appliance did not come up: {}", self.obituary()),
                Event::Tick => {}
            }
            match self.shared.areas.life() {
                Life::Serving => break,
                Life::Failed => bail!("the appliance did not come up: {}", self.obituary()),
                Life::Starting | Life::Stopping | Life::Stopped => {}
            }
            if began.elapsed() > START_LIMIT {
                bail!(
                    "the appliance does not serve after {} s: {}",
                    START_LIMIT.as_secs(),
                    self.obituary()
                );
            }
        }
        self.shared.run().serving_since = Some(Instant::now());
        let appliance = self.shared.areas.appliance()?;
        tracing::info!(
            version = appliance.version.as_str(),
            boot_ms = f64::from(appliance.boot_us.get()) / 1000.0,
            with_qemu_ms = began.elapsed().as_millis(),
            "appliance serves"
        );
        Ok(true)
    }

    /// Watches the VM until a signal comes.
    ///
    /// # Errors
    ///
    /// The appliance does not stay up.
    pub fn watch(&mut self) -> Result<()> {
        loop {
            match self.wait(None)? {
                Event::Signal => return Ok(()),
                Event::Tick => {}
                Event::Ended => {
                    if !self.revive()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Starts the VM again in the same pool; `false` when a signal came.
    fn revive(&mut self) -> Result<bool> {
        loop {
            tracing::error!("the appliance has died: {}", self.obituary());
            self.shared.run().serving_since = None;
            self.vm = None;
            let now = Instant::now();
            self.deaths
                .retain(|&death| now.duration_since(death) < RESTART_WINDOW);
            self.deaths.push_back(now);
            if self.deaths.len() > MAX_RESTARTS {
                bail!(
                    "the appliance has died {} times within {} s; its console log is {}",
                    self.deaths.len(),
                    RESTART_WINDOW.as_secs(),
                    self.console().display()
                );
            }
            self.shared.run().restarts += 1;
            match self.start() {
                Ok(started) => return Ok(started),
                Err(error) => tracing::error!("{error:#}"),
            }
        }
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
            bail!("the appliance was ended before all its requests had; it was {life:?}");
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
                Event::Tick => {}
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
        let vm = self.vm.as_ref().context("no VM")?;
        let (signals, ended) = (self.signals.as_fd(), vm.ended());
        let mut fds = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let [signal, ended] = fds.map(|fd| !fd.revents().is_empty());
        if signal {
            let _ = self.signals.read(&mut [0; 16]);
            return Ok(Event::Signal);
        }
        Ok(if ended { Event::Ended } else { Event::Tick })
    }

    fn console(&self) -> std::path::PathBuf {
        self.shared.config.appliance.run_dir.join("console.log")
    }

    /// What is known of the VM's end: exit status, QEMU's messages, the console's last lines.
    fn obituary(&mut self) -> String {
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
        let lines = last_lines(&self.console(), LINES);
        if lines.is_empty() {
            text.push_str("; its console shows nothing");
        } else {
            text.push_str(&format!("; the last lines of its console:\n{lines}"));
        }
        text
    }
}
