//! The line discipline: abbreviations, pages, modes, both kinds of consoles, and one that is slow.

use super::*;
use crate::monitor::editor::ERASE_LINE;
use crate::monitor::out::PAGE;
use crate::monitor::session::PROMPT;
use crate::monitor::table::{begins, find, Found, COMMANDS};

#[test]
fn each_command_is_found_by_its_name_and_its_abbreviations_and_by_nothing_shorter() {
    for command in COMMANDS {
        for letters in 1..=command.name.len() {
            let word = command.name[..letters].to_uppercase();
            match find(&word) {
                Found::One(found) if letters >= command.least => {
                    assert_eq!(found.name, command.name)
                }
                Found::One(other) => assert_ne!(other.name, command.name, "{word} is enough"),
                Found::Several => assert!(letters < command.least, "{word}"),
                Found::None => panic!("{word} is nothing"),
            }
        }
        // Whoever types as much as is asked for means this one and no other.
        let word = &command.name[..command.least];
        let others = COMMANDS
            .iter()
            .filter(|it| begins(it, word) && it.least <= command.least);
        assert_eq!(others.count(), 1, "{word}");
    }
    assert!(matches!(find("statusx"), Found::None));
}

#[test]
fn what_is_not_understood_gets_one_line() {
    let says = |line| answer(Fake::new(), line);
    assert_eq!(
        says("frobnicate"),
        ["STW0002E no command frobnicate; type help"]
    );
    assert_eq!(
        says("d"),
        ["STW0003E d can be diag, or devs; type more of it"]
    );
    assert_eq!(says("schib"), ["STW0004E usage: schib DEV"]);
    assert_eq!(says("schib 100 200"), ["STW0004E usage: schib DEV"]);
    assert_eq!(says("schib 0.0.0999"), ["STW0008E there is no such device"]);
    assert_eq!(says("status x"), ["STW0004E usage: status "]);
    assert_eq!(says(""), ["STW0001I stellwerk: type help for the commands"]);
    let long = "x".repeat(100);
    assert_eq!(
        says(&long),
        ["STW0009E a command has 80 characters at most"]
    );
}

#[test]
fn an_empty_line_repeats_and_goes_on() {
    let mut scene = Scene::lines();
    scene.state.log = (0..50).map(|n| std::format!("record {n}")).collect();
    let mut seen = Vec::new();
    for line in ["log\n", "\n", "\n"] {
        let text = scene.type_in(line);
        assert!(text.lines().count() <= PAGE + 1);
        let records = text.lines().filter(|line| line.starts_with("record"));
        seen.extend(records.map(String::from));
        let more = text.ends_with("STW0006I an empty line shows more\n");
        assert_eq!(more, seen.len() < 50);
    }
    assert_eq!(seen, scene.state.log);
    // It begins anew.
    assert!(scene
        .type_in("\n")
        .starts_with("STW0112I 50 log records\nrecord 0\n"));
    let first = scene.type_in("version\n");
    assert_eq!(scene.type_in("\n"), first);
}

#[test]
fn what_changes_something_is_not_for_everybody_and_is_not_repeated() {
    let mut scene = Scene::lines();
    let refused = "STW0005E log changes something: not with monitor=read\n";
    assert_eq!(scene.type_in("log debug\n"), refused);
    assert_eq!(scene.state.level, None);
    let mut scene = Scene::new(Mode::Change, false);
    assert_eq!(scene.type_in("log debug\n"), "STW0300I log=DEBUG\n");
    assert_eq!(scene.state.level.take(), Some(log::LevelFilter::Debug));
    assert!(scene.type_in("\n").starts_with("STW0001I"));
    assert_eq!(scene.state.level, None);
    assert_eq!(scene.type_in("log loud\n"), "STW0004E usage: log [LEVEL]\n");
}

#[test]
fn who_may_do_nothing_is_not_listened_to() {
    let mut scene = Scene::new(Mode::Off, false);
    assert_eq!(scene.type_in("status\n"), "");
    assert_eq!(scene.typist.typed.len(), 7);
}

