//! The areas as the daemon lays them out, and as it looks into them.

use std::mem::offset_of;

use anyhow::{Context, Result};
use channel::DeviceNumber;
use vcss::client::{Command, ProgramByte};
use vcss::control::{
    self, ClientMemory, Condition, ConditionState, ExportKind, Heartbeat, Life, Loan, LoanState,
    Order, HOST,
};
use vcss::layout::{Doorbell, DoorbellHalf, Entry, Kind, Name};
use vcss::{plan, Area, AreaError, Word};
use window::Window;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::config::{ConditionEntry, Config};
use crate::layout::{disk_device, Span, HOST_PROGRAM_BYTES, HOST_SUBCHANNELS};
use crate::pool::{client_plan, control_plan, host_plan, Layout, Pool};

/// The generation of what the appliance is told of first.
pub const FIRST_CONFIGURATION: u32 = 1;

/// A client's area with its memory.
#[derive(Clone, Debug)]
pub struct ClientArea {
    pub area: Area<'static>,
    pub window: &'static Window,
}

#[derive(Clone, Debug)]
pub struct Areas {
    pub control: Area<'static>,
    pub clients: Vec<ClientArea>,
    /// The area whose client is the daemon itself.
    pub host: ClientArea,
}

/// A [`Condition`] as it was read.
#[derive(Clone, Debug)]
pub struct Told {
    pub state: ConditionState,
    /// How often it was tried since the appliance started.
    pub tries: u32,
    pub reason: String,
}

impl Areas {
    /// Lays them all out in a new pool.
    pub fn lay_out(config: &Config, pool: &Pool) -> Result<Self> {
        let areas = Self::open(config, pool)?;
        let lay_out = || -> Result<()> {
            areas.tell(config, pool.layout(), FIRST_CONFIGURATION)?;
            let heartbeat = Heartbeat {
                ping: U32::new(1),
                watchdog_seconds: U32::new(config.appliance.watchdog_seconds()),
                ..Heartbeat::default()
            };
            areas.control.write(0, &heartbeat)?;
            // The daemon's own memory is there already.
            let length = program_span(&areas.host, pool.layout().host, HOST_PROGRAM_BYTES).length;
            let memory = ClientMemory {
                length: length.into(),
                ..ClientMemory::default()
            };
            areas.control.write(config.clients.len() as u32, &memory)?;
            Ok(())
        };
        lay_out().context("control area")?;
        Ok(areas)
    }

    /// Those of a pool. Where they are laid out already, nothing changes: their headers are written as they are.
    pub fn open(config: &Config, pool: &Pool) -> Result<Self> {
        let layout = pool.layout();
        let control = open(pool, layout.control, &control_plan(config), Kind::Control)?;
        let mut clients = Vec::new();
        for (client, &span) in config.clients.iter().zip(&layout.areas) {
            clients.push(open(pool, span, &client_plan(client), Kind::Client)?);
        }
        Ok(Self {
            control: control.area,
            clients,
            host: open(pool, layout.host, &host_plan(config), Kind::Client)?,
        })
    }

    /// Writes header and capability list of each channel-level client's area anew: they lie in memory that is the client's own
    /// to spoil, and the next life of the appliance needs them. To be called while none runs.
    pub fn restore(&self, config: &Config) -> Result<()> {
        for (client, area) in config.clients.iter().zip(&self.clients) {
            if client.is_channel_level() {
                client_plan(client).write(area.window)?;
            }
        }
        Ok(())
    }

    /// How a disk, client or export fares.
    pub fn condition(&self, entry: ConditionEntry) -> Result<Told> {
        let entry: Condition = self.control.read(entry.0)?;
        let state = ConditionState::from_number(entry.state.get());
        Ok(Told {
            state: state.context("the area is damaged")?,
            tries: entry.tries.get(),
            reason: entry.reason().to_owned(),
        })
    }

    /// Asks the appliance to try at once what has failed. The bell is the caller's to ring.
    pub fn retry(&self, entry: ConditionEntry) -> Result<()> {
        let word = self
            .control
            .word::<Condition>(entry.0, offset_of!(Condition, retry))?;
        word.store(word.load().wrapping_add(1));
        Ok(())
    }

