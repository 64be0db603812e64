//! The driver on a machine of software.

use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::string::ToString;
use std::vec::Vec;

use channel::CommandCode;
use proptest::prelude::*;
use s390x::ebcdic::CP037;
use window::{ClientAddress, Segment, Window};
use zerocopy::{FromBytes, IntoBytes};

use super::format::{DefineExtent, Locate, DEFINE_EXTENT, LOCATE, READ, WRITE};
use super::*;
use crate::driver::block::{BlockDevice, BlockStatus, Done, Operation, SubmitError, Token};
use crate::driver::eckd::tests::fake::{id, Machine};

const ISC: u8 = 3;
const SIZE: usize = BLOCK as usize;
/// Blocks of the disk.
const BLOCKS: usize = 6000;
/// Pages of storage for data.
const PAGES: usize = 600;
const COMMAND_REJECT: u8 = 0x80;
const EQUIPMENT_CHECK: u8 = 0x10;

/// The disk, as its control unit sees it.
struct Drive {
    about: Characteristics,
    blocks: Vec<u8>,
    extent: Option<DefineExtent>,
    located: Option<Locate>,
    /// A block that cannot be read.
    broken: Option<usize>,
}

impl Drive {
    fn new() -> Self {
        let mut about = Characteristics::new_zeroed();
        about.class = 0x21;
        about.block = 512.into();
        about.blocks = (BLOCKS as u32).into();
        Self {
            about,
            blocks: vec![0; BLOCKS * SIZE],
            extent: None,
            located: None,
            broken: None,
        }
    }

    fn label(&mut self, text: &str) -> &mut [u8] {
        let label = &mut self.blocks[SIZE..][..SIZE];
        CP037.encode(text, label);
        label
    }

    fn command(&mut self, command: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let reject = || vec![COMMAND_REJECT; 1];
        let located = self.located.take();
        match command {
            READ_CHARACTERISTICS => Ok(self.about.as_bytes().to_vec()),
            DEFINE_EXTENT => {
                let extent = DefineExtent::read_from_bytes(data).unwrap();
                assert_eq!(extent.block.get(), 512);
                let fits = extent.first <= extent.last && extent.last.get() < BLOCKS as u32;
                self.extent = Some(extent).filter(|_| fits && extent.origin == extent.first);
                self.extent.map(|_| Vec::new()).ok_or_else(reject)
            }
            LOCATE => {
                let locate = Locate::read_from_bytes(data).unwrap();
                let extent = self.extent.ok_or_else(reject)?;
                let (first, count) = (locate.block.get(), u32::from(locate.count.get()));
                let inside = first >= extent.first.get() && first + count - 1 <= extent.last.get();
                let writes = locate.operation == Locate::WRITE;
                let permitted = !writes || extent.mask == DefineExtent::MASK_WRITE;
                self.located = Some(locate).filter(|_| inside && permitted && count > 0);
                self.located.map(|_| Vec::new()).ok_or_else(reject)
            }
            READ | WRITE => {
                let locate = located.ok_or_else(reject)?;
                let first = locate.block.get() as usize;
                let count = usize::from(locate.count.get());
                assert_eq!(data.len(), count * SIZE);
                assert_eq!(locate.operation == Locate::READ, command == READ);
                if self
                    .broken
                    .is_some_and(|block| (first..first + count).contains(&block))
                {
                    return Err(vec![EQUIPMENT_CHECK]);
                }
                let blocks = &mut self.blocks[first * SIZE..][..data.len()];
                if command == WRITE {
                    blocks.copy_from_slice(data);
                    return Ok(Vec::new());
                }
                Ok(blocks.to_vec())
            }
            _ => Err(reject()),
        }
    }
}

struct Fixture {
    machine: Machine,
    drive: Rc<RefCell<Drive>>,
    disk: Fba,
    data: Window,
}

