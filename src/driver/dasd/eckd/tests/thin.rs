//! Thin-provisioned volumes: tracks that were never formatted, and those that were formatted in part.

use crate::driver::block::Dasd;
use proptest::prelude::*;

use super::*;
use crate::testing::Fault;

/// Records of a track.
const RECORDS: u64 = 12;
/// The tracks that the quick mode of dasdfmt formats: those of label and VTOC.
const QUICK: [u16; 2] = [0, 1];

/// A volume that has these tracks formatted.
fn thin(tracks: &[u16]) -> StorageControl {
    let all = StorageControl::new(6).format(0, 4096, 12);
    all.label("VOL1", "VOL1LINUX1").thin(tracks)
}

/// The disk with these tracks formatted.
fn volume(tracks: &[u16]) -> Fixture {
    Fixture::new(thin(tracks))
}

impl Fixture {
    /// The contents of some blocks are read in one request.
    fn read(&mut self, block: u64, blocks: u64) -> Vec<u8> {
        let length = blocks * BLOCK;
        self.data.fill(ClientAddress::new(0), length, 0xAA).unwrap();
        let segment = self.segment(0, length as u32);
        self.submit(false, block, &[segment], 1).unwrap();
        assert_eq!(self.all()[0].status, BlockStatus::Ok);
        let mut found = vec![0; length as usize];
        self.data
            .read_bytes(ClientAddress::new(0), &mut found)
            .unwrap();
        found
    }

    /// Blocks that each have a number of their own are written in one request.
    fn write(&mut self, block: u64, blocks: u64, seed: u8) -> BlockStatus {
        let bytes = contents(block, blocks, seed);
        self.data
            .write_bytes(ClientAddress::new(0), &bytes)
            .unwrap();
        let segment = self.segment(0, bytes.len() as u32);
        self.submit(true, block, &[segment], 1).unwrap();
        self.all()[0].status
    }

    /// How many records the track has that block 0 and so many tracks more are on.
    fn records_of(&self, track: u64) -> usize {
        let track = TrackAddress::of_number(track as u32 + 2, 15);
        let on = |record| track.place(record);
        self.device.borrow().records.range(on(0)..=on(255)).count()
    }
}

fn contents(block: u64, blocks: u64, seed: u8) -> Vec<u8> {
    let all = block..block + blocks;
    all.flat_map(|block| vec![block as u8 ^ seed | 1; BLOCK as usize])
        .collect()
}

#[test]
fn a_volume_says_that_it_is_thin() {
    assert!(volume(&QUICK).disk.volume().thin);
    assert_eq!(
        volume(&QUICK).disk.volume(),
        volume(&[0, 1, 2]).disk.volume()
    );
    assert!(!Fixture::cdl().disk.volume().thin);
    // A storage control that could have some: this one is none.
    let mut plain = cdl(6);
    plain.about.control = 0x2107.into();
    assert!(!Fixture::new(plain).disk.volume().thin);
}

#[test]
fn a_volume_whose_label_only_is_formatted_is_none() {
    let mut thin = thin(&QUICK);
    thin.records.retain(|at, _| *at <= TRACK_0.place(3));
    let refused = Eckd::open(&mut machine(thin, 0x80).0, id(), ISC).unwrap_err();
    let wanted = "not formatted: no cylinder 0 head 0 record 4";
    assert_eq!(refused.to_string(), wanted);
}

#[test]
fn tracks_that_were_never_formatted_read_as_zeroes_and_stay_so() {
    let mut fixture = volume(&QUICK);
    for (block, blocks) in [(RECORDS, RECORDS), (40, 3), (RECORDS * 3 + 5, 200), (17, 1)] {
        assert_eq!(
            fixture.read(block, blocks),
            vec![0; (blocks * BLOCK) as usize]
        );
    }
    assert_eq!(fixture.device.borrow_mut().formatted, 0);
    let last = fixture.disk.volume().layout.blocks - 1;
    assert_eq!(fixture.read(last, 1), vec![0; BLOCK as usize]);
    assert_eq!(
        fixture.disk.recoveries(),
        crate::driver::block::Recoveries::default()
    );
}

