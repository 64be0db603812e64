//! The block service: requests out of clients' queues into disks, completions back.
//!
//! # The data path
//!
//! Copied are descriptors, the 16-byte header, discard ranges and the status byte. Data is not: a buffer
//! becomes a segment of absolute storage by adding the window's base, and the disk's DMA does the rest.
//! Nothing is allocated: requests in flight live in a [`Table`] of fixed size, and the chain and the segments
//! being looked at in one [`Scratch`].
//!
//! # Rule
//!
//! A request gets exactly one ending. What is wrong with a request ends that request; what is wrong
//! with a ring ends the device, until its driver resets it.

use virtio::blk::{Range as WireRange, RangeFlags, RequestStatus, RequestType, SECTOR};
use virtio::ring::device::{Buffer, PopError};
use window::{ClientAddress, Window};
use zerocopy::IntoBytes;

use super::request::{copy_out, gather, shape, Refused, Scratch, Shape, MAX_RANGES};
use super::table::{Kind, Origin, Request, Table};
use super::{sectors, VirtioBlk};
use crate::driver::block::{BlockDevice, BlockStatus, Operation, Range, SubmitError};

/// Requests taken from one queue before the next one's turn.
const BUDGET: u32 = 32;

/// What the devices of all clients share.
#[derive(Debug, Default)]
pub struct Requests {
    /// The requests in flight.
    pub table: Table,
    /// The place to take one apart.
    pub scratch: Scratch,
    /// Set when a request finds its disk full.
    pub full: bool,
}

/// A request that was checked.
enum Prepared {
    /// It is the disk's: what it is to do, and how many bytes it writes into the client's buffers.
    Disk(Operation, Kind, u32),
    /// It is done, and so many bytes were written into the client's buffers.
    Done(u32),
}

impl VirtioBlk {
    /// Whether [`Self::serve`] would find something in a queue: the quick look of each turn.
    #[inline]
    pub fn has_news(&self, queue: u16) -> bool {
        let slot = self.queues.get(usize::from(queue));
        slot.and_then(|slot| slot.served.as_ref())
            .is_some_and(|served| served.has_news(self.window))
    }

    /// Takes requests from one queue that [has news](Self::has_news), and passes them on: of a disk that is `held`, only
    /// those that had been taken before. Returns whether there were any.
    pub fn serve(
        &mut self,
        origin: Origin,
        held: bool,
        disk: &mut dyn BlockDevice,
        requests: &mut Requests,
    ) -> bool {
        let mut worked = false;
        for _ in 0..BUDGET {
            let Some(slot) = self.queues.get_mut(usize::from(origin.queue)) else {
                break;
            };
            let Some(served) = &mut slot.served else {
                break;
            };
            if held && !served.has_taken() {
                break;
            }
            if requests.table.is_full() {
                requests.full = true;
                break;
            }
            let taken = served.take(self.window, &mut requests.scratch.chain);
            let last = served.is_caught_up();
            let head = match taken {
                Ok(None) => break,
                Ok(Some(head)) => head,
                Err(PopError::Request { head, error }) => {
                    log::debug!("{origin:?} head {head}: {error}");
                    self.counters.errors += 1;
                    self.give_back(origin, head, 0);
                    worked = true;
                    continue;
                }
                Err(PopError::Queue(error)) => {
                    self.needs_reset(&error);
                    return true;
                }
            };
            if !self.begin(origin, head, disk, requests) {
                // The disk is full: the request waits in the client's ring.
                requests.full = true;
                if let Some(served) = self.served_mut(origin.queue) {
                    served.put_back(head);
                }
                break;
            }
            worked = true;
            // The next turn looks for what has come meanwhile.
            if last {
                break;
            }
        }
        worked
    }

