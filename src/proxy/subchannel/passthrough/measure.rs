//! The measurement block, which the appliance keeps instead of the channel subsystem.
//!
//! # Rule
//!
//! It is kept while the client's measurement-block-update mode is on. The times come out of extended-measurement words, so there
//! are some only while the client has those as well: each mode is the client's own business.
//!
//! # Which status has times
//!
//! * Primary status, and a suspension: those since the START or RESUME. One sample.
//! * Secondary status alone: those of the same function; only the device-active-only time had not passed before.
//!
//! A word of zeros is none: the machine did not measure.

use channel::{ActivityControl, Emw, Irb, StatusControl};
use vcss::client::Measurement;
use zerocopy::big_endian::U32;

/// The word has half microseconds, the block 128 microseconds.
const HALVES_TO_UNITS: u32 = 8;
/// Times of a block.
const TIMES: usize = 7;

/// The block, and the sums that are in it, in half microseconds.
#[derive(Debug, Default)]
pub(super) struct Measured {
    block: Measurement,
    sums: [u64; TIMES],
    changed: bool,
}

impl Measured {
    /// A START or RESUME was accepted.
    pub(super) fn count_start(&mut self) {
        self.count(|block| &mut block.starts);
    }

    /// The block, if it has changed.
    pub(super) fn take(&mut self) -> Option<&Measurement> {
        let changed = core::mem::take(&mut self.changed);
        changed.then_some(&self.block)
    }

    fn count(&mut self, counter: impl FnOnce(&mut Measurement) -> &mut U32) {
        self.changed = true;
        let counter = counter(&mut self.block);
        counter.set(counter.get().wrapping_add(1));
    }

    fn add(&mut self, times: [U32; size_of::<Emw>() / 4]) {
        self.changed = true;
        let block = &mut self.block;
        let shown = [
            &mut block.connect,
            &mut block.pending,
            &mut block.disconnect,
            &mut block.queuing,
            &mut block.active_only,
            &mut block.busy,
            &mut block.initial_response,
        ];
        for ((sum, shown), time) in self.sums.iter_mut().zip(shown).zip(times) {
            *sum = sum.wrapping_add(u64::from(time.get()));
            // What does not fit is left out: the block's times wrap.
            shown.set((*sum >> HALVES_TO_UNITS) as u32);
        }
    }

    /// Adds the extended-measurement word of a status, if there is one.
    pub(super) fn sample(&mut self, irb: &Irb) {
        let times = &irb.emw;
        if *times == Emw::default() {
            return;
        }
        let status = irb.scsw.status();
        let suspended = status.contains(StatusControl::INTERMEDIATE)
            && irb.scsw.activity().contains(ActivityControl::SUSPENDED);
        if status.contains(StatusControl::PRIMARY) || suspended {
            self.count(|block| &mut block.samples);
            self.add(zerocopy::transmute!(*times));
        } else if status.contains(StatusControl::SECONDARY) {
            let device_active_only = times.device_active_only;
            let late = Emw {
                device_active_only,
                ..Emw::default()
            };
            self.add(zerocopy::transmute!(late));
        }
    }
}
