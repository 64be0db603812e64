//! Any text is a configuration of the daemon, or none with a place for each problem.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| stellwerk::fuzzing::config(text));
