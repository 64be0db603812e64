//! The daemon as a client of the appliance: its own virtual subchannels, driven for the commands of people.
//!
//! # Rules
//!
//! * One request to the area at a time, under a lock that is not held while a program runs: so it can be halted.
//! * One program at a time on a subchannel. Its CCWs and data lie in the subchannel's own part of the program window.
//! * Every wait has an end. A program that takes longer than it was given is cleared.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure, Context, Result};
use channel::{ChannelSubsystem, FunctionControl, Irb, Orb, Refusal, SubchannelId, Tested};
use parking_lot::Mutex;
use vcss::control::{self, Life};
use vcss::{AreaError, Remote, Wake, Word};

use super::program::{enable, EnableError, ProgramPlace};
use crate::api::text::Architected;
use crate::api::{Data, Function, Outcome, Program, StoredSchib};
use crate::areas::{self, Areas};
use crate::config::Config;
use crate::doorbell::BellHandle;
use crate::layout::{parse_device, AreaNumber, HOST_PROGRAM_BYTES};

/// How long the appliance may take for one instruction.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a program that is cleared may take to end.
const CLEAR_LIMIT: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_micros(500);
/// How often START and MODIFY are tried when status comes in between.
const ATTEMPTS: u32 = 8;
/// Statuses that are reported with an outcome, at most.
const MAX_EARLIER: usize = 32;
/// Where data begins in a subchannel's part of the program window.
const DATA: u32 = 2048;

const _: () = assert!(DATA as usize == crate::api::MAX_CCWS * size_of::<channel::Ccw1>());

/// How the daemon gets the appliance's attention for its own area.
#[derive(Debug)]
struct PollWait {
    bell: BellHandle,
    number: AreaNumber,
    began: Instant,
}

impl Wake for PollWait {
    fn ring(&mut self) {
        self.bell.ring(self.number);
    }

    fn begin(&mut self) {
        self.began = Instant::now();
    }

    fn pass(&mut self) -> bool {
        std::thread::sleep(Duration::from_micros(50));
        !self.bell.is_abandoned() && self.began.elapsed() < PATIENCE
    }
}

#[derive(Debug)]
pub struct HostClient {
    pub(super) areas: Areas,
    pub(super) config: Config,
    pub(super) bell: BellHandle,
    pub(super) in_maintenance: Mutex<HashSet<usize>>,
    remote: Mutex<Remote<'static, PollWait>>,
    generation: Word<'static>,
    running: Mutex<HashMap<u16, Job>>,
}

/// What is known of a program that runs.
#[derive(Clone, Copy, Debug)]
struct Job {
    ccws: usize,
    cancelled: bool,
}

/// How a program ended, and where it was.
pub(super) struct Ended {
    pub(super) irb: Option<Irb>,
    earlier: Vec<Irb>,
    base: u32,
    pub(super) data: Vec<Data>,
}

impl HostClient {
    pub fn new(config: &Config, areas: &Areas, bell: BellHandle) -> Result<Self, AreaError> {
        let wait = PollWait {
            bell: bell.clone(),
            number: AreaNumber::of_client(areas.clients.len()),
            began: Instant::now(),
        };
        Ok(Self {
            config: config.clone(),
            generation: areas::generation(&areas.host.area)?,
            remote: Mutex::new(Remote::new(areas.host.area.clone(), wait)),
            areas: areas.clone(),
            bell,
            in_maintenance: Mutex::default(),
            running: Mutex::default(),
        })
    }

    pub fn schib(&self, device: &str) -> Result<StoredSchib> {
        let id = self.find(device)?;
        let stored = self.remote.lock().store(id);
        Ok(StoredSchib {
            schib: Architected(stored.map_err(|wrong| anyhow!("{device}: {wrong}"))?),
            device: device.into(),
        })
    }

