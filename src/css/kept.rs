//! Interruptions that were taken and that nobody has asked for yet.

use channel::IoInterruption;
use heapless::Deque;

/// A queue of at most one interruption for each subchannel and each subclass of adapters, as the
/// channel subsystem itself has it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    queue: Deque<IoInterruption, { Self::MAX }>,
    lost: u32,
}

impl Kept {
    /// More subchannels than that are not owned.
    const MAX: usize = 64;

    pub(super) const fn new() -> Self {
        Self {
            queue: Deque::new(),
            lost: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many found no place. Whoever sees this number grow tests all subchannels.
    pub(super) const fn lost(&self) -> u32 {
        self.lost
    }

    pub(super) fn keep(&mut self, interruption: IoInterruption) {
        if self
            .queue
            .iter()
            .any(|kept| same_origin(kept, &interruption))
        {
            return;
        }
        if self.queue.push_back(interruption).is_err() {
            self.lost = self.lost.wrapping_add(1);
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
        let mut kept = Kept::new();
        for number in [1, 2, 1, 3, 2] {
            kept.keep(of(number));
        }
        kept.keep(IoInterruption::Adapter { isc: 3 });
        kept.keep(IoInterruption::Adapter { isc: 3 });
        assert!(kept.forget(|one| *one == of(2)));
        assert!(!kept.forget(|one| *one == of(2)));
        assert_eq!(kept.take(), Some(of(1)));
        assert_eq!(kept.take(), Some(of(3)));
        assert_eq!(kept.take(), Some(IoInterruption::Adapter { isc: 3 }));
        assert!(kept.is_empty());
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let mut kept = Kept::new();
        for number in 0..70 {
            kept.keep(of(number));
        }
        assert_eq!(kept.lost(), 6);
    }
}
