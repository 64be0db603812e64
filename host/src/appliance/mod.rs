//! The appliance's VM: its QEMU, how it is started, watched and ended.
//!
//! # Rules
//!
//! * QEMU dies with the daemon, however that dies.
//! * It is ended by its process id, which stays valid until [`Vm`] has taken its end.

mod args;
mod disk;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{pidfd_open, Pid, PidfdFlags, Signal};

pub use args::{appliance as args, comma_escaped, path_text, LINK_PORT};
pub use disk::{check_mdev, Backing, QCOW2_MAGIC};

/// Lines of QEMU's own messages that are kept for an error.
const KEPT_LINES: usize = 5;

/// A running QEMU.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    pidfd: OwnedFd,
    messages: Arc<Mutex<VecDeque<String>>>,
}

impl Vm {
    /// Starts QEMU. The thread that calls this must live as long as QEMU is to.
    ///
    /// # Errors
    ///
    /// There is no such program, or the system refuses.
    pub fn start(program: &str, args: &[String]) -> Result<Self> {
        tracing::debug!(%program, ?args, "starting");
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Signals from the terminal are the daemon's to handle.
            .process_group(0);
        let parent = rustix::process::getpid();
        // SAFETY: the closure makes two system calls, which are safe to make between fork and exec.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // The daemon may have died before the call above.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        let mut child = command.spawn().with_context(|| {
            format!("cannot start {program}; install it, or set qemu = \"…\" in [appliance]")
        })?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("pidfd")?;
        let messages = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            let messages = Arc::clone(&messages);
            std::thread::Builder::new()
                .name("qemu-messages".into())
                .spawn(move || relay(stderr, &messages))?;
        }
        Ok(Self {
            child,
            pidfd,
            messages,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable when it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Its last messages.
    pub fn messages(&self) -> Vec<String> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.iter().cloned().collect()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn relay(from: impl io::Read, messages: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        tracing::warn!("qemu: {line}");
        let mut kept = messages.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The last lines of the console log, for an error message.
pub fn last_lines(log: &Path, count: usize) -> String {
    let Ok(file) = File::open(log) else {
        return String::new();
    };
    let mut last = VecDeque::new();
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        if last.len() == count {
            last.pop_front();
        }
        let line = String::from_utf8_lossy(&line);
        last.push_back(format!("    {}", line.trim_end()));
    }
    Vec::from(last).join("\n")
}
