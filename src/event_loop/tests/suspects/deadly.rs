//! A request in a virtqueue that the appliance dies of.

use std::boxed::Box;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};

use channel::IoInterruption;
use vcss::client::{DeviceState, QueueState};
use vcss::control::{Client, ExportKind};
use vcss::layout::Kind;
use vcss::underway::Note;
use vcss::Area;
use virtio::blk::{RequestHeader, RequestType};
use virtio::ring::driver::{Buffer, Queue};
use virtio::ring::{Options, QueueLayout};
use virtio::{Features, Status};
use window::{ClientAddress, Segment, Window};

use super::{export, Fixture, DISK, FAILED};
use crate::css::Platform;
use crate::driver::absent::Absent;
use crate::driver::block::{
    BlockDevice, BlockStatus, Done, Geometry, Operation, Range, SubmitError, Token,
};

/// Entries of the conditions: one disk, two clients, and the exports.
const EXPORT: usize = 3;
const SIZE: u16 = 64;
/// Where headers with status, and data are in the client's window.
const HEADERS: u64 = 0x700;
const DATA: u64 = 0xA00;
/// Headers that there is room for.
const SLOTS: u64 = 8;

/// A disk with which the appliance dies of each flush, and that does nothing else but end requests. It is what the control area names
/// in all other respects. The last word says whether it is mended.
struct Deadly(Box<dyn BlockDevice>, VecDeque<Token>, bool);

impl BlockDevice for Deadly {
    fn geometry(&self) -> &Geometry {
        self.0.geometry()
    }

    fn submit(
        &mut self,
        _: u16,
        operation: Operation,
        _: &[Segment],
        _: &[Range],
        token: Token,
    ) -> Result<(), SubmitError> {
        assert!(operation != Operation::Flush || self.2);
        self.1.push_back(token);
        Ok(())
    }

    fn kick(&mut self, _: &mut dyn Platform) {}

    fn poll(&mut self) -> Option<Done> {
        let status = BlockStatus::Ok;
        self.1.pop_front().map(|token| Done { token, status })
    }

    fn in_flight(&self) -> u32 {
        self.1.len() as u32
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        !self.1.is_empty()
    }

    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}

/// A client's driver.
pub(in super::super) struct Guest {
    queue: Queue<{ SIZE as usize }>,
    window: &'static Window,
    requests: u64,
}

impl Guest {
    /// A driver that has set its device up with an earlier life.
    pub(in super::super) fn new(fixture: &Fixture, client: u16) -> Self {
        let entry: Client = fixture.control.read(client.into()).unwrap();
        let (base, length) = (entry.window.offset.get(), entry.window.length.get());
        let memory = |length| {
            let start = core::ptr::with_exposed_provenance_mut(base as usize);
            // SAFETY: leaked memory, to which there are no references.
            unsafe { Window::new(start, length, 0) }
        };
        let ring = memory(u64::from(QueueLayout::contiguous_bytes(SIZE)));
        let layout = QueueLayout::contiguous(SIZE);
        let area = Area::open(fixture.shared[usize::from(client)], Kind::Client).unwrap();
        let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
        let device = DeviceState {
            features: Features::VERSION_1.bits().into(),
            revision: 2.into(),
            status: status.bits(),
            writeback: 1,
            written: 1,
            ..DeviceState::default()
        };
        let state = QueueState {
            size: SIZE.into(),
            descriptors: layout.descriptors.value().into(),
            driver: layout.driver.value().into(),
            device: layout.device.value().into(),
            ..QueueState::default()
        };
        area.write(0, &device).unwrap();
        area.write(0, &state).unwrap();
        Self {
            queue: Queue::new(ring, SIZE, Options::from(Features::VERSION_1)).unwrap(),
            window: Box::leak(Box::new(memory(length))),
            requests: 0,
        }
    }

    /// Asks for what the appliance dies of.
    fn kills(&mut self) {
        self.flushes();
    }

    pub(in super::super) fn flushes(&mut self) {
        self.asks(RequestType::Flush, 0);
    }

    /// Reads the disk's block, into the same place again and again.
    fn reads(&mut self) {
        self.asks(RequestType::In, 8);
    }

    fn asks(&mut self, kind: RequestType, sectors: usize) {
        let header = HEADERS + self.requests % SLOTS * 32;
        self.requests += 1;
        let request = RequestHeader::new(kind, 0);
        let at = ClientAddress::new(header);
        self.window.write(at, &request).unwrap();
        let buffer = |absolute, len, writable| Buffer {
            absolute,
            len,
            writable,
        };
        let mut buffers = std::vec![buffer(header, 16, false)];
        buffers.resize(1 + sectors, buffer(DATA, 512, true));
        buffers.push(buffer(header + 16, 1, true));
        self.queue.add(&buffers).unwrap();
        self.queue.publish();
    }

