//! One client: its area, its windows, and its virtual channel subsystem.
//!
//! # Rule
//!
//! A request is copied once out of the area. What is answered, shown and reported is written before the word that
//! announces it.

use core::mem::offset_of;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use channel::{Crw, IoInterruption, Irb, Orb, Schib, SubchannelId};
use s390x::clock::Tod;
use vcss::client::{Command, Instruction, Measurement, Response, SchibPart, Status};
use vcss::events::EventSource;
use vcss::trace::Recorder;
use vcss::{Area, AreaError, Bell, Word};
use window::Window;
use zerocopy::FromBytes;

use super::passthrough::{Line, PassThrough, Request};
use super::subchannel::Subchannel;
use super::translate::{Translator, ARENA_BYTES};
use super::virtio_blk::request::Scratch;
use super::virtio_blk::service::Context;
use super::virtio_blk::table::{Origin, Table};
use super::virtio_blk::{Export, Unit, VirtioBlk};
use crate::driver::block::{BlockDevice, Geometry};
use crate::driver::Platform;

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its name in the configuration.
    pub name: String,
    number: u16,
    pub(super) area: Area<'static>,
    pub(super) window: &'static Window,
    program: &'static Window,
    bell: Bell<'static>,
    /// Something happened that the client is to be rung for.
    ring: bool,
    /// A subchannel's program waits for its control unit.
    active: bool,
    subchannels: Vec<Virtual>,
    /// The devices behind virtual subchannels of the virtio-ccw kind; apart from the subchannels, so that a
    /// channel can drive its device.
    pub(super) devices: Vec<VirtioBlk>,
    /// Channel reports, where the area has room for them.
    events: Option<EventSource<'static>>,
}

/// A virtual subchannel and its place in the area.
#[derive(Debug)]
struct Virtual {
    kind: Kind,
    index: u32,
    asked: Word<'static>,
    answered: Word<'static>,
    condition: Word<'static>,
    pending: Word<'static>,
    functions: Word<'static>,
    /// The SCHIB part says that it is enabled.
    shown_enabled: bool,
    /// What the words in the area say: pending, and functions.
    told: (bool, u32),
}

/// What stands behind a virtual subchannel.
#[derive(Debug)]
enum Kind {
    /// A virtio-ccw device: the subchannel, and which of the devices.
    Virtio(Box<Subchannel>, usize),
    /// An owned subchannel.
    PassThrough(Box<PassThrough>),
    /// Nothing, ever: the device number is not valid.
    Nothing,
}

/// What serving pass-through subchannels needs.
pub struct Surroundings<'a> {
    /// The machine.
    pub platform: &'a mut dyn Platform,
    /// The time.
    pub now: Tod,
    /// The trace.
    pub trace: Option<&'a mut Recorder<'static>>,
}

