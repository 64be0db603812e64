//! The state of the *driver* for one owned subchannel. Not the subchannel's own, which the hardware keeps and STORE SUBCHANNEL
//! shows, and not the device's.
//!
//! # Scope
//!
//! One pure function, [`transition`], from state and event to state and actions. Every pair is
//! decided; `docs/channel-io.md` has the table, made from this function.
//!
//! # The rules
//!
//! * *Busy* is left only when the status that ends everything in progress has been taken, a start
//!   has been cancelled, or the subchannel is gone. [`Action::Release`] stands in those places and nowhere else,
//!   so a program has one owner and is freed once.
//! * What an instruction of the appliance's led to is an event of its own ([`Event::Accepted`] …),
//!   handled before anything else happens: in between nobody can come.
//! * Each stage of quiescing has a bounded number of tries, each bounded in time.

/// How often HALT SUBCHANNEL is tried when quiescing.
pub const HALTS: u8 = 3;
/// How often CLEAR SUBCHANNEL is tried when quiescing.
pub const CLEARS: u8 = 4;

/// The driver's state. In the order of [`DriverState`](vcss::trace::DriverState), so that a trace record has it for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// There is no device.
    NotOperational,
    /// Owned, without a client; disabled.
    Standby,
    /// Given to a client; no function is in progress. Status may be pending.
    Idle,
    /// A function is in progress, or its final status has not been taken yet.
    Busy,
    /// The client is gone or begins anew; what is in progress is being ended.
    Quiescing(Stage),
    /// Given up: not even a clear function ended. The device may still use the program.
    Disconnected,
}

/// How far quiescing is. `left`: further tries of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// CANCEL SUBCHANNEL is tried.
    Cancel,
    /// HALT SUBCHANNEL has been issued.
    Halt {
        /// Tries that are left.
        left: u8,
    },
    /// CLEAR SUBCHANNEL has been issued.
    Clear {
        /// Tries that are left.
        left: u8,
    },
}

/// What happens to a subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Event {
    /// A client is given the subchannel.
    Online,
    /// It is taken away from the client.
    Offline,
    /// The client begins anew, or has died.
    Reset,
    /// The client's START.
    Start,
    /// The client's HALT.
    Halt,
    /// The client's CLEAR.
    Clear,
    /// The client's CANCEL.
    Cancel,
    /// The client's RESUME.
    Resume,
    /// The client's STORE.
    Store,
    /// The client's MODIFY.
    Modify,
    /// The client's TEST.
    Test,
    /// Condition code 0 to SSCH, HSCH or CSCH: a function is in progress.
    Accepted,
    /// Condition code 0 to XSCH: the start function is gone, without status.
    Cancelled,
    /// SSCH, HSCH or XSCH was refused.
    Refused,
    /// Status is pending with which everything in progress ends.
    Final,
    /// Status is pending, and the program goes on.
    Intermediate,
    /// Status is pending: the program is suspended. It goes on when it is resumed.
    Suspended,
    /// Status is pending that no function asked for.
    Unsolicited,
    /// The start was turned away later on: deferred condition code 1.
    DeferredOne,
    /// No path to the device: deferred condition code 3.
    DeferredThree,
    /// Status is pending that is the translator's own: the program stopped at a split point.
    Split,
    /// Status has been taken, and nothing is in progress any more.
    Ended,
    /// Status has been taken; what is in progress goes on.
    Continues,
    /// A channel report about a path of the subchannel.
    Path,
    /// The device is gone.
    Gone,
    /// There is a device again.
    Back,
    /// The time of a try to quiesce is over.
    TimeOut,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 27] = [
        Self::Online,
        Self::Offline,
        Self::Reset,
        Self::Start,
        Self::Halt,
        Self::Clear,
        Self::Cancel,
        Self::Resume,
        Self::Store,
        Self::Modify,
        Self::Test,
        Self::Accepted,
        Self::Cancelled,
        Self::Refused,
        Self::Final,
        Self::Intermediate,
        Self::Suspended,
        Self::Unsolicited,
        Self::DeferredOne,
        Self::DeferredThree,
        Self::Split,
        Self::Ended,
        Self::Continues,
        Self::Path,
        Self::Gone,
        Self::Back,
        Self::TimeOut,
    ];
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Answer condition code 3.
    NotOperational,
    /// Answer condition code 1 if status is pending, else 2.
    InUse,
    /// Answer condition code 0 and do nothing.
    Ignore,
    /// Translate the client's program and issue SSCH; the answer is its condition code.
    Start,
    /// Issue HSCH; the answer is its condition code.
    Halt,
    /// Drop status that is held back and issue CSCH; the answer is its condition code.
    Clear,
    /// Issue XSCH; the answer is its condition code.
    Cancel,
    /// Look at the program again and issue RSCH; the answer is its condition code.
    Resume,
    /// Show the hardware's view merged with the virtual one.
    Show,
    /// Take over the virtual fields and issue MSCH for the others.
    Modify,
    /// Give the client its status, by TSCH.
    Test,
    /// Let the client know that status is pending.
    Announce,
    /// Take the deferred condition code and start once more, a bounded number of times; then announce it.
    Retry,
    /// Take the translator's own status and let the program go on.
    Proceed,
    /// Take status by TSCH and drop it.
    Discard,
    /// Free the translated program.
    Release,
    /// Give the virtual subchannel the values of a subsystem reset.
    ResetVirtual,
    /// Disable the subchannel.
    Disable,
    /// Issue XSCH to quiesce, if anything is in progress.
    QuiesceCancel,
    /// Issue HSCH to quiesce, and set the time.
    QuiesceHalt,
    /// Issue CSCH to quiesce, and set the time.
    QuiesceClear,
    /// Report to the client that the device is gone.
    ReportGone,
    /// Report to the client that the device is there.
    ReportBack,
    /// Pass the path's report on to the client.
    ReportPath,
}

