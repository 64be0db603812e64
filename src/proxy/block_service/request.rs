//! A descriptor chain taken apart: header, data, status byte.
//!
//! Rule: lengths and addresses are the client's. Each is checked once, here, and what comes out is within its window.

use liballoc::boxed::Box;

use virtio::blk::{RequestHeader, RequestStatus};
use virtio::ring::device::{Buffer, Chain};
use window::{ClientAddress, Segment, Window};

use crate::driver::block::Range;

/// Data segments that a request may have, whatever the disk allows.
pub(super) const MAX_SEGMENTS: usize = 128;
/// Ranges that a discard may have, whatever the disk allows.
pub(super) const MAX_RANGES: usize = 16;

/// How many of a disk's ranges per request the service passes on.
pub const fn ranges(disk: u32) -> u32 {
    if disk < MAX_RANGES as u32 {
        disk
    } else {
        MAX_RANGES as u32
    }
}

/// Where a request is taken apart. One for all, so that nothing is cleared that need not be.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) chain: Box<Chain<{ MAX_SEGMENTS + 2 }>>,
    pub(super) segments: Box<heapless::Vec<Segment, MAX_SEGMENTS>>,
    pub(super) ranges: heapless::Vec<Range, MAX_RANGES>,
}

/// Why a request ends without the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The chain has no place for header or status.
    Shape,
    Status(RequestStatus),
}

impl From<RequestStatus> for Refused {
    fn from(status: RequestStatus) -> Self {
        Self::Status(status)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) header: RequestHeader,
    /// Of the readable buffers, how many are all header, and the bytes of the next that are.
    pub(super) skip: (usize, u32),
    pub(super) status: ClientAddress,
}

/// Finds header and status byte in a chain. The usual case, a buffer for each, is the quick one.
#[inline]
pub(super) fn shape<const N: usize>(window: &Window, chain: &Chain<N>) -> Result<Shape, Refused> {
    const HEADER: usize = size_of::<RequestHeader>();
    let last = chain.writable().last().ok_or(Refused::Shape)?;
    // The status is the last byte that may be written; an empty buffer has none.
    let status = (last.len.checked_sub(1))
        .and_then(|offset| last.address.checked_add(u64::from(offset)))
        .ok_or(Refused::Shape)?;
    let first = chain.readable().first().ok_or(Refused::Shape)?;
    if first.len as usize == HEADER {
        let header = window.read(first.address).map_err(|_| Refused::Shape)?;
        return Ok(Shape {
            header,
            skip: (1, 0),
            status,
        });
    }
    let mut bytes = [0; HEADER];
    let mut filled = 0;
    for (number, buffer) in chain.readable().iter().enumerate() {
        let length = (HEADER - filled).min(buffer.len as usize);
        let part = bytes.get_mut(filled..filled + length);
        window
            .read_bytes(buffer.address, part.ok_or(Refused::Shape)?)
            .map_err(|_| Refused::Shape)?;
        filled += length;
        if filled == HEADER {
            return Ok(Shape {
                header: zerocopy::transmute!(bytes),
                skip: (number, length as u32),
                status,
            });
        }
    }
    Err(Refused::Shape)
}

/// Buffers into segments, without the bytes to skip in front and to trim at the end. Returns how many
/// bytes they have.
#[inline]
pub(super) fn gather(
    window: &Window,
    buffers: &[Buffer],
    (skip, front): (usize, u32),
    trim: u32,
    segments: &mut heapless::Vec<Segment, MAX_SEGMENTS>,
) -> Result<u32, Refused> {
    const BAD: Refused = Refused::Status(RequestStatus::IoError);
    let buffers = buffers.get(skip..).unwrap_or_default();
    let last = buffers.len().wrapping_sub(1);
    let mut total: u32 = 0;
    for (number, buffer) in buffers.iter().enumerate() {
        let mut start = buffer.address;
        let mut length = buffer.len;
        if number == 0 && front != 0 {
            start = start.checked_add(u64::from(front)).ok_or(BAD)?;
            length -= front;
        }
        if number == last {
            length -= trim;
        }
        if length == 0 {
            continue;
        }
        let segment = window.translate(start, length).map_err(|_| BAD)?;
        segments.push(segment).map_err(|_| BAD)?;
        total = total.checked_add(length).ok_or(BAD)?;
    }
    Ok(total)
}

/// Copies what buffers hold, all of it, without the bytes to skip. Returns how much there was.
pub(super) fn copy_out(
    window: &Window,
    buffers: &[Buffer],
    (skip, mut front): (usize, u32),
    bytes: &mut [u8],
) -> Result<usize, Refused> {
    const BAD: Refused = Refused::Status(RequestStatus::IoError);
    let mut filled = 0;
    for buffer in buffers.get(skip..).unwrap_or_default() {
        let start = buffer.address.checked_add(u64::from(front)).ok_or(BAD)?;
        let length = (buffer.len - front) as usize;
        front = 0;
        let part = bytes
            .get_mut(filled..)
            .and_then(|rest| rest.get_mut(..length));
        window
            .read_bytes(start, part.ok_or(BAD)?)
            .map_err(|_| BAD)?;
        filled += length;
    }
    Ok(filled)
}
