//! What the driver side gives a device, and what it does not believe it.

extern crate std;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::*;

const SIZE: u16 = 8;
const BASE: u64 = 0x4000;
const OPTIONS: Options = Options {
    event_idx: true,
    indirect: true,
};

fn queue_with(options: Options) -> Queue<16> {
    let memory = vec![0xff; 4096].leak();
    Queue::new(Window::leaked(memory, BASE), SIZE, options).unwrap()
}

fn queue() -> Queue<16> {
    queue_with(OPTIONS)
}

fn buffer(len: u32, writable: bool) -> Buffer {
    Buffer {
        absolute: 0x10_0000,
        len,
        writable,
    }
}

/// What the device would find: the head in entry `idx` of the available ring, and its chain.
fn offered(queue: &Queue<16>, idx: u16) -> (u16, Vec<Descriptor>) {
    let driver = queue.areas.driver_area(&queue.memory).unwrap();
    let table = queue.areas.descriptor_table(&queue.memory).unwrap();
    let head = driver.head(idx).unwrap();
    let mut chain = vec![table.descriptor(head).unwrap()];
    while chain
        .last()
        .unwrap()
        .flags()
        .contains(DescriptorFlags::NEXT)
    {
        chain.push(table.descriptor(chain.last().unwrap().next.get()).unwrap());
    }
    (head, chain)
}

/// The device uses `id`, as entry `idx`, with `len` bytes written.
fn use_head(queue: &Queue<16>, idx: u16, id: u32, len: u32) {
    let device = queue.areas.device_area(&queue.memory).unwrap();
    device.set_element(idx, id, len).unwrap();
    device.set_idx(idx.wrapping_add(1)).unwrap();
}

#[test]
fn a_new_queue_is_clear_and_empty() {
    let mut queue = queue();
    assert_eq!(
        (queue.free(), queue.in_flight(), queue.size()),
        (SIZE, 0, SIZE)
    );
    assert_eq!(queue.poll_used(), None);
    let addresses = queue.addresses();
    assert_eq!(addresses.descriptors, BASE);
    assert_eq!(addresses.driver, BASE + 128);
    assert_eq!(addresses.device, BASE + 128 + 24);
}

#[test]
fn a_chain_is_seen_when_it_is_published() {
    let mut queue = queue();
    let buffers = [buffer(16, false), buffer(512, true), buffer(1, true)];
    let head = queue.add(&buffers).unwrap();
    assert_eq!(queue.layout.avail_idx(&queue.memory), Ok(0));
    queue.publish();
    assert_eq!(queue.layout.avail_idx(&queue.memory), Ok(1));
    let (offered_head, chain) = offered(&queue, 0);
    assert_eq!(offered_head, head);
    let lens: Vec<_> = chain.iter().map(|d| d.len.get()).collect();
    assert_eq!(lens, [16, 512, 1]);
    assert!(!chain[0].flags().contains(DescriptorFlags::WRITE));
    assert!(chain[2].flags().contains(DescriptorFlags::WRITE));
}

#[test]
fn an_indirect_chain_takes_one_descriptor() {
    let mut queue = queue();
    let shape = TableShape {
        count: 2,
        writable: 1,
    };
    let vacant = queue.vacant();
    let head = queue.add_indirect(0x8000, shape).unwrap();
    assert_eq!(vacant, Some(head));
    assert_eq!(queue.free(), SIZE - 1);
    let (_, chain) = offered(&queue, 0);
    assert_eq!(
        chain,
        [Descriptor::new(0x8000, 32, DescriptorFlags::INDIRECT, 0)]
    );
}

#[test]
fn chains_that_cannot_be_are_refused_and_take_nothing() {
    let mut queue = queue_with(Options::default());
    assert_eq!(queue.add(&[]), Err(AddError::Empty));
    assert_eq!(queue.add(&[buffer(1, false); 9]), Err(AddError::Full));
    let disorder = [buffer(1, true), buffer(1, false)];
    assert_eq!(queue.add(&disorder), Err(AddError::Order));
    let shape = TableShape {
        count: 1,
        writable: 0,
    };
    assert_eq!(
        queue.add_indirect(0, shape),
        Err(AddError::IndirectNotNegotiated)
    );
    assert_eq!((queue.free(), queue.next_avail), (SIZE, 0));
}

#[test]
fn descriptors_come_back_with_their_chain() {
    let mut queue = queue();
    let first = queue.add(&[buffer(1, true); 5]).unwrap();
    let second = queue.add(&[buffer(1, true); 3]).unwrap();
    assert_eq!((queue.free(), queue.vacant()), (0, None));
    assert_eq!(queue.add(&[buffer(1, true)]), Err(AddError::Full));
    queue.publish();
    use_head(&queue, 0, second.into(), 3);
    assert_eq!(
        queue.poll_used(),
        Some(Ok(Used {
            head: second,
            len: 3
        }))
    );
    assert_eq!(queue.free(), 3);
    use_head(&queue, 1, first.into(), 0);
    assert_eq!(
        queue.poll_used(),
        Some(Ok(Used {
            head: first,
            len: 0
        }))
    );
    assert_eq!((queue.free(), queue.in_flight()), (SIZE, 0));
    queue.add(&[buffer(1, false); 8]).unwrap();
    assert_eq!(offered(&queue, 2).1.len(), 8);
}

