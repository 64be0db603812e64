//! The arguments of CCWs that may have to be repeated.

use channel::{Classify, CommandClass, CommandCode};
use window::Window;

use super::program::TranslatedProgram;
use super::ranges::{Slot, Transfer};

/// CCWs that can be repeated.
pub(super) const MOST: usize = 64;
/// Bytes of arguments that a CCW can have.
pub(super) const ARGUMENT: usize = 64;

/// The arguments of CCWs that may have to be repeated, as they were at the start: slots, and the sums of their bytes. Who changes one
/// later on shall not send the device elsewhere.
#[derive(Debug, Default)]
pub(super) struct Arguments(heapless::Vec<(usize, u64), MOST>);

impl Arguments {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes that of a CCW, if it has one.
    #[inline(never)]
    pub(super) fn note(
        &mut self,
        program: &TranslatedProgram,
        classify: Classify,
        index: usize,
        slot: &Slot,
        window: &Window,
    ) {
        let class = classify(CommandCode(slot.client.command));
        let sends = matches!(class, Some(CommandClass::Sets | CommandClass::Searches));
        let mut bytes = [0; ARGUMENT];
        let bytes = bytes.get_mut(..usize::from(slot.client.count.get()));
        if let (true, Some(bytes)) = (sends || slot.entry == Transfer::Output, bytes) {
            if program.gather(slot, bytes, window).is_some() {
                // What has no place is not repeated.
                let _ = self.0.push((index, sum_of(bytes)));
            }
        }
    }

    /// Whether the argument of a slot was this.
    pub(super) fn are(&self, slot: usize, bytes: &[u8]) -> bool {
        let noted = self.0.iter().find(|noted| noted.0 == slot);
        noted.is_some_and(|noted| noted.1 == sum_of(bytes))
    }
}

fn sum_of(bytes: &[u8]) -> u64 {
    let sum = |sum: u64, &byte: &u8| sum.wrapping_mul(31).wrapping_add(byte.into());
    bytes.iter().fold(0, sum)
}
