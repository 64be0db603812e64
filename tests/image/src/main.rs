//! The image that tests itself, measures itself, and crashes on purpose: the appliance's library on the machine itself.
//!
//! What it does is said on the command line ([`options`]); without a word of those it lists the devices and ends.

#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod loopback;
mod options;
mod selftest;

use appliance::boot;
use appliance::css::{Hardware, Inventory};
use s390x::control::Cr6;

/// Where boot goes when the CPU is set up.
#[no_mangle]
extern "Rust" fn kmain() -> ! {
    let mut options = options::Options::default();
    let start = boot::start(|key, value| options.set(key, value));
    options.adapter = start.options.adapter;
    start.take_heap(options.area.or(options.window));
    if let Some(test) = options.selftest {
        selftest::run(test, &options);
    }
    if let Some(bench) = options.bench {
        bench::run(bench, &options);
    }
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    match Inventory::discover(&mut platform) {
        Ok(inventory) => inventory.log(),
        Err(error) => panic!("discovery: {error}"),
    }
    boot::shut_down()
}
