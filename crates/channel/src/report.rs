//! Channel reports: a channel-report word with whatever is chained to it (*Principles of Operation*, chapter 17, "Channel report").
//!
//! # Limits
//!
//! No source chains more than two words today. What comes behind the second belongs to the report and says nothing that is known.

use core::fmt;

use crate::{Crw, CrwFlags, RecoveryCode, ReportingSource, SubchannelId};

/// A channel report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelReport {
    /// Its first word.
    pub first: Crw,
    /// The word that is chained to it.
    pub second: Option<Crw>,
    /// Other reports were lost, or the end of this one: whoever reads it has to look at everything.
    pub lost: bool,
}

/// What a channel report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Something has happened to a subchannel: store it and see.
    Subchannel(SubchannelId),
    /// A channel path, by its chpid.
    ChannelPath(u8),
    /// The channel subsystem has more to say: ask with CHSC.
    EventInformation,
    /// The channel subsystem itself.
    ChannelSubsystem,
    /// The monitoring facility.
    Monitoring,
    /// The configuration-alert facility.
    ConfigurationAlert,
    /// Nothing that is known.
    Unknown,
}

impl ChannelReport {
    /// Words of a chain that are read at most.
    const WORDS: u32 = 8;

    /// Takes the next report whole, if there is one. `next` is STORE CHANNEL REPORT WORD.
    pub fn take(mut next: impl FnMut() -> Option<Crw>) -> Option<Self> {
        let first = next()?;
        let mut report = Self {
            first,
            second: None,
            lost: first.flags().contains(CrwFlags::OVERFLOW),
        };
        let mut last = first;
        let mut words = 1;
        while !report.lost && last.flags().contains(CrwFlags::CHAINED) {
            let Some(word) = (words < Self::WORDS).then(&mut next).flatten() else {
                report.lost = true;
                break;
            };
            words += 1;
            report.second.get_or_insert(word);
            report.lost = word.flags().contains(CrwFlags::OVERFLOW);
            last = word;
        }
        Some(report)
    }

    /// The report of a subchannel.
    pub const fn of_subchannel(id: SubchannelId, flags: CrwFlags, recovery: RecoveryCode) -> Self {
        let (first, second) = Crw::of_subchannel(id, flags, recovery);
        Self {
            first,
            second,
            lost: false,
        }
    }

    /// What it is about.
    pub const fn subject(&self) -> Subject {
        let source_id = self.first.source_id();
        match (self.first.source(), self.first.recovery()) {
            (ReportingSource::Subchannel, _) => {
                // Its set, unless that is 0, is in the second word.
                let set = match self.second {
                    Some(second) => second.subchannel_set(),
                    None if self.first.flags().contains(CrwFlags::CHAINED) => {
                        return Subject::Unknown
                    }
                    None => 0,
                };
                match SubchannelId::new(set, source_id) {
                    Some(id) => Subject::Subchannel(id),
                    None => Subject::Unknown,
                }
            }
            (ReportingSource::ChannelPath, _) => Subject::ChannelPath(source_id as u8),
            (ReportingSource::ChannelSubsystem, RecoveryCode::EventInformation) => {
                Subject::EventInformation
            }
            (ReportingSource::ChannelSubsystem, _) => Subject::ChannelSubsystem,
            (ReportingSource::Monitoring, _) => Subject::Monitoring,
            (ReportingSource::ConfigurationAlert, _) => Subject::ConfigurationAlert,
            (ReportingSource::Other(_), _) => Subject::Unknown,
        }
    }

    /// The two words as numbers; a second one that is not there is zero.
    pub fn words(&self) -> [u32; 2] {
        [self.first.0, self.second.map_or(0, |second| second.0)]
    }
}