    /// All areas in the order of their numbers towards the wake-up thread: the control area, the clients', the daemon's
    /// own.
    pub fn numbered(&self) -> impl Iterator<Item = &Area<'static>> {
        let clients = self.clients.iter().chain([&self.host]);
        std::iter::once(&self.control).chain(clients.map(|client| &client.area))
    }

    /// Tells the appliance whom it serves, and that this is so: the entries come first, and then the generation. The bell is the caller's
    /// to ring.
    pub fn tell(&self, config: &Config, layout: &Layout, configuration: u32) -> Result<()> {
        self.describe(config, layout)?;
        self.configuration()?.store(configuration);
        Ok(())
    }

    /// Writes what the appliance is told of everybody, as far as it is not there yet.
    fn describe(&self, config: &Config, layout: &Layout) -> Result<()> {
        for (index, client) in config.clients.iter().enumerate() {
            if client.is_vacant() {
                self.put(index, &control::Client::new_zeroed())?;
                continue;
            }
            let (area, window) = (layout.areas[index], layout.windows[index]);
            let program = match client.is_channel_level() {
                true => window,
                false => program_span(&self.clients[index], area, plan::PROGRAM_BYTES),
            };
            let flags = match client.path_reports {
                true => control::Client::PATH_REPORTS,
                false => 0,
            };
            self.describe_client(index, &client.name, area, window, program, flags)?;
        }
        // The daemon's programs and data are all that it has of memory to share.
        let program = program_span(&self.host, layout.host, HOST_PROGRAM_BYTES);
        let host = config.clients.len();
        self.describe_client(host, HOST, layout.host, program, program, 0)?;
        for (index, disk) in config.disks.iter().enumerate() {
            let device = if disk.is_vacant() {
                0
            } else {
                disk_device(index).number
            };
            let entry = control::Disk {
                name: name(&disk.name)?,
                device: U16::new(device),
                set: 0,
                reserved: [0; 29],
            };
            self.put(index, &entry)?;
        }
        for (index, export) in exports(config).enumerate() {
            self.put(index, &export)?;
        }
        for (index, quota) in quotas(config).enumerate() {
            self.put(index, &quota)?;
        }
        Ok(())
    }

    /// Writes an entry of the control area that is another one so far.
    fn put<T: Entry + IntoBytes + Immutable>(&self, index: usize, entry: &T) -> Result<()> {
        let there = self.control.read::<T>(index as u32)?;
        if there.as_bytes() != entry.as_bytes() {
            self.control.write(index as u32, entry)?;
        }
        Ok(())
    }

    /// Which generation of that the appliance is told to serve by.
    pub fn configuration(&self) -> Result<Word<'static>, AreaError> {
        let at = offset_of!(Order, configuration);
        self.control.word::<Order>(0, at)
    }

    fn describe_client(
        &self,
        index: usize,
        client: &str,
        area: Span,
        window: Span,
        program: Span,
        flags: u32,
    ) -> Result<()> {
        let entry = control::Client {
            name: name(client)?,
            area: area.extent(),
            window: window.extent(),
            program: program.extent(),
            flags: flags.into(),
            reserved: [0; 44],
        };
        self.put(index, &entry)
    }

    pub fn appliance(&self) -> Result<control::Appliance> {
        Ok(self.control.read(0)?)
    }

    pub fn life(&self) -> Life {
        self.life_word().map_or(Life::Starting, |word| {
            Life::from_number(word.load()).unwrap_or(Life::Failed)
        })
    }

    /// Forgets what the last appliance said of its life. Only while none runs: the words are the appliance's.
    pub fn forget_life(&self) {
        if let Ok(word) = self.life_word() {
            word.store(Life::Starting as u32);
        }
        if let Ok(answer) = self.heartbeat(offset_of!(Heartbeat, answer)) {
            answer.store(0);
        }
    }

    /// A word of the heartbeat: see [`Heartbeat`].
    pub fn heartbeat(&self, offset: usize) -> Result<Word<'static>, AreaError> {
        self.control.word::<Heartbeat>(0, offset)
    }

    /// Gives the appliance an order. The bell is the caller's to ring.
    pub fn order(&self, order: u32) -> Result<()> {
        let at = offset_of!(Order, order);
        self.control.word::<Order>(0, at)?.store(order);
        Ok(())
    }

    /// Says whether a disk is to be in maintenance: [`Loan::NONE`] and its like. The bell is the caller's to ring.
    pub fn want_maintenance(&self, disk: usize, wanted: u32) -> Result<()> {
        let at = offset_of!(Loan, wanted);
        self.control.word::<Loan>(disk as u32, at)?.store(wanted);
        Ok(())
    }

    pub fn maintenance(&self, disk: usize) -> Result<LoanState> {
        let at = offset_of!(Loan, state);
        let state = self.control.word::<Loan>(disk as u32, at)?.load();
        LoanState::from_number(state).context("the area is damaged")
    }

    pub fn life_word(&self) -> Result<Word<'static>, AreaError> {
        let at = offset_of!(control::Appliance, life);
        self.control.word::<control::Appliance>(0, at)
    }
}

