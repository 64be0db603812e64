//! The daemon's [`Status`], gathered from the areas and from itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use channel::{DeviceNumber, SubchannelId};
use vcss::control::{self, Condition, ConditionState, DeviceLife, Life, HOST};

use super::Shared;
use crate::areas;
use crate::doorbell::Link;
use crate::status::{
    Appliance, Client, Counters, Daemon, Device, Disk, Health, Recoveries, Status,
};
use crate::subchannel::driver_state;
use crate::vhost::{Peer, Server};
use crate::vm::Given;

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

fn appliance(shared: &Shared) -> Appliance {
    let run = *shared.run();
    let first_area = shared.areas.clients.first().map(|client| &client.area);
    let generation = areas::generation(first_area.unwrap_or(&shared.areas.control));
    let mut appliance = Appliance {
        life: match run.next_start {
            Some(_) => "down".into(),
            None => life(shared.areas.life()).into(),
        },
        next_start_ms: run.next_start.map(|next| {
            let left = next.saturating_duration_since(Instant::now());
            left.as_millis() as u64
        }),
        pid: run.pid,
        accel: shared.config.appliance.accel.name().into(),
        uptime_s: run
            .serving_since
            .map_or(0, |since| since.elapsed().as_secs()),
        generation: generation.map_or(0, |word| word.load()),
        restarts: run.restarts,
        private_bytes: shared.config.appliance.private,
        ..Appliance::default()
    };
    if let Ok(said) = shared.areas.appliance() {
        appliance.version = said.version.as_str().into();
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
    disks
        .map(|(index, disk)| {
            let (state, reason) = match shared.given.trouble(Given::Disk(index)) {
                Some(trouble) => ("failed".into(), Some(trouble)),
                None => condition(shared, Condition::of_disk(index)),
            };
            Health {
                name: disk.name.clone(),
                state,
                reason,
            }
        })
        .collect()
}

/// State and reason of what has a condition in the control area. One that has died does not say.
fn condition(shared: &Shared, entry: u32) -> (String, Option<String>) {
    if shared.run().serving_since.is_none() {
        return ("unknown".into(), None);
    }
    match shared.areas.condition(entry) {
        Ok(told) => match told.state {
            ConditionState::Good => ("online".into(), None),
            ConditionState::Failed => ("failed".into(), Some(told.reason)),
            ConditionState::Unknown => ("unknown".into(), None),
        },
        Err(_) => ("unknown".into(), None),
    }
}

fn daemon(shared: &Shared) -> Daemon {
    let totals = shared.bell.totals();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Daemon {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: shared.started.elapsed().as_secs(),
        pool: shared.config.appliance.pool.clone(),
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
fn devices(shared: &Shared) -> Vec<(Device, usize)> {
    let control = &shared.areas.control;
    let reserved = shared.reservations.entries();
    let mut devices = Vec::new();
    for index in 0..control.count::<control::Device>() {
        let Ok(entry) = control.read::<control::Device>(index) else {
            break;
        };
        let Some(id) = SubchannelId::from_word(entry.subchannel.get()) else {
            break;
        };
        let disk = shared.config.disks.get(usize::from(entry.disk.get()));
        let number = DeviceNumber {
            set: entry.set,
            number: entry.device.get(),
        };
        let device = Device {
            device: number.to_string(),
            subchannel: id.to_string(),
            cu_type: format!("{:04x}", entry.cu_type.get()),
            cu_model: format!("{:02x}", entry.cu_model),
            dev_type: format!("{:04x}", entry.dev_type.get()),
            dev_model: format!("{:02x}", entry.dev_model),
            state: device_life(entry.life).into(),
            disk: disk.map(|disk| disk.name.clone()),
            sectors: entry.sectors.get(),
            reserved: reserved
                .get(disk.map_or(&number.to_string(), |disk| &disk.name))
                .copied(),
            recoveries: Recoveries {
                retries: entry.recoveries.retries.get(),
                other_paths: entry.recoveries.other_paths.get(),
                waits: entry.recoveries.waits.get(),
                timeouts: entry.recoveries.timeouts.get(),
                failures: entry.recoveries.failures.get(),
            },
            pim: format!("{:02x}", entry.pim),
            pam: format!("{:02x}", entry.pam),
            pom: format!("{:02x}", entry.pom),
            chpids: hex::encode(entry.chpids),
            ..passed_through(shared, number, &entry)
        };
        devices.push((device, usize::from(entry.disk.get())));
    }
    devices
}

/// What of a device has to do with its being passed through.
fn passed_through(shared: &Shared, number: DeviceNumber, entry: &control::Device) -> Device {
    let config = &shared.config;
    let subchannel = config.subchannels.iter().find(|it| it.device == number);
    let name = subchannel.map(|it| it.name.clone());
    let index = usize::from(entry.client.get());
    let Some(client) = config.clients.get(index) else {
        let host = index == config.clients.len();
        return Device {
            name,
            client: host.then(|| HOST.into()),
            driver: host
                .then(|| driver_state(entry.state).map(str::to_owned))
                .flatten(),
            ..Device::default()
        };
    };
    let given = client.subchannels.get(usize::from(entry.index.get()));
    let seen = |device| DeviceNumber {
        set: 0,
        number: device,
    };
    Device {
        name,
        client: Some(client.name.clone()),
        client_device: given.map(|given| seen(given.device).to_string()),
        driver: driver_state(entry.state).map(str::to_owned),
        ..Device::default()
    }
}

fn clients(shared: &Shared, devices: &[(Device, usize)]) -> Vec<Client> {
    let peers: Vec<Peer> = shared.servers().iter().map(Server::peer).collect();
    // Exports are counted over all kinds, sockets over the disks.
    let (mut number, mut server) = (0, 0);
    let disk_count = shared.config.disks.len() as u32;
    // The daemon is one more client.
    let client_count = shared.config.clients.len() as u32 + 1;
    let mut clients = Vec::new();
    let all = shared.config.clients.iter().zip(&shared.layout.windows);
    for (place, (client, window)) in all.enumerate() {
        let mut disks = Vec::new();
        for (index, export) in client.exports.iter().enumerate() {
            let size = devices.iter().find(|(_, disk)| *disk == export.disk);
            let rest = size.filter(|_| export.partition.is_none());
            let rest = rest.map_or(0, |(device, _)| device.sectors.saturating_sub(export.start));
            let entry = Condition::of_export(number, disk_count, client_count);
            let (state, reason) = match shared.given.trouble(Given::Disk(export.disk)) {
                Some(trouble) => ("failed".into(), Some(trouble)),
                None => condition(shared, entry),
            };
            disks.push(Disk {
                state,
                reason,
                disk: shared.config.disks[export.disk].name.clone(),
                socket: shared.config.socket(client, index),
                connected: peers.get(server) == Some(&Peer::Connected),
                refused: match peers.get(server) {
                    Some(Peer::Refused(why)) => Some(why.clone()),
                    _ => None,
                },
                partition: export.partition,
                start: export.start,
                sectors: export.sectors.unwrap_or(rest),
                readonly: export.read_only,
                queues: export.queues,
                counters: counters(shared, number),
            });
            number += 1;
            server += 1;
        }
        let mut withheld = Vec::new();
        for given in &client.subchannels {
            let entry = Condition::of_export(number, disk_count, client_count);
            let (state, reason) = condition(shared, entry);
            if reason.is_some() {
                let name = shared.config.subchannels[given.subchannel].name.clone();
                withheld.push(Health {
                    name,
                    state,
                    reason,
                });
            }
            number += 1;
        }
        let area = shared.areas.clients.get(place);
        let generation = area.and_then(|it| areas::client_generation(&it.area).ok());
        let generation = generation.map_or(0, |word| word.load());
        let link = shared.bell.link(place + 1, generation);
        let (state, reason) = condition(shared, Condition::of_client(place, disk_count));
        clients.push(Client {
            state,
            reason,
            name: client.name.clone(),
            connected: match client.is_channel_level() {
                true => link == Link::Connected,
                false => !disks.is_empty() && disks.iter().all(|disk| disk.connected),
            },
            refused: match link {
                Link::Elsewhere => Some(
                    "its memory is not in this daemon's pool: the VM has to be started again"
                        .into(),
                ),
                Link::Nobody | Link::Silent | Link::Connected => None,
            },
            subchannels: client
                .subchannels
                .iter()
                .map(|given| {
                    shared.config.subchannels[given.subchannel]
                        .device
                        .to_string()
                })
                .collect(),
            withheld,
            window_offset: window.offset,
            window_bytes: window.length,
            disks,
        });
    }
    clients
}

fn counters(shared: &Shared, export: usize) -> Counters {
    let Ok(entry) = shared
        .areas
        .control
        .read::<control::Counters>(export as u32)
    else {
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

const fn life(life: Life) -> &'static str {
    match life {
        Life::Starting => "starting",
        Life::Serving => "serving",
        Life::Stopping => "stopping",
        Life::Stopped => "stopped",
        Life::Failed => "failed",
    }
}

fn device_life(number: u8) -> &'static str {
    match DeviceLife::from_number(number) {
        Some(DeviceLife::Standby) => "standby",
        Some(DeviceLife::Online) => "online",
        Some(DeviceLife::Failed) | None => "failed",
    }
}
