//! The rule for programs that change while they run: whatever the client's CPU stores and whenever it does, every word that the channel can
//! find, old or new and in every combination, lies inside the window or is invalid.
//!
//! [`Watched`] is the appliance's storage as such a channel finds it: at any step the CPU may have stored, and of each word of the
//! arena the channel takes any value that it has held. It panics at the first access that leaves the window.

use std::cell::Cell;

use channel::{Ccw1, IdawFormat, Midaw, MidawFlags, Orb, OrbFlags};

use super::differential::{self, Choice};
use super::fixture::*;
use super::interpreter::{self, Act, Memory, Run};
use super::translate::{Split, Translator, ARENA_BYTES};

/// No storage is anywhere near, and no machine has any: what the translator puts where nothing may be.
const NOWHERE: u64 = 0x7FFF_FFFF_FFFF_F000;
/// The storage for what is said again.
const REPEATED: u32 = 2048;

/// How a translated program is run.
pub struct Fixture<'a> {
    pub client: &'a mut Client,
    pub translator: Translator,
    /// Bytes of the translator's arena.
    pub arena: u32,
    /// What the CPU stores: before so many steps of the channel.
    pub stores: &'a [CpuStore],
    /// What the channel finds follows from it.
    pub seed: u64,
}

impl<'a> Fixture<'a> {
    pub fn new(client: &'a mut Client, arena: u32, stores: &'a [CpuStore], seed: u64) -> Self {
        Self {
            client,
            translator: Translator::at(arena as usize, ARENA),
            arena,
            stores,
            seed,
        }
    }

    /// Runs a program to its end, through as many starts as it takes. `None`: it is refused.
    pub fn run(mut self, orb: &Orb, acts: &[Act]) -> Option<Run> {
        let mut run = Run::default();
        let mut hardware = self.translator.translate(orb, &self.client.window()).ok()?;
        let (mut step, mut random) = (0, self.seed);
        loop {
            self.translator.settle();
            let mut watched = Watched {
                client: self.client,
                translator: &mut self.translator,
                arena: self.arena,
                stores: self.stores,
                step,
                random: Cell::new(random),
            };
            interpreter::run(&mut watched, &hardware, acts, &mut run);
            (step, random) = (watched.step, watched.random.get());
            let ending = run.ending.as_ref()?;
            self.translator.refresh(&self.client.window());
            match self
                .translator
                .split(&irb(ending, &hardware), &self.client.window())
            {
                Split::Start { orb, .. } => hardware = orb,
                Split::No | Split::Refused(_) => return Some(run),
            }
        }
    }
}

/// The appliance's storage: the window and the arena, which change at any time.
struct Watched<'a> {
    client: &'a mut Client,
    translator: &'a mut Translator,
    arena: u32,
    stores: &'a [CpuStore],
    step: usize,
    random: Cell<u64>,
}

