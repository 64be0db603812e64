//! The driver against a disk of software, from bring-up to a broken ring.

use std::collections::HashSet;
use std::vec::Vec;

use channel::ChannelSubsystem;
use proptest::prelude::*;
use window::{ClientAddress, Window};

use super::super::block::{BlockStatus, SECTOR};
use super::super::fake::{Behaviour, Disk, Machine, Model, Virtio};
use super::*;

/// A machine with a disk of 512 sectors, its driver, and storage for data.
struct Scene {
    machine: Machine,
    id: SubchannelId,
    disk: VirtioBlk,
    data: Window,
}

fn scene() -> Scene {
    scene_with(|_| {}, Settings::default())
}

fn scene_with(change: impl FnOnce(&mut Virtio), settings: Settings) -> Scene {
    let mut virtio = Virtio::new(Model::Disk(Disk::new(512)), 4);
    change(&mut virtio);
    let (mut machine, id) = Machine::with(virtio);
    let disk = VirtioBlk::open(&mut machine, id, settings, MAX_QUEUES).unwrap();
    let data = machine.storage(128).unwrap();
    Scene {
        machine,
        id,
        disk,
        data,
    }
}

impl Scene {
    fn fake(&mut self) -> &mut Disk {
        self.machine.subchannel(self.id).virtio.disk()
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
    let scene = scene();
    let geometry = scene.disk.geometry();
    assert_eq!((geometry.sectors, geometry.block_size), (512, 4096));
    assert_eq!(
        (geometry.queues, geometry.queue_size, geometry.seg_max),
        (4, 128, SEGMENTS)
    );
    assert_eq!(geometry.size_max, u32::MAX);
    assert!(geometry.flush && !geometry.read_only);
    assert_eq!(geometry.discard.unwrap().max_segments, 4);
    assert!(geometry.write_zeroes.unwrap().may_unmap);
    assert!(!Features::from(scene.disk.features()).contains(Features::CONFIG_WCE));
}

#[test]
fn data_goes_to_the_disk_and_comes_back() {
    let mut scene = scene();
    let bytes: Vec<u8> = (0..4096).map(|n| n as u8 ^ (n >> 8) as u8).collect();
    scene
        .data
        .write_bytes(ClientAddress::new(0), &bytes)
        .unwrap();
    let out = [scene.segment(0, 512), scene.segment(512, 3584)];
    assert_eq!(
        scene.run(Operation::Write { sector: 8 }, &out, &[]),
        BlockStatus::Ok
    );
    assert_eq!(scene.fake().content[4096..8192], bytes);
    let into: Vec<_> = (0..8).map(|n| scene.segment(8192 + n * 512, 512)).collect();
    assert_eq!(
        scene.run(Operation::Read { sector: 8 }, &into, &[]),
        BlockStatus::Ok
    );
    let mut back = vec![0; 4096];
    scene
        .data
        .read_bytes(ClientAddress::new(8192), &mut back)
        .unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn every_other_request_does_what_it_says() {
    let mut scene = scene();
    scene.fake().content.fill(0xAA);
    assert_eq!(scene.run(Operation::Flush, &[], &[]), BlockStatus::Ok);
    assert_eq!(scene.fake().flushes, 1);
    let range = |sector, sectors| Range {
        sector,
        sectors,
        unmap: true,
    };
    let ranges = [range(8, 16), range(64, 8)];
    assert_eq!(scene.run(Operation::Discard, &[], &ranges), BlockStatus::Ok);
    assert_eq!(scene.fake().discarded, [(8, 16), (64, 8)]);
    assert_eq!(
        scene.run(Operation::WriteZeroes, &[], &[range(1, 1)]),
        BlockStatus::Ok
    );
    assert_eq!(scene.fake().content[511..1025], {
        let mut bytes = [0; 514];
        bytes[0] = 0xAA;
        bytes[513] = 0xAA;
        bytes
    });
    let name = [scene.segment(0, 20)];
    assert_eq!(scene.run(Operation::GetId, &name, &[]), BlockStatus::Ok);
    assert_eq!(
        scene.data.read::<[u8; 5]>(ClientAddress::new(0)),
        Ok(*b"FAKE\0")
    );
}

#[test]
fn a_request_past_the_end_fails_alone() {
    let mut scene = scene();
    let into = [scene.segment(0, 512)];
    assert_eq!(
        scene.run(Operation::Read { sector: 512 }, &into, &[]),
        BlockStatus::IoError
    );
    assert_eq!(
        scene.run(Operation::Read { sector: 511 }, &into, &[]),
        BlockStatus::Ok
    );
    assert!(!scene.disk.is_broken());
}

#[test]
fn what_exceeds_the_limits_does_not_reach_the_device() {
    let mut scene = scene();
    let one = scene.segment(0, 512);
    let segments = [one; SEGMENTS as usize + 1];
    let read = Operation::Read { sector: 0 };
    let refused = scene.disk.submit(0, read, &segments, &[], Token(0));
    assert_eq!(refused, Err(SubmitError::TooLarge));
    assert_eq!(scene.run(read, &segments[1..], &[]), BlockStatus::Ok);
    let range = Range {
        sector: 0,
        sectors: 1001,
        unmap: false,
    };
    for ranges in [&[range][..], &[]] {
        let refused = scene
            .disk
            .submit(0, Operation::Discard, &[], ranges, Token(0));
        assert_eq!(refused, Err(SubmitError::TooLarge));
    }
    assert_eq!(scene.submit(4, read, 0), Err(SubmitError::Unsupported));
    assert_eq!(scene.disk.in_flight(), 0);
}

#[test]
fn without_indirect_descriptors_requests_are_shorter() {
    let offers = |virtio: &mut Virtio| virtio.offered -= virtio::Features::RING_INDIRECT_DESC;
    let mut scene = scene_with(offers, Settings::default());
    let most = scene.disk.geometry().seg_max;
    assert!(most < SEGMENTS);
    scene.fake().content[..512].fill(0x5A);
    let into: Vec<_> = (0..most)
        .map(|n| scene.segment(u64::from(n) * 512, 512))
        .collect();
    assert_eq!(
        scene.run(Operation::Read { sector: 0 }, &into, &[]),
        BlockStatus::Ok
    );
    assert_eq!(scene.fake().longest, usize::from(most) + 2);
    assert_eq!(scene.data.read::<u8>(ClientAddress::new(511)), Ok(0x5A));
    let mut accepted = 0;
    while scene
        .disk
        .submit(0, Operation::Read { sector: 0 }, &into, &[], Token(0))
        .is_ok()
    {
        accepted += 1;
    }
    assert_eq!(accepted, 128 / (u32::from(most) + 2));
    scene.disk.kick(&mut scene.machine);
    assert_eq!(scene.drain().len() as u32, accepted);
}

#[test]
fn all_queues_fill_up_and_each_request_comes_back_once() {
    let mut scene = scene();
    scene.fake().behaviour = Behaviour::Reverse;
    let mut tokens = HashSet::new();
    for queue in 0..4 {
        for _ in 0..QUEUE_SIZE {
            let token = tokens.len() as u32;
            let sector = u64::from(token);
            scene
                .submit(queue, Operation::Write { sector }, token)
                .unwrap();
            tokens.insert(Token(token));
        }
        let full = scene.submit(queue, Operation::Flush, 9999);
        assert_eq!(full, Err(SubmitError::Full));
    }
    assert_eq!((scene.disk.in_flight(), scene.disk.poll()), (512, None));
    scene.disk.kick(&mut scene.machine);
    for done in scene.drain() {
        assert_eq!(done.status, BlockStatus::Ok);
        assert!(tokens.remove(&done.token));
    }
    assert!(tokens.is_empty());
    assert_eq!(scene.disk.in_flight(), 0);
}

#[test]
fn a_batch_costs_one_notification_for_each_queue() {
    let mut scene = scene();
    for token in 0..10 {
        scene
            .submit(token as u16 % 2, Operation::Flush, token)
            .unwrap();
    }
    scene.disk.kick(&mut scene.machine);
    scene.disk.kick(&mut scene.machine);
    let virtio = &scene.machine.subchannel(scene.id).virtio;
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
        let mut scene = scene_with(|_| {}, settings);
        scene.fake().behaviour = Behaviour::Hold;
        scene.submit(2, Operation::Flush, 1).unwrap();
        scene.disk.kick(&mut scene.machine);
        assert!(!scene.disk.interrupts(true), "nothing is done yet");
        scene.fake().behaviour = Behaviour::Serve;
        scene.machine.work(scene.id);
        let interruption = scene
            .machine
            .pending_interruption()
            .expect("an interruption");
        let ours = scene.disk.interruption(&mut scene.machine, &interruption);
        assert_eq!(ours, !adapter);
        assert!(scene.disk.interrupts(true), "work is there");
        assert_eq!(scene.drain().len(), 1);
        assert!(!scene.disk.interrupts(true));
    }
}

#[test]
fn a_polled_disk_does_not_interrupt() {
    let mut scene = scene();
    scene.disk.interrupts(false);
    for token in 0..100 {
        scene.submit(0, Operation::Flush, token).unwrap();
        scene.disk.kick(&mut scene.machine);
        assert_eq!(scene.drain().len(), 1);
    }
    assert!(scene.machine.pending.is_empty());
}

#[test]
fn a_ring_that_makes_no_sense_ends_all_requests_once_and_only_after_a_reset() {
    let mut scene = scene();
    scene.fake().behaviour = Behaviour::Hold;
    for token in 0..20 {
        scene
            .submit(token as u16 % 4, Operation::Read { sector: 0 }, token)
            .unwrap();
    }
    scene.disk.kick(&mut scene.machine);
    scene.fake().behaviour = Behaviour::WrongHead;
    scene.machine.work(scene.id);
    let resets = scene.fake().resets;
    assert_eq!(scene.drain(), []);
    assert!(!scene.disk.is_broken(), "it is not reset yet");
    assert!(
        scene.disk.interrupts(true),
        "there is something to do: a reset"
    );
    assert_eq!(
        scene.submit(0, Operation::Flush, 0),
        Err(SubmitError::Broken)
    );
    scene.disk.kick(&mut scene.machine);
    assert!(scene.disk.is_broken());
    assert_eq!(scene.fake().resets, resets + 1);
    let done = scene.drain();
    assert!(done.iter().all(|done| done.status == BlockStatus::IoError));
    let tokens: HashSet<_> = done.iter().map(|done| done.token).collect();
    assert_eq!((done.len(), tokens.len()), (20, 20));
    assert_eq!(
        (scene.disk.in_flight(), scene.disk.interrupts(true)),
        (0, false)
    );
}

#[test]
fn a_device_that_goes_away_ends_its_requests() {
    let mut scene = scene();
    scene.fake().behaviour = Behaviour::Hold;
    scene.submit(0, Operation::Flush, 3).unwrap();
    scene.machine.subchannel(scene.id).mishaps.gone = true;
    scene.disk.kick(&mut scene.machine);
    scene.disk.kick(&mut scene.machine);
    let done = Done {
        token: Token(3),
        status: BlockStatus::IoError,
    };
    assert_eq!(scene.drain(), [done]);
}

#[test]
fn a_report_about_the_subchannel_finds_a_device_that_has_gone() {
    let mut scene = scene();
    scene.fake().behaviour = Behaviour::Hold;
    scene.submit(0, Operation::Flush, 3).unwrap();
    scene.disk.kick(&mut scene.machine);
    scene.disk.recheck(&mut scene.machine);
    assert!(!scene.disk.is_broken());
    scene.machine.subchannel(scene.id).mishaps.gone = true;
    scene.disk.recheck(&mut scene.machine);
    scene.disk.kick(&mut scene.machine);
    assert_eq!(scene.drain().len(), 1);
}

#[test]
fn no_status_and_too_much_written_are_errors_of_one_request() {
    for behaviour in [Behaviour::Silent, Behaviour::TooLong] {
        let mut scene = scene();
        scene.fake().behaviour = behaviour;
        let into = [scene.segment(0, 512)];
        let read = Operation::Read { sector: 0 };
        assert_eq!(scene.run(read, &into, &[]), BlockStatus::IoError);
        scene.fake().behaviour = Behaviour::Serve;
        assert_eq!(scene.run(read, &into, &[]), BlockStatus::Ok);
    }
}

#[test]
fn a_disk_that_grows_is_seen_to() {
    let mut scene = scene();
    scene.fake().content.resize(1024 * SECTOR as usize, 0);
    scene.machine.change_configuration(scene.id);
    let interruption = scene.machine.pending_interruption().unwrap();
    assert!(scene.disk.interruption(&mut scene.machine, &interruption));
    assert_eq!(scene.disk.geometry().sectors, 1024);
}

#[test]
fn a_plea_for_a_reset_is_heard() {
    let mut scene = scene();
    scene.fake().behaviour = Behaviour::Hold;
    scene.submit(1, Operation::Flush, 5).unwrap();
    scene.disk.kick(&mut scene.machine);
    let status = &mut scene.machine.subchannel(scene.id).virtio.status;
    *status |= virtio::Status::DEVICE_NEEDS_RESET;
    scene.machine.change_configuration(scene.id);
    let interruption = scene.machine.pending_interruption().unwrap();
    assert!(scene.disk.interruption(&mut scene.machine, &interruption));
    scene.disk.kick(&mut scene.machine);
    assert_eq!(scene.drain().len(), 1);
}

#[test]
fn a_read_only_disk_says_so() {
    let read_only = |virtio: &mut Virtio| {
        virtio.disk().read_only = true;
        virtio.offered |= Features::RO.into();
    };
    let mut scene = scene_with(read_only, Settings::default());
    assert!(scene.disk.geometry().read_only);
    let out = [scene.segment(0, 512)];
    assert_eq!(
        scene.run(Operation::Write { sector: 0 }, &out, &[]),
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
        let mut scene = scene();
        let mut expected = [0_u8; 64];
        let mut flying: Vec<(u32, u64, Option<u8>)> = Vec::new();
        for (step, token) in steps.into_iter().zip(0_u32..) {
            match step {
                Step::Write { sector, .. } | Step::Read { sector, .. }
                    if flying.iter().any(|(_, other, _)| *other == sector) => {}
                Step::Write { queue, sector, byte } => {
                    let place = ClientAddress::new(u64::from(token) * 512);
                    scene.data.fill(place, 512, byte).unwrap();
                    scene.submit(queue, Operation::Write { sector }, token).unwrap();
                    expected[sector as usize] = byte;
                    flying.push((token, sector, None));
                }
                Step::Read { queue, sector } => {
                    scene.submit(queue, Operation::Read { sector }, token).unwrap();
                    flying.push((token, sector, Some(expected[sector as usize])));
                }
                Step::Kick => scene.disk.kick(&mut scene.machine),
                Step::Poll => check(&mut scene, &mut flying)?,
            }
            prop_assert_eq!(scene.disk.in_flight() as usize, flying.len());
        }
        scene.disk.kick(&mut scene.machine);
        while !flying.is_empty() {
            check(&mut scene, &mut flying)?;
        }
    }
}

fn check(scene: &mut Scene, flying: &mut Vec<(u32, u64, Option<u8>)>) -> Result<(), TestCaseError> {
    if let Some(done) = scene.disk.poll() {
        prop_assert_eq!(done.status, BlockStatus::Ok);
        let index = flying.iter().position(|(token, ..)| *token == done.token.0);
        prop_assert!(index.is_some());
        let (token, _, byte) = flying.swap_remove(index.unwrap());
        if let Some(byte) = byte {
            let place = ClientAddress::new(u64::from(token) * 512);
            prop_assert_eq!(scene.data.read::<[u8; 512]>(place), Ok([byte; 512]));
        }
    }
    Ok(())
}
