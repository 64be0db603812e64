//! The driver on a machine of software.

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use window::ClientAddress;

use super::*;
use crate::driver::block::{BlockDevice, BlockStatus, SubmitError};
use crate::driver::dasd::fixture::{self, id, machine, ISC};
use crate::testing::FixedBlock;

const SIZE: usize = BLOCK as usize;
/// Blocks of the disk.
const BLOCKS: usize = 6000;

/// A disk, and storage for its data.
type Fixture = fixture::Fixture<FixedBlock, Fixed>;

fn drive() -> FixedBlock {
    FixedBlock::new(BLOCKS)
}

fn open(drive: FixedBlock) -> Result<Fba, BringUpError> {
    Fba::open(&mut machine(drive, 0x80).0, id(), ISC)
}

fn labelled() -> FixedBlock {
    let mut drive = drive();
    drive.label("VOL1FIXED1");
    drive
}

impl Fixture {
    fn new() -> Self {
        Self::open(machine(labelled(), 0x80), Fba::open)
    }

    fn statuses(&mut self) -> Vec<(u32, BlockStatus)> {
        let done = self.all();
        let mut all: Vec<_> = done.iter().map(|one| (one.token.0, one.status)).collect();
        all.sort_by_key(|one| one.0);
        all
    }

    /// The drive's blocks as they are served.
    fn served(&self, block: usize, bytes: usize) -> Vec<u8> {
        self.device.borrow().blocks[(2 + block) * SIZE..][..bytes].to_vec()
    }
}

#[test]
fn data_begins_where_linux_has_its_first_partition() {
    let cms = |offset: u32, size: u32| {
        let mut drive = drive();
        let label = drive.label("CMS1FIXED1");
        label[12..16].copy_from_slice(&size.to_be_bytes());
        let at = core::mem::offset_of!(dasd::label::CmsLabel, disk_offset);
        label[at..at + 4].copy_from_slice(&offset.to_be_bytes());
        drive
    };
    let with = |text: &str| {
        let mut drive = drive();
        drive.label(text);
        drive
    };
    for (drive, origin) in [
        (with("VOL1FIXED1"), 2),
        (with("LNX1FIXED1"), 2),
        (with(""), 2),
        (cms(0, 512), 2),
        (cms(0, 4096), 16),
        (cms(77, 512), 77),
        (cms(77, 4096), 616),
        (cms(0, 0), 2),
    ] {
        let disk = open(drive).unwrap();
        assert_eq!(disk.volume().origin, origin);
        assert_eq!(disk.geometry().sectors, BLOCKS as u64 - u64::from(origin));
    }
    let beyond = open(cms(u32::MAX, 4096)).unwrap_err();
    assert!(beyond.to_string().contains("data begins with block"));
}

#[test]
fn a_disk_with_other_blocks_is_refused() {
    let changes: [fn(&mut Characteristics); 3] = [
        |about| about.block = 4096.into(),
        |about| about.class = 0x20,
        |about| about.blocks = 2.into(),
    ];
    for change in changes {
        let mut drive = drive();
        change(&mut drive.about);
        assert_eq!(
            open(drive).unwrap_err(),
            BringUpError::Characteristics("no disk with blocks of 512 bytes")
        );
    }
}

#[test]
fn a_megabyte_is_one_start_of_a_few_ccws() {
    let mut fixture = Fixture::new();
    let pattern: Vec<u8> = (0..1 << 20).map(|at| (at / 512 + at) as u8).collect();
    fixture
        .data
        .write_bytes(ClientAddress::new(0), &pattern)
        .unwrap();
    let segment = fixture.segment(0, 1 << 20);
    fixture.submit(true, 3, &[segment], 1).unwrap();
    assert_eq!(fixture.statuses(), [(1, BlockStatus::Ok)]);
    assert!(fixture.served(3, 1 << 20) == pattern);
    // DEFINE EXTENT, and LOCATE and WRITE for each 127 of 2048 blocks.
    assert_eq!(
        (fixture.port().starts, fixture.disk.counters().ccws),
        (1, 35)
    );
}

#[test]
fn requests_that_follow_each_other_are_one_transfer() {
    let mut fixture = Fixture::new();
    for (token, block) in [(0, 8), (1, 16), (2, 24)] {
        let segment = fixture.segment(u64::from(token) * 8192, 4096);
        fixture.submit(false, block, &[segment], token).unwrap();
    }
    // And one elsewhere, and one in the other direction.
    let segment = fixture.segment(0x8000, 4096);
    fixture.submit(false, 100, &[segment], 3).unwrap();
    let segment = fixture.segment(0xA000, 4096);
    fixture.submit(true, 108, &[segment], 4).unwrap();
    assert_eq!(fixture.all().len(), 5);
    assert_eq!(
        (fixture.port().starts, fixture.disk.counters().ccws),
        (1, 1 + 3 * 2)
    );
}

#[test]
fn what_is_beyond_the_last_block_is_refused() {
    let mut fixture = Fixture::new();
    let last = BLOCKS as u64 - 3;
    let (one, two) = (fixture.segment(0, 512), fixture.segment(0, 1024));
    fixture.submit(true, last, &[one], 1).unwrap();
    assert_eq!(fixture.statuses(), [(1, BlockStatus::Ok)]);
    for (block, segment) in [(last + 1, one), (last, two), (u64::MAX, one)] {
        let refused = fixture.submit(true, block, &[segment], 2);
        assert_eq!(refused, Err(SubmitError::TooLarge));
    }
    let half = fixture.segment(0, 256);
    let refused = fixture.submit(true, 0, &[half], 2);
    assert_eq!(refused, Err(SubmitError::TooLarge));
}

