//! The appliance at work: bring-up, the event loop, and the orderly end.
//!
//! # The loop
//!
//! One loop, run to completion, no handler that does work. While requests come or are in flight it polls
//! the rings with notifications suppressed; after [`Tuning::linger_us`] without work it says that it
//! sleeps, looks once more, and lies down in the wait state until an interruption.
//!
//! | module | what it is |
//! |---|---|
//! | `clients` | clients put together, and tried again when that fails |
//! | `disks` | disks opened, and tried again when that fails |
//! | `owners` | which subchannel is whose at bring-up |
//! | `reports` | channel reports: devices that go, come, or come back |
//! | `unknown` | devices that have not said what they are |
//! | `suspects` | what it did something for when it died |
//!
//! # Limits
//!
//! One CPU. A wake-up that was lost is healed by a timer, once a second, and counted.

use liballoc::boxed::Box;
use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::control::{Counters, Life};

use crate::boot::death;
use crate::control::{Conditions, Control, ControlError, Exported, Storage};
use crate::css::{within, Patience, Platform, Wake};
use crate::css::{Device, Inventory};
use crate::driver::absent::Absent;
use crate::driver::block::{BlockDevice, BlockStatus, Operation, Token};
use crate::driver::virtio_ccw::Settings;
use crate::driver::virtio_serial::VirtioSerial;
use crate::event_loop::loans::Loans;
use crate::proxy::block_service::VirtioBlk;
use crate::proxy::ctx::Ctx;
use crate::proxy::Proxy;

use self::clients::Parts;
use self::disks::{OwnedDisk, Trial};
use self::owners::{open_link, Unassigned};
use self::suspects::Suspects;
use self::unknown::Unknown;

mod clients;
mod disks;
pub mod loans;
mod owners;
mod reports;
mod suspects;
mod unknown;

/// How long a lost wake-up can go unnoticed.
const HEAL_US: u64 = 1_000_000;
/// Turns of the loop between two looks at orders, and two publishings of counters.
const HOUSEKEEPING_TURNS: u64 = 1024;
/// The token of the flush at the end, which is no client's.
const LAST_FLUSH: Token = Token(u32::MAX);
/// How long disks may take to be opened before anybody is served.
const BRING_UP_US: u64 = 5_000_000;
/// How long one of them may take of that.
const ONE_DISK_US: u64 = 2_000_000;
/// Storage that is left to everything else when a disk has been opened.
const SPARE_BYTES: usize = 128 * 1024;
/// How long the end may take to let requests end.
const STOP_US: u64 = 20_000_000;

/// What the command line can change.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Interruption subclass and kind of the devices' interruptions.
    pub settings: Settings,
    /// How long to poll after the last work, nothing being in flight.
    pub linger_us: u64,
    /// How long to poll for requests in flight before sleeping until their interruption.
    pub patience_us: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            settings: Settings {
                isc: 3,
                adapter: true,
            },
            linger_us: 1000,
            patience_us: 0,
        }
    }
}

/// An export: a virtual subchannel of a client, and what it stands for.
#[derive(Debug)]
struct Spec {
    client: u16,
    /// The virtual subchannel's number, and its device number.
    place: u16,
    number: u16,
    what: Exported,
}

/// The appliance, up.
pub struct Appliance {
    inventory: Inventory,
    control: Control,
    conditions: Conditions,
    exports: Vec<Spec>,
    /// The disks' drivers, and what else is known of each.
    disks: Vec<Box<dyn BlockDevice>>,
    owned: Vec<OwnedDisk>,
    suspects: Suspects,
    unknown: Unknown,
    /// The tries to put each client together.
    clients: Vec<Trial>,
    proxy: Proxy,
    link: VirtioSerial,
    loans: Loans,
    tuning: Tuning,
    turns: u64,
    /// No disk is tried before.
    next_try: Tod,
}

/// What the control area names: exports and those under suspicion, disks, the link, clients, and why a client could not be put together.
type Assembly = (
    Vec<Spec>,
    Suspects,
    Vec<OwnedDisk>,
    VirtioSerial,
    Proxy,
    Vec<Option<String>>,
);

