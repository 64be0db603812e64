//! Operands and programs that are wrong on purpose, given to a virtual subchannel: whatever the client gets for them, the
//! appliance goes on.
//!
//! What the appliance does not refuse goes to its own START and MODIFY SUBCHANNEL, which may not take it. So each bit is
//! tried, and the subchannel has to work afterwards. Of bad CCWs, the check and its CCW address are asked for, in the
//! client's terms.

use super::super::{ensure, expect, test, Fixture, Outcome, Test, Why};
use super::programs::{program_check, refused_by_vfio};
use super::Subchannel;
use alloc::format;
use channel::{
    Ccw1, CcwFlags, CommandCode, DeviceStatus, Idaw2, OrbFlags, PmcwFlags, Refusal, Schib,
};
use window::ClientAddress;
use zerocopy::{FromBytes, IntoBytes};

/// An address beyond all storage that these tests are given, and below 2 GiB.
const NOWHERE: u32 = 0x7000_0000;
/// An address list in the page of the program.
const LIST: u32 = 0x800;

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test("an ORB with any one bit changed harms nobody", orb_bits),
    test("an ORB of all ones harms nobody", orb_of_ones),
    test("a SCHIB with any one bit changed harms nobody", schib_bits),
    test("a SCHIB of all ones harms nobody", schib_of_ones),
    test("measurement modes harm nobody", measurement),
    test("a program that begins with TIC is checked there", tic_first),
    test(
        "TIC out of the client's storage is checked there",
        tic_nowhere,
    ),
    test("TIC to no doubleword is checked there", tic_odd),
    test("an invalid command is checked there", invalid),
    test("data out of the client's storage is checked there", nowhere),
    test(
        "an address word out of the client's storage is checked there",
        idaw_nowhere,
    ),
    test("an address list on no boundary is checked there", list_odd),
    test(
        "an ORB with a program out of the client's storage is checked",
        program_nowhere,
    ),
];

/// The subchannel still does what it is told.
#[inline(never)]
fn works(fixture: &mut Subchannel) -> Outcome {
    fixture.fresh()?;
    fixture.start(&[fixture.sense_id()])?;
    let irb = fixture.status()?;
    ensure("ended", irb.scsw.ended())?;
    ensure("identity", fixture.identity()?.is_valid())
}

/// Starts with these bytes as the ORB, ends whatever comes of it.
#[inline(never)]
fn try_orb(fixture: &mut Subchannel, orb: [u8; 32]) -> Outcome {
    let ccw = fixture.sense_id();
    fixture.put(ccw.as_bytes());
    let orb = channel::Orb::read_from_bytes(&orb).map_err(|_| "not an ORB")?;
    if fixture.start_orb(&orb).is_ok() {
        fixture.platform.clear(fixture.id)?;
        fixture.status()?;
    }
    fixture.fresh()
}

/// The original with each bit changed, and where.
fn each_bit<const N: usize>(
    original: [u8; N],
    mut attempt: impl FnMut([u8; N]) -> Outcome,
) -> Outcome {
    for bit in 0..N * 8 {
        let mut changed = original;
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 0x80 >> (bit % 8);
        }
        attempt(changed).map_err(|why| match why {
            Why::Fail(why) => Why::Fail(format!("bit {bit}: {why}")),
            skip @ Why::Skip(_) => skip,
        })?;
    }
    Ok(())
}

fn orb_bits(fixture: &mut Subchannel) -> Outcome {
    // With X, the words behind count as well.
    for flags in [OrbFlags::empty(), OrbFlags::EXTENSION] {
        let mut orb = fixture.orb();
        orb.set_flags(orb.flags() | flags);
        each_bit(zerocopy::transmute!(orb), |orb| try_orb(fixture, orb))?;
        works(fixture)?;
    }
    Ok(())
}

fn orb_of_ones(fixture: &mut Subchannel) -> Outcome {
    try_orb(fixture, [0xFF; 32])?;
    // All that is not reserved.
    let mut orb = fixture.orb();
    orb.set_flags(OrbFlags::all() - OrbFlags::TRANSPORT);
    orb.set_key(0xF);
    orb.set_priorities(0xFF, 0xFF);
    try_orb(fixture, zerocopy::transmute!(orb))?;
    works(fixture)
}

/// Modifies with these bytes as the SCHIB, and puts it back.
#[inline(never)]
fn try_schib(fixture: &mut Subchannel, before: &Schib, schib: [u8; 52]) -> Outcome {
    let schib = Schib::read_from_bytes(&schib).map_err(|_| "not a SCHIB")?;
    let _ = fixture.platform.modify(fixture.id, &schib);
    fixture.platform.modify(fixture.id, before)?;
    Ok(())
}

