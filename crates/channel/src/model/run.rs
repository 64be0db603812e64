//! A whole program at once: the reference that a translation is compared with.

use alloc::vec::Vec;

use super::device::Device;
use super::memory::Memory;
use super::program::{Ending, Event, Interpreter, Limits};
use super::trace::Trace;
use crate::{
    ActivityControl, DeviceStatus, FunctionControl, Orb, OrbFlags, OrbMode, Scsw, ScswFlags,
    StatusControl, SubchannelStatus,
};

/// How an interpretation came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended; the SCSW is its final one.
    Ended,
    /// The program suspended itself, and [`Limits::resume`] is off.
    Suspended,
    /// [`Limits::steps`] were not enough.
    OutOfSteps,
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it came to its end.
    pub outcome: Outcome,
    /// The SCSW that TEST SUBCHANNEL would store at the end.
    pub scsw: Scsw,
    /// The SCSWs of intermediate status before, in order, each as if it was taken at once.
    pub intermediate: Vec<Scsw>,
    /// The storage that was touched, and the CCWs.
    pub trace: Trace,
}

/// Runs a command-mode program on storage with a device until it ends, suspends itself or exceeds
/// the limits. An ORB that START SUBCHANNEL would refuse, and one of transport mode, end with a
/// program check at once.
pub fn interpret(
    orb: &Orb,
    memory: &mut dyn Memory,
    device: &mut dyn Device,
    limits: &Limits,
) -> Run {
    let mut program = Interpreter::new(orb, limits);
    let mut run = Run {
        outcome: Outcome::OutOfSteps,
        scsw: Scsw::of_start(orb),
        intermediate: Vec::new(),
        trace: Trace::default(),
    };
    if orb.check() != Ok(OrbMode::Command) {
        end(
            &mut run.scsw,
            &program,
            Ending {
                device: DeviceStatus::empty(),
                subchannel: SubchannelStatus::PROGRAM_CHECK,
            },
        );
        run.outcome = Outcome::Ended;
        return run;
    }
    for _ in 0..limits.steps {
        let event = program.step(memory, device);
        apply(&mut run.scsw, &program, event, orb.flags());
        if program.take_interrupt() {
            intermediate(&mut run.scsw, &program);
        }
        match event {
            Event::Ended(_) | Event::TurnedAway(_) => run.outcome = Outcome::Ended,
            Event::Suspended if !limits.resume => run.outcome = Outcome::Suspended,
            Event::Suspended => {
                run.intermediate.push(run.scsw);
                resumed(&mut run.scsw);
                program.resume();
            }
            Event::Progress | Event::Waiting | Event::Accepted | Event::ChannelEnd(_) => {
                if run.scsw.status().contains(StatusControl::INTERMEDIATE) {
                    run.intermediate.push(run.scsw);
                    taken(&mut run.scsw);
                }
            }
        }
        if run.outcome != Outcome::OutOfSteps {
            break;
        }
    }
    run.trace = program.trace().clone();
    run
}

/// Intermediate status has been taken.
fn taken(scsw: &mut Scsw) {
    let status = scsw.status() - (StatusControl::INTERMEDIATE | StatusControl::PENDING);
    let status = if status.is_empty() {
        status
    } else {
        status | StatusControl::PENDING
    };
    scsw.set_controls(scsw.function(), scsw.activity(), status);
    scsw.subchannel_status &= !SubchannelStatus::PCI.bits();
    scsw.set_flag(ScswFlags::ZERO_CONDITION_CODE, false);
}

fn resumed(scsw: &mut Scsw) {
    let activity = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
    scsw.set_controls(FunctionControl::START, activity, StatusControl::empty());
    scsw.subchannel_status = 0;
}

/// Makes intermediate status pending: a program-controlled interruption.
pub(super) fn intermediate(scsw: &mut Scsw, program: &Interpreter) {
    let status = scsw.status() | StatusControl::INTERMEDIATE | StatusControl::PENDING;
    scsw.set_controls(scsw.function(), scsw.activity(), status);
    scsw.subchannel_status |= SubchannelStatus::PCI.bits();
    scsw.program = program.ccw_address().into();
}