    /// Starts a request. `false`: there is no room for it now.
    fn begin(
        &mut self,
        origin: Origin,
        head: u16,
        disk: &mut dyn BlockDevice,
        requests: &mut Requests,
    ) -> bool {
        let window = self.window;
        let shape = match shape(window, &requests.scratch.chain) {
            Ok(shape) => shape,
            Err(_) => {
                log::debug!("{origin:?} head {head}: no room for header or status");
                self.counters.errors += 1;
                self.give_back(origin, head, 0);
                return true;
            }
        };
        // The status byte, and what comes before it.
        let mut written = 1;
        let ended = match self.prepare(&shape, &mut requests.scratch) {
            Ok(Prepared::Disk(operation, kind, data)) => {
                let request = Request {
                    origin,
                    head,
                    kind,
                    data,
                    status: shape.status,
                    through: matches!(kind, Kind::Write { .. } | Kind::Discard)
                        && !self.write_back()
                        && self.disk.flush,
                };
                let Some(token) = requests.table.insert(request) else {
                    return false;
                };
                let queue = self.disk_queue(origin.queue);
                let Scratch {
                    segments, ranges, ..
                } = &requests.scratch;
                match disk.submit(queue, operation, segments, ranges, token) {
                    Ok(()) => return true,
                    Err(error) => {
                        requests.table.remove(token);
                        match error {
                            SubmitError::Full => return false,
                            SubmitError::Unsupported => RequestStatus::Unsupported,
                            SubmitError::TooLarge | SubmitError::Broken => RequestStatus::IoError,
                        }
                    }
                }
            }
            Ok(Prepared::Done(data)) => {
                written += data;
                RequestStatus::Ok
            }
            Err(Refused::Status(status)) => status,
            Err(Refused::Shape) => RequestStatus::IoError,
        };
        if ended != RequestStatus::Ok {
            self.counters.errors += 1;
        }
        self.answer(origin, head, shape.status, ended, written);
        true
    }

    /// Checks a request and makes the disk's operation of it, unless it is done already.
    #[inline]
    fn prepare(&mut self, shape: &Shape, scratch: &mut Scratch) -> Result<Prepared, Refused> {
        let Scratch {
            chain,
            segments,
            ranges,
        } = scratch;
        segments.clear();
        ranges.clear();
        let window = self.window;
        let kind = RequestType::try_from(shape.header.kind.get())
            .map_err(|_| RequestStatus::Unsupported)?;
        let read_only = self.disk.read_only;
        match kind {
            RequestType::In => {
                let bytes = gather(window, chain.writable(), (0, 0), 1, segments)?;
                let sector = self.place(shape.header.sector.get(), bytes)?;
                if bytes == 0 {
                    return Ok(Prepared::Done(0));
                }
                Ok(Prepared::Disk(
                    Operation::Read { sector },
                    Kind::Read,
                    bytes,
                ))
            }
            RequestType::Out => {
                if read_only {
                    return Err(RequestStatus::IoError.into());
                }
                let bytes = gather(window, chain.readable(), shape.skip, 0, segments)?;
                let sector = self.place(shape.header.sector.get(), bytes)?;
                if bytes == 0 {
                    return Ok(Prepared::Done(0));
                }
                let kind = Kind::Write { bytes };
                Ok(Prepared::Disk(Operation::Write { sector }, kind, 0))
            }
            RequestType::Flush => {
                if !self.disk.flush {
                    return Ok(Prepared::Done(0));
                }
                Ok(Prepared::Disk(Operation::Flush, Kind::Flush, 0))
            }
            RequestType::GetId => {
                let room = gather(window, chain.writable(), (0, 0), 1, segments)?;
                let written = self.get_id(window, chain.writable(), room)?;
                Ok(Prepared::Done(written))
            }
            RequestType::Discard | RequestType::WriteZeroes => {
                if read_only {
                    return Err(RequestStatus::IoError.into());
                }
                self.ranges(kind, window, chain.readable(), shape.skip, ranges)?;
                let operation = if kind == RequestType::Discard {
                    Operation::Discard
                } else {
                    Operation::WriteZeroes
                };
                Ok(Prepared::Disk(operation, Kind::Discard, 0))
            }
            RequestType::GetLifetime | RequestType::SecureErase => {
                Err(RequestStatus::Unsupported.into())
            }
        }
    }

