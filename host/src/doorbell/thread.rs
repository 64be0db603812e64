//! The thread itself.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{epoll, Timespec};
use rustix::io::Errno;
use rustix::net::{send, SendFlags};
use vcss::client::{Notify, MAX_QUEUES};
use vcss::{Area, AreaError, Bell, Word};

use super::handle::{signal, taken, BellHandle, Request};
use super::peer::emptied;
use super::relay::Relay;
use crate::layout::{self, AreaNumber};
use crate::log_limit::LogLimit;

/// Looking for work is worth while after a sleep of at most so many times the time spent on it.
const WORTH: u32 = 10;
const BATCH: usize = 64;
/// The slow timer that finds what no wake-up announced.
const HEAL: Timespec = seconds(1);
const NO_TIME: Timespec = seconds(0);

const TOKEN_CHANGED: u64 = 0;
pub(super) const TOKEN_LINK: u64 = 2;
/// Two for each area.
const TOKEN_RELAYS: u64 = 16;

#[derive(Debug)]
pub struct Export {
    pub area: AreaNumber,
    /// Number of its virtual subchannel there.
    pub subchannel: u32,
    /// Signalled when its configuration, or its need of a reset, has changed.
    pub attention: OwnedFd,
}

/// Who rings the client's half of an area's doorbell.
#[derive(Debug)]
pub enum Ringer {
    /// The area is nobody's.
    Nobody,
    Daemon,
    /// The client's VM, whose serial port is connected here.
    Client {
        name: String,
        link: ClientLink,
    },
}

/// Where a client's VM connects; its VM, if that has done so already, and the client's generation before it began.
#[derive(Debug)]
pub struct ClientLink {
    pub listener: UnixListener,
    pub link: Option<(UnixStream, u32)>,
}

/// A client's VM has come, or gone.
#[derive(Debug)]
pub struct LinkChange {
    pub client: usize,
    pub link: Option<(UnixStream, u32)>,
}

#[derive(Debug)]
pub struct Setup {
    /// The areas, the control area first.
    pub areas: Vec<(Area<'static>, Ringer)>,
    /// All exports, those of an area side by side.
    pub exports: Vec<Export>,
    /// Whether all this was served before, by another daemon: what nobody has passed on meanwhile is passed on.
    pub is_taken_over: bool,
    /// Who is told of the clients' VMs that come and go.
    pub links: Sender<LinkChange>,
    /// How long to look for work before sleeping.
    pub poll: Duration,
}

#[derive(Debug)]
pub(super) struct Place {
    bell: Bell<'static>,
    exports: Range<usize>,
}

/// An area, by who rings its bell.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and there is one for each client"
)]
pub(super) enum Endpoint {
    Nobodys,
    Ours(Place),
    Theirs(Box<Relay>),
}

impl Endpoint {
    fn ours(&mut self) -> Option<&mut Place> {
        match self {
            Self::Ours(place) => Some(place),
            Self::Nobodys | Self::Theirs(_) => None,
        }
    }

    fn ring(&mut self) -> bool {
        self.ours().is_some_and(|place| place.bell.ring())
    }
}

#[derive(Debug)]
struct Watched {
    attention: OwnedFd,
    config: Word<'static>,
    config_seen: u32,
}

#[derive(Debug)]
struct Slot {
    area: usize,
    attached: bool,
    kick: Option<File>,
    call: Option<File>,
    counter: Word<'static>,
    /// The counter when the last notification was passed on. It is kept while nobody is served, so that what ends
    /// late is not lost to whoever goes on with the queue.
    seen: u32,
}

#[derive(Debug)]
pub struct Thread {
    pub(super) handle: BellHandle,
    pub(super) epoll: OwnedFd,
    pub(super) endpoints: Vec<Endpoint>,
    /// The token of the first kick; before it are the relays'.
    first_kick: u64,
    exports: Vec<Watched>,
    slots: Vec<Slot>,
    /// The appliance's serial port.
    pub(super) link: Option<UnixStream>,
    pub(super) links: Sender<LinkChange>,
    poll: Duration,
    /// The system had nothing left for a connection: when that was.
    pub(super) missed: Option<Instant>,
    pub(super) log: LogLimit,
}

