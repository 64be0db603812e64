//! What a subchannel-status word says, and the status that the appliance makes itself.

use channel::{
    ActivityControl, DeviceStatus, FunctionControl, Irb, Scsw, ScswFlags, StatusControl,
    SubchannelStatus,
};

use super::state::Event;

/// Status beyond intermediate: what ends a function, or reports something unusual.
pub const CONCLUSIVE: StatusControl = StatusControl::PRIMARY
    .union(StatusControl::SECONDARY)
    .union(StatusControl::ALERT);

/// The channel still works on a program, or is going to.
const LIVE: ActivityControl = ActivityControl::SUBCHANNEL_ACTIVE
    .union(ActivityControl::SUSPENDED)
    .union(ActivityControl::START_PENDING)
    .union(ActivityControl::RESUME_PENDING)
    .union(ActivityControl::HALT_PENDING)
    .union(ActivityControl::CLEAR_PENDING);

/// Whether taking status ended everything in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// Only the subchannel knows: look whether a function is left.
    Ask,
}

/// Which event pending status is; `None` if none is pending.
pub fn event_of(scsw: &Scsw) -> Option<Event> {
    let status = scsw.status();
    if !status.contains(StatusControl::PENDING) {
        return None;
    }
    Some(match (scsw.deferred_cc(), over(scsw)) {
        (1, _) => Event::DeferredOne,
        (2 | 3, _) => Event::DeferredThree,
        (_, Over::Yes | Over::Ask) => Event::Final,
        (_, Over::No) if is_unsolicited(scsw) => Event::Unsolicited,
        (_, Over::No) if scsw.activity().contains(ActivityControl::SUSPENDED) => Event::Suspended,
        (_, Over::No) => Event::Intermediate,
    })
}

/// Whether everything in progress is over once this status has been taken.
///
/// The device may be active still: after channel end the program is not looked at any more. A suspended
/// program is not over, nor is one that merely sent an intermediate or an unsolicited status.
pub fn over(scsw: &Scsw) -> Over {
    let status = scsw.status();
    if scsw.deferred_cc() != 0 {
        return Over::Yes;
    }
    let intermediate_only =
        status.contains(StatusControl::INTERMEDIATE) && !status.intersects(CONCLUSIVE);
    // A suspended program that has been halted shows no more than that, and is over all the same.
    let halted = scsw.function().contains(FunctionControl::HALT)
        && scsw.activity().contains(ActivityControl::SUSPENDED);
    if is_unsolicited(scsw) || intermediate_only && !halted {
        return Over::No;
    }
    if scsw.activity().intersects(LIVE) {
        return Over::Ask;
    }
    Over::Yes
}

/// Whether status is pending beside a clear function that has not ended yet. It is older and void: CSCH wipes it, but with
/// a vfio-ccw QEMU leaves it standing until the clear function ends. TEST would take it for the end, and that would come when the
/// subchannel is perhaps disabled, from where QEMU lets nobody take it. Alert status alone may be newer.
pub fn is_clearing(scsw: &Scsw) -> bool {
    scsw.activity().contains(ActivityControl::CLEAR_PENDING)
        && scsw.status().contains(StatusControl::PENDING)
        && scsw.status() != StatusControl::ALERT.union(StatusControl::PENDING)
}

/// Alert status that belongs to no function. With a halt or clear function it can be that function's end: QEMU leaves the alert bit of
/// status that a clear function wipes.
pub fn is_unsolicited(scsw: &Scsw) -> bool {
    let ending = FunctionControl::HALT.union(FunctionControl::CLEAR);
    scsw.deferred_cc() == 0
        && scsw.status() == StatusControl::ALERT.union(StatusControl::PENDING)
        && !scsw.function().intersects(ending)
}

/// Whether a program is suspended, and nobody has resumed it.
pub fn is_suspended(scsw: &Scsw) -> bool {
    scsw.activity().contains(ActivityControl::SUSPENDED)
        && !scsw.activity().contains(ActivityControl::RESUME_PENDING)
}

/// Whether a deferred condition code 1 can be repeated without the client losing anything: the device was busy
/// and said nothing else, and the client has asked for nothing but the start.
pub fn is_retryable(scsw: &Scsw) -> bool {
    let nothing = DeviceStatus::BUSY.union(DeviceStatus::STATUS_MODIFIER);
    scsw.deferred_cc() == 1
        && nothing.contains(scsw.device())
        && scsw.subchannel().is_empty()
        && scsw.function() == FunctionControl::START
}

/// An IRB that says this, and nothing else.
pub fn alone(scsw: Scsw) -> Irb {
    Irb {
        scsw,
        ..Irb::default()
    }
}

