//! Requests in flight: who asked, and what is owed to them.
//!
//! Rule: a fixed number of places, made when a disk is opened; nothing is allocated for a request.

use liballoc::vec::Vec;

use window::ClientAddress;

use super::lane::Charge;
use crate::driver::block::{Operation, Token};

/// Who asked: the client's place in the proxy's list, and the indices of its device and queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub client: u16,
    pub subchannel: u16,
    pub queue: u16,
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub origin: Origin,
    pub(super) head: u16,
    pub(super) operation: Operation,
    /// Bytes that are read or written.
    pub(super) bytes: u32,
    pub(super) status: ClientAddress,
    /// A flush is to follow, or is under way.
    pub(super) through: bool,
    pub(super) charge: Charge,
}

impl Request {
    /// What the disk does for it.
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// Bytes that are read or written.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }
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

    /// The requests in flight, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().flatten()
    }

    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.vacant.len()
    }

    pub fn is_full(&self) -> bool {
        self.vacant.is_empty()
    }

    pub(super) fn insert(&mut self, request: Request) -> Option<Token> {
        let token = self.vacant.pop()?;
        *self.requests.get_mut(token as usize)? = Some(request);
        Some(Token(token))
    }

    /// What a request that was accepted is counted as.
    #[inline(never)]
    pub(super) fn charge(&mut self, token: Token, charge: Charge) {
        if let Some(request) = self.get_mut(token) {
            request.charge = charge;
        }
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Request> {
        self.requests.get_mut(token.0 as usize)?.as_mut()
    }

    /// A client has another place in the proxy's list.
    pub fn move_client(&mut self, from: u16, to: u16) {
        let origins = self.requests.iter_mut().flatten().map(|it| &mut it.origin);
        for origin in origins.filter(|origin| origin.client == from) {
            origin.client = to;
        }
    }

    /// Takes out a request that has ended.
    pub fn remove(&mut self, token: Token) -> Option<Request> {
        let request = self.requests.get_mut(token.0 as usize)?.take()?;
        self.vacant.push(token.0);
        Some(request)
    }
}
