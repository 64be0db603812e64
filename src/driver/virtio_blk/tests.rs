//! The driver against a disk of software, from bring-up to a broken ring.

use std::cell::RefMut;
use std::collections::HashSet;
use std::vec::Vec;

use channel::ChannelSubsystem;
use proptest::prelude::*;
use window::{ClientAddress, Window};

use super::super::block::{BlockStatus, SECTOR};
use super::*;
use crate::testing::{Behaviour, Disk, Machine, Model, Virtio};

/// A machine with a disk of 512 sectors, its driver, and storage for data.
struct Fixture {
    machine: Machine,
    id: SubchannelId,
    disk: VirtioBlk,
    data: Window,
}

fn fixture() -> Fixture {
    scene_with(|_| {}, Settings::default())
}

fn scene_with(change: impl FnOnce(&mut Virtio), settings: Settings) -> Fixture {
    let mut virtio = Virtio::new(Model::Disk(Disk::new(512)), 4);
    change(&mut virtio);
    let (mut machine, id) = Machine::with(virtio);
    let disk = VirtioBlk::open(&mut machine, id, settings, MAX_QUEUES).unwrap();
    let data = machine.storage(128).unwrap();
    Fixture {
        machine,
        id,
        disk,
        data,
    }
}

impl Fixture {
    fn fake(&mut self) -> RefMut<'_, Disk> {
        RefMut::map(self.machine.subchannel(self.id).virtio(), Virtio::disk)
    }

    fn segment(&self, offset: u64, len: u32) -> Segment {
        self.data
            .translate(ClientAddress::new(offset), len)
            .unwrap()
    }

    fn submit(&mut self, queue: u16, operation: Operation, token: u32) -> Result<(), SubmitError> {
        let segments = match operation {
            Operation::Read { .. } | Operation::Write { .. } => {
                vec![self.segment(u64::from(token) * 512, 512)]
            }
            _ => vec![],
        };
        self.disk
            .submit(queue, operation, &segments, &[], Token(token))
    }

    /// One request, alone, to its end.
    fn run(&mut self, operation: Operation, segments: &[Segment], ranges: &[Range]) -> BlockStatus {
        self.disk
            .submit(0, operation, segments, ranges, Token(7))
            .unwrap();
        self.disk.kick(&mut self.machine);
        let done = self.disk.poll().expect("a completion");
        assert_eq!(done.token, Token(7));
        assert_eq!((self.disk.poll(), self.disk.in_flight()), (None, 0));
        done.status
    }

    fn drain(&mut self) -> Vec<Done> {
        std::iter::from_fn(|| self.disk.poll()).collect()
    }
}

#[test]
fn the_geometry_is_the_device_s_within_the_driver_s_limits() {
    let mut fixture = fixture();
    let accepted = fixture.machine.subchannel(fixture.id).virtio().accepted;
    let geometry = fixture.disk.geometry();
    assert_eq!((geometry.sectors, geometry.block_size), (512, 4096));
    assert_eq!(
        (geometry.queues, geometry.queue_size, geometry.seg_max),
        (4, 128, SEGMENTS)
    );
    assert_eq!(geometry.size_max, u32::MAX);
    assert!(geometry.flush && !geometry.read_only);
    assert_eq!(geometry.discard.unwrap().max_segments, 4);
    assert!(geometry.write_zeroes.unwrap().may_unmap);
    assert!(!Features::from(accepted).contains(Features::CONFIG_WCE));
}

