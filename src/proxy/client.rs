//! One client: its area, its windows, and its virtual channel subsystem.
//!
//! # Rule
//!
//! A request is copied once out of the area. What is answered, shown and reported is written before the word that
//! announces it.

mod anew;
mod cut_off;
mod owned;
mod path_reports;
mod place;

use liballoc::boxed::Box;
use liballoc::string::String;
use liballoc::vec::Vec;

use channel::{Crw, FunctionControl, IoInterruption, SubchannelId};
use vcss::client::SchibPart;
use vcss::control;
use vcss::events::EventSource;
use vcss::underway::{CutOff, Note};
use vcss::{Area, AreaError, Bell};
use window::Window;

pub use self::path_reports::PathReports;
pub use self::place::Fit;

use self::place::{Entry, Kind, Virtual};
use super::ctx::{serve, Ctx};
use crate::control::{Exported, Slot};
use crate::css::Device;
use crate::driver::block::BlockDevice;
use crate::driver::disk::OwnedDisk;
use crate::proxy::block_service::service::Requests;
use crate::proxy::block_service::table::Origin;
use crate::proxy::block_service::{Unfit, VirtioBlk};
use crate::proxy::subchannel::emulated::Subchannel;
use crate::proxy::subchannel::passthrough::{initialised, PassThrough};

/// When so many CCWs have been looked at for a client in one turn, its further requests come in the next one.
const EFFORT: usize = if cfg!(test) { 8 } else { 1024 };

#[derive(Debug)]
pub struct Client {
    /// Its name in the configuration.
    pub name: String,
    number: u16,
    /// Its place in the proxy's list.
    pub(super) place: u16,
    pub(super) area: Area<'static>,
    pub(super) window: &'static Window,
    program: &'static Window,
    /// Of the interruptions of owned subchannels.
    isc: u8,
    bell: Bell<'static>,
    /// Something happened that the client is to be rung for.
    ring: bool,
    /// A subchannel's program waits for its control unit.
    active: bool,
    /// There are requests for which there was no time.
    behind: bool,
    /// Its memory changes, or it is leaving, and requests are in flight in what it was.
    pub(super) settling: bool,
    /// CCWs that count as looked at when a turn begins: as many as can be, when it is leaving and no request of it is answered any more.
    spent: usize,
    /// It began anew, and what it had left has not ended yet.
    resetting: bool,
    subchannels: Vec<Virtual>,
    /// Those of its virtual subchannels that are out of service when they are added.
    withheld: Vec<u16>,
    /// The devices behind virtual subchannels of the virtio-ccw kind; apart from the subchannels, so that a
    /// channel can drive its device.
    pub(super) devices: Vec<VirtioBlk>,
    path_reports: PathReports,
    /// Channel reports, where the area has room for them.
    events: Option<EventSource<'static>>,
    /// It is no client, but a test of the appliance.
    #[cfg(feature = "test-image")]
    trusted: bool,
}

impl Client {
    /// A client without subchannels. Interruptions of owned ones come in the subclass `isc`.
    ///
    /// # Errors
    ///
    /// The area is not complete.
    pub fn new(
        name: String,
        number: u16,
        area: Area<'static>,
        window: &'static Window,
        program: &'static Window,
        isc: u8,
    ) -> Result<Self, AreaError> {
        Ok(Self {
            name,
            number,
            place: 0,
            bell: Bell::of_appliance(&area)?,
            events: EventSource::open(&area).ok(),
            // An earlier life may have left something unsaid.
            ring: true,
            active: false,
            behind: false,
            settling: false,
            spent: 0,
            resetting: false,
            area,
            window,
            program,
            isc,
            subchannels: Vec::new(),
            withheld: Vec::new(),
            devices: Vec::new(),
            path_reports: PathReports::Later,
            #[cfg(feature = "test-image")]
            trusted: false,
        })
    }

    pub const fn hear_of_paths(&mut self, path_reports: PathReports) {
        self.path_reports = path_reports;
    }

    /// Takes a virtual subchannel out of service, before it is added: to the client it is one without a device until it is
    /// [released](Self::release).
    pub fn withhold(&mut self, index: u16) {
        self.withheld.push(index);
    }

