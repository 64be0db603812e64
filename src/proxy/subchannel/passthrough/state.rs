//! The state of the *driver* for one owned subchannel. Not the subchannel's own, which the hardware keeps and STORE SUBCHANNEL
//! shows, and not the device's.
//!
//! # Scope
//!
//! Two pure functions: [`handling`], from state and request to how it is answered, and [`transition`], from state and event to
//! state and actions. Every pair is decided; `docs/channel-io.md` has the table, made from them. A request changes the state only by the
//! event that it leads to.
//!
//! # The rules
//!
//! * *Busy* is left only when the status that ends everything in progress has been taken, a start
//!   has been cancelled, or the subchannel is gone. [`Action::Release`] stands in those places and nowhere else,
//!   so a program has one owner and is freed once.
//! * What an instruction of the appliance's led to is an event of its own ([`Event::Accepted`] …),
//!   handled before anything else happens: in between nobody can come.
//! * Each stage of quiescing has a bounded number of tries, each bounded in time.

use vcss::client::Instruction;

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
    Halt { left: u8 },
    /// CLEAR SUBCHANNEL has been issued.
    Clear { left: u8 },
}

/// How a client's request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Condition code 3.
    NotOperational,
    /// Condition code 1 if status is pending, else 2.
    InUse,
    /// Condition code 0, and nothing is done.
    Ignore,
    /// It is carried out. STORE: the hardware's view is shown, merged with the virtual one.
    Serve,
}

/// How a request is answered in `state`.
pub const fn handling(state: State, request: Instruction) -> Handling {
    use Instruction::{Cancel, Clear, Halt, Modify, Resume, Start, Store, Test};
    match (state, request) {
        (_, Store)
        | (State::Idle, Start | Halt | Clear | Cancel | Resume | Modify | Test)
        | (State::Busy, Halt | Clear | Cancel | Resume | Test) => Handling::Serve,
        (State::Busy, Start | Modify) | (State::Quiescing(_), Modify) => Handling::InUse,
        // What is not there may be modified.
        (State::NotOperational | State::Disconnected, Modify) => Handling::Ignore,
        (State::Standby, Modify)
        | (
            State::NotOperational | State::Standby | State::Quiescing(_) | State::Disconnected,
            Start | Halt | Clear | Cancel | Resume | Test,
        ) => Handling::NotOperational,
    }
}

/// What happens to a subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Online,
    /// It is taken away from the client.
    Offline,
    /// The client begins anew, or has died.
    Reset,
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
    Gone,
    Back,
    /// The time of a try to quiesce is over.
    TimeOut,
}

/// What an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Let the client know that status is pending.
    Announce,
    /// Take the deferred condition code and start once more, a bounded number of times; then announce it.
    Retry,
    /// Take the translator's own status and let the program go on.
    Proceed,
    /// Take status by TSCH and drop it.
    Discard,
    Release,
    /// Give the virtual subchannel the values of a subsystem reset.
    ResetVirtual,
    Disable,
    /// Issue XSCH to quiesce, if anything is in progress.
    QuiesceCancel,
    /// Issue HSCH to quiesce, and set the time.
    QuiesceHalt,
    /// Issue CSCH to quiesce, and set the time.
    QuiesceClear,
    ReportGone,
    ReportBack,
    /// Pass the path's report on to the client.
    ReportPath,
}

/// State and actions that an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub next: State,
    /// So small that a transition is a constant in a register.
    actions: [Option<Action>; 3],
}

impl Transition {
    /// What is to be done, in this order.
    pub fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        self.actions.iter().map_while(|action| *action)
    }

    const fn and(mut self, action: Action) -> Self {
        self.actions = match self.actions {
            [None, ..] => [Some(action), None, None],
            [first, None, _] => [first, Some(action), None],
            [first, second, _] => [first, second, Some(action)],
        };
        self
    }
}

const fn to(next: State) -> Transition {
    Transition {
        next,
        actions: [None; 3],
    }
}

/// Pending status, of whatever kind.
macro_rules! status {
    () => {
        Final | Intermediate | Suspended | Unsolicited | DeferredOne | DeferredThree | Split
    };
}

const GONE: Transition = to(State::NotOperational)
    .and(Action::Release)
    .and(Action::ResetVirtual)
    .and(Action::ReportGone);
