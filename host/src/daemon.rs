//! `stellwerk up`: everything together, from the configuration to the last clean-up.
//!
//! # The order of things
//!
//! Up: pool and areas, wake-up thread, control socket, the appliance's VM, and when that serves, the clients'
//! sockets. Down: the clients' sockets with their queues drained, disks' reservations, the appliance by an order in the control
//! area, its VM, the rest.
//!
//! An appliance that dies is started again in the same pool. Areas outlive it, and the clients' connections
//! with them.

mod in_use;
mod observe;
mod plugged;
mod plugging;
mod requests;
mod retry;
mod supervise;
pub(crate) mod trace;

use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{symlink, DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use dasd_tools::admin::Reservation;
use dasd_tools::reserve::{release_all, Reservations};
use parking_lot::Mutex;
use rustix::fs::{flock, FlockOperation};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::api;
use crate::areas::Areas;
use crate::check;
use crate::config::{show_size, Config, Part, NO_FIRMWARE};
use crate::descriptors;
use crate::doorbell::{self, new_eventfd, BellHandle, Ringer};
use crate::layout::{AreaNumber, Slot};
use crate::pool::{by_descriptor, Layout, Pool};
use crate::remote::{DeviceWait, HostClient, VirtioDevice};
use crate::sys;
use crate::vhost::{Acceptor, Identity, Memory, Server, Session};
use crate::windows::{Former, Loaded, Windows};
use vcss::client::MAX_QUEUES;

use plugged::PluggedDevices;
use supervise::{Stop, Supervisor};

/// How long clients' disks may take to let requests in flight end, when the daemon is told to stop.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// How long a disk that another system has reserved meanwhile is waited for before it is not released.
const ONE_RELEASE: Duration = Duration::from_secs(1);

/// What several threads know of the daemon.
#[derive(Debug)]
struct Shared {
    config: Config,
    layout: Layout,
    pool: Pool,
    windows: Arc<Windows>,
    areas: Areas,
    bell: BellHandle,
    started: Instant,
    run: Mutex<Run>,
    reservations: Reservations,
    plugged: PluggedDevices,
    /// One for each export, once the appliance serves.
    servers: Mutex<Vec<Server>>,
}

/// The appliance's present run.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    pid: u32,
    serving_since: Option<Instant>,
    /// When it is started again, while none runs.
    next_start: Option<Instant>,
    restarts: u32,
}

