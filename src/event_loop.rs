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
//! | `owners` | which subchannel is whose at bring-up |
//! | `reports` | channel reports: devices that go, come, or come back |
//!
//! # Limits
//!
//! One CPU. A wake-up that was lost is healed by a timer, once a second, and counted.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use channel::SubchannelId;
use s390x::clock::Tod;
use vcss::control::{Counters, Life};

use crate::control::{Control, Exported, Storage};
use crate::css::{Device, Inventory};
use crate::driver::block::{BlockDevice, BlockStatus, Operation, Recoveries, Token};
use crate::driver::virtio_ccw::Settings;
use crate::driver::virtio_serial::VirtioSerial;
use crate::driver::{disk, Platform, Wake};
use crate::loans::Loans;
use crate::proxy::client::{Stands, Surroundings};
use crate::proxy::Proxy;

use self::owners::{find, lendable, open_link, Free};

mod owners;
mod reports;

/// How long a lost wake-up can go unnoticed.
const HEAL_US: u64 = 1_000_000;
/// Turns of the loop between two looks at orders, and two publishings of counters.
const HOUSEKEEPING_TURNS: u32 = 1024;
/// The token of the flush at the end, which is no client's.
const LAST_FLUSH: Token = Token(u32::MAX);
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

/// What the control area names, opened: the disks, their subchannels, and the clients they are for.
type Assembly = (Vec<Box<dyn BlockDevice>>, Vec<SubchannelId>, Proxy);

/// The appliance, up.
pub struct Appliance {
    inventory: Inventory,
    control: Control,
    disks: Vec<Box<dyn BlockDevice>>,
    /// The disks' subchannels.
    ids: Vec<SubchannelId>,
    /// What was shown of them.
    recoveries: Vec<Recoveries>,
    proxy: Proxy,
    link: VirtioSerial,
    loans: Loans,
    tuning: Tuning,
}

