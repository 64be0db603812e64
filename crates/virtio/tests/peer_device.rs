//! Our device side by side with that of rust-vmm's `virtio-queue`, on one and the same ring.
//!
//! Both read the same descriptor table and available ring, written by the peer's mock driver; each
//! has a used ring of its own. Whatever the driver does, both must take the same chains, write the
//! same used entries and come to the same verdict on each notification.

mod common;

use common::{chains, memory, options, window, Device, Own, Peer, Plain, MEMORY};
use proptest::prelude::*;
use virtio::ring::device::{PopError, Position};
use virtio::ring::{Descriptor, Options, QueueLayout};
use virtio_queue::desc::{split, RawDescriptor};
use virtio_queue::mock::{AvailRing, DescriptorTable};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use window::ClientAddress;

const SIZE: u16 = 16;
const DRIVER: u64 = 0x1000;
const OUR_DEVICE: u64 = 0x2000;
const PEER_DEVICE: u64 = 0x3000;
const TABLES: u64 = 0x4000;
/// Index and elements: the used ring without flags and event.
const USED: usize = 2 + 8 * SIZE as usize;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn layout(device: u64) -> QueueLayout {
    QueueLayout {
        size: SIZE,
        descriptors: ClientAddress::new(0),
        driver: ClientAddress::new(DRIVER),
        device: ClientAddress::new(device),
    }
}

/// Where the descriptors of a chain are.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Direct,
    Indirect,
    /// The first directly, the rest in a table.
    Mixed,
}

#[derive(Clone, Debug)]
enum Step {
    Offer(Plain, Shape),
    Pop,
    GiveBack(usize, u32),
    UsedEvent(u16),
    NeedsNotification,
    Enable,
    Disable,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let shape = prop_oneof![
        Just(Shape::Direct),
        Just(Shape::Indirect),
        Just(Shape::Mixed)
    ];
    let step = prop_oneof![
        6 => (chains(), shape).prop_map(|(chain, shape)| Step::Offer(chain, shape)),
        6 => Just(Step::Pop),
        6 => (any::<usize>(), any::<u32>()).prop_map(|(which, len)| Step::GiveBack(which, len)),
        2 => (0u16..20).prop_map(Step::UsedEvent),
        3 => Just(Step::NeedsNotification),
        1 => Just(Step::Enable),
        1 => Just(Step::Disable),
    ];
    proptest::collection::vec(step, 1..150)
}

/// A driver made of the peer's mock pieces.
struct Driver {
    memory: &'static GuestMemoryMmap,
    table: DescriptorTable<'static, GuestMemoryMmap>,
    avail: AvailRing<'static, GuestMemoryMmap>,
    avail_idx: u16,
    free: Vec<u16>,
}

fn raw((address, len, writable): (u64, u32, bool), next: Option<u16>) -> RawDescriptor {
    let flags = if writable { WRITE } else { 0 } | if next.is_some() { NEXT } else { 0 };
    split::Descriptor::new(address, len, flags, next.unwrap_or(0)).into()
}

impl Driver {
    fn new(memory: &'static GuestMemoryMmap, start: u16) -> Self {
        let table = DescriptorTable::new(memory, GuestAddress(0), SIZE);
        let avail = AvailRing::new(memory, GuestAddress(DRIVER), SIZE);
        avail.idx().store(start.to_le());
        for device in [OUR_DEVICE, PEER_DEVICE] {
            memory
                .write_obj(start.to_le(), GuestAddress(device + 2))
                .unwrap();
        }
        Self {
            memory,
            table,
            avail,
            avail_idx: start,
            free: (0..SIZE).collect(),
        }
    }

    /// Makes `chain` available and says which descriptors it takes, the head first.
    fn offer(&mut self, chain: &Plain, shape: Shape) -> Option<Vec<u16>> {
        let direct = match shape {
            Shape::Direct => chain.len(),
            Shape::Indirect => 0,
            Shape::Mixed => 1,
        };
        let (direct, rest) = chain.split_at(direct);
        let count = direct.len() + usize::from(!rest.is_empty());
        if self.free.len() < count {
            return None;
        }
        let taken = self.free.split_off(self.free.len() - count);
        for (number, &buffer) in direct.iter().enumerate() {
            let next = taken.get(number + 1).copied();
            self.table.store(taken[number], raw(buffer, next)).unwrap();
        }
        if !rest.is_empty() {
            let last = taken[count - 1];
            let place = TABLES + u64::from(last) * 0x100;
            let len = rest.len() as u16;
            let table = DescriptorTable::new(self.memory, GuestAddress(place), len);
            for (number, &buffer) in (0..).zip(rest) {
                let next = (number + 1 < len).then_some(number + 1);
                table.store(number, raw(buffer, next)).unwrap();
            }
            let refer = split::Descriptor::new(place, u32::from(len) * 16, INDIRECT, 0);
            self.table.store(last, refer.into()).unwrap();
        }
        let entry = usize::from(self.avail_idx % SIZE);
        self.avail
            .ring()
            .ref_at(entry)
            .unwrap()
            .store(taken[0].to_le());
        self.avail_idx = self.avail_idx.wrapping_add(1);
        self.avail.idx().store(self.avail_idx.to_le());
        Some(taken)
    }

    fn used_event(&self, event: u16) {
        let place = DRIVER + 4 + 2 * u64::from(SIZE);
        self.memory
            .write_obj(event.to_le(), GuestAddress(place))
            .unwrap();
    }