    /// Where on the disk a transfer begins, if it lies within the export.
    #[inline]
    fn place(&self, sector: u64, bytes: u32) -> Result<u64, Refused> {
        let count =
            sectors(u64::from(bytes), self.disk.block_size).ok_or(RequestStatus::IoError)?;
        let block_sectors = u64::from(self.disk.block_size / SECTOR).max(1);
        match sector.checked_add(count) {
            Some(end) if end <= self.disk.sectors && sector.is_multiple_of(block_sectors) => {
                Ok(self.disk.start + sector)
            }
            _ => Err(RequestStatus::IoError.into()),
        }
    }

    /// Writes as much of the serial as there is room for, and returns how many bytes that is.
    fn get_id(&self, window: &Window, writable: &[Buffer], room: u32) -> Result<u32, Refused> {
        let serial = self.export.serial.as_slice();
        let serial = serial.get(..room as usize).unwrap_or(serial);
        let mut rest = serial;
        for buffer in writable {
            let length = rest.len().min(buffer.len as usize);
            let (now, later) = rest.split_at(length);
            window
                .write_bytes(buffer.address, now)
                .map_err(|_| RequestStatus::IoError)?;
            rest = later;
        }
        Ok((serial.len() - rest.len()) as u32)
    }

    /// Copies and checks the ranges of a discard or write-zeroes request.
    fn ranges(
        &self,
        kind: RequestType,
        window: &Window,
        readable: &[Buffer],
        skip: (usize, u32),
        ranges: &mut heapless::Vec<Range, MAX_RANGES>,
    ) -> Result<(), Refused> {
        let mut wire = [WireRange::default(); MAX_RANGES];
        let length = copy_out(window, readable, skip, wire.as_mut_bytes())?;
        if length == 0 || length % size_of::<WireRange>() != 0 {
            return Err(RequestStatus::IoError.into());
        }
        let most = match kind {
            RequestType::Discard => self.config.max_discard_sectors.get(),
            _ => self.config.max_write_zeroes_sectors.get(),
        };
        for range in wire.iter().take(length / size_of::<WireRange>()) {
            let flags = RangeFlags::from_bits(range.flags.get());
            let unmap = match (kind, flags) {
                (RequestType::WriteZeroes, Some(flags)) => flags.contains(RangeFlags::UNMAP),
                (_, Some(flags)) if flags.is_empty() => false,
                // As the standard has it: unsupported, not an error.
                _ => return Err(RequestStatus::Unsupported.into()),
            };
            let count = range.num_sectors.get();
            let end = range.sector.get().checked_add(u64::from(count));
            if count > most || end.is_none_or(|end| end > self.disk.sectors) {
                return Err(RequestStatus::IoError.into());
            }
            let _ = ranges.push(Range {
                sector: self.disk.start + range.sector.get(),
                sectors: count,
                unmap,
            });
        }
        Ok(())
    }

    /// A disk's completion of one of this device's requests, which is not in the table any more. `false`: its flush could not be
    /// submitted; give the same completion again.
    pub fn complete(
        &mut self,
        request: &Request,
        status: BlockStatus,
        disk: &mut dyn BlockDevice,
        table: &mut Table,
    ) -> bool {
        let mut status = match status {
            BlockStatus::Ok => RequestStatus::Ok,
            BlockStatus::IoError => RequestStatus::IoError,
            BlockStatus::Unsupported => RequestStatus::Unsupported,
        };
        if request.through && status == RequestStatus::Ok {
            match self.flush(request, disk, table) {
                Ok(()) => return true,
                Err(SubmitError::Full) => return false,
                Err(_) => status = RequestStatus::IoError,
            }
        }
        let written = if status == RequestStatus::Ok {
            self.count(request);
            request.data.saturating_add(1)
        } else {
            self.counters.errors += 1;
            1
        };
        self.answer(
            request.origin,
            request.head,
            request.status,
            status,
            written,
        );
        true
    }

