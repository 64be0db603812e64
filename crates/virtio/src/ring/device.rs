//! The device side of a queue: the appliance serves a client.
//!
//! # Scope
//!
//! [`Queue::pop`] takes the next request's descriptor chain out of the client's memory,
//! [`Queue::complete`] and [`Queue::publish`] hand it back, and the rest decides who has to wake
//! whom. The queue keeps four 16-bit indices and nothing else; two of them, the [`Position`], are
//! all it takes to go on after a restart.
//!
//! # Limits
//!
//! The addresses in a [`Chain`] are still the client's: they are checked when they are translated.
//! The queue does not remember *which* requests are in flight. A client that makes the same head
//! available twice gets two requests; whoever keeps tables by head checks for that.
//!
//! # The rule
//!
//! Everything in the ring is the client's and may change at any time. Each word that matters is
//! loaded once; the value that was checked is the value that is used. The window is always the one that the queue was made for:
//! with another one everything may be [`OutOfWindow`].
//!
//! # How to poll, then sleep
//!
//! ```
//! # use window::{ClientAddress, Window};
//! # use virtio::ring::{device::{Chain, PopError, Position, Queue, QueueError}, Options, QueueLayout};
//! fn serve(queue: &mut Queue, window: &Window, notify: impl Fn()) -> Result<(), QueueError> {
//!     let mut chain = Chain::<128>::new();
//!     loop {
//!         queue.disable_notifications(window)?;
//!         loop {
//!             match queue.pop(window, &mut chain) {
//!                 Ok(None) => break,
//!                 Ok(Some(head)) => queue.complete(window, head, 0)?, // after doing the work
//!                 Err(PopError::Request { head, .. }) => queue.complete(window, head, 0)?,
//!                 Err(PopError::Queue(error)) => return Err(error), // needs a reset
//!             }
//!         }
//!         queue.publish(window)?;
//!         if queue.needs_notification(window)? {
//!             notify();
//!         }
//!         if !queue.enable_notifications(window)? {
//!             return Ok(()); // nothing came meanwhile: sleep
//!         }
//!     }
//! }
//! # let mut memory = vec![0; 4096];
//! # let window = Window::borrowed(&mut memory, 0);
//! # let layout = QueueLayout::contiguous(8);
//! # let mut queue = Queue::new(&window, layout, Options::default(), Position::default())?;
//! # serve(&mut queue, &window, || ()).unwrap();
//! # Ok::<(), virtio::ring::LayoutError>(())
//! ```

mod chain;
mod error;
#[cfg(test)]
mod tests;

use core::sync::atomic::{fence, Ordering};

use window::{OutOfWindow, Window};

pub use chain::{Buffer, Chain};
pub use error::{ChainError, PopError, QueueError};

use super::layout::{Areas, DriverArea};
use super::{need_event, AvailFlags, LayoutError, Options, QueueLayout, UsedFlags};

/// How far a queue has come: what has to survive a restart of the device. The default is that of
/// a fresh queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Index of the next entry to be taken from the available ring.
    pub last_avail: u16,
    /// Index of the next entry to be written to the used ring. What lies between the two is in
    /// flight.
    pub used_idx: u16,
}

/// A virtqueue as its device sees it.
#[derive(Debug)]
pub struct Queue {
    layout: QueueLayout,
    areas: Areas,
    options: Options,
    /// Next entry to be taken.
    last_avail: u16,
    /// The available index when it was last looked at: up to here is known to be ready.
    avail_idx: u16,
    /// Next entry to be written, whether or not the earlier ones are published.
    used_idx: u16,
    /// `used_idx` when the need for a notification was last decided. `None` after a restart: the
    /// driver may be waiting for an entry the earlier life has published.
    decided: Option<u16>,
}

impl Queue {
    /// Whether all of the ring is in the window still.
    pub fn check(&self, window: &Window) -> Result<(), QueueError> {
        Ok(self.areas.check(window)?)
    }

