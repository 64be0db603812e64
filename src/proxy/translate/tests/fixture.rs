//! A client with its window, the translator, and a channel that runs either program.

use channel::{
    ActivityControl, Ccw0, Ccw1, CcwFlags, CommandCode, FunctionControl, Irb, Orb, OrbFlags, Scsw,
    StatusControl,
};
use window::{BorrowedWindow, Window};
use zerocopy::big_endian::{U16, U32};
use zerocopy::IntoBytes;

pub use super::history::ChannelSide;
use super::interpreter::{self, Act, Ending, Memory, Run};
use super::translate::{Refused, Split, Translator, ARENA_BYTES};
use channel::CommandClass;

/// Where the arena of a test is.
pub const ARENA: u32 = 0x7000_0000;
/// Where what is said again is.
const REPEATED: u32 = ARENA + ARENA_BYTES as u32;
/// Where a window is that direct addresses reach, and one that they do not.
pub const LOW: u64 = 0x1000_0000;
pub const HIGH: u64 = 0x1_2000_0000;

/// A client's storage.
#[derive(Clone)]
pub struct Client {
    pub bytes: Vec<u8>,
    pub base: u64,
    /// What the channel fetches CCWs and address words from, when it has fetched them all before.
    prefetched: Option<Vec<u8>>,
    /// What the device gives for the first command, if it matters.
    pub record: Option<Vec<u8>>,
    /// Stores of the client's CPU.
    pub stores: Vec<CpuStore>,
    /// Its device is a disk: of its commands only a search ends with status modifier, and what it was told can be said again.
    pub disk: bool,
}

/// A doubleword that the client's CPU stores while its program runs.
#[derive(Clone, Copy, Debug)]
pub struct CpuStore {
    /// Before this command is fetched.
    pub before: usize,
    pub address: u32,
    pub value: [u8; 8],
}

impl Client {
    pub fn new(length: usize, base: u64) -> Self {
        let bytes = (0..length).map(|at| (at * 7 + at / 256) as u8).collect();
        Self {
            bytes,
            base,
            prefetched: None,
            record: None,
            stores: Vec::new(),
            disk: false,
        }
    }

    pub fn put(&mut self, at: u32, what: &(impl IntoBytes + zerocopy::Immutable + ?Sized)) {
        let bytes = what.as_bytes();
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Format-1 CCWs, one behind the other.
    pub fn program(&mut self, at: u32, ccws: &[Ccw1]) {
        for (number, ccw) in (0..).zip(ccws) {
            self.put(at + 8 * number, ccw);
        }
    }

    /// The same in format 0.
    pub fn program_0(&mut self, at: u32, ccws: &[Ccw1]) {
        for (number, ccw) in (0..).zip(ccws) {
            self.put(at + 8 * number, &format_0(*ccw));
        }
    }

    pub fn idaws_1(&mut self, at: u32, words: &[u32]) {
        for (number, word) in (0..).zip(words) {
            self.put(at + 4 * number, &word.to_be_bytes());
        }
    }

    pub fn idaws_2(&mut self, at: u32, words: &[u64]) {
        for (number, word) in (0..).zip(words) {
            self.put(at + 8 * number, &word.to_be_bytes());
        }
    }

    pub fn window(&mut self) -> BorrowedWindow<'_> {
        let base = self.base;
        Window::borrowed(&mut self.bytes, base)
    }

    /// Runs the client's own program on the client's own storage.
    pub fn run(&mut self, orb: &Orb, acts: &[Act]) -> Run {
        let prefetch = orb.flags().contains(OrbFlags::PREFETCH);
        self.prefetched = prefetch.then(|| self.bytes.clone());
        let mut run = Run::default();
        interpreter::run(self, orb, acts, &mut run);
        self.prefetched = None;
        run
    }
}