    /// Lets a flush follow a write. The request stays in the table, under the token that it just had,
    /// unless the flush is refused for good.
    fn flush(
        &self,
        request: &Request,
        disk: &mut dyn BlockDevice,
        table: &mut Table,
    ) -> Result<(), SubmitError> {
        let queue = self.disk_queue(request.origin.queue);
        let token = table.insert(*request).ok_or(SubmitError::Broken)?;
        let submitted = disk.submit(queue, Operation::Flush, &[], &[], token);
        match submitted {
            Ok(()) => {
                if let Some(request) = table.get_mut(token) {
                    request.through = false;
                }
            }
            Err(SubmitError::Full) => {}
            Err(_) => {
                table.remove(token);
            }
        }
        submitted
    }

    #[inline]
    fn count(&mut self, request: &Request) {
        match request.kind {
            Kind::Read => {
                self.counters.reads += 1;
                self.counters.bytes_read += u64::from(request.data);
            }
            Kind::Write { bytes } => {
                self.counters.writes += 1;
                self.counters.bytes_written += u64::from(bytes);
            }
            Kind::Flush => self.counters.flushes += 1,
            Kind::Discard => self.counters.discards += 1,
        }
    }

    #[inline]
    pub(in crate::proxy::block_service) fn answer(
        &mut self,
        origin: Origin,
        head: u16,
        at: ClientAddress,
        status: RequestStatus,
        written: u32,
    ) {
        if let Err(error) = self.window.write(at, &u8::from(status)) {
            log::debug!("{origin:?} head {head}: status: {error}");
        }
        self.give_back(origin, head, written);
    }

    #[inline]
    pub(in crate::proxy::block_service) fn give_back(
        &mut self,
        origin: Origin,
        head: u16,
        written: u32,
    ) {
        let window = self.window;
        self.dirty = true;
        let Some(served) = self.served_mut(origin.queue) else {
            return;
        };
        if let Err(error) = served.give_back(window, head, written) {
            self.needs_reset(&error);
        }
    }

    /// Publishes what was completed. Returns whether the client is to be notified.
    pub fn publish(&mut self) -> bool {
        self.dirty = false;
        let mut notify = core::mem::take(&mut self.changed);
        let mut broken = None;
        for slot in &mut self.queues {
            let Some(served) = &mut slot.served else {
                continue;
            };
            if served.is_dirty() {
                if let Err(error) = served.publish(self.window) {
                    broken = Some(error);
                }
            }
            if served.take_notify() {
                slot.notify.store(slot.notify.load().wrapping_add(1));
                notify = true;
            }
        }
        if let Some(error) = broken {
            self.needs_reset(&error);
        }
        notify
    }

    /// Asks the client to ring for new requests, or tells it not to. With `on`, says whether there are
    /// requests already that can be taken. While one waits for room on the disk, others do as well, and what makes room wakes everybody.
    pub fn expect_bells(&mut self, on: bool) -> bool {
        if !self.is_live() {
            return false;
        }
        let mut waiting = false;
        let mut broken = None;
        for slot in &mut self.queues {
            let Some(served) = slot.served.as_mut().filter(|queue| queue.is_taking()) else {
                continue;
            };
            let done = if on {
                served.expect_bell(self.window)
            } else {
                served.expect_no_bell(self.window).map(|()| false)
            };
            match done {
                Ok(more) => waiting |= more && !served.has_taken(),
                Err(error) => broken = Some(error),
            }
        }
        if let Some(error) = broken {
            self.needs_reset(&error);
        }
        waiting
    }

    /// Number of queues to go through.
    pub fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    #[inline]
    fn disk_queue(&self, queue: u16) -> u16 {
        let slot = self.queues.get(usize::from(queue));
        slot.map_or(0, |slot| slot.disk_queue)
    }

    pub(in crate::proxy::block_service) fn served_mut(
        &mut self,
        queue: u16,
    ) -> Option<&mut super::ServedQueue> {
        self.queues.get_mut(usize::from(queue))?.served.as_mut()
    }
}
