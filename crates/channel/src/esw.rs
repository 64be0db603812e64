//! The extended-status word (*Principles of Operation*, chapter 16, "Extended-status word").
//!
//! Five words of four formats. Format 0 begins with a subchannel logout; the others begin with
//! the last-path-used mask and differ in what else word 0 holds. Word 1 of all is the
//! extended-report word.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// Extended-status flags of a subchannel logout (bits 1 to 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExtendedStatusFlags: u8 {
        /// Key check.
        const KEY_CHECK = 0x40;
        /// Measurement-block program check.
        const MEASUREMENT_PROGRAM_CHECK = 0x20;
        /// Measurement-block data check.
        const MEASUREMENT_DATA_CHECK = 0x10;
        /// Measurement-block protection check.
        const MEASUREMENT_PROTECTION_CHECK = 0x08;
        /// CCW check.
        const CCW_CHECK = 0x04;
        /// IDAW check.
        const IDAW_CHECK = 0x02;
    }

    /// Field-validity flags of a subchannel logout (bits 17 to 21).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FieldValidity: u8 {
        /// The last-path-used mask is valid.
        const LAST_PATH_USED = 0x10;
        /// The termination code is valid.
        const TERMINATION = 0x08;
        /// The sequence code is valid.
        const SEQUENCE = 0x04;
        /// The device status of the SCSW is valid.
        const DEVICE_STATUS = 0x02;
        /// The CCW address of the SCSW is valid.
        const CCW_ADDRESS = 0x01;
    }

    /// The flags of an extended-report word (bits 0 to 9).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ErwFlags: u32 {
        /// L: request logging only.
        const LOGGING_ONLY = 0x8000_0000;
        /// E: an extended subchannel logout is pending.
        const LOGOUT_PENDING = 0x4000_0000;
        /// A: authorization check.
        const AUTHORIZATION_CHECK = 0x1000_0000;
        /// P: path verification required.
        const PATH_VERIFICATION = 0x0800_0000;
        /// T: channel-path time-out.
        const CHANNEL_PATH_TIMEOUT = 0x0400_0000;
        /// F: the failing-storage address is valid.
        const FAILING_STORAGE_VALID = 0x0200_0000;
        /// S: the ECW holds concurrent sense.
        const CONCURRENT_SENSE = 0x0100_0000;
        /// C: the secondary-CCW address is valid.
        const SECONDARY_CCW_VALID = 0x0080_0000;
        /// R: the failing-storage address has 64 bits.
        const FAILING_STORAGE_64 = 0x0040_0000;
    }
}

/// Storage-access code: what the channel did with storage when it found an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StorageAccess {
    /// Unknown.
    Unknown = 0,
    /// Read.
    Read = 1,
    /// Write.
    Write = 2,
    /// Read backward.
    ReadBackward = 3,
}

/// Termination code: how the program was ended at the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Termination {
    /// A halt signal was issued.
    Halt = 0,
    /// Stop, stack, or as usual.
    Normal = 1,
    /// A clear signal was issued.
    Clear = 2,
    /// Reserved.
    Reserved = 3,
}

/// The subchannel logout: word 0 of a format-0 ESW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SubchannelLogout(pub U32);

impl SubchannelLogout {
    /// ESF.
    pub const fn extended_status(self) -> ExtendedStatusFlags {
        ExtendedStatusFlags::from_bits_truncate((self.0.get() >> 24) as u8)
    }

    /// LPUM.
    pub const fn last_path_used(self) -> u8 {
        (self.0.get() >> 16) as u8
    }

    /// R: an ancillary report is pending.
    pub const fn ancillary_report(self) -> bool {
        self.0.get() & 0x0000_8000 != 0
    }

    /// FVF.
    pub const fn validity(self) -> FieldValidity {
        FieldValidity::from_bits_truncate((self.0.get() >> 10) as u8)
    }

