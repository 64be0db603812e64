//! The appliance's VM: its QEMU, how it is started, watched and ended.
//!
//! # Rules
//!
//! * QEMU outlives the daemon, and the next one takes it over. When nobody is left who could, it ends: see `overlay`.
//! * It is ended by a descriptor of its process. Of one that another daemon has started it is not known how it has ended.

mod args;
mod disk;
mod image;
pub mod look;
pub mod looks;
mod monitor;
mod plugs;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use crate::log_limit::LogLimit;
use crate::sys::{self, Process};

pub use args::{appliance as args, comma_escaped, path_text, Inherited, LINK_PORT};
pub use disk::{check_mdev, Backing, QCOW2_MAGIC};
pub use image::{no_image, Image};
pub use monitor::{Monitor, MonitorError, MonitorEvent, Outcome, Plug, ShutDown};
pub use plugs::Pluggable;

/// Bytes of one of QEMU's own messages; what is longer is several.
const LONGEST: u64 = 4096;
/// Lines of QEMU's own messages that are kept for an error.
const KEPT_LINES: usize = 5;
/// How long the last of them are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a QEMU that was killed is waited for.
const KILLED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Vm {
    pid: u32,
    /// Its process.
    pidfd: OwnedFd,
    /// If this daemon has started it.
    child: Option<Child>,
    /// Where its messages come from.
    stderr: Option<OwnedFd>,
    messages: Arc<Mutex<VecDeque<String>>>,
    relay: Option<JoinHandle<()>>,
}