    fn used_rings(&self) -> (Vec<u8>, Vec<u8>) {
        let ring = |device: u64| {
            let mut bytes = vec![0; USED];
            self.memory
                .read_slice(&mut bytes, GuestAddress(device + 2))
                .unwrap();
            bytes
        };
        (ring(OUR_DEVICE), ring(PEER_DEVICE))
    }

    fn avail_events(&self) -> (u16, u16) {
        let event = |device: u64| {
            let place = device + 4 + 8 * u64::from(SIZE);
            self.memory.read_obj(GuestAddress(place)).unwrap()
        };
        (event(OUR_DEVICE), event(PEER_DEVICE))
    }
}

fn devices(memory: &'static GuestMemoryMmap, options: Options, start: u16) -> (Own, Peer) {
    let position = Position {
        last_avail: start,
        used_idx: start,
    };
    let mut ours = Own::new(window(memory), layout(OUR_DEVICE), options, position);
    // After a restart our device notifies once in any case.
    ours.needs_notification();
    (
        ours,
        Peer::new(memory, layout(PEER_DEVICE), options, position),
    )
}

proptest! {
    #[test]
    fn both_devices_see_and_do_the_same(
        start in prop_oneof![Just(0u16), 0xffe0u16..=0xffff, any::<u16>()],
        options in options(),
        steps in steps(),
    ) {
        let memory = memory();
        let mut driver = Driver::new(memory, start);
        let (mut ours, mut peer) = devices(memory, options, start);
        let mut taken: Vec<Vec<u16>> = Vec::new();
        let mut at_device = Vec::new();
        for step in steps {
            match step {
                Step::Offer(chain, shape) => taken.extend(driver.offer(&chain, shape)),
                Step::Pop => {
                    let popped = ours.pop();
                    prop_assert_eq!(&popped, &peer.pop());
                    at_device.extend(popped.map(|(head, _)| head));
                }
                Step::GiveBack(which, len) if !at_device.is_empty() => {
                    let head = at_device.swap_remove(which % at_device.len());
                    ours.give_back(head, len);
                    peer.give_back(head, len);
                    let chain = taken.iter().position(|chain| chain[0] == head).unwrap();
                    driver.free.extend(taken.swap_remove(chain));
                }
                Step::GiveBack(..) => {}
                Step::UsedEvent(ahead) => driver.used_event(ours.position().used_idx.wrapping_add(ahead)),
                // The peer leaves the flag of a queue without event indices to others.
                Step::NeedsNotification => {
                    prop_assert_eq!(ours.needs_notification(), peer.needs_notification());
                }
                Step::Enable => {
                    prop_assert_eq!(ours.enable_notifications(), peer.enable_notifications());
                    let (our_event, peer_event) = driver.avail_events();
                    prop_assert_eq!(our_event, peer_event);
                }
                Step::Disable => {
                    ours.disable_notifications();
                    peer.disable_notifications();
                }
            }
            let (our_ring, peer_ring) = driver.used_rings();
            prop_assert_eq!(our_ring, peer_ring);
        }
    }

    /// Descriptors and entries that are near to the truth but often wrong. What our device takes,
    /// the peer takes the same way; what it refuses is its own affair (the peer is more lenient).
    #[test]
    fn what_ours_takes_the_peer_takes_the_same_way(
        descriptors in proptest::collection::vec(
            (0u64..0x60, prop_oneof![(0u32..8).prop_map(|n| n * 16), any::<u32>()],
             prop_oneof![Just(0u16), Just(NEXT), Just(NEXT | WRITE), Just(INDIRECT), 0u16..8], 0u16..18),
            0x60),
        heads in proptest::collection::vec(0u16..17, usize::from(SIZE)),
        avail_idx in 0u16..18,
        indirect in any::<bool>(),
    ) {
        let memory = memory();
        for (number, &(to, len, flags, next)) in (0u64..).zip(&descriptors) {
            // The addresses point into the descriptors themselves, so that tables are descriptors.
            let value = split::Descriptor::new(to * 16, len, flags, next);
            memory.write_obj(RawDescriptor::from(value), GuestAddress(number * 16)).unwrap();
        }
        for (number, head) in (0u64..).zip(&heads) {
            memory.write_obj(head.to_le(), GuestAddress(DRIVER + 4 + number * 2)).unwrap();
        }
        memory.write_obj(avail_idx.to_le(), GuestAddress(DRIVER + 2)).unwrap();
        let options = Options { event_idx: false, indirect };
        let (mut ours, mut peer) = devices(memory, options, 0);
        for _ in 0..avail_idx {
            match ours.try_pop() {
                Ok(popped) => prop_assert_eq!(popped, peer.pop()),
                Err(PopError::Request { head, .. }) => {
                    prop_assert_eq!(Some(head), peer.pop().map(|(head, _)| head));
                }
                Err(PopError::Queue(_)) => break,
            }
        }
    }
}

#[test]
fn a_descriptor_is_laid_out_as_the_peer_lays_it_out() {
    let memory = memory();
    let peer = split::Descriptor::new(0x1122_3344_5566_7788, 0x99aa_bbcc, NEXT | WRITE, 0x0dee);
    memory
        .write_obj(RawDescriptor::from(peer), GuestAddress(0))
        .unwrap();
    let ours: Descriptor = window(memory).read(ClientAddress::new(0)).unwrap();
    assert_eq!(ours.address.get(), 0x1122_3344_5566_7788);
    assert_eq!(ours.len.get(), 0x99aa_bbcc);
    assert_eq!(ours.flags.get(), NEXT | WRITE);
    assert_eq!(ours.next.get(), 0x0dee);
    assert!(PEER_DEVICE + 0x1000 <= TABLES && TABLES + 0x1000 < MEMORY as u64);
}