/// State and actions that an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state.
    pub next: State,
    /// What is to be done, in this order.
    pub actions: &'static [Action],
}

const fn to(next: State, actions: &'static [Action]) -> Transition {
    Transition { next, actions }
}

/// The requests that only a subchannel with a device can carry out. Not MODIFY: what is not there may be modified.
macro_rules! operational {
    () => {
        Event::Start | Event::Halt | Event::Clear | Event::Cancel | Event::Resume | Event::Test
    };
}

/// Pending status, of whatever kind.
macro_rules! status {
    () => {
        Event::Final
            | Event::Intermediate
            | Event::Suspended
            | Event::Unsolicited
            | Event::DeferredOne
            | Event::DeferredThree
            | Event::Split
    };
}

/// State and actions that `event` leads to in `state`.
pub const fn transition(state: State, event: Event) -> Transition {
    match state {
        State::NotOperational => not_operational(event),
        State::Standby => standby(event),
        State::Idle => idle(event),
        State::Busy => busy(event),
        State::Quiescing(stage) => quiescing(stage, event),
        State::Disconnected => disconnected(event),
    }
}

const fn not_operational(event: Event) -> Transition {
    const STAY: State = State::NotOperational;
    match event {
        operational!() => to(STAY, &[Action::NotOperational]),
        Event::Store => to(STAY, &[Action::Show]),
        Event::Modify => to(STAY, &[Action::Ignore]),
        Event::Offline | Event::Reset => to(STAY, &[Action::ResetVirtual]),
        Event::Back => to(State::Standby, &[Action::ReportBack]),
        Event::Online
        | Event::Accepted
        | Event::Cancelled
        | Event::Refused
        | status!()
        | Event::Ended
        | Event::Continues
        | Event::Path
        | Event::Gone
        | Event::TimeOut => to(STAY, &[]),
    }
}

const fn standby(event: Event) -> Transition {
    const STAY: State = State::Standby;
    match event {
        Event::Online => to(State::Idle, &[]),
        Event::Start
        | Event::Halt
        | Event::Clear
        | Event::Cancel
        | Event::Resume
        | Event::Modify
        | Event::Test => to(STAY, &[Action::NotOperational]),
        Event::Store => to(STAY, &[Action::Show]),
        Event::Offline | Event::Reset => to(STAY, &[Action::ResetVirtual]),
        status!() => to(STAY, &[Action::Discard]),
        Event::Gone => GONE,
        Event::Accepted
        | Event::Cancelled
        | Event::Refused
        | Event::Ended
        | Event::Continues
        | Event::Path
        | Event::Back
        | Event::TimeOut => to(STAY, &[]),
    }
}

const QUIESCE: Transition = to(
    State::Quiescing(Stage::Cancel),
    &[Action::ResetVirtual, Action::QuiesceCancel],
);
const GONE: Transition = to(
    State::NotOperational,
    &[Action::Release, Action::ResetVirtual, Action::ReportGone],
);

const fn idle(event: Event) -> Transition {
    const STAY: State = State::Idle;
    match event {
        Event::Offline | Event::Reset => QUIESCE,
        Event::Start => to(STAY, &[Action::Start]),
        Event::Halt => to(STAY, &[Action::Halt]),
        Event::Clear => to(STAY, &[Action::Clear]),
        Event::Cancel => to(STAY, &[Action::Cancel]),
        Event::Resume => to(STAY, &[Action::Resume]),
        Event::Store => to(STAY, &[Action::Show]),
        Event::Modify => to(STAY, &[Action::Modify]),
        Event::Test => to(STAY, &[Action::Test]),
        Event::Accepted => to(State::Busy, &[]),
        // A start that was refused after its program had been translated.
        Event::Refused => to(STAY, &[Action::Release]),
        status!() => to(STAY, &[Action::Announce]),
        Event::Path => to(STAY, &[Action::ReportPath]),
        Event::Gone => GONE,
        Event::Online
        | Event::Cancelled
        | Event::Ended
        | Event::Continues
        | Event::Back
        | Event::TimeOut => to(STAY, &[]),
    }
}

