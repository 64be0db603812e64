//! How disks, clients and exports fare: for whoever looks at the control area, and for whoever tries again what has failed.

use core::fmt::Display;
use core::mem::offset_of;

use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::control::{self, ConditionState};
use vcss::Area;

/// The pause between two tries, in microseconds.
const PAUSE_US: u64 = 3_000_000;
/// A try is followed by a pause of so many times the time that it took, if that is more: others wait meanwhile.
pub const SHARE: u64 = 20;

#[derive(Debug)]
pub struct Conditions {
    area: Area<'static>,
    disks: u32,
    clients: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A disk's, by its index.
    Disk(usize),
    Client(u16),
    /// An export's, by its index.
    Export(usize),
}

#[derive(Debug)]
struct Entry {
    tries: u32,
    /// What the daemon's word was when it was looked at last.
    asked: u32,
    /// Why it has failed; `None` if it has not.
    reason: Option<String>,
    /// When it is tried again.
    next: Tod,
}

impl Conditions {
    /// Nothing has been looked at yet.
    pub(super) fn new(area: Area<'static>) -> Self {
        let mut this = Self {
            disks: area.count::<control::Disk>(),
            clients: area.count::<control::Client>(),
            entries: Vec::new(),
            area,
        };
        // Also where nobody looks.
        let exports = this.area.count::<control::Export>();
        for index in 0..this.disks + this.clients + exports {
            this.write(index, 0, ConditionState::Unknown, "");
            this.entries.push(Entry {
                tries: 0,
                asked: this.load(index, offset_of!(control::Condition, retry)),
                reason: None,
                next: Tod::NEVER,
            });
        }
        this
    }

    /// It was tried and is served. Returns whether it had failed before.
    pub fn good(&mut self, of: Subject) -> bool {
        self.tried(of, None).is_some()
    }

    /// It was tried and is not served, for this reason. Returns whether that is news.
    pub fn failed(&mut self, of: Subject, reason: &dyn Display) -> bool {
        let reason = reason.to_string();
        let before = self.tried(of, Some(reason.clone()));
        before.as_ref() != Some(&reason)
    }

    /// It has failed in a try that began at `began`: it is tried again after a pause.
    pub fn try_later(&mut self, of: Subject, began: Tod, now: Tod) {
        let pause = now.micros_since(began).saturating_mul(SHARE).max(PAUSE_US);
        self.try_at(of, now.plus_micros(pause));
    }

    pub fn try_soon(&mut self, of: Subject) {
        self.try_at(of, Tod::from_units(0));
    }

    fn try_at(&mut self, of: Subject, next: Tod) {
        let index = self.index(of) as usize;
        if let Some(entry) = self.entries.get_mut(index) {
            entry.next = next;
        }
    }

    /// Why it has failed, if it has.
    pub fn reason(&self, of: Subject) -> Option<&str> {
        self.entries.get(self.index(of) as usize)?.reason.as_deref()
    }

    /// Whether it has failed and is to be tried now.
    pub fn is_due(&self, of: Subject, now: Tod) -> bool {
        let entry = self.entries.get(self.index(of) as usize);
        entry.is_some_and(|entry| entry.reason.is_some() && now >= entry.next)
    }

    /// Whether the daemon has asked for a try since this was last asked.
    pub fn is_asked(&mut self, of: Subject) -> bool {
        let index = self.index(of);
        let now = self.load(index, offset_of!(control::Condition, retry));
        let entry = self.entries.get_mut(index as usize);
        entry.is_some_and(|entry| core::mem::replace(&mut entry.asked, now) != now)
    }

    pub fn counts(&self) -> (u16, u16) {
        (self.disks as u16, self.clients as u16)
    }

    pub fn deaths(&self, of: Subject) -> u32 {
        self.load(self.index(of), offset_of!(control::Condition, deaths))
    }

    pub fn set_deaths(&mut self, of: Subject, deaths: u32) {
        self.store(
            self.index(of),
            offset_of!(control::Condition, deaths),
            deaths,
        );
    }

    /// It is there no longer: nothing is known of the next one in its place.
    pub fn forget(&mut self, of: Subject) {
        let index = self.index(of);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.tries = 0;
            entry.reason = None;
            entry.next = Tod::NEVER;
        }
        self.set_deaths(of, 0);
        self.write(index, 0, ConditionState::Unknown, "");
    }

    /// Returns why it had failed before.
    fn tried(&mut self, of: Subject, reason: Option<String>) -> Option<String> {
        let index = self.index(of);
        let entry = self.entries.get_mut(index as usize)?;
        entry.tries = entry.tries.saturating_add(1);
        let tries = entry.tries;
        let before = core::mem::replace(&mut entry.reason, reason.clone());
        let state = match reason {
            None => ConditionState::Good,
            Some(_) => ConditionState::Failed,
        };
        self.write(index, tries, state, reason.as_deref().unwrap_or(""));
        before
    }

    const fn index(&self, of: Subject) -> u32 {
        match of {
            Subject::Disk(disk) => control::Condition::of_disk(disk),
            Subject::Client(client) => control::Condition::of_client(client as usize, self.disks),
            Subject::Export(export) => {
                control::Condition::of_export(export, self.disks, self.clients)
            }
        }
    }

    /// All but the daemon's word and the deaths. The state goes last: whoever sees it sees the rest.
    fn write(&self, index: u32, tries: u32, state: ConditionState, reason: &str) {
        let packed = control::Condition::pack(reason);
        for (number, word) in packed.chunks_exact(4).enumerate() {
            let at = offset_of!(control::Condition, reason) + number * size_of::<u32>();
            self.store(index, at, word.try_into().map_or(0, u32::from_be_bytes));
        }
        self.store(index, offset_of!(control::Condition, tries), tries);
        let state = state as u32;
        self.store(index, offset_of!(control::Condition, state), state);
    }

    fn load(&self, index: u32, at: usize) -> u32 {
        let word = self.area.word::<control::Condition>(index, at);
        word.map_or(0, |word| word.load())
    }

    fn store(&self, index: u32, at: usize, value: u32) {
        if let Ok(word) = self.area.word::<control::Condition>(index, at) {
            word.store(value);
        }
    }
}
