//! Any bytes are messages that a VM's QEMU sends to the daemon: it goes on, and serves the next one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| stellwerk::fuzzing::vhost_user(input));
