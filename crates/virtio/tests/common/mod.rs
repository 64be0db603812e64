//! What the ring tests share: memory that two sides see, devices of either make, and a story that
//! our driver lives through with any of them.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use virtio::ring::device::{self, Chain, PopError, Position};
use virtio::ring::driver::{self, AddError, TableShape, Used};
use virtio::ring::{Descriptor, DescriptorFlags, Options, QueueLayout};
use virtio_queue::{Queue as PeerQueue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use window::{ClientAddress, Window};
use zerocopy::{FromZeros, IntoBytes};

/// Length of the memory that both sides see.
pub const MEMORY: usize = 0x1_0000;

/// Where indirect tables are: one for each head, of [`TABLE_BYTES`].
pub const TABLES: u64 = 0x8000;
pub const TABLE_BYTES: u64 = 0x200;

/// A chain as plain values: address, length, writable.
pub type Plain = Vec<(u64, u32, bool)>;

/// Memory that lives to the end of the program.
pub fn memory() -> &'static GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
    Box::leak(Box::new(memory))
}

/// A window over all of such memory.
pub fn window(memory: &'static GuestMemoryMmap) -> Window {
    let base = memory.get_host_address(GuestAddress(0)).unwrap();
    // SAFETY: the mapping is never given back, has `MEMORY` bytes, and is reached by raw pointers
    // and copies only.
    unsafe { Window::new(base, MEMORY as u64, 0) }
}

/// The device half of a queue, whoever made it.
pub trait Device {
    fn pop(&mut self) -> Option<(u16, Plain)>;
    fn give_back(&mut self, head: u16, written: u32);
    fn needs_notification(&mut self) -> bool;
    fn enable_notifications(&mut self) -> bool;
    fn disable_notifications(&mut self);
}

/// Our own device half.
pub struct Own {
    window: Window,
    queue: device::Queue,
    chain: Chain<64>,
}

impl Own {
    pub fn new(window: Window, layout: QueueLayout, options: Options, position: Position) -> Self {
        let queue = device::Queue::new(&window, layout, options, position).unwrap();
        Self {
            window,
            queue,
            chain: Chain::new(),
        }
    }

    pub fn try_pop(&mut self) -> Result<Option<(u16, Plain)>, PopError> {
        let head = self.queue.pop(&self.window, &mut self.chain)?;
        let plain = |b: &device::Buffer| (b.address.value(), b.len, b.writable);
        Ok(head.map(|head| (head, self.chain.buffers().iter().map(plain).collect())))
    }

    pub fn position(&self) -> Position {
        self.queue.position()
    }
}

impl Device for Own {
    fn pop(&mut self) -> Option<(u16, Plain)> {
        self.try_pop().unwrap()
    }

    fn give_back(&mut self, head: u16, written: u32) {
        self.queue.complete(&self.window, head, written).unwrap();
        self.queue.publish(&self.window).unwrap();
    }

    fn needs_notification(&mut self) -> bool {
        self.queue.needs_notification(&self.window).unwrap()
    }

    fn enable_notifications(&mut self) -> bool {
        self.queue.enable_notifications(&self.window).unwrap()
    }

    fn disable_notifications(&mut self) {
        self.queue.disable_notifications(&self.window).unwrap();
    }
}

/// The device half of rust-vmm.
pub struct Peer {
    memory: &'static GuestMemoryMmap,
    queue: PeerQueue,
}

impl Peer {
    pub fn new(
        memory: &'static GuestMemoryMmap,
        layout: QueueLayout,
        options: Options,
        position: Position,
    ) -> Self {
        let mut queue = PeerQueue::new(layout.size).unwrap();
        let address = |area: ClientAddress| GuestAddress(area.value());
        queue
            .try_set_desc_table_address(address(layout.descriptors))
            .unwrap();
        queue
            .try_set_avail_ring_address(address(layout.driver))
            .unwrap();
        queue
            .try_set_used_ring_address(address(layout.device))
            .unwrap();
        queue.set_event_idx(options.event_idx);
        queue.set_next_avail(position.last_avail);
        queue.set_next_used(position.used_idx);
        queue.set_ready(true);
        assert!(queue.is_valid(memory));
        Self { memory, queue }
    }
}

