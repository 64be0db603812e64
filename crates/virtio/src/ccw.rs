//! virtio over channel I/O: the commands and their payloads (virtio 1.3, section 4.3).
//!
//! A driver talks to a virtio-ccw device by channel programs. Each command is a CCW whose data
//! area has one of the layouts below. They are big-endian like all of channel I/O, except where
//! the standard says otherwise: feature bits, and the device's configuration space.
//!
//! The rule: a [`Command`] is made from the command code of a CCW at one place, and an unknown
//! code is a command reject there, nowhere else.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{little_endian, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::wire_enum;

/// Control-unit type in the answer to SENSE ID: a virtio-ccw proxy device. The control-unit model
/// is the virtio device id.
pub const CONTROL_UNIT_TYPE: u16 = 0x3832;

/// The lowest revision that is virtio 1.0 or later.
pub const REVISION_VIRTIO_1: u16 = 1;

/// The lowest revision that has [`Command::ReadStatus`].
pub const REVISION_READ_STATUS: u16 = 2;

wire_enum! {
    /// Channel commands of virtio-ccw (section 4.3.1.2).
    pub enum Command(u8, "virtio-ccw command") {
        /// WRITE FEATURES: the driver accepts 32 feature bits; data [`FeatureDescriptor`].
        WriteFeatures = 0x11,
        /// READ FEATURES: the device offers 32 feature bits; data [`FeatureDescriptor`], its
        /// index in, its features out.
        ReadFeatures = 0x12,
        /// SET VQ: one queue's place and size; data [`QueueInfo`].
        SetQueue = 0x13,
        /// WRITE CONFIGURATION: the start of the configuration space.
        WriteConfig = 0x21,
        /// READ CONFIGURATION: the start of the configuration space.
        ReadConfig = 0x22,
        /// WRITE STATUS: the device status; one byte.
        WriteStatus = 0x31,
        /// READ VQ CONFIGURATION: the largest size of one queue; data [`QueueConfig`], its index
        /// in, its size out.
        ReadQueueConfig = 0x32,
        /// RESET: everything back to power-on; no data.
        Reset = 0x33,
        /// SET INDICATORS: where the 64 classic queue indicators are; data [`IndicatorAddress`].
        SetIndicators = 0x43,
        /// SET CONFIGURATION INDICATORS: where the indicators of configuration changes are; data
        /// [`IndicatorAddress`].
        SetConfigIndicators = 0x53,
        /// READ STATUS: the device status; one byte. From revision 2 on.
        ReadStatus = 0x72,
        /// SET ADAPTER INDICATORS: two-stage indicators; data [`AdapterIndicators`].
        SetAdapterIndicators = 0x73,
        /// SET VIRTIO REVISION: the first command of all; data [`Revision`].
        SetRevision = 0x83,
    }
}

/// Where one queue is (`vq_info_block`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QueueInfo {
    /// Address of the descriptor table.
    pub descriptors: U64,
    /// Zero.
    pub reserved: U32,
    /// Number of the queue.
    pub index: U16,
    /// Number of entries the driver has chosen.
    pub size: U16,
    /// Address of the driver area (available ring).
    pub driver: U64,
    /// Address of the device area (used ring).
    pub device: U64,
}

/// How large one queue may be (`vq_config_block`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QueueConfig {
    /// Number of the queue: set by the driver.
    pub index: U16,
    /// Largest number of entries: set by the device. Zero if there is no such queue.
    pub max_size: U16,
}

/// 32 feature bits (`virtio_feature_desc`). **Little-endian** by the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct FeatureDescriptor {
    /// The bits; see [`crate::Features::word`].
    pub features: little_endian::U32,
    /// Which 32 bits they are.
    pub index: u8,
}

/// The revision the driver wishes to use (`virtio_rev_info`), without its data: no revision has
/// any so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Revision {
    /// 0 legacy, 1 virtio 1.0, 2 adds READ STATUS.
    pub revision: U16,
    /// Length of the data that follows: zero.
    pub length: U16,
}

/// Where indicator bits are: the data of SET INDICATORS and SET CONFIGURATION INDICATORS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct IndicatorAddress {
    /// Address of a 64-bit field of indicators.
    pub address: U64,
}

/// Where two-stage indicators are (`virtio_thinint_area`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct AdapterIndicators {
    /// Address of the summary indicator: one byte.
    pub summary_indicator: U64,
    /// Address of the queue indicators.
    pub indicator: U64,
    /// Number of the bit of queue 0 in the queue indicators; queue *n* has the *n*th bit after.
    pub bit_number: U64,
    /// Interruption subclass of the adapter interruption.
    pub isc: u8,
}

const _: () = assert!(size_of::<QueueInfo>() == 32);
const _: () = assert!(size_of::<QueueConfig>() == 4);
const _: () = assert!(size_of::<FeatureDescriptor>() == 5);
const _: () = assert!(size_of::<Revision>() == 4);
const _: () = assert!(size_of::<IndicatorAddress>() == 8);
const _: () = assert!(size_of::<AdapterIndicators>() == 25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_comes_back_from_its_code() {
        for &command in Command::ALL {
            assert_eq!(Command::try_from(u8::from(command)), Ok(command));
        }
        assert_eq!(Command::ALL.len(), 13);
    }

    #[test]
    fn an_unknown_code_is_no_command() {
        assert!(Command::try_from(0xe4).is_err());
    }

    #[test]
    fn channel_data_is_big_endian_but_features_are_little() {
        let queue = QueueInfo {
            descriptors: 0x1122_3344_5566_7788.into(),
            index: 1.into(),
            size: 256.into(),
            ..Default::default()
        };
        assert_eq!(
            queue.as_bytes()[..8],
            [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
        );
        assert_eq!(queue.as_bytes()[12..16], [0, 1, 1, 0]);
        let features = FeatureDescriptor {
            features: 1.into(),
            index: 1,
        };
        assert_eq!(features.as_bytes(), [1, 0, 0, 0, 1]);
    }
}
