//! What people write and read.

use channel::{PmcwCharacteristics, PmcwFlags, Schib};

use super::view::SchibView;
use crate::api::text::Architected;
use crate::api::{Program, StoredSchib};

pub fn program(words: &[&str]) -> Program {
    let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
    super::program::parse(&words).unwrap()
}

/// What is wrong with a word.
fn wrong(word: &str) -> String {
    format!("{:#}", super::program::parse(&[word.into()]).unwrap_err())
}

#[test]
fn words_become_ccws() {
    let program = program(&["nop", "read:06:4096", "write:1:c1c2", "E460000700000000"]);
    let ccws: Vec<_> = program
        .ccws
        .iter()
        .map(|step| (step.command, step.flags, step.count))
        .collect();
    assert_eq!(
        ccws,
        [(3, 0x60, 1), (6, 0x60, 4096), (1, 0x60, 2), (0xE4, 0x60, 7)]
    );
    assert_eq!(program.ccws[2].data, [0xC1, 0xC2]);
}

#[test]
fn words_that_are_none_are_named_with_what_is_wrong() {
    assert!(wrong("sense-di").starts_with("\"sense-di\": is no command"));
    assert!(wrong("read:05:10").contains("no command that reads"));
    assert!(wrong("read:06:0").contains("1 to 65535"));
    assert!(wrong("read:06:65536").contains("1 to 65535"));
    assert!(wrong("read:+6:1").contains("no command code"));
    assert!(wrong("write:02:00").contains("a command that reads"));
    assert!(wrong("write:01:0").contains("pairs"));
    assert!(wrong("write:01:").contains("1 to 65535 bytes"));
    assert!(wrong("E460000700001000").contains("has to be zero"));
    assert!(wrong("E46000070000000g").contains("16 hexadecimal digits"));
    assert!(super::program::parse(&vec!["nop".into(); 257]).is_err());
    assert!(super::program::parse(&[]).is_err());
}

#[test]
fn a_schib_shows_the_bits_of_both_words() {
    let mut schib = Schib::default();
    schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
    let both = PmcwCharacteristics::EXTENDED_MEASUREMENT | PmcwCharacteristics::CONCURRENT_SENSE;
    schib.pmcw.set_characteristic(both, true);
    let view = SchibView::new(StoredSchib {
        device: "0.0.3270".into(),
        schib: Architected(schib),
    });
    let flags = serde_json::json!(["enabled", "extended measurement", "concurrent sense"]);
    assert_eq!(serde_json::to_value(&view).unwrap()["flags"], flags);
    let line = "flags:             enabled, extended measurement, concurrent sense";
    assert!(view.text().contains(line), "{}", view.text());
}