#[test]
fn a_block_that_cannot_be_read_fails_the_one_request_that_has_it() {
    let mut fixture = Fixture::new();
    fixture.device.borrow_mut().broken = Some(2 + 20);
    for token in 0..4 {
        let segment = fixture.segment(u64::from(token) * 4096, 4096);
        fixture
            .submit(false, u64::from(token) * 8, &[segment], token)
            .unwrap();
    }
    let ok = BlockStatus::Ok;
    let all = [(0, ok), (1, ok), (2, BlockStatus::IoError), (3, ok)];
    assert_eq!(fixture.statuses(), all);
}

#[test]
fn a_failure_is_placed_by_its_transfer() {
    let mut fixture = Fixture::new();
    let mut program = Program::new(Chain::in_storage(&mut fixture.machine).unwrap());
    program.begin();
    let segments = [fixture.segment(0, 300 * BLOCK)];
    let (mut done, mut at) = (0, Cursor::default());
    while done < 300 {
        let added = program.add(false, 10 + done, 300 - done, &segments, at);
        let (blocks, end) = added.unwrap().unwrap();
        (done, at) = (done + blocks, end);
    }
    let orb = program.finish(0, 0x80).unwrap().unwrap();
    // DEFINE EXTENT, then LOCATE and READ of 127, 127 and 46 blocks.
    for (ccws, block) in [
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 127),
        (5, 127),
        (6, 254),
        (7, 254),
    ] {
        let address = orb.program.get() + 8 * ccws;
        assert_eq!(program.block_at(address), block, "{ccws}");
    }
}

#[test]
fn a_disk_that_is_back_is_brought_up_again_if_it_is_the_same() {
    for (change, status) in [(false, BlockStatus::Ok), (true, BlockStatus::IoError)] {
        let mut fixture = Fixture::new();
        fixture.machine.unplug(id());
        fixture.disk.recheck(&mut fixture.machine);
        fixture.port().mishaps.gone = false;
        if change {
            fixture.device.borrow_mut().label("VOL1OTHER1");
        }
        fixture.disk.recheck(&mut fixture.machine);
        let segment = fixture.segment(0, 512);
        match fixture.submit(false, 0, &[segment], 1) {
            Ok(()) => assert_eq!(fixture.statuses(), [(1, status)]),
            Err(error) => assert_eq!((error, status), (SubmitError::Broken, BlockStatus::IoError)),
        }
    }
}

#[test]
fn a_block_in_pieces_needs_midaws() {
    for midaws in [true, false] {
        let mut drive = machine(labelled(), 0x80);
        drive.0.midaws = midaws;
        let mut fixture = Fixture::open(drive, Fba::open);
        let pieces = [fixture.segment(0, 100), fixture.segment(300, 412)];
        let whole = fixture.segment(4096, 1024);
        fixture.submit(true, 0, &pieces, 1).unwrap();
        fixture.submit(true, 1, &[whole], 2).unwrap();
        let first = match midaws {
            true => BlockStatus::Ok,
            false => BlockStatus::IoError,
        };
        assert_eq!(fixture.statuses(), [(1, first), (2, BlockStatus::Ok)]);
    }
}

/// A request: direction, block, and the lengths of the segments and the gaps before them.
type Asked = (bool, u64, Vec<(u32, u64)>);

fn requests() -> impl Strategy<Value = Vec<Asked>> {
    let whole = (1..9_u32, 0..3_u64).prop_map(|(pages, gap)| (pages * 4096, gap * 4096));
    let blocks = (1..300_u32, 0..3_u64).prop_map(|(blocks, gap)| (blocks * 512, gap * 512));
    let odd = (1..2000_u32, 0..700_u64);
    let segments = prop_oneof![
        prop::collection::vec(whole, 1..5),
        prop::collection::vec(blocks, 1..5),
        prop::collection::vec(odd, 1..8),
    ];
    prop::collection::vec((any::<bool>(), 0..5000_u64, segments), 1..20)
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(requests in requests()) {
        let mut fixture = Fixture::new();
        let mut expected = vec![0_u8; (BLOCKS - 2) * SIZE];
        let mut filler = 0_u8;
        for (write, block, segments) in requests {
            let mut place = 0;
            let mut list = Vec::new();
            let mut bytes = 0;
            for (len, gap) in segments {
                place += gap;
                list.push(fixture.segment(place, len));
                place += u64::from(len);
                bytes += len;
            }
            // The last one makes it whole blocks.
            let rest = bytes.next_multiple_of(512) - bytes;
            if rest > 0 {
                list.push(fixture.segment(place + 40, rest));
                bytes += rest;
            }
            let start = block as usize * SIZE;
            if start + bytes as usize > expected.len() {
                prop_assert_eq!(fixture.submit(write, block, &list, 0), Err(SubmitError::TooLarge));
                continue;
            }
            let mut at = start;
            if write {
                for segment in &list {
                    let data: Vec<u8> = (0..segment.len)
                        .map(|_| { filler = filler.wrapping_mul(5).wrapping_add(13); filler })
                        .collect();
                    let place = segment.absolute - fixture.data.absolute_base();
                    fixture.data.write_bytes(ClientAddress::new(place), &data).unwrap();
                    expected[at..at + data.len()].copy_from_slice(&data);
                    at += data.len();
                }
            }
            fixture.submit(write, block, &list, 0).unwrap();
            prop_assert_eq!(fixture.statuses(), [(0, BlockStatus::Ok)]);
            if !write {
                for segment in &list {
                    let mut data = vec![0; segment.len as usize];
                    let place = segment.absolute - fixture.data.absolute_base();
                    fixture.data.read_bytes(ClientAddress::new(place), &mut data).unwrap();
                    prop_assert!(data == expected[at..at + data.len()]);
                    at += data.len();
                }
            }
        }
        prop_assert!(fixture.served(0, expected.len()) == expected);
    }
}