/// All exports, client by client, the daemon's own last.
fn exports(config: &Config) -> impl Iterator<Item = control::Export> + '_ {
    let clients = config.clients.iter().enumerate();
    let given = clients.flat_map(move |(number, client)| {
        let disks = client.exports.iter().enumerate();
        let disks = disks.map(move |(device, export)| control::Export {
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
            sectors: U64::new(export.sectors),
            partition: export.partition.unwrap_or(0),
            serial: client.serial(&config.disks, device),
            ..no_disk(number)
        });
        let subchannels = client.subchannels.iter().map(move |given| {
            let owned = config.subchannels[given.subchannel].device;
            control::Export {
                device: U16::new(given.device),
                kind: U32::new(ExportKind::PassThrough as u32),
                owned_device: U16::new(owned.number),
                owned_set: owned.set,
                ..no_disk(number)
            }
        });
        // Room for more of the same client's.
        let rest = client.rows as usize - client.parts().min(client.rows as usize);
        let vacant = control::Export {
            kind: U32::new(ExportKind::Vacant as u32),
            ..no_disk(number)
        };
        let rest = std::iter::repeat_n(vacant, rest);
        disks.chain(subchannels).chain(rest)
    });
    let host = no_disk(config.clients.len());
    let lent = (0..config.disks.len()).map(move |disk| control::Export {
        disk: U16::new(disk as u16),
        device: U16::new(disk_device(disk).number),
        kind: U32::new(ExportKind::Lent as u32),
        ..host
    });
    given
        .chain(std::iter::repeat_n(host, HOST_SUBCHANNELS as usize))
        .chain(lent)
}

/// How the exports share their disks, in the same order.
fn quotas(config: &Config) -> impl Iterator<Item = control::Quota> + '_ {
    config.clients.iter().flat_map(|client| {
        let disks = client.exports.iter().map(|export| {
            let quota = &export.quota;
            control::Quota {
                weight: U32::new(quota.weight),
                iops: U32::new(quota.iops.unwrap_or(0) as u32),
                iops_burst: U32::new(quota.iops_burst.unwrap_or(0) as u32),
                bandwidth: U64::new(quota.bandwidth.unwrap_or(0)),
                bandwidth_burst: U64::new(quota.bandwidth_burst.unwrap_or(0)),
                ..control::Quota::default()
            }
        });
        // What is no disk's has none.
        let none = std::iter::repeat(control::Quota::default());
        disks.chain(none).take(client.rows as usize)
    })
}

/// An export of whatever subchannel is left.
fn no_disk(client: usize) -> control::Export {
    control::Export {
        client: U16::new(client as u16),
        disk: U16::new(control::Export::NO_DISK),
        device: U16::ZERO,
        queues: U16::ZERO,
        flags: U32::ZERO,
        kind: U32::new(ExportKind::Any as u32),
        start: U64::ZERO,
        sectors: U64::ZERO,
        serial: [0; 20],
        owned_device: U16::ZERO,
        owned_set: 0,
        partition: 0,
        reserved: [0; 8],
    }
}

/// Where the program part of an area lies in the pool.
fn program_span(client: &ClientArea, area: Span, bytes_each: u32) -> Span {
    let count = client.area.count::<Command>();
    Span {
        offset: area.offset + program_offset(&client.area),
        length: u64::from(count) * u64::from(bytes_each),
    }
}