#[test]
fn data_goes_to_the_disk_and_comes_back() {
    let mut fixture = fixture();
    let bytes: Vec<u8> = (0..4096).map(|n| n as u8 ^ (n >> 8) as u8).collect();
    fixture
        .data
        .write_bytes(ClientAddress::new(0), &bytes)
        .unwrap();
    let out = [fixture.segment(0, 512), fixture.segment(512, 3584)];
    assert_eq!(
        fixture.run(Operation::Write { sector: 8 }, &out, &[]),
        BlockStatus::Ok
    );
    assert_eq!(fixture.fake().content[4096..8192], bytes);
    let into: Vec<_> = (0..8)
        .map(|n| fixture.segment(8192 + n * 512, 512))
        .collect();
    assert_eq!(
        fixture.run(Operation::Read { sector: 8 }, &into, &[]),
        BlockStatus::Ok
    );
    let mut back = vec![0; 4096];
    fixture
        .data
        .read_bytes(ClientAddress::new(8192), &mut back)
        .unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn every_other_request_does_what_it_says() {
    let mut fixture = fixture();
    fixture.fake().content.fill(0xAA);
    assert_eq!(fixture.run(Operation::Flush, &[], &[]), BlockStatus::Ok);
    assert_eq!(fixture.fake().flushes, 1);
    let range = |sector, sectors| Range {
        sector,
        sectors,
        unmap: true,
    };
    let ranges = [range(8, 16), range(64, 8)];
    assert_eq!(
        fixture.run(Operation::Discard, &[], &ranges),
        BlockStatus::Ok
    );
    assert_eq!(fixture.fake().discarded, [(8, 16), (64, 8)]);
    assert_eq!(
        fixture.run(Operation::WriteZeroes, &[], &[range(1, 1)]),
        BlockStatus::Ok
    );
    assert_eq!(fixture.fake().content[511..1025], {
        let mut bytes = [0; 514];
        bytes[0] = 0xAA;
        bytes[513] = 0xAA;
        bytes
    });
    let name = [fixture.segment(0, 20)];
    assert_eq!(fixture.run(Operation::GetId, &name, &[]), BlockStatus::Ok);
    assert_eq!(
        fixture.data.read::<[u8; 5]>(ClientAddress::new(0)),
        Ok(*b"FAKE\0")
    );
}

#[test]
fn a_request_past_the_end_fails_alone() {
    let mut fixture = fixture();
    let into = [fixture.segment(0, 512)];
    assert_eq!(
        fixture.run(Operation::Read { sector: 512 }, &into, &[]),
        BlockStatus::IoError
    );
    assert_eq!(
        fixture.run(Operation::Read { sector: 511 }, &into, &[]),
        BlockStatus::Ok
    );
    assert!(!fixture.disk.is_broken());
}

#[test]
fn what_exceeds_the_limits_does_not_reach_the_device() {
    let mut fixture = fixture();
    let one = fixture.segment(0, 512);
    let segments = [one; SEGMENTS as usize + 1];
    let read = Operation::Read { sector: 0 };
    let refused = fixture.disk.submit(0, read, &segments, &[], Token(0));
    assert_eq!(refused, Err(SubmitError::TooLarge));
    assert_eq!(fixture.run(read, &segments[1..], &[]), BlockStatus::Ok);
    let range = Range {
        sector: 0,
        sectors: 1001,
        unmap: false,
    };
    for ranges in [&[range][..], &[]] {
        let refused = fixture
            .disk
            .submit(0, Operation::Discard, &[], ranges, Token(0));
        assert_eq!(refused, Err(SubmitError::TooLarge));
    }
    assert_eq!(fixture.submit(4, read, 0), Err(SubmitError::Unsupported));
    assert_eq!(fixture.disk.in_flight(), 0);
}

#[test]
fn without_indirect_descriptors_requests_are_shorter() {
    let offers = |virtio: &mut Virtio| virtio.offered -= virtio::Features::RING_INDIRECT_DESC;
    let mut fixture = scene_with(offers, Settings::default());
    let most = fixture.disk.geometry().seg_max;
    assert!(most < SEGMENTS);
    fixture.fake().content[..512].fill(0x5A);
    let into: Vec<_> = (0..most)
        .map(|n| fixture.segment(u64::from(n) * 512, 512))
        .collect();
    assert_eq!(
        fixture.run(Operation::Read { sector: 0 }, &into, &[]),
        BlockStatus::Ok
    );
    assert_eq!(fixture.fake().longest, usize::from(most) + 2);
    assert_eq!(fixture.data.read::<u8>(ClientAddress::new(511)), Ok(0x5A));
    let mut accepted = 0;
    while fixture
        .disk
        .submit(0, Operation::Read { sector: 0 }, &into, &[], Token(0))
        .is_ok()
    {
        accepted += 1;
    }
    assert_eq!(accepted, 128 / (u32::from(most) + 2));
    fixture.disk.kick(&mut fixture.machine);
    assert_eq!(fixture.drain().len() as u32, accepted);
}

#[test]
fn all_queues_fill_up_and_each_request_comes_back_once() {
    let mut fixture = fixture();
    fixture.fake().behaviour = Behaviour::Reverse;
    let mut tokens = HashSet::new();
    for queue in 0..4 {
        for _ in 0..QUEUE_SIZE {
            let token = tokens.len() as u32;
            let sector = u64::from(token);
            fixture
                .submit(queue, Operation::Write { sector }, token)
                .unwrap();
            tokens.insert(Token(token));
        }
        let full = fixture.submit(queue, Operation::Flush, 9999);
        assert_eq!(full, Err(SubmitError::Full));
    }
    assert_eq!((fixture.disk.in_flight(), fixture.disk.poll()), (512, None));
    fixture.disk.kick(&mut fixture.machine);
    for done in fixture.drain() {
        assert_eq!(done.status, BlockStatus::Ok);
        assert!(tokens.remove(&done.token));
    }
    assert!(tokens.is_empty());
    assert_eq!(fixture.disk.in_flight(), 0);
}

#[test]
fn a_batch_costs_one_notification_for_each_queue() {
    let mut fixture = fixture();
    for token in 0..10 {
        fixture
            .submit(token as u16 % 2, Operation::Flush, token)
            .unwrap();
    }
    fixture.disk.kick(&mut fixture.machine);
    fixture.disk.kick(&mut fixture.machine);
    let virtio = &fixture.machine.subchannel(fixture.id).virtio();
    let told: Vec<_> = (0..4).map(|queue| virtio.notifications(queue)).collect();
    assert_eq!(told, [1, 1, 0, 0]);
}

#[test]
fn interruptions_come_when_wanted_and_work_is_never_slept_over() {
    for adapter in [true, false] {
        let settings = Settings {
            adapter,
            ..Settings::default()
        };
        let mut fixture = scene_with(|_| {}, settings);
        fixture.fake().behaviour = Behaviour::Hold;
        fixture.submit(2, Operation::Flush, 1).unwrap();
        fixture.disk.kick(&mut fixture.machine);
        assert!(!fixture.disk.arm(), "nothing is done yet");
        fixture.fake().behaviour = Behaviour::Serve;
        fixture.machine.work(fixture.id);
        let interruption = fixture
            .machine
            .pending_interruption()
            .expect("an interruption");
        let ours = fixture
            .disk
            .interruption(&mut fixture.machine, &interruption);
        assert_eq!(ours, !adapter);
        assert!(fixture.disk.arm(), "work is there");
        assert_eq!(fixture.drain().len(), 1);
        assert!(!fixture.disk.arm());
    }
}

#[test]
fn a_polled_disk_does_not_interrupt() {
    let mut fixture = fixture();
    fixture.disk.disarm();
    for token in 0..100 {
        fixture.submit(0, Operation::Flush, token).unwrap();
        fixture.disk.kick(&mut fixture.machine);
        assert_eq!(fixture.drain().len(), 1);
    }
    assert!(fixture.machine.pending_interruption().is_none());
}

#[test]
fn a_ring_that_makes_no_sense_ends_all_requests_once_and_only_after_a_reset() {
    let mut fixture = fixture();
    fixture.fake().behaviour = Behaviour::Hold;
    for token in 0..20 {
        fixture
            .submit(token as u16 % 4, Operation::Read { sector: 0 }, token)
            .unwrap();
    }
    fixture.disk.kick(&mut fixture.machine);
    fixture.fake().behaviour = Behaviour::WrongHead;
    fixture.machine.work(fixture.id);
    let resets = fixture.fake().resets;
    assert_eq!(fixture.drain(), []);
    assert!(!fixture.disk.is_broken(), "it is not reset yet");
    assert!(fixture.disk.arm(), "there is something to do: a reset");
    assert_eq!(
        fixture.submit(0, Operation::Flush, 0),
        Err(SubmitError::Broken)
    );
    fixture.disk.kick(&mut fixture.machine);
    assert!(fixture.disk.is_broken());
    assert_eq!(fixture.fake().resets, resets + 1);
    let done = fixture.drain();
    assert!(done.iter().all(|done| done.status == BlockStatus::IoError));
    let tokens: HashSet<_> = done.iter().map(|done| done.token).collect();
    assert_eq!((done.len(), tokens.len()), (20, 20));
    assert_eq!((fixture.disk.in_flight(), fixture.disk.arm()), (0, false));
}

#[test]
fn a_device_that_goes_away_ends_its_requests() {
    let mut fixture = fixture();
    fixture.fake().behaviour = Behaviour::Hold;
    fixture.submit(0, Operation::Flush, 3).unwrap();
    fixture.machine.subchannel(fixture.id).mishaps.gone = true;
    fixture.disk.kick(&mut fixture.machine);
    fixture.disk.kick(&mut fixture.machine);
    let done = Done {
        token: Token(3),
        status: BlockStatus::IoError,
    };
    assert_eq!(fixture.drain(), [done]);
}

#[test]
fn a_report_about_the_subchannel_finds_a_device_that_has_gone() {
    let mut fixture = fixture();
    fixture.fake().behaviour = Behaviour::Hold;
    fixture.submit(0, Operation::Flush, 3).unwrap();
    fixture.disk.kick(&mut fixture.machine);
    fixture.disk.recheck(&mut fixture.machine);
    assert!(!fixture.disk.is_broken());
    fixture.machine.subchannel(fixture.id).mishaps.gone = true;
    fixture.disk.recheck(&mut fixture.machine);
    fixture.disk.kick(&mut fixture.machine);
    assert_eq!(fixture.drain().len(), 1);
}

#[test]
fn no_status_and_too_much_written_are_errors_of_one_request() {
    for behaviour in [Behaviour::Silent, Behaviour::TooLong] {
        let mut fixture = fixture();
        fixture.fake().behaviour = behaviour;
        let into = [fixture.segment(0, 512)];
        let read = Operation::Read { sector: 0 };
        assert_eq!(fixture.run(read, &into, &[]), BlockStatus::IoError);
        fixture.fake().behaviour = Behaviour::Serve;
        assert_eq!(fixture.run(read, &into, &[]), BlockStatus::Ok);
    }
}

#[test]
fn a_disk_that_grows_is_seen_to() {
    let mut fixture = fixture();
    fixture.fake().content.resize(1024 * SECTOR as usize, 0);
    fixture.machine.change_configuration(fixture.id);
    let interruption = fixture.machine.pending_interruption().unwrap();
    assert!(fixture
        .disk
        .interruption(&mut fixture.machine, &interruption));
    assert_eq!(fixture.disk.geometry().sectors, 1024);
}

#[test]
fn a_plea_for_a_reset_is_heard() {
    let mut fixture = fixture();
    fixture.fake().behaviour = Behaviour::Hold;
    fixture.submit(1, Operation::Flush, 5).unwrap();
    fixture.disk.kick(&mut fixture.machine);
    let needs_reset = virtio::Status::DEVICE_NEEDS_RESET;
    fixture.machine.subchannel(fixture.id).virtio().status |= needs_reset;
    fixture.machine.change_configuration(fixture.id);
    let interruption = fixture.machine.pending_interruption().unwrap();
    assert!(fixture
        .disk
        .interruption(&mut fixture.machine, &interruption));
    fixture.disk.kick(&mut fixture.machine);
    assert_eq!(fixture.drain().len(), 1);
}

#[test]
fn a_read_only_disk_says_so() {
    let read_only = |virtio: &mut Virtio| {
        virtio.disk().read_only = true;
        virtio.offered |= Features::RO.into();
    };
    let mut fixture = scene_with(read_only, Settings::default());
    assert!(fixture.disk.geometry().read_only);
    let out = [fixture.segment(0, 512)];
    assert_eq!(
        fixture.run(Operation::Write { sector: 0 }, &out, &[]),
        BlockStatus::IoError
    );
}

#[derive(Clone, Debug)]
enum Step {
    Write { queue: u16, sector: u64, byte: u8 },
    Read { queue: u16, sector: u64 },
    Kick,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u16, 0..64u64, any::<u8>()).prop_map(|(queue, sector, byte)| Step::Write {
            queue,
            sector,
            byte
        }),
        (0..4u16, 0..64u64).prop_map(|(queue, sector)| Step::Read { queue, sector }),
        Just(Step::Kick),
        Just(Step::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order of calls: tokens come back once, and a sector that nothing else is in
    /// flight for reads as it was last written.
    #[test]
    fn any_order_of_calls_keeps_the_books(steps in prop::collection::vec(step(), 1..200)) {
        let mut fixture = fixture();
        let mut expected = [0_u8; 64];
        let mut flying: Vec<(u32, u64, Option<u8>)> = Vec::new();
        for (step, token) in steps.into_iter().zip(0_u32..) {
            match step {
                Step::Write { sector, .. } | Step::Read { sector, .. }
                    if flying.iter().any(|(_, other, _)| *other == sector) => {}
                Step::Write { queue, sector, byte } => {
                    let place = ClientAddress::new(u64::from(token) * 512);
                    fixture.data.fill(place, 512, byte).unwrap();
                    fixture.submit(queue, Operation::Write { sector }, token).unwrap();
                    expected[sector as usize] = byte;
                    flying.push((token, sector, None));
                }
                Step::Read { queue, sector } => {
                    fixture.submit(queue, Operation::Read { sector }, token).unwrap();
                    flying.push((token, sector, Some(expected[sector as usize])));
                }
                Step::Kick => fixture.disk.kick(&mut fixture.machine),
                Step::Poll => check(&mut fixture, &mut flying)?,
            }
            prop_assert_eq!(fixture.disk.in_flight() as usize, flying.len());
        }
        fixture.disk.kick(&mut fixture.machine);
        while !flying.is_empty() {
            check(&mut fixture, &mut flying)?;
        }
    }
}

fn check(
    fixture: &mut Fixture,
    flying: &mut Vec<(u32, u64, Option<u8>)>,
) -> Result<(), TestCaseError> {
    if let Some(done) = fixture.disk.poll() {
        prop_assert_eq!(done.status, BlockStatus::Ok);
        let index = flying.iter().position(|(token, ..)| *token == done.token.0);
        prop_assert!(index.is_some());
        let (token, _, byte) = flying.swap_remove(index.unwrap());
        if let Some(byte) = byte {
            let place = ClientAddress::new(u64::from(token) * 512);
            prop_assert_eq!(fixture.data.read::<[u8; 512]>(place), Ok([byte; 512]));
        }
    }
    Ok(())
}
