//! One virtqueue of a client, with the record in the area from which it can be taken up again.
//!
//! # The record
//!
//! For each head an [`InFlight`] entry, and the next available index. The order of the stores makes
//! every instant a good one to crash in:
//!
//! 1. taking a request: entry TAKEN (with its available index), then `next_avail`;
//! 2. returning it: used-ring entry, then RETURNED (with its used index);
//! 3. publishing: used index, then the entries become FREE.
//!
//! A RETURNED entry whose used index is not yet published was invisible to the client: it is
//! worked on again. Reads, writes, flushes and discards may all be done twice.

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{fence, Ordering};

use vcss::client::{InFlight, QueueState, MAX_QUEUE_SIZE};
use vcss::{Area, AreaError, Word};
use virtio::ring::device::{Chain, PopError, Position, Queue, QueueError};
use virtio::ring::{LayoutError, Options, QueueLayout};
use window::{ClientAddress, Window, WindowSlice};
use zerocopy::big_endian::{U16, U32};

/// Heads that are remembered between two publishings.
const BATCH: usize = 64;

/// A virtqueue being served.
#[derive(Debug)]
pub struct ServedQueue {
    ring: Queue,
    record: WindowSlice<'static>,
    next_avail: Word<'static>,
    taken: Taken,
    /// Returned and not yet published.
    returned: heapless::Vec<u16, BATCH>,
    /// Heads that an earlier life had taken, to be worked on again.
    again: heapless::Deque<u16, MAX_QUEUE_SIZE>,
    /// Nothing more is taken.
    stopping: bool,
    /// What was published is wanted to be known.
    notify: bool,
}

/// Why a queue cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The ring cannot be.
    Layout(LayoutError),
    /// The area has no place for it.
    Area(AreaError),
    /// The record of an earlier life contradicts itself.
    Record,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::Area(error) => error.fmt(f),
            Self::Record => f.write_str("the record of requests in flight contradicts the rings"),
        }
    }
}

impl From<LayoutError> for SetupError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<AreaError> for SetupError {
    fn from(error: AreaError) -> Self {
        Self::Area(error)
    }
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
        let queue = Self::over(area, place, ring)?;
        if queue.ring.in_flight() != 0 {
            return Err(SetupError::Record);
        }
        for head in 0..MAX_QUEUE_SIZE as u16 {
            queue.note(head, InFlight::FREE, 0);
        }
        queue.persist(area, place)?;
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
        if size == 0 || usize::from(size) > MAX_QUEUE_SIZE {
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
        let mut open: heapless::Vec<(u16, u16), MAX_QUEUE_SIZE> = heapless::Vec::new();
        let mut last_avail = state.next_avail.get();
        for head in 0..size {
            let entry: InFlight = record.element(u32::from(head))?;
            let index = entry.index.get();
            match entry.state.get() {
                InFlight::TAKEN => {
                    // TAKEN may have been written and `next_avail` not.
                    if index == last_avail {
                        last_avail = last_avail.wrapping_add(1);
                    }
                    let _ = open.push((index, head));
                }
                // Ahead of the used index: not published.
                InFlight::RETURNED if index.wrapping_sub(used_idx) < size => {
                    let _ = open.push((index, head));
                }
                _ => {}
            }
        }
        let position = Position {
            last_avail,
            used_idx,
        };
        let ring = Queue::new(window, layout, options, position)?;
        if usize::from(ring.in_flight()) != open.len() {
            return Err(SetupError::Record);
        }
        // As the client gave them; those that were RETURNED may go in any order.
        open.sort_unstable_by_key(|&(index, _)| index.wrapping_sub(used_idx));
        let mut queue = Self::over(area, place, ring)?;
        for &(index, head) in &open {
            queue.taken.insert(head);
            queue.note(head, InFlight::TAKEN, index);
            let _ = queue.again.push_back(head);
        }
        queue.next_avail.store_next(size, last_avail);
        // The earlier life may have published and not notified.
        queue.notify = true;
        Ok(Some(queue))
    }

    fn over(area: &Area<'static>, place: u32, ring: Queue) -> Result<Self, SetupError> {
        let first = place * MAX_QUEUE_SIZE as u32;
        Ok(Self {
            ring,
            record: area.array::<InFlight>(first, MAX_QUEUE_SIZE as u32)?,
            next_avail: area.word::<QueueState>(place, offset_of!(QueueState, size))?,
            taken: Taken::default(),
            returned: heapless::Vec::new(),
            again: heapless::Deque::new(),
            stopping: false,
            notify: false,
        })
    }

    fn persist(&self, area: &Area<'static>, place: u32) -> Result<(), AreaError> {
        let layout = self.ring.layout();
        area.write(
            place,
            &QueueState {
                size: U16::new(layout.size),
                next_avail: U16::new(self.ring.last_avail()),
                reserved: U32::ZERO,
                descriptors: layout.descriptors.value().into(),
                driver: layout.driver.value().into(),
                device: layout.device.value().into(),
            },
        )
    }

    /// Takes no more requests. Once none is in flight, forgets the queue in the record, but for its
    /// position, and says `true`.
    pub fn release(&mut self, area: &Area<'static>, place: u32) -> bool {
        self.stopping = true;
        if self.in_flight() != 0 {
            return false;
        }
        let state = QueueState {
            next_avail: U16::new(self.ring.last_avail()),
            ..QueueState::default()
        };
        if let Err(error) = area.write(place, &state) {
            log::error!("queue record: {error}");
        }
        true
    }

    /// Requests taken and not published.
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight() + self.returned.len() as u16
    }

    /// The next available index.
    pub const fn next_avail(&self) -> u16 {
        self.ring.last_avail()
    }

    /// Whether requests are taken.
    pub const fn is_taking(&self) -> bool {
        !self.stopping
    }

    /// Takes the next request.
    #[inline]
    pub fn take<const N: usize>(
        &mut self,
        window: &Window,
        chain: &mut Chain<N>,
    ) -> Result<Option<u16>, PopError> {
        if let Some(head) = self.again.pop_front() {
            return self.ring.retake(window, head, chain).map(|()| Some(head));
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
        self.next_avail.store_next(self.ring.size(), next);
        popped
    }

    /// Whether there is something to take.
    #[inline]
    pub fn has_news(&self, window: &Window) -> bool {
        !self.again.is_empty() || self.ring.has_news(window)
    }

    /// Whether all that was known to be ready has been taken.
    #[inline]
    pub fn is_caught_up(&self) -> bool {
        self.again.is_empty() && self.ring.is_caught_up()
    }

    /// Undoes [`Self::take`], for want of room: the same request is taken next time.
    pub fn put_back(&mut self, head: u16) {
        // At the front: it was the next one, and is again.
        let _ = self.again.push_front(head);
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
        let _ = self.returned.push(head);
        Ok(())
    }

    /// Whether there is something to publish.
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

/// Size and next available index are one word, so that one store changes the latter.
trait NextAvail {
    fn store_next(&self, size: u16, next: u16);
}

impl NextAvail for Word<'_> {
    #[inline]
    fn store_next(&self, size: u16, next: u16) {
        self.store(u32::from(size) << 16 | u32::from(next));
    }
}

/// Which heads are taken.
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

    #[inline]
    fn remove(&mut self, head: u16) {
        if let Some(word) = self.0.get_mut(usize::from(head / 64)) {
            *word &= !(1 << (head % 64));
        }
    }
}