pub fn up(config_file: &Path) -> Result<()> {
    let config = Config::load(config_file)?;
    descriptors::prepare(&config)?;
    let backings = check::look(&config)?;
    // Until here a signal ends the program: looking at files can take long.
    let (signals, write_end) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        pipe::register(signal, write_end.try_clone()?)?;
    }
    let _locked = prepare_run_dir(&config)?;
    let loaded = Loaded::find()?;
    let pool = Pool::create(&config)?;
    let layout = pool.layout().clone();
    tracing::info!(
        run_dir = %config.appliance.run_dir.display(),
        "{} for the appliance, and room for {} of clients",
        show_size(config.appliance.private),
        show_size(layout.windows.iter().map(|window| window.length).sum()),
    );
    let areas = Areas::lay_out(&config, &pool)?;
    let bell = BellHandle::new(areas.numbered().count())?;
    let former = Former::open(&config.appliance.run_dir)?;
    let windows = Windows::new(&pool, &areas.control, bell.clone(), former)?;
    name_memories(&config, &pool)?;
    let attentions: Result<Vec<OwnedFd>> = config.exports().map(|_| Ok(new_eventfd()?)).collect();
    let attentions = attentions?;
    let (nudges, nudge) = UnixStream::pair()?;
    nudge.set_nonblocking(true)?;
    let plugged = PluggedDevices::new(&config, nudge);
    let thread = start_bell(&config, &areas, &bell, &attentions)?;
    let shared = Arc::new(Shared {
        config,
        layout,
        pool,
        windows: Arc::new(windows),
        areas,
        bell,
        started: Instant::now(),
        run: Mutex::default(),
        reservations: Reservations::default(),
        plugged,
        servers: Mutex::default(),
    });
    let observed = Arc::clone(&shared);
    let host = HostClient::new(&shared.config, &shared.areas, shared.bell.clone())?;
    let host = Arc::new(host);
    let answering = Arc::clone(&host);
    let socket = api::socket(&shared.config);
    let control = api::Server::start(&socket, move |request, answer| {
        requests::answer(&observed, &answering, request, answer)
    })
    .with_context(|| socket.display().to_string())?;

    let mut supervisor = Supervisor::new(&shared, loaded, backings, signals, nudges);
    let ended = supervisor.start_first().and_then(|()| {
        serve(&shared, attentions)?;
        supervisor.watch()
    });
    let outcome = match ended {
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Told) => Ok(()),
        Ok(never) => match never {},
    };
    if outcome.is_err() || shared.run.lock().serving_since.is_none() {
        // Nobody will answer those who wait for the appliance.
        shared.bell.abandon();
    }
    tracing::info!("shutting down");
    for server in shared.servers.lock().iter() {
        server.stop();
    }
    let deadline = Instant::now() + RELEASE_LIMIT;
    // Taken out first: joining may take its time, and the status is to be had meanwhile.
    let mut servers = std::mem::take(&mut *shared.servers.lock());
    servers.retain_mut(|server| !server.join_until(deadline));
    if !servers.is_empty() {
        tracing::warn!(
            "{} disks of clients still have requests in flight; these end with the appliance",
            servers.len()
        );
    }
    // Nobody is served any more: other systems may have what was reserved for clients.
    let known = Arc::clone(&shared);
    release_all(shared.reservations.ours(), RELEASE_LIMIT, move |disk| {
        let how = Reservation::Release;
        host.reserve(&known.reservations, disk, how, ONE_RELEASE)
    });
    let ended = supervisor.shut_down();
    // Nothing reaches a client's memory any more, unless QEMU cannot be killed, which has been said: who was kept waiting for that is
    // let go, without an answer.
    shared.bell.abandon();
    let deadline = Instant::now() + RELEASE_LIMIT;
    servers.retain_mut(|server| !server.join_until(deadline));
    if !servers.is_empty() {
        // Their threads end with the process.
        tracing::error!(
            "{} connections of clients could not be ended",
            servers.len()
        );
    }
    shared.bell.stop();
    match ends_until(&thread, Instant::now() + RELEASE_LIMIT) {
        false => tracing::error!("the wake-up thread does not end"),
        true if thread.join().is_err() => tracing::error!("the wake-up thread has panicked"),
        true => {}
    }
    drop(control);
    let config = &shared.config;
    let clients = config.clients.iter();
    let names = clients.flat_map(|it| [config.link_socket(it), config.client_memory(it)]);
    for name in names.chain([config.in_run_dir("link.sock")]) {
        let _ = fs::remove_file(name);
    }
    outcome.and(ended)
}

/// Waits until a thread has ended, or until then; whether it has. One that has not ends with the process.
fn ends_until(thread: &JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.is_finished()
}

/// Opens the clients' sockets and says so.
fn serve(shared: &Shared, attentions: Vec<OwnedFd>) -> Result<()> {
    let config = &shared.config;
    let acceptor = Arc::new(Acceptor::start()?);
    let mut servers = Vec::new();
    for ((part, export), attention) in config.exports().zip(attentions) {
        let Part { client, number } = part;
        let name = &config.clients[client].name;
        let disk = &config.disks[export.disk].name;
        let label = format!("{name}/{number} ({disk})");
        let wait = DeviceWait::new(shared.bell.clone(), &shared.areas, client, &label)?;
        let session = Session::new(
            Identity {
                label,
                queues: export.queues,
                first_slot: Slot(servers.len() * MAX_QUEUES),
            },
            Memory::new(Arc::clone(&shared.windows), client),
            VirtioDevice::new(&shared.areas.clients[client], number as u16, wait)?,
            shared.areas.clone(),
            shared.bell.clone(),
        );
        let path = config.socket(part);
        let server = Server::start(&path, session, attention, &acceptor)
            .with_context(|| format!("socket {}", path.display()))?;
        servers.push(server);
    }
    let ready = config
        .clients
        .iter()
        .enumerate()
        .flat_map(|(index, client)| {
            let link = client
                .is_channel_level()
                .then(|| config.link_socket(client));
            let disks = 0..client.exports.len();
            link.into_iter().chain(disks.map(move |number| {
                config.socket(Part {
                    client: index,
                    number,
                })
            }))
        });
    let ready: Vec<String> = ready.map(|path| path.display().to_string()).collect();
    *shared.servers.lock() = servers;
    sys::print(&format!("ready {}\n", ready.join(" "))).map(drop)
}