impl Watched<'_> {
    /// The client's address of a data address, which has to be in the window. `None`: that of an invalid word.
    fn in_window(&self, address: u64, bytes: usize) -> Option<u64> {
        if address >= NOWHERE {
            return None;
        }
        let client = address.checked_sub(self.client.base);
        let there = client.filter(|at| at + bytes as u64 <= self.client.bytes.len() as u64);
        assert!(
            there.is_some(),
            "the channel leaves the window: {address:x}"
        );
        there
    }

    /// One of the first `many` numbers.
    fn choose(&self, many: usize) -> usize {
        let mut random = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(random);
        random = (random ^ random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        random = (random ^ random >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (random >> 33) as usize % many
    }
}

impl Memory for Watched<'_> {
    fn load(&self, address: u64, bytes: &mut [u8]) -> bool {
        if self.repeats(address as u32) {
            return self.translator.fetch(address as u32, bytes).is_some();
        }
        let client = self.in_window(address, bytes.len());
        client.is_some_and(|client| self.client.load(client, bytes))
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> bool {
        let client = self.in_window(address, bytes.len());
        client.is_some_and(|client| self.client.store(client, bytes))
    }

    fn client(&self, address: u64) -> u64 {
        address.wrapping_sub(self.client.base)
    }

    fn fetch(&self, address: u64, bytes: &mut [u8]) -> bool {
        let place = u32::try_from(address).expect("31 bits");
        let mut choose = |many| self.choose(many);
        let found = self.translator.fetch_any(place, bytes, &mut choose);
        assert!(
            found.is_some(),
            "the channel fetches what is no CCW and no address word: {place:x}"
        );
        true
    }

    fn modifies(&self, command: u8) -> bool {
        self.client.modifies(command)
    }

    fn repeats(&self, address: u32) -> bool {
        let first = ARENA + self.arena;
        (first..first + REPEATED).contains(&address)
    }

    fn step(&mut self) {
        let now = |store: &&CpuStore| store.before == self.step;
        let stores: Vec<&CpuStore> = self.stores.iter().filter(now).collect();
        self.step += 1;
        for store in &stores {
            self.client.put(store.address, &store.value);
        }
        if !stores.is_empty() {
            self.translator.refresh(&self.client.window());
        }
    }
}

/// Makes a client with a program out of `input`, and stores of its CPU in the course of it, and says that nothing leads out of the
/// window.
pub fn check(input: &[u8]) {
    let mut choice = Choice(input);
    let base = choice.of(&[LOW, HIGH, 0x8000_0000 - u64::from(WINDOW) / 2]);
    let mut client = Client::new(WINDOW as usize, base);
    client.disk = choice.one_in(4);
    let mut flags = OrbFlags::empty();
    for flag in [
        OrbFlags::FORMAT_1,
        OrbFlags::FORMAT_2_IDAW,
        OrbFlags::IDAW_2K,
        OrbFlags::MIDAW,
        OrbFlags::SUSPEND_CONTROL,
        OrbFlags::LENGTH_SUPPRESSION,
    ] {
        flags.set(flag, choice.byte() % 2 == 0);
    }
    flags.set(OrbFlags::PREFETCH, choice.one_in(6));
    let mut orb = Orb::format_1(1, CODE[0], OrbFlags::empty(), 0x80);
    orb.set_flags(flags);
    let maker = Maker {
        format_1: flags.contains(OrbFlags::FORMAT_1),
        wide: orb.idaw_format() != IdawFormat::Format1,
        midaws: flags.contains(OrbFlags::MIDAW),
        disk: client.disk,
        command: choice.of(&[READ, WRITE, BACKWARD]),
    };
    maker.program(&mut choice, &mut client);
    let stores = maker.stores(&mut choice, &client);
    let acts: Vec<Act> = (0..8).map(|_| act(&mut choice)).collect();
    let arena = if choice.one_in(2) {
        ARENA_BYTES as u32
    } else {
        // It is full at once, or soon.
        0x100 + 16 * (choice.word() % 0x80)
    };
    let seed = u64::from(choice.word());
    let mut fixture = Fixture::new(&mut client, arena, &stores, seed);
    if fixture.client.disk {
        fixture.translator = fixture.translator.replaying(classify);
    }
    let _ = fixture.run(&orb, &acts);
}

const WINDOW: u32 = 0x1_0000;
/// Where CCWs are: so many in a row, the last of which lead from one to the other.
const CODE: [u32; 2] = [0x1000, 0x2000];
const ROW: u32 = 6;
/// Where address lists are, and how far from each other; at the end of a page, too.
const LISTS: u32 = 0x3000;
const LIST: u32 = 0x3E0;
const DATA: u32 = 0x8000;

/// Makes programs that go on for long, if they are let: that chain data and commands, around and around.
struct Maker {
    format_1: bool,
    wide: bool,
    midaws: bool,
    disk: bool,
    /// What most commands do.
    command: u8,
}

impl Maker {
    fn program(&self, choice: &mut Choice<'_>, client: &mut Client) {
        for start in CODE {
            for number in 0..ROW - 1 {
                let ccw = self.ccw(choice);
                differential::put(client, start + 8 * number, ccw, self.format_1);
            }
            let other = tic(choice.of(&CODE));
            differential::put(client, start + 8 * (ROW - 1), other, self.format_1);
        }
        for list in 0..5 {
            for number in 0..8 {
                self.entry(choice, client, LISTS + LIST * list, number);
            }
        }
    }

    fn ccw(&self, choice: &mut Choice<'_>) -> Ccw1 {
        if choice.one_in(16) {
            return tic(choice.of(&CODE) + 8 * (u32::from(choice.byte()) % ROW));
        }
        let command = if self.disk {
            choice.of(&[READ, SEEK, NOP, SEARCH])
        } else if choice.one_in(4) {
            choice.of(&[READ, WRITE, BACKWARD])
        } else {
            self.command
        };
        let mut flags = if choice.one_in(3) { CC | SLI } else { CD };
        flags.set(SKIP, choice.one_in(12));
        let count = choice.of(&[8, 0x400, 0x800, 0xC00, 0x1000, 0x2FFF, 0xFFFF, 1, 16, 24]);
        let address = match choice.byte() % 8 {
            0 => u32::from(choice.byte()),
            1 => WINDOW - 1 - u32::from(choice.byte()),
            2 if self.disk => choice.of(&CODE),
            2 | 4 | 5 => DATA + choice.word() % (WINDOW - DATA),
            3 => choice.of(&[0x7FF, 0x800, 0xFFF, 0x1000, WINDOW - 0x800]),
            _ => {
                let list = LISTS + LIST * u32::from(choice.byte() % 5);
                let midaws = self.midaws && (list & 32 != 0) != choice.one_in(12);
                flags |= if midaws { MIDA } else { IDA };
                list
            }
        };
        ccw(command, flags, count, address)
    }

    /// An entry of a list: mostly one of those that there are most of in it.
    fn entry(&self, choice: &mut Choice<'_>, client: &mut Client, list: u32, number: u32) {
        let (midaws, backward) = match choice.byte() % 16 {
            0 => (list & 32 == 0, self.command == BACKWARD),
            1 => (list & 32 != 0, self.command != BACKWARD),
            _ => (list & 32 != 0, self.command == BACKWARD),
        };
        let page = DATA + ((choice.word() % (WINDOW - DATA)) & !0xFFF);
        if self.midaws && midaws {
            let mut flags = MidawFlags::empty();
            flags.set(MidawFlags::LAST, choice.one_in(4));
            flags.set(MidawFlags::SKIP, choice.one_in(12));
            let count = choice.of(&[8, 0x400, 0x800, 0x1000]);
            let address = if backward { page + count - 1 } else { page };
            let midaw = Midaw::new(flags, count as u16, address.into());
            client.put(list + 16 * number, &midaw);
            return;
        }
        let mut word = if backward { page | 0xFFF } else { page };
        match choice.byte() % 16 {
            0 => word = choice.word() % (2 * WINDOW),
            1 => word ^= 0x800,
            2 if number == 0 => word ^= 0x400,
            _ => {}
        }
        if self.wide {
            let high = u32::from(choice.one_in(24));
            client.put(list + 8 * number, &[high.to_be_bytes(), word.to_be_bytes()]);
        } else {
            client.put(list + 4 * number, &word.to_be_bytes());
        }
    }

    /// What the CPU stores in the course of the program: CCWs, parts of them, and entries of lists.
    fn stores(&self, choice: &mut Choice<'_>, client: &Client) -> Vec<CpuStore> {
        let mut now = client.clone();
        let mut step = 0;
        let mut stores = Vec::new();
        for _ in 0..choice.byte() % 24 {
            step += usize::from(choice.byte() % 4);
            let mut address = choice.of(&CODE) + 8 * (u32::from(choice.byte()) % ROW);
            match choice.byte() % 4 {
                0 => differential::put(&mut now, address, self.ccw(choice), self.format_1),
                1 => now.put(address, &choice.of(&[READ, BACKWARD, WRITE])),
                2 => {
                    // The flags are where the format says.
                    let at = address as usize + if self.format_1 { 1 } else { 4 };
                    now.bytes[at] ^= choice.of(&[CD, CC, CC | CD, IDA, MIDA]).bits();
                }
                _ => {
                    let number = u32::from(choice.byte() % 8);
                    address = LISTS + LIST * u32::from(choice.byte() % 5);
                    self.entry(choice, &mut now, address, number);
                    address += 8 * number;
                }
            }
            let bytes = &now.bytes[address as usize..address as usize + 8];
            stores.push(CpuStore {
                before: step,
                address,
                value: bytes.try_into().expect("a doubleword"),
            });
        }
        stores
    }
}

fn act(choice: &mut Choice<'_>) -> Act {
    let wants = choice.of(&[0x100, 0x4_0000, 0x8_0000, 0x4_0000]) + u32::from(choice.byte());
    Act {
        modifier: choice.one_in(6),
        ..Act::moves(wants)
    }
}

#[cfg(test)]
mod tests {
    use super::super::differential::tests::{bytes, programs};
    use super::check;

    #[test]
    fn no_store_leads_the_channel_out_of_the_window() {
        for seed in 0..programs() {
            check(&bytes(seed));
        }
    }
}