const QUIESCE: Transition = to(State::Quiescing(Stage::Cancel))
    .and(Action::ResetVirtual)
    .and(Action::QuiesceCancel);
/// Everything in progress has ended that a client had left.
const AT_REST: Transition = to(State::Standby).and(Action::Release).and(Action::Disable);

/// State and actions that `event` leads to in `state`.
pub const fn transition(state: State, event: Event) -> Transition {
    use Event::{
        Accepted, Back, Cancelled, Continues, DeferredOne, DeferredThree, Ended, Final, Gone,
        Intermediate, Offline, Online, Path, Refused, Reset, Split, Suspended, TimeOut,
        Unsolicited,
    };
    use State::{Busy, Disconnected, Idle, NotOperational, Quiescing, Standby};
    /// Perhaps it works now.
    const AGAIN: Transition = to(Quiescing(Stage::Clear { left: CLEARS - 1 }));
    let stay = to(state);
    match (event, state) {
        (Online, Standby) => to(Idle),
        (Online, NotOperational | Idle | Busy | Quiescing(_) | Disconnected) => stay,

        (Offline | Reset, Idle | Busy) => QUIESCE,
        (Offline | Reset, Disconnected) => {
            AGAIN.and(Action::ResetVirtual).and(Action::QuiesceClear)
        }
        (Offline | Reset, NotOperational | Standby | Quiescing(_)) => {
            stay.and(Action::ResetVirtual)
        }

        (Accepted, Idle) => to(Busy),
        (Accepted, NotOperational | Standby | Busy | Quiescing(_) | Disconnected) => stay,

        (Cancelled | Ended, Busy) => to(Idle).and(Action::Release),
        (Cancelled | Ended, Quiescing(_)) => AT_REST,
        // The clear function has ended after all.
        (Ended, Disconnected) => AT_REST.and(Action::ReportBack),
        (Cancelled | Ended, NotOperational | Standby | Idle) | (Cancelled, Disconnected) => stay,

        // A start that was refused after its program had been translated.
        (Refused, Idle) => stay.and(Action::Release),
        (Refused, Quiescing(stage @ Stage::Cancel)) => next_try(stage),
        // Status is in the way, or the function is in progress already.
        (Refused, Quiescing(Stage::Halt { .. } | Stage::Clear { .. })) => stay.and(Action::Discard),
        (Refused, NotOperational | Standby | Busy | Disconnected) => stay,

        (DeferredOne, Busy) => stay.and(Action::Retry),
        (Split, Busy) => stay.and(Action::Proceed),
        (status!(), Idle | Busy) => stay.and(Action::Announce),
        (status!(), Standby | Quiescing(_) | Disconnected) => stay.and(Action::Discard),
        (status!(), NotOperational) => stay,

        (Continues, _) => stay,

        (Path, Idle | Busy) => stay.and(Action::ReportPath),
        (Path, Disconnected) => AGAIN.and(Action::QuiesceClear),
        (Path, NotOperational | Standby | Quiescing(_)) => stay,

        (Gone, NotOperational) => stay,
        (Gone, Standby | Idle | Busy | Quiescing(_) | Disconnected) => GONE,

        (Back, NotOperational) => to(Standby).and(Action::ReportBack),
        (Back, Standby | Idle | Busy | Quiescing(_) | Disconnected) => stay,

        (TimeOut, Quiescing(stage)) => next_try(stage),
        (TimeOut, NotOperational | Standby | Idle | Busy | Disconnected) => stay,
    }
}

/// The try after this one.
const fn next_try(stage: Stage) -> Transition {
    let (stage, action) = match stage {
        Stage::Cancel => (Stage::Halt { left: HALTS - 1 }, Action::QuiesceHalt),
        Stage::Halt { left: 0 } => (Stage::Clear { left: CLEARS - 1 }, Action::QuiesceClear),
        Stage::Halt { left } => (Stage::Halt { left: left - 1 }, Action::QuiesceHalt),
        Stage::Clear { left: 0 } => {
            return to(State::Disconnected)
                .and(Action::ResetVirtual)
                .and(Action::ReportGone)
        }
        Stage::Clear { left } => (Stage::Clear { left: left - 1 }, Action::QuiesceClear),
    };
    to(State::Quiescing(stage)).and(action)
}