impl core::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Surroundings")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client without subchannels.
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
    ) -> Result<Self, AreaError> {
        Ok(Self {
            name,
            number,
            bell: Bell::of_appliance(&area)?,
            events: EventSource::open(&area).ok(),
            // An earlier life may have left something unsaid.
            ring: true,
            active: false,
            area,
            window,
            program,
            subchannels: Vec::new(),
            devices: Vec::new(),
        })
    }

    /// Adds a virtual subchannel with a block device, taking up what an earlier life of the appliance left.
    ///
    /// # Errors
    ///
    /// The area has no place for it.
    pub fn add(&mut self, device: u16, export: Export, disk: &Geometry) -> Result<(), AreaError> {
        let index = self.subchannels.len() as u32;
        let mut virtio = VirtioBlk::new(&self.area, index, export, disk)?;
        virtio.take_up(&self.area, self.window);
        let mut subchannel = Subchannel::new(device);
        if let Ok(old) = self.area.read::<SchibPart>(index) {
            // Enabled before is enabled now: the client need not know that there was a restart.
            if old.schib.pmcw.device.get() == device {
                subchannel.modify(&old.schib);
            }
        }
        let part = part(*subchannel.store(), 0);
        let kind = Kind::Virtio(Box::new(subchannel), self.devices.len());
        let place = self.place(kind)?;
        self.area.write(index, &part)?;
        self.subchannels.push(place);
        self.devices.push(virtio);
        Ok(())
    }

    /// Adds a virtual subchannel that stands for an owned one, or for nothing. One that is `lent` is a disk's, and stands for
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// The area has no place for it.
    pub fn add_pass_through(
        &mut self,
        owned: Option<(SubchannelId, u16)>,
        lent: bool,
        isc: u8,
        around: Surroundings<'_>,
    ) -> Result<(), AreaError> {
        let index = self.subchannels.len() as u16;
        let mut translator = || {
            let translator = Translator::new(ARENA_BYTES);
            if around.platform.has_midaws() {
                translator
            } else {
                translator.without_midaws()
            }
        };
        let kind = match owned {
            Some((id, device)) => {
                let subject = PassThrough::new(id, index, device, isc, translator());
                Kind::PassThrough(Box::new(if lent { subject.away() } else { subject }))
            }
            None => Kind::Nothing,
        };
        let mut place = self.place(kind)?;
        let mut line = Line {
            css: around.platform,
            window: self.program,
            now: around.now,
            trace: around.trace,
            client: self.number,
        };
        if let (Kind::PassThrough(subject), false) = (&mut place.kind, lent) {
            let former = self.area.read::<SchibPart>(place.index).ok();
            let former = former.map(|part| (part.schib, part.functions.get() as u8));
            subject.open(former, &mut line);
        }
        place.show(&self.area, &mut line);
        place.tell(&self.area, &mut self.events, &mut line);
        self.subchannels.push(place);
        Ok(())
    }

    /// The next virtual subchannel's place in the area.
    fn place(&self, kind: Kind) -> Result<Virtual, AreaError> {
        let (area, index) = (&self.area, self.subchannels.len() as u32);
        Ok(Virtual {
            kind,
            index,
            asked: area.word::<Command>(index, offset_of!(Command, sequence))?,
            answered: area.word::<Response>(index, offset_of!(Response, sequence))?,
            condition: area.word::<Response>(index, offset_of!(Response, condition))?,
            pending: area.word::<Status>(index, offset_of!(Status, pending))?,
            functions: area.word::<SchibPart>(index, offset_of!(SchibPart, functions))?,
            shown_enabled: false,
            // Whatever is there, it is not that.
            told: (false, u32::MAX),
        })
    }

    /// The devices of the virtio-ccw kind, in the order of their subchannels.
    pub fn devices(&self) -> &[VirtioBlk] {
        &self.devices
    }

    /// For each virtual subchannel its device, if it is of the virtio-ccw kind.
    pub fn subchannels(&self) -> impl Iterator<Item = Option<&VirtioBlk>> {
        self.subchannels.iter().map(|place| match &place.kind {
            Kind::Virtio(_, device) => self.devices.get(*device),
            Kind::PassThrough(_) | Kind::Nothing => None,
        })
    }

    /// The pass-through subchannels, with their numbers.
    pub fn passed_through(&self) -> impl Iterator<Item = (u16, &PassThrough)> {
        self.subchannels
            .iter()
            .filter_map(|place| match &place.kind {
                Kind::PassThrough(subject) => Some((place.index as u16, &**subject)),
                Kind::Virtio(..) | Kind::Nothing => None,
            })
    }

    fn any_passed_through(&self, fact: impl Fn(&PassThrough) -> bool) -> bool {
        self.passed_through().any(|(_, subject)| fact(subject))
    }

    /// Whether [`Self::hear`] would find something: the quick look of each turn.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.bell.rings() || self.active
    }

    /// Carries out what the client asks its subchannels, if it rang. Returns whether anything was done.
    pub fn hear(&mut self, around: &mut Surroundings<'_>) -> bool {
        if !self.has_news() {
            return false;
        }
        let rang = self.bell.heard();
        if rang && self.bell.began_anew() {
            self.each_pass_through(around, PassThrough::reset);
        }
        let mut worked = false;
        self.active = false;
        for place in &mut self.subchannels {
            let mut done = false;
            if let Kind::Virtio(subchannel, device) = &mut place.kind {
                if let (true, Some(device)) =
                    (subchannel.is_active(), self.devices.get_mut(*device))
                {
                    let mut unit = Unit {
                        device,
                        area: &self.area,
                        window: self.window,
                    };
                    done = subchannel.advance(self.program, &mut unit);
                }
            }
            if rang && place.asked.load() != place.answered.load() {
                let mut line = Line {
                    css: &mut *around.platform,
                    window: self.program,
                    now: around.now,
                    trace: around.trace.as_deref_mut(),
                    client: self.number,
                };
                place.answer(
                    &self.area,
                    self.window,
                    &mut self.devices,
                    &mut self.events,
                    &mut line,
                );
                done = true;
            } else if done {
                place.tell_pending();
            }
            if done {
                self.ring = true;
                worked = true;
            }
            if let Kind::Virtio(subchannel, _) = &place.kind {
                self.active |= subchannel.is_active();
            }
        }
        worked
    }

    /// Does something to each pass-through subchannel, and tells the client what came of it.
    pub fn each_pass_through(
        &mut self,
        around: &mut Surroundings<'_>,
        mut act: impl FnMut(&mut PassThrough, &mut Line<'_>),
    ) {
        for place in &mut self.subchannels {
            if let Kind::PassThrough(subject) = &mut place.kind {
                let mut line = Line {
                    css: &mut *around.platform,
                    window: self.program,
                    now: around.now,
                    trace: around.trace.as_deref_mut(),
                    client: self.number,
                };
                act(subject, &mut line);
                self.ring |= place.tell(&self.area, &mut self.events, &mut line);
            }
        }
    }

    /// An interruption. Returns whether it was one of this client's subchannels'.
    pub fn interruption(
        &mut self,
        interruption: &IoInterruption,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let IoInterruption::Subchannel { id: of, .. } = interruption else {
            return false;
        };
        if !self.any_passed_through(|subject| subject.id() == *of) {
            return false;
        }
        self.each_pass_through(around, |subject, line| {
            if subject.id() == *of {
                subject.interruption(line);
            }
        });
        true
    }

    /// Does what is due.
    pub fn attend(&mut self, around: &mut Surroundings<'_>) {
        if self.any_passed_through(|subject| subject.is_due(around.now)) {
            self.each_pass_through(around, |subject, line| {
                subject.tick(line);
                subject.tend(line);
            });
        }
    }

    /// A channel report about a path: to each subchannel that has it, and once to the client.
    pub fn path(&mut self, report: Crw, around: &mut Surroundings<'_>) {
        let mut told = false;
        self.each_pass_through(around, |subject, line| {
            told |= subject.path(report, told, line);
        });
    }

    /// Takes requests from the client's queues and passes them on.
    pub fn serve(
        &mut self,
        disks: &mut [Box<dyn BlockDevice>],
        table: &mut Table,
        scratch: &mut Scratch,
    ) -> bool {
        let mut worked = false;
        for (number, device) in self.devices.iter_mut().enumerate() {
            if !device.is_live() {
                continue;
            }
            for queue in 0..device.queue_count() {
                if !device.has_news(queue, self.window) {
                    continue;
                }
                let Some(disk) = disks.get_mut(device.export().disk) else {
                    break;
                };
                let mut context = Context {
                    area: &self.area,
                    window: self.window,
                    disk: disk.as_mut(),
                    table,
                    scratch,
                };
                let origin = Origin {
                    client: self.number,
                    subchannel: number as u16,
                    queue,
                };
                worked |= device.serve(origin, &mut context);
            }
        }
        worked
    }

    /// Shows the client what was completed, and rings if it is to know. Returns whether it sleeps.
    pub fn publish(&mut self) -> bool {
        for device in &mut self.devices {
            self.ring |= device.publish(&self.area, self.window);
        }
        core::mem::take(&mut self.ring) && self.bell.ring()
    }

    /// Asks the client to ring. Returns whether there is work after all.
    pub fn lie_down(&mut self) -> bool {
        self.bell.lie_down();
        let mut waiting = false;
        for device in &mut self.devices {
            waiting |= device.expect_bells(true, &self.area, self.window);
        }
        self.bell.rings() | waiting
    }

    /// The client need not ring.
    pub fn get_up(&mut self) {
        self.bell.get_up();
        for device in &mut self.devices {
            device.expect_bells(false, &self.area, self.window);
        }
    }
}

