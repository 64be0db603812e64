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
//! | `configuration` | clients and disks that come, go and change while it serves |
//! | [`data_plane`] | all that is done for a request: a turn, and the sleep |
//! | `devices` | owned devices that go, come, or come back, or have not said what they are |
//! | `maintenance` | disks' subchannels in an administrator's hands |
//! | `paths` | the devices' channel paths |
//! | `publish` | what the control area says of the owned devices |
//! | `reports` | channel reports, in their order and a few at a time |
//! | `suspects` | what it did something for when it died |
//! | `view` | the appliance as the operator's console sees it |
//! | `tries` | disks opened and clients put together, and tried again when that fails |
//! | `watchdog` | the machine's own watchdog, kept from ending this as long as the loop comes round |
//!
//! # Limits
//!
//! One CPU. A wake-up that was lost is healed by a timer, once a second, and counted.

use liballoc::vec::Vec;

use channel::{DeviceNumber, IoInterruption};
use s390x::clock::Tod;
use thiserror::Error;
use vcss::control::{ExportKind, Life};

use crate::boot::death;
use crate::control::{Conditions, Control, ControlError, Exported, Storage, Subject, Table};
use crate::css::{within, Inventory, Patience, Platform, Wake};
use crate::driver::block::{BlockStatus, Operation, Token};
use crate::driver::disk::OwnedDisk;
use crate::driver::virtio_ccw::Settings;
use crate::driver::virtio_serial::{SerialError, VirtioSerial, LINK_PORT};
use crate::monitor::Operator;
use crate::proxy::block_service::VirtioBlk;
use crate::proxy::subchannel::passthrough::PassThrough;
use crate::proxy::Proxy;

use self::configuration::{Change, Stocks};
use self::data_plane::{Companion, DataPlane};
use self::devices::Unknown;
use self::paths::PathWatch;
use self::publish::Published;
use self::reports::Reports;
use self::suspects::Suspects;
use self::view::attend;
use self::watchdog::Watchdog;

mod configuration;
pub mod data_plane;
mod devices;
mod maintenance;
mod paths;
mod publish;
mod reports;
mod suspects;
mod tries;
mod view;
mod watchdog;

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

/// Without what nothing can be served.
#[derive(Debug, Error)]
pub enum BringUpError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("no virtio console device for the link to the host daemon")]
    NoLink,
    #[error("link ({0}): {1}")]
    Link(DeviceNumber, SerialError),
}

