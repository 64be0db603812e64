//! One request queue: the hot path.
//!
//! Each head of the ring has a *slot* of 2 KiB, set aside at bring-up:
//!
//! ```text
//!    0  request header        device reads
//!   16  status byte           device writes (the seven bytes after it are not used)
//!   32  indirect table: 126 descriptors: header, data, status
//! 1920  ranges of a discard or write-zeroes, in the end of the table: such a request has three
//!       descriptors
//! ```
//!
//! The slot's number is the head's, so a completion finds its request by an index. Everything else of
//! a request is its token, which the device cannot reach.

use liballoc::boxed::Box;

use virtio::blk::{Range as WireRange, RangeFlags, RequestHeader, RequestStatus, RequestType};
use virtio::ring::driver::{Buffer, DeviceFault, Queue, TableShape};
use virtio::ring::{Descriptor, DescriptorFlags, Options};
use window::{ClientAddress, OutOfWindow, Segment, Window, WindowSlice};

use super::super::block::{BlockStatus, Done, Operation, Range, SubmitError, Token};
use super::super::virtio_ccw::TransportError;
use crate::css::Platform;

pub const QUEUE_SIZE: usize = 128;
pub const SEGMENTS: u16 = TABLE_ENTRIES - 2;
/// The same for a device without indirect descriptors.
pub(super) const DIRECT_SEGMENTS: u16 = 14;
/// Most ranges of one discard or write-zeroes.
pub(super) const RANGES: u32 = 8;

const SLOT: u32 = 2048;
/// Places in a slot; those of 16-byte elements counted in elements.
const HEADER: u32 = 0;
const STATUS: u32 = 16;
/// The status byte's place, counted in words of eight bytes.
const STATUS_WORD: u32 = STATUS / 8;
const TABLE: u32 = 2;
const TABLE_ENTRIES: u16 = (SLOT / 16 - TABLE) as u16;
const RANGE: u32 = SLOT / 16 - RANGES;
const HEADER_BYTES: u32 = size_of::<RequestHeader>() as u32;
const RANGE_BYTES: u32 = size_of::<WireRange>() as u32;
/// What the status is before the device has written it: no status at all.
const NO_STATUS: [u8; 8] = [0xFF; 8];

const _: () = assert!(
    RANGE > TABLE + 3,
    "the ranges lie in the table's unused end"
);
const _: () = assert!((QUEUE_SIZE * SLOT as usize).is_multiple_of(4096));

#[derive(Debug)]
pub(super) struct RequestQueue {
    ring: Queue<QUEUE_SIZE>,
    slots: Window,
    tokens: Box<[Option<Token>; QUEUE_SIZE]>,
    /// Which slots' tables begin with the header's descriptor, which never changes.
    prepared: [bool; QUEUE_SIZE],
    in_flight: u32,
    /// Something was added since the device was last told.
    fresh: bool,
    indirect: bool,
}

/// What a request looks like on the wire.
struct Shape {
    kind: RequestType,
    sector: u64,
    reads: bool,
}

impl RequestQueue {
    pub(super) fn new(
        platform: &mut dyn Platform,
        ring: Queue<QUEUE_SIZE>,
        options: Options,
    ) -> Result<Self, TransportError> {
        let bytes = usize::from(ring.size()) * SLOT as usize;
        // A slot is written before it is read, and the ring takes the last used ones first: most are
        // never touched.
        let pages = bytes.div_ceil(4096);
        let slots = platform.storage_as_is(pages)?;
        Ok(Self {
            ring,
            slots,
            tokens: Box::new([None; QUEUE_SIZE]),
            prepared: [false; QUEUE_SIZE],
            in_flight: 0,
            fresh: false,
            indirect: options.indirect,
        })
    }

