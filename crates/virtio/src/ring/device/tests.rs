//! What the device side takes from a driver, and what it refuses.

mod chains;

extern crate std;

use std::vec;
use std::vec::Vec;

use window::{BorrowedWindow, ClientAddress};

use super::*;
use crate::ring::{Descriptor, DescriptorFlags};

const SIZE: u16 = 8;
const TABLE: u64 = 0x800;
const OPTIONS: Options = Options {
    event_idx: true,
    indirect: true,
};

fn next() -> DescriptorFlags {
    DescriptorFlags::NEXT
}

fn write() -> DescriptorFlags {
    DescriptorFlags::WRITE
}

fn indirect() -> DescriptorFlags {
    DescriptorFlags::INDIRECT
}

fn none() -> DescriptorFlags {
    DescriptorFlags::empty()
}

/// A driver that writes what it is told, right or wrong.
struct Scene<'m> {
    window: BorrowedWindow<'m>,
    layout: QueueLayout,
    queue: Queue,
    chain: Chain<8>,
    avail_idx: u16,
}

impl<'m> Scene<'m> {
    fn with(memory: &'m mut [u8], options: Options) -> Self {
        let window = Window::borrowed(memory, 0);
        let layout = QueueLayout::contiguous(SIZE);
        let queue = Queue::new(&window, layout, options, Position::default()).unwrap();
        Self {
            window,
            layout,
            queue,
            chain: Chain::new(),
            avail_idx: 0,
        }
    }

    fn new(memory: &'m mut [u8]) -> Self {
        Self::with(memory, OPTIONS)
    }

    fn descriptor(&self, index: u16, address: u64, len: u32, flags: DescriptorFlags, next: u16) {
        let table = self.queue.areas.descriptor_table(&self.window).unwrap();
        let value = Descriptor::new(address, len, flags, next);
        table.set_descriptor(index, &value).unwrap();
    }

    fn table(&self, address: u64, entries: &[(u64, u32, DescriptorFlags, u16)]) {
        for (number, &(buffer, len, flags, next)) in entries.iter().enumerate() {
            let place = ClientAddress::new(address + 16 * number as u64);
            let value = Descriptor::new(buffer, len, flags, next);
            self.window.write(place, &value).unwrap();
        }
    }

    fn offer(&mut self, head: u16) {
        let driver = self.queue.areas.driver_area(&self.window).unwrap();
        driver.set_head(self.avail_idx, head).unwrap();
        self.avail_idx = self.avail_idx.wrapping_add(1);
        driver.set_idx(self.avail_idx).unwrap();
    }

    fn pop(&mut self) -> Result<Option<u16>, PopError> {
        self.queue.pop(&self.window, &mut self.chain)
    }

    /// Offers descriptor 0 and says what is wrong with its chain.
    fn refusal(&mut self) -> ChainError {
        self.offer(0);
        let Err(PopError::Request { head: 0, error }) = self.pop() else {
            panic!("the chain was taken");
        };
        assert!(self.chain.buffers().is_empty());
        self.queue.complete(&self.window, 0, 0).unwrap();
        error
    }

    fn wants_notification(&mut self) -> bool {
        self.queue.publish(&self.window).unwrap();
        self.queue.needs_notification(&self.window).unwrap()
    }

    fn serve(&mut self, count: u16) {
        for _ in 0..count {
            self.descriptor(0, 0x1000, 4, none(), 0);
            self.offer(0);
            assert_eq!(self.pop(), Ok(Some(0)));
            self.queue.complete(&self.window, 0, 0).unwrap();
        }
    }
}

fn memory() -> Vec<u8> {
    vec![0; 4096]
}

#[test]
fn an_empty_ring_gives_nothing() {
    assert_eq!(Scene::new(&mut memory()).pop(), Ok(None));
}

#[test]
fn after_a_bad_request_the_next_one_is_served() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.descriptor(0, 0x1000, 4, next(), 99);
    scene.refusal();
    scene.serve(1);
    assert_eq!(scene.queue.in_flight(), 0);
}

