//! All clients, and what every call for one of them is given.
//!
//! # Rule
//!
//! Calls go to each client in turn, or to the one that they are for; afterwards, what is done is done for nobody.

use liballoc::boxed::Box;
use liballoc::vec::Vec;

use channel::{Crw, DeviceNumber, IoInterruption, SubchannelId};
use s390x::clock::Tod;
use vcss::trace::{Record, Recorder};
use vcss::underway::{CutOff, Note, Served};

use super::block_service::table::Origin;
use super::client::{Client, Fit};
use super::ctx::Ctx;
use super::subchannel::passthrough::{driver_state, PassThrough};
use crate::control::{PassedThrough, Slot};
use crate::css::{Device, Platform};

/// While a program that may change runs, it is looked at so often at least, in microseconds.
const TEND_US: u64 = 1_000;
/// Of what a look takes, so many times as long there is none.
const TEND_PAUSE: u64 = 3;

/// All clients.
#[derive(Debug)]
pub struct Clients {
    /// Those that are there, in no order. The place of one changes only when another one goes.
    pub(super) all: Vec<Client>,
    /// What has passed devices through for clients that have left, until nothing is in progress there; or for as long as their devices
    /// cannot be stopped, which may use its storage.
    parting: Vec<Box<PassThrough>>,
    /// There are pass-through subchannels, which cost time.
    passes_through: bool,
    trace: Option<Recorder<'static>>,
    pub(super) tending: Tending,
    /// Where it is noted what is being done.
    pub(super) note: Option<&'static Note>,
    /// What an earlier life left unfinished, until its client is there.
    cut: Option<CutOff>,
}

/// Whose program is looked at next, of those that may change while they run, and when.
///
/// One look can take milliseconds, and a client can have many such programs. So there is one look a turn, and three times as long as it
/// took there is none: others get three quarters of the time.
#[derive(Debug, Default)]
pub(super) struct Tending {
    /// Place of the client, and virtual subchannel.
    next: (usize, u16),
    pub(super) from: Tod,
}

impl Clients {
    pub(super) fn new(clients: Vec<Client>, trace: Option<Recorder<'static>>) -> Self {
        let mut this = Self {
            all: Vec::new(),
            parting: Vec::new(),
            passes_through: false,
            trace,
            tending: Tending::default(),
            note: None,
            cut: None,
        };
        for client in clients {
            this.admit(client);
        }
        this
    }

    /// From now on, notes what is carried out, so that a next life does not do it again. `cut` is what an earlier life left unfinished:
    /// it ends. So for all clients that are there, and for each that comes.
    pub fn note_requests(
        &mut self,
        note: &'static Note,
        cut: Option<CutOff>,
        platform: &mut dyn Platform,
    ) {
        self.note = Some(note);
        self.cut = cut;
        if let Some(cut) = cut.filter(|cut| self.get(cut.client).is_some()) {
            self.cut_off(cut.client, platform);
        }
        self.serve_nobody();
    }

    /// A client has come: what an earlier life left unfinished for it ends.
    pub fn cut_off(&mut self, number: u16, platform: &mut dyn Platform) {
        if let Some(cut) = self.cut.take_if(|cut| cut.client == number) {
            self.one(platform, number, |client, ctx| client.cut_off(&cut, ctx));
        }
    }

    pub fn admit(&mut self, mut client: Client) {
        self.passes_through |= client.passed_through().next().is_some();
        client.place = self.all.len() as u16;
        self.all.push(client);
    }

    /// A client leaves: see [`Client::begin_leaving`].
    pub(super) fn begin_leaving(&mut self, place: usize, platform: &mut dyn Platform) {
        let Some(client) = self.all.get_mut(place) else {
            return;
        };
        let mut parting = client.begin_leaving();
        let mut ctx = self.ctx(platform);
        for subject in &mut parting {
            subject.offline(&mut ctx);
        }
        self.parting.append(&mut parting);
        self.tend_parting(platform);
    }