#[test]
fn a_head_that_is_not_in_flight_breaks_the_queue() {
    for id in [1, u32::from(SIZE), 0xffff, 0x1_0000, u32::MAX] {
        let mut queue = queue();
        queue.add(&[buffer(4, true), buffer(4, true)]).unwrap();
        queue.publish();
        use_head(&queue, 0, id, 0);
        assert_eq!(
            queue.poll_used(),
            Some(Err(DeviceFault::UnknownHead { id }))
        );
        assert!(queue.is_broken());
        assert_eq!(queue.poll_used(), None);
        assert!(!queue.enable_interrupts());
    }
}

#[test]
fn a_head_cannot_be_used_twice() {
    let mut queue = queue();
    let head = queue.add(&[buffer(4, true)]).unwrap();
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    use_head(&queue, 0, head.into(), 0);
    use_head(&queue, 1, head.into(), 0);
    assert!(queue.poll_used().unwrap().is_ok());
    assert!(queue.poll_used().unwrap().is_err());
}

#[test]
fn a_used_index_ahead_of_all_requests_breaks_the_queue() {
    let mut queue = queue();
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    let device = queue.areas.device_area(&queue.memory).unwrap();
    device.set_idx(2).unwrap();
    assert!(matches!(
        queue.poll_used(),
        Some(Err(DeviceFault::UsedIndexJumped { used_idx: 2, .. }))
    ));
    assert!(queue.is_broken());
}

#[test]
fn a_length_past_the_buffers_ends_the_request_with_an_error() {
    let mut queue = queue();
    let head = queue.add(&[buffer(100, false), buffer(4, true)]).unwrap();
    queue.publish();
    use_head(&queue, 0, head.into(), 5);
    let fault = DeviceFault::LengthTooLong {
        head,
        len: 5,
        writable: 4,
    };
    assert_eq!(queue.poll_used(), Some(Err(fault)));
    assert!(!queue.is_broken());
    assert_eq!((queue.free(), queue.poll_used()), (SIZE, None));
}

#[test]
fn a_reset_makes_a_broken_queue_whole() {
    let mut queue = queue();
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    use_head(&queue, 0, 77, 0);
    assert!(queue.poll_used().unwrap().is_err());
    queue.reset().unwrap();
    assert_eq!(
        (queue.free(), queue.is_broken(), queue.next_avail),
        (SIZE, false, 0)
    );
    let head = queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    use_head(&queue, 0, head.into(), 4);
    assert!(queue.poll_used().unwrap().is_ok());
}

#[test]
fn the_device_is_kicked_where_it_wished() {
    let mut queue = queue();
    queue
        .areas
        .device_area(&queue.memory)
        .unwrap()
        .set_avail_event(1)
        .unwrap();
    assert!(!queue.needs_kick());
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    assert!(!queue.needs_kick());
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    assert!(queue.needs_kick());
    assert!(!queue.needs_kick(), "nothing new was published");
}

#[test]
fn without_event_indices_the_flag_decides() {
    let mut queue = queue_with(Options::default());
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    assert!(queue.needs_kick());
    let device = queue.areas.device_area(&queue.memory).unwrap();
    device.set_flags(UsedFlags::NO_NOTIFY).unwrap();
    queue.add(&[buffer(4, true)]).unwrap();
    queue.publish();
    assert!(!queue.needs_kick());
}

#[test]
fn going_to_sleep_looks_once_more() {
    for options in [OPTIONS, Options::default()] {
        let mut queue = queue_with(options);
        let head = queue.add(&[buffer(4, true)]).unwrap();
        queue.publish();
        queue.disable_interrupts();
        assert!(!queue.enable_interrupts());
        use_head(&queue, 0, head.into(), 0);
        assert!(queue.enable_interrupts());
        assert!(queue.poll_used().unwrap().is_ok());
        assert!(!queue.enable_interrupts());
    }
}

#[test]
fn memory_that_will_not_do_is_refused() {
    let block = || Box::leak(vec![0; 4096].into_boxed_slice());
    let make = |memory, size| Queue::<16>::new(memory, size, OPTIONS).map(|queue| queue.size());
    assert_eq!(
        make(Window::leaked(block(), 0), 32),
        Err(LayoutError::Size(32))
    );
    assert_eq!(
        make(Window::leaked(block(), 0), 0),
        Err(LayoutError::Size(0))
    );
    let need = QueueLayout::contiguous_bytes(SIZE) as usize;
    assert!(make(Window::leaked(&mut block()[..need], 0), SIZE).is_ok());
    assert!(matches!(
        make(Window::leaked(&mut block()[..need - 1], 0), SIZE),
        Err(LayoutError::OutOfWindow(_))
    ));
    assert!(matches!(
        make(Window::leaked(block(), 8), SIZE),
        Err(LayoutError::Misaligned { .. })
    ));
    assert!(matches!(
        make(Window::leaked(block(), u64::MAX - 15), SIZE),
        Err(LayoutError::OutOfWindow(_))
    ));
}
