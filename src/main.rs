//! Stellwerk: a storage driver domain for KVM on s390x.
//!
//! This is the appliance image. Compiled for s390x it is what boots: set up, bring up what is
//! owned, serve. Compiled for the developer's machine it is a launcher, so that a bare `cargo run`
//! builds the image and boots it.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod alloc;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod bench;
#[cfg(target_os = "none")]
mod boot;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod loopback;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod selftest;

#[cfg(target_os = "none")]
use {
    appliance::control::Storage,
    appliance::css::{Device, Hardware, Inventory},
    appliance::driver::{disk, Wake},
    appliance::event_loop::{Appliance, Tuning},
    s390x::control::Cr6,
    s390x::idle::ExternalCode,
};

/// The version that banner and report show.
#[cfg(target_os = "none")]
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where it ends when it is to run tests, of which it has none.
#[cfg(all(target_os = "none", not(feature = "selftest")))]
const NO_TESTS: s390x::cpu::WaitCode = s390x::cpu::WaitCode::new(0xE21);

/// Where [`boot::entry`] goes when the CPU is set up.
#[cfg(target_os = "none")]
fn kmain() -> ! {
    let sclp = sclp::bring_up();
    let line = boot::loader_command_line();
    boot::logring::install(log::LevelFilter::Info);
    let options = boot::cmdline::Options::parse(line, |warning| {
        log::warn!(target: "boot", "command line: {warning}");
    });
    boot::logring::install(options.log);
    boot::banner(line, sclp.as_ref());

    let memory = boot::memory_size(sclp.as_ref());
    let heap = boot::image_end();
    // What is the appliance's own ends where the shared storage begins.
    let shared = options.control.or(options.area);
    let own = shared.unwrap_or(memory).min(memory);
    let end = options
        .heap
        .map_or(own, |size| heap.get().saturating_add(size).min(own));
    // SAFETY: storage behind the image and below its end is used by nobody yet.
    let size = unsafe { alloc::init(heap, s390x::address::AbsoluteAddress::new(end)) };
    log::info!(target: "boot", "heap {} KiB at {heap}", size >> 10);

    #[cfg(feature = "selftest")]
    {
        if let Some(test) = options.selftest {
            selftest::run(test, &options);
        }
        if let Some(bench) = options.bench {
            bench::run(bench, &options);
        }
    }
    #[cfg(not(feature = "selftest"))]
    if options.selftest.is_some() || options.bench.is_some() {
        log::error!(target: "boot", "selftest= and bench= are for the image with the tests, and this is the other one");
        s390x::cpu::disabled_wait(NO_TESTS);
    }
    // SAFETY: the vectors are set, and this is the one CPU.
    let mut platform = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let inventory = match Inventory::discover(&mut platform) {
        Ok(inventory) => inventory,
        Err(error) => panic!("discovery: {error}"),
    };
    let devices = inventory.devices();
    list(devices);
    let Some(start) = options.control else {
        list_disks(&mut platform, devices, tuning(&options));
        log::info!(target: "boot", "no control area: nothing to serve");
        boot::shut_down()
    };
    // SAFETY: the heap ends at `start` at the latest, and everything else is below the heap.
    let storage = unsafe { Storage::new(start, memory) };
    match Appliance::bring_up(&mut platform, inventory, storage, tuning(&options)) {
        Ok(mut appliance) => {
            let (used, _) = alloc::usage();
            let (first, size) = (boot::first_instruction(), boot::image_size());
            appliance.run(&mut platform, first, size, used as u64, console);
            boot::shut_down()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Logs the subchannels, in the columns of lscss.
#[cfg(target_os = "none")]
fn list(devices: &[Device]) {
    log::info!(target: "css", "Device   Subchan.  CU Type DevType PIM CHPIDs");
    for device in devices {
        let (number, id, paths, [chpid, ..]) =
            (device.number, device.id, device.path_mask, device.chpids);
        match &device.identity {
            Ok(identity) => log::info!(
                target: "css",
                "{number} {id}  {:04x}/{:02x} {:04x}/{:02x} {paths:02x}  {chpid:02x}",
                identity.cu_type,
                identity.cu_model,
                identity.dev_type,
                identity.dev_model,
            ),
            Err(error) => log::warn!(target: "css", "{number} {id}  {error}"),
        }
    }
}

/// Logs the disks, or why there is none where one should be.
#[cfg(target_os = "none")]
fn list_disks(platform: &mut Hardware, devices: &[Device], tuning: Tuning) {
    for device in devices
        .iter()
        .filter(|device| disk::Kind::of(device).is_some())
    {
        let number = device.number;
        match disk::open(platform, device, tuning.settings) {
            Ok(disk) => {
                let (blocks, size) = (disk.geometry().block_size, disk.geometry().sectors / 2);
                log::info!(target: "disk", "{number} {size} KiB in blocks of {blocks}");
            }
            Err(error) => log::warn!(target: "disk", "{number} {error}"),
        }
    }
}

/// What of the command line is for the event loop.
#[cfg(target_os = "none")]
fn tuning(options: &boot::cmdline::Options) -> Tuning {
    let mut tuning = Tuning::default();
    tuning.settings.adapter = options.adapter;
    tuning.linger_us = options.linger_us.unwrap_or(tuning.linger_us);
    tuning.patience_us = options.patience_us.unwrap_or(tuning.patience_us);
    tuning
}

/// What ended the wait and is the console's.
#[cfg(target_os = "none")]
fn console(wake: Wake) {
    match wake {
        Wake::External(external) if external.code == ExternalCode::ServiceSignal => {
            sclp::CONSOLE.note_signal(sclp::Signal::from_parameter(external.parameter));
        }
        Wake::MachineCheck(code) if code.is_fatal() => boot::report::fatal_machine_check(),
        Wake::Io | Wake::Deadline | Wake::MachineCheck(_) | Wake::External(_) => {}
    }
}

/// Build the image and boot it.
#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    use std::process::{Command, ExitCode};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |script: &str, arguments: &[std::ffi::OsString]| {
        Command::new(root.join("scripts").join(script))
            .args(arguments)
            .status()
            .map_err(|error| eprintln!("scripts/{script}: {error}"))
            .ok()
            .and_then(|status| status.code())
            .map_or(ExitCode::FAILURE, |code| {
                ExitCode::from(u8::try_from(code).unwrap_or(1))
            })
    };
    let built = run("build.sh", &["image".into()]);
    if built != ExitCode::SUCCESS {
        return built;
    }
    let mut arguments = vec![root.join("target/image/stellwerk.elf").into_os_string()];
    arguments.extend(std::env::args_os().skip(1));
    run("run-qemu.sh", &arguments)
}