    /// Goes on with ending what clients have left that are not there any more. Returns whether it has to wait.
    pub fn tend_parting(&mut self, platform: &mut dyn Platform) -> bool {
        if self.parting.is_empty() {
            return false;
        }
        let mut parting = core::mem::take(&mut self.parting);
        let mut ctx = self.ctx(platform);
        parting.retain_mut(|subject| {
            subject.interruption(&mut ctx);
            subject.tick(&mut ctx);
            subject.is_in_progress()
        });
        self.parting = parting;
        self.parting.iter().any(|it| it.is_quiescing())
    }

    /// How many devices there are that clients have left, and that are not done yet.
    pub fn parting(&self) -> usize {
        self.parting.len()
    }

    /// Whether something is being ended that this client has left.
    pub(super) fn is_parting_from(&self, number: u16) -> bool {
        let mut all = self.parting.iter();
        all.any(|subject| subject.is_quiescing() && subject.client() == number)
    }

    /// Whether something is being ended at this device that a client has left.
    pub fn is_parting_with(&self, number: DeviceNumber) -> bool {
        let mut all = self.parting.iter();
        all.any(|subject| subject.is_quiescing() && subject.device() == number)
    }

    /// A disk is not there any more, and it is not in maintenance.
    pub fn forget_disk(&mut self, platform: &mut dyn Platform, disk: usize) {
        let mut parting = Vec::new();
        self.each(platform, |client, ctx| {
            parting.extend(client.forget_disk(disk, ctx));
        });
        self.parting.append(&mut parting);
        self.parting.retain(|subject| subject.is_in_progress());
    }

    /// A client has gone.
    pub(super) fn dismiss(&mut self, place: usize) {
        self.all.swap_remove(place);
        if let Some(client) = self.all.get_mut(place) {
            client.place = place as u16;
        }
        let passes_through = self.passed_through().next().is_some();
        self.passes_through = passes_through;
    }

    /// Whether a client has a part of a disk.
    pub fn have(&self, disk: usize) -> bool {
        let mut devices = self.all.iter().flat_map(Client::devices);
        devices.any(|device| device.disk() == disk)
    }

    pub fn get_mut(&mut self, number: u16) -> Option<&mut Client> {
        self.all.iter_mut().find(|client| client.number() == number)
    }

    pub fn get(&self, number: u16) -> Option<&Client> {
        self.all.iter().find(|client| client.number() == number)
    }

    /// Whose request it is that comes from there: the numbers of client and virtual subchannel.
    pub fn of_origin(&self, origin: &Origin) -> Option<(u16, u16)> {
        let client = self.all.get(usize::from(origin.client))?;
        let device = client.devices.get(usize::from(origin.subchannel))?;
        Some((client.number(), device.index()))
    }

    /// For what is done outside a turn.
    pub fn ctx<'a>(&'a mut self, platform: &'a mut dyn Platform) -> Ctx<'a> {
        Ctx {
            trace: self.trace.as_mut(),
            note: self.note,
            ..Ctx::new(platform)
        }
    }

    /// Whether a client has a device over a disk in use.
    pub fn is_in_use(&self, disk: usize) -> bool {
        let mut devices = self.all.iter().flat_map(Client::devices);
        devices.any(|device| device.disk() == disk && device.is_driven())
    }

    /// Writes a record of what was not done for a client.
    pub fn record(&mut self, record: &Record) {
        if let Some(trace) = &mut self.trace {
            trace.record(record);
        }
    }

    /// Whether there is a pass-through subchannel of which this is so.
    pub fn any(&self, fact: impl Fn(&PassThrough) -> bool) -> bool {
        self.passes_through && self.passed_through().any(|(_, _, subject)| fact(subject))
    }

    /// The pass-through subchannels, with the numbers of client and virtual subchannel.
    pub fn passed_through(&self) -> impl Iterator<Item = (u16, u16, &PassThrough)> {
        self.all.iter().flat_map(|client| {
            let all = client.passed_through();
            all.map(move |(index, subject)| (client.number(), index, subject))
        })
    }

