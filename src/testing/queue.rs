//! A virtqueue, as its device has it.

use virtio::ccw::QueueInfo;
use virtio::ring::device::Queue;

#[derive(Debug, Default)]
pub struct QueueState {
    pub info: Option<QueueInfo>,
    pub ring: Option<Queue>,
    pub notifications: u32,
}
