//! What is asked of virtual subchannels only.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::Subchannel;
use channel::{CcwFlags, CommandCode, DeviceStatus, Orb, OrbFlags, Refusal};
use window::ClientAddress;

/// The tests. A wrong operand cannot be given to the instructions themselves: there it interrupts the program.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test(
        "an ORB with reserved bits is refused, and nothing is started",
        reserved_bits,
    ),
    test("an ORB of transport mode is refused", transport),
    test(
        "an ORB whose program address is beyond 31 bits is refused",
        address,
    ),
    test(
        "a SCHIB with reserved bits is refused, and changes nothing",
        schib,
    ),
    test("READ CONF of a virtio control unit", configuration),
];

/// START has refused it, and nothing has come of it.
#[inline(never)]
fn refused(fixture: &mut Subchannel, orb: &Orb) -> Outcome {
    expect("SSCH", fixture.start_orb(orb), Err(Refusal::Operand))?;
    expect("function", fixture.schib()?.scsw.function().bits(), 0)?;
    fixture.start(&[fixture.sense_id()])?;
    fixture.status().map(drop)
}

fn reserved_bits(fixture: &mut Subchannel) -> Outcome {
    for bits in [0x0000_0004, 0x0000_003E] {
        let mut orb = fixture.orb();
        orb.control.set(orb.control.get() | bits);
        refused(fixture, &orb)?;
    }
    Ok(())
}

fn transport(fixture: &mut Subchannel) -> Outcome {
    let mut orb = fixture.orb();
    let transport = OrbFlags::TRANSPORT.bits();
    orb.control.set(orb.control.get() | transport);
    refused(fixture, &orb)
}

fn address(fixture: &mut Subchannel) -> Outcome {
    let mut orb = fixture.orb();
    orb.program.set(orb.program.get() | 0x8000_0000);
    refused(fixture, &orb)
}

fn schib(fixture: &mut Subchannel) -> Outcome {
    let before = fixture.schib()?.pmcw.isc();
    let mut wrong = fixture.schib()?;
    wrong.pmcw.set_isc(7);
    wrong.pmcw.flags.set(wrong.pmcw.flags.get() | 0x4000);
    let modified = fixture.platform.modify(fixture.id, &wrong);
    expect("MSCH", modified, Err(Refusal::Operand))?;
    expect("ISC", fixture.schib()?.pmcw.isc(), before)
}

/// virtio's command to read the configuration space, and the serial device's, whose third field is a number of ports.
const READ_CONF: CommandCode = CommandCode(0x22);
const SERIAL: u8 = 3;
const PORTS: usize = 4;

fn configuration(fixture: &mut Subchannel) -> Outcome {
    let Some(virtio) = fixture.device.virtio_id() else {
        return Err(Why::Skip("no virtio control unit"));
    };
    fixture.start(&[fixture.ccw(READ_CONF, CcwFlags::SLI, 8)])?;
    let irb = fixture.status()?;
    let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    expect("device status", irb.scsw.device(), ended)?;
    let place = ClientAddress::new(Subchannel::DATA.into());
    let space: [u8; 8] = fixture.page.read(place)?;
    // Of which byte order they are depends on the revision.
    let ports = space[PORTS..].iter().any(|byte| *byte > 0);
    ensure("ports", virtio != SERIAL || ports)
}
