//! Channel programs for volumes with tracks that were never formatted.
//!
//! ```text
//! DEFINE EXTENT                    reads and writes: a run of records of one track
//!   LOCATE RECORD, READ DATA       the last one: if it is there, so are those before it
//!   LOCATE RECORD, READ DATA …     the others
//!
//! DEFINE EXTENT                    survey: each record of the track, until one is not there
//!   LOCATE RECORD, READ DATA       record 1, a few bytes of it, which nobody looks at
//!   LOCATE RECORD, READ DATA       record 2
//!   …
//!
//! DEFINE EXTENT                    format: all writes permitted, the cache is bypassed
//!   LOCATE RECORD                  behind the last record that is there; R0 is on each track
//!   WRITE COUNT, KEY AND DATA …    the count fields of the others; the storage control fills them up with zeroes
//! ```
//!
//! Why in this order: a domain goes on with the next track where a track has no more records, and does not say so. The run would
//! be that of another track from there on.

use channel::{CcwFlags, CommandCode, Orb};
use window::{OutOfWindow, Segment};

use super::super::chain::{Cursor, Pieces};
use super::super::thin::Track;
use super::format::{
    self, CountField, DefineExtent, LocateRecord, DEFINE_EXTENT, LOCATE_RECORD, READ_DATA,
    WRITE_CKD,
};
use super::program::Program;
use super::record::Layout;

/// Where things are among the parameter blocks.
const EXTENT: u32 = 0;
/// What is read of a record.
const SCRATCH: u32 = 1;
const RECORDS: u32 = 2;
/// Bytes of a count field, and of what is read of a record.
const COUNT: u16 = size_of::<CountField>() as u16;

