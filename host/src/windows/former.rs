//! The memory that a daemon serves, or has served when it died.
//!
//! # Rule
//!
//! What was in flight when a daemon died is known to nobody: its areas have gone with it. A VM that was served by it would have
//! requests done again that were done. So it is refused, until it is started again with new memory. The same holds for one whose
//! queues could not be released when the daemon ended in order: a disk of a client that leaves queues behind marks the memory that it had,
//! until it is known again that nothing of that disk is in flight. The mark is written down, too: a daemon that follows this one has to
//! know of it, whoever else has the memory meanwhile.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::config::Part;
use crate::pool::FileIdentity;

/// The name of the list in the run directory: which run of the system it is of, a line for each file that is, or was, a VM's memory, and
/// one for each mark.
const NAME: &str = "served";
/// A mark's first word; what follows is the client, its disk, and the file.
const MARK: &str = "unclean";
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
    /// Of the latter, what a disk may have left something in flight in.
    marks: Vec<Mark>,
}

/// This disk may have left something in flight in this memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    disk: Part,
    memory: FileIdentity,
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(MARK)?.trim_start().splitn(3, ' ');
        let mut number = || words.next()?.parse().ok();
        let (client, number) = (number()?, number()?);
        let memory = FileIdentity::parse(words.next()?)?;
        let disk = Part { client, number };
        Some(Self { disk, memory })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { client, number } = self.disk;
        write!(f, "{MARK} {client} {number} {}", self.memory)
    }
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
        let files = listed.lines().filter_map(FileIdentity::parse);
        let (known, served): (_, Vec<_>) =
            files.partition(|it| known.is_none_or(|known| known.contains(it)));
        let marks = listed.lines().filter_map(Mark::parse);
        let marks = marks.filter(|mark| served.contains(&mark.memory)).collect();
        Ok(Self {
            lists: Mutex::new(Lists {
                known,
                served,
                marks,
            }),
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

    /// This daemon serves it no longer, and nothing is in flight in it, unless it is marked.
    pub fn forget(&self, memory: FileIdentity) {
        let mut lists = self.lists.lock();
        if lists.marks.iter().any(|mark| mark.memory == memory) {
            return;
        }
        lists.served.retain(|it| *it != memory);
        // What stays written down costs a VM a new start, and nothing else.
        if let Err(error) = self.write(&lists) {
            tracing::warn!(%error, "{}", self.path.display());
        }
    }

    /// A disk has left queues behind, and may have something in flight in this memory.
    pub fn mark(&self, disk: Part, memory: FileIdentity) {
        let mut lists = self.lists.lock();
        let mark = Mark { disk, memory };
        if lists.marks.contains(&mark) {
            return;
        }
        lists.marks.push(mark);
        if let Err(error) = self.write(&lists) {
            tracing::error!(%error, "{}", self.path.display());
        }
    }

    /// Nothing of a disk is in flight any more. The memory which that leaves without a mark.
    pub fn unmark(&self, disk: Part) -> Vec<FileIdentity> {
        let mut lists = self.lists.lock();
        let gone: Vec<Mark> = lists.marks.extract_if(.., |it| it.disk == disk).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.write(&lists) {
            tracing::warn!(%error, "{}", self.path.display());
        }
        let is_clean = |memory: &FileIdentity| lists.marks.iter().all(|it| it.memory != *memory);
        let memory = gone.into_iter().map(|mark| mark.memory);
        memory.filter(is_clean).collect()
    }

    /// Replaces the list as a whole: whoever reads it finds the old one or the new one.
    fn write(&self, lists: &Lists) -> io::Result<()> {
        let all = lists.known.iter().chain(&lists.served);
        let marks = lists.marks.iter().map(|it| format!("{it}\n"));
        let lines: String = all.map(|it| format!("{it}\n")).chain(marks).collect();
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

    #[test]
    fn what_a_disk_has_left_unclean_stays_so_until_nothing_of_that_disk_is_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile().unwrap();
        let memory = FileIdentity::of(&file).unwrap();
        let [disk, other] = [0, 1].map(|number| Part { client: 2, number });
        let first = Former::open(dir.path(), None).unwrap();
        first.note(memory).unwrap();
        for _ in 0..2 {
            first.mark(disk, memory);
        }
        first.forget(memory);
        let after_all = || Former::open(dir.path(), None).unwrap();
        assert!(after_all().has(memory), "nobody has followed");
        // One that follows it knows which disk it was.
        let follower = Former::open(dir.path(), Some(&[])).unwrap();
        follower.mark(other, memory);
        follower.forget(memory);
        assert!(after_all().has(memory));
        assert!(follower.unmark(disk).is_empty(), "there is another mark");
        follower.forget(memory);
        assert!(after_all().has(memory));
        assert_eq!(follower.unmark(other), [memory]);
        assert!(after_all().has(memory), "it may be served yet");
        follower.forget(memory);
        assert!(!after_all().has(memory));
        assert!(follower.unmark(disk).is_empty());
    }
}
