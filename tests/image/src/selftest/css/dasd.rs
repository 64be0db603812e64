//! What only a DASD can prove: programs that move data, of the forms that the device needs.
//!
//! **[`TESTS`] write to records 1 and 2 of the first track**, which have 24 and 144 bytes of data, as a volume has them
//! that was made for IPL. Each record is written before it is read.

use super::super::{expect, test, Outcome, Test, Why};
use super::programs::well;
use super::{running, Subchannel};
use alloc::vec::Vec;
use channel::{
    Ccw1, CcwFlags, CommandCode, FunctionControl, Idaw1, Idaw2, IdawFormat, Irb, Midaw, MidawFlags,
    OrbFlags, SubchannelStatus,
};
use window::ClientAddress;
use zerocopy::IntoBytes;

/// Control-unit types that have count-key-data tracks.
pub(super) const CONTROL_UNITS: [u16; 2] = [0x3990, 0x2105];

/// Tests that write.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test("a record is read as it was written", written),
    test("a buffer across pages", across_pages),
    test("data chaining across pages, written and read", chained),
    test("format-1 IDAWs", idaws_1),
    test("format-2 IDAWs of 2 KiB", idaws_2_of_2k),
    test("format-2 IDAWs of 4 KiB", idaws_2_of_4k),
    test("MIDAWs", midaws),
    test("an endless program of seeks is halted", seeks_halted),
    test("an endless program of seeks is cleared", seeks_cleared),
];

const SEEK: CommandCode = CommandCode(0x07);
const SEARCH_ID_EQUAL: CommandCode = CommandCode(0x31);
const WRITE_DATA: CommandCode = CommandCode(0x05);
pub(super) const READ_DATA: CommandCode = CommandCode(0x06);

/// Bytes of record 1 and of record 2.
pub(super) const FIRST: u16 = 24;
pub(super) const SECOND: u16 = 144;

/// Where things are in the pages of the fixture, besides the program.
const LIST: u32 = 0x800;
/// Seek and search arguments of records 1 and 2: block, cylinder, head, record. Then those of another cylinder.
pub(super) const ARGUMENTS: u32 = Subchannel::DATA + 0x800;
pub(super) const ARGUMENT: u32 = 16;
/// What is written.
const OUT: u32 = 0xF00;
pub(super) const PAGE_1: u32 = 0x1000;
const PAGE_2: u32 = 0x2000;

pub(super) fn at(offset: u32) -> ClientAddress {
    ClientAddress::new(offset.into())
}

/// Bytes that are told apart.
fn pattern(seed: u8) -> [u8; SECOND as usize] {
    core::array::from_fn(|place| (place as u8).wrapping_mul(7).wrapping_add(seed))
}

pub(super) fn to(
    fixture: &Subchannel,
    command: CommandCode,
    flags: CcwFlags,
    count: u16,
    offset: u32,
) -> Ccw1 {
    Ccw1::new(command, flags, count, fixture.base() + offset)
}

pub(super) fn tic(fixture: &Subchannel, offset: u32) -> Ccw1 {
    to(fixture, CommandCode::TIC, CcwFlags::empty(), 0, offset)
}

/// The CCWs, for the place `offset`, that find a record of the first track, and then `rest`.
pub(super) fn on_record(
    fixture: &Subchannel,
    record: u32,
    offset: u32,
    rest: &[Ccw1],
) -> Vec<Ccw1> {
    let argument = ARGUMENTS + record * ARGUMENT;
    let mut bytes = [0; 7];
    bytes[6] = record as u8;
    // The page is longer.
    let _ = fixture.page.write_bytes(at(argument), &bytes);
    let mut program = alloc::vec![
        to(fixture, SEEK, CcwFlags::CC, 6, argument),
        to(fixture, SEARCH_ID_EQUAL, CcwFlags::CC, 5, argument + 2),
        tic(fixture, offset + 8),
    ];
    program.extend_from_slice(rest);
    program
}

