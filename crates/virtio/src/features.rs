//! Feature bits that every device type shares.

use bitflags::bitflags;

bitflags! {
    /// Feature bits (virtio 1.3, section 6): those with a meaning for every device type are named,
    /// the device's own (0 to 23 and 50 up) are kept as they are.
    ///
    /// A device type's own names are in its module, for example [`crate::blk::Features`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Legacy: notify when the ring runs empty even if notifications are suppressed.
        const NOTIFY_ON_EMPTY = 1 << 24;
        /// Legacy: any division of a request into descriptors will do.
        const ANY_LAYOUT = 1 << 27;
        /// Descriptors may refer to tables of descriptors.
        const RING_INDIRECT_DESC = 1 << 28;
        /// `used_event` and `avail_event` say when to notify.
        const RING_EVENT_IDX = 1 << 29;
        /// Complies with virtio 1.0 or later: required of each device here.
        const VERSION_1 = 1 << 32;
        /// The device's addresses are translated or restricted by the platform.
        const ACCESS_PLATFORM = 1 << 33;
        /// Packed virtqueues.
        const RING_PACKED = 1 << 34;
        /// Buffers are used in the order in which they were made available.
        const IN_ORDER = 1 << 35;
        /// Memory ordering as the platform's devices need it.
        const ORDER_PLATFORM = 1 << 36;
        /// Single-root I/O virtualization.
        const SR_IOV = 1 << 37;
        /// Notifications of the device carry the available index.
        const NOTIFICATION_DATA = 1 << 38;
        /// The driver uses data from the device in its notifications.
        const NOTIF_CONFIG_DATA = 1 << 39;
        /// Single queues can be reset.
        const RING_RESET = 1 << 40;
        /// Administration virtqueues.
        const ADMIN_VQ = 1 << 41;

        // Unnamed bits belong to device types.
        const _ = !0;
    }
}

impl Features {
    /// The 32 bits that a transport reads and writes under the selector `index`, or none if there
    /// are no such features.
    pub const fn word(self, index: u8) -> u32 {
        match index {
            0 => self.bits() as u32,
            1 => (self.bits() >> 32) as u32,
            _ => 0,
        }
    }

    /// The same features with the 32 bits under the selector `index` replaced by `word`. Other
    /// selectors than 0 and 1 have no features, and change nothing.
    #[must_use]
    pub const fn with_word(self, index: u8, word: u32) -> Self {
        let bits = self.bits();
        Self::from_bits_retain(match index {
            0 => (bits & !0xffff_ffff) | word as u64,
            1 => (bits & 0xffff_ffff) | ((word as u64) << 32),
            _ => bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn the_two_words_make_the_whole() {
        let all = Features::VERSION_1 | Features::RING_EVENT_IDX | Features::from_bits_retain(1);
        let again = Features::empty()
            .with_word(0, all.word(0))
            .with_word(1, all.word(1));
        assert_eq!(again, all);
        assert_eq!(all.word(0), 0x2000_0001);
        assert_eq!(all.word(1), 1);
    }

    #[test]
    fn there_is_no_third_word() {
        assert_eq!(Features::all().word(2), 0);
        assert_eq!(Features::empty().with_word(2, !0), Features::empty());
    }
}
