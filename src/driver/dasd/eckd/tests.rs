//! The driver on a machine of software.

mod bring_up;
mod lending;
mod lost;
mod model;
mod paths;
mod recovery;
mod sensing;
mod thin;

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use window::ClientAddress;

use super::*;
use crate::driver::block::{BlockDevice, BlockStatus, Operation, SubmitError, Token};
use crate::driver::dasd::fixture::{self, id, machine, ISC};
use crate::driver::dasd::QUEUE_SIZE;
use crate::testing::StorageControl;
use dasd::label::CmsLabel;
use dasd::TrackAddress;

const BLOCK: u64 = 4096;
const SECTORS: u64 = 8;
const TRACK_0: TrackAddress = TrackAddress::new(0, 0);

/// A disk, and storage for its data.
type Fixture = fixture::Fixture<StorageControl, Ckd>;

impl Fixture {
    fn new(volume: StorageControl) -> Self {
        Self::over(volume, 0x80)
    }

    fn over(volume: StorageControl, paths: u8) -> Self {
        Self::open(machine(volume, paths), Eckd::open)
    }

    fn cdl() -> Self {
        Self::new(cdl(6))
    }
}

fn cdl(cylinders: u16) -> StorageControl {
    StorageControl::new(cylinders)
        .format(2, 4096, 12)
        .label("VOL1", "VOL1LINUX1")
}

#[test]
fn a_cdl_volume_is_served_from_track_2_on() {
    let volume = Fixture::cdl().disk.volume().clone();
    assert_eq!(volume.label, "VOL1 (CDL)");
    assert_eq!(Text(&volume.serial).to_string(), "LINUX1");
    assert_eq!(volume.layout.origin, 24);
    assert_eq!(volume.layout.blocks, (6 * 15 - 2) * 12);
    let last = volume.layout.place(volume.layout.blocks - 1);
    assert_eq!(last.to_string(), "cylinder 5 head 14 record 12");
    assert_eq!(
        volume.layout.place(0).to_string(),
        "cylinder 0 head 2 record 1"
    );
}

#[test]
fn other_volumes_are_served_behind_their_labels() {
    let plain = || StorageControl::new(2).format(0, 4096, 12);
    for (volume, label, origin) in [
        (plain().label("", "LNX1LINUX1"), "LNX1 (LDL)", 3),
        (plain().label("", "CMS1LINUX1"), "CMS1", 3),
        (plain(), "no label", 0),
    ] {
        let volume = Fixture::new(volume).disk.volume().clone();
        assert_eq!((volume.label, volume.layout.origin), (label, origin));
        assert_eq!(volume.layout.blocks, 2 * 15 * 12 - origin);
    }
}

#[test]
fn a_reserved_cms_file_is_served_from_its_first_block_on() {
    let mut volume = StorageControl::new(2)
        .format(0, 4096, 12)
        .label("", "CMS1LINUX1");
    let label = volume.records.get_mut(&TRACK_0.place(3)).unwrap();
    let at = core::mem::offset_of!(CmsLabel, disk_offset);
    label.data[at..at + 4].copy_from_slice(&77_u32.to_be_bytes());
    let volume = Fixture::new(volume).disk.volume().clone();
    assert_eq!(volume.layout.origin, 77);
}

#[test]
fn a_volume_that_is_not_formatted_is_refused_with_the_place() {
    let open = |volume| Eckd::open(&mut machine(volume, 0x80).0, id(), ISC).unwrap_err();
    let empty = open(StorageControl::new(2).label("VOL1", "VOL1EMPTY1"));
    assert_eq!(
        empty.to_string(),
        "not formatted: no cylinder 0 head 2 record 1"
    );
    let mut short = cdl(2);
    short.records.remove(&TrackAddress::new(0, 2).place(12));
    let short = open(short);
    assert!(
        matches!(short, BringUpError::NoRecord(place) if place.record == 12),
        "{short}"
    );
    let other = open(StorageControl::new(2).format(0, 80, 12));
    assert!(matches!(other, BringUpError::Record(..)), "{other}");
}

#[test]
fn a_track_has_as_many_records_as_the_manuals_say() {
    let mut about = StorageControl::new(1).about;
    let of = |about: &format::Characteristics| {
        [512, 1024, 2048, 4096].map(|data| about.records_of(data).unwrap())
    };
    assert_eq!(of(&about), [49, 33, 21, 12], "3390");
    about.factors = [18, 7, 6, 116];
    about.track_length = [0, 0xBC, 0x98];
    assert_eq!(of(&about), [41, 28, 17, 10], "9345");
    (about.formula, about.factor_1) = (1, 32);
    about.factors = [0x01, 0xEC, 0, 0xEC];
    about.track_length = [0, 0xBB, 0x60];
    assert_eq!(of(&about), [46, 31, 18, 10], "3380");
    about.formula = 3;
    assert_eq!(about.records_of(4096), None);
}

#[test]
fn cylinders_beyond_65535_have_their_high_bits_in_the_head() {
    let track = format::TrackAddress::new(0x1_2345, 7);
    assert_eq!((track.cylinder.get(), track.head.get()), (0x2345, 0x17));
    let mut about = StorageControl::new(0xFFFE).about;
    about.long_cylinders = 262_668.into();
    assert_eq!(about.cylinders(), 262_668);
}