#[test]
fn a_whole_track_and_a_part_of_one_are_formatted_once_and_written() {
    for (block, blocks) in [
        (RECORDS, RECORDS),
        (RECORDS, 1),
        (RECORDS + 4, 5),
        (RECORDS * 2 - 1, 1),
    ] {
        let mut fixture = volume(&QUICK);
        assert_eq!(fixture.write(block, blocks, 7), BlockStatus::Ok);
        assert_eq!(fixture.records_of(1), RECORDS as usize);
        assert_eq!(
            u64::from(fixture.device.borrow_mut().formatted),
            RECORDS,
            "one track"
        );
        assert_eq!(fixture.read(block, blocks), contents(block, blocks, 7));
        let mut track = vec![0; (RECORDS * BLOCK) as usize];
        let at = ((block - RECORDS) * BLOCK) as usize;
        track[at..][..(blocks * BLOCK) as usize].copy_from_slice(&contents(block, blocks, 7));
        assert_eq!(fixture.read(RECORDS, RECORDS), track);
        assert_eq!(fixture.write(block, blocks, 9), BlockStatus::Ok);
        assert_eq!(
            u64::from(fixture.device.borrow_mut().formatted),
            RECORDS,
            "not again"
        );
        assert_eq!(fixture.disk.recoveries().failures, 0);
    }
}

#[test]
fn a_request_over_formatted_and_unformatted_tracks_gets_the_data_of_the_ones_and_zeroes_of_the_others(
) {
    // Tracks 3 and 5 of the volume are formatted, 4 and 6 are not.
    let mut fixture = volume(&[0, 1, 2, 3, 5]);
    assert_eq!(fixture.write(RECORDS, RECORDS, 1), BlockStatus::Ok);
    assert_eq!(fixture.write(RECORDS * 3, RECORDS, 2), BlockStatus::Ok);
    assert_eq!(fixture.device.borrow_mut().formatted, 0);
    let zeroes = vec![0; (RECORDS * BLOCK) as usize];
    let mut wanted = contents(RECORDS, RECORDS, 1);
    wanted.extend(&zeroes);
    wanted.extend(contents(RECORDS * 3, RECORDS, 2));
    wanted.extend(&zeroes);
    assert!(fixture.read(RECORDS, RECORDS * 4) == wanted);
    assert_eq!(fixture.device.borrow_mut().formatted, 0);
    // The same, written, from the middle of a track to the middle of one.
    let (block, blocks) = (RECORDS + 6, RECORDS * 3);
    assert_eq!(fixture.write(block, blocks, 3), BlockStatus::Ok);
    assert_eq!(
        u64::from(fixture.device.borrow_mut().formatted),
        RECORDS * 2
    );
    let at = (6 * BLOCK) as usize;
    wanted[at..][..(blocks * BLOCK) as usize].copy_from_slice(&contents(block, blocks, 3));
    assert!(fixture.read(RECORDS, RECORDS * 4) == wanted);
}

#[test]
fn many_requests_at_once_each_get_what_is_theirs() {
    let mut fixture = volume(&[0, 1, 2, 3, 5]);
    for token in 0..48 {
        fixture.one(token % 3 == 0, u64::from(token) + 6, token);
    }
    let done = fixture.all();
    assert_eq!(done.len(), 48);
    assert!(done.iter().all(|one| one.status == BlockStatus::Ok));
    assert_eq!(fixture.disk.recoveries().failures, 0);
    // Tracks 4 and 6: blocks were written on both.
    assert_eq!(
        u64::from(fixture.device.borrow_mut().formatted),
        RECORDS * 2
    );
}

