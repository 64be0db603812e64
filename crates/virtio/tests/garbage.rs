//! Rings full of anything: never a panic, never an access outside the window, never an endless walk.
//!
//! The window lies between two pages that nobody may touch, right against one of them; an access
//! outside ends the test program.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use virtio::ring::device::{self, Chain, PopError, Position};
use virtio::ring::{driver, Options, QueueLayout};
use window::{ClientAddress, Window};

const PAGE: usize = 4096;
const PAGES: usize = 4;

/// Memory between two guard pages.
struct Guarded {
    mapping: *mut libc::c_void,
}

impl Guarded {
    const BYTES: usize = (PAGES + 2) * PAGE;

    fn new() -> Self {
        let (none, open) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping, wherever the kernel likes; nobody else has it.
        let mapping = unsafe { libc::mmap(std::ptr::null_mut(), Self::BYTES, none, flags, -1, 0) };
        assert_ne!(mapping, libc::MAP_FAILED);
        // SAFETY: the pages lie inside the mapping just made.
        let result = unsafe { libc::mprotect(mapping.byte_add(PAGE), PAGES * PAGE, open) };
        assert_eq!(result, 0);
        Self { mapping }
    }

    /// Runs `story` in a window of `length` bytes, against the upper or lower guard page, that is
    /// filled with `bytes` over and over.
    fn with(&self, length: usize, upper: bool, bytes: &[u8], story: impl FnOnce(&Window)) {
        let offset = if upper { PAGES * PAGE - length } else { 0 };
        let start = self.mapping.cast::<u8>().wrapping_add(PAGE + offset);
        // SAFETY: `length` bytes from `start` are between the guard pages; the mapping lives
        // longer than the window, and there are no references to it.
        let window = unsafe { Window::new(start, length as u64, 0) };
        let bytes: Vec<u8> = bytes.iter().copied().cycle().take(length).collect();
        window.write_bytes(ClientAddress::new(0), &bytes).unwrap();
        story(&window);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and all windows on it are gone.
        unsafe { libc::munmap(self.mapping, Self::BYTES) };
    }
}

/// What holds for each chain that was taken, wherever it came from.
fn check<const N: usize>(chain: &Chain<N>) {
    assert!(chain.buffers().len() <= N && !chain.buffers().is_empty());
    assert!(chain.readable().iter().all(|buffer| !buffer.writable));
    assert!(chain.writable().iter().all(|buffer| buffer.writable));
    let lengths = chain.buffers().iter().map(|buffer| u64::from(buffer.len));
    assert!(lengths.sum::<u64>() <= 1 << 32);
}

/// Serves a ring of garbage until it breaks, or for a while.
fn serve(window: &Window, layout: QueueLayout, options: Options, position: Position) {
    let Ok(mut queue) = device::Queue::new(window, layout, options, position) else {
        return;
    };
    let mut chain = Chain::<8>::new();
    for _ in 0..40 {
        match queue.pop(window, &mut chain) {
            Ok(Some(head)) => {
                assert!(head < layout.size);
                check(&chain);
                for buffer in chain.buffers() {
                    let _ = window.translate(buffer.address, buffer.len);
                }
                queue.complete(window, head, 7).unwrap();
            }
            Ok(None) => {}
            Err(PopError::Request { head, .. }) => {
                assert!(head < layout.size && chain.buffers().is_empty());
                queue.complete(window, head, 0).unwrap();
            }
            Err(PopError::Queue(_)) => break,
        }
        assert!(queue.in_flight() <= layout.size);
        queue.publish(window).unwrap();
        queue.needs_notification(window).unwrap();
        let _ = queue.enable_notifications(window);
        queue.disable_notifications(window).unwrap();
    }
}

