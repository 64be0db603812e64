//! A load that verifies itself, for a stock client.
//!
//! `load disks LIFE FLUSHED DEVICE…` keeps disks busy: see `disks`. `load memory MIB` keeps more memory busy than there is: see `memory`.
//! Both go on until the file `/tmp/stop` is there, and say on the console how they fare.
//! What is wrong is a line `ERROR …` or `DIFFERENCE …`, and the end, with another exit status than 0.

use std::path::Path;
use std::process::ExitCode;

mod disks;
mod memory;
mod page;
mod sequence;

/// What went wrong, in words.
type Wrong = String;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["disks", life, flushed, devices @ ..] if !devices.is_empty() => {
            disks::run(life, flushed, devices)
        }
        ["memory", size] => memory::run(size),
        _ => Err("ERROR usage: load disks LIFE FLUSHED DEVICE…, load memory MIB".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it is to end.
fn stopped() -> bool {
    Path::new("/tmp/stop").exists()
}

/// A number among the arguments.
fn number(word: &str) -> Result<u32, Wrong> {
    word.parse()
        .map_err(|_| format!("ERROR {word} is no number"))
}