#[test]
fn an_available_index_ahead_of_the_queue_breaks_it() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    let areas = scene.queue.areas;
    areas
        .driver_area(&scene.window)
        .unwrap()
        .set_idx(SIZE + 1)
        .unwrap();
    for _ in 0..2 {
        let Err(PopError::Queue(QueueError::AvailIndexJumped { avail_idx, .. })) = scene.pop()
        else {
            panic!("the index was taken");
        };
        assert_eq!(avail_idx, SIZE + 1);
    }
    assert!(scene.queue.enable_notifications(&scene.window).is_err());
    assert_eq!(scene.queue.position(), Position::default());
}

#[test]
fn an_available_index_that_goes_back_breaks_the_queue() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.serve(3);
    scene
        .queue
        .areas
        .driver_area(&scene.window)
        .unwrap()
        .set_idx(2)
        .unwrap();
    assert!(matches!(scene.pop(), Err(PopError::Queue(_))));
}

#[test]
fn a_driver_cannot_have_more_in_flight_than_its_queue_has_entries() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    for _ in 0..SIZE {
        scene.offer(0);
        assert!(scene.pop().is_ok());
    }
    scene.offer(0);
    assert!(matches!(scene.pop(), Err(PopError::Queue(_))));
}

#[test]
fn a_head_outside_the_table_breaks_the_queue() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.offer(SIZE);
    let error = QueueError::HeadOutOfRange {
        head: SIZE,
        size: SIZE,
    };
    assert_eq!(scene.pop(), Err(error.into()));
    assert_eq!(scene.queue.in_flight(), 0);
}

#[test]
fn a_used_entry_is_seen_when_it_is_published() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.descriptor(2, 0x1000, 4, write(), 0);
    scene.offer(2);
    assert_eq!(scene.pop(), Ok(Some(2)));
    scene.queue.complete(&scene.window, 2, 3).unwrap();
    assert_eq!(scene.layout.used_idx(&scene.window), Ok(0));
    scene.queue.publish(&scene.window).unwrap();
    assert_eq!(scene.layout.used_idx(&scene.window), Ok(1));
    let element = scene
        .queue
        .areas
        .device_area(&scene.window)
        .unwrap()
        .element(0)
        .unwrap();
    assert_eq!((element.id.get(), element.len.get()), (2, 3));
}

#[test]
fn a_request_that_was_put_back_comes_again() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.descriptor(2, 0x1000, 4, write(), 0);
    scene.offer(2);
    assert_eq!(scene.pop(), Ok(Some(2)));
    scene.queue.unpop();
    assert_eq!(scene.queue.in_flight(), 0);
    assert_eq!(scene.pop(), Ok(Some(2)));
    scene.queue.complete(&scene.window, 2, 0).unwrap();
    scene.queue.unpop();
    assert_eq!(scene.pop(), Ok(None));
}

#[test]
fn what_is_not_in_flight_cannot_be_completed() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    let error = QueueError::NothingInFlight { head: 5 };
    assert_eq!(scene.queue.complete(&scene.window, 5, 0), Err(error));
}

#[test]
fn with_event_indices_the_driver_is_told_where_it_wished() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    let wish = |scene: &Scene<'_>, event| {
        let driver = scene.queue.areas.driver_area(&scene.window).unwrap();
        driver.set_used_event(event).unwrap();
    };
    wish(&scene, 2);
    scene.serve(2);
    assert!(!scene.wants_notification());
    scene.serve(1);
    assert!(scene.wants_notification());
    assert!(!scene.wants_notification(), "nothing new was published");
    scene.serve(1);
    assert!(!scene.wants_notification(), "the wish was fulfilled before");
}

#[test]
fn without_event_indices_the_flag_decides() {
    let memory = &mut memory();
    let mut scene = Scene::with(memory, Options::default());
    scene.serve(1);
    assert!(scene.wants_notification());
    let driver = scene.queue.areas.driver_area(&scene.window).unwrap();
    driver.set_flags(AvailFlags::NO_INTERRUPT).unwrap();
    scene.serve(1);
    assert!(!scene.wants_notification());
}