const fn busy(event: Event) -> Transition {
    const STAY: State = State::Busy;
    match event {
        Event::Offline | Event::Reset => QUIESCE,
        Event::Start | Event::Modify => to(STAY, &[Action::InUse]),
        Event::Halt => to(STAY, &[Action::Halt]),
        Event::Clear => to(STAY, &[Action::Clear]),
        Event::Cancel => to(STAY, &[Action::Cancel]),
        Event::Resume => to(STAY, &[Action::Resume]),
        Event::Store => to(STAY, &[Action::Show]),
        Event::Test => to(STAY, &[Action::Test]),
        Event::Cancelled | Event::Ended => to(State::Idle, &[Action::Release]),
        Event::Final
        | Event::Intermediate
        | Event::Suspended
        | Event::Unsolicited
        | Event::DeferredThree => to(STAY, &[Action::Announce]),
        Event::DeferredOne => to(STAY, &[Action::Retry]),
        Event::Split => to(STAY, &[Action::Proceed]),
        Event::Path => to(STAY, &[Action::ReportPath]),
        Event::Gone => GONE,
        Event::Online
        | Event::Accepted
        | Event::Refused
        | Event::Continues
        | Event::Back
        | Event::TimeOut => to(STAY, &[]),
    }
}

const fn quiescing(stage: Stage, event: Event) -> Transition {
    let stay = State::Quiescing(stage);
    match event {
        operational!() => to(stay, &[Action::NotOperational]),
        Event::Store => to(stay, &[Action::Show]),
        Event::Modify => to(stay, &[Action::InUse]),
        Event::Offline | Event::Reset => to(stay, &[Action::ResetVirtual]),
        Event::Cancelled | Event::Ended => to(State::Standby, &[Action::Release, Action::Disable]),
        Event::Refused => match stage {
            Stage::Cancel => next_try(stage),
            // Status is in the way, or the function is in progress already.
            Stage::Halt { left: _ } | Stage::Clear { left: _ } => to(stay, &[Action::Discard]),
        },
        status!() => to(stay, &[Action::Discard]),
        Event::TimeOut => next_try(stage),
        Event::Gone => GONE,
        Event::Online | Event::Accepted | Event::Continues | Event::Path | Event::Back => {
            to(stay, &[])
        }
    }
}

/// The try after this one.
const fn next_try(stage: Stage) -> Transition {
    let (stage, actions): (Stage, &'static [Action]) = match stage {
        Stage::Cancel => (Stage::Halt { left: HALTS - 1 }, &[Action::QuiesceHalt]),
        Stage::Halt { left: 0 } => (Stage::Clear { left: CLEARS - 1 }, &[Action::QuiesceClear]),
        Stage::Halt { left } => (Stage::Halt { left: left - 1 }, &[Action::QuiesceHalt]),
        Stage::Clear { left: 0 } => {
            return to(
                State::Disconnected,
                &[Action::ResetVirtual, Action::ReportGone],
            )
        }
        Stage::Clear { left } => (Stage::Clear { left: left - 1 }, &[Action::QuiesceClear]),
    };
    to(State::Quiescing(stage), actions)
}

const fn disconnected(event: Event) -> Transition {
    const STAY: State = State::Disconnected;
    /// Perhaps it works now.
    const AGAIN: State = State::Quiescing(Stage::Clear { left: CLEARS - 1 });
    match event {
        operational!() => to(STAY, &[Action::NotOperational]),
        Event::Store => to(STAY, &[Action::Show]),
        Event::Modify => to(STAY, &[Action::Ignore]),
        Event::Offline | Event::Reset => to(AGAIN, &[Action::ResetVirtual, Action::QuiesceClear]),
        Event::Path => to(AGAIN, &[Action::QuiesceClear]),
        status!() => to(STAY, &[Action::Discard]),
        // The clear function has ended after all.
        Event::Ended => to(
            State::Standby,
            &[Action::Release, Action::Disable, Action::ReportBack],
        ),
        Event::Gone => GONE,
        Event::Online
        | Event::Accepted
        | Event::Cancelled
        | Event::Refused
        | Event::Continues
        | Event::Back
        | Event::TimeOut => to(STAY, &[]),
    }
}
