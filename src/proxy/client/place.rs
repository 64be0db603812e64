//! A virtual subchannel's place in the area: its requests come from there, and what it shows is written there.

use core::mem::offset_of;

use liballoc::boxed::Box;

use channel::{DeviceNumber, Irb, NotOperational, Orb, Refusal, Schib, Tested};
use vcss::client::{Command, Instruction, Measurement, Response, SchibPart, Status};
use vcss::events::EventSource;
use vcss::{Area, AreaError, Word};
use window::Window;
use zerocopy::FromBytes;

use crate::proxy::block_service::VirtioBlk;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::emulated::program::Executed;
use crate::proxy::subchannel::emulated::Subchannel;
use crate::proxy::subchannel::passthrough::{PassThrough, Request};

/// A virtual subchannel and its place in the area.
#[derive(Debug)]
pub(super) struct Virtual {
    pub(super) kind: Kind,
    /// For which device it stands, where that is not settled for good.
    pub(super) stands: Option<Stands>,
    pub(super) index: u32,
    pub(super) asked: Word<'static>,
    pub(super) answered: Word<'static>,
    pub(super) condition: Word<'static>,
    pending: Word<'static>,
    functions: Word<'static>,
    /// The SCHIB part says that it is enabled.
    shown_enabled: bool,
    /// What the words in the area say: pending, and functions.
    told: (u32, u32),
    /// The client has begun anew, and requests of before are still in flight at the disk.
    pub(super) resetting: bool,
    /// It is out of service: to the client it is one without a device.
    pub(super) withheld: bool,
}

/// For which owned device a virtual subchannel stands, whenever there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// For the one with this number; the client sees it by the other.
    For(DeviceNumber, u16),
    /// For one that nobody was given by its number. The client sees it by its own.
    Any,
    /// For a disk's, the one with this number, while it is lent. The client sees it by that number.
    Lent(DeviceNumber),
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
    /// An owned subchannel.
    PassThrough(Box<PassThrough>),
    /// Nothing so far: the device number is not valid.
    Nothing,
}

impl Virtual {
    /// The virtual subchannel with number `index`.
    pub(super) fn new(area: &Area<'static>, index: u32, kind: Kind) -> Result<Self, AreaError> {
        Ok(Self {
            kind,
            stands: None,
            index,
            asked: area.word::<Command>(index, offset_of!(Command, sequence))?,
            answered: area.word::<Response>(index, offset_of!(Response, sequence))?,
            condition: area.word::<Response>(index, offset_of!(Response, condition))?,
            pending: area.word::<Status>(index, offset_of!(Status, pending))?,
            functions: area.word::<SchibPart>(index, offset_of!(SchibPart, functions))?,
            shown_enabled: false,
            // Whatever is there, it is not that.
            told: (u32::MAX, u32::MAX),
            resetting: false,
            withheld: false,
        })
    }

    /// How well it does for a device that nobody has; `None`: not at all.
    pub(super) fn fit(&self, number: DeviceNumber) -> Option<Fit> {
        if self.withheld {
            return None;
        }
        match (self.stands?, &self.kind) {
            (Stands::For(wanted, _), _) => (wanted == number).then_some(Fit::Given),
            (Stands::Any, Kind::Nothing) => Some(Fit::Fresh),
            (Stands::Any, Kind::PassThrough(subject)) if subject.is_gone() => {
                let same = subject.device() == number;
                Some(if same { Fit::Former } else { Fit::Other })
            }
            (Stands::Any, Kind::PassThrough(_) | Kind::Virtio(..)) | (Stands::Lent(_), _) => None,
        }
    }

