//! `stellwerk up`: everything together, from the configuration to the last clean-up.
//!
//! # The order of things
//!
//! Up: pool and areas, wake-up thread, control socket, the appliance's VM, and when that serves, the clients'
//! sockets. Down: the clients' sockets with their queues drained, disks' reservations, the appliance by an order in the control
//! area, its VM, the rest.
//!
//! An appliance that dies, or hangs, is started again in the same pool. Areas outlive it, and the clients' connections
//! with them.
//!
//! A daemon that dies is followed by another one, which goes on with all of it: see `handover`.

mod confine;
mod dump;
mod handover;
mod in_use;
mod launch;
mod observe;
mod plugged;
mod plugging;
mod reload;
mod requests;
mod resize;
mod retry;
mod supervise;
pub(crate) mod trace;
mod upgrade;
mod watchdog;

use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{symlink, DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use dasd_tools::admin::Reservation;
use dasd_tools::reserve::{release_all, Reservations};
use parking_lot::Mutex;
use rustix::fs::{flock, FlockOperation, Mode};
use rustix::process::umask;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::api;
use crate::areas::Areas;
use crate::check;
use crate::config::{show_size, Config, Part, Seats, MIB, NO_FIRMWARE};
use crate::descriptors;
use crate::doorbell::{self, new_eventfd, BellHandle, ClientLink, LinkChange, Ringer};
use crate::keeper;
use crate::layout::{AreaNumber, Slot};
use crate::pool::{by_descriptor, Layout, Pool};
use crate::remote::{DeviceWait, HostClient, VirtioDevice};
use crate::store::{Key, Store};
use crate::sys;
use crate::vhost::{self, Acceptor, Identity, Memory, Server, Session};
use crate::windows::{Former, Laid, Loaded, Windows};
use vcss::client::MAX_QUEUES;
use vcss::control::Loan;

use handover::{Handover, Left, Resources};
use plugged::PluggedDevices;
use supervise::{Stop, Supervisor};
use upgrade::Upgrades;

pub use upgrade::{understands, UNDERSTANDS};

/// How long clients' disks may take to let requests in flight end, when the daemon is told to stop.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// How long a disk that another system has reserved meanwhile is waited for before it is not released.
const ONE_RELEASE: Duration = Duration::from_secs(1);

/// What several threads know of the daemon.
#[derive(Debug)]
struct Shared {
    /// The configuration's file, and what it said when this became the daemon's.
    file: PathBuf,
    config: Config,
    layout: Layout,
    pool: Pool,
    /// What is loaded into QEMU.
    loaded: Loaded,
    /// What QEMU is bound to.
    rules: Option<OwnedFd>,
    /// The memory of the appliance's VM.
    vm_memory: Mutex<Option<OwnedFd>>,
    windows: Arc<Windows>,
    areas: Areas,
    bell: BellHandle,
    started: Instant,
    run: Mutex<Run>,
    reservations: Reservations,
    plugged: PluggedDevices,
    handover: Handover,
    upgrades: Upgrades,
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

/// `store` is what whoever has started this daemon keeps, for the next one, and has kept, of the one before.
pub fn up(config_file: &Path, store: Store) -> Result<()> {
    // No file of the daemon's, nor of QEMU's, is for others, whatever the directory allows.
    umask(Mode::from_raw_mode(0o077));
    confine::drop_privileges().context("privileges cannot be given up")?;
    // At any time, the next daemon's start included, that is an order which is carried out later.
    let (hangups, hangup) = UnixStream::pair()?;
    pipe::register(SIGHUP, hangup)?;
    let store = Arc::new(store);
    handover::wait_for_predecessor(&store)?;
    let taken = Resources::take_over(config_file, &store);
    let (signals, write_end) = UnixStream::pair()?;
    let heed = || -> Result<()> {
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, write_end.try_clone()?)?;
        }
        Ok(())
    };
    let resources = match taken.context("what another daemon has left cannot be taken over") {
        Ok(Some(resources)) => resources,
        // Until all has been looked at a signal ends the program: that can take long.
        Ok(None) => create(config_file, &store)?,
        Err(error) => {
            tracing::error!(
                "{error:#}; the appliance is started anew, and clients' VMs have to be"
            );
            handover::end_vm(&store)?;
            store.retain(|_| false);
            create(config_file, &store)?
        }
    };
    heed()?;
    keeper::watch(&store)?;
    let file = config_file.to_owned();
    run(file, resources, signals, hangups)
}