impl Virtual {
    /// Carries out one request.
    fn answer(
        &mut self,
        area: &Area<'static>,
        window: &'static Window,
        devices: &mut [VirtioBlk],
        events: &mut Option<EventSource<'static>>,
        line: &mut Line<'_>,
    ) {
        let sequence = self.asked.load();
        let command = area.read::<Command>(self.index).ok();
        let instruction = command
            .as_ref()
            .and_then(|command| Instruction::from_number(command.instruction.get()));
        let condition = match (command, instruction) {
            (Some(command), Some(instruction)) => {
                let operand = &command.operand;
                match &mut self.kind {
                    Kind::Virtio(subchannel, device) => match devices.get_mut(*device) {
                        Some(device) => {
                            let mut unit = Unit {
                                device,
                                area,
                                window,
                            };
                            let (condition, irb) =
                                emulate(subchannel, instruction, operand, line.window, &mut unit);
                            if instruction == Instruction::Test {
                                let pending = subchannel.is_pending();
                                show_status(area, self.index, &irb, pending);
                            }
                            condition
                        }
                        None => Response::INVALID,
                    },
                    Kind::PassThrough(subject) => {
                        let condition = pass(subject, instruction, operand, line);
                        if instruction == Instruction::Test {
                            let pending = subject.is_pending();
                            show_status(area, self.index, subject.irb(), pending);
                        }
                        condition
                    }
                    Kind::Nothing => match instruction {
                        Instruction::Store | Instruction::Modify => 0,
                        _ => 3,
                    },
                }
            }
            _ => Response::INVALID,
        };
        if matches!(instruction, Some(Instruction::Store | Instruction::Modify)) {
            self.show(area, line);
        }
        self.tell(area, events, line);
        self.condition.store(condition);
        self.answered.store(sequence);
    }

