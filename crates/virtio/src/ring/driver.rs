//! The driver side of a queue: the appliance uses a device that it owns.
//!
//! # Scope
//!
//! [`Queue::add`] and [`Queue::add_indirect`] make chains, [`Queue::publish`] shows them to the
//! device, [`Queue::poll_used`] takes them back, and the rest decides who has to wake whom. The
//! ring is one block of memory, laid out by [`QueueLayout::contiguous`]; the caller brings it.
//!
//! # Limits
//!
//! Buffers and indirect tables are the caller's. They stay as they are until their head comes back.
//!
//! # The rule
//!
//! The device is trusted with the memory it was given, but not with our bookkeeping. Which
//! descriptors are free, which heads are in flight and how much the device may have written is
//! kept apart from the ring; what the device writes there is a number to be checked. A device
//! that names a wrong head or runs ahead of us is a [`DeviceFault`], and the queue stands still
//! until [`Queue::reset`].

mod error;
mod slots;
#[cfg(test)]
mod tests;

use core::sync::atomic::{fence, Ordering};

use window::{ClientAddress, OutOfWindow, Window};

pub use error::{AddError, DeviceFault};

use super::layout::Areas;
use super::{
    need_event, AvailFlags, Descriptor, DescriptorFlags, LayoutError, Options, QueueLayout,
    UsedFlags,
};
use slots::Slots;

/// One buffer of a chain, at an absolute address of this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Absolute address of the first byte.
    pub absolute: u64,
    /// Length in bytes.
    pub len: u32,
    /// Whether the device writes it; otherwise it reads it.
    pub writable: bool,
}

impl Buffer {
    /// The buffer's descriptor: the last of its chain, or followed by `next`.
    #[inline]
    fn descriptor(&self, next: Option<u16>) -> Descriptor {
        let mut flags = DescriptorFlags::empty();
        flags.set(DescriptorFlags::WRITE, self.writable);
        flags.set(DescriptorFlags::NEXT, next.is_some());
        Descriptor::new(self.absolute, self.len, flags, next.unwrap_or(0))
    }
}

/// A request that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Used {
    /// The head that [`Queue::add`] or [`Queue::add_indirect`] gave.
    pub head: u16,
    /// How many bytes the device says it wrote: no more than it could.
    pub len: u32,
}

/// Absolute addresses of a queue's areas, as the device has to be told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// The descriptor table.
    pub descriptors: u64,
    /// The driver area (available ring).
    pub driver: u64,
    /// The device area (used ring).
    pub device: u64,
}

/// An indirect table: all that [`Queue::add_indirect`] needs to know of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TableShape {
    /// Number of descriptors.
    pub count: u16,
    /// Bytes that the device may write.
    pub writable: u32,
}

/// A virtqueue as its driver sees it, with room for `SIZE` entries.
#[derive(Debug)]
pub struct Queue<const SIZE: usize> {
    memory: Window,
    layout: QueueLayout,
    areas: Areas,
    options: Options,
    /// Next entry to be written to the available ring.
    next_avail: u16,
    /// `next_avail` when the need for a kick was last decided.
    decided: u16,
    /// Next entry to be taken from the used ring.
    last_used: u16,
    /// The used index when it was last looked at.
    used_idx: u16,
    /// The device has made a mistake after which its ring means nothing.
    broken: bool,
    slots: Slots<SIZE>,
}

impl<const SIZE: usize> Queue<SIZE> {
    /// Makes an empty queue of `size` entries in `memory`: the block that the device will be told
    /// of, of [`QueueLayout::contiguous_bytes`] bytes, aligned to 16. The block is cleared.
    ///
    /// # Errors
    ///
    /// A [`LayoutError`] if the size is bad or more than `SIZE`, or if the block is too small or
    /// not aligned.
    pub fn new(memory: Window, size: u16, options: Options) -> Result<Self, LayoutError> {
        let layout = QueueLayout::contiguous(size);
        if usize::from(size) > SIZE {
            return Err(LayoutError::Size(size));
        }
        let areas = layout.check(&memory)?;
        // All absolute addresses of the block are addresses: `addresses` cannot overflow.
        memory.translate(ClientAddress::new(0), QueueLayout::contiguous_bytes(size))?;
        let base = ClientAddress::new(memory.absolute_base());
        if !base.is_aligned(16) {
            return Err(LayoutError::Misaligned {
                address: base,
                alignment: 16,
            });
        }
        let mut queue = Self {
            memory,
            layout,
            areas,
            options,
            next_avail: 0,
            decided: 0,
            last_used: 0,
            used_idx: 0,
            broken: false,
            slots: Slots::new(size),
        };
        queue.reset()?;
        Ok(queue)
    }

