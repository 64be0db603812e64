//! The appliance dies before any single one of its stores, and again while it takes up what it left: the client, which starts again
//! what was lost, gets each request back, once, and done.

use std::collections::{BTreeSet, VecDeque};

use channel::SubchannelStatus;
use vcss::client::QueueState;
use vcss::plan;
use virtio::ccw::{Command, FeatureDescriptor, QueueInfo, Revision};
use virtio::Status;
use window::{ClientAddress, Window};
use zerocopy::IntoBytes;

use super::fixture::{memory, Driver, Fixture, RamDisk, FEATURES, MEMORY, SLICE_START};

const DATA: u64 = 0x8_0000;
/// More than there are stores in a life.
const ENDLESS: u32 = 1_000_000;

/// What the lives share.
struct Stage {
    area: &'static Window,
    window: &'static Window,
    disks: [RamDisk; 2],
}

impl Stage {
    fn new() -> Self {
        Self {
            area: memory(plan::client_area(2).length() as usize),
            window: memory(MEMORY),
            disks: [RamDisk::new(), RamDisk::new()],
        }
    }

    /// Plays the client's whole story with an appliance that dies after so many stores. Says whether it died as often.
    fn play(&self, cuts: &[u32]) -> bool {
        let mut fixture = Fixture::over(self.area, self.window, self.disks.clone());
        {
            let mut platter = fixture.platter(0);
            platter.waiting.clear();
            platter.capacity = 64;
            platter.stalled = 0;
        }
        fixture.side.borrow_mut().cuts = VecDeque::from(cuts.to_vec());
        story(&mut fixture, cuts);
        let left = core::mem::take(&mut fixture.side.borrow_mut().cuts);
        assert!(!fixture.status(0).contains(Status::DEVICE_NEEDS_RESET));
        left.is_empty()
    }
}

/// A command that is given until it has been carried out.
fn insist(fixture: &mut Fixture, command: Command, data: &[u8]) {
    for _ in 0..8 {
        let mut data = data.to_vec();
        if let Ok(irb) = fixture.try_command(0, command.into(), &mut data) {
            let scsw = &irb.scsw;
            // A start that the appliance died of is not carried out again; whoever made it is told.
            if scsw
                .subchannel()
                .contains(SubchannelStatus::INTERFACE_CONTROL_CHECK)
            {
                continue;
            }
            let status = (scsw.device_status, scsw.subchannel_status);
            assert_eq!(status, (0x0C, 0), "{command:?}");
            return;
        }
    }
    panic!("{command:?} is never carried out");
}

fn begin(fixture: &mut Fixture) {
    let revision = Revision {
        revision: 2.into(),
        length: 0.into(),
    };
    insist(fixture, Command::Reset, &[]);
    insist(fixture, Command::SetRevision, revision.as_bytes());
    for index in 0..2 {
        let block = FeatureDescriptor {
            features: FEATURES.word(index).into(),
            index,
        };
        insist(fixture, Command::WriteFeatures, block.as_bytes());
    }
    insist(fixture, Command::WriteStatus, &[1 | 2 | 8]);
}

/// Reads sectors `from` to `from + count`, each into a place of its own.
fn ask(fixture: &Fixture, driver: &mut Driver, from: u64, count: u64) -> BTreeSet<u16> {
    let sectors = from..from + count;
    let clear = |sector| ClientAddress::new(DATA + sector * 512);
    sectors
        .map(|sector| {
            fixture.window.fill(clear(sector), 512, 0xEE).unwrap();
            driver.read(sector, DATA + sector * 512, 512)
        })
        .collect()
}

/// Everything that came back.
fn back(driver: &mut Driver, heads: &mut BTreeSet<u16>) {
    while let Some((head, status, _)) = driver.done() {
        assert_eq!(status, 0);
        assert!(heads.insert(head), "head {head} came back twice");
    }
}

fn check(fixture: &Fixture, from: u64, count: u64) {
    for sector in from..from + count {
        let at = ClientAddress::new(DATA + sector * 512);
        let byte: u8 = fixture.window.read(at).unwrap();
        assert_eq!(byte, (SLICE_START + sector) as u8, "sector {sector}");
    }
}

/// Set-up, requests, a stop while the disk is full, going on, a reset in the midst of requests, and all again.
fn story(fixture: &mut Fixture, cuts: &[u32]) {
    begin(fixture);
    let mut driver = Driver::new(fixture.window, 0, 0, FEATURES);
    insist(fixture, Command::SetQueue, driver.info(0).as_bytes());
    insist(fixture, Command::WriteStatus, &[1 | 2 | 8 | 4]);
    let expected = ask(fixture, &mut driver, 0, 3);
    fixture.settle();
    let mut done = BTreeSet::new();
    back(&mut driver, &mut done);
    assert_eq!(done, expected, "{cuts:?}");
    check(fixture, 0, 3);

    fixture.platter(0).capacity = 2;
    fixture.platter(0).stalled = 2;
    let expected = ask(fixture, &mut driver, 3, 5);
    fixture.side.borrow_mut().turn();
    insist(fixture, Command::SetQueue, QueueInfo::default().as_bytes());
    let state: QueueState = fixture.area.read(0).unwrap();
    assert_eq!(state.size.get(), 0, "{cuts:?}");
    let mut done = BTreeSet::new();
    back(&mut driver, &mut done);
    assert_eq!(
        3 + done.len(),
        usize::from(state.next_avail.get()),
        "{cuts:?}"
    );
    insist(fixture, Command::SetQueue, driver.info(0).as_bytes());
    fixture.settle();
    back(&mut driver, &mut done);
    assert_eq!(done, expected, "{cuts:?}");
    check(fixture, 3, 5);

    fixture.platter(0).stalled = 3;
    ask(fixture, &mut driver, 8, 4);
    fixture.side.borrow_mut().turn();
    begin(fixture);
    for queue in 0..8 {
        let state: QueueState = fixture.area.read(queue).unwrap();
        assert_eq!(
            (state.size.get(), state.next_avail.get()),
            (0, 0),
            "{cuts:?}"
        );
    }
    let mut driver = Driver::new(fixture.window, 0, 0, FEATURES);
    insist(fixture, Command::SetQueue, driver.info(0).as_bytes());
    insist(fixture, Command::WriteStatus, &[1 | 2 | 8 | 4]);
    let expected = ask(fixture, &mut driver, 12, 2);
    fixture.settle();
    let mut done = BTreeSet::new();
    back(&mut driver, &mut done);
    assert_eq!(done, expected, "{cuts:?}");
    check(fixture, 12, 2);
}

#[test]
fn every_store_of_a_life_can_be_the_last() {
    let stage = Stage::new();
    assert!(!stage.play(&[ENDLESS]));
    let mut cut = 0;
    while stage.play(&[cut]) {
        cut += 1;
    }
    std::eprintln!("{cut} stores");
    assert!(cut > 100, "{cut} stores are no life");
}

#[test]
fn the_next_life_can_end_anywhere_too() {
    let stage = Stage::new();
    let mut cut = 0;
    loop {
        let mut next = 0;
        while stage.play(&[cut, next]) {
            next += 5;
            if next > 60 {
                break;
            }
        }
        if next == 0 {
            break;
        }
        cut += 7;
    }
}
