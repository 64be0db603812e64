//! Any memory is a client's with a virtqueue in it, and a device's with one: no access outside, no panic, no endless walk.
//!
//! The memory is allocated at its length, so that the address sanitizer sees an access outside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtio::ring::device::{self, Chain, PopError, Position};
use virtio::ring::{driver, Options, QueueLayout};
use window::{ClientAddress, Window};

/// The ring is at the front of the memory.
const FRONT: usize = 8;

fuzz_target!(|input: &[u8]| {
    let Some((&[power, options, avail, behind, rest @ ..], memory)) =
        input.split_first_chunk::<FRONT>()
    else {
        return;
    };
    let size = 1 << (power % 8);
    let options = Options {
        event_idx: options & 1 != 0,
        indirect: options & 2 != 0,
    };
    let used_idx = u16::from(avail).wrapping_sub(u16::from(behind % 16));
    let position = Position {
        last_avail: avail.into(),
        used_idx,
    };
    serve(memory, size, options, position);
    drive(memory, size, options, &rest);
});

fn serve(memory: &[u8], size: u16, options: Options, position: Position) {
    let mut memory = memory.to_vec();
    let window = Window::borrowed(&mut memory, 0);
    let layout = QueueLayout::contiguous(size);
    let Ok(mut queue) = device::Queue::new(&window, layout, options, position) else {
        return;
    };
    let mut chain = Chain::<8>::new();
    for _ in 0..40 {
        match queue.pop(&window, &mut chain) {
            Ok(Some(head)) => {
                assert!(head < size && chain.readable().iter().all(|buffer| !buffer.writable));
                for buffer in chain.buffers() {
                    if window.translate(buffer.address, buffer.len).is_ok() && buffer.writable {
                        window
                            .fill(buffer.address, buffer.len.into(), 0xA5)
                            .expect("it was found inside");
                    }
                }
                queue.complete(&window, head, 7).expect("it was popped");
            }
            Ok(None) => {}
            Err(PopError::Request { head, .. }) => {
                queue.complete(&window, head, 0).expect("it was popped");
            }
            Err(PopError::Queue(_)) => break,
        }
        assert!(queue.in_flight() <= size);
        queue.publish(&window).expect("the ring is in the window");
        let _ = queue.needs_notification(&window);
        let _ = queue.enable_notifications(&window);
    }
}

/// A device that writes into the used ring what it likes.
fn drive(memory: &[u8], size: u16, options: Options, buffers: &[u8]) {
    let bytes = QueueLayout::contiguous_bytes(size) as usize;
    let mut ring = vec![0_u64; bytes.div_ceil(8)];
    // SAFETY: the vector is longer, lives on behind the queue, and nobody else looks at it.
    let (window, device) = unsafe {
        let start = ring.as_mut_ptr().cast();
        (
            Window::new(start, bytes as u64, 0x1_0000),
            Window::new(start, bytes as u64, 0),
        )
    };
    let Ok(mut queue) = driver::Queue::<128>::new(window, size, options) else {
        return;
    };
    let used = QueueLayout::contiguous(size).device.value();
    let room = bytes as u64 - used;
    for piece in memory.chunks(room.min(64) as usize).take(16) {
        for &len in buffers {
            let buffer = driver::Buffer {
                absolute: 0x1000,
                len: len.into(),
                writable: len & 1 != 0,
            };
            let _ = queue.add(&[buffer]);
        }
        queue.publish();
        let _ = device.write_bytes(ClientAddress::new(used), piece);
        for _ in 0..8 {
            match queue.poll_used() {
                Some(Ok(done)) => assert!(done.head < size),
                Some(Err(_)) => {}
                None => break,
            }
        }
        assert!(queue.in_flight() <= size);
        let _ = (queue.needs_kick(), queue.enable_interrupts());
    }
}