    /// Adds a virtual subchannel with a block device, taking up what an earlier life of the appliance left. It is served once
    /// its disk is [attached](Self::attach).
    ///
    /// # Errors
    ///
    /// The area has no place for it.
    pub fn add(
        &mut self,
        export: &control::Export,
        quota: &control::Quota,
    ) -> Result<(), AreaError> {
        let index = self.subchannels.len() as u32;
        let device = export.device.get();
        let mut virtio = VirtioBlk::new(self.area.clone(), self.window, index, *export, quota)?;
        let withheld = self.withheld.contains(&(index as u16));
        if withheld {
            // Its queues may be what the appliance dies of.
            virtio.take_up_state();
        } else {
            virtio.take_up();
        }
        let mut subchannel = Subchannel::new(device);
        if let Ok(old) = self.area.read::<SchibPart>(index) {
            // Enabled before is enabled now: the client need not know that there was a restart.
            if old.schib.pmcw.device.get() == device {
                // Nothing is in progress there yet.
                let _ = subchannel.modify(&old.schib);
                let functions = FunctionControl::from_bits_truncate(old.functions.get() as u8);
                subchannel.cut_off(functions);
            }
        }
        let (schib, functions) = (*subchannel.store(), subchannel.functions().bits().into());
        let kind = Kind::Virtio(Box::new(subchannel), self.devices.len());
        let mut place = self.virtual_subchannel(kind)?;
        place.entry.show(schib, functions)?;
        place.tell_pending();
        self.subchannels.push(place);
        self.devices.push(virtio);
        Ok(())
    }

    fn virtual_subchannel(&self, kind: Kind) -> Result<Virtual, AreaError> {
        let index = self.subchannels.len();
        Ok(Virtual {
            kind,
            entry: Entry::new(&self.area, index as u32)?,
            client: self.number,
            program: self.program,
            shown_enabled: false,
            resetting: false,
            withheld: self.withheld.contains(&(index as u16)),
        })
    }

    /// Adds a virtual subchannel that stands for an owned device, which is there or comes later. It has the device if it is there and
    /// there is storage for it. A disk's gets it during maintenance.
    ///
    /// # Errors
    ///
    /// The area has no place for it.
    pub fn add_pass_through(
        &mut self,
        export: Exported,
        device: Option<&Device>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), AreaError> {
        let index = self.subchannels.len() as u16;
        let device = device.filter(|device| self.may_have(&export, device));
        let subject = device.and_then(|device| self.subject(ctx.platform, index, &export, device));
        let mut place = self.virtual_subchannel(Kind::Owned(export, subject.map(Box::new)))?;
        let former = place.entry.former();
        match &mut place.kind {
            Kind::Owned(_, Some(subject)) if !place.withheld => {
                let former = former.map(|part| (part.schib, part.functions.get() as u8));
                subject.open(former, ctx);
                if let Some(device) = device {
                    self.note(&export, device);
                }
            }
            // An earlier life of the appliance had shown a device.
            Kind::Owned(..) if former.is_some_and(|part| part.schib.pmcw.has_device()) => {
                if let Some(events) = &mut self.events {
                    events.report(initialised(index));
                }
            }
            Kind::Owned(..) | Kind::Virtio(..) => {}
        }
        place.show(ctx);
        place.tell(&mut self.events, ctx);
        self.subchannels.push(place);
        Ok(())
    }

    /// Ends what an earlier life of the appliance left unfinished for the client.
    pub fn cut_off(&mut self, cut: &CutOff, ctx: &mut Ctx<'_>) {
        if let Some(place) = self.subchannels.get_mut(usize::from(cut.subchannel)) {
            ctx.serve(self.number, cut.subchannel);
            place.cut_off(cut, ctx);
            self.ring = true;
        }
    }

    pub const fn number(&self) -> u16 {
        self.number
    }

    /// A disk is there, or is there again: serves from it what the client is given of it, and tells of each such export whether
    /// it fits. `first_queue` counts the queues of all that share the disk.
    pub fn attach(
        &mut self,
        number: usize,
        disk: &mut dyn BlockDevice,
        first_queue: &mut usize,
        tell: &mut impl FnMut(Slot, Result<(), Unfit>),
    ) {
        for place in &self.subchannels {
            let Kind::Virtio(_, device) = &place.kind else {
                continue;
            };
            let device = self.devices.get_mut(*device);
            if let Some(device) = device.filter(|device| device.disk() == number) {
                if !place.withheld {
                    let fits = device.attach(&mut *disk, *first_queue);
                    let (client, index) = (self.number, place.index());
                    tell(Slot { client, index }, fits);
                }
                *first_queue += usize::from(device.queue_count());
            }
        }
    }

