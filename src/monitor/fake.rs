//! An appliance that is nothing but what a test says, and a terminal; for the fuzz target as well.

use core::cell::Cell;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

use channel::{DeviceNumber, Pmcw, PmcwFlags, Schib, SubchannelId};
use log::LevelFilter;
use s390x::clock::Tod;
use vcss::control::{self, ExportKind, Life};
use vcss::trace::{DriverState, TraceEntry};
use zerocopy::FromZeros;

use super::session::{Session, Terminal};
use super::view::{Acts, Client, Disk, Driver, Export, Queue, Reports, Request, Summary, View};
use super::Mode;
use crate::boot::program::Innards;

/// What there is. Commands find what stands here, and the time goes on with each look at it.
#[derive(Debug)]
pub struct Fake {
    pub micros: Rc<Cell<u64>>,
    pub about: control::Appliance,
    pub devices: Vec<control::Device>,
    pub disks: Vec<Option<Disk<'static>>>,
    pub clients: Vec<Client<'static>>,
    pub exports: Vec<Export<'static>>,
    /// The queues of each export.
    pub queues: Vec<Vec<Queue>>,
    pub requests: Vec<Request>,
    pub trace: Vec<TraceEntry>,
    pub log: Vec<String>,
    pub schib: Option<Schib>,
    pub innards: Innards,
    /// The appliance's own storage, from address 0 on.
    pub storage: Vec<u8>,
    pub level: Option<LevelFilter>,
}

pub const ID: SubchannelId = match SubchannelId::new(0, 2) {
    Some(id) => id,
    None => panic!(),
};

impl Fake {
    /// Nothing at all.
    pub fn empty() -> Self {
        Self {
            micros: Rc::new(Cell::new(1_000_000)),
            about: control::Appliance::default(),
            devices: Vec::new(),
            disks: Vec::new(),
            clients: Vec::new(),
            exports: Vec::new(),
            queues: Vec::new(),
            requests: Vec::new(),
            trace: Vec::new(),
            log: Vec::new(),
            schib: None,
            innards: Innards::default(),
            storage: Vec::new(),
            level: None,
        }
    }

    /// Two disks, of which one is not there; a client with a part of the one, and with a terminal.
    pub fn new() -> Self {
        let mut this = Self::empty();
        let number = |number| DeviceNumber { set: 0, number };
        let disk = Disk {
            name: "data",
            number: number(0x100),
            id: SubchannelId::new(0, 1),
            sectors: 32 << 11,
            block_size: 512,
            in_flight: 2,
            is_broken: false,
            is_own: true,
            recoveries: control::Recoveries::default(),
            reason: None,
        };
        let absent = Disk {
            name: "gone",
            number: number(0x101),
            reason: Some("there is no device 0.0.0101"),
            sectors: 0,
            in_flight: 0,
            ..disk
        };
        this.disks = vec![Some(disk), None, Some(absent)];
        let mut device = control::Device::new_zeroed();
        device.subchannel = 0x0001_0001.into();
        device.device = 0x100.into();
        device.cu_type = 0x3832.into();
        device.cu_model = 2;
        (device.pim, device.pam, device.pom) = (0x80, 0x80, 0xFF);
        device.client = control::Device::NO_CLIENT.into();
        let mut terminal = device;
        terminal.subchannel = ID.word().into();
        terminal.device = 0x3270.into();
        terminal.cu_type = 0x3270.into();
        terminal.disk = control::Device::NO_DISK.into();
        terminal.client = 0.into();
        terminal.state = DriverState::Idle as u8;
        (terminal.pim, terminal.pam) = (0xC0, 0x80);
        terminal.chpids = [0x10, 0x1F, 0, 0, 0, 0, 0, 0];
        this.devices = vec![device, terminal];
        this.clients = vec![Client {
            number: 0,
            name: "linux",
            memory: 256 << 20,
            sleeps: true,
            is_held: false,
            reports: Reports {
                made: 3,
                lost: 0,
                left: 1,
            },
            reason: None,
        }];
        let block = Export {
            client: 0,
            index: 0,
            kind: ExportKind::Block,
            device: 0,
            disk: Some(0),
            driver: Driver::Ready,
            queues: 2,
            counters: control::Counters {
                reads: 7.into(),
                writes: 5.into(),
                bytes_read: 28672.into(),
                ..control::Counters::default()
            },
            held_back: control::HeldBack::default(),
            reason: None,
        };
        let given = Export {
            index: 1,
            kind: ExportKind::PassThrough,
            device: 0x3270,
            disk: None,
            driver: Driver::None,
            queues: 0,
            ..block
        };
        this.exports = vec![block, given];
        let queue = Queue {
            size: 128,
            next_avail: 12,
            in_flight: 2,
            has_news: false,
            disk_queue: 1,
        };
        this.queues = vec![vec![queue], vec![]];
        let request = |operation, sector| Request {
            client: 0,
            index: 0,
            queue: 0,
            operation,
            sector,
            bytes: 4096,
        };
        this.requests = vec![request("read", Some(2048)), request("flush", None)];
        let mut older = TraceEntry {
            sequence: 1.into(),
            subchannel: 0x0001_0001.into(),
            event: 0x81.into(),
            after: DriverState::Busy as u8,
            ..TraceEntry::default()
        };
        older.words[0] = 0x0001_0002.into();
        let entry = TraceEntry {
            sequence: 2.into(),
            subchannel: ID.word().into(),
            event: 0x20.into(),
            ..older
        };
        this.trace = vec![older, entry];
        this.log = vec![
            "[    0.1] INFO  boot: up".into(),
            "[    0.2] WARN  x: channel report: y".into(),
        ];
        let mut schib = Schib::default();
        schib.pmcw.device = 0x3270.into();
        schib
            .pmcw
            .set_flag(PmcwFlags::DEVICE_NUMBER_VALID | PmcwFlags::ENABLED, true);
        schib.pmcw = Pmcw {
            pim: 0xC0,
            pam: 0x80,
            pom: 0xFF,
            lpm: 0xC0,
            ..schib.pmcw
        };
        schib.pmcw.chpid = terminal.chpids;
        schib.scsw.control = 0x0000_4027.into();
        this.schib = Some(schib);
        this.storage = (0..=255).cycle().take(8192).collect();
        this
    }
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl View for Fake {
    fn now(&self) -> Tod {
        self.micros.set(self.micros.get() + 1);
        Tod::from_micros(self.micros.get())
    }

    fn summary(&self) -> Summary<'_> {
        Summary {
            version: "1.2.3",
            life: Life::Serving,
            up_us: 61_234_567,
            about: self.about,
            at_disks: self.requests.len(),
        }
    }