/// Makes everything anew.
fn create(config_file: &Path, store: &Arc<Store>) -> Result<Resources> {
    let (config, text) = Config::load_text(config_file)?;
    descriptors::prepare(&config)?;
    let mut backings = check::look(&config)?;
    let lock = prepare_run_dir(&config)?;
    let seats = Seats::new(&config);
    let config = config.seated(&seats);
    backings.resize(config.disks.len(), None);
    let pool = Pool::create(&config)?;
    tracing::info!(
        run_dir = %config.appliance.run_dir.display(),
        "{} for the appliance, and room for {} of clients",
        show_size(config.appliance.private),
        show_size(pool.layout().room().length / MIB * MIB),
    );
    Areas::lay_out(&config, &pool)?;
    Resources::keep(config, text, seats, pool, backings, lock, Arc::clone(store))
}

fn run(
    file: PathBuf,
    resources: Resources,
    signals: UnixStream,
    hangups: UnixStream,
) -> Result<()> {
    let Resources {
        config,
        pool,
        image,
        backings,
        lock: _locked,
        links,
        handover,
        left,
    } = resources;
    descriptors::prepare(&config)?;
    let loaded = Loaded::find()?;
    let rules = confine::of_qemu(&config.appliance);
    let layout = pool.layout().clone();
    let areas = Areas::open(&config, &pool)?;
    let bell = BellHandle::new(areas.numbered().count())?;
    let known = left.as_ref().map(|left| &*left.known);
    let former = Former::open(&config.appliance.run_dir, known)?;
    let known = former.known();
    handover.change(|left| left.known = known);
    let windows = Windows::new(&pool, &areas.control, bell.clone(), former)?;
    name_memories(&config, &pool)?;
    let attentions: Result<Vec<OwnedFd>> = config.exports().map(|_| Ok(new_eventfd()?)).collect();
    let attentions = attentions?;
    let (nudges, nudge) = UnixStream::pair()?;
    nudge.set_nonblocking(true)?;
    let upgrades = Upgrades::new(nudge.try_clone()?, signals.try_clone()?);
    let plugged = PluggedDevices::new(&config, nudge);
    let (changes, changed) = mpsc::channel();
    let bells = Bells {
        links,
        changes,
        is_taken_over: left.is_some(),
    };
    let thread = start_bell(&config, &areas, &bell, &attentions, bells)?;
    let restarts = left.as_ref().map_or(0, |left| left.restarts);
    let reserved = left.iter().flat_map(|left| left.reserved.clone());
    let shared = Arc::new(Shared {
        file,
        config,
        layout,
        pool,
        loaded,
        rules,
        vm_memory: Mutex::default(),
        windows: Arc::new(windows),
        areas,
        bell,
        started: Instant::now(),
        run: Mutex::new(Run {
            restarts,
            ..Run::default()
        }),
        reservations: Reservations::of_us(reserved),
        plugged,
        handover,
        upgrades,
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

    let mut supervisor = Supervisor::new(&shared, image, backings, signals, nudges);
    let ended = match &left {
        None => follow_links(&shared, changed)
            .map_err(Stop::from)
            .and_then(|()| {
                supervisor.start_first().and_then(|()| {
                    serve(&shared, attentions)?;
                    shared.handover.store.say("READY=1");
                    reload::heed(&shared, hangups)?;
                    supervisor.watch()
                })
            }),
        Some(left) => {
            let taken = take_over(&shared, attentions, changed, &mut supervisor, left);
            // The keeper starts another one, which tries it again.
            if let Err(Stop::Failed(error)) = taken {
                return Err(error.context("what another daemon has left cannot be taken over"));
            }
            taken.and_then(|()| {
                reload::heed(&shared, hangups)?;
                supervisor.take_over_monitor(left);
                supervisor.watch()
            })
        }
    };
    shared.handover.store.say("STOPPING=1");
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
        server.remove_socket();
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
    for name in config.names() {
        let _ = fs::remove_file(name);
    }
    // Nobody follows. A thread that waits for a peer's file system keeps the process, and must not keep the run directory with it.
    shared.handover.store.retain(|_| false);
    outcome.and(ended)
}

/// Waits until a thread has ended, or until then; whether it has. One that has not ends with the process.
fn ends_until(thread: &JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.is_finished()
}

/// Goes on where another daemon has died: with the clients' memory, their connections, and the appliance's VM.
fn take_over(
    shared: &Arc<Shared>,
    attentions: Vec<OwnedFd>,
    changed: Receiver<LinkChange>,
    supervisor: &mut Supervisor<'_>,
    left: &Left,
) -> Result<(), Stop> {
    let began = Instant::now();
    // What was lent to a command of somebody's goes back: whoever gave the command has been told that it was cut off.
    for disk in 0..shared.config.disks.len() {
        shared.areas.want_maintenance(disk, Loan::NONE)?;
    }
    // First of all the memory: it has to be laid in whatever QEMU comes.
    let (sessions, connections) = sessions(shared)?;
    shared.handover.clean(connections.into_iter());
    shared.handover.remove_names(&shared.config);
    follow_links(shared, changed)?;
    let mut left_connections = sessions
        .iter()
        .filter_map(|(_, _, kept)| kept.connection.as_ref());
    let was_changing = left_connections.any(|it| it.message.is_some() || it.ends);
    let is_new = shared.areas.configuration()?.load() != left.configuration;
    let laid = match was_changing || is_new {
        true => Laid::Perhaps,
        false => Laid::All,
    };
    supervisor.take_over(left, laid)?;
    shared.windows.publish_all();
    if is_new {
        // Memory that the daemon gives is there before its client is.
        (shared.areas).tell(&shared.config, &shared.layout, left.configuration)?;
        shared.bell.ring(AreaNumber::CONTROL);
        reload::await_appliance(shared, left.configuration);
    }
    open(shared, sessions, attentions)?;
    shared.bell.ring(AreaNumber::CONTROL);
    shared.handover.change(|left| left.attempts = 0);
    shared.handover.store.say("READY=1");
    let took_ms = began.elapsed().as_millis();
    if is_new {
        tracing::info!(took_ms, "goes on with another configuration");
    } else {
        let nth = left.daemons;
        tracing::warn!(
            took_ms,
            "goes on where another daemon has died; it is the {nth}th after the first"
        );
    }
    Ok(())
}

/// An export's session, its socket, and what is kept of its connections.
type Opened = (Session, vhost::Socket, vhost::Kept);

/// A session for each export, with what another daemon has left of it; and what is kept of their connections.
fn sessions(shared: &Shared) -> Result<(Vec<Opened>, Vec<Key>)> {
    let config = &shared.config;
    let (mut sessions, mut keys) = (Vec::new(), Vec::new());
    for (part, export) in config.exports() {
        let Part { client, number } = part;
        let name = &config.clients[client].name;
        let disk = &config.disks[export.disk].name;
        let label = format!("{name}/{number} ({disk})");
        let wait = DeviceWait::new(shared.bell.clone(), &shared.areas, client, &label)?;
        let mut session = Session::new(
            Identity {
                label,
                queues: export.queues,
                first_slot: Slot(sessions.len() * MAX_QUEUES),
            },
            Memory::new(Arc::clone(&shared.windows), part),
            VirtioDevice::new(&shared.areas.clients[client], number as u16, wait)?,
            shared.areas.clone(),
            shared.bell.clone(),
            Arc::clone(&shared.handover.store),
        );
        let (socket, kept) = shared.handover.export(config, part)?;
        if let Some(connection) = &kept.connection {
            session.restore(&connection.session);
            keys.extend(connection.keys());
        }
        keys.extend(kept.waiting);
        keys.push(kept.door.key().arrival());
        sessions.push((session, socket, kept));
    }
    Ok((sessions, keys))
}

/// Lets clients come.
fn open(shared: &Shared, sessions: Vec<Opened>, attentions: Vec<OwnedFd>) -> Result<()> {
    let acceptor = Arc::new(Acceptor::start()?);
    let mut servers = Vec::new();
    for ((session, socket, kept), attention) in sessions.into_iter().zip(attentions) {
        servers.push(Server::start(socket, session, kept, attention, &acceptor)?);
    }
    *shared.servers.lock() = servers;
    Ok(())
}

/// Opens the clients' sockets and says so.
fn serve(shared: &Shared, attentions: Vec<OwnedFd>) -> Result<()> {
    let config = &shared.config;
    shared.windows.publish_all();
    open(shared, sessions(shared)?.0, attentions)?;
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
    sys::print(&format!("ready {}\n", ready.join(" "))).map(drop)
}

/// Notes which VMs of channel-level clients are connected, for the next daemon. The wake-up thread waits for nobody.
fn follow_links(shared: &Arc<Shared>, changes: Receiver<LinkChange>) -> Result<()> {
    let shared = Arc::clone(shared);
    let follow = move || {
        for change in changes {
            shared.handover.change_link(change);
        }
    };
    let builder = std::thread::Builder::new().name("links".into());
    builder.spawn(follow)?;
    Ok(())
}

/// Makes the run directory, which is this daemon's as long as what is returned is open.
fn prepare_run_dir(config: &Config) -> Result<OwnedFd> {
    let dir = &config.appliance.run_dir;
    let at = || format!("run directory {}", dir.display());
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        bail!(
            "{}: {error}; set run_dir = \"…\" in [appliance] to a directory that you may make, or XDG_RUNTIME_DIR in the environment, as a log-in does",
            at()
        );
    }
    // Whoever is given one of the sockets finds it by its name, and no other file.
    let has_groups = config.clients.iter().any(|it| it.group.is_some());
    let wanted = if has_groups { 0o711 } else { 0o700 };
    // One that was made for it is closed to others; one that others use, as /tmp, is not taken away from them.
    let mode = fs::metadata(dir).with_context(at)?.permissions().mode();
    let is_open = mode & 0o066 != 0;
    if is_open && fs::read_dir(dir).with_context(at)?.next().is_some() {
        bail!(
            "{} is open to others and not empty; set run_dir = \"…\" in [appliance] to a directory of its own, or \
             chmod 700 it",
            at()
        );
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(wanted)).with_context(at)?;
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
    Ok(locked.into())
}

/// Lets members of clients' groups find their sockets in the run directory, by their names.
fn open_run_dir(config: &Config) -> Result<()> {
    let dir = &config.appliance.run_dir;
    let set = fs::set_permissions(dir, fs::Permissions::from_mode(0o711));
    set.with_context(|| format!("run directory {}", dir.display()))
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

/// What the wake-up thread has of this daemon and of the one before.
struct Bells {
    links: Vec<Option<ClientLink>>,
    changes: Sender<LinkChange>,
    is_taken_over: bool,
}

fn start_bell(
    config: &Config,
    areas: &Areas,
    bell: &BellHandle,
    attentions: &[OwnedFd],
    bells: Bells,
) -> Result<JoinHandle<()>> {
    let exports = config.exports().zip(attentions);
    let exports = exports.map(|((part, _), attention)| {
        Ok(doorbell::Export {
            area: AreaNumber::of_client(part.client),
            subchannel: part.number as u32,
            attention: attention.try_clone()?,
        })
    });
    let mut ringers = vec![Ringer::Daemon];
    for (client, link) in config.clients.iter().zip(bells.links) {
        let name = client.name.clone();
        ringers.push(match link {
            Some(link) => Ringer::Client { name, link },
            None if client.is_vacant() => Ringer::Nobody,
            None => Ringer::Daemon,
        });
    }
    ringers.push(Ringer::Daemon);
    let thread = doorbell::Thread::new(
        bell.clone(),
        doorbell::Setup {
            areas: areas.numbered().cloned().zip(ringers).collect(),
            exports: exports.collect::<Result<_>>()?,
            is_taken_over: bells.is_taken_over,
            links: bells.changes,
            poll: config.appliance.poll,
        },
    )?;
    let builder = std::thread::Builder::new().name("bell".into());
    Ok(builder.spawn(move || thread.run())?)
}
