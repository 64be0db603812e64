//! The requests of a disk: those that wait, those in the running program, and those that have ended.

use liballoc::boxed::Box;
use liballoc::vec::Vec;

use window::{OutOfWindow, Segment};

use super::super::block::{BlockStatus, Done, SubmitError, Token};
use super::thin::Piecewise;
use super::{Cursor, Medium};

pub const QUEUE_SIZE: usize = 64;
pub const SEGMENTS: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Request {
    token: Option<Token>,
    pub(super) write: bool,
    /// Its next block, and how many are left.
    pub(super) block: u64,
    left: u32,
    /// Where in the segments that is.
    pub(super) at: Cursor,
    pub(super) segments: heapless::Vec<Segment, SEGMENTS>,
}

/// What of a request is in the running program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) blocks: u32,
    end: Cursor,
}

/// Which requests are free, those that came, in their order, and the endings of those that have ended. There is room for all.
#[derive(Debug)]
struct Order {
    free: heapless::Vec<u8, QUEUE_SIZE>,
    queue: heapless::Deque<u8, QUEUE_SIZE>,
    done: heapless::Deque<Done, QUEUE_SIZE>,
}

impl Order {
    /// The first request of the queue ends.
    fn finish(&mut self, request: &mut Request, status: BlockStatus) {
        if let (Some(number), Some(token)) = (self.queue.pop_front(), request.token.take()) {
            let _ = self.free.push(number);
            let _ = self.done.push_back(Done { token, status });
        }
    }
}

#[derive(Debug)]
pub(super) struct Requests {
    all: Box<[Request]>,
    order: Order,
    /// The running program's share of the first requests of the queue.
    parts: heapless::Vec<Part, QUEUE_SIZE>,
    /// How many requests go alone, since they were in a program that failed.
    alone: usize,
    pub(super) pieces: Piecewise,
}

impl Requests {
    pub(super) fn new() -> Self {
        let all: Vec<Request> = (0..QUEUE_SIZE).map(|_| Request::default()).collect();
        Self {
            all: all.into_boxed_slice(),
            order: Order {
                free: (0..QUEUE_SIZE as u8).collect(),
                queue: heapless::Deque::new(),
                done: heapless::Deque::new(),
            },
            parts: heapless::Vec::new(),
            alone: 0,
            pieces: Piecewise::default(),
        }
    }

    /// Those that wait or are in the program.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.order.queue.len()
    }

    /// Those whose ending nobody has taken.
    #[inline]
    pub(super) fn ended(&self) -> usize {
        self.order.done.len()
    }

    #[inline]
    pub(super) fn take_ended(&mut self) -> Option<Done> {
        self.order.done.pop_front()
    }

    pub(super) fn first(&self) -> Option<&Request> {
        self.all.get(usize::from(*self.order.queue.front()?))
    }

    pub(super) fn running(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn first_part(&self) -> Option<Part> {
        self.parts.first().copied()
    }

    /// None is in a program.
    pub(super) fn withdraw(&mut self) {
        self.parts.clear();
    }

    /// Those in the program are tried one by one, with all others that are to be.
    pub(super) fn separate(&mut self) {
        self.alone = self.alone.max(self.parts.len());
    }

    /// Takes a request for `left` blocks into a free place.
    #[inline]
    pub(super) fn accept(
        &mut self,
        write: bool,
        block: u64,
        left: u32,
        segments: &[Segment],
        token: Token,
    ) -> Result<(), SubmitError> {
        if segments.len() > SEGMENTS {
            return Err(SubmitError::TooLarge);
        }
        let number = self.order.free.pop().ok_or(SubmitError::Full)?;
        if let Some(request) = self.all.get_mut(usize::from(number)) {
            // In its place: a whole request has room for many segments, all of which would be copied.
            request.token = Some(token);
            request.write = write;
            request.block = block;
            request.left = left;
            request.at = Cursor::default();
            request.segments.clear();
            // There is room.
            let _ = request.segments.extend_from_slice(segments);
        }
        // As long as there are free requests, there is room.
        let _ = self.order.queue.push_back(number);
        Ok(())
    }

    /// Puts into the medium's program what fits of those that wait.
    #[inline]
    pub(super) fn fill<M: Medium>(&mut self, medium: &mut M) {
        self.parts.clear();
        medium.begin();
        let pieces = &mut self.pieces;
        let (one, limit) = pieces.begin();
        let most = if self.alone > 0 || one { 1 } else { QUEUE_SIZE };
        for &number in self.order.queue.iter().take(most) {
            let Some(request) = self.all.get(usize::from(number)) else {
                break;
            };
            let (part, full) = add(medium, request, pieces, limit);
            let whole = part.blocks == request.left;
            if part.blocks > 0 {
                // There are no more parts than requests.
                let _ = self.parts.push(part);
            }
            if full || !whole {
                break;
            }
        }
    }

    /// The program has done its work: the requests that are whole have ended.
    pub(super) fn complete(&mut self) {
        self.alone = self.alone.saturating_sub(1);
        for part in &self.parts {
            let first = self.order.queue.front().map(|&number| usize::from(number));
            let Some(request) = first.and_then(|number| self.all.get_mut(number)) else {
                break;
            };
            request.at = part.end;
            request.block += u64::from(part.blocks);
            request.left = request.left.saturating_sub(part.blocks);
            if request.left == 0 {
                self.pieces.end();
                self.order.finish(request, BlockStatus::Ok);
            } else if self.alone > 0 {
                // It still goes alone.
                self.alone += 1;
            }
        }
        self.parts.clear();
    }

    /// The first request fails; `false`: there is none.
    #[cold]
    pub(super) fn fail_first(&mut self) -> bool {
        self.pieces.end();
        self.alone = self.alone.saturating_sub(1);
        let first = self.order.queue.front().map(|&number| usize::from(number));
        let Some(request) = first.and_then(|number| self.all.get_mut(number)) else {
            return false;
        };
        self.order.finish(request, BlockStatus::IoError);
        true
    }
}

/// Adds as many blocks of a request as fit; says whether the program is full.
fn add<M: Medium>(
    medium: &mut M,
    request: &Request,
    pieces: &mut Piecewise,
    limit: Option<u32>,
) -> (Part, bool) {
    let mut part = Part {
        blocks: 0,
        end: request.at,
    };
    while part.blocks < request.left {
        let block = request.block + u64::from(part.blocks);
        let left = request.left - part.blocks;
        let left = limit.map_or(left, |limit| left.min(limit));
        match medium.add(request.write, block, left, &request.segments, part.end) {
            Ok(Some((blocks, end))) => {
                part.blocks += blocks;
                part.end = end;
                pieces.count();
                if limit.is_some() {
                    break;
                }
            }
            Ok(None) | Err(OutOfWindow { .. }) => return (part, true),
        }
    }
    (part, false)
}
