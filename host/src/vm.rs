//! The appliance's VM: its QEMU, how it is started, watched and ended.
//!
//! # Rules
//!
//! * QEMU dies with the daemon, however that dies.
//! * It is ended by its process id, which stays valid until [`Vm`] has taken its end.

mod args;
mod disk;
pub mod look;
pub mod looks;
mod monitor;
mod plugs;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rustix::process::Signal;

use crate::log_limit::LogLimit;
use crate::sys::Process;

pub use args::{appliance as args, comma_escaped, path_text, LINK_PORT};
pub use disk::{check_mdev, Backing, QCOW2_MAGIC};
pub use monitor::{Monitor, MonitorError, MonitorEvent, Outcome, Plug};
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
    process: Process,
    messages: Arc<Mutex<VecDeque<String>>>,
    relay: Option<JoinHandle<()>>,
}

impl Vm {
    /// Starts QEMU. The thread that calls this must live as long as QEMU is to. The descriptors `inherited` are open in it too, under
    /// their numbers; `environment` is in its environment besides.
    pub fn start(
        program: &str,
        args: &[String],
        environment: [(&str, String); 2],
        inherited: &[BorrowedFd<'_>],
    ) -> Result<Self> {
        tracing::debug!(%program, ?args, "starting");
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Signals from the terminal are the daemon's to handle.
            .process_group(0);
        let parent = rustix::process::getpid();
        let inherited: Vec<_> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        // SAFETY: the closure makes four system calls, which are safe to make between fork and exec; the descriptors are open
        // in the child, a copy of this process.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // The daemon may have died before the call above.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                for &fd in &inherited {
                    let fd = BorrowedFd::borrow_raw(fd);
                    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
                }
                Ok(())
            });
        }
        let mut process = Process::start(&mut command).with_context(|| {
            format!("cannot start {program}; install it, or set qemu = \"…\" in [appliance]")
        })?;
        let messages = Arc::default();
        let stderr = process.child.stderr.take().map(|stderr| {
            let messages = Arc::clone(&messages);
            let builder = std::thread::Builder::new().name("qemu-messages".into());
            builder.spawn(move || relay(stderr, &messages))
        });
        Ok(Self {
            process,
            messages,
            relay: stderr.transpose()?,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub fn ended(&self) -> BorrowedFd<'_> {
        self.process.ended()
    }

    /// Its process, for whoever may have to end it.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.process.pidfd.try_clone()
    }

    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.child.try_wait()
    }

    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, signal);
    }

    /// Its last messages: of one that has ended, the very last ones.
    pub fn messages(&mut self) -> Vec<String> {
        if matches!(self.process.child.try_wait(), Ok(Some(_))) {
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
        if !matches!(self.process.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::KILL);
        if !self.process.ends_within(KILLED) {
            tracing::error!(
                pid = self.pid(),
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
