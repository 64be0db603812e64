//! The trace: what happened to the owned subchannels, always written, read by whoever wants to know.
//!
//! A ring in the control area. Each record carries its own number, stored last, so the writer keeps no
//! account of readers, and a reader that was too slow sees that it was.
//!
//! # Limits
//!
//! The last [`TRACE_ENTRIES`](crate::plan::TRACE_ENTRIES) records.

use core::mem::offset_of;
use core::sync::atomic::{fence, Ordering};

use window::{Lines, WindowSlice};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::area::{Area, AreaError};
use crate::client::Instruction;
use crate::layout::{from_number, Entry};

from_number!(DriverState: u8);

/// A record. Written by the appliance.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceEntry {
    /// The record's number, written last; 0 while it is written, and before the first. Record `n` stands
    /// at `n` modulo the ring's length, a power of two. Wraps from the highest number to 1.
    pub sequence: U32,
    /// Subsystem-identification word of the owned subchannel.
    pub subchannel: U32,
    /// TOD clock.
    pub tod: U64,
    /// [`TraceEvent`].
    pub event: U16,
    /// [`DriverState`] before.
    pub before: u8,
    /// [`DriverState`] after.
    pub after: u8,
    /// Condition code, or [`TraceEntry::NO_CONDITION`].
    pub condition: u8,
    /// Zero.
    pub reserved: u8,
    /// Index of the client that it was done for, or [`TraceEntry::NO_CLIENT`].
    pub client: U16,
    /// START: words 0 to 2 of the ORB. Interruption and TEST: the SCSW, then words 0 and 1 of the ESW. Recovery, report and
    /// machine check: see `docs/protocol.md`. Else zero.
    pub words: [U32; 5],
    /// Zero.
    pub reserved2: [u8; 20],
}

impl TraceEntry {
    /// [`TraceEntry::condition`] of what has none.
    pub const NO_CONDITION: u8 = 0xFF;
    /// [`TraceEntry::client`] of what was done for nobody.
    pub const NO_CLIENT: u16 = 0xFFFF;
}

/// State of the driver of an owned subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u8)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, strum::Display)
)]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "kebab-case"),
    strum(serialize_all = "kebab-case")
)]
pub enum DriverState {
    /// No device there, or none that can be used.
    NotOperational = 0,
    /// Owned, without a client.
    Standby = 1,
    /// A client's, nothing running.
    Idle = 2,
    /// A program of the client's runs.
    Busy = 3,
    /// What runs is being ended.
    Quiescing = 4,
    /// Given up: it did not end.
    Disconnected = 5,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// The client's request: the instruction's number.
    Request(Instruction),
    /// The appliance's own instruction to the subchannel: the instruction's number and 0x80.
    Own(Instruction),
    /// 0x10: taken into use for a client.
    Online,
    /// 0x11: taken out of use.
    Offline,
    /// 0x12: its client has gone or begins anew.
    Reset,
    /// 0x20: an interruption.
    Interruption,
    /// 0x21: a channel path came or went.
    Path,
    /// 0x22: the subchannel has lost its device.
    Gone,
    /// 0x23: it has one again.
    Back,
    /// 0x24: something did not happen in time.
    TimeOut,
    /// 0x25: a disk's driver deals with a program that did not end as it should.
    Recovery,
    /// 0x26: a channel report.
    Report,
    /// 0x27: a machine check that says more than that channel reports are pending.
    MachineCheck,
}

impl TraceEvent {
    const OWN: u16 = 0x80;
    /// Those without an instruction.
    #[rustfmt::skip]
    const PLAIN: [Self; 11] = [
        Self::Online, Self::Offline, Self::Reset, Self::Interruption, Self::Path, Self::Gone, Self::Back, Self::TimeOut,
        Self::Recovery, Self::Report, Self::MachineCheck,
    ];

