//! Channel-report words (*Principles of Operation*, chapter 17, "Channel report").

use core::fmt;

use crate::SubchannelId;

bitflags::bitflags! {
    /// Bits 1 to 3 and 8 of a channel-report word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CrwFlags: u32 {
        const SOLICITED = 0x4000_0000;
        /// Overflow: since this word became pending, others were lost. What it says itself is true.
        const OVERFLOW = 0x2000_0000;
        /// Chained: the next word belongs to this report. Without meaning where words were lost.
        const CHAINED = 0x1000_0000;
        /// Ancillary report.
        const ANCILLARY = 0x0080_0000;
    }
}

/// A field whose values have names, each with its code, and the other values of its bits.
macro_rules! field {
    ($(#[$doc:meta])* $name:ident, $bits:literal: $($(#[$of:meta])* $value:ident = $code:literal $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $value,)+
            /// Any other code.
            Other(u8),
        }

        impl $name {
            /// What a code means.
            pub const fn of(code: u8) -> Self {
                match code {
                    $($code => Self::$value,)+
                    other => Self::Other(other),
                }
            }

            /// The code.
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$value => $code,)+
                    Self::Other(code) => code & $bits,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$value => f.write_str($text),)+
                    Self::Other(code) => write!(f, concat!(stringify!($name), " {:02x}"), code),
                }
            }
        }
    };
}

field! {
    /// Reporting-source code.
    ReportingSource, 0x0F:
    Monitoring = 2 "monitoring facility",
    /// The source id is its number.
    Subchannel = 3 "subchannel",
    /// The source id is its chpid.
    ChannelPath = 4 "channel path",
    ConfigurationAlert = 9 "configuration-alert facility",
    ChannelSubsystem = 11 "channel subsystem",
}

field! {
    /// Error-recovery code: the state of the reporting source.
    RecoveryCode, 0x3F:
    /// Ask with CHSC.
    EventInformation = 0 "event information pending",
    Available = 1 "available",
    Initialized = 2 "initialized",
    TemporaryError = 3 "temporary error",
    /// Of a subchannel: look at it anew with STORE SUBCHANNEL.
    ParametersInitialized = 4 "installed parameters initialized",
    Terminal = 5 "terminal",
    PermanentErrorNotInitialized = 6 "permanent error, not initialized",
    PermanentErrorInitialized = 7 "permanent error, initialized",
    ParametersModified = 8 "installed parameters modified",
    ParametersRestored = 10 "installed parameters restored",
}

/// A channel-report word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crw(pub u32);

impl Crw {
    /// A report from its parts.
    pub const fn new(
        flags: CrwFlags,
        source: ReportingSource,
        recovery: RecoveryCode,
        source_id: u16,
    ) -> Self {
        Self(
            flags.bits()
                | (source.code() as u32) << 24
                | (recovery.code() as u32) << 16
                | source_id as u32,
        )
    }

    /// The report of a subchannel: one word, or two chained ones when its set is not 0; bits 26 and
    /// 27 of the second are the set.
    pub const fn of_subchannel(
        id: SubchannelId,
        flags: CrwFlags,
        recovery: RecoveryCode,
    ) -> (Self, Option<Self>) {
        let source = ReportingSource::Subchannel;
        if id.set() == 0 {
            return (Self::new(flags, source, recovery, id.number()), None);
        }
        let first = Self::new(
            flags.union(CrwFlags::CHAINED),
            source,
            recovery,
            id.number(),
        );
        let second = Self::new(flags, source, recovery, (id.set() as u16) << 4);
        (first, Some(second))
    }

    /// The report of a channel path.
    pub const fn of_channel_path(chpid: u8, flags: CrwFlags, recovery: RecoveryCode) -> Self {
        Self::new(flags, ReportingSource::ChannelPath, recovery, chpid as u16)
    }

    /// The same report with the overflow flag: reports before it were lost.
    #[must_use]
    pub const fn with_overflow(self) -> Self {
        Self(self.0 | CrwFlags::OVERFLOW.bits())
    }

    pub const fn flags(self) -> CrwFlags {
        CrwFlags::from_bits_truncate(self.0)
    }

    /// Who reports.
    pub const fn source(self) -> ReportingSource {
        ReportingSource::of((self.0 >> 24) as u8 & 0x0F)
    }

    /// What the report says of its source.
    pub const fn recovery(self) -> RecoveryCode {
        RecoveryCode::of((self.0 >> 16) as u8 & 0x3F)
    }

    /// Reporting-source identification.
    pub const fn source_id(self) -> u16 {
        self.0 as u16
    }

    /// Of the second word about a subchannel: the set that it is in.
    pub const fn subchannel_set(self) -> u8 {
        (self.source_id() >> 4) as u8 & SubchannelId::MAX_SET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hot_unplug_reports_its_subchannel() {
        let crw = Crw(0x0384_0001);
        assert_eq!(crw.source(), ReportingSource::Subchannel);
        assert_eq!(crw.recovery(), RecoveryCode::ParametersInitialized);
        assert!(crw.flags().contains(CrwFlags::ANCILLARY));
        assert_eq!(crw.source_id(), 1);
    }

    #[test]
    fn a_subchannel_of_a_higher_set_takes_two_words() {
        let id = SubchannelId::new(2, 0x1234).unwrap();
        let (first, second) =
            Crw::of_subchannel(id, CrwFlags::ANCILLARY, RecoveryCode::ParametersInitialized);
        assert_eq!((first, second), (Crw(0x1384_1234), Some(Crw(0x0384_0020))));
        let id = SubchannelId::new(0, 7).unwrap();
        let (first, second) = Crw::of_subchannel(id, CrwFlags::empty(), RecoveryCode::Available);
        assert_eq!((first, second), (Crw(0x0301_0007), None));
    }

    proptest! {
        #[test]
        fn a_report_is_the_sum_of_its_parts(word: u32) {
            let crw = Crw(word & 0x7FBF_FFFF);
            let again = Crw::new(crw.flags(), crw.source(), crw.recovery(), crw.source_id());
            prop_assert_eq!(again, crw);
        }
    }
}
