//! The subchannel-status word, in command mode (*Principles of Operation*, chapter 16,
//! "Subchannel-status word").

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Orb, OrbFlags};

bitflags::bitflags! {
    /// Function-control field: what has been asked for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FunctionControl: u8 {
        const START = 4;
        const HALT = 2;
        const CLEAR = 1;
    }

    /// Activity-control field: how far it is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ActivityControl: u8 {
        const RESUME_PENDING = 0x40;
        const START_PENDING = 0x20;
        const HALT_PENDING = 0x10;
        const CLEAR_PENDING = 0x08;
        const SUBCHANNEL_ACTIVE = 0x04;
        const DEVICE_ACTIVE = 0x02;
        const SUSPENDED = 0x01;
    }

    /// Status-control field: what kind of status is pending.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StatusControl: u8 {
        const ALERT = 0x10;
        const INTERMEDIATE = 0x08;
        const PRIMARY = 0x04;
        const SECONDARY = 0x02;
        const PENDING = 0x01;
    }

    /// Device-status byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceStatus: u8 {
        const ATTENTION = 0x80;
        const STATUS_MODIFIER = 0x40;
        const CONTROL_UNIT_END = 0x20;
        const BUSY = 0x10;
        const CHANNEL_END = 0x08;
        const DEVICE_END = 0x04;
        const UNIT_CHECK = 0x02;
        const UNIT_EXCEPTION = 0x01;
    }

    /// Subchannel-status byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SubchannelStatus: u8 {
        /// Program-controlled interruption.
        const PCI = 0x80;
        const INCORRECT_LENGTH = 0x40;
        const PROGRAM_CHECK = 0x20;
        const PROTECTION_CHECK = 0x10;
        const CHANNEL_DATA_CHECK = 0x08;
        const CHANNEL_CONTROL_CHECK = 0x04;
        const INTERFACE_CONTROL_CHECK = 0x02;
        const CHAINING_CHECK = 0x01;
    }
}

/// A command-mode subchannel-status word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
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

bitflags::bitflags! {
    /// The single bits of word 0 of a command-mode SCSW. S, F, P, I, A and U repeat the ORB's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ScswFlags: u32 {
        /// S: suspend control.
        const SUSPEND_CONTROL = 0x0800_0000;
        /// L: the ESW has format 0 and holds a subchannel logout.
        const LOGOUT_STORED = 0x0400_0000;
        /// F: format-1 CCWs.
        const FORMAT_1 = 0x0080_0000;
        /// P: prefetch.
        const PREFETCH = 0x0040_0000;
        /// I: initial-status interruption.
        const INITIAL_STATUS = 0x0020_0000;
        /// A: address-limit checking.
        const ADDRESS_LIMIT = 0x0010_0000;
        /// U: suppress the suspended interruption.
        const SUPPRESS_SUSPENDED = 0x0008_0000;
        /// Z: zero condition code: the initial status was zero.
        const ZERO_CONDITION_CODE = 0x0004_0000;
        /// E: the extended-control word holds information.
        const ECW_STORED = 0x0002_0000;
        /// N: a path was not operational.
        const PATH_NOT_OPERATIONAL = 0x0001_0000;
    }
}

impl Scsw {
    const KEY: u32 = 0xF000_0000;
    const DEFERRED_CC_SHIFT: u32 = 24;
    const FUNCTION_SHIFT: u32 = 12;
    const ACTIVITY_SHIFT: u32 = 5;
    /// What START SUBCHANNEL takes from the ORB.
    const FROM_ORB: OrbFlags = OrbFlags::SUSPEND_CONTROL
        .union(OrbFlags::FORMAT_1)
        .union(OrbFlags::PREFETCH)
        .union(OrbFlags::INITIAL_STATUS)
        .union(OrbFlags::ADDRESS_LIMIT)
        .union(OrbFlags::SUPPRESS_SUSPENDED);