    /// The number in an area.
    pub const fn number(self) -> u16 {
        match self {
            Self::Request(instruction) => instruction as u16,
            Self::Own(instruction) => Self::OWN + instruction as u16,
            Self::Online => 0x10,
            Self::Offline => 0x11,
            Self::Reset => 0x12,
            Self::Interruption => 0x20,
            Self::Path => 0x21,
            Self::Gone => 0x22,
            Self::Back => 0x23,
            Self::TimeOut => 0x24,
            Self::Recovery => 0x25,
            Self::Report => 0x26,
            Self::MachineCheck => 0x27,
        }
    }

    /// The event of a number read from an area.
    pub fn from_number(number: u16) -> Option<Self> {
        let plain = Self::PLAIN.into_iter().find(|it| it.number() == number);
        plain.or_else(|| {
            let instruction = Instruction::from_number((number & !Self::OWN).into())?;
            Some(match number & Self::OWN {
                0 => Self::Request(instruction),
                _ => Self::Own(instruction),
            })
        })
    }
}

/// The ring, as both sides see it.
#[derive(Clone, Debug)]
struct Ring<'w> {
    entries: WindowSlice<'w>,
    mask: u32,
}

impl<'w> Ring<'w> {
    /// Words in an entry.
    const WORDS: u32 = (size_of::<TraceEntry>() / 4) as u32;

    fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let (entries, mask) = area.ring::<TraceEntry>()?;
        Ok(Self { entries, mask })
    }

    fn sequence(&self, place: u32) -> u32 {
        const { assert!(offset_of!(TraceEntry, sequence) == 0) };
        let word = self.entries.load_u32_acquire(place * Self::WORDS);
        word.unwrap_or(0).swap_bytes()
    }

    /// The highest number in the ring, 0 when it is empty.
    fn newest(&self) -> u32 {
        let numbers = (0..=self.mask).map(|place| self.sequence(place));
        numbers.fold(0, |newest, number| match is_after(number, newest) {
            true => number,
            false => newest,
        })
    }
}

/// Whether record `number` comes after record `other`.
const fn is_after(number: u32, other: u32) -> bool {
    number != 0 && (other == 0 || (number.wrapping_sub(other) as i32) > 0)
}

const fn following(number: u32) -> u32 {
    match number.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// See [`TraceEntry::subchannel`].
    pub subchannel: u32,
    /// TOD clock.
    pub tod: u64,
    /// What happened.
    pub event: TraceEvent,
    /// State before.
    pub before: DriverState,
    /// State after.
    pub after: DriverState,
    /// See [`TraceEntry::condition`].
    pub condition: u8,
    /// See [`TraceEntry::client`].
    pub client: u16,
    /// [`TraceEntry::words`], two in each; the last half is zero.
    pub words: [u64; 3],
}

impl Record {
    /// The first six doublewords of its [`TraceEntry`]; the others are never written.
    #[inline(always)]
    const fn line(&self) -> [u64; 6] {
        let what = (self.event.number() as u64) << 48
            | (self.before as u64) << 40
            | (self.after as u64) << 32
            | (self.condition as u64) << 24
            | self.client as u64;
        let [first, second, third] = self.words;
        [
            (self.subchannel as u64).to_be(),
            self.tod.to_be(),
            what.to_be(),
            first.to_be(),
            second.to_be(),
            third.to_be(),
        ]
    }
}

/// The number of the newest record; 0 if there is none. For a look now and then: whoever wants all of them follows.
pub fn newest(area: &Area<'_>) -> u32 {
    Ring::open(area).map_or(0, |ring| ring.newest())
}

/// The record with this number, if it is still there.
pub fn numbered(area: &Area<'_>, number: u32) -> Option<TraceEntry> {
    let ring = Ring::open(area).ok()?;
    let entry = ring
        .entries
        .element::<TraceEntry>(number & ring.mask)
        .ok()?;
    (number != 0 && entry.sequence.get() == number).then_some(entry)
}

