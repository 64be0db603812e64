//! Clients' memory, which comes and goes while the appliance runs.

use core::mem::offset_of;

use liballoc::vec::Vec;

use vcss::control::{ClientMemory, MemoryTaken};
use vcss::{Area, AreaError, Word};

use super::Control;

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

/// A change that holds, of which the daemon has not been told yet.
#[derive(Debug)]
pub struct MemoryChange {
    client: u16,
    generation: u32,
}

impl Control {
    /// Has a client's window be as long as the daemon says that it has memory, if the daemon has changed that.
    pub fn changed_memory(&self, client: u16) -> Option<MemoryChange> {
        let (wanted, taken) = self.memory.0.get(usize::from(client))?;
        // What is changed while it is read has another generation afterwards.
        let generation = wanted.load();
        (generation != taken.load()).then(|| self.apply_memory(client))?;
        Some(MemoryChange { client, generation })
    }

    /// Has a client's window be as long as the daemon says, if it has been made.
    pub(super) fn apply_memory(&self, client: u16) -> Option<()> {
        let entry: ClientMemory = self.area.read(u32::from(client)).ok()?;
        let share = self.shares.get(usize::from(client))?.get();
        if let Some(share) = share {
            share.window.set_len(entry.length.get());
        }
        Some(())
    }

    /// Nothing that was in flight before a change is in flight any more.
    pub fn taken(&self, change: MemoryChange) {
        if let Some((_, taken)) = self.memory.0.get(usize::from(change.client)) {
            taken.store(change.generation);
        }
    }
}
