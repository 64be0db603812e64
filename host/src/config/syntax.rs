//! TOML, and what is said of what is none.
//!
//! It is read with recovery, so that a mistake in one line keeps nobody from hearing of those in the others. What
//! is no TOML, though, comes alone: what follows it may be read as something else than was meant.

use std::ops::Range;

use toml::de::DeTable;

use super::problem::{About, Problems};

/// A document, and the headers in it that do not go with a table above them.
pub struct Document<'t> {
    pub root: DeTable<'t>,
    pub misfits: Vec<(Range<usize>, &'t str)>,
}

/// Reads the text; `None` when it is no TOML, for which there is a problem then.
pub fn read<'t>(problems: &Problems<'t>) -> Option<Document<'t>> {
    let text = problems.text;
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut is_toml = true;
    let mut misfits = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if error.message() != "duplicate key" {
            is_toml = false;
            syntax(problems, span, error.message());
            continue;
        }
        match header(text, &span) {
            Some("[appliance]") => {
                let help = "there is one appliance: write all its keys below one [appliance]";
                problems.add_about(About::Form, span, "a second [appliance]", help);
            }
            Some(header) => misfits.push((span, header)),
            None => {
                let key = text.get(span.clone()).unwrap_or_default();
                let key = key.trim_matches('"');
                let message = format!("the key \"{key}\" is here for the second time");
                let help = "keep one of the two, or begin a table of its own above the second, as [[disk]] or [[client]]";
                problems.add_about(About::Form, span, message, help);
            }
        }
    }
    let root = root.into_inner();
    is_toml.then_some(Document { root, misfits })
}

/// What is no TOML, in words that somebody understands who has never heard of TOML.
fn syntax(problems: &Problems<'_>, span: Range<usize>, message: &str) {
    let quoted = "text stands between quotation marks, both on the same line: name = \"data\"";
    let unclosed = "a text without its closing quotation mark";
    let other = message.replace('`', "\"");
    // What the parser says, and what is said instead.
    let known = [
        ("string values must be quoted", "a value that is no number, no true or false, and no text in quotation marks", quoted),
        ("basic string", unclosed, quoted),
        ("literal string", unclosed, quoted),
        (
            "table",
            "the header of a table without its closing brackets",
            "a table begins with [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] or [[client.subchannel]]",
        ),
        ("key with no value", "a key without a value", "write a line as KEY = VALUE: name = \"data\""),
    ];
    let known = known.into_iter().find(|(said, ..)| message.contains(said));
    let (_, message, help) = known.unwrap_or((
        "",
        &other,
        "a line is KEY = VALUE or the header of a table; text stands between quotation marks: name = \"data\"",
    ));
    problems.add_about(About::Form, span, message, help);
}

fn header<'t>(text: &'t str, span: &Range<usize>) -> Option<&'t str> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    line.starts_with('[').then_some(line)
}
