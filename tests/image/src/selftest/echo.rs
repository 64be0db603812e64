//! The console's input: each line comes back, up to the word `end`.
//!
//! A wish for an orderly end (the host's `system_powerdown`) ends it too.

use super::{ensure, test, Fixture, Outcome, Tally, Test};
use alloc::string::String;
use s390x::clock::Tod;
use s390x::idle::{self, ExternalCode, Sources, Wake};

/// How long somebody may take to type, in microseconds.
const PATIENCE: u64 = 20_000_000;

const TESTS: &[Test<Typed>] = &[test("what is typed comes back", echo)];

/// The line that is being typed.
struct Typed(String);

impl Fixture for Typed {}

/// Echoes.
pub(super) fn run(tally: &mut Tally) {
    tally.run("", &mut Typed(String::new()), TESTS);
}

fn echo(line: &mut Typed) -> Outcome {
    sclp::println!("echo: type lines, the last one \"end\"");
    let mut lines = 0;
    loop {
        let (quiesce, typed) = input()?;
        for character in typed.chars() {
            if !matches!(character, '\r' | '\n') {
                line.0.push(character);
                continue;
            }
            sclp::println!("echo: {}", line.0);
            if line.0 == "end" {
                return ensure("something before the end", lines > 0);
            }
            lines += 1;
            line.0.clear();
        }
        if quiesce {
            sclp::println!("echo: the host wants an end");
            return Ok(());
        }
        if !typed.is_empty() {
            continue;
        }
        let deadline = Tod::now().plus_micros(PATIENCE);
        match idle::wait(Sources::SERVICE_SIGNAL, Some(deadline)) {
            Wake::External(external) if external.code == ExternalCode::ServiceSignal => {
                let signal = sclp::Signal::from_parameter(external.parameter);
                sclp::CONSOLE.note_signal(signal);
            }
            Wake::Deadline => return Err("nobody typed anything".into()),
            Wake::Io(_) | Wake::External(_) | Wake::MachineCheck(_) => {}
        }
    }
}

/// What there is: whether the host wants an end, and what was typed.
fn input() -> Result<(bool, String), super::Why> {
    let mut buffer = [0; 256];
    let read = sclp::CONSOLE.with(|console| {
        let read = console.poll_input(&mut buffer);
        (read, console.take_quiesce())
    });
    let (count, quiesce) = read.ok_or("no console")?;
    let bytes = buffer.get(..count?).unwrap_or(&[]);
    Ok((quiesce, String::from_utf8_lossy(bytes).into_owned()))
}