/// Bytes that look like descriptors now and then.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![
        4 => 0u8..9,
        2 => Just(0u8),
        2 => Just(16u8),
        1 => any::<u8>()
    ];
    proptest::collection::vec(small, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_device_survives_any_ring(
        bytes in garbage(),
        power in 0u32..10,
        upper in any::<bool>(),
        event_idx in any::<bool>(),
        indirect in any::<bool>(),
        last_avail in 0u16..20,
        behind in 0u16..4,
    ) {
        let size = 1 << power;
        let layout = QueueLayout::contiguous(size);
        // The used ring ends with the window.
        let length = QueueLayout::contiguous_bytes(size) as usize;
        let length = if upper { length } else { PAGES * PAGE };
        if length > PAGES * PAGE {
            return Ok(());
        }
        let position = Position { last_avail, used_idx: last_avail.wrapping_sub(behind) };
        Guarded::new().with(length, upper, &bytes, |window| {
            serve(window, layout, Options { event_idx, indirect }, position);
        });
    }

    #[test]
    fn a_device_survives_any_layout(
        bytes in garbage(),
        size in prop_oneof![any::<u16>(), (0u32..16).prop_map(|power| 1 << power)],
        places in proptest::array::uniform3(prop_oneof![0u64..0x4400, (0u64..0x440).prop_map(|n| n * 16), any::<u64>()]),
        length in 0usize..PAGES * PAGE,
        upper in any::<bool>(),
    ) {
        let [descriptors, driver, device] = places.map(ClientAddress::new);
        let layout = QueueLayout { size, descriptors, driver, device };
        let options = Options { event_idx: true, indirect: true };
        Guarded::new().with(length, upper, &bytes, |window| {
            let _ = (layout.avail_idx(window), layout.used_idx(window));
            serve(window, layout, options, Position::default());
        });
    }

    #[test]
    fn a_driver_survives_any_device(
        power in 0u32..5,
        scribbles in proptest::collection::vec((any::<usize>(), prop_oneof![0u8..20, any::<u8>()]), 1..200),
        event_idx in any::<bool>(),
    ) {
        let size = 1 << power;
        let length = QueueLayout::contiguous_bytes(size);
        let memory = vec![0; length as usize].leak();
        let device_area = QueueLayout::contiguous(size).device.value();
        let base = memory.as_mut_ptr();
        // SAFETY: the memory is leaked, and from here on reached through windows only.
        let [ours, theirs] = [(); 2].map(|()| unsafe { Window::new(base, length.into(), 0) });
        let options = Options { event_idx, indirect: true };
        let mut queue = driver::Queue::<16>::new(ours, size, options).unwrap();
        for (place, byte) in scribbles {
            let buffer = driver::Buffer { absolute: 0, len: 64, writable: true };
            let _ = queue.add(&[buffer]);
            let shape = driver::TableShape { count: 2, writable: 64 };
            let _ = queue.add_indirect(0, shape);
            queue.publish();
            queue.needs_kick();
            // Mostly into the used ring, now and then anywhere.
            let room = u64::from(length) - device_area;
            let place = match place % 8 {
                0 => place as u64 % u64::from(length),
                _ => device_area + (place as u64 >> 3) % room.min(12),
            };
            theirs.write(ClientAddress::new(place), &byte).unwrap();
            let mut taken = 0;
            while let Some(used) = queue.poll_used() {
                if let Ok(used) = used {
                    assert!(used.head < size && used.len <= 64);
                }
                taken += 1;
                assert!(taken <= size, "more came back than was in flight");
            }
            assert!(queue.in_flight() <= size && queue.free() <= size);
            queue.enable_interrupts();
            queue.disable_interrupts();
            if queue.is_broken() {
                queue.reset().unwrap();
            }
        }
    }
}

/// Tells the other thread to stop, however the test ends.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Another thread changes the ring all the time. Whatever mixture of old and new a pop meets, what
/// it returns has passed all checks, because nothing is looked at twice.
#[test]
fn a_ring_that_changes_meanwhile_gives_checked_chains_only() {
    const SIZE: u16 = 16;
    let guarded = Guarded::new();
    let stop = AtomicBool::new(false);
    let layout = QueueLayout::contiguous(SIZE);
    guarded.with(PAGE, true, &[0], |window| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Descriptors between these extremes: valid and invalid, long and short, in
                // circles, with tables that are the ring itself.
                let mut seed = 1u32;
                let mut random = || {
                    seed ^= seed << 13;
                    seed ^= seed >> 17;
                    seed ^= seed << 5;
                    seed
                };
                let words = window.slice(ClientAddress::new(0), PAGE as u32).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let descriptor = random() % u32::from(SIZE);
                    let value = match random() % 4 {
                        0 => (descriptor * 4, random() % 0x300),
                        1 => (descriptor * 4 + 2, random() % 40 * 8),
                        2 => (descriptor * 4 + 2, random()),
                        _ => (descriptor * 4 + 3, ((random() % 18) << 16) | (random() % 8)),
                    };
                    words.store_u32(value.0, value.1).unwrap();
                }
            });
            let _stop = StopAtEnd(&stop);
            let options = Options {
                event_idx: true,
                indirect: true,
            };
            let position = Position::default();
            let mut queue = device::Queue::new(window, layout, options, position).unwrap();
            let avail = window
                .slice(layout.driver, 4 + 2 * u32::from(SIZE))
                .unwrap();
            let mut chain = Chain::<32>::new();
            let (mut good, mut bad) = (0, 0);
            for round in 0..200_000u32 {
                let entry = round % u32::from(SIZE);
                avail.store_u16(2 + entry, entry as u16).unwrap();
                avail.store_u16_release(1, (round + 1) as u16).unwrap();
                let head = match queue.pop(window, &mut chain) {
                    Ok(head) => {
                        check(&chain);
                        good += 1;
                        head.unwrap()
                    }
                    Err(PopError::Request { head, .. }) => {
                        bad += 1;
                        head
                    }
                    Err(PopError::Queue(error)) => panic!("{error}"),
                };
                queue.complete(window, head, 0).unwrap();
            }
            assert!(
                good > 0 && bad > 0,
                "{good} good, {bad} bad: the test tests nothing"
            );
        });
    });
}
