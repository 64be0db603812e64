//! The appliance's VM, kept running, and ended in order.
//!
//! # Rules
//!
//! * At the first start, what does not work is an error. From then on nothing ends the daemon but an order: a VM that dies is
//!   started again, slower and slower, for as long as it takes.
//! * A disk, or a subchannel, that QEMU cannot have is that one's trouble: see `plugging`.
//! * No system call is made here that a file of somebody's can hold up. Signals are looked at all the while.
//! * A VM is started again only when the one before has ended, or has stopped and has no disks any more: what it still reads would come into
//!   the clients' memory.

mod exchange;
mod succession;

use std::convert::Infallible;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use vcss::control::{Life, Order};

use super::handover::LeftVm;
use super::launch::{launch, Launched};
use super::plugged::PAUSE;
use super::plugging::{Plugger, Qemu};
use super::reload::Settling;
use super::watchdog::{self, Verdict, Watchdog};
use super::Shared;
use crate::doorbell::Request;
use crate::layout::AreaNumber;
use crate::sys;
use crate::vm::{console_report, Backing, Image, Monitor, MonitorError, Pluggable, Vm};
use crate::windows::Overlay;

/// How long the appliance may take to serve.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to let requests end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long QEMU may take to end, after the appliance has stopped or failed, and again after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(5);
/// The pause before the second start after a death; before each further one it is twice as long, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_LIMIT: Duration = Duration::from_secs(30);
/// An appliance that has served so many times as long as it would be waited for begins with a clean sheet: so pauses are a tenth of the time
/// at most, and one that is killed now and then is not waited for.
const GOOD_SERVICE: u32 = 10;
/// Signals within so long of the first one are the same order.
const ONE_ORDER: Duration = Duration::from_secs(1);
/// How often the appliance's life is looked at while it changes.
const TICK: Duration = Duration::from_millis(2);

/// Why the VM is not kept running any longer.
#[derive(Debug)]
pub enum Stop {
    Told,
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Starts the VM, starts it again, ends it.
pub struct Supervisor<'a> {
    shared: &'a Shared,
    /// What the VM is started with.
    image: Image,
    plugger: Plugger<'a>,
    watchdog: Watchdog<'a>,
    settling: Settling<'a>,
    signals: UnixStream,
    /// Readable when a device that has failed is to be tried at once.
    nudges: UnixStream,
    vm: Option<Vm>,
    /// The way into that QEMU, until all that is to be laid there has been.
    overlay: Option<Overlay>,
    /// How long the console log was when the VM was started.
    console_from: u64,
    pause: Duration,
    /// When the first signal came.
    told: Option<Instant>,
}