    /// Adds a request whose counts have been checked. The device sees it after
    /// [`publish`](Self::publish).
    #[inline]
    pub(super) fn submit(
        &mut self,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
        token: Token,
    ) -> Result<(), SubmitError> {
        let head = self.ring.vacant().ok_or(SubmitError::Full)?;
        let result = self.fill(head, operation, segments, ranges);
        // Its own storage is out of reach, or the ring's is: neither happens, but if it did, nothing
        // could be sent.
        let added = result.map_err(|_| SubmitError::Broken)?;
        if !added {
            return Err(SubmitError::Full);
        }
        if let Some(place) = self.tokens.get_mut(usize::from(head)) {
            *place = Some(token);
        }
        self.in_flight += 1;
        self.fresh = true;
        Ok(())
    }

    /// Writes the request into the slot of `head` and adds it; false if the ring has no room.
    #[inline]
    fn fill(
        &mut self,
        head: u16,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
    ) -> Result<bool, OutOfWindow> {
        let slots = &self.slots;
        let place = ClientAddress::new(u64::from(head) * u64::from(SLOT));
        let slot = slots.slice(place, SLOT)?;
        let base = slots.absolute_base() + place.value();
        let shape = shape(operation);
        slot.set_element(HEADER, &RequestHeader::new(shape.kind, shape.sector))?;
        slot.set_element(STATUS_WORD, &NO_STATUS)?;
        let data;
        let segments = match operation {
            Operation::Read { .. } | Operation::Write { .. } | Operation::GetId => segments,
            Operation::Flush => &[],
            Operation::Discard | Operation::WriteZeroes => {
                data = [Segment {
                    absolute: base + u64::from(RANGE) * 16,
                    len: put_ranges(&slot, operation, ranges)?,
                }];
                data.as_slice()
            }
        };
        if !self.indirect {
            return Ok(add_direct(&mut self.ring, base, &shape, segments));
        }
        if let Some(prepared @ false) = self.prepared.get_mut(usize::from(head)) {
            let header = Descriptor::new(base, HEADER_BYTES, DescriptorFlags::NEXT, 1);
            slot.set_element(TABLE, &header)?;
            *prepared = true;
        }
        let table = put_table(&slot, base, &shape, segments)?;
        Ok(self
            .ring
            .add_indirect(base + u64::from(TABLE) * 16, table)
            .is_ok())
    }

    /// Shows the device all that was added; true if it wants to be told.
    #[inline]
    pub(super) fn publish(&mut self) -> bool {
        if !core::mem::take(&mut self.fresh) {
            return false;
        }
        self.ring.publish();
        self.ring.needs_kick()
    }

