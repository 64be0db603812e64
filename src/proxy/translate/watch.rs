//! A program without prefetch may read into itself: READ IPL reads the very CCWs that it chains to. What the device
//! writes can be translated only afterwards, so the chain has to stop in front of it.
//!
//! The watch knows what the CCWs so far store into. It errs on the safe side: a stop that was not needed breaks a
//! chain in two, a missing one would run the channel over what is no longer true.

use super::ground::Segment;

/// Ranges that are kept apart; more are joined.
const RANGES: usize = 32;

/// What the device may have written when the channel gets further.
#[derive(Debug, Default)]
pub(super) struct Watch {
    ranges: heapless::Vec<(u64, u64), RANGES>,
    /// First byte and the byte behind the last one of all ranges.
    hull: (u64, u64),
    /// The same for all address lists of the client.
    lists: (u64, u64),
    /// Ranges that were there when the address list was begun.
    before_list: usize,
    /// One of them has words of that list.
    awaited: bool,
    /// Something that was translated has been written since.
    overwritten: bool,
    /// The program has a place where the chain is cut.
    split: bool,
}

const fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// The smallest range that holds both; an empty one holds nothing.
fn join(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    if a.0 >= a.1 {
        b
    } else {
        (a.0.min(b.0), a.1.max(b.1))
    }
}

impl Watch {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether anything from `start` up to `end` may have been written.
    pub(super) fn hits(&self, start: u64, end: u64) -> bool {
        let range = (start, end);
        overlap(self.hull, range) && self.ranges.iter().any(|&other| overlap(other, range))
    }

    /// Notes that a range is written, after so much has been translated.
    pub(super) fn note(&mut self, range: (u64, u64), segments: &[Segment], used: usize) {
        if self
            .ranges
            .iter()
            .any(|other| other.0 <= range.0 && range.1 <= other.1)
        {
            return;
        }
        self.hull = join(self.hull, range);
        if let Err(range) = self.ranges.push(range) {
            // No room: the last one grows.
            if let Some(last) = self.ranges.last_mut() {
                *last = join(*last, range);
            }
        }
        let known = |segment: &Segment| {
            let start = u64::from(segment.client);
            // The segment that is open has the CCW that stores, too.
            let open = used == (segment.first + segment.length) as usize;
            let length = u64::from(segment.length) + u64::from(open);
            overlap(range, (start, start + 8 * length))
        };
        self.overwritten |= overlap(self.lists, range) || segments.iter().any(known);
    }

    /// An address list begins. What its own data overwrites is not waited for: the list is a snapshot.
    pub(super) fn open_list(&mut self) {
        self.before_list = self.ranges.len();
        self.awaited = false;
    }

    /// Notes that address words have been fetched.
    pub(super) fn fetched(&mut self, start: u64, end: u64) {
        let range = (start, end);
        self.lists = join(self.lists, range);
        let earlier = self.ranges.iter().take(self.before_list);
        self.awaited |= earlier.into_iter().any(|&other| overlap(other, range));
    }

    /// Whether a word of the list that is open may be written by a CCW before.
    pub(super) fn list_is_awaited(&self) -> bool {
        self.awaited
    }

    /// Whether known ground may no longer be true.
    pub(super) const fn overwritten(&self) -> bool {
        self.overwritten
    }

    pub(super) fn set_split(&mut self) {
        self.split = true;
    }

    /// Whether the chain is cut anywhere.
    pub(super) const fn has_split(&self) -> bool {
        self.split
    }
}
