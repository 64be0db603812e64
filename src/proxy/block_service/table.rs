//! Requests in flight: who asked, and what is owed to them.
//!
//! Rule: a fixed number of places, made when a disk is opened; nothing is allocated for a request.

use liballoc::vec::Vec;

use window::ClientAddress;

use crate::driver::block::Token;

/// Who asked: the client's place in the proxy's list, and the indices of its device and queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub client: u16,
    /// Its virtual subchannel.
    pub subchannel: u16,
    /// The queue.
    pub queue: u16,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who asked.
    pub origin: Origin,
    pub(in crate::proxy::block_service) head: u16,
    pub(in crate::proxy::block_service) kind: Kind,
    /// Bytes that the disk writes into the client's buffers.
    pub(in crate::proxy::block_service) data: u32,
    pub(in crate::proxy::block_service) status: ClientAddress,
    /// A flush is to follow, or is under way.
    pub(in crate::proxy::block_service) through: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::block_service) enum Kind {
    Read,
    Write { bytes: u32 },
    Flush,
    Discard,
}

/// The requests in flight; a [`Token`] is an index.
#[derive(Debug, Default)]
pub struct Table {
    requests: Vec<Option<Request>>,
    vacant: Vec<u32>,
}

impl Table {
    /// Makes room for so many requests, if it has less.
    pub fn grow(&mut self, capacity: usize) {
        let more = self.requests.len()..capacity.max(self.requests.len());
        self.requests.resize_with(more.end, || None);
        self.vacant
            .reserve_exact(capacity.saturating_sub(self.vacant.len()));
        self.vacant.extend(more.rev().map(|number| number as u32));
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.vacant.len()
    }

    /// Whether there is no room for another one.
    pub fn is_full(&self) -> bool {
        self.vacant.is_empty()
    }

    pub(in crate::proxy::block_service) fn insert(&mut self, request: Request) -> Option<Token> {
        let token = self.vacant.pop()?;
        *self.requests.get_mut(token as usize)? = Some(request);
        Some(Token(token))
    }

    pub(in crate::proxy::block_service) fn get_mut(
        &mut self,
        token: Token,
    ) -> Option<&mut Request> {
        self.requests.get_mut(token.0 as usize)?.as_mut()
    }

    /// Takes out a request that has ended.
    pub fn remove(&mut self, token: Token) -> Option<Request> {
        let request = self.requests.get_mut(token.0 as usize)?.take()?;
        self.vacant.push(token.0);
        Some(request)
    }
}
