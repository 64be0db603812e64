//! The daemon's [`Status`], gathered from the areas and from itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use channel::SubchannelId;
use vcss::control::{self, ConditionState, DeviceLife, HOST};
use vcss::trace::DriverState;

use super::Shared;
use crate::api::text::{Dotted, Hex};
use crate::api::{
    ApplianceStatus, ClientStatus, Condition, Counters, DaemonStatus, ExportStatus, Health,
    HeldBack, Life, OwnedDevice, Recoveries, State, Status,
};
use crate::areas;
use crate::config::{ConditionEntry, Export};
use crate::doorbell::Link;
use crate::layout::AreaNumber;
use crate::vhost::{Peer, Server};
use crate::vm::Pluggable;

pub fn status(shared: &Shared) -> Status {
    let devices = devices(shared);
    Status {
        appliance: appliance(shared),
        disks: disks(shared),
        daemon: daemon(shared),
        clients: clients(shared, &devices),
        devices: devices.into_iter().map(|(device, _)| device).collect(),
    }
}

fn appliance(shared: &Shared) -> ApplianceStatus {
    let run = *shared.run.lock();
    let generation = areas::generation(&shared.areas.host.area);
    let served = run.serving_since.map(|since| since.elapsed());
    let mut appliance = ApplianceStatus {
        life: match run.next_start {
            Some(_) => Life::Down,
            None => shared.areas.life().into(),
        },
        next_start_ms: run.next_start.map(|next| {
            let left = next.saturating_duration_since(Instant::now());
            left.as_millis() as u64
        }),
        pid: run.pid,
        accel: shared.config.appliance.accel.to_string(),
        uptime_s: served.map_or(0, |served| served.as_secs()),
        generation: generation.map_or(0, |word| word.load()),
        restarts: run.restarts,
        private_bytes: shared.config.appliance.private,
        ..ApplianceStatus::default()
    };
    if let Ok(said) = shared.areas.appliance() {
        appliance.version = said.version.as_str().into();
        appliance.configuration = said.configuration.get();
        appliance.boot_ms = f64::from(said.boot_us.get()) / 1000.0;
        appliance.image_bytes = said.image_bytes.get();
        appliance.heap_bytes = said.heap_bytes.get();
        appliance.turns = said.turns.get();
        appliance.sleeps = said.sleeps.get();
        appliance.wakes = said.wakes_sent.get();
        appliance.healed = said.healed.get();
        if said.private_bytes.get() != 0 {
            appliance.private_bytes = said.private_bytes.get();
        }
    }
    appliance
}

fn disks(shared: &Shared) -> Vec<Health> {
    let disks = shared.config.disks.iter().enumerate();
    let disks = disks.filter(|(_, disk)| !disk.is_vacant());
    let health = |(index, disk): (usize, &crate::config::Disk)| Health {
        name: disk.name.clone(),
        condition: of_disk(shared, index, shared.config.condition_of_disk(index)),
    };
    disks.map(health).collect()
}

/// The condition of a disk, or of a part of it, whose entry this is: the VM may not have it at all.
fn of_disk(shared: &Shared, disk: usize, entry: ConditionEntry) -> Condition {
    match shared.plugged.trouble(Pluggable::Disk(disk)) {
        Some(trouble) => Condition::failed(trouble),
        None => condition(shared, entry),
    }
}

/// What the control area says of something. An appliance that has died does not say.
fn condition(shared: &Shared, entry: ConditionEntry) -> Condition {
    if shared.run.lock().serving_since.is_none() {
        return Condition::default();
    }
    match shared.areas.condition(entry) {
        Ok(told) if told.state == ConditionState::Failed => Condition::failed(told.reason),
        Ok(told) if told.state == ConditionState::Good => Condition {
            state: State::Online,
            reason: None,
        },
        Ok(_) | Err(_) => Condition::default(),
    }
}

fn daemon(shared: &Shared) -> DaemonStatus {
    let totals = shared.bell.totals();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: shared.started.elapsed().as_secs(),
        configuration: shared.handover.left().configuration,
        pool: shared.pool.path(),
        pool_bytes: shared.layout.total,
        kicks: count(&totals.kicks),
        calls: count(&totals.calls),
        wakes: count(&totals.wakes),
        sleeps: count(&totals.sleeps),
        healed: count(&totals.healed),
    }
}

/// How long the appliance takes a disk for, if it has opened it.
pub fn sectors(shared: &Shared, disk: usize) -> Option<u64> {
    let mut devices = devices(shared).into_iter();
    let sectors = devices.find(|(_, of)| *of == disk)?.0.sectors;
    (sectors != 0).then_some(sectors)
}

/// The owned subchannels, each with the index of the disk that it is.
fn devices(shared: &Shared) -> Vec<(OwnedDevice, usize)> {
    let devices = areas::devices(&shared.areas.control).map_while(|entry| {
        let id = SubchannelId::from_word(entry.subchannel.get())?;
        Some((device(shared, id, &entry), usize::from(entry.disk.get())))
    });
    devices.collect()
}