/// The appliance's side: writes records.
#[derive(Clone, Debug)]
pub struct Recorder<'w> {
    lines: Lines<'w>,
    next: u32,
}

impl<'w> Recorder<'w> {
    /// Goes on where an earlier life of the appliance left off.
    pub fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let ring = Ring::open(area)?;
        Ok(Self {
            next: following(ring.newest()),
            lines: ring
                .entries
                .lines()
                .ok_or(AreaError::Missing { id: TraceEntry::ID })?,
        })
    }

    /// Writes a record.
    #[inline(always)]
    pub fn record(&mut self, record: &Record) {
        // The number is 0 at first; so no reader takes the mixture for either record.
        self.lines
            .publish(self.next, record.line(), self.next.to_be());
        self.next = following(self.next);
    }
}

/// A reader's side: follows the records.
#[derive(Clone, Debug)]
pub struct Follower<'w> {
    ring: Ring<'w>,
    next: u32,
}

/// What a [`Follower`] found.
#[derive(Clone, Copy, Debug)]
pub enum Followed {
    /// The next record.
    Record(TraceEntry),
    /// Records were overwritten before they were read: so many.
    Lost(u32),
    /// There is none yet.
    Nothing,
}

impl<'w> Follower<'w> {
    /// Begins with the oldest record that is still there.
    pub fn open(area: &Area<'w>) -> Result<Self, AreaError> {
        let ring = Ring::open(area)?;
        let mut follower = Self { next: 1, ring };
        follower.next = follower.oldest();
        Ok(follower)
    }

    fn oldest(&self) -> u32 {
        let newest = self.ring.newest();
        let first = newest.wrapping_sub(self.ring.mask);
        match self.ring.sequence(first & self.ring.mask) {
            number if number == first && number != 0 => first,
            // Not full yet, or just being overwritten.
            _ => (0..=self.ring.mask)
                .map(|place| self.ring.sequence(place))
                .filter(|&number| number != 0)
                .reduce(|oldest, number| match is_after(oldest, number) {
                    true => number,
                    false => oldest,
                })
                .unwrap_or(1),
        }
    }