    /// SA.
    pub const fn storage_access(self) -> StorageAccess {
        match (self.0.get() >> 8) & 3 {
            0 => StorageAccess::Unknown,
            1 => StorageAccess::Read,
            2 => StorageAccess::Write,
            _ => StorageAccess::ReadBackward,
        }
    }

    /// TC.
    pub const fn termination(self) -> Termination {
        match (self.0.get() >> 6) & 3 {
            0 => Termination::Halt,
            1 => Termination::Normal,
            2 => Termination::Clear,
            _ => Termination::Reserved,
        }
    }

    /// D: device-status check.
    pub const fn device_status_check(self) -> bool {
        self.0.get() & 0x20 != 0
    }

    /// E: secondary error.
    pub const fn secondary_error(self) -> bool {
        self.0.get() & 0x10 != 0
    }

    /// A: I/O-error alert.
    pub const fn io_error_alert(self) -> bool {
        self.0.get() & 0x08 != 0
    }

    /// SC: how far the I/O operation had come (0 to 7).
    pub const fn sequence(self) -> u8 {
        self.0.get() as u8 & 7
    }

    /// A logout from its parts, without the flags R, D, E and A.
    pub const fn new(
        extended_status: ExtendedStatusFlags,
        last_path_used: u8,
        validity: FieldValidity,
        storage_access: StorageAccess,
        termination: Termination,
        sequence: u8,
    ) -> Self {
        Self(U32::new(
            (extended_status.bits() as u32) << 24
                | (last_path_used as u32) << 16
                | (validity.bits() as u32) << 10
                | (storage_access as u32) << 8
                | (termination as u32) << 6
                | (sequence & 7) as u32,
        ))
    }
}

/// The extended-report word: word 1 of an ESW.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Erw(pub U32);

impl Erw {
    const SENSE_COUNT_SHIFT: u32 = 16;

    /// A word with these flags and no sense.
    pub const fn new(flags: ErwFlags) -> Self {
        Self(U32::new(flags.bits()))
    }

    /// A word that says that the first `count` bytes (at most 32) of the ECW are sense data.
    pub const fn with_sense(self, count: u8) -> Self {
        let rest = self.0.get() & !(0x3F << Self::SENSE_COUNT_SHIFT);
        let count = if count > 32 { 32 } else { count as u32 };
        Self(U32::new(
            rest | ErwFlags::CONCURRENT_SENSE.bits() | count << Self::SENSE_COUNT_SHIFT,
        ))
    }

    /// The flags.
    pub const fn flags(self) -> ErwFlags {
        ErwFlags::from_bits_truncate(self.0.get())
    }

    /// SCNT: bytes of concurrent sense.
    pub const fn sense_count(self) -> u8 {
        (self.0.get() >> Self::SENSE_COUNT_SHIFT) as u8 & 0x3F
    }
}

/// Which format an ESW has, and what its word 0 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EswFormat {
    /// Format 0: a subchannel logout. Words 2 to 4 hold addresses, as the ERW says.
    Logout(SubchannelLogout),
    /// Format 1: the last-path-used mask alone.
    Path {
        /// LPUM.
        last_path_used: u8,
    },
    /// Format 2: the last-path-used mask and the device-connect-time interval.
    ConnectTime {
        /// LPUM.
        last_path_used: u8,
        /// DCTI, in units of 128 microseconds.
        interval: u16,
    },
    /// Format 3: the last-path-used mask; the rest of word 0 means nothing.
    PathUnpredictable {
        /// LPUM.
        last_path_used: u8,
    },
}

/// What says which of formats 1, 2 and 3 an ESW without a logout has; the IRB alone does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EswContext {
    /// Primary status of a start function, no connect-time measurement.
    NotMeasured,
    /// Primary status of a start function, and the device-connect time was measured.
    Measured,
    /// Any other status.
    Other,
}

/// An extended-status word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Esw {
    /// Word 0; see [`Self::format`].
    pub word_0: U32,
    /// Extended-report word.
    pub erw: Erw,
    /// Failing-storage address of a format-0 ESW: 31 bits in the first word, or 64 bits.
    pub failing_storage: [U32; 2],
    /// Secondary-CCW address of a format-0 ESW.
    pub secondary_ccw: U32,
}

