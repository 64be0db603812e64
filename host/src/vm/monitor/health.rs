//! Whether QEMU still answers, and what is asked of one whose guest hangs.

use std::io::Write;
use std::time::Duration;

use qapi::qmp::{human_monitor_command, inject_nmi, query_status};
use serde_json::Value;

use super::{Monitor, MonitorError};

/// How long a QEMU with a guest that hangs may take for an answer: whoever is served waits.
const DIAGNOSIS: Duration = Duration::from_millis(500);

impl Monitor {
    /// Whether QEMU still has to answer something.
    pub const fn is_owed_answer(&self) -> bool {
        self.answered < self.sent
    }

    /// Asks for something that costs nothing. The answer is not waited for: it comes with the [news](Self::news), and until then one
    /// [is owed](Self::is_owed_answer).
    pub fn ping(&mut self) -> Result<(), MonitorError> {
        if self.is_owed_answer() {
            return Ok(());
        }
        let mut lines = Vec::new();
        self.put(&mut lines, query_status {})?;
        // It always fits into the socket: nothing else is under way.
        Ok(self.stream.write_all(&lines)?)
    }

    /// The registers of the VM's CPU, as QEMU's own monitor writes them.
    pub fn registers(&mut self) -> Result<String, MonitorError> {
        let command = human_monitor_command {
            cpu_index: None,
            command_line: "info registers".into(),
        };
        match self.soon(|this| this.returned(command))? {
            Value::String(text) => Ok(text),
            other => Err(MonitorError::Refused(format!("no registers: {other}"))),
        }
    }

    /// Has the VM's CPU take a restart interruption, upon which the image says where it is, and ends.
    pub fn interrupt_guest(&mut self) -> Result<(), MonitorError> {
        self.soon(|this| this.execute(inject_nmi {}))
    }

    fn soon<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        self.within(DIAGNOSIS, ask)
    }

    /// Does something for which QEMU may take so long, for each answer.
    pub(super) fn within<T>(
        &mut self,
        limit: Duration,
        ask: impl FnOnce(&mut Self) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        let patience = std::mem::replace(&mut self.patience, limit);
        let answer = ask(self);
        self.patience = patience;
        answer
    }
}
