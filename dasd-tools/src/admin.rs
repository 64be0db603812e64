//! What is done to a disk by its administrators, program by program: reserving it, and looking at it.
//!
//! # The rule
//!
//! Nothing waits, and every step is bounded: the caller decides about going on.

use alloc::vec::Vec;

use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::label::{self, Label, VolumeLabel};
use dasd::vtoc::{Dscb, Extent, DSCB};
use dasd::{Characteristics, CountField, Place, RecordAddress, TrackAddress};

use crate::format::{FormatError, Mark};
use crate::program::Program;
use crate::runner::{Failure, Runner, SENSE};

/// Entries of a VTOC that are taken, at most.
const MOST_DSCBS: usize = 4096;

/// How a disk is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "std", serde(rename_all = "kebab-case"))]
pub enum Reservation {
    /// RESERVE: for this system, if no other one has it.
    Reserve,
    /// RELEASE: not any more.
    Release,
    /// UNCONDITIONAL RESERVE: for this system, even if another one has it.
    Steal,
}

/// Reserves or releases a disk.
///
/// # Errors
///
/// [`Fault::Busy`](crate::runner::Fault::Busy) if another system has it, and others.
pub fn reserve(disk: &mut dyn Runner, how: Reservation) -> Result<(), Failure> {
    let (what, command) = match how {
        Reservation::Reserve => ("RESERVE", command::RESERVE),
        Reservation::Release => ("RELEASE", command::RELEASE),
        Reservation::Steal => ("UNCONDITIONAL RESERVE", command::UNCONDITIONAL_RESERVE),
    };
    let mut program = Program::default();
    program.receive(command, SENSE);
    run(disk, &mut program, what)
}

pub(crate) fn run(
    disk: &mut dyn Runner,
    program: &mut Program,
    what: &'static str,
) -> Result<(), Failure> {
    disk.run(program)
        .map_err(|fault| Failure::Fault(what, fault))
}

/// READ DEVICE CHARACTERISTICS.
///
/// # Errors
///
/// [`Failure`]; characteristics that make no sense are [`FormatError::Characteristics`].
pub fn characteristics(disk: &mut dyn Runner) -> Result<Characteristics, Failure> {
    let mut program = Program::default();
    program.receive(command::READ_CHARACTERISTICS, size_of::<Characteristics>());
    run(disk, &mut program, "READ DEVICE CHARACTERISTICS")?;
    let about = program
        .read(0)
        .filter(|about: &Characteristics| about.are_sound());
    Ok(about.ok_or(FormatError::Characteristics)?)
}

/// Records that were read.
pub(crate) struct Records(Program);

impl Records {
    /// CCWs before the first that reads.
    const PREAMBLE: usize = 2;

    /// Reads the front of `count` records of a track that follow each other, from record `first` on: the count field, and `most`
    /// bytes behind it. `None` if they are not all there.
    pub(crate) fn read(
        disk: &mut dyn Runner,
        track: TrackAddress,
        first: u8,
        count: u8,
        most: usize,
    ) -> Result<Option<Self>, Failure> {
        let mut program = Program::default();
        program.extent(DefineExtent::MASK_READ, track, track);
        program.locate(LocateRecord::READ, track, first.saturating_sub(1), count);
        for _ in 0..count {
            program.receive(command::READ_CKD, size_of::<CountField>() + most);
        }
        match disk.run(&mut program) {
            Ok(()) => Ok(Some(Self(program))),
            Err(fault) if fault.is_no_record() => Ok(None),
            Err(fault) => Err(Failure::Fault("read of a record", fault)),
        }
    }

    fn count(&self) -> CountField {
        self.0.read(Self::PREAMBLE).unwrap_or_default()
    }

    /// Key and data of one of them.
    pub(crate) fn content(&self, number: usize) -> &[u8] {
        let record = self.0.data(Self::PREAMBLE + number);
        record.get(size_of::<CountField>()..).unwrap_or_default()
    }

    fn data(&self) -> &[u8] {
        let key = usize::from(self.count().key);
        self.content(0).get(key..).unwrap_or_default()
    }

    fn dscb(&self, number: usize) -> [u8; DSCB] {
        self.content(number).try_into().unwrap_or([0; DSCB])
    }
}

/// The label of a volume, and the mark that stands there while it is being formatted.
///
/// # Errors
///
/// [`Failure`]. That there are no records is no error.
pub fn label(disk: &mut dyn Runner) -> Result<(Label, Option<Mark>), Failure> {
    // A key, and the label.
    const MOST: usize = 4 + VolumeLabel::LDL;
    let mut record = |number| Records::read(disk, TrackAddress::default(), number, 1, MOST);
    let mark = record(1)?.and_then(|it| Mark::parse(it.data()));
    if mark.is_some() {
        return Ok((Label::None, mark));
    }
    let label = record(label::RECORD)?;
    Ok((
        label.map_or(Label::None, |it| Label::parse(it.data())),
        None,
    ))
}

/// The count field of a record; `None`: there is none.
pub fn count(disk: &mut dyn Runner, place: Place) -> Result<Option<CountField>, Failure> {
    let found = Records::read(disk, place.track(), place.record, 1, 0)?;
    Ok(found.map(|it| it.count()))
}

/// Reads the VTOC of a CDL volume: each DSCB that is not free, with its place.
///
/// # Errors
///
/// [`Failure`]. A VTOC whose first record is no format-4 DSCB is empty.
pub fn vtoc(
    disk: &mut dyn Runner,
    label: &VolumeLabel,
    heads: u16,
) -> Result<Vec<(RecordAddress, [u8; DSCB])>, Failure> {
    /// Records that are read by a program.
    const AT_ONCE: u8 = 50;
    let mut taken = Vec::new();
    let begin = label.vtoc;
    let first = Records::read(disk, begin.track, begin.record, 1, DSCB)?;
    let Some(Dscb::Format4(about)) = first.map(|it| Dscb::parse(&it.dscb(0))) else {
        return Ok(taken);
    };
    let extent = Extent {
        kind: Extent::DATA,
        ..about.extent
    };
    let Some((first, last)) = extent.tracks(heads) else {
        return Ok(taken);
    };
    let count = about.records.min(AT_ONCE);
    for track in (first..=last).take(usize::from(u16::MAX)) {
        // A track address has fewer than 32 bits.
        let track = TrackAddress::of_number(track as u32, heads);
        let Some(records) = Records::read(disk, track, 1, count, DSCB)? else {
            break;
        };
        for record in 1..=count {
            let dscb = records.dscb(usize::from(record) - 1);
            if Dscb::parse(&dscb) != Dscb::Free && taken.len() < MOST_DSCBS {
                taken.push((RecordAddress { track, record }, dscb));
            }
        }
    }
    Ok(taken)
}
