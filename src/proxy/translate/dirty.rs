//! A program without prefetch may read into itself: READ IPL reads the very CCWs that it chains to. What the device
//! writes can be translated only afterwards, so the chain has to stop in front of it.
//!
//! The watch knows what the CCWs so far store into. It errs on the safe side: a stop that was not needed breaks a
//! chain in two, a missing one would run the channel over what is no longer true.

use super::ranges::Segment;

/// Ranges that are kept apart; more are joined.
const RANGES: usize = 48;
/// Address lists that are so near to each other count as one.
const NEAR: u64 = 256;

/// What the device may have written when the channel gets further.
#[derive(Debug, Default)]
pub(super) struct DirtyRanges {
    written: Ranges,
    /// The client's address lists.
    lists: Ranges,
    /// How many ranges were written when the address list was begun.
    before_list: usize,
    /// One of them has words of that list.
    awaited: bool,
    /// Something that was translated has been written since.
    overwritten: bool,
    /// The same, since this was last asked.
    fresh: bool,
    /// The program has a place where the chain is cut.
    split: bool,
}

/// First byte and the byte behind the last one.
type Range = (u64, u64);

/// Parts of the client's storage.
#[derive(Debug, Default)]
struct Ranges {
    parts: heapless::Vec<Range, RANGES>,
    /// All of them and what is between.
    hull: Range,
}

impl Ranges {
    /// Adds a range, and says whether it is new. One that is near the last one is joined with it.
    fn add(&mut self, range: Range, near: u64) -> bool {
        if self
            .parts
            .iter()
            .any(|part| part.0 <= range.0 && range.1 <= part.1)
        {
            return false;
        }
        self.hull = join(self.hull, range);
        let full = self.parts.is_full();
        match self.parts.last_mut() {
            Some(last) if full || last.1 <= range.0 && range.0 - last.1 < near => {
                *last = join(*last, range);
            }
            // There is room.
            _ => drop(self.parts.push(range)),
        }
        true
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.hull = Range::default();
    }

    fn hit(&self, range: Range) -> bool {
        overlap(self.hull, range) && self.parts.iter().any(|&part| overlap(part, range))
    }
}

const fn overlap(a: Range, b: Range) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// The smallest range that holds both; an empty one holds nothing.
fn join(a: Range, b: Range) -> Range {
    if a.0 >= a.1 {
        b
    } else {
        (a.0.min(b.0), a.1.max(b.1))
    }
}

impl DirtyRanges {
    /// Forgets everything. The room for ranges is left as it is: to store all of it costs more than a short program does.
    pub(super) fn clear(&mut self) {
        self.written.clear();
        self.lists.clear();
        self.before_list = 0;
        [self.awaited, self.overwritten, self.fresh, self.split] = [false; 4];
    }

    /// Whether anything from `start` up to `end` may have been written.
    pub(super) fn hits(&self, start: u64, end: u64) -> bool {
        self.written.hit((start, end))
    }

    /// Notes that a range is written, after so much has been translated.
    pub(super) fn note(&mut self, range: Range, segments: &[Segment], used: usize) {
        self.written.add(range, 0);
        let known = |segment: &Segment| {
            let start = u64::from(segment.client);
            // The segment that is open has the CCW that stores, too.
            let open = used == (segment.first + segment.length) as usize;
            let length = u64::from(segment.length) + u64::from(open);
            overlap(range, (start, start + 8 * length))
        };
        let overwritten = self.lists.hit(range) || segments.iter().any(known);
        self.overwritten |= overwritten;
        self.fresh |= overwritten;
    }

    /// An address list begins. What its own data overwrites is not waited for: the list is a snapshot.
    pub(super) fn open_list(&mut self) {
        self.before_list = self.written.parts.len();
        self.awaited = false;
    }

    /// Notes that address words have been fetched.
    pub(super) fn fetched(&mut self, start: u64, end: u64) {
        let range = (start, end);
        self.lists.add(range, NEAR);
        let mut earlier = self.written.parts.iter().take(self.before_list);
        self.awaited |= earlier.any(|&part| overlap(part, range));
    }

    /// Whether a word of the list that is open may be written by a CCW before.
    pub(super) fn list_is_awaited(&self) -> bool {
        self.awaited
    }

    /// Whether known ground may no longer be true.
    pub(super) const fn overwritten(&self) -> bool {
        self.overwritten
    }

    /// Whether anything that was translated since the last call writes over known ground.
    pub(super) fn take_fresh(&mut self) -> bool {
        core::mem::take(&mut self.fresh)
    }

    pub(super) fn set_split(&mut self) {
        self.split = true;
    }

    /// Whether the chain is cut anywhere.
    pub(super) const fn has_split(&self) -> bool {
        self.split
    }
}
