//! A look at a file of somebody's, by a process of its own.
//!
//! # Purpose
//!
//! A file system that does not answer, as one whose server is gone, holds up whoever asks it, often so that no signal ends it. The
//! daemon must not be held up, and a thread would not do: a process with a thread that is stuck does not end, and keeps its pool and
//! sockets. So this program starts itself again, as `stellwerk look FILE`, with nothing but a pipe, and waits for as long as it likes.
//!
//! # Limits
//!
//! What answers now may not do so a moment later, when QEMU opens it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{bail, Context, Result};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::sys::Process;

/// The hidden command that does it.
pub const COMMAND: &str = "look";
/// This program, also when its file has been replaced. The one with the unit tests has no such command.
#[cfg(test)]
const THIS_PROGRAM: &str = "true";
#[cfg(not(test))]
const THIS_PROGRAM: &str = "/proc/self/exe";
/// What is said of a file that is still not there when its time is up.
pub const NO_ANSWER: &str = "its file system does not answer";
/// Why nothing is known of a file.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("{NO_ANSWER}")]
    NoAnswer,
    /// The system has nothing left for the process.
    #[error("it cannot be looked at")]
    Start(#[from] io::Error),
    #[error("looking at it ended with {0}")]
    Ended(ExitStatus),
    /// In the words of the process.
    #[error("{0}")]
    Said(String),
}

/// How much of the file is read: enough for any alignment.
const READ: usize = 4096;

// What is to be looked at, and how it will be opened. What is said in `///` are the options of the command.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Order {
    /// The file
    pub path: PathBuf,
    /// It will be written
    #[arg(long)]
    pub write: bool,
    /// It will be opened past the page cache
    #[arg(long)]
    pub direct: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub device: bool,
    pub bytes: u64,
}

/// Does it, in the process that may be held up: opens the file, reads its beginning and asks for its locks, as QEMU will.
pub fn look(order: &Order) -> Result<Found> {
    let named = || order.path.display().to_string();
    // Looked at before it is opened: a pipe would hold up whoever opens it.
    let kind = std::fs::metadata(&order.path)
        .with_context(named)?
        .file_type();
    if !kind.is_file() && !kind.is_block_device() {
        bail!("{} is neither a file nor a block device", named());
    }
    let flags = match order.direct {
        true => OFlags::DIRECT,
        false => OFlags::empty(),
    };
    let mut options = File::options();
    options.read(true).write(order.write);
    let file = options
        .custom_flags(flags.bits() as i32)
        .open(&order.path)
        .with_context(named)?;
    // Whether that works is QEMU's to say; here it has to come to an end.
    let mut buffer = vec![0; 2 * READ];
    let skip = buffer.as_ptr().align_offset(READ).min(READ);
    let _ = file.read_at(&mut buffer[skip..skip + READ], 0);
    let any_lock = rustix::process::Flock::from(rustix::process::FlockType::ReadLock);
    let _ = rustix::process::fcntl_getlk(&file, &any_lock);
    let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).with_context(named)?;
    Ok(Found {
        device: kind.is_block_device(),
        bytes,
    })
}

#[derive(Debug)]
pub struct Look(Process);

impl Look {
    pub fn start(order: &Order) -> io::Result<Self> {
        let mut command = Command::new(THIS_PROGRAM);
        command.arg(COMMAND).arg(&order.path);
        for (wanted, option) in [(order.write, "--write"), (order.direct, "--direct")] {
            if wanted {
                command.arg(option);
            }
        }
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Process::start(&mut command).map(Self)
    }

    pub fn ended(&self) -> BorrowedFd<'_> {
        self.0.ended()
    }

    /// What came of it, if it has come to an end.
    pub fn outcome(&mut self) -> Option<Result<Found, LookError>> {
        let status = match self.0.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(error) => return Some(Err(LookError::Said(error.to_string()))),
        };
        // It has nothing more to say than fits into a pipe, and nobody else has that.
        let (mut found, mut error) = (String::new(), String::new());
        if let Some(mut pipe) = self.0.child.stdout.take() {
            let _ = pipe.read_to_string(&mut found);
        }
        if let Some(mut pipe) = self.0.child.stderr.take() {
            let _ = pipe.read_to_string(&mut error);
        }
        Some(match serde_json::from_str(&found) {
            Ok(found) if status.success() => Ok(found),
            _ if error.trim().is_empty() => Err(LookError::Ended(status)),
            _ => {
                let said = error.trim().trim_start_matches("stellwerk: ");
                Err(LookError::Said(said.to_owned()))
            }
        })
    }

    pub fn give_up(&mut self) {
        let _ = self.0.child.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::event::{PollFd, PollFlags};

    use super::*;
    use crate::sys;

    fn order(path: &Path) -> Order {
        Order {
            path: path.to_owned(),
            write: true,
            direct: false,
        }
    }

    fn spoken(script: &str) -> Look {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Look::spawn(command).unwrap()
    }

    fn ends(look: &mut Look) -> Result<Found, LookError> {
        let mut fds = [PollFd::from_borrowed_fd(look.ended(), PollFlags::IN)];
        sys::wait(&mut fds, None).unwrap();
        look.outcome().unwrap()
    }

    #[test]
    fn a_file_is_found_with_its_length_and_a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        assert!(look(&order(&path)).is_err(), "it is not there");
        std::fs::write(&path, [1; 5000]).unwrap();
        let found = look(&order(&path)).unwrap();
        assert_eq!((found.device, found.bytes), (false, 5000));
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let error = look(&order(&path)).unwrap_err().to_string();
        assert!(error.contains("neither"), "{error}");
    }

    #[test]
    fn what_the_other_process_says_is_its_outcome() {
        let mut good = spoken(r#"echo '{"device":true,"bytes":7}'"#);
        let found = ends(&mut good).unwrap();
        assert_eq!((found.device, found.bytes), (true, 7));
        let mut bad = spoken("echo 'stellwerk: /x: gone' >&2; exit 1");
        assert_eq!(ends(&mut bad).unwrap_err().to_string(), "/x: gone");
        let mut killed = spoken("kill -9 $$");
        let killed = ends(&mut killed).unwrap_err().to_string();
        assert!(killed.contains("signal"), "{killed}");
    }

    #[test]
    fn one_that_is_held_up_has_no_outcome_until_it_ends() {
        let mut stuck = spoken("exec sleep 1000");
        assert!(stuck.outcome().is_none());
        stuck.give_up();
        assert!(ends(&mut stuck).is_err());
    }
}