/// Runs a program on a record, which has to end well.
#[inline(never)]
fn run(fixture: &mut Subchannel, record: u32, flags: OrbFlags, rest: &[Ccw1]) -> Result<Irb, Why> {
    let program = on_record(fixture, record, 0, rest);
    fixture.put(program.as_bytes());
    let mut orb = fixture.orb();
    orb.set_flags(flags | OrbFlags::FORMAT_1);
    fixture.start_orb(&orb)?;
    fixture.status()
}

pub(super) fn write(fixture: &mut Subchannel, record: u32, data: &[u8]) -> Outcome {
    fixture.page.write_bytes(at(OUT), data)?;
    let ccw = to(
        fixture,
        WRITE_DATA,
        CcwFlags::empty(),
        data.len() as u16,
        OUT,
    );
    well(&run(fixture, record, OrbFlags::PREFETCH, &[ccw])?)
}

/// The storage at these places holds the pattern, piece after piece.
#[inline(never)]
fn holds(fixture: &Subchannel, seed: u8, pieces: &[(u32, usize)]) -> Outcome {
    let wanted = pattern(seed);
    let mut found = [0; SECOND as usize];
    let mut done = 0;
    for &(offset, length) in pieces {
        let piece = found.get_mut(done..done + length).ok_or("too long")?;
        fixture.page.read_bytes(at(offset), piece)?;
        done += length;
    }
    expect("bytes", done, wanted.len())?;
    expect("data", found, wanted)
}

fn written(fixture: &mut Subchannel) -> Outcome {
    for seed in [1, 2] {
        write(fixture, 2, &pattern(seed))?;
        let ccw = to(
            fixture,
            READ_DATA,
            CcwFlags::empty(),
            SECOND,
            Subchannel::DATA,
        );
        let irb = run(fixture, 2, OrbFlags::PREFETCH, &[ccw])?;
        well(&irb)?;
        expect("CCW address", irb.scsw.program.get(), fixture.base() + 32)?;
        expect("residual count", irb.scsw.count.get(), 0)?;
        holds(fixture, seed, &[(Subchannel::DATA, SECOND.into())])?;
    }
    Ok(())
}

fn across_pages(fixture: &mut Subchannel) -> Outcome {
    write(fixture, 2, &pattern(3))?;
    let place = PAGE_2 - 70;
    let ccw = to(fixture, READ_DATA, CcwFlags::empty(), SECOND, place);
    well(&run(fixture, 2, OrbFlags::PREFETCH, &[ccw])?)?;
    holds(fixture, 3, &[(place, SECOND.into())])
}

/// Three pieces, the second one across a page's end.
fn pieces(fixture: &Subchannel, command: CommandCode) -> [Ccw1; 3] {
    [
        to(fixture, command, CcwFlags::CD, 50, PAGE_1 + 100),
        to(fixture, command, CcwFlags::CD, 44, PAGE_2 - 20),
        to(
            fixture,
            command,
            CcwFlags::empty(),
            50,
            Subchannel::DATA + 3,
        ),
    ]
}

const PIECES: [(u32, usize); 3] = [
    (PAGE_1 + 100, 50),
    (PAGE_2 - 20, 44),
    (Subchannel::DATA + 3, 50),
];

fn chained(fixture: &mut Subchannel) -> Outcome {
    write(fixture, 2, &pattern(4))?;
    let read = pieces(fixture, READ_DATA);
    well(&run(fixture, 2, OrbFlags::PREFETCH, &read)?)?;
    holds(fixture, 4, &PIECES)?;
    // `put` clears the beginning of the last piece, so the pieces are written from elsewhere.
    let other = pattern(5);
    let (first, rest) = other.split_at(50);
    fixture.page.write_bytes(at(PAGE_1 + 100), first)?;
    fixture.page.write_bytes(at(PAGE_2 - 20), rest)?;
    let write = [
        to(fixture, WRITE_DATA, CcwFlags::CD, 50, PAGE_1 + 100),
        to(fixture, WRITE_DATA, CcwFlags::empty(), 94, PAGE_2 - 20),
    ];
    well(&run(fixture, 2, OrbFlags::PREFETCH, &write)?)?;
    let read = pieces(fixture, READ_DATA);
    well(&run(fixture, 2, OrbFlags::PREFETCH, &read)?)?;
    holds(fixture, 5, &PIECES)
}

