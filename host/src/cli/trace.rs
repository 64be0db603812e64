//! Records of the trace, in words.

use std::fmt;

use channel::SubchannelId;
use chrono::DateTime;
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
        }
    }
}

fn event(number: u16) -> String {
    let word = |event: &dyn fmt::Debug| format!("{event:?}").to_lowercase();
    match TraceEvent::from_number(number) {
        Some(TraceEvent::Request(this)) => word(&this),
        Some(TraceEvent::Own(this)) => format!("own {}", word(&this)),
        Some(TraceEvent::TimeOut) => "time-out".into(),
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
        write!(f, "  {}", self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
