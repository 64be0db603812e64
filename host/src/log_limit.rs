//! A limit on what somebody else's doings can write into the log.

use std::time::{Duration, Instant};

const BURST: u32 = 8;
/// After which there may be one more.
const EVERY: Duration = Duration::from_secs(5);

/// Lets some lines through at once, and then one every few seconds.
#[derive(Debug)]
pub struct LogLimit {
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl LogLimit {
    pub fn new() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
            left_out: 0,
        }
    }

    /// Whether a line may be written now, and if so, what to put behind it: how many were left out before.
    pub fn line(&mut self) -> Option<String> {
        self.line_at(Instant::now())
    }

    fn line_at(&mut self, now: Instant) -> Option<String> {
        let periods = now.saturating_duration_since(self.refilled).as_secs() / EVERY.as_secs();
        if periods > 0 {
            let periods = u32::try_from(periods).unwrap_or(BURST);
            self.left = self.left.saturating_add(periods).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            count => format!(" ({count} lines like this were left out)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_come_at_once_and_then_one_every_few_seconds() {
        let mut limit = LogLimit::new();
        let start = Instant::now();
        let written = (0..1000).filter_map(|_| limit.line_at(start)).count();
        assert_eq!(written, BURST as usize);
        let later = start + EVERY * 2;
        assert_eq!(
            limit.line_at(later).as_deref(),
            Some(" (992 lines like this were left out)")
        );
        assert_eq!(limit.line_at(later).as_deref(), Some(""));
        assert_eq!(limit.line_at(later), None);
    }
}
