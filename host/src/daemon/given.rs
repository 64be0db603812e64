//! The devices that the running VM is given, and which of them it could not have.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::appliance::Given;
use crate::config::Config;

/// How long after a failure a device is tried again.
const PAUSE: Duration = Duration::from_secs(3);

/// All of them.
#[derive(Debug)]
pub struct GivenDevices {
    entries: Mutex<Vec<Entry>>,
    /// Wakes whoever gives them.
    nudge: UnixStream,
}

#[derive(Debug)]
struct Entry {
    what: Given,
    trouble: Option<String>,
    /// When it is tried again; never, until somebody asks, if an administrator has unplugged it.
    next: Option<Instant>,
}

impl GivenDevices {
    /// Those of a configuration. `nudge` is the writing end of what the supervisor watches.
    pub fn new(config: &Config, nudge: UnixStream) -> Self {
        let entries = Given::all(config).into_iter().map(|what| Entry {
            what,
            trouble: None,
            next: None,
        });
        Self {
            entries: Mutex::new(entries.collect()),
            nudge,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, whatever became of them.
    pub fn all(&self) -> Vec<Given> {
        self.entries().iter().map(|entry| entry.what).collect()
    }

    /// Those that have failed and are to be tried now.
    pub fn due(&self, now: Instant) -> Vec<Given> {
        let entries = self.entries();
        let due = entries
            .iter()
            .filter(|entry| entry.next.is_some_and(|next| now >= next));
        due.map(|entry| entry.what).collect()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.entries().iter().filter_map(|entry| entry.next).min()
    }

    /// Why one is not there, if it is not.
    pub fn trouble(&self, what: Given) -> Option<String> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.what == what);
        entry.and_then(|entry| entry.trouble.clone())
    }

    /// The VM has it.
    pub fn good(&self, what: Given) {
        self.set(what, None, None);
    }

    /// The VM could not have it. Returns whether that is news.
    pub fn failed(&self, what: Given, trouble: String) -> bool {
        self.set(what, Some(trouble), Some(Instant::now() + PAUSE))
    }

    /// The administrator has unplugged the one with this id in QEMU: it stays so until somebody asks for it.
    pub fn unplugged(&self, id: &str) {
        let what = self.all().into_iter().find(|what| what.id() == id);
        if let Some(what) = what {
            let trouble = "it was unplugged; `stellwerk retry` plugs it in again";
            self.set(what, Some(trouble.to_owned()), None);
        }
    }

    /// Has one that has failed tried at once.
    pub fn ask(&self, what: Given) {
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.what == what) {
            if entry.trouble.is_some() {
                entry.next = Some(Instant::now());
            }
        }
        let _ = (&self.nudge).write(&[0]);
    }

    fn set(&self, what: Given, trouble: Option<String>, next: Option<Instant>) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.iter_mut().find(|entry| entry.what == what) else {
            return false;
        };
        entry.next = next;
        let news = entry.trouble != trouble;
        entry.trouble = trouble;
        news
    }
}