    fn device(&self, place: u32) -> Option<control::Device> {
        self.devices.get(place as usize).copied()
    }

    fn disk_count(&self) -> usize {
        self.disks.len()
    }

    fn disk(&self, index: usize) -> Option<Disk<'_>> {
        *self.disks.get(index)?
    }

    fn client(&self, place: usize) -> Option<Client<'_>> {
        self.clients.get(place).copied()
    }

    fn export(&self, place: usize) -> Option<Export<'_>> {
        self.exports.get(place).copied()
    }

    fn queue(&self, place: usize, queue: u16) -> Option<Queue> {
        self.queues.get(place)?.get(usize::from(queue)).copied()
    }

    fn each_request(&self, act: &mut dyn FnMut(Request)) {
        self.requests.iter().copied().for_each(act);
    }

    fn newest_traced(&self) -> u32 {
        self.trace.len() as u32
    }

    fn traced(&self, number: u32) -> Option<TraceEntry> {
        self.trace.get((number as usize).checked_sub(1)?).copied()
    }

    fn each_log_line(&self, act: &mut dyn FnMut(&str)) {
        self.log.iter().for_each(|line| act(line));
    }

    fn schib(&self, _: SubchannelId) -> Option<Schib> {
        self.schib
    }

    fn innards(&self) -> Innards {
        self.innards
    }

    fn bytes(&self, address: u64, to: &mut [u8]) -> bool {
        let first = address as usize;
        let found = first
            .checked_add(to.len())
            .and_then(|end| self.storage.get(first..end));
        found.is_some_and(|found| {
            to.copy_from_slice(found);
            true
        })
    }
}

impl Acts for Fake {
    fn set_log_level(&mut self, level: LevelFilter) {
        self.level = Some(level);
    }
}

/// A terminal, and who sits at it.
#[derive(Debug, Default)]
pub struct Typist {
    pub is_raw: bool,
    pub typed: std::collections::VecDeque<u8>,
    /// What was written, each piece by itself.
    pub written: Vec<String>,
    /// It takes nothing.
    pub refuses: bool,
    pub prints: u32,
    /// A clock, and how far it goes on while a piece is written.
    pub slow: Option<(Rc<Cell<u64>>, u64)>,
}

impl Terminal for Typist {
    fn is_raw(&self) -> bool {
        self.is_raw
    }

    fn may_have_input(&self) -> bool {
        !self.typed.is_empty()
    }

    fn read(&mut self) -> Option<u8> {
        self.typed.pop_front()
    }

    fn write(&mut self, text: &str) -> bool {
        self.written.push(text.into());
        if let Some((clock, micros)) = &self.slow {
            clock.set(clock.get() + micros);
        }
        !self.refuses
    }

    fn prints(&self) -> u32 {
        self.prints
    }
}

/// Any keys, on both kinds of terminal, by an operator who may do anything: whatever they are, each turn is small, and the session comes
/// to an end with lines that are short.
pub fn check(keys: &[u8]) {
    for is_raw in [false, true] {
        let mut state = Fake::new();
        let mut typist = Typist {
            is_raw,
            typed: keys.iter().copied().collect(),
            ..Typist::default()
        };
        let mut session = Session::new(Mode::Change);
        let mut turns = 0;
        while session.due(&typist) != Tod::NEVER {
            session.turn(&mut state, &mut typist);
            state.micros.set(state.micros.get() + 100_000);
            turns += 1;
            assert!(turns < 1000 + 40 * keys.len(), "it never ends");
        }
        assert!(typist.typed.is_empty());
        for piece in &typist.written {
            assert!(piece.len() <= 600, "{piece:?}");
            if !is_raw {
                assert!(piece.ends_with('\n'), "{piece:?}");
                assert!(
                    piece.lines().all(|line| line.len() <= super::COLUMNS),
                    "{piece:?}"
                );
            }
        }
    }
}