/// Reads to the end of a block and on in another page.
#[inline(never)]
fn idaws(fixture: &mut Subchannel, seed: u8, format: IdawFormat, flags: OrbFlags) -> Outcome {
    write(fixture, 2, &pattern(seed))?;
    let end = PAGE_1 + format.block();
    let words = [end - 70, Subchannel::DATA].map(|offset| fixture.base() + offset);
    let list = match format {
        IdawFormat::Format1 => words.map(Idaw1::new).as_bytes().to_vec(),
        IdawFormat::Format2Of2K | IdawFormat::Format2Of4K => words
            .map(|word| Idaw2::new(word.into()))
            .as_bytes()
            .to_vec(),
    };
    fixture.page.write_bytes(at(LIST), &list)?;
    let ccw = to(fixture, READ_DATA, CcwFlags::IDA, SECOND, LIST);
    well(&run(fixture, 2, OrbFlags::PREFETCH | flags, &[ccw])?)?;
    holds(fixture, seed, &[(end - 70, 70), (Subchannel::DATA, 74)])
}

fn idaws_1(fixture: &mut Subchannel) -> Outcome {
    idaws(fixture, 6, IdawFormat::Format1, OrbFlags::empty())
}

fn idaws_2_of_2k(fixture: &mut Subchannel) -> Outcome {
    let flags = OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K;
    idaws(fixture, 7, IdawFormat::Format2Of2K, flags)
}

fn idaws_2_of_4k(fixture: &mut Subchannel) -> Outcome {
    idaws(fixture, 8, IdawFormat::Format2Of4K, OrbFlags::FORMAT_2_IDAW)
}

fn midaws(fixture: &mut Subchannel) -> Outcome {
    write(fixture, 2, &pattern(9))?;
    let places = [
        (PAGE_1 + 5, 11),
        (PAGE_2 - 100, 100),
        (Subchannel::DATA + 1, 33),
    ];
    let last = places.len() - 1;
    for (number, (offset, count)) in places.into_iter().enumerate() {
        let mut flags = MidawFlags::empty();
        flags.set(MidawFlags::LAST, number == last);
        let word = Midaw::new(flags, count as u16, u64::from(fixture.base() + offset));
        fixture.page.write(at(LIST + number as u32 * 16), &word)?;
    }
    let ccw = to(fixture, READ_DATA, CcwFlags::MIDA, SECOND, LIST);
    let flags = OrbFlags::PREFETCH | OrbFlags::MIDAW | OrbFlags::FORMAT_2_IDAW;
    let irb = run(fixture, 2, flags, &[ccw])?;
    if irb.scsw.subchannel() == SubchannelStatus::PROGRAM_CHECK {
        return Err(Why::Skip("the machine has none"));
    }
    well(&irb)?;
    holds(fixture, 9, &places)
}

/// Starts a program that seeks to and fro without an end.
#[inline(never)]
fn seek_without_end(fixture: &mut Subchannel) -> Outcome {
    let other = ARGUMENTS + 3 * ARGUMENT;
    fixture.page.write_bytes(at(ARGUMENTS), &[0; 6])?;
    fixture.page.write_bytes(at(other), &[0, 0, 0, 5, 0, 1])?;
    let program = [
        to(fixture, SEEK, CcwFlags::CC, 6, ARGUMENTS),
        to(fixture, SEEK, CcwFlags::CC, 6, other),
        tic(fixture, 0),
    ];
    running::run(fixture, &program, OrbFlags::PREFETCH)
}

fn seeks_halted(fixture: &mut Subchannel) -> Outcome {
    seek_without_end(fixture)?;
    fixture.platform.halt(fixture.id)?;
    let both = FunctionControl::START | FunctionControl::HALT;
    expect("function", fixture.status()?.scsw.function(), both)?;
    // And the device works.
    written(fixture)
}

fn seeks_cleared(fixture: &mut Subchannel) -> Outcome {
    seek_without_end(fixture)?;
    fixture.platform.clear(fixture.id)?;
    let function = fixture.status()?.scsw.function();
    expect("function", function, FunctionControl::CLEAR)?;
    written(fixture)
}