    /// How those of them fare that are not lent disks'.
    pub fn drivers(&self) -> impl Iterator<Item = PassedThrough> + '_ {
        let owned = self.passed_through();
        let owned = owned.filter(|(_, _, subject)| !subject.is_of_a_disk());
        owned.map(|(client, index, subject)| PassedThrough {
            client,
            index,
            id: subject.id(),
            device: subject.device(),
            state: driver_state(subject.state()),
            path_troubles: subject.path_troubles(),
        })
    }

    /// When pass-through subchannels need another turn, at the latest.
    pub fn deadline(&self, now: Tod) -> Tod {
        if !self.passes_through {
            return Tod::NEVER;
        }
        let deadlines = self.passed_through().map(|(_, _, subject)| {
            if subject.wants_refresh() {
                now.plus_micros(TEND_US).max(self.tending.from)
            } else {
                subject.deadline()
            }
        });
        deadlines.min().unwrap_or(Tod::NEVER)
    }

    /// An interruption. Returns whether it was a pass-through subchannel's.
    pub fn interruption(
        &mut self,
        platform: &mut dyn Platform,
        interruption: &IoInterruption,
    ) -> bool {
        let mut taken = false;
        if self.passes_through {
            self.each(platform, |client, ctx| {
                taken |= client.interruption(interruption, ctx);
            });
        }
        taken
    }

    /// A channel report about a subchannel: whoever has it looks whether its device has gone.
    pub fn report(&mut self, platform: &mut dyn Platform, about: SubchannelId) {
        self.each_pass_through(platform, |subject, ctx| {
            if about == subject.id() {
                subject.report(ctx);
            }
        });
    }

    /// A channel report about a path.
    pub fn path(&mut self, platform: &mut dyn Platform, report: Crw) {
        self.each(platform, |client, ctx| client.path(report, ctx));
    }

    /// Whether a client has the device of a subchannel, or will have it.
    pub fn holds(&self, id: SubchannelId) -> bool {
        self.all.iter().any(|client| client.holds(id))
            || self.parting.iter().any(|subject| subject.id() == id)
    }

    /// Puts a client's virtual subchannel into service again.
    pub fn release(&mut self, platform: &mut dyn Platform, slot: Slot, devices: &[Device]) {
        self.passes_through = true;
        self.one(platform, slot.client, |client, ctx| {
            client.release(slot.index, devices, ctx);
        });
    }

    /// Whether a client that is there is given a device by its number, and can have it.
    pub fn want(&self, number: DeviceNumber) -> bool {
        let mut places = self.all.iter().filter_map(|it| it.place_for(number));
        places.any(|(fit, _)| fit == Fit::Given)
    }

    /// A device that nobody has: the client to whom it is given gets it, or one that gets what is left. Returns whether there is one.
    pub fn plug(&mut self, platform: &mut dyn Platform, device: &Device) -> bool {
        if let Some(reason) = device.reason_to_withhold() {
            log::error!("{} is not passed through: {reason}", device.number);
            return false;
        }
        // Whoever had it elsewhere may not have heard yet that it has gone there.
        self.each_pass_through(platform, |subject, ctx| {
            if subject.device() == device.number {
                subject.report(ctx);
            }
        });
        let places = self.all.iter().filter_map(|client| {
            let (fit, index) = client.place_for(device.number)?;
            Some((fit, client.number(), index))
        });
        let Some((_, chosen, index)) = places.min() else {
            return false;
        };
        self.passes_through = true;
        self.one(platform, chosen, |client, ctx| {
            client.plug(index, device, ctx);
        });
        true
    }

    /// Gives a disk's subchannel to whom it can be given for maintenance. Returns whether anybody has it now.
    pub fn begin_maintenance(
        &mut self,
        platform: &mut dyn Platform,
        disk: usize,
        device: &Device,
    ) -> bool {
        self.passes_through = true;
        let mut given = false;
        self.each(platform, |client, ctx| {
            given = given || client.begin_maintenance(disk, device, ctx);
        });
        given
    }

    /// Takes a disk's subchannel from whoever has it for maintenance, and says whether that is done. To be called until it is.
    pub fn end_maintenance(&mut self, platform: &mut dyn Platform, number: DeviceNumber) -> bool {
        let mut done = !self.is_parting_with(number);
        self.each_pass_through(platform, |subject, ctx| {
            if subject.is_of_a_disk() && subject.device() == number {
                done &= subject.end_maintenance(ctx);
            }
        });
        done
    }

    /// Takes all owned subchannels from their clients.
    pub fn offline(&mut self, platform: &mut dyn Platform) {
        self.each_pass_through(platform, PassThrough::offline);
    }

    fn each(
        &mut self,
        platform: &mut dyn Platform,
        mut act: impl FnMut(&mut Client, &mut Ctx<'_>),
    ) {
        // Nobody else needs it.
        let now = self.passes_through.then(|| platform.now());
        let mut ctx = Ctx {
            platform,
            now: now.unwrap_or(Tod::NEVER),
            trace: self.trace.as_mut(),
            note: self.note,
        };
        for client in &mut self.all {
            act(client, &mut ctx);
        }
        self.serve_nobody();
    }

    fn one(
        &mut self,
        platform: &mut dyn Platform,
        number: u16,
        mut act: impl FnMut(&mut Client, &mut Ctx<'_>),
    ) {
        self.each(platform, |client, ctx| {
            if client.number() == number {
                act(client, ctx);
            }
        });
    }

    fn each_pass_through(
        &mut self,
        platform: &mut dyn Platform,
        mut act: impl FnMut(&mut PassThrough, &mut Ctx<'_>),
    ) {
        self.each(platform, |client, ctx| {
            client.each_pass_through(ctx, &mut act);
        });
    }

    /// What is done from now on is done for this.
    pub fn serve(&self, what: Served) {
        if let Some(note) = self.note {
            note.serve(what);
        }
    }

    /// What is done from now on is done for nobody.
    pub fn serve_nobody(&self) {
        if let Some(note) = self.note {
            note.serve_nobody();
        }
    }

    /// Whether [`Self::poll_requests`] would find something: the quick look of each turn.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.passes_through || self.all.iter().any(Client::has_news)
    }

    /// The clients' requests to their subchannels, and what is due there. Returns whether anything was done.
    pub(super) fn poll_requests(&mut self, platform: &mut dyn Platform) -> bool {
        let passes_through = self.passes_through;
        let (mut worked, mut changing) = (false, false);
        self.each(platform, |client, ctx| {
            worked |= client.poll_requests(ctx);
            if passes_through {
                changing |= client.tick(ctx);
            }
        });
        if changing {
            self.refresh(platform);
        }
        worked
    }

    /// Looks at one program that may change while it runs, if it is time for that.
    fn refresh(&mut self, platform: &mut dyn Platform) {
        let now = platform.now();
        if now < self.tending.from {
            return;
        }
        let (first, index) = self.tending.next;
        let count = self.all.len();
        let mut ctx = Ctx {
            platform: &mut *platform,
            now,
            trace: self.trace.as_mut(),
            note: self.note,
        };
        // Once around, and the first one's others.
        let looked = (0..=count).find_map(|step| {
            let place = (first + step) % count.max(1);
            let from = if step == 0 { index } else { 0 };
            let client = self.all.get_mut(place)?;
            Some((place, client.refresh(from, &mut ctx)? + 1))
        });
        if let Some(next) = looked {
            let end = platform.now();
            let pause = TEND_PAUSE * end.micros_since(now);
            self.tending = Tending {
                next,
                from: end.plus_micros(pause),
            };
        }
    }
}
