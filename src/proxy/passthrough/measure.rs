//! The counts of the measurement block.

use channel::{Emw, StatusControl};

use super::PassThrough;

impl PassThrough {
    pub(super) fn count_start(&mut self) {
        self.measured_anew = true;
        let starts = &mut self.measured.starts;
        starts.set(starts.get().wrapping_add(1));
    }

    /// Adds the extended-measurement word of a primary status, if there is one.
    pub(super) fn sample(&mut self) {
        if !self.irb.scsw.status().contains(StatusControl::PRIMARY) {
            return;
        }
        let times = &self.irb.emw;
        if *times == Emw::default() {
            return;
        }
        self.measured_anew = true;
        let measured = &mut self.measured;
        for (sum, time) in [
            (&mut measured.connect, times.device_connect),
            (&mut measured.pending, times.function_pending),
            (&mut measured.disconnect, times.device_disconnect),
            (&mut measured.queuing, times.control_unit_queuing),
            (&mut measured.active_only, times.device_active_only),
            (&mut measured.busy, times.device_busy),
            (
                &mut measured.initial_response,
                times.initial_command_response,
            ),
        ] {
            sum.set(sum.get().wrapping_add(time.get()));
        }
        let samples = &mut measured.samples;
        samples.set(samples.get().wrapping_add(1));
    }
}