fn device(shared: &Shared, id: SubchannelId, entry: &control::Device) -> OwnedDevice {
    let config = &shared.config;
    let disk = config.disks.get(usize::from(entry.disk.get()));
    let number = areas::device_number(entry);
    let reserved = shared.reservations.entries();
    let named = disk.map_or_else(|| number.to_string(), |disk| disk.name.clone());
    let subchannel = config.subchannels.iter().find(|it| it.device == number);
    // Whom it is passed through to: a client, or the daemon, which is one more.
    let owner = usize::from(entry.client.get());
    let client = config.clients.get(owner);
    let host = (owner == config.clients.len()).then(|| HOST.to_owned());
    let given = client.and_then(|it| it.subchannels.get(usize::from(entry.index.get())));
    let owner = client.map(|client| client.name.clone()).or(host);
    OwnedDevice {
        device: Dotted(number),
        subchannel: Dotted(id),
        cu_type: Hex(entry.cu_type.get()),
        cu_model: Hex(entry.cu_model),
        dev_type: Hex(entry.dev_type.get()),
        dev_model: Hex(entry.dev_model),
        state: DeviceLife::from_number(entry.life).unwrap_or(DeviceLife::Failed),
        disk: disk.map(|disk| disk.name.clone()),
        sectors: entry.sectors.get(),
        reserved: reserved.get(&named).copied(),
        recoveries: Recoveries {
            retries: entry.recoveries.retries.get(),
            other_paths: entry.recoveries.other_paths.get(),
            waits: entry.recoveries.waits.get(),
            timeouts: entry.recoveries.timeouts.get(),
            failures: entry.recoveries.failures.get(),
        },
        name: subchannel.map(|it| it.name.clone()),
        driver: DriverState::from_number(entry.state).filter(|_| owner.is_some()),
        client: owner,
        client_device: given.map(|given| Dotted(given.seen())),
        pim: Hex(entry.pim),
        pam: Hex(entry.pam),
        pom: Hex(entry.pom),
        lpm: Hex(entry.lpm),
        lpum: Hex(entry.lpum),
        pnom: Hex(entry.pnom),
        chpids: entry.chpids,
    }
}

fn clients(shared: &Shared, devices: &[(OwnedDevice, usize)]) -> Vec<ClientStatus> {
    let config = &shared.config;
    // One for each disk of each client, once the appliance serves.
    let peers: Vec<Peer> = shared.servers.lock().iter().map(Server::peer).collect();
    let mut peers = peers.into_iter();
    let mut clients = Vec::new();
    for (place, (client, window)) in config
        .clients
        .iter()
        .zip(&shared.layout.windows)
        .enumerate()
    {
        if client.is_vacant() {
            continue;
        }
        let exports = config.exports().filter(|(part, _)| part.client == place);
        let disks: Vec<ExportStatus> = exports
            .map(|(part, export)| {
                let disk = devices.iter().find(|(_, disk)| *disk == export.disk);
                let disk_sectors = disk.map_or(0, |(device, _)| device.sectors);
                let (connected, refused) = match peers.next() {
                    Some(Peer::Connected) => (true, None),
                    Some(Peer::Refused(why)) => (false, Some(why)),
                    Some(Peer::Nobody) | None => (false, None),
                };
                let told = config.condition_of(part);
                ExportStatus {
                    disk: config.disks[export.disk].name.clone(),
                    socket: config.socket(part),
                    connected,
                    condition: of_disk(shared, export.disk, told),
                    refused,
                    part: Export {
                        sectors: match (export.partition, export.sectors) {
                            (None, 0) => disk_sectors.saturating_sub(export.start),
                            (_, sectors) => sectors,
                        },
                        ..*export
                    },
                    counters: counters(shared, config.export_number(part)),
                    held_back: held_back(shared, config.export_number(part)),
                }
            })
            .collect();
        let area = shared.areas.clients.get(place);
        let generation = area.and_then(|it| areas::client_generation(&it.area).ok());
        let generation = generation.map_or(0, |word| word.load());
        let link = shared.bell.link(AreaNumber::of_client(place), generation);
        let elsewhere = "its memory is an earlier daemon's: the VM has to be started again";
        let subchannels = client.subchannels.iter();
        let subchannels =
            subchannels.map(|given| Dotted(config.subchannels[given.subchannel].device));
        clients.push(ClientStatus {
            name: client.name.clone(),
            condition: condition(shared, config.condition_of_client(place)),
            connected: match client.is_channel_level() {
                true => link == Link::Connected,
                false => !disks.is_empty() && disks.iter().all(|disk| disk.connected),
            },
            refused: (link == Link::Elsewhere).then(|| elsewhere.into()),
            subchannels: subchannels.collect(),
            withheld: withheld(shared, place),
            window_offset: window.offset,
            window_bytes: window.length,
            disks,
        });
    }
    clients
}

/// The subchannels of a client that the appliance does not serve.
fn withheld(shared: &Shared, client: usize) -> Vec<Health> {
    let config = &shared.config;
    let given = config.given().filter(|(part, _)| part.client == client);
    let all = given.map(|(part, given)| Health {
        name: config.subchannels[given.subchannel].name.clone(),
        condition: condition(shared, config.condition_of(part)),
    });
    all.filter(|it| it.condition.reason.is_some()).collect()
}

/// An appliance that does not know of it holds back nothing.
fn held_back(shared: &Shared, export: usize) -> HeldBack {
    let control = &shared.areas.control;
    let said = control.read::<control::HeldBack>(export as u32);
    said.unwrap_or_default().into()
}

fn counters(shared: &Shared, export: usize) -> Counters {
    let control = &shared.areas.control;
    let Ok(entry) = control.read::<control::Counters>(export as u32) else {
        return Counters::default();
    };
    Counters {
        reads: entry.reads.get(),
        writes: entry.writes.get(),
        flushes: entry.flushes.get(),
        discards: entry.discards.get(),
        bytes_read: entry.bytes_read.get(),
        bytes_written: entry.bytes_written.get(),
        errors: entry.errors.get(),
        in_flight: entry.in_flight.get(),
    }
}