    /// Forgets all requests and clears the ring: goes with a reset of the device or the queue.
    ///
    /// # Errors
    ///
    /// None, once the queue is made; the ring lies in its own memory.
    pub fn reset(&mut self) -> Result<(), OutOfWindow> {
        let bytes = u64::from(QueueLayout::contiguous_bytes(self.layout.size));
        self.memory.fill(ClientAddress::new(0), bytes, 0)?;
        self.next_avail = 0;
        self.decided = 0;
        self.last_used = 0;
        self.used_idx = 0;
        self.broken = false;
        self.slots = Slots::new(self.layout.size);
        Ok(())
    }

    /// Where the areas are, for telling the device.
    pub fn addresses(&self) -> Addresses {
        let base = self.memory.absolute_base();
        let absolute = |area: ClientAddress| base.wrapping_add(area.value());
        Addresses {
            descriptors: absolute(self.layout.descriptors),
            driver: absolute(self.layout.driver),
            device: absolute(self.layout.device),
        }
    }

    /// The head that the next [`Queue::add`] or [`Queue::add_indirect`] will give, or `None` if
    /// the queue is full. So a caller with one indirect table for each head can fill the table
    /// first.
    #[inline]
    pub fn vacant(&self) -> Option<u16> {
        self.slots.vacant()
    }

    /// Adds a chain of descriptors of the queue's own table. The device sees it after
    /// [`Queue::publish`].
    ///
    /// # Errors
    ///
    /// [`AddError`]; nothing was added then.
    pub fn add(&mut self, buffers: &[Buffer]) -> Result<u16, AddError> {
        let count = u16::try_from(buffers.len()).map_err(|_| AddError::Full)?;
        let readable = buffers.iter().take_while(|b| !b.writable).count();
        let writable = buffers.get(readable..).unwrap_or(&[]);
        if writable.iter().any(|b| !b.writable) {
            return Err(AddError::Order);
        }
        let writable = writable
            .iter()
            .fold(0u32, |sum, b| sum.saturating_add(b.len));
        let head = self.slots.take(count, writable)?;
        let table = self.areas.descriptor_table(&self.memory)?;
        let mut index = head;
        for (number, buffer) in buffers.iter().enumerate() {
            let next = self.slots.next(index);
            let last = number + 1 == buffers.len();
            table.set_descriptor(index, &buffer.descriptor((!last).then_some(next)))?;
            index = next;
        }
        self.make_available(head)?;
        Ok(head)
    }

    /// Adds a chain that is the indirect table at absolute address `table`. The device sees it
    /// after [`Queue::publish`].
    ///
    /// # Errors
    ///
    /// [`AddError`]; nothing was added then.
    #[inline]
    pub fn add_indirect(&mut self, table: u64, shape: TableShape) -> Result<u16, AddError> {
        if !self.options.indirect {
            return Err(AddError::IndirectNotNegotiated);
        }
        if shape.count == 0 {
            return Err(AddError::Empty);
        }
        let head = self.slots.take(1, shape.writable)?;
        let bytes = u32::from(shape.count) * size_of::<Descriptor>() as u32;
        let descriptor = Descriptor::new(table, bytes, DescriptorFlags::INDIRECT, 0);
        self.areas
            .descriptor_table(&self.memory)?
            .set_descriptor(head, &descriptor)?;
        self.make_available(head)?;
        Ok(head)
    }

    /// Shows the device all that was added. What was written before is visible first.
    #[inline]
    pub fn publish(&mut self) {
        // Cannot fail: `new` has found the ring in its memory.
        if let Ok(driver) = self.areas.driver_area(&self.memory) {
            let _ = driver.set_idx(self.next_avail);
        }
    }

