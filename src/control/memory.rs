//! Clients' memory, which comes and goes while the appliance runs.

use core::mem::offset_of;

use liballoc::vec::Vec;

use vcss::control::{ClientMemory, MemoryTaken};
use vcss::{Area, AreaError, Word};

use super::{Control, Share};

/// The words of each client: the generation of its memory, and the one that has been taken.
#[derive(Debug)]
pub(super) struct MemoryWords(Vec<(Word<'static>, Word<'static>)>);

impl MemoryWords {
    pub(super) fn new(area: &Area<'static>) -> Result<Self, AreaError> {
        let mut words = Vec::new();
        for index in 0..area.count::<ClientMemory>() {
            let wanted = offset_of!(ClientMemory, generation);
            words.push((
                area.word::<ClientMemory>(index, wanted)?,
                area.word::<MemoryTaken>(index, offset_of!(MemoryTaken, generation))?,
            ));
        }
        Ok(Self(words))
    }
}

/// A change that the daemon wants.
#[derive(Clone, Copy, Debug)]
pub struct MemoryChange {
    client: u16,
    generation: u32,
    length: u64,
}

impl Control {
    /// What is to become of a client's memory, if that is not what it is.
    pub fn changed_memory(&self, client: u16) -> Option<MemoryChange> {
        let (wanted, taken) = self.memory.0.get(usize::from(client))?;
        // What is changed while it is read has another generation afterwards.
        let generation = wanted.load();
        (generation != taken.load()).then(|| self.memory(client, generation))?
    }

    fn memory(&self, client: u16, generation: u32) -> Option<MemoryChange> {
        let entry: ClientMemory = self.area.read(u32::from(client)).ok()?;
        Some(MemoryChange {
            client,
            generation,
            length: entry.length.get(),
        })
    }

    /// Whether there is more memory afterwards, and nothing else.
    pub fn is_growth(&self, change: MemoryChange) -> bool {
        let window = self.made(change.client).map(|share| share.window);
        window.is_none_or(|window| window.len() < change.length)
    }

    /// Has a client's window be as long as the daemon says, if it has been made, and tells the daemon. Nothing that was in flight
    /// before is in flight any more, or there is only more memory.
    pub fn take_memory(&self, change: MemoryChange) {
        if let Some(share) = self.made(change.client) {
            share.window.set_len(change.length);
        }
        if let Some((_, taken)) = self.memory.0.get(usize::from(change.client)) {
            taken.store(change.generation);
        }
    }

    /// The same of a window that has just been made: what an earlier life has taken this one has to take, too.
    pub(super) fn begin_memory(&self, client: u16) {
        let words = self.memory.0.get(usize::from(client));
        if let Some(memory) = words.and_then(|(wanted, _)| self.memory(client, wanted.load())) {
            self.take_memory(memory);
        }
    }

    fn made(&self, client: u16) -> Option<&Share> {
        self.shares.get(usize::from(client))?.as_ref()
    }
}
