//! A client area's entries: the four parts of a virtual subchannel, and what must outlive the
//! appliance.
//!
//! All arrays but the in-flight tables are indexed by virtual subchannel number; queues of subchannel
//! `s` stand at `s * MAX_QUEUES + q`.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use channel::{Irb, Schib};

use crate::layout::from_number;

/// Queues a virtual subchannel may have.
pub const MAX_QUEUES: usize = 8;
/// Descriptors a queue may have.
pub const MAX_QUEUE_SIZE: usize = 1024;

from_number!(Instruction: u32);

/// The I/O instruction that a request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Instruction {
    /// START SUBCHANNEL; the operand is an ORB.
    Start = 1,
    /// HALT SUBCHANNEL.
    Halt = 2,
    /// CLEAR SUBCHANNEL.
    Clear = 3,
    /// CANCEL SUBCHANNEL.
    Cancel = 4,
    /// RESUME SUBCHANNEL.
    Resume = 5,
    /// STORE SUBCHANNEL; the answer is in the SCHIB part.
    Store = 6,
    /// MODIFY SUBCHANNEL; the operand is a SCHIB.
    Modify = 7,
    /// TEST SUBCHANNEL; the answer is in the status part.
    Test = 8,
}

/// One request. Written by the client: operand and instruction first, `sequence` last.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Command {
    /// Differs from the last request's; see [`Response::sequence`].
    pub sequence: U32,
    /// [`Instruction`].
    pub instruction: U32,
    /// ORB or SCHIB, from the first byte.
    pub operand: [u8; 56],
}

/// The answer to a request. Written by the appliance, `sequence` last.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Response {
    /// The request that is answered. While it differs from [`Command::sequence`], a request is open.
    pub sequence: U32,
    /// Condition code 0 to 3, or [`Response::INVALID`].
    pub condition: U32,
}

impl Response {
    /// The request was none: unknown instruction.
    pub const INVALID: u32 = 0x8000_0000;
    /// The operand is one that the instruction does not take: where a CPU recognises an operand exception.
    pub const OPERAND: u32 = 0x8000_0001;
}

/// Status. Written by the appliance.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// 1 while the subchannel is status pending: TEST will answer condition code 0.
    pub pending: U32,
    /// Zero.
    pub reserved: [U32; 7],
    /// What the last TEST stored.
    pub irb: Irb,
}

/// Subchannel information. Written by the appliance, at bring-up and by each STORE and MODIFY.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchibPart {
    /// What the last STORE stored.
    pub schib: Schib,
    /// Of a pass-through subchannel: the function-control bits of what is in progress or has not been tested yet. For
    /// the appliance's next life.
    pub functions: U32,
    /// Zero.
    pub reserved: [u8; 8],
}

/// The virtual subchannel's interruptions for virtio. Written by the appliance. These counters stand in
/// for virtio-ccw's indicator bits, which have two writers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notify {
    /// For each queue, the number of used-buffer notifications; wraps.
    pub queue: [U32; MAX_QUEUES],
    /// Number of configuration changes; wraps.
    pub config: U32,
    /// Zero.
    pub reserved: [U32; 7],
}

/// Measurement of a virtual subchannel: a format-1 measurement block (*Principles of Operation*, chapter
/// 17, "Measurement block"). Written by the appliance. Counts wrap; times are in units of 128
/// microseconds.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Measurement {
    /// START and RESUME SUBCHANNEL instructions that were carried out.
    pub starts: U32,
    /// Samples: how often the times were added to.
    pub samples: U32,
    /// Device-connect time.
    pub connect: U32,
    /// Function-pending time.
    pub pending: U32,
    /// Device-disconnect time.
    pub disconnect: U32,
    /// Control-unit-queuing time.
    pub queuing: U32,
    /// Device-active-only time.
    pub active_only: U32,
    /// Device-busy time.
    pub busy: U32,
    /// Initial-command-response time.
    pub initial_response: U32,
    /// Zero.
    pub reserved: [U32; 7],
}

/// A virtio device's state, as far as it must outlive the appliance. Written by the appliance.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceState {
    /// Negotiated features.
    pub features: U64,
    /// virtio-ccw revision.
    pub revision: U32,
    /// Device status byte.
    pub status: u8,
    /// Write-back cache: 1 write-back, 0 write-through.
    pub writeback: u8,
    /// 1 in every state that the appliance has written: one that is zero up to here is none.
    pub written: u8,
    /// Zero.
    pub reserved: u8,
    /// Sectors that the device has, as its driver knows or has been told; 0 if it has been told nothing yet.
    pub capacity: U64,
    /// Which device it was: what the appliance makes of the export, so that another one in the same place does not go on where this one
    /// ended. 0 where nobody has said. Also of a virtual subchannel of the pass-through kind.
    pub identity: U32,
    /// Zero.
    pub zero: [u8; 4],
}

/// A virtqueue's state. Written by the appliance.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueState {
    /// Descriptors; 0 while the queue is not set up.
    pub size: U16,
    /// The next available-ring index that the appliance will take.
    pub next_avail: U16,
    /// Zero.
    pub reserved: U32,
    /// Descriptor area (client address).
    pub descriptors: U64,
    /// Driver area (client address).
    pub driver: U64,
    /// Device area (client address).
    pub device: U64,
}

/// One descriptor-chain head of one queue. Written by the appliance. Head `h` of queue `q` of
/// subchannel `s` stands at `(s * MAX_QUEUES + q) * MAX_QUEUE_SIZE + h`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InFlight {
    /// [`InFlight::FREE`], [`InFlight::TAKEN`] or [`InFlight::RETURNED`].
    pub state: U16,
    /// RETURNED: the used-ring index at which the head stands. TAKEN: the available-ring index at
    /// which it stood, which orders requests that are taken up again.
    pub index: U16,
}

impl InFlight {
    /// The client owns the head.
    pub const FREE: u16 = 0;
    /// The appliance works on it.
    pub const TAKEN: u16 = 1;
    /// It is in the used ring; whether the used index already covers it tells whether the client
    /// can see it.
    pub const RETURNED: u16 = 2;
}

/// A byte of the program window.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProgramByte(pub u8);

/// Command code of a virtio-ccw virtual subchannel beyond virtio's own: where the next SET_VQ of a
/// queue begins. Data: [`QueuePosition`].
pub const SET_VQ_POSITION: u8 = 0xA1;

/// What [`SET_VQ_POSITION`] brings. It holds for the next SET_VQ of the queue only; after a queue has
/// been released its position is in [`QueueState::next_avail`], and is kept for the next SET_VQ.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueuePosition {
    /// Number of the queue.
    pub index: U16,
    /// The available-ring index to begin with.
    pub next_avail: U16,
}
