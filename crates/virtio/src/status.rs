//! The device status field.

use bitflags::bitflags;

bitflags! {
    /// Device status (virtio 1.3, section 2.1): how far the driver has come, and what has failed.
    /// All bits clear means: reset.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u8 {
        /// The guest has found the device.
        const ACKNOWLEDGE = 1;
        /// The guest knows how to drive it.
        const DRIVER = 2;
        /// The driver is set up: the device is live.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device has met an error that only a reset cures.
        const DEVICE_NEEDS_RESET = 64;
        /// The guest has given the device up.
        const FAILED = 128;
    }
}
