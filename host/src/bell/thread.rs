//! The thread itself.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::event::{epoll, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use vcss::client::{Notify, MAX_QUEUES};
use vcss::{Area, AreaError, Bell, Word};

use super::handle::{signal, taken, BellHandle, Request};

/// Looking for work is worth while after a sleep of at most so many times the time spent on it.
const WORTH: u32 = 10;
/// Events taken at a time.
const BATCH: usize = 64;
/// The slow timer that finds what no wake-up announced.
const HEAL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

const TOKEN_CHANGED: u64 = 0;
const TOKEN_LISTENER: u64 = 1;
const TOKEN_LINK: u64 = 2;
const TOKEN_KICKS: u64 = 16;

/// An export as the thread sees it.
#[derive(Debug)]
pub struct Export {
    /// Number of its client's area.
    pub area: usize,
    /// Number of its virtual subchannel there.
    pub subchannel: u32,
    /// Signalled when its configuration, or its need of a reset, has changed.
    pub attention: OwnedFd,
}

/// What the thread works on.
#[derive(Debug)]
pub struct Setup {
    /// The areas, the control area first. Their bells are the thread's from now on.
    pub areas: Vec<Area<'static>>,
    /// All exports, those of an area side by side.
    pub exports: Vec<Export>,
    /// Where the appliance's QEMU connects for its serial port.
    pub link: UnixListener,
    /// How long to look for work before sleeping.
    pub poll: Duration,
}

#[derive(Debug)]
struct Place {
    bell: Bell<'static>,
    exports: Range<usize>,
}

#[derive(Debug)]
struct Watched {
    attention: OwnedFd,
    config: Word<'static>,
    config_seen: u32,
}

/// One queue of one export.
#[derive(Debug)]
struct Slot {
    area: usize,
    attached: bool,
    kick: Option<File>,
    call: Option<File>,
    counter: Word<'static>,
    seen: u32,
}

/// The wake-up thread's state.
#[derive(Debug)]
pub struct Thread {
    handle: BellHandle,
    epoll: OwnedFd,
    places: Vec<Place>,
    exports: Vec<Watched>,
    slots: Vec<Slot>,
    listener: UnixListener,
    link: Option<UnixStream>,
    /// A wake-up byte that nobody was there for.
    owed: bool,
    poll: Duration,
}

impl Thread {
    /// Prepares the thread; [`Self::run`] is its body.
    ///
    /// # Errors
    ///
    /// The areas lack a part, or the system refuses.
    pub fn new(handle: BellHandle, setup: Setup) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        setup.link.set_nonblocking(true)?;
        add(&epoll, &handle.0.changed, TOKEN_CHANGED)?;
        add(&epoll, &setup.link, TOKEN_LISTENER)?;
        let mut places = Vec::new();
        for (number, area) in setup.areas.iter().enumerate() {
            let start = setup.exports.partition_point(|export| export.area < number);
            let end = setup
                .exports
                .partition_point(|export| export.area <= number);
            places.push(Place {
                bell: Bell::of_client(area)?,
                exports: start..end,
            });
        }
        let mut slots = Vec::new();
        let mut exports = Vec::new();
        for export in setup.exports {
            let area = setup.areas.get(export.area).ok_or(AreaError::Magic)?;
            let word = |at| area.word::<Notify>(export.subchannel, at);
            for queue in 0..MAX_QUEUES {
                slots.push(Slot {
                    area: export.area,
                    attached: false,
                    kick: None,
                    call: None,
                    counter: word(offset_of!(Notify, queue) + queue * size_of::<u32>())?,
                    seen: 0,
                });
            }
            let config = word(offset_of!(Notify, config))?;
            exports.push(Watched {
                attention: export.attention,
                config_seen: config.load(),
                config,
            });
        }
        Ok(Self {
            handle,
            epoll,
            places,
            exports,
            slots,
            listener: setup.link,
            link: None,
            owed: false,
            poll: setup.poll,
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
            for place in &mut self.places {
                place.bell.lie_down();
            }
            let lay_down = Instant::now();
            let came = self.look() || {
                count(&self.handle.totals().sleeps);
                self.wait(&mut events, &HEAL)
            };
            for place in &mut self.places {
                place.bell.get_up();
            }
            if !came && self.look() {
                count(&self.handle.totals().healed);
            }
            last_work = Instant::now();
            // After a long sleep the next thing is not near, and the time is the clients'.
            let brief = last_work - lay_down < self.poll * WORTH;
            poll = if brief { self.poll } else { Duration::ZERO };
        }
    }

