//! The command-mode subchannel-status word (*Principles of Operation*, chapter 16,
//! "Subchannel-status word").

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// Function-control field: what has been asked for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FunctionControl: u8 {
        /// Start function.
        const START = 4;
        /// Halt function.
        const HALT = 2;
        /// Clear function.
        const CLEAR = 1;
    }

    /// Activity-control field: how far it is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ActivityControl: u8 {
        /// Resume pending.
        const RESUME_PENDING = 0x40;
        /// Start pending.
        const START_PENDING = 0x20;
        /// Halt pending.
        const HALT_PENDING = 0x10;
        /// Clear pending.
        const CLEAR_PENDING = 0x08;
        /// Subchannel active.
        const SUBCHANNEL_ACTIVE = 0x04;
        /// Device active.
        const DEVICE_ACTIVE = 0x02;
        /// Suspended.
        const SUSPENDED = 0x01;
    }

    /// Status-control field: what kind of status is pending.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StatusControl: u8 {
        /// Alert status.
        const ALERT = 0x10;
        /// Intermediate status.
        const INTERMEDIATE = 0x08;
        /// Primary status.
        const PRIMARY = 0x04;
        /// Secondary status.
        const SECONDARY = 0x02;
        /// Status pending.
        const PENDING = 0x01;
    }

    /// Device-status byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceStatus: u8 {
        /// Attention.
        const ATTENTION = 0x80;
        /// Status modifier.
        const STATUS_MODIFIER = 0x40;
        /// Control-unit end.
        const CONTROL_UNIT_END = 0x20;
        /// Busy.
        const BUSY = 0x10;
        /// Channel end.
        const CHANNEL_END = 0x08;
        /// Device end.
        const DEVICE_END = 0x04;
        /// Unit check.
        const UNIT_CHECK = 0x02;
        /// Unit exception.
        const UNIT_EXCEPTION = 0x01;
    }

    /// Subchannel-status byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SubchannelStatus: u8 {
        /// Program-controlled interruption.
        const PCI = 0x80;
        /// Incorrect length.
        const INCORRECT_LENGTH = 0x40;
        /// Program check.
        const PROGRAM_CHECK = 0x20;
        /// Protection check.
        const PROTECTION_CHECK = 0x10;
        /// Channel-data check.
        const CHANNEL_DATA_CHECK = 0x08;
        /// Channel-control check.
        const CHANNEL_CONTROL_CHECK = 0x04;
        /// Interface-control check.
        const INTERFACE_CONTROL_CHECK = 0x02;
        /// Chaining check.
        const CHAINING_CHECK = 0x01;
    }
}

/// A command-mode subchannel-status word.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Scsw {
    /// Key, flags, deferred condition code and the three control fields.
    pub control: U32,
    /// CCW address: 8 beyond the last CCW executed.
    pub program: U32,
    /// Device status; see [`DeviceStatus`].
    pub device_status: u8,
    /// Subchannel status; see [`SubchannelStatus`].
    pub subchannel_status: u8,
    /// Residual count.
    pub count: U16,
}

const _: () = assert!(size_of::<Scsw>() == 12);

impl Scsw {
    const DEFERRED_CC_SHIFT: u32 = 24;
    const ECW_STORED: u32 = 0x0002_0000;
    const PATH_NOT_OPERATIONAL: u32 = 0x0001_0000;
    const FUNCTION_SHIFT: u32 = 12;
    const ACTIVITY_SHIFT: u32 = 5;

    /// Deferred condition code (0, 1 or 3).
    pub const fn deferred_cc(&self) -> u8 {
        (self.control.get() >> Self::DEFERRED_CC_SHIFT) as u8 & 3
    }

    /// E: the extended-control word holds information.
    pub const fn ecw_stored(&self) -> bool {
        self.control.get() & Self::ECW_STORED != 0
    }

    /// N: a path was not operational.
    pub const fn path_not_operational(&self) -> bool {
        self.control.get() & Self::PATH_NOT_OPERATIONAL != 0
    }

    /// Function control.
    pub const fn function(&self) -> FunctionControl {
        FunctionControl::from_bits_truncate((self.control.get() >> Self::FUNCTION_SHIFT) as u8)
    }

    /// Activity control.
    pub const fn activity(&self) -> ActivityControl {
        ActivityControl::from_bits_truncate((self.control.get() >> Self::ACTIVITY_SHIFT) as u8)
    }

    /// Status control.
    pub const fn status(&self) -> StatusControl {
        StatusControl::from_bits_truncate(self.control.get() as u8)
    }

    /// Replaces function, activity and status control.
    pub fn set_controls(
        &mut self,
        function: FunctionControl,
        activity: ActivityControl,
        status: StatusControl,
    ) {
        let kept = self.control.get() & 0xFFFF_8000;
        self.control = U32::new(
            kept | u32::from(function.bits()) << Self::FUNCTION_SHIFT
                | u32::from(activity.bits()) << Self::ACTIVITY_SHIFT
                | u32::from(status.bits()),
        );
    }

    /// The device status.
    pub const fn device(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.device_status)
    }

    /// The subchannel status.
    pub const fn subchannel(&self) -> SubchannelStatus {
        SubchannelStatus::from_bits_retain(self.subchannel_status)
    }

    /// Whether the start function has ended: primary and secondary status, nothing active. A
    /// suspended program is *not* ended.
    pub fn ended(&self) -> bool {
        let live = ActivityControl::SUBCHANNEL_ACTIVE
            | ActivityControl::DEVICE_ACTIVE
            | ActivityControl::SUSPENDED
            | ActivityControl::START_PENDING
            | ActivityControl::RESUME_PENDING;
        self.status().contains(StatusControl::PENDING) && !self.activity().intersects(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_fields_stand_where_the_manual_puts_them() {
        let scsw = Scsw {
            control: U32::new(0x0000_4007),
            ..Scsw::default()
        };
        assert_eq!(scsw.function(), FunctionControl::START);
        assert_eq!(scsw.activity(), ActivityControl::empty());
        assert_eq!(
            scsw.status(),
            StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING
        );
        assert!(scsw.ended());
    }

    #[test]
    fn a_suspended_program_has_not_ended() {
        let mut scsw = Scsw::default();
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::SUSPENDED,
            StatusControl::INTERMEDIATE | StatusControl::PENDING,
        );
        assert_eq!(scsw.activity(), ActivityControl::SUSPENDED);
        assert!(!scsw.ended());
    }
}
