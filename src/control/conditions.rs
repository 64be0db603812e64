//! How disks, clients and exports fare, for whoever looks at the control area.

use core::mem::offset_of;

use liballoc::vec::Vec;

use vcss::control::{self, ConditionState};
use vcss::Area;

/// All conditions of a control area.
#[derive(Debug)]
pub struct Conditions {
    area: Area<'static>,
    disks: u32,
    clients: u32,
    entries: Vec<Entry>,
}

/// Whose condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A disk's, by its index.
    Disk(usize),
    /// A client's.
    Client(u16),
    /// An export's.
    Export(usize),
}

#[derive(Debug)]
struct Entry {
    tries: u32,
    /// What the daemon's word was when it was looked at last.
    asked: u32,
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
        for index in 0..this.area.count::<control::Condition>() {
            this.write(index, 0, ConditionState::Unknown, "");
            let asked = this.load(index, offset_of!(control::Condition, retry));
            this.entries.push(Entry { tries: 0, asked });
        }
        this
    }

    /// It was tried and is served.
    pub fn good(&mut self, of: Subject) {
        self.tried(of, ConditionState::Good, "");
    }

    /// It was tried and is not served, for this reason.
    pub fn failed(&mut self, of: Subject, reason: &str) {
        self.tried(of, ConditionState::Failed, reason);
    }

    /// Whether the daemon has asked for a try since this was last asked.
    pub fn is_asked(&mut self, of: Subject) -> bool {
        let index = self.index(of);
        let now = self.load(index, offset_of!(control::Condition, retry));
        let entry = self.entries.get_mut(index as usize);
        entry.is_some_and(|entry| core::mem::replace(&mut entry.asked, now) != now)
    }

    /// How many disks and how many clients there are.
    pub fn counts(&self) -> (u16, u16) {
        (self.disks as u16, self.clients as u16)
    }

    /// How often the appliance died of it.
    pub fn deaths(&self, of: Subject) -> u32 {
        self.load(self.index(of), offset_of!(control::Condition, deaths))
    }

    /// The same from now on.
    pub fn set_deaths(&mut self, of: Subject, deaths: u32) {
        self.store(
            self.index(of),
            offset_of!(control::Condition, deaths),
            deaths,
        );
    }

    fn tried(&mut self, of: Subject, state: ConditionState, reason: &str) {
        let index = self.index(of);
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        entry.tries = entry.tries.saturating_add(1);
        let tries = entry.tries;
        self.write(index, tries, state, reason);
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