impl Memory for Client {
    fn load(&self, address: u64, bytes: &mut [u8]) -> bool {
        let Some(end) = address.checked_add(bytes.len() as u64) else {
            return false;
        };
        if end > self.bytes.len() as u64 {
            return false;
        }
        bytes.copy_from_slice(&self.bytes[address as usize..end as usize]);
        true
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> bool {
        let Some(end) = address.checked_add(bytes.len() as u64) else {
            return false;
        };
        if end > self.bytes.len() as u64 {
            return false;
        }
        self.bytes[address as usize..end as usize].copy_from_slice(bytes);
        true
    }

    fn client(&self, address: u64) -> u64 {
        address
    }

    fn modifies(&self, command: u8) -> bool {
        !self.disk || command == SEARCH
    }

    fn fetch(&self, address: u64, bytes: &mut [u8]) -> bool {
        let Some(prefetched) = &self.prefetched else {
            return self.load(address, bytes);
        };
        let there = prefetched
            .get(address as usize..)
            .and_then(|at| at.get(..bytes.len()));
        there.map(|at| bytes.copy_from_slice(at)).is_some()
    }

    fn record(&self) -> Option<&[u8]> {
        self.record.as_deref()
    }

    fn tick(&mut self, commands: usize) {
        for number in 0..self.stores.len() {
            let store = self.stores[number];
            if store.before == commands {
                self.put(store.address, &store.value);
            }
        }
    }
}

/// The appliance's storage: the window and the arena, and nothing else.
pub struct Appliance<'a> {
    pub client: &'a mut Client,
    pub translator: &'a mut Translator,
}

impl Memory for Appliance<'_> {
    fn load(&self, address: u64, bytes: &mut [u8]) -> bool {
        if self.repeats(address as u32) {
            // Arguments that are kept.
            return self.translator.fetch(address as u32, bytes).is_some();
        }
        let client = address.wrapping_sub(self.client.base);
        self.client.load(client, bytes)
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> bool {
        let client = address.wrapping_sub(self.client.base);
        self.client.store(client, bytes)
    }

    fn client(&self, address: u64) -> u64 {
        address - self.client.base
    }

    fn modifies(&self, command: u8) -> bool {
        self.client.modifies(command)
    }

    fn fetch(&self, address: u64, bytes: &mut [u8]) -> bool {
        // CCWs and address words come from the arena alone.
        let address = u32::try_from(address).expect("31 bits");
        self.translator.fetch(address, bytes).is_some()
    }

    fn record(&self) -> Option<&[u8]> {
        self.client.record()
    }

    fn sends(&self, command: u8) -> bool {
        command != RECALIBRATE
    }

    fn repeats(&self, address: u32) -> bool {
        (REPEATED..REPEATED + 0x1000).contains(&address)
    }

    fn tick(&mut self, commands: usize) {
        if self
            .client
            .stores
            .iter()
            .any(|store| store.before == commands)
        {
            self.client.tick(commands);
            self.translator.refresh(&self.client.window());
        }
    }
}

/// A translator with an arena in the software channel's storage.
pub fn translator() -> Translator {
    Translator::at(ARENA_BYTES, ARENA)
}

/// What the commands of a disk do.
pub fn classify(command: CommandCode) -> Option<CommandClass> {
    match command.0 {
        RECALIBRATE => Some(CommandClass::Nothing),
        READ => Some(CommandClass::Reads),
        SEEK | NOP => Some(CommandClass::Sets),
        SEARCH => Some(CommandClass::Searches),
        _ => None,
    }
}

/// The same, for a disk.
pub fn disk_translator() -> Translator {
    translator().replaying(classify)
}

/// The IRB of an ending.
pub fn irb(ending: &Ending, orb: &Orb) -> Irb {
    let mut scsw = Scsw::of_start(orb);
    if ending.suspended {
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::SUSPENDED,
            StatusControl::INTERMEDIATE | StatusControl::PENDING,
        );
    } else {
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING,
        );
    }
    scsw.program = U32::new(ending.program);
    scsw.device_status = ending.device.bits();
    scsw.subchannel_status = ending.subchannel.bits();
    scsw.count = U16::new(ending.count.unwrap_or(0));
    Irb {
        scsw,
        ..Irb::default()
    }
}

/// Translates, runs what came out, through as many starts as it takes, and gives the ending in the client's terms.
pub fn translated(client: &mut Client, orb: &Orb, acts: &[Act]) -> Run {
    let mut translator = if client.disk {
        disk_translator()
    } else {
        translator()
    };
    let mut run = Run::default();
    let mut hardware = match translator.translate(orb, &client.window()) {
        Ok(hardware) => hardware,
        Err(refused) => return refuse(run, &refused),
    };
    let mut before = client.bytes.clone();
    loop {
        assert!(hardware.check().is_ok());
        let shown = run.interruptions.len();
        let mut appliance = Appliance {
            client,
            translator: &mut translator,
        };
        interpreter::run(&mut appliance, &hardware, acts, &mut run);
        for address in &mut run.interruptions[shown..] {
            *address = back(*address, &translator);
        }
        let Some(ending) = &mut run.ending else {
            return run;
        };
        if ending.program > REPEATED && ending.program <= REPEATED + 0x1000 {
            // It has ended where it had ended: what came before the next command has not come.
            client.bytes = before;
            ending.program = back(ending.program, &translator);
            return run;
        }
        // The appliance may look at the program once more before it takes the status.
        if translator.is_modifiable() {
            translator.refresh(&client.window());
        }
        // If there is a next command, this is before it is fetched.
        before.clone_from(&client.bytes);
        client.tick(run.commands.len());
        let program = back(ending.program, &translator);
        match translator.split(&irb(ending, &hardware), &client.window()) {
            Split::No => {
                client.bytes = before;
                ending.program = program;
                return run;
            }
            Split::Start { orb, .. } => hardware = orb,
            Split::Refused(refused) => return refuse(run, &refused),
        }
    }
}

