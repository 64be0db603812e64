//! One virtqueue of a client, with the record in the area from which it can be taken up again.
//!
//! # The record
//!
//! For each head an [`InFlight`] entry, and one word with the queue's size and the next available
//! index. The order of the stores makes every instant a good one to crash in:
//!
//! * setting up: size 0, addresses, all entries FREE, then the size;
//! * taking a request: entry TAKEN (with its available index), then `next_avail`;
//! * returning it: used-ring entry, then RETURNED (with its used index);
//! * publishing: used index, then the entries become FREE;
//! * leaving a request that was taken to the ring again: `next_avail`, then the entry becomes FREE;
//! * giving the queue up: size 0, and nothing else, for nothing else counts then.
//!
//! A RETURNED entry whose used index is not yet published was returned to the client: it is
//! worked on again. Reads, writes, flushes and discards may all be done twice.

use core::mem::offset_of;
use core::sync::atomic::{fence, Ordering};
use liballoc::collections::VecDeque;
use liballoc::vec::Vec;

use thiserror::Error;
use vcss::client::{InFlight, QueueState, MAX_QUEUE_SIZE};
use vcss::{Area, AreaError, Word};
use virtio::ring::device::{Chain, PopError, Position, Queue, QueueError};
use virtio::ring::{LayoutError, Options, QueueLayout};
use window::{ClientAddress, Window, WindowSlice};
use zerocopy::big_endian::U16;

/// Heads that are remembered between two publishings.
const BATCH: usize = 64;

#[derive(Debug)]
pub struct ServedQueue {
    ring: Queue,
    record: WindowSlice<'static>,
    /// Size and next available index in the record.
    progress: Word<'static>,
    taken: Taken,
    /// Returned and not yet published.
    returned: heapless::Vec<u16, BATCH>,
    /// Heads that were taken and are not at the disk, as they stood in the available ring: those that an earlier life had
    /// taken, or the one that found the disk full. While there are any, nothing new is taken.
    again: VecDeque<u16>,
    /// Heads that an earlier life had taken, and how many of them are not returned yet.
    old: Taken,
    redoing: u16,
    work: Work,
    /// What was published is wanted to be known.
    notify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    All,
    /// Those that were taken: the queue is being stopped.
    Taken,
    /// Those at the disk: the queue is being abandoned.
    AtDisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SetupError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The record of an earlier life contradicts itself.
    #[error("the record of requests in flight contradicts the rings")]
    Record,
}

impl From<window::OutOfWindow> for SetupError {
    fn from(error: window::OutOfWindow) -> Self {
        Self::Area(error.into())
    }
}

impl ServedQueue {
    /// Begins to serve a queue whose next available index is `start` and in which nothing is in
    /// flight.
    pub fn set_up(
        area: &Area<'static>,
        place: u32,
        window: &Window,
        layout: QueueLayout,
        options: Options,
        start: u16,
    ) -> Result<Self, SetupError> {
        let position = Position {
            last_avail: start,
            used_idx: layout.used_idx(window)?,
        };
        let ring = Queue::new(window, layout, options, position)?;
        if ring.in_flight() != 0 {
            return Err(SetupError::Record);
        }
        let queue = Self::over(area, place, ring)?;
        store_next(&queue.progress, 0, start);
        area.write(
            place,
            &QueueState {
                next_avail: U16::new(start),
                descriptors: layout.descriptors.value().into(),
                driver: layout.driver.value().into(),
                device: layout.device.value().into(),
                ..QueueState::default()
            },
        )?;
        for head in 0..layout.size {
            queue.note(head, InFlight::FREE, 0);
        }
        // From here on there is a queue to be taken up.
        store_next(&queue.progress, layout.size, start);
        Ok(queue)
    }

