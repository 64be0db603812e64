//! Where in a window's room the other VM has memory.

use core::sync::atomic::{AtomicU64, Ordering};

/// Pieces of memory that a VM may have in its window.
pub const MAX_EXTENTS: usize = 7;

/// They may change while the window is used, so they are atomic words.
#[derive(Debug)]
pub struct Extents {
    /// The end of the one that begins at 0; 0 if none does.
    first: AtomicU64,
    /// The others: start and end. One with the end 0 is none.
    more: [(AtomicU64, AtomicU64); MAX_EXTENTS],
}

impl Extents {
    pub const fn whole(length: u64) -> Self {
        Self {
            first: AtomicU64::new(length),
            more: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; MAX_EXTENTS],
        }
    }

    #[inline(always)]
    pub fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Whether one of the others has the bytes from `start` to `end` in it.
    pub fn contain(&self, start: u64, end: u64) -> bool {
        self.more.iter().any(|(from, to)| {
            let (from, to) = (from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
            from < to && from <= start && end <= to
        })
    }

    /// Takes these, each by start and length, as far as they are in a room of so many bytes.
    pub fn set(&self, extents: impl Iterator<Item = (u64, u64)>, room: u64) {
        let ends = extents.filter_map(|(start, length)| Some((start, start.checked_add(length)?)));
        let mut first = 0;
        let mut places = self.more.iter();
        for (start, end) in ends.filter(|&(start, end)| start < end && end <= room) {
            if start == 0 {
                first = end;
            } else if let Some(place) = places.next() {
                // Never one that has its start from one and its end from another.
                place.1.store(0, Ordering::Relaxed);
                place.0.store(start, Ordering::Relaxed);
                place.1.store(end, Ordering::Relaxed);
            }
        }
        for place in places {
            place.1.store(0, Ordering::Relaxed);
        }
        self.first.store(first, Ordering::Relaxed);
    }
}
