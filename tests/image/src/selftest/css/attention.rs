//! Attention at bad moments: status that comes unasked before, while and after a start.
//!
//! Somebody presses a key all the time. Whatever comes of it, each start has one end and its own.
//!
//! No program is suspended here: QEMU's subchannel forgets one when a key is pressed.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::Subchannel;
use channel::{
    ActivityControl, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Irb, Refusal,
    StatusControl, Tested,
};

/// The tests.
pub(super) const TESTS: &[Test<Subchannel>] = &[
    test(
        "each start has one end and its own, whatever key is pressed",
        starts,
    ),
    test("a halt or clear ends once while keys are pressed", halts),
    test("a key is told of once", once),
];

/// Device status that comes unasked: a key; somebody sits down at the terminal, or leaves it.
const UNASKED: [DeviceStatus; 2] = [DeviceStatus::ATTENTION, DeviceStatus::DEVICE_END];
/// Takes what was typed.
const READ_MODIFIED: CommandCode = CommandCode(0x06);
/// Starts of each test.
const STARTS: u32 = 100;
/// Keys that have to have been pressed, or the test was none.
const KEYS: u32 = 5;
/// How long to wait for a key, in microseconds.
const PATIENCE: u64 = 5_000_000;

/// What has come unasked.
#[derive(Default)]
struct Keys(u32);

impl Keys {
    /// Takes status that is not of a function of ours.
    #[inline(never)]
    fn note(&mut self, irb: &Irb) -> Outcome {
        let status = irb.scsw.status();
        ensure("alert status", status.contains(StatusControl::ALERT))?;
        expect("activity", irb.scsw.activity(), ActivityControl::empty())?;
        let device = irb.scsw.device();
        ensure("device status of its own", UNASKED.contains(&device))?;
        self.0 += u32::from(device == DeviceStatus::ATTENTION);
        Ok(())
    }

    fn enough(&self) -> Outcome {
        match self.0 >= KEYS {
            true => Ok(()),
            false => Err(Why::Skip("nobody presses keys")),
        }
    }
}

/// Does what may find status pending, until it does not.
#[inline(never)]
fn insist(
    fixture: &mut Subchannel,
    keys: &mut Keys,
    action: &dyn Fn(&mut Subchannel) -> Result<(), Refusal>,
) -> Outcome {
    for _ in 0..STARTS {
        match action(fixture) {
            Err(Refusal::StatusPending) => keys.note(&fixture.status()?)?,
            done => return Ok(done?),
        }
    }
    Err("status is pending for ever".into())
}

/// The status that ends `function`; keys come before it, but nothing else does.
#[inline(never)]
fn end_of(
    fixture: &mut Subchannel,
    keys: &mut Keys,
    function: FunctionControl,
) -> Result<Irb, Why> {
    loop {
        let irb = fixture.status()?;
        if irb.scsw.function().contains(function) {
            return Ok(irb);
        }
        expect("function", irb.scsw.function(), FunctionControl::empty())?;
        keys.note(&irb)?;
    }
}

fn starts(fixture: &mut Subchannel) -> Outcome {
    let mut keys = Keys::default();
    let deadline = fixture.platform.now().plus_micros(PATIENCE);
    let mut started = 0;
    while started < STARTS || (keys.0 < KEYS && fixture.platform.now() < deadline) {
        started += 1;
        // What was typed is read, or the terminal takes no more.
        insist(fixture, &mut keys, &|fixture| {
            let read = fixture.ccw(READ_MODIFIED, CcwFlags::SLI | CcwFlags::CC, 64);
            fixture.start(&[read, fixture.sense_id()])
        })?;
        let irb = end_of(fixture, &mut keys, FunctionControl::START)?;
        // In QEMU what comes unasked while the status is pending takes the place of its device status.
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let device = irb.scsw.device();
        if !UNASKED.contains(&device) {
            expect("device status", device, ended)?;
        }
        keys.0 += u32::from(device == DeviceStatus::ATTENTION);
        expect("CCW address", irb.scsw.program.get(), fixture.base() + 16)?;
        expect("valid", fixture.identity()?.valid, 0xFF)?;
        // Between two starts there is time for a key.
        let soon = fixture.platform.now().plus_micros(1_000);
        fixture.platform.pause(soon);
    }
    keys.enough()
}

fn halts(fixture: &mut Subchannel) -> Outcome {
    let mut keys = Keys::default();
    for _ in 0..STARTS {
        let id = fixture.id;
        read(fixture, &mut keys)?;
        insist(fixture, &mut keys, &|fixture| fixture.platform.halt(id))?;
        end_of(fixture, &mut keys, FunctionControl::HALT)?;
        fixture.platform.clear(id)?;
        let irb = end_of(fixture, &mut keys, FunctionControl::CLEAR)?;
        let device = irb.scsw.device();
        if !UNASKED.contains(&device) {
            expect("device status", device, DeviceStatus::empty())?;
        }
    }
    Ok(())
}

fn once(fixture: &mut Subchannel) -> Outcome {
    let deadline = fixture.platform.now().plus_micros(PATIENCE);
    let mut keys = Keys::default();
    while keys.0 < KEYS && fixture.platform.now() < deadline {
        // What is told of here may have come before, so the wait is last.
        while fixture.platform.pending_interruption().is_some() {}
        match fixture.platform.test(fixture.id)? {
            Tested::Nothing(_) => {
                fixture.platform.wait(Some(deadline));
            }
            Tested::Status(irb) => {
                expect("function", irb.scsw.function(), FunctionControl::empty())?;
                keys.note(&irb)?;
                read(fixture, &mut keys)?;
            }
        }
    }
    keys.enough()
}

/// Takes what was typed, or the terminal takes no more. A key that took the place of the end's device status was typed, too.
fn read(fixture: &mut Subchannel, keys: &mut Keys) -> Outcome {
    for _ in 0..STARTS {
        insist(fixture, keys, &|fixture| {
            fixture.start(&[fixture.ccw(READ_MODIFIED, CcwFlags::SLI, 64)])
        })?;
        let irb = end_of(fixture, keys, FunctionControl::START)?;
        if !UNASKED.contains(&irb.scsw.device()) {
            return Ok(());
        }
    }
    Err("each read ends with a key".into())
}
