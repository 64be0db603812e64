//! What is done to a disk by its administrators, program by program: reserving, looking at it, formatting it.
//!
//! # Scope
//!
//! The logic, for whatever can run a [`Program`]: the host daemon through the appliance, a test in the image by itself.
//!
//! # The rules
//!
//! * While a volume is being formatted it has no label, but a [`Mark`] in its place. The mark says which format, and up to
//!   which track all is written and was read back. So formatting that was broken off goes on where it was, and nobody takes the
//!   volume for one that can be used.
//! * Nothing counts as formatted before its count fields (and what is in labels) were read back.
//! * Nothing waits, and every step is bounded: the caller decides about going on.

use core::fmt;

use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::label::{self, Label, VolumeLabel};
use dasd::vtoc::{Dscb, Extent, DSCB};
use dasd::{Characteristics, CountField, Place, RecordAddress, TrackAddress};
use zerocopy::IntoBytes;

use crate::format::{Format, FormatError, Mark, Record};
use crate::program::{Full, Program};

/// Sense bytes.
pub const SENSE: usize = 32;
/// Tracks between two marks.
const MARK_INTERVAL: u32 = 300;
/// The mark is data of that length.
const MARK: u16 = 80;
/// Byte and bit of some sense data.
const NO_RECORD_FOUND: (usize, u8) = (1, 0x08);
const WRITE_INHIBITED: (usize, u8) = (1, 0x02);
const COMMAND_REJECT: (usize, u8) = (0, 0x80);
const FILE_PROTECTED: (usize, u8) = (1, 0x04);

/// What runs channel programs on a disk.
pub trait Runner {
    /// What else can go wrong.
    type Error;

    /// Runs a program to its end. What was read is in its data then.
    ///
    /// # Errors
    ///
    /// [`Fault`]; the program has ended.
    fn run(&mut self, program: &mut Program) -> Result<(), Fault<Self::Error>>;
}

/// Why a program did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// Unit check, with sense bytes.
    UnitCheck([u8; SENSE]),
    /// The device is busy: another system has reserved it, if it stays so.
    Busy,
    /// Something else.
    Other(E),
}

/// Why something could not be done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// A program failed: what it was for.
    Fault(&'static str, Fault<E>),
    /// Such a format is not possible.
    Format(FormatError),
    /// A record that was written is not there.
    Missing(Place),
    /// A record that was written is another one.
    Differs {
        /// What it should be.
        wanted: CountField,
        /// What was read.
        found: CountField,
    },
    /// A label, or an entry of the VTOC, that was written is not what was read.
    Content(Place),
    /// A program does not fit. Does not happen.
    Full,
}

impl<E> From<Full> for Failure<E> {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl<E> From<FormatError> for Failure<E> {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl<E: fmt::Display> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sense = match self {
            Self::Busy => return f.write_str("busy: another system has reserved the disk"),
            Self::Other(error) => return error.fmt(f),
            Self::UnitCheck(sense) => sense,
        };
        let names = [
            (WRITE_INHIBITED, "write inhibited"),
            (FILE_PROTECTED, "file protected"),
            (NO_RECORD_FOUND, "no record found"),
            (COMMAND_REJECT, "command reject"),
        ];
        let name = names
            .iter()
            .find(|((byte, bit), _)| sense[*byte] & bit != 0);
        write!(
            f,
            "unit check, {}, sense ",
            name.map_or("", |(_, name)| name)
        )?;
        sense.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(what, fault) => write!(f, "{what}: {fault}"),
            Self::Format(error) => error.fmt(f),
            Self::Missing(place) => write!(f, "verify: no {place}"),
            Self::Differs { wanted, found } => {
                write!(f, "verify: {found} was read, and {wanted} written")
            }
            Self::Content(place) => write!(f, "verify: {place} is not what was written"),
            Self::Full => Full.fmt(f),
        }
    }
}

/// How a disk is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// For this system, if no other one has it.
    Reserve,
    /// Not any more.
    Release,
    /// For this system, even if another one has it.
    Steal,
}

