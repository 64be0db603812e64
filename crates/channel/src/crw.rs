//! Channel-report words (*Principles of Operation*, chapter 17, "Channel report").

bitflags::bitflags! {
    /// Bits 1 to 3 and 8 of a channel-report word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CrwFlags: u32 {
        /// Solicited.
        const SOLICITED = 0x4000_0000;
        /// Overflow: reports before this one were lost.
        const OVERFLOW = 0x2000_0000;
        /// Chained: the next report belongs to this one.
        const CHAINED = 0x1000_0000;
        /// Ancillary report.
        const ANCILLARY = 0x0080_0000;
    }
}

/// Reporting-source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportingSource {
    /// Monitoring facility.
    Monitoring,
    /// Subchannel; the source id is its number.
    Subchannel,
    /// Channel path; the source id is its chpid.
    ChannelPath,
    /// Configuration-alert facility.
    ConfigurationAlert,
    /// Channel subsystem.
    ChannelSubsystem,
    /// Any other code.
    Other(u8),
}

/// A channel-report word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crw(pub u32);

impl Crw {
    /// Error-recovery code: installed parameters initialised.
    pub const ERC_INIT: u8 = 0x02;
    /// Error-recovery code: installed parameters modified.
    pub const ERC_MODIFIED: u8 = 0x04;

    /// The flags.
    pub const fn flags(self) -> CrwFlags {
        CrwFlags::from_bits_truncate(self.0)
    }

    /// Who reports.
    pub const fn source(self) -> ReportingSource {
        match (self.0 >> 24) as u8 & 0x0F {
            2 => ReportingSource::Monitoring,
            3 => ReportingSource::Subchannel,
            4 => ReportingSource::ChannelPath,
            9 => ReportingSource::ConfigurationAlert,
            11 => ReportingSource::ChannelSubsystem,
            other => ReportingSource::Other(other),
        }
    }

    /// Error-recovery code.
    pub const fn recovery_code(self) -> u8 {
        (self.0 >> 16) as u8 & 0x3F
    }

    /// Reporting-source identification.
    pub const fn source_id(self) -> u16 {
        self.0 as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_unplug_reports_its_subchannel() {
        let crw = Crw(0x0384_0001);
        assert_eq!(crw.source(), ReportingSource::Subchannel);
        assert_eq!(crw.recovery_code(), Crw::ERC_MODIFIED);
        assert!(crw.flags().contains(CrwFlags::ANCILLARY));
        assert_eq!(crw.source_id(), 1);
    }
}
