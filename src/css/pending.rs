//! Interruptions that were taken and that nobody has asked for yet.

use liballoc::collections::VecDeque;

use channel::IoInterruption;

use super::Inventory;

const SUBCLASSES: usize = 8;

/// A queue of at most one interruption for each subchannel and each subclass of adapters, as the
/// channel subsystem itself has it.
#[derive(Debug)]
pub(super) struct PendingInterruptions {
    /// On the heap: several KiB are too much for whoever has the machine on the stack. Never more than there is room for.
    queue: VecDeque<IoInterruption>,
}

impl PendingInterruptions {
    /// One for each subchannel that can be owned, and one for each subclass: whatever comes has its place.
    const MAX: usize = Inventory::MAX + SUBCLASSES;

    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::with_capacity(Self::MAX),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn keep(&mut self, interruption: IoInterruption) {
        if self
            .queue
            .iter()
            .any(|kept| same_origin(kept, &interruption))
        {
            return;
        }
        // Subchannels that are not owned are not enabled, so there is a place. And who waits for an interruption looks after a second anyway.
        if self.queue.len() < Self::MAX {
            self.queue.push_back(interruption);
        }
    }

    pub(super) fn take(&mut self) -> Option<IoInterruption> {
        self.queue.pop_front()
    }

    /// Drops what `unwanted` says; returns whether there was any.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&IoInterruption) -> bool) -> bool {
        let before = self.queue.len();
        for _ in 0..before {
            match self.queue.pop_front() {
                Some(kept) if !unwanted(&kept) => self.keep(kept),
                Some(_) | None => {}
            }
        }
        self.queue.len() < before
    }
}

fn same_origin(one: &IoInterruption, other: &IoInterruption) -> bool {
    match (one, other) {
        (IoInterruption::Subchannel { id: a, .. }, IoInterruption::Subchannel { id: b, .. }) => {
            a == b
        }
        (IoInterruption::Adapter { isc: a }, IoInterruption::Adapter { isc: b }) => a == b,
        (IoInterruption::Subchannel { .. }, IoInterruption::Adapter { .. })
        | (IoInterruption::Adapter { .. }, IoInterruption::Subchannel { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use channel::SubchannelId;

    fn of(number: u16) -> IoInterruption {
        IoInterruption::Subchannel {
            id: SubchannelId::new(0, number).unwrap(),
            parameter: 0,
            isc: 3,
        }
    }

    #[test]
    fn a_subchannel_has_at_most_one_and_the_order_stays() {
        let mut pending = PendingInterruptions::new();
        for number in [1, 2, 1, 3, 2] {
            pending.keep(of(number));
        }
        pending.keep(IoInterruption::Adapter { isc: 3 });
        pending.keep(IoInterruption::Adapter { isc: 3 });
        assert!(pending.forget(|one| *one == of(2)));
        assert!(!pending.forget(|one| *one == of(2)));
        assert_eq!(pending.take(), Some(of(1)));
        assert_eq!(pending.take(), Some(of(3)));
        assert_eq!(pending.take(), Some(IoInterruption::Adapter { isc: 3 }));
        assert!(pending.is_empty());
    }

    #[test]
    fn all_that_can_be_owned_have_their_places() {
        let mut pending = PendingInterruptions::new();
        let all: std::vec::Vec<_> = (0..Inventory::MAX as u16)
            .map(of)
            .chain((0..SUBCLASSES as u8).map(|isc| IoInterruption::Adapter { isc }))
            .collect();
        all.iter().for_each(|one| pending.keep(*one));
        for one in all {
            assert_eq!(pending.take(), Some(one));
        }
        assert!(pending.is_empty());
    }
}