enum Event {
    Signal,
    Ended,
    /// Time is up, or something has come that is dealt with.
    Tick,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        shared: &'a Shared,
        image: Image,
        backings: Vec<Option<Backing>>,
        signals: UnixStream,
        nudges: UnixStream,
    ) -> Self {
        Self {
            shared,
            image,
            plugger: Plugger::new(shared, backings),
            watchdog: Watchdog::new(shared),
            settling: Settling::new(shared),
            signals,
            nudges,
            vm: None,
            overlay: None,
            console_from: 0,
            pause: Duration::ZERO,
            told: None,
        }
    }

    /// Starts the VM for the first time and waits until the appliance serves. That QEMU cannot have one of the devices is an
    /// error.
    pub fn start_first(&mut self) -> Result<(), Stop> {
        let began = Instant::now();
        self.start_qemu()?;
        let refused = self.shared.plugged.all().into_iter().filter_map(|what| {
            let trouble = self.shared.plugged.trouble(what)?;
            Some(format!("{}: {trouble}", what.label(&self.shared.config)))
        });
        let refused: Vec<String> = refused.collect();
        if !refused.is_empty() {
            return Err(anyhow!("{}", refused.join("\n")).into());
        }
        self.plugger.is_first = false;
        self.run(began, START_LIMIT)
    }

    /// Starts the VM and waits until the appliance serves, for so long.
    fn start(&mut self, limit: Duration) -> Result<(), Stop> {
        let began = Instant::now();
        self.start_qemu()?;
        self.run(began, limit)
    }

    /// Starts QEMU and gives it its devices, but for those that hold it up: for each of these it is started once more.
    fn start_qemu(&mut self) -> Result<()> {
        while self.told.is_none() {
            // First of all: looks take descriptors, too.
            let launched = launch(self.shared, &self.image)?;
            let monitor = self.adopt(launched)?;
            let whats = self.plugger.begin_all();
            self.finish_looks(&whats)?;
            if self.told.is_some() {
                break;
            }
            let monitor = Monitor::connect(monitor, self.signals.try_clone()?);
            match self.equip(monitor, &whats)? {
                Qemu::Answers => break,
                Qemu::IsHeldUp if self.plugger.is_first => break,
                // It has never run: nothing that it still does can come into anybody's memory.
                Qemu::IsHeldUp => {
                    self.kill_vm();
                    self.forget_vm();
                }
            }
        }
        Ok(())
    }

    /// Gives a QEMU that has made its VM the clients' memory, and its devices.
    fn equip(
        &mut self,
        monitor: Result<Monitor, MonitorError>,
        whats: &[Pluggable],
    ) -> Result<Qemu> {
        if monitor.is_ok() {
            self.lay_windows()?;
        }
        let given = monitor.and_then(|monitor| self.plugger.plug_in_all(monitor, whats));
        self.is_equipped(given)
    }

    fn is_equipped(&mut self, given: Result<Qemu, MonitorError>) -> Result<Qemu> {
        match given {
            Ok(qemu) => Ok(qemu),
            // A signal is taken by whoever waits for the VM.
            Err(MonitorError::Told) => Ok(Qemu::Answers),
            Err(MonitorError::Ended(_)) => Err(self.did_not_come_up()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until all these have been looked at, or time is up; or the VM has ended, or a signal has come.
    fn finish_looks(&mut self, whats: &[Pluggable]) -> Result<()> {
        let waits =
            |plugger: &Plugger<'_>| whats.iter().any(|&what| plugger.looks.is_waited_for(what));
        while waits(&self.plugger) {
            if let Event::Ended | Event::Signal = self.wait(Some(PAUSE))? {
                break;
            }
        }
        Ok(())
    }

    /// A QEMU that has been started is the appliance's from now on; our end of its monitor. None other has disks, or runs, by now.
    fn adopt(&mut self, launched: Launched) -> Result<UnixStream> {
        let Launched {
            vm,
            memory,
            overlay,
            monitor,
            link,
        } = launched;
        let config = &self.shared.config;
        self.shared.areas.restore(config)?;
        // It begins by the configuration that there is, also if the daemon of before has died before it was told.
        let configuration = self.shared.handover.left().configuration;
        (self.shared.areas).tell(config, &self.shared.layout, configuration)?;
        self.shared.areas.forget_life();
        self.shared.areas.order(Order::SERVE)?;
        let console = self.shared.config.in_run_dir("console.log");
        self.console_from = std::fs::metadata(&console).map_or(0, |about| about.len());
        let handover = &self.shared.handover;
        let messages = vm.stderr().map(|stderr| handover.keep(stderr));
        handover.change_vm(Some(LeftVm {
            pid: vm.pid(),
            process: handover.keep(vm.ended())?,
            memory: handover.keep(&memory)?,
            overlay: handover.keep(&overlay)?,
            monitor: handover.keep(&monitor)?,
            link: handover.keep(&link)?,
            messages: messages.transpose()?,
            console_from: self.console_from,
            serving_since: None,
            sizes: Vec::new(),
        }));
        let process = vm.ended().try_clone_to_owned()?;
        self.overlay = Some(Overlay::new(overlay, process));
        link.set_nonblocking(true)?;
        self.shared.bell.request(Request::Link { link });
        self.shared.run.lock().pid = vm.pid();
        *self.shared.vm_memory.lock() = Some(memory.into());
        tracing::info!(
            pid = vm.pid(),
            accel = config.appliance.accel.to_string(),
            "appliance started"
        );
        self.vm = Some(vm);
        Ok(monitor)
    }

    /// Lets the VM run and waits until the appliance serves, for so long.
    fn run(&mut self, began: Instant, limit: Duration) -> Result<(), Stop> {
        self.plugger.next_check = Some(Instant::now() + PAUSE);
        match self.plugger.monitor.as_mut().map(Monitor::go_on) {
            None | Some(Ok(()) | Err(MonitorError::Told)) => {}
            Some(Err(MonitorError::Ended(_))) => return Err(self.did_not_come_up().into()),
            Some(Err(error)) => return Err(error).context("QEMU does not let the VM run")?,
        }
        // Not the appliance's time: QEMU's own, and that of slow images.
        let runs = Instant::now();
        loop {
            if let Event::Ended = self.next(Some(TICK))? {
                return Err(self.did_not_come_up().into());
            }
            match self.shared.areas.life() {
                Life::Serving => break,
                Life::Failed => return Err(self.did_not_come_up().into()),
                Life::Starting | Life::Stopping | Life::Stopped => {}
            }
            if runs.elapsed() > limit {
                let limit = limit.as_secs();
                let monitor = self.plugger.monitor.as_mut();
                if watchdog::diagnose(self.shared, &"the appliance does not serve", monitor) {
                    self.wait_until(watchdog::LAST_WORDS, |_| false)?;
                }
                let happened = self.what_happened();
                let error = anyhow!("the appliance does not serve after {limit} s: {happened}");
                return Err(error.into());
            }
        }
        self.shared.run.lock().serving_since = Some(Instant::now());
        let sizes = self.plugger.sizes().to_vec();
        self.shared.handover.change(|left| {
            if let Some(vm) = &mut left.vm {
                vm.serving_since = Some(sys::uptime());
                vm.sizes = sizes;
            }
        });
        let appliance = self.shared.areas.appliance()?;
        tracing::info!(
            version = appliance.version.as_str(),
            boot_ms = f64::from(appliance.boot_us.get()) / 1000.0,
            with_qemu_ms = began.elapsed().as_millis(),
            "appliance serves"
        );
        self.watchdog.begin();
        Ok(())
    }

    /// Watches the VM until a signal comes, and starts it again in the same pool when it has died or hangs.
    pub fn watch(&mut self) -> Result<Infallible, Stop> {
        loop {
            let next = self.plugger.next().into_iter().chain(self.watchdog.next());
            let next = next.chain(self.settling.next).min();
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            if let Event::Ended = self.next(pause)? {
                self.revive()?;
            }
            if let Some(order) = self.shared.upgrades.take() {
                self.exchange(order)?;
            }
            if self.plugger.plug_in_due() == Qemu::IsHeldUp {
                self.kill_vm();
            }
            self.settling.tick(self.plugger.monitor.as_mut());
            if self.watchdog.tick(self.plugger.monitor.as_mut()) == Verdict::Condemned {
                self.kill_vm();
            }
        }
    }

    fn revive(&mut self) -> Result<(), Stop> {
        tracing::error!("the appliance has died: {}", self.what_happened());
        let served = self.shared.run.lock().serving_since.take();
        if served.is_some_and(|since| since.elapsed() >= self.pause * GOOD_SERVICE) {
            self.pause = Duration::ZERO;
        }
        self.start_again()
    }

    /// Ends the VM, if there is one, and starts another one, for as long as it takes.
    fn start_again(&mut self) -> Result<(), Stop> {
        loop {
            self.end_vm()?;
            // Who waits for it is not to count the time until it serves again.
            self.shared.areas.forget_life();
            self.rest()?;
            let new = self.take_new_image();
            let restarts = {
                let mut run = self.shared.run.lock();
                run.restarts += 1;
                run.restarts
            };
            self.shared.handover.change(|left| left.restarts = restarts);
            let started = self.start(START_LIMIT);
            if let Some(new) = new {
                self.new_image_was_tried(new, &started);
            }
            match started {
                Err(Stop::Failed(error)) => tracing::error!("{error:#}"),
                ended => return ended,
            }
        }
    }

    /// Kills the VM: its end is noticed as any other is.
    fn kill_vm(&mut self) {
        self.plugger.monitor = None;
        self.watchdog.end();
        if let Some(vm) = &self.vm {
            vm.signal(Signal::KILL);
        }
    }

    fn forget_vm(&mut self) {
        self.vm = None;
        self.overlay = None;
        self.shared.windows.has_ended();
        self.shared.handover.change_vm(None);
    }

    /// Lays clients' memory over their windows: QEMU has made its VM, and that has not run yet.
    fn lay_windows(&mut self) -> Result<()> {
        match self.overlay.take() {
            Some(overlay) => self.shared.windows.lay_all(overlay),
            None => Ok(()),
        }
    }

    /// Kills the VM and waits until it has ended.
    fn end_vm(&mut self) -> Result<(), Stop> {
        self.kill_vm();
        let (began, mut said) = (Instant::now(), false);
        while let Some(vm) = &mut self.vm {
            if vm.has_ended() {
                self.forget_vm();
                break;
            }
            if !said && began.elapsed() >= END_LIMIT {
                said = true;
                tracing::error!(
                    pid = vm.pid(),
                    "the appliance's QEMU was killed and does not end: it waits for a disk. No other one is started until it has ended, for what it still reads would come into the clients' memory"
                );
            }
            self.next(Some(END_LIMIT))?;
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), Stop> {
        let until = Instant::now() + self.pause;
        if !self.pause.is_zero() {
            tracing::info!("it is started again in {} ms", self.pause.as_millis());
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, PAUSE_LIMIT);
        self.shared.run.lock().next_start = Some(until);
        let rested = loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next(Some(left)) {
                Ok(Event::Tick) if left.is_zero() => break Ok(()),
                Ok(_) => {}
                Err(stop) => break Err(stop),
            }
        };
        self.shared.run.lock().next_start = None;
        rested
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
        let served = self.shared.run.lock().serving_since.is_some();
        if served {
            self.shared.areas.order(Order::SHUT_DOWN)?;
            self.shared.bell.ring(AreaNumber::CONTROL);
            self.wait_until(STOP_LIMIT, |life| {
                matches!(life, Life::Stopped | Life::Failed)
            })?;
        }
        let life = self.shared.areas.life();
        let stopped = life == Life::Stopped;
        if stopped {
            self.wait_until(END_LIMIT, |_| false)?;
        }
        if let Some(vm) = &self.vm {
            if !vm.has_ended() {
                vm.signal(Signal::TERM);
                self.wait_until(END_LIMIT, |_| false)?;
            }
        }
        // Kills it if it still runs.
        self.forget_vm();
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
        let again = self.told.is_some();
        while began.elapsed() < limit && !wanted(self.shared.areas.life()) {
            match self.wait(Some(TICK))? {
                Event::Tick => {}
                Event::Ended => return Ok(()),
                Event::Signal => {
                    if again {
                        tracing::warn!("told to stop once more: not waiting any longer");
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next event, as long as nobody has told the daemon to stop.
    fn next(&mut self, limit: Option<Duration>) -> Result<Event, Stop> {
        // It may have come while something else was waited for.
        if self.told.is_some() {
            return Err(Stop::Told);
        }
        match self.wait(limit)? {
            Event::Signal => Err(Stop::Told),
            event => Ok(event),
        }
    }

    /// Waits for an event, and hears what QEMU's monitor says.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Event> {
        let monitor = self.plugger.monitor.as_ref();
        let has_news = monitor.is_some_and(Monitor::has_news);
        let now = Instant::now();
        let looked = self.plugger.looks.until();
        let looked = looked.map(|until| until.saturating_duration_since(now));
        // What was said together with an answer is not said again.
        let limit = limit
            .filter(|_| !has_news)
            .or(has_news.then_some(Duration::ZERO));
        let limit = limit.into_iter().chain(looked).min();
        let (signals, nudges) = (self.signals.as_fd(), self.nudges.as_fd());
        let vm = self.vm.as_ref().map(Vm::ended);
        let monitor = monitor.map(Monitor::readable);
        // Without a VM, the signals stand in for it.
        let (ended, readable) = (vm.unwrap_or(signals), monitor.unwrap_or(signals));
        let mut fds: Vec<PollFd<'_>> = [signals, nudges, ended, readable]
            .into_iter()
            .chain(self.plugger.looks.ended())
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        sys::wait(&mut fds, limit).context("poll")?;
        let is_set = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let [signal, nudge, ended, readable] = [0, 1, 2, 3].map(is_set);
        let (has_vm, has_monitor) = (vm.is_some(), monitor.is_some());
        self.plugger.take_looks();
        if signal {
            let _ = self.signals.read(&mut [0; 16]);
            // Whoever signals a whole group of processes often signals each of them as well.
            let same = self.told.is_some_and(|told| told.elapsed() < ONE_ORDER);
            self.told.get_or_insert_with(Instant::now);
            return Ok(if same { Event::Tick } else { Event::Signal });
        }
        if nudge {
            let _ = self.nudges.read(&mut [0; 16]);
        }
        if ended && has_vm {
            return Ok(Event::Ended);
        }
        if has_news || readable && has_monitor {
            self.plugger.hear_monitor();
        }
        Ok(Event::Tick)
    }

    fn did_not_come_up(&mut self) -> anyhow::Error {
        anyhow!("the appliance did not come up: {}", self.what_happened())
    }

    /// What is known of the VM's end: exit status, QEMU's messages, the report on the console. An appliance that prints one ends
    /// by itself when it has.
    fn what_happened(&mut self) -> String {
        let life = self.shared.areas.life();
        if self.plugger.monitor.is_none() || life == Life::Failed {
            let _ = self.wait_until(END_LIMIT, |_| false);
        }
        let mut text = String::new();
        let mut messages = Vec::new();
        if let Some(vm) = &mut self.vm {
            match vm.end() {
                Some(how) => text.push_str(&format!("QEMU ended ({how})")),
                None => text.push_str("QEMU is still running"),
            }
            messages = vm.messages();
            for message in &messages {
                text.push_str(&format!("\n    {message}"));
            }
        }
        let console = self.shared.config.in_run_dir("console.log");
        match console_report(&console, self.console_from) {
            Some(report) => text.push_str(&format!("; its console says:\n{report}")),
            None if messages.is_empty() => text.push_str(
                "; the appliance has printed nothing: is [appliance] image an image of Stellwerk, and `accel` right for this machine?",
            ),
            None => text.push_str("; the appliance has printed nothing"),
        }
        text.push_str(&format!("\n    the whole console: {}", console.display()));
        text
    }
}