    /// Whether the device wants to be told of what was published since this was last asked.
    #[inline]
    pub fn needs_kick(&mut self) -> bool {
        // Index first, then the device's wish: see `device::Queue::needs_notification`.
        fence(Ordering::SeqCst);
        let old = core::mem::replace(&mut self.decided, self.next_avail);
        let wish = self.areas.device_area(&self.memory).and_then(|device| {
            Ok(if self.options.event_idx {
                need_event(device.avail_event()?, self.next_avail, old)
            } else {
                old != self.next_avail && !device.flags()?.contains(UsedFlags::NO_NOTIFY)
            })
        });
        wish.unwrap_or(true)
    }

    /// Takes the next request that the device is done with; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]. After [`DeviceFault::LengthTooLong`] the named request is over, and the
    /// queue goes on. After any other the queue is [broken](Queue::is_broken), and the answer
    /// from then on is `None`.
    #[inline]
    pub fn poll_used(&mut self) -> Option<Result<Used, DeviceFault>> {
        if self.broken {
            return None;
        }
        let result = self.try_poll().transpose();
        if let Some(Err(fault)) = &result {
            self.broken = !matches!(fault, DeviceFault::LengthTooLong { .. });
        }
        result
    }

    /// Asks the device to interrupt when it has used the next request, and looks once more: true
    /// if there is one already, so that the driver must not sleep.
    pub fn enable_interrupts(&mut self) -> bool {
        self.say(self.last_used, AvailFlags::empty());
        // What was just said must be seen before the index is read.
        fence(Ordering::SeqCst);
        let device = self.areas.device_area(&self.memory);
        !self.broken && device.and_then(|device| device.idx()) != Ok(self.last_used)
    }

    /// Tells the device that interrupts are not needed: the driver is polling. It is a hint; an
    /// interrupt may still come.
    pub fn disable_interrupts(&mut self) {
        // With event indices there is no "off": the one just passed is the furthest away.
        self.say(self.last_used.wrapping_sub(1), AvailFlags::NO_INTERRUPT);
    }

    /// Whether the device has made a mistake after which only a reset helps.
    #[inline]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Number of requests that are with the device (or added, and not published yet).
    #[inline]
    pub const fn in_flight(&self) -> u16 {
        self.slots.in_flight()
    }

    /// Number of free descriptors: how long the next direct chain may be, and how many indirect
    /// ones fit.
    #[inline]
    pub const fn free(&self) -> u16 {
        self.slots.free()
    }

    /// Number of entries.
    #[inline]
    pub const fn size(&self) -> u16 {
        self.layout.size
    }

    #[inline]
    fn make_available(&mut self, head: u16) -> Result<(), OutOfWindow> {
        let driver = self.areas.driver_area(&self.memory)?;
        driver.set_head(self.next_avail, head)?;
        self.next_avail = self.next_avail.wrapping_add(1);
        Ok(())
    }

    #[inline]
    fn try_poll(&mut self) -> Result<Option<Used>, DeviceFault> {
        let device = self.areas.device_area(&self.memory)?;
        if self.last_used == self.used_idx {
            let used_idx = device.idx()?;
            let done = used_idx.wrapping_sub(self.last_used);
            if done > self.slots.in_flight() {
                return Err(DeviceFault::UsedIndexJumped {
                    used_idx,
                    last_used: self.last_used,
                    in_flight: self.slots.in_flight(),
                });
            }
            self.used_idx = used_idx;
            if done == 0 {
                return Ok(None);
            }
        }
        let element = device.element(self.last_used)?;
        self.last_used = self.last_used.wrapping_add(1);
        let (id, len) = (element.id.get(), element.len.get());
        let head = u16::try_from(id).map_err(|_| DeviceFault::UnknownHead { id })?;
        let writable = self
            .slots
            .give_back(head)
            .ok_or(DeviceFault::UnknownHead { id })?;
        if len > writable {
            return Err(DeviceFault::LengthTooLong {
                head,
                len,
                writable,
            });
        }
        Ok(Some(Used { head, len }))
    }

    fn say(&mut self, event: u16, flags: AvailFlags) {
        // Cannot fail: `new` has found the ring in its memory.
        if let Ok(driver) = self.areas.driver_area(&self.memory) {
            let _ = if self.options.event_idx {
                driver.set_used_event(event)
            } else {
                driver.set_flags(flags)
            };
        }
    }
}