fn refuse(run: Run, refused: &Refused) -> Run {
    Run {
        ending: Some(Ending {
            program: refused.scsw.program.get(),
            count: None,
            device: refused.scsw.device(),
            subchannel: refused.scsw.subchannel(),
            suspended: false,
        }),
        ..run
    }
}

/// A CCW address in the client's terms.
pub fn back(address: u32, translator: &Translator) -> u32 {
    let mut irb = Irb::default();
    irb.scsw.program = U32::new(address);
    translator.back(&mut irb);
    irb.scsw.program.get()
}

/// Runs both and says that they are the same: what was touched, what the device got, and the ending.
/// The answer is the run of the client's own, and how many commands the device heard again.
#[track_caller]
pub fn same(client: &mut Client, orb: &Orb, acts: &[Act]) -> Run {
    let before = client.bytes.clone();
    let theirs = client.run(orb, acts);
    let after = std::mem::replace(&mut client.bytes, before);
    let ours = translated(client, orb, acts);
    assert_eq!(ours.commands, theirs.commands);
    assert_eq!(ours.touched, theirs.touched);
    assert_eq!(ours.sent, theirs.sent);
    assert_eq!(ours.interruptions, theirs.interruptions);
    assert_eq!(ours.ending, theirs.ending);
    assert!(client.bytes == after, "storage differs");
    Run {
        repeated: ours.repeated,
        begun: ours.begun,
        ..theirs
    }
}

fn format_0(ccw: Ccw1) -> Ccw0 {
    let [_, address @ ..] = ccw.address.get().to_be_bytes();
    Ccw0 {
        command: ccw.command,
        address,
        flags: ccw.flags,
        reserved: 0,
        count: ccw.count,
    }
}

pub const NONE: CcwFlags = CcwFlags::empty();
pub const CC: CcwFlags = CcwFlags::CC;
pub const CD: CcwFlags = CcwFlags::CD;
pub const SLI: CcwFlags = CcwFlags::SLI;
pub const IDA: CcwFlags = CcwFlags::IDA;
pub const MIDA: CcwFlags = CcwFlags::MIDA;
pub const SKIP: CcwFlags = CcwFlags::SKIP;

pub const WRITE: u8 = 0x01;
pub const READ: u8 = 0x02;
pub const NOP: u8 = 0x03;
pub const RECALIBRATE: u8 = 0x13;
pub const SEEK: u8 = 0x07;
pub const BACKWARD: u8 = 0x0C;
pub const SEARCH: u8 = 0x31;

pub fn ccw(command: u8, flags: CcwFlags, count: u16, address: u32) -> Ccw1 {
    Ccw1::new(CommandCode(command), flags, count, address)
}

pub fn tic(target: u32) -> Ccw1 {
    ccw(0x08, NONE, 0, target)
}

/// An ORB for a program of format-1 CCWs, with prefetch.
pub fn orb(program: u32, flags: OrbFlags) -> Orb {
    Orb::format_1(0xCAFE, program, flags | OrbFlags::PREFETCH, 0x80)
}

/// An ORB for a program of format-0 CCWs, with prefetch.
pub fn orb_0(program: u32, flags: OrbFlags) -> Orb {
    let mut orb = orb(program, flags);
    orb.set_flags(orb.flags() - OrbFlags::FORMAT_1);
    orb
}

/// An ORB without prefetch.
pub fn orb_live(program: u32) -> Orb {
    let mut orb = orb(program, OrbFlags::empty());
    orb.set_flags(orb.flags() - OrbFlags::PREFETCH);
    orb
}

/// What the CPU stores before a command is fetched.
pub fn store(before: usize, address: u32, ccw: Ccw1) -> CpuStore {
    let mut value = [0; 8];
    value.copy_from_slice(ccw.as_bytes());
    CpuStore {
        before,
        address,
        value,
    }
}
