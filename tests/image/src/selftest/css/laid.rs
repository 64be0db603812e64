//! Channel programs whose data is in files that were laid over a window of this machine's memory, one after the other.
//!
//! What is where is in [`layout`]. Whoever lays the files compares them afterwards, and has somebody at the terminal who types what
//! was written there: see tests/vfio-ccw.

use super::super::{ensure, expect, test, Fixture, Outcome, Tally, Test};
use super::programs::well;
use super::terminal::ERASE_WRITE;
use super::Subchannel;
use alloc::format;
use channel::{Ccw1, CcwFlags, CommandCode, DeviceStatus, Idaw1, Idaw2, OrbFlags, Tested};
use layout::{Addressing, Exchange, Piece, EXCHANGES, FILES};
use window::{ClientAddress, Window};

/// The tests.
const TESTS: &[Test<Laid>] = &[
    test("a file is laid over the window", is_laid),
    test("data by a CCW", |laid| exchange(laid, 0)),
    test("data by format-1 IDAWs", |laid| exchange(laid, 1)),
    test("data by format-2 IDAWs", |laid| exchange(laid, 2)),
    test("data in the window, and the program elsewhere", |laid| {
        exchange(laid, 3)
    }),
];

/// Where a channel program is in its storage, and its address words.
const PROGRAM: u32 = 0x100;
const WORDS: u32 = 0x200;
const WRITE: CommandCode = CommandCode(0x01);
const READ_MODIFIED: CommandCode = CommandCode(0x06);
/// How long whoever lays files or sits at the terminal may take, and how often it is looked, in microseconds.
const PATIENCE: u64 = 60_000_000;
const LOOK: u64 = 1_000;

/// A terminal, and the window.
struct Laid {
    terminal: Subchannel,
    window: Window,
    /// Of the file that is laid.
    number: u32,
}

impl Fixture for Laid {
    fn fresh(&mut self) -> Outcome {
        self.terminal.fresh()
    }
}

/// Tests a terminal with data from `window` on, where nothing is this program's own.
pub(super) fn run(tally: &mut Tally, terminal: Subchannel, window: u64) {
    let base = core::ptr::with_exposed_provenance_mut(window as usize);
    // SAFETY: the heap ends below `window=`, and the rest of this program is below the heap; that there is storage is the
    // word of whoever has written the command line.
    let window = unsafe { Window::new(base, layout::LENGTH.into(), window) };
    let mut laid = Laid {
        terminal,
        window,
        number: 0,
    };
    for number in 1..=FILES {
        laid.number = number;
        tally.run(&format!("file {number}: "), &mut laid, TESTS);
        let done = number.to_be_bytes();
        let _ = laid.window.write_bytes(at(layout::DONE), &done);
    }
}

fn at(offset: u32) -> ClientAddress {
    ClientAddress::new(offset.into())
}

impl Laid {
    fn address(&self, offset: u32) -> u32 {
        self.window.absolute_base() as u32 + offset
    }

    /// Runs a program that has a command for each piece.
    #[inline(never)]
    fn run(&mut self, exchange: &Exchange, commands: &[(CommandCode, Piece)]) -> Outcome {
        let (storage, base) = match exchange.program_too {
            true => (&self.window, self.address(0)),
            false => (&self.terminal.page, self.terminal.base()),
        };
        let mut orb = self.terminal.orb();
        orb.program.set(base + PROGRAM);
        if exchange.addressing == Addressing::Words2 {
            orb.set_flags(orb.flags() | OrbFlags::FORMAT_2_IDAW);
        }
        let mut next = PROGRAM;
        for (number, &(command, piece)) in (1..).zip(commands) {
            let address = self.address(piece.offset);
            let word = WORDS + 8 * number;
            let (flags, address) = match exchange.addressing {
                Addressing::Direct => (CcwFlags::empty(), address),
                Addressing::Words1 => {
                    storage.write(at(word), &Idaw1::new(address))?;
                    (CcwFlags::IDA, base + word)
                }
                Addressing::Words2 => {
                    storage.write(at(word), &Idaw2::new(address.into()))?;
                    (CcwFlags::IDA, base + word)
                }
            };
            let chained = match number == commands.len() as u32 {
                true => CcwFlags::empty(),
                false => CcwFlags::CC,
            };
            let ccw = Ccw1::new(command, flags | chained, piece.length as u16, address);
            storage.write(at(next), &ccw)?;
            next += 8;
        }
        self.terminal.start_orb(&orb)?;
        let irb = self.terminal.status()?;
        well(&irb)?;
        expect("CCW address", irb.scsw.program.get(), base + next)?;
        expect("residual count", irb.scsw.count.get(), 0)
    }

    /// Waits until somebody has typed.
    #[inline(never)]
    fn key(&mut self) -> Outcome {
        let terminal = &mut self.terminal;
        let deadline = terminal.platform.now().plus_micros(PATIENCE);
        while terminal.platform.now() < deadline {
            terminal.platform.pause(deadline);
            if let Tested::Status(irb) = terminal.platform.take_status(terminal.id)? {
                let key = irb.scsw.device().contains(DeviceStatus::ATTENTION);
                return ensure("attention", key);
            }
        }
        Err("nobody types".into())
    }
}

fn is_laid(laid: &mut Laid) -> Outcome {
    let deadline = laid.terminal.platform.now().plus_micros(PATIENCE);
    loop {
        let mut number = [0; 4];
        laid.window.read_bytes(at(layout::NUMBER), &mut number)?;
        if number == laid.number.to_be_bytes() {
            return Ok(());
        }
        let now = laid.terminal.platform.now();
        ensure("within a minute", now < deadline)?;
        laid.terminal.platform.pause(now.plus_micros(LOOK));
    }
}

/// Writes to the terminal, and reads what is typed there.
fn exchange(laid: &mut Laid, index: usize) -> Outcome {
    let exchange = EXCHANGES.get(index).ok_or("no such exchange")?;
    let [first, second] = exchange.out;
    laid.run(exchange, &[(ERASE_WRITE, first), (WRITE, second)])?;
    // What was written there is typed only now: the key must not meet the end of the program.
    sclp::println!("TYPE {} {index}", laid.number);
    laid.key()?;
    laid.run(exchange, &[(READ_MODIFIED, exchange.back)])?;
    let bytes = |piece: Piece| piece.offset..piece.offset + piece.length;
    let out = exchange.out.into_iter().flat_map(bytes);
    for (back, out) in bytes(exchange.back).zip(out) {
        let found: u8 = laid.window.read(at(back))?;
        let wanted = layout::byte(laid.number, out);
        expect("byte", (back, found), (back, wanted))?;
    }
    Ok(())
}