#[test]
fn whoever_dies_while_a_track_is_formatted_or_behind_it_has_changed_nothing() {
    for there in 0..=RECORDS as u8 {
        let mut fixture = volume(&QUICK);
        fixture.device.borrow_mut().format_hangs_after =
            Some(there).filter(|it| u64::from(*it) < RECORDS);
        let segment = fixture.segment(0, 2 * BLOCK as u32);
        fixture.submit(true, RECORDS + 5, &[segment], 1).unwrap();
        if u64::from(there) == RECORDS {
            // What it writes hangs: NRF, survey, format, write.
            fixture.kick();
            fixture.port().faults.push_back(Fault::Hang);
        }
        fixture.kick();
        assert!(fixture.disk.poll().is_none());
        assert_eq!(fixture.records_of(1), usize::from(there));
        // The next life: the same volume, another driver.
        let mut thin = thin(&QUICK);
        thin.records = core::mem::take(&mut fixture.device.borrow_mut().records);
        let mut fixture = Fixture::new(thin);
        let zeroes = vec![0; (RECORDS * BLOCK) as usize];
        assert!(fixture.read(RECORDS, RECORDS) == zeroes, "{there}");
        assert_eq!(
            fixture.records_of(1),
            usize::from(there),
            "reading formats nothing"
        );
        // What was written to the records that are there stays.
        if there >= 3 {
            assert_eq!(fixture.write(RECORDS + 1, 2, 5), BlockStatus::Ok);
            assert_eq!(fixture.records_of(1), usize::from(there));
        }
        let mut wanted = zeroes;
        if there >= 3 {
            wanted[BLOCK as usize..3 * BLOCK as usize].copy_from_slice(&contents(
                RECORDS + 1,
                2,
                5,
            ));
        }
        assert!(fixture.read(RECORDS, RECORDS) == wanted, "{there}");
        // And the write is done again.
        assert_eq!(fixture.write(RECORDS + 5, 2, 6), BlockStatus::Ok);
        wanted[5 * BLOCK as usize..7 * BLOCK as usize].copy_from_slice(&contents(
            RECORDS + 5,
            2,
            6,
        ));
        assert!(fixture.read(RECORDS, RECORDS) == wanted, "{there}");
        assert_eq!(fixture.disk.recoveries().failures, 0);
    }
}

#[test]
fn a_format_that_is_stopped_in_the_middle_goes_on_behind_what_is_there() {
    let mut fixture = volume(&QUICK);
    fixture.device.borrow_mut().format_hangs_after = Some(5);
    assert_eq!(fixture.write(RECORDS + 5, 2, 6), BlockStatus::Ok);
    assert_eq!(fixture.port().halts, 1);
    assert_eq!(u64::from(fixture.device.borrow_mut().formatted), RECORDS);
    assert_eq!(fixture.read(RECORDS + 5, 2), contents(RECORDS + 5, 2, 6));
}

#[test]
fn a_track_lost_at_either_program_is_tried_again() {
    for write in [false, true] {
        // The program, the survey, the format write, the program again.
        for number in 0..4 {
            for fault in [
                Fault::UnitCheck(vec![0x10]),
                Fault::Hang,
                Fault::Refused(channel::Refusal::Busy),
                Fault::Deferred(1),
            ] {
                let mut fixture = volume(&QUICK);
                fixture.port().skip_faults = number;
                fixture.port().faults.push_back(fault.clone());
                let status = fixture.status(write, RECORDS + 3);
                assert_eq!(status, BlockStatus::Ok, "{write} {number} {fault:?}");
                let formatted = if write { RECORDS } else { 0 };
                assert_eq!(u64::from(fixture.device.borrow_mut().formatted), formatted);
            }
        }
    }
}

#[test]
fn sense_data_that_does_not_come_along_is_asked_for_there_too() {
    let mut thin = machine(thin(&QUICK), 0x80);
    thin.0.subchannel(id()).mishaps.no_concurrent_sense = true;
    let mut fixture = Fixture::open(thin, Eckd::open);
    assert_eq!(fixture.read(RECORDS, 30), vec![0; (30 * BLOCK) as usize]);
    assert_eq!(fixture.write(RECORDS + 3, 30, 4), BlockStatus::Ok);
    assert_eq!(fixture.read(RECORDS + 3, 30), contents(RECORDS + 3, 30, 4));
}