    /// One instruction that acts on what a subchannel is doing. Before a program of ours is resumed, the first suspend flag
    /// that is left in it is taken away: else it would be suspended there again.
    pub fn instruct(&self, device: &str, function: Function) -> Result<()> {
        let id = self.find(device)?;
        let job = self.running.lock().get(&id.number()).copied();
        if let (Function::Resume, Some(job)) = (function, job) {
            self.place(id).let_go_on(job.ccws)?;
        }
        let mut remote = self.remote.lock();
        let answer = match function {
            Function::Halt => remote.halt(id),
            Function::Clear => remote.clear(id).map_err(|_| Refusal::NotOperational),
            Function::Cancel => remote.cancel(id),
            Function::Resume => remote.resume(id),
        };
        drop(remote);
        answer.map_err(|refusal| anyhow!("{function} {device}: {refusal}"))?;
        if function == Function::Cancel {
            // A start that is cancelled gives no status.
            if let Some(job) = self.running.lock().get_mut(&id.number()) {
                job.cancelled = true;
            }
        }
        Ok(())
    }

    pub fn run(&self, device: &str, program: &Program, limit: Duration) -> Result<Outcome> {
        let ended = self.run_on(self.find(device)?, device, program, limit)?;
        Ok(Outcome {
            device: device.into(),
            base: ended.base,
            irb: ended.irb.map(Architected),
            earlier: ended.earlier.into_iter().map(Architected).collect(),
            data: ended.data,
        })
    }

    /// The same on a subchannel that is known.
    pub(super) fn run_on(
        &self,
        id: SubchannelId,
        device: &str,
        program: &Program,
        limit: Duration,
    ) -> Result<Ended> {
        match self.running.lock().entry(id.number()) {
            Entry::Occupied(_) => {
                bail!("a program runs on {device}: halt or clear it, or wait for its end")
            }
            Entry::Vacant(place) => place.insert(Job {
                ccws: program.ccws.len(),
                cancelled: false,
            }),
        };
        let mut running = Running {
            host: self,
            id,
            device,
            earlier: Vec::new(),
        };
        running.enable()?;
        let generation = self.generation.load();
        let place = self.place(id);
        running.start(&place.write(program)?)?;
        let irb = running.wait(generation, limit)?;
        let data = irb.map(|irb| place.read_back(program, &irb));
        Ok(Ended {
            irb,
            earlier: std::mem::take(&mut running.earlier),
            base: place.start(),
            data: data.transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn is_served(&self) -> Result<()> {
        let life = self.areas.life();
        ensure!(
            life == Life::Serving,
            "the appliance does not serve: it is {}",
            format!("{life:?}").to_lowercase()
        );
        Ok(())
    }

    /// The virtual subchannel that stands for a device.
    pub(super) fn find(&self, device: &str) -> Result<SubchannelId> {
        let wanted = parse_device(device).with_context(|| {
            format!("\"{device}\" is no device number: write it as lscss does, 0.0.3270")
        })?;
        self.is_served()?;
        let mut known = Vec::new();
        for entry in areas::devices(&self.areas.control) {
            let number = areas::device_number(&entry);
            if number == wanted {
                return self.ours(&entry);
            }
            known.push(number.to_string());
        }
        bail!(
            "the appliance has no device {wanted}; it has {}",
            known.join(", ")
        )
    }

    fn ours(&self, entry: &control::Device) -> Result<SubchannelId> {
        let number = areas::device_number(entry);
        if let Some(disk) = self.config.disks.get(usize::from(entry.disk.get())) {
            let disk = &disk.name;
            bail!("{number} is disk \"{disk}\": the appliance's own driver uses it; to administer it, name it \"{disk}\"");
        }
        let client = usize::from(entry.client.get());
        if let Some(client) = self.config.clients.get(client) {
            bail!("{number} belongs to client \"{}\"", client.name);
        }
        if client != self.config.clients.len() {
            bail!("{number} is not passed through: the appliance uses it itself, or has more devices than it can pass on");
        }
        SubchannelId::new(0, entry.index.get()).context("the area is damaged")
    }

    fn place(&self, id: SubchannelId) -> ProgramPlace {
        ProgramPlace::new(&self.areas.host, id, DATA, HOST_PROGRAM_BYTES)
    }
}

/// A program that runs, until it is dropped.
struct Running<'a> {
    host: &'a HostClient,
    id: SubchannelId,
    /// What it runs on, for messages.
    device: &'a str,
    /// Statuses that did not end it.
    earlier: Vec<Irb>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.host.running.lock().remove(&self.id.number());
    }
}

impl Running<'_> {
    /// Enables the subchannel, and takes what is pending.
    fn enable(&mut self) -> Result<()> {
        let device = self.device;
        for _ in 0..ATTEMPTS {
            let enabled = enable(&mut self.host.remote.lock(), self.id);
            match enabled {
                Ok(()) => return self.take().map(drop),
                Err(EnableError::Refused(Refusal::StatusPending)) => {
                    self.take()?;
                }
                Err(EnableError::Refused(refusal)) => {
                    bail!("{device} cannot be enabled: {refusal}")
                }
                Err(EnableError::NotOperational(wrong)) => bail!("{device}: {wrong}"),
            }
        }
        bail!("{device} cannot be enabled")
    }