/// Reserves or releases a disk.
///
/// # Errors
///
/// [`Fault::Busy`] if another system has it, and others.
pub fn reserve<R: Runner>(
    runner: &mut R,
    program: &mut Program,
    how: Reservation,
) -> Result<(), Failure<R::Error>> {
    let (what, command) = match how {
        Reservation::Reserve => ("RESERVE", command::RESERVE),
        Reservation::Release => ("RELEASE", command::RELEASE),
        Reservation::Steal => ("UNCONDITIONAL RESERVE", command::UNCONDITIONAL_RESERVE),
    };
    program.clear();
    program.receive(command, SENSE as u16)?;
    run(runner, program, what)
}

fn run<R: Runner>(
    runner: &mut R,
    program: &mut Program,
    what: &'static str,
) -> Result<(), Failure<R::Error>> {
    runner
        .run(program)
        .map_err(|fault| Failure::Fault(what, fault))
}

/// READ DEVICE CHARACTERISTICS.
///
/// # Errors
///
/// [`Failure`]; characteristics that make no sense are [`FormatError::Characteristics`].
pub fn characteristics<R: Runner>(
    runner: &mut R,
    program: &mut Program,
) -> Result<Characteristics, Failure<R::Error>> {
    program.clear();
    program.receive(command::READ_CHARACTERISTICS, 64)?;
    run(runner, program, "READ DEVICE CHARACTERISTICS")?;
    let about = program.read::<Characteristics>(0);
    Ok(about
        .filter(Characteristics::are_sound)
        .ok_or(FormatError::Characteristics)?)
}

/// Reads the front of records of a track that follow each other, each with its count field. `false` if they are not all there.
fn read<R: Runner>(
    runner: &mut R,
    program: &mut Program,
    track: TrackAddress,
    first: u8,
    count: u8,
    most: u16,
) -> Result<bool, Failure<R::Error>> {
    program.clear();
    program.extent(DefineExtent::MASK_READ, track, track)?;
    program.locate(LocateRecord::READ, track, first.saturating_sub(1), count)?;
    for _ in 0..count {
        program.receive(command::READ_CKD, size_of::<CountField>() as u16 + most)?;
    }
    match runner.run(program) {
        Ok(()) => Ok(true),
        Err(Fault::UnitCheck(sense)) if has(&sense, NO_RECORD_FOUND) => Ok(false),
        Err(fault) => Err(Failure::Fault("read of a record", fault)),
    }
}

/// CCWs before the first that reads.
const PREAMBLE: usize = 2;

fn has(sense: &[u8; SENSE], (byte, bit): (usize, u8)) -> bool {
    sense[byte] & bit != 0
}

/// The label of a volume, and the mark that stands there while it is being formatted.
///
/// # Errors
///
/// [`Failure`]. That there are no records is no error.
pub fn label<R: Runner>(
    runner: &mut R,
    program: &mut Program,
) -> Result<(Label, Option<Mark>), Failure<R::Error>> {
    // A key, and the label.
    const MOST: u16 = 4 + VolumeLabel::LDL as u16;
    let zero = TrackAddress::default();
    let data = |program: &Program| {
        let count: Option<CountField> = program.read(PREAMBLE);
        let key = usize::from(count.map_or(0, |count| count.key));
        let mut data = [0; VolumeLabel::LDL];
        let from = program.data(PREAMBLE).get(size_of::<CountField>() + key..);
        for (to, from) in data.iter_mut().zip(from.unwrap_or_default()) {
            *to = *from;
        }
        data
    };
    let mut mark = None;
    if read(runner, program, zero, 1, 1, MOST)? {
        mark = Mark::parse(&data(program));
    }
    if mark.is_some() || !read(runner, program, zero, label::RECORD, 1, MOST)? {
        return Ok((Label::None, mark));
    }
    Ok((Label::parse(&data(program)), None))
}

/// The count field of the record behind another one.
///
/// # Errors
///
/// [`Failure`]; `None`: there is none.
pub fn count<R: Runner>(
    runner: &mut R,
    program: &mut Program,
    place: Place,
) -> Result<Option<CountField>, Failure<R::Error>> {
    let found = read(runner, program, place.track(), place.record, 1, 0)?;
    Ok(program.read(PREAMBLE).filter(|_| found))
}

