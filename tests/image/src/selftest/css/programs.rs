//! Channel programs: how they are fetched, and how they end.

use super::super::{ensure, expect, test, Outcome, Test};
use super::{Subchannel, UNKNOWN};
use channel::{
    ActivityControl, Ccw0, Ccw1, CcwFlags, CommandCode, DeviceStatus, Irb, Orb, OrbFlags,
    StatusControl, SubchannelStatus,
};
use zerocopy::IntoBytes;

/// An address beyond all storage that these tests are given, and below 2 GiB.
const NOWHERE: u32 = 0x7000_0000;

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test("SENSE ID by a format-1 CCW", format_1),
    test("SENSE ID by a format-0 CCW", format_0),
    test("a chain of commands is executed to its end", chain),
    test("TIC leads on", transfer),
    test("SLI leaves a residual count", residual),
    test("SKIP keeps the data out", skip),
    test(
        "a program that is not on a doubleword boundary is a program check",
        misaligned,
    ),
    test(
        "two TICs in a row are a program check",
        transfer_to_transfer,
    ),
    test(
        "a suspend flag without leave to suspend is a program check",
        suspend,
    ),
    test("data beyond the end of storage is a program check", nowhere),
    test(
        "an unknown command is rejected, with concurrent sense",
        rejected,
    ),
    test(
        "an unknown command is rejected, and SENSE tells",
        rejected_then_sensed,
    ),
    test("a rejected command ends its chain", rejected_in_chain),
];

/// The program has ended well.
#[inline(never)]
pub(super) fn well(irb: &Irb) -> Outcome {
    let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    expect("device status", irb.scsw.device(), ended)?;
    let subchannel = irb.scsw.subchannel();
    expect("subchannel status", subchannel, SubchannelStatus::empty())?;
    expect("activity", irb.scsw.activity(), ActivityControl::empty())?;
    let wanted = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
    expect("status", irb.scsw.status(), wanted)
}

/// It was stopped by a program check at the CCW before `address`.
#[inline(never)]
pub(super) fn program_check(irb: &Irb) -> Outcome {
    let check = SubchannelStatus::PROGRAM_CHECK;
    expect("subchannel status", irb.scsw.subchannel(), check)?;
    let wanted = StatusControl::ALERT | StatusControl::PENDING;
    ensure("alert status", irb.scsw.status().contains(wanted))?;
    ensure("ended", irb.scsw.ended())
}

/// The data is the identification that discovery has seen.
#[inline(never)]
fn identified(fixture: &Subchannel) -> Outcome {
    let Ok(before) = fixture.device.identity else {
        return Err("no identity".into());
    };
    let now = fixture.identity()?;
    expect("identity", now.as_bytes(), before.as_bytes())
}

fn format_1(fixture: &mut Subchannel) -> Outcome {
    fixture.start(&[fixture.sense_id()])?;
    let irb = fixture.status()?;
    well(&irb)?;
    expect("CCW address", irb.scsw.program.get(), fixture.base() + 8)?;
    identified(fixture)
}

fn format_0(fixture: &mut Subchannel) -> Outcome {
    let ccw = fixture.sense_id();
    let [_, address @ ..] = ccw.address.get().to_be_bytes();
    let ccw = Ccw0 {
        command: ccw.command,
        address,
        flags: ccw.flags,
        count: ccw.count,
        ..Ccw0::default()
    };
    fixture.put(ccw.as_bytes());
    let mut orb = fixture.orb();
    orb.control
        .set(orb.control.get() & !OrbFlags::FORMAT_1.bits());
    fixture.start_orb(&orb)?;
    well(&fixture.status()?)?;
    identified(fixture)
}

fn chain(fixture: &mut Subchannel) -> Outcome {
    let nop = fixture.nop(CcwFlags::CC);
    fixture.start(&[nop, nop, nop, fixture.sense_id()])?;
    let irb = fixture.status()?;
    well(&irb)?;
    expect("CCW address", irb.scsw.program.get(), fixture.base() + 32)?;
    identified(fixture)
}

fn tic(fixture: &Subchannel, to: u32) -> Ccw1 {
    Ccw1::new(
        CommandCode::TIC,
        CcwFlags::empty(),
        0,
        fixture.base() + to * 8,
    )
}

fn transfer(fixture: &mut Subchannel) -> Outcome {
    let program = [
        fixture.nop(CcwFlags::CC),
        tic(fixture, 3),
        fixture.ccw(UNKNOWN, CcwFlags::SLI, 1),
        fixture.sense_id(),
    ];
    fixture.start(&program)?;
    well(&fixture.status()?)?;
    identified(fixture)
}