impl core::fmt::Debug for Appliance {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Appliance")
            .field("control", &self.control)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Appliance {
    /// Brings up what the control area at the start of `storage` names: disks, the link, clients.
    ///
    /// # Errors
    ///
    /// The first thing that does not work, in words; the control area then says FAILED.
    pub fn bring_up(
        platform: &mut dyn Platform,
        inventory: Inventory,
        storage: Storage,
        tuning: Tuning,
    ) -> Result<Self, String> {
        let devices = inventory.devices();
        let mut control = Control::open(storage).map_err(|error| error.to_string())?;
        let link = match open_link(platform, devices, tuning) {
            Ok(link) => link,
            Err(error) => {
                control.set_life(Life::Failed);
                return Err(error);
            }
        };
        match Self::assemble(platform, devices, &mut control, link.id(), tuning) {
            Ok((disks, ids, proxy)) => Ok(Self {
                loans: Loans::new(control.loans(), tuning.settings.isc),
                control,
                recoveries: disks.iter().map(|_| Recoveries::default()).collect(),
                disks,
                ids,
                proxy,
                link,
                tuning,
                inventory,
            }),
            Err(error) => {
                control.set_life(Life::Failed);
                Err(error)
            }
        }
    }

    fn assemble(
        platform: &mut dyn Platform,
        devices: &[Device],
        control: &mut Control,
        link: SubchannelId,
        tuning: Tuning,
    ) -> Result<Assembly, String> {
        let words = |error: &dyn core::fmt::Display| error.to_string();
        let mut disks: Vec<Box<dyn BlockDevice>> = Vec::new();
        let mut sizes = Vec::new();
        let mut ids = Vec::new();
        for (name, set, number) in control.disks().map_err(|error| words(&error))? {
            let device = devices
                .iter()
                .find(|device| device.number.set == set && device.number.number == number)
                .ok_or_else(|| format!("disk {name}: no device 0.{set:x}.{number:04x}"))?;
            let disk = disk::open(platform, device, tuning.settings)
                .map_err(|error| format!("disk {name} ({}): {error}", device.number))?;
            let geometry = disk.geometry();
            log::info!(
                "disk {name}: {} on {}, {} sectors, {} queues of {}",
                device.number,
                device.id,
                geometry.sectors,
                geometry.queues,
                geometry.queue_size
            );
            sizes.push((name, geometry.sectors));
            ids.push(device.id);
            disks.push(disk);
        }
        let mut clients = control.clients().map_err(|error| words(&error))?;
        let partition = |disk: usize, number| disks.get(disk)?.partition(number);
        let exports = control
            .exports(&sizes, partition)
            .map_err(|error| words(&error))?;
        let mut trace = control.recorder();
        let mut free = Free::new(devices, &ids, link, &exports);
        for (client, number, export) in exports {
            let client = clients.get_mut(client).ok_or("an export to no client")?;
            let (stands, device) = match export {
                Exported::Block(export) => {
                    let disk = disks.get(export.disk).ok_or("an export of no disk")?;
                    client
                        .add(number, export, disk.geometry())
                        .map_err(|error| format!("client {}: {error}", client.name))?;
                    continue;
                }
                Exported::PassThrough(owned) => (Stands::For(owned, number), find(devices, owned)),
                Exported::Any => (Stands::Any, free.next()),
                Exported::Lent(disk) => {
                    let id = ids.get(disk);
                    (Stands::Lent, id.and_then(|&id| lendable(devices, id)))
                }
            };
            let around = Surroundings {
                now: platform.now(),
                platform: &mut *platform,
                trace: trace.as_mut(),
            };
            client
                .add_pass_through(stands, device, tuning.settings.isc, around)
                .map_err(|error| format!("client {}: {error}", client.name))?;
        }
        for (place, device) in devices.iter().enumerate() {
            let disk = ids.iter().position(|&id| id == device.id);
            let disk = disk.and_then(|index| Some((index as u16, sizes.get(index)?.1)));
            control.show_device(place, device, disk);
        }
        control.end_devices();
        let proxy = Proxy::new(clients, &disks, trace);
        Ok((disks, ids, proxy))
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
        self.show(0);
        if self.control.set_life(Life::Serving) {
            self.wake(platform);
        }
        self.proxy.get_up();
        let mut last_work = now;
        let mut deadline = now.plus_micros(HEAL_US);
        let mut turns: u32 = 0;
        loop {
            turns = turns.wrapping_add(1);
            if self.proxy.is_expecting() {
                self.drain(platform);
            }
            let turn = self.proxy.turn(&mut self.disks, platform, true);
            if turn.wake {
                self.wake(platform);
            }
            if turns.is_multiple_of(HOUSEKEEPING_TURNS) {
                self.show(turns);
                // What a loop that never sleeps would never hear of.
                self.drain(platform);
                self.reports(platform);
                self.lend(platform);
                if self.control.is_to_stop() {
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
            self.show(turns);
            // The clock comparator is left alone as long as it will do.
            if platform.now().plus_micros(HEAL_US / 2) > deadline {
                deadline = platform.now().plus_micros(HEAL_US);
            }
            if let Some(wake) = self.sleep(platform, deadline) {
                idle_work(wake);
            }
            self.lend(platform);
            if self.control.is_to_stop() {
                break;
            }
            last_work = platform.now();
        }
        self.stop(platform);
    }

    /// Sleeps until an interruption, the slow timer or the deadline of something in progress, unless there is work.
    fn sleep(&mut self, platform: &mut dyn Platform, heal: Tod) -> Option<Wake> {
        let mut waiting = self.control.lie_down();
        for disk in &mut self.disks {
            waiting |= disk.interrupts(true);
        }
        waiting |= self.link.interrupts(true);
        waiting |= self.proxy.lie_down();
        let mut wake = None;
        if !waiting {
            let sleeps = &mut self.control.about().sleeps;
            sleeps.set(sleeps.get() + 1);
            let deadline = heal.min(self.proxy.deadline(platform.now()));
            let reason = platform.wait(Some(deadline));
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
        self.control.get_up();
        self.proxy.get_up();
        wake
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
        self.loans
            .turn(&mut self.disks, &self.ids, &mut self.proxy, platform);
    }

    /// After the timer: whether there is work that nobody announced.
    fn is_late(&mut self) -> bool {
        let mut waiting = self.proxy.lie_down();
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
    fn show(&mut self, turns: u32) {
        self.control.about().turns.set(u64::from(turns));
        let counters = self
            .proxy
            .clients()
            .iter()
            .flat_map(|client| client.subchannels())
            .map(|device| {
                let Some(device) = device else {
                    return Counters::default();
                };
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
            });
        self.control.show(counters);
        self.show_disks();
        self.control
            .show_passed_through(self.proxy.passed_through());
    }

    /// Publishes what the disks' drivers have done to get requests through, where that was anything.
    fn show_disks(&mut self) {
        let disks = self.disks.iter_mut().zip(&self.ids);
        for ((disk, &id), shown) in disks.zip(&mut self.recoveries) {
            let done = disk.recoveries();
            if done == *shown {
                continue;
            }
            *shown = done;
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
        self.show(0);
        log::info!("stopped");
        if self.control.set_life(Life::Stopped) {
            self.wake(platform);
        }
    }
}

#[cfg(test)]
mod tests;