fn open(drive: Drive) -> (Machine, Rc<RefCell<Drive>>, Result<Fba, FbaError>) {
    let drive = Rc::new(RefCell::new(drive));
    let mut machine = Machine::new(1);
    let one = drive.clone();
    machine.control = Some(Box::new(move |command, data| {
        one.borrow_mut().command(command, data)
    }));
    let disk = Fba::open(&mut machine, id(), ISC);
    machine.starts = 0;
    machine.serving = true;
    (machine, drive, disk)
}

impl Fixture {
    fn new() -> Self {
        let mut drive = Drive::new();
        drive.label("VOL1FIXED1");
        let (mut machine, drive, disk) = open(drive);
        let data = machine.storage(PAGES).unwrap();
        Self {
            machine,
            drive,
            disk: disk.unwrap(),
            data,
        }
    }

    fn segment(&self, offset: u64, len: u32) -> Segment {
        self.data
            .translate(ClientAddress::new(offset), len)
            .unwrap()
    }

    fn submit(
        &mut self,
        write: bool,
        block: u64,
        segments: &[Segment],
        token: u32,
    ) -> Result<(), SubmitError> {
        let operation = if write {
            Operation::Write { sector: block }
        } else {
            Operation::Read { sector: block }
        };
        self.disk.submit(0, operation, segments, &[], Token(token))
    }

    /// Lets time pass until all requests have ended.
    fn all(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..10_000 {
            self.disk.kick(&mut self.machine);
            done.extend(core::iter::from_fn(|| self.disk.poll()));
            if self.disk.in_flight() == 0 {
                return done;
            }
            self.machine.micros += 50_000;
        }
        panic!("{} requests do not end", self.disk.in_flight());
    }

    fn statuses(&mut self) -> Vec<(u32, BlockStatus)> {
        let done = self.all();
        let mut all: Vec<_> = done.iter().map(|one| (one.token.0, one.status)).collect();
        all.sort_by_key(|one| one.0);
        all
    }

    /// The drive's blocks as they are served.
    fn served(&self, block: usize, bytes: usize) -> Vec<u8> {
        self.drive.borrow().blocks[(2 + block) * SIZE..][..bytes].to_vec()
    }
}

#[test]
fn data_begins_where_linux_has_its_first_partition() {
    let cms = |offset: u32, size: u32| {
        let mut drive = Drive::new();
        let label = drive.label("CMS1FIXED1");
        label[12..16].copy_from_slice(&size.to_be_bytes());
        let at = core::mem::offset_of!(dasd::label::CmsLabel, disk_offset);
        label[at..at + 4].copy_from_slice(&offset.to_be_bytes());
        drive
    };
    let with = |text: &str| {
        let mut drive = Drive::new();
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
        let disk = open(drive).2.unwrap();
        assert_eq!(disk.volume().origin, origin);
        assert_eq!(disk.geometry().sectors, BLOCKS as u64 - u64::from(origin));
    }
    let beyond = open(cms(u32::MAX, 4096)).2.unwrap_err();
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
        let mut drive = Drive::new();
        change(&mut drive.about);
        assert_eq!(open(drive).2.unwrap_err(), FbaError::Characteristics);
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
        (fixture.machine.starts, fixture.disk.counters().ccws),
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
        (fixture.machine.starts, fixture.disk.counters().ccws),
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
    fixture.drive.borrow_mut().broken = Some(2 + 20);
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
    let storage = fixture.machine.storage(program::PAGES).unwrap();
    let mut program = Program::new(storage, true).unwrap();
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
        fixture.machine.unplug();
        fixture.disk.recheck(&mut fixture.machine);
        fixture.machine.gone = false;
        if change {
            fixture.drive.borrow_mut().label("VOL1OTHER1");
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
        let mut drive = Drive::new();
        drive.label("VOL1FIXED1");
        let drive = Rc::new(RefCell::new(drive));
        let mut machine = Machine::new(1);
        machine.midaws = midaws;
        let one = drive.clone();
        machine.control = Some(Box::new(move |command, data| {
            one.borrow_mut().command(command, data)
        }));
        let disk = Fba::open(&mut machine, id(), ISC).unwrap();
        let data = machine.storage(PAGES).unwrap();
        let mut fixture = Fixture {
            machine,
            drive,
            disk,
            data,
        };
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