    /// Takes a queue up from its record; `None` when it was not set up.
    pub fn take_up(
        area: &Area<'static>,
        place: u32,
        window: &Window,
        options: Options,
    ) -> Result<Option<Self>, SetupError> {
        let state: QueueState = area.read(place)?;
        let size = state.size.get();
        if size == 0 {
            return Ok(None);
        }
        let layout = QueueLayout {
            size,
            descriptors: ClientAddress::new(state.descriptors.get()),
            driver: ClientAddress::new(state.driver.get()),
            device: ClientAddress::new(state.device.get()),
        };
        layout.validate(window)?;
        let used_idx = layout.used_idx(window)?;
        let record = area.array::<InFlight>(place * MAX_QUEUE_SIZE as u32, u32::from(size))?;

        // (available index, head) of what the client still waits for.
        let mut open: Vec<(u16, u16)> = Vec::new();
        // Those of them that were returned, which the record does not say any more when they were taken.
        let mut returned = Taken::default();
        let next_avail = state.next_avail.get();
        let mut beyond = false;
        for head in 0..size {
            let entry: InFlight = record.element(u32::from(head))?;
            let index = entry.index.get();
            match entry.state.get() {
                InFlight::TAKEN => {
                    beyond |= index == next_avail;
                    open.push((index, head));
                }
                // Ahead of the used index: not published.
                InFlight::RETURNED if index.wrapping_sub(used_idx) < size => {
                    returned.insert(head);
                    open.push((used_idx.wrapping_sub(1), head));
                }
                // Published: the client has it back. Left as it is, it would be taken for one ahead 64 Ki requests later.
                InFlight::RETURNED => record.store_u32_release(u32::from(head), 0)?,
                _ => {}
            }
        }
        // TAKEN may have been written and `next_avail` not. How many there are tells that: an old request may have the same index.
        let counted = next_avail.wrapping_sub(used_idx);
        let last_avail = if beyond && open.len() == usize::from(counted) + 1 {
            next_avail.wrapping_add(1)
        } else {
            next_avail
        };
        let position = Position {
            last_avail,
            used_idx,
        };
        let ring = Queue::new(window, layout, options, position)?;
        if usize::from(ring.in_flight()) != open.len() {
            return Err(SetupError::Record);
        }
        for (index, head) in ring.popped(window)? {
            if returned.contains(head) {
                if let Some(entry) = open.iter_mut().find(|entry| entry.1 == head) {
                    entry.0 = index;
                }
            }
        }
        // As the client gave them, the oldest first.
        open.sort_unstable_by_key(|&(index, _)| index.wrapping_sub(last_avail));
        let mut queue = Self::over(area, place, ring)?;
        queue.again.reserve_exact(open.len() + 1);
        for &(index, head) in &open {
            queue.taken.insert(head);
            queue.old.insert(head);
            queue.redoing += 1;
            queue.note(head, InFlight::TAKEN, index);
            queue.again.push_back(head);
        }
        store_next(&queue.progress, size, last_avail);
        // The earlier life may have published and not notified.
        queue.notify = true;
        Ok(Some(queue))
    }

    fn over(area: &Area<'static>, place: u32, ring: Queue) -> Result<Self, SetupError> {
        let first = place * MAX_QUEUE_SIZE as u32;
        Ok(Self {
            ring,
            record: area.array::<InFlight>(first, MAX_QUEUE_SIZE as u32)?,
            progress: progress(area, place)?,
            taken: Taken::default(),
            returned: heapless::Vec::new(),
            // For the one that is put back; nothing is allocated while requests are served.
            again: VecDeque::with_capacity(1),
            old: Taken::default(),
            redoing: 0,
            work: Work::All,
            notify: false,
        })
    }

