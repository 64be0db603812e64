//! Channel reports from the appliance to a client: a ring of channel-report words.
//!
//! # Rule
//!
//! The appliance writes the ring, how many reports it has put there and how many found it full; the
//! client writes how many it has taken. A report that finds the ring full is counted as lost, and the next one that the
//! client takes says so by its overflow bit, as the architecture has it.

use core::mem::offset_of;

use channel::{Crw, CrwFlags};
use window::WindowSlice;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::area::{Area, AreaError, Word};

/// A channel report. Written by the appliance.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// The channel-report word; subchannels are numbered as the client sees them.
    pub crw: U32,
    /// Zero.
    pub reserved: U32,
}

/// How far both sides are in the ring of [`Event`]s. Report number `n` stands at `n` modulo the ring's
/// length, a power of two; all counts wrap.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventPositions {
    /// Reports put into the ring. Written by the appliance, after the report.
    pub produced: U32,
    /// Reports that found the ring full. Written by the appliance.
    pub lost: U32,
    /// Zero.
    pub reserved: [U32; 6],
    /// Reports taken. Written by the client.
    pub taken: U32,
    /// Zero.
    pub reserved2: [U32; 7],
}

/// What both sides need of the ring.
#[derive(Clone, Debug)]
struct Ring<'w> {
    entries: WindowSlice<'w>,
    mask: u32,
    produced: Word<'w>,
    lost: Word<'w>,
    taken: Word<'w>,
}

impl<'w> Ring<'w> {
    fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let word = |offset| area.word::<EventPositions>(0, offset);
        let (entries, mask) = area.ring::<Event>()?;
        Ok(Self {
            entries,
            mask,
            produced: word(offset_of!(EventPositions, produced))?,
            lost: word(offset_of!(EventPositions, lost))?,
            taken: word(offset_of!(EventPositions, taken))?,
        })
    }
}

/// The appliance's side of the ring.
#[derive(Clone, Debug)]
pub struct EventSource<'w> {
    ring: Ring<'w>,
    produced: u32,
    lost: u32,
}

impl<'w> EventSource<'w> {
    /// Goes on where an earlier life of the appliance left off.
    pub fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let ring = Ring::open(area)?;
        Ok(Self {
            produced: ring.produced.load(),
            lost: ring.lost.load(),
            ring,
        })
    }

    /// Reports that were made, that found the ring full, and that the client has not taken yet, as it says.
    pub fn counts(&self) -> (u32, u32, u32) {
        let left = self.produced.wrapping_sub(self.ring.taken.load());
        (self.produced, self.lost, left)
    }

    /// Reports. The bell is the caller's to ring. Returns whether there was room; if not, the report is
    /// counted as lost.
    pub fn report(&mut self, crw: Crw) -> bool {
        let waiting = self.produced.wrapping_sub(self.ring.taken.load());
        let event = Event {
            crw: crw.0.into(),
            reserved: U32::ZERO,
        };
        let place = self.produced & self.ring.mask;
        if waiting > self.ring.mask || self.ring.entries.set_element(place, &event).is_err() {
            self.lost = self.lost.wrapping_add(1);
            self.ring.lost.store(self.lost);
            return false;
        }
        self.produced = self.produced.wrapping_add(1);
        self.ring.produced.store(self.produced);
        true
    }
}

/// The client's side of the ring.
#[derive(Clone, Debug)]
pub struct EventSink<'w> {
    ring: Ring<'w>,
    taken: u32,
    lost: u32,
}

impl<'w> EventSink<'w> {
    /// Goes on where the ring's consumer is.
    pub fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let ring = Ring::open(area)?;
        Ok(Self {
            taken: ring.taken.load(),
            lost: ring.lost.load(),
            ring,
        })
    }

    /// Whether there is a report to take.
    pub fn has_news(&self) -> bool {
        self.ring.produced.load() != self.taken
    }

    /// Takes the next report. Its overflow bit says that reports were lost after it.
    pub fn take(&mut self) -> Option<Crw> {
        if !self.has_news() {
            return None;
        }
        let event: Event = self
            .ring
            .entries
            .element(self.taken & self.ring.mask)
            .ok()?;
        let mut crw = event.crw.get() & !CrwFlags::OVERFLOW.bits();
        let lost = self.ring.lost.load();
        if lost != self.lost {
            self.lost = lost;
            crw |= CrwFlags::OVERFLOW.bits();
        }
        self.taken = self.taken.wrapping_add(1);
        self.ring.taken.store(self.taken);
        Some(Crw(crw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Kind;
    use crate::plan;
    use channel::{RecoveryCode, ReportingSource};
    use window::Window;

    const GONE: Crw = gone(1);

    /// The report of a subchannel that has lost its device.
    const fn gone(number: u16) -> Crw {
        let recovery = RecoveryCode::ParametersInitialized;
        Crw::new(
            CrwFlags::ANCILLARY,
            ReportingSource::Subchannel,
            recovery,
            number,
        )
    }

    fn with_area(fact: impl FnOnce(&Area<'_>)) {
        let plan = plan::client_area(1);
        let mut bytes = [0; 131_072];
        let window = Window::borrowed(&mut bytes[..plan.length() as usize], 0);
        plan.write(&window).unwrap();
        fact(&Area::open(&window, Kind::Client).unwrap());
    }

    #[test]
    fn reports_come_in_order_and_once() {
        with_area(|area| {
            let mut source = EventSource::open(area).unwrap();
            let mut sink = EventSink::open(area).unwrap();
            assert_eq!(sink.take(), None);
            assert!(source.report(GONE));
            assert!(source.report(gone(2)));
            assert_eq!(sink.take(), Some(GONE));
            assert_eq!(sink.take(), Some(gone(2)));
            assert_eq!(sink.take(), None);
        });
    }

    #[test]
    fn a_report_that_finds_the_ring_full_is_told_of() {
        with_area(|area| {
            let mut source = EventSource::open(area).unwrap();
            let mut sink = EventSink::open(area).unwrap();
            for _ in 0..plan::EVENTS {
                assert!(source.report(GONE));
            }
            assert!(!source.report(GONE));
            assert_eq!(source.counts(), (plan::EVENTS, 1, plan::EVENTS));
            assert_eq!(sink.take(), Some(Crw(GONE.0 | CrwFlags::OVERFLOW.bits())));
            assert_eq!(sink.take(), Some(GONE));
            assert!(source.report(GONE), "there is room again");
        });
    }

    #[test]
    fn a_new_life_of_either_side_goes_on_in_the_ring() {
        with_area(|area| {
            assert!(EventSource::open(area).unwrap().report(GONE));
            assert!(EventSource::open(area).unwrap().report(gone(2)));
            assert_eq!(EventSink::open(area).unwrap().take(), Some(GONE));
            assert_eq!(EventSink::open(area).unwrap().take(), Some(gone(2)));
        });
    }

    #[test]
    fn a_client_that_lies_about_what_it_took_only_loses_reports() {
        with_area(|area| {
            let mut source = EventSource::open(area).unwrap();
            let taken = offset_of!(EventPositions, taken);
            area.word::<EventPositions>(0, taken).unwrap().store(7);
            assert!(!source.report(GONE));
        });
    }
}
