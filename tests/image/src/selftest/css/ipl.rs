//! Programs that come from the disk: a READ IPL leads to what it has just read.
//!
//! **[`TESTS`] and [`FIXED`] write**: to records 1 and 2 of the first track, which have 24 and 144 bytes of data, or to blocks 0 and 2.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::dasd::{
    at, on_record, tic, to, write, ARGUMENT, ARGUMENTS, FIRST, PAGE_1, READ_DATA, SECOND,
};
use super::programs::well;
use super::{running, Subchannel};
use alloc::vec::Vec;
use appliance::driver::dasd::fba::format as fixed;
use channel::{Ccw0, Ccw1, CcwFlags, CommandCode, DeviceStatus, OrbFlags};
use dasd::command::{DefineExtent, LocateRecord, DEFINE_EXTENT, LOCATE_RECORD};
use zerocopy::{FromZeros, IntoBytes};

/// Tests that only read.
pub(super) const READS: &[Test<Subchannel>] = &[
    test(
        "a READ IPL leads to the next record in its chain",
        ipl_chained,
    ),
    test(
        "a suspension ends the chain at the device: after RSCH that record is not found any more",
        ipl_suspended,
    ),
];

/// Tests that write.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test(
        "READ IPL over the program, whose format-1 CCWs search anew",
        ipl_1,
    ),
    test(
        "READ IPL over the program, whose format-0 CCWs search anew",
        ipl_0,
    ),
    test(
        "READ IPL over the program, whose format-1 CCWs go straight on with the next record",
        ipl_straight_1,
    ),
    test(
        "READ IPL over the program, whose format-0 CCWs go straight on with the next record",
        ipl_straight_0,
    ),
    test(
        "a record read over the program goes on in the domain of its LOCATE RECORD",
        domain,
    ),
];

/// The same for fixed-block disks.
pub(super) const FIXED: &[Test<Subchannel>] = &[test(
    "READ IPL over the program, which goes straight on with LOCATE",
    ipl_fixed,
)];

const READ_IPL: CommandCode = CommandCode(0x02);

/// Where things are in the pages of the fixture, besides the program.
const BOOTSTRAP: u32 = 0x100;
const LOADED: u32 = 0x200;

/// Starts a program that reads record 1, and then what follows it, without a search.
#[inline(never)]
fn start_ipl(fixture: &mut Subchannel, flags: CcwFlags) -> Outcome {
    let sli = CcwFlags::SLI;
    let program = [
        to(fixture, READ_IPL, CcwFlags::CC | sli, FIRST, PAGE_1),
        to(fixture, READ_DATA, flags | sli, SECOND, Subchannel::DATA),
    ];
    fixture.put(program.as_bytes());
    let mut orb = fixture.orb();
    let wanted = OrbFlags::FORMAT_1 | OrbFlags::SUSPEND_CONTROL | OrbFlags::SUPPRESS_SUSPENDED;
    orb.set_flags(wanted);
    Ok(fixture.start_orb(&orb)?)
}

fn ipl_chained(fixture: &mut Subchannel) -> Outcome {
    start_ipl(fixture, CcwFlags::empty())?;
    well(&fixture.status()?)
}

fn ipl_suspended(fixture: &mut Subchannel) -> Outcome {
    if fixture.asynchronous != Some(true) {
        // Hercules begins such a program within SSCH and cannot go on with it.
        return Err(Why::Skip("programs run within SSCH"));
    }
    start_ipl(fixture, CcwFlags::SUSPEND)?;
    running::until_suspended(fixture)?;
    let ccw = to(fixture, READ_DATA, CcwFlags::SLI, SECOND, Subchannel::DATA);
    fixture.page.write(at(8), &ccw)?;
    fixture.platform.resume(fixture.id)?;
    let device = fixture.status()?.scsw.device();
    ensure("unit check", device.contains(DeviceStatus::UNIT_CHECK))
}

