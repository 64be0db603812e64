//! Our driver and our device on one queue.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use common::{live, memory, options, sizes, steps, window, Own};
use proptest::prelude::*;
use virtio::ring::device::{self, Chain, Position};
use virtio::ring::{driver, Options, QueueLayout};
use window::Window;

proptest! {
    #[test]
    fn our_halves_understand_each_other(size in sizes(), options in options(), steps in steps()) {
        let memory = memory();
        let mut driver = driver::Queue::new(window(memory), size, options).unwrap();
        let layout = QueueLayout::contiguous(size);
        let mut device = Own::new(window(memory), layout, options, Position::default());
        live(memory, &mut driver, &mut device, &steps);
    }

    #[test]
    fn a_device_restarted_at_any_moment_loses_nothing(
        options in options(),
        offered in 0u16..=8,
        taken in 0u16..=8,
        used in 0u16..=8,
        rounds in 0u16..40,
    ) {
        let memory = memory();
        let mut driver = driver::Queue::<8>::new(window(memory), 8, options).unwrap();
        let layout = QueueLayout::contiguous(8);
        let window = window(memory);
        let mut device = device::Queue::new(&window, layout, options, Position::default()).unwrap();
        let mut chain = Chain::<8>::new();
        let buffer = driver::Buffer { absolute: 0, len: 4, writable: true };
        for _ in 0..rounds {
            driver.add(&[buffer]).unwrap();
            driver.publish();
            let head = device.pop(&window, &mut chain).unwrap().unwrap();
            device.complete(&window, head, 4).unwrap();
            device.publish(&window).unwrap();
            driver.poll_used().unwrap().unwrap();
        }

        let mut sent = Vec::new();
        for _ in 0..offered {
            sent.push(driver.add(&[buffer]).unwrap());
        }
        driver.publish();
        let mut heads = Vec::new();
        for _ in 0..taken {
            heads.extend(device.pop(&window, &mut chain).unwrap());
        }
        for &head in heads.iter().take(used.into()) {
            device.complete(&window, head, 4).unwrap();
        }
        device.publish(&window).unwrap();
        // What it had taken and not used, it does again: in order, so they are the next ones.
        let used_idx = layout.used_idx(&window).unwrap();
        let again = Position { last_avail: used_idx, used_idx };
        let mut device = device::Queue::new(&window, layout, options, again).unwrap();
        while let Some(head) = device.pop(&window, &mut chain).unwrap() {
            device.complete(&window, head, 4).unwrap();
        }
        device.publish(&window).unwrap();
        let mut back = Vec::new();
        while let Some(done) = driver.poll_used() {
            back.push(done.unwrap().head);
        }
        prop_assert_eq!(back, sent);
    }
}

/// A bell that remembers: whoever rings it before the sleeper lies down has rung it all the same.
struct Bell {
    rung: AtomicBool,
    sleeper: Thread,
}

impl Bell {
    fn new() -> Self {
        Self {
            rung: AtomicBool::new(false),
            sleeper: thread::current(),
        }
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.sleeper.unpark();
    }

    fn wait(&self) {
        let lain_down = Instant::now();
        while !self.rung.swap(false, Ordering::SeqCst) {
            thread::park_timeout(Duration::from_secs(20));
            assert!(lain_down.elapsed().as_secs() < 20, "a wake-up was lost");
        }
    }
}

/// Echoes each request: serves until `requests` are done.
fn serve(
    window: &Window,
    layout: QueueLayout,
    options: Options,
    requests: u32,
    bells: (&Bell, &Bell),
) {
    let (own, other) = bells;
    let mut queue = device::Queue::new(window, layout, options, Position::default()).unwrap();
    let mut chain = Chain::<16>::new();
    let mut done = 0;
    while done < requests {
        queue.disable_notifications(window).unwrap();
        while let Some(head) = queue.pop(window, &mut chain).unwrap() {
            let len = chain.writable().iter().map(|buffer| buffer.len).sum();
            queue.complete(window, head, len).unwrap();
            queue.publish(window).unwrap();
            if queue.needs_notification(window).unwrap() {
                other.ring();
            }
            done += 1;
        }
        if done < requests && !queue.enable_notifications(window).unwrap() {
            own.wait();
        }
    }
}

/// Two threads, each asleep whenever the ring says that it may be. A single lost wake-up would
/// leave both asleep for good.
#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const REQUESTS: u32 = 50_000;
    for event_idx in [false, true] {
        let options = Options {
            event_idx,
            indirect: true,
        };
        let memory = memory();
        let mut driver = driver::Queue::<16>::new(window(memory), 16, options).unwrap();
        let layout = QueueLayout::contiguous(16);
        let driver_bell = Bell::new();
        let (tell, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let driver_bell = &driver_bell;
            scope.spawn(move || {
                let bell: &'static Bell = Box::leak(Box::new(Bell::new()));
                tell.send(bell).unwrap();
                serve(
                    &window(memory),
                    layout,
                    options,
                    REQUESTS,
                    (bell, driver_bell),
                );
            });
            let device_bell: &Bell = told.recv().unwrap();
            let (mut sent, mut back) = (0, 0);
            let mut expected = [0; 16];
            while back < REQUESTS {
                while sent < REQUESTS && driver.free() >= 2 {
                    let len = sent % 1000;
                    let mut buffers = [driver::Buffer {
                        absolute: 0,
                        len: 8,
                        writable: false,
                    }; 2];
                    buffers[1] = driver::Buffer {
                        absolute: 0,
                        len,
                        writable: true,
                    };
                    let head = driver.add(&buffers).unwrap();
                    expected[usize::from(head)] = len;
                    sent += 1;
                    driver.publish();
                    if driver.needs_kick() {
                        device_bell.ring();
                    }
                }
                driver.disable_interrupts();
                while let Some(done) = driver.poll_used() {
                    let done = done.unwrap();
                    assert_eq!(done.len, expected[usize::from(done.head)]);
                    back += 1;
                }
                let full = sent == REQUESTS || driver.free() < 2;
                if back < REQUESTS && full && !driver.enable_interrupts() {
                    driver_bell.wait();
                }
            }
        });
        assert_eq!(driver.free(), 16);
    }
}