/// Makes the run directory, which is this daemon's as long as what is returned is open.
fn prepare_run_dir(config: &Config) -> Result<File> {
    let dir = &config.appliance.run_dir;
    let at = || format!("run directory {}", dir.display());
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        bail!(
            "{}: {error}; set run_dir = \"…\" in [appliance] to a directory that you may make, or XDG_RUNTIME_DIR in the environment, as a log-in does",
            at()
        );
    }
    // One that was made for it is closed to others; one that others use, as /tmp, is not taken away from them.
    let mode = fs::metadata(dir).with_context(at)?.permissions().mode();
    if mode & 0o077 != 0 {
        if fs::read_dir(dir).with_context(at)?.next().is_some() {
            bail!(
                "{} is open to others and not empty; set run_dir = \"…\" in [appliance] to a directory of its own, or \
                 chmod 700 it",
                at()
            );
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(at)?;
    }
    let locked = File::open(dir).with_context(at)?;
    let lock = flock(&locked, FlockOperation::NonBlockingLockExclusive);
    if lock.is_err() || api::is_alive(&api::socket(config)) {
        bail!(
            "a daemon already runs in {}; stop it, or set run_dir in [appliance] to keep the two apart",
            dir.display()
        );
    }
    File::create(dir.join("console.log")).with_context(at)?;
    fs::write(config.no_firmware(), NO_FIRMWARE).with_context(at)?;
    Ok(locked)
}

/// Gives the memory of channel-level clients names, by which their VMs have it.
fn name_memories(config: &Config, pool: &Pool) -> Result<()> {
    for (number, client) in config.clients.iter().enumerate() {
        let Some(memory) = pool.memory(number) else {
            continue;
        };
        let name = config.client_memory(client);
        // What a dead daemon has left behind leads nowhere.
        let _ = fs::remove_file(&name);
        let made = symlink(by_descriptor(memory), &name);
        made.with_context(|| name.display().to_string())?;
    }
    Ok(())
}

fn start_bell(
    config: &Config,
    areas: &Areas,
    bell: &BellHandle,
    attentions: &[OwnedFd],
) -> Result<JoinHandle<()>> {
    let exports = config.exports().zip(attentions);
    let exports = exports.map(|((part, _), attention)| {
        Ok(doorbell::Export {
            area: AreaNumber::of_client(part.client),
            subchannel: part.number as u32,
            attention: attention.try_clone()?,
        })
    });
    let listen = |path: &Path| sys::listen(path).with_context(|| path.display().to_string());
    let mut ringers = vec![Ringer::Daemon];
    for client in &config.clients {
        ringers.push(match client.is_channel_level() {
            true => Ringer::Client {
                name: client.name.clone(),
                listener: listen(&config.link_socket(client))?,
            },
            false => Ringer::Daemon,
        });
    }
    ringers.push(Ringer::Daemon);
    let thread = doorbell::Thread::new(
        bell.clone(),
        doorbell::Setup {
            areas: areas.numbered().cloned().zip(ringers).collect(),
            exports: exports.collect::<Result<_>>()?,
            link: listen(&config.in_run_dir("link.sock"))?,
            poll: config.appliance.poll,
        },
    )?;
    let builder = std::thread::Builder::new().name("bell".into());
    Ok(builder.spawn(move || thread.run())?)
}