/// In the format that the program has.
fn encoded(program: &[Ccw1], format_1: bool) -> Vec<u8> {
    if format_1 {
        return program.as_bytes().to_vec();
    }
    let narrow = |ccw: &Ccw1| {
        let [_, address @ ..] = ccw.address.get().to_be_bytes();
        Ccw0 {
            command: ccw.command,
            address,
            flags: ccw.flags,
            count: ccw.count,
            ..Ccw0::new_zeroed()
        }
    };
    let program: Vec<Ccw0> = program.iter().map(narrow).collect();
    program.as_bytes().to_vec()
}

/// In the ORB, for a program that its device writes.
const fn format(format_1: bool) -> OrbFlags {
    if format_1 {
        OrbFlags::FORMAT_1
    } else {
        OrbFlags::empty()
    }
}

const PSW: [u8; 8] = [0, 0x0A, 0, 0, 0, 0, 0, 0x0F];

/// Writes two programs to the disk as records 1 and 2. The first one, behind a PSW, is any; the second one, for `LOADED`, ends in a
/// SENSE ID.
#[inline(never)]
fn write_programs(fixture: &mut Subchannel, first: &[Ccw1], format_1: bool) -> Outcome {
    let mut record = PSW.to_vec();
    record.extend(encoded(first, format_1));
    write(fixture, 1, &record)?;
    let sense_id = [fixture.nop(CcwFlags::CC), fixture.sense_id()];
    let mut record = encoded(&sense_id, format_1);
    record.resize(SECOND.into(), 0xEE);
    write(fixture, 2, &record)?;
    fixture.page.fill(at(LOADED), SECOND.into(), 0)?;
    Ok(())
}

/// The CCWs that read the next record and go on there.
fn read_on(fixture: &Subchannel) -> [Ccw1; 2] {
    let read = to(fixture, READ_DATA, CcwFlags::CC, SECOND, LOADED);
    [read, tic(fixture, LOADED)]
}

/// Runs a program that comes to the SENSE ID.
#[inline(never)]
fn comes_to_sense_id(fixture: &mut Subchannel, format_1: bool) -> Outcome {
    let mut orb = fixture.orb();
    orb.set_flags(format(format_1));
    fixture.start_orb(&orb)?;
    let irb = fixture.status()?;
    well(&irb)?;
    let end = fixture.base() + LOADED + 16;
    expect("CCW address", irb.scsw.program.get(), end)?;
    ensure("identity", fixture.identity()?.is_valid())
}

/// Runs a program as the CPU does for IPL: from a READ IPL on, at the place to which that reads. What it loads at `BOOTSTRAP` is
/// there before.
#[inline(never)]
fn ipl(fixture: &mut Subchannel, bootstrap: &[Ccw1], format_1: bool) -> Outcome {
    let start = to(fixture, READ_IPL, CcwFlags::CC | CcwFlags::SLI, FIRST, 0);
    // Nothing leads on but what the disk has.
    let mut start = encoded(&[start], format_1);
    start.resize(FIRST.into(), 0);
    fixture.put(&start);
    fixture
        .page
        .write_bytes(at(BOOTSTRAP), &encoded(bootstrap, format_1))?;
    comes_to_sense_id(fixture, format_1)?;
    expect("PSW", fixture.page.read::<[u8; 8]>(at(0))?, PSW)
}

/// The first record leads to a program that searches for the second one.
fn ipl_searching(fixture: &mut Subchannel, format_1: bool) -> Outcome {
    let first = [fixture.nop(CcwFlags::CC), tic(fixture, BOOTSTRAP)];
    write_programs(fixture, &first, format_1)?;
    let bootstrap = on_record(fixture, 2, BOOTSTRAP, &read_on(fixture));
    ipl(fixture, &bootstrap, format_1)
}

/// The first record reads the second one, as it is the next.
fn ipl_straight(fixture: &mut Subchannel, format_1: bool) -> Outcome {
    write_programs(fixture, &read_on(fixture), format_1)?;
    ipl(fixture, &[], format_1)
}

fn ipl_1(fixture: &mut Subchannel) -> Outcome {
    ipl_searching(fixture, true)
}

fn ipl_0(fixture: &mut Subchannel) -> Outcome {
    ipl_searching(fixture, false)
}

