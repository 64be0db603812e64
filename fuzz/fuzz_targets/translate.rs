//! Any bytes are a client's program: its translation does what it does on the client's own storage.
//!
//! The comparison is the one of the unit tests; the corpus is what their seeds make.
#![no_main]

use appliance::proxy::translate;
use libfuzzer_sys::fuzz_target;

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

fuzz_target!(|input: &[u8]| differential::check(input));
