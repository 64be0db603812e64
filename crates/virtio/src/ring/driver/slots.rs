//! Which descriptors are free and which heads are in flight: the driver's own knowledge, out of
//! the device's reach.
//!
//! Free descriptors form a list through `next`. A chain takes as many as it needs from the front,
//! in list order, so that `next` is also the order of the chain. A chain that comes back is put in
//! front as it is, which takes the same time whatever its length.

use super::AddError;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The next descriptor of the chain or of the free list.
    next: u16,
    /// If this is the head of a chain in flight: the chain's last descriptor.
    last: u16,
    /// If this is the head of a chain in flight: its number of descriptors. Otherwise 0.
    count: u16,
    /// If this is the head of a chain in flight: the bytes that the device may write.
    writable: u32,
}

#[derive(Debug)]
pub(super) struct Slots<const SIZE: usize> {
    slots: [Slot; SIZE],
    /// Front of the free list, if any descriptor is free.
    front: u16,
    free: u16,
    in_flight: u16,
}

impl<const SIZE: usize> Slots<SIZE> {
    /// All of `size` descriptors free.
    pub(super) fn new(size: u16) -> Self {
        let mut slots = [Slot::default(); SIZE];
        for (slot, next) in slots.iter_mut().zip(1..=size) {
            slot.next = next;
        }
        Self {
            slots,
            front: 0,
            free: size,
            in_flight: 0,
        }
    }

    #[inline]
    pub(super) fn vacant(&self) -> Option<u16> {
        (self.free > 0).then_some(self.front)
    }

    #[inline]
    pub(super) const fn free(&self) -> u16 {
        self.free
    }

    #[inline]
    pub(super) const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// The descriptor that follows `index` in its chain.
    #[inline]
    pub(super) fn next(&self, index: u16) -> u16 {
        self.slots.get(usize::from(index)).map_or(0, |s| s.next)
    }

    /// Takes a chain of `count` descriptors and says which is its first; the others follow by
    /// [`Slots::next`].
    #[inline]
    pub(super) fn take(&mut self, count: u16, writable: u32) -> Result<u16, AddError> {
        if count == 0 {
            return Err(AddError::Empty);
        }
        if count > self.free {
            return Err(AddError::Full);
        }
        let head = self.front;
        let mut last = head;
        for _ in 1..count {
            last = self.next(last);
        }
        let rest = self.next(last);
        let slot = self
            .slots
            .get_mut(usize::from(head))
            .ok_or(AddError::Full)?;
        slot.last = last;
        slot.count = count;
        slot.writable = writable;
        self.front = rest;
        self.free -= count;
        self.in_flight += 1;
        Ok(head)
    }

    /// Gives the chain of `head` back, and says how many bytes the device might have written;
    /// `None` if `head` is not in flight.
    #[inline]
    pub(super) fn give_back(&mut self, head: u16) -> Option<u32> {
        let slot = self.slots.get_mut(usize::from(head))?;
        let count = core::mem::take(&mut slot.count);
        if count == 0 {
            return None;
        }
        let (last, writable) = (slot.last, slot.writable);
        self.slots.get_mut(usize::from(last))?.next = self.front;
        self.front = head;
        self.free += count;
        self.in_flight -= 1;
        Some(writable)
    }
}