/// The appliance, up.
#[derive(Debug)]
pub struct Appliance {
    inventory: Inventory,
    control: Control,
    conditions: Conditions,
    /// What it serves by.
    table: Table,
    change: Option<Change>,
    /// Devices that a change under way gives to disks, or to clients by their numbers.
    awaited: Vec<DeviceNumber>,
    stocks: Stocks,
    plane: DataPlane,
    suspects: Suspects,
    unknown: Unknown,
    reports: Reports,
    path_watch: PathWatch,
    watchdog: Watchdog,
    link: VirtioSerial,
    published: Published,
    tuning: Tuning,
    turns: u64,
    /// No disk is tried before.
    next_try: Tod,
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
    ) -> Result<Self, BringUpError> {
        let mut control = Control::open(storage)?;
        let watchdog = Watchdog::arm(platform, control.watchdog_seconds());
        // What the life before has said of anybody is over, whatever comes of this.
        let mut conditions = control.conditions();
        // Before the entries: these may be changed meanwhile, and are looked at again then.
        let wanted = control.wanted_configuration();
        let former = control.former_configuration();
        control.about().configuration.set(former);
        let parts = Self::needed(platform, &inventory, &control, tuning.settings);
        let (link, disks, table) = parts.inspect_err(|_| {
            control.set_life(Life::Failed);
        })?;
        let note = control.note();
        let is_changing = wanted != former;
        let suspects = Suspects::find(
            table.exports(),
            is_changing,
            note.as_ref(),
            &mut conditions,
            platform.now(),
        );
        // At once: what it dies of from now on is of those who are here.
        control.begin_by(wanted);
        let mut proxy = Proxy::new(Vec::new(), &disks, control.recorder());
        if let Some((note, cut)) = note {
            note.forget_death();
            death::tell_in(note.death());
            proxy.clients.note_requests(note, cut, platform);
        }
        let mut this = Self {
            inventory,
            conditions,
            table,
            change: None,
            awaited: Vec::new(),
            stocks: Stocks::default(),
            plane: DataPlane { disks, proxy },
            suspects,
            unknown: Unknown::default(),
            reports: Reports::default(),
            path_watch: PathWatch::default(),
            watchdog,
            link,
            published: Published::default(),
            tuning,
            turns: 0,
            next_try: platform.now(),
            control,
        };
        this.show_devices();
        let clients: Vec<u16> = this.table.clients().collect();
        for number in clients {
            this.try_client(platform, number);
        }
        let began = platform.now();
        for index in 0..this.plane.disks.len() {
            if this
                .plane
                .disks
                .get(index)
                .is_some_and(OwnedDisk::is_vacant)
            {
                continue;
            }
            let took = platform.now().micros_since(began);
            let each = BRING_UP_US.saturating_sub(took).min(ONE_DISK_US);
            if each > 0 {
                let until = platform.now().plus_micros(each);
                within(platform, Patience { each, until }, |platform| {
                    this.try_disk(platform, index);
                });
            } else {
                // Others do not wait for it.
                this.put_disk_off(index);
            }
        }
        Ok(this)
    }

    fn needed(
        platform: &mut dyn Platform,
        inventory: &Inventory,
        control: &Control,
        settings: Settings,
    ) -> Result<(VirtioSerial, Vec<OwnedDisk>, Table), BringUpError> {
        let mut devices = inventory.devices().iter();
        let device = devices
            .find(|device| device.virtio_id() == Some(virtio::console::DEVICE_ID))
            .ok_or(BringUpError::NoLink)?;
        let link = VirtioSerial::open(platform, device.id, settings, LINK_PORT)
            .map_err(|error| BringUpError::Link(device.number, error))?;
        let table = control.table()?;
        let disks = (0..table.disk_count()).map(|index| match table.disk(index) {
            Some(disk) => {
                let maintenance = control.maintenance(index);
                OwnedDisk::new(disk.name.clone(), disk.number, maintenance)
            }
            None => OwnedDisk::vacant(),
        });
        Ok((link, disks.collect(), table))
    }

    /// Serves until the daemon orders the end.
    ///
    /// `started` is the time of the first instruction. `operator` is who sits at the console.
    pub fn run(
        &mut self,
        platform: &mut dyn Platform,
        started: Tod,
        image_bytes: u64,
        heap_bytes: u64,
        operator: &mut dyn Operator,
    ) {
        let now = platform.now();
        let about = self.control.about();
        about.boot_us.set(now.micros_since(started) as u32);
        about.serving_tod.set(now.as_micros());
        about.image_bytes.set(image_bytes);
        about.heap_bytes.set(heap_bytes);
        log::info!("serving after {} us", now.micros_since(started));
        // Whoever looks as soon as it serves reads who owns what.
        self.show();
        self.set_life(platform, Life::Serving);
        self.come_round(platform);
        self.plane.proxy.disarm_wakeup();
        let mut last_work = now;
        let mut deadline = now.plus_micros(HEAL_US);
        loop {
            self.turns += 1;
            if self.plane.proxy.clients.any(PassThrough::is_expecting) {
                self.drain(platform);
            }
            let turn = self.plane.turn(platform);
            if turn.wake {
                self.wake(platform);
            }
            if self.turns.is_multiple_of(HOUSEKEEPING_TURNS) {
                self.show();
                // What a loop that never sleeps would never hear of.
                self.drain(platform);
                self.reports(platform);
                operator.listen(platform.now());
                attend(self, platform, operator);
                if self.keep_house(platform) && self.stops(platform) {
                    return;
                }
            }
            if turn.worked {
                if self.control.settling {
                    self.change_memory();
                    configuration::change(self, platform);
                }
                last_work = platform.now();
                continue;
            }
            let proxy = &self.plane.proxy;
            let patience = if proxy.in_flight() > 0 || proxy.next().is_some() {
                self.tuning.patience_us
            } else {
                self.tuning.linger_us
            };
            if platform.now().micros_since(last_work) < patience {
                continue;
            }
            self.show();
            // One thing at a time; clients come in between.
            if attend(self, platform, operator) {
                continue;
            }
            // The clock comparator is left alone as long as it will do.
            if platform.now().plus_micros(HEAL_US / 2) > deadline {
                deadline = platform.now().plus_micros(HEAL_US);
            }
            self.sleep(platform, deadline, operator);
            if self.keep_house(platform) && self.stops(platform) {
                return;
            }
            last_work = platform.now();
        }
    }

    /// Sleeps until an interruption, the slow timer or the deadline of something in progress, unless there is work.
    fn sleep(&mut self, platform: &mut dyn Platform, heal: Tod, operator: &mut dyn Operator) {
        let latest = heal.min(operator.due());
        let mut companion = Daemon {
            control: &mut self.control,
            link: &mut self.link,
            has_reports: self.reports.is_busy(),
            operator,
        };
        let slept = self.plane.sleep(platform, Some(latest), &mut companion);
        if let Some(slept) = slept {
            let about = self.control.about();
            about.sleeps.set(about.sleeps.get() + 1);
            about
                .healed
                .set(about.healed.get() + u64::from(slept.was_late));
            if let Wake::MachineCheck(code) = slept.wake {
                self.machine_check(platform, code);
            }
        }
        if self.reports.is_busy() {
            self.reports(platform);
        }
        self.link.take_wakes(platform);
        self.link.disarm();
        self.control.disarm_wakeup();
    }

    /// What is done now and then: orders, maintenance, and tries of what has failed. Returns whether the daemon wants the end.
    fn keep_house(&mut self, platform: &mut dyn Platform) -> bool {
        // A ring that comes after this is heard next time, so no order that came with one is missed.
        if self.control.poll_requests() {
            self.take_unused_memory();
        }
        self.come_round(platform);
        self.plane.proxy.clients.serve_nobody();
        self.change_memory();
        configuration::change(self, platform);
        self.maintain_disks(platform);
        self.tend_suspects(platform);
        self.tend_disks(platform);
        self.tend_clients(platform);
        self.tend_unknown(platform);
        paths::tend(self, platform);
        self.control.is_to_stop()
    }

    /// Tells whoever watches that the event loop has come round, or has made as much progress: it does not hang.
    fn come_round(&mut self, platform: &mut dyn Platform) {
        self.control.answer_ping();
        self.watchdog.come_round(platform);
    }

    /// Has clients' memory be what the daemon says that it is. What goes is used by requests at the disks until they end.
    fn change_memory(&mut self) {
        let Self {
            control,
            plane,
            table,
            ..
        } = self;
        control.settling = false;
        for client in table.clients() {
            let Some(change) = control.changed_memory(client) else {
                continue;
            };
            if control.is_growth(change) {
                control.take_memory(change);
            } else if plane.proxy.settle(client) {
                control.take_memory(change);
                plane.proxy.check_rings(client);
            } else {
                control.settling = true;
            }
        }
    }

    /// Takes changes to memory of clients that are not there: nothing is in flight in it.
    fn take_unused_memory(&self) {
        for client in 0..self.control.client_count() {
            if self.table.client(client).is_none() {
                if let Some(change) = self.control.changed_memory(client) {
                    self.control.take_memory(change);
                }
            }
        }
    }

    /// Puts into service again what is due.
    fn tend_suspects(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        let due = self
            .suspects
            .take_due(&mut self.conditions, self.table.exports(), now);
        for of in due {
            match of {
                Subject::Disk(index) => self.try_disk_soon(index),
                Subject::Client(_) => self.conditions.try_soon(of),
                Subject::Export(export) => self.release(platform, export),
            }
        }
    }

    /// Puts a virtual subchannel into service again.
    fn release(&mut self, platform: &mut dyn Platform, index: usize) {
        let Some(export) = self.table.export(index) else {
            return;
        };
        let devices = self.inventory.devices();
        let clients = &mut self.plane.proxy.clients;
        clients.release(platform, export.slot, devices);
        if export.kind == ExportKind::Block {
            self.attach_if_there(export.disk());
        } else {
            self.conditions.good(Subject::Export(index));
        }
    }

    /// Publishes all that has changed.
    fn show(&mut self) {
        self.control.about().turns.set(self.turns);
        let counters = self.table.exports().iter().map(|export| {
            let client = self.plane.proxy.clients.get(export.slot.client);
            let device = client.and_then(|client| client.device(export.slot.index));
            let counters = device.map(VirtioBlk::counters);
            (export.index, counters.unwrap_or_default())
        });
        self.control.show(counters);
        if self.plane.proxy.is_shared() {
            self.show_held_back();
        }
        self.show_devices();
    }

    #[inline(never)]
    fn show_held_back(&self) {
        let all = self.table.exports().iter().map(|export| {
            let client = self.plane.proxy.clients.get(export.slot.client);
            let device = client.and_then(|client| client.device(export.slot.index));
            let held_back = device.map(VirtioBlk::held_back);
            (export.index, held_back.unwrap_or_default())
        });
        self.control.show_held_back(all);
    }

    fn show_devices(&mut self) {
        let (control, inventory) = (&mut self.control, &mut self.inventory);
        (self.published).show_devices(control, inventory, &mut self.plane);
    }

    /// Takes all pending interruptions to whom they are for.
    fn drain(&mut self, platform: &mut dyn Platform) {
        let link = &mut self.link;
        self.plane.drain(platform, |platform, interruption| {
            link.interruption(platform, interruption)
        });
    }

    fn wake(&mut self, platform: &mut dyn Platform) {
        let sent = &mut self.control.about().wakes_sent;
        sent.set(sent.get() + 1);
        self.link.send_wake(platform);
    }

    fn set_life(&mut self, platform: &mut dyn Platform, life: Life) {
        if self.control.set_life(life) {
            self.wake(platform);
        }
    }

    /// Lets requests end, flushes every disk, and says so. The daemon can withdraw the order while a disk is waited for, which may
    /// hang: then this serves on. Returns whether it has stopped.
    fn stops(&mut self, platform: &mut dyn Platform) -> bool {
        log::info!("stopping");
        self.set_life(platform, Life::Stopping);
        let deadline = platform.now().plus_micros(STOP_US);
        while self.plane.proxy.at_disks() > 0 && platform.now() < deadline {
            if self.serves_on(platform) {
                return false;
            }
            self.last_turn(platform);
        }
        let (control, watchdog) = (&self.control, &mut self.watchdog);
        for disk in &mut self.plane.disks {
            flush(platform, disk, |platform| {
                control.answer_ping();
                watchdog.come_round(platform);
                control.is_to_stop() && platform.now() < deadline
            });
        }
        if self.serves_on(platform) {
            return false;
        }
        // What passes through has been served until here. From here on there is no way back.
        self.plane.proxy.clients.offline(platform);
        let is_busy =
            |proxy: &Proxy| proxy.in_flight() > 0 || proxy.clients.any(PassThrough::is_quiescing);
        while platform.now() < deadline
            && (self.plane.proxy.clients.tend_parting(platform) || is_busy(&self.plane.proxy))
        {
            self.last_turn(platform);
        }
        if self.plane.proxy.in_flight() > 0 {
            log::error!("{} requests did not end", self.plane.proxy.in_flight());
        }
        self.show();
        log::info!("stopped");
        self.set_life(platform, Life::Stopped);
        true
    }

    /// Whether the daemon has withdrawn the order to stop.
    fn serves_on(&mut self, platform: &mut dyn Platform) -> bool {
        self.come_round(platform);
        if self.control.is_to_stop() {
            return false;
        }
        log::info!("serving on");
        self.set_life(platform, Life::Serving);
        true
    }

    /// A turn in which no requests are taken.
    fn last_turn(&mut self, platform: &mut dyn Platform) {
        self.come_round(platform);
        self.drain(platform);
        if self.plane.last_turn(platform).wake {
            self.wake(platform);
        }
    }
}