    /// Stops: takes nothing new, and works on what was taken. `true` once there is nothing of that any more; to be called until
    /// then. What was taken last and is not at the disk is left to the ring again: the position that remains names it.
    pub fn stop(&mut self, window: &Window) -> bool {
        self.work = Work::Taken;
        while let Some(&head) = self.again.back() {
            let last = self
                .ring
                .popped(window)
                .ok()
                .and_then(|mut all| all.next_back());
            if last.is_none_or(|(_, last)| last != head) {
                break;
            }
            self.again.pop_back();
            self.ring.unpop();
            let next = self.ring.last_avail();
            store_next(&self.progress, self.ring.size(), next);
            self.taken.remove(head);
            self.redone(head);
            self.note(head, InFlight::FREE, 0);
        }
        self.in_flight() == 0
    }

    /// Abandons what was taken and is not at the disk. `true` once the disk has nothing of the queue; to be called until then.
    /// Until then, the record says what it said.
    pub fn abandon(&mut self) -> bool {
        self.work = Work::AtDisk;
        self.is_off_disk()
    }

    /// Whether the disk has nothing of the queue, and all that it had is published.
    pub fn is_off_disk(&self) -> bool {
        usize::from(self.in_flight()) == self.again.len()
    }

    /// Neither stops nor abandons any more: whoever wanted that does not want it any more.
    pub fn go_on(&mut self) {
        self.work = Work::All;
    }

    /// Whether the queue is being stopped, and there is something to be worked on for that.
    pub fn has_rest(&self) -> bool {
        self.work == Work::Taken && !self.again.is_empty()
    }

    /// Requests taken and not published.
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight() + self.returned.len() as u16
    }

    pub const fn size(&self) -> u16 {
        self.ring.size()
    }

    pub const fn next_avail(&self) -> u16 {
        self.ring.last_avail()
    }

    pub fn is_taking(&self) -> bool {
        self.work == Work::All
    }

    /// Takes the next request that is to be worked on, if [`Self::has_news`] says that there may be one.
    #[inline]
    pub fn take<const N: usize>(
        &mut self,
        window: &Window,
        chain: &mut Chain<N>,
    ) -> Result<Option<u16>, PopError> {
        if let Some(head) = self.again.pop_front() {
            return self.ring.retake(window, head, chain).map(|()| Some(head));
        }
        if !self.is_taking() {
            return Ok(None);
        }
        let popped = self.ring.pop(window, chain);
        let head = match popped {
            Ok(Some(head)) | Err(PopError::Request { head, .. }) => head,
            Ok(None) | Err(PopError::Queue(_)) => return popped,
        };
        if !self.taken.insert(head) {
            self.ring.unpop();
            return Err(PopError::Queue(QueueError::HeadTwice { head }));
        }
        let next = self.ring.last_avail();
        self.note(head, InFlight::TAKEN, next.wrapping_sub(1));
        store_next(&self.progress, self.ring.size(), next);
        popped
    }

    /// Whether there is something to take.
    #[inline]
    pub fn has_news(&self, window: &Window) -> bool {
        match self.work {
            Work::All => !self.again.is_empty() || self.ring.has_news(window),
            Work::Taken => !self.again.is_empty(),
            Work::AtDisk => false,
        }
    }

    /// Whether requests that an earlier life had taken have not been returned yet.
    #[inline]
    pub const fn is_redoing(&self) -> bool {
        // What is abandoned is not done again.
        self.redoing != 0 && !matches!(self.work, Work::AtDisk)
    }

    /// Whether a request that was taken before is to be taken once more.
    #[inline]
    pub fn has_taken(&self) -> bool {
        !self.again.is_empty()
    }

    #[cold]
    fn redone(&mut self, head: u16) {
        if self.old.contains(head) {
            self.old.remove(head);
            self.redoing -= 1;
        }
    }

    /// Whether all that was known to be ready has been taken.
    #[inline]
    pub fn is_caught_up(&self) -> bool {
        self.again.is_empty() && self.ring.is_caught_up()
    }

    /// Undoes [`Self::take`], for want of room: the same request is taken next time.
    pub fn put_back(&mut self, head: u16) {
        // At the front: it was the next one, and is again.
        self.again.push_front(head);
    }

    /// Whether all of the ring is in the client's memory still.
    pub fn check(&self, window: &Window) -> Result<(), QueueError> {
        self.ring.check(window)
    }

    /// Returns a request, to be seen by the client after [`Self::publish`].
    #[inline]
    pub fn give_back(
        &mut self,
        window: &Window,
        head: u16,
        written: u32,
    ) -> Result<(), QueueError> {
        if self.returned.is_full() {
            self.publish(window)?;
        }
        let index = self.ring.used_idx();
        self.ring.complete(window, head, written)?;
        self.note(head, InFlight::RETURNED, index);
        if self.redoing != 0 {
            self.redone(head);
        }
        let _ = self.returned.push(head);
        Ok(())
    }

    #[inline]
    pub fn is_dirty(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Shows the client what was returned.
    pub fn publish(&mut self, window: &Window) -> Result<(), QueueError> {
        // A head may come again as soon as it is published.
        for &head in &self.returned {
            self.taken.remove(head);
        }
        self.ring.publish(window)?;
        fence(Ordering::Release);
        for at in 0..self.returned.len() {
            if let Some(&head) = self.returned.get(at) {
                self.note(head, InFlight::FREE, 0);
            }
        }
        self.returned.clear();
        self.notify |= self.ring.needs_notification(window)?;
        Ok(())
    }

    /// Whether the client is to be notified of what was published since this was last asked.
    #[inline]
    pub fn take_notify(&mut self) -> bool {
        core::mem::take(&mut self.notify)
    }

    /// Asks the client to ring for the next request; `true` when there is one already.
    pub fn expect_bell(&mut self, window: &Window) -> Result<bool, QueueError> {
        self.ring.enable_notifications(window)
    }

    /// Tells the client that it need not ring.
    pub fn expect_no_bell(&mut self, window: &Window) -> Result<(), QueueError> {
        self.ring.disable_notifications(window)
    }

    #[inline]
    fn note(&self, head: u16, state: u16, index: u16) {
        let word = (u32::from(state) << 16 | u32::from(index)).swap_bytes();
        // Every head is below the queue's size, and so in the record.
        let stored = self.record.store_u32_release(u32::from(head), word);
        debug_assert!(stored.is_ok());
    }
}