    /// Takes the status that is pending; the final one of a program, or adds it to the others.
    fn take(&mut self) -> Result<Option<Irb>> {
        let tested = {
            let mut remote = self.host.remote.lock();
            if !remote.is_pending(self.id) {
                return Ok(None);
            }
            remote.test(self.id)
        };
        let Ok(Tested::Status(irb)) = tested else {
            return Ok(None);
        };
        if irb.scsw.ended() && !irb.scsw.function().is_empty() {
            return Ok(Some(irb));
        }
        if self.earlier.len() < MAX_EARLIER {
            self.earlier.push(irb);
        }
        Ok(None)
    }

    fn start(&mut self, orb: &Orb) -> Result<()> {
        let mut refused = Refusal::StatusPending;
        for _ in 0..ATTEMPTS {
            // SAFETY: the program and its data lie in this subchannel's part of the program window, which is memory of
            // the pool: it outlives the process, and a subchannel has one program at a time.
            let started = unsafe { self.host.remote.lock().start(self.id, orb) };
            match started {
                Ok(()) => return Ok(()),
                Err(Refusal::StatusPending) => {
                    let taken = self.take()?;
                    self.earlier.extend(taken);
                }
                Err(refusal) => {
                    refused = refusal;
                    break;
                }
            }
        }
        bail!("{} does not start the program: {refused}", self.device)
    }

    /// The status that ends the program; none when it was cancelled.
    fn wait(&mut self, generation: u32, limit: Duration) -> Result<Option<Irb>> {
        let (host, seconds) = (self.host, limit.as_secs());
        let began = Instant::now();
        let mut cleared: Option<Instant> = None;
        loop {
            if let Some(irb) = self.take()? {
                let by_us = irb.scsw.function().contains(FunctionControl::CLEAR);
                if cleared.is_some() && by_us {
                    bail!("the program did not end within {seconds} s and was cleared");
                }
                return Ok(Some(irb));
            }
            let job = host.running.lock().get(&self.id.number()).copied();
            if job.is_some_and(|job| job.cancelled) {
                return Ok(None);
            }
            if host.generation.load() != generation {
                bail!("the appliance was started anew while the program ran: how far it came is not known");
            }
            match cleared {
                None if began.elapsed() > limit => {
                    let done = host.remote.lock().clear(self.id);
                    done.map_err(|wrong| anyhow!("{} cannot be cleared: {wrong}", self.device))?;
                    cleared = Some(Instant::now());
                }
                Some(since) if since.elapsed() > CLEAR_LIMIT => {
                    bail!("the program did not end within {seconds} s, and not when it was cleared either")
                }
                _ => std::thread::sleep(TICK),
            }
        }
    }
}
