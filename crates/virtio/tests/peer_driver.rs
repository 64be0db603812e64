//! Our driver with the device half of rust-vmm's `virtio-queue`: somebody else's reading of the
//! standard.

mod common;

use common::{live, memory, options, sizes, steps, window, Peer};
use proptest::prelude::*;
use virtio::ring::device::Position;
use virtio::ring::{driver, QueueLayout};

proptest! {
    #[test]
    fn our_driver_drives_somebody_else_s_device(
        size in sizes(),
        options in options(),
        steps in steps(),
    ) {
        let memory = memory();
        let mut driver = driver::Queue::new(window(memory), size, options).unwrap();
        let layout = QueueLayout::contiguous(size);
        let mut device = Peer::new(memory, layout, options, Position::default());
        live(memory, &mut driver, &mut device, &steps);
    }
}