    /// Makes a queue that goes on at `position`.
    ///
    /// After a restart the earlier life may have published entries without notifying; the caller
    /// notifies the driver once, whatever [`Queue::needs_notification`] would say.
    ///
    /// # Errors
    ///
    /// A [`LayoutError`] if size, alignment, place or position cannot be.
    pub fn new(
        window: &Window,
        layout: QueueLayout,
        options: Options,
        position: Position,
    ) -> Result<Self, LayoutError> {
        let areas = layout.check(window)?;
        let in_flight = position.last_avail.wrapping_sub(position.used_idx);
        if in_flight > layout.size {
            return Err(LayoutError::Position {
                in_flight,
                size: layout.size,
            });
        }
        let fresh = position == Position::default();
        Ok(Self {
            layout,
            areas,
            options,
            last_avail: position.last_avail,
            avail_idx: position.last_avail,
            used_idx: position.used_idx,
            decided: fresh.then_some(0),
        })
    }

    /// Takes the next request: `chain` gets its buffers, the result is its head, by which it is
    /// completed. `None` if no request is waiting; `chain` is then as it was.
    ///
    /// # Errors
    ///
    /// * [`PopError::Request`]: this chain is bad. The request is taken; the caller completes its
    ///   head with nothing written and goes on. `chain` is empty.
    /// * [`PopError::Queue`]: the ring is bad. Nothing was taken, and the same will happen again:
    ///   the device sets [`DEVICE_NEEDS_RESET`](crate::Status::DEVICE_NEEDS_RESET).
    #[inline]
    pub fn pop<const N: usize>(
        &mut self,
        window: &Window,
        chain: &mut Chain<N>,
    ) -> Result<Option<u16>, PopError> {
        let driver = self.areas.driver_area(window)?;
        if self.last_avail == self.avail_idx {
            self.look(&driver)?;
            if self.last_avail == self.avail_idx {
                return Ok(None);
            }
        }
        chain.clear();
        let head = driver.head(self.last_avail)?;
        if head >= self.layout.size {
            let size = self.layout.size;
            return Err(QueueError::HeadOutOfRange { head, size }.into());
        }
        self.last_avail = self.last_avail.wrapping_add(1);
        match chain.collect(window, &self.areas, self.options.indirect, head) {
            Ok(()) => Ok(Some(head)),
            Err(error) => {
                chain.clear();
                Err(PopError::Request { head, error })
            }
        }
    }

    /// Takes the buffers of a request that was popped already once more: for a device that goes on
    /// after a restart, or was out of room.
    pub fn retake<const N: usize>(
        &self,
        window: &Window,
        head: u16,
        chain: &mut Chain<N>,
    ) -> Result<(), PopError> {
        chain.clear();
        if head >= self.layout.size {
            let size = self.layout.size;
            return Err(QueueError::HeadOutOfRange { head, size }.into());
        }
        chain
            .collect(window, &self.areas, self.options.indirect, head)
            .map_err(|error| {
                chain.clear();
                PopError::Request { head, error }
            })
    }

    /// Puts the request that was popped last back, to be popped again: for a device that is out
    /// of room. Does nothing if no request is in flight.
    pub fn unpop(&mut self) {
        if self.in_flight() > 0 {
            self.last_avail = self.last_avail.wrapping_sub(1);
        }
    }