pub fn devices<'a>(control: &'a Area<'_>) -> impl Iterator<Item = control::Device> + 'a {
    (0..control.count::<control::Device>())
        .map_while(|index| control.read::<control::Device>(index).ok())
        .take_while(|entry| entry.subchannel.get() != 0)
}

pub fn device_number(entry: &control::Device) -> DeviceNumber {
    DeviceNumber {
        set: entry.set,
        number: entry.device.get(),
    }
}

/// Counts the appliance's starts in an area.
pub fn generation(area: &Area<'static>) -> Result<Word<'static>, AreaError> {
    let at = offset_of!(Doorbell, appliance) + offset_of!(DoorbellHalf, generation);
    area.word::<Doorbell>(0, at)
}

/// Counts the beginnings of an area's client.
pub fn client_generation(area: &Area<'static>) -> Result<Word<'static>, AreaError> {
    let at = offset_of!(Doorbell, client) + offset_of!(DoorbellHalf, generation);
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

#[cfg(test)]
mod tests {
    use super::*;
    use window::ClientAddress;

    #[test]
    fn a_spoilt_header_is_restored_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let text = format!(
            "[appliance]\nimage = \"i\"\nmemory = \"4M\"\nrun_dir = \"{0}\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x-terminal3270,chardev=t\"\n\
             [[client]]\nname = \"bare\"\nmemory = \"16M\"\n[[client.subchannel]]\nsubchannel = \"t\"\n",
            dir.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let pool = Pool::create(&config).unwrap();
        let areas = Areas::lay_out(&config, &pool).unwrap();
        let window = areas.clients[0].window;
        let length = client_plan(&config.clients[0]).length() as usize;
        let read = || {
            let mut bytes = vec![0; length];
            let start = ClientAddress::new(0);
            window.read_bytes(start, &mut bytes).unwrap();
            bytes
        };
        // As if it had been in use for a while.
        let end = ClientAddress::new(length as u64 - 64);
        window.write_bytes(end, &[0x5A; 64]).unwrap();
        let in_use = read();
        window
            .write_bytes(ClientAddress::new(0), &[0; 256])
            .unwrap();
        assert!(Area::open(window, Kind::Client).is_err());
        areas.restore(&config).unwrap();
        assert!(Area::open(window, Kind::Client).is_ok());
        assert!(read() == in_use, "the rest is as it was");
    }

    #[test]
    fn who_is_told_of_another_configuration_has_its_entries_before_its_generation() {
        let dir = tempfile::tempdir().unwrap();
        let parse = |clients: &[&str]| {
            let mut text = format!(
                "[appliance]\nimage = \"i\"\nmemory = \"4M\"\nrun_dir = \"{}\"\n[[disk]]\nname = \"d\"\nimage = \"d\"\n",
                dir.path().display()
            );
            for name in clients {
                text += &format!("[[client]]\nname = \"{name}\"\nmemory = \"1M\"\n[[client.disk]]\ndisk = \"d\"\nshared = true\n");
            }
            Config::parse(std::path::Path::new("c.toml"), &text).unwrap()
        };
        let old = parse(&["stays", "goes"]);
        let seats = crate::config::Seats::new(&old);
        let old = old.seated(&seats);
        let new = parse(&["comes", "stays"]);
        let next = seats.follow(&old, &new).unwrap();
        let new = new.seated(&next);
        let pool = Pool::create(&old).unwrap();
        let areas = Areas::lay_out(&old, &pool).unwrap();
        let generation = areas.configuration().unwrap();
        assert_eq!(generation.load(), FIRST_CONFIGURATION);
        let names = || {
            let clients = 0..3;
            let clients =
                clients.map(|index| areas.control.read::<control::Client>(index).unwrap());
            clients
                .map(|it| it.name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["stays", "goes", ""]);
        let layout = pool.layout().follow(&old, &new, &[], |_| false).unwrap();
        areas.tell(&new, &layout, 2).unwrap();
        assert_eq!(
            (names(), generation.load()),
            (vec!["stays".into(), String::new(), "comes".into()], 2)
        );
        // Once more changes nothing.
        areas.tell(&new, &layout, 2).unwrap();
        assert_eq!(generation.load(), 2);
    }
}
