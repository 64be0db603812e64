//! What a daemon leaves to the one that follows it, in the [store](crate::store).
//!
//! # Rules
//!
//! * Everything that clients would notice the loss of is in it, at each instant: who dies has no time to write anything down.
//! * A daemon of another version takes it over if it understands all of it, and its own areas are the same. If not,
//!   it begins anew: then the appliance is started again, and clients' VMs have to be as well.
//! * Another configuration is written down as a whole, at one instant, and is the next daemon's: see `reload`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{getpid, pidfd_open, pidfd_send_signal, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::areas::FIRST_CONFIGURATION;
use crate::config::{Client, Config, Groups, Part, Seats};
use crate::doorbell::{ClientLink, LinkChange};
use crate::layout::Span;
use crate::pool::{FileIdentity, Layout, Pool};
use crate::store::{Key, Record, Store};
use crate::sys;
use crate::vhost::{self, Connection};
use crate::vm::{Backing, Image};

/// How [`Left`] is written.
const VERSION: u32 = 3;
/// So many daemons, one after the other, may die while they take it over.
const MOST_ATTEMPTS: u32 = 3;
/// How long the appliance's QEMU may take to end when nobody can take it over.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What is left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    version: u32,
    /// The text of the configuration by which clients are served, whatever stands in the file by now.
    pub config: String,
    /// What its groups are: the system's may not be there when another daemon looks.
    #[serde(default)]
    pub groups: Groups,
    /// Which places clients and disks have, and where in the pool.
    pub seats: Seats,
    pub layout: Layout,
    /// The generation of what the appliance is told of clients and disks.
    pub configuration: u32,
    /// Windows that are nobody's any more since that one. What is laid there is taken back when the appliance serves by it.
    pub vacated: Vec<Span>,
    /// Devices by their names in QEMU, besides disks, that are to be unplugged then.
    pub unplugged: Vec<String>,
    /// Devices by their names in QEMU that come when those are unplugged: they are the same file, device or number.
    #[serde(default)]
    pub held_back: Vec<String>,
    /// Names in the run directory that are not of this configuration, or may be none's: the next daemon removes them.
    #[serde(default)]
    pub names: Vec<PathBuf>,
    /// The run directory, locked.
    lock: Key,
    /// The process of the daemon that goes on with it.
    daemon: Key,
    pool: Key,
    /// A copy of the appliance's image.
    image: Key,
    /// Memory of clients that are channel-level.
    pub memories: Vec<Option<Key>>,
    pub exports: Vec<LeftExport>,
    /// For each client that is channel-level.
    pub links: Vec<Option<LeftLink>>,
    /// The appliance's VM, if there is one.
    pub vm: Option<LeftVm>,
    pub backings: Vec<Option<Backing>>,
    pub restarts: u32,
    /// How many daemons there were before.
    pub daemons: u32,
    /// How many of them, one after the other, have tried to take it over and died of that.
    pub attempts: u32,
    /// Memory that was served by daemons which nobody has followed.
    pub known: Vec<FileIdentity>,
    /// Disks that this system has reserved for clients.
    pub reserved: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeftExport {
    pub part: Part,
    pub listener: Key,
    record: Key,
    /// The record of who waits.
    door: Key,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeftLink {
    pub listener: Key,
    /// The client's VM, and the client's generation before it began.
    pub link: Option<(Key, u32)>,
}

/// The VM of the appliance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftVm {
    pub pid: u32,
    pub process: Key,
    /// Its memory.
    pub memory: Key,
    pub overlay: Key,
    pub monitor: Key,
    pub link: Key,
    pub messages: Option<Key>,
    pub console_from: u64,
    /// Since when it serves, on the system's clock without leaps.
    pub serving_since: Option<Duration>,
    /// Bytes of the disks' images when QEMU opened them.
    pub sizes: Vec<Option<u64>>,
}

impl Left {
    /// Whether something is to be cleared away when the appliance serves by the configuration.
    pub fn is_unsettled(&self) -> bool {
        !self.vacated.is_empty() || !self.unplugged.is_empty() || self.seats.is_unsettled()
    }

    /// What this configuration has left is cleared away. What another one has left, which has been written down meanwhile, is the next
    /// daemon's to clear.
    pub fn settle(&mut self, configuration: u32) {
        if self.configuration == configuration {
            self.vacated.clear();
            self.unplugged.clear();
            self.held_back.clear();
            self.seats.settle();
        }
    }

    /// The same of what was in windows.
    pub fn clear_windows(&mut self, configuration: u32) {
        if self.configuration == configuration {
            self.vacated.clear();
        }
    }