/// The change of an SCSW by what a program did. Returns whether new status is pending.
pub(super) fn apply(scsw: &mut Scsw, program: &Interpreter, event: Event, flags: OrbFlags) -> bool {
    let active = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
    let begun = |scsw: &mut Scsw| {
        let kept = scsw.activity() & ActivityControl::HALT_PENDING;
        scsw.set_controls(scsw.function(), active | kept, scsw.status());
    };
    match event {
        Event::Waiting => false,
        Event::Progress => {
            // Before the first command is accepted the start is pending, afterwards it is not.
            if !scsw.activity().contains(ActivityControl::START_PENDING) {
                if !program.is_resumed() {
                    let activity = scsw.activity() - ActivityControl::RESUME_PENDING;
                    scsw.set_controls(scsw.function(), activity, scsw.status());
                }
            } else if program.is_under_way() {
                begun(scsw);
            }
            false
        }
        Event::Accepted => {
            begun(scsw);
            if !flags.contains(OrbFlags::INITIAL_STATUS) {
                return false;
            }
            scsw.set_flag(ScswFlags::ZERO_CONDITION_CODE, true);
            let status = scsw.status() | StatusControl::INTERMEDIATE | StatusControl::PENDING;
            scsw.set_controls(scsw.function(), scsw.activity(), status);
            scsw.program = program.ccw_address().into();
            true
        }
        Event::TurnedAway(status) => {
            turned_away(scsw, 1, status);
            true
        }
        Event::Suspended => {
            let mut status = scsw.status();
            let report = !flags.contains(OrbFlags::SUPPRESS_SUSPENDED);
            if report {
                status |= StatusControl::INTERMEDIATE | StatusControl::PENDING;
            }
            scsw.set_controls(FunctionControl::START, ActivityControl::SUSPENDED, status);
            scsw.program = program.ccw_address().into();
            scsw.count = program.residual().into();
            report
        }
        Event::ChannelEnd(ending) => {
            end(scsw, program, ending);
            let status = scsw.status() - StatusControl::SECONDARY;
            scsw.set_controls(scsw.function(), ActivityControl::DEVICE_ACTIVE, status);
            true
        }
        Event::Ended(ending) => {
            end(scsw, program, ending);
            true
        }
    }
}

/// A start that was not carried out: deferred condition code 1 (the device has status) or 3 (no
/// path). Either is alert status alone, as with QEMU, and as Linux takes it for an ending: no function has got
/// as far as primary status.
pub(super) fn turned_away(scsw: &mut Scsw, cc: u8, status: DeviceStatus) {
    let pending = StatusControl::ALERT | StatusControl::PENDING;
    scsw.set_deferred_cc(cc);
    scsw.device_status = status.bits();
    scsw.set_controls(FunctionControl::START, ActivityControl::empty(), pending);
}

/// Final status. Primary status that was taken before is not repeated.
pub(super) fn end(scsw: &mut Scsw, program: &Interpreter, ending: Ending) {
    const USUAL: DeviceStatus = DeviceStatus::CHANNEL_END
        .union(DeviceStatus::DEVICE_END)
        .union(DeviceStatus::STATUS_MODIFIER);
    let channel_end_taken = scsw.activity() == ActivityControl::DEVICE_ACTIVE
        && !scsw.status().contains(StatusControl::PRIMARY);
    let mut status = scsw.status() | StatusControl::SECONDARY | StatusControl::PENDING;
    if !channel_end_taken {
        status |= StatusControl::PRIMARY;
    }
    if !ending.subchannel.is_empty() || !USUAL.contains(ending.device) {
        status |= StatusControl::ALERT;
    }
    scsw.device_status |= ending.device.bits();
    scsw.subchannel_status |= ending.subchannel.bits();
    scsw.program = program.ccw_address().into();
    scsw.count = program.residual().into();
    scsw.set_controls(scsw.function(), ActivityControl::empty(), status);
}
