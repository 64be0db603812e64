//! Sockets, waits, output and processes, as the system gives them.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{chownat, AtFlags, Gid, CWD};
use rustix::io::Errno;
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use rustix::time::{clock_gettime, ClockId};

/// A new listening socket for its owner, and the members of a group; one that a dead daemon left behind is replaced.
pub fn listen_for(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let listener = listen(path)?;
    if group.is_some() {
        give_to(path, group)?;
    }
    Ok(listener)
}

/// Lets the members of a group use a socket, and nobody but them and its owner.
pub fn give_to(path: &Path, group: Option<Gid>) -> io::Result<()> {
    let mode = match group {
        Some(_) => 0o660,
        None => 0o600,
    };
    if group.is_some() {
        chownat(CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The group of this name, if there is one.
pub fn find_group(name: &str) -> io::Result<Option<Gid>> {
    let name = CString::new(name)?;
    let mut text = vec![0; 1 << 16];
    // SAFETY: it consists of a number and of pointers, and zero is one of either.
    let mut group: libc::group = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends with a NUL; the call writes the group, a pointer to it, and what it points to into the text, which is as
    // long as the call is told.
    let error = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            &raw mut group,
            text.as_mut_ptr(),
            text.len(),
            &raw mut found,
        )
    };
    match error {
        0 if found.is_null() => Ok(None),
        0 => Ok(Some(Gid::from_raw(group.gr_gid))),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A new listening socket for its owner only; one that a dead daemon left behind is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let there = fs::symlink_metadata(path);
    if there.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Waits until one of these has something, or for so long. A signal ends the wait too.
pub fn wait(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(fds, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a descriptor has of these just now.
pub fn events(fd: impl AsFd, wanted: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, wanted)];
    match wait(&mut fds, Some(Duration::ZERO)) {
        Ok(()) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// How far into what lies in a socket the next look at it (MSG_PEEK) begins; none if each look begins at the start. The kernel moves it
/// on with each look, and back by what is read. It is the socket's, whoever has it.
pub fn peek_offset(stream: &UnixStream) -> io::Result<Option<usize>> {
    let mut offset: libc::c_int = 0;
    let mut length = size_of_val(&offset) as libc::socklen_t;
    // SAFETY: the call writes an integer and the length of one, each to a place that is good for it.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw mut offset).cast(),
            &raw mut length,
        )
    };
    match done {
        0 => Ok(usize::try_from(offset).ok()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets it.
pub fn set_peek_offset(stream: &UnixStream, offset: Option<u16>) -> io::Result<()> {
    let offset = offset.map_or(-1, libc::c_int::from);
    // SAFETY: the call reads one integer.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const offset).cast(),
            size_of_val(&offset) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the other side has closed a connection.
pub fn has_gone(stream: &UnixStream) -> bool {
    !events(stream, PollFlags::RDHUP).is_empty()
}

/// Writes to standard output. A reader that has read enough is no error; whether it wants more.
pub fn print(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(true),
    }
}

/// For how long the system has run: a clock that all processes share, and that does not leap.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Binds this thread, and all that it starts, to Landlock rules. It can be called between fork and exec.
pub fn restrict_self(rules: RawFd) -> io::Result<()> {
    // SAFETY: the call has a descriptor and flags, and touches no memory of this process.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the first thread of a process has ended, be there others.
pub fn is_dead(process: &OwnedFd) -> bool {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
    let about = about.unwrap_or_default();
    let pid = about.lines().find_map(|line| line.strip_prefix("Pid:"));
    let Some(pid) = pid.map(str::trim).filter(|pid| *pid != "-1") else {
        return true;
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_none_or(|state| matches!(state, 'Z' | 'X'))
}

#[derive(Debug)]
pub struct Process {
    pub child: Child,
    pub pidfd: OwnedFd,
}

impl Process {
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pidfd }),
            Err(error) => {
                // Nobody would know of it.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// Readable when it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until it has ended, or for so long; whether it has.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while matches!(self.child.try_wait(), Ok(None)) {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            if left.is_zero() || wait(&mut fds, Some(left)).is_err() {
                return false;
            }
        }
        true
    }
}
