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
struct Fixture<'m> {
    window: BorrowedWindow<'m>,
    layout: QueueLayout,
    queue: Queue,
    chain: Chain<8>,
    avail_idx: u16,
}

impl<'m> Fixture<'m> {
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
    assert_eq!(Fixture::new(&mut memory()).pop(), Ok(None));
}

#[test]
fn after_a_bad_request_the_next_one_is_served() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0x1000, 4, next(), 99);
    fixture.refusal();
    fixture.serve(1);
    assert_eq!(fixture.queue.in_flight(), 0);
}

#[test]
fn an_available_index_ahead_of_the_queue_breaks_it() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    let areas = fixture.queue.areas;
    areas
        .driver_area(&fixture.window)
        .unwrap()
        .set_idx(SIZE + 1)
        .unwrap();
    for _ in 0..2 {
        let Err(PopError::Queue(QueueError::AvailIndexJumped { avail_idx, .. })) = fixture.pop()
        else {
            panic!("the index was taken");
        };
        assert_eq!(avail_idx, SIZE + 1);
    }
    assert!(fixture.queue.enable_notifications(&fixture.window).is_err());
    assert_eq!(fixture.queue.position(), Position::default());
}

#[test]
fn an_available_index_that_goes_back_breaks_the_queue() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.serve(3);
    fixture
        .queue
        .areas
        .driver_area(&fixture.window)
        .unwrap()
        .set_idx(2)
        .unwrap();
    assert!(matches!(fixture.pop(), Err(PopError::Queue(_))));
}

#[test]
fn a_driver_cannot_have_more_in_flight_than_its_queue_has_entries() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    for _ in 0..SIZE {
        fixture.offer(0);
        assert!(fixture.pop().is_ok());
    }
    fixture.offer(0);
    assert!(matches!(fixture.pop(), Err(PopError::Queue(_))));
}

#[test]
fn a_head_outside_the_table_breaks_the_queue() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.offer(SIZE);
    let error = QueueError::HeadOutOfRange {
        head: SIZE,
        size: SIZE,
    };
    assert_eq!(fixture.pop(), Err(error.into()));
    assert_eq!(fixture.queue.in_flight(), 0);
}

#[test]
fn a_used_entry_is_seen_when_it_is_published() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(2, 0x1000, 4, write(), 0);
    fixture.offer(2);
    assert_eq!(fixture.pop(), Ok(Some(2)));
    fixture.queue.complete(&fixture.window, 2, 3).unwrap();
    assert_eq!(fixture.layout.used_idx(&fixture.window), Ok(0));
    fixture.queue.publish(&fixture.window).unwrap();
    assert_eq!(fixture.layout.used_idx(&fixture.window), Ok(1));
    let element = fixture
        .queue
        .areas
        .device_area(&fixture.window)
        .unwrap()
        .element(0)
        .unwrap();
    assert_eq!((element.id.get(), element.len.get()), (2, 3));
}

#[test]
fn a_request_that_was_put_back_comes_again() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(2, 0x1000, 4, write(), 0);
    fixture.offer(2);
    assert_eq!(fixture.pop(), Ok(Some(2)));
    fixture.queue.unpop();
    assert_eq!(fixture.queue.in_flight(), 0);
    assert_eq!(fixture.pop(), Ok(Some(2)));
    fixture.queue.complete(&fixture.window, 2, 0).unwrap();
    fixture.queue.unpop();
    assert_eq!(fixture.pop(), Ok(None));
}

#[test]
fn what_is_not_in_flight_cannot_be_completed() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    let error = QueueError::NothingInFlight { head: 5 };
    assert_eq!(fixture.queue.complete(&fixture.window, 5, 0), Err(error));
}

#[test]
fn with_event_indices_the_driver_is_told_where_it_wished() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    let wish = |fixture: &Fixture<'_>, event| {
        let driver = fixture.queue.areas.driver_area(&fixture.window).unwrap();
        driver.set_used_event(event).unwrap();
    };
    wish(&fixture, 2);
    fixture.serve(2);
    assert!(!fixture.wants_notification());
    fixture.serve(1);
    assert!(fixture.wants_notification());
    assert!(!fixture.wants_notification(), "nothing new was published");
    fixture.serve(1);
    assert!(
        !fixture.wants_notification(),
        "the wish was fulfilled before"
    );
}

#[test]
fn without_event_indices_the_flag_decides() {
    let memory = &mut memory();
    let mut fixture = Fixture::with(memory, Options::default());
    fixture.serve(1);
    assert!(fixture.wants_notification());
    let driver = fixture.queue.areas.driver_area(&fixture.window).unwrap();
    driver.set_flags(AvailFlags::NO_INTERRUPT).unwrap();
    fixture.serve(1);
    assert!(!fixture.wants_notification());
}

#[test]
fn going_to_sleep_looks_once_more() {
    for options in [OPTIONS, Options::default()] {
        let memory = &mut memory();
        let mut fixture = Fixture::with(memory, options);
        assert_eq!(
            fixture.queue.enable_notifications(&fixture.window),
            Ok(false)
        );
        fixture.offer(0);
        assert_eq!(
            fixture.queue.enable_notifications(&fixture.window),
            Ok(true)
        );
    }
}

#[test]
fn a_polling_device_asks_not_to_be_told() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.serve(3);
    fixture
        .queue
        .disable_notifications(&fixture.window)
        .unwrap();
    let device = fixture.queue.areas.device_area(&fixture.window).unwrap();
    let event = device.avail_event().unwrap();
    assert!(!need_event(event, 3 + SIZE, 3));
    fixture.queue.enable_notifications(&fixture.window).unwrap();
    let device = fixture.queue.areas.device_area(&fixture.window).unwrap();
    assert!(need_event(device.avail_event().unwrap(), 4, 3));

    let memory = &mut self::memory();
    let mut fixture = Fixture::with(memory, Options::default());
    fixture
        .queue
        .disable_notifications(&fixture.window)
        .unwrap();
    let flags = |fixture: &Fixture<'_>| {
        fixture
            .queue
            .areas
            .device_area(&fixture.window)
            .unwrap()
            .flags()
    };
    assert_eq!(flags(&fixture), Ok(UsedFlags::NO_NOTIFY));
    fixture.queue.enable_notifications(&fixture.window).unwrap();
    assert_eq!(flags(&fixture), Ok(UsedFlags::empty()));
}

#[test]
fn a_restored_queue_goes_on_where_it_was_and_notifies_first() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.serve(5);
    fixture.wants_notification();
    let position = fixture.queue.position();
    fixture.queue = Queue::new(&fixture.window, fixture.layout, OPTIONS, position).unwrap();
    assert_eq!(fixture.pop(), Ok(None));
    fixture.serve(1);
    assert_eq!(fixture.queue.position().used_idx, 6);
    assert!(fixture.wants_notification());
    assert!(!fixture.wants_notification());
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    let memory = &mut memory();
    let window = Window::borrowed(memory, 0);
    let good = QueueLayout::contiguous(SIZE);
    let try_layout = |layout| {
        Queue::new(&window, layout, OPTIONS, Position::default()).map(|queue| queue.layout.size)
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
    let mut fixture = Fixture::new(memory);
    let small = &mut [0; 16];
    let small = Window::borrowed(small, 0);
    assert!(matches!(
        fixture.queue.pop(&small, &mut fixture.chain),
        Err(PopError::Queue(QueueError::OutOfWindow(_)))
    ));
    assert!(fixture.queue.publish(&small).is_err());
    assert!(fixture.queue.needs_notification(&small).is_err());
    assert!(fixture.queue.disable_notifications(&small).is_err());
}