    /// Carries out one request.
    pub(super) fn answer(
        &mut self,
        (client, program): (u16, &Window),
        area: &Area<'static>,
        devices: &mut [VirtioBlk],
        events: &mut Option<EventSource<'static>>,
        ctx: &mut Ctx<'_>,
    ) {
        let sequence = self.asked.load();
        if let Some(note) = ctx.note {
            note.begin(client, self.index as u16, sequence);
        }
        let command = area.read::<Command>(self.index);
        let command = command.as_ref().ok();
        let instruction =
            command.and_then(|command| Instruction::from_number(command.instruction.get()));
        let condition = match (command, instruction) {
            (Some(command), Some(instruction)) => {
                let operand = &command.operand;
                match &mut self.kind {
                    _ if self.withheld => without_device(instruction, area, self.index),
                    Kind::Virtio(..) if self.resetting => match instruction {
                        Instruction::Modify => 2,
                        _ => without_device(instruction, area, self.index),
                    },
                    Kind::Virtio(subchannel, device) => match devices.get_mut(*device) {
                        Some(device) => {
                            let (condition, irb) =
                                emulate(subchannel, instruction, operand, program, device);
                            if instruction == Instruction::Test {
                                let pending = subchannel.is_pending();
                                show_status(area, self.index, &irb, pending);
                            }
                            condition
                        }
                        None => Response::INVALID,
                    },
                    Kind::PassThrough(subject) => {
                        let condition = pass(subject, instruction, operand, ctx);
                        if instruction == Instruction::Test {
                            let pending = subject.is_pending();
                            show_status(area, self.index, subject.irb(), pending);
                        }
                        condition
                    }
                    Kind::Nothing => without_device(instruction, area, self.index),
                }
            }
            _ => Response::INVALID,
        };
        if matches!(instruction, Some(Instruction::Store | Instruction::Modify)) {
            self.show(area, ctx);
        }
        self.condition.store(condition);
        if let Some(note) = ctx.note {
            note.done(self.functions());
        }
        self.tell(area, events, ctx);
        self.answered.store(sequence);
        if let Some(note) = ctx.note {
            note.forget();
        }
    }

    /// Goes on with the program of an emulated control unit. Returns whether it ended.
    #[cold]
    pub(super) fn advance(
        &mut self,
        (client, program): (u16, &Window),
        devices: &mut [VirtioBlk],
        ctx: &Ctx<'_>,
    ) -> bool {
        let Kind::Virtio(subchannel, device) = &mut self.kind else {
            return false;
        };
        let Some(device) = devices.get_mut(*device) else {
            return false;
        };
        let noted = ctx
            .note
            .filter(|note| note.begin_again(client, self.index as u16));
        let ended = subchannel.advance(program, device);
        if let Some(note) = noted {
            note.forget();
        }
        ended
    }

