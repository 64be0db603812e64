//! Any bytes are a client's program: its translation does what it does on the client's own storage, and whatever the client's CPU
//! stores while it runs, nothing leads the channel out of the window.
//!
//! Both are what the unit tests check; the corpus is what their seeds make.
#![no_main]

use appliance::proxy::translate;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/proxy/translate/tests/contained.rs"]
mod contained;
#[path = "../../src/proxy/translate/tests/differential.rs"]
mod differential;
#[path = "../../src/proxy/translate/tests/interpreter.rs"]
#[allow(dead_code)]
mod interpreter;
#[path = "../../src/proxy/translate/tests/places.rs"]
mod places;
#[path = "../../src/proxy/translate/tests/scene.rs"]
#[allow(dead_code)]
mod scene;

fuzz_target!(|input: &[u8]| {
    differential::check(input);
    contained::check(input);
});
