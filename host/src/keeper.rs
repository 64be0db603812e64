//! The keeper: a process that starts the daemon, keeps copies of its descriptors, and starts it again when it has died.
//!
//! # Purpose
//!
//! It does for the daemon what systemd does for a service with a descriptor store, where there is no systemd: `stellwerk up` is the
//! keeper, and its child is the daemon. It knows nothing of what it keeps; see [`store`](crate::store) for what it is told.
//!
//! # Rules
//!
//! * A daemon that dies without having been told to stop is followed by another one, which is given all descriptors.
//! * A keeper that dies is followed by another one, which the daemon starts: it is given all descriptors again, and the daemon's end is
//!   watched by a descriptor. When both die at once, all descriptors are closed, and the appliance's QEMU ends by that.
//! * A signal that ends programs is the daemon's to obey.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::io::{fcntl_setfd, Errno, FdFlags};
use rustix::net::{
    recvmsg, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SocketFlags, SocketType,
};
use rustix::process::{
    getpid, getppid, pidfd_open, pidfd_send_signal, wait, Pid, PidfdFlags, Signal, WaitOptions,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::descriptors;
use crate::store::{inherit, Store, KEEPER, KEPT, PROCESS};
use crate::sys;

/// The word that makes a keeper of a process that the daemon has started.
pub const KEEP: &str = "keep";
/// The variable that says to such a keeper which descriptor is the daemon's process.
const DAEMON: &str = "STELLWERK_DAEMON";

/// So long after the start of a daemon, at least, the next one is started. When one after the other dies before it serves, this is twice
/// as long each time, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long after the end of its socket a daemon may take to end, if it does.
const ENDING: Duration = Duration::from_secs(5);
/// How long the daemon waits before it tries again to start a keeper.
const AGAIN: Duration = Duration::from_secs(1);
/// How long after its first thread the others of a process may take to end, if they do.
const LAST_THREADS: Duration = Duration::from_millis(200);
/// How often it is looked whether the daemon has died, when nothing says so.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of what a daemon says at a time.
const LONGEST: usize = 256;

/// `stellwerk up`: a keeper with a daemon; how the daemon has ended.
pub fn up() -> Result<ExitCode> {
    Keeper::new(None)?.run()
}

/// `stellwerk keep`: a keeper for the daemon that has started this process.
pub fn keep() -> Result<ExitCode> {
    let inherited = |name| {
        let number = env::var(name).ok().and_then(|text| text.parse().ok());
        env::remove_var(name);
        number
            .and_then(inherit)
            .with_context(|| format!("{name}: this is for the daemon itself"))
    };
    let daemon = Daemon {
        process: inherited(DAEMON)?,
        pid: None,
        status: None,
    };
    let socket = inherited(KEEPER)?;
    Keeper::new(Some((daemon, socket)))?.run()
}

/// Watches the daemon's keeper, and starts another one when it has died.
pub fn watch(store: &Arc<Store>) -> io::Result<()> {
    if !store.has_own_keeper() {
        return Ok(());
    }
    let store = Arc::clone(store);
    let mut keeper = store.keeper();
    // The one that has started this process, unless it has died since: then the parent is somebody else.
    let is_parent = |pid: &Pid| getppid() == Some(*pid);
    let parent = store.keeper_process().filter(is_parent);
    let process = parent.and_then(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let mut process = process
        .filter(|(pid, _)| is_parent(pid))
        .map(|(_, process)| process);
    let builder = std::thread::Builder::new().name("keeper".into());
    let watching = move || loop {
        if let Some(keeper) = &keeper {
            let ended = PollFd::new(keeper, PollFlags::RDHUP);
            if let Err(error) = sys::wait(&mut [ended], None) {
                tracing::error!(%error, "poll");
                return;
            }
            if sys::events(keeper, PollFlags::RDHUP).is_empty() {
                continue;
            }
        }
        tracing::warn!(
            "what keeps descriptors for the next daemon has died; another keeper is started"
        );
        // Two of them would start two daemons.
        if let Some(process) = process.take() {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
        match replace(&store) {
            Ok((socket, pidfd)) => (keeper, process) = (Some(socket), Some(pidfd)),
            Err(error) => {
                tracing::error!("no keeper can be started: {error:#}");
                keeper = None;
                std::thread::sleep(AGAIN);
            }
        }
    };
    builder.spawn(watching).map(drop)
}

/// Starts a keeper for this process, and gives it everything: the way to it, and its process.
fn replace(store: &Store) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = sockets()?;
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut command = Command::new(program()?);
    command.arg(KEEP).args(arguments());
    command.env(KEEPER, theirs.as_raw_fd().to_string());
    command.env(DAEMON, this.as_raw_fd().to_string());
    leave(&mut command, &[theirs.as_fd(), this.as_fd()]);
    let sys::Process { child, pidfd } = sys::Process::start(&mut command)?;
    collect(child);
    let moved = store.move_to(ours.try_clone()?);
    if moved.is_err() {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    moved?;
    Ok((ours, pidfd))
}

/// Takes the end of a process when it comes.
fn collect(mut child: Child) {
    let builder = std::thread::Builder::new().name("collect".into());
    // Without a thread it stays in the table of processes, ended.
    let _ = builder.spawn(move || child.wait());
}

/// The program as it is on disk: after an upgrade, the new one. The name is the one that this process was started by, whatever name its
/// own file has been given since; `main` asks for it first.
pub fn program() -> io::Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    match PROGRAM.get() {
        Some(path) => Ok(path),
        None => {
            let path = current_program()?;
            Ok(PROGRAM.get_or_init(|| path))
        }
    }
}

fn current_program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let text = path
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"));
    Ok(text.map_or(path.clone(), PathBuf::from))
}

/// What the daemon was told, as `stellwerk up` was.
fn arguments() -> impl Iterator<Item = OsString> {
    let mut given = env::args_os().skip(1).peekable();
    given.next_if(|word| word == KEEP);
    given
}

fn sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Leaves descriptors open in a process that is to be started.
fn leave(command: &mut Command, fds: &[BorrowedFd<'_>]) {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the closure makes system calls only, which are safe to make between fork and exec; the descriptors are open in the
    // child, a copy of this process.
    unsafe {
        command.pre_exec(move || {
            for &number in &numbers {
                fcntl_setfd(BorrowedFd::borrow_raw(number), FdFlags::empty())?;
            }
            Ok(())
        });
    }
}

/// Whether a process whose first thread has ended has no other one, or soon has none.
fn ends_by_now(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    sys::is_dead(process)
        && sys::wait(&mut ended, Some(LAST_THREADS)).is_ok()
        && !ended[0].revents().is_empty()
}

/// Whether a process ends, soon.
fn ends(process: &OwnedFd) -> bool {
    let until = Instant::now() + ENDING;
    while !sys::is_dead(process) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    sys::is_dead(process)
}

/// Closes what is not kept any more, and does not wait for it: in what a peer has sent and nobody has taken there can be files whose end takes
/// as long as the peer likes.
fn close(fds: impl IntoIterator<Item = OwnedFd>) {
    for fd in fds {
        let builder = std::thread::Builder::new().name("close".into());
        // Without a thread it is closed here.
        let _ = builder.spawn(move || drop(fd));
    }
}

/// A daemon that runs.
struct Daemon {
    process: OwnedFd,
    /// If this process has started it; and how it has ended, when it has.
    pid: Option<Pid>,
    status: Option<ExitStatus>,
}

#[derive(PartialEq, Eq)]
enum Heard {
    Something,
    Nothing,
}

struct Keeper {
    daemon: Option<Daemon>,
    /// From the daemon; none when it has got another keeper.
    socket: Option<OwnedFd>,
    kept: BTreeMap<String, OwnedFd>,
    signals: UnixStream,
    /// Orders to take another configuration, which are the daemon's.
    hangups: UnixStream,
    /// Whether a daemon has served.
    is_ready: bool,
    /// Whether somebody has asked for the end, and whether the daemon ends by that.
    is_asked: bool,
    is_told: bool,
    /// Whether the daemon dies on purpose, so that another one goes on.
    makes_room: bool,
    /// Whether the present one, or the last, has.
    serves: bool,
    /// When the last one was started, and how long after that the next one is, at least.
    started: Instant,
    pause: Duration,
}

impl Keeper {
    fn new(started: Option<(Daemon, OwnedFd)>) -> Result<Self> {
        let (signals, write_end) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, write_end.try_clone()?)?;
        }
        let (hangups, write_end) = UnixStream::pair()?;
        pipe::register(SIGHUP, write_end)?;
        descriptors::raise();
        // What a daemon that has died has started, its successor has not: it is this process's to collect.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        let (daemon, socket) = started.unzip();
        Ok(Self {
            daemon,
            socket,
            kept: BTreeMap::new(),
            signals,
            hangups,
            is_ready: false,
            is_asked: false,
            is_told: false,
            makes_room: false,
            serves: false,
            started: Instant::now(),
            pause: FIRST_PAUSE,
        })
    }

    fn run(mut self) -> Result<ExitCode> {
        loop {
            if self.daemon.is_none() {
                match self.start() {
                    Ok(()) => {}
                    Err(error) if self.is_ready => {
                        tracing::error!("no daemon can be started: {error:#}");
                        (self.serves, self.started) = (false, Instant::now());
                        self.rest()?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(status) = self.watch()? else {
                continue;
            };
            if self.is_told || !self.is_ready || self.socket.is_none() {
                let code = status.and_then(|status| status.code());
                return Ok(code.map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)));
            }
            if !std::mem::take(&mut self.makes_room) {
                let how = status.map_or("it is not known how".into(), |status| status.to_string());
                tracing::error!(
                    "the daemon has died ({how}); another one goes on with its connections"
                );
            }
            if self.is_asked && !self.serves {
                return Ok(ExitCode::FAILURE);
            }
            self.rest()?;
        }
    }

    /// Starts a daemon, and gives it what is kept.
    fn start(&mut self) -> Result<()> {
        let (ours, theirs) = sockets()?;
        let mut command = Command::new(program()?);
        command.args(arguments());
        // In a file: an environment has little room.
        let mut list = File::from(memfd_create("kept", MemfdFlags::CLOEXEC)?);
        for (key, fd) in &self.kept {
            writeln!(list, "{key} {}", fd.as_raw_fd())?;
        }
        let list = OwnedFd::from(list);
        command.env(KEPT, list.as_raw_fd().to_string());
        command.env(KEEPER, theirs.as_raw_fd().to_string());
        command.env(PROCESS, std::process::id().to_string());
        let fds = self.kept.values().chain([&theirs, &list]);
        let fds: Vec<BorrowedFd<'_>> = fds.map(AsFd::as_fd).collect();
        leave(&mut command, &fds);
        let sys::Process { child, pidfd } =
            sys::Process::start(&mut command).context("the daemon cannot be started")?;
        self.daemon = Some(Daemon {
            process: pidfd,
            pid: Some(Pid::from_child(&child)),
            status: None,
        });
        (self.serves, self.started) = (false, Instant::now());
        self.socket = Some(ours);
        Ok(())
    }

    /// Serves the daemon until something is to be looked at; how it has ended, if it has.
    fn watch(&mut self) -> Result<Option<Option<ExitStatus>>> {
        let Some(daemon) = &self.daemon else {
            return Ok(None);
        };
        let socket = self.socket.as_ref().unwrap_or(&daemon.process);
        let mut fds = [
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&daemon.process, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&self.hangups, PollFlags::IN),
        ];
        sys::wait(&mut fds, Some(LOOK)).context("poll")?;
        let [told, ended, said, hung_up] = fds.map(|fd| !fd.revents().is_empty());
        if told {
            let _ = self.signals.read(&mut [0; 16]);
            self.is_asked = true;
            let _ = pidfd_send_signal(&daemon.process, Signal::TERM);
        }
        if hung_up {
            let _ = self.hangups.read(&mut [0; 16]);
            let _ = pidfd_send_signal(&daemon.process, Signal::HUP);
        }
        if said && self.socket.is_some() {
            // What it has said before it ended comes first.
            while self.listen() == Heard::Something {}
        }
        // One that has died is gone as soon as its first thread is: another one may wait for a file system, for ever. One that ends by an
        // order has a status to be told.
        let process = self.daemon.as_ref().map(|daemon| &daemon.process);
        let ended = ended || !self.is_told && process.is_some_and(ends_by_now);
        self.collect();
        let process = self.daemon.as_ref().map(|daemon| &daemon.process);
        let is_dead = !self.is_told && process.is_some_and(sys::is_dead);
        if !ended && !is_dead {
            return Ok(None);
        }
        let status = self.daemon.take().and_then(|daemon| daemon.status);
        Ok(Some(status))
    }

    /// Takes the ends that have come of this process's children: the daemon, and what daemons have started that have died since.
    fn collect(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let daemon = self.daemon.as_mut().filter(|it| it.pid == Some(pid));
            if let Some(daemon) = daemon {
                daemon.status = Some(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }

    /// Takes the next of what the daemon has said.
    fn listen(&mut self) -> Heard {
        let Some(socket) = &self.socket else {
            return Heard::Nothing;
        };
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        ) {
            Ok(got) if got.bytes != 0 => got.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Heard::Nothing,
            Ok(_) | Err(_) => {
                // The daemon ends, or it has another keeper by now.
                let process = self.daemon.as_ref().map(|daemon| &daemon.process);
                if process.is_some_and(|process| !ends(process)) {
                    self.socket = None;
                    close(std::mem::take(&mut self.kept).into_values());
                }
                return Heard::Nothing;
            }
        };
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fd = fds.flatten().next();
        let text = String::from_utf8_lossy(bytes.get(..got).unwrap_or_default());
        let said = |wanted: &str| text.lines().find_map(|line| line.strip_prefix(wanted));
        if said("FDSTORE=1").is_some() {
            if let (Some(name), Some(fd)) = (said("FDNAME="), fd) {
                self.kept.insert(name.to_owned(), fd);
            }
        } else if said("FDSTOREREMOVE=1").is_some() {
            close(self.kept.remove(said("FDNAME=").unwrap_or_default()));
        }
        if said("READY=1").is_some() {
            self.serves = true;
            // It may have been asked before it could hear.
            if let Some(daemon) = self.daemon.as_ref().filter(|_| self.is_asked) {
                let _ = pidfd_send_signal(&daemon.process, Signal::TERM);
            }
        }
        self.is_ready |= self.serves;
        self.is_told |= said("STOPPING=1").is_some();
        self.makes_room |= said("RELOADING=1").is_some();
        Heard::Something
    }

    /// Waits before the next start.
    fn rest(&mut self) -> Result<()> {
        self.pause = match self.serves {
            true => FIRST_PAUSE,
            false => (self.pause * 2).min(LONGEST_PAUSE),
        };
        std::thread::sleep(self.pause.saturating_sub(self.started.elapsed()));
        Ok(())
    }
}
