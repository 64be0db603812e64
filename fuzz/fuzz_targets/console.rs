//! Any keys are what an operator types, at both kinds of consoles: each turn does little, each line is short, and it comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|keys: &[u8]| appliance::monitor::fake::check(keys));
