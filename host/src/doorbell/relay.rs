//! Wake-ups between the appliance and a client that drives its area itself.
//!
//! Such a client rings its own half of the doorbell, and when the appliance sleeps sends a byte over a serial port of its
//! own; the daemon passes that on. The other way, the appliance's byte says that somebody was rung for; the daemon
//! looks who it is.
//!
//! A link is for one VM at a time: a second one, which writes the same window, is refused in words as soon as it connects.
//!
//! The daemon writes the client's half in one case only: when the client's VM has gone, and with it the only other
//! writer. Then it says on its behalf that it begins anew, and the appliance ends what it left running.

use std::io;
use std::mem::offset_of;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use vcss::layout::{Doorbell, DoorbellHalf};
use vcss::{Area, AreaError, Bell, Word};

use crate::log_limit::LogLimit;
use crate::sys::has_gone;

#[derive(Debug)]
pub(super) struct Relay {
    name: String,
    area: Area<'static>,
    listener: UnixListener,
    link: Option<UnixStream>,
    /// The appliance's bell, and what it was when the client was woken last.
    bell: Word<'static>,
    seen: u32,
    asleep: Word<'static>,
    generation: Word<'static>,
    log: LogLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEvent {
    Nothing,
    /// The client has rung, and the appliance is to be woken.
    Wake,
    End,
}

/// Takes what has come over a link; one that has ended is there no more.
pub(super) fn drain(link: &mut Option<UnixStream>) -> LinkEvent {
    let mut bytes = [0u8; 64];
    let Some(stream) = link else {
        return LinkEvent::Nothing;
    };
    // One helping for each look: who sends without end gets a turn like everybody, and epoll says when there is more.
    match recv(stream, &mut bytes, RecvFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => LinkEvent::Nothing,
        Ok((_, taken)) if taken > 0 => LinkEvent::Wake,
        Ok(_) | Err(_) => {
            *link = None;
            LinkEvent::End
        }
    }
}

impl Relay {
    pub(super) fn new(
        name: String,
        area: &Area<'static>,
        listener: UnixListener,
    ) -> Result<Self, AreaError> {
        let word = |half: usize, at: usize| area.word::<Doorbell>(0, half + at);
        let (client, appliance) = (
            offset_of!(Doorbell, client),
            offset_of!(Doorbell, appliance),
        );
        let bell = word(appliance, offset_of!(DoorbellHalf, bell))?;
        Ok(Self {
            name,
            listener,
            link: None,
            generation: word(client, offset_of!(DoorbellHalf, generation))?,
            log: LogLimit::new(),
            seen: bell.load(),
            bell,
            asleep: word(client, offset_of!(DoorbellHalf, asleep))?,
            area: area.clone(),
        })
    }

    pub(super) const fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Has somebody who has connected be the client's VM, unless that is there: the new link, and whether an older one
    /// ended by it.
    pub(super) fn offer(&mut self, link: UnixStream) -> io::Result<Option<(&UnixStream, bool)>> {
        if self.link.as_ref().is_some_and(|link| !has_gone(link)) {
            if let Some(more) = self.log.line() {
                tracing::warn!(
                    client = self.name,
                    "refused: a second VM has connected to its link, and the first one is there; both write the same \
                     memory{more}"
                );
            }
            return Ok(None);
        }
        link.set_nonblocking(true)?;
        let replaced = self.link.replace(link).is_some();
        // What it was rung for before it was there.
        self.seen = self.bell.load().wrapping_sub(1);
        Ok(self.link.as_ref().map(|link| (link, replaced)))
    }

    pub(super) const fn link(&self) -> Option<&UnixStream> {
        self.link.as_ref()
    }

    /// The client's generation: it changes when a VM begins to use the area.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load()
    }

    /// The client has rung, and not in this area.
    pub(super) fn note_elsewhere(&mut self) {
        if let Some(more) = self.log.line() {
            tracing::warn!(
                client = self.name,
                "its VM is connected, but its memory is an earlier daemon's: it has to be started again{more}"
            );
        }
    }

    pub(super) fn drain(&mut self) -> LinkEvent {
        drain(&mut self.link)
    }

    /// Wakes the client if it was rung for and sleeps. Whether it was rung for at all.
    pub(super) fn pass_on(&mut self) -> bool {
        let bell = self.bell.load();
        if bell == self.seen {
            return false;
        }
        let Some(link) = &self.link else { return false };
        self.seen = bell;
        if self.asleep.load() != 0 {
            // When the socket is full, wake-ups enough are on their way.
            let _ = send(link, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        true
    }

    /// Says for a client that has gone that it begins anew. Whether the appliance needs the byte.
    pub(super) fn mark_gone(&mut self) -> bool {
        Bell::of_new_client(&self.area).is_ok_and(|mut bell| bell.ring())
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.link.is_some()
    }
}