    /// The next record.
    pub fn follow(&mut self) -> Followed {
        let place = self.next & self.ring.mask;
        let before = self.ring.sequence(place);
        if before == self.next {
            let entry = self.ring.entries.element::<TraceEntry>(place);
            fence(Ordering::Acquire);
            if let (Ok(entry), true) = (entry, self.ring.sequence(place) == before) {
                self.next = following(self.next);
                return Followed::Record(entry);
            }
        } else if !is_after(before, self.next) {
            return Followed::Nothing;
        }
        let missed = self.next;
        self.next = self.oldest();
        Followed::Lost(self.next.wrapping_sub(missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Kind;
    use crate::plan;
    use window::Window;

    fn with_area(fact: impl FnOnce(&Area<'_>)) {
        let plan = plan::control_area(1, 1, 1);
        let mut bytes = [0; 131_072];
        let window = Window::borrowed(&mut bytes[..plan.length() as usize], 0);
        plan.write(&window).unwrap();
        fact(&Area::open(&window, Kind::Control).unwrap());
    }

    fn record(recorder: &mut Recorder<'_>, tod: u64) {
        recorder.record(&Record {
            subchannel: 0x0001_0000,
            tod,
            event: TraceEvent::Gone,
            before: DriverState::Idle,
            after: DriverState::NotOperational,
            condition: TraceEntry::NO_CONDITION,
            client: 7,
            words: [0x1_0000_0002, 0x3_0000_0004, 0x5_0000_0000],
        });
    }

    fn tod(follower: &mut Follower<'_>) -> Option<u64> {
        match follower.follow() {
            Followed::Record(entry) => Some(entry.tod.get()),
            Followed::Lost(_) | Followed::Nothing => None,
        }
    }

    #[test]
    fn records_are_read_in_order_and_once() {
        with_area(|area| {
            let mut recorder = Recorder::open(area).unwrap();
            let mut follower = Follower::open(area).unwrap();
            assert_eq!(tod(&mut follower), None);
            record(&mut recorder, 11);
            record(&mut recorder, 12);
            assert_eq!(tod(&mut follower), Some(11));
            assert_eq!(tod(&mut follower), Some(12));
            assert!(matches!(follower.follow(), Followed::Nothing));
        });
    }

    #[test]
    fn a_record_is_an_entry_of_the_area() {
        with_area(|area| {
            let mut recorder = Recorder::open(area).unwrap();
            let mut follower = Follower::open(area).unwrap();
            record(&mut recorder, 11);
            let Followed::Record(entry) = follower.follow() else {
                panic!("no record");
            };
            assert_eq!(entry.sequence.get(), 1);
            assert_eq!(entry.subchannel.get(), 0x0001_0000);
            assert_eq!(entry.event.get(), 0x22);
            assert_eq!((entry.before, entry.after), (2, 0));
            assert_eq!((entry.condition, entry.client.get()), (0xFF, 7));
            assert_eq!(entry.words.map(U32::get), [1, 2, 3, 4, 5]);
        });
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed() {
        with_area(|area| {
            let mut recorder = Recorder::open(area).unwrap();
            let mut follower = Follower::open(area).unwrap();
            let beyond = 5;
            for number in 1..=plan::TRACE_ENTRIES + beyond {
                record(&mut recorder, u64::from(number));
            }
            assert!(matches!(follower.follow(), Followed::Lost(lost) if lost == beyond));
            assert_eq!(tod(&mut follower), Some(u64::from(beyond) + 1));
        });
    }

    #[test]
    fn a_late_reader_begins_with_the_oldest() {
        with_area(|area| {
            let mut recorder = Recorder::open(area).unwrap();
            for number in 1..=3 {
                record(&mut recorder, number);
            }
            assert_eq!(tod(&mut Follower::open(area).unwrap()), Some(1));
            for number in 4..=u64::from(plan::TRACE_ENTRIES) + 3 {
                record(&mut recorder, number);
            }
            assert_eq!(tod(&mut Follower::open(area).unwrap()), Some(4));
        });
    }

    #[test]
    fn a_record_is_found_by_its_number_as_long_as_it_is_there() {
        with_area(|area| {
            assert_eq!(newest(area), 0);
            assert!(numbered(area, 0).is_none());
            let mut recorder = Recorder::open(area).unwrap();
            let beyond = 5;
            for number in 1..=plan::TRACE_ENTRIES + beyond {
                record(&mut recorder, u64::from(number));
            }
            let last = newest(area);
            assert_eq!(last, plan::TRACE_ENTRIES + beyond);
            let tod = |number| numbered(area, number).map(|entry| entry.tod.get());
            assert_eq!(tod(last), Some(u64::from(last)));
            assert_eq!(tod(beyond + 1), Some(u64::from(beyond) + 1));
            assert_eq!((tod(beyond), tod(last + 1)), (None, None));
        });
    }

    #[test]
    fn a_new_life_of_the_appliance_goes_on_counting() {
        with_area(|area| {
            record(&mut Recorder::open(area).unwrap(), 1);
            record(&mut Recorder::open(area).unwrap(), 2);
            let mut follower = Follower::open(area).unwrap();
            assert_eq!(tod(&mut follower), Some(1));
            assert_eq!(tod(&mut follower), Some(2));
        });
    }

    #[test]
    fn an_event_is_found_by_its_number() {
        for number in 0..0x200 {
            if let Some(event) = TraceEvent::from_number(number) {
                assert_eq!(event.number(), number);
            }
        }
        assert_eq!(
            TraceEvent::from_number(0x81),
            Some(TraceEvent::Own(Instruction::Start))
        );
        assert_eq!(TraceEvent::from_number(0), None);
    }
}
