//! Any bytes are a client's program: its translation does what it does on the client's own storage, and whatever the client's CPU
//! stores while it runs, nothing leads the channel out of the window.
//!
//! Both are what the unit tests check; the corpus is what their seeds make.
#![no_main]

use appliance::proxy::translate::tests::{contained, differential};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    differential::check(input);
    contained::check(input);
});
