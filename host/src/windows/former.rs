//! The memory that a daemon has served which has died since.
//!
//! # Rule
//!
//! What was in flight when a daemon died is known to nobody: its areas have gone with it. A VM that was served by it would have
//! requests done again that were done. So it is refused, until it is started again with new memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::pool::FileIdentity;

/// The name of the list in the run directory: which run of the system it is of, and a line for each file that is, or was, a VM's
/// memory.
const NAME: &str = "served";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug)]
pub struct Former {
    path: PathBuf,
    /// Of daemons that have died.
    known: Vec<FileIdentity>,
    /// Which run of the system this is.
    boot: String,
    list: Mutex<File>,
}

impl Former {
    /// Reads what a daemon has left behind in the run directory.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(NAME);
        let at = || path.display().to_string();
        let boot = fs::read_to_string(BOOT).with_context(|| BOOT.to_owned())?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(at),
        };
        // No VM outlives the system that it ran on, and the next one's files have the same numbers.
        let known = text.strip_prefix(&boot).unwrap_or_default();
        let known: Vec<_> = known.lines().filter_map(FileIdentity::parse).collect();
        let this = Self {
            list: Mutex::new(begun(&path, &boot, &known).with_context(at)?),
            path,
            known,
            boot,
        };
        Ok(this)
    }

    /// Whether a daemon that has died has served this memory.
    pub fn has(&self, memory: FileIdentity) -> bool {
        self.known.contains(&memory)
    }

    /// From now on this daemon serves it, too.
    pub fn note(&self, memory: FileIdentity) -> io::Result<()> {
        self.list.lock().write_all(format!("{memory}\n").as_bytes())
    }

    /// This daemon ends in order: nothing is in flight in what it has served.
    pub fn settle(&self) -> io::Result<()> {
        if self.known.is_empty() {
            return fs::remove_file(&self.path);
        }
        begun(&self.path, &self.boot, &self.known).map(drop)
    }
}

/// A list with these in it, to be added to.
fn begun(path: &Path, boot: &str, known: &[FileIdentity]) -> io::Result<File> {
    let lines: String = known.iter().map(|it| format!("{it}\n")).collect();
    fs::write(path, format!("{boot}{lines}"))?;
    File::options().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_daemon_has_served_is_known_until_the_end_of_its_successors() {
        let dir = tempfile::tempdir().unwrap();
        let files = [0, 1, 2].map(|_| tempfile::tempfile().unwrap());
        let [one, two, other] = files.each_ref().map(|it| FileIdentity::of(it).unwrap());
        let first = Former::open(dir.path()).unwrap();
        assert!(!first.has(one));
        first.note(one).unwrap();
        assert!(!first.has(one), "it is this daemon's own");
        drop(first);
        let second = Former::open(dir.path()).unwrap();
        assert!(second.has(one) && !second.has(other));
        second.note(two).unwrap();
        second.settle().unwrap();
        let third = Former::open(dir.path()).unwrap();
        assert!(third.has(one) && !third.has(two));
        // Of another run of the system it says nothing.
        let list = dir.path().join(NAME);
        let text = fs::read_to_string(&list).unwrap();
        fs::write(
            &list,
            text.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1),
        )
        .unwrap();
        assert!(!Former::open(dir.path()).unwrap().has(one));
        let empty = tempfile::tempdir().unwrap();
        Former::open(empty.path()).unwrap().settle().unwrap();
        assert!(!empty.path().join(NAME).exists());
    }
}