#[test]
fn requests_that_wait_are_one_program() {
    let mut fixture = Fixture::cdl();
    for token in 0..40 {
        fixture.one(token % 2 == 0, u64::from(token) * 7, token);
    }
    let done = fixture.all();
    assert!(done.iter().all(|one| one.status == BlockStatus::Ok));
    let tokens: Vec<u32> = done.iter().map(|one| one.token.0).collect();
    assert_eq!(tokens, (0..40).collect::<Vec<_>>());
    assert_eq!(fixture.port().starts, 1);
}

#[test]
fn requests_that_follow_each_other_are_one_domain() {
    let mut fixture = Fixture::cdl();
    for token in 0..30 {
        fixture.one(false, 100 + u64::from(token), token);
    }
    fixture.all();
    // DEFINE EXTENT, LOCATE RECORD, and one for each block.
    assert_eq!(fixture.disk.counters().ccws, 32);
}

#[test]
fn a_request_longer_than_a_program_or_a_domain_is_served() {
    let mut fixture = Fixture::cdl();
    let blocks = 300;
    let mut whole = vec![0_u8; (blocks * BLOCK) as usize];
    for (number, byte) in whole.iter_mut().enumerate() {
        *byte = (number / 4096 + number) as u8;
    }
    fixture
        .data
        .write_bytes(ClientAddress::new(0), &whole)
        .unwrap();
    let segment = fixture.segment(0, whole.len() as u32);
    fixture.submit(true, 5, &[segment], 1).unwrap();
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
    fixture
        .data
        .fill(ClientAddress::new(0), whole.len() as u64, 0)
        .unwrap();
    // The same storage again and again: more than any program holds.
    let segments = [segment; 3];
    assert_eq!(fixture.submit(false, 5, &segments, 2), Ok(()));
    assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
    fixture.submit(false, 5, &[segment], 3).unwrap();
    fixture.all();
    let mut found = vec![0; whole.len()];
    fixture
        .data
        .read_bytes(ClientAddress::new(0), &mut found)
        .unwrap();
    assert!(found == whole);
}

#[test]
fn what_is_not_in_the_volume_is_refused() {
    let mut fixture = Fixture::cdl();
    let blocks = fixture.disk.volume().layout.blocks;
    let one = fixture.segment(0, BLOCK as u32);
    let half = fixture.segment(0, BLOCK as u32 / 2);
    let too_large = Err(SubmitError::TooLarge);
    assert_eq!(fixture.submit(false, blocks, &[one], 0), too_large);
    assert_eq!(fixture.submit(false, blocks - 1, &[one, one], 0), too_large);
    assert_eq!(fixture.submit(false, 0, &[half], 0), too_large);
    assert_eq!(
        fixture.submit(false, u64::MAX / SECTORS, &[one], 0),
        too_large
    );
    assert_eq!(fixture.disk.in_flight(), 0);
}

#[test]
fn a_full_queue_takes_no_more_until_an_ending_is_taken() {
    let mut fixture = Fixture::cdl();
    for token in 0..QUEUE_SIZE as u32 {
        fixture.one(false, u64::from(token), token);
    }
    let one = fixture.segment(0, BLOCK as u32);
    assert_eq!(fixture.submit(false, 0, &[one], 99), Err(SubmitError::Full));
    fixture.kick();
    assert_eq!(fixture.submit(false, 0, &[one], 99), Err(SubmitError::Full));
    assert!(fixture.disk.poll().is_some());
    assert_eq!(fixture.submit(false, 0, &[one], 99), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the pieces, and with either way to name small ones, the data is where it should be.
    #[test]
    fn data_in_any_pieces_is_transferred(
        midaws: bool,
        block in 0_u64..900,
        start in 0_u64..5000,
        cuts in proptest::collection::vec((1_u32..6000, 0_u64..5000), 1..20),
    ) {
        let mut volume = machine(cdl(6), 0x80);
        volume.0.midaws = midaws;
        let mut fixture = Fixture::open(volume, Eckd::open);
        let mut segments = Vec::new();
        let (mut place, mut total) = (start, 0);
        for (length, gap) in cuts {
            segments.push(fixture.segment(place, length));
            place += u64::from(length) + gap;
            total += length;
        }
        // Up to whole blocks.
        let rest = total.next_multiple_of(BLOCK as u32) - total;
        if rest > 0 {
            segments.push(fixture.segment(place, rest));
            total += rest;
        }
        let window = fixture.machine.window();
        let mut wanted = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            let bytes: Vec<u8> = (0..segment.len).map(|at| (at as usize * 7 + number) as u8).collect();
            window.write_bytes(ClientAddress::new(segment.absolute), &bytes).unwrap();
            wanted.extend(bytes);
        }
        fixture.submit(true, block, &segments, 1).unwrap();
        prop_assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
        let layout = fixture.disk.volume().layout;
        for number in 0..u64::from(total) / BLOCK {
            let at = layout.place(block + number);
            let record = &fixture.device.borrow().records[&at];
            let from = (number * BLOCK) as usize;
            prop_assert!(record.data == wanted[from..from + BLOCK as usize], "block {}", number);
        }
        for segment in &segments {
            let place = ClientAddress::new(segment.absolute);
            fixture.machine.window().fill(place, segment.len.into(), 0xAA).unwrap();
        }
        fixture.submit(false, block, &segments, 2).unwrap();
        prop_assert_eq!(fixture.all()[0].status, BlockStatus::Ok);
        let mut found = Vec::new();
        for segment in &segments {
            let mut bytes = vec![0; segment.len as usize];
            fixture.machine.window().read_bytes(ClientAddress::new(segment.absolute), &mut bytes).unwrap();
            found.extend(bytes);
        }
        prop_assert!(found == wanted);
    }
}
