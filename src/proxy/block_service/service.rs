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

use virtio::blk::RequestStatus;
use virtio::ring::device::PopError;
use window::ClientAddress;
use zerocopy::big_endian::U64;

use super::lane::Charge;
use super::request::{shape, Refused, Scratch};
use super::slice::Prepared;
use super::table::{Origin, Request, Table};
use super::VirtioBlk;
use crate::driver::block::{BlockDevice, BlockStatus, Operation, SubmitError};

/// Requests taken from one queue before the next one's turn.
const BUDGET: u32 = 32;

/// What the devices of all clients share.
#[derive(Debug, Default)]
pub struct Requests {
    pub table: Table,
    /// The place to take one apart.
    pub scratch: Scratch,
    /// Set when a request finds its disk full.
    pub full: bool,
}

impl VirtioBlk {
    /// Whether [`Self::serve`] would find something in a queue: the quick look of each turn.
    #[inline]
    pub fn has_news(&self, queue: u16) -> bool {
        let slot = self.queues.get(usize::from(queue));
        slot.and_then(|slot| slot.served.as_ref())
            .is_some_and(|served| served.has_news(self.window))
    }

    /// Whether there is something to take in any queue.
    pub fn wants(&self) -> bool {
        let live = self.is_live() && !self.held;
        live && self.served().any(|queue| queue.has_news(self.window))
    }

    /// Takes requests from one queue that [has news](Self::has_news), and passes them on. Returns whether there were any.
    pub fn serve(
        &mut self,
        origin: Origin,
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
            // What was taken before is not kept waiting.
            let refuses = self.held || self.lane.refuses();
            if refuses && !served.has_taken() {
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
                    self.refuse(origin, head, &error);
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
                self.refuse(origin, head, &"no room for header or status");
                return true;
            }
        };
        // The status byte, and what comes before it.
        let mut written = 1;
        let ended = match self.slice.prepare(window, &shape, &mut requests.scratch) {
            Ok(Prepared::Disk(operation, bytes)) => {
                let request = Request {
                    origin,
                    head,
                    operation,
                    bytes,
                    status: shape.status,
                    through: operation.changes_data() && !self.write_back() && self.slice.flush,
                    charge: Charge::default(),
                };
                let Some(token) = requests.table.insert(request) else {
                    return false;
                };
                let queue = self.disk_queue(origin.queue);
                let Scratch {
                    segments, ranges, ..
                } = &requests.scratch;
                match disk.submit(queue, operation, segments, ranges, token) {
                    Ok(()) => {
                        if self.lane.is_counted() {
                            let flushes = request.through;
                            let charge = self.lane.take(origin.queue, bytes, ranges, flushes);
                            requests.table.charge(token, charge);
                        }
                        return true;
                    }
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
            bump(&mut self.counters.errors, 1);
        }
        self.lane.take_idle(origin.queue);
        self.answer(origin, head, shape.status, ended, written);
        true
    }

    /// Ends a request that has no place for a status.
    #[cold]
    fn refuse(&mut self, origin: Origin, head: u16, why: &dyn core::fmt::Display) {
        log::debug!("{origin:?} head {head}: {why}");
        bump(&mut self.counters.errors, 1);
        self.lane.take_idle(origin.queue);
        self.give_back(origin, head, 0);
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
        self.lane.release(&request.charge);
        let written = if status == RequestStatus::Ok {
            self.count(request);
            match request.operation {
                Operation::Read { .. } => request.bytes.saturating_add(1),
                _ => 1,
            }
        } else {
            bump(&mut self.counters.errors, 1);
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

    /// While the disk is not there: ends with an error what keeps queues from stopping. Returns whether there was anything.
    pub fn end_rest(&mut self, client: u16, subchannel: u16, scratch: &mut Scratch) -> bool {
        let window = self.window;
        let mut worked = false;
        for queue in 0..self.queue_count() {
            let origin = Origin {
                client,
                subchannel,
                queue,
            };
            while self.is_driven() {
                let served = self.served_mut(queue).filter(|served| served.has_rest());
                let head = match served.map(|served| served.take(window, &mut scratch.chain)) {
                    Some(Ok(Some(head)) | Err(PopError::Request { head, .. })) => head,
                    None | Some(Ok(None) | Err(PopError::Queue(_))) => break,
                };
                bump(&mut self.counters.errors, 1);
                worked = true;
                match shape(window, &scratch.chain) {
                    Ok(shape) => {
                        let (at, status) = (shape.status, RequestStatus::IoError);
                        self.answer(origin, head, at, status, 1);
                    }
                    Err(_) => self.give_back(origin, head, 0),
                }
            }
        }
        worked
    }

    #[inline]
    fn count(&mut self, request: &Request) {
        let counters = &mut self.counters;
        match request.operation {
            Operation::Read { .. } => {
                bump(&mut counters.reads, 1);
                bump(&mut counters.bytes_read, request.bytes.into());
            }
            Operation::Write { .. } => {
                bump(&mut counters.writes, 1);
                bump(&mut counters.bytes_written, request.bytes.into());
            }
            Operation::Flush => bump(&mut counters.flushes, 1),
            Operation::Discard | Operation::WriteZeroes => bump(&mut counters.discards, 1),
            Operation::GetId => {}
        }
    }

    #[inline]
    fn answer(
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
    fn give_back(&mut self, origin: Origin, head: u16, written: u32) {
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
        // What cannot be taken yet is known to be there, and what makes that possible wakes everybody.
        if !self.is_live() || (on && self.lane.blocked.is_some()) {
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
                Ok(more) => waiting |= more && !self.held && !served.has_taken(),
                Err(error) => broken = Some(error),
            }
        }
        if let Some(error) = broken {
            self.needs_reset(&error);
        }
        waiting
    }

    pub fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    #[inline]
    fn disk_queue(&self, queue: u16) -> u16 {
        let slot = self.queues.get(usize::from(queue));
        slot.map_or(0, |slot| slot.disk_queue)
    }

    fn served_mut(&mut self, queue: u16) -> Option<&mut super::ServedQueue> {
        self.queues.get_mut(usize::from(queue))?.served.as_mut()
    }
}

#[inline]
fn bump(counter: &mut U64, by: u64) {
    counter.set(counter.get() + by);
}
