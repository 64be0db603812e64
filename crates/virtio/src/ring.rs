//! The split virtqueue (virtio 1.3, section 2.7).
//!
//! A queue is three areas in the driver's memory: the *descriptor table*, the *driver area*
//! (available ring: what the device may work on) and the *device area* (used ring: what it is
//! done with). This module has their layout; the two ways to look at them are
//!
//! * [`device`]: the appliance serves a client's queue. All three areas lie in the client's window.
//! * [`driver`]: the appliance uses the queue of a device it owns. The areas are its own, but the
//!   device can write to them.
//!
//! Limits: split queues only, at most [`MAX_SIZE`] entries.
//!
//! The rule: a ring index of the other side is a number to be checked. What can be wrong with it
//! is a variant of an error enum, and the errors say whether the *queue* is broken or only one
//! *request*.

pub mod device;
pub mod driver;
mod format;
mod layout;

pub use format::{AvailFlags, Descriptor, DescriptorFlags, UsedElement, UsedFlags};
pub use layout::{LayoutError, Options, QueueLayout, MAX_SIZE};

/// Whether a step of a ring index from `old` to `new` passes the place where the other side wants
/// to be told, `event` (section 2.7.10). All three wrap around at 16 bits.
#[inline]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::need_event;

    #[test]
    fn passing_the_event_asks_for_a_notification() {
        assert!(need_event(5, 6, 5));
        assert!(need_event(5, 9, 3));
    }

    #[test]
    fn not_yet_there_or_long_past_does_not() {
        assert!(!need_event(5, 5, 3));
        assert!(!need_event(5, 9, 6));
        assert!(!need_event(5, 6, 6));
    }

    #[test]
    fn indices_wrap_around() {
        assert!(need_event(0xffff, 0, 0xffff));
        assert!(need_event(0, 2, 0xfffe));
        assert!(!need_event(0xfffe, 2, 0xffff));
    }
}