impl Thread {
    /// Prepares the thread; [`Self::run`] is its body.
    pub fn new(handle: BellHandle, setup: Setup) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        add(&epoll, &handle.0.changed, TOKEN_CHANGED)?;
        let first = |area| setup.exports.partition_point(|export| export.area.0 < area);
        let mut endpoints = Vec::new();
        let mut areas = Vec::new();
        for (number, (area, ringer)) in setup.areas.into_iter().enumerate() {
            areas.push(area.clone());
            if matches!(ringer, Ringer::Nobody) {
                endpoints.push(Endpoint::Nobodys);
                continue;
            }
            if let Ringer::Client { name, link } = ringer {
                link.listener.set_nonblocking(true)?;
                let (mut relay, mut blank) = (Relay::new(name, &area, link.listener)?, None);
                if let Some((link, before)) = link.link {
                    relay.offer(link)?;
                    blank = Some(before);
                }
                if let Some(link) = relay.link() {
                    add(&epoll, link, relay_token(number) + 1)?;
                }
                if let Some(link) = handle.0.links.get(number) {
                    let blank = blank.unwrap_or_else(|| relay.generation());
                    link.blank.store(blank, Ordering::Relaxed);
                    link.there.store(relay.is_connected(), Ordering::Relaxed);
                }
                add_edges(&epoll, relay.listener(), relay_token(number))?;
                endpoints.push(Endpoint::Theirs(Box::new(relay)));
                continue;
            }
            endpoints.push(Endpoint::Ours(Place {
                bell: Bell::of_client(&area)?,
                exports: first(number)..first(number + 1),
            }));
        }
        let missed = u32::from(setup.is_taken_over);
        let mut slots = Vec::new();
        let mut exports = Vec::new();
        for export in setup.exports {
            let area = areas.get(export.area.0).ok_or(AreaError::Magic)?;
            let word = |at| area.word::<Notify>(export.subchannel, at);
            for queue in 0..MAX_QUEUES {
                let counter = word(offset_of!(Notify, queue) + queue * size_of::<u32>())?;
                slots.push(Slot {
                    area: export.area.0,
                    attached: false,
                    kick: None,
                    call: None,
                    seen: counter.load().wrapping_sub(missed),
                    counter,
                });
            }
            let config = word(offset_of!(Notify, config))?;
            exports.push(Watched {
                attention: export.attention,
                config_seen: config.load().wrapping_sub(missed),
                config,
            });
        }
        Ok(Self {
            handle,
            epoll,
            first_kick: relay_token(endpoints.len()),
            endpoints,
            exports,
            slots,
            link: None,
            links: setup.links,
            poll: setup.poll,
            missed: None,
            log: LogLimit::new(),
        })
    }

    /// Carries wake-ups until it is told to stop.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH);
        let mut last_work = Instant::now();
        let mut poll = self.poll;
        while !self.handle.0.stop.load(Ordering::Acquire) {
            let heard = self.look();
            let came = self.wait(&mut events, &NO_TIME);
            if heard || came {
                last_work = Instant::now();
                continue;
            }
            if last_work.elapsed() < poll {
                std::thread::yield_now();
                continue;
            }
            for place in self.places() {
                place.bell.arm_wakeup();
            }
            let lay_down = Instant::now();
            let came = self.look() || {
                count(&self.handle.totals().sleeps);
                self.wait(&mut events, &HEAL)
            };
            for place in self.places() {
                place.bell.disarm_wakeup();
            }
            if !came && self.look() {
                count(&self.handle.totals().healed);
            }
            self.accept_missed();
            last_work = Instant::now();
            // After a long sleep the next thing is not near, and the time is the clients'.
            let brief = last_work - lay_down < self.poll * WORTH;
            poll = if brief { self.poll } else { Duration::ZERO };
        }
    }

    /// Passes on what the appliance has rung for. Whether it had rung at all.
    fn look(&mut self) -> bool {
        let mut any = false;
        for endpoint in &mut self.endpoints {
            let place = match endpoint {
                Endpoint::Nobodys => continue,
                Endpoint::Ours(place) => place,
                Endpoint::Theirs(relay) => {
                    any |= relay.pass_on();
                    continue;
                }
            };
            if !place.bell.heard() {
                continue;
            }
            any = true;
            let queues = place.exports.start * MAX_QUEUES..place.exports.end * MAX_QUEUES;
            for slot in self.slots.get_mut(queues).into_iter().flatten() {
                if slot.attached {
                    slot.pass_on(&self.handle);
                }
            }
            let exports = self.exports.get_mut(place.exports.clone());
            for export in exports.into_iter().flatten() {
                let now = export.config.load();
                if now != export.config_seen {
                    export.config_seen = now;
                    signal(&export.attention);
                }
            }
        }
        any
    }

    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.endpoints.iter_mut().filter_map(Endpoint::ours)
    }

    /// Takes what epoll has. Whether there was anything.
    fn wait(&mut self, events: &mut Vec<epoll::Event>, timeout: &Timespec) -> bool {
        events.clear();
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, buffer, Some(timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "epoll"),
        }
        let mut asleep = false;
        for event in events.iter() {
            match event.data.u64() {
                TOKEN_CHANGED => asleep |= self.changed(),
                TOKEN_LINK => self.drain_link(),
                token if token < self.first_kick => {
                    let token = token - TOKEN_RELAYS;
                    asleep |= match token % 2 {
                        0 => self.accept_client((token / 2) as usize),
                        _ => self.hear_client((token / 2) as usize),
                    };
                }
                token => asleep |= self.kicked(token - self.first_kick),
            }
        }
        if asleep {
            self.wake_appliance();
        }
        !events.is_empty()
    }

    /// A guest's kick. Whether the appliance needs the byte.
    fn kicked(&mut self, slot: u64) -> bool {
        let Some(slot) = self.slots.get(slot as usize) else {
            return false;
        };
        if !slot.kick.as_ref().is_some_and(emptied) {
            return false;
        }
        count(&self.handle.totals().kicks);
        let endpoint = self.endpoints.get_mut(slot.area);
        endpoint.is_some_and(Endpoint::ring)
    }

    /// Other threads' wishes. Whether the appliance needs the byte.
    fn changed(&mut self) -> bool {
        taken(self.handle.0.changed.as_fd());
        let requests = {
            let shared = &self.handle.0.requests;
            std::mem::take(&mut *shared.lock())
        };
        let mut asleep = false;
        for request in requests {
            asleep |= self.carry_out(request);
        }
        for (endpoint, wanted) in self.endpoints.iter_mut().zip(&self.handle.0.ring) {
            if wanted.swap(false, Ordering::AcqRel) {
                asleep |= endpoint.ring();
            }
        }
        asleep
    }

    fn carry_out(&mut self, request: Request) -> bool {
        match request {
            Request::Attach { slot, kick } => {
                self.forget_kick(slot);
                if let Some(kick) = &kick {
                    let token = self.first_kick + slot.0 as u64;
                    if let Err(error) = add_edges(&self.epoll, kick, token) {
                        self.say(format_args!("cannot listen to a kick: {error}"));
                    }
                }
                let Some(this) = self.slots.get_mut(slot.0) else {
                    return false;
                };
                this.kick = kick;
                this.attached = true;
                this.pass_on(&self.handle);
                // What was in the ring before anybody listened.
                let endpoint = self.endpoints.get_mut(this.area);
                endpoint.is_some_and(Endpoint::ring)
            }
            Request::Link { link } => {
                if let Err(error) = add(&self.epoll, &link, TOKEN_LINK) {
                    self.say(format_args!("link to the appliance: {error}"));
                }
                // The old one leaves the epoll set with its last descriptor. One that has just started looks at everything.
                self.link = Some(link);
                false
            }
            Request::Call { slot, call } => {
                if let Some(slot) = self.slots.get_mut(slot.0) {
                    slot.call = call;
                    if slot.attached {
                        slot.pass_on(&self.handle);
                    }
                }
                false
            }
            Request::Detach { slot } => {
                self.forget_kick(slot);
                if let Some(slot) = self.slots.get_mut(slot.0) {
                    slot.pass_on(&self.handle);
                    slot.attached = false;
                }
                false
            }
        }
    }

    fn forget_kick(&mut self, slot: layout::Slot) {
        if let Some(kick) = self.slots.get_mut(slot.0).and_then(|slot| slot.kick.take()) {
            let _ = epoll::delete(&self.epoll, &kick);
        }
    }

    pub(super) fn wake_appliance(&mut self) {
        // One that is not there looks at everything when it starts.
        let Some(link) = &self.link else { return };
        // When the socket is full, wake-ups enough are on their way.
        if send(link, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok() {
            count(&self.handle.totals().wakes);
        }
    }
}

impl Slot {
    fn pass_on(&mut self, handle: &BellHandle) {
        // Without anybody to tell, the notification stays due.
        let Some(call) = &self.call else { return };
        let now = self.counter.load();
        if now != self.seen {
            self.seen = now;
            handle.signal_peer(call);
            count(&handle.totals().calls);
        }
    }
}

/// The token of the listener of an area whose client rings by itself; the link's is the next one.
pub(super) const fn relay_token(area: usize) -> u64 {
    TOKEN_RELAYS + 2 * area as u64
}

pub(super) fn add(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN)?)
}

/// As [`add`], for one event each time that something is written.
fn add_edges(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(epoll, fd, data, flags)?)
}

const fn seconds(seconds: i64) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
