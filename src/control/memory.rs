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
    /// The clients whose memory is to be another one.
    pub fn changed_memory(&self) -> impl Iterator<Item = u16> + '_ {
        let all = (0..).zip(&self.memory.0);
        all.filter_map(|(client, (wanted, taken))| {
            (wanted.load() != taken.load()).then_some(client)
        })
    }

    /// Has a client's window be where the daemon says that it has memory, if the window has been made.
    pub fn apply_memory(&self, client: u16) -> Option<MemoryChange> {
        let (wanted, _) = self.memory.0.get(usize::from(client))?;
        // What is changed while it is read has another generation afterwards.
        let generation = wanted.load();
        let entry: ClientMemory = self.area.read(u32::from(client)).ok()?;
        let share = self.shares.get(usize::from(client));
        if let Some(share) = share.and_then(|share| share.get()) {
            let extents = entry.extents.iter();
            let extents = extents.map(|extent| (extent.offset.get(), extent.length.get()));
            share.window.set_extents(extents);
        }
        Some(MemoryChange { client, generation })
    }

    /// Nothing that was in flight before a change is in flight any more.
    pub fn taken(&self, change: MemoryChange) {
        if let Some((_, taken)) = self.memory.0.get(usize::from(change.client)) {
            taken.store(change.generation);
        }
    }
}