    /// The devices of the virtio-ccw kind, in the order of their subchannels.
    pub fn devices(&self) -> &[VirtioBlk] {
        &self.devices
    }

    /// The device of a virtual subchannel, if it is of the virtio-ccw kind.
    pub fn device(&self, index: u16) -> Option<&VirtioBlk> {
        match &self.subchannels.get(usize::from(index))?.kind {
            Kind::Virtio(_, device) => self.devices.get(*device),
            Kind::Owned(..) => None,
        }
    }

    /// The pass-through subchannels, with their numbers.
    pub fn passed_through(&self) -> impl Iterator<Item = (u16, &PassThrough)> {
        let all = self.subchannels.iter();
        all.filter_map(|place| Some((place.index(), place.subject()?)))
    }

    /// Channel reports that were made for it, that were lost, and that it has not taken yet.
    pub fn reports(&self) -> (u32, u32, u32) {
        self.events.as_ref().map_or((0, 0, 0), EventSource::counts)
    }

    /// Bytes of its memory.
    pub fn memory(&self) -> u64 {
        self.window.len()
    }

    /// Whether it wants to be rung.
    pub fn sleeps(&self) -> bool {
        self.bell.is_to_be_rung()
    }

    /// Whether nothing is taken from it for now: its memory changes, or it is leaving.
    pub const fn is_held(&self) -> bool {
        self.settling
    }

    /// Whether it has the device of a subchannel, or will have it once that is in service again.
    pub fn holds(&self, id: SubchannelId) -> bool {
        self.subchannels.iter().any(|place| {
            let has = |it: &PassThrough| it.id() == id && (place.withheld || !it.is_gone());
            place.subject().is_some_and(has)
        })
    }