/// Reads the VTOC of a CDL volume, and gives each DSCB that is not free to `taken` with its place.
///
/// # Errors
///
/// [`Failure`]. A VTOC whose first record is no format-4 DSCB is empty.
pub fn vtoc<R: Runner>(
    runner: &mut R,
    program: &mut Program,
    label: &VolumeLabel,
    heads: u16,
    mut taken: impl FnMut(RecordAddress, &Dscb),
) -> Result<(), Failure<R::Error>> {
    /// CCWs of a program, besides the two at its front.
    const AT_ONCE: u8 = 50;
    let begin = label.vtoc;
    if !read(runner, program, begin.track, begin.record, 1, DSCB as u16)? {
        return Ok(());
    }
    let Dscb::Format4(about) = dscb(program, 0) else {
        return Ok(());
    };
    let extent = Extent {
        kind: Extent::DATA,
        ..about.extent
    };
    let Some((first, last)) = extent.tracks(heads) else {
        return Ok(());
    };
    let records = about.records.min(AT_ONCE);
    for track in (first..=last).take(usize::from(u16::MAX)) {
        // A track address has fewer than 32 bits.
        let address = TrackAddress::of_number(track as u32, heads);
        if !read(runner, program, address, 1, records, DSCB as u16)? {
            break;
        }
        for record in 1..=records {
            let dscb = dscb(program, usize::from(record) - 1);
            if dscb != Dscb::Free {
                let track = address;
                taken(RecordAddress { track, record }, &dscb);
            }
        }
    }
    Ok(())
}

/// The DSCB that a CCW of [`read`] has read.
fn dscb(program: &Program, number: usize) -> Dscb {
    let mut bytes = [0; DSCB];
    let data = program.data(PREAMBLE + number);
    let data = data.get(size_of::<CountField>()..).unwrap_or_default();
    for (to, from) in bytes.iter_mut().zip(data) {
        *to = *from;
    }
    Dscb::parse(&bytes)
}

/// A volume that is being formatted.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    /// The first track that is not formatted. Track 0 is the last.
    next: u32,
    /// What the mark says.
    marked: u32,
    /// Where it went on.
    resumed: Option<u32>,
    done: bool,
}

