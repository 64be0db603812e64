//! Records of the trace, in words.

use std::fmt;

use channel::{ChannelReport, Crw, SubchannelId};
use chrono::DateTime;
use s390x::machine_check::MachineCheckCode;
use serde::Serialize;
use vcss::trace::{DriverState, TraceEvent};

use crate::api::{TodMicros, TraceLine, TraceRecord};

/// Microseconds from the beginning of 1900, where the TOD clock begins, to that of 1970.
const TOD_OF_1970: i64 = 2_208_988_800_000_000;

pub type TraceView = TraceLine<RecordView>;

#[derive(Debug, Serialize)]
pub struct RecordView {
    number: u32,
    tod_us: TodMicros,
    /// Date and time in UTC, in the form of the daemon's log.
    time: String,
    subchannel: String,
    device: Option<String>,
    client: Option<String>,
    event: String,
    before: String,
    after: String,
    cc: Option<u8>,
    /// Words of an ORB (`start`), or of SCSW and ESW (`interruption`, `test`), hexadecimal.
    words: Vec<String>,
    /// What a channel report or a machine check says, by its names.
    says: Option<String>,
}

impl TraceView {
    pub fn new(line: TraceLine) -> Self {
        match line {
            TraceLine::Record(record) => Self::Record(Box::new(RecordView::new(*record))),
            TraceLine::Lost(count) => Self::Lost(count),
        }
    }
}

impl RecordView {
    fn new(record: TraceRecord) -> Self {
        let id = SubchannelId::from_word(record.subchannel);
        let says = says(record.event, &record.words);
        let words = record.words.iter();
        Self {
            number: record.number,
            tod_us: record.tod_us,
            time: utc(record.tod_us),
            subchannel: id
                .map_or_else(|| format!("{:08x}", record.subchannel), |id| id.to_string()),
            device: record.device.map(|device| device.to_string()),
            client: record.client,
            event: event(record.event),
            before: state(record.before),
            after: state(record.after),
            cc: record.cc,
            words: words.map(|word| format!("{word:08x}")).collect(),
            says,
        }
    }
}

/// What a channel report or a machine check says.
fn says(number: u16, words: &[u32]) -> Option<String> {
    let [first, second, ..] = *words else {
        return None;
    };
    match TraceEvent::from_number(number)? {
        TraceEvent::Report => {
            let mut words = [first, second].into_iter().filter(|word| *word != 0);
            let report = ChannelReport::take(|| words.next().map(Crw))?;
            Some(report.to_string())
        }
        TraceEvent::MachineCheck => {
            let bits = u64::from(first) << 32 | u64::from(second);
            Some(MachineCheckCode::from_bits_retain(bits).to_string())
        }
        _ => None,
    }
}

fn event(number: u16) -> String {
    let word = |event: &dyn fmt::Debug| format!("{event:?}").to_lowercase();
    match TraceEvent::from_number(number) {
        Some(TraceEvent::Request(this)) => word(&this),
        Some(TraceEvent::Own(this)) => format!("own {}", word(&this)),
        Some(TraceEvent::TimeOut) => "time-out".into(),
        Some(TraceEvent::MachineCheck) => "machine check".into(),
        Some(other) => word(&other),
        None => format!("event {number:#x}"),
    }
}

fn state(number: u8) -> String {
    let state = DriverState::from_number(number);
    state.map_or_else(|| format!("state {number}"), |state| state.to_string())
}

/// Date and time in UTC.
fn utc(TodMicros(tod_us): TodMicros) -> String {
    let unix_us = (tod_us as i64).wrapping_sub(TOD_OF_1970);
    let time = DateTime::from_timestamp_micros(unix_us).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl fmt::Display for TraceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(count) => write!(f, "({count} records were not read in time)"),
            Self::Record(record) => record.fmt(f),
        }
    }
}

impl fmt::Display for RecordView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_deref().unwrap_or(&self.subchannel);
        let change = match self.before == self.after {
            true => self.after.clone(),
            false => format!("{} > {}", self.before, self.after),
        };
        write!(
            f,
            "{}  {device:<8}  {:<8}  {:<12}  cc {}  {change:<24}",
            self.time,
            self.client.as_deref().unwrap_or("-"),
            self.event,
            self.cc.map_or_else(|| "-".to_owned(), |cc| cc.to_string()),
        )?;
        write!(f, "  {}", self.words.join(" "))?;
        match &self.says {
            Some(says) => write!(f, "  {says}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_reports_and_machine_checks_are_read_by_their_names() {
        let says = |event: TraceEvent, first, second| {
            let words = [first, second, 1, 0, 0];
            super::says(event.number(), &words)
        };
        let report = says(TraceEvent::Report, 0x1384_1234, 0x0384_0020);
        let text = "subchannel 0.2.1234: installed parameters initialized";
        assert_eq!(report.as_deref(), Some(text));
        let check = says(TraceEvent::MachineCheck, 0x2040_0F1D, 0x4033_0000);
        let text = "system recovery, channel report pending";
        assert_eq!(check.as_deref(), Some(text));
        assert_eq!(says(TraceEvent::Path, 1, 2), None);
    }

    #[test]
    fn the_time_of_a_record_can_be_compared_with_the_log() {
        let unix = 2_208_988_800_000_000;
        let utc = |us| utc(TodMicros(us));
        assert_eq!(utc(0), "1900-01-01T00:00:00.000000Z");
        assert_eq!(utc(unix), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            utc(unix + 951_782_400_000_001),
            "2000-02-29T00:00:00.000001Z"
        );
        assert_eq!(
            utc(unix + 1_796_017_497_123_456),
            "2026-11-30T05:44:57.123456Z"
        );
        assert_eq!(
            utc(unix + 1_798_761_599_000_000),
            "2026-12-31T23:59:59.000000Z"
        );
    }
}
