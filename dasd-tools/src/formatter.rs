//! Formatting a volume, step by step.
//!
//! # The rules
//!
//! * While a volume is being formatted it has no label, but a [`Mark`] in its place. The mark says which format, and up to
//!   which track all is written and was read back. So formatting that was broken off goes on where it was, and nobody takes the
//!   volume for one that can be used.
//! * Nothing counts as formatted before its count fields (and what is in labels) were read back.

use core::ops::Range;

use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::{CountField, Place, TrackAddress};
use zerocopy::IntoBytes;

use crate::admin::{self, run, Records};
use crate::format::{Format, Mark};
use crate::program::Program;
use crate::runner::{Failure, Runner};

/// Tracks between two marks.
const MARK_INTERVAL: u32 = 300;
/// The mark is data of that length.
const MARK: u16 = 80;

/// A volume that is being formatted.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    /// The first track that is not formatted. Track 0 is the last.
    next: u32,
    /// What the mark says.
    marked: u32,
    resumed: Option<u32>,
    done: bool,
}

impl Formatter {
    /// Begins, or goes on where it was broken off: the volume is none any more when this comes back.
    pub fn begin(disk: &mut dyn Runner, format: Format) -> Result<Self, Failure> {
        let (_, mark) = admin::label(disk)?;
        let resumed = mark.and_then(|mark| mark.resumes(&format));
        let mut this = Self {
            format,
            next: resumed.unwrap_or(1),
            marked: 0,
            resumed,
            done: false,
        };
        if resumed.is_none() {
            this.mark(disk)?;
        }
        this.marked = this.next;
        Ok(this)
    }

    /// The track at which it went on.
    pub const fn resumed(&self) -> Option<u32> {
        self.resumed
    }

    pub fn tracks_done(&self) -> u32 {
        self.next - u32::from(!self.done)
    }

    /// Formats some tracks and reads them back. `false` when the volume is complete.
    ///
    /// # Errors
    ///
    /// [`Failure`]. It can be called again, or begun again some time.
    pub fn step(&mut self, disk: &mut dyn Runner) -> Result<bool, Failure> {
        let tracks = self.format.tracks();
        if self.done {
            return Ok(false);
        }
        if self.next == tracks {
            self.write(disk, 0..1)?;
            self.done = true;
            return Ok(false);
        }
        let heads = u32::from(self.format.about().heads.get());
        // Not over the end of a cylinder, and not more than a program holds.
        let fits = Program::MOST_STEPS / (u32::from(self.format.records()) + 1);
        let left = (heads - self.next % heads).min(tracks - self.next);
        let count = left.min(fits.saturating_sub(1)).max(1);
        self.write(disk, self.next..self.next + count)?;
        self.next += count;
        if self.next - self.marked >= MARK_INTERVAL || self.next == tracks {
            self.mark(disk)?;
            self.marked = self.next;
        }
        Ok(true)
    }

    /// Says on the volume how far it is.
    fn mark(&self, disk: &mut dyn Runner) -> Result<(), Failure> {
        let zero = TrackAddress::default();
        let count = CountField {
            track: zero,
            record: 1,
            key: 0,
            data: MARK.into(),
        };
        let mut program = Program::default();
        program.extent(DefineExtent::MASK_FORMAT, zero, zero);
        program.locate(LocateRecord::FORMAT_WRITE, zero, 0, 1);
        program.write_record(&count, Mark::new(&self.format, self.next).as_bytes());
        run(disk, &mut program, "write of the mark")
    }

    /// DEFINE EXTENT over some tracks, and for each LOCATE RECORD and what `records` adds.
    fn program(
        &self,
        tracks: &Range<u32>,
        (mask, operation): (u8, u8),
        records: impl Fn(&mut Program, u32),
    ) -> Program {
        let address = |track| self.format.address(track);
        let mut program = Program::default();
        program.extent(mask, address(tracks.start), address(tracks.end - 1));
        for track in tracks.clone() {
            program.locate(operation, address(track), 0, self.format.records());
            records(&mut program, track);
        }
        program
    }

    /// Writes some tracks and reads them back.
    fn write(&self, disk: &mut dyn Runner, tracks: Range<u32>) -> Result<(), Failure> {
        let format = (DefineExtent::MASK_FORMAT, LocateRecord::FORMAT_WRITE);
        let mut program = self.program(&tracks, format, |program, track| {
            for record in self.format.track(track) {
                program.write_record(&record.count, &record.content);
            }
        });
        run(disk, &mut program, "format write")?;
        self.verify(disk, tracks)
    }

    /// The count fields of some tracks are those that were written, and what is in labels is, too. There is nothing behind the
    /// last record: a format write ends the track.
    fn verify(&self, disk: &mut dyn Runner, tracks: Range<u32>) -> Result<(), Failure> {
        let read = (DefineExtent::MASK_READ, LocateRecord::READ);
        let mut program = self.program(&tracks, read, |program, _| {
            for _ in 0..self.format.records() {
                program.receive(command::READ_COUNT, size_of::<CountField>());
            }
        });
        match disk.run(&mut program) {
            Ok(()) => {}
            Err(fault) if fault.is_no_record() => {
                return Err(Failure::Missing(self.place(tracks.start, 1)));
            }
            Err(fault) => return Err(Failure::Fault("read of count fields", fault)),
        }
        // Behind DEFINE EXTENT, a LOCATE RECORD and the records of each track.
        let mut step = 1;
        for track in tracks.clone() {
            step += 1;
            for record in self.format.track(track) {
                let (wanted, found) = (record.count, program.read(step).unwrap_or_default());
                if found != wanted {
                    return Err(Failure::Differs { wanted, found });
                }
                step += 1;
            }
        }
        let records = tracks.flat_map(|track| self.format.track(track).map(move |it| (track, it)));
        for (track, record) in records.filter(|(_, record)| !record.content.is_empty()) {
            let place = self.place(track, record.count.record);
            let length = record.content.len();
            let found = Records::read(disk, place.track(), place.record, 1, length)?;
            if found.ok_or(Failure::Missing(place))?.content(0) != record.content {
                return Err(Failure::Content(place));
            }
        }
        Ok(())
    }

    fn place(&self, track: u32, record: u8) -> Place {
        self.format.address(track).place(record)
    }
}
