//! A virtual subchannel's place in the area: its requests come from there, and what it shows is written there.

use core::mem::offset_of;

use liballoc::boxed::Box;

use channel::{DeviceNumber, FunctionControl, Irb, Schib};
use s390x::cc::ConditionCode;
use vcss::client::{Command, Measurement, Response, SchibPart, Status};
use vcss::control::ExportKind;
use vcss::events::EventSource;
use vcss::{Area, AreaError, Word};
use window::Window;

use crate::control::Exported;
use crate::proxy::block_service::VirtioBlk;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::emulated::program::Executed;
use crate::proxy::subchannel::emulated::Subchannel;
use crate::proxy::subchannel::passthrough::PassThrough;
use crate::proxy::subchannel::{Reply, Request};

/// The entry of a virtual subchannel in the area, and what it says.
#[derive(Debug)]
pub(super) struct Entry {
    area: Area<'static>,
    index: u32,
    asked: Word<'static>,
    answered: Word<'static>,
    condition: Word<'static>,
    pending: Word<'static>,
    functions: Word<'static>,
    /// What the last two words say.
    told: (u32, u32),
}

impl Entry {
    pub(super) fn new(area: &Area<'static>, index: u32) -> Result<Self, AreaError> {
        Ok(Self {
            index,
            asked: area.word::<Command>(index, offset_of!(Command, sequence))?,
            answered: area.word::<Response>(index, offset_of!(Response, sequence))?,
            condition: area.word::<Response>(index, offset_of!(Response, condition))?,
            pending: area.word::<Status>(index, offset_of!(Status, pending))?,
            functions: area.word::<SchibPart>(index, offset_of!(SchibPart, functions))?,
            // Whatever is there, it is not that.
            told: (u32::MAX, u32::MAX),
            area: area.clone(),
        })
    }

    /// The sequence of the request that is open.
    #[inline]
    pub(super) fn open_request(&self) -> Option<u32> {
        let asked = self.asked.load();
        (asked != self.answered.load()).then_some(asked)
    }

    /// The request, copied once; `None`: it is none.
    pub(super) fn request(&self) -> Option<Request> {
        Request::decode(&self.area.read(self.index).ok()?)
    }

    /// What is answered, before [`answered`](Self::answered) says so.
    pub(super) fn answer(&self, reply: Option<&Reply>) {
        let word = reply.map_or(Response::INVALID, Reply::word);
        self.condition.store(word);
    }

    pub(super) fn answered(&self, sequence: u32) {
        self.answered.store(sequence);
    }

    /// What an earlier life of the appliance has shown.
    pub(super) fn former(&self) -> Option<SchibPart> {
        self.area.read(self.index).ok()
    }

    pub(super) fn show(&self, schib: Schib, functions: u32) -> Result<(), AreaError> {
        let part = SchibPart {
            schib,
            functions: functions.into(),
            reserved: [0; 8],
        };
        self.area.write(self.index, &part)
    }

    /// Writes what TEST stores, and whether more is pending.
    fn show_status(&self, irb: Irb, pending: bool) {
        let status = Status {
            pending: u32::from(pending).into(),
            reserved: [0.into(); 7],
            irb,
        };
        if let Err(error) = self.area.write(self.index, &status) {
            log::error!("status: {error}");
        }
    }

    /// Stores the words that say whether status is pending and what is in progress, if they have changed. Returns whether status
    /// has become pending.
    fn tell(&mut self, pending: bool, functions: u32) -> bool {
        let now = (u32::from(pending), functions);
        let before = core::mem::replace(&mut self.told, now);
        if now.1 != before.1 {
            self.functions.store(now.1);
        }
        if now.0 == before.0 {
            return false;
        }
        self.pending.store(now.0);
        pending
    }
}

/// A virtual subchannel and its place in the area.
#[derive(Debug)]
pub(super) struct Virtual {
    pub(super) kind: Kind,
    pub(super) entry: Entry,
    /// The client's number.
    pub(super) client: u16,
    /// The client's program window.
    pub(super) program: &'static Window,
    /// The SCHIB part says that it is enabled.
    pub(super) shown_enabled: bool,
    /// The client has begun anew, and requests of before are still in flight at the disk.
    pub(super) resetting: bool,
    /// It is out of service: to the client it is one without a device.
    pub(super) withheld: bool,
}

/// How well a virtual subchannel does for a device. The first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is given to the client.
    Given,
    /// It had this device before.
    Former,
    /// It had another one, which is gone: its storage does for this one.
    Other,
    /// It never had one.
    Fresh,
}