/// By its names: `subchannel 0.0.0007: installed parameters initialized`.
impl fmt::Display for ChannelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, source_id) = (self.first.source(), self.first.source_id());
        match (self.subject(), source) {
            (Subject::Subchannel(id), _) => write!(f, "{source} {id}")?,
            (Subject::ChannelPath(chpid), _) => write!(f, "{source} {chpid:02x}")?,
            (_, ReportingSource::Subchannel | ReportingSource::Other(_)) => {
                write!(f, "{source} {source_id:04x}")?;
            }
            _ => write!(f, "{source}")?,
        }
        write!(f, ": {}", self.first.recovery())?;
        if self.first.flags().contains(CrwFlags::SOLICITED) {
            f.write_str(", solicited")?;
        }
        if self.lost {
            f.write_str(", others were lost")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::string::ToString;
    use std::vec::Vec;

    fn taken(words: &[u32]) -> (Vec<ChannelReport>, usize) {
        let mut words: VecDeque<_> = words.iter().copied().map(Crw).collect();
        let all = core::iter::from_fn(|| ChannelReport::take(|| words.pop_front()));
        let all: Vec<_> = all.take(100).collect();
        (all, words.len())
    }

    #[test]
    fn chained_words_are_one_report() {
        let (reports, left) = taken(&[0x1384_1234, 0x0384_0020, 0x0384_0007]);
        let subjects: Vec<_> = reports.iter().map(ChannelReport::subject).collect();
        let id = |set, number| Subject::Subchannel(SubchannelId::new(set, number).unwrap());
        assert_eq!((subjects, left), ([id(2, 0x1234), id(0, 7)].to_vec(), 0));
        assert!(reports.iter().all(|report| !report.lost));
    }

    #[test]
    fn a_longer_chain_takes_nobody_elses_words_with_it() {
        let (reports, left) = taken(&[0x1384_1234, 0x1384_0010, 0x0384_5555, 0x0482_0041]);
        assert_eq!((reports.len(), left), (2, 0));
        let id = SubchannelId::new(1, 0x1234).unwrap();
        assert_eq!(reports[0].subject(), Subject::Subchannel(id));
        assert_eq!(reports[1].subject(), Subject::ChannelPath(0x41));
    }

    #[test]
    fn a_chain_that_breaks_off_or_never_ends_has_lost_something() {
        let (reports, _) = taken(&[0x1384_1234]);
        assert!(reports[0].lost);
        assert_eq!(reports[0].subject(), Subject::Unknown, "in which set?");
        let (reports, _) = taken(&[0x1384_0001; 40]);
        assert!(reports.iter().all(|report| report.lost));
        assert_eq!(reports.len(), 5);
    }

    #[test]
    fn a_word_with_overflow_ends_its_chain() {
        // What was chained to it is among what was lost, and the next word begins a report.
        let (reports, _) = taken(&[0x3384_1234, 0x0482_0041]);
        assert!(reports[0].lost && !reports[1].lost);
        assert_eq!(reports[0].subject(), Subject::Unknown);
        assert_eq!(reports[1].subject(), Subject::ChannelPath(0x41));
        let (reports, _) = taken(&[0x1384_1234, 0x2384_0020, 0x0482_0041]);
        let id = SubchannelId::new(2, 0x1234).unwrap();
        assert!(reports[0].lost, "{reports:?}");
        assert_eq!(reports[0].subject(), Subject::Subchannel(id));
        assert_eq!(reports.len(), 2);
    }

    #[test]
    fn reports_are_read_by_their_names() {
        let cases: [(&[u32], &str); 11] = [
            (
                &[0x0384_0007],
                "subchannel 0.0.0007: installed parameters initialized",
            ),
            (
                &[0x1381_1234, 0x0381_0010],
                "subchannel 0.1.1234: available",
            ),
            (
                &[0x2388_0007],
                "subchannel 0.0.0007: installed parameters modified, others were lost",
            ),
            (
                &[0x0406_0041],
                "channel path 41: permanent error, not initialized",
            ),
            (&[0x4402_0041], "channel path 41: initialized, solicited"),
            (
                &[0x0B00_0000],
                "channel subsystem: event information pending",
            ),
            (
                &[0x0B07_0000],
                "channel subsystem: permanent error, initialized",
            ),
            (&[0x0203_0000], "monitoring facility: temporary error"),
            (&[0x0905_0000], "configuration-alert facility: terminal"),
            (
                &[0x0F8A_0123],
                "ReportingSource 0f 0123: installed parameters restored",
            ),
            (
                &[0x1384_0123],
                "subchannel 0123: installed parameters initialized, others were lost",
            ),
        ];
        for (words, text) in cases {
            assert_eq!(taken(words).0[0].to_string(), text, "{words:08x?}");
        }
    }
}