impl Formatter {
    /// Begins, or goes on where it was broken off: the volume is none any more when this comes back.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn begin<R: Runner>(
        runner: &mut R,
        program: &mut Program,
        format: Format,
    ) -> Result<Self, Failure<R::Error>> {
        let (_, mark) = label(runner, program)?;
        let resumed = mark.and_then(|mark| mark.resumes(&format));
        let mut this = Self {
            format,
            next: resumed.unwrap_or(1),
            marked: 0,
            resumed,
            done: false,
        };
        if resumed.is_none() {
            this.mark(runner, program)?;
        }
        this.marked = this.next;
        Ok(this)
    }

    /// The format.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// The track at which it went on.
    pub const fn resumed(&self) -> Option<u32> {
        self.resumed
    }

    /// Tracks that are done.
    pub fn tracks_done(&self) -> u32 {
        self.next - u32::from(!self.done)
    }

    /// Formats some tracks and reads them back. `false` when the volume is complete.
    ///
    /// # Errors
    ///
    /// [`Failure`]. It can be called again, or begun again some time.
    pub fn step<R: Runner>(
        &mut self,
        runner: &mut R,
        program: &mut Program,
    ) -> Result<bool, Failure<R::Error>> {
        let tracks = self.format.tracks();
        if self.done {
            return Ok(false);
        }
        if self.next == tracks {
            self.write(runner, program, 0, 1)?;
            self.verify(runner, program, 0, 1)?;
            self.done = true;
            return Ok(false);
        }
        let heads = u32::from(self.format.about().heads.get());
        // Not over the end of a cylinder, and not more than a program holds.
        let fits = Program::MOST_STEPS as u32 / (u32::from(self.format.records()) + 1);
        let left = (heads - self.next % heads).min(tracks - self.next);
        let count = left.min(fits.saturating_sub(1)).max(1);
        self.write(runner, program, self.next, count)?;
        self.verify(runner, program, self.next, count)?;
        self.next += count;
        if self.next - self.marked >= MARK_INTERVAL || self.next == tracks {
            self.mark(runner, program)?;
            self.marked = self.next;
        }
        Ok(true)
    }

    /// Says on the volume how far it is.
    fn mark<R: Runner>(
        &self,
        runner: &mut R,
        program: &mut Program,
    ) -> Result<(), Failure<R::Error>> {
        let zero = TrackAddress::default();
        let count = CountField {
            track: zero,
            record: 1,
            key: 0,
            data: MARK.into(),
        };
        program.clear();
        program.extent(DefineExtent::MASK_FORMAT, zero, zero)?;
        program.locate(LocateRecord::FORMAT_WRITE, zero, 0, 1)?;
        program.write_record(&count, Mark::new(&self.format, self.next).as_bytes())?;
        run(runner, program, "write of the mark")
    }

    fn write<R: Runner>(
        &self,
        runner: &mut R,
        program: &mut Program,
        first: u32,
        count: u32,
    ) -> Result<(), Failure<R::Error>> {
        let address = |track| self.format.address(track);
        program.clear();
        let last = address(first + count - 1);
        program.extent(DefineExtent::MASK_FORMAT, address(first), last)?;
        for track in first..first + count {
            let records = self.format.records();
            program.locate(LocateRecord::FORMAT_WRITE, address(track), 0, records)?;
            for record in self.format.track(track) {
                program.write_record(&record.count, &record.content)?;
            }
        }
        run(runner, program, "format write")
    }

    /// The count fields of some tracks are those that were written, and what is in labels is, too. There is nothing behind the
    /// last record: a format write ends the track.
    fn verify<R: Runner>(
        &self,
        runner: &mut R,
        program: &mut Program,
        first: u32,
        count: u32,
    ) -> Result<(), Failure<R::Error>> {
        let address = |track| self.format.address(track);
        let records = self.format.records();
        program.clear();
        let last = address(first + count - 1);
        program.extent(DefineExtent::MASK_READ, address(first), last)?;
        for track in first..first + count {
            program.locate(LocateRecord::READ, address(track), 0, records)?;
            for _ in 0..records {
                program.receive(command::READ_COUNT, size_of::<CountField>() as u16)?;
            }
        }
        match runner.run(program) {
            Ok(()) => {}
            Err(Fault::UnitCheck(sense)) if has(&sense, NO_RECORD_FOUND) => {
                return Err(Failure::Missing(self.place(first, 1)));
            }
            Err(fault) => return Err(Failure::Fault("read of count fields", fault)),
        }
        // Behind DEFINE EXTENT, a LOCATE RECORD and the records of each track.
        let mut step = 1;
        for track in first..first + count {
            step += 1;
            for record in self.format.track(track) {
                let found: CountField = program.read(step).unwrap_or_default();
                if found != record.count {
                    let wanted = record.count;
                    return Err(Failure::Differs { wanted, found });
                }
                step += 1;
            }
        }
        for track in first..first + count {
            let filled = |record: &Record| !record.content.is_empty();
            for record in self.format.track(track).filter(filled) {
                self.verify_content(runner, program, track, &record)?;
            }
        }
        Ok(())
    }

    fn verify_content<R: Runner>(
        &self,
        runner: &mut R,
        program: &mut Program,
        track: u32,
        record: &Record,
    ) -> Result<(), Failure<R::Error>> {
        let place = self.place(track, record.count.record);
        let most = record.content.len() as u16;
        if !read(runner, program, place.track(), place.record, 1, most)? {
            return Err(Failure::Missing(place));
        }
        let data = program.data(PREAMBLE);
        match data.get(size_of::<CountField>()..) {
            Some(found) if found == record.content => Ok(()),
            _ => Err(Failure::Content(place)),
        }
    }

    fn place(&self, track: u32, record: u8) -> Place {
        let address = self.format.address(track);
        Place {
            cylinder: address.cylinder(),
            head: address.head(),
            record,
        }
    }
}