    fn is_pending(&self) -> bool {
        match &self.kind {
            Kind::Virtio(subchannel, _) => subchannel.is_pending(),
            Kind::PassThrough(subject) => subject.is_pending(),
            Kind::Nothing => false,
        }
    }

    /// What the appliance has to know in its next life.
    fn functions(&self) -> u32 {
        match &self.kind {
            Kind::PassThrough(subject) => u32::from(subject.functions().bits()),
            Kind::Virtio(..) | Kind::Nothing => 0,
        }
    }

    /// Writes the SCHIB part.
    fn show(&mut self, area: &Area<'static>, line: &mut Line<'_>) {
        let schib = match &mut self.kind {
            Kind::Virtio(subchannel, _) => *subchannel.store(),
            Kind::PassThrough(subject) => {
                let schib = subject.schib(line);
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
    fn tell(
        &mut self,
        area: &Area<'static>,
        events: &mut Option<EventSource<'static>>,
        line: &mut Line<'_>,
    ) -> bool {
        if let Kind::PassThrough(subject) = &self.kind {
            if subject.is_enabled() != self.shown_enabled {
                self.show(area, line);
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
    fn tell_pending(&mut self) -> bool {
        let now = (self.is_pending(), self.functions());
        let before = core::mem::replace(&mut self.told, now);
        if now.1 != before.1 {
            self.functions.store(now.1);
        }
        // The first time, whatever is there.
        if now.0 != before.0 || before.1 == u32::MAX {
            self.pending.store(u32::from(now.0));
        }
        now.0 && !before.0
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

fn part(schib: Schib, functions: u32) -> SchibPart {
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
    unit: &mut Unit<'_>,
) -> (u32, Irb) {
    let condition = match instruction {
        Instruction::Start => match Orb::read_from_prefix(operand) {
            Ok((orb, _)) => subchannel.start(&orb, program, unit),
            Err(_) => 3,
        },
        Instruction::Halt => subchannel.halt(),
        Instruction::Clear => subchannel.clear(),
        Instruction::Cancel => subchannel.cancel(),
        Instruction::Resume => subchannel.resume(),
        Instruction::Store => 0,
        Instruction::Modify => match Schib::read_from_prefix(operand) {
            Ok((schib, _)) => subchannel.modify(&schib),
            Err(_) => 3,
        },
        Instruction::Test => {
            let (condition, irb) = subchannel.test();
            return (condition.into(), irb);
        }
    };
    (condition.into(), Irb::default())
}

/// A request to a virtual subchannel of the pass-through kind: its condition code.
fn pass(
    subject: &mut PassThrough,
    instruction: Instruction,
    operand: &[u8],
    line: &mut Line<'_>,
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
    subject.request(request, line)
}
