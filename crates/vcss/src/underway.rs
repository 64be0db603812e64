//! What the appliance is doing for a virtual subchannel, noted in the control area, where no client can write: whatever that does to
//! the appliance, its next life does not do it again, and knows for which subchannel it was.
//!
//! # Rule
//!
//! One request at a time. The note is there before the request is begun, says that it has been carried out before the answer is there, and
//! is taken away after that. A program that is started once more without a request is noted in the same way.
//!
//! That is too much for each request of a virtqueue. So one word says for which virtual subchannel something is done just now, whatever
//! that is, and it is simply overwritten. It counts only when the appliance itself says that it has died: under load somebody who kills it
//! nearly always does so at such a moment.

use core::mem::offset_of;

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::area::{Area, AreaError, Word};

/// The note. Written by the appliance.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Underway {
    /// 0 nothing; [`Underway::BEGUN`]; [`Underway::DONE`]; [`Underway::AGAIN`]; with [`Underway::COUNTED`] or without. Written last.
    pub phase: U32,
    /// Index of the client, in the left half, and its virtual subchannel.
    pub place: U32,
    /// The request's sequence.
    pub sequence: U32,
    /// When it is done: the function-control bits that it left in progress or with status that has not been tested.
    pub functions: U32,
    /// For what something is done: see [`Served`]. 0 nothing.
    pub serving: U32,
    /// Not 0: the appliance itself has found that it cannot go on. Written by its crash report.
    pub died: U32,
    /// Zero.
    pub reserved: [U32; 10],
}

impl Underway {
    /// It may have been carried out, in part or whole.
    pub const BEGUN: u32 = 1;
    /// It has been carried out, and what there is to say is in the client's area, but for the response's sequence.
    pub const DONE: u32 = 2;
    /// There is no request: a program that one had started before is being started once more.
    pub const AGAIN: u32 = 3;
    /// Besides: a later life has counted the death.
    pub const COUNTED: u32 = 1 << 31;
}

/// What the appliance does something for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A virtual subchannel. In the word: index of the client plus one, in the left half, and the virtual subchannel.
    Subchannel(u16, u16),
    /// A client, which is being put together. In the word: as above, and [`NO_SUBCHANNEL`].
    Client(u16),
    /// A disk, which is being opened. In the word: [`A_DISK`] in the left half, and its index.
    Disk(u16),
}

/// In place of a virtual subchannel: all of the client.
pub const NO_SUBCHANNEL: u16 = u16::MAX;
/// In place of a client: a disk.
pub const A_DISK: u16 = u16::MAX;

impl Served {
    /// As it is in the word.
    #[inline]
    const fn to_word(self) -> u32 {
        let (left, right) = match self {
            Self::Subchannel(client, subchannel) => (client.wrapping_add(1), subchannel),
            Self::Client(client) => (client.wrapping_add(1), NO_SUBCHANNEL),
            Self::Disk(index) => (A_DISK, index),
        };
        (left as u32) << 16 | right as u32
    }

    const fn of_word(word: u32) -> Option<Self> {
        match ((word >> 16) as u16, word as u16) {
            (0, _) => None,
            (A_DISK, index) => Some(Self::Disk(index)),
            (client, NO_SUBCHANNEL) => Some(Self::Client(client - 1)),
            (client, subchannel) => Some(Self::Subchannel(client - 1, subchannel)),
        }
    }
}

/// What a life of the appliance did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Index of the client.
    pub client: u16,
    /// Its virtual subchannel.
    pub subchannel: u16,
    /// The request, if there was one.
    pub request: Option<u32>,
    /// If it was carried out: the function-control bits that it left.
    pub done: Option<u8>,
    /// The appliance may have died of it, and no life has counted that yet.
    pub is_news: bool,
}

/// The appliance's hand on the note.
#[derive(Clone, Debug)]
pub struct Note {
    phase: Word<'static>,
    place: Word<'static>,
    sequence: Word<'static>,
    functions: Word<'static>,
    serving: Word<'static>,
    died: Word<'static>,
}

impl Note {
    /// The note of a control area, and what an earlier life left there.
    ///
    /// # Errors
    ///
    /// The area has none: an older daemon has laid it out.
    pub fn open(control: &Area<'static>) -> Result<(Self, Option<CutOff>), AreaError> {
        let word = |offset| control.word::<Underway>(0, offset);
        let note = Self {
            phase: word(offset_of!(Underway, phase))?,
            place: word(offset_of!(Underway, place))?,
            sequence: word(offset_of!(Underway, sequence))?,
            functions: word(offset_of!(Underway, functions))?,
            serving: word(offset_of!(Underway, serving))?,
            died: word(offset_of!(Underway, died))?,
        };
        let found = note.phase.load();
        let phase = found & !Underway::COUNTED;
        let (place, functions) = (note.place.load(), note.functions.load());
        let left = CutOff {
            client: (place >> 16) as u16,
            subchannel: place as u16,
            request: (phase != Underway::AGAIN).then(|| note.sequence.load()),
            done: (phase == Underway::DONE).then_some(functions as u8),
            is_news: found == Underway::BEGUN || found == Underway::AGAIN,
        };
        Ok((note, (phase != 0).then_some(left)))
    }

