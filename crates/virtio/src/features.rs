//! Feature bits that every device type shares.

use bitflags::bitflags;

bitflags! {
    /// Feature bits (virtio 1.3, section 6): of those with a meaning for every device type the ones
    /// that anything here has are named; all others are kept as they are.
    ///
    /// A device type's own names are in its module, for example [`crate::blk::Features`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Descriptors may refer to tables of descriptors.
        const RING_INDIRECT_DESC = 1 << 28;
        /// `used_event` and `avail_event` say when to notify.
        const RING_EVENT_IDX = 1 << 29;
        /// Complies with virtio 1.0 or later: required of each device here.
        const VERSION_1 = 1 << 32;
        // Other bits are those of features that nothing here has, or belong to device types. belong to device types.
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

/// The way from the features of a device type to those of any device, and back; then all others are left out.
macro_rules! device_features {
    ($features:ty) => {
        impl From<$features> for crate::Features {
            fn from(features: $features) -> Self {
                Self::from_bits_retain(features.bits())
            }
        }

        impl From<crate::Features> for $features {
            fn from(features: crate::Features) -> Self {
                Self::from_bits_truncate(features.bits())
            }
        }
    };
}
pub(crate) use device_features;

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