#[test]
fn a_volume_that_cannot_be_formatted_fails_the_write_and_nothing_else() {
    let mut fixture = volume(&[0, 1, 2]);
    // No more storage: write inhibited, at each format write.
    fixture.device.borrow_mut().format_inhibited = true;
    assert_eq!(fixture.write(RECORDS + 3, 2, 4), BlockStatus::IoError);
    assert_eq!(fixture.write(3, 2, 4), BlockStatus::Ok);
    assert_eq!(fixture.read(RECORDS + 3, 2), vec![0; 2 * BLOCK as usize]);
    assert_eq!(fixture.read(3, 2), contents(3, 2, 4));
}

#[test]
fn prefix_begins_such_programs_too() {
    let mut thin = thin(&QUICK).offering_prefix();
    thin.prefix = true;
    let mut fixture = Fixture::new(thin);
    assert_eq!(fixture.write(6, 40, 4), BlockStatus::Ok);
    assert_eq!(fixture.read(6, 40), contents(6, 40, 4));
}

#[test]
fn a_volume_that_is_not_thin_has_no_tracks_made() {
    let mut fixture = Fixture::cdl();
    fixture
        .device
        .borrow_mut()
        .records
        .retain(|at, _| (at.cylinder, at.head) != (0, 4));
    assert_eq!(fixture.status(true, 30), BlockStatus::IoError);
    assert_eq!(fixture.status(false, 30), BlockStatus::IoError);
    assert_eq!(fixture.device.borrow_mut().formatted, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is formatted, in whole or in part: the volume is one of zeroes, and reads what was written last.
    #[test]
    fn it_is_as_a_volume_of_zeroes(
        midaws: bool,
        there in proptest::collection::vec(0_u8..=12, 6),
        requests in proptest::collection::vec(
            proptest::collection::vec((any::<bool>(), 0_u64..60, 1_u64..30), 1..5), 1..6),
    ) {
        let mut thin = thin(&QUICK);
        for (track, there) in (3..).zip(there) {
            let track = TrackAddress::of_number(track, 15);
            for record in 1..=there {
                let record = track.place(record);
                let data = vec![0; BLOCK as usize];
                let key = Vec::new();
                thin.records.insert(record, crate::testing::Record { key, data });
            }
        }
        let mut thin = machine(thin, 0x80);
        thin.0.midaws = midaws;
        let mut fixture = Fixture::open(thin, Eckd::open);
        let mut wanted = vec![0_u8; (100 * BLOCK) as usize];
        let mut seed = 0_u8;
        for batch in requests {
            // All of a batch are there at once. Each has storage of its own, at an offset. What is read while it is written may be
            // either.
            let mut place = 8;
            let mut expected = Vec::new();
            let before = wanted.clone();
            for (token, (write, block, blocks)) in (0..).zip(batch) {
                seed = seed.wrapping_add(1);
                let range = (block * BLOCK) as usize..((block + blocks) * BLOCK) as usize;
                let bytes = contents(block, blocks, seed);
                let at = ClientAddress::new(place);
                fixture.data.write_bytes(at, &bytes).unwrap();
                let segment = fixture.segment(place, bytes.len() as u32);
                fixture.submit(write, block, &[segment], token).unwrap();
                if write {
                    wanted[range].copy_from_slice(&bytes);
                } else {
                    expected.push((at, range));
                }
                place += blocks * BLOCK + 8;
            }
            let done = fixture.all();
            prop_assert!(done.iter().all(|one| one.status == BlockStatus::Ok));
            for (at, range) in expected {
                let mut found = vec![0; range.len()];
                fixture.data.read_bytes(at, &mut found).unwrap();
                let mut either = before[range.clone()].iter().zip(&wanted[range]).zip(&found);
                let unwritten = |((before, after), found)| before != after || before == found;
                prop_assert!(either.all(unwritten));
            }
        }
        let found = fixture.read(0, 100);
        prop_assert!(found == wanted);
        prop_assert_eq!(fixture.disk.recoveries().failures, 0);
    }
}
