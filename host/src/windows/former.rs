//! The memory that a daemon serves, or has served when it died.
//!
//! # Rule
//!
//! What was in flight when a daemon died is known to nobody: its areas have gone with it. A VM that was served by it would have
//! requests done again that were done. So it is refused, until it is started again with new memory. The same holds for one whose
//! queues could not be released when the daemon ended in order.

use std::fs;
use std::io;
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
    /// Which run of the system this is.
    boot: String,
    lists: Mutex<Lists>,
}

#[derive(Debug)]
struct Lists {
    /// Of daemons that have died.
    known: Vec<FileIdentity>,
    /// What this daemon serves.
    served: Vec<FileIdentity>,
}

impl Former {
    /// Reads what a daemon has left behind in the run directory. Of one that is followed by this one, all is this one's but for what it
    /// had found itself, `known`.
    pub fn open(run_dir: &Path, known: Option<&[FileIdentity]>) -> Result<Self> {
        let path = run_dir.join(NAME);
        let boot = fs::read_to_string(BOOT).with_context(|| BOOT.to_owned())?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        // No VM outlives the system that it ran on, and the next one's files have the same numbers.
        let listed = text.strip_prefix(&boot).unwrap_or_default();
        let listed = listed.lines().filter_map(FileIdentity::parse);
        let (known, served) = listed.partition(|it| known.is_none_or(|known| known.contains(it)));
        Ok(Self {
            lists: Mutex::new(Lists { known, served }),
            path,
            boot,
        })
    }

    /// Whether a daemon that has died has served this memory.
    pub fn has(&self, memory: FileIdentity) -> bool {
        self.lists.lock().known.contains(&memory)
    }

    /// From now on this daemon serves it, too.
    pub fn note(&self, memory: FileIdentity) -> io::Result<()> {
        let mut lists = self.lists.lock();
        if !lists.served.contains(&memory) {
            lists.served.push(memory);
            return self.write(&lists);
        }
        Ok(())
    }

    /// All that is not this daemon's.
    pub fn known(&self) -> Vec<FileIdentity> {
        self.lists.lock().known.clone()
    }

    /// This daemon serves it no longer, and nothing is in flight in it.
    pub fn forget(&self, memory: FileIdentity) {
        let mut lists = self.lists.lock();
        lists.served.retain(|it| *it != memory);
        // What stays written down costs a VM a new start, and nothing else.
        if let Err(error) = self.write(&lists) {
            tracing::warn!(%error, "{}", self.path.display());
        }
    }

    /// Replaces the list as a whole: whoever reads it finds the old one or the new one.
    fn write(&self, lists: &Lists) -> io::Result<()> {
        let all = lists.known.iter().chain(&lists.served);
        let lines: String = all.map(|it| format!("{it}\n")).collect();
        if lines.is_empty() {
            return fs::remove_file(&self.path);
        }
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{}{lines}", self.boot))?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_has_not_released_is_known_to_its_successors() {
        let dir = tempfile::tempdir().unwrap();
        let files = [0, 1, 2].map(|_| tempfile::tempfile().unwrap());
        let [one, two, other] = files.each_ref().map(|it| FileIdentity::of(it).unwrap());
        let first = Former::open(dir.path(), None).unwrap();
        assert!(!first.has(one));
        first.note(one).unwrap();
        first.note(other).unwrap();
        first.note(other).unwrap();
        assert!(!first.has(one), "it is this daemon's own");
        first.forget(other);
        drop(first);
        let second = Former::open(dir.path(), None).unwrap();
        assert!(second.has(one) && !second.has(other));
        second.note(two).unwrap();
        // One that follows it, and has everything of it.
        let follower = Former::open(dir.path(), Some(&second.known())).unwrap();
        assert!(follower.has(one) && !follower.has(two));
        follower.forget(two);
        second.forget(two);
        let third = Former::open(dir.path(), None).unwrap();
        assert!(third.has(one) && !third.has(two));
        // Of another run of the system it says nothing.
        let list = dir.path().join(NAME);
        let text = fs::read_to_string(&list).unwrap();
        fs::write(
            &list,
            text.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1),
        )
        .unwrap();
        let fourth = Former::open(dir.path(), None).unwrap();
        assert!(!fourth.has(one));
        fourth.note(two).unwrap();
        fourth.forget(two);
        assert!(!list.exists(), "nothing is left to be known");
    }
}
