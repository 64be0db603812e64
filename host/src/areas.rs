//! The areas as the daemon lays them out, and as it looks into them.

use std::mem::offset_of;

use anyhow::{Context, Result};
use vcss::client::ProgramByte;
use vcss::control::{self, ExportKind, Life, Order};
use vcss::layout::{Doorbell, DoorbellHalf, Kind, Name};
use vcss::{plan, Area, Word};
use window::Window;
use zerocopy::big_endian::{U16, U32, U64};

use crate::config::{self, Config};
use crate::pool::{Layout, Pool, Span};

/// The device number of the first disk; the others follow.
pub const FIRST_DEVICE: u16 = 0x0100;

/// A client's area with its memory.
#[derive(Clone, Debug)]
pub struct ClientArea {
    /// The area.
    pub area: Area<'static>,
    /// Its memory.
    pub window: &'static Window,
}

/// All areas of a pool.
#[derive(Clone, Debug)]
pub struct Areas {
    /// The control area.
    pub control: Area<'static>,
    /// The clients' areas.
    pub clients: Vec<ClientArea>,
}

impl Areas {
    /// Lays them all out in a new pool.
    ///
    /// # Errors
    ///
    /// The layout and the configuration do not fit each other.
    pub fn lay_out(config: &Config, pool: &Pool) -> Result<Self> {
        let layout = pool.layout();
        let exports: u32 = config.clients.iter().map(|c| c.exports.len() as u32).sum();
        let control = open(
            pool,
            layout.control,
            &plan::control_area(
                config.clients.len() as u32,
                config.disks.len() as u32,
                exports,
            ),
            Kind::Control,
        )?;
        let mut clients = Vec::new();
        for (client, &span) in config.clients.iter().zip(&layout.areas) {
            let plan = plan::client_area(client.exports.len() as u32);
            clients.push(open(pool, span, &plan, Kind::Client)?);
        }
        let areas = Self {
            control: control.area,
            clients,
        };
        areas.describe(config, layout).context("control area")?;
        Ok(areas)
    }

    fn describe(&self, config: &Config, layout: &Layout) -> Result<()> {
        for (index, client) in config.clients.iter().enumerate() {
            let (area, window) = (layout.areas[index], layout.windows[index]);
            let program = Span {
                offset: area.offset + program_offset(&self.clients[index].area),
                length: client.exports.len() as u64 * u64::from(plan::PROGRAM_BYTES),
            };
            self.control.write(
                index as u32,
                &control::Client {
                    name: name(&client.name)?,
                    area: area.extent(),
                    window: window.extent(),
                    program: program.extent(),
                    reserved: [0; 48],
                },
            )?;
        }
        for (index, disk) in config.disks.iter().enumerate() {
            let entry = control::Disk {
                name: name(&disk.name)?,
                device: U16::new(FIRST_DEVICE + index as u16),
                set: 0,
                reserved: [0; 29],
            };
            self.control.write(index as u32, &entry)?;
        }
        let mut index = 0;
        for (number, client) in config.clients.iter().enumerate() {
            for (device, export) in client.exports.iter().enumerate() {
                let entry = control::Export {
                    client: U16::new(number as u16),
                    disk: U16::new(export.disk as u16),
                    device: U16::new(device as u16),
                    queues: U16::new(export.queues),
                    flags: U32::new(if export.read_only {
                        control::Export::READ_ONLY
                    } else {
                        0
                    }),
                    kind: U32::new(ExportKind::Block as u32),
                    start: U64::new(export.start),
                    sectors: U64::new(export.sectors.unwrap_or(0)),
                    serial: serial(config, client, device),
                    owned_device: U16::ZERO,
                    owned_set: 0,
                    reserved: [0; 9],
                };
                self.control.write(index, &entry)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// What the appliance says of itself.
    ///
    /// # Errors
    ///
    /// The control area has no such part.
    pub fn appliance(&self) -> Result<control::Appliance> {
        Ok(self.control.read(0)?)
    }

    /// The appliance's state of life.
    pub fn life(&self) -> Life {
        self.life_word().map_or(Life::Starting, |word| {
            Life::from_number(word.load()).unwrap_or(Life::Failed)
        })
    }

    /// Forgets what the last appliance said of its life. Only while none runs: the word is the appliance's.
    pub fn forget_life(&self) {
        if let Ok(word) = self.life_word() {
            word.store(Life::Starting as u32);
        }
    }

    /// Gives the appliance an order. The bell is the caller's to ring.
    ///
    /// # Errors
    ///
    /// The control area has no such part.
    pub fn order(&self, order: u32) -> Result<()> {
        let at = offset_of!(Order, order);
        self.control.word::<Order>(0, at)?.store(order);
        Ok(())
    }

    fn life_word(&self) -> Result<Word<'static>> {
        let at = offset_of!(control::Appliance, life);
        Ok(self.control.word::<control::Appliance>(0, at)?)
    }
}

/// Counts the appliance's starts in an area.
///
/// # Errors
///
/// The area has no doorbell.
pub fn generation(area: &Area<'static>) -> Result<Word<'static>, vcss::AreaError> {
    let at = offset_of!(Doorbell, appliance) + offset_of!(DoorbellHalf, generation);
    area.word::<Doorbell>(0, at)
}

/// Where a client area's program window begins in it.
pub fn program_offset(area: &Area<'_>) -> u64 {
    area.entry::<ProgramByte>(0)
        .map_or(0, |address| address.value())
}

fn open(pool: &Pool, span: Span, plan: &plan::AreaPlan, kind: Kind) -> Result<ClientArea> {
    let window = pool.window(span)?;
    plan.write(window)?;
    let area = Area::open(window, kind)?;
    Ok(ClientArea { area, window })
}

fn name(name: &str) -> Result<Name> {
    Name::new(name).with_context(|| format!("\"{name}\" is too long a name"))
}

/// What GET ID answers: the disk's name, cut to fit, and the number of the export if a client has
/// several of the same disk.
fn serial(config: &Config, client: &config::Client, export: usize) -> [u8; 20] {
    let mut serial = [0; 20];
    let disk = client.exports.get(export).map_or(0, |export| export.disk);
    let same = client
        .exports
        .iter()
        .filter(|other| other.disk == disk)
        .count();
    let name = config.disks.get(disk).map_or("", |disk| &disk.name);
    let tail = if same > 1 {
        format!("-{export}")
    } else {
        String::new()
    };
    let room = serial.len() - tail.len();
    let name = name.bytes().take(room).chain(tail.bytes());
    for (to, from) in serial.iter_mut().zip(name) {
        *to = from;
    }
    serial
}

/// The device number that a disk has on the appliance's channel subsystem.
pub const fn device_number(disk: usize) -> u16 {
    FIRST_DEVICE + disk as u16
}