/// A clear function that has not ended, whatever status is pending beside it.
pub fn clearing(mut scsw: Scsw) -> Scsw {
    scsw.set_controls(
        FunctionControl::CLEAR,
        ActivityControl::CLEAR_PENDING,
        StatusControl::empty(),
    );
    scsw
}

/// A program that runs, whatever status says that the client is not to see.
pub fn running(mut scsw: Scsw) -> Scsw {
    scsw.device_status = 0;
    scsw.subchannel_status = 0;
    scsw.set_controls(
        FunctionControl::START,
        ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE,
        StatusControl::empty(),
    );
    scsw
}

/// Of a status with which the translator stopped a program that goes on now, what is the client's: the intermediate status. What
/// stopped it is not, nor are sense data of that.
pub fn still_running(irb: &Irb) -> Irb {
    let mut scsw = running(irb.scsw);
    scsw.subchannel_status = irb.scsw.subchannel_status & SubchannelStatus::PCI.bits();
    scsw.count = 0.into();
    scsw.set_flag(ScswFlags::LOGOUT_STORED | ScswFlags::ECW_STORED, false);
    scsw.set_controls(
        scsw.function(),
        scsw.activity(),
        StatusControl::INTERMEDIATE | StatusControl::PENDING,
    );
    alone(scsw)
}

/// The ending of a program that the translator stopped and that cannot go on: interface-control check where it stopped. It is
/// no deferred condition code: that would say that nothing was executed.
pub fn broken_off(mut irb: Irb) -> Irb {
    irb.scsw.set_deferred_cc(0);
    irb.scsw.subchannel_status |= SubchannelStatus::INTERFACE_CONTROL_CHECK.bits();
    irb.scsw.set_controls(
        FunctionControl::START,
        ActivityControl::empty(),
        StatusControl::PENDING | CONCLUSIVE,
    );
    irb
}

/// The ending of what an earlier life of the appliance left in progress. A start function: interface-control check,
/// with nothing said about how far it got. A halt or clear function: it has ended.
pub fn lost(function: FunctionControl) -> Irb {
    let mut irb = Irb::default();
    let status = if function.contains(FunctionControl::START) {
        irb.scsw.subchannel_status = SubchannelStatus::INTERFACE_CONTROL_CHECK.bits();
        StatusControl::PENDING | CONCLUSIVE
    } else {
        StatusControl::PENDING
    };
    irb.scsw
        .set_controls(function, ActivityControl::empty(), status);
    irb
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scsw(function: FunctionControl, activity: ActivityControl, status: StatusControl) -> Scsw {
        let mut scsw = Scsw::default();
        scsw.set_controls(function, activity, status | StatusControl::PENDING);
        scsw
    }

    #[test]
    fn alert_status_alone_ends_no_start() {
        for activity in [ActivityControl::empty(), ActivityControl::START_PENDING] {
            let status = scsw(FunctionControl::START, activity, StatusControl::ALERT);
            assert_eq!(over(&status), Over::No);
            assert_eq!(event_of(&status), Some(Event::Unsolicited));
        }
    }

    #[test]
    fn alert_status_that_outlived_a_clear_does_not_hide_its_end() {
        let none = ActivityControl::empty();
        let status = scsw(FunctionControl::CLEAR, none, StatusControl::ALERT);
        assert_eq!(over(&status), Over::Yes);
        let pending = ActivityControl::HALT_PENDING;
        let status = scsw(FunctionControl::HALT, pending, StatusControl::ALERT);
        assert_eq!(over(&status), Over::Ask);
    }

    #[test]
    fn a_suspended_program_that_was_halted_may_be_over() {
        let both = FunctionControl::START | FunctionControl::HALT;
        let suspended = ActivityControl::SUSPENDED;
        let status = scsw(both, suspended, StatusControl::INTERMEDIATE);
        assert_eq!(over(&status), Over::Ask);
        let status = scsw(
            FunctionControl::START,
            suspended,
            StatusControl::INTERMEDIATE,
        );
        assert_eq!(over(&status), Over::No);
    }

    #[test]
    fn status_while_a_clear_is_pending_is_nothing() {
        let pending = ActivityControl::CLEAR_PENDING;
        for left in [StatusControl::empty(), CONCLUSIVE] {
            assert!(is_clearing(&scsw(FunctionControl::CLEAR, pending, left)));
        }
    }

    #[test]
    fn channel_end_ends_the_program_though_the_device_is_active() {
        let active = ActivityControl::DEVICE_ACTIVE;
        let status = scsw(FunctionControl::START, active, StatusControl::PRIMARY);
        assert_eq!(over(&status), Over::Yes);
    }
}