    /// How many requests have come back since this was last asked.
    pub(in super::super) fn served(&mut self) -> usize {
        let mut count = 0;
        while let Some(used) = self.queue.poll_used() {
            used.unwrap();
            count += 1;
        }
        count
    }
}

/// Two clients of one disk.
fn fixture() -> (Fixture, [Guest; 2]) {
    let given = [0, 1].map(|client| {
        let mut export = export(ExportKind::Block, client);
        export.disk = 0.into();
        export
    });
    let mut fixture = Fixture::with(2, &[DISK], &[DISK], &given, |_, _| {});
    let guests = [0, 1].map(|client| Guest::new(&fixture, client));
    fixture.lives_on(false);
    (fixture, guests)
}

impl Fixture {
    /// The appliance's next life.
    fn lives_on(&mut self, mended: bool) {
        self.restart();
        let disk = &mut self.appliance.plane.disks[0];
        let real = core::mem::replace(&mut disk.driver, Box::new(Absent::default()));
        disk.driver = Box::new(Deadly(real, VecDeque::new(), mended));
    }

    /// Some turns. If the appliance dies, its next life begins, which has done nothing yet. Returns whether it has survived.
    fn survives(&mut self) -> bool {
        for _ in 0..4 {
            self.appliance.drain(&mut self.machine);
            let Self {
                appliance, machine, ..
            } = self;
            let turn = || appliance.plane.turn(machine);
            if catch_unwind(AssertUnwindSafe(turn)).is_err() {
                // The crash report.
                let (note, _) = Note::open(&self.control).unwrap();
                note.death().store(1);
                self.lives_on(false);
                return false;
            }
        }
        true
    }
}

#[test]
fn a_request_that_the_appliance_dies_of_takes_its_own_export_out_of_service() {
    let (mut fixture, [mut bad, mut good]) = fixture();
    bad.reads();
    good.reads();
    assert!(fixture.survives());
    assert_eq!((bad.served(), good.served()), (1, 1));
    bad.kills();
    good.reads();
    assert!(!fixture.survives());
    assert_eq!((fixture.deaths(0), fixture.deaths(1)), (1, 0));
    assert!(!fixture.survives(), "it is done again once");
    assert_eq!((fixture.deaths(0), fixture.deaths(1)), (2, 0));
    assert_eq!(fixture.conditions()[EXPORT], Err(FAILED.into()));
    assert_eq!(fixture.conditions()[EXPORT + 1], Ok(()));
    // Not a third time; and everybody else is served.
    good.reads();
    assert!(fixture.survives());
    assert_eq!((bad.served(), good.served()), (0, 2));
    // After the pause it is tried again.
    fixture.later(9_000_000);
    assert!(fixture.survives());
    fixture
        .machine
        .pause(fixture.machine.now().plus_micros(2_000_000));
    assert!(!fixture.appliance.keep_house(&mut fixture.machine));
    assert!(!fixture.survives());
    assert_eq!((fixture.deaths(0), fixture.deaths(1)), (3, 0));
    fixture.later(11_000_000);
    assert!(fixture.survives(), "the pause is twice as long");
}

#[test]
fn its_requests_are_neither_lost_nor_done_twice() {
    let (mut fixture, [mut bad, _]) = fixture();
    bad.kills();
    bad.reads();
    for _ in 0..2 {
        assert!(!fixture.survives());
    }
    bad.reads();
    assert!(fixture.survives());
    assert_eq!(bad.served(), 0);
    // Whatever it was is mended, and the daemon asks.
    fixture.lives_on(true);
    fixture.retry(EXPORT as u32);
    assert!(fixture.survives());
    assert_eq!(bad.served(), 3);
    assert_eq!(fixture.conditions(), [const { Ok(()) }; 5]);
}

#[test]
fn an_appliance_that_is_killed_while_it_serves_somebody_is_not_his_fault() {
    let (mut fixture, [mut guest, _]) = fixture();
    for _ in 0..3 {
        guest.reads();
        assert!(fixture.survives());
        assert_eq!(guest.served(), 1);
        fixture.lives_on(false);
    }
    assert_eq!((fixture.deaths(0), fixture.deaths(1)), (0, 0));
}

#[test]
fn a_death_in_which_nobody_was_served_is_nobodys() {
    let (mut fixture, [mut guest, _]) = fixture();
    guest.reads();
    assert!(fixture.survives());
    fixture.later(0);
    let (note, _) = Note::open(&fixture.control).unwrap();
    note.death().store(1);
    fixture.lives_on(false);
    fixture.lives_on(false);
    assert_eq!((fixture.deaths(0), fixture.deaths(1)), (0, 0));
    assert_eq!(guest.served(), 1);
}
