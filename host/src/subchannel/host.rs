//! The daemon as a client of the appliance: its own virtual subchannels, driven for the commands of people.
//!
//! # Rules
//!
//! * One request to the area at a time, under a lock that is not held while a program runs: so it can be halted.
//! * One program at a time on a subchannel. Its CCWs and data lie in the subchannel's own part of the program window.
//! * Every wait has an end. A program that takes longer than it was given is cleared.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure, Context, Result};
use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, DeviceNumber, FunctionControl, Irb, Orb,
    OrbFlags, PmcwFlags, Refusal, Schib, SubchannelId, SubchannelStatus, Tested,
};
use vcss::control::{self, Life};
use vcss::{AreaError, Remote, Wake, Word};
use window::{ClientAddress, Window};

use super::program::{Program, MAX_CCWS};
use super::{Data, Function, IrbView, Outcome, SchibView};
use crate::areas::{self, Areas, HOST_PROGRAM_BYTES};
use crate::config::{parse_device, Config};
use crate::doorbell::BellHandle;

/// How long the appliance may take for one instruction.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a program that is cleared may take to end.
const CLEAR_LIMIT: Duration = Duration::from_secs(3);
/// How often a status word is looked at.
const TICK: Duration = Duration::from_micros(500);
/// How often START and MODIFY are tried when status comes in between.
const ATTEMPTS: u32 = 8;
/// Statuses that are reported with an outcome, at most.
const MAX_EARLIER: usize = 32;
/// Where data begins in a subchannel's part of the program window.
const DATA: u32 = 4096;

/// After which the residual count says nothing.
const CHECKS: SubchannelStatus = SubchannelStatus::PCI
    .union(SubchannelStatus::INCORRECT_LENGTH)
    .complement();

const _: () = assert!(MAX_CCWS * size_of::<Ccw1>() <= DATA as usize);

/// How the daemon gets the appliance's attention for its own area.
#[derive(Debug)]
struct PollWait {
    bell: BellHandle,
    number: usize,
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

/// The daemon's virtual channel subsystem.
#[derive(Debug)]
pub struct HostClient {
    pub(super) areas: Areas,
    pub(super) names: Names,
    pub(super) bell: BellHandle,
    /// Disks whose subchannels are lent.
    pub(super) lent: Mutex<HashSet<usize>>,
    remote: Mutex<Remote<'static, PollWait>>,
    generation: Word<'static>,
    /// Subchannels with a program.
    running: Mutex<HashMap<u16, Job>>,
}

/// What clients and disks are called, for messages.
#[derive(Debug)]
pub(super) struct Names {
    clients: Vec<String>,
    pub(super) disks: Vec<String>,
}

/// What is known of a program that runs.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// CCWs in it.
    ccws: usize,
    cancelled: bool,
}

/// How a program ended, and where it was.
pub(super) struct Ended {
    /// None when it was cancelled.
    pub(super) irb: Option<Irb>,
    earlier: Vec<Irb>,
    pub(super) base: u32,
    pub(super) data: Vec<Data>,
}

/// A program that runs, until it is dropped.
struct Running<'a> {
    client: &'a HostClient,
    id: SubchannelId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.client.running).remove(&self.id.number());
    }
}

