//! The backend for the `log` crate: each record a line on the global console.
//!
//! ```text
//! [    0.001234] INFO  css: 3 subchannels
//! ```
//!
//! Scope: one level for all; the time comes from a function of the image. Limits: a record that is
//! logged while the console is in use is lost and counted, see [`global`](crate::global).

use crate::global::CONSOLE;
use core::fmt;
use core::time::Duration;
use log::{Log, Metadata, Record};

/// Logs to [`CONSOLE`], with the time that a function gives.
///
/// ```
/// use core::time::Duration;
/// # fn uptime() -> Duration { Duration::ZERO }
/// static LOGGER: sclp::Logger = sclp::Logger::new(uptime);
/// log::set_logger(&LOGGER).expect("first logger");
/// log::set_max_level(log::LevelFilter::Info);
/// log::info!("up");
/// ```
#[derive(Debug)]
pub struct Logger {
    uptime: fn() -> Duration,
}

impl Logger {
    /// A logger that asks `uptime` for the time since boot.
    pub const fn new(uptime: fn() -> Duration) -> Self {
        Self { uptime }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let uptime = (self.uptime)();
            CONSOLE.print(format_args!("{}\n", LogLine { uptime, record }));
        }
    }

    fn flush(&self) {
        // What the SCLP refuses, the console counts.
        let _ = CONSOLE.with(|console| console.flush());
    }
}

/// Lines that may come at once, and how many milliseconds buy one more.
const BURST: u64 = 500;
const MS_PER_LINE: u64 = 200;

/// Limits lines: `paid` is until when, in milliseconds, the lines so far are paid for, and `now` the time. The new
/// `paid` with one line more, or `None` if that one has to be left out.
#[must_use]
pub fn paid(paid: u64, now: u64) -> Option<u64> {
    let with_it = paid.max(now) + MS_PER_LINE;
    (with_it - now <= BURST * MS_PER_LINE).then_some(with_it)
}

/// A record as it is shown, without a line end.
#[derive(Debug)]
pub struct LogLine<'a> {
    /// How long after the boot it was made.
    pub uptime: Duration,
    /// What was logged.
    pub record: &'a Record<'a>,
}

impl fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.uptime.as_secs(), self.uptime.subsec_micros());
        let (level, target, text) = (
            self.record.level(),
            self.record.target(),
            self.record.args(),
        );
        write!(f, "[{seconds:5}.{micros:06}] {level:<5} {target}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_line_has_time_level_target_and_text() {
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("proxy")
            .args(format_args!("client 3 is slow"))
            .build();
        let line = LogLine {
            uptime: Duration::from_micros(12_000_345),
            record: &record,
        };
        assert_eq!(
            line.to_string(),
            "[   12.000345] WARN  proxy: client 3 is slow"
        );
    }

    #[test]
    fn many_lines_come_at_once_and_then_few() {
        let mut until = 0;
        let mut written = 0;
        for now in 1_000_000..1_010_000 {
            if let Some(with_it) = paid(until, now) {
                until = with_it;
                written += 1;
            }
        }
        assert_eq!(written, BURST + 10_000 / MS_PER_LINE - 1);
        assert!(paid(until, until).is_some());
    }
}