    #[inline]
    pub(super) fn poll(&mut self) -> Option<Result<Done, DeviceFault>> {
        if self.in_flight == 0 {
            return None;
        }
        let (head, broken) = match self.ring.poll_used()? {
            Ok(used) => (used.head, false),
            Err(DeviceFault::LengthTooLong { head, .. }) => (head, true),
            Err(fault) => return Some(Err(fault)),
        };
        let token = self
            .tokens
            .get_mut(usize::from(head))
            .and_then(Option::take);
        let Some(token) = token else {
            // The ring only gives heads that are in flight, and each of those has a token.
            return Some(Err(DeviceFault::UnknownHead { id: head.into() }));
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        let status = if broken {
            BlockStatus::IoError
        } else {
            self.status(head)
        };
        Some(Ok(Done { token, status }))
    }

    #[inline]
    fn status(&self, head: u16) -> BlockStatus {
        let place = u64::from(head) * u64::from(SLOT) + u64::from(STATUS);
        match self
            .slots
            .read::<u8>(ClientAddress::new(place))
            .map(RequestStatus::try_from)
        {
            Ok(Ok(RequestStatus::Ok)) => BlockStatus::Ok,
            Ok(Ok(RequestStatus::Unsupported)) => BlockStatus::Unsupported,
            Ok(Ok(RequestStatus::IoError) | Err(_)) | Err(_) => BlockStatus::IoError,
        }
    }

    /// One of the requests that the device will not come back with.
    #[cold]
    pub(super) fn abandon(&mut self) -> Option<Done> {
        let token = self.tokens.iter_mut().find_map(Option::take)?;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some(Done {
            token,
            status: BlockStatus::IoError,
        })
    }

    pub(super) fn enable_interrupts(&mut self) -> bool {
        self.ring.enable_interrupts()
    }

    pub(super) fn disable_interrupts(&mut self) {
        self.ring.disable_interrupts();
    }
}

#[inline]
const fn shape(operation: Operation) -> Shape {
    let (kind, sector, reads) = match operation {
        Operation::Read { sector } => (RequestType::In, sector, true),
        Operation::Write { sector } => (RequestType::Out, sector, false),
        Operation::Flush => (RequestType::Flush, 0, false),
        Operation::Discard => (RequestType::Discard, 0, false),
        Operation::WriteZeroes => (RequestType::WriteZeroes, 0, false),
        Operation::GetId => (RequestType::GetId, 0, true),
    };
    Shape {
        kind,
        sector,
        reads,
    }
}

/// Writes the indirect table behind the header's descriptor: data, status.
#[inline]
fn put_table(
    slot: &WindowSlice<'_>,
    base: u64,
    shape: &Shape,
    segments: &[Segment],
) -> Result<TableShape, OutOfWindow> {
    let mut flags = DescriptorFlags::NEXT;
    flags.set(DescriptorFlags::WRITE, shape.reads);
    let mut entry = 1;
    let mut writable = 1_u32;
    for segment in segments {
        let descriptor = Descriptor::new(segment.absolute, segment.len, flags, entry + 1);
        slot.set_element(TABLE + u32::from(entry), &descriptor)?;
        if shape.reads {
            writable = writable.saturating_add(segment.len);
        }
        entry += 1;
    }
    let status = Descriptor::new(base + u64::from(STATUS), 1, DescriptorFlags::WRITE, 0);
    slot.set_element(TABLE + u32::from(entry), &status)?;
    Ok(TableShape {
        count: entry + 1,
        writable,
    })
}

/// Writes the ranges of a discard or write-zeroes; gives their length in bytes.
fn put_ranges(
    slot: &WindowSlice<'_>,
    operation: Operation,
    ranges: &[Range],
) -> Result<u32, OutOfWindow> {
    let mut count = 0;
    for range in ranges {
        let mut flags = RangeFlags::empty();
        // A discard that asks to unmap is an error (section 5.2.6.2).
        flags.set(
            RangeFlags::UNMAP,
            range.unmap && operation == Operation::WriteZeroes,
        );
        let wire = WireRange {
            sector: range.sector.into(),
            num_sectors: range.sectors.into(),
            flags: flags.bits().into(),
        };
        slot.set_element(RANGE + count, &wire)?;
        count += 1;
    }
    Ok(count * RANGE_BYTES)
}

/// For a device without indirect descriptors: the chain in the ring's own table.
#[cold]
fn add_direct(
    ring: &mut Queue<QUEUE_SIZE>,
    base: u64,
    shape: &Shape,
    segments: &[Segment],
) -> bool {
    const MOST: usize = DIRECT_SEGMENTS as usize + 2;
    let mut chain = [Buffer::default(); MOST];
    let header = Buffer {
        absolute: base,
        len: HEADER_BYTES,
        writable: false,
    };
    let status = Buffer {
        absolute: base + u64::from(STATUS),
        len: 1,
        writable: true,
    };
    let data = segments.iter().map(|segment| Buffer {
        absolute: segment.absolute,
        len: segment.len,
        writable: shape.reads,
    });
    let count = segments.len() + 2;
    let buffers = core::iter::once(header)
        .chain(data)
        .chain(core::iter::once(status));
    for (place, buffer) in chain.iter_mut().zip(buffers) {
        *place = buffer;
    }
    chain
        .get(..count)
        .is_some_and(|chain| ring.add(chain).is_ok())
}