    /// The last entries of the available ring that were popped, as many as there are requests in flight: index and head, in the
    /// ring's order. No driver changes them as long as so many requests are in flight. Not each of them need be in flight itself:
    /// requests may be completed out of order.
    pub fn popped<'w>(
        &self,
        window: &'w Window,
    ) -> Result<impl DoubleEndedIterator<Item = (u16, u16)> + use<'w>, OutOfWindow> {
        let driver = self.areas.driver_area(window)?;
        let first = self.used_idx;
        Ok((0..self.in_flight()).filter_map(move |number| {
            let index = first.wrapping_add(number);
            Some((index, driver.head(index).ok()?))
        }))
    }

    /// Writes the used entry of a request: `written` bytes of its writable buffers are valid. The
    /// driver sees it after [`Queue::publish`].
    ///
    /// # Errors
    ///
    /// [`QueueError::NothingInFlight`] if all that was popped is completed already, or
    /// [`QueueError::OutOfWindow`] if `window` is not the one the queue was made for.
    #[inline]
    pub fn complete(&mut self, window: &Window, head: u16, written: u32) -> Result<(), QueueError> {
        if self.in_flight() == 0 {
            return Err(QueueError::NothingInFlight { head });
        }
        let device = self.areas.device_area(window)?;
        device.set_element(self.used_idx, u32::from(head), written)?;
        self.used_idx = self.used_idx.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver all that was completed. What the device wrote before is visible first.
    #[inline]
    pub fn publish(&mut self, window: &Window) -> Result<(), QueueError> {
        Ok(self.areas.device_area(window)?.set_idx(self.used_idx)?)
    }

    /// Whether the driver wants to be told of what was published since this was last asked.
    #[inline]
    pub fn needs_notification(&mut self, window: &Window) -> Result<bool, QueueError> {
        let driver = self.areas.driver_area(window)?;
        // The driver first says when it wants to be told, then looks at the index; we first wrote
        // the index, and look now at what it says. One of the two sees the other.
        fence(Ordering::SeqCst);
        if !self.options.event_idx {
            return Ok(!driver.flags()?.contains(AvailFlags::NO_INTERRUPT));
        }
        let event = driver.used_event()?;
        Ok(match self.decided.replace(self.used_idx) {
            Some(old) => need_event(event, self.used_idx, old),
            None => true,
        })
    }

    /// Asks the driver to notify of the next request, and looks once more: true if a request is
    /// waiting already, so that the device must not sleep.
    ///
    /// # Errors
    ///
    /// As [`Queue::pop`]'s [`PopError::Queue`].
    pub fn enable_notifications(&mut self, window: &Window) -> Result<bool, QueueError> {
        let device = self.areas.device_area(window)?;
        if self.options.event_idx {
            device.set_avail_event(self.last_avail)?;
        } else {
            device.set_flags(UsedFlags::empty())?;
        }
        // What was just said must be seen before the index is read; see `needs_notification`.
        fence(Ordering::SeqCst);
        self.look(&self.areas.driver_area(window)?)?;
        Ok(self.avail_idx != self.last_avail)
    }

    /// Tells the driver that notifications are not needed: the device is polling. It is a hint; a
    /// notification may still come.
    pub fn disable_notifications(&mut self, window: &Window) -> Result<(), QueueError> {
        let device = self.areas.device_area(window)?;
        if self.options.event_idx {
            // There is no "off": the event furthest away is the one just passed.
            device.set_avail_event(self.last_avail.wrapping_sub(1))?;
        } else {
            device.set_flags(UsedFlags::NO_NOTIFY)?;
        }
        Ok(())
    }

    /// What to keep for going on after a restart.
    #[inline]
    pub const fn position(&self) -> Position {
        Position {
            last_avail: self.last_avail,
            used_idx: self.used_idx,
        }
    }

    /// Index of the next entry to be taken from the available ring.
    #[inline]
    pub const fn last_avail(&self) -> u16 {
        self.last_avail
    }

    /// Index of the next entry to be written to the used ring.
    #[inline]
    pub const fn used_idx(&self) -> u16 {
        self.used_idx
    }

    /// Whether [`Queue::pop`] would find something, be it an error: the quick look of a device that
    /// polls many queues.
    #[inline]
    pub fn has_news(&self, window: &Window) -> bool {
        !self.is_caught_up()
            || self
                .areas
                .driver_area(window)
                .and_then(|driver| driver.idx())
                != Ok(self.last_avail)
    }

    /// Whether all that was known to be ready has been popped. The driver may have made more
    /// available meanwhile, which only [`Queue::pop`] finds out.
    #[inline]
    pub const fn is_caught_up(&self) -> bool {
        self.last_avail == self.avail_idx
    }

    /// Number of requests popped and not yet completed: at most [`Queue::size`].
    #[inline]
    pub const fn in_flight(&self) -> u16 {
        self.last_avail.wrapping_sub(self.used_idx)
    }

    /// Number of entries.
    #[inline]
    pub const fn size(&self) -> u16 {
        self.layout.size
    }

    /// Looks how far the driver has come.
    #[inline]
    fn look(&mut self, driver: &DriverArea<'_>) -> Result<(), QueueError> {
        let avail_idx = driver.idx()?;
        let waiting = avail_idx.wrapping_sub(self.last_avail);
        // Each request takes at least one descriptor, so no driver has more than `size` of them
        // made available and not yet used.
        if u32::from(waiting) + u32::from(self.in_flight()) > u32::from(self.layout.size) {
            return Err(QueueError::AvailIndexJumped {
                avail_idx,
                position: self.position(),
                size: self.layout.size,
            });
        }
        self.avail_idx = avail_idx;
        Ok(())
    }
}
