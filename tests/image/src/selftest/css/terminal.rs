//! A terminal: the one device here whose status comes unasked.

use super::super::{test, Fixture, Outcome, Test, Why};
use super::Subchannel;
use appliance::css::Wake;
use channel::{
    CcwFlags, CommandCode, DeviceStatus, FunctionControl, Refusal, StatusControl, Tested,
};
use s390x::ebcdic::CP037;
use window::ClientAddress;

/// What SENSE ID says of a 3270 control unit.
pub(super) const CONTROL_UNIT_TYPE: u16 = 0x3270;

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[test(
    "a key at the terminal ends the wait, with attention status",
    attention,
)];

pub(super) const ERASE_WRITE: CommandCode = CommandCode(0x05);
/// Write-control character: restore the keyboard.
const RESTORE: u8 = 0xC2;
/// What makes the peer press a key.
const PROMPT: &str = "PRESS ENTER";
/// How often it is asked, and how long it has each time, in microseconds.
const ATTEMPTS: u32 = 4;
const PATIENCE: u64 = 500_000;

fn attention(fixture: &mut Subchannel) -> Outcome {
    for attempt in 0..ATTEMPTS {
        let prompted = prompt(fixture);
        if fixture.vfio && prompted.is_err() {
            // It has one place for status: a key can take the place of the end of the write.
            fixture.fresh()?;
            continue;
        }
        prompted?;
        let deadline = fixture.platform.now().plus_micros(PATIENCE);
        while fixture.platform.now() < deadline {
            let wake = fixture.platform.wait(Some(deadline));
            while fixture.platform.pending_interruption().is_some() {}
            let Tested::Status(irb) = fixture.platform.test(fixture.id)? else {
                continue;
            };
            let unasked = irb.scsw.function() == FunctionControl::empty()
                && irb.scsw.status().contains(StatusControl::ALERT);
            let key = irb.scsw.device().contains(DeviceStatus::ATTENTION);
            if unasked && key && wake == Wake::Io {
                if attempt > 0 {
                    late_keys(fixture)?;
                }
                return Ok(());
            }
        }
    }
    Err(Why::Skip("nobody sits there"))
}

/// The keys that earlier prompts have led to are nobody's.
fn late_keys(fixture: &mut Subchannel) -> Outcome {
    let deadline = fixture.platform.now().plus_micros(PATIENCE);
    while fixture.platform.now() < deadline {
        fixture.platform.pause(deadline);
        fixture.platform.take_status(fixture.id)?;
    }
    Ok(())
}

/// Writes the prompt. Without a terminal behind it the control unit may refuse; then it is tried again.
fn prompt(fixture: &mut Subchannel) -> Outcome {
    let mut data = [RESTORE; PROMPT.len() + 1];
    if let [_, text @ ..] = data.as_mut_slice() {
        CP037.encode(PROMPT, text);
    }
    let ccw = fixture.ccw(ERASE_WRITE, CcwFlags::SLI, data.len() as u16);
    fixture.put(zerocopy::IntoBytes::as_bytes(&ccw));
    let place = ClientAddress::new(Subchannel::DATA.into());
    fixture.page.write_bytes(place, &data)?;
    let orb = fixture.orb();
    if fixture.start_orb(&orb) == Err(Refusal::StatusPending) {
        // Somebody has sat down at the terminal meanwhile.
        fixture.status()?;
        fixture.start_orb(&orb)?;
    }
    fixture.status().map(drop)
}