impl Device for Peer {
    fn pop(&mut self) -> Option<(u16, Plain)> {
        let chain = self.queue.pop_descriptor_chain(self.memory)?;
        let head = chain.head_index();
        Some((
            head,
            chain
                .map(|d| (d.addr().0, d.len(), d.is_write_only()))
                .collect(),
        ))
    }

    fn give_back(&mut self, head: u16, written: u32) {
        self.queue.add_used(self.memory, head, written).unwrap();
    }

    fn needs_notification(&mut self) -> bool {
        self.queue.needs_notification(self.memory).unwrap()
    }

    fn enable_notifications(&mut self) -> bool {
        self.queue.enable_notification(self.memory).unwrap()
    }

    fn disable_notifications(&mut self) {
        self.queue.disable_notification(self.memory).unwrap();
    }
}

/// One thing that happens between a driver and a device.
#[derive(Clone, Debug)]
pub enum Step {
    /// The driver adds a chain, directly or by an indirect table, and publishes it.
    Add { chain: Plain, indirect: bool },
    /// The device takes so many requests.
    Pop(u8),
    /// The device gives one of its requests back. Which one, and how much it wrote, is taken
    /// modulo what is possible.
    GiveBack { which: usize, written: u32 },
    /// The driver takes all used requests.
    Poll,
    /// The device goes to sleep, if nothing is waiting.
    DeviceSleeps,
    /// The driver goes to sleep, if nothing is waiting.
    DriverSleeps,
    /// The device polls.
    DevicePolls,
    /// The driver polls.
    DriverPolls,
}

/// A chain as drivers make them: readable buffers first.
pub fn chains() -> impl Strategy<Value = Plain> {
    let buffer = (0u64..1 << 40, 0u32..0x1_0000, any::<bool>());
    proptest::collection::vec(buffer, 1..7).prop_map(|mut chain| {
        chain.sort_by_key(|&(_, _, writable)| writable);
        chain
    })
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (chains(), any::<bool>()).prop_map(|(chain, indirect)| Step::Add { chain, indirect }),
        3 => (1u8..5).prop_map(Step::Pop),
        5 => (any::<usize>(), any::<u32>())
            .prop_map(|(which, written)| Step::GiveBack { which, written }),
        3 => Just(Step::Poll),
        1 => Just(Step::DeviceSleeps),
        1 => Just(Step::DriverSleeps),
        1 => Just(Step::DevicePolls),
        1 => Just(Step::DriverPolls),
    ];
    proptest::collection::vec(step, 1..120)
}

pub fn options() -> impl Strategy<Value = Options> {
    any::<bool>().prop_map(|event_idx| Options {
        event_idx,
        indirect: true,
    })
}

pub fn sizes() -> impl Strategy<Value = u16> {
    (0u32..6).prop_map(|power| 1 << power)
}

/// Where a request is.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Waiting,
    AtDevice,
    Used { written: u32 },
}