impl Program {
    /// Adds the records from `block` on to the end of their track, at most `left`. Gives how many, and the place behind their
    /// storage; `None` if the program has no room for them.
    #[cold]
    pub fn add_run(
        &mut self,
        layout: &Layout,
        write: bool,
        block: u64,
        left: u32,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Option<(u32, Cursor)>, OutOfWindow> {
        let run = run(layout, block, left);
        let bytes = u32::from(layout.block);
        let mut all = Pieces::new(segments, at, run * bytes);
        let (count, _) = all.survey();
        // In the worst case each record and each piece has a CCW of its own, and lists do not fill their pages.
        if count == 0 || !self.has_domains(2) || !self.chain.has_room(2 * (count + run + 2)) {
            return Ok(None);
        }
        let mut before = Pieces::new(segments, at, (run - 1) * bytes);
        before.by_ref().for_each(drop);
        self.close(layout)?;
        self.one(
            layout,
            write,
            block + u64::from(run) - 1,
            segments,
            before.at(),
        )?;
        let mut next = at;
        for number in 0..run - 1 {
            next = self.one(layout, write, block + u64::from(number), segments, next)?;
        }
        // The next run does not go on with this one.
        self.close(layout)?;
        all.by_ref().for_each(drop);
        Ok(Some((run, all.at())))
    }

    #[inline(never)]
    fn one(
        &mut self,
        layout: &Layout,
        write: bool,
        block: u64,
        segments: &[Segment],
        at: Cursor,
    ) -> Result<Cursor, OutOfWindow> {
        let mut pieces = Pieces::new(segments, at, layout.block.into());
        let survey = pieces.survey();
        self.locate(layout, write, block)?;
        self.transfer(layout, write, &mut pieces, survey)?;
        Ok(pieces.at())
    }

    /// Of the runs of one request, the block to which record `number` in the order of the program belongs, counted from 0.
    pub fn block_of(&self, layout: &Layout, number: u64) -> u64 {
        let Some((first, last)) = self.extent() else {
            return 0;
        };
        let (mut block, mut number) = (first, number);
        loop {
            let left = u32::try_from((last + 1).saturating_sub(block)).unwrap_or(u32::MAX);
            let run = u64::from(run(layout, block, left.max(1)));
            if number < run || left == 0 {
                let within = number.checked_sub(1).unwrap_or(run - 1);
                return block - first + within;
            }
            number -= run;
            block += run;
        }
    }

    /// Finds out which records the track of a block has.
    pub fn survey(
        &mut self,
        layout: &Layout,
        block: u64,
        parameter: u32,
        path_mask: u8,
    ) -> Result<Orb, OutOfWindow> {
        self.begin();
        self.one_track(layout, block, DefineExtent::MASK_READ, DefineExtent::ECKD)?;
        for record in 1..=layout.records {
            let locate = LocateRecord {
                operation: LocateRecord::READ_DATA,
                auxiliary: LocateRecord::LENGTH_VALID,
                transfer_length: layout.block.into(),
                count: 1,
                ..format::locate(layout.place(block).track(), record)
            };
            self.command(LOCATE_RECORD, RECORDS + u32::from(record), &locate)?;
            self.pushed(READ_DATA, SCRATCH)?;
        }
        self.chain.finish(parameter, path_mask)
    }

    /// What [`survey`](Self::survey) has found, when it has ended with `ccw` as the address behind the last CCW that it used.
    pub fn surveyed(&self, layout: &Layout, block: u64, ccw: u32) -> Track {
        let (mut located, mut last) = (0, 0);
        for one in self.chain.used(ccw) {
            last = one.command;
            located += u8::from(last == LOCATE_RECORD.0);
        }
        // It is LOCATE RECORD that does not find a record. Whatever else it was, nothing is to be formatted.
        let there = match last == LOCATE_RECORD.0 {
            true => located.saturating_sub(1),
            false => layout.records,
        };
        Track {
            record: layout.place(block).record,
            there,
            all: layout.records,
        }
    }

    /// Formats the track of a block behind its first `there` records.
    pub fn format(
        &mut self,
        layout: &Layout,
        block: u64,
        there: u8,
        parameter: u32,
        path_mask: u8,
    ) -> Result<Orb, OutOfWindow> {
        self.begin();
        let mask = DefineExtent::MASK_FORMAT;
        self.one_track(layout, block, mask, DefineExtent::ECKD_BYPASS_CACHE)?;
        let locate = LocateRecord {
            operation: LocateRecord::FORMAT_WRITE,
            count: layout.records.saturating_sub(there),
            ..format::locate(layout.place(block).track(), there)
        };
        self.command(LOCATE_RECORD, SCRATCH, &locate)?;
        for record in there + 1..=layout.records {
            let place = RECORDS + u32::from(record);
            let count = CountField {
                track: layout.place(block).track(),
                record,
                key: 0,
                data: layout.block.into(),
            };
            self.chain.parameter(place, &count)?;
            self.pushed(WRITE_CKD, place)?;
        }
        self.chain.finish(parameter, path_mask)
    }

    /// DEFINE EXTENT for the track of a block.
    fn one_track(
        &self,
        layout: &Layout,
        block: u64,
        mask: u8,
        attributes: u8,
    ) -> Result<(), OutOfWindow> {
        let extent = format::one_track(layout.place(block).track(), mask, attributes);
        self.chain.parameter(EXTENT, &extent)?;
        let count = size_of::<DefineExtent>() as u16;
        self.chain
            .put(0, self.chain.command(DEFINE_EXTENT, EXTENT, count))
    }

    fn command(
        &mut self,
        command: CommandCode,
        place: u32,
        locate: &LocateRecord,
    ) -> Result<(), OutOfWindow> {
        self.chain.parameter(place, locate)?;
        let count = size_of::<LocateRecord>() as u16;
        let ccw = self.chain.command(command, place, count);
        self.chain.push(ccw)
    }

    /// A command for as many bytes as a count field has; a record has others.
    fn pushed(&mut self, command: CommandCode, place: u32) -> Result<(), OutOfWindow> {
        let mut ccw = self.chain.command(command, place, COUNT);
        ccw.flags |= CcwFlags::SLI.bits();
        self.chain.push(ccw)
    }
}

/// How many of `left` blocks are on the track of the first.
fn run(layout: &Layout, block: u64, left: u32) -> u32 {
    let record = layout.place(block).record;
    left.min(u32::from(layout.records.saturating_sub(record)) + 1)
}