impl Vm {
    /// Starts QEMU, in a session of its own, by these Landlock rules. The descriptors `inherited` are open in it too, under their
    /// numbers; `environment` is in its environment besides.
    pub fn start(
        program: &str,
        args: &[String],
        environment: [(&str, String); 2],
        inherited: &[BorrowedFd<'_>],
        rules: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        tracing::debug!(%program, ?args, "starting");
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let inherited: Vec<_> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let rules = rules.map(|rules| rules.as_raw_fd());
        // SAFETY: the closure makes system calls only, which are safe to make between fork and exec; the descriptors are open in
        // the child, a copy of this process.
        unsafe {
            command.pre_exec(move || {
                // Signals from the terminal are the daemon's to handle.
                rustix::process::setsid()?;
                for &fd in &inherited {
                    let fd = BorrowedFd::borrow_raw(fd);
                    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
                }
                rules.map_or(Ok(()), sys::restrict_self)
            });
        }
        let Process { mut child, pidfd } = Process::start(&mut command).with_context(|| {
            format!("cannot start {program}; install it, or set qemu = \"…\" in [appliance]")
        })?;
        let (pid, stderr) = (child.id(), child.stderr.take().map(OwnedFd::from));
        Self::over(pid, pidfd, Some(child), stderr)
    }

    /// The QEMU that another daemon has started.
    pub fn take_over(pid: u32, pidfd: OwnedFd, stderr: Option<OwnedFd>) -> Result<Self> {
        Self::over(pid, pidfd, None, stderr)
    }

    fn over(
        pid: u32,
        pidfd: OwnedFd,
        child: Option<Child>,
        stderr: Option<OwnedFd>,
    ) -> Result<Self> {
        let messages = Arc::default();
        let from = stderr.as_ref().map(OwnedFd::try_clone).transpose()?;
        let relay = from.map(|from| {
            let messages = Arc::clone(&messages);
            let builder = std::thread::Builder::new().name("qemu-messages".into());
            builder.spawn(move || relay(File::from(from), &messages))
        });
        Ok(Self {
            pid,
            pidfd,
            child,
            stderr,
            messages,
            relay: relay.transpose()?,
        })
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Where its messages come from.
    pub const fn stderr(&self) -> Option<&OwnedFd> {
        self.stderr.as_ref()
    }

    pub fn has_ended(&self) -> bool {
        !sys::events(&self.pidfd, PollFlags::IN).is_empty()
    }

    /// How it has ended, in words; nothing while it runs.
    pub fn end(&mut self) -> Option<String> {
        if !self.has_ended() {
            return None;
        }
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        Some(status.map_or("it is not known how".into(), |status| status.to_string()))
    }

    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Its last messages: of one that has ended, the very last ones.
    pub fn messages(&mut self) -> Vec<String> {
        if self.has_ended() {
            // A child of QEMU's may still hold the pipe.
            let until = Instant::now() + LAST_WORDS;
            let relay = self.relay.as_ref();
            while relay.is_some_and(|it| !it.is_finished()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.messages.lock().iter().cloned().collect()
    }
}

impl Drop for Vm {
    /// One that waits for a disk in the kernel ends when that answers, and not before. It is left to whoever collects processes
    /// without a parent.
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::KILL);
            let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
            let _ = sys::wait(&mut ended, Some(KILLED));
        }
        if self.end().is_none() {
            tracing::error!(
                pid = self.pid,
                "QEMU was killed and does not end: it waits for a disk, which can still read and write what it was told to"
            );
        }
    }
}

fn relay(from: impl io::Read, messages: &Mutex<VecDeque<String>>) {
    // What a client has a device do can make QEMU say something, as often as the client likes.
    let mut log = LogLimit::new();
    let mut from = BufReader::new(from);
    while let Some(line) = next_line(&mut from) {
        if let Some(more) = log.line() {
            tracing::warn!("qemu: {line}{more}");
        }
        let mut kept = messages.lock();
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The next line, of which at most [`LONGEST`] bytes are kept in memory at a time; `None` at the end.
fn next_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let mut limited = from.take(LONGEST);
    let taken = limited.read_until(b'\n', &mut line).ok()?;
    (taken != 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned())
}

const REPORT_LINES: usize = 30;
/// Of a console without a report, the last ones.
const LAST_LINES: usize = 8;
/// How a crash report begins, and where what is less telling begins in it.
const REPORT: &str = "==== stellwerk ";
const RECORDS: &str = "last log records:";

/// What the console log has from an offset on, for an error message: the head of the crash report if there is one, without the
/// registers; else the last lines. `None` if there is nothing.
pub fn console_report(log: &Path, from: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let lines: Vec<String> = lines
        .map(|line| String::from_utf8_lossy(&line).trim_end().to_owned())
        .collect();
    let report = lines.iter().position(|line| line.starts_with(REPORT));
    let is_register = |line: &&String| {
        let name = line.split_whitespace().next().unwrap_or_default();
        let number = name.trim_start_matches('c').strip_prefix('r');
        number.is_some_and(|number| number.parse::<u8>().is_ok())
    };
    let said: Vec<&String> = match report {
        Some(at) => lines[at..]
            .iter()
            .take_while(|line| *line != RECORDS)
            .filter(|line| !line.is_empty() && !is_register(line))
            .take(REPORT_LINES)
            .collect(),
        None => {
            let said: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
            said[said.len().saturating_sub(LAST_LINES)..].to_vec()
        }
    };
    let said: Vec<String> = said.iter().map(|line| format!("    {line}")).collect();
    (!said.is_empty()).then(|| said.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::logged;

    #[test]
    fn what_qemu_says_is_relayed_in_moderation_and_the_last_of_it_is_kept() {
        let said: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let said = [said.as_bytes(), b"no UTF-8: \xff\n", &[b'x'; 1 << 20]].concat();
        let kept = Mutex::default();
        let log = logged(|| relay(&*said, &kept));
        assert!(log.contains("qemu: line 0"), "{log}");
        assert!(log.lines().count() < 50, "{} lines", log.lines().count());
        let kept = kept.into_inner();
        assert_eq!(kept.len(), KEPT_LINES);
        assert!(kept.iter().all(|line| line.len() <= LONGEST as usize));
        let kept = Mutex::default();
        relay(&b"no UTF-8: \xff\nlast\n"[..], &kept);
        assert_eq!(kept.into_inner(), ["no UTF-8: \u{fffd}", "last"]);
    }

    #[test]
    fn of_a_crash_report_the_head_is_told_and_of_other_consoles_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("console.log");
        let boot: String = (0..20).map(|n| format!("[ 0.0{n}] boot\n")).collect();
        std::fs::write(&log, &boot).unwrap();
        let told = console_report(&log, 0).unwrap();
        assert_eq!(told.lines().count(), LAST_LINES);
        assert!(told.ends_with("[ 0.019] boot"), "{told}");
        assert_eq!(console_report(&log, boot.len() as u64), None);
        let report = "==== stellwerk 0.1.0 stopped: panic ====\nsrc/main.rs:1: no\nPSW  0704\nr0   00  01\ncr0  00\n\
                      call chain:\n  at   0001\nlast log records:\n[ 0.1] old\n==== panic: disabled wait E02 ====\n";
        std::fs::write(&log, format!("{boot}{report}")).unwrap();
        let told = console_report(&log, boot.len() as u64).unwrap();
        let expected = [
            "==== stellwerk 0.1.0 stopped: panic ====",
            "src/main.rs:1: no",
            "PSW  0704",
            "call chain:",
            "at   0001",
        ];
        assert_eq!(told.lines().map(str::trim).collect::<Vec<_>>(), expected);
    }
}
