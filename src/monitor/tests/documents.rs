//! The tables of `docs/commands.md` are the code's.
//!
//! With `STELLWERK_TABLES=write` in the environment they are written anew.

use std::fmt::Write;
use std::string::{String, ToString};
use std::{format, fs};

use crate::monitor::message::ALL;
use crate::monitor::table::{Run, COMMANDS};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");

fn commands() -> String {
    let mut text = String::from("| command | enough | what it shows |\n|---|---|---|\n");
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.operands);
        let enough = &command.name[..command.least];
        let changes = match command.run {
            Run::Look(_) | Run::Compare(_) => "",
            Run::LookOrAct(..) => " (changes something)",
        };
        let help = command.help;
        let _ = writeln!(
            text,
            "| `{}` | `{enough}` | {help}{changes} |",
            usage.trim()
        );
    }
    text
}

fn messages() -> String {
    let mut text = String::from("| message | meaning |\n|---|---|\n");
    for (message, meaning) in ALL {
        let _ = writeln!(text, "| `{message}` | {meaning} |");
    }
    text
}

/// The document with what stands between the marks replaced.
fn with(document: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let (before, rest) = document.split_once(&begin).expect(name);
    let (_, after) = rest.split_once(&end).expect(name);
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_tables_of_the_document_are_the_codes() {
    let is = fs::read_to_string(DOCUMENT).expect("the document");
    let ought = with(&is, "console commands", &commands());
    let ought = with(&ought, "console messages", &messages());
    if std::env::var("STELLWERK_TABLES").is_ok_and(|it| it == "write") {
        fs::write(DOCUMENT, ought).expect("writing");
    } else {
        assert!(
            is == ought,
            "docs/commands.md is not the code's; STELLWERK_TABLES=write cargo test -p stellwerk-appliance --lib documents"
        );
    }
}

#[test]
fn numbers_of_messages_are_each_one_messages() {
    let mut numbers: std::vec::Vec<_> = ALL
        .iter()
        .map(|(message, _)| format!("{message}"))
        .collect();
    let before = numbers.len();
    numbers.sort();
    numbers.dedup_by_key(|number| number[..7].to_string());
    assert_eq!(numbers.len(), before);
}