/// The word of a queue's record that says whether there is a queue, and how far it has come.
fn progress(area: &Area<'static>, place: u32) -> Result<Word<'static>, AreaError> {
    area.word::<QueueState>(place, offset_of!(QueueState, size))
}

/// Forgets whatever queue the record has, but for a position: where the next one begins.
pub fn forget(area: &Area<'static>, place: u32, next: u16) {
    match progress(area, place) {
        Ok(progress) => store_next(&progress, 0, next),
        Err(error) => log::error!("queue record: {error}"),
    }
}

/// The next available index in the record: where a queue that is not set up begins.
pub fn position(area: &Area<'static>, place: u32) -> u16 {
    progress(area, place).map_or(0, |progress| progress.load() as u16)
}

/// Size and next available index are one word, so that one store changes the latter.
#[inline]
fn store_next(progress: &Word<'_>, size: u16, next: u16) {
    progress.store(u32::from(size) << 16 | u32::from(next));
}

#[derive(Debug, Default)]
struct Taken([u64; MAX_QUEUE_SIZE / 64]);

impl Taken {
    /// `false` if it was taken already.
    #[inline]
    fn insert(&mut self, head: u16) -> bool {
        let bit = 1 << (head % 64);
        let Some(word) = self.0.get_mut(usize::from(head / 64)) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, head: u16) -> bool {
        let word = self.0.get(usize::from(head / 64));
        word.is_some_and(|word| word & 1 << (head % 64) != 0)
    }

    #[inline]
    fn remove(&mut self, head: u16) {
        if let Some(word) = self.0.get_mut(usize::from(head / 64)) {
            *word &= !(1 << (head % 64));
        }
    }
}
