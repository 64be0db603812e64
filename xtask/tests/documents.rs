//! The documents: links lead somewhere, files that are named are there, and messages and states are those of the programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each document, and its text without what is indented or fenced as code.
fn documents() -> Vec<(PathBuf, String)> {
    let named = [
        "README.md",
        "CONTRIBUTING.md",
        "host/README.md",
        "dasd-tools/README.md",
    ];
    let mut files: Vec<PathBuf> = named.iter().map(|name| root().join(name)).collect();
    let folder = fs::read_dir(root().join("docs")).unwrap();
    files.extend(folder.map(|entry| entry.unwrap().path()));
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        (file, without_code(&text))
    };
    files.into_iter().map(read).collect()
}

fn without_code(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// What stands between `open` and the next `close`, each time.
fn between<'t>(text: &'t str, open: &'t str, close: char) -> impl Iterator<Item = &'t str> {
    let parts = text.split(open).skip(1);
    parts.filter_map(move |part| part.split_once(close).map(|(inner, _)| inner))
}

/// How a heading is named in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn headings(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines
        .map(|line| line.trim_start_matches('#').trim().to_owned())
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        for target in between(&text, "](", ')') {
            if target.starts_with("http") {
                continue;
            }
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let to = match path {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            if !to.exists() {
                wrong.push(format!("{}: {target}", file.display()));
            } else if !place.is_empty() && !headings(&to).iter().any(|it| anchor(it) == place) {
                wrong.push(format!("{}: {target}: no such heading", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `[page.md](page.md), section 4` and `[page.md](page.md), 4.9`: the page has that section.
#[test]
fn every_section_that_is_named_is_there() {
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        for part in text.split("](").skip(1) {
            let Some((target, rest)) = part.split_once("), ") else {
                continue;
            };
            if !target.ends_with(".md") || target.contains(['(', '\n']) {
                continue;
            }
            let rest = rest.strip_prefix("section ").unwrap_or(rest);
            let is_part = |c: char| c.is_ascii_digit() || c == '.';
            let number: String = rest.chars().take_while(|c| is_part(*c)).collect();
            let number = number.trim_end_matches('.');
            let to = file.parent().unwrap().join(target);
            let mut there = headings(&to).into_iter();
            if !number.is_empty()
                && !there.any(|it| it.split(' ').next().unwrap().trim_end_matches('.') == number)
            {
                wrong.push(format!("{}: {target}, {number}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_that_is_named_is_there() {
    let folders = [
        "src",
        "crates",
        "host",
        "dasd-tools",
        "tests",
        "scripts",
        "fuzz",
        "xtask",
        "docs",
    ];
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        for name in between(&text, "`", '`') {
            let first = name.split('/').next().unwrap();
            let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            if name.contains('/')
                && folders.contains(&first)
                && name.chars().all(is_path)
                && !root().join(name).exists()
            {
                wrong.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The programs' text as it is printed, nearly: continued lines are one, and quotes are quotes.
fn printed() -> String {
    let mut text = String::new();
    for folder in ["src", "host/src", "dasd-tools/src", "crates"] {
        sources(&root().join(folder), &mut text);
    }
    let mut joined = String::new();
    for (number, part) in text.split("\\\n").enumerate() {
        joined.push_str(if number == 0 { part } else { part.trim_start() });
    }
    joined.replace("\\\"", "\"")
}

/// Errors of the system.
const SYSTEM: [&str; 2] = ["Permission denied", "No such file or directory"];

/// A message of the troubleshooting tables is what some program of ours prints, but for the places where `…`, `N` or `NAME`
/// stands for something.
#[test]
fn the_messages_of_the_troubleshooting_are_the_programs() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let printed = printed();
    let mut wrong = BTreeSet::new();
    let mut messages = 0;
    let mut in_table = false;
    for line in page.lines() {
        in_table = line.starts_with("| message") || in_table && line.starts_with('|');
        let cell = line.split(" | ").next().unwrap();
        // What QEMU says is QEMU's.
        if !in_table || cell.contains("QEMU: `") || cell.contains("`QEMU ended") {
            continue;
        }
        for message in cell.split('`').skip(1).step_by(2) {
            messages += 1;
            // The log puts this before the reason, and an error of the system behind the place.
            let message = message.strip_prefix("refused: ").unwrap_or(message);
            let message = SYSTEM
                .iter()
                .fold(message, |it, error| it.trim_end_matches(error));
            let words = message.split_inclusive(' ').map(|word| {
                match word.trim_matches(['(', ' ', '"', ',', ':']) {
                    "N" | "NAME" => "…",
                    _ => word,
                }
            });
            let known: String = words.collect();
            for piece in known
                .split('…')
                .map(|piece| piece.trim_matches([' ', '"', ':', '\'']))
            {
                if piece.len() > 8 && !printed.contains(piece) {
                    wrong.insert(format!("{message}: {piece}"));
                }
            }
        }
    }
    assert!(messages > 40, "{messages}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a second sentence begins within a line: outside of code and parentheses, behind a full stop.
fn has_two_sentences(line: &str) -> bool {
    let (mut in_code, mut depth, mut ended) = (false, 0, false);
    for c in line
        .trim()
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
        .chars()
    {
        let outside = !in_code && depth == 0;
        match c {
            '`' => in_code = !in_code,
            '(' if !in_code => depth += 1,
            ')' if !in_code => depth -= 1,
            '.' | '?' | '!' if outside => ended = true,
            ' ' | '*' if ended => {}
            c => {
                if ended && outside && c.is_uppercase() {
                    return true;
                }
                ended = false;
            }
        }
    }
    false
}

#[test]
fn a_line_is_a_sentence() {
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        let prose = text.lines().filter(|line| !line.starts_with(['|', '#']));
        let prose = prose.filter(|line| has_two_sentences(line));
        wrong.extend(prose.map(|line| format!("{}: {line}", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The words in the first column of the table with that name.
fn first_column(page: &str, table: &str) -> Vec<String> {
    let begin = format!("<!-- table: {table} -->\n");
    let (_, behind) = page.split_once(&begin).unwrap();
    let (rows, _) = behind.split_once("<!-- end -->").unwrap();
    let cells = rows
        .lines()
        .skip(2)
        .map(|row| row.split('|').nth(1).unwrap());
    cells
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect()
}

/// The tables of states have those of the control area, and for the appliance the one that the daemon adds.
#[test]
fn every_state_is_in_the_troubleshooting() {
    use vcss::control::{ConditionState, DeviceLife, Life};
    use vcss::trace::DriverState;
    let life = [
        Life::Starting,
        Life::Serving,
        Life::Stopping,
        Life::Stopped,
        Life::Failed,
    ];
    let life = life.map(|it| match it {
        Life::Starting => "starting",
        Life::Serving => "serving",
        Life::Stopping => "stopping",
        Life::Stopped => "stopped",
        Life::Failed => "failed",
    });
    let device = [DeviceLife::Online, DeviceLife::Failed, DeviceLife::Standby];
    let device = device.map(|it| match it {
        DeviceLife::Online => "online",
        DeviceLife::Failed => "failed",
        DeviceLife::Standby => "standby",
    });
    let condition = [
        ConditionState::Good,
        ConditionState::Failed,
        ConditionState::Unknown,
    ];
    let condition = condition.map(|it| match it {
        ConditionState::Good => "online",
        ConditionState::Failed => "failed",
        ConditionState::Unknown => "unknown",
    });
    let driver = [
        DriverState::NotOperational,
        DriverState::Standby,
        DriverState::Idle,
        DriverState::Busy,
        DriverState::Quiescing,
        DriverState::Disconnected,
    ];
    let driver = driver.map(|it| match it {
        DriverState::NotOperational => "not-operational",
        DriverState::Standby => "standby",
        DriverState::Idle => "idle",
        DriverState::Busy => "busy",
        DriverState::Quiescing => "quiescing",
        DriverState::Disconnected => "disconnected",
    });
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    assert_eq!(first_column(&page, "life"), [&life[..], &["down"]].concat());
    assert_eq!(first_column(&page, "device"), device);
    assert_eq!(first_column(&page, "condition"), condition);
    assert_eq!(first_column(&page, "driver"), driver);
}