    /// The death of which an earlier life left this has been counted.
    pub fn counted(&self) {
        self.phase.store(self.phase.load() | Underway::COUNTED);
    }

    /// A request is about to be carried out.
    #[inline]
    pub fn begin(&self, client: u16, subchannel: u16, sequence: u32) {
        self.place
            .store(u32::from(client) << 16 | u32::from(subchannel));
        self.sequence.store(sequence);
        self.phase.store(Underway::BEGUN);
    }

    /// A program is about to be started once more. Returns whether that is noted: within a request it is part of that.
    pub fn begin_again(&self, client: u16, subchannel: u16) -> bool {
        let alone = self.phase.load() != Underway::BEGUN;
        if alone {
            self.place
                .store(u32::from(client) << 16 | u32::from(subchannel));
            self.phase.store(Underway::AGAIN);
        }
        alone
    }

    /// Something is done for this from now on, until it is for something else.
    #[inline]
    pub fn serve(&self, what: Served) {
        self.serving.store(what.to_word());
    }

    /// What is done from now on is nobody's.
    #[inline]
    pub fn serve_nobody(&self) {
        self.serving.store(0);
    }

    /// What an earlier life did something for when it found that it could not go on.
    pub fn died_serving(&self) -> Option<Served> {
        let served = Served::of_word(self.serving.load());
        served.filter(|_| self.died.load() != 0)
    }

    /// What an earlier life left of that has been counted, or does not count.
    pub fn forget_death(&self) {
        self.died.store(0);
        self.serving.store(0);
    }

    /// Where the crash report stores something else than 0.
    pub const fn death(&self) -> &Word<'static> {
        &self.died
    }

    /// It has been carried out.
    #[inline]
    pub fn done(&self, functions: u32) {
        self.functions.store(functions);
        self.phase.store(Underway::DONE);
    }

    /// It has been answered.
    #[inline]
    pub fn forget(&self) {
        self.phase.store(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Kind;
    use crate::plan;
    extern crate std;
    use std::boxed::Box;
    use window::Window;

    #[test]
    fn for_whom_something_was_done_counts_only_when_the_appliance_says_that_it_died() {
        let area = area();
        let (note, _) = Note::open(&area).unwrap();
        let left = || Note::open(&area).unwrap().0.died_serving();
        note.serve(Served::Subchannel(0, 0));
        assert_eq!(left(), None, "it was killed");
        note.death().store(1);
        for what in [
            Served::Subchannel(0, 0),
            Served::Subchannel(3, 7),
            Served::Client(0),
            Served::Client(127),
            Served::Disk(0),
            Served::Disk(200),
        ] {
            note.serve(what);
            assert_eq!(left(), Some(what));
        }
        note.serve_nobody();
        assert_eq!(left(), None);
        note.serve(Served::Subchannel(3, 7));
        note.forget_death();
        note.serve(Served::Subchannel(3, 7));
        assert_eq!(left(), None);
    }

    fn area() -> Area<'static> {
        let plan = plan::control_area(1, 1, 1);
        let bytes = std::vec![0_u8; plan.length() as usize].leak();
        let window = Box::leak(Box::new(Window::leaked(bytes, 0)));
        plan.write(window).unwrap();
        Area::open(window, Kind::Control).unwrap()
    }

    #[test]
    fn what_was_begun_and_not_answered_is_found_by_the_next_life() {
        let area = area();
        let left = || Note::open(&area).unwrap().1;
        let (note, before) = Note::open(&area).unwrap();
        assert_eq!(before, None);
        note.begin(3, 7, 99);
        let begun = CutOff {
            client: 3,
            subchannel: 7,
            request: Some(99),
            done: None,
            is_news: true,
        };
        assert_eq!(left(), Some(begun));
        assert!(!note.begin_again(3, 7), "it is part of the request");
        assert_eq!(left(), Some(begun));
        note.counted();
        let counted = CutOff {
            is_news: false,
            ..begun
        };
        assert_eq!(left(), Some(counted));
        note.done(4);
        let done = Some(4);
        assert_eq!(left(), Some(CutOff { done, ..counted }));
        note.forget();
        assert_eq!(left(), None);
        assert!(note.begin_again(3, 7));
        let again = CutOff {
            request: None,
            ..begun
        };
        assert_eq!(left(), Some(again));
    }
}