    /// What it leads to, but for what its connections have.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let exports = self.exports.iter().flat_map(LeftExport::keys);
        let links = self.links.iter().flatten();
        let links = links.flat_map(|it| [Some(it.listener), it.link.map(|(key, _)| key)]);
        let vm = self.vm.iter().flat_map(LeftVm::keys);
        let own = [Key::FIRST, self.lock, self.daemon, self.pool, self.image];
        let memories = self.memories.iter().copied().flatten();
        let all = own.into_iter().chain(memories).chain(exports);
        all.chain(links.flatten()).chain(vm)
    }

    /// What is kept of an export.
    pub fn export(&self, part: Part) -> Option<LeftExport> {
        self.exports.iter().find(|it| it.part == part).copied()
    }

    /// The configuration and the layout, if all is as this program would have it.
    fn understood(&self, config_file: &Path) -> Result<(Config, Layout)> {
        ensure!(self.version == VERSION, "it is of version {}", self.version);
        let config = Config::parse_again(config_file, &self.config, &self.groups)?;
        let mut config = config.seated(&self.seats);
        let layout = self.layout.clone();
        // It stays what it was, whatever the configuration would have now.
        config.appliance.private = layout.control.offset;
        layout.check(&config)?;
        ensure!(
            config
                .exports()
                .all(|(part, _)| self.export(part).is_some()),
            "it did not serve yet"
        );
        Ok((config, layout))
    }
}

impl LeftExport {
    pub fn keys(&self) -> [Key; 3] {
        [self.listener, self.record, self.door]
    }
}

impl LeftVm {
    fn keys(&self) -> impl Iterator<Item = Key> {
        let Self {
            process,
            memory,
            overlay,
            monitor,
            link,
            ..
        } = *self;
        let all = [process, memory, overlay, monitor, link];
        all.into_iter().chain(self.messages)
    }
}

/// All that is written down, for another program to say whether it could follow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Succession {
    left: Left,
    connections: Vec<Connection>,
}

impl Succession {
    pub fn check(&self, config_file: &Path) -> Result<()> {
        self.left.understood(config_file)?;
        let mut connections = self.connections.iter();
        ensure!(
            connections.all(Connection::is_understood),
            "it has connections of another version"
        );
        Ok(())
    }
}

/// The daemon's way to write it down.
#[derive(Debug)]
pub struct Handover {
    pub store: Arc<Store>,
    state: Mutex<(Record<Left>, Left)>,
}

/// What the daemon works with, made or taken over.
#[derive(Debug)]
pub struct Resources {
    pub config: Config,
    pub pool: Pool,
    pub image: Image,
    pub backings: Vec<Option<Backing>>,
    /// The run directory, this daemon's as long as it is open.
    pub lock: OwnedFd,
    /// For each client that is channel-level, where its VM connects, and its VM.
    pub links: Vec<Option<ClientLink>>,
    pub handover: Handover,
    /// If another daemon has left it.
    pub left: Option<Left>,
}

impl Resources {
    /// Keeps new ones for the next daemon.
    pub fn keep(
        config: Config,
        text: String,
        seats: Seats,
        pool: Pool,
        backings: Vec<Option<Backing>>,
        lock: OwnedFd,
        store: Arc<Store>,
    ) -> Result<Self> {
        let image = Image::read(&config.appliance.image)?;
        let (mut links, mut left_links) = (Vec::new(), Vec::new());
        for client in &config.clients {
            let link = client.is_channel_level().then(|| -> Result<_> {
                let (listener, left) = new_link(&config, client, &store)?;
                let link = None;
                Ok((ClientLink { listener, link }, left))
            });
            let (link, left) = link.transpose()?.unzip();
            links.push(link);
            left_links.push(left);
        }
        let memories = (0..config.clients.len()).map(|client| {
            let key = pool.memory(client).map(|memory| store.keep(memory));
            key.transpose()
        });
        let left = Left {
            version: VERSION,
            config: text,
            groups: config.groups(),
            seats,
            layout: pool.layout().clone(),
            configuration: FIRST_CONFIGURATION,
            vacated: Vec::new(),
            unplugged: Vec::new(),
            held_back: Vec::new(),
            names: Vec::new(),
            lock: store.keep(&lock)?,
            daemon: store.keep(this_process()?)?,
            pool: store.keep(&pool)?,
            image: store.keep(&image)?,
            memories: memories.collect::<std::io::Result<_>>()?,
            exports: Vec::new(),
            links: left_links,
            vm: None,
            backings: backings.clone(),
            restarts: 0,
            daemons: 0,
            attempts: 0,
            known: Vec::new(),
            reserved: Vec::new(),
        };
        let mut record = Record::first(&store)?;
        record.save(&left)?;
        let state = Mutex::new((record, left));
        Ok(Self {
            config,
            pool,
            image,
            backings,
            lock,
            links,
            handover: Handover { store, state },
            left: None,
        })
    }

