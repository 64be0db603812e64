//! What happened to the subchannels that are passed through, record by record.

use channel::DeviceNumber;
use vcss::trace::{Followed, Follower, TraceEntry};
use vcss::{Area, AreaError};
use zerocopy::big_endian::U32;

use crate::api::text::Dotted;
use crate::api::{TodMicros, TraceLine, TraceRecord};
use crate::areas;

/// Bits of the TOD clock below a microsecond.
const TOD_SHIFT: u32 = 12;

#[derive(Debug)]
pub struct Tracer {
    follower: Follower<'static>,
    control: Area<'static>,
    clients: Vec<String>,
}

impl Tracer {
    /// From the oldest record on. `clients` are in the order of the control area.
    pub fn open(control: &Area<'static>, clients: Vec<String>) -> Result<Self, AreaError> {
        Ok(Self {
            follower: Follower::open(control)?,
            control: control.clone(),
            clients,
        })
    }

    pub fn line(&mut self) -> Option<TraceLine> {
        match self.follower.follow() {
            Followed::Record(entry) => Some(TraceLine::Record(Box::new(self.record(&entry)))),
            Followed::Lost(count) => Some(TraceLine::Lost(count)),
            Followed::Nothing => None,
        }
    }

    fn record(&self, entry: &TraceEntry) -> TraceRecord {
        let words = entry.words.iter().map(|word| word.get());
        let words = match entry.words.iter().all(|word| *word == U32::ZERO) {
            true => Vec::new(),
            false => words.collect(),
        };
        TraceRecord {
            number: entry.sequence.get(),
            tod_us: TodMicros(entry.tod.get() >> TOD_SHIFT),
            subchannel: entry.subchannel.get(),
            device: self.device(entry.subchannel.get()),
            client: self.clients.get(usize::from(entry.client.get())).cloned(),
            event: entry.event.get(),
            before: entry.before,
            after: entry.after,
            cc: Some(entry.condition).filter(|cc| *cc != TraceEntry::NO_CONDITION),
            words,
        }
    }

    fn device(&self, subchannel: u32) -> Option<Dotted<DeviceNumber>> {
        let mut devices = areas::devices(&self.control);
        let entry = devices.find(|entry| entry.subchannel.get() == subchannel)?;
        Some(Dotted(areas::device_number(&entry)))
    }
}