const _: () = assert!(size_of::<Esw>() == 20);

impl Esw {
    /// A word of format 1 with the path that was used last.
    pub const fn of_path(last_path_used: u8, erw: Erw) -> Self {
        Self {
            word_0: U32::new((last_path_used as u32) << 16),
            erw,
            failing_storage: [U32::ZERO; 2],
            secondary_ccw: U32::ZERO,
        }
    }

    /// A word of format 0.
    pub const fn of_logout(logout: SubchannelLogout, erw: Erw) -> Self {
        Self {
            word_0: logout.0,
            erw,
            failing_storage: [U32::ZERO; 2],
            secondary_ccw: U32::ZERO,
        }
    }

    /// Word 0, read in the format that it has. `logout_stored` is L of the SCSW.
    pub const fn format(&self, logout_stored: bool, context: EswContext) -> EswFormat {
        let last_path_used = self.last_path_used();
        if logout_stored {
            return EswFormat::Logout(SubchannelLogout(self.word_0));
        }
        match context {
            EswContext::NotMeasured => EswFormat::Path { last_path_used },
            EswContext::Measured => EswFormat::ConnectTime {
                last_path_used,
                interval: self.word_0.get() as u16,
            },
            EswContext::Other => EswFormat::PathUnpredictable { last_path_used },
        }
    }

    /// LPUM, which all formats have at the same place; in format 0 it has a validity flag.
    pub const fn last_path_used(&self) -> u8 {
        SubchannelLogout(self.word_0).last_path_used()
    }

    /// The failing-storage address, when there is a valid one.
    pub fn failing_storage_address(&self) -> Option<u64> {
        let flags = self.erw.flags();
        if !flags.contains(ErwFlags::FAILING_STORAGE_VALID) {
            return None;
        }
        let [high, low] = self.failing_storage.map(U32::get);
        Some(if flags.contains(ErwFlags::FAILING_STORAGE_64) {
            u64::from(high) << 32 | u64::from(low)
        } else {
            u64::from(high)
        })
    }

    /// Sets the failing-storage address in the format that it needs.
    pub fn set_failing_storage_address(&mut self, address: u64) {
        let mut flags = self.erw.0.get() | ErwFlags::FAILING_STORAGE_VALID.bits();
        self.failing_storage = match u32::try_from(address) {
            Ok(short) if short <= 0x7FFF_FFFF => {
                flags &= !ErwFlags::FAILING_STORAGE_64.bits();
                [U32::new(short), U32::ZERO]
            }
            _ => {
                flags |= ErwFlags::FAILING_STORAGE_64.bits();
                [U32::new((address >> 32) as u32), U32::new(address as u32)]
            }
        };
        self.erw = Erw(U32::new(flags));
    }

    /// The secondary-CCW address, when there is a valid one.
    pub const fn secondary_ccw_address(&self) -> Option<u32> {
        if self.erw.flags().contains(ErwFlags::SECONDARY_CCW_VALID) {
            Some(self.secondary_ccw.get())
        } else {
            None
        }
    }

    /// Sets the secondary-CCW address.
    pub fn set_secondary_ccw_address(&mut self, address: u32) {
        self.erw = Erw(U32::new(
            self.erw.0.get() | ErwFlags::SECONDARY_CCW_VALID.bits(),
        ));
        self.secondary_ccw = U32::new(address);
    }
}

/// The extended-measurement word: the times of one start function, or since it was resumed, in units of half a microsecond.
///
/// It is stored with primary status, with secondary status alone, and when a program is suspended, if the timing facility is
/// there. (*Principles of Operation*, chapter 16, "Extended-measurement word"; the unit is that of US patent 7,886,082.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Emw {
    /// Device-connect time.
    pub device_connect: U32,
    /// Function-pending time.
    pub function_pending: U32,
    /// Device-disconnect time.
    pub device_disconnect: U32,
    /// Control-unit-queuing time.
    pub control_unit_queuing: U32,
    /// Device-active-only time.
    pub device_active_only: U32,
    /// Device-busy time.
    pub device_busy: U32,
    /// Initial-command-response time.
    pub initial_command_response: U32,
    /// Reserved.
    pub reserved: U32,
}