fn ipl_straight_1(fixture: &mut Subchannel) -> Outcome {
    ipl_straight(fixture, true)
}

fn ipl_straight_0(fixture: &mut Subchannel) -> Outcome {
    ipl_straight(fixture, false)
}

/// Two records of one LOCATE RECORD, of which the first one has the CCW that reads the second one.
fn domain(fixture: &mut Subchannel) -> Outcome {
    write_programs(fixture, &read_on(fixture), true)?;
    let extent = DefineExtent {
        mask: DefineExtent::MASK_READ,
        attributes: DefineExtent::ECKD,
        ..DefineExtent::default()
    };
    let locate = LocateRecord {
        operation: LocateRecord::READ_DATA,
        count: 2,
        record: 1,
        sector: LocateRecord::ANY_SECTOR,
        ..LocateRecord::default()
    };
    let (extent_at, locate_at) = (ARGUMENTS, ARGUMENTS + ARGUMENT);
    let chained = CcwFlags::CC;
    let program = [
        to(fixture, DEFINE_EXTENT, chained, 16, extent_at),
        to(fixture, LOCATE_RECORD, chained, 16, locate_at),
        to(fixture, READ_DATA, chained, FIRST, BOOTSTRAP - 8),
        tic(fixture, BOOTSTRAP),
    ];
    fixture.put(program.as_bytes());
    fixture.page.write(at(extent_at), &extent)?;
    fixture.page.write(at(locate_at), &locate)?;
    comes_to_sense_id(fixture, true)
}

/// Writes a block of a fixed-block disk.
fn write_block(fixture: &mut Subchannel, block: u32, data: &[u8]) -> Outcome {
    let extent = fixed::DefineExtent {
        last: 15.into(),
        ..fixed::DefineExtent::default()
    };
    let locate = locate(fixed::Locate::WRITE, block);
    let chained = CcwFlags::CC;
    let program = [
        to(fixture, fixed::DEFINE_EXTENT, chained, 16, ARGUMENTS),
        to(fixture, fixed::LOCATE, chained, 8, ARGUMENTS + ARGUMENT),
        to(fixture, fixed::WRITE, CcwFlags::empty(), BLOCK, LOADED),
    ];
    fixture.put(program.as_bytes());
    fixture.page.write(at(ARGUMENTS), &extent)?;
    fixture.page.write(at(ARGUMENTS + ARGUMENT), &locate)?;
    fixture.page.fill(at(LOADED), BLOCK.into(), 0)?;
    fixture.page.write_bytes(at(LOADED), data)?;
    let mut orb = fixture.orb();
    orb.set_flags(OrbFlags::FORMAT_1 | OrbFlags::PREFETCH);
    fixture.start_orb(&orb)?;
    well(&fixture.status()?)
}

fn locate(operation: u8, block: u32) -> fixed::Locate {
    fixed::Locate {
        operation,
        count: 1.into(),
        block: block.into(),
        ..fixed::Locate::default()
    }
}

/// Bytes of a block.
const BLOCK: u16 = 512;

/// Block 0 leads to block 2, by a LOCATE that is valid after READ IPL.
fn ipl_fixed(fixture: &mut Subchannel) -> Outcome {
    let to_bootstrap = [fixture.nop(CcwFlags::CC), tic(fixture, BOOTSTRAP)];
    let mut first = PSW.to_vec();
    first.extend(encoded(&to_bootstrap, true));
    write_block(fixture, 0, &first)?;
    let sense_id = [fixture.nop(CcwFlags::CC), fixture.sense_id()];
    write_block(fixture, 2, sense_id.as_bytes())?;
    fixture.page.fill(at(LOADED), BLOCK.into(), 0)?;
    fixture
        .page
        .write(at(ARGUMENTS), &locate(fixed::Locate::READ, 2))?;
    let bootstrap = [
        to(fixture, fixed::LOCATE, CcwFlags::CC, 8, ARGUMENTS),
        to(fixture, fixed::READ, CcwFlags::CC, BLOCK, LOADED),
        tic(fixture, LOADED),
    ];
    ipl(fixture, &bootstrap, true)
}