fn schib_bits(fixture: &mut Subchannel) -> Outcome {
    let before = fixture.schib()?;
    each_bit(zerocopy::transmute!(before), |schib| {
        try_schib(fixture, &before, schib)
    })?;
    works(fixture)
}

fn schib_of_ones(fixture: &mut Subchannel) -> Outcome {
    let before = fixture.schib()?;
    try_schib(fixture, &before, [0xFF; 52])?;
    works(fixture)
}

fn measurement(fixture: &mut Subchannel) -> Outcome {
    let before = fixture.schib()?;
    // Block format and extended-measurement word; block update, connect time and both limits.
    for characteristics in 0..8 {
        for flags in [0x18, 0x10, 0x08, 0x50, 0x30] {
            let mut schib = before;
            let flags = PmcwFlags::from_bits_retain(flags);
            schib.pmcw.set_flag(flags, true);
            schib.pmcw.characteristics.set(characteristics);
            schib.pmcw.mbi.set(0xFFFF);
            schib.mba.set(0xFFFF_FFFF_FFFF_FFC0);
            // The word is not to be had everywhere.
            match fixture.platform.modify(fixture.id, &schib) {
                Err(Refusal::Operand) if schib.pmcw.has_extended_measurement() => {}
                modified => modified?,
            }
            fixture.start(&[fixture.sense_id()])?;
            fixture.status()?;
            fixture.platform.modify(fixture.id, &before)?;
        }
    }
    works(fixture)
}

/// The program is stopped by a program check at the CCW before this place.
#[inline(never)]
fn checked(fixture: &mut Subchannel, program: &[Ccw1], behind: u32) -> Outcome {
    fixture.start(program)?;
    let irb = fixture.status()?;
    if fixture.vfio && irb.scsw.device() == DeviceStatus::UNIT_EXCEPTION {
        return refused_by_vfio(&irb);
    }
    program_check(&irb)?;
    let wanted = fixture.base() + behind;
    expect("CCW address", irb.scsw.program.get(), wanted)
}

fn tic(to: u32) -> Ccw1 {
    Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, to)
}

fn tic_first(fixture: &mut Subchannel) -> Outcome {
    let program = [tic(fixture.base() + 8), fixture.sense_id()];
    checked(fixture, &program, 8)
}

fn tic_nowhere(fixture: &mut Subchannel) -> Outcome {
    let program = [fixture.nop(CcwFlags::CC), tic(NOWHERE)];
    checked(fixture, &program, 16)
}

fn tic_odd(fixture: &mut Subchannel) -> Outcome {
    let program = [
        fixture.nop(CcwFlags::CC),
        tic(fixture.base() + 20),
        fixture.sense_id(),
    ];
    checked(fixture, &program, 16)
}

fn invalid(fixture: &mut Subchannel) -> Outcome {
    let program = [
        fixture.nop(CcwFlags::CC),
        fixture.ccw(CommandCode(0x00), CcwFlags::SLI, 1),
    ];
    checked(fixture, &program, 16)
}

fn nowhere(fixture: &mut Subchannel) -> Outcome {
    let out = Ccw1::new(CommandCode::SENSE_ID, CcwFlags::SLI, 7, NOWHERE);
    let program = [fixture.nop(CcwFlags::CC), out];
    checked(fixture, &program, 16)
}

#[inline(never)]
fn with_list(fixture: &mut Subchannel, list: u32) -> Outcome {
    let flags = CcwFlags::SLI | CcwFlags::IDA;
    let program = [Ccw1::new(CommandCode::SENSE_ID, flags, 7, list)];
    let word = Idaw2::new(NOWHERE.into());
    fixture.put(program.as_bytes());
    fixture.page.write(ClientAddress::new(LIST.into()), &word)?;
    let mut orb = fixture.orb();
    orb.set_flags(orb.flags() | OrbFlags::FORMAT_2_IDAW);
    fixture.start_orb(&orb)?;
    let irb = fixture.status()?;
    if fixture.vfio && irb.scsw.device() == DeviceStatus::UNIT_EXCEPTION {
        return refused_by_vfio(&irb);
    }
    program_check(&irb)?;
    let wanted = fixture.base() + 8;
    expect("CCW address", irb.scsw.program.get(), wanted)
}

fn idaw_nowhere(fixture: &mut Subchannel) -> Outcome {
    with_list(fixture, fixture.base() + LIST)
}

fn list_odd(fixture: &mut Subchannel) -> Outcome {
    with_list(fixture, fixture.base() + LIST + 2)
}

fn program_nowhere(fixture: &mut Subchannel) -> Outcome {
    let mut orb = fixture.orb();
    orb.program.set(NOWHERE);
    fixture.start_orb(&orb)?;
    let irb = fixture.status()?;
    program_check(&irb)?;
    expect("CCW address", irb.scsw.program.get(), NOWHERE + 8)
}