    /// Takes over what another daemon has left; `None` if there was none.
    pub fn take_over(config_file: &Path, store: &Arc<Store>) -> Result<Option<Self>> {
        let (mut record, mut left) = match Record::<Left>::open(store, Key::FIRST) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("its record"),
        };
        let (config, layout) = left.understood(config_file)?;
        let file = |key| store.get(key).map(File::from);
        let memories = left.memories.iter();
        let memories = memories.map(|key| key.map(file).transpose());
        let memories = memories.collect::<std::io::Result<_>>()?;
        let pool = Pool::take_over(&config, layout, file(left.pool)?, memories)?;
        let mut links = Vec::new();
        for link in &left.links {
            let link = link.map(|LeftLink { listener, link }| -> Result<_> {
                let link = link.and_then(|(key, blank)| Some((store.get(key).ok()?.into(), blank)));
                let listener = store.get(listener)?.into();
                Ok(ClientLink { listener, link })
            });
            links.push(link.transpose()?);
        }
        ensure!(
            left.attempts < MOST_ATTEMPTS,
            "{} daemons have died of that",
            left.attempts
        );
        left.daemons += 1;
        left.attempts += 1;
        left.daemon = store.keep(this_process()?)?;
        record.save(&left)?;
        Ok(Some(Self {
            config,
            pool,
            image: Image::take_over(store.get(left.image)?),
            backings: left.backings.clone(),
            lock: store.get(left.lock)?,
            links,
            left: Some(left.clone()),
            handover: Handover {
                store: Arc::clone(store),
                state: Mutex::new((record, left)),
            },
        }))
    }
}

impl Handover {
    /// Writes down what the next daemon is to have. If that cannot be, nothing has changed.
    pub fn try_change(&self, change: impl FnOnce(&mut Left)) -> std::io::Result<()> {
        let mut state = self.state.lock();
        let (record, left) = &mut *state;
        let mut next = left.clone();
        change(&mut next);
        record.save(&next)?;
        *left = next;
        Ok(())
    }

    /// Has something change, and writes it down.
    pub fn change(&self, change: impl FnOnce(&mut Left)) {
        let mut state = self.state.lock();
        let (record, left) = &mut *state;
        change(left);
        if let Err(error) = record.save(left) {
            tracing::error!(%error, "what the next daemon is to know cannot be written down");
        }
    }

    /// What another daemon would find with this record.
    pub fn succession(&self, left: &Left) -> Result<Succession> {
        let mut connections = Vec::new();
        for export in &left.exports {
            let (_, connection) = Record::<Connection>::open(&self.store, export.record)?;
            // Nobody may be connected.
            connections.extend(Some(connection).filter(Connection::is_understood));
        }
        let left = left.clone();
        Ok(Succession { left, connections })
    }

    /// There is another VM, or none.
    pub fn change_vm(&self, vm: Option<LeftVm>) {
        let mut before = None;
        self.change(|left| before = std::mem::replace(&mut left.vm, vm));
        for key in before.iter().flat_map(LeftVm::keys) {
            self.store.forget(key);
        }
    }

    /// The appliance is started with another image from now on.
    pub fn change_image(&self, image: &Image) -> std::io::Result<()> {
        let mut key = self.keep(image)?;
        self.change(|left| std::mem::swap(&mut left.image, &mut key));
        self.store.forget(key);
        Ok(())
    }

    /// A channel-level client's VM has come or gone.
    pub fn change_link(&self, change: LinkChange) {
        let link = change
            .link
            .map(|(link, blank)| Some((self.store.keep(link).ok()?, blank)));
        let link = link.flatten();
        let mut before = None;
        self.change(|left| {
            if let Some(Some(this)) = left.links.get_mut(change.client) {
                before = std::mem::replace(&mut this.link, link);
            }
        });
        if let Some((key, _)) = before {
            self.store.forget(key);
        }
    }

    /// The socket of an export, what is kept of its connections, and what another daemon has left of them.
    pub fn export(&self, config: &Config, part: Part) -> Result<(vhost::Socket, vhost::Kept)> {
        let path = config.socket(part);
        let known = self.state.lock().1.export(part);
        let left = match known {
            Some(left) => left,
            None => {
                let left = self.new_export(config, part)?;
                self.change(|all| all.exports.push(left));
                left
            }
        };
        let (record, connection) = self.connection(left.record)?;
        let (door, waiting) = Record::open(&self.store, left.door)?;
        let listener = self.store.get(left.listener)?.into();
        let kept = vhost::Kept {
            store: Arc::clone(&self.store),
            record,
            door,
            connection,
            waiting,
        };
        Ok((vhost::Socket { path, listener }, kept))
    }

