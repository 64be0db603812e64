//! One client: its area, its windows, and its virtual channel subsystem.

use core::mem::offset_of;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use channel::{Orb, Schib};
use vcss::client::{Command, Instruction, Response, SchibPart, Status};
use vcss::{Area, AreaError, Bell, Word};
use window::Window;
use zerocopy::FromBytes;

use super::subchannel::{Condition, Subchannel};
use super::virtio_blk::service::{Context, Origin, Scratch, Table};
use super::virtio_blk::{Export, Unit, VirtioBlk};
use crate::driver::block::{BlockDevice, Geometry};

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
    /// The devices, by subchannel number; apart from the subchannels, so that a channel can drive its
    /// device.
    pub(super) devices: Vec<VirtioBlk>,
}

/// A virtual subchannel and its place in the area.
#[derive(Debug)]
struct Virtual {
    subchannel: Subchannel,
    index: u32,
    asked: Word<'static>,
    answered: Word<'static>,
    pending: Word<'static>,
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
        let place = Virtual {
            subchannel,
            index,
            asked: self
                .area
                .word::<Command>(index, offset_of!(Command, sequence))?,
            answered: self
                .area
                .word::<Response>(index, offset_of!(Response, sequence))?,
            pending: self
                .area
                .word::<Status>(index, offset_of!(Status, pending))?,
        };
        place.show(&self.area);
        self.subchannels.push(place);
        self.devices.push(virtio);
        Ok(())
    }

    /// The devices, in the order of their subchannels.
    pub fn devices(&self) -> &[VirtioBlk] {
        &self.devices
    }

    /// Carries out what the client asks its subchannels, if it rang. Returns whether anything was done.
    pub fn hear(&mut self) -> bool {
        let rang = self.bell.heard();
        if !rang && !self.active {
            return false;
        }
        let mut worked = false;
        self.active = false;
        for (place, device) in self.subchannels.iter_mut().zip(&mut self.devices) {
            let mut unit = Unit {
                device,
                area: &self.area,
                window: self.window,
            };
            let mut done =
                place.subchannel.is_active() && place.subchannel.advance(self.program, &mut unit);
            if rang && place.asked.load() != place.answered.load() {
                place.answer(self.program, &mut unit);
                done = true;
            }
            if done {
                place
                    .pending
                    .store(u32::from(place.subchannel.is_pending()));
                self.ring = true;
                worked = true;
            }
            self.active |= place.subchannel.is_active();
        }
        worked
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
    fn answer(&mut self, program: &'static Window, unit: &mut Unit<'_>) {
        let area = unit.area;
        let sequence = self.asked.load();
        let condition = match area.read::<Command>(self.index) {
            Ok(command) => match Instruction::from_number(command.instruction.get()) {
                Some(instruction) => {
                    let condition = self.instruction(instruction, &command.operand, program, unit);
                    u32::from(condition)
                }
                None => Response::INVALID,
            },
            Err(_) => Response::INVALID,
        };
        self.pending.store(u32::from(self.subchannel.is_pending()));
        let answer = Response {
            sequence: self.answered.load().into(),
            condition: condition.into(),
        };
        if let Err(error) = area.write(self.index, &answer) {
            log::error!("response: {error}");
        }
        self.answered.store(sequence);
    }

    fn instruction(
        &mut self,
        instruction: Instruction,
        operand: &[u8],
        program: &'static Window,
        unit: &mut Unit<'_>,
    ) -> Condition {
        match instruction {
            Instruction::Start => match Orb::read_from_prefix(operand) {
                Ok((orb, _)) => self.subchannel.start(&orb, program, unit),
                Err(_) => 3,
            },
            Instruction::Halt => self.subchannel.halt(),
            Instruction::Clear => self.subchannel.clear(),
            Instruction::Cancel => self.subchannel.cancel(),
            Instruction::Resume => self.subchannel.resume(),
            Instruction::Store => {
                self.show(unit.area);
                0
            }
            Instruction::Modify => match Schib::read_from_prefix(operand) {
                Ok((schib, _)) => {
                    let condition = self.subchannel.modify(&schib);
                    self.show(unit.area);
                    condition
                }
                Err(_) => 3,
            },
            Instruction::Test => {
                let (condition, irb) = self.subchannel.test();
                let status = Status {
                    pending: 0.into(),
                    reserved: [0.into(); 7],
                    irb,
                };
                if let Err(error) = unit.area.write(self.index, &status) {
                    log::error!("status: {error}");
                }
                condition
            }
        }
    }

    /// Writes the SCHIB part.
    fn show(&self, area: &Area<'static>) {
        let part = SchibPart {
            schib: *self.subchannel.store(),
            reserved: [0; 12],
        };
        if let Err(error) = area.write(self.index, &part) {
            log::error!("schib: {error}");
        }
    }
}