/// What stands behind a virtual subchannel.
#[derive(Debug)]
pub(super) enum Kind {
    /// A virtio-ccw device: the subchannel, and which of the devices.
    Virtio(Box<Subchannel>, usize),
    /// An owned subchannel. Nothing so far: the device number is not valid.
    Owned(Exported, Option<Box<PassThrough>>),
}

impl Virtual {
    #[inline]
    pub(super) const fn index(&self) -> u16 {
        self.entry.index as u16
    }

    /// What passes a device through, if that is its kind.
    #[inline]
    pub(super) fn subject(&self) -> Option<&PassThrough> {
        match &self.kind {
            Kind::Owned(_, subject) => subject.as_deref(),
            Kind::Virtio(..) => None,
        }
    }

    #[inline]
    pub(super) fn subject_mut(&mut self) -> Option<&mut PassThrough> {
        match &mut self.kind {
            Kind::Owned(_, subject) => subject.as_deref_mut(),
            Kind::Virtio(..) => None,
        }
    }

    pub(super) fn take_subject(&mut self) -> Option<Box<PassThrough>> {
        match &mut self.kind {
            Kind::Owned(_, subject) => subject.take(),
            Kind::Virtio(..) => None,
        }
    }

    /// How well it does for a device that nobody has; `None`: not at all.
    pub(super) fn fit(&self, number: DeviceNumber) -> Option<Fit> {
        if self.withheld {
            return None;
        }
        let Kind::Owned(export, subject) = &self.kind else {
            return None;
        };
        match (export.kind, subject) {
            (ExportKind::PassThrough, _) => (export.given() == Some(number)).then_some(Fit::Given),
            (ExportKind::Any, None) => Some(Fit::Fresh),
            (ExportKind::Any, Some(subject)) if subject.is_gone() => {
                let same = subject.device() == number;
                Some(if same { Fit::Former } else { Fit::Other })
            }
            (ExportKind::Any | ExportKind::Lent | ExportKind::Block | ExportKind::Vacant, _) => {
                None
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        sequence: u32,
        devices: &mut [VirtioBlk],
        events: &mut Option<EventSource<'static>>,
        ctx: &mut Ctx<'_>,
    ) {
        if let Some(note) = ctx.note {
            note.begin(self.client, self.index(), sequence);
        }
        let request = self.entry.request();
        let reply = match &request {
            Some(request) => self.reply(request, devices, ctx),
            None => None,
        };
        match (&request, &reply) {
            (Some(Request::Test), Some(reply)) => {
                let pending = !self.withheld && self.condition().0;
                self.entry
                    .show_status(reply.irb.unwrap_or_default(), pending);
            }
            (Some(Request::Store | Request::Modify(_)), _) => self.show(ctx),
            _ => {}
        }
        self.entry.answer(reply.as_ref());
        if let Some(note) = ctx.note {
            note.done(self.functions());
        }
        self.tell(events, ctx);
        self.entry.answered(sequence);
        if let Some(note) = ctx.note {
            note.forget();
        }
    }

    #[inline]
    fn reply(
        &mut self,
        request: &Request,
        devices: &mut [VirtioBlk],
        ctx: &mut Ctx<'_>,
    ) -> Option<Reply> {
        Some(match &mut self.kind {
            _ if self.withheld => without_device(request),
            Kind::Virtio(..) if self.resetting => match request {
                Request::Modify(_) => Reply::cc(ConditionCode::Cc2),
                _ => without_device(request),
            },
            Kind::Virtio(subchannel, device) => {
                emulate(subchannel, request, self.program, devices.get_mut(*device)?)
            }
            Kind::Owned(_, Some(subject)) => subject.request(request, ctx),
            Kind::Owned(_, None) => without_device(request),
        })
    }

    /// Goes on with the program of an emulated control unit. Returns whether it ended.
    #[cold]
    pub(super) fn advance(&mut self, devices: &mut [VirtioBlk], ctx: &Ctx<'_>) -> bool {
        let (client, index) = (self.client, self.index());
        let Kind::Virtio(subchannel, device) = &mut self.kind else {
            return false;
        };
        let Some(device) = devices.get_mut(*device) else {
            return false;
        };
        let noted = ctx.note.filter(|note| note.begin_again(client, index));
        let ended = subchannel.advance(self.program, device);
        if let Some(note) = noted {
            note.forget();
        }
        ended
    }

    /// Whether the program of an emulated control unit waits.
    #[inline]
    pub(super) const fn is_active(&self) -> bool {
        match &self.kind {
            Kind::Virtio(subchannel, _) => subchannel.is_active(),
            Kind::Owned(..) => false,
        }
    }

    /// The client begins anew: a virtual subchannel of the virtio-ccw kind is as after a reset, and so is its device when nothing is in
    /// flight any more, see [`Self::go_on_resetting`].
    pub(super) fn begin_reset(&mut self, ctx: &mut Ctx<'_>) {
        if let Kind::Virtio(subchannel, _) = &mut self.kind {
            **subchannel = Subchannel::new(subchannel.store().pmcw.device.get());
            self.resetting = true;
            self.show(ctx);
            self.tell_pending();
        }
    }

    /// Goes on with that. Returns whether it has to wait.
    pub(super) fn go_on_resetting(&self, devices: &mut [VirtioBlk]) -> bool {
        let (true, Kind::Virtio(_, device)) = (self.resetting, &self.kind) else {
            return false;
        };
        devices
            .get_mut(*device)
            .is_some_and(|device| device.reset() == Executed::Wait)
    }

    /// What the answer to a request may have taken: CCWs that were looked at.
    #[inline]
    pub(super) fn effort(&self) -> usize {
        self.subject().map_or(0, PassThrough::effort)
    }

    /// Whether status is pending, and what is in progress: what the appliance has to know in its next life.
    #[inline]
    fn condition(&self) -> (bool, u32) {
        let (pending, functions) = match &self.kind {
            Kind::Virtio(subchannel, _) => (subchannel.is_pending(), subchannel.functions()),
            Kind::Owned(_, Some(subject)) => (subject.is_pending(), subject.functions()),
            Kind::Owned(_, None) => (false, FunctionControl::empty()),
        };
        (pending, functions.bits().into())
    }

    #[inline]
    pub(super) fn functions(&self) -> u32 {
        self.condition().1
    }

    pub(super) fn show(&mut self, ctx: &mut Ctx<'_>) {
        let schib = match &mut self.kind {
            Kind::Virtio(subchannel, _) => *subchannel.store(),
            Kind::Owned(_, Some(subject)) => {
                // What an earlier life has shown holds until it has been taken up: this life may end before that.
                let former = subject.former().copied();
                let schib = former.unwrap_or_else(|| subject.schib(ctx));
                self.shown_enabled = subject.is_enabled();
                schib
            }
            Kind::Owned(_, None) => Schib::default(),
        };
        if let Err(error) = self.entry.show(schib, self.functions()) {
            log::error!("schib: {error}");
        }
    }

    /// Tells the client what became of a pass-through subchannel. Returns whether there is anything to ring for.
    pub(super) fn tell(
        &mut self,
        events: &mut Option<EventSource<'static>>,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        let is_enabled = self.subject().map(PassThrough::is_enabled);
        if is_enabled.is_some_and(|is_enabled| is_enabled != self.shown_enabled) {
            self.show(ctx);
        }
        let mut ring = self.tell_pending();
        let Kind::Owned(_, Some(subject)) = &mut self.kind else {
            return false;
        };
        while let Some(report) = subject.take_report() {
            if let Some(events) = events {
                events.report(report);
            }
            ring = true;
        }
        if let Some(measurement) = subject.take_measurement() {
            let _ = (self.entry.area).write::<Measurement>(self.entry.index, measurement);
        }
        ring
    }

    /// Tells the client whether status is pending and what is in progress. Returns whether status has become pending.
    #[inline(always)]
    pub(super) fn tell_pending(&mut self) -> bool {
        let (pending, functions) = self.condition();
        self.entry.tell(pending, functions)
    }
}

/// The answer to a request to a virtual subchannel that has no device now.
#[cold]
const fn without_device(request: &Request) -> Reply {
    match request {
        Request::Store | Request::Modify(_) => Reply::DONE,
        _ => Reply::NOT_OPERATIONAL,
    }
}

/// A request to a virtual subchannel of the virtio-ccw kind.
fn emulate(
    subchannel: &mut Subchannel,
    request: &Request,
    program: &Window,
    device: &mut VirtioBlk,
) -> Reply {
    let done = match request {
        Request::Start(orb) => subchannel.start(orb, program, device),
        // That has ended the program that may have waited for the control unit.
        Request::Halt => subchannel.halt().inspect(|()| device.go_on()),
        Request::Clear => subchannel.clear().inspect(|()| device.go_on()),
        Request::Cancel => subchannel.cancel(),
        Request::Resume => subchannel.resume(),
        Request::Store => Ok(()),
        Request::Modify(schib) => subchannel.modify(schib),
        Request::Test => return subchannel.test().into(),
    };
    done.map_or_else(Reply::from, |()| Reply::DONE)
}