    /// Whether [`Self::poll_requests`] would find something: the quick look of each turn.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.bell.rings() || self.active
    }

    /// Carries out what the client asks its subchannels, if it rang. Returns whether anything was done.
    pub fn poll_requests(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if !self.has_news() {
            return false;
        }
        let rang = self.bell.heard() | core::mem::take(&mut self.behind);
        let mut effort = self.spent;
        if rang && self.bell.began_anew() {
            self.each_pass_through(ctx, PassThrough::reset);
            for place in &mut self.subchannels {
                ctx.serve(self.number, place.index());
                place.begin_reset(ctx);
            }
            self.resetting = true;
        }
        if self.resetting {
            self.go_on_resetting(ctx);
        }
        let mut worked = false;
        self.active = self.resetting;
        for place in &mut self.subchannels {
            ctx.serve(self.number, place.index());
            let mut done = place.is_active() && place.advance(&mut self.devices, ctx);
            match place.entry.open_request().filter(|_| rang) {
                Some(sequence) if effort < EFFORT => {
                    place.answer(sequence, &mut self.devices, &mut self.events, ctx);
                    effort += place.effort();
                    done = true;
                }
                left => {
                    self.behind |= left.is_some();
                    if done {
                        place.tell_pending();
                    }
                }
            }
            self.ring |= done;
            worked |= done;
            self.active |= place.is_active();
        }
        self.active |= self.behind;
        worked
    }

    /// Goes on with the resets of a client that began anew. They end together, and the area says so before any of the subchannels is
    /// used: after a death in between they are all done again, and none that is in use is.
    #[cold]
    fn go_on_resetting(&mut self, ctx: &Ctx<'_>) {
        let mut waits = false;
        for place in &self.subchannels {
            ctx.serve(self.number, place.index());
            waits |= place.go_on_resetting(&mut self.devices);
        }
        if !waits {
            for place in &mut self.subchannels {
                place.resetting = false;
            }
            self.bell.has_acted();
            self.resetting = false;
        }
    }

    /// Does something to each pass-through subchannel, and tells the client what came of it.
    pub fn each_pass_through(
        &mut self,
        ctx: &mut Ctx<'_>,
        mut act: impl FnMut(&mut PassThrough, &mut Ctx<'_>),
    ) {
        for index in 0..self.subchannels.len() {
            self.one_pass_through(index as u16, ctx, &mut act);
        }
    }

    /// Does something to one pass-through subchannel that is in service, and tells the client what came of it.
    fn one_pass_through<T>(
        &mut self,
        index: u16,
        ctx: &mut Ctx<'_>,
        act: impl FnOnce(&mut PassThrough, &mut Ctx<'_>) -> T,
    ) -> Option<T> {
        let place = self.subchannels.get_mut(usize::from(index));
        let place = place.filter(|place| !place.withheld)?;
        let subject = place.subject_mut()?;
        ctx.serve(self.number, index);
        let done = act(subject, ctx);
        self.ring |= place.tell(&mut self.events, ctx);
        Some(done)
    }

    /// An interruption. Returns whether it was one of this client's subchannels'.
    pub fn interruption(&mut self, interruption: &IoInterruption, ctx: &mut Ctx<'_>) -> bool {
        let IoInterruption::Subchannel { id: of, .. } = interruption else {
            return false;
        };
        let mut taken = false;
        for index in 0..self.subchannels.len() {
            let subject = self.subchannels.get(index).and_then(Virtual::subject);
            if subject.is_some_and(|subject| subject.id() == *of) {
                taken = true;
                self.one_pass_through(index as u16, ctx, PassThrough::interruption);
            }
        }
        taken
    }

    /// Does what is due. Returns whether a program may change while it runs, and is to be [looked at](Self::refresh).
    pub fn tick(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let (mut due, mut changing) = (false, false);
        for (_, subject) in self.passed_through() {
            due |= subject.is_due(ctx.now);
            changing |= subject.is_changing();
        }
        if due {
            self.each_pass_through(ctx, PassThrough::tick);
        }
        changing
    }

    /// Looks at the program of one virtual subchannel, the first from `from` on whose program may change while it runs. Which one that was.
    pub fn refresh(&mut self, from: u16, ctx: &mut Ctx<'_>) -> Option<u16> {
        let mut all = self.passed_through();
        let (chosen, _) = all.find(|(index, subject)| *index >= from && subject.is_changing())?;
        drop(all);
        self.one_pass_through(chosen, ctx, PassThrough::refresh);
        Some(chosen)
    }

    /// A channel report about a path: to each subchannel that has it, and once to the client, if it is to hear of it.
    pub fn path(&mut self, report: Crw, ctx: &mut Ctx<'_>) {
        let mut told = self.path_reports == PathReports::Later;
        self.each_pass_through(ctx, |subject, ctx| {
            told |= subject.path(report, told, ctx);
        });
    }

    /// Takes requests from the client's queues and passes them on.
    pub fn serve(
        &mut self,
        disks: &mut [OwnedDisk],
        requests: &mut Requests,
        note: Option<&Note>,
    ) -> bool {
        let mut worked = false;
        for (number, device) in self.devices.iter_mut().enumerate() {
            if !device.is_live() {
                if !device.is_ready() {
                    serve(note, self.number, device.index());
                    let scratch = &mut requests.scratch;
                    worked |= device.end_rest(self.place, number as u16, scratch);
                }
                continue;
            }
            let (count, first) = (device.queue_count(), device.lane.first());
            for others in 0..count {
                // From the one whose turn it is; those before it come last.
                let queue = match first + others {
                    queue if queue < count => queue,
                    queue => queue - count,
                };
                if !device.has_news(queue) {
                    continue;
                }
                let Some(disk) = disks.get_mut(device.disk()) else {
                    break;
                };
                serve(note, self.number, device.index());
                let origin = Origin {
                    client: self.place,
                    subchannel: number as u16,
                    queue,
                };
                worked |= device.serve(origin, disk.driver.as_mut(), requests);
            }
        }
        worked
    }

    /// Shows the client what was completed, and rings if it is to know. Returns whether it sleeps.
    pub fn publish(&mut self, note: Option<&Note>) -> bool {
        for device in &mut self.devices {
            if device.is_dirty() {
                serve(note, self.number, device.index());
                self.ring |= device.publish();
            }
        }
        core::mem::take(&mut self.ring) && self.bell.ring()
    }

    /// Asks the client to ring. Returns whether there is work after all. What is new cannot be taken if the table is `full`.
    pub fn arm_wakeup(&mut self, full: bool, note: Option<&Note>) -> bool {
        self.bell.arm_wakeup();
        let mut waiting = false;
        for device in &mut self.devices {
            serve(note, self.number, device.index());
            let more = device.expect_bells(true);
            waiting |= more && !full;
        }
        self.bell.rings() | waiting
    }

    /// The client need not ring.
    pub fn disarm_wakeup(&mut self, note: Option<&Note>) {
        self.bell.disarm_wakeup();
        for device in &mut self.devices {
            serve(note, self.number, device.index());
            device.expect_bells(false);
        }
    }
}