#[test]
fn going_to_sleep_looks_once_more() {
    for options in [OPTIONS, Options::default()] {
        let memory = &mut memory();
        let mut scene = Scene::with(memory, options);
        assert_eq!(scene.queue.enable_notifications(&scene.window), Ok(false));
        scene.offer(0);
        assert_eq!(scene.queue.enable_notifications(&scene.window), Ok(true));
    }
}

#[test]
fn a_polling_device_asks_not_to_be_told() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.serve(3);
    scene.queue.disable_notifications(&scene.window).unwrap();
    let device = scene.queue.areas.device_area(&scene.window).unwrap();
    let event = device.avail_event().unwrap();
    assert!(!need_event(event, 3 + SIZE, 3));
    scene.queue.enable_notifications(&scene.window).unwrap();
    let device = scene.queue.areas.device_area(&scene.window).unwrap();
    assert!(need_event(device.avail_event().unwrap(), 4, 3));

    let memory = &mut self::memory();
    let mut scene = Scene::with(memory, Options::default());
    scene.queue.disable_notifications(&scene.window).unwrap();
    let flags = |scene: &Scene<'_>| {
        scene
            .queue
            .areas
            .device_area(&scene.window)
            .unwrap()
            .flags()
    };
    assert_eq!(flags(&scene), Ok(UsedFlags::NO_NOTIFY));
    scene.queue.enable_notifications(&scene.window).unwrap();
    assert_eq!(flags(&scene), Ok(UsedFlags::empty()));
}

#[test]
fn a_restored_queue_goes_on_where_it_was_and_notifies_first() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    scene.serve(5);
    scene.wants_notification();
    let position = scene.queue.position();
    scene.queue = Queue::new(&scene.window, scene.layout, OPTIONS, position).unwrap();
    assert_eq!(scene.pop(), Ok(None));
    scene.serve(1);
    assert_eq!(scene.queue.position().used_idx, 6);
    assert!(scene.wants_notification());
    assert!(!scene.wants_notification());
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    let memory = &mut memory();
    let window = Window::borrowed(memory, 0);
    let good = QueueLayout::contiguous(SIZE);
    let try_layout = |layout| {
        Queue::new(&window, layout, OPTIONS, Position::default()).map(|queue| queue.size())
    };
    assert_eq!(try_layout(good), Ok(SIZE));
    for size in [0, 3, 2048, 32768, u16::MAX] {
        assert_eq!(
            try_layout(QueueLayout { size, ..good }),
            Err(LayoutError::Size(size))
        );
    }
    for (descriptors, driver, device) in [(8, 0x200, 0x300), (0, 0x201, 0x300), (0, 0x200, 0x302)] {
        let layout = QueueLayout {
            size: SIZE,
            descriptors: ClientAddress::new(descriptors),
            driver: ClientAddress::new(driver),
            device: ClientAddress::new(device),
        };
        assert!(matches!(
            try_layout(layout),
            Err(LayoutError::Misaligned { .. })
        ));
    }
    let device = ClientAddress::new(4096 - 68);
    assert!(matches!(
        try_layout(QueueLayout { device, ..good }),
        Err(LayoutError::OutOfWindow(_))
    ));
    let position = Position {
        last_avail: 4,
        used_idx: 0xfff0,
    };
    assert!(matches!(
        Queue::new(&window, good, OPTIONS, position),
        Err(LayoutError::Position { in_flight: 20, .. })
    ));
}

#[test]
fn a_foreign_window_is_an_error_and_no_more() {
    let memory = &mut memory();
    let mut scene = Scene::new(memory);
    let small = &mut [0; 16];
    let small = Window::borrowed(small, 0);
    assert!(matches!(
        scene.queue.pop(&small, &mut scene.chain),
        Err(PopError::Queue(QueueError::OutOfWindow(_)))
    ));
    assert!(scene.queue.publish(&small).is_err());
    assert!(scene.queue.needs_notification(&small).is_err());
    assert!(scene.queue.disable_notifications(&small).is_err());
}
