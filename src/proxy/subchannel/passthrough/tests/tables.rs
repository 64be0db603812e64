//! The tables of `docs/channel-io.md` are the code's.
//!
//! With `STELLWERK_TABLES=write` in the environment they are written anew.

use std::fmt::Write;
use std::string::String;
use std::{format, fs};

use vcss::client::Instruction;

use super::codes::{CODES, INSTRUCTIONS};
use crate::proxy::subchannel::passthrough::state::{
    handling, transition, Event, Handling, Stage, State,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/channel-io.md");

const STATES: [(&str, State); 5] = [
    ("not operational", State::NotOperational),
    ("standby", State::Standby),
    ("idle", State::Idle),
    ("busy", State::Busy),
    ("disconnected", State::Disconnected),
];

const STAGES: [(&str, State); 5] = [
    ("cancel", State::Quiescing(Stage::Cancel)),
    ("halt", State::Quiescing(Stage::Halt { left: 1 })),
    ("halt, last try", State::Quiescing(Stage::Halt { left: 0 })),
    ("clear", State::Quiescing(Stage::Clear { left: 1 })),
    (
        "clear, last try",
        State::Quiescing(Stage::Clear { left: 0 }),
    ),
];

const EVENTS: [Event; 19] = [
    Event::Online,
    Event::Offline,
    Event::Reset,
    Event::Accepted,
    Event::Cancelled,
    Event::Refused,
    Event::Final,
    Event::Intermediate,
    Event::Suspended,
    Event::Unsolicited,
    Event::DeferredOne,
    Event::DeferredThree,
    Event::Split,
    Event::Ended,
    Event::Continues,
    Event::Path,
    Event::Gone,
    Event::Back,
    Event::TimeOut,
];

const REQUESTS: [Instruction; 8] = [
    Instruction::Start,
    Instruction::Halt,
    Instruction::Clear,
    Instruction::Cancel,
    Instruction::Resume,
    Instruction::Store,
    Instruction::Modify,
    Instruction::Test,
];

fn name(state: State) -> &'static str {
    match state {
        State::NotOperational => "not operational",
        State::Standby => "standby",
        State::Idle => "idle",
        State::Busy => "busy",
        State::Quiescing(Stage::Cancel) => "quiescing: cancel",
        State::Quiescing(Stage::Halt { .. }) => "quiescing: halt",
        State::Quiescing(Stage::Clear { .. }) => "quiescing: clear",
        State::Disconnected => "disconnected",
    }
}

/// `SomeName` as `some name`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn cell(state: State, event: Event) -> String {
    let step = transition(state, event);
    let actions: Vec<_> = step
        .actions()
        .map(|action| words(&format!("{action:?}")))
        .collect();
    let actions = actions.join(", ");
    if step.next == state {
        return if actions.is_empty() {
            "–".into()
        } else {
            actions
        };
    }
    let mut cell = format!("**{}**", name(step.next));
    if !actions.is_empty() {
        let _ = write!(cell, ": {actions}");
    }
    cell
}

fn transitions(states: &[(&str, State)]) -> String {
    let mut table = String::from("| event |");
    for (name, _) in states {
        let _ = write!(table, " {name} |");
    }
    table += "\n|---|";
    table += &"---|".repeat(states.len());
    table.push('\n');
    let mut row = |name: String, cell: &dyn Fn(State) -> String| {
        let _ = write!(table, "| {} |", words(&name));
        for &(_, state) in states {
            let _ = write!(table, " {} |", cell(state));
        }
        table.push('\n');
    };
    let (before, after) = EVENTS.split_at(3);
    for &event in before {
        row(format!("{event:?}"), &|state| cell(state, event));
    }
    for request in REQUESTS {
        let name = format!("{request:?}");
        row(name.clone(), &|state| match handling(state, request) {
            Handling::Serve if request == Instruction::Store => "show".into(),
            Handling::Serve => words(&name),
            other => words(&format!("{other:?}")),
        });
    }
    for &event in after {
        row(format!("{event:?}"), &|state| cell(state, event));
    }
    table
}

fn codes() -> String {
    let mut table = format!(
        "| the client's subchannel | {} |\n|---|",
        INSTRUCTIONS.join(" | ")
    );
    table += &"---|".repeat(INSTRUCTIONS.len());
    table.push('\n');
    for (name, codes) in CODES {
        let codes = codes.map(|code| format!("{code}")).join(" | ");
        let _ = writeln!(table, "| {name} | {codes} |");
    }
    table
}

/// The document with the table between the two marks replaced.
fn with(document: &str, mark: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- table: {mark} -->\n"), "<!-- end -->");
    let (before, rest) = document
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no mark {mark}"));
    let (_, after) = rest.split_once(end).expect("an end");
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_documents_tables_are_the_codes() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut expected = with(&document, "states", &transitions(&STATES));
    expected = with(&expected, "stages", &transitions(&STAGES));
    expected = with(&expected, "codes", &codes());
    if std::env::var_os("STELLWERK_TABLES").is_some_and(|word| word == "write") {
        fs::write(DOCUMENT, &expected).unwrap();
        return;
    }
    assert!(
        document == expected,
        "docs/channel-io.md is not the code's; STELLWERK_TABLES=write cargo test -p stellwerk-appliance --lib tables"
    );
}

/// Every state that transitions lead to has its column.
#[test]
fn every_state_is_in_a_table() {
    for (_, state) in STATES.into_iter().chain(STAGES) {
        for event in EVENTS {
            let next = name(transition(state, event).next);
            let known = STATES
                .iter()
                .chain(&STAGES)
                .any(|&(_, state)| name(state) == next);
            assert!(known, "{next}");
        }
    }
}