    /// Passes on what the appliance has rung for. Whether it had rung at all.
    fn look(&mut self) -> bool {
        let mut any = false;
        for place in &mut self.places {
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
            for export in self
                .exports
                .get_mut(place.exports.clone())
                .into_iter()
                .flatten()
            {
                let now = export.config.load();
                if now != export.config_seen {
                    export.config_seen = now;
                    signal(&export.attention);
                }
            }
        }
        any
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
                TOKEN_LISTENER => self.accept(),
                TOKEN_LINK => self.drain_link(),
                token => asleep |= self.kicked(token - TOKEN_KICKS),
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
        if !slot.kick.as_ref().is_some_and(|kick| taken(kick.as_fd())) {
            return false;
        }
        count(&self.handle.totals().kicks);
        let place = self.places.get_mut(slot.area);
        place.is_some_and(|place| place.bell.ring())
    }

    /// Other threads' wishes. Whether the appliance needs the byte.
    fn changed(&mut self) -> bool {
        taken(self.handle.0.changed.as_fd());
        let requests = {
            let shared = &self.handle.0.requests;
            std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let mut asleep = false;
        for request in requests {
            asleep |= self.carry_out(request);
        }
        for (place, wanted) in self.places.iter_mut().zip(&self.handle.0.ring) {
            if wanted.swap(false, Ordering::AcqRel) {
                asleep |= place.bell.ring();
            }
        }
        asleep
    }

    fn carry_out(&mut self, request: Request) -> bool {
        match request {
            Request::Attach { slot, kick, seen } => {
                self.forget_kick(slot);
                let Some(this) = self.slots.get_mut(slot) else {
                    return false;
                };
                if let Some(kick) = &kick {
                    let token = TOKEN_KICKS + slot as u64;
                    if let Err(error) = add(&self.epoll, kick, token) {
                        tracing::error!(%error, "cannot listen to a kick");
                    }
                }
                this.kick = kick;
                this.seen = seen;
                this.attached = true;
                this.pass_on(&self.handle);
                // What was in the ring before anybody listened.
                let place = self.places.get_mut(this.area);
                place.is_some_and(|place| place.bell.ring())
            }
            Request::Call { slot, call } => {
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.call = call;
                    if slot.attached {
                        slot.pass_on(&self.handle);
                    }
                }
                false
            }
            Request::Detach { slot } => {
                self.forget_kick(slot);
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.pass_on(&self.handle);
                    slot.attached = false;
                }
                false
            }
        }
    }

    fn forget_kick(&mut self, slot: usize) {
        if let Some(kick) = self.slots.get_mut(slot).and_then(|slot| slot.kick.take()) {
            let _ = epoll::delete(&self.epoll, &kick);
        }
    }

    /// The appliance's QEMU connects, anew after each of its starts.
    fn accept(&mut self) {
        while let Ok((link, _)) = self.listener.accept() {
            let ready = link
                .set_nonblocking(true)
                .and_then(|()| add(&self.epoll, &link, TOKEN_LINK));
            match ready {
                // The old connection leaves the epoll set with its last descriptor.
                Ok(()) => {
                    self.link = Some(link);
                    if std::mem::take(&mut self.owed) {
                        self.wake_appliance();
                    }
                }
                Err(error) => tracing::error!(%error, "link to the appliance"),
            }
        }
    }

    /// The bytes say nothing but that there is something to look at.
    fn drain_link(&mut self) {
        let mut bytes = [0u8; 64];
        loop {
            let Some(link) = &self.link else { return };
            match recv(link, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.link = None,
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => self.link = None,
            }
        }
    }

    fn wake_appliance(&mut self) {
        let Some(link) = &self.link else {
            self.owed = true;
            return;
        };
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
            signal(call);
            count(&handle.totals().calls);
        }
    }
}

fn add(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN)?)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
