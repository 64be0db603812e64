//! Those who connect to the wake-up thread: the VMs of clients that ring by themselves.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::relay::{drain, LinkEvent};
use super::thread::{add, relay_token, Endpoint, LinkChange, Thread};
use crate::descriptors::for_peer;
use crate::layout::AreaNumber;

/// Connections to one link that are looked at at a time.
const MAX_ACCEPTED: usize = 16;
/// How long nobody is accepted after the system had nothing left for a connection.
const AGAIN: Duration = Duration::from_millis(200);

impl Thread {
    /// A client that rings by itself connects. Whether the appliance needs the byte.
    pub(super) fn accept_client(&mut self, area: usize) -> bool {
        let mut asleep = false;
        for _ in 0..MAX_ACCEPTED {
            let Some(Endpoint::Theirs(relay)) = self.endpoints.get_mut(area) else {
                return asleep;
            };
            let accepted = relay.listener().accept();
            let link = match accepted.and_then(|(link, _)| for_peer(link)) {
                Ok(link) => link,
                Err(error) => {
                    self.not_accepted(&error);
                    return asleep;
                }
            };
            let offered = relay.offer(link).and_then(|taken| match taken {
                Some((link, replaced)) => {
                    add(&self.epoll, link, relay_token(area) + 1).map(|()| Some(replaced))
                }
                None => Ok(None),
            });
            let is_new = matches!(offered, Ok(Some(_)));
            match offered {
                Ok(Some(true)) => asleep |= self.mark_gone(area),
                Ok(_) => {}
                Err(error) => self.say(format_args!("link to a client: {error}")),
            }
            self.note_connected(area);
            if is_new {
                self.tell_link(area);
            }
        }
        // There may be more, and no further edge says so.
        self.missed = Some(Instant::now());
        asleep
    }

    /// Says for a client that has gone that it begins anew. Whether the appliance needs the byte.
    fn mark_gone(&mut self, area: usize) -> bool {
        let Some(Endpoint::Theirs(relay)) = self.endpoints.get_mut(area) else {
            return false;
        };
        let asleep = relay.mark_gone();
        if let Some(link) = self.handle.0.links.get(area) {
            link.blank.store(relay.generation(), Ordering::Relaxed);
            link.rang_early.store(false, Ordering::Relaxed);
        }
        asleep
    }

    /// Whatever accept(2) has to say but that there is nobody is for later: nobody waits here.
    fn not_accepted(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        if error.kind() == WouldBlock {
            return;
        }
        self.missed = Some(Instant::now());
        if !matches!(error.kind(), Interrupted | ConnectionAborted) {
            self.say(format_args!("a link cannot be accepted now: {error}"));
        }
    }

    /// A line for what others can cause again and again.
    pub(super) fn say(&mut self, text: std::fmt::Arguments<'_>) {
        if let Some(more) = self.log.line() {
            tracing::error!("{text}{more}");
        }
    }

    /// Tries again what the system had nothing left for.
    pub(super) fn accept_missed(&mut self) {
        if self.missed.is_none_or(|missed| missed.elapsed() < AGAIN) {
            return;
        }
        self.missed = None;
        let mut asleep = false;
        for area in 0..self.endpoints.len() {
            asleep |= self.accept_client(area);
        }
        if asleep {
            self.wake_appliance();
        }
    }

    /// A client that rings by itself has sent something. Whether the appliance needs the byte.
    pub(super) fn hear_client(&mut self, area: usize) -> bool {
        let Some(Endpoint::Theirs(relay)) = self.endpoints.get_mut(area) else {
            return false;
        };
        let asleep = match relay.drain() {
            LinkEvent::Nothing => false,
            LinkEvent::Wake => {
                let link = self.handle.0.links.get(area);
                if let Some(link) = link {
                    let begun = relay.generation() != link.blank.load(Ordering::Relaxed);
                    if !begun && !link.rang_early.swap(true, Ordering::Relaxed) {
                        relay.note_elsewhere();
                    }
                }
                true
            }
            LinkEvent::End => {
                let asleep = self.mark_gone(area);
                self.tell_link(area);
                asleep
            }
        };
        self.note_connected(area);
        asleep
    }

    fn note_connected(&self, area: usize) {
        let Some(Endpoint::Theirs(relay)) = self.endpoints.get(area) else {
            return;
        };
        if let Some(link) = self.handle.0.links.get(area) {
            link.there.store(relay.is_connected(), Ordering::Relaxed);
        }
    }

    /// Says for the next daemon who is connected.
    fn tell_link(&self, area: usize) {
        let (Some(Endpoint::Theirs(relay)), Some(state)) =
            (self.endpoints.get(area), self.handle.0.links.get(area))
        else {
            return;
        };
        let blank = state.blank.load(Ordering::Relaxed);
        let link = relay.link().map(|link| link.try_clone().and_then(for_peer));
        // One that cannot be kept now may be lost with this daemon, and is no reason to think that there is none.
        let Ok(link) = link.transpose() else { return };
        let _ = self.links.send(LinkChange {
            client: AreaNumber(area).client(),
            link: link.map(|link| (link, blank)),
        });
    }

    /// The bytes say nothing but that there is something to look at.
    pub(super) fn drain_link(&mut self) {
        drain(&mut self.link);
    }
}
