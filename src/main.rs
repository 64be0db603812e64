//! Stellwerk: a storage driver domain for KVM on s390x.
//!
//! This is the appliance image, which boots on s390x: set up, bring up what is owned, serve. Everything else is in the library.

#![no_std]
#![no_main]

use appliance::boot::{self, cmdline::Options, cmdline::WarningKind, program::ThisImage};
use appliance::control::Storage;
use appliance::css::{Hardware, Inventory};
use appliance::driver::disk;
use appliance::event_loop::{Appliance, Tuning};
use appliance::monitor::OperatorConsole;
use s390x::control::Cr6;

/// Where [`boot`] goes when the CPU is set up.
#[no_mangle]
extern "Rust" fn kmain() -> ! {
    let start = boot::start(|_, _| Err(WarningKind::UnknownKey));
    let options = &start.options;
    start.take_heap(options.control);
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let inventory = match Inventory::discover(&mut platform) {
        Ok(inventory) => inventory,
        Err(error) => panic!("discovery: {error}"),
    };
    inventory.log();
    let tuning = tuning(options);
    let Some(control) = options.control else {
        disk::log_all(&mut platform, inventory.devices(), tuning.settings);
        log::info!(target: "boot", "no control area: nothing to serve");
        boot::shut_down()
    };
    // SAFETY: the heap ends at `control` at the latest, and everything else is below the heap.
    let storage = unsafe { Storage::new(control, start.memory) };
    match Appliance::bring_up(&mut platform, inventory, storage, tuning) {
        Ok(mut appliance) => {
            let (first, size) = (boot::first_instruction(), boot::image_size());
            let (used, _) = appliance::alloc::usage();
            let mut operator =
                OperatorConsole::new(options.monitor, &ThisImage, boot::wake, boot::listen);
            appliance.run(&mut platform, first, size, used as u64, &mut operator);
            boot::shut_down()
        }
        Err(error) => panic!("{error}"),
    }
}

/// What of the command line is for the event loop.
fn tuning(options: &Options) -> Tuning {
    let mut tuning = Tuning::default();
    tuning.settings.adapter = options.adapter;
    tuning.linger_us = options.linger_us.unwrap_or(tuning.linger_us);
    tuning.patience_us = options.patience_us.unwrap_or(tuning.patience_us);
    tuning
}