/// Lives through `steps` with our driver and `device`, and holds both to these facts:
///
/// * each chain arrives as it was sent, in the order in which it was published;
/// * each request comes back once, with the length the device gave, in the order of its use;
/// * whoever sleeps is woken by the first thing that happens after;
/// * in the end all descriptors are free again.
pub fn live(
    memory: &'static GuestMemoryMmap,
    driver: &mut driver::Queue<32>,
    device: &mut dyn Device,
    steps: &[Step],
) {
    let mut requests: BTreeMap<u16, (Plain, Place)> = BTreeMap::new();
    let mut waiting = VecDeque::new();
    let mut at_device = Vec::new();
    let mut used = VecDeque::new();
    let (mut device_sleeps, mut driver_sleeps) = (false, false);

    // In the end the device finishes everything and the driver takes it.
    let rest = usize::from(driver.size());
    let end = [Step::Pop(u8::MAX)].into_iter();
    let end = end.chain((0..rest).map(|_| Step::GiveBack {
        which: 0,
        written: 0,
    }));
    let end: Vec<_> = end.chain([Step::Poll]).collect();

    for step in steps.iter().chain(&end) {
        match step {
            Step::Add { chain, indirect } => {
                let Some(head) = add(memory, driver, chain, *indirect) else {
                    assert!(usize::from(driver.free()) < chain.len());
                    continue;
                };
                let old = requests.insert(head, (chain.clone(), Place::Waiting));
                assert_eq!(old, None, "a head in flight was given again");
                waiting.push_back(head);
                driver.publish();
                let kick = driver.needs_kick();
                assert!(kick || !device_sleeps, "a sleeping device was not woken");
                device_sleeps &= !kick;
            }
            Step::Pop(count) => {
                for _ in 0..*count {
                    let popped = device.pop();
                    assert_eq!(popped.as_ref().map(|p| p.0), waiting.pop_front());
                    let Some((head, chain)) = popped else { break };
                    let request = requests.get_mut(&head).unwrap();
                    assert_eq!(*request, (chain, Place::Waiting));
                    request.1 = Place::AtDevice;
                    at_device.push(head);
                }
            }
            Step::GiveBack { which, written } => {
                if at_device.is_empty() {
                    continue;
                }
                let head = at_device.swap_remove(which % at_device.len());
                let request = requests.get_mut(&head).unwrap();
                let room: u32 = request.0.iter().filter(|b| b.2).map(|b| b.1).sum();
                let written = written % (room + 1);
                request.1 = Place::Used { written };
                used.push_back(head);
                device.give_back(head, written);
                let interrupt = device.needs_notification();
                assert!(
                    interrupt || !driver_sleeps,
                    "a sleeping driver was not woken"
                );
                driver_sleeps &= !interrupt;
            }
            Step::Poll => {
                while let Some(done) = driver.poll_used() {
                    let Used { head, len } = done.unwrap();
                    assert_eq!(Some(head), used.pop_front());
                    let place = requests.remove(&head).unwrap().1;
                    assert_eq!(place, Place::Used { written: len });
                }
                assert!(used.is_empty());
            }
            Step::DeviceSleeps => {
                let work = device.enable_notifications();
                assert_eq!(work, !waiting.is_empty());
                device_sleeps = !work;
            }
            Step::DriverSleeps => {
                let work = driver.enable_interrupts();
                assert_eq!(work, !used.is_empty());
                driver_sleeps = !work;
            }
            Step::DevicePolls => {
                device.disable_notifications();
                device_sleeps = false;
            }
            Step::DriverPolls => {
                driver.disable_interrupts();
                driver_sleeps = false;
            }
        }
        assert_eq!(usize::from(driver.in_flight()), requests.len());
    }
    assert_eq!((driver.free(), driver.in_flight()), (driver.size(), 0));
}

/// Adds a chain, if there is room.
fn add(
    memory: &'static GuestMemoryMmap,
    driver: &mut driver::Queue<32>,
    chain: &Plain,
    indirect: bool,
) -> Option<u16> {
    let buffers = chain
        .iter()
        .map(|&(absolute, len, writable)| driver::Buffer {
            absolute,
            len,
            writable,
        });
    let added = if indirect {
        let head = driver.vacant()?;
        let place = TABLES + u64::from(head) * TABLE_BYTES;
        let mut table = [Descriptor::new_zeroed(); 32];
        let mut shape = TableShape::default();
        for (buffer, place) in buffers.zip(&mut table) {
            shape.count += 1;
            let mut flags = DescriptorFlags::empty();
            flags.set(DescriptorFlags::WRITE, buffer.writable);
            let last = usize::from(shape.count) == chain.len();
            flags.set(DescriptorFlags::NEXT, !last);
            let next = if last { 0 } else { shape.count };
            *place = Descriptor::new(buffer.absolute, buffer.len, flags, next);
            shape.writable += if buffer.writable { buffer.len } else { 0 };
        }
        memory
            .write_slice(table.as_bytes(), GuestAddress(place))
            .unwrap();
        let given = driver.add_indirect(place, shape);
        assert_eq!(given, Ok(head));
        given
    } else {
        driver.add(&buffers.collect::<Vec<_>>())
    };
    match added {
        Ok(head) => Some(head),
        Err(AddError::Full) => None,
        Err(error) => panic!("{error}"),
    }
}