impl HostClient {
    /// The client of the daemon's own area.
    pub fn new(config: &Config, areas: &Areas, bell: BellHandle) -> Result<Self, AreaError> {
        let wait = PollWait {
            bell: bell.clone(),
            number: areas.clients.len() + 1,
            began: Instant::now(),
        };
        Ok(Self {
            names: Names {
                clients: config.clients.iter().map(|it| it.name.clone()).collect(),
                disks: config.disks.iter().map(|it| it.name.clone()).collect(),
            },
            generation: areas::generation(&areas.host.area)?,
            remote: Mutex::new(Remote::new(areas.host.area.clone(), wait)),
            areas: areas.clone(),
            bell,
            lent: Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// A subchannel as STORE SUBCHANNEL shows it.
    pub fn schib(&self, device: &str) -> Result<SchibView> {
        let id = self.find(device)?;
        Ok(SchibView::new(device.into(), &self.store(device, id)?))
    }

    /// One instruction that acts on what a subchannel is doing. Before a program of ours is resumed, the first suspend flag
    /// that is left in it is taken away: else it would be suspended there again.
    pub fn instruct(&self, device: &str, function: Function) -> Result<()> {
        let id = self.find(device)?;
        if function == Function::Resume {
            self.let_go_on(id)?;
        }
        let mut remote = lock(&self.remote);
        let answer = match function {
            Function::Halt => remote.halt(id),
            Function::Clear => remote.clear(id).map_err(|_| Refusal::NotOperational),
            Function::Cancel => remote.cancel(id),
            Function::Resume => remote.resume(id),
        };
        drop(remote);
        answer.map_err(|refusal| anyhow!("{} {device}: {refusal}", function.name()))?;
        if function == Function::Cancel {
            // A start that is cancelled gives no status.
            if let Some(job) = lock(&self.running).get_mut(&id.number()) {
                job.cancelled = true;
            }
        }
        Ok(())
    }

    fn let_go_on(&self, id: SubchannelId) -> Result<()> {
        let Some(job) = lock(&self.running).get(&id.number()).copied() else {
            return Ok(());
        };
        let (window, at, _) = self.part(id);
        for number in 0..job.ccws {
            let place = ClientAddress::new(at + (number * size_of::<Ccw1>()) as u64);
            let mut ccw: Ccw1 = window.read(place)?;
            if ccw.flags().contains(CcwFlags::SUSPEND) {
                ccw.flags &= !CcwFlags::SUSPEND.bits();
                window.write(place, &ccw)?;
                break;
            }
        }
        Ok(())
    }

    /// Runs a channel program to its end.
    pub fn run(&self, device: &str, program: &Program, limit: Duration) -> Result<Outcome> {
        let ended = self.run_on(self.find(device)?, device, program, limit)?;
        let view = |irb| IrbView::new(irb, ended.base);
        Ok(Outcome {
            device: device.into(),
            irb: ended.irb.as_ref().map(view),
            earlier: ended.earlier.iter().map(view).collect(),
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
        match lock(&self.running).entry(id.number()) {
            Entry::Occupied(_) => {
                bail!("a program runs on {device}: halt or clear it, or wait for its end")
            }
            Entry::Vacant(place) => place.insert(Job {
                ccws: program.ccws.len(),
                cancelled: false,
            }),
        };
        let running = Running { client: self, id };
        let mut earlier = Vec::new();
        self.enable(device, id, &mut earlier)?;
        let generation = self.generation.load();
        let orb = self.write(id, program)?;
        self.start(device, id, &orb, &mut earlier)?;
        let base = orb.program.get();
        let irb = self.wait(device, &running, generation, limit, &mut earlier)?;
        let data = irb.map(|irb| self.read_back(id, program, &irb));
        Ok(Ended {
            irb,
            earlier,
            base,
            data: data.transpose()?.unwrap_or_default(),
        })
    }

    /// The appliance serves.
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
        for index in 0..self.areas.control.count::<control::Device>() {
            let entry: control::Device = self.areas.control.read(index)?;
            if entry.subchannel.get() == 0 {
                break;
            }
            let number = DeviceNumber {
                set: entry.set,
                number: entry.device.get(),
            };
            if number == wanted {
                return self.ours(number, &entry);
            }
            known.push(number.to_string());
        }
        bail!(
            "the appliance has no device {wanted}; it has {}",
            known.join(", ")
        )
    }

    fn ours(&self, number: DeviceNumber, entry: &control::Device) -> Result<SubchannelId> {
        if let Some(disk) = self.names.disks.get(usize::from(entry.disk.get())) {
            bail!("{number} is disk \"{disk}\": the appliance's own driver uses it; to administer it, name it \"{disk}\"");
        }
        let client = usize::from(entry.client.get());
        if let Some(client) = self.names.clients.get(client) {
            bail!("{number} belongs to client \"{client}\"");
        }
        if client != self.names.clients.len() {
            bail!("{number} is not passed through: the appliance uses it itself, or has more devices than it can pass on");
        }
        SubchannelId::new(0, entry.index.get()).context("the area is damaged")
    }

    fn store(&self, device: &str, id: SubchannelId) -> Result<Schib> {
        let stored = lock(&self.remote).store(id);
        stored.map_err(|wrong| anyhow!("{device}: {wrong}"))
    }

    /// Enabled, with sense data in the status of a unit check; without what is pending.
    fn enable(&self, device: &str, id: SubchannelId, earlier: &mut Vec<Irb>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let mut schib = self.store(device, id)?;
            if schib.pmcw.flags().contains(PmcwFlags::ENABLED) {
                return self.take(id, earlier).map(drop);
            }
            schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
            schib.pmcw.set_concurrent_sense(true);
            let modified = lock(&self.remote).modify(id, &schib);
            match modified {
                Ok(()) => {}
                Err(Refusal::StatusPending) => drop(self.take(id, earlier)?),
                Err(refusal) => bail!("{device} cannot be enabled: {refusal}"),
            }
        }
        bail!("{device} cannot be enabled")
    }

    /// Takes the status that is pending; the final one of a program, or adds it to the others.
    fn take(&self, id: SubchannelId, earlier: &mut Vec<Irb>) -> Result<Option<Irb>> {
        let tested = {
            let mut remote = lock(&self.remote);
            if !remote.is_pending(id) {
                return Ok(None);
            }
            remote.test(id)
        };
        let Ok(Tested::Status(irb)) = tested else {
            return Ok(None);
        };
        let is_final = irb.scsw.ended() && !irb.scsw.function().is_empty();
        if is_final {
            return Ok(Some(irb));
        }
        if earlier.len() < MAX_EARLIER {
            earlier.push(irb);
        }
        Ok(None)
    }

    fn start(
        &self,
        device: &str,
        id: SubchannelId,
        orb: &Orb,
        earlier: &mut Vec<Irb>,
    ) -> Result<()> {
        let mut refused = Refusal::StatusPending;
        for _ in 0..ATTEMPTS {
            // SAFETY: the program and its data lie in this subchannel's part of the program window, which is memory of
            // the pool: it outlives the process, and a subchannel has one program at a time.
            let started = unsafe { lock(&self.remote).start(id, orb) };
            match started {
                Ok(()) => return Ok(()),
                Err(Refusal::StatusPending) => {
                    if let Some(irb) = self.take(id, earlier)? {
                        earlier.push(irb);
                    }
                }
                Err(refusal) => {
                    refused = refusal;
                    break;
                }
            }
        }
        bail!("{device} does not start the program: {refused}")
    }

    /// The status that ends the program; none when it was cancelled.
    fn wait(
        &self,
        device: &str,
        running: &Running<'_>,
        generation: u32,
        limit: Duration,
        earlier: &mut Vec<Irb>,
    ) -> Result<Option<Irb>> {
        let began = Instant::now();
        let mut cleared: Option<Instant> = None;
        loop {
            if let Some(irb) = self.take(running.id, earlier)? {
                let by_us = irb.scsw.function().contains(FunctionControl::CLEAR);
                if cleared.is_some() && by_us {
                    bail!(
                        "the program did not end within {} s and was cleared",
                        limit.as_secs()
                    );
                }
                return Ok(Some(irb));
            }
            let job = lock(&self.running).get(&running.id.number()).copied();
            if job.is_some_and(|job| job.cancelled) {
                return Ok(None);
            }
            if self.generation.load() != generation {
                bail!("the appliance was started anew while the program ran: how far it came is not known");
            }
            match cleared {
                None if began.elapsed() > limit => {
                    lock(&self.remote)
                        .clear(running.id)
                        .map_err(|wrong| anyhow!("{device} cannot be cleared: {wrong}"))?;
                    cleared = Some(Instant::now());
                }
                Some(since) if since.elapsed() > CLEAR_LIMIT => bail!(
                    "the program did not end within {} s, and not when it was cleared either",
                    limit.as_secs()
                ),
                _ => std::thread::sleep(TICK),
            }
        }
    }

    /// The subchannel's part of the area's program part, and of the program window.
    fn part(&self, id: SubchannelId) -> (&'static Window, u64, u32) {
        let start = u32::from(id.number()) * HOST_PROGRAM_BYTES;
        let area = areas::program_offset(&self.areas.host.area);
        (self.areas.host.window, area + u64::from(start), start)
    }

    fn write(&self, id: SubchannelId, program: &Program) -> Result<Orb> {
        let (window, at, start) = self.part(id);
        ensure!(
            (1..=MAX_CCWS).contains(&program.ccws.len()),
            "a program has 1 to {MAX_CCWS} CCWs"
        );
        let mut next = DATA;
        for (number, step) in program.ccws.iter().enumerate() {
            let address = match step.target {
                Some(target) => start.wrapping_add(target),
                None => start + next,
            };
            let flags = CcwFlags::from_bits_retain(step.flags);
            let ccw = Ccw1::new(CommandCode(step.command), flags, step.count, address);
            let place = at + (number * size_of::<Ccw1>()) as u64;
            window.write(ClientAddress::new(place), &ccw)?;
            if step.target.is_none() {
                let room = u32::from(step.count).next_multiple_of(8);
                ensure!(
                    next + room <= HOST_PROGRAM_BYTES,
                    "the program's data does not fit: at most {} bytes",
                    HOST_PROGRAM_BYTES - DATA
                );
                let data = ClientAddress::new(at + u64::from(next));
                window.fill(data, u64::from(step.count), 0)?;
                let length = step.data.len().min(usize::from(step.count));
                window.write_bytes(data, &step.data[..length])?;
                next += room;
            }
        }
        let mut flags = OrbFlags::empty();
        flags.set(OrbFlags::PREFETCH, !program.no_prefetch);
        flags.set(OrbFlags::SUSPEND_CONTROL, program.suspend);
        let paths = program.lpm.unwrap_or(0xFF);
        Ok(Orb::format_1(0, start, flags, paths))
    }

    /// What was read, up to the CCW at which the program ended.
    fn read_back(&self, id: SubchannelId, program: &Program, irb: &Irb) -> Result<Vec<Data>> {
        let (window, at, start) = self.part(id);
        let beyond = irb.scsw.program.get().wrapping_sub(start) as usize / size_of::<Ccw1>();
        let mut data = Vec::new();
        let mut next = DATA;
        for (number, step) in program.ccws.iter().enumerate().take(beyond) {
            if step.target.is_some() {
                continue;
            }
            let room = u32::from(step.count).next_multiple_of(8);
            let left = match number + 1 == beyond {
                true if irb.scsw.subchannel().intersects(CHECKS) => step.count,
                true => irb.scsw.count.get().min(step.count),
                false => 0,
            };
            if step.reads() && left < step.count {
                let mut bytes = vec![0; usize::from(step.count - left)];
                window.read_bytes(ClientAddress::new(at + u64::from(next)), &mut bytes)?;
                data.push(Data {
                    ccw: number,
                    command: format!("{:02x}", step.command),
                    bytes,
                });
            }
            next += room;
        }
        Ok(data)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