/// Flushes a disk for the last time, if it has a cache, until that has ended or nobody waits for it any more.
fn flush(
    platform: &mut dyn Platform,
    disk: &mut OwnedDisk,
    mut waits: impl FnMut(&mut dyn Platform) -> bool,
) {
    let driver = &mut disk.driver;
    if !driver.geometry().flush {
        return;
    }
    if let Err(error) = driver.submit(0, Operation::Flush, &[], &[], LAST_FLUSH) {
        log::error!("disk {}: last flush: {error}", disk.name);
        return;
    }
    driver.kick(platform);
    while waits(platform) {
        match driver.poll() {
            Some(done) if done.token == LAST_FLUSH => {
                if done.status != BlockStatus::Ok {
                    log::error!("disk {}: last flush: {:?}", disk.name, done.status);
                }
                return;
            }
            Some(_) | None => {}
        }
    }
}

/// What is beside the data plane in the sleep: the control area, the link, and the operator.
struct Daemon<'a> {
    control: &'a mut Control,
    link: &'a mut VirtioSerial,
    /// There are channel reports to be dealt with.
    has_reports: bool,
    operator: &'a mut dyn Operator,
}

impl Companion for Daemon<'_> {
    fn arm(&mut self) -> bool {
        self.control.arm_wakeup() | self.link.arm() | self.has_reports
    }

    fn woken(&mut self, wake: Wake) {
        self.operator.woken(wake);
    }

    fn interruption(&mut self, platform: &mut dyn Platform, interruption: &IoInterruption) -> bool {
        self.link.interruption(platform, interruption)
    }
}

#[cfg(test)]
mod tests;