impl core::fmt::Debug for Appliance {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Appliance")
            .field("control", &self.control)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Appliance {
    /// Brings up what the control area at the start of `storage` names: the link, clients, disks. A client or a disk that
    /// cannot be brought up has failed; it is tried again later.
    ///
    /// # Errors
    ///
    /// What nothing can be served without does not work; the control area, if there is one, then says FAILED.
    pub fn bring_up(
        platform: &mut dyn Platform,
        inventory: Inventory,
        storage: Storage,
        tuning: Tuning,
    ) -> Result<Self, String> {
        let mut control = Control::open(storage).map_err(|error| error.to_string())?;
        let mut conditions = control.conditions();
        let brought = Self::assemble(platform, &inventory, &control, &mut conditions, tuning);
        let (exports, suspects, owned, link, proxy, failed) = brought.inspect_err(|_| {
            control.set_life(Life::Failed);
        })?;
        for (place, device) in inventory.devices().iter().enumerate() {
            control.show_device(place, device, None);
        }
        control.end_devices();
        let mut this = Self {
            conditions,
            suspects,
            unknown: Unknown::new(),
            loans: Loans::new(control.loans(), tuning.settings.isc),
            disks: owned
                .iter()
                .map(|_| Box::new(Absent::new(false)) as Box<dyn BlockDevice>)
                .collect(),
            clients: failed.iter().map(|_| Trial::new()).collect(),
            control,
            exports,
            owned,
            proxy,
            link,
            tuning,
            inventory,
            turns: 0,
            next_try: platform.now(),
        };
        let now = platform.now();
        for (number, failed) in (0..).zip(failed) {
            match failed {
                None => this.client_works(number),
                Some(reason) => this.client_failed(number, now, now, reason),
            }
        }
        for index in 0..this.disks.len() {
            let took = platform.now().micros_since(now);
            let each = BRING_UP_US.saturating_sub(took).min(ONE_DISK_US);
            if each > 0 {
                let until = platform.now().plus_micros(each);
                within(platform, Patience { each, until }, |platform| {
                    this.try_disk(platform, index);
                });
            } else {
                // Others do not wait for it.
                this.disk_put_off(index, now);
            }
        }
        Ok(this)
    }

    fn assemble(
        platform: &mut dyn Platform,
        inventory: &Inventory,
        control: &Control,
        conditions: &mut Conditions,
        tuning: Tuning,
    ) -> Result<Assembly, String> {
        let words = |error: ControlError| error.to_string();
        let devices = inventory.devices();
        let link = open_link(platform, devices, tuning)?;
        let disks = control.disks().map_err(words)?;
        let numbers: Vec<_> = disks.iter().map(|&(_, number)| number).collect();
        let exports = specs(control.exports().map_err(words)?);
        let note = control.note();
        let suspects = Suspects::find(&exports, note.as_ref(), conditions, platform.now());
        if let Some((note, _)) = &note {
            note.forget_death();
            death::tell_in(note.death());
        }
        let mut trace = control.recorder();
        let mut free = Unassigned::new(devices, &numbers, link.id(), &exports, Vec::new());
        let mut clients = Vec::new();
        let mut failed = Vec::new();
        for number in 0..control.client_count() {
            let client = clients::assemble(
                number,
                &mut Parts {
                    ctx: Ctx {
                        trace: trace.as_mut(),
                        note: note.as_ref().map(|(note, _)| *note),
                        ..Ctx::new(platform)
                    },
                    control,
                    exports: &exports,
                    devices,
                    disks: &numbers,
                    free: &mut free,
                    suspects: &suspects,
                    isc: tuning.settings.isc,
                },
            );
            failed.push(match client {
                Ok(client) => {
                    clients.push(client);
                    None
                }
                Err(error) => Some(error),
            });
        }
        let owned = disks.into_iter();
        let owned = owned.map(|(name, number)| OwnedDisk::new(name, number));
        let mut proxy = Proxy::new(clients, &[], trace);
        if let Some((note, cut)) = note {
            proxy.note_requests(note, cut, platform);
        }
        Ok((exports, suspects, owned.collect(), link, proxy, failed))
    }

    /// Serves until the daemon orders the end.
    ///
    /// `started` is the time of the first instruction. `idle_work` is given what the sleep ended with, for what is not the
    /// appliance's own: the console.
    pub fn run(
        &mut self,
        platform: &mut dyn Platform,
        started: Tod,
        image_bytes: u64,
        heap_bytes: u64,
        mut idle_work: impl FnMut(Wake),
    ) {
        let now = platform.now();
        let about = self.control.about();
        about.boot_us.set(now.micros_since(started) as u32);
        about.serving_tod.set(now.as_micros());
        about.image_bytes.set(image_bytes);
        about.heap_bytes.set(heap_bytes);
        log::info!("serving after {} us", now.micros_since(started));
        // Who looks as soon as it serves sees whose what is.
        self.show();
        if self.control.set_life(Life::Serving) {
            self.wake(platform);
        }
        self.proxy.disarm_wakeup();
        let mut last_work = now;
        let mut deadline = now.plus_micros(HEAL_US);
        loop {
            self.turns += 1;
            if self.proxy.is_expecting() {
                self.drain(platform);
            }
            let turn = self.proxy.turn(&mut self.disks, platform, true);
            if turn.wake {
                self.wake(platform);
            }
            if self.turns.is_multiple_of(HOUSEKEEPING_TURNS) {
                self.show();
                // What a loop that never sleeps would never hear of.
                self.drain(platform);
                self.reports(platform);
                if self.keep_house(platform) {
                    break;
                }
            }
            if turn.worked {
                last_work = platform.now();
                continue;
            }
            let patience = if self.proxy.in_flight() > 0 {
                self.tuning.patience_us
            } else {
                self.tuning.linger_us
            };
            if platform.now().micros_since(last_work) < patience {
                continue;
            }
            self.show();
            // The clock comparator is left alone as long as it will do.
            if platform.now().plus_micros(HEAL_US / 2) > deadline {
                deadline = platform.now().plus_micros(HEAL_US);
            }
            self.sleep(platform, deadline, &mut idle_work);
            if self.keep_house(platform) {
                break;
            }
            last_work = platform.now();
        }
        self.stop(platform);
    }

    /// Sleeps until an interruption, the slow timer or the deadline of something in progress, unless there is work.
    fn sleep(&mut self, platform: &mut dyn Platform, heal: Tod, idle_work: &mut impl FnMut(Wake)) {
        let mut waiting = self.control.arm_wakeup();
        for disk in &mut self.disks {
            waiting |= disk.interrupts(true);
        }
        waiting |= self.link.interrupts(true);
        waiting |= self.proxy.arm_wakeup();
        let mut wake = None;
        if !waiting {
            let sleeps = &mut self.control.about().sleeps;
            sleeps.set(sleeps.get() + 1);
            let deadline = heal.min(self.proxy.deadline(platform.now()));
            let reason = platform.wait(Some(deadline));
            // First of all: after a fatal machine check nothing else is to be done.
            idle_work(reason);
            if matches!(reason, Wake::Deadline) && deadline == heal && self.is_late() {
                let healed = &mut self.control.about().healed;
                healed.set(healed.get() + 1);
            }
            wake = Some(reason);
        }
        self.drain(platform);
        if matches!(wake, Some(Wake::MachineCheck(_))) {
            self.reports(platform);
        }
        self.link.take_wakes(platform);
        for disk in &mut self.disks {
            disk.interrupts(false);
        }
        self.link.interrupts(false);
        self.control.disarm_wakeup();
        self.proxy.disarm_wakeup();
    }

    /// What is done now and then: orders, loans, and tries of what has failed. Returns whether the daemon wants the end.
    fn keep_house(&mut self, platform: &mut dyn Platform) -> bool {
        // A ring that comes after this is heard next time, so no order that came with one is missed.
        self.control.poll_requests();
        self.proxy.serve_nobody();
        self.lend(platform);
        self.tend_suspects(platform);
        self.tend_disks(platform);
        self.tend_clients(platform);
        self.tend_unknown(platform);
        self.control.is_to_stop()
    }

    /// Takes all pending interruptions to whom they are for.
    fn drain(&mut self, platform: &mut dyn Platform) {
        while let Some(interruption) = platform.pending_interruption() {
            let mut taken = self.link.interruption(platform, &interruption);
            for disk in &mut self.disks {
                taken |= disk.interruption(platform, &interruption);
            }
            taken |= self.proxy.interruption(platform, &interruption);
            if !taken {
                log::trace!("{interruption:?}");
            }
        }
    }

    /// Lends disks' subchannels, and takes them back.
    fn lend(&mut self, platform: &mut dyn Platform) {
        let Self {
            disks,
            owned,
            loans,
            proxy,
            inventory,
            ..
        } = self;
        let owned = |index: usize| {
            let owned = owned.get(index)?;
            let mut all = inventory.devices().iter();
            let is_it =
                |device: &&Device| owned.id == Some(device.id) && device.number == owned.number;
            Some((owned.number, all.find(is_it)))
        };
        let back = loans.turn(disks, owned, proxy, platform);
        if let Some(index) = back {
            // An administrator may have mended it.
            if self.disks.get(index).is_some_and(|disk| disk.is_broken()) {
                self.try_disk_soon(index, platform.now());
            }
        }
    }

    /// After the timer: whether there is work that nobody announced.
    fn is_late(&mut self) -> bool {
        let mut waiting = self.proxy.arm_wakeup();
        for disk in &mut self.disks {
            waiting |= disk.interrupts(true);
        }
        waiting
    }

    fn wake(&mut self, platform: &mut dyn Platform) {
        let sent = &mut self.control.about().wakes_sent;
        sent.set(sent.get() + 1);
        self.link.send_wake(platform);
    }

    /// Publishes the counters.
    fn show(&mut self) {
        self.control.about().turns.set(self.turns);
        let counters = self.exports.iter().map(|export| {
            let client = self.proxy.client(export.client);
            let device = client.and_then(|client| client.device(export.place));
            device.map_or_else(Counters::default, counters)
        });
        self.control.show(counters);
        self.show_disks();
        self.control.show_passed_through(self.proxy.drivers());
    }

    /// Publishes what the disks' drivers have done to get requests through, where that was anything.
    fn show_disks(&mut self) {
        for (disk, owned) in self.disks.iter_mut().zip(&mut self.owned) {
            let done = disk.recoveries();
            let Some(id) = owned.id.filter(|_| done != owned.recoveries) else {
                continue;
            };
            owned.recoveries = done;
            self.control.show_disk(id, &done);
            while let Some(record) = disk.incident() {
                self.proxy.record(&record);
            }
        }
    }

    /// Lets requests end, flushes every disk, and says so.
    fn stop(&mut self, platform: &mut dyn Platform) {
        log::info!("stopping");
        if self.control.set_life(Life::Stopping) {
            self.wake(platform);
        }
        let deadline = platform.now().plus_micros(STOP_US);
        self.proxy.offline(platform);
        while (self.proxy.in_flight() > 0 || self.proxy.is_quiescing()) && platform.now() < deadline
        {
            self.drain(platform);
            if self.proxy.turn(&mut self.disks, platform, false).wake {
                self.wake(platform);
            }
        }
        if self.proxy.in_flight() > 0 {
            log::error!("{} requests did not end", self.proxy.in_flight());
        }
        for disk in &mut self.disks {
            if !disk.geometry().flush {
                continue;
            }
            if let Err(error) = disk.submit(0, Operation::Flush, &[], &[], LAST_FLUSH) {
                log::error!("last flush: {error}");
                continue;
            }
            disk.kick(platform);
            while platform.now() < deadline {
                match disk.poll() {
                    Some(done) if done.token == LAST_FLUSH => {
                        if done.status != BlockStatus::Ok {
                            log::error!("last flush: {:?}", done.status);
                        }
                        break;
                    }
                    Some(_) | None => {}
                }
            }
        }
        self.show();
        log::info!("stopped");
        if self.control.set_life(Life::Stopped) {
            self.wake(platform);
        }
    }
}

/// The exports, each with the number of its virtual subchannel: a client's have theirs in the order in which they stand.
fn specs(exports: Vec<(u16, u16, Exported)>) -> Vec<Spec> {
    let mut all: Vec<Spec> = Vec::new();
    for (client, number, what) in exports {
        let place = all.iter().filter(|it| it.client == client).count() as u16;
        all.push(Spec {
            client,
            place,
            number,
            what,
        });
    }
    all
}

fn counters(device: &VirtioBlk) -> Counters {
    let counters = device.counters();
    Counters {
        reads: counters.reads.into(),
        writes: counters.writes.into(),
        flushes: counters.flushes.into(),
        discards: counters.discards.into(),
        bytes_read: counters.bytes_read.into(),
        bytes_written: counters.bytes_written.into(),
        errors: counters.errors.into(),
        in_flight: u64::from(device.in_flight()).into(),
    }
}

#[cfg(test)]
mod tests;