fn residual(fixture: &mut Subchannel) -> Outcome {
    fixture.start(&[fixture.ccw(CommandCode::SENSE_ID, CcwFlags::SLI, 1000)])?;
    let irb = fixture.status()?;
    well(&irb)?;
    let transferred = 1000 - irb.scsw.count.get();
    ensure("at least an identity", (7..=256).contains(&transferred))?;
    identified(fixture)
}

fn skip(fixture: &mut Subchannel) -> Outcome {
    let flags = CcwFlags::SLI | CcwFlags::SKIP;
    fixture.start(&[fixture.ccw(CommandCode::SENSE_ID, flags, 7)])?;
    well(&fixture.status()?)?;
    expect("data", fixture.identity()?.as_bytes(), &[0; 7])
}

fn misaligned(fixture: &mut Subchannel) -> Outcome {
    if fixture.own {
        fixture.skip_for_vfio("vfio-ccw runs it")?;
    }
    let ccw = fixture.sense_id();
    fixture.put(&[[0; 4].as_slice(), ccw.as_bytes()].concat());
    let orb = Orb {
        program: (fixture.base() + 4).into(),
        ..fixture.orb()
    };
    fixture.start_orb(&orb)?;
    program_check(&fixture.status()?)
}

fn transfer_to_transfer(fixture: &mut Subchannel) -> Outcome {
    let program = [
        fixture.nop(CcwFlags::CC),
        tic(fixture, 2),
        tic(fixture, 3),
        fixture.sense_id(),
    ];
    fixture.start(&program)?;
    program_check(&fixture.status()?)
}

fn suspend(fixture: &mut Subchannel) -> Outcome {
    fixture.start(&[fixture.nop(CcwFlags::SUSPEND)])?;
    program_check(&fixture.status()?)
}

fn nowhere(fixture: &mut Subchannel) -> Outcome {
    let flags = CcwFlags::SLI;
    fixture.start(&[Ccw1::new(CommandCode::SENSE_ID, flags, 7, NOWHERE)])?;
    let irb = fixture.status()?;
    if fixture.vfio {
        return refused_by_vfio(&irb);
    }
    program_check(&irb)
}

/// How QEMU shows that the kernel's vfio-ccw did not take a program: as if the device had ended it.
#[inline(never)]
pub(super) fn refused_by_vfio(irb: &Irb) -> Outcome {
    expect(
        "device status",
        irb.scsw.device(),
        DeviceStatus::UNIT_EXCEPTION,
    )?;
    ensure("ended", irb.scsw.ended())
}

#[inline(never)]
fn unit_check(irb: &Irb) -> Outcome {
    let device = irb.scsw.device();
    ensure("unit check", device.contains(DeviceStatus::UNIT_CHECK))?;
    let status = irb.scsw.status();
    ensure("alert status", status.contains(StatusControl::ALERT))?;
    ensure("ended", irb.scsw.ended())
}

/// The first sense byte says "command reject".
#[inline(never)]
fn command_reject(sense: Option<&u8>) -> Outcome {
    expect("sense", sense.map(|byte| byte & 0x80), Some(0x80))
}

fn rejected(fixture: &mut Subchannel) -> Outcome {
    fixture.start(&[fixture.ccw(UNKNOWN, CcwFlags::SLI, 1)])?;
    let irb = fixture.status()?;
    unit_check(&irb)?;
    // An emulated subchannel stores the sense bytes, and their count in the wrong place.
    ensure("concurrent sense", irb.concurrent_sense().is_some())?;
    command_reject(irb.ecw.0.first())
}

fn rejected_then_sensed(fixture: &mut Subchannel) -> Outcome {
    fixture.skip_for_vfio("vfio-ccw has concurrent sense on at all times")?;
    fixture.modify(&|schib| schib.pmcw.set_concurrent_sense(false))?;
    fixture.start(&[fixture.ccw(UNKNOWN, CcwFlags::SLI, 1)])?;
    let irb = fixture.status()?;
    unit_check(&irb)?;
    ensure("no sense", irb.concurrent_sense().is_none())?;
    fixture.start(&[fixture.ccw(CommandCode::SENSE, CcwFlags::SLI, 24)])?;
    well(&fixture.status()?)?;
    command_reject(fixture.identity()?.as_bytes().first())
}

fn rejected_in_chain(fixture: &mut Subchannel) -> Outcome {
    let program = [
        fixture.nop(CcwFlags::CC),
        fixture.ccw(UNKNOWN, CcwFlags::CC | CcwFlags::SLI, 1),
        fixture.sense_id(),
    ];
    fixture.start(&program)?;
    let irb = fixture.status()?;
    unit_check(&irb)?;
    expect("CCW address", irb.scsw.program.get(), fixture.base() + 16)?;
    expect("data", fixture.identity()?.as_bytes(), &[0; 7])
}
