//! What the commands do to extent and position: each test is a program.

use alloc::vec::Vec;

use channel::CommandCode;
use zerocopy::{FromBytes, IntoBytes};

use super::sense::{Sense, COMMAND_REJECT, FILE_PROTECTED, INVALID_FORMAT, NO_RECORD};
use super::{disk_3390, Records, StorageControl};
use crate::command::{
    DefineExtent, LocateRecord, DEFINE_EXTENT, LOCATE_RECORD, READ_COUNT, READ_DATA, WRITE_DATA,
};
use crate::{CountField, Place, TrackAddress};

/// Three records on each track, of four bytes that say where they are. Nothing is stored.
#[derive(Debug)]
struct Computed;

impl Records for Computed {
    fn count(&self, at: Place) -> Option<CountField> {
        (1..=3).contains(&at.record).then(|| CountField {
            track: at.track(),
            record: at.record,
            key: 0,
            data: 4.into(),
        })
    }

    fn behind(&self, at: Place) -> Option<u8> {
        (at.record < 3).then_some(at.record + 1)
    }

    fn key(&self, _: Place, _: &mut Vec<u8>) {}

    fn data(&self, at: Place, sent: &mut Vec<u8>) {
        sent.extend([at.cylinder as u8, at.head as u8, at.record, 0xDA]);
    }

    fn update(&mut self, _: Place, _: &[u8]) {}

    fn make(&mut self, _: &CountField, _: &[u8]) {}
}

struct Program(StorageControl<Computed>);

impl Program {
    /// Over the tracks with these numbers, with this file mask.
    fn over(first: u32, last: u32, mask: u8) -> Self {
        let mut program = Self(StorageControl::over(disk_3390(2), Computed));
        let extent = DefineExtent {
            mask,
            attributes: DefineExtent::ECKD,
            first: TrackAddress::of_number(first, 15),
            last: TrackAddress::of_number(last, 15),
            ..DefineExtent::default()
        };
        program.0.begin(0x80);
        program.send(DEFINE_EXTENT, extent.as_bytes()).unwrap();
        program
    }

    fn send(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Sense> {
        let mut sent = Vec::new();
        self.0.command(code, data, &mut sent).map(|()| sent)
    }

    fn locate(&mut self, operation: u8, track: u32, record: u8, count: u8) -> Result<(), Sense> {
        let track = TrackAddress::of_number(track, 15);
        let locate = LocateRecord {
            operation,
            count,
            seek: track,
            search: track,
            record,
            transfer_length: 4.into(),
            ..LocateRecord::default()
        };
        self.send(LOCATE_RECORD, locate.as_bytes()).map(drop)
    }

    /// READ DATA: the record that is read.
    fn read(&mut self) -> Result<(u8, u8, u8), Sense> {
        let sent = self.send(READ_DATA, &[])?;
        Ok((sent[0], sent[1], sent[2]))
    }
}

#[test]
fn a_domain_goes_on_with_the_next_track_as_far_as_the_extent_goes() {
    let mut program = Program::over(14, 15, DefineExtent::MASK_READ);
    program.locate(LocateRecord::READ_DATA, 14, 3, 5).unwrap();
    let read: Vec<_> = core::iter::repeat_with(|| program.read()).take(5).collect();
    let wanted = [(0, 14, 3), (1, 0, 1), (1, 0, 2), (1, 0, 3)].map(Ok);
    assert_eq!(read[..4], wanted);
    assert_eq!(read[4], Err(FILE_PROTECTED));
    assert_eq!(program.read(), Err(COMMAND_REJECT), "the domain is over");
}

#[test]
fn a_place_that_is_not_there_or_not_in_the_extent_is_not_located() {
    let mut program = Program::over(2, 3, DefineExtent::MASK_READ);
    for (track, record, located) in [
        (1, 1, Err(FILE_PROTECTED)),
        (4, 1, Err(FILE_PROTECTED)),
        (3, 4, Err(NO_RECORD)),
        // R0 is on each track.
        (3, 0, Ok(())),
    ] {
        let found = program.locate(LocateRecord::READ, track, record, 1);
        assert_eq!(found, located, "track {track} record {record}");
    }
}

#[test]
fn nothing_is_located_without_an_extent_nor_while_a_domain_is_open() {
    let mut program = Program(StorageControl::over(disk_3390(2), Computed));
    program.0.begin(0x80);
    let located = program.locate(LocateRecord::READ_DATA, 0, 1, 1);
    assert_eq!(located, Err(COMMAND_REJECT));
    let mut program = Program::over(0, 1, DefineExtent::MASK_READ);
    program.locate(LocateRecord::READ_DATA, 0, 1, 1).unwrap();
    let located = program.locate(LocateRecord::READ_DATA, 0, 1, 1);
    assert_eq!(located, Err(COMMAND_REJECT));
}

#[test]
fn counts_are_those_of_the_records_behind() {
    let mut program = Program::over(2, 3, DefineExtent::MASK_READ);
    program.locate(LocateRecord::READ, 2, 1, 3).unwrap();
    for record in [2, 3] {
        let sent = program.send(READ_COUNT, &[]).unwrap();
        let count = CountField::read_from_bytes(&sent).unwrap();
        assert_eq!(count.track, TrackAddress::new(0, 2));
        assert_eq!((count.record, count.data.get()), (record, 4));
    }
    assert_eq!(program.send(READ_COUNT, &[]), Err(NO_RECORD));
}

#[test]
fn a_write_needs_the_file_mask_and_the_length_of_the_record() {
    for (mask, length, written) in [
        (DefineExtent::MASK_UPDATE, 4, Ok(Vec::new())),
        (DefineExtent::MASK_UPDATE, 5, Err(INVALID_FORMAT)),
        (DefineExtent::MASK_READ, 4, Err(FILE_PROTECTED)),
    ] {
        let mut program = Program::over(2, 3, mask);
        let track = TrackAddress::new(0, 2);
        let locate = LocateRecord {
            operation: LocateRecord::WRITE_DATA,
            count: 1,
            seek: track,
            search: track,
            record: 1,
            transfer_length: length.into(),
            ..LocateRecord::default()
        };
        program.send(LOCATE_RECORD, locate.as_bytes()).unwrap();
        assert_eq!(program.send(WRITE_DATA, &[0; 4]), written);
    }
}
