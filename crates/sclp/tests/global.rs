//! The global console and the logger: one story, because there is one of each in a process.

use sclp::mock::{Machine, ScriptedSclp};
use sclp::{Console, GlobalConsole, SccbPage, Sclp, Signal, Transport, CONSOLE};
use std::fmt::Write;
use std::time::Duration;

static LOGGER: sclp::Logger = sclp::Logger::new(|| Duration::from_micros(1_500_042));

fn console_of(machine: &ScriptedSclp) -> GlobalConsole {
    let transport: &'static mut (dyn Transport + Send) = Box::leak(Box::new(machine.clone()));
    let page = Box::leak(Box::new(SccbPage::new()));
    Console::new(Sclp::new(transport, page)).expect("the machine has a console")
}

/// What was printed since the last call.
fn news(machine: &ScriptedSclp, seen: &mut usize) -> String {
    let output = machine.output();
    let new = output[*seen..].to_string();
    *seen = output.len();
    new
}

#[test]
fn the_console_of_the_image_from_early_boot_on() {
    let machine = ScriptedSclp::new(Machine::Hercules);
    let seen = &mut 0;

    // Before there is a console, prints are lost, and that is told.
    sclp::println!("too early");
    log::set_logger(&LOGGER).expect("the first logger");
    log::set_max_level(log::LevelFilter::Info);
    log::info!("too early");
    assert!(CONSOLE.with(|_| ()).is_none());
    assert!(CONSOLE.install(console_of(&machine)));
    sclp::println!("{} CPU", 1);
    assert_eq!(
        news(&machine, seen),
        "[2 prints lost: console in use or absent]\n1 CPU\n"
    );

    // There is room for one console.
    assert!(!CONSOLE.install(console_of(&machine)));

    // Log records carry time, level and origin; the level can change.
    log::warn!(target: "css", "subchannel {:04x} is gone", 3);
    log::debug!("too fine");
    assert_eq!(
        news(&machine, seen),
        "[    1.500042] WARN  css: subchannel 0003 is gone\n"
    );
    log::set_max_level(log::LevelFilter::Debug);
    log::debug!(target: "css", "fine");
    assert_eq!(news(&machine, seen), "[    1.500042] DEBUG css: fine\n");

    // Who prints while the console is in use does not wait for it.
    CONSOLE.with(|console| {
        console.write_str("outer\n").expect("write");
        sclp::print!("inner\n");
    });
    sclp::print!("later\n");
    assert_eq!(
        news(&machine, seen),
        "outer\n[1 prints lost: console in use or absent]\nlater\n"
    );

    // A signal counts, even one that comes while the console is in use.
    machine.type_in("status");
    let mut buffer = [0; 16];
    let mut poll = || CONSOLE.with(|console| console.poll_input(&mut buffer));
    assert_eq!(poll(), Some(Ok(0)));
    CONSOLE.with(|_| CONSOLE.note_signal(Signal::from_parameter(1)));
    assert_eq!(poll(), Some(Ok(7)));
    assert_eq!(&buffer[..7], b"status\n");

    // A user that unwinds gives the console back.
    let unwound = std::panic::catch_unwind(|| CONSOLE.with(|_| panic!("in the middle")));
    assert!(unwound.is_err());
    sclp::print!("still here\n");
    assert_eq!(news(&machine, seen), "still here\n");
}