const _: () = assert!(size_of::<Emw>() == 32);

/// A format-1 measurement block (*Principles of Operation*, chapter 17, "Measurement block"):
/// on a 64-byte boundary, named by the SCHIB's measurement-block address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MeasurementBlock1 {
    /// START and RESUME SUBCHANNEL count.
    pub start_count: U32,
    /// Sample count.
    pub sample_count: U32,
    /// The sums of the samples, in units of 128 microseconds.
    pub times: Emw,
    /// Reserved.
    pub reserved: [U32; 6],
}

const _: () = assert!(size_of::<MeasurementBlock1>() == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_logout_has_its_fields_where_the_manual_puts_them() {
        let logout = SubchannelLogout(U32::new(0x4280_D5BB));
        let checks = ExtendedStatusFlags::KEY_CHECK | ExtendedStatusFlags::IDAW_CHECK;
        assert_eq!(logout.extended_status(), checks);
        assert_eq!(logout.last_path_used(), 0x80);
        assert!(logout.ancillary_report());
        assert_eq!(
            logout.validity(),
            FieldValidity::LAST_PATH_USED | FieldValidity::SEQUENCE | FieldValidity::CCW_ADDRESS
        );
        assert_eq!(logout.storage_access(), StorageAccess::Read);
        assert_eq!(logout.termination(), Termination::Clear);
        assert!(logout.device_status_check());
        assert!(logout.secondary_error());
        assert!(logout.io_error_alert());
        assert_eq!(logout.sequence(), 3);
    }

    #[test]
    fn formats_1_to_3_are_told_apart_by_their_context() {
        let esw = Esw {
            word_0: U32::new(0x0040_1234),
            ..Esw::default()
        };
        assert_eq!(
            esw.format(false, EswContext::NotMeasured),
            EswFormat::Path {
                last_path_used: 0x40
            }
        );
        assert_eq!(
            esw.format(false, EswContext::Measured),
            EswFormat::ConnectTime {
                last_path_used: 0x40,
                interval: 0x1234
            }
        );
        assert_eq!(
            esw.format(false, EswContext::Other),
            EswFormat::PathUnpredictable {
                last_path_used: 0x40
            }
        );
        assert!(matches!(
            esw.format(true, EswContext::Other),
            EswFormat::Logout(_)
        ));
    }

    #[test]
    fn a_sense_count_does_not_exceed_the_ecw() {
        let erw = Erw::new(ErwFlags::PATH_VERIFICATION).with_sense(99);
        assert_eq!(erw.sense_count(), 32);
        assert_eq!(erw.0.get(), 0x0920_0000);
    }

    proptest! {
        #[test]
        fn an_address_that_is_set_is_the_address_that_is_read(failing: u64, ccw: u32) {
            let mut esw = Esw::default();
            prop_assert_eq!(esw.failing_storage_address(), None);
            prop_assert_eq!(esw.secondary_ccw_address(), None);
            esw.set_failing_storage_address(failing);
            esw.set_secondary_ccw_address(ccw);
            prop_assert_eq!(esw.failing_storage_address(), Some(failing));
            prop_assert_eq!(esw.secondary_ccw_address(), Some(ccw));
        }

        #[test]
        fn a_logout_is_the_sum_of_its_parts(word: u32) {
            // Without R, D, E and A, which no builder sets.
            let logout = SubchannelLogout(U32::new(word & 0x7EFF_7FC7));
            let again = SubchannelLogout::new(
                logout.extended_status(),
                logout.last_path_used(),
                logout.validity(),
                logout.storage_access(),
                logout.termination(),
                logout.sequence(),
            );
            prop_assert_eq!(again, logout);
        }
    }
}