    /// The client begins anew: a virtual subchannel of the virtio-ccw kind is as after a reset, and so is its device when nothing is in
    /// flight any more, see [`Self::go_on_resetting`].
    pub(super) fn begin_reset(&mut self, area: &Area<'static>, ctx: &mut Ctx<'_>) {
        if let Kind::Virtio(subchannel, _) = &mut self.kind {
            **subchannel = Subchannel::new(subchannel.store().pmcw.device.get());
            self.resetting = true;
            self.show(area, ctx);
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
        match &self.kind {
            Kind::PassThrough(subject) => subject.effort(),
            Kind::Virtio(..) | Kind::Nothing => 0,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        match &self.kind {
            Kind::Virtio(subchannel, _) => subchannel.is_pending(),
            Kind::PassThrough(subject) => subject.is_pending(),
            Kind::Nothing => false,
        }
    }

    /// What the appliance has to know in its next life.
    #[inline]
    pub(super) fn functions(&self) -> u32 {
        match &self.kind {
            Kind::PassThrough(subject) => u32::from(subject.functions().bits()),
            Kind::Virtio(subchannel, _) => u32::from(subchannel.functions().bits()),
            Kind::Nothing => 0,
        }
    }

    /// Writes the SCHIB part.
    pub(super) fn show(&mut self, area: &Area<'static>, ctx: &mut Ctx<'_>) {
        let schib = match &mut self.kind {
            Kind::Virtio(subchannel, _) => *subchannel.store(),
            // What an earlier life has shown holds until it has been taken up: this life may end before that.
            Kind::PassThrough(subject) if subject.former().is_some() => {
                self.shown_enabled = subject.is_enabled();
                subject.former().copied().unwrap_or_default()
            }
            Kind::PassThrough(subject) => {
                let schib = subject.schib(ctx);
                self.shown_enabled = subject.is_enabled();
                schib
            }
            Kind::Nothing => Schib::default(),
        };
        if let Err(error) = area.write(self.index, &part(schib, self.functions())) {
            log::error!("schib: {error}");
        }
    }

    /// Tells the client what became of a pass-through subchannel. Returns whether there is anything to ring for.
    pub(super) fn tell(
        &mut self,
        area: &Area<'static>,
        events: &mut Option<EventSource<'static>>,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        if let Kind::PassThrough(subject) = &self.kind {
            if subject.is_enabled() != self.shown_enabled {
                self.show(area, ctx);
            }
        }
        let mut ring = self.tell_pending();
        let Kind::PassThrough(subject) = &mut self.kind else {
            return false;
        };
        while let Some(report) = subject.take_report() {
            if let Some(events) = events {
                events.report(report);
            }
            ring = true;
        }
        if let Some(measurement) = subject.take_measurement() {
            let _ = area.write::<Measurement>(self.index, measurement);
        }
        ring
    }

    /// Stores the words that say whether status is pending and what is in progress, if they have changed. Returns whether status
    /// has become pending.
    pub(super) fn tell_pending(&mut self) -> bool {
        let now = (u32::from(self.is_pending()), self.functions());
        let before = core::mem::replace(&mut self.told, now);
        if now.1 != before.1 {
            self.functions.store(now.1);
        }
        if now.0 == before.0 {
            return false;
        }
        self.pending.store(now.0);
        now.0 != 0
    }
}

/// A request to a virtual subchannel that has no device now: its condition code.
#[cold]
fn without_device(instruction: Instruction, area: &Area<'static>, index: u32) -> u32 {
    match instruction {
        Instruction::Store | Instruction::Modify => 0,
        Instruction::Test => {
            show_status(area, index, &Irb::default(), false);
            3
        }
        _ => 3,
    }
}

/// Writes what TEST stores, and whether more is pending.
fn show_status(area: &Area<'static>, index: u32, irb: &Irb, pending: bool) {
    let status = Status {
        pending: u32::from(pending).into(),
        reserved: [0.into(); 7],
        irb: *irb,
    };
    if let Err(error) = area.write(index, &status) {
        log::error!("status: {error}");
    }
}

pub(super) fn part(schib: Schib, functions: u32) -> SchibPart {
    SchibPart {
        schib,
        functions: functions.into(),
        reserved: [0; 8],
    }
}

/// A request to a virtual subchannel of the virtio-ccw kind: condition code, and what TEST stores.
fn emulate(
    subchannel: &mut Subchannel,
    instruction: Instruction,
    operand: &[u8],
    program: &Window,
    device: &mut VirtioBlk,
) -> (u32, Irb) {
    let done = match instruction {
        Instruction::Start => match Orb::read_from_prefix(operand) {
            Ok((orb, _)) => subchannel.start(&orb, program, device),
            Err(_) => Err(Refusal::NotOperational),
        },
        Instruction::Halt => ended(subchannel.halt(), device),
        Instruction::Clear => ended(subchannel.clear(), device),
        Instruction::Cancel => subchannel.cancel(),
        Instruction::Resume => subchannel.resume(),
        Instruction::Store => Ok(()),
        Instruction::Modify => match Schib::read_from_prefix(operand) {
            Ok((schib, _)) => subchannel.modify(&schib),
            Err(_) => Err(Refusal::NotOperational),
        },
        Instruction::Test => {
            return match subchannel.test() {
                Ok(Tested::Status(irb)) => (0, irb),
                Ok(Tested::Nothing(irb)) => (1, irb),
                Err(NotOperational) => (3, Irb::default()),
            }
        }
    };
    (Refusal::cc(done).into(), Irb::default())
}

/// A halt or clear function that was done has ended the program that may have waited for the control unit.
fn ended(done: Result<(), Refusal>, device: &mut VirtioBlk) -> Result<(), Refusal> {
    if done.is_ok() {
        device.go_on();
    }
    done
}

/// A request to a virtual subchannel of the pass-through kind: its condition code.
fn pass(
    subject: &mut PassThrough,
    instruction: Instruction,
    operand: &[u8],
    ctx: &mut Ctx<'_>,
) -> u32 {
    let (orb, schib);
    let request = match instruction {
        Instruction::Start => match Orb::read_from_prefix(operand) {
            Ok((operand, _)) => {
                orb = operand;
                Request::Start(&orb)
            }
            Err(_) => return Response::INVALID,
        },
        Instruction::Halt => Request::Halt,
        Instruction::Clear => Request::Clear,
        Instruction::Cancel => Request::Cancel,
        Instruction::Resume => Request::Resume,
        Instruction::Store => Request::Store,
        Instruction::Modify => match Schib::read_from_prefix(operand) {
            Ok((operand, _)) => {
                schib = operand;
                Request::Modify(&schib)
            }
            Err(_) => return Response::INVALID,
        },
        Instruction::Test => Request::Test,
    };
    subject.request(request, ctx)
}