    /// Makes the socket of an export, and what is kept of its connections.
    pub fn new_export(&self, config: &Config, part: Part) -> Result<LeftExport> {
        let path = config.socket(part);
        let group = config.clients.get(part.client).and_then(|it| it.group);
        let listener = sys::listen_for(&path, group);
        let listener = listener.with_context(|| format!("socket {}", path.display()))?;
        self.blank_export(part, self.store.keep(&listener)?)
    }

    /// An export at a socket that is there, without connections.
    pub fn blank_export(&self, part: Part, listener: Key) -> Result<LeftExport> {
        let mut record = Record::new(&self.store)?;
        record.save(&Connection::default())?;
        let mut door = Record::<Option<Key>>::new(&self.store)?;
        door.save(&None)?;
        Ok(LeftExport {
            part,
            listener,
            record: record.key(),
            door: door.key(),
        })
    }

    /// What the next daemon would go on with.
    pub fn left(&self) -> Left {
        self.state.lock().1.clone()
    }

    /// What is known of a connection. One that is not understood is none: it ends, and the VM connects again.
    fn connection(&self, key: Key) -> Result<(Record<Connection>, Option<Connection>)> {
        match Record::<Connection>::open(&self.store, key) {
            Ok((record, connection)) if connection.is_understood() => {
                Ok((record, Some(connection)))
            }
            Ok((record, _)) => Ok((record, None)),
            Err(error) => {
                tracing::error!(%error, "a connection was not kept");
                let record = Record::new(&self.store)?;
                let (before, after) = (key, record.key());
                self.change(|left| {
                    let mut exports = left.exports.iter_mut();
                    if let Some(export) = exports.find(|export| export.record == before) {
                        export.record = after;
                    }
                });
                Ok((record, None))
            }
        }
    }

    /// Forgets what nothing leads to: it was kept, or to be forgotten, at the instant at which the daemon died.
    pub fn clean(&self, connections: impl Iterator<Item = Key>) {
        let left = self.left();
        let wanted: BTreeSet<Key> = left.keys().chain(connections).collect();
        self.store.retain(|key| wanted.contains(&key));
    }

    /// Removes names in the run directory that are nobody's: a daemon that has died could not.
    pub fn remove_names(&self, config: &Config) {
        let (names, own) = (self.left().names, config.names());
        for name in names.iter().filter(|it| !own.contains(it)) {
            let _ = fs::remove_file(name);
        }
        if !names.is_empty() {
            self.change(|left| left.names.clear());
        }
    }

    /// A copy of something that is kept.
    pub fn get(&self, key: Key) -> std::io::Result<OwnedFd> {
        self.store.get(key)
    }

    pub fn keep(&self, fd: impl AsFd) -> std::io::Result<Key> {
        self.store.keep(fd)
    }
}

/// Makes the socket of a channel-level client's link.
pub fn new_link(
    config: &Config,
    client: &Client,
    store: &Store,
) -> Result<(UnixListener, LeftLink)> {
    let path = config.link_socket(client);
    let listener = sys::listen(&path).with_context(|| path.display().to_string())?;
    let left = LeftLink {
        listener: store.keep(&listener)?,
        link: None,
    };
    Ok((listener, left))
}

fn this_process() -> std::io::Result<OwnedFd> {
    Ok(pidfd_open(getpid(), PidfdFlags::empty())?)
}

/// Makes sure that whoever has had what is in the store is dead: two daemons would both answer clients.
pub fn wait_for_predecessor(store: &Store) -> Result<()> {
    let Ok((_, left)) = Record::<Left>::open(store, Key::FIRST) else {
        return Ok(());
    };
    let Ok(process) = store.get(left.daemon) else {
        return Ok(());
    };
    let until = Instant::now() + END_LIMIT;
    while !sys::is_dead(&process) {
        ensure!(
            Instant::now() < until,
            "another daemon goes on with what is kept"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Ends the VM that a daemon has left which cannot be followed: no other one may run beside it.
pub fn end_vm(store: &Store) -> Result<()> {
    let left = Record::<Left>::open(store, Key::FIRST);
    let Some(vm) = left.ok().and_then(|(_, left)| left.vm) else {
        return Ok(());
    };
    let Ok(process) = store.get(vm.process) else {
        return Ok(());
    };
    let _ = pidfd_send_signal(&process, Signal::KILL);
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    sys::wait(&mut ended, Some(END_LIMIT))?;
    ensure!(
        !ended[0].revents().is_empty(),
        "its VM (pid {}) does not end: it waits for a disk",
        vm.pid
    );
    Ok(())
}
