//! Descriptor chains: which ones are taken, and what is wrong with the others.

use std::vec;
use std::vec::Vec;

use super::*;

fn bytes(buffers: &[Buffer]) -> u64 {
    buffers.iter().map(|buffer| u64::from(buffer.len)).sum()
}

#[test]
fn a_chain_comes_out_in_order_with_its_two_halves() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(3, 0x1000, 16, next(), 5);
    fixture.descriptor(5, 0x2000, 512, next() | write(), 1);
    fixture.descriptor(1, 0x3000, 1, write(), 7);
    fixture.offer(3);
    assert_eq!(fixture.pop(), Ok(Some(3)));
    let chain = &fixture.chain;
    let addresses: Vec<_> = chain.buffers().iter().map(|b| b.address.value()).collect();
    assert_eq!(addresses, [0x1000, 0x2000, 0x3000]);
    assert_eq!((chain.readable().len(), bytes(chain.readable())), (1, 16));
    assert_eq!((chain.writable().len(), bytes(chain.writable())), (2, 513));
    assert_eq!(fixture.pop(), Ok(None));
}

#[test]
fn an_indirect_table_is_the_rest_of_the_chain() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0x1000, 16, next(), 1);
    // Its WRITE flag means nothing.
    fixture.descriptor(1, TABLE, 48, indirect() | write(), 9);
    fixture.table(
        TABLE,
        &[
            (0x2000, 8, next(), 2),
            (0, 0, none(), 0),
            (0x3000, 1, write(), 0),
        ],
    );
    fixture.offer(0);
    assert_eq!(fixture.pop(), Ok(Some(0)));
    let addresses: Vec<_> = fixture
        .chain
        .buffers()
        .iter()
        .map(|b| b.address.value())
        .collect();
    assert_eq!(addresses, [0x1000, 0x2000, 0x3000]);
}

#[test]
fn an_indirect_table_may_be_longer_than_the_queue_and_not_aligned() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    let mut entries = vec![(0, 0, none(), 0); 20];
    entries[0] = (0x1000, 4, next(), 19);
    entries[19] = (0x2000, 4, none(), 0);
    fixture.table(TABLE + 3, &entries);
    fixture.descriptor(0, TABLE + 3, 20 * 16, indirect(), 0);
    fixture.offer(0);
    assert_eq!(fixture.pop(), Ok(Some(0)));
    assert_eq!(bytes(fixture.chain.readable()), 8);
}

#[test]
fn a_circle_ends_in_an_error() {
    let memory = &mut memory();
    let mut fixture = Fixture::with(memory, OPTIONS);
    let mut chain = Chain::<64>::new();
    fixture.descriptor(0, 0x1000, 4, next(), 1);
    fixture.descriptor(1, 0x1000, 4, next(), 0);
    fixture.offer(0);
    let result = fixture.queue.pop(&fixture.window, &mut chain);
    let error = ChainError::Loop;
    assert_eq!(result, Err(PopError::Request { head: 0, error }));

    fixture.table(TABLE, &[(0x1000, 4, next(), 0)]);
    fixture.descriptor(0, TABLE, 16, indirect(), 0);
    fixture.offer(0);
    let result = fixture.queue.pop(&fixture.window, &mut chain);
    assert_eq!(result, Err(PopError::Request { head: 0, error }));
}

#[test]
fn a_chain_as_long_as_the_queue_is_no_circle() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    for index in 0..SIZE {
        let flags = if index + 1 < SIZE { next() } else { none() };
        fixture.descriptor(index, 0x1000, 4, flags, index + 1);
    }
    fixture.offer(0);
    assert_eq!(fixture.pop(), Ok(Some(0)));
    assert_eq!(fixture.chain.buffers().len(), usize::from(SIZE));
}

#[test]
fn a_chain_with_more_buffers_than_the_device_takes_is_refused() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    let entries: Vec<_> = (1..=9).map(|n| (0x1000, 4, next(), n)).collect();
    fixture.table(TABLE, &entries);
    fixture.descriptor(0, TABLE, 9 * 16, indirect(), 0);
    assert_eq!(
        fixture.refusal(),
        ChainError::TooManyBuffers { capacity: 8 }
    );
}

#[test]
fn a_next_outside_the_table_is_refused() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0x1000, 4, next(), SIZE);
    let outside = ChainError::NextOutOfRange {
        next: SIZE,
        count: 8,
    };
    assert_eq!(fixture.refusal(), outside);
    fixture.table(TABLE, &[(0x1000, 4, next(), 2), (0x1000, 4, none(), 0)]);
    fixture.descriptor(0, TABLE, 32, indirect(), 0);
    let outside = ChainError::NextOutOfRange { next: 2, count: 2 };
    assert_eq!(fixture.refusal(), outside);
}

#[test]
fn buffers_to_be_read_come_first() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0x1000, 4, next() | write(), 1);
    fixture.descriptor(1, 0x1000, 4, none(), 0);
    assert_eq!(fixture.refusal(), ChainError::ReadableAfterWritable);
}

#[test]
fn a_chain_of_more_than_four_gib_is_refused() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0, u32::MAX, next(), 1);
    fixture.descriptor(1, 0, 2, write(), 0);
    assert_eq!(fixture.refusal(), ChainError::TooManyBytes((1 << 32) + 1));
    fixture.descriptor(1, 0, 1, write(), 0);
    fixture.offer(0);
    assert_eq!(fixture.pop(), Ok(Some(0)));
}

#[test]
fn the_rules_of_indirect_tables_hold() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, TABLE, 16, indirect() | next(), 1);
    assert_eq!(fixture.refusal(), ChainError::IndirectWithNext);
    for bytes in [0, 15, 17] {
        fixture.descriptor(0, TABLE, bytes, indirect(), 0);
        assert_eq!(fixture.refusal(), ChainError::TableLength(bytes));
    }
    fixture.descriptor(0, TABLE, 16, indirect(), 0);
    fixture.table(TABLE, &[(TABLE, 16, indirect(), 0)]);
    assert_eq!(fixture.refusal(), ChainError::NestedIndirect);
    for (address, bytes) in [(4090, 16), (TABLE, u32::MAX - 15), (u64::MAX - 3, 16)] {
        fixture.descriptor(0, address, bytes, indirect(), 0);
        assert!(matches!(fixture.refusal(), ChainError::OutOfWindow(_)));
    }
}

#[test]
fn without_the_feature_there_are_no_indirect_tables() {
    let memory = &mut memory();
    let mut fixture = Fixture::with(memory, Options::default());
    fixture.descriptor(0, TABLE, 16, indirect(), 0);
    assert_eq!(fixture.refusal(), ChainError::IndirectNotNegotiated);
}

#[test]
fn a_descriptor_changed_after_the_pop_changes_nothing() {
    let memory = &mut memory();
    let mut fixture = Fixture::new(memory);
    fixture.descriptor(0, 0x1000, 16, none(), 0);
    fixture.offer(0);
    fixture.pop().unwrap();
    let before = fixture.chain.buffers().to_vec();
    fixture.descriptor(0, 0xffff_0000, u32::MAX, indirect() | next(), 9);
    assert_eq!(fixture.chain.buffers(), before);
}