    /// The word that START SUBCHANNEL makes of a command-mode ORB: key and flags repeated, the start
    /// function pending.
    pub fn of_start(orb: &Orb) -> Self {
        let mut scsw = Self::default();
        scsw.repeat_orb(orb);
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::START_PENDING,
            StatusControl::empty(),
        );
        scsw
    }

    /// Puts this command-mode ORB's key and flags into the word, instead of those that it repeats.
    pub fn repeat_orb(&mut self, orb: &Orb) {
        // The bits stand at the same places in both.
        let repeated = Self::KEY | Self::FROM_ORB.bits();
        let control = self.control.get() & !repeated | orb.control.get() & repeated;
        self.control.set(control);
    }

    /// The single bits of word 0.
    pub const fn flags(&self) -> ScswFlags {
        ScswFlags::from_bits_truncate(self.control.get())
    }

    /// Sets or clears single bits of word 0.
    pub fn set_flag(&mut self, flag: ScswFlags, on: bool) {
        let rest = self.control.get() & !flag.bits();
        self.control = U32::new(if on { rest | flag.bits() } else { rest });
    }

    /// Deferred condition code (0, 1 or 3).
    pub const fn deferred_cc(&self) -> u8 {
        (self.control.get() >> Self::DEFERRED_CC_SHIFT) as u8 & 3
    }

    /// Sets the deferred condition code; only the low two bits count.
    pub fn set_deferred_cc(&mut self, cc: u8) {
        let rest = self.control.get() & !(3 << Self::DEFERRED_CC_SHIFT);
        self.control = U32::new(rest | u32::from(cc & 3) << Self::DEFERRED_CC_SHIFT);
    }

    /// Puts right what QEMU makes of deferred condition code 3: it shows it with alert status alone, and then with everything that comes
    /// later on that subchannel, a clear function included. With device or subchannel status, intermediate status, or without a start
    /// function whose status is pending, there is no such code; where it is, primary and secondary status come with it.
    pub fn settle_deferred_cc(&mut self) {
        if self.deferred_cc() < 2 {
            return;
        }
        let status = self.status();
        let alert = StatusControl::ALERT | StatusControl::PENDING;
        let is_so = self.function().contains(FunctionControl::START)
            && !self.function().contains(FunctionControl::CLEAR)
            && status.contains(alert)
            && !status.contains(StatusControl::INTERMEDIATE)
            && self.device_status == 0
            && self.subchannel_status == 0;
        if is_so {
            let both = StatusControl::PRIMARY | StatusControl::SECONDARY;
            self.set_controls(self.function(), self.activity(), status | both);
        } else {
            self.set_deferred_cc(0);
        }
    }

    /// L: the ESW has format 0.
    pub const fn logout_stored(&self) -> bool {
        self.flags().contains(ScswFlags::LOGOUT_STORED)
    }

    /// E: the extended-control word holds information.
    pub const fn ecw_stored(&self) -> bool {
        self.flags().contains(ScswFlags::ECW_STORED)
    }

    /// Sets E.
    pub fn set_ecw_stored(&mut self, on: bool) {
        self.set_flag(ScswFlags::ECW_STORED, on);
    }

    /// N: a path was not operational.
    pub const fn path_not_operational(&self) -> bool {
        self.flags().contains(ScswFlags::PATH_NOT_OPERATIONAL)
    }

    /// Sets N.
    pub fn set_path_not_operational(&mut self, on: bool) {
        self.set_flag(ScswFlags::PATH_NOT_OPERATIONAL, on);
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

    /// Whether the functions have ended with this status: pending, nothing active, and nothing
    /// waiting. A suspended program is *not* ended, unless a halt function has ended it: what waited
    /// is then shown until TEST SUBCHANNEL has taken the status. Neither is a program waiting to start that has
    /// primary and secondary status: QEMU shows one so that vfio-ccw has refused.
    pub fn ended(&self) -> bool {
        let live = ActivityControl::SUBCHANNEL_ACTIVE
            | ActivityControl::DEVICE_ACTIVE
            | ActivityControl::HALT_PENDING
            | ActivityControl::CLEAR_PENDING;
        let both = StatusControl::PRIMARY | StatusControl::SECONDARY;
        let mut waiting = ActivityControl::SUSPENDED | ActivityControl::RESUME_PENDING;
        waiting.set(
            ActivityControl::START_PENDING,
            !self.status().contains(both),
        );
        let stopped = self
            .function()
            .intersects(FunctionControl::HALT | FunctionControl::CLEAR);
        self.status().contains(StatusControl::PENDING)
            && !self.activity().intersects(live)
            && (stopped || !self.activity().intersects(waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_flags_stand_where_the_manual_puts_them() {
        let mut scsw = Scsw::default();
        scsw.set_ecw_stored(true);
        assert_eq!(scsw.control.get(), 0x0002_0000, "bit 14");
        scsw.set_path_not_operational(true);
        assert_eq!(scsw.control.get(), 0x0003_0000, "bit 15");
        scsw.set_deferred_cc(3);
        assert_eq!(scsw.as_bytes()[..4], [3, 3, 0, 0]);
    }

    #[test]
    fn a_deferred_code_3_is_one_with_alert_status_alone_and_nothing_else() {
        let (none, alert) = (StatusControl::empty(), StatusControl::ALERT);
        let (primary, pending) = (
            StatusControl::PRIMARY | StatusControl::SECONDARY,
            StatusControl::PENDING,
        );
        let (start, clear) = (FunctionControl::START, FunctionControl::CLEAR);
        for (function, status, device, code) in [
            (start, alert | pending, 0, 3),
            (start, alert | primary | pending, 0, 3),
            (start, primary | pending, 0x0C, 0),
            (start, alert | primary | pending, 0x0E, 0),
            (start, StatusControl::INTERMEDIATE | pending, 0, 0),
            (start, none, 0, 0),
            (clear, pending, 0, 0),
            (FunctionControl::empty(), alert | pending, 0x80, 0),
        ] {
            let mut scsw = Scsw::default();
            scsw.set_deferred_cc(3);
            scsw.set_controls(function, ActivityControl::empty(), status);
            scsw.device_status = device;
            scsw.settle_deferred_cc();
            assert_eq!(scsw.deferred_cc(), code, "{status:?}");
            assert!(code == 0 || scsw.ended() && scsw.status().contains(primary));
        }
    }

    #[test]
    fn a_start_repeats_the_orb() {
        let flags = OrbFlags::all() - OrbFlags::TRANSPORT;
        let mut orb = Orb::format_1(0, 0x1000, flags, 0xFF);
        orb.set_key(9);
        let scsw = Scsw::of_start(&orb);
        assert_eq!(scsw.control.get(), 0x98F8_4400);
    }

    proptest! {
        #[test]
        fn setting_the_controls_touches_nothing_else(control: u32, function in 0..8u8, activity in 0..128u8, status in 0..32u8) {
            let mut scsw = Scsw { control: U32::new(control), ..Scsw::default() };
            let function = FunctionControl::from_bits_truncate(function);
            let activity = ActivityControl::from_bits_truncate(activity);
            let status = StatusControl::from_bits_truncate(status);
            scsw.set_controls(function, activity, status);
            prop_assert_eq!((scsw.function(), scsw.activity(), scsw.status()), (function, activity, status));
            prop_assert_eq!(scsw.control.get() >> 15, control >> 15);
        }
    }

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
        let halted = FunctionControl::START | FunctionControl::HALT;
        scsw.set_controls(halted, ActivityControl::SUSPENDED, StatusControl::PENDING);
        assert!(scsw.ended(), "a halt function has ended it");
    }
}
