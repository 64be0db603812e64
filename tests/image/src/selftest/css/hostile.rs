//! Operands and programs that are wrong on purpose, given to a virtual subchannel: whatever the client gets for them, the
//! appliance goes on.
//!
//! What the appliance does not refuse goes to its own START and MODIFY SUBCHANNEL, which may not take it. So each bit is
//! tried, and the subchannel has to work afterwards. Of bad CCWs, the check and its CCW address are asked for, in the
//! client's terms.

use super::super::{ensure, expect, test, Outcome, Scene, Test, Why};
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
fn works(scene: &mut Subchannel) -> Outcome {
    scene.fresh()?;
    scene.start(&[scene.sense_id()])?;
    let irb = scene.status()?;
    ensure("ended", irb.scsw.ended())?;
    ensure("identity", scene.identity()?.is_valid())
}

/// Starts with these bytes as the ORB, ends whatever comes of it.
#[inline(never)]
fn try_orb(scene: &mut Subchannel, orb: [u8; 32]) -> Outcome {
    let ccw = scene.sense_id();
    scene.put(ccw.as_bytes());
    let orb = channel::Orb::read_from_bytes(&orb).map_err(|_| "not an ORB")?;
    if scene.start_orb(&orb).is_ok() {
        scene.platform.clear(scene.id)?;
        scene.status()?;
    }
    scene.fresh()
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

fn orb_bits(scene: &mut Subchannel) -> Outcome {
    // With X, the words behind count as well.
    for flags in [OrbFlags::empty(), OrbFlags::EXTENSION] {
        let mut orb = scene.orb();
        orb.set_flags(orb.flags() | flags);
        each_bit(zerocopy::transmute!(orb), |orb| try_orb(scene, orb))?;
        works(scene)?;
    }
    Ok(())
}

fn orb_of_ones(scene: &mut Subchannel) -> Outcome {
    try_orb(scene, [0xFF; 32])?;
    // All that is not reserved.
    let mut orb = scene.orb();
    orb.set_flags(OrbFlags::all() - OrbFlags::TRANSPORT);
    orb.set_key(0xF);
    orb.set_priorities(0xFF, 0xFF);
    try_orb(scene, zerocopy::transmute!(orb))?;
    works(scene)
}

/// Modifies with these bytes as the SCHIB, and puts it back.
#[inline(never)]
fn try_schib(scene: &mut Subchannel, before: &Schib, schib: [u8; 52]) -> Outcome {
    let schib = Schib::read_from_bytes(&schib).map_err(|_| "not a SCHIB")?;
    let _ = scene.platform.modify(scene.id, &schib);
    scene.platform.modify(scene.id, before)?;
    Ok(())
}

fn schib_bits(scene: &mut Subchannel) -> Outcome {
    let before = scene.schib()?;
    each_bit(zerocopy::transmute!(before), |schib| {
        try_schib(scene, &before, schib)
    })?;
    works(scene)
}

fn schib_of_ones(scene: &mut Subchannel) -> Outcome {
    let before = scene.schib()?;
    try_schib(scene, &before, [0xFF; 52])?;
    works(scene)
}

fn measurement(scene: &mut Subchannel) -> Outcome {
    let before = scene.schib()?;
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
            match scene.platform.modify(scene.id, &schib) {
                Err(Refusal::Operand) if schib.pmcw.has_extended_measurement() => {}
                modified => modified?,
            }
            scene.start(&[scene.sense_id()])?;
            scene.status()?;
            scene.platform.modify(scene.id, &before)?;
        }
    }
    works(scene)
}

/// The program is stopped by a program check at the CCW before this place.
#[inline(never)]
fn checked(scene: &mut Subchannel, program: &[Ccw1], behind: u32) -> Outcome {
    scene.start(program)?;
    let irb = scene.status()?;
    if scene.vfio && irb.scsw.device() == DeviceStatus::UNIT_EXCEPTION {
        return refused_by_vfio(&irb);
    }
    program_check(&irb)?;
    let wanted = scene.base() + behind;
    expect("CCW address", irb.scsw.program.get(), wanted)
}

fn tic(to: u32) -> Ccw1 {
    Ccw1::new(CommandCode::TIC, CcwFlags::empty(), 0, to)
}

fn tic_first(scene: &mut Subchannel) -> Outcome {
    let program = [tic(scene.base() + 8), scene.sense_id()];
    checked(scene, &program, 8)
}

fn tic_nowhere(scene: &mut Subchannel) -> Outcome {
    let program = [scene.nop(CcwFlags::CC), tic(NOWHERE)];
    checked(scene, &program, 16)
}

fn tic_odd(scene: &mut Subchannel) -> Outcome {
    let program = [
        scene.nop(CcwFlags::CC),
        tic(scene.base() + 20),
        scene.sense_id(),
    ];
    checked(scene, &program, 16)
}

fn invalid(scene: &mut Subchannel) -> Outcome {
    let program = [
        scene.nop(CcwFlags::CC),
        scene.ccw(CommandCode(0x00), CcwFlags::SLI, 1),
    ];
    checked(scene, &program, 16)
}

fn nowhere(scene: &mut Subchannel) -> Outcome {
    let out = Ccw1::new(CommandCode::SENSE_ID, CcwFlags::SLI, 7, NOWHERE);
    let program = [scene.nop(CcwFlags::CC), out];
    checked(scene, &program, 16)
}

#[inline(never)]
fn with_list(scene: &mut Subchannel, list: u32) -> Outcome {
    let flags = CcwFlags::SLI | CcwFlags::IDA;
    let program = [Ccw1::new(CommandCode::SENSE_ID, flags, 7, list)];
    let word = Idaw2::new(NOWHERE.into());
    scene.put(program.as_bytes());
    scene.page.write(ClientAddress::new(LIST.into()), &word)?;
    let mut orb = scene.orb();
    orb.set_flags(orb.flags() | OrbFlags::FORMAT_2_IDAW);
    scene.start_orb(&orb)?;
    let irb = scene.status()?;
    if scene.vfio && irb.scsw.device() == DeviceStatus::UNIT_EXCEPTION {
        return refused_by_vfio(&irb);
    }
    program_check(&irb)?;
    let wanted = scene.base() + 8;
    expect("CCW address", irb.scsw.program.get(), wanted)
}

fn idaw_nowhere(scene: &mut Subchannel) -> Outcome {
    with_list(scene, scene.base() + LIST)
}

fn list_odd(scene: &mut Subchannel) -> Outcome {
    with_list(scene, scene.base() + LIST + 2)
}

fn program_nowhere(scene: &mut Subchannel) -> Outcome {
    let mut orb = scene.orb();
    orb.program.set(NOWHERE);
    scene.start_orb(&orb)?;
    let irb = scene.status()?;
    program_check(&irb)?;
    expect("CCW address", irb.scsw.program.get(), NOWHERE + 8)
}