#[test]
fn a_terminal_gets_its_keys_back_and_a_prompt() {
    let mut scene = Scene::new(Mode::Read, true);
    let version = "stellwerk 1.2.3, image of 0 KiB\n";
    let expected = std::format!("vx\x08 \x08er\nSTW0101I {version}{PROMPT}");
    assert_eq!(scene.type_in("vx\x7Fer\r"), expected);
    assert_eq!(
        scene.type_in("xy\x15"),
        std::format!("xy{ERASE_LINE}{PROMPT}")
    );
    // The arrow brings the line back.
    let expected = std::format!("{ERASE_LINE}{PROMPT}ver\nSTW0101I {version}{PROMPT}");
    assert_eq!(scene.type_in("\x1b[A\r\n"), expected);
}

#[test]
fn a_line_into_which_somebody_else_has_printed_is_shown_again() {
    let mut scene = Scene::new(Mode::Read, true);
    assert_eq!(
        scene.type_in("\r"),
        std::format!("\nSTW0001I stellwerk: type help for the commands\n{PROMPT}")
    );
    assert_eq!(scene.type_in("ver"), "ver");
    scene.typist.prints += 1;
    assert_eq!(scene.type_in("s"), std::format!("{ERASE_LINE}{PROMPT}vers"));
    assert_eq!(scene.type_in("i"), "i");
}

#[test]
fn a_turn_does_one_thing() {
    let mut scene = Scene::lines();
    scene.typist.typed.extend(b"help\nversion\n");
    let mut pieces = 0;
    while scene.session.due(&scene.typist) != Tod::NEVER {
        scene.turn();
        let now = scene.typist.written.len();
        assert!(now <= pieces + 1, "one piece at a time");
        pieces = now;
    }
    assert!(pieces > 2);
    for piece in &scene.typist.written {
        assert!(piece.len() <= 512 && piece.ends_with('\n'));
    }
    let all = scene.typist.written.concat();
    assert!(all.find("STW0100I").unwrap() < all.find("STW0101I").unwrap());
}

#[test]
fn nothing_is_due_until_somebody_types() {
    let mut scene = Scene::lines();
    assert_eq!(scene.session.due(&scene.typist), Tod::NEVER);
    scene.typist.typed.push_back(b's');
    assert!(scene.session.due(&scene.typist) < scene.state_now());
    scene.until_idle();
    assert_eq!(scene.session.due(&scene.typist), Tod::NEVER);
}

impl Scene {
    fn state_now(&self) -> Tod {
        crate::monitor::View::now(&self.state)
    }
}

#[test]
fn what_a_console_does_not_take_is_dropped_and_told_of() {
    let mut scene = Scene::lines();
    scene.typist.refuses = true;
    scene.type_in("help\n");
    scene.typist.refuses = false;
    let text = scene.type_in("version\n");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        std::format!(
            "STW0007W {} lines were dropped",
            PAGE.min(COMMANDS.len() + 1)
        )
    );
    assert!(lines[1].starts_with("STW0101I"));
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_console_that_is_slow_is_left_alone_for_a_while_and_then_given_up() {
    let mut scene = Scene::lines();
    let clock = scene.state.micros.clone();
    scene.typist.slow = Some((clock.clone(), 6_000_000));
    scene.typist.typed.extend(b"help\n");
    let mut pauses = Vec::new();
    loop {
        let due = scene.session.due(&scene.typist);
        if due == Tod::NEVER {
            break;
        }
        let left = due.as_micros().saturating_sub(clock.get());
        if left > 0 {
            pauses.push(left);
            // Nothing is done before.
            let written = scene.typist.written.len();
            scene.turn();
            assert_eq!(scene.typist.written.len(), written);
            clock.set(due.as_micros());
        }
        scene.turn();
    }
    assert_eq!(
        scene.typist.written.len(),
        2,
        "6 s for each piece, 10 s for all"
    );
    assert!(pauses
        .iter()
        .all(|&pause| (900_000..=1_000_000).contains(&pause)));
    assert_eq!(pauses.len(), 1);
    scene.typist.slow = None;
    assert!(scene.type_in("version\n").contains("STW0007W"));
}
